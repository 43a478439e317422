//! Requests that the service works on: one record for each, from its first attempt to its completion message. The parts of
//! its exports have records of their own (`runs`), by whose keys a cause that comes twice is found.

use super::{State, StateError, name_of, segment};
use crate::model::report::{ExportReport, Totals};
use crate::model::request::CauseKind;
use crate::ports::store::Condition;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One request and how far it came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestRecord {
    pub run_id: String,
    pub cause: CauseRecord,
    pub target: String,
    pub target_date: Date,
    /// The exports in the order of their report.
    pub exports: Vec<String>,
    /// Parameters as JSON.
    pub params: BTreeMap<String, serde_json::Value>,
    pub update_latest: bool,
    pub status: RequestStatus,
    /// How often it was begun.
    pub attempts: u32,
    /// When the next attempt is due, while `waiting`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<Timestamp>,
    pub started_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// One for each export that was begun.
    pub tasks: Vec<TaskRecord>,
    pub totals: Totals,
    /// Why it ended as it did, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The run that answered the same cause before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicate_of: Option<String>,
    /// The run whose failed exports this one tries again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<String>,
}

/// Where the request came from; links the upstream event with the published objects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CauseRecord {
    pub kind: CauseKind,
    /// The dedupe key: a batch, a tick, a message.
    pub id: String,
    /// The instant from which date words were resolved.
    pub time: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_at: Option<Timestamp>,
    /// The trigger message's body.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub message: serde_json::Value,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_batch_id: Option<String>,
    /// The gate's decision, where a trigger made the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// When the upstream message was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_at: Option<Timestamp>,
}

/// How far a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestStatus {
    /// Begun; if its process is gone, another takes over when the lease of the message ends.
    Running,
    /// Some exports are tried again later.
    Waiting,
    Success,
    Partial,
    Failed,
    Cancelled,
    /// Another run answered the same cause.
    Duplicate,
}

impl RequestStatus {
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Running | Self::Waiting)
    }
}

/// What became of a cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CauseState {
    /// No request of it was begun: its message waits, or was lost.
    Unknown,
    /// The run is under way or waits for another attempt.
    Going(String),
    Succeeded(String),
    /// Wholly or in part.
    Failed(String),
}

/// One export of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    pub attempts: u32,
    pub run_key: String,
    /// Whether nothing more will be tried.
    pub done: bool,
    /// The last attempt's.
    pub report: ExportReport,
}

impl State {
    /// Writes the record, unless the request has ended already: an end is never taken back. `Some` is the end that somebody else
    /// came to (a worker whose lease ran out while it was still working), and which counts.
    pub async fn record_request(&self, request: &RequestRecord) -> Result<Option<RequestRecord>, StateError> {
        let mut ended = None;
        self.update(&request_path(&request.run_id), |there: Option<RequestRecord>| {
            ended = there.filter(|there| there.status.is_final() && there != request);
            ended.is_none().then(|| request.clone())
        })
        .await?;
        Ok(ended)
    }

    pub async fn request(&self, run_id: &str) -> Result<Option<RequestRecord>, StateError> {
        Ok(self.read(&request_path(run_id)).await?.map(|(record, _)| record))
    }

    /// The ids of all requests, newest first.
    pub async fn request_ids(&self) -> Result<Vec<String>, StateError> {
        self.request_ids_beginning("").await
    }

    /// The ids of the requests that begin so, newest first.
    pub async fn request_ids_beginning(&self, beginning: &str) -> Result<Vec<String>, StateError> {
        let beginning = if beginning.is_empty() { String::new() } else { segment(beginning) };
        let paths = self.list(&format!("requests/{beginning}")).await?;
        let id = |path: &String| path.strip_prefix("requests/")?.strip_suffix(".json").map(name_of);
        Ok(paths.iter().rev().filter_map(id).collect())
    }

    /// The newest requests, at most `limit`.
    pub async fn requests(&self, limit: usize) -> Result<Vec<RequestRecord>, StateError> {
        let mut requests = Vec::new();
        for id in self.request_ids().await?.iter().take(limit) {
            requests.extend(self.request(id).await?);
        }
        Ok(requests)
    }

    /// Takes the turn to work on a cause: of several requests with one cause, one works at a time, in the order in which they
    /// asked; the others find what it did. `Some` is the run whose turn it is instead. Asking again is as good as once, so a
    /// request that was cut off keeps its turn until its message comes again.
    pub async fn take_turn(&self, cause_id: &str, run_id: &str) -> Result<Option<String>, StateError> {
        let path = cause_path(cause_id);
        let mut attempts = super::Attempts::new(self.pause);
        loop {
            let (mut runs, condition) = match self.read::<Vec<String>>(&path).await? {
                Some((runs, version)) => (runs, Condition::Match(version)),
                None => (Vec::new(), Condition::Absent),
            };
            for earlier in runs.iter().take_while(|run| *run != run_id) {
                if !self.request(earlier).await?.is_some_and(|r| r.status.is_final()) {
                    return Ok(Some(earlier.clone()));
                }
            }
            if runs.iter().any(|run| run == run_id) {
                return Ok(None);
            }
            runs.push(run_id.to_owned());
            match self.put(&path, &runs, condition).await {
                Ok(_) => return Ok(None),
                Err(error) => attempts.spend(error).await?,
            }
        }
    }

    /// The ids of the requests that answered a cause, the first one first.
    pub async fn requests_of_cause(&self, cause_id: &str) -> Result<Vec<String>, StateError> {
        Ok(self.read(&cause_path(cause_id)).await?.map(|(runs, _)| runs).unwrap_or_default())
    }

    /// The request that first answered a cause.
    pub async fn request_of_cause(&self, cause_id: &str) -> Result<Option<RequestRecord>, StateError> {
        match self.requests_of_cause(cause_id).await?.first() {
            Some(run_id) => self.request(run_id).await,
            None => Ok(None),
        }
    }

    /// What became of a cause, over all requests that answered it.
    pub async fn cause_state(&self, cause_id: &str) -> Result<CauseState, StateError> {
        let mut state = CauseState::Unknown;
        for run_id in self.requests_of_cause(cause_id).await? {
            match self.request(&run_id).await?.map(|r| r.status) {
                Some(RequestStatus::Success) => return Ok(CauseState::Succeeded(run_id)),
                // Linked, not yet recorded: it is about to begin.
                None | Some(RequestStatus::Running | RequestStatus::Waiting) => state = CauseState::Going(run_id),
                Some(RequestStatus::Partial | RequestStatus::Failed | RequestStatus::Cancelled)
                    if state == CauseState::Unknown =>
                {
                    state = CauseState::Failed(run_id);
                }
                // A duplicate tells nothing: the one that it repeats is in the list.
                Some(_) => {}
            }
        }
        Ok(state)
    }

    /// Asks the worker that has the run to stop: it finishes what it is publishing and begins nothing more.
    pub async fn ask_to_cancel(&self, run_id: &str, now: Timestamp) -> Result<(), StateError> {
        self.write(&cancel_path(run_id), &now).await
    }

    pub async fn is_cancelled(&self, run_id: &str) -> Result<bool, StateError> {
        Ok(self.read::<Timestamp>(&cancel_path(run_id)).await?.is_some())
    }
}

pub(super) fn request_path(run_id: &str) -> String {
    format!("requests/{}.json", segment(run_id))
}

pub(super) fn cause_path(cause_id: &str) -> String {
    format!("causes/{}.json", segment(cause_id))
}

pub(super) fn cancel_path(run_id: &str) -> String {
    format!("cancels/{}.json", segment(run_id))
}
