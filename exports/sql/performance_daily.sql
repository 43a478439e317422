  -- The days that any of the windows needs. A season begins in October.
  SELECT *
  FROM `nba_predictions.system_daily_performance`
  WHERE game_date BETWEEN LEAST(DATE_SUB({{ target_date }}, INTERVAL 29 DAY),
                                DATE(EXTRACT(YEAR FROM DATE_SUB({{ target_date }}, INTERVAL 9 MONTH)), 10, 1))
                      AND {{ target_date }}
