SELECT game_date, 'best_prediction' AS kind, player_lookup AS player, team_abbr AS team,
       predicted_points AS predicted, actual_points AS actual, absolute_error AS error, minutes_played AS minutes
FROM `nba_predictions.prediction_accuracy`
WHERE system_id = {{ vars.champion }} AND game_date BETWEEN DATE '2021-10-01' AND DATE '2022-06-30' AND NOT is_voided
QUALIFY ROW_NUMBER() OVER (PARTITION BY game_date ORDER BY absolute_error, player_lookup) = 1
UNION ALL
SELECT game_date, 'worst_prediction', player_lookup, team_abbr, predicted_points, actual_points, absolute_error,
       minutes_played
FROM `nba_predictions.prediction_accuracy`
WHERE system_id = {{ vars.champion }} AND game_date BETWEEN DATE '2021-10-01' AND DATE '2022-06-30' AND NOT is_voided
QUALIFY ROW_NUMBER() OVER (PARTITION BY game_date ORDER BY absolute_error DESC, player_lookup) = 1
ORDER BY game_date, kind
