//! Event or deadline: a trigger and the job that backs it up share a run for each target date. Both say here what they are
//! about to publish *before* they publish it, by compare-and-set on one record, so that the second always sees the first.
//!
//! ```text
//! backups/<trigger>/<target date>.json    which events and which ticks asked for the date
//! ```

use super::requests::CauseState;
use super::{State, StateError, segment};
use crate::ports::store::Condition;
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackupBy {
    /// The trigger accepted an event.
    Event,
    /// The backup job's slot came.
    Tick,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackupClaim {
    /// Publish.
    Go,
    /// The other one's request has made it, or will: do not publish.
    Answered { cause_id: String, run_id: Option<String> },
}

/// An accepted event whose request was not begun for so long is taken for lost, and the backup runs.
const BEGUN_WITHIN: SignedDuration = SignedDuration::from_hours(6);

/// Events and ticks of a date that are remembered, the newest.
const KEPT: usize = 50;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct BackupRecord {
    events: Vec<Asked>,
    ticks: Vec<Asked>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Asked {
    cause_id: String,
    at: Timestamp,
    /// The cause by which it was answered: then nothing was published for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answered_by: Option<String>,
}

impl State {
    /// Asks whether to publish for a trigger's target date. The same cause may ask again after a crash.
    ///
    /// - A tick is answered when an event came whose request succeeded, is going, or has yet to begin.
    /// - An event is answered when it is the date's first and a tick's request has succeeded already.
    pub async fn claim_backup(
        &self,
        trigger: &str,
        date: Date,
        by: BackupBy,
        cause_id: &str,
        now: Timestamp,
    ) -> Result<BackupClaim, StateError> {
        let path = format!("backups/{}/{date}.json", segment(trigger));
        let mut attempts = super::Attempts::new(self.pause);
        loop {
            let (mut record, condition) = match self.read::<BackupRecord>(&path).await? {
                Some((record, version)) => (record, Condition::Match(version)),
                None => (BackupRecord::default(), Condition::Absent),
            };
            let claim = self.judged(&record, by, cause_id, now).await?;
            let list = match by {
                BackupBy::Event => &mut record.events,
                BackupBy::Tick => &mut record.ticks,
            };
            let answered_by = match &claim {
                BackupClaim::Answered { cause_id, .. } => Some(cause_id.clone()),
                BackupClaim::Go => None,
            };
            match list.iter_mut().find(|asked| asked.cause_id == cause_id) {
                Some(asked) if asked.answered_by == answered_by => return Ok(claim),
                Some(asked) => asked.answered_by = answered_by,
                None => list.push(Asked { cause_id: cause_id.to_owned(), at: now, answered_by }),
            }
            // The first one stays: it is the one that a tick may have answered.
            if list.len() > KEPT {
                list.remove(1);
            }
            match self.put(&path, &record, condition).await {
                Ok(_) => return Ok(claim),
                Err(e) => attempts.spend(e).await?,
            }
        }
    }

    async fn judged(
        &self,
        record: &BackupRecord,
        by: BackupBy,
        cause_id: &str,
        now: Timestamp,
    ) -> Result<BackupClaim, StateError> {
        let others = match by {
            BackupBy::Tick => &record.events,
            BackupBy::Event => {
                match record.events.iter().find(|e| e.cause_id == cause_id) {
                    // Let through before: its message may be out, whatever became of the tick since.
                    Some(event) if event.answered_by.is_none() => return Ok(BackupClaim::Go),
                    None if !record.events.is_empty() => return Ok(BackupClaim::Go),
                    _ => &record.ticks,
                }
            }
        };
        for other in others.iter().filter(|o| o.answered_by.is_none()) {
            let answer = |run_id| Ok(BackupClaim::Answered { cause_id: other.cause_id.clone(), run_id });
            match (by, self.cause_state(&other.cause_id).await?) {
                (_, CauseState::Succeeded(run)) => return answer(Some(run)),
                (BackupBy::Tick, CauseState::Going(run)) => return answer(Some(run)),
                (BackupBy::Tick, CauseState::Unknown) if other.at.duration_until(now) < BEGUN_WITHIN => {
                    return answer(None);
                }
                _ => {}
            }
        }
        Ok(BackupClaim::Go)
    }

    /// When a date was asked for last, by the path of its record.
    pub(super) async fn backup_asked_last(&self, path: &str) -> Result<Option<Timestamp>, StateError> {
        let record = self.read::<BackupRecord>(path).await?.map(|(record, _)| record).unwrap_or_default();
        Ok(record.events.iter().chain(&record.ticks).map(|asked| asked.at).max())
    }
}

/// The date of a record's path.
pub(super) fn backup_date(path: &str) -> Option<Date> {
    path.rsplit('/').next()?.strip_suffix(".json")?.parse().ok()
}
