CREATE TABLE nba_precompute.team_defense_zone_analysis (
  team_abbr STRING NOT NULL,
  analysis_date DATE NOT NULL,
  opponent_points_per_game NUMERIC(5,1),
  defensive_rating_last_15 NUMERIC(6,2)
)
PARTITION BY analysis_date
CLUSTER BY team_abbr;
