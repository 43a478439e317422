-- One row a system, in the order of the page, with the season's rates. Exact counts where the table has them; else the
-- days' rates, weighted by the number of predictions.
WITH daily AS (
{% include "sql/performance_daily.sql" %}
),
systems AS (
  SELECT DISTINCT system_id FROM daily
),
rates AS (
  SELECT
    system_id,
    COALESCE(SAFE_DIVIDE(CAST(SUM(over_correct) AS NUMERIC), SUM(over_count)),
             SAFE_DIVIDE(SUM(over_win_rate * predictions_count),
                         SUM(IF(over_win_rate IS NULL, 0, predictions_count)))) AS over_win_rate,
    COALESCE(SAFE_DIVIDE(CAST(SUM(under_correct) AS NUMERIC), SUM(under_count)),
             SAFE_DIVIDE(SUM(under_win_rate * predictions_count),
                         SUM(IF(under_win_rate IS NULL, 0, predictions_count)))) AS under_win_rate,
    SAFE_DIVIDE(SUM(within_3_pct * predictions_count),
                SUM(IF(within_3_pct IS NULL, 0, predictions_count))) AS within_3_pct,
    SAFE_DIVIDE(SUM(within_5_pct * predictions_count),
                SUM(IF(within_5_pct IS NULL, 0, predictions_count))) AS within_5_pct,
    SAFE_DIVIDE(CAST(SUM(high_confidence_correct) AS NUMERIC), SUM(high_confidence_count)) AS high_confidence_win_rate
  FROM daily
  WHERE game_date >= DATE(EXTRACT(YEAR FROM DATE_SUB({{ target_date }}, INTERVAL 9 MONTH)), 10, 1)
  GROUP BY system_id
),
known AS (  -- the page's own list: which system stands where, and what is said of it
  SELECT 'catboost_v12' AS system_id, 1 AS ranking,
         'CatBoost gradient boosting with 37+ features and real Vegas lines' AS description
  UNION ALL SELECT 'ensemble_v1', 2, 'Weighted combination of all prediction systems'
  UNION ALL SELECT 'xgboost_v1', 3, 'Gradient boosted trees trained on historical data'
  UNION ALL SELECT 'moving_average_baseline_v1', 4, 'Weighted moving averages of recent performance'
  UNION ALL SELECT 'similarity_balanced_v1', 5, 'K-nearest neighbor matching to similar historical games'
  UNION ALL SELECT 'zone_matchup_v1', 6, 'Shot zone analysis against opponent defense'
)
SELECT
  s.system_id,
  COALESCE(n.system_name, s.system_id) AS display_name,
  COALESCE(n.description, k.description, '') AS description,
  COALESCE(n.is_champion, FALSE) AS is_primary,
  ROUND(r.over_win_rate, 3) AS over_win_rate,
  ROUND(r.under_win_rate, 3) AS under_win_rate,
  ROUND(r.within_3_pct, 3) AS within_3_pct,
  ROUND(r.within_5_pct, 3) AS within_5_pct,
  ROUND(r.high_confidence_win_rate, 3) AS high_confidence_win_rate
FROM systems AS s
LEFT JOIN rates AS r ON r.system_id = s.system_id
LEFT JOIN `nba_predictions.prediction_systems` AS n ON n.system_id = s.system_id
LEFT JOIN known AS k ON k.system_id = s.system_id
ORDER BY COALESCE(k.ranking, 99), s.system_id
