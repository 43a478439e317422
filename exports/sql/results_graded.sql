  SELECT
    p.player_lookup,
    p.game_id,
    p.team_abbr AS team,
    p.opponent_team_abbr AS opponent,
    p.predicted_points AS predicted,
    p.actual_points AS actual,
    p.line_value AS line,
    -- a prediction without a line makes no call: to the reader it is a pass
    CASE WHEN p.recommendation IN ('OVER', 'UNDER') THEN p.recommendation ELSE 'PASS' END AS recommendation,
    -- a voided call (the player did not play) is a push, like a score that hits the line
    CASE WHEN COALESCE(p.recommendation, '') NOT IN ('OVER', 'UNDER') THEN 'PASS'
         WHEN COALESCE(p.is_voided, FALSE) OR p.prediction_correct IS NULL THEN 'PUSH'
         WHEN p.prediction_correct THEN 'WIN'
         ELSE 'LOSS' END AS result,
    p.absolute_error AS error,
    p.signed_error AS bias,
    p.confidence_score AS confidence,
    p.minutes_played AS minutes,
    CASE WHEN p.confidence_score >= 0.70 THEN 'high'
         WHEN p.confidence_score >= 0.55 THEN 'medium'
         ELSE 'low' END AS confidence_tier,
    -- by the season's scoring average; unknown players are role players
    CASE WHEN f.feature_2_value >= 25 THEN 'elite'
         WHEN f.feature_2_value >= 15 THEN 'starter'
         ELSE 'role_player' END AS player_tier,
    COALESCE(f.is_home, ENDS_WITH(p.game_id, CONCAT('_', p.team_abbr)), FALSE) AS is_home,
    COALESCE(f.feature_16_value > 0.5, FALSE) AS is_back_to_back,
    COALESCE(f.days_rest, 1) AS days_rest,
    p.within_3_points,
    p.within_5_points,
    p.actual_points IS NOT NULL AND NOT COALESCE(p.is_voided, FALSE) AS played
  FROM `nba_predictions.prediction_accuracy` AS p
  LEFT JOIN (
    SELECT player_lookup, game_id, is_home, days_rest, feature_2_value, feature_16_value
    FROM `nba_predictions.ml_feature_store_v2`
    WHERE game_date = {{ target_date }}
  ) AS f ON f.player_lookup = p.player_lookup AND f.game_id = p.game_id
  WHERE p.game_date = {{ target_date }}
    AND p.system_id = {{ vars.champion_system }}
    AND p.predicted_points IS NOT NULL
