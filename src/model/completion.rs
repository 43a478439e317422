//! The message at the end of a run, on the topic `export_complete`: what came of each export, and the objects.

use super::report::{ExportReport, FailureClass, ObjectReport, Status, Totals};
use super::request::CauseKind;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How a whole run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    Success,
    /// Some exports succeeded, some did not.
    Partial,
    Failed,
    Cancelled,
}

/// A body of the topic `export_complete`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompletionMessage {
    pub run_id: String,
    pub status: RunOutcome,
    pub cause: CompletionCause,
    pub correlation_id: Option<String>,
    pub upstream_batch_id: Option<String>,
    pub target: String,
    /// ISO date.
    pub target_date: String,
    pub update_latest: bool,
    pub exports: Vec<CompletedExport>,
    /// The sums over `exports`; equal to the run record's.
    pub totals: Totals,
    /// RFC 3339, UTC.
    pub started_at: String,
    pub finished_at: String,
    pub duration_ms: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompletionCause {
    pub kind: CauseKind,
    pub id: String,
    pub time: String,
}

/// One export's outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompletedExport {
    pub export: String,
    pub status: Status,
    pub reason: Option<String>,
    pub class: Option<FailureClass>,
    pub attempts: u32,
    pub rows: BTreeMap<String, u64>,
    pub objects: Vec<ObjectReport>,
    /// Objects beyond those that are listed; the release record has all.
    pub objects_omitted: u64,
    pub bytes: u64,
    pub duration_ms: f64,
}

impl CompletedExport {
    /// An export's report as the message tells it.
    pub fn of(report: &ExportReport, attempts: u32) -> Self {
        let counts = &report.objects;
        let all = counts.written + counts.unchanged + counts.superseded + counts.deleted;
        Self {
            export: report.export.clone(),
            status: report.status,
            reason: report.reason.clone(),
            class: report.class,
            attempts,
            rows: report.rows.clone(),
            objects_omitted: all.saturating_sub(report.paths.len() as u64),
            objects: report.paths.clone(),
            bytes: report.bytes,
            duration_ms: report.times.total_ms,
        }
    }
}

/// The JSON Schema of [`CompletionMessage`].
pub fn completion_schema() -> Value {
    let count = || json!({"type": "integer", "minimum": 0});
    let text_or_null = || json!({"type": ["string", "null"]});
    let millis = || json!({"type": "number", "minimum": 0});
    let moment = || json!({"type": "string", "format": "date-time"});
    let object = |properties: Value| {
        let required: Vec<&String> = properties.as_object().map(|p| p.keys().collect()).unwrap_or_default();
        json!({"type": "object", "required": required, "properties": properties, "additionalProperties": false})
    };
    let counts =
        || object(json!({"written": count(), "unchanged": count(), "superseded": count(), "deleted": count()}));
    let published = json!({
        "type": "object",
        "required": ["path", "outcome", "sha256", "bytes"],
        "properties": {
            "path": {"type": "string", "description": "The object's name in the store"},
            "outcome": {"enum": ["written", "unchanged", "superseded", "deleted"]},
            "generation": count(),
            "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "bytes": count()
        },
        "additionalProperties": false
    });
    let export = object(json!({
        "export": {"type": "string"},
        "status": {"enum": ["published", "unchanged", "superseded", "kept_empty", "not_ready", "failed", "not_run"]},
        "reason": text_or_null(),
        "class": {"enum": ["permanent", "transient", "not_ready", null]},
        "attempts": count(),
        "rows": {"type": "object", "additionalProperties": count()},
        "objects": {"type": "array", "items": published},
        "objects_omitted": count(),
        "bytes": count(),
        "duration_ms": millis()
    }));
    let mut schema = object(json!({
        "run_id": {"type": "string"},
        "status": {"enum": ["success", "partial", "failed", "cancelled"]},
        "cause": object(json!({
            "kind": {"enum": ["command", "backfill", "message", "schedule", "retry", "http"]},
            "id": {"type": "string"},
            "time": moment()
        })),
        "correlation_id": text_or_null(),
        "upstream_batch_id": text_or_null(),
        "target": {"type": "string"},
        "target_date": {"type": "string", "format": "date"},
        "update_latest": {"type": "boolean"},
        "exports": {"type": "array", "items": export},
        "totals": object(json!({
            "succeeded": count(), "failed": count(), "objects": counts(), "bytes": count()
        })),
        "started_at": moment(),
        "finished_at": moment(),
        "duration_ms": millis()
    }));
    if let Value::Object(map) = &mut schema {
        map.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
        map.insert("title".into(), json!("A finished run"));
        map.insert(
            "description".into(),
            json!("Written to the topic `export_complete` when a run has ended. GENERATED by `phase6 schema --write`."),
        );
    }
    schema
}
