SELECT game_date,
       COUNT(*) AS total_predictions,
       COUNTIF(result <> 'PASS') AS recommendations,
       COUNTIF(result = 'WIN') AS correct,
       COUNTIF(result = 'LOSS') AS incorrect,
       COUNTIF(result = 'PASS') AS pass_count,
       COALESCE(ROUND(COUNTIF(result = 'WIN') / NULLIF(COUNTIF(result IN ('WIN', 'LOSS')), 0), 3), 0) AS win_rate,
       ROUND(AVG(absolute_error), 1) AS avg_mae,
       ROUND(AVG(signed_error), 1) AS avg_bias,
       COUNTIF(within_3_points) AS within_3_points,
       ROUND(COUNTIF(within_3_points) / COUNT(*), 3) AS within_3_pct,
       COUNTIF(within_5_points) AS within_5_points,
       ROUND(COUNTIF(within_5_points) / COUNT(*), 3) AS within_5_pct
FROM (SELECT *, CASE WHEN recommendation NOT IN ('OVER', 'UNDER') THEN 'PASS' WHEN prediction_correct THEN 'WIN'
                     WHEN actual_points = line_value THEN 'PUSH' ELSE 'LOSS' END AS result
      FROM `nba_predictions.prediction_accuracy`
      WHERE system_id = {{ vars.champion }} AND game_date BETWEEN DATE '2021-10-01' AND DATE '2022-06-30'
        AND NOT is_voided)
GROUP BY game_date
ORDER BY game_date
