-- Each player against each team that he has met at least twice this season.
WITH {% include "sql/season_games.sql" %}
SELECT player_lookup,
       opponent_team_abbr AS team,
       ROUND(AVG(CAST(points AS NUMERIC)), 1) AS avg,
       COUNT(*) AS games,
       ROUND(CAST(COUNTIF(over_under_result = 'OVER') AS NUMERIC) / NULLIF(COUNT(over_under_result), 0), 3)
         AS vs_line_pct
FROM season_games
GROUP BY player_lookup, opponent_team_abbr
HAVING COUNT(*) >= 2
ORDER BY player_lookup, games DESC, avg DESC, team
