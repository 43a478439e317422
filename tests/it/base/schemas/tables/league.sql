CREATE TABLE league.games (
  game_id STRING NOT NULL,
  game_date DATE NOT NULL,
  home STRING NOT NULL,
  away STRING NOT NULL
)
PARTITION BY game_date;

CREATE TABLE league.players (
  game_id STRING NOT NULL,
  game_date DATE NOT NULL,
  player STRING NOT NULL,
  model STRING,
  points NUMERIC(5,1),
  rate FLOAT64
)
PARTITION BY game_date;
