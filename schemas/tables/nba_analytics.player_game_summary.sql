-- Box score per player and game, with the betting line that applied. over_under_result is
-- OVER / UNDER / PUSH / NULL. season_year 2025 means the 2025-26 season. Duplicate rows occur.
CREATE TABLE nba_analytics.player_game_summary (
  player_lookup STRING NOT NULL,
  player_full_name STRING,
  game_id STRING NOT NULL,
  game_date DATE NOT NULL,
  season_year INT64 NOT NULL,
  team_abbr STRING NOT NULL,
  opponent_team_abbr STRING NOT NULL,
  points INT64,
  minutes_played NUMERIC(5,1),
  assists INT64,
  offensive_rebounds INT64,
  defensive_rebounds INT64,
  steals INT64,
  blocks INT64,
  turnovers INT64,
  fg_makes INT64,
  fg_attempts INT64,
  three_pt_makes INT64,
  three_pt_attempts INT64,
  ft_makes INT64,
  ft_attempts INT64,
  plus_minus INT64,
  win_flag BOOL NOT NULL,
  points_line NUMERIC(4,1),
  over_under_result STRING,
  is_dnp BOOL,
  dnp_reason STRING,
  processed_at TIMESTAMP
)
PARTITION BY game_date
CLUSTER BY player_lookup, team_abbr;
