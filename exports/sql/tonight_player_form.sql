-- The last ten entries of each player of the target date, newest first, as lines of a box score.
WITH {% include "sql/slate.sql" %},
{% include "sql/entries.sql" %},
{% include "sql/averages.sql" %}
SELECT e.player_lookup,
       e.entry_number,
       e.game_date,
       e.opponent_team_abbr AS opponent,
       e.is_home AS home_game,
       e.is_dnp,
       IF(e.is_dnp, NULL, e.points) AS points,
       IF(e.is_dnp, NULL, e.minutes_played) AS minutes,
       IF(e.is_dnp, NULL, CONCAT(CAST(e.fg_makes AS STRING), '/', CAST(e.fg_attempts AS STRING))) AS fg,
       IF(e.is_dnp, NULL, CONCAT(CAST(e.three_pt_makes AS STRING), '/', CAST(e.three_pt_attempts AS STRING))) AS three,
       IF(e.is_dnp, NULL, CONCAT(CAST(e.ft_makes AS STRING), '/', CAST(e.ft_attempts AS STRING))) AS ft,
       CASE WHEN e.is_dnp THEN 'DNP' WHEN e.over_under_result IN ('OVER', 'UNDER') THEN e.over_under_result END
         AS over_under,
       e.points_line AS line,
       IF(e.is_dnp, NULL, e.points - e.points_line) AS margin,
       CASE WHEN a.season_ppg IS NULL THEN NULL
            WHEN e.is_dnp THEN 'DNP' WHEN e.points > a.season_ppg THEN 'O' WHEN e.points < a.season_ppg THEN 'U'
            WHEN e.points = a.season_ppg THEN 'P' END AS vs_avg
FROM entries AS e
LEFT JOIN averages AS a ON a.player_lookup = e.player_lookup
WHERE e.entry_number <= 10
ORDER BY e.player_lookup, e.entry_number
