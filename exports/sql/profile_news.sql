-- The newest five articles about each player.
WITH links AS (
  SELECT player_lookup, article_id
  FROM `nba_analytics.news_player_links`
  WHERE sport = 'nba'
  GROUP BY player_lookup, article_id
),
articles AS (
  SELECT article_id, source, source_url, title, published_at
  FROM `nba_raw.news_articles_raw`
  WHERE sport = 'nba' AND DATE(published_at, 'America/New_York') <= {{ target_date }}
  QUALIFY ROW_NUMBER() OVER (PARTITION BY article_id ORDER BY scraped_at DESC) = 1
),
insights AS (
  SELECT article_id, category, headline
  FROM `nba_analytics.news_insights`
  QUALIFY ROW_NUMBER() OVER (PARTITION BY article_id ORDER BY extracted_at DESC, category) = 1
)
SELECT l.player_lookup,
       COALESCE(NULLIF(i.headline, ''),
                IF(CHAR_LENGTH(a.title) > 50, CONCAT(SUBSTR(a.title, 1, 47), '...'), a.title)) AS headline,
       COALESCE(i.category, 'other') AS category,
       CASE a.source WHEN 'espn_nba' THEN 'ESPN' WHEN 'cbs_nba' THEN 'CBS Sports' WHEN 'rotowire_nba' THEN 'RotoWire'
                     WHEN 'yahoo_nba' THEN 'Yahoo Sports' ELSE a.source END AS source,
       a.source_url,
       a.published_at
FROM links AS l
JOIN articles AS a ON a.article_id = l.article_id
LEFT JOIN insights AS i ON i.article_id = l.article_id
QUALIFY ROW_NUMBER() OVER (PARTITION BY l.player_lookup ORDER BY a.published_at DESC, l.article_id) <= 5
ORDER BY l.player_lookup, a.published_at DESC, l.article_id
