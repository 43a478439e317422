//! One job's life: inserted under an id of ours, waited for, asked what it cost, and cancelled when nobody wants it any more.

use super::calls::{Call, Calls};
use super::errors::{DUPLICATE, Fault};
use super::page::Page;
use super::wire::{self, Limits};
use crate::adapters::gcp::Unanswered;
use crate::model::Statement;
use crate::model::report::JobReport;
use crate::ports::chance::chance;
use serde_json::Value as Json;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// How long an answer to a small call is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long BigQuery holds a call for a result that is not there yet; its own default.
const LONG_POLL_MS: &str = "10000";

/// How long a page may take to arrive.
const PAGE_PATIENCE: Duration = Duration::from_secs(180);

/// The most rows of a page; BigQuery ends a page at about 10 MB anyway. With short rows this bounds our memory.
const PAGE_ROWS: &str = "25000";

/// A job that BigQuery has taken. Dropped before its end it is cancelled.
pub struct Job {
    calls: Arc<Calls>,
    pub id: String,
    /// Where it runs; each later call has to say it.
    pub location: Option<String>,
    /// The answer to its insert was lost, and the next insert was told that it is there. For a moment after that BigQuery may say
    /// all the same that there is no such job (<https://github.com/googleapis/python-bigquery/issues/2134>).
    adopted: bool,
    over: bool,
    runtime: Handle,
}

impl Job {
    /// Inserts a statement's job. An insert whose answer was lost is sent again under the same id, and finds the job that it made.
    pub async fn insert(
        calls: &Arc<Calls>,
        statement: &Statement,
        limits: &Limits<'_>,
        attempt: u32,
    ) -> Result<Job, Fault> {
        let id = wire::job_id(statement, &attempt_name(attempt));
        let body = wire::insert(statement, limits, &id);
        let mut job = Job {
            calls: calls.clone(),
            id,
            location: limits.location.map(str::to_owned),
            adopted: false,
            // Until the insert is answered nobody knows whether there is a job: dropped in between, it is cancelled too.
            over: false,
            runtime: Handle::current(),
        };
        let call = Call { path: &["jobs"], query: &[], body: Some(&body), post: true, patience: PATIENCE };
        match calls.send(&call).await {
            Ok(bytes) => {
                job.adopted = bytes.is_empty();
                let told: Json = serde_json::from_slice(&bytes).unwrap_or_default();
                if let Some(location) = told["jobReference"]["location"].as_str() {
                    job.location = Some(location.to_owned());
                }
                match told["status"].get("errorResult").and_then(Fault::of_proto) {
                    Some(fault) => Err(job.ended(fault)),
                    None => Ok(job),
                }
            }
            // A job that is not ours has this id: the next attempt has another.
            Err(fault) if fault.reason == DUPLICATE => {
                Err(job.ended(Fault { reason: "internalError".into(), ..fault }))
            }
            // Refused: there is no job. After a lost answer there may be one.
            Err(fault) if fault.again() => Err(fault),
            Err(fault) => Err(job.ended(fault)),
        }
    }

    /// Waits for the job's end; gives the first page of its result. A job's own fault comes as the failure of this call, with a
    /// status as if BigQuery were not there: so the job is asked what it knows before the call is made again.
    pub async fn first_page(&mut self) -> Result<Page, Fault> {
        let mut failed = 0;
        loop {
            let fault = match self.asked(None).await {
                Ok(bytes) => match read(bytes).await? {
                    page if page.complete => return self.first(page),
                    _ => continue,
                },
                Err(fault) => fault,
            };
            if let Err(own) = self.report().await {
                return Err(self.ended(own));
            }
            let fault = if self.adopted { fault.of_adopted(self.location.as_deref()) } else { fault };
            failed += 1;
            if !fault.again() || failed >= self.calls.backoff.attempts {
                return Err(fault);
            }
            tokio::time::sleep(self.calls.backoff.pause(failed)).await;
        }
    }

    /// An ended job's first page. Without columns its errors are why; with columns they are warnings.
    fn first(&mut self, page: Page) -> Result<Page, Fault> {
        self.over();
        self.location = page.location.clone().or(self.location.take());
        match (&page.fields, page.errors.first()) {
            (None, Some(fault)) => Err(fault.clone()),
            _ => Ok(page),
        }
    }

    /// The page of the result that a token names.
    pub async fn page(&self, token: &str) -> Result<Vec<u8>, Fault> {
        self.asked(Some(token)).await
    }

    /// A page; the first is asked for once, a later one as often as it takes.
    async fn asked(&self, token: Option<&str>) -> Result<Vec<u8>, Fault> {
        let mut query =
            vec![("maxResults", PAGE_ROWS), ("timeoutMs", LONG_POLL_MS), ("formatOptions.useInt64Timestamp", "true")];
        query.extend(self.location.as_deref().map(|location| ("location", location)));
        query.extend(token.map(|token| ("pageToken", token)));
        let path = &["queries", self.id.as_str()];
        let call = Call { path, query: &query, body: None, post: false, patience: PAGE_PATIENCE };
        if token.is_some() { self.calls.send(&call).await } else { self.calls.once(&call).await }
    }

    /// What the ended job read and cost; `Err` also when the job says that it failed. A record that cannot be had is no
    /// reason to lose a result: then only the id is known.
    pub async fn report(&self) -> Result<JobReport, Fault> {
        let query: Vec<_> = self.location.as_deref().map(|location| ("location", location)).into_iter().collect();
        let call = Call { path: &["jobs", &self.id], query: &query, body: None, post: false, patience: PATIENCE };
        let told: Json = match self.calls.send(&call).await {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(_) => Json::Null,
        };
        if let Some(fault) = told["status"].get("errorResult").and_then(Fault::of_proto) {
            return Err(fault);
        }
        Ok(report(&told, &self.id, self.location.clone()))
    }

    /// Marks the job as one that nobody has to cancel.
    pub fn over(&mut self) {
        self.over = true;
    }

    fn ended(&mut self, fault: Fault) -> Fault {
        self.over();
        fault
    }
}

impl Drop for Job {
    /// Cancels what is still running. Not waited for: BigQuery stops the job a while later anyway (`jobTimeoutMs`).
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let (calls, id, location) = (self.calls.clone(), self.id.clone(), self.location.take());
        self.runtime.spawn(async move {
            let query: Vec<_> = location.as_deref().map(|location| ("location", location)).into_iter().collect();
            let call =
                Call { path: &["jobs", &id, "cancel"], query: &query, body: None, post: true, patience: PATIENCE };
            let _ = calls.send(&call).await;
        });
    }
}

/// What tells this attempt's id from every other's: the same request may be worked by two processes at once.
fn attempt_name(attempt: u32) -> String {
    format!("{attempt}-{:016x}", chance())
}

/// A job's statistics; BigQuery writes its 64-bit numbers as texts.
pub fn report(job: &Json, id: &str, location: Option<String>) -> JobReport {
    let query = &job["statistics"]["query"];
    JobReport {
        job_id: id.to_owned(),
        location,
        bytes_processed: number(&query["totalBytesProcessed"]),
        bytes_billed: number(&query["totalBytesBilled"]),
        slot_ms: number(&query["totalSlotMs"]),
        cache_hit: query["cacheHit"].as_bool(),
    }
}

/// A 64-bit number, which BigQuery writes as a text.
pub fn number(value: &Json) -> Option<u64> {
    value.as_str().and_then(|text| text.parse().ok()).or_else(|| value.as_u64())
}

/// Reads a page off the threads that serve the network.
async fn read(bytes: Vec<u8>) -> Result<Page, Fault> {
    let read = tokio::task::spawn_blocking(move || Page::read(&bytes, None, &mut |_| {})).await;
    let unreadable =
        |reason: String| Fault::unanswered(Unanswered::Lost(format!("the result cannot be read: {reason}")));
    read.map_err(|e| unreadable(e.to_string()))?.map_err(unreadable)
}
