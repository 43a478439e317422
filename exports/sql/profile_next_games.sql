-- The game that each player faces on the target date. What later days bring is not known then: nothing dated
-- after the target date is read, so that a late run for an old date gives the old document.
WITH predicted AS (
  SELECT DISTINCT player_lookup, game_id
  FROM `nba_predictions.player_prop_predictions`
  WHERE game_date = {{ target_date }} AND system_id = {{ vars.champion_system }} AND is_active
)
SELECT u.player_lookup,
       u.game_date,
       u.game_id,
       u.opponent_team_abbr AS opponent,
       u.home_game,
       p.game_id IS NOT NULL AS has_prediction
FROM `nba_analytics.upcoming_player_game_context` AS u
LEFT JOIN predicted AS p ON p.player_lookup = u.player_lookup AND p.game_id = u.game_id
WHERE u.game_date = {{ target_date }}
QUALIFY ROW_NUMBER() OVER (PARTITION BY u.player_lookup ORDER BY u.game_id, u.processed_at DESC) = 1
ORDER BY u.player_lookup
