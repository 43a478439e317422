WITH played AS (
  SELECT player_lookup, points, over_under_result, opponent_team_abbr AS opponent,
         CASE WHEN RIGHT(game_id, 3) = team_abbr THEN 'home' ELSE 'away' END AS location,
         DATE_DIFF(game_date, LAG(game_date) OVER (PARTITION BY player_lookup ORDER BY game_date), DAY) AS gap
  FROM `nba_analytics.player_game_summary`
  WHERE season_year = 2021 AND NOT is_dnp
), rested AS (
  SELECT *, CASE WHEN gap = 1 THEN 'b2b' WHEN gap = 2 THEN 'one_day' WHEN gap = 3 THEN 'two_day'
                 WHEN gap > 3 THEN 'three_plus' END AS rest
  FROM played
), grouped AS (
  SELECT player_lookup, rest, location, opponent,
         CASE WHEN GROUPING(rest) = 0 THEN 'rest' WHEN GROUPING(location) = 0 THEN 'location' ELSE 'opponent' END AS kind,
         ROUND(AVG(points), 1) AS avg,
         COUNT(*) AS games,
         ROUND(COUNTIF(over_under_result = 'OVER') / NULLIF(COUNT(over_under_result), 0), 3) AS vs_line_pct
  FROM rested
  GROUP BY GROUPING SETS ((player_lookup, rest), (player_lookup, location), (player_lookup, opponent))
)
SELECT player_lookup, kind, COALESCE(rest, location, opponent) AS key, avg, games, vs_line_pct
FROM grouped
WHERE COALESCE(rest, location, opponent) IS NOT NULL AND (kind <> 'opponent' OR games >= 2)
ORDER BY player_lookup, kind, games DESC, key
