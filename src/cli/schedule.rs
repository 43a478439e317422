//! `phase6 schedule`: when jobs are due next, and a job's message by hand.

use super::args::{Format, Global, ScheduleCommand, ScheduleNextArgs, ScheduleTriggerArgs};
use super::context::{self, fail};
use super::exit::Exit;
use super::output;
use crate::config::{Job, Project};
use crate::diagnostics::nearest;
use crate::model::dates::DayRule;
use crate::ports::clock::{Clock, SystemClock};
use crate::service::{gate, scheduler};
use crate::state::State;
use crate::state::backups::{BackupBy, BackupClaim};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use std::sync::Arc;

pub fn run(global: &Global, command: &ScheduleCommand) -> Exit {
    let done = match command {
        ScheduleCommand::Next(args) => next(global, args),
        ScheduleCommand::Trigger(args) => trigger(global, args),
    };
    match done {
        Ok(exit) | Err(exit) => exit,
    }
}

/// A slot to come.
struct Coming<'p> {
    job: &'p Job,
    slot: Timestamp,
    zone: TimeZone,
    asks: String,
}

fn next(global: &Global, args: &ScheduleNextArgs) -> Result<Exit, Exit> {
    let project = context::load(global)?.project;
    let rule = context::day_rule(&project)?;
    let from = match &args.from {
        Some(text) => instant("--from", text)?,
        None => context::cause_time(global)?,
    };
    let jobs: Vec<&Job> = match &args.job {
        Some(name) => vec![job(&project, name)?],
        None => project.jobs.iter().collect(),
    };
    let mut coming = Vec::new();
    for job in jobs {
        let slots = scheduler::slots(job).map_err(|reason| fail(Exit::Usage, reason))?;
        for slot in slots.between(from, Timestamp::MAX).take(args.count.into()) {
            coming.push(Coming { job, slot, zone: slots.zone.clone(), asks: asks_for(job, &rule, slot) });
        }
    }
    coming.sort_by_key(|c| c.slot);
    let objects: Vec<Value> = coming.iter().map(|c| object(c, &rule)).collect();
    output::records(global, &objects, |_| human(&coming));
    Ok(Exit::Ok)
}

/// What the job would ask for at the slot, in words.
fn asks_for(job: &Job, rule: &DayRule, slot: Timestamp) -> String {
    let mut text = if job.players {
        "players".to_owned()
    } else {
        job.export_types.iter().map(|e| e.value.as_str()).collect::<Vec<_>>().join(", ")
    };
    if let Some(date) = target_date(job, rule, slot) {
        text.push_str(&format!(" of {date}"));
    }
    if let Some(games) = job.min_games {
        text.push_str(&format!(", min_games {games}"));
    }
    if job.update_latest == Some(false) {
        text.push_str(", without latest");
    }
    if let Some(trigger) = &job.backup_of {
        text.push_str(&format!(", if `{}` did not", trigger.value));
    }
    text
}

/// The date that the job's words mean at the slot, in the project's calendar.
fn target_date(job: &Job, rule: &DayRule, slot: Timestamp) -> Option<String> {
    rule.resolve(&job.target_date.as_ref()?.value, slot).ok().map(|d| d.to_string())
}

fn object(coming: &Coming<'_>, rule: &DayRule) -> Value {
    let Coming { job, slot, zone, .. } = coming;
    let message: Value = serde_json::from_slice(&scheduler::tick(job, *slot).body).unwrap_or_default();
    json!({
        "job": job.name.value,
        "slot": slot.to_string(),
        "local": slot.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        "timezone": job.timezone,
        "schedule": job.schedule.value.text(),
        "published_at": (*slot + scheduler::delay(job)).to_string(),
        "target_date": target_date(job, rule, *slot),
        "message": message,
        "backup_of": job.backup_of.as_ref().map(|t| &t.value),
    })
}

fn human(coming: &[Coming<'_>]) -> String {
    if coming.is_empty() {
        return "no job is due\n".to_owned();
    }
    let row = |c: &Coming<'_>| {
        let local = c.slot.to_zoned_datetime(c.zone.clone()).strftime("%a %Y-%m-%d %H:%M %Z").to_string();
        vec![output::time(c.slot), local, c.job.name.value.clone(), c.asks.clone()]
    };
    output::table(&["UTC", "in the job's zone", "job", "asks for"], &coming.iter().map(row).collect::<Vec<_>>())
}

/// Publishes the job's message now. With `--at` it is the slot's own tick: if that ran already, it is a duplicate.
fn trigger(global: &Global, args: &ScheduleTriggerArgs) -> Result<Exit, Exit> {
    let project = context::load(global)?.project;
    let job = job(&project, &args.job)?;
    let slot = match &args.at {
        Some(text) => slot_at(job, instant("--at", text)?)?,
        None => context::cause_time(global)?,
    };
    let topic = project
        .topic(gate::TRIGGER_TOPIC)
        .ok_or_else(|| fail(Exit::Usage, format!("`topics:` has no `{}`", gate::TRIGGER_TOPIC)))?;
    let bus = context::bus(&project, global, Arc::new(SystemClock))?;
    let (state, rule) = (context::state(&project, global)?, context::day_rule(&project)?);
    let id = context::runtime()?.block_on(async {
        context::make_subscriptions(&project, bus.as_ref()).await?;
        claim(&state, job, &rule, slot).await?;
        bus.publish(topic, &scheduler::tick(job, slot)).await.map_err(context::bus_failed)
    })?;
    let cause = scheduler::cause_id(&job.name.value, slot);
    match global.format {
        Format::Json | Format::Jsonl => {
            println!("{}", json!({"message_id": id, "cause_id": cause, "slot": slot.to_string()}))
        }
        _ if global.quiet => {}
        _ => println!("published message {id} for `{cause}`: {}", asks_for(job, &context::day_rule(&project)?, slot)),
    }
    Ok(Exit::Ok)
}

/// A backup job says that it asks for the date, so that an event that comes late is answered by its run. An operator's word is
/// published even where the event has come already.
async fn claim(state: &State, job: &Job, rule: &DayRule, slot: Timestamp) -> Result<(), Exit> {
    let (Some(trigger), Some(word)) = (&job.backup_of, &job.target_date) else { return Ok(()) };
    let date = rule.resolve(&word.value, slot).map_err(|reason| fail(Exit::Usage, reason))?;
    let cause = scheduler::cause_id(&job.name.value, slot);
    let claimed = state.claim_backup(&trigger.value, date, BackupBy::Tick, &cause, SystemClock.now()).await;
    if let BackupClaim::Answered { cause_id, .. } = claimed.map_err(|e| fail(Exit::Unavailable, e))? {
        eprintln!("phase6: the event came already (`{cause_id}`); published all the same");
    }
    Ok(())
}

/// An instant that is a slot of the job; else the error names the nearest one after it.
fn slot_at(job: &Job, at: Timestamp) -> Result<Timestamp, Exit> {
    let slots = scheduler::slots(job).map_err(|reason| fail(Exit::Usage, reason))?;
    let before = Timestamp::from_nanosecond(at.as_nanosecond() - 1).unwrap_or(at);
    match slots.next(before) {
        Some(slot) if slot == at => Ok(slot),
        next => {
            let hint = next.map_or(String::new(), |slot| format!("; the next one is {slot}"));
            Err(fail(Exit::Usage, format!("--at {at} is no slot of `{}`{hint}", job.name.value)))
        }
    }
}

fn instant(option: &str, text: &str) -> Result<Timestamp, Exit> {
    text.parse()
        .map_err(|_| fail(Exit::Usage, format!("{option} {text}: write an instant such as 2025-12-12T18:00:00Z")))
}

fn job<'p>(project: &'p Project, name: &str) -> Result<&'p Job, Exit> {
    project.jobs.iter().find(|j| j.name.value == name).ok_or_else(|| {
        let known: Vec<&str> = project.jobs.iter().map(|j| j.name.value.as_str()).collect();
        let hint = nearest(name, known.iter().copied())
            .map_or_else(|| format!("there are {}", known.join(", ")), |near| format!("did you mean `{near}`?"));
        fail(Exit::Usage, format!("there is no job `{name}`: {hint}"))
    })
}
