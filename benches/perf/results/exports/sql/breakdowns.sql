WITH calls AS (
  SELECT game_date, absolute_error,
         CASE WHEN prediction_correct THEN 'WIN' WHEN actual_points = line_value THEN 'PUSH' ELSE 'LOSS' END AS result,
         CASE WHEN confidence_score >= 0.70 THEN 'high' WHEN confidence_score >= 0.55 THEN 'medium'
              ELSE 'low' END AS by_confidence,
         LOWER(recommendation) AS by_recommendation,
         CASE WHEN RIGHT(game_id, 3) = team_abbr THEN 'home' ELSE 'away' END AS by_context
  FROM `nba_predictions.prediction_accuracy`
  WHERE system_id = {{ vars.champion }} AND game_date BETWEEN DATE '2021-10-01' AND DATE '2022-06-30'
    AND NOT is_voided AND recommendation IN ('OVER', 'UNDER')
)
SELECT game_date,
       CASE WHEN GROUPING(by_confidence) = 0 THEN 'by_confidence' WHEN GROUPING(by_recommendation) = 0 THEN 'by_recommendation'
            ELSE 'by_context' END AS breakdown,
       COALESCE(by_confidence, by_recommendation, by_context) AS key,
       COUNT(*) AS total,
       COUNTIF(result = 'WIN') AS wins,
       COUNTIF(result = 'LOSS') AS losses,
       COUNTIF(result = 'PUSH') AS pushes,
       COALESCE(ROUND(COUNTIF(result = 'WIN') / NULLIF(COUNTIF(result IN ('WIN', 'LOSS')), 0), 3), 0) AS win_rate,
       ROUND(AVG(absolute_error), 1) AS avg_error
FROM calls
GROUP BY GROUPING SETS ((game_date, by_confidence), (game_date, by_recommendation), (game_date, by_context))
ORDER BY game_date, breakdown, key
