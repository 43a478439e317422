//! Retention: old run records and set-aside documents go, so that the state does not grow without end.
//!
//! Releases are not pruned: they are what history and rollback read, and the shrink guards.

use super::runs::{RunRecord, key_path, run_path};
use super::{State, StateError, segment};
use jiff::{SignedDuration, Timestamp};

/// Run records of an export that are kept, the newest.
pub const RUNS_KEPT: usize = 500;

/// Runs of an export whose set-aside documents are kept, the newest.
pub const QUARANTINED_RUNS_KEPT: usize = 20;

/// How long a run that answered a run key is kept however many there are: longer than a message is delivered again
/// (Pub/Sub: seven days), so that a late redelivery still finds its answer.
pub const KEYS_KEPT: SignedDuration = SignedDuration::from_hours(8 * 24);

/// How much is kept; for tests of small numbers.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    pub runs: usize,
    pub quarantined: usize,
    pub keys: SignedDuration,
}

impl Default for Keep {
    fn default() -> Self {
        Self { runs: RUNS_KEPT, quarantined: QUARANTINED_RUNS_KEPT, keys: KEYS_KEPT }
    }
}

impl State {
    /// Removes what is older than what is kept of an export.
    pub async fn prune(&self, export: &str, now: Timestamp, keep: Keep) -> Result<(), StateError> {
        self.prune_runs(export, now, keep).await?;
        self.prune_quarantine(export, keep).await
    }

    async fn prune_runs(&self, export: &str, now: Timestamp, keep: Keep) -> Result<(), StateError> {
        let ids = self.run_ids(export).await?;
        // The oldest first: the first one that has to stay ends the search.
        for id in ids.iter().skip(keep.runs).rev() {
            let path = run_path(export, id);
            // What cannot be read is for people to look at.
            let Ok(Some((run, _))) = self.read::<RunRecord>(&path).await else { continue };
            if let Some(key) = &run.run_key {
                if run.cause_time.duration_until(now) < keep.keys {
                    break;
                }
                self.forget(&key_path(key)).await?;
            }
            self.forget(&path).await?;
        }
        Ok(())
    }

    async fn prune_quarantine(&self, export: &str, keep: Keep) -> Result<(), StateError> {
        let prefix = format!("quarantine/{}/", segment(export));
        let paths = self.list(&prefix).await?;
        let run = |path: &str| path[prefix.len()..].split('/').next().unwrap_or_default().to_owned();
        let mut runs: Vec<String> = paths.iter().map(|path| run(path)).collect();
        // Run ids sort by time, and so do their paths.
        runs.dedup();
        let old = &runs[..runs.len().saturating_sub(keep.quarantined)];
        for path in paths.iter().filter(|path| old.contains(&run(path))) {
            self.forget(path).await?;
        }
        Ok(())
    }
}
