//! What is asked for, pinned once: nothing later asks the clock for a date.

use super::statement::Value;
use jiff::Timestamp;
use jiff::civil::Date;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// One cause, with all values fixed (`design/semantics.md` §1).
#[derive(Debug, Clone)]
pub struct ExportRequest {
    pub run_id: String,
    pub cause: Cause,
    /// Names of exports, each once, in the order in which they are reported.
    pub exports: Vec<String>,
    pub target_date: Date,
    /// The calendar's day at the cause's time.
    pub today: Date,
    /// Parameters other than the target date.
    pub params: BTreeMap<String, Value>,
    /// Whether aliases and undated objects take part.
    pub update_latest: bool,
    /// Whether an older date may replace a newer one.
    pub force: bool,
}

/// What made the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    pub kind: CauseKind,
    pub id: String,
    pub time: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseKind {
    Command,
    Backfill,
    /// A message on the trigger topic.
    Message,
    /// A tick of a job.
    Schedule,
    /// An operator tries the failed exports of a run again.
    Retry,
    /// `POST /v1/runs`.
    Http,
}

impl ExportRequest {
    /// (export, target date, parameters, cause id): the same for every delivery of one cause (`design/semantics.md` §2).
    pub fn run_key(&self, export: &str) -> String {
        let params: Vec<String> = self.params.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        digest(&[export, &self.target_date.to_string(), &params.join("&"), &self.cause.id])
    }
}

/// Hex SHA-256 over texts, each with its length, so that no two lists run into each other.
pub fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    super::hex::hex(&hash.finalize())
}
