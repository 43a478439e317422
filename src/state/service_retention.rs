//! Retention of the service's records: requests with their causes and cancels, gate decisions, backups. Small steps, so that the
//! loop that takes them is never long away; what an unfinished request needs stays. Dead letters stay until somebody drops them.

use super::backups::backup_date;
use super::decisions::{accepted_path, decision_path};
use super::requests::{cancel_path, cause_path, request_path};
use super::{State, StateError, name_of};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub struct ServiceKeep {
    /// Records older than this go.
    pub age: SignedDuration,
    /// Of each kind, what is beyond so many of the newest goes too …
    pub newest: usize,
    /// … but not before this age: as long as run keys are kept, so that a late redelivery still finds its answer.
    pub least: SignedDuration,
    /// Records removed in one step.
    pub step: usize,
}

impl Default for ServiceKeep {
    fn default() -> Self {
        Self { age: SignedDuration::from_hours(30 * 24), newest: 5_000, least: super::retention::KEYS_KEPT, step: 200 }
    }
}

/// Old records that have to stay hide what is behind them only after so many of them.
const STAYING_LOOKED_AT: usize = 50;

/// What a step came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    pub removed: usize,
    /// The step was used up: there may be more.
    pub more: bool,
}

/// One step's way through a kind of records, the oldest first.
struct Walk {
    keep: ServiceKeep,
    now: Timestamp,
    left: usize,
}

impl Walk {
    /// Whether a record that came to its end at `at`, with `newer` ones after it, goes.
    fn goes(&self, at: Timestamp, newer: usize) -> bool {
        let age = at.duration_until(self.now);
        age > self.keep.age || (newer >= self.keep.newest && age > self.keep.least)
    }
}

impl State {
    /// Takes one step of removing the service's old records.
    pub async fn prune_service(&self, now: Timestamp, keep: ServiceKeep) -> Result<Pruned, StateError> {
        let mut walk = Walk { keep, now, left: keep.step };
        let needed = self.prune_requests(&mut walk).await?;
        self.prune_decisions(&mut walk, &needed).await?;
        self.prune_backups(&mut walk).await?;
        Ok(Pruned { removed: keep.step - walk.left, more: walk.left == 0 })
    }

    /// Returns the decisions that unfinished requests name.
    async fn prune_requests(&self, walk: &mut Walk) -> Result<BTreeSet<String>, StateError> {
        let ids = self.request_ids().await?;
        let (mut needed, mut staying) = (BTreeSet::new(), 0);
        for (newer, id) in ids.iter().enumerate().rev() {
            if walk.left == 0 || staying == STAYING_LOOKED_AT {
                break;
            }
            // What cannot be read is for people to look at.
            let Ok(Some(request)) = self.request(id).await else {
                staying += 1;
                continue;
            };
            match request.finished_at.filter(|_| request.status.is_final()) {
                Some(at) if walk.goes(at, newer) => {
                    self.forget_request(id, &request.cause.id).await?;
                    walk.left -= 1;
                }
                Some(_) => staying += 1,
                None => {
                    needed.extend(request.cause.decision);
                    staying += 1;
                }
            }
        }
        Ok(needed)
    }

    /// The cause first: a request in its list without a record would be waited for. The record last, so that a crash in between
    /// leaves what the next step finds. Between the last two writes on the cause nobody can ask anew but with a cause that has
    /// been quiet for days.
    async fn forget_request(&self, run_id: &str, cause_id: &str) -> Result<(), StateError> {
        let path = cause_path(cause_id);
        let mut empty = false;
        self.update(&path, |runs: Option<Vec<String>>| {
            let mut runs = runs?;
            let before = runs.len();
            runs.retain(|run| run != run_id);
            empty = runs.is_empty();
            (runs.len() != before).then_some(runs)
        })
        .await?;
        if empty {
            self.forget(&path).await?;
        }
        self.forget(&cancel_path(run_id)).await?;
        self.forget(&request_path(run_id)).await
    }

    async fn prune_decisions(&self, walk: &mut Walk, needed: &BTreeSet<String>) -> Result<(), StateError> {
        let paths = self.list("decisions/").await?;
        let mut left = STAYING_LOOKED_AT;
        for (place, path) in paths.iter().enumerate() {
            if walk.left == 0 || left == 0 {
                break;
            }
            let id = path.strip_prefix("decisions/").and_then(|p| p.strip_suffix(".json")).map(name_of);
            let decision = match &id {
                Some(id) => self.decision(id).await.ok().flatten(),
                None => None,
            };
            let newer = paths.len() - place - 1;
            let Some(decision) = decision.filter(|d| walk.goes(d.decided_at, newer) && !needed.contains(&d.id)) else {
                left -= 1;
                continue;
            };
            if self.accepted(&decision.trigger, &decision.cause_id).await?.as_deref() == Some(decision.id.as_str()) {
                self.forget(&accepted_path(&decision.trigger, &decision.cause_id)).await?;
            }
            self.forget(&decision_path(&decision.id)).await?;
            walk.left -= 1;
        }
        Ok(())
    }

    /// By their last question, whatever their date: a backfill asks for old dates.
    async fn prune_backups(&self, walk: &mut Walk) -> Result<(), StateError> {
        let Ok(before) = walk.now.checked_sub(walk.keep.age) else { return Ok(()) };
        for path in self.list("backups/").await? {
            if walk.left == 0 {
                break;
            }
            let old = backup_date(&path).is_some_and(|date| date < jiff::tz::Offset::UTC.to_datetime(before).date());
            if old && self.backup_asked_last(&path).await?.is_none_or(|at| at < before) {
                self.forget(&path).await?;
                walk.left -= 1;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::memory::MemoryStore;
    use crate::model::report::Totals;
    use crate::model::request::CauseKind;
    use crate::state::backups::BackupBy;
    use crate::state::decisions::{Decision, Verdict};
    use crate::state::requests::{CauseRecord, RequestRecord, RequestStatus};
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn day(day: i64) -> Timestamp {
        Timestamp::from_second(1_765_000_000 + day * 86_400).unwrap()
    }

    fn id(n: i64) -> String {
        format!("{}-run", day(n))
    }

    fn request(n: i64, cause: &str, status: RequestStatus) -> RequestRecord {
        RequestRecord {
            run_id: id(n),
            cause: CauseRecord {
                kind: CauseKind::Message,
                id: cause.into(),
                time: day(n),
                topic: None,
                message_id: None,
                published_at: None,
                message: serde_json::Value::Null,
                attributes: BTreeMap::new(),
                correlation_id: None,
                upstream_batch_id: None,
                decision: Some(id(n)),
                upstream_at: None,
            },
            target: "t".into(),
            target_date: "2025-12-12".parse().unwrap(),
            exports: vec!["e".into()],
            params: BTreeMap::new(),
            update_latest: true,
            status,
            attempts: 1,
            next_attempt: None,
            started_at: day(n),
            finished_at: status.is_final().then(|| day(n)),
            tasks: Vec::new(),
            totals: Totals::default(),
            reason: None,
            duplicate_of: None,
            retry_of: None,
        }
    }

    fn decision(n: i64, cause: &str) -> Decision {
        Decision {
            id: id(n),
            trigger: "t".into(),
            verdict: Verdict::Accept,
            reason: String::new(),
            message_id: String::new(),
            topic: String::new(),
            published_at: day(n),
            decided_at: day(n),
            cause_id: cause.into(),
            message: serde_json::Value::Null,
            target_date: None,
            output_message: None,
            duplicate_of: None,
            forced: false,
        }
    }

    /// One request a day, each with its decision.
    async fn world(days: std::ops::Range<i64>) -> State {
        let state = State::new(Arc::new(MemoryStore::new())).without_pauses();
        for n in days {
            let cause = format!("c{n}");
            state.record_request(&request(n, &cause, RequestStatus::Success)).await.unwrap();
            state.take_turn(&cause, &id(n)).await.unwrap();
            state.ask_to_cancel(&id(n), day(n)).await.unwrap();
            state.record_decision(&decision(n, &cause)).await.unwrap();
            state.accept("t", &cause, &id(n)).await.unwrap();
        }
        state
    }

    async fn records(state: &State) -> usize {
        state.list("").await.unwrap().len()
    }

    #[tokio::test]
    async fn what_is_old_goes_whole_and_in_small_steps() {
        let state = world(0..40).await;
        let keep = ServiceKeep { step: 6, ..ServiceKeep::default() };
        // At day 40, days 0 to 9 are older than 30 days: ten requests and ten decisions, six a step.
        let now = day(40);
        let mut steps = Vec::new();
        loop {
            let step = state.prune_service(now, keep).await.unwrap();
            steps.push(step.removed);
            if !step.more {
                break;
            }
        }
        assert_eq!(steps, [6, 6, 6, 2]);
        assert_eq!(state.request_ids().await.unwrap().len(), 30);
        assert_eq!(records(&state).await, 30 * 5, "causes, cancels and accepted ones go with them");
        assert!(state.requests_of_cause("c9").await.unwrap().is_empty());
        assert_eq!(state.accepted("t", "c10").await.unwrap(), Some(id(10)));
        assert_eq!(state.prune_service(now, keep).await.unwrap(), Pruned::default());
    }

    #[tokio::test]
    async fn too_many_go_only_after_the_term_of_run_keys() {
        let state = world(0..20).await;
        let keep = ServiceKeep { newest: 5, ..ServiceKeep::default() };
        state.prune_service(day(20), keep).await.unwrap();
        // Older than eight days: 0 to 11; the newest of all would be only five.
        assert_eq!(state.request_ids().await.unwrap().len(), 8);
        assert_eq!(state.decisions(100).await.unwrap().len(), 8);
    }

    #[tokio::test]
    async fn what_is_not_finished_keeps_what_it_needs() {
        let state = world(0..2).await;
        // The second request of the first cause still waits; the first day's decision made a third one.
        state.record_request(&request(0, "c0", RequestStatus::Success)).await.unwrap();
        let waiting = RequestRecord {
            run_id: format!("{}-second", day(0)),
            status: RequestStatus::Waiting,
            finished_at: None,
            ..request(0, "c0", RequestStatus::Success)
        };
        state.record_request(&waiting).await.unwrap();
        state.take_turn("c0", &waiting.run_id).await.unwrap();
        state.prune_service(day(400), ServiceKeep::default()).await.unwrap();
        assert_eq!(state.request_ids().await.unwrap(), std::slice::from_ref(&waiting.run_id));
        assert_eq!(state.requests_of_cause("c0").await.unwrap(), std::slice::from_ref(&waiting.run_id));
        assert_eq!(state.take_turn("c0", &waiting.run_id).await.unwrap(), None, "it is not waiting for a ghost");
        assert!(state.decision(&id(0)).await.unwrap().is_some(), "it made the waiting request");
        assert!(state.decision(&id(1)).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn backups_go_by_their_last_question() {
        let state = world(0..0).await;
        let date = |text: &str| text.parse().unwrap();
        for (asked, at) in [("2025-12-06", 0), ("2020-01-01", 39)] {
            state.claim_backup("t", date(asked), BackupBy::Event, "c", day(at)).await.unwrap();
        }
        state.prune_service(day(40), ServiceKeep::default()).await.unwrap();
        assert_eq!(state.list("backups/").await.unwrap(), ["backups/t/2020-01-01.json"]);
    }
}
