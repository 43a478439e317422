-- Who plays tonight, and in what situation (115 columns in the original).
CREATE TABLE nba_analytics.upcoming_player_game_context (
  player_lookup STRING NOT NULL,
  game_id STRING NOT NULL,
  game_date DATE NOT NULL,
  team_abbr STRING NOT NULL,
  opponent_team_abbr STRING NOT NULL,
  home_game BOOL,
  back_to_back BOOL,
  days_rest INT64,
  has_prop_line BOOL,
  opening_points_line NUMERIC(4,1),
  current_points_line NUMERIC(4,1),
  line_movement NUMERIC(4,1),
  processed_at TIMESTAMP
)
PARTITION BY game_date
CLUSTER BY player_lookup;
