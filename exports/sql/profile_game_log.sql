-- The last fifty games of each player, newest first; players without a profile are left out by the shape.
WITH box_scores AS (
  SELECT *
  FROM `nba_analytics.player_game_summary`
  WHERE game_date BETWEEN DATE_SUB({{ target_date }}, INTERVAL {{ vars.profile_days }} DAY) AND {{ target_date }}
  QUALIFY ROW_NUMBER() OVER (PARTITION BY player_lookup, game_id ORDER BY processed_at DESC, points DESC) = 1
)
SELECT player_lookup,
       game_date,
       opponent_team_abbr AS opponent,
       ENDS_WITH(game_id, CONCAT('_', team_abbr)) AS home_game,
       IF(win_flag, 'W', 'L') AS team_result,
       points,
       minutes_played AS minutes,
       CONCAT(CAST(fg_makes AS STRING), '/', CAST(fg_attempts AS STRING)) AS fg,
       fg_makes,
       fg_attempts,
       CONCAT(CAST(three_pt_makes AS STRING), '/', CAST(three_pt_attempts AS STRING)) AS three,
       three_pt_makes AS three_makes,
       three_pt_attempts AS three_attempts,
       CONCAT(CAST(ft_makes AS STRING), '/', CAST(ft_attempts AS STRING)) AS ft,
       ft_makes,
       ft_attempts,
       offensive_rebounds + defensive_rebounds AS rebounds,
       assists,
       steals,
       blocks,
       turnovers,
       points_line AS line,
       over_under_result AS over_under,
       points - points_line AS margin,
       COALESCE(is_dnp, FALSE) AS did_not_play,
       dnp_reason
FROM box_scores
QUALIFY ROW_NUMBER() OVER (PARTITION BY player_lookup ORDER BY game_date DESC, game_id DESC) <= 50
ORDER BY player_lookup, game_date DESC, game_id DESC
