CREATE TABLE nba_analytics.news_player_links (
  player_lookup STRING NOT NULL,
  article_id STRING NOT NULL,
  sport STRING NOT NULL,
  mention_role STRING,
  link_confidence FLOAT64 NOT NULL,
  article_category STRING,
  article_published_at TIMESTAMP,
  created_at TIMESTAMP NOT NULL
);
