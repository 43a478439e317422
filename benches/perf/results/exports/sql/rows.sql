SELECT game_date,
       player_lookup,
       game_id,
       team_abbr AS team,
       opponent_team_abbr AS opponent,
       predicted_points AS predicted,
       actual_points AS actual,
       line_value AS line,
       recommendation,
       CASE WHEN recommendation NOT IN ('OVER', 'UNDER') THEN 'PASS' WHEN prediction_correct THEN 'WIN'
            WHEN actual_points = line_value THEN 'PUSH' ELSE 'LOSS' END AS result,
       absolute_error AS error,
       signed_error AS bias,
       confidence_score AS confidence,
       minutes_played AS minutes,
       CASE WHEN confidence_score >= 0.70 THEN 'high' WHEN confidence_score >= 0.55 THEN 'medium'
            ELSE 'low' END AS confidence_tier,
       RIGHT(game_id, 3) = team_abbr AS is_home
FROM `nba_predictions.prediction_accuracy`
WHERE system_id = {{ vars.champion }} AND game_date BETWEEN DATE '2021-10-01' AND DATE '2022-06-30' AND NOT is_voided
ORDER BY game_date, game_id, player_lookup
