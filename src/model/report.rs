//! What a run came to: each export its own outcome, with its reason, sizes and times. Also the run record's form.

use super::request::CauseKind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A finished run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunReport {
    pub run_id: String,
    pub cause: CauseReport,
    pub target: String,
    pub target_date: String,
    pub exports: Vec<ExportReport>,
    pub totals: Totals,
    pub duration_ms: f64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CauseReport {
    pub kind: CauseKind,
    pub id: String,
    /// RFC 3339, UTC.
    pub time: String,
}

/// How an export ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// At least one object was written.
    Published,
    /// Everything was as it is already; nothing was rewritten.
    Unchanged,
    /// Newer documents stand there; nothing was written.
    Superseded,
    /// There was nothing to say and `on_empty: keep` kept the last good documents.
    KeptEmpty,
    /// A `ready` condition did not hold yet.
    NotReady,
    /// Nothing was published; the last good documents stay.
    Failed,
    /// It was never begun: the run was interrupted.
    NotRun,
}

impl Status {
    /// Whether the export did what was asked.
    pub fn is_success(self) -> bool {
        !matches!(self, Status::Failed | Status::NotRun | Status::NotReady)
    }
}

/// Whose fault a failure is; decides on trying again and on the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// What somebody wrote, or the data: trying again does not help.
    Permanent,
    /// An outside system was not available.
    Transient,
    /// The data is not there yet: to be tried again, with delay, until a deadline.
    NotReady,
}

/// One export's part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExportReport {
    pub export: String,
    pub status: Status,
    /// Why it failed or kept, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<FailureClass>,
    /// Not ready: how long to wait before asking again, where the export says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Not ready: when waiting ends, counted from the first attempt, where the export says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub give_up_after_ms: Option<u64>,
    /// Whether there was nothing to say for this date, whatever was done about it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty: bool,
    /// Findings of the contract and the guards, warnings of optional queries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<FindingReport>,
    /// Rows by query.
    pub rows: BTreeMap<String, u64>,
    /// The warehouse's jobs by query, where it keeps records of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub jobs: BTreeMap<String, JobReport>,
    /// Bytes of all documents made.
    pub bytes: u64,
    pub objects: ObjectCounts,
    /// The objects in the order of publication; long lists are in the release record alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<ObjectReport>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<String>,
    pub times: Times,
}

/// What a job of the warehouse came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobReport {
    pub job_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// These are absent where the warehouse did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_processed: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_billed: Option<u64>,
    /// Milliseconds of slots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_hit: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FindingReport {
    pub rule: String,
    pub message: String,
    /// JSON pointer in the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The document's path in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// `file:line:column` of the shape or guard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    pub severity: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectCounts {
    pub written: u64,
    pub unchanged: u64,
    pub superseded: u64,
    /// Objects of entities that are no more (`vanished: delete`).
    #[serde(default)]
    pub deleted: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectReport {
    pub path: String,
    /// written, unchanged, superseded, deleted
    pub outcome: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    pub sha256: String,
    pub bytes: u64,
}

/// Milliseconds of each step.
#[derive(Debug, Clone, PartialEq, Copy, Default, Serialize, Deserialize)]
pub struct Times {
    pub query_ms: f64,
    /// Shape, contract, guards and writing, which are one pass.
    pub shape_ms: f64,
    pub publish_ms: f64,
    pub total_ms: f64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub succeeded: u64,
    pub failed: u64,
    pub objects: ObjectCounts,
    pub bytes: u64,
}

impl Totals {
    /// The sums over the exports.
    pub fn of(exports: &[ExportReport]) -> Totals {
        let mut totals = Totals::default();
        for export in exports {
            if export.status.is_success() {
                totals.succeeded += 1;
            } else {
                totals.failed += 1;
            }
            totals.objects.written += export.objects.written;
            totals.objects.unchanged += export.objects.unchanged;
            totals.objects.superseded += export.objects.superseded;
            totals.objects.deleted += export.objects.deleted;
            totals.bytes += export.bytes;
        }
        totals
    }
}
