CREATE TABLE nba_raw.nbac_injury_report (
  report_date DATE,
  report_hour INT64,
  game_date DATE,
  team STRING,
  player_lookup STRING,
  player_full_name STRING,
  injury_status STRING,
  reason STRING,
  processed_at TIMESTAMP
)
PARTITION BY report_date
CLUSTER BY player_lookup, injury_status;
