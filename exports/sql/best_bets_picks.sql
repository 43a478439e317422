-- The picks of one game day, ranked. Confidence is 0..1 here, whichever table it comes from.
WITH history AS (
  -- How often the champion was right about the player: his UNDER calls of two years, as the score has always been made.
  -- Games that he did not play, and pushes, say nothing.
  SELECT
    player_lookup,
    COUNT(*) AS games,
    SAFE_DIVIDE(CAST(COUNTIF(prediction_correct) AS NUMERIC), COUNT(*)) AS accuracy
  FROM `nba_predictions.prediction_accuracy`
  WHERE game_date BETWEEN DATE_SUB({{ target_date }}, INTERVAL 730 DAY) AND DATE_SUB({{ target_date }}, INTERVAL 1 DAY)
    AND system_id = {{ vars.champion_system }}
    AND recommendation = 'UNDER'
    AND prediction_correct IS NOT NULL
    AND NOT COALESCE(is_voided, FALSE)
  GROUP BY player_lookup
),
names AS (
  SELECT player_lookup, player_name
  FROM `nba_reference.nba_players_registry`
  -- '2025-26' and earlier: a season's label begins with its first year
  WHERE CAST(SUBSTR(season, 1, 4) AS INT64) <= EXTRACT(YEAR FROM DATE_SUB({{ target_date }}, INTERVAL 9 MONTH))
  QUALIFY ROW_NUMBER() OVER (PARTITION BY player_lookup ORDER BY season DESC, team_abbr) = 1
),
players AS (
  SELECT player_lookup, game_id, team_abbr, opponent_team_abbr
  FROM `nba_analytics.upcoming_player_game_context`
  WHERE game_date = {{ target_date }}
  QUALIFY ROW_NUMBER() OVER (PARTITION BY player_lookup, game_id ORDER BY processed_at DESC, team_abbr) = 1
),
box_scores AS (
  SELECT player_lookup, game_id, points
  FROM `nba_analytics.player_game_summary`
  WHERE game_date = {{ target_date }}
  QUALIFY ROW_NUMBER() OVER (PARTITION BY player_lookup, game_id ORDER BY processed_at DESC, points DESC) = 1
),
features AS (
  SELECT player_lookup, game_id, quality_alert_level, feature_quality_score, default_feature_count
  FROM `nba_predictions.ml_feature_store_v2`
  WHERE game_date = {{ target_date }}
),
fatigue AS (
  SELECT player_lookup, game_id, fatigue_score
  FROM `nba_precompute.player_composite_factors`
  WHERE game_date = {{ target_date }}
),
newest AS (
  SELECT *
  FROM `nba_predictions.player_prop_predictions`
  WHERE game_date = {{ target_date }} AND system_id = {{ vars.champion_system }} AND is_active
  QUALIFY ROW_NUMBER() OVER (PARTITION BY player_lookup ORDER BY created_at DESC, prediction_id DESC) = 1
),
live AS (  -- today and later: not graded yet, so the result is read off the box score once there is one
  SELECT
    p.player_lookup,
    p.game_id,
    c.team_abbr AS team,
    c.opponent_team_abbr AS opponent,
    p.recommendation,
    p.current_points_line AS line,
    p.predicted_points AS predicted,
    p.confidence_score / 100 AS confidence,
    CASE WHEN b.points IS NULL THEN 'PENDING'
         WHEN b.points = p.current_points_line THEN 'PUSH'
         WHEN (b.points > p.current_points_line) = (p.recommendation = 'OVER') THEN 'WIN'
         ELSE 'LOSS' END AS result,
    b.points AS actual,
    ABS(p.predicted_points - b.points) AS error,
    p.quality_alert_level,
    p.feature_quality_score,
    p.default_feature_count
  FROM newest AS p
  LEFT JOIN players AS c ON c.player_lookup = p.player_lookup AND c.game_id = p.game_id
  LEFT JOIN box_scores AS b ON b.player_lookup = p.player_lookup AND b.game_id = p.game_id
  WHERE {{ target_date }} >= {{ today }}
),
graded AS (  -- days that are over
  SELECT
    p.player_lookup,
    p.game_id,
    p.team_abbr AS team,
    p.opponent_team_abbr AS opponent,
    p.recommendation,
    p.line_value AS line,
    p.predicted_points AS predicted,
    p.confidence_score AS confidence,
    CASE WHEN COALESCE(p.is_voided, FALSE) THEN 'PUSH'
         WHEN p.actual_points IS NULL THEN 'PENDING'
         WHEN p.prediction_correct IS NULL THEN 'PUSH'
         WHEN p.prediction_correct THEN 'WIN'
         ELSE 'LOSS' END AS result,
    p.actual_points AS actual,
    p.absolute_error AS error,
    f.quality_alert_level,
    f.feature_quality_score,
    f.default_feature_count
  FROM `nba_predictions.prediction_accuracy` AS p
  LEFT JOIN features AS f ON f.player_lookup = p.player_lookup AND f.game_id = p.game_id
  WHERE p.game_date = {{ target_date }}
    AND p.system_id = {{ vars.champion_system }}
    AND {{ target_date }} < {{ today }}
    AND p.line_value != 20                       -- a line of 20 stood for "no line" in old rows
),
candidates AS (
  SELECT
    p.*,
    ABS(p.predicted - p.line) AS edge,
    h.accuracy,
    h.games AS sample_size,
    p.confidence
      * LEAST(NUMERIC '1.5', 1 + ABS(p.predicted - p.line) / 10)
      * IF(h.games >= 5, h.accuracy, NUMERIC '0.85') AS composite
  FROM (SELECT * FROM live UNION ALL SELECT * FROM graded) AS p
  LEFT JOIN history AS h ON h.player_lookup = p.player_lookup
  WHERE p.recommendation IN ('OVER', 'UNDER')
    AND p.line IS NOT NULL
    AND p.predicted < 25
    AND NOT (p.confidence >= NUMERIC '0.88' AND p.confidence < NUMERIC '0.90')
    AND p.quality_alert_level = 'green'
),
tiered AS (
  SELECT
    *,
    CASE WHEN edge >= 5 THEN 'premium' WHEN edge >= 3 THEN 'strong' ELSE 'value' END AS tier,
    CASE WHEN edge >= 5 THEN 1 WHEN edge >= 3 THEN 2 ELSE 3 END AS tier_order
  FROM candidates
),
placed AS (
  SELECT
    *,
    ROW_NUMBER() OVER (PARTITION BY tier ORDER BY composite DESC, player_lookup) AS place_in_tier
  FROM tiered
)
SELECT
  ROW_NUMBER() OVER (ORDER BY p.tier_order, p.composite DESC, p.player_lookup) AS rank,
  p.tier,
  p.player_lookup,
  COALESCE(n.player_name, p.player_lookup) AS player_full_name,
  p.game_id,
  p.team,
  p.opponent,
  p.recommendation,
  p.line,
  p.predicted,
  p.edge,
  ROUND(p.confidence, 3) AS confidence,
  ROUND(p.composite, 3) AS composite_score,
  ROUND(p.accuracy, 3) AS player_historical_accuracy,
  p.sample_size AS player_sample_size,
  f.fatigue_score,
  CASE WHEN f.fatigue_score >= 95 THEN 'fresh'
       WHEN f.fatigue_score >= 75 THEN 'normal'
       WHEN f.fatigue_score IS NOT NULL THEN 'tired' END AS fatigue_level,
  p.result,
  p.actual,
  p.error,
  p.quality_alert_level,
  p.feature_quality_score,
  p.default_feature_count
FROM placed AS p
LEFT JOIN names AS n ON n.player_lookup = p.player_lookup
LEFT JOIN fatigue AS f ON f.player_lookup = p.player_lookup AND f.game_id = p.game_id
WHERE p.place_in_tier <= IF(p.tier = 'premium', 5, 10)
ORDER BY rank
LIMIT 25
