-- Feature store (263 columns in the original). feature_2 = season points average,
-- feature_16 = back-to-back flag (> 0.5 means yes).
CREATE TABLE nba_predictions.ml_feature_store_v2 (
  player_lookup STRING NOT NULL,
  game_id STRING NOT NULL,
  game_date DATE NOT NULL,
  is_home BOOL,
  days_rest INT64,
  feature_2_value FLOAT64,
  feature_16_value FLOAT64,
  matchup_quality_pct FLOAT64,
  feature_quality_score NUMERIC(5,2),
  quality_alert_level STRING,
  default_feature_count INT64
)
PARTITION BY game_date
CLUSTER BY player_lookup
OPTIONS (require_partition_filter = TRUE);
