"""best-bets/{date}.json from the raw tables, by the rules of exports.md. The texts are not part of the rules."""

import a_common as c

HUNDREDTH = c.fractions.Fraction(1, 100)


def histories(tables, day, champion):
    """Per player: (calls that count, those that were right)."""
    found = {}
    first = day - c.datetime.timedelta(days=730)
    for row in tables.rows("nba_predictions.prediction_accuracy",
                           "system_id = ? AND game_date >= ? AND game_date < ?", champion, first, day):
        if row["recommendation"] == "UNDER" and not row["is_voided"] and row["prediction_correct"] is not None:
            games, right = found.get(row["player_lookup"], (0, 0))
            found[row["player_lookup"]] = (games + 1, right + row["prediction_correct"])
    return found


def live(tables, day, champion):
    """Candidates of a day that is not over: from the live predictions."""
    active = tables.rows("nba_predictions.player_prop_predictions", "game_date = ? AND system_id = ? AND is_active",
                         day, champion)
    context = {(row["player_lookup"], row["game_id"]): row
               for row in tables.rows("nba_analytics.upcoming_player_game_context", "game_date = ?", day)}
    points = {(row["player_lookup"], row["game_id"]): row["points"]
              for row in tables.rows("nba_analytics.player_game_summary", "game_date = ?", day)}
    for row in c.newest(active, "player_lookup", "created_at", "prediction_id").values():
        key = (row["player_lookup"], row["game_id"])
        actual, line = points.get(key), row["current_points_line"]
        result = "PENDING"
        if actual is not None and line is not None:
            right = actual > line if row["recommendation"] == "OVER" else actual < line
            result = "PUSH" if actual == line else "WIN" if right else "LOSS"
        yield {
            "row": row, "line": line, "confidence": row["confidence_score"] * HUNDREDTH, "actual": actual,
            "team": context.get(key, c.Row())["team_abbr"], "opponent": context.get(key, c.Row())["opponent_team_abbr"],
            "error": None if actual is None else abs(row["predicted_points"] - actual), "result": result, "quality": row,
        }


def graded(tables, day, champion):
    """Candidates of a day that is over: from the graded predictions."""
    quality = {(row["player_lookup"], row["game_id"]): row
               for row in tables.rows("nba_predictions.ml_feature_store_v2", "game_date = ?", day)}
    for row in tables.rows("nba_predictions.prediction_accuracy", "game_date = ? AND system_id = ?", day, champion):
        if row["line_value"] == 20:
            continue
        if row["is_voided"]:
            result = "PUSH"
        elif row["actual_points"] is None:
            result = "PENDING"
        else:
            result = {True: "WIN", False: "LOSS", None: "PUSH"}[row["prediction_correct"]]
        yield {
            "row": row, "line": row["line_value"], "confidence": row["confidence_score"], "actual": row["actual_points"],
            "team": row["team_abbr"], "opponent": row["opponent_team_abbr"], "error": row["absolute_error"],
            "result": result, "quality": quality.get((row["player_lookup"], row["game_id"]), c.Row()),
        }


def wanted(candidate):
    row, confidence = candidate["row"], candidate["confidence"]
    return (row["recommendation"] in ("OVER", "UNDER") and candidate["line"] is not None
            and row["predicted_points"] < 25 and not 88 * HUNDREDTH <= confidence < 90 * HUNDREDTH
            and candidate["quality"]["quality_alert_level"] == "green")


def fatigue_level(score):
    if score is None:
        return None
    return "fresh" if score >= 95 else "normal" if score >= 75 else "tired"


def document(tables, day, champion, now, today=None):
    source = live if day >= (today or day) else graded
    history = histories(tables, day, champion)
    names = c.newest([row for row in tables.rows("nba_reference.nba_players_registry")
                      if int(row["season"][:4]) <= c.season_of(day)], "player_lookup", "season")
    fatigue = {(row["player_lookup"], row["game_id"]): row["fatigue_score"]
               for row in tables.rows("nba_precompute.player_composite_factors", "game_date = ?", day)}
    tiers = {"premium": [], "strong": [], "value": []}
    for candidate in filter(wanted, source(tables, day, champion)):
        games, right = history.get(candidate["row"]["player_lookup"], (None, None))
        edge = abs(candidate["row"]["predicted_points"] - candidate["line"])
        accuracy = None if games is None else c.ratio(right, games)
        trust = accuracy if games is not None and games >= 5 else 85 * HUNDREDTH
        score = candidate["confidence"] * min(c.fractions.Fraction(3, 2), 1 + edge / 10) * trust
        tier = "premium" if edge >= 5 else "strong" if edge >= 3 else "value"
        tiers[tier].append((-score, candidate["row"]["player_lookup"], edge, accuracy, games, candidate))
    picks = []
    for tier, most in (("premium", 5), ("strong", 10), ("value", 10)):
        for score, player, edge, accuracy, games, candidate in sorted(tiers[tier], key=lambda made: made[:2])[:most]:
            row = candidate["row"]
            tired = fatigue.get((player, row["game_id"]))
            picks.append({
                "rank": len(picks) + 1, "tier": tier, "player_lookup": player,
                "player_full_name": names.get(player, c.Row())["player_name"] or player, "game_id": row["game_id"],
                "team": candidate["team"], "opponent": candidate["opponent"], "recommendation": row["recommendation"],
                "line": c.number(candidate["line"]), "predicted": c.number(row["predicted_points"]),
                "edge": c.rounded(edge, 1), "confidence": c.rounded(candidate["confidence"], 3),
                "composite_score": c.rounded(-score, 3), "player_historical_accuracy": c.rounded(accuracy, 3),
                "player_sample_size": games, "fatigue_score": tired, "fatigue_level": fatigue_level(tired),
                "result": candidate["result"], "actual": candidate["actual"], "error": c.number(candidate["error"]),
                "quality_alert_level": candidate["quality"]["quality_alert_level"],
                "feature_quality_score": c.number(candidate["quality"]["feature_quality_score"]),
                "default_feature_count": candidate["quality"]["default_feature_count"],
            })
    picks = picks[:25]
    summary = {tier: sum(pick["tier"] == tier for pick in picks) for tier in ("premium", "strong", "value", "standard")}
    return {"game_date": str(day), "generated_at": now, "total_picks": len(picks), "tier_summary": summary, "picks": picks}
