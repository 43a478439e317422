//! Run records: one for each run of an export, from its start to its outcome, and the run keys that find them again.

use super::{State, StateError, name_of, segment};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// One run of one export.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    pub run_id: String,
    pub export: String,
    pub target_date: Option<Date>,
    /// (export, target date, parameters, cause): the same for every delivery of one cause.
    pub run_key: Option<String>,
    /// What asked for it: a command, a message, a schedule.
    pub cause: String,
    pub cause_time: Timestamp,
    pub started_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    pub status: RunStatus,
    pub reason: Option<String>,
    /// Rows, bytes, times: what the command printed, for those who look later.
    #[serde(default)]
    pub report: serde_json::Value,
}

/// How far a run came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Begun; if its process is gone, it was cut off.
    Running,
    Published,
    Unchanged,
    Superseded,
    /// `on_empty: keep`, or a gate.
    Skipped,
    Rejected,
    Failed,
    Duplicate,
}

impl RunStatus {
    pub fn is_final(self) -> bool {
        self != Self::Running
    }
}

impl RunRecord {
    /// Whether what it had to say is public, or there was nothing to say.
    pub fn has_succeeded(&self) -> bool {
        match self.status {
            RunStatus::Published | RunStatus::Unchanged | RunStatus::Superseded => true,
            RunStatus::Skipped => self.report["status"] == "kept_empty",
            RunStatus::Running | RunStatus::Rejected | RunStatus::Failed | RunStatus::Duplicate => false,
        }
    }

    /// Whether it stays when another record of the same run comes. An end does, unless a failure is followed by a success: two
    /// copies of the service may be at one run when the lease of one ran out.
    fn outlasts(&self, later: &Self) -> bool {
        self.status.is_final() && (self.has_succeeded() || !later.has_succeeded())
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct RunKey {
    export: String,
    run_id: String,
}

impl State {
    /// Writes the run's record, at its start and again at its end. A finished run also answers its key. `Some` is the end that
    /// the same run came to elsewhere, and which counts instead.
    pub async fn record_run(&self, run: &RunRecord) -> Result<Option<RunRecord>, StateError> {
        let mut ended = None;
        self.update(&run_path(&run.export, &run.run_id), |there: Option<RunRecord>| {
            ended = there.filter(|there| there.outlasts(run));
            ended.is_none().then(|| run.clone())
        })
        .await?;
        // Whoever wrote it may have been cut off before the rest: whoever finds it completes it.
        let run_that_counts = ended.as_ref().unwrap_or(run);
        self.note_end(run_that_counts).await?;
        self.answer_key(run_that_counts).await?;
        Ok(ended.filter(|ended| ended != run))
    }

    async fn answer_key(&self, run: &RunRecord) -> Result<(), StateError> {
        match &run.run_key {
            Some(key) if run.status.is_final() && run.status != RunStatus::Duplicate => {
                let answer = RunKey { export: run.export.clone(), run_id: run.run_id.clone() };
                self.write(&key_path(key), &answer).await
            }
            _ => Ok(()),
        }
    }

    /// The record of one run.
    pub async fn run(&self, export: &str, run_id: &str) -> Result<Option<RunRecord>, StateError> {
        Ok(self.read(&run_path(export, run_id)).await?.map(|(run, _)| run))
    }

    /// The finished run that answered this key, if any did.
    pub async fn run_of_key(&self, run_key: &str) -> Result<Option<RunRecord>, StateError> {
        match self.read::<RunKey>(&key_path(run_key)).await? {
            Some((key, _)) => self.run(&key.export, &key.run_id).await,
            None => Ok(None),
        }
    }

    /// The ids of an export's runs, newest first (run ids sort by time).
    pub async fn run_ids(&self, export: &str) -> Result<Vec<String>, StateError> {
        let prefix = format!("runs/{}/", segment(export));
        let paths = self.list(&prefix).await?;
        let id = |path: &String| path.strip_prefix(&prefix)?.strip_suffix(".json").map(name_of);
        Ok(paths.iter().rev().filter_map(id).collect())
    }
}

pub(super) fn run_path(export: &str, run_id: &str) -> String {
    format!("runs/{}/{}.json", segment(export), segment(run_id))
}

pub(super) fn key_path(run_key: &str) -> String {
    format!("run-keys/{}.json", segment(run_key))
}
