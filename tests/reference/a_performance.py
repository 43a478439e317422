"""systems/performance.json from the raw tables, by the rules of exports.md."""

import a_common as c

RANKING = ["catboost_v12", "ensemble_v1", "xgboost_v1", "moving_average_baseline_v1", "similarity_balanced_v1",
           "zone_matchup_v1"]
DESCRIPTIONS = {"ensemble_v1": "Weighted combination of all prediction systems",
                "catboost_v12": "CatBoost gradient boosting with 37+ features and real Vegas lines",
                "xgboost_v1": "Gradient boosted trees trained on historical data",
                "moving_average_baseline_v1": "Weighted moving averages of recent performance",
                "similarity_balanced_v1": "K-nearest neighbor matching to similar historical games",
                "zone_matchup_v1": "Shot zone analysis against opponent defense"}


def weighted(rows, name):
    """The mean of a day's figure, by the number of the day's predictions."""
    known = [row for row in rows if row[name] is not None]
    return c.ratio(sum((row[name] * row["predictions_count"] for row in known), c.fractions.Fraction(0)),
                   sum(row["predictions_count"] for row in known))


def total(rows, name):
    known = [row[name] for row in rows if row[name] is not None]
    return sum(known) if known else None


def decided(row):
    return row["recommendations_count"] if row["incorrect_count"] is None else row["correct_count"] + row["incorrect_count"]


def window(rows):
    return {
        "predictions": total(rows, "predictions_count"),
        "recommendations": total(rows, "recommendations_count"),
        "correct": total(rows, "correct_count"),
        "win_rate": c.rounded(c.ratio(total(rows, "correct_count") or 0, sum(map(decided, rows))), 3),
        "mae": c.rounded(weighted(rows, "mae"), 1),
        "bias": c.rounded(weighted(rows, "avg_bias"), 1),
    }


def best(systems, name, measure):
    known = [system for system in systems if system["windows"]["season"][name] is not None]
    found = min(known, key=lambda system: (measure(system["windows"]["season"][name]), system["system_id"]))
    return {"system_id": found["system_id"], "value": found["windows"]["season"][name]}


def document(tables, day, champion, now, today=None):
    names = {row["system_id"]: row for row in tables.rows("nba_predictions.prediction_systems")}
    begin = c.DATE(c.season_of(day), 10, 1)
    month = day - c.datetime.timedelta(days=29)
    daily = tables.rows("nba_predictions.system_daily_performance", "game_date >= ? AND game_date <= ?",
                        min(begin, month), day)
    rank = lambda name: (RANKING.index(name) if name in RANKING else 99, name)
    systems = []
    for name in sorted({row["system_id"] for row in daily}, key=rank):
        rows = [row for row in daily if row["system_id"] == name]
        since = lambda first: [row for row in rows if row["game_date"] >= first]
        season = since(begin)
        known = names.get(name, c.Row())
        over = c.ratio(total(season, "over_correct") or 0, total(season, "over_count"))
        under = c.ratio(total(season, "under_correct") or 0, total(season, "under_count"))
        high = c.ratio(total(season, "high_confidence_correct") or 0, total(season, "high_confidence_count"))
        systems.append({
            "system_id": name,
            "display_name": known["system_name"] or name,
            "description": known["description"] or DESCRIPTIONS.get(name, ""),
            "is_primary": bool(known["is_champion"]),
            "windows": {"last_7_days": window(since(day - c.datetime.timedelta(days=6))),
                        "last_30_days": window(since(month)),
                        "season": window(season)},
            "breakdown": {
                "over_win_rate": c.rounded(weighted(season, "over_win_rate") if over is None else over, 3),
                "under_win_rate": c.rounded(weighted(season, "under_win_rate") if under is None else under, 3),
                "within_3_pct": c.rounded(weighted(season, "within_3_pct"), 3),
                "within_5_pct": c.rounded(weighted(season, "within_5_pct"), 3),
                "high_confidence_win_rate": c.rounded(high, 3),
            },
        })
    comparison = {}
    if any(system["windows"]["season"]["predictions"] is not None for system in systems):
        comparison = {"best_mae": best(systems, "mae", lambda value: value),
                      "best_win_rate": best(systems, "win_rate", lambda value: -value),
                      "lowest_bias": best(systems, "bias", abs)}
    return {"as_of_date": str(day), "generated_at": now, "systems": systems, "comparison": comparison}
