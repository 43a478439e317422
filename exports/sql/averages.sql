averages AS (  -- of games with minutes; NUMERIC, so that a tie rounds away from zero
  SELECT player_lookup,
         COUNTIF(this_season) AS games_played,
         ROUND(AVG(IF(this_season, CAST(points AS NUMERIC), NULL)), 1) AS season_ppg,
         ROUND(AVG(IF(this_season, minutes_played, NULL)), 1) AS season_mpg,
         ROUND(CAST(SUM(IF(this_season, fg_makes, NULL)) AS NUMERIC)
               / NULLIF(SUM(IF(this_season, fg_attempts, NULL)), 0), 3) AS season_fg_pct,
         ROUND(CAST(SUM(IF(this_season, three_pt_makes, NULL)) AS NUMERIC)
               / NULLIF(SUM(IF(this_season, three_pt_attempts, NULL)), 0), 3) AS season_three_pct,
         ROUND(AVG(IF(this_season, CAST(plus_minus AS NUMERIC), NULL)), 1) AS season_plus_minus,
         ROUND(AVG(IF(this_season, CAST(ft_attempts AS NUMERIC), NULL)), 1) AS season_fta,
         ROUND(AVG(IF(played_number <= 5, CAST(points AS NUMERIC), NULL)), 1) AS last_5_ppg,
         ROUND(AVG(IF(played_number <= 5, minutes_played, NULL)), 1) AS last_5_mpg,
         ROUND(AVG(IF(played_number <= 10, CAST(points AS NUMERIC), NULL)), 1) AS last_10_ppg,
         ROUND(AVG(IF(played_number <= 10, minutes_played, NULL)), 1) AS last_10_mpg,
         ROUND(AVG(IF(game_date >= DATE_SUB({{ target_date }}, INTERVAL 30 DAY), CAST(points AS NUMERIC), NULL)), 1)
           AS last_30d_ppg
  FROM played
  GROUP BY player_lookup
)
