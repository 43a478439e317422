-- One row for each player with enough graded predictions: our record, and the splits of his season.
WITH graded AS (  -- the champion's calls of games that were played; a voided call says nothing about us
  SELECT player_lookup, game_date, recommendation, prediction_correct, absolute_error, signed_error,
         confidence_score, within_3_points, within_5_points
  FROM `nba_predictions.prediction_accuracy`
  WHERE game_date BETWEEN DATE_SUB({{ target_date }}, INTERVAL {{ vars.profile_days }} DAY) AND {{ target_date }}
    AND system_id = {{ vars.champion_system }}
    AND NOT COALESCE(is_voided, FALSE)
  QUALIFY ROW_NUMBER() OVER (PARTITION BY player_lookup, game_id ORDER BY graded_at DESC, absolute_error) = 1
),
record AS (
  SELECT player_lookup,
         COUNT(*) AS games_predicted,
         COUNTIF(recommendation IN ('OVER', 'UNDER')) AS recommendations,
         COUNTIF(recommendation IN ('OVER', 'UNDER') AND prediction_correct) AS wins,
         COUNTIF(recommendation IN ('OVER', 'UNDER') AND NOT prediction_correct) AS losses,
         COUNTIF(recommendation = 'OVER') AS over_total,
         COUNTIF(recommendation = 'OVER' AND prediction_correct) AS over_wins,
         COUNTIF(recommendation = 'OVER' AND NOT prediction_correct) AS over_losses,
         COUNTIF(recommendation = 'UNDER') AS under_total,
         COUNTIF(recommendation = 'UNDER' AND prediction_correct) AS under_wins,
         COUNTIF(recommendation = 'UNDER' AND NOT prediction_correct) AS under_losses,
         COALESCE(ROUND(AVG(absolute_error), 1), 0) AS mae,
         COALESCE(ROUND(AVG(signed_error), 1), 0) AS bias,
         ROUND(AVG(confidence_score), 3) AS avg_confidence,
         COALESCE(ROUND(CAST(COUNTIF(within_3_points) AS NUMERIC) / NULLIF(COUNT(within_3_points), 0), 3), 0)
           AS within_3_pct,
         COALESCE(ROUND(CAST(COUNTIF(within_5_points) AS NUMERIC) / NULLIF(COUNT(within_5_points), 0), 3), 0)
           AS within_5_pct,
         MIN(game_date) AS first_date,
         MAX(game_date) AS last_date
  FROM graded
  GROUP BY player_lookup
  HAVING COUNT(*) >= {{ min_games }}
),
teams AS (  -- the team of the newest game
  SELECT player_lookup, team_abbr
  FROM `nba_analytics.player_game_summary`
  WHERE game_date BETWEEN DATE_SUB({{ target_date }}, INTERVAL {{ vars.profile_days }} DAY) AND {{ target_date }}
  QUALIFY ROW_NUMBER() OVER (PARTITION BY player_lookup ORDER BY game_date DESC, game_id DESC, processed_at DESC) = 1
),
names AS (
  SELECT player_lookup, player_name
  FROM `nba_reference.nba_players_registry`
  WHERE SAFE_CAST(SUBSTR(season, 1, 4) AS INT64) <= EXTRACT(YEAR FROM DATE_SUB({{ target_date }}, INTERVAL 9 MONTH))
  QUALIFY ROW_NUMBER() OVER (PARTITION BY player_lookup ORDER BY season DESC, games_played DESC, team_abbr) = 1
),
{% include "sql/season_games.sql" %},
splits AS (
  SELECT player_lookup,
         ROUND(AVG(IF(days_rest = 0, CAST(points AS NUMERIC), NULL)), 1) AS b2b_avg,
         COUNTIF(days_rest = 0) AS b2b_games,
         ROUND(CAST(COUNTIF(days_rest = 0 AND over_under_result = 'OVER') AS NUMERIC)
               / NULLIF(COUNTIF(days_rest = 0 AND over_under_result IS NOT NULL), 0), 3) AS b2b_vs_line_pct,
         ROUND(AVG(IF(days_rest = 1, CAST(points AS NUMERIC), NULL)), 1) AS one_day_avg,
         COUNTIF(days_rest = 1) AS one_day_games,
         ROUND(CAST(COUNTIF(days_rest = 1 AND over_under_result = 'OVER') AS NUMERIC)
               / NULLIF(COUNTIF(days_rest = 1 AND over_under_result IS NOT NULL), 0), 3) AS one_day_vs_line_pct,
         ROUND(AVG(IF(days_rest = 2, CAST(points AS NUMERIC), NULL)), 1) AS two_day_avg,
         COUNTIF(days_rest = 2) AS two_day_games,
         ROUND(CAST(COUNTIF(days_rest = 2 AND over_under_result = 'OVER') AS NUMERIC)
               / NULLIF(COUNTIF(days_rest = 2 AND over_under_result IS NOT NULL), 0), 3) AS two_day_vs_line_pct,
         ROUND(AVG(IF(days_rest >= 3, CAST(points AS NUMERIC), NULL)), 1) AS three_plus_avg,
         COUNTIF(days_rest >= 3) AS three_plus_games,
         ROUND(CAST(COUNTIF(days_rest >= 3 AND over_under_result = 'OVER') AS NUMERIC)
               / NULLIF(COUNTIF(days_rest >= 3 AND over_under_result IS NOT NULL), 0), 3) AS three_plus_vs_line_pct,
         ROUND(AVG(IF(is_home, CAST(points AS NUMERIC), NULL)), 1) AS home_avg,
         COUNTIF(is_home) AS home_games,
         ROUND(CAST(COUNTIF(is_home AND over_under_result = 'OVER') AS NUMERIC)
               / NULLIF(COUNTIF(is_home AND over_under_result IS NOT NULL), 0), 3) AS home_vs_line_pct,
         ROUND(AVG(IF(NOT is_home, CAST(points AS NUMERIC), NULL)), 1) AS away_avg,
         COUNTIF(NOT is_home) AS away_games,
         ROUND(CAST(COUNTIF(NOT is_home AND over_under_result = 'OVER') AS NUMERIC)
               / NULLIF(COUNTIF(NOT is_home AND over_under_result IS NOT NULL), 0), 3) AS away_vs_line_pct
  FROM season_games
  GROUP BY player_lookup
)
SELECT r.player_lookup,
       COALESCE(n.player_name, r.player_lookup) AS player_full_name,
       t.team_abbr,
       r.games_predicted, r.recommendations, r.wins, r.losses,
       ROUND(CAST(r.wins AS NUMERIC) / NULLIF(r.wins + r.losses, 0), 3) AS win_rate,
       CAST(ROUND(100 * CAST(r.wins AS NUMERIC) / NULLIF(r.wins + r.losses, 0)) AS INT64) AS win_percent,
       r.over_total, r.over_wins, r.over_losses,
       ROUND(CAST(r.over_wins AS NUMERIC) / NULLIF(r.over_wins + r.over_losses, 0), 3) AS over_pct,
       r.under_total, r.under_wins, r.under_losses,
       ROUND(CAST(r.under_wins AS NUMERIC) / NULLIF(r.under_wins + r.under_losses, 0), 3) AS under_pct,
       r.mae, r.bias, r.avg_confidence, r.within_3_pct, r.within_5_pct, r.first_date, r.last_date,
       CASE WHEN r.bias < -3 THEN 'We significantly under-predict this player'
            WHEN r.bias < -1 THEN 'We slightly under-predict this player'
            WHEN r.bias > 3 THEN 'We significantly over-predict this player'
            WHEN r.bias > 1 THEN 'We slightly over-predict this player'
            ELSE 'Our predictions are well-calibrated for this player' END AS bias_reading,
       CASE WHEN r.recommendations < 5 OR r.wins + r.losses = 0 THEN NULL
            WHEN r.wins >= NUMERIC '0.85' * (r.wins + r.losses) THEN 'Excellent'
            WHEN r.wins >= NUMERIC '0.70' * (r.wins + r.losses) THEN 'Good'
            WHEN r.wins >= NUMERIC '0.55' * (r.wins + r.losses) THEN 'Average'
            ELSE 'Below average' END AS accuracy_reading,
       CASE WHEN r.games_predicted < 5 THEN 'Limited data (fewer than 5 games)'
            WHEN r.games_predicted < 15 THEN 'Moderate sample size'
            ELSE 'Large sample size' END AS sample_reading,
       s.b2b_avg, COALESCE(s.b2b_games, 0) AS b2b_games, s.b2b_vs_line_pct,
       s.one_day_avg, COALESCE(s.one_day_games, 0) AS one_day_games, s.one_day_vs_line_pct,
       s.two_day_avg, COALESCE(s.two_day_games, 0) AS two_day_games, s.two_day_vs_line_pct,
       s.three_plus_avg, COALESCE(s.three_plus_games, 0) AS three_plus_games, s.three_plus_vs_line_pct,
       s.home_avg, COALESCE(s.home_games, 0) AS home_games, s.home_vs_line_pct,
       s.away_avg, COALESCE(s.away_games, 0) AS away_games, s.away_vs_line_pct
FROM record AS r
LEFT JOIN teams AS t ON t.player_lookup = r.player_lookup
LEFT JOIN names AS n ON n.player_lookup = r.player_lookup
LEFT JOIN splits AS s ON s.player_lookup = r.player_lookup
ORDER BY r.games_predicted DESC, r.player_lookup
