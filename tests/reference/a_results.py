"""results/{date}.json from the raw tables, by the rules of exports.md."""

import a_common as c


def tier_of_confidence(value):
    if value is None or value < c.fractions.Fraction(55, 100):
        return "low"
    return "high" if value >= c.fractions.Fraction(70, 100) else "medium"


def tier_of_player(average):
    if average is None or average < 15:
        return "role_player"
    return "elite" if average >= 25 else "starter"


def outcome(row, call):
    if call == "PASS":
        return "PASS"
    if row["is_voided"] or row["prediction_correct"] is None:
        return "PUSH"
    return "WIN" if row["prediction_correct"] else "LOSS"


def entry(row, feature):
    call = row["recommendation"] if row["recommendation"] in ("OVER", "UNDER") else "PASS"
    flag = feature["feature_16_value"]
    return {
        "player_lookup": row["player_lookup"],
        "game_id": row["game_id"],
        "team": row["team_abbr"],
        "opponent": row["opponent_team_abbr"],
        "predicted": c.number(row["predicted_points"]),
        "actual": row["actual_points"],
        "line": c.number(row["line_value"]),
        "recommendation": call,
        "result": outcome(row, call),
        "error": c.number(row["absolute_error"]),
        "bias": c.number(row["signed_error"]),
        "confidence": c.number(row["confidence_score"]),
        "minutes": c.number(row["minutes_played"]),
        "confidence_tier": tier_of_confidence(row["confidence_score"]),
        "player_tier": tier_of_player(feature["feature_2_value"]),
        "is_home": bool(feature["is_home"]),
        "is_back_to_back": flag is not None and flag > 0.5,
        "days_rest": 1 if feature["days_rest"] is None else feature["days_rest"],
    }


def cut(pairs):
    """Of (entry, raw row) pairs that are calls."""
    results = [made["result"] for made, _ in pairs]
    wins, losses = results.count("WIN"), results.count("LOSS")
    return {
        "total": len(pairs),
        "wins": wins,
        "losses": losses,
        "pushes": results.count("PUSH"),
        "win_rate": c.rounded(c.ratio(wins, wins + losses) or 0, 3),
        "avg_error": c.rounded(c.mean(raw["absolute_error"] for _, raw in pairs) or 0, 1),
    }


def document(tables, day, champion, now, today=None):
    features = {(row["player_lookup"], row["game_id"]): row
                for row in tables.rows("nba_predictions.ml_feature_store_v2", "game_date = ?", day)}
    raw = tables.rows("nba_predictions.prediction_accuracy", "game_date = ? AND system_id = ?", day, champion)
    raw.sort(key=lambda row: (row["game_id"], row["player_lookup"]))
    pairs = [(entry(row, features.get((row["player_lookup"], row["game_id"]), c.Row())), row) for row in raw]
    calls = [pair for pair in pairs if pair[0]["recommendation"] != "PASS"]
    played = [row for row in raw if not row["is_voided"]]
    wins = sum(made["result"] == "WIN" for made, _ in calls)
    losses = sum(made["result"] == "LOSS" for made, _ in calls)
    within = {n: sum(bool(row["within_%d_points" % n]) for row in played) for n in (3, 5)}

    def where(test):
        return cut([pair for pair in calls if test(pair[0])])

    measured = [pair for pair in pairs if pair[1]["absolute_error"] is not None]
    highlights = {}
    if measured:
        best = min(measured, key=lambda pair: (pair[1]["absolute_error"], pair[0]["player_lookup"]))[0]
        worst = min(measured, key=lambda pair: (-pair[1]["absolute_error"], pair[0]["player_lookup"]))[0]
        shown = lambda made: {"player": made["player_lookup"], "team": made["team"], "predicted": made["predicted"],
                              "actual": made["actual"], "error": made["error"]}
        highlights = {"best_prediction": shown(best),
                      "worst_prediction": {**shown(worst), "minutes": worst["minutes"]}}
    return {
        "game_date": str(day),
        "generated_at": now,
        "summary": {
            "total_predictions": len(pairs),
            "recommendations": len(calls),
            "correct": wins,
            "incorrect": losses,
            "pass_count": len(pairs) - len(calls),
            "win_rate": c.rounded(c.ratio(wins, wins + losses) or 0, 3),
            "avg_mae": c.rounded(c.mean(row["absolute_error"] for row in raw) or 0, 1),
            "avg_bias": c.rounded(c.mean(row["signed_error"] for row in raw) or 0, 1),
            "within_3_points": within[3],
            "within_3_pct": c.rounded(c.ratio(within[3], len(played)) or 0, 3),
            "within_5_points": within[5],
            "within_5_pct": c.rounded(c.ratio(within[5], len(played)) or 0, 3),
        },
        "breakdowns": {
            "by_player_tier": {name: where(lambda made: made["player_tier"] == name)
                               for name in ("elite", "starter", "role_player")},
            "by_confidence": {name: where(lambda made: made["confidence_tier"] == name)
                              for name in ("high", "medium", "low")},
            "by_recommendation": {name: where(lambda made: made["recommendation"] == name.upper())
                                  for name in ("over", "under")},
            "by_context": {
                "home": where(lambda made: made["is_home"]),
                "away": where(lambda made: not made["is_home"]),
                "back_to_back": where(lambda made: made["is_back_to_back"]),
                "rested": where(lambda made: made["days_rest"] >= 2),
            },
        },
        "results": [made for made, _ in pairs],
        "highlights": highlights,
    }
