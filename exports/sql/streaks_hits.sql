-- Players whose newest calls were all right. A call on a game that was not played is neither right nor wrong: it is passed over.
WITH {% include "sql/streak_players.sql" %},
calls AS (
  SELECT
    player_lookup,
    team_abbr,
    COALESCE(prediction_correct, FALSE) AS hit,
    ROW_NUMBER() OVER (PARTITION BY player_lookup ORDER BY game_date DESC, game_id DESC) AS call_number
  FROM `nba_predictions.prediction_accuracy`
  WHERE game_date BETWEEN DATE_SUB({{ target_date }}, INTERVAL 180 DAY) AND {{ target_date }}
    AND system_id = {{ vars.champion_system }}
    AND recommendation IN ('OVER', 'UNDER')
    AND NOT COALESCE(is_voided, FALSE)
),
marked AS (
  SELECT *, COUNTIF(NOT hit) OVER (PARTITION BY player_lookup ORDER BY call_number) AS misses
  FROM calls
  WHERE call_number <= 20
),
streaks AS (
  SELECT player_lookup, COUNT(*) AS streak_length
  FROM marked
  WHERE misses = 0
  GROUP BY player_lookup
  HAVING COUNT(*) >= {{ min_streak_length }}
)
SELECT s.player_lookup, p.player_full_name, p.team, s.streak_length
FROM streaks AS s
JOIN players AS p ON p.player_lookup = s.player_lookup
ORDER BY streak_length DESC, player_lookup
LIMIT 30
