-- One row per live prediction; several rows per player and game are possible (models, re-runs).
-- confidence here is 0..100.
CREATE TABLE nba_predictions.player_prop_predictions (
  prediction_id STRING NOT NULL,
  system_id STRING NOT NULL,
  player_lookup STRING NOT NULL,
  game_date DATE NOT NULL,
  game_id STRING NOT NULL,
  predicted_points NUMERIC(5,1) NOT NULL,
  confidence_score NUMERIC(5,2) NOT NULL,
  recommendation STRING NOT NULL,
  has_prop_line BOOL,
  current_points_line NUMERIC(4,1),
  line_margin NUMERIC(5,2),
  line_source STRING,
  pace_adjustment NUMERIC(5,2),
  similar_games_count INT64,
  quality_alert_level STRING,
  feature_quality_score NUMERIC(5,2),
  default_feature_count INT64,
  is_active BOOL NOT NULL,
  created_at TIMESTAMP NOT NULL,
  updated_at TIMESTAMP
)
PARTITION BY game_date
CLUSTER BY system_id, player_lookup
OPTIONS (require_partition_filter = TRUE);
