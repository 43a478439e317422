//! How each export's runs ended last, in one small record: what the monitor reads every few seconds without listing runs.

use super::runs::{RunRecord, RunStatus};
use super::{State, StateError, segment};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// An export's last ends.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LastRuns {
    /// The run that ended last.
    pub last: Option<Ended>,
    /// Of the runs that succeeded, the one of the newest date; of these the last.
    pub newest_success: Option<Ended>,
    /// The first of the failures after which nothing has succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
}

/// A run that ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    pub run_id: String,
    pub target_date: Option<Date>,
    pub at: Timestamp,
    pub end: End,
    /// Whether there was nothing to say for that date.
    pub empty: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    Succeeded,
    Failed,
    /// Not ready, or interrupted: neither good nor bad.
    Neither,
}

impl Ended {
    fn of(run: &RunRecord) -> Option<Self> {
        let at = run.finished_at.filter(|_| run.status.is_final() && run.status != RunStatus::Duplicate)?;
        let end = match run.status {
            _ if run.has_succeeded() => End::Succeeded,
            RunStatus::Failed | RunStatus::Rejected => End::Failed,
            _ => End::Neither,
        };
        Some(Self {
            run_id: run.run_id.clone(),
            target_date: run.target_date,
            at,
            end,
            empty: run.report.get("empty").and_then(serde_json::Value::as_bool).unwrap_or(false),
            reason: run.reason.clone(),
        })
    }
}

impl LastRuns {
    /// With one more end. Ends may come in any order, and more than once; of one run a success counts, whatever else it came to.
    fn with(mut self, ended: &Ended) -> Self {
        if ended.end != End::Succeeded && self.knows_success_of(&ended.run_id) {
            return self;
        }
        if self.last.as_ref().is_none_or(|last| last.at <= ended.at || last.run_id == ended.run_id) {
            match ended.end {
                End::Succeeded => self.failing_since = None,
                End::Failed => self.failing_since = self.failing_since.or(Some(ended.at)),
                End::Neither => {}
            }
            self.last = Some(ended.clone());
        }
        let age = |e: &Ended| (e.target_date, e.at);
        if ended.end == End::Succeeded && self.newest_success.as_ref().is_none_or(|n| age(n) <= age(ended)) {
            self.newest_success = Some(ended.clone());
        }
        self
    }

    fn knows_success_of(&self, run_id: &str) -> bool {
        self.last.iter().chain(&self.newest_success).any(|e| e.end == End::Succeeded && e.run_id == run_id)
    }
}

impl State {
    /// How an export's runs ended last; `None` when none ever did.
    pub async fn last_runs(&self, export: &str) -> Result<Option<LastRuns>, StateError> {
        Ok(self.read(&path(export)).await?.map(|(record, _)| record))
    }

    /// Remembers a run's end. Called by `record_run`.
    pub(super) async fn note_end(&self, run: &RunRecord) -> Result<(), StateError> {
        let Some(ended) = Ended::of(run) else { return Ok(()) };
        self.update_together(&path(&run.export), move |there: Option<LastRuns>| {
            let before = there.unwrap_or_default();
            let after = before.clone().with(&ended);
            (after != before).then_some(after)
        })
        .await
    }
}

fn path(export: &str) -> String {
    format!("last-runs/{}.json", segment(export))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::memory::MemoryStore;
    use std::sync::Arc;

    fn run(id: &str, date: &str, minute: i64, status: RunStatus, report: serde_json::Value) -> RunRecord {
        let at = Timestamp::from_second(1_765_000_000 + minute * 60).unwrap();
        RunRecord {
            run_id: id.into(),
            export: "e".into(),
            target_date: Some(date.parse().unwrap()),
            run_key: None,
            cause: "test".into(),
            cause_time: at,
            started_at: at,
            finished_at: status.is_final().then_some(at),
            status,
            reason: None,
            report,
        }
    }

    async fn after(runs: &[RunRecord]) -> LastRuns {
        let state = State::new(Arc::new(MemoryStore::new())).without_pauses();
        for run in runs {
            state.record_run(run).await.unwrap();
        }
        state.last_runs("e").await.unwrap().unwrap_or_default()
    }

    #[tokio::test]
    async fn failures_count_from_the_first_and_end_with_a_success() {
        let none = serde_json::Value::Null;
        let failed = |id: &str, minute| run(id, "2025-12-12", minute, RunStatus::Failed, none.clone());
        let ends = after(&[failed("a", 1), failed("b", 2)]).await;
        assert_eq!(ends.failing_since, failed("a", 1).finished_at);
        assert_eq!(ends.last.unwrap().run_id, "b");
        let good = run("c", "2025-12-12", 3, RunStatus::Unchanged, none.clone());
        assert_eq!(after(&[failed("a", 1), failed("b", 2), good.clone()]).await.failing_since, None);
        // A record that is written late changes nothing.
        assert_eq!(after(&[good.clone(), failed("a", 1)]).await.failing_since, None);
        // Of two copies at one run one fails, whenever that is told: the run has succeeded.
        for ends in [[good.clone(), failed("c", 4)], [failed("c", 4), good.clone()]] {
            let ends = after(&ends).await;
            assert_eq!((ends.failing_since, ends.last.unwrap().end), (None, End::Succeeded));
        }
        let [good, late] = [good, failed("c", 4)].map(|run| Ended::of(&run).unwrap());
        assert_eq!(LastRuns::default().with(&good).with(&late).failing_since, None);
    }

    #[tokio::test]
    async fn the_newest_success_is_that_of_the_newest_date() {
        let kept = serde_json::json!({"status": "kept_empty", "empty": true});
        let not_ready = serde_json::json!({"status": "not_ready"});
        let ends = after(&[
            run("a", "2025-12-12", 1, RunStatus::Skipped, kept),
            run("b", "2025-12-01", 2, RunStatus::Published, serde_json::Value::Null),
            run("c", "2025-12-13", 3, RunStatus::Skipped, not_ready),
            run("d", "2025-12-13", 4, RunStatus::Running, serde_json::Value::Null),
            run("e", "2025-12-13", 5, RunStatus::Duplicate, serde_json::Value::Null),
        ])
        .await;
        let newest = ends.newest_success.unwrap();
        assert_eq!((newest.run_id.as_str(), newest.empty), ("a", true));
        assert_eq!(ends.last.unwrap().run_id, "c");
    }
}
