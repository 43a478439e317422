"""`tonight-players` of one date, from raw rows."""

import json
from fractions import Fraction

from b_common import (at_home, box_scores, display_confidence, exact, fatigue, fatigue_level, fixed, injuries, load,
                      main, mean, names, newest, played, predictions, ratio, rounded, season_of, slate, with_rest)
from b_tonight import averages


def form(entries, ppg):
    games = []
    for e in entries[:10]:
        dnp = bool(e["is_dnp"])
        pair = lambda a, b: None if dnp or e[a] is None or e[b] is None else f"{e[a]}/{e[b]}"
        known = not dnp and e["points"] is not None and e["points_line"] is not None
        game = {
            "game_date": e["game_date"], "opponent": e["opponent_team_abbr"], "home_game": at_home(e), "is_dnp": dnp,
            "points": None if dnp else e["points"], "minutes": None if dnp else e["minutes_played"],
            "fg": pair("fg_makes", "fg_attempts"), "three": pair("three_pt_makes", "three_pt_attempts"),
            "ft": pair("ft_makes", "ft_attempts"),
            "over_under": "DNP" if dnp else e["over_under_result"] if e["over_under_result"] in ("OVER", "UNDER")
            else None,
            "line": e["points_line"],
            "margin": rounded(exact(e["points"]) - exact(e["points_line"]), 1) if known else None,
        }
        if ppg is not None and dnp:
            game["vs_avg"] = "DNP"
        elif ppg is not None and e["points"] is not None:
            game["vs_avg"] = "O" if e["points"] > ppg else "U" if e["points"] < ppg else "P"
        games.append(game)
    return games


def streak_of(recent):
    results = [g["over_under"] if g["over_under"] in ("OVER", "UNDER") else None for g in recent]
    while results and results[0] is None:
        results.pop(0)
    if not results:
        return {"type": None, "length": 0}
    length = next((i for i, r in enumerate(results) if r != results[0]), len(results))
    return {"type": results[0].lower(), "length": length}


def defenses(data, date):
    rows = newest(load(data, "nba_precompute.team_defense_zone_analysis", f"analysis_date <= DATE '{date}'"),
                  lambda r: r["team_abbr"], lambda r: r["analysis_date"]).values()
    return {r["team_abbr"]: {
        "rating": r["opponent_points_per_game"],
        "rank": 1 + sum(o["opponent_points_per_game"] < r["opponent_points_per_game"] for o in rows),
        "position_ppg_allowed": None, "position_ppg_rank": None} for r in rows}


def movement(u, call):
    opened, current = u["opening_points_line"], u["current_points_line"]
    if opened is None or current is None:
        return None
    moved = u["line_movement"] or current - opened
    favorable = None
    if call and moved != 0:
        favorable = (moved < 0 and call["recommendation"] == "OVER") or (
            moved > 0 and call["recommendation"] == "UNDER")
    return {"opened": opened, "current": current, "movement": moved, "favorable": favorable}


def toward(difference):
    return "positive" if difference > 0 else "negative" if difference < 0 else "neutral"


def candidates(u, rest, score, entries, recent, numbers, defense, line, streak, season):
    """Every angle, in the order of the contract's list of ids."""
    games = [e for e in entries if played(e) and e["season_year"] == season]
    points = lambda wanted: (mean(g["points"] for g in games if wanted(g)), sum(map(wanted, games)))
    ppg, mpg = numbers["season_ppg"], numbers["season_mpg"]
    found = []

    def add(id, factor, direction, weight, description):
        found.append({"id": id, "factor": factor, "direction": direction,
                      "magnitude": rounded(weight, 2), "description": description})

    tired, count = points(lambda g: g["rest"] == 0)
    other, _ = points(lambda g: g["rest"] != 0)
    if u["back_to_back"] and tired is not None and other is not None:
        weight = min(abs(tired - other) / 8, 1) * (Fraction(7, 10) if count < 3 else 1)
        add("b2b", "Back-to-Back", "negative" if tired < other else "positive", weight,
            f"Averages {fixed(tired)} on back-to-backs vs {fixed(other)} normally ({fixed(tired - other, 1, True)})")

    home, homes = points(at_home)
    away, aways = points(lambda g: not at_home(g))
    if u["home_game"] is not None and home is not None and away is not None:
        here, there, times = (home, away, homes) if u["home_game"] else (away, home, aways)
        places = ("at home", "on the road")[:: 1 if u["home_game"] else -1]
        if times >= 3:
            add("location", "Home" if u["home_game"] else "Away", toward(here - there), min(abs(here - there) / 5, 1),
                f"Scores {fixed(here)} {places[0]} vs {fixed(there)} {places[1]}")

    opponent = u["opponent_team_abbr"]
    against, times = points(lambda g: g["opponent_team_abbr"] == opponent)
    if against is not None and ppg is not None:
        add("vs_opponent", f"vs {opponent}", toward(against - ppg),
            min(abs(against - ppg) / 6, 1) * (Fraction(6, 10) if times == 1 else 1),
            f"Averages {fixed(against)} vs {opponent} ({times} {'game' if times == 1 else 'games'}), "
            f"season avg {fixed(ppg)}")

    rested, _ = points(lambda g: g["rest"] is not None and g["rest"] >= 2)
    well_rested = rest is not None and rest >= 3 and rested is not None and ppg is not None
    if well_rested:
        add("rest", "Extra Rest", toward(rested - ppg), min(abs(rested - ppg) / 5 * Fraction(8, 10), 1),
            f"{rest} days rest — averages {fixed(rested)} when rested vs {fixed(ppg)} season")

    if score is not None and score < 75:
        add("fatigue", "Fatigue", "negative", Fraction(100 - score, 100) * Fraction(7, 10),
            "Heavy recent workload, elevated fatigue risk")
    elif score is not None and score >= 95 and not well_rested:
        add("fatigue", "Fresh Legs", "positive", Fraction(3, 10),
            f"Fully rested, {rest} days off" if rest else "Light recent workload, fully rested")

    if defense and (defense["rank"] <= 10 or defense["rank"] > 20):
        rank = defense["rank"]
        kind, weight = (("elite", Fraction(30 - rank, 30) * Fraction(9, 10)) if rank <= 5 else
                        ("good", Fraction(30 - rank, 30) * Fraction(7, 10)) if rank <= 10 else
                        ("weak", Fraction(rank - 1, 30) * Fraction(7, 10)))
        add("opponent_defense", "Opponent Defense", "positive" if kind == "weak" else "negative", weight,
            f"{opponent} rank #{rank} in defense ({kind}), allowing {fixed(defense['rating'])} PPG")

    five, ten = numbers["last_5_ppg"], numbers["last_10_ppg"]
    if five is not None and ppg is not None and abs(five - ppg) >= 2:
        up = five > ppg
        add("scoring_trend", "Scoring Surge" if up else "Scoring Dip", toward(five - ppg), min(abs(five - ppg) / 6, 1),
            f"Averaging {fixed(five)} over last 5, {'up' if up else 'down'} {fixed(abs(five - ppg))} "
            f"from his {fixed(ppg)} season mark")

    if line is not None and ten is not None and abs(exact(line) - ten) >= 2:
        gap = exact(line) - ten
        add("line_vs_avg", "Line Gap", toward(-gap), min(abs(gap) / 5 * Fraction(9, 10), 1),
            f"Line of {fixed(line)} is {fixed(abs(gap))} {'below' if gap < 0 else 'above'} "
            f"his last 10 average of {fixed(ten)}")

    minutes = numbers["last_5_mpg"]
    if minutes is not None and mpg is not None and abs(minutes - mpg) >= 3:
        up = minutes > mpg
        add("minutes_trend", "Minutes Up" if up else "Minutes Down", toward(minutes - mpg),
            min(abs(minutes - mpg) / 6 * Fraction(7, 10), 1),
            f"Playing {fixed(minutes)} MPG over last 5, {'up' if up else 'down'} {fixed(abs(minutes - mpg))} "
            f"from {fixed(mpg)} season")

    if streak["length"] >= 3:
        decided = [g["over_under"] for g in recent if g["over_under"] in ("OVER", "UNDER")]
        kind = streak["type"].upper()
        add("streak", f"{kind} Streak", "positive" if kind == "OVER" else "negative",
            min(Fraction(streak["length"], 6) * Fraction(8, 10), 1),
            f"{streak['length']} straight {kind}s, {decided.count('OVER')}-of-{len(decided)} over rate "
            f"in last {len(recent)}")

    shots = [e for e in entries[:10] if played(e)]
    made = lambda rows: (sum(r["fg_makes"] or 0 for r in rows), sum(r["fg_attempts"] or 0 for r in rows))
    (makes_5, tries_5), (makes, tries) = made(shots[:5]), made(shots)
    if len(shots) >= 5 and tries_5 >= 20 and tries >= 20:
        pct_5, pct = ratio(100 * makes_5, tries_5, 1), ratio(100 * makes, tries, 1)
        if abs(pct_5 - pct) >= 3:
            up = pct_5 > pct
            add("fg_efficiency", "Shooting Hot" if up else "Shooting Cold", toward(pct_5 - pct),
                min(abs(pct_5 - pct) / 8 * Fraction(6, 10), 1),
                f"Shooting {fixed(pct_5)}% over last 5, {'up' if up else 'down'} from {fixed(pct)}% "
                f"over last {len(shots)}")
    return found


def documents(args):
    data, date = args.data, args.date
    season = season_of(date)
    people = slate(data, date)
    lookups = "', '".join(sorted({k[0] for k in people}))
    boxes = box_scores(data, f"game_date < DATE '{date}' AND player_lookup IN ('{lookups}')")
    calls, tired, hurt = predictions(data, date, args.champion), fatigue(data, date), injuries(data, date)
    called, teams = names(data, season), defenses(data, date)
    for (who, game_id), u in people.items():
        entries = with_rest(boxes.get(who, []))
        avg = averages(entries, season, date)
        recent = form(entries, avg["season_ppg"])
        call, report = calls.get((who, game_id)), hurt.get(who)
        line = call and call["current_points_line"]
        row = tired.get((who, game_id), {})
        score, context = row.get("fatigue_score"), row.get("fatigue_context_json")
        while isinstance(context, str):
            context = json.loads(context)
        rest = u["days_rest"]
        if rest is None and entries:
            rest = (date - entries[0]["game_date"]).days - 1
        numbers = {k: avg[k] for k in ("season_ppg", "season_mpg", "games_played", "last_10_ppg", "last_10_mpg",
                                       "last_5_ppg", "last_5_mpg")}
        streak, defense = streak_of(recent), teams.get(u["opponent_team_abbr"])
        angles = candidates(u, rest, score, entries, recent, numbers, defense, line, streak, season)
        yield f"tonight/player/{date}/{who}.json", {
            "player_lookup": who, "player_full_name": called.get(who, who), "game_date": date,
            "generated_at": args.now, "games_played": avg["games_played"], "limited_data": avg["games_played"] < 10,
            "game_context": {
                "game_id": game_id, "opponent": u["opponent_team_abbr"],
                "home_game": at_home(u) if u["home_game"] is None else u["home_game"],
                "team_abbr": u["team_abbr"], "line": line, "days_rest": rest, "is_back_to_back": u["back_to_back"],
                "injury_status": report["injury_status"].lower() if report else None,
                "injury_reason": report["reason"] if report else None},
            "quick_numbers": numbers, "opponent_defense": defense, "line_movement": movement(u, call),
            "fatigue": {"score": score, "level": fatigue_level(score), "context": context},
            "current_streak": streak,
            "tonights_factors": sorted(angles, key=lambda a: -a["magnitude"])[:4],
            "recent_form": recent,
            "prediction": call and {
                "predicted_points": call["predicted_points"],
                "confidence_score": display_confidence(call["predicted_points"], line, call["confidence_score"],
                                                       call["recommendation"]),
                "recommendation": call["recommendation"], "line": line,
                "edge": None if line is None else rounded(exact(call["predicted_points"]) - exact(line), 1),
                "pace_adjustment": call["pace_adjustment"], "similar_games": call["similar_games_count"]},
        }


if __name__ == "__main__":
    main(documents)
