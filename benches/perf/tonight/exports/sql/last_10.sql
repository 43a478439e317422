SELECT player_lookup,
       game_date,
       opponent_team_abbr AS opponent,
       points,
       points_line AS line,
       minutes_played AS minutes,
       ROUND(fg_makes / NULLIF(fg_attempts, 0), 3) AS fg_pct,
       ROUND(three_pt_makes / NULLIF(three_pt_attempts, 0), 3) AS three_pct,
       plus_minus,
       ft_attempts AS fta,
       RIGHT(game_id, 3) = team_abbr AS home,
       CASE WHEN is_dnp THEN 'DNP' WHEN over_under_result = 'OVER' THEN 'O'
            WHEN over_under_result = 'UNDER' THEN 'U' ELSE '-' END AS result
FROM `nba_analytics.player_game_summary`
WHERE season_year = 2021 AND game_date < DATE '2022-03-18'
  AND player_lookup IN (SELECT player_lookup FROM `nba_analytics.upcoming_player_game_context`
                        WHERE game_date = DATE '2022-03-18')
QUALIFY ROW_NUMBER() OVER (PARTITION BY player_lookup ORDER BY game_date DESC) <= 10
ORDER BY player_lookup, game_date DESC
