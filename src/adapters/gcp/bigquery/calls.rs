//! Calls of BigQuery's REST API, each tried again while that may help.
//!
//! Every call here may be repeated: reading and cancelling change nothing, and an insert carries the id of its job.

use super::errors::{DUPLICATE, Fault, Origin};
use crate::adapters::gcp::{Api, Google};
use crate::ports::chance::jittered;
use serde_json::Value as Json;
use std::sync::Arc;
use std::time::Duration;

/// How often a call is tried, and how long between.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    pub attempts: u32,
    /// The pause after the first failure; each is twice the one before, and a random half of it is left out.
    pub first: Duration,
    pub most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { attempts: 6, first: Duration::from_millis(500), most: Duration::from_secs(20) }
    }
}

impl Backoff {
    /// The pause after the failure number `failed`, from 1.
    pub fn pause(&self, failed: u32) -> Duration {
        let whole = self.first.saturating_mul(1 << failed.saturating_sub(1).min(16)).min(self.most);
        jittered(whole)
    }
}

/// One call: what it asks, and for how long the answer is waited for.
pub struct Call<'a> {
    /// Below `/bigquery/v2/projects/<project>/`.
    pub path: &'a [&'a str],
    pub query: &'a [(&'a str, &'a str)],
    pub body: Option<&'a Json>,
    /// Whether it is a POST although it has no body.
    pub post: bool,
    pub patience: Duration,
}

/// The longest answer that is read; BigQuery ends a page at about 10 MB, some rows are longer (a row has at most 100 MB).
const MOST_BYTES: usize = 512 << 20;

/// The API of one project.
pub struct Calls {
    pub google: Arc<Google>,
    pub project: String,
    pub backoff: Backoff,
}

impl Calls {
    /// The answer's body; of a repeated insert that finds the job that its first sending made, an empty one.
    pub async fn send(&self, call: &Call<'_>) -> Result<Vec<u8>, Fault> {
        let mut failed = 0;
        loop {
            match self.once(call).await {
                Ok(bytes) => return Ok(bytes),
                Err(fault) if fault.reason == DUPLICATE && failed > 0 => return Ok(Vec::new()),
                Err(fault) => {
                    failed += 1;
                    if !fault.again() || failed >= self.backoff.attempts {
                        return Err(fault);
                    }
                }
            }
            tokio::time::sleep(self.backoff.pause(failed)).await;
        }
    }

    /// The answer's body, asked for once.
    pub async fn once(&self, call: &Call<'_>) -> Result<Vec<u8>, Fault> {
        let url = self.url(call)?;
        let http = self.google.http();
        let request = match (call.body, call.post) {
            (Some(body), _) => http.post(url).header("content-type", "application/json").body(body.to_string()),
            (None, true) => http.post(url).header("content-length", "0"),
            (None, false) => http.get(url),
        };
        let answer =
            self.google.ask(Api::BigQuery, request, call.patience, MOST_BYTES).await.map_err(Fault::unanswered)?;
        if answer.is_success() { Ok(answer.body) } else { Err(Fault::of_answer(answer.status, &answer.body)) }
    }

    fn url(&self, call: &Call<'_>) -> Result<reqwest::Url, Fault> {
        let endpoint = self.google.endpoint(Api::BigQuery);
        let bad = || Fault {
            reason: String::new(),
            message: format!("`{endpoint}` is no address of a BigQuery"),
            origin: Origin::Credentials,
        };
        let mut url = reqwest::Url::parse(endpoint).map_err(|_| bad())?;
        url.path_segments_mut()
            .map_err(|()| bad())?
            .pop_if_empty()
            .extend(["bigquery", "v2", "projects", &self.project])
            .extend(call.path);
        let mut query = url.query_pairs_mut();
        // Answers are indented if nothing is said: a third of a page would be blanks.
        query.append_pair("prettyPrint", "false");
        for (name, value) in call.query {
            query.append_pair(name, value);
        }
        drop(query);
        Ok(url)
    }
}
