last_results AS (  -- the last ten entries: OVER, UNDER, or nothing (no line, a push, not played)
  SELECT player_lookup, entry_number,
         IF(NOT is_dnp AND over_under_result IN ('OVER', 'UNDER'), over_under_result, NULL) AS over_under
  FROM entries
  WHERE entry_number <= 10
),
streak_starts AS (  -- the newest result, which the streak is a run of
  SELECT player_lookup, entry_number AS first_entry, over_under AS streak_type
  FROM last_results
  WHERE over_under IS NOT NULL
  QUALIFY ROW_NUMBER() OVER (PARTITION BY player_lookup ORDER BY entry_number) = 1
),
streaks_now AS (  -- up to the first entry that is anything else
  SELECT s.player_lookup, s.streak_type,
         COALESCE(MIN(IF(r.over_under = s.streak_type, NULL, r.entry_number)), MAX(r.entry_number) + 1)
           - s.first_entry AS streak_length
  FROM streak_starts AS s
  JOIN last_results AS r ON r.player_lookup = s.player_lookup AND r.entry_number >= s.first_entry
  GROUP BY s.player_lookup, s.streak_type, s.first_entry
)
