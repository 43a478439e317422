//! The monitor: every few seconds it looks at promises, backlogs, dead letters and last runs, sets the gauges and has the
//! alerts judged. It looks by the clock, whether or not anything ran (incident I-26).
//!
//! It is cheap on purpose: one description for each promised document, one small record for each export and alert, one
//! question for each subscription; the dead letters are listed once a minute. What cannot be seen is left as it was, and said.
//! It also removes old records (`state/service_retention.rs`), in small steps.

use super::alerts::{Desk, Facts, Waiting, condition};
use super::freshness::{Condition, Reader, Row, last_runs};
use crate::config::{Alert, Project, Receiver};
use crate::engine::export::Engine;
use crate::ports::bus::{Bus, BusErrorKind, NewMessage};
use crate::ports::clock::Clock;
use crate::ports::notifier::{Notice, Notifier, NotifyError};
use crate::state::State;
use crate::state::alerts::Phase;
use crate::state::retention::Keep;
use crate::state::service_retention::ServiceKeep;
use crate::telemetry::metrics::{BacklogGauge, FreshnessGauge};
use crate::telemetry::{LoopFailed, Severity, Telemetry};
use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// The pause between two rounds.
pub const PERIOD: Duration = Duration::from_secs(15);

/// Rounds between two counts of the dead letters, which are a list.
const COUNT_EVERY: u64 = 4;

/// The pause between two times of removing old records.
const TIDY_EVERY: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// Makes the notifier of a webhook: address as written, whether it may be private. The adapters' side of it.
pub type Webhooks = Arc<dyn Fn(&str, bool) -> Result<Arc<dyn Notifier>, String> + Send + Sync>;

/// What the monitor found last, for a status page.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub at: Option<Timestamp>,
    pub freshness: Vec<Row>,
    pub backlog: Vec<Waiting>,
    pub dead_letters: u64,
    pub firing: Vec<FiringAlert>,
}

/// An alert that fires.
#[derive(Debug, Clone)]
pub struct FiringAlert {
    pub alert: String,
    pub since: Option<Timestamp>,
    pub summary: String,
}

/// The monitor of one configuration; a reload makes a new one.
pub struct Monitor {
    project: Arc<Project>,
    state: State,
    clock: Arc<dyn Clock>,
    bus: Option<Arc<dyn Bus>>,
    subscriptions: Vec<String>,
    reader: Reader,
    desk: Desk,
    /// By alert, in the order of `project.alerts`; without the log, which needs no notifier.
    receivers: Vec<Vec<Arc<dyn Notifier>>>,
    telemetry: Telemetry,
    report: Arc<Mutex<Report>>,
    rounds: u64,
    dead_letters: Option<u64>,
    watching_since: Option<Timestamp>,
    /// When old records are looked for next, and how many exports had their turn.
    tidy_at: Option<Timestamp>,
    tidied: usize,
    /// What could not be seen in the last round: said once, and again when it can be seen.
    blind: BTreeSet<&'static str>,
}

impl Monitor {
    /// `bus` with the names of the subscriptions whose backlog counts. `owner` is this process's own name. Receivers that
    /// cannot be made (an address without its secret) are said here and left out.
    pub fn new(
        engine: &Engine,
        bus: Option<(Arc<dyn Bus>, Vec<String>)>,
        telemetry: Telemetry,
        owner: String,
        webhooks: &Webhooks,
    ) -> Self {
        let (bus, subscriptions) = match bus {
            Some((bus, subscriptions)) => (Some(bus), subscriptions),
            None => (None, Vec::new()),
        };
        let project = engine.project.clone();
        let receivers =
            project.alerts.iter().map(|a| receivers(a, &project, bus.as_ref(), webhooks, &telemetry)).collect();
        Self {
            reader: Reader::new(engine.store.clone(), engine.state.clone(), engine.prefix.clone()),
            state: engine.state.clone(),
            clock: engine.clock.clone(),
            desk: Desk { state: engine.state.clone(), telemetry: telemetry.clone(), owner },
            project,
            bus,
            subscriptions,
            receivers,
            telemetry,
            report: Arc::default(),
            rounds: 0,
            dead_letters: None,
            watching_since: None,
            tidy_at: None,
            tidied: 0,
            blind: BTreeSet::new(),
        }
    }

    /// Where the last findings are kept.
    pub fn report(&self) -> Arc<Mutex<Report>> {
        self.report.clone()
    }

    /// Rounds until `shutdown` says true or its sender is gone.
    pub async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        while !*shutdown.borrow() {
            self.round().await;
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                changed = shutdown.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Looks once, sets the gauges, and has every alert judged.
    pub async fn round(&mut self) {
        let now = self.clock.now();
        let facts = self.look(now).await;
        self.rounds += 1;
        self.set_gauges(&facts, now);
        self.tidy(now).await;
        let mut firing = Vec::new();
        let mut failed = None;
        for (alert, receivers) in self.project.alerts.iter().zip(&self.receivers) {
            let found = condition(alert, &self.project, &facts, now);
            match self.desk.round(alert, receivers, found, now).await {
                Ok(state) if state.phase == Phase::Firing => firing.push(FiringAlert {
                    alert: alert.name.value.clone(),
                    since: state.since,
                    summary: state.summary,
                }),
                Ok(_) => {}
                Err(error) => failed = Some(error.to_string()),
            }
        }
        self.seen("the alerts' states", failed.map_or(Ok(()), Err));
        if let Ok(mut report) = self.report.lock() {
            report.at = Some(now);
            report.firing = firing;
            report.freshness = facts.freshness.unwrap_or_else(|| std::mem::take(&mut report.freshness));
            report.backlog = facts.backlog.unwrap_or_else(|| std::mem::take(&mut report.backlog));
            report.dead_letters = facts.dead_letters.unwrap_or(report.dead_letters);
        }
    }

    /// Removes old records, a small step each hour, or each round while there is more.
    async fn tidy(&mut self, now: Timestamp) {
        if self.tidy_at.is_some_and(|at| at > now) {
            return;
        }
        let pruned = self.state.prune_service(now, ServiceKeep::default()).await;
        let pruned = self.seen("old records", pruned);
        let project = self.project.clone();
        if let Some(export) = project.exports.get(self.tidied) {
            let pruned = self.state.prune(&export.name.value, now, Keep::default()).await;
            self.seen("old runs", pruned);
        }
        // One export a step; when all had their turn, and nothing is left, an hour's rest.
        self.tidied += 1;
        if self.tidied >= project.exports.len() && !pruned.is_some_and(|p| p.more) {
            self.tidied = 0;
            self.tidy_at = now.checked_add(TIDY_EVERY).ok();
        }
    }

    async fn look(&mut self, now: Timestamp) -> Facts {
        if self.watching_since.is_none() {
            let since = self.state.watching_since(now).await;
            self.watching_since = self.seen("the first start", since);
        }
        let runs = last_runs(&self.state, &self.project).await;
        let runs = self.seen("the last runs", runs);
        let freshness = match &runs {
            Some(runs) => {
                let project = self.project.clone();
                let rows = self.reader.rows(&project, runs, now).await;
                self.seen("the documents", rows)
            }
            None => None,
        };
        if self.rounds.is_multiple_of(COUNT_EVERY) {
            let counted = self.state.dead_letter_count().await;
            self.dead_letters = self.seen("the dead letters", counted);
        }
        let backlog = self.backlog().await;
        let backlog = backlog.and_then(|found| self.seen("the backlog", found));
        Facts { freshness, backlog, dead_letters: self.dead_letters, runs, watching_since: self.watching_since }
    }

    /// `None` without a bus, and with one that cannot tell.
    async fn backlog(&self) -> Option<Result<Vec<Waiting>, crate::ports::bus::BusError>> {
        let bus = self.bus.as_ref()?;
        let mut waiting = Vec::new();
        for subscription in &self.subscriptions {
            match bus.backlog(subscription).await {
                Ok(found) => waiting.push(Waiting {
                    subscription: subscription.clone(),
                    messages: found.messages,
                    oldest: found.oldest,
                }),
                Err(error) if error.kind == BusErrorKind::Unknown => return None,
                Err(error) => return Some(Err(error)),
            }
        }
        Some(Ok(waiting))
    }

    /// Takes what was seen; says it once when something cannot be seen, and once when it can be again.
    fn seen<T, E: std::fmt::Display>(&mut self, what: &'static str, found: Result<T, E>) -> Option<T> {
        match found {
            Ok(value) => {
                if self.blind.remove(what) {
                    self.telemetry.log(Severity::Notice, &format!("the monitor sees {what} again"), &[]);
                }
                Some(value)
            }
            Err(error) => {
                if self.blind.insert(what) {
                    let reason = format!("it cannot see {what}: {error}");
                    self.telemetry.emit(&LoopFailed { name: "monitor", reason: &reason });
                }
                None
            }
        }
    }

    fn set_gauges(&self, facts: &Facts, now: Timestamp) {
        let metrics = self.telemetry.metrics();
        let age = |at: Timestamp| Duration::try_from(now.duration_since(at)).unwrap_or_default();
        if let Some(rows) = &facts.freshness {
            let today = self.today(now);
            let gauge = |row: &Row| FreshnessGauge {
                export: row.export.clone(),
                path: row.path.clone(),
                object_age: row.verified_at.map(age),
                data_age_days: row.data_date.and_then(|date| Some(i64::from((today? - date).get_days()))),
                stale: row.state != Condition::Fresh,
            };
            metrics.set_freshness(&rows.iter().map(gauge).collect::<Vec<_>>());
        }
        if let Some(waiting) = &facts.backlog {
            let gauge = |w: &Waiting| BacklogGauge {
                subscription: w.subscription.clone(),
                messages: w.messages,
                oldest: w.oldest.map(age),
            };
            metrics.set_backlog(&waiting.iter().map(gauge).collect::<Vec<_>>());
        }
        if let Some(number) = facts.dead_letters {
            metrics.set_dead_letters_waiting(number);
        }
        if let Some(runs) = &facts.runs {
            metrics.set_last_run(runs.values().filter_map(|r| r.last.as_ref().map(|l| l.at)).max());
        }
    }

    fn today(&self, now: Timestamp) -> Option<jiff::civil::Date> {
        self.project.calendar.day_rule().ok().map(|rule| rule.day_of(now))
    }
}

fn receivers(
    alert: &Alert,
    project: &Project,
    bus: Option<&Arc<dyn Bus>>,
    webhooks: &Webhooks,
    telemetry: &Telemetry,
) -> Vec<Arc<dyn Notifier>> {
    let mut all: Vec<Arc<dyn Notifier>> = Vec::new();
    for to in &alert.to {
        let made: Result<Arc<dyn Notifier>, String> = match to {
            Receiver::Log => continue,
            Receiver::Webhook { url, allow_private } => webhooks(&url.value, *allow_private),
            Receiver::Topic { topic } => match (bus, project.topics.get(&topic.value)) {
                (Some(bus), Some(name)) => Ok(Arc::new(TopicNotifier { bus: bus.clone(), topic: name.clone() })),
                _ => Err(format!("topic `{}`: there is no bus", topic.value)),
            },
        };
        match made {
            Ok(notifier) => all.push(notifier),
            Err(reason) => {
                let message = format!("a receiver of alert `{}` cannot be told: {reason}", alert.name.value);
                telemetry.log(Severity::Error, &message, &[]);
            }
        }
    }
    all
}

/// Tells by a message on a topic.
struct TopicNotifier {
    bus: Arc<dyn Bus>,
    topic: String,
}

#[async_trait]
impl Notifier for TopicNotifier {
    fn describe(&self) -> String {
        format!("topic `{}`", self.topic)
    }

    async fn notify(&self, notice: &Notice) -> Result<(), NotifyError> {
        let body = serde_json::to_vec(notice)
            .map_err(|e| NotifyError { transient: false, message: format!("the notice cannot be written: {e}") })?;
        let message = NewMessage { body, ..NewMessage::default() };
        self.bus
            .publish(&self.topic, &message)
            .await
            .map(drop)
            .map_err(|error| NotifyError { transient: error.kind == BusErrorKind::Transient, message: error.message })
    }
}

#[cfg(test)]
mod tests;
