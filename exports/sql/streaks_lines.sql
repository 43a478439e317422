-- Players who beat their line, or fell short of it, in each of their newest games: a row for each of the newest five games
-- of a streak, the longest streak first.
WITH {% include "sql/streak_players.sql" %},
games AS (
  SELECT player_lookup, game_id, game_date, opponent_team_abbr, points, points_line, over_under_result
  FROM `nba_analytics.player_game_summary`
  WHERE game_date BETWEEN DATE(EXTRACT(YEAR FROM DATE_SUB({{ target_date }}, INTERVAL 9 MONTH)), 10, 1) AND {{ target_date }}
    AND season_year = EXTRACT(YEAR FROM DATE_SUB({{ target_date }}, INTERVAL 9 MONTH))
  QUALIFY ROW_NUMBER() OVER (PARTITION BY player_lookup, game_id ORDER BY processed_at DESC, points DESC) = 1
),
numbered AS (
  SELECT
    *,
    ROW_NUMBER() OVER (PARTITION BY player_lookup ORDER BY game_date DESC, game_id DESC) AS game_number,
    FIRST_VALUE(over_under_result) OVER (PARTITION BY player_lookup ORDER BY game_date DESC, game_id DESC) AS streak_type
  FROM games
  WHERE over_under_result IS NOT NULL
),
marked AS (
  SELECT
    *,
    COUNTIF(over_under_result != streak_type) OVER (PARTITION BY player_lookup ORDER BY game_number) AS breaks
  FROM numbered
  WHERE game_number <= 20
),
run AS (
  SELECT * FROM marked WHERE breaks = 0 AND streak_type IN ('OVER', 'UNDER')
),
streaks AS (
  SELECT player_lookup, streak_type, COUNT(*) AS streak_length, ROUND(AVG(points - points_line), 1) AS avg_margin
  FROM run
  GROUP BY player_lookup, streak_type
  HAVING COUNT(*) >= {{ min_streak_length }}
),
placed AS (
  SELECT
    *,
    ROW_NUMBER() OVER (PARTITION BY streak_type ORDER BY streak_length DESC, avg_margin DESC, player_lookup) AS place
  FROM streaks
)
SELECT
  s.streak_type,
  s.place,
  s.player_lookup,
  p.player_full_name,
  p.team,
  s.streak_length,
  s.avg_margin,
  r.game_date,
  r.points,
  r.points_line AS line,
  r.opponent_team_abbr AS opponent
FROM placed AS s
JOIN run AS r ON r.player_lookup = s.player_lookup
JOIN players AS p ON p.player_lookup = s.player_lookup
WHERE s.place <= 50 AND r.game_number <= 5
ORDER BY streak_type, place, game_number
