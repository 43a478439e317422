players AS (  -- who a player is now: the season's name, the team of the newest game
  SELECT
    g.player_lookup,
    COALESCE(r.player_name, g.player_full_name, g.player_lookup) AS player_full_name,
    g.team_abbr AS team
  FROM `nba_analytics.player_game_summary` AS g
  LEFT JOIN (
    SELECT player_lookup, MIN(player_name) AS player_name
    FROM `nba_reference.nba_players_registry`
    WHERE CAST(SUBSTR(season, 1, 4) AS INT64) = EXTRACT(YEAR FROM DATE_SUB({{ target_date }}, INTERVAL 9 MONTH))
    GROUP BY player_lookup
  ) AS r ON r.player_lookup = g.player_lookup
  WHERE g.game_date BETWEEN DATE_SUB({{ target_date }}, INTERVAL 365 DAY) AND {{ target_date }}
  QUALIFY ROW_NUMBER() OVER (PARTITION BY g.player_lookup ORDER BY g.game_date DESC, g.game_id DESC, g.processed_at DESC) = 1
)
