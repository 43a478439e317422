box_scores AS (  -- the slate's players before the target date; the newest row of a game wins
  SELECT player_lookup, game_id, game_date, season_year, team_abbr, opponent_team_abbr, points, minutes_played,
         fg_makes, fg_attempts, three_pt_makes, three_pt_attempts, ft_makes, ft_attempts, plus_minus,
         points_line, over_under_result, COALESCE(is_dnp, FALSE) AS is_dnp
  FROM `nba_analytics.player_game_summary`
  WHERE game_date < {{ target_date }}
    AND player_lookup IN (SELECT player_lookup FROM slate)
  QUALIFY ROW_NUMBER() OVER (PARTITION BY player_lookup, game_id ORDER BY processed_at DESC, points DESC) = 1
),
entries AS (  -- numbered from the newest; days of rest are the days between two games less one
  SELECT *,
         ROW_NUMBER() OVER (PARTITION BY player_lookup ORDER BY game_date DESC, game_id DESC) AS entry_number,
         DATE_DIFF(game_date, LAG(game_date) OVER (PARTITION BY player_lookup ORDER BY game_date, game_id), DAY) - 1
           AS days_rest,
         ENDS_WITH(game_id, CONCAT('_', team_abbr)) AS is_home,
         season_year = EXTRACT(YEAR FROM DATE_SUB({{ target_date }}, INTERVAL 9 MONTH)) AS this_season
  FROM box_scores
),
played AS (  -- games with minutes: what averages are made of
  SELECT *,
         ROW_NUMBER() OVER (PARTITION BY player_lookup ORDER BY game_date DESC, game_id DESC) AS played_number
  FROM entries
  WHERE minutes_played > 0
)
