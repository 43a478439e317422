-- game_status 1 scheduled, 2 in progress, 3 final. game_id is the NBA id (0022500771), NOT the
-- YYYYMMDD_AWAY_HOME key of the other tables. game_date_est holds UTC in spite of its name.
CREATE TABLE nba_raw.nbac_schedule (
  game_id STRING NOT NULL,
  season STRING NOT NULL,
  season_year INT64 NOT NULL,
  game_date DATE NOT NULL,
  game_date_est TIMESTAMP,
  game_status INT64,
  game_status_text STRING,
  home_team_tricode STRING NOT NULL,
  home_team_name STRING NOT NULL,
  away_team_tricode STRING NOT NULL,
  away_team_name STRING NOT NULL,
  home_team_score INT64,
  away_team_score INT64,
  is_regular_season BOOL,
  is_playoffs BOOL,
  processed_at TIMESTAMP NOT NULL
)
PARTITION BY game_date
CLUSTER BY home_team_tricode, away_team_tricode
OPTIONS (require_partition_filter = TRUE);
