"""predictions/{date}.json from the raw tables, by the rules of exports.md."""

import a_common as c


def document(tables, day, champion, now, today=None):
    context = {(row["player_lookup"], row["game_id"]): row
               for row in tables.rows("nba_analytics.upcoming_player_game_context", "game_date = ?", day)}
    active = tables.rows("nba_predictions.player_prop_predictions", "game_date = ? AND system_id = ? AND is_active",
                         day, champion)
    rows = list(c.newest(active, "player_lookup", "created_at", "prediction_id").values())
    games = []
    for game in sorted({row["game_id"] for row in rows}):
        _, away, home = game.split("_")
        here = sorted((row for row in rows if row["game_id"] == game),
                      key=lambda row: (-row["confidence_score"], row["player_lookup"]))
        calls = [row["recommendation"] for row in here]
        made = []
        for row in here:
            line = row["current_points_line"]
            player = context.get((row["player_lookup"], game), c.Row())
            made.append({
                "player_lookup": row["player_lookup"],
                "team": player["team_abbr"],
                "is_home": player["home_game"],
                "prediction": {
                    "points": c.number(row["predicted_points"]),
                    "confidence": c.number(row["confidence_score"]),
                    "recommendation": row["recommendation"],
                    "line": c.number(line),
                    "edge": None if line is None else c.rounded(row["predicted_points"] - line, 1),
                },
                "context": {"pace_adjustment": c.number(row["pace_adjustment"]), "similar_games": row["similar_games_count"]},
            })
        games.append({
            "game_id": game, "home_team": home, "away_team": away, "prediction_count": len(made),
            "recommendation_breakdown": {name.lower(): calls.count(name) for name in ("OVER", "UNDER", "PASS")},
            "predictions": made,
        })
    return {"game_date": str(day), "generated_at": now, "total_games": len(games), "total_predictions": len(rows),
            "games": games}
