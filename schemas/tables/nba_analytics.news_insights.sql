CREATE TABLE nba_analytics.news_insights (
  article_id STRING NOT NULL,
  category STRING NOT NULL,
  confidence FLOAT64 NOT NULL,
  headline STRING,
  ai_summary STRING,
  extracted_at TIMESTAMP NOT NULL
);
