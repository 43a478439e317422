//! The scheduler: at each slot of each job it publishes the job's message on the trigger topic, once, however many copies run.
//!
//! [`due`] decides, from the watermark and the clock alone, which slots are to be settled and how; [`Scheduler::step`] settles them
//! in the state store (`state::schedules` has the protocol); [`run`] repeats that. A tick's cause id is its slot, so a tick that was
//! published twice is one run.

use super::slots::Slots;
use super::{Service, Setup, Trouble};
use crate::config::{CatchUp, Job, Overlap};
use crate::model::dates::DayRule;
use crate::model::message::{TriggerMessage, attributes};
use crate::ports::bus::NewMessage;
use crate::state::backups::{BackupBy, BackupClaim};
use crate::state::requests::CauseState;
use crate::state::schedules::{Before, SLOTS_KEPT, SlotClaim, SlotRecord, SlotState};
use crate::telemetry::TickSettled;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::sync::watch;

/// How long a slot is claimed by one copy: publishing takes less.
pub const CLAIM_TERM: SignedDuration = SignedDuration::from_secs(60);

/// The longest sleep: a clock that was set is noticed within it.
const LONGEST_SLEEP: Duration = Duration::from_secs(20);

/// The sleep after trouble with bus or state store.
const TROUBLE_PAUSE: Duration = Duration::from_secs(5);

/// When an outside clock's tick looks again at a slot that another copy is at.
const HELD_PAUSE: Duration = Duration::from_secs(2);

/// A slot that is settled within this time came on time, for jobs that never catch up.
const ON_TIME: SignedDuration = SignedDuration::from_secs(90);

/// A tick whose request was not begun for so long is no longer waited for.
const BEGUN_WITHIN: SignedDuration = SignedDuration::from_hours(6);

/// How a slot is to be settled, as far as the clock alone can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settle {
    Run,
    /// With the reason.
    Missed(String),
}

/// A slot to settle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub slot: Timestamp,
    pub settle: Settle,
    /// Missed slots before it that get no record of their own.
    pub and_before: Option<Before>,
}

/// The slots after `watermark` that are due at `now`, in order, each with how it is settled. A job that was away for very long has
/// its oldest slots counted in one record.
pub fn due(job: &Job, slots: &Slots, rule: &DayRule, watermark: Timestamp, now: Timestamp) -> Vec<Due> {
    let delay = delay(job);
    let Ok(until) = now.checked_sub(delay) else { return Vec::new() };
    let mut newest: VecDeque<Timestamp> = VecDeque::new();
    let mut older: Option<(Before, Timestamp)> = None;
    for slot in slots.between(watermark, until) {
        newest.push_back(slot);
        if newest.len() > SLOTS_KEPT / 2
            && let Some(old) = newest.pop_front()
        {
            let before = older.map_or(Before { count: 0, first: old }, |(b, _)| Before { count: b.count + 1, ..b });
            older = Some((before, old));
        }
    }
    let mut all: Vec<Due> = Vec::new();
    if let Some((before, slot)) = older {
        let settle = Settle::Missed(format!("{} slots came after it before the scheduler ran again", newest.len()));
        all.push(Due { slot, settle, and_before: (before.count > 0).then_some(before) });
    }
    let newest: Vec<Timestamp> = newest.into();
    for (i, slot) in newest.iter().enumerate() {
        let settle = settled(job, rule, *slot, newest.get(i + 1).copied(), now);
        all.push(Due { slot: *slot, settle, and_before: None });
    }
    all
}

/// How one due slot is settled; `next` is the one after it, if that is due as well.
fn settled(job: &Job, rule: &DayRule, slot: Timestamp, next: Option<Timestamp>, now: Timestamp) -> Settle {
    let age = slot.duration_until(now);
    if let Some(max_age) = job.max_age.and_then(|m| SignedDuration::try_from(m).ok())
        && age > max_age.max(ON_TIME + delay(job))
    {
        return Settle::Missed(format!("it was {age:#} late, more than `max_age`"));
    }
    let newer = |what: &str| Settle::Missed(format!("a newer slot{what} was due before it could run"));
    match job.catch_up {
        CatchUp::None if age > ON_TIME + delay(job) => {
            Settle::Missed(format!("it was {age:#} late and `catch_up` is `none`"))
        }
        CatchUp::None => Settle::Run,
        CatchUp::Latest if next.is_some() => newer(""),
        CatchUp::EachDate if next.is_some_and(|next| same_date(job, rule, slot, next)) => newer(" of the same date"),
        CatchUp::Latest | CatchUp::EachDate => Settle::Run,
    }
}

fn same_date(job: &Job, rule: &DayRule, a: Timestamp, b: Timestamp) -> bool {
    let word = job.target_date.as_ref().map_or("today", |d| d.value.as_str());
    rule.resolve(word, a) == rule.resolve(word, b)
}

/// By how much the job's slots are delayed: from its name, so that it is the same in each copy and after each start.
pub fn delay(job: &Job) -> SignedDuration {
    let most = job.jitter.map_or(0, |j| j.as_millis().min(u128::from(u32::MAX)) as u64);
    let hash =
        job.name.value.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    SignedDuration::from_millis(((hash >> 16) % (most + 1)) as i64)
}

/// The tick's cause.
pub fn cause_id(job: &str, slot: Timestamp) -> String {
    format!("tick/{job}/{slot}")
}

/// The seed's body of a job's message.
fn body(job: &Job) -> Vec<u8> {
    let body = TriggerMessage {
        export_types: (!job.players).then(|| job.export_types.iter().map(|e| e.value.clone()).collect()),
        target_date: job.target_date.as_ref().map(|d| d.value.clone()),
        players: job.players.then_some(true),
        min_games: job.min_games,
        update_latest: job.update_latest,
        ..TriggerMessage::default()
    };
    body.body()
}

/// What the job asks for at a slot: the seed's body, and the slot in the attributes.
pub fn tick(job: &Job, slot: Timestamp) -> NewMessage {
    let set = [
        (attributes::CAUSE_ID, cause_id(&job.name.value, slot)),
        (attributes::CAUSE_KIND, "schedule".to_owned()),
        (attributes::CAUSE_TIME, slot.to_string()),
    ];
    NewMessage { body: body(job), attributes: set.map(|(name, value)| (name.to_owned(), value)).into() }
}

/// What an outside clock publishes for the job, at each slot the same: the seed's body, and the job's name from which the worker
/// finds the slot (`outside_ticks`).
pub fn outside_tick(job: &Job) -> NewMessage {
    NewMessage { body: body(job), attributes: [(attributes::JOB.to_owned(), job.name.value.clone())].into() }
}

/// The schedule as its record names it: a changed one begins anew.
fn schedule_name(job: &Job) -> String {
    format!("{} {}", job.schedule.value.text(), job.timezone)
}

/// The job's schedule in its zone.
pub fn slots(job: &Job) -> Result<Slots, String> {
    let zone = TimeZone::get(&job.timezone).map_err(|e| format!("job `{}`: {e}", job.name.value))?;
    Ok(Slots { schedule: job.schedule.value.clone(), zone })
}

/// Repeats [`Scheduler::step`] until the shutdown; what was begun is finished.
pub async fn run(service: Service, mut shutdown: watch::Receiver<bool>) {
    let mut scheduler = Scheduler::new(service);
    while !*shutdown.borrow() {
        scheduler.service.beats.beat("scheduler", LONGEST_SLEEP * 4);
        let pause = scheduler.step().await;
        tokio::select! {
            changed = shutdown.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One copy of the scheduler.
pub struct Scheduler {
    service: Service,
    /// Slots settled since the job's old ones were removed.
    unpruned: BTreeMap<String, usize>,
}

/// Settled slots after which old ones are removed.
const PRUNE_EVERY: usize = 50;

impl Scheduler {
    pub fn new(service: Service) -> Self {
        Self { service, unpruned: BTreeMap::new() }
    }

    /// Settles what is due, and says how long to sleep.
    pub async fn step(&mut self) -> Duration {
        let setup = self.service.live.now();
        let mut pause = LONGEST_SLEEP;
        for job in &setup.project.jobs {
            match self.job(&setup, job).await {
                Ok(wait) => pause = pause.min(wait),
                Err(Trouble(reason)) => {
                    self.service.trouble("scheduler", &format!("job `{}`: {reason}", job.name.value));
                    pause = pause.min(TROUBLE_PAUSE);
                }
            }
        }
        pause
    }

    /// Settles what is due of one job, and says how long it is until its next slot.
    async fn job(&mut self, setup: &Setup, job: &Job) -> Result<Duration, Trouble> {
        let name = &job.name.value;
        let slots = slots(job).map_err(Trouble)?;
        let schedule = schedule_name(job);
        let now = self.service.clock.now();
        let record = self.service.state.schedule(name, &schedule, now).await?;
        let since = record.since.get(&schedule).copied().unwrap_or(now);
        let (mut reached, mut in_order) = (None, true);
        for due in due(job, &slots, &setup.rule, record.settled_until.max(since), now) {
            let settled = self.settle(setup, job, &due).await;
            in_order &= matches!(settled, Ok(true));
            if in_order {
                reached = Some(due.slot);
                *self.unpruned.entry(name.clone()).or_insert(PRUNE_EVERY) += 1;
            }
            if settled.is_err() {
                // What was settled before it stays so.
                self.reach(name, reached).await?;
                settled?;
            }
        }
        self.reach(name, reached).await?;
        let now = self.service.clock.now();
        let next = now.checked_sub(delay(job)).ok().and_then(|at| slots.next(at));
        let wait = next.map_or(SignedDuration::MAX, |slot| now.duration_until(slot) + delay(job));
        Ok(Duration::try_from(wait).unwrap_or_default().max(Duration::from_millis(1)))
    }

    /// Settles what is due of the job because an outside clock says that `slot` is. `None` says that the slot is settled, else how
    /// long it is until it is worth another look.
    pub async fn tick(&mut self, job: &Job, slot: Timestamp) -> Result<Option<Duration>, Trouble> {
        let setup = self.service.live.now();
        let (name, now) = (&job.name.value, self.service.clock.now());
        // The tick shows that the job was there before its slot, also where no scheduler of ours ever looked at it.
        let before = slot.checked_sub(SignedDuration::from_millis(1)).unwrap_or(slot).min(now);
        let schedule = schedule_name(job);
        self.service.state.schedule(name, &schedule, before).await?;
        self.job(&setup, job).await?;
        let record = self.service.state.schedule_record(name).await?;
        let is_settled =
            record.is_none_or(|r| slot <= r.settled_until || r.since.get(&schedule).is_some_and(|s| slot <= *s));
        let wait = now.duration_until(slot + delay(job));
        Ok((!is_settled).then(|| Duration::try_from(wait).unwrap_or_default().max(HELD_PAUSE)))
    }

    /// Moves the watermark, and now and then removes old slots behind it.
    async fn reach(&mut self, job: &str, slot: Option<Timestamp>) -> Result<(), Trouble> {
        let Some(slot) = slot else { return Ok(()) };
        self.service.state.settled_until(job, slot).await?;
        let unpruned = self.unpruned.entry(job.to_owned()).or_default();
        if *unpruned >= PRUNE_EVERY {
            *unpruned = 0;
            self.service.state.prune_slots(job, SLOTS_KEPT).await?;
        }
        Ok(())
    }

    /// Settles one slot; `false` says that another copy is at it.
    async fn settle(&self, setup: &Setup, job: &Job, due: &Due) -> Result<bool, Trouble> {
        let (service, name) = (&self.service, &job.name.value);
        let claim = service.state.claim_slot(name, due.slot, &service.name, service.clock.now(), CLAIM_TERM).await?;
        match (claim, &due.settle) {
            (SlotClaim::Settled(_), _) => Ok(true),
            (SlotClaim::Held, _) => Ok(false),
            (SlotClaim::Publish, _) => self.publish(setup, job, due).await,
            (SlotClaim::Decide, Settle::Missed(reason)) => {
                self.advance(job, due, SlotState::Missed, Some(reason.clone()), None).await
            }
            (SlotClaim::Decide, Settle::Run) => match self.hindrance(setup, job, due.slot).await? {
                Some(reason) => self.advance(job, due, SlotState::Skipped, Some(reason), None).await,
                None => {
                    // From here on it will be run, whoever ends it: the message may be out.
                    Ok(self.advance(job, due, SlotState::Publishing, None, None).await?
                        && self.publish(setup, job, due).await?)
                }
            },
        }
    }

    async fn publish(&self, setup: &Setup, job: &Job, due: &Due) -> Result<bool, Trouble> {
        let key = super::gate::TRIGGER_TOPIC;
        let topic = setup.project.topic(key).ok_or_else(|| Trouble(format!("`topics:` has no `{key}`")))?;
        let id = self.service.bus.publish(topic, &tick(job, due.slot)).await?;
        self.advance(job, due, SlotState::Run, None, Some(id)).await
    }

    async fn advance(
        &self,
        job: &Job,
        due: &Due,
        state: SlotState,
        reason: Option<String>,
        message_id: Option<String>,
    ) -> Result<bool, Trouble> {
        let now = self.service.clock.now();
        let next = SlotRecord {
            job: job.name.value.clone(),
            slot: due.slot,
            state,
            owner: self.service.name.clone(),
            until: now,
            reason,
            message_id,
            settled_at: state.is_final().then_some(now),
            and_before: due.and_before,
        };
        let advanced = self.service.state.advance_slot(&self.service.name, &next).await?;
        if advanced && state.is_final() {
            self.service.telemetry.emit(&TickSettled {
                job: &next.job,
                slot: next.slot,
                outcome: state.as_str(),
                reason: next.reason.as_deref(),
            });
        }
        Ok(advanced)
    }

    /// Why the slot is skipped, if it is.
    async fn hindrance(&self, setup: &Setup, job: &Job, slot: Timestamp) -> Result<Option<String>, Trouble> {
        let (state, name) = (&self.service.state, &job.name.value);
        if job.overlap == Overlap::Skip
            && let Some(last) = state.last_run_before(name, slot).await?
            && let Some(reason) = self.still_going(name, &last).await?
        {
            return Ok(Some(reason));
        }
        let (Some(trigger), Some(word)) = (&job.backup_of, &job.target_date) else { return Ok(None) };
        let date = setup.rule.resolve(&word.value, slot).map_err(Trouble)?;
        let cause = cause_id(name, slot);
        let now = self.service.clock.now();
        Ok(match state.claim_backup(&trigger.value, date, BackupBy::Tick, &cause, now).await? {
            BackupClaim::Go => None,
            BackupClaim::Answered { cause_id, run_id: Some(run) } => {
                Some(format!("the event came: `{cause_id}`, run {run}"))
            }
            BackupClaim::Answered { cause_id, run_id: None } => Some(format!("the event came: `{cause_id}`")),
        })
    }

    async fn still_going(&self, job: &str, last: &SlotRecord) -> Result<Option<String>, Trouble> {
        let published = last.settled_at.unwrap_or(last.slot);
        Ok(match self.service.state.cause_state(&cause_id(job, last.slot)).await? {
            CauseState::Going(run) => Some(format!("the run of the slot {} is still going: {run}", last.slot)),
            CauseState::Unknown if published.duration_until(self.service.clock.now()) < BEGUN_WITHIN => {
                Some(format!("the message of the slot {} still waits", last.slot))
            }
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests;
