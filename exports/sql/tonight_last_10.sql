-- The last ten entries of each player, newest first. A game not played stays as a gap: DNP and nulls.
WITH {% include "sql/slate.sql" %},
{% include "sql/entries.sql" %},
{% include "sql/averages.sql" %}
SELECT e.player_lookup,
       e.entry_number,
       IF(e.is_dnp, NULL, e.points) AS points,
       IF(e.is_dnp, NULL, e.points_line) AS line,
       IF(e.is_dnp, NULL, CAST(ROUND(e.minutes_played) AS INT64)) AS minutes,
       IF(e.is_dnp, NULL, ROUND(CAST(e.fg_makes AS NUMERIC) / NULLIF(e.fg_attempts, 0), 3)) AS fg_pct,
       IF(e.is_dnp, NULL, ROUND(CAST(e.three_pt_makes AS NUMERIC) / NULLIF(e.three_pt_attempts, 0), 3)) AS three_pct,
       IF(e.is_dnp, NULL, e.plus_minus) AS plus_minus,
       IF(e.is_dnp, NULL, e.ft_attempts) AS fta,
       IF(e.is_dnp, NULL, e.days_rest) AS days_rest,
       IF(e.is_dnp, NULL, e.is_home) AS is_home,
       CASE WHEN e.is_dnp THEN 'DNP' WHEN e.over_under_result = 'OVER' THEN 'O'
            WHEN e.over_under_result = 'UNDER' THEN 'U' ELSE '-' END AS result,
       CASE WHEN e.is_dnp THEN 'DNP' WHEN e.points > a.season_ppg THEN 'O' WHEN e.points < a.season_ppg THEN 'U'
            WHEN e.points = a.season_ppg THEN 'P' ELSE '-' END AS vs_avg
FROM entries AS e
LEFT JOIN averages AS a ON a.player_lookup = e.player_lookup
WHERE e.entry_number <= 10
ORDER BY e.player_lookup, e.entry_number
