//! What the status page asks of the monitor and of the schedules.

use super::Live;
use super::freshness::Condition;
use super::http::{AlertFact, Freshness, FreshnessFact, PageFacts, SlotFact};
use super::monitor::Report;
use super::scheduler;
use crate::config::Job;
use crate::ports::clock::Clock;
use async_trait::async_trait;
use std::sync::{Arc, Mutex, PoisonError};

/// The monitor's last report, whichever monitor made it: a reload starts another.
pub type Latest = Arc<Mutex<Arc<Mutex<Report>>>>;

/// Coming slots of one job that are shown, so that a frequent job does not hide the others.
const SLOTS_OF_A_JOB: usize = 2;

/// Facts of the running service.
pub struct Facts {
    pub live: Live,
    pub clock: Arc<dyn Clock>,
    pub report: Latest,
}

impl Facts {
    fn report(&self) -> Report {
        let latest = self.report.lock().unwrap_or_else(PoisonError::into_inner).clone();
        latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl PageFacts for Facts {
    async fn freshness(&self) -> Vec<FreshnessFact> {
        let fact = |row: super::freshness::Row| FreshnessFact {
            freshness: match row.state {
                Condition::Fresh => Freshness::Fresh,
                Condition::Stale => Freshness::Stale,
                Condition::Missing => Freshness::Never,
            },
            reason: (row.state != Condition::Fresh).then_some(row.reason),
            export: row.export,
            promise: row.promise,
            data_date: row.data_date,
            due: row.broken_since,
        };
        self.report().freshness.into_iter().map(fact).collect()
    }

    async fn slots(&self, count: usize) -> Vec<SlotFact> {
        let (setup, now) = (self.live.now(), self.clock.now());
        let mut coming = Vec::new();
        for job in &setup.project.jobs {
            let Ok(slots) = scheduler::slots(job) else { continue };
            let next = std::iter::successors(slots.next(now), |slot| slots.next(*slot));
            coming.extend(next.take(SLOTS_OF_A_JOB.min(count)).map(|slot| fact(job, slot)));
        }
        coming.sort_by_key(|fact| fact.at);
        coming.truncate(count);
        coming
    }

    async fn alerts(&self) -> Vec<AlertFact> {
        let now = self.clock.now();
        let fact = |firing: super::monitor::FiringAlert| AlertFact {
            name: firing.alert,
            since: firing.since.unwrap_or(now),
            reason: firing.summary,
        };
        self.report().firing.into_iter().map(fact).collect()
    }
}

fn fact(job: &Job, at: jiff::Timestamp) -> SlotFact {
    let asked: Vec<&str> = job.export_types.iter().map(|e| e.value.as_str()).collect();
    let what = if job.players { "players".to_owned() } else { asked.join(", ") };
    let date = job.target_date.as_ref().map(|d| format!(" of {}", d.value)).unwrap_or_default();
    SlotFact {
        job: job.name.value.clone(),
        at,
        schedule: job.schedule.value.text().to_owned(),
        timezone: job.timezone.clone(),
        asks_for: format!("{what}{date}"),
    }
}
