-- fatigue_score 0..100 (100 = rested); the context column is a string holding JSON,
-- at times encoded twice.
CREATE TABLE nba_precompute.player_composite_factors (
  player_lookup STRING NOT NULL,
  game_id STRING NOT NULL,
  game_date DATE NOT NULL,
  fatigue_score INT64,
  fatigue_context_json STRING
)
PARTITION BY game_date
CLUSTER BY player_lookup;
