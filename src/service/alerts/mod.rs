//! When operators are told: a pure judge over facts, and the way of a notice to its receivers.
//!
//! An alert fires once when its condition has lasted, and resolves once when it ends. What could not be seen changes nothing:
//! a bus that does not answer resolves no alert about its backlog. States are in the state store, so that a restart neither
//! repeats nor forgets, and of several copies of the service one tells (`state::alerts`).

use super::freshness::{Condition, Row, runs, words};
use super::previous_slot::previous_slot;
use crate::config::{Alert, AlertKind, Project};
use crate::ports::notifier::{Notice, NoticeState, Notifier};
use crate::state::alerts::{AlertRecord, AlertState, Pending, Phase};
use crate::state::last_runs::{End, LastRuns};
use crate::state::{State, StateError};
use crate::telemetry::{AlertChanged, Notified, Telemetry};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What is known; `None` for what could not be seen this time.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub freshness: Option<Vec<Row>>,
    pub backlog: Option<Vec<Waiting>>,
    pub dead_letters: Option<u64>,
    /// By export.
    pub runs: Option<BTreeMap<String, LastRuns>>,
    /// Slots from before it are nobody's duty.
    pub watching_since: Option<Timestamp>,
}

/// What waits in a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub subscription: String,
    pub messages: u64,
    pub oldest: Option<Timestamp>,
}

/// A condition that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holds {
    /// Since when, as far as the facts tell.
    pub since: Timestamp,
    pub summary: String,
    pub labels: BTreeMap<String, String>,
}

/// An alert begins to fire, or ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    pub firing: bool,
    pub summary: String,
    pub since: Timestamp,
    pub labels: BTreeMap<String, String>,
}

/// Whether an alert's condition holds; the outer `None` says that nobody knows.
pub fn condition(alert: &Alert, project: &Project, facts: &Facts, now: Timestamp) -> Option<Option<Holds>> {
    match alert.when {
        AlertKind::Failure => Some(failure(alert, facts.runs.as_ref()?)),
        AlertKind::Stale => Some(stale(alert, facts.freshness.as_ref()?, now)),
        AlertKind::Backlog => Some(backlog(alert, facts.backlog.as_ref()?, now)),
        AlertKind::MissedRun => Some(missed(alert, project, facts.runs.as_ref()?, facts.watching_since?, now)),
        AlertKind::DeadLetter => Some(dead_letters(alert, facts.dead_letters?, now)),
    }
}

fn watches(alert: &Alert, export: &str) -> bool {
    alert.exports.is_empty() || alert.exports.iter().any(|e| e.value == export)
}

/// `a, b and 3 more`, for sentences that must not grow with the number.
fn some(names: &[String]) -> String {
    match names {
        [a, b, c, rest @ ..] if !rest.is_empty() => format!("{a}, {b}, {c} and {} more", rest.len()),
        names => names.join(", "),
    }
}

fn holds(alert: &Alert, since: Timestamp, names: &[String], key: &str, summary: String) -> Option<Holds> {
    if names.len() as u64 <= alert.above {
        return None;
    }
    Some(Holds { since, summary, labels: BTreeMap::from([(key.to_owned(), some(names))]) })
}

fn failure(alert: &Alert, runs: &BTreeMap<String, LastRuns>) -> Option<Holds> {
    let failing: Vec<(&String, Timestamp, Option<&String>)> = runs
        .iter()
        .filter(|(export, _)| watches(alert, export))
        .filter_map(|(export, runs)| {
            Some((export, runs.failing_since?, runs.last.as_ref().and_then(|l| l.reason.as_ref())))
        })
        .collect();
    let since = failing.iter().map(|(_, since, _)| *since).min()?;
    let names: Vec<String> = failing.iter().map(|(export, ..)| (*export).clone()).collect();
    let reason = failing.iter().find_map(|(_, _, reason)| *reason).map(|r| format!(": {r}")).unwrap_or_default();
    let summary = format!("{} failed ({}){reason}", plural(names.len(), "export"), some(&names));
    holds(alert, since, &names, "exports", summary)
}

fn stale(alert: &Alert, rows: &[Row], now: Timestamp) -> Option<Holds> {
    let broken: Vec<&Row> = rows.iter().filter(|r| r.state != Condition::Fresh && watches(alert, &r.export)).collect();
    let first = broken.first()?;
    let since = broken.iter().filter_map(|r| r.broken_since).min().unwrap_or(now);
    let names: Vec<String> = broken.iter().map(|r| r.path.clone()).collect();
    let promise = if names.len() == 1 { "breaks its promise" } else { "break their promises" };
    let summary = format!("{} {promise} ({}): {}", plural(names.len(), "document"), some(&names), first.reason);
    holds(alert, since, &names, "paths", summary)
}

fn backlog(alert: &Alert, waiting: &[Waiting], now: Timestamp) -> Option<Holds> {
    let long = |w: &&Waiting| {
        let waited = w.oldest.map_or(SignedDuration::ZERO, |oldest| now.duration_since(oldest));
        w.messages > alert.above && waited >= signed(alert.hold)
    };
    let found: Vec<&Waiting> = waiting.iter().filter(long).collect();
    let oldest = found.iter().filter_map(|w| w.oldest).min();
    let worst = found.iter().max_by_key(|w| w.messages)?;
    let age = oldest.map_or_else(String::new, |o| format!(", the oldest for {}", words(now.duration_since(o))));
    let wait = if worst.messages == 1 { "waits" } else { "wait" };
    let count = plural(worst.messages as usize, "message");
    Some(Holds {
        since: oldest.unwrap_or(now),
        summary: format!("{count} {wait} in `{}`{age}", worst.subscription),
        labels: BTreeMap::from([("subscription".to_owned(), worst.subscription.clone())]),
    })
}

fn missed(
    alert: &Alert,
    project: &Project,
    ended: &BTreeMap<String, LastRuns>,
    watching_since: Timestamp,
    now: Timestamp,
) -> Option<Holds> {
    let mut missed: Vec<(String, Timestamp, String)> = Vec::new();
    for job in &project.jobs {
        // A job's jitter delays its message, not its slot.
        let late = signed(alert.hold).saturating_add(signed(job.jitter.unwrap_or_default()));
        let latest = now.checked_sub(late).ok()?;
        let Some(slot) = previous_slot(job, latest).filter(|slot| *slot >= watching_since) else { continue };
        for export in project.exports.iter().filter(|e| runs(job, e) && watches(alert, &e.name.value)) {
            let name = &export.name.value;
            // Not ready, or cut off, is no run: it is what the operator has to see when nothing comes of it.
            let since = |last: &LastRuns| last.last.as_ref().is_some_and(|l| l.at >= slot && l.end != End::Neither);
            if !ended.get(name).is_some_and(since) {
                missed.push((job.name.value.clone(), slot, name.clone()));
            }
        }
    }
    let since = missed.iter().map(|(_, slot, _)| *slot).min()?;
    let names: Vec<String> = missed.iter().map(|(job, _, export)| format!("{export} of {job}")).collect();
    let summary = format!("{} did not run since the slot of {since} ({})", plural(names.len(), "export"), some(&names));
    holds(alert, since, &names, "exports", summary)
}

fn dead_letters(alert: &Alert, number: u64, now: Timestamp) -> Option<Holds> {
    (number > alert.above).then(|| Holds {
        since: now,
        summary: format!(
            "{} for an operator",
            match number {
                1 => "1 dead letter waits".to_owned(),
                n => format!("{n} dead letters wait"),
            }
        ),
        labels: BTreeMap::new(),
    })
}

fn plural(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// How long the condition has to be seen before the alert fires. A backlog's and a slot's age are in the facts already.
fn hold(alert: &Alert) -> SignedDuration {
    match alert.when {
        AlertKind::Backlog | AlertKind::MissedRun => SignedDuration::ZERO,
        _ => signed(alert.hold),
    }
}

/// The next state of one alert. Pure.
pub fn judge(
    alert: &Alert,
    previous: &AlertState,
    condition: Option<Option<Holds>>,
    now: Timestamp,
) -> (AlertState, Option<Transition>) {
    let Some(condition) = condition else { return (previous.clone(), None) };
    let Some(holds) = condition else {
        let quiet = AlertState::default();
        let resolved = (previous.phase == Phase::Firing).then(|| Transition {
            firing: false,
            summary: "the condition no longer holds".to_owned(),
            since: previous.since.unwrap_or(now),
            labels: BTreeMap::new(),
        });
        return (quiet, resolved);
    };
    if previous.phase == Phase::Firing {
        return (previous.clone(), None);
    }
    // A clock that was set back must not make the wait longer than `for`.
    let since = previous.since.filter(|s| *s <= now).unwrap_or_else(|| holds.since.min(now));
    if now.duration_since(since) < hold(alert) {
        let pending = AlertState { phase: Phase::Pending, since: Some(since), summary: String::new() };
        return (pending, None);
    }
    let state = AlertState { phase: Phase::Firing, since: Some(since), summary: holds.summary.clone() };
    (state, Some(Transition { firing: true, summary: holds.summary, since, labels: holds.labels }))
}

/// Attempts at telling a receiver.
const ATTEMPTS: u32 = 5;

/// How long a copy has for telling before another may.
const TELLING: SignedDuration = SignedDuration::from_secs(60);

/// Judges alerts against the state store and tells their receivers.
pub struct Desk {
    pub state: State,
    pub telemetry: Telemetry,
    /// This process's own name.
    pub owner: String,
}

impl Desk {
    /// One round of one alert: judge, write, tell.
    pub async fn round(
        &self,
        alert: &Alert,
        receivers: &[Arc<dyn Notifier>],
        condition: Option<Option<Holds>>,
        now: Timestamp,
    ) -> Result<AlertState, StateError> {
        let name = &alert.name.value;
        let (mut state, mut mine, mut changed) = (AlertState::default(), Vec::new(), None);
        self.state
            .update_alert(name, |there| {
                let before = there.unwrap_or_default();
                let (after, transition) = self.next(alert, &before, condition.clone(), receivers.len(), now);
                state = after.state.clone();
                mine = after.outbox.iter().filter(|p| p.owner == self.owner && p.until > now).cloned().collect();
                // A second call comes after another copy's write, which speaks for itself, or after a lost reply of our own.
                let ours = before.decided == Some((self.owner.clone(), now));
                changed = transition.or(changed.take().filter(|_| ours));
                (after != before).then_some(after)
            })
            .await?;
        self.telemetry.metrics().set_alert(name, state.phase == Phase::Firing);
        if let Some(Transition { firing, summary, since, .. }) = &changed {
            let to_log = alert.to.iter().any(|to| matches!(to, crate::config::Receiver::Log));
            self.telemetry.emit(&AlertChanged { alert: name, firing: *firing, summary, since: *since, to_log });
        }
        for pending in mine {
            self.tell(alert, receivers, pending, now).await?;
        }
        Ok(state)
    }

    /// The record after this round: the new state, the new notice, and the notices that nobody is telling any more.
    fn next(
        &self,
        alert: &Alert,
        before: &AlertRecord,
        condition: Option<Option<Holds>>,
        receivers: usize,
        now: Timestamp,
    ) -> (AlertRecord, Option<Transition>) {
        let (state, transition) = judge(alert, &before.state, condition, now);
        let until = now.saturating_add(TELLING).unwrap_or(Timestamp::MAX);
        let mut outbox = before.outbox.clone();
        for pending in outbox.iter_mut().filter(|p| p.until <= now) {
            pending.owner.clone_from(&self.owner);
            pending.until = until;
        }
        if let Some(transition) = transition.as_ref().filter(|_| receivers > 0) {
            outbox.push(Pending {
                firing: transition.firing,
                summary: transition.summary.clone(),
                since: transition.since,
                at: now,
                labels: transition.labels.clone(),
                left: (0..receivers).collect(),
                attempts: 0,
                owner: self.owner.clone(),
                until,
            });
        }
        let decided = match &transition {
            Some(_) => Some((self.owner.clone(), now)),
            None => before.decided.clone(),
        };
        (AlertRecord { state, outbox, decided }, transition)
    }

    async fn tell(
        &self,
        alert: &Alert,
        receivers: &[Arc<dyn Notifier>],
        pending: Pending,
        now: Timestamp,
    ) -> Result<(), StateError> {
        let notice = Notice {
            alert: alert.name.value.clone(),
            state: if pending.firing { NoticeState::Firing } else { NoticeState::Resolved },
            summary: pending.summary.clone(),
            since: pending.since,
            at: pending.at,
            labels: pending.labels.clone(),
        };
        let attempt = pending.attempts + 1;
        let mut left = Vec::new();
        for &index in &pending.left {
            // A receiver that the configuration no longer has needs not be told.
            let Some(receiver) = receivers.get(index) else { continue };
            let failed = receiver.notify(&notice).await.err();
            let again = failed.as_ref().is_some_and(|f| f.transient && attempt < ATTEMPTS);
            let name = receiver.describe();
            let failed = failed.as_ref().map(|f| (f.message.as_str(), again));
            self.telemetry.emit(&Notified { alert: &notice.alert, receiver: &name, attempt, failed });
            if again {
                left.push(index);
            }
        }
        self.told(&notice.alert, &pending, left, now).await
    }

    /// Takes the notice out of the record, or hands it back for a later attempt.
    async fn told(&self, alert: &str, told: &Pending, left: Vec<usize>, now: Timestamp) -> Result<(), StateError> {
        let pause = SignedDuration::from_secs(15 << told.attempts.min(5));
        self.state
            .update_alert(alert, |there| {
                let mut record = there?;
                let index = record.outbox.iter().position(|p| {
                    p.owner == self.owner && (p.at, p.firing, p.attempts) == (told.at, told.firing, told.attempts)
                })?;
                if left.is_empty() {
                    record.outbox.remove(index);
                } else {
                    let pending = &mut record.outbox[index];
                    pending.left.clone_from(&left);
                    pending.attempts += 1;
                    // Nobody's until the pause is over; then whoever comes first.
                    pending.owner = String::new();
                    pending.until = now.saturating_add(pause).unwrap_or(Timestamp::MAX);
                }
                Some(record)
            })
            .await
    }
}

#[cfg(test)]
mod tests;
