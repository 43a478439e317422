-- Candidate angles of tonight's game, each with its weight; the shape keeps the four heaviest.
-- x, y, z, n, here and there are what the description of that angle says.
WITH {% include "sql/slate.sql" %},
{% include "sql/entries.sql" %},
{% include "sql/averages.sql" %},
{% include "sql/tonight_facts.sql" %},
{% include "sql/defense.sql" %},
{% include "sql/streaks_now.sql" %},
splits AS (  -- of this season's games with minutes
  SELECT u.player_lookup,
         ROUND(AVG(IF(g.is_home, CAST(g.points AS NUMERIC), NULL)), 1) AS home_ppg,
         COUNTIF(g.is_home) AS home_games,
         ROUND(AVG(IF(NOT g.is_home, CAST(g.points AS NUMERIC), NULL)), 1) AS away_ppg,
         COUNTIF(NOT g.is_home) AS away_games,
         ROUND(AVG(IF(g.days_rest = 0, CAST(g.points AS NUMERIC), NULL)), 1) AS b2b_ppg,
         COUNTIF(g.days_rest = 0) AS b2b_games,
         ROUND(AVG(IF(g.days_rest > 0 OR g.days_rest IS NULL, CAST(g.points AS NUMERIC), NULL)), 1) AS other_ppg,
         ROUND(AVG(IF(g.days_rest >= 2, CAST(g.points AS NUMERIC), NULL)), 1) AS rested_ppg,
         ROUND(AVG(IF(g.opponent_team_abbr = u.opponent_team_abbr, CAST(g.points AS NUMERIC), NULL)), 1)
           AS opponent_ppg,
         COUNTIF(g.opponent_team_abbr = u.opponent_team_abbr) AS opponent_games
  FROM slate AS u
  JOIN played AS g ON g.player_lookup = u.player_lookup
  WHERE g.this_season
  GROUP BY u.player_lookup
),
shooting AS (  -- the games played among the last ten entries
  SELECT player_lookup,
         COUNT(*) AS games,
         SUM(fg_attempts) AS attempts,
         SUM(IF(played_number <= 5, fg_attempts, 0)) AS attempts_5,
         ROUND(100 * CAST(SUM(fg_makes) AS NUMERIC) / NULLIF(SUM(fg_attempts), 0), 1) AS pct,
         ROUND(100 * CAST(SUM(IF(played_number <= 5, fg_makes, 0)) AS NUMERIC)
               / NULLIF(SUM(IF(played_number <= 5, fg_attempts, 0)), 0), 1) AS pct_5
  FROM played
  WHERE entry_number <= 10
  GROUP BY player_lookup
),
results AS (
  SELECT player_lookup, COUNT(*) AS entries, COUNTIF(over_under = 'OVER') AS overs, COUNT(over_under) AS decided
  FROM last_results
  GROUP BY player_lookup
),
tonight AS (
  SELECT u.player_lookup, u.opponent_team_abbr, u.home_game, u.back_to_back,
         COALESCE(u.days_rest, DATE_DIFF({{ target_date }}, l.last_date, DAY) - 1) AS days_rest,
         f.fatigue_score, d.defense_ppg, d.defense_rank, p.current_points_line,
         a.season_ppg, a.season_mpg, a.last_5_ppg, a.last_5_mpg, a.last_10_ppg,
         t.streak_type, t.streak_length, r.entries, r.overs, r.decided,
         k.home_ppg, k.home_games, k.away_ppg, k.away_games, k.b2b_ppg, k.b2b_games, k.other_ppg, k.rested_ppg,
         k.opponent_ppg, k.opponent_games,
         h.games AS shooting_games, h.attempts, h.attempts_5, h.pct, h.pct_5
  FROM slate AS u
  LEFT JOIN (SELECT player_lookup, MAX(game_date) AS last_date FROM entries GROUP BY player_lookup) AS l
    ON l.player_lookup = u.player_lookup
  LEFT JOIN fatigue AS f ON f.player_lookup = u.player_lookup AND f.game_id = u.game_id
  LEFT JOIN defense AS d ON d.team_abbr = u.opponent_team_abbr
  LEFT JOIN predictions AS p ON p.player_lookup = u.player_lookup AND p.game_id = u.game_id
  LEFT JOIN averages AS a ON a.player_lookup = u.player_lookup
  LEFT JOIN streaks_now AS t ON t.player_lookup = u.player_lookup
  LEFT JOIN results AS r ON r.player_lookup = u.player_lookup
  LEFT JOIN splits AS k ON k.player_lookup = u.player_lookup
  LEFT JOIN shooting AS h ON h.player_lookup = u.player_lookup
),
candidates AS (
  SELECT player_lookup, 1 AS factor_order, 'b2b' AS id, 'Back-to-Back' AS factor,
         IF(b2b_ppg < other_ppg, 'negative', 'positive') AS direction,
         LEAST(ABS(b2b_ppg - other_ppg) / 8, 1) * IF(b2b_games < 3, NUMERIC '0.7', 1) AS weight,
         b2b_ppg AS x, other_ppg AS y, b2b_ppg - other_ppg AS z, b2b_games AS n,
         CAST(NULL AS STRING) AS here, CAST(NULL AS STRING) AS there
  FROM tonight
  WHERE back_to_back AND b2b_ppg IS NOT NULL AND other_ppg IS NOT NULL
  UNION ALL
  SELECT player_lookup, 2, 'location', IF(home_game, 'Home', 'Away'),
         CASE SIGN(IF(home_game, home_ppg - away_ppg, away_ppg - home_ppg))
           WHEN 1 THEN 'positive' WHEN -1 THEN 'negative' ELSE 'neutral' END,
         LEAST(ABS(home_ppg - away_ppg) / 5, 1),
         IF(home_game, home_ppg, away_ppg), IF(home_game, away_ppg, home_ppg), NULL, NULL,
         IF(home_game, 'at home', 'on the road'), IF(home_game, 'on the road', 'at home')
  FROM tonight
  WHERE home_ppg IS NOT NULL AND away_ppg IS NOT NULL AND IF(home_game, home_games, away_games) >= 3
    AND home_game IS NOT NULL
  UNION ALL
  SELECT player_lookup, 3, 'vs_opponent', CONCAT('vs ', opponent_team_abbr),
         CASE SIGN(opponent_ppg - season_ppg) WHEN 1 THEN 'positive' WHEN -1 THEN 'negative' ELSE 'neutral' END,
         LEAST(ABS(opponent_ppg - season_ppg) / 6, 1) * IF(opponent_games = 1, NUMERIC '0.6', 1),
         opponent_ppg, season_ppg, NULL, opponent_games, NULL, opponent_team_abbr
  FROM tonight
  WHERE opponent_ppg IS NOT NULL AND season_ppg IS NOT NULL
  UNION ALL
  SELECT player_lookup, 4, 'rest', 'Extra Rest',
         CASE SIGN(rested_ppg - season_ppg) WHEN 1 THEN 'positive' WHEN -1 THEN 'negative' ELSE 'neutral' END,
         LEAST(ABS(rested_ppg - season_ppg) / 5 * NUMERIC '0.8', 1),
         rested_ppg, season_ppg, NULL, days_rest, NULL, NULL
  FROM tonight
  WHERE days_rest >= 3 AND rested_ppg IS NOT NULL AND season_ppg IS NOT NULL
  UNION ALL
  SELECT player_lookup, 5, 'fatigue', 'Fatigue', 'negative',
         LEAST((100 - CAST(fatigue_score AS NUMERIC)) / 100 * NUMERIC '0.7', 1),
         NULL, NULL, NULL, NULL, 'Heavy recent workload, elevated fatigue risk', NULL
  FROM tonight
  WHERE fatigue_score < 75
  UNION ALL
  SELECT player_lookup, 5, 'fatigue', 'Fresh Legs', 'positive', NUMERIC '0.3',
         NULL, NULL, NULL, NULL,
         IF(days_rest > 0, CONCAT('Fully rested, ', CAST(days_rest AS STRING), ' days off'),
            'Light recent workload, fully rested'), NULL
  FROM tonight
  WHERE fatigue_score >= 95
    AND NOT COALESCE(days_rest >= 3 AND rested_ppg IS NOT NULL AND season_ppg IS NOT NULL, FALSE)
  UNION ALL
  SELECT player_lookup, 6, 'opponent_defense', 'Opponent Defense', IF(defense_rank <= 10, 'negative', 'positive'),
         CASE WHEN defense_rank <= 5 THEN LEAST(CAST(30 - defense_rank AS NUMERIC) / 30, 1) * NUMERIC '0.9'
              WHEN defense_rank <= 10 THEN LEAST(CAST(30 - defense_rank AS NUMERIC) / 30, 1) * NUMERIC '0.7'
              ELSE LEAST(CAST(defense_rank - 1 AS NUMERIC) / 30, 1) * NUMERIC '0.7' END,
         defense_ppg, NULL, NULL, defense_rank,
         CASE WHEN defense_rank <= 5 THEN 'elite' WHEN defense_rank <= 10 THEN 'good' ELSE 'weak' END,
         opponent_team_abbr
  FROM tonight
  WHERE (defense_rank <= 10 OR defense_rank > 20) AND defense_ppg IS NOT NULL
  UNION ALL
  SELECT player_lookup, 7, 'scoring_trend', IF(last_5_ppg > season_ppg, 'Scoring Surge', 'Scoring Dip'),
         IF(last_5_ppg > season_ppg, 'positive', 'negative'),
         LEAST(ABS(last_5_ppg - season_ppg) / 6, 1),
         last_5_ppg, season_ppg, ABS(last_5_ppg - season_ppg), NULL, IF(last_5_ppg > season_ppg, 'up', 'down'), NULL
  FROM tonight
  WHERE ABS(last_5_ppg - season_ppg) >= 2
  UNION ALL
  SELECT player_lookup, 8, 'line_vs_avg', 'Line Gap', IF(current_points_line < last_10_ppg, 'positive', 'negative'),
         LEAST(ABS(current_points_line - last_10_ppg) / 5 * NUMERIC '0.9', 1),
         current_points_line, last_10_ppg, ABS(current_points_line - last_10_ppg), NULL,
         IF(current_points_line < last_10_ppg, 'below', 'above'), NULL
  FROM tonight
  WHERE ABS(current_points_line - last_10_ppg) >= 2
  UNION ALL
  SELECT player_lookup, 9, 'minutes_trend', IF(last_5_mpg > season_mpg, 'Minutes Up', 'Minutes Down'),
         IF(last_5_mpg > season_mpg, 'positive', 'negative'),
         LEAST(ABS(last_5_mpg - season_mpg) / 6 * NUMERIC '0.7', 1),
         last_5_mpg, season_mpg, ABS(last_5_mpg - season_mpg), NULL, IF(last_5_mpg > season_mpg, 'up', 'down'), NULL
  FROM tonight
  WHERE ABS(last_5_mpg - season_mpg) >= 3
  UNION ALL
  SELECT player_lookup, 10, 'streak', CONCAT(streak_type, ' Streak'),
         IF(streak_type = 'OVER', 'positive', 'negative'),
         LEAST(CAST(streak_length AS NUMERIC) / 6 * NUMERIC '0.8', 1),
         CAST(overs AS NUMERIC), CAST(decided AS NUMERIC), CAST(entries AS NUMERIC), streak_length, streak_type, NULL
  FROM tonight
  WHERE streak_length >= 3
  UNION ALL
  SELECT player_lookup, 11, 'fg_efficiency', IF(pct_5 > pct, 'Shooting Hot', 'Shooting Cold'),
         IF(pct_5 > pct, 'positive', 'negative'),
         LEAST(ABS(pct_5 - pct) / 8 * NUMERIC '0.6', 1),
         pct_5, pct, NULL, shooting_games, IF(pct_5 > pct, 'up', 'down'), NULL
  FROM tonight
  WHERE shooting_games >= 5 AND attempts_5 >= 20 AND attempts >= 20 AND ABS(pct_5 - pct) >= 3
)
SELECT player_lookup, factor_order, id, factor, direction, ROUND(weight, 2) AS magnitude, x, y, z, n, here, there
FROM candidates
ORDER BY player_lookup, magnitude DESC, factor_order
