SELECT FORMAT_DATE('%Y%m%d', game_date) || '_' || away_team_tricode || '_' || home_team_tricode AS game_id,
       home_team_tricode AS home_team,
       away_team_tricode AS away_team,
       CASE game_status WHEN 1 THEN 'scheduled' WHEN 2 THEN 'in_progress' ELSE 'final' END AS game_status,
       home_team_score AS home_score,
       away_team_score AS away_score
FROM `nba_raw.nbac_schedule`
WHERE game_date = DATE '2022-03-18'
ORDER BY game_id
