-- One row for each player and game of the target date: who, how fit, how good, what line, what prediction.
WITH {% include "sql/slate.sql" %},
{% include "sql/entries.sql" %},
{% include "sql/averages.sql" %},
{% include "sql/tonight_facts.sql" %},
records AS (  -- over the last ten entries
  SELECT e.player_lookup,
         COUNTIF(NOT e.is_dnp AND e.over_under_result = 'OVER') AS overs,
         COUNTIF(NOT e.is_dnp AND e.over_under_result = 'UNDER') AS unders,
         COUNTIF(NOT e.is_dnp AND e.points > a.season_ppg) AS above_average,
         COUNTIF(NOT e.is_dnp AND e.points < a.season_ppg) AS below_average
  FROM entries AS e
  LEFT JOIN averages AS a ON a.player_lookup = e.player_lookup
  WHERE e.entry_number <= 10
  GROUP BY e.player_lookup
),
actuals AS (  -- the only box scores of the target date itself
  SELECT player_lookup, game_id, points
  FROM `nba_analytics.player_game_summary`
  WHERE game_date = {{ target_date }}
  QUALIFY ROW_NUMBER() OVER (PARTITION BY player_lookup, game_id ORDER BY processed_at DESC, points DESC) = 1
),
odds AS (  -- the best price of each line; between -100 and 100 there are no American odds
  SELECT player_lookup, ROUND(CAST(points_line AS NUMERIC), 1) AS line,
         MAX(IF(bet_side = 'over' AND ABS(odds_american) >= 100, odds_american, NULL)) AS over_odds,
         MAX(IF(bet_side = 'under' AND ABS(odds_american) >= 100, odds_american, NULL)) AS under_odds
  FROM `nba_raw.bettingpros_player_points_props`
  WHERE game_date = {{ target_date }} AND market_type = 'points' AND is_best_line
  GROUP BY player_lookup, line
),
joined AS (
  SELECT u.player_lookup, u.game_id, COALESCE(n.player_name, u.player_lookup) AS name, u.team_abbr AS team,
         u.home_game AS is_home, u.days_rest,
         p.current_points_line IS NOT NULL AS has_line,
         CASE WHEN f.fatigue_score >= 95 THEN 'fresh' WHEN f.fatigue_score < 75 THEN 'tired' ELSE 'normal' END
           AS fatigue_level,
         f.fatigue_score,
         COALESCE(i.injury_status, 'available') AS injury_status,
         i.reason AS injury_reason,
         a.season_ppg, a.season_mpg, a.season_fg_pct, a.season_three_pct, a.season_plus_minus, a.season_fta,
         a.last_5_ppg, a.last_30d_ppg,
         COALESCE(a.games_played, 0) AS games_played,
         COALESCE(a.games_played, 0) < 10 AS limited_data,
         x.points AS actual_points,
         CASE WHEN p.recommendation NOT IN ('OVER', 'UNDER') THEN NULL
              WHEN x.points = p.current_points_line THEN 'PUSH'
              WHEN x.points > p.current_points_line THEN IF(p.recommendation = 'OVER', 'WIN', 'LOSS')
              WHEN x.points < p.current_points_line THEN IF(p.recommendation = 'UNDER', 'WIN', 'LOSS') END AS result,
         CASE WHEN a.last_5_ppg - a.season_ppg >= 3 THEN 'Hot'
              WHEN a.last_5_ppg - a.season_ppg <= -3 THEN 'Cold'
              WHEN a.last_5_ppg - a.season_ppg IS NOT NULL THEN 'Neutral' END AS recent_form,
         IF(r.overs + r.unders > 0, CONCAT(CAST(r.overs AS STRING), '-', CAST(r.unders AS STRING)), NULL)
           AS last_10_record,
         CONCAT(CAST(r.above_average AS STRING), '-', CAST(r.below_average AS STRING)) AS last_10_avg_record,
         r.overs, r.unders,
         p.current_points_line AS line, o.over_odds, o.under_odds,
         p.predicted_points AS predicted, p.confidence, p.recommendation,
         ABS(p.predicted_points - p.current_points_line) AS edge
  FROM slate AS u
  LEFT JOIN names AS n ON n.player_lookup = u.player_lookup
  LEFT JOIN averages AS a ON a.player_lookup = u.player_lookup
  LEFT JOIN records AS r ON r.player_lookup = u.player_lookup
  LEFT JOIN predictions AS p ON p.player_lookup = u.player_lookup AND p.game_id = u.game_id
  LEFT JOIN fatigue AS f ON f.player_lookup = u.player_lookup AND f.game_id = u.game_id
  LEFT JOIN injuries AS i ON i.player_lookup = u.player_lookup
  LEFT JOIN actuals AS x ON x.player_lookup = u.player_lookup AND x.game_id = u.game_id
  LEFT JOIN odds AS o ON o.player_lookup = u.player_lookup AND o.line = p.current_points_line
)
SELECT * EXCEPT (overs, unders),
       CASE WHEN overs + unders < 5 THEN NULL
            WHEN recommendation = 'OVER' AND overs >= 7 THEN 'Hot over streak'
            WHEN recommendation = 'UNDER' AND unders >= 7 THEN 'Cold under streak'
            WHEN recommendation = 'OVER' AND overs >= 5 THEN 'Trending over'
            WHEN recommendation = 'UNDER' AND unders >= 5 THEN 'Trending under' END AS trend,
       CASE WHEN recommendation = 'OVER' AND (fatigue_level = 'fresh' OR days_rest >= 3)
              THEN 'Well-rested, favors performance'
            WHEN recommendation = 'UNDER' AND (fatigue_level = 'tired' OR days_rest = 0)
              THEN 'Back-to-back fatigue risk' END AS rest_factor
FROM joined
ORDER BY has_line DESC, injury_status = 'out', IF(has_line, confidence, NULL) DESC, season_ppg DESC NULLS LAST,
         player_lookup, game_id
