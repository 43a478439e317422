"""`players` of one date, profiles and index, from raw rows."""

import datetime as dt
import zoneinfo

from b_common import (at_home, box_scores, exact, fixed, grouped, load, main, mean, names, newest, played, predictions,
                      ratio, rounded, season_of, slate, stamp, with_rest)

SOURCES = {"espn_nba": "ESPN", "cbs_nba": "CBS Sports", "rotowire_nba": "RotoWire", "yahoo_nba": "Yahoo Sports"}


def split(games):
    decided = [g["over_under_result"] for g in games if g["over_under_result"] is not None]
    return {"avg": mean(g["points"] for g in games), "games": len(games),
            "vs_line_pct": ratio(decided.count("OVER"), len(decided))}


def splits(entries, season):
    games = with_rest([dict(e) for e in entries if e["season_year"] == season and played(e)])
    opponents = [{"team": team, **split(met)}
                 for team, met in grouped(games, lambda g: g["opponent_team_abbr"]).items() if len(met) >= 2]
    opponents.sort(key=lambda o: (-o["games"], -o["avg"], o["team"]))
    rest = lambda wanted: split([g for g in games if g["rest"] is not None and wanted(g["rest"])])
    return {
        "rest": {"b2b": rest(lambda d: d == 0), "one_day": rest(lambda d: d == 1), "two_day": rest(lambda d: d == 2),
                 "three_plus": rest(lambda d: d >= 3)},
        "location": {"home": split([g for g in games if at_home(g)]),
                     "away": split([g for g in games if not at_home(g)])},
        "opponents": opponents,
    }


def log_line(e):
    pair = lambda a, b: None if e[a] is None or e[b] is None else f"{e[a]}/{e[b]}"
    both = e["offensive_rebounds"] is not None and e["defensive_rebounds"] is not None
    known = e["points"] is not None and e["points_line"] is not None
    return {
        "game_date": e["game_date"], "opponent": e["opponent_team_abbr"], "home_game": at_home(e),
        "team_result": "W" if e["win_flag"] else "L", "points": e["points"], "minutes": e["minutes_played"],
        "fg": pair("fg_makes", "fg_attempts"), "fg_makes": e["fg_makes"], "fg_attempts": e["fg_attempts"],
        "three": pair("three_pt_makes", "three_pt_attempts"), "three_makes": e["three_pt_makes"],
        "three_attempts": e["three_pt_attempts"],
        "ft": pair("ft_makes", "ft_attempts"), "ft_makes": e["ft_makes"], "ft_attempts": e["ft_attempts"],
        "rebounds": e["offensive_rebounds"] + e["defensive_rebounds"] if both else None,
        "assists": e["assists"], "steals": e["steals"], "blocks": e["blocks"], "turnovers": e["turnovers"],
        "line": e["points_line"], "over_under": e["over_under_result"],
        "margin": rounded(exact(e["points"]) - exact(e["points_line"]), 1) if known else None,
        "did_not_play": bool(e["is_dnp"]), "dnp_reason": e["dnp_reason"],
    }


def calls(rows, kind=None):
    mine = [r for r in rows if r["recommendation"] in ((kind,) if kind else ("OVER", "UNDER"))]
    wins = sum(r["prediction_correct"] is True for r in mine)
    losses = sum(r["prediction_correct"] is False for r in mine)
    return {"total": len(mine), "wins": wins, "losses": losses, "pct": ratio(wins, wins + losses)}


def interpretation(bias, overall, games):
    side = "over" if bias > 0 else "under"
    if abs(bias) > 1:
        reading = f"We {'significantly' if abs(bias) > 3 else 'slightly'} {side}-predict this player"
    else:
        reading = "Our predictions are well-calibrated for this player"
    accuracy, decided = None, overall["wins"] + overall["losses"]
    if overall["total"] >= 5 and decided:
        rate = 100 * overall["wins"] / decided
        word = ("Excellent" if rate >= 85 else "Good" if rate >= 70 else "Average" if rate >= 55 else "Below average")
        accuracy = f"{word} track record ({int(ratio(100 * overall['wins'], decided, 0))}% win rate)"
    size = ("Limited data (fewer than 5 games)" if games < 5 else "Moderate sample size" if games < 15
            else "Large sample size")
    return {"bias": f"{reading} (bias: {fixed(bias)})", "accuracy": accuracy, "sample_size": size}


def news_of(data, date):
    eastern = zoneinfo.ZoneInfo("America/New_York")
    articles = newest((a for a in load(data, "nba_raw.news_articles_raw") if a["sport"] == "nba"
                       and stamp(a["published_at"]).astimezone(eastern).date() <= date),
                      lambda a: a["article_id"], lambda a: stamp(a["scraped_at"]))
    insights = newest(load(data, "nba_analytics.news_insights"), lambda i: i["article_id"],
                      lambda i: stamp(i["extracted_at"]))
    about = grouped(load(data, "nba_analytics.news_player_links"), lambda l: l["player_lookup"])
    found = {}
    for who, links in about.items():
        ids = {l["article_id"] for l in links if l["sport"] == "nba" and l["article_id"] in articles}
        order = sorted(ids, key=lambda i: (-stamp(articles[i]["published_at"]).timestamp(), i))[:5]
        found[who] = []
        for i in order:
            a, insight = articles[i], insights.get(i, {})
            title = a["title"] if len(a["title"]) <= 50 else a["title"][:47] + "..."
            found[who].append({"headline": insight.get("headline") or title,
                               "category": insight.get("category") or "other",
                               "source": SOURCES.get(a["source"], a["source"]), "source_url": a["source_url"],
                               "published_at": stamp(a["published_at"])})
    return found


def documents(args):
    data, date, season = args.data, args.date, season_of(args.date)
    window = f"game_date BETWEEN DATE '{date - dt.timedelta(days=730)}' AND DATE '{date}'"
    graded = load(data, "nba_predictions.prediction_accuracy",
                  f"{window} AND system_id = '{args.champion}' AND is_voided IS NOT TRUE")
    graded = newest(graded, lambda r: (r["player_lookup"], r["game_id"]), lambda r: stamp(r["graded_at"])).values()
    boxes, called, news = box_scores(data, window), names(data, season), news_of(data, date)
    tonight = {who: u for (who, _), u in sorted(slate(data, date).items(), reverse=True)}
    predicted = predictions(data, date, args.champion)
    index = []
    for who, rows in grouped(graded, lambda r: r["player_lookup"]).items():
        if len(rows) < args.min_games:
            continue
        entries, name = boxes.get(who, []), called.get(who, who)
        team = entries[0]["team_abbr"] if entries else None
        overall = calls(rows)
        near = lambda column: ratio(sum(r[column] is True for r in rows), sum(r[column] is not None for r in rows)) or 0
        mae, bias = mean(r["absolute_error"] for r in rows), mean(r["signed_error"] for r in rows)
        days = [r["game_date"] for r in rows]
        u = tonight.get(who)
        summary = {
            "player_name": name, "team": team, "team_abbr": team, "games_predicted": len(rows),
            "total_recommendations": overall["total"], "correct": overall["wins"], "mae": mae,
            "win_rate": overall["pct"], "bias": bias, "avg_confidence": mean((r["confidence_score"] for r in rows), 3),
            "within_3_pct": near("within_3_points"), "within_5_pct": near("within_5_points"),
            "date_range": {"first": min(days), "last": max(days)}}
        yield f"players/{who}.json", {
            "player_lookup": who, "player_full_name": name, "generated_at": args.now,
            "recent_news": news.get(who, []), "summary": summary,
            "interpretation": interpretation(bias, overall, len(rows)),
            "game_log": [log_line(e) for e in entries[:50]], "splits": splits(entries, season),
            "our_track_record": {
                "total_predictions": len(rows),
                "overall": {k: overall[k] for k in ("wins", "losses", "pct")},
                "over_calls": calls(rows, "OVER"), "under_calls": calls(rows, "UNDER"), "avg_error": mae, "bias": bias,
                "within_3_pts": summary["within_3_pct"], "within_5_pts": summary["within_5_pct"]},
            "next_game": u and {"game_date": u["game_date"], "game_id": u["game_id"],
                                "opponent": u["opponent_team_abbr"], "home_game": u["home_game"],
                                "has_prediction": (who, u["game_id"]) in predicted},
        }
        index.append({"player_lookup": who, "player_full_name": name, "team": team, "games_predicted": len(rows),
                      "recommendations": overall["total"], "mae": mae, "win_rate": overall["pct"], "bias": bias,
                      "within_5_pct": summary["within_5_pct"]})
    index.sort(key=lambda p: (-p["games_predicted"], p["player_lookup"]))
    yield "players/index.json", {"generated_at": args.now, "total_players": len(index), "players": index}


if __name__ == "__main__":
    main(documents)
