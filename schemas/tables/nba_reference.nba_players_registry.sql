-- Name registry: one row per player, team and season ('2025-26'); traded players have two.
CREATE TABLE nba_reference.nba_players_registry (
  player_lookup STRING NOT NULL,
  player_name STRING NOT NULL,
  team_abbr STRING NOT NULL,
  season STRING NOT NULL,
  position STRING,
  games_played INT64
)
CLUSTER BY player_lookup, season, team_abbr;
