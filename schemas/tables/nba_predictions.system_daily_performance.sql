-- Daily pre-aggregates per prediction system; all rates are 0..1.
CREATE TABLE nba_predictions.system_daily_performance (
  game_date DATE NOT NULL,
  system_id STRING NOT NULL,
  predictions_count INT64,
  recommendations_count INT64,
  correct_count INT64,
  incorrect_count INT64,
  pass_count INT64,
  win_rate NUMERIC(4,3),
  mae NUMERIC(5,2),
  avg_bias NUMERIC(5,2),
  over_count INT64,
  over_correct INT64,
  over_win_rate NUMERIC(4,3),
  under_count INT64,
  under_correct INT64,
  under_win_rate NUMERIC(4,3),
  within_3_count INT64,
  within_3_pct NUMERIC(4,3),
  within_5_count INT64,
  within_5_pct NUMERIC(4,3),
  avg_confidence NUMERIC(4,3),
  high_confidence_count INT64,
  high_confidence_correct INT64,
  high_confidence_win_rate NUMERIC(4,3),
  computed_at TIMESTAMP
)
PARTITION BY game_date
CLUSTER BY system_id
OPTIONS (require_partition_filter = TRUE);
