WITH played AS (
  SELECT * FROM `nba_analytics.player_game_summary`
  WHERE season_year = 2021 AND game_date < DATE '2022-03-18' AND NOT is_dnp
), season AS (
  SELECT player_lookup,
         COUNT(*) AS games_played,
         ROUND(AVG(points), 1) AS season_ppg,
         ROUND(AVG(minutes_played), 1) AS season_mpg,
         ROUND(SUM(fg_makes) / NULLIF(SUM(fg_attempts), 0), 3) AS season_fg_pct,
         ROUND(SUM(three_pt_makes) / NULLIF(SUM(three_pt_attempts), 0), 3) AS season_three_pct,
         ROUND(AVG(plus_minus), 1) AS season_plus_minus,
         ROUND(AVG(ft_attempts), 1) AS season_fta
  FROM played GROUP BY player_lookup
), last_5 AS (
  SELECT player_lookup, ROUND(AVG(points), 1) AS last_5_ppg
  FROM (SELECT player_lookup, points FROM played
        WHERE TRUE
        QUALIFY ROW_NUMBER() OVER (PARTITION BY player_lookup ORDER BY game_date DESC) <= 5)
  GROUP BY player_lookup
), prediction AS (
  SELECT player_lookup, predicted_points, confidence_score, recommendation, current_points_line
  FROM `nba_predictions.player_prop_predictions`
  WHERE game_date = DATE '2022-03-18' AND system_id = {{ vars.champion }} AND is_active
  QUALIFY ROW_NUMBER() OVER (PARTITION BY player_lookup ORDER BY created_at DESC, prediction_version DESC) = 1
), person AS (
  SELECT player_lookup, player_name FROM `nba_reference.nba_players_registry`
  WHERE season_year = 2021
  QUALIFY ROW_NUMBER() OVER (PARTITION BY player_lookup ORDER BY last_game_date DESC, team_abbr) = 1
)
SELECT u.game_id,
       u.player_lookup,
       COALESCE(n.player_name, u.player_lookup) AS name,
       u.team_abbr AS team,
       u.home_game AS is_home,
       p.current_points_line IS NOT NULL AS has_line,
       CASE WHEN f.fatigue_score >= 95 THEN 'fresh' WHEN f.fatigue_score >= 75 THEN 'normal'
            WHEN f.fatigue_score IS NOT NULL THEN 'tired' END AS fatigue_level,
       f.fatigue_score,
       u.days_rest,
       s.season_ppg, s.season_mpg, s.season_fg_pct, s.season_three_pct, s.season_plus_minus, s.season_fta,
       l.last_5_ppg,
       COALESCE(s.games_played, 0) AS games_played,
       COALESCE(s.games_played, 0) < 10 AS limited_data,
       CASE WHEN l.last_5_ppg - s.season_ppg >= 3 THEN 'Hot' WHEN l.last_5_ppg - s.season_ppg <= -3 THEN 'Cold'
            WHEN l.last_5_ppg IS NOT NULL THEN 'Neutral' END AS recent_form,
       p.current_points_line AS line,
       p.predicted_points AS predicted,
       p.confidence_score AS confidence,
       p.recommendation
FROM `nba_analytics.upcoming_player_game_context` u
LEFT JOIN season s USING (player_lookup)
LEFT JOIN last_5 l USING (player_lookup)
LEFT JOIN prediction p USING (player_lookup)
LEFT JOIN person n USING (player_lookup)
LEFT JOIN `nba_precompute.player_composite_factors` f
  ON f.player_lookup = u.player_lookup AND f.game_date = u.game_date
WHERE u.game_date = DATE '2022-03-18'
ORDER BY u.game_id, has_line DESC, s.season_ppg DESC NULLS LAST, u.player_lookup
