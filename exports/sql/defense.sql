defense AS (  -- each team's newest analysis, ranked: 1 allows the fewest points
  SELECT team_abbr, opponent_points_per_game AS defense_ppg,
         RANK() OVER (ORDER BY opponent_points_per_game) AS defense_rank
  FROM (SELECT team_abbr, opponent_points_per_game
        FROM `nba_precompute.team_defense_zone_analysis`
        WHERE analysis_date <= {{ target_date }}
        QUALIFY ROW_NUMBER() OVER (PARTITION BY team_abbr ORDER BY analysis_date DESC) = 1)
)
