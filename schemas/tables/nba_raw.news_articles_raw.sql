CREATE TABLE nba_raw.news_articles_raw (
  article_id STRING NOT NULL,
  source STRING NOT NULL,
  source_url STRING,
  title STRING NOT NULL,
  summary STRING,
  published_at TIMESTAMP NOT NULL,
  scraped_at TIMESTAMP NOT NULL,
  sport STRING NOT NULL
);
