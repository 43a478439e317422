"""`tonight` of one date, from raw rows."""

import zoneinfo

from b_common import (at_home, box_scores, display_confidence, exact, fatigue, fatigue_level, fixed, grouped, injuries,
                      load, main, mean, names, newest, played, predictions, ratio, rounded, season_of, slate, stamp,
                      with_rest)

LISTS = ["points", "lines", "minutes", "fg_pct", "three_pct", "plus_minus", "fta", "days_rest", "home_away"]


def games_of(data, date):
    rows = load(data, "nba_raw.nbac_schedule", f"game_date = DATE '{date}'")
    rows = newest(rows, lambda r: r["game_id"], lambda r: stamp(r["processed_at"])).values()
    games = []
    for r in rows:
        time = None
        if r["game_date_est"] is not None:
            local = stamp(r["game_date_est"]).astimezone(zoneinfo.ZoneInfo("America/New_York"))
            time = f"{(local.hour + 11) % 12 + 1}:{local.minute:02} {'AM' if local.hour < 12 else 'PM'} ET"
        status = {2: "in_progress", 3: "final"}.get(r["game_status"], "scheduled")
        scored = status != "scheduled"
        away, home = r["away_team_tricode"], r["home_team_tricode"]
        games.append((r["game_date_est"] is None, stamp(r["game_date_est"]), f"{date:%Y%m%d}_{away}_{home}", {
            "game_id": f"{date:%Y%m%d}_{away}_{home}", "home_team": home, "away_team": away, "game_time": time,
            "game_status": status, "home_score": r["home_team_score"] if scored else None,
            "away_score": r["away_team_score"] if scored else None}))
    return [g[3] for g in sorted(games, key=lambda g: g[:3])]


def odds_of(data, date):
    best = {}
    for r in load(data, "nba_raw.bettingpros_player_points_props",
                  f"game_date = DATE '{date}' AND market_type = 'points' AND is_best_line"):
        if -100 < r["odds_american"] < 100:
            continue
        key = (r["player_lookup"], rounded(r["points_line"], 1), r["bet_side"])
        best[key] = max(best.get(key, r["odds_american"]), r["odds_american"])
    return best


def averages(entries, season, date):
    games = [e for e in entries if played(e)]
    this = [g for g in games if g["season_year"] == season]
    total = lambda name: sum(g[name] or 0 for g in this)
    return {
        "season_ppg": mean(g["points"] for g in this),
        "season_mpg": mean(g["minutes_played"] for g in this),
        "season_fg_pct": ratio(total("fg_makes"), total("fg_attempts")),
        "season_three_pct": ratio(total("three_pt_makes"), total("three_pt_attempts")),
        "season_plus_minus": mean(g["plus_minus"] for g in this),
        "season_fta": mean(g["ft_attempts"] for g in this),
        "last_5_ppg": mean(g["points"] for g in games[:5]),
        "last_5_mpg": mean(g["minutes_played"] for g in games[:5]),
        "last_10_ppg": mean(g["points"] for g in games[:10]),
        "last_10_mpg": mean(g["minutes_played"] for g in games[:10]),
        "last_30d_ppg": mean(g["points"] for g in games if (date - g["game_date"]).days <= 30),
        "games_played": len(this),
    }


def last_10(entries, ppg):
    lists = {name: [] for name in LISTS}
    results, against = [], []
    for e in entries[:10]:
        if e["is_dnp"]:
            for name in LISTS:
                lists[name].append(None)
            results.append("DNP")
            against.append("DNP")
            continue
        lists["points"].append(e["points"])
        lists["lines"].append(e["points_line"])
        lists["minutes"].append(None if e["minutes_played"] is None else int(rounded(e["minutes_played"], 0)))
        lists["fg_pct"].append(ratio(e["fg_makes"], e["fg_attempts"]) if e["fg_makes"] is not None else None)
        lists["three_pct"].append(
            ratio(e["three_pt_makes"], e["three_pt_attempts"]) if e["three_pt_makes"] is not None else None)
        lists["plus_minus"].append(e["plus_minus"])
        lists["fta"].append(e["ft_attempts"])
        lists["days_rest"].append(e["rest"])
        lists["home_away"].append(at_home(e))
        results.append({"OVER": "O", "UNDER": "U"}.get(e["over_under_result"], "-"))
        if e["points"] is None or ppg is None:
            against.append("-")
        else:
            against.append("O" if e["points"] > ppg else "U" if e["points"] < ppg else "P")
    out = {f"last_10_{name}": lists[name] for name in LISTS}
    overs, unders = results.count("O"), results.count("U")
    out["last_10_results"] = results
    out["last_10_record"] = f"{overs}-{unders}" if overs + unders else None
    if ppg is not None:
        out["last_10_vs_avg"] = against
        out["last_10_avg_record"] = f"{against.count('O')}-{against.count('U')}"
    return out, overs, unders


def factors(player, prediction, overs, unders):
    call = prediction["recommendation"]
    edge = abs(exact(prediction["predicted_points"]) - exact(prediction["current_points_line"]))
    found = []
    if edge >= 5:
        found.append(f"Strong model conviction ({fixed(edge)} point edge)")
    elif edge >= 3:
        found.append(f"Solid model edge ({fixed(edge)} points)")
    if overs + unders >= 5:
        record = f"{overs}-{unders} last 10"
        if call == "OVER" and overs >= 5:
            found.append(("Hot over streak: " if overs >= 7 else "Trending over: ") + record)
        if call == "UNDER" and unders >= 5:
            found.append(("Cold under streak: " if unders >= 7 else "Trending under: ") + record)
    rest = player["days_rest"]
    if call == "OVER" and (player["fatigue_level"] == "fresh" or (rest is not None and rest >= 3)):
        found.append("Well-rested, favors performance")
    if call == "UNDER" and (player["fatigue_level"] == "tired" or rest == 0):
        found.append("Back-to-back fatigue risk")
    if player["recent_form"] == "Hot" and call == "OVER":
        found.append(f"Scoring surge: +{fixed(player['last_5_ppg'] - player['season_ppg'])} vs season avg")
    if player["recent_form"] == "Cold" and call == "UNDER":
        found.append(f"Recent slump: -{fixed(player['season_ppg'] - player['last_5_ppg'])} vs season avg")
    return found[:4]


def documents(args):
    data, date = args.data, args.date
    season = season_of(date)
    people = slate(data, date)
    lookups = "', '".join(sorted({k[0] for k in people}))
    boxes = box_scores(data, f"game_date < DATE '{date}' AND player_lookup IN ('{lookups}')")
    today = box_scores(data, f"game_date = DATE '{date}'")
    calls, tired, hurt = predictions(data, date, args.champion), fatigue(data, date), injuries(data, date)
    called, odds = names(data, season), odds_of(data, date)
    by_game = grouped(people.values(), lambda r: r["game_id"])
    games, total, lines = games_of(data, date), 0, 0
    for game in games:
        players = []
        for u in by_game[game["game_id"]]:
            who = u["player_lookup"]
            entries = with_rest(boxes.get(who, []))
            avg = averages(entries, season, date)
            call = calls.get((who, u["game_id"]))
            line = call and call["current_points_line"]
            has_line = line is not None
            score = tired.get((who, u["game_id"]), {}).get("fatigue_score")
            report = hurt.get(who)
            actual = next((b["points"] for b in today.get(who, []) if b["game_id"] == u["game_id"]), None)
            recs = call and call["recommendation"]
            result = None
            if has_line and actual is not None and recs in ("OVER", "UNDER"):
                result = "PUSH" if actual == line else "WIN" if (actual > line) == (recs == "OVER") else "LOSS"
            ppg, five = avg["season_ppg"], avg["last_5_ppg"]
            form = None
            if ppg is not None and five is not None:
                form = "Hot" if five - ppg >= 3 else "Cold" if five - ppg <= -3 else "Neutral"
            player = {
                "player_lookup": who, "name": called.get(who, who), "team": u["team_abbr"], "is_home": u["home_game"],
                "has_line": has_line, "fatigue_level": fatigue_level(score), "fatigue_score": score,
                "days_rest": u["days_rest"],
                "injury_status": report["injury_status"].lower() if report else "available",
                "injury_reason": report["reason"] if report else None,
                **{k: avg[k] for k in ("season_ppg", "season_mpg", "season_fg_pct", "season_three_pct",
                                       "season_plus_minus", "season_fta")},
                "minutes_avg": avg["season_mpg"], "last_5_ppg": five, "last_30d_ppg": avg["last_30d_ppg"],
                "games_played": avg["games_played"], "actual_points": actual, "result": result,
                "limited_data": avg["games_played"] < 10, "recent_form": form,
            }
            tail, overs, unders = last_10(entries, ppg)
            player.update(tail)
            confidence = 0
            if has_line:
                confidence = display_confidence(call["predicted_points"], line, call["confidence_score"], recs)
                over, under = (odds.get((who, exact(line), side)) for side in ("over", "under"))
                player["props"] = [{"stat_type": "points", "line": line, "over_odds": over, "under_odds": under}]
                player["prediction"] = {"predicted": call["predicted_points"], "confidence": confidence,
                                        "recommendation": recs, "factors": factors(player, call, overs, unders)}
            order = (not has_line, player["injury_status"] == "out", -confidence, ppg is None, -(ppg or 0), who)
            players.append((order, player))
        game["player_count"] = len(players)
        game["players"] = [p for _, p in sorted(players, key=lambda p: p[0])]
        total += len(players)
        lines += sum(p["has_line"] for p in game["players"])
    yield f"tonight/{date}.json", {"game_date": date, "generated_at": args.now, "total_players": total,
                                   "total_with_lines": lines, "games": games}


if __name__ == "__main__":
    main(documents)
