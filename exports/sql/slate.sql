slate AS (  -- everyone expected on the target date, once a game
  SELECT player_lookup, game_id, game_date, team_abbr, opponent_team_abbr, home_game, back_to_back, days_rest,
         opening_points_line, current_points_line, line_movement
  FROM `nba_analytics.upcoming_player_game_context`
  WHERE game_date = {{ target_date }}
  QUALIFY ROW_NUMBER() OVER (PARTITION BY player_lookup, game_id ORDER BY processed_at DESC, team_abbr) = 1
)
