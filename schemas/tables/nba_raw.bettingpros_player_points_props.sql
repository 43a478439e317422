-- All prop markets in one table: filter on market_type = 'points'.
CREATE TABLE nba_raw.bettingpros_player_points_props (
  game_date DATE NOT NULL,
  market_type STRING NOT NULL,
  player_lookup STRING NOT NULL,
  player_name STRING NOT NULL,
  bookmaker STRING NOT NULL,
  bet_side STRING NOT NULL,
  points_line FLOAT64 NOT NULL,
  odds_american INT64 NOT NULL,
  is_best_line BOOL NOT NULL,
  bookmaker_last_update TIMESTAMP NOT NULL
)
PARTITION BY game_date
CLUSTER BY player_lookup, bookmaker, bet_side
OPTIONS (require_partition_filter = TRUE);
