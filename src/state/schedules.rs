//! What became of each slot of a job, and up to where a job is settled.
//!
//! ```text
//! schedules/<job>.json        the watermark: every slot up to it is settled
//! slots/<job>/<slot>.json     one slot: claimed, publishing, and in the end run, missed or skipped
//! ```
//!
//! A slot's way goes forward only, each step by compare-and-set: `Claimed` (nothing is decided; another may take it over and decide
//! otherwise) → `Publishing` (it will be run: whoever takes it over publishes the same tick again) → `Run`; or from `Claimed` to
//! `Missed` or `Skipped`. So several copies and crashes leave each slot with exactly one outcome.

use super::{State, StateError, name_of, segment};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Settled slots of a job that are kept, the newest.
pub const SLOTS_KEPT: usize = 200;

/// Schedules of a job whose beginning is remembered.
const SCHEDULES_KEPT: usize = 8;

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleRecord {
    pub job: String,
    /// Every slot up to here is settled. Never goes back, also when a clock does.
    pub settled_until: Timestamp,
    /// The job's schedules, with the instant at which each was first seen: what lies before it is no slot, so that a new or
    /// changed schedule does not fire the past.
    pub since: BTreeMap<String, Timestamp>,
}

/// How far a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotState {
    Claimed,
    Publishing,
    Run,
    Missed,
    Skipped,
}

impl SlotState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Publishing => "publishing",
            Self::Run => "run",
            Self::Missed => "missed",
            Self::Skipped => "skipped",
        }
    }

    pub fn is_final(self) -> bool {
        matches!(self, Self::Run | Self::Missed | Self::Skipped)
    }
}

/// One nominal slot of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRecord {
    pub job: String,
    pub slot: Timestamp,
    pub state: SlotState,
    /// Who claimed it, and until when the claim holds.
    pub owner: String,
    pub until: Timestamp,
    /// Why it was missed or skipped, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The tick's message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<Timestamp>,
    /// A missed slot that stands for so many more before it, back to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub and_before: Option<Before>,
}

/// Slots that have no record of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    pub count: u64,
    pub first: Timestamp,
}

/// The answer to a slot's claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotClaim {
    /// It is ours to decide.
    Decide,
    /// Somebody decided that it runs, and may have published it: it has to be published (again).
    Publish,
    /// Another holds it.
    Held,
    /// It is settled.
    Settled(SlotState),
}

impl State {
    /// The job's watermark, made at the first call: what lies before `now` is never due.
    pub async fn schedule(&self, job: &str, schedule: &str, now: Timestamp) -> Result<ScheduleRecord, StateError> {
        let mut answer = None;
        self.update(&schedule_path(job), |there: Option<ScheduleRecord>| {
            let mut record = match &there {
                Some(record) if record.since.contains_key(schedule) => {
                    answer = there;
                    return None;
                }
                Some(record) => record.clone(),
                None => ScheduleRecord { job: job.to_owned(), settled_until: now, since: BTreeMap::new() },
            };
            record.since.insert(schedule.to_owned(), now);
            while record.since.len() > SCHEDULES_KEPT {
                let oldest = record.since.iter().min_by_key(|(_, since)| **since).map(|(text, _)| text.clone());
                record.since.remove(&oldest?);
            }
            answer = Some(record.clone());
            Some(record)
        })
        .await?;
        Ok(answer.expect("the change gave an answer before it ended"))
    }

    /// The job's watermark as it is.
    pub async fn schedule_record(&self, job: &str) -> Result<Option<ScheduleRecord>, StateError> {
        Ok(self.read(&schedule_path(job)).await?.map(|(record, _)| record))
    }

    /// Moves the watermark forward: every slot up to `slot` is settled.
    pub async fn settled_until(&self, job: &str, slot: Timestamp) -> Result<(), StateError> {
        self.update(&schedule_path(job), |there: Option<ScheduleRecord>| {
            let record = there?;
            (record.settled_until < slot).then_some(ScheduleRecord { settled_until: slot, ..record })
        })
        .await
    }

    /// Claims a slot. A claim whose term is over is taken over. `owner` is this copy's own name.
    pub async fn claim_slot(
        &self,
        job: &str,
        slot: Timestamp,
        owner: &str,
        now: Timestamp,
        term: SignedDuration,
    ) -> Result<SlotClaim, StateError> {
        let after = |term| now.saturating_add(term).unwrap_or(Timestamp::MAX);
        let until = after(term);
        // A claim that ends later than any could was made before a clock was set back: its holder is not waited for.
        let longest = after(term * 2);
        let mut answer = SlotClaim::Held;
        self.update(&slot_path(job, slot), |there: Option<SlotRecord>| {
            let record = match there {
                Some(record) if record.state.is_final() => {
                    answer = SlotClaim::Settled(record.state);
                    return None;
                }
                Some(record) if record.owner != owner && record.until > now && record.until <= longest => {
                    answer = SlotClaim::Held;
                    return None;
                }
                Some(record) => record,
                None => blank(job, slot),
            };
            answer = if record.state == SlotState::Publishing { SlotClaim::Publish } else { SlotClaim::Decide };
            Some(SlotRecord { owner: owner.to_owned(), until, ..record })
        })
        .await?;
        // A slot that was settled and pruned while we were looking: the watermark, which went up before, tells.
        if answer == SlotClaim::Decide && self.schedule_record(job).await?.is_some_and(|r| slot <= r.settled_until) {
            self.forget(&slot_path(job, slot)).await?;
            return Ok(SlotClaim::Settled(SlotState::Missed));
        }
        Ok(answer)
    }

    /// Takes a slot that we hold one step further; `false` says that it was lost to another.
    pub async fn advance_slot(&self, owner: &str, next: &SlotRecord) -> Result<bool, StateError> {
        let mut ours = false;
        self.update(&slot_path(&next.job, next.slot), |there: Option<SlotRecord>| {
            let there = there.filter(|r| r.owner == owner)?;
            // After a lost reply it is there already.
            ours = match there.state {
                SlotState::Claimed => true,
                SlotState::Publishing => matches!(next.state, SlotState::Publishing | SlotState::Run),
                settled => settled == next.state,
            };
            (ours && !there.state.is_final()).then(|| SlotRecord {
                owner: owner.to_owned(),
                until: there.until,
                ..next.clone()
            })
        })
        .await?;
        Ok(ours)
    }

    pub async fn slot(&self, job: &str, slot: Timestamp) -> Result<Option<SlotRecord>, StateError> {
        Ok(self.read(&slot_path(job, slot)).await?.map(|(record, _)| record))
    }

    /// The instants of a job's slots that are kept, newest first.
    pub async fn slot_times(&self, job: &str) -> Result<Vec<Timestamp>, StateError> {
        let prefix = format!("slots/{}/", segment(job));
        let paths = self.list(&prefix).await?;
        let time = |path: &String| name_of(path.strip_prefix(&prefix)?.strip_suffix(".json")?).parse().ok();
        Ok(paths.iter().rev().filter_map(time).collect())
    }

    /// The newest slots of a job, at most `limit`.
    pub async fn slots(&self, job: &str, limit: usize) -> Result<Vec<SlotRecord>, StateError> {
        let mut slots = Vec::new();
        for slot in self.slot_times(job).await?.into_iter().take(limit) {
            slots.extend(self.slot(job, slot).await?);
        }
        Ok(slots)
    }

    /// The newest slot before this one that was run, among the last few.
    pub async fn last_run_before(&self, job: &str, slot: Timestamp) -> Result<Option<SlotRecord>, StateError> {
        const LOOKED_AT: usize = 20;
        for time in self.slot_times(job).await?.into_iter().filter(|t| *t < slot).take(LOOKED_AT) {
            if let Some(record) = self.slot(job, time).await?.filter(|r| r.state == SlotState::Run) {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// Removes the oldest slots up to the watermark, so that `keep` stay.
    pub async fn prune_slots(&self, job: &str, keep: usize) -> Result<(), StateError> {
        let Some(schedule) = self.schedule_record(job).await? else { return Ok(()) };
        for slot in self.slot_times(job).await?.into_iter().skip(keep) {
            if slot <= schedule.settled_until {
                self.forget(&slot_path(job, slot)).await?;
            }
        }
        Ok(())
    }
}

fn blank(job: &str, slot: Timestamp) -> SlotRecord {
    SlotRecord {
        job: job.to_owned(),
        slot,
        state: SlotState::Claimed,
        owner: String::new(),
        until: slot,
        reason: None,
        message_id: None,
        settled_at: None,
        and_before: None,
    }
}

fn schedule_path(job: &str) -> String {
    format!("schedules/{}.json", segment(job))
}

fn slot_path(job: &str, slot: Timestamp) -> String {
    format!("slots/{}/{}.json", segment(job), segment(&slot.to_string()))
}
