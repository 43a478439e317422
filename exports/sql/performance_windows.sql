-- One row a system and window. Means of the days are weighted by each day's predictions.
WITH daily AS (
{% include "sql/performance_daily.sql" %}
),
spans AS (
  SELECT 'last_7_days' AS span, DATE_SUB({{ target_date }}, INTERVAL 6 DAY) AS first_day
  UNION ALL
  SELECT 'last_30_days', DATE_SUB({{ target_date }}, INTERVAL 29 DAY)
  UNION ALL
  SELECT 'season', DATE(EXTRACT(YEAR FROM DATE_SUB({{ target_date }}, INTERVAL 9 MONTH)), 10, 1)
)
SELECT
  s.span,
  d.system_id,
  SUM(d.predictions_count) AS predictions,
  SUM(d.recommendations_count) AS recommendations,
  SUM(d.correct_count) AS correct,
  -- a push is in no denominator, where the table tells pushes from misses
  ROUND(SAFE_DIVIDE(CAST(SUM(d.correct_count) AS NUMERIC),
                    SUM(COALESCE(d.correct_count + d.incorrect_count, d.recommendations_count))), 3) AS win_rate,
  ROUND(SAFE_DIVIDE(SUM(d.mae * d.predictions_count),
                    SUM(IF(d.mae IS NULL, 0, d.predictions_count))), 1) AS mae,
  ROUND(SAFE_DIVIDE(SUM(d.avg_bias * d.predictions_count),
                    SUM(IF(d.avg_bias IS NULL, 0, d.predictions_count))), 1) AS bias,
  -- the best bias is the one nearest to none
  ABS(ROUND(SAFE_DIVIDE(SUM(d.avg_bias * d.predictions_count),
                        SUM(IF(d.avg_bias IS NULL, 0, d.predictions_count))), 1)) AS bias_size
FROM spans AS s
JOIN daily AS d ON d.game_date >= s.first_day
GROUP BY s.span, d.system_id
ORDER BY span, system_id
