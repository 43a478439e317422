-- The prediction systems, by name. Exactly one is the champion, whose predictions are published.
CREATE TABLE nba_predictions.prediction_systems (
  system_id STRING NOT NULL,
  system_name STRING NOT NULL,
  system_type STRING,
  version STRING,
  description STRING,
  active BOOL,
  is_champion BOOL
);
