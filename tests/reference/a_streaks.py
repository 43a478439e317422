"""streaks/today.json from the raw tables, by the rules of exports.md."""

import a_common as c

LEAST = 4
LAST = 20


def run_length(values):
    """How many of the values, newest first, are like the first."""
    count = 0
    for value in values[:LAST]:
        if value != values[0]:
            break
        count += 1
    return count


def by_player(rows):
    """Rows by player, newest first."""
    found = {}
    for row in sorted(rows, key=lambda row: (row["game_date"], row["game_id"]), reverse=True):
        found.setdefault(row["player_lookup"], []).append(row)
    return found


def document(tables, day, champion, now, today=None):
    season = c.season_of(day)
    seen = by_player(tables.rows("nba_analytics.player_game_summary", "game_date <= ? AND game_date >= ?",
                                 day, day - c.datetime.timedelta(days=365)))
    names = {row["player_lookup"]: row["player_name"]
             for row in tables.rows("nba_reference.nba_players_registry") if int(row["season"][:4]) == season}

    def who(player):
        newest = seen[player][0]
        return {"player_lookup": player, "player_full_name": names.get(player) or newest["player_full_name"] or player,
                "team": newest["team_abbr"]}

    lines = {"OVER": [], "UNDER": []}
    for player, rows in seen.items():
        games = [row for row in rows if row["season_year"] == season and row["over_under_result"] is not None]
        results = [row["over_under_result"] for row in games]
        if not results or results[0] not in lines or run_length(results) < LEAST:
            continue
        run = games[:run_length(results)]
        margin = c.rounded(c.mean(row["points"] - row["points_line"] for row in run), 1)
        lines[results[0]].append({
            **who(player), "streak_length": len(run), "avg_margin": margin,
            "games": [{"game_date": str(row["game_date"]), "points": row["points"], "line": c.number(row["points_line"]),
                       "opponent": row["opponent_team_abbr"]} for row in run[:5]],
        })
    for found in lines.values():
        found.sort(key=lambda made: (-made["streak_length"], -made["avg_margin"], made["player_lookup"]))
        del found[50:]

    calls = [row for row in tables.rows("nba_predictions.prediction_accuracy",
                                        "system_id = ? AND game_date <= ? AND game_date >= ?", champion, day,
                                        day - c.datetime.timedelta(days=180))
             if row["recommendation"] in ("OVER", "UNDER") and not row["is_voided"]]
    hits = []
    for player, rows in by_player(calls).items():
        right = [row["prediction_correct"] is True for row in rows]
        if right[0] and run_length(right) >= LEAST:
            hits.append({**who(player), "streak_length": run_length(right), "streak_type": "prediction_hits"})
    hits.sort(key=lambda made: (-made["streak_length"], made["player_lookup"]))
    del hits[30:]

    longest = lambda made: max((streak["streak_length"] for streak in made), default=0)
    return {
        "generated_at": now, "as_of_date": str(day), "min_streak_length": LEAST,
        "streaks": {"over": lines["OVER"], "under": lines["UNDER"], "prediction_hits": hits},
        "summary": {
            "total_over_streaks": len(lines["OVER"]), "total_under_streaks": len(lines["UNDER"]),
            "total_prediction_streaks": len(hits), "longest_over": longest(lines["OVER"]),
            "longest_under": longest(lines["UNDER"]), "longest_prediction": longest(hits),
        },
    }
