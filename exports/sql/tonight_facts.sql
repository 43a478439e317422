predictions AS (  -- the champion's newest live prediction, with the confidence that readers see
  SELECT player_lookup, game_id, predicted_points, recommendation, current_points_line, pace_adjustment,
         similar_games_count,
         -- 15, up to 50 for the edge, up to 30 for the model's own confidence; a PASS and a missing line are capped
         CAST(LEAST(98, GREATEST(5, ROUND(
           CASE WHEN current_points_line IS NULL
                  THEN LEAST(50, 15 + LEAST(30, GREATEST(0, (confidence_score - 75) * NUMERIC '1.5')))
                WHEN recommendation = 'PASS'
                  THEN LEAST(40, 15 + LEAST(50, 7 * ABS(predicted_points - current_points_line))
                                 + LEAST(30, GREATEST(0, (confidence_score - 75) * NUMERIC '1.5')))
                ELSE 15 + LEAST(50, 7 * ABS(predicted_points - current_points_line))
                        + LEAST(30, GREATEST(0, (confidence_score - 75) * NUMERIC '1.5')) END))) AS INT64)
           AS confidence
  FROM `nba_predictions.player_prop_predictions`
  WHERE game_date = {{ target_date }} AND system_id = {{ vars.champion_system }} AND is_active
  QUALIFY ROW_NUMBER() OVER (PARTITION BY player_lookup, game_id ORDER BY created_at DESC, prediction_id DESC) = 1
),
names AS (  -- as the registry of the newest season up to the target date's has them
  SELECT player_lookup, player_name
  FROM `nba_reference.nba_players_registry`
  WHERE SAFE_CAST(SUBSTR(season, 1, 4) AS INT64) <= EXTRACT(YEAR FROM DATE_SUB({{ target_date }}, INTERVAL 9 MONTH))
  QUALIFY ROW_NUMBER() OVER (PARTITION BY player_lookup ORDER BY season DESC, games_played DESC, team_abbr) = 1
),
fatigue AS (
  SELECT player_lookup, game_id, fatigue_score, fatigue_context_json
  FROM `nba_precompute.player_composite_factors`
  WHERE game_date = {{ target_date }}
  QUALIFY ROW_NUMBER() OVER (PARTITION BY player_lookup, game_id ORDER BY fatigue_score) = 1
),
injuries AS (  -- the newest report of the days that end with the target date; an older one does not mean tonight
  SELECT player_lookup, LOWER(injury_status) AS injury_status, reason
  FROM `nba_raw.nbac_injury_report`
  WHERE report_date > DATE_SUB({{ target_date }}, INTERVAL {{ vars.injury_report_days }} DAY)
    AND report_date <= {{ target_date }}
  QUALIFY ROW_NUMBER() OVER (PARTITION BY player_lookup
                             ORDER BY report_date DESC, report_hour DESC, processed_at DESC, injury_status) = 1
)
