season_games AS (  -- this season's games with minutes; the newest row of a game wins
  SELECT player_lookup, game_date, opponent_team_abbr, points, over_under_result,
         ENDS_WITH(game_id, CONCAT('_', team_abbr)) AS is_home,
         DATE_DIFF(game_date, LAG(game_date) OVER (PARTITION BY player_lookup ORDER BY game_date, game_id), DAY) - 1
           AS days_rest
  FROM (SELECT player_lookup, game_id, game_date, team_abbr, opponent_team_abbr, points, minutes_played,
               over_under_result
        FROM `nba_analytics.player_game_summary`
        WHERE game_date BETWEEN DATE_SUB({{ target_date }}, INTERVAL 1 YEAR) AND {{ target_date }}
          AND season_year = EXTRACT(YEAR FROM DATE_SUB({{ target_date }}, INTERVAL 9 MONTH))
        QUALIFY ROW_NUMBER() OVER (PARTITION BY player_lookup, game_id ORDER BY processed_at DESC, points DESC) = 1)
  WHERE minutes_played > 0
)
