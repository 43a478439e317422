SELECT player_lookup,
       game_date,
       opponent_team_abbr AS opponent,
       RIGHT(game_id, 3) = team_abbr AS home_game,
       CASE WHEN win_flag THEN 'W' ELSE 'L' END AS team_result,
       points,
       minutes_played AS minutes,
       fg_makes, fg_attempts, three_pt_makes, three_pt_attempts, ft_makes, ft_attempts,
       offensive_rebounds + defensive_rebounds AS rebounds,
       assists, steals, blocks, turnovers,
       points_line AS line,
       over_under_result AS over_under,
       margin,
       is_dnp AS did_not_play,
       dnp_reason
FROM `nba_analytics.player_game_summary`
WHERE season_year = 2021
QUALIFY ROW_NUMBER() OVER (PARTITION BY player_lookup ORDER BY game_date DESC) <= 50
ORDER BY player_lookup, game_date DESC
