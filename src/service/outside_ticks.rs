//! Ticks of a clock that is not ours. Cloud Scheduler can put nothing on a message that changes from slot to slot, so its message
//! names the job (`phase6-job`), and the slot is the job's newest one at the time of publication.
//!
//! Such a tick is a wake-up: what is due of the job is settled by the scheduler's own protocol (`state::schedules`), which
//! publishes the slot's real tick. So each slot still ends as exactly one of run, missed, skipped, with `catch_up`, `overlap` and
//! `backup_of` as declared, whether our clock goes, the outside one, or both; and after a start from nothing (scale to zero).

use super::consumer::Answer;
use super::previous_slot::previous_slot;
use super::scheduler::Scheduler;
use super::{Service, Trouble};
use crate::config::{Job, Project};
use crate::diagnostics::nearest;
use crate::model::message::attributes;
use crate::ports::bus::Message;
use jiff::{SignedDuration, Timestamp};

/// By how much the outside clock may be ahead of the bus's.
const AHEAD: SignedDuration = SignedDuration::from_secs(5);

/// The job whose outside tick the message is; `None` for every other message, `Err` is the reason for refusing it.
pub fn job<'p>(project: &'p Project, message: &Message) -> Result<Option<&'p Job>, String> {
    let attribute = |name: &str| message.attributes.get(name).filter(|value| !value.is_empty());
    let Some(name) = attribute(attributes::JOB) else { return Ok(None) };
    // A tick of our own, or a run that was asked for again, says its cause itself.
    if attribute(attributes::CAUSE_ID).is_some() {
        return Ok(None);
    }
    let found = project.jobs.iter().find(|job| job.name.value == *name);
    found.map(Some).ok_or_else(|| {
        let near = nearest(name, project.jobs.iter().map(|job| job.name.value.as_str()));
        let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        format!("the attribute `{}` names no job of the project: `{}`{hint}", attributes::JOB, name.escape_debug())
    })
}

/// The slot that a tick of this publish time stands for: the newest at or before it.
pub fn slot(job: &Job, published_at: Timestamp) -> Option<Timestamp> {
    previous_slot(job, published_at.saturating_add(AHEAD).unwrap_or(published_at))
}

/// Settles the slot. The message is acknowledged when that is done, so a crash before repeats it.
pub async fn settle(service: &Service, job: &Job, message: &Message) -> Result<Answer, Trouble> {
    let Some(slot) = slot(job, message.published_at) else { return Ok(Answer::Ack) };
    Ok(match Scheduler::new(service.clone()).tick(job, slot).await? {
        None => Answer::Ack,
        Some(wait) => Answer::Later(wait),
    })
}
