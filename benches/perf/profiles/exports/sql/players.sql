WITH graded AS (
  SELECT *, recommendation = 'OVER' AS is_over, recommendation = 'UNDER' AS is_under
  FROM `nba_predictions.prediction_accuracy`
  WHERE system_id = {{ vars.champion }} AND game_date BETWEEN DATE '2021-10-01' AND DATE '2022-06-30' AND NOT is_voided
), names AS (
  SELECT player_lookup, player_name FROM `nba_reference.nba_players_registry`
  WHERE season_year = 2021
  QUALIFY ROW_NUMBER() OVER (PARTITION BY player_lookup ORDER BY last_game_date DESC, team_abbr) = 1
)
SELECT a.player_lookup,
       COALESCE(ANY_VALUE(n.player_name), a.player_lookup) AS player_full_name,
       MAX_BY(a.team_abbr, a.game_date) AS team_abbr,
       COUNT(*) AS games_predicted,
       COUNTIF(recommendation IN ('OVER', 'UNDER')) AS recommendations,
       COUNTIF(prediction_correct) AS wins,
       COUNTIF(NOT prediction_correct) AS losses,
       ROUND(COUNTIF(prediction_correct) / NULLIF(COUNT(prediction_correct), 0), 3) AS win_rate,
       ROUND(AVG(absolute_error), 2) AS mae,
       ROUND(AVG(signed_error), 2) AS bias,
       ROUND(AVG(CAST(within_3_points AS INT64)), 3) AS within_3_pct,
       ROUND(AVG(CAST(within_5_points AS INT64)), 3) AS within_5_pct,
       MIN(a.game_date) AS first_date,
       MAX(a.game_date) AS last_date,
       COUNTIF(is_over) AS over_total,
       COUNTIF(is_over AND prediction_correct) AS over_wins,
       COUNTIF(is_over AND NOT prediction_correct) AS over_losses,
       ROUND(COUNTIF(is_over AND prediction_correct)
             / NULLIF(COUNTIF(is_over AND prediction_correct IS NOT NULL), 0), 3) AS over_pct,
       COUNTIF(is_under) AS under_total,
       COUNTIF(is_under AND prediction_correct) AS under_wins,
       COUNTIF(is_under AND NOT prediction_correct) AS under_losses,
       ROUND(COUNTIF(is_under AND prediction_correct)
             / NULLIF(COUNTIF(is_under AND prediction_correct IS NOT NULL), 0), 3) AS under_pct
FROM graded a
LEFT JOIN names n USING (player_lookup)
GROUP BY a.player_lookup
HAVING COUNT(*) >= 5
ORDER BY games_predicted DESC, player_lookup
