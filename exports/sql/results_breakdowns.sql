-- One row for each way to cut the day's calls. A call stands in several rows of `context`: at home, and rested.
WITH graded AS (
{% include "sql/results_graded.sql" %}
),
calls AS (
  SELECT * FROM graded WHERE recommendation != 'PASS'
),
cuts AS (
  SELECT 'player_tier' AS breakdown, player_tier AS label, result, error FROM calls
  UNION ALL
  SELECT 'confidence', confidence_tier, result, error FROM calls
  UNION ALL
  SELECT 'recommendation', LOWER(recommendation), result, error FROM calls
  UNION ALL
  SELECT 'context', IF(is_home, 'home', 'away'), result, error FROM calls
  UNION ALL
  SELECT 'context', 'back_to_back', result, error FROM calls WHERE is_back_to_back
  UNION ALL
  SELECT 'context', 'rested', result, error FROM calls WHERE days_rest >= 2
)
SELECT
  breakdown,
  label,
  COUNT(*) AS total,
  COUNTIF(result = 'WIN') AS wins,
  COUNTIF(result = 'LOSS') AS losses,
  COUNTIF(result = 'PUSH') AS pushes,
  COALESCE(ROUND(SAFE_DIVIDE(CAST(COUNTIF(result = 'WIN') AS NUMERIC), COUNTIF(result IN ('WIN', 'LOSS'))), 3), 0) AS win_rate,
  COALESCE(ROUND(AVG(error), 1), 0) AS avg_error
FROM cuts
GROUP BY breakdown, label
ORDER BY breakdown, label
