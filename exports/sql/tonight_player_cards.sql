-- One row for each player of the target date: what the "tonight" tab says beside form and factors.
WITH {% include "sql/slate.sql" %},
{% include "sql/entries.sql" %},
{% include "sql/averages.sql" %},
{% include "sql/tonight_facts.sql" %},
{% include "sql/defense.sql" %},
{% include "sql/streaks_now.sql" %},
last_entries AS (
  SELECT player_lookup, MAX(game_date) AS last_date FROM entries GROUP BY player_lookup
)
SELECT u.player_lookup,
       COALESCE(n.player_name, u.player_lookup) AS name,
       u.game_id,
       u.opponent_team_abbr AS opponent,
       COALESCE(u.home_game, ENDS_WITH(u.game_id, CONCAT('_', u.team_abbr))) AS is_home,
       u.team_abbr AS team,
       p.current_points_line AS line,
       COALESCE(u.days_rest, DATE_DIFF({{ target_date }}, e.last_date, DAY) - 1) AS days_rest,
       u.back_to_back,
       i.injury_status,
       i.reason AS injury_reason,
       COALESCE(a.games_played, 0) AS games_played,
       a.season_ppg, a.season_mpg, a.last_10_ppg, a.last_10_mpg, a.last_5_ppg, a.last_5_mpg,
       d.defense_ppg,
       d.defense_rank,
       u.opening_points_line AS line_opened,
       u.current_points_line AS line_current,
       COALESCE(NULLIF(u.line_movement, 0), u.current_points_line - u.opening_points_line) AS line_moved,
       -- a line that came towards the recommendation: down for an OVER, up for an UNDER
       CASE WHEN p.recommendation IS NULL
              OR COALESCE(NULLIF(u.line_movement, 0), u.current_points_line - u.opening_points_line) = 0 THEN NULL
            WHEN p.recommendation = 'OVER'
              THEN COALESCE(NULLIF(u.line_movement, 0), u.current_points_line - u.opening_points_line) < 0
            WHEN p.recommendation = 'UNDER'
              THEN COALESCE(NULLIF(u.line_movement, 0), u.current_points_line - u.opening_points_line) > 0
            ELSE FALSE END AS line_favorable,
       f.fatigue_score,
       CASE WHEN f.fatigue_score >= 95 THEN 'fresh' WHEN f.fatigue_score < 75 THEN 'tired' ELSE 'normal' END
         AS fatigue_level,
       f.fatigue_context_json,
       LOWER(s.streak_type) AS streak_type,
       COALESCE(s.streak_length, 0) AS streak_length,
       p.predicted_points AS predicted,
       p.confidence,
       p.recommendation,
       p.predicted_points - p.current_points_line AS edge,
       p.pace_adjustment,
       p.similar_games_count AS similar_games
FROM slate AS u
LEFT JOIN names AS n ON n.player_lookup = u.player_lookup
LEFT JOIN averages AS a ON a.player_lookup = u.player_lookup
LEFT JOIN last_entries AS e ON e.player_lookup = u.player_lookup
LEFT JOIN predictions AS p ON p.player_lookup = u.player_lookup AND p.game_id = u.game_id
LEFT JOIN fatigue AS f ON f.player_lookup = u.player_lookup AND f.game_id = u.game_id
LEFT JOIN injuries AS i ON i.player_lookup = u.player_lookup
LEFT JOIN defense AS d ON d.team_abbr = u.opponent_team_abbr
LEFT JOIN streaks_now AS s ON s.player_lookup = u.player_lookup
ORDER BY u.player_lookup, u.game_id
