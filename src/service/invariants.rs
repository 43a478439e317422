//! What is always true of messages, requests and schedules, whatever failed when: the part of `design/semantics.md` §8 that
//! `engine::invariants` cannot know. Shared by the simulation and the crash tests; the worker holds invariant 8 itself.

use super::plan;
use super::worker::completion;
use crate::engine::invariants::Violation;
use crate::model::completion::CompletionMessage;
use crate::ports::bus::{Backlog, Message};
use crate::state::State;
use crate::state::decisions::Verdict;
use crate::state::requests::RequestStatus;
use crate::state::runs::RunRecord;
use crate::state::schedules::{SlotRecord, SlotState};
use jiff::Timestamp;
use std::collections::BTreeMap;

fn violation(invariant: u8, what: impl Into<String>) -> Violation {
    Violation { invariant, what: what.into() }
}

/// 3. An acknowledged message has a finished run, a recorded decision, or a dead-letter record.
pub async fn acknowledged_is_answered(state: &State, message: &Message) -> Option<Violation> {
    let id = plan::run_id(message);
    let finished = state.request(&plan::request_id(message)).await.ok().flatten().is_some_and(|r| r.status.is_final());
    let decided = state.decision(&id).await.ok().flatten().is_some();
    let buried = state.dead_letter(&id).await.ok().flatten().is_some();
    (!finished && !decided && !buried).then(|| {
        violation(3, format!("message {} of `{}` was acknowledged without an answer", message.id, message.topic))
    })
}

/// 4. One cause, delivered any number of times, has one run that is no duplicate for each export and day.
pub async fn one_run_for_each_cause(state: &State) -> Vec<Violation> {
    let mut runs: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for request in state.requests(usize::MAX).await.unwrap_or_default() {
        if request.status == RequestStatus::Duplicate {
            continue;
        }
        for task in request.tasks.iter().filter(|t| t.attempts > 0) {
            let key = (task.run_key.clone(), task.report.export.clone());
            runs.entry(key).or_default().push(request.run_id.clone());
        }
    }
    let twice = runs.into_iter().filter(|(_, runs)| runs.len() > 1);
    twice.map(|((_, export), runs)| violation(4, format!("one cause ran `{export}` in {runs:?}"))).collect()
}

/// 3, seen from the end: every accepted decision has its request, and no request is left unfinished.
pub async fn everything_came_to_an_end(state: &State, requests_of: &[String]) -> Vec<Violation> {
    let mut found = Vec::new();
    for request in state.requests(usize::MAX).await.unwrap_or_default() {
        if !request.status.is_final() {
            found.push(violation(3, format!("run `{}` never ended: {:?}", request.run_id, request.status)));
        }
    }
    for decision in state.decisions(usize::MAX).await.unwrap_or_default() {
        let asked = decision.output_message.as_ref();
        if decision.verdict == Verdict::Accept && !asked.is_some_and(|id| requests_of.contains(id)) {
            found.push(violation(3, format!("decision `{}` was accepted, and no run heard of it", decision.id)));
        }
    }
    found
}

/// 8. The completion message's totals equal the run record's, and the sums of what they list.
pub async fn completion_equals_record(state: &State, message: &CompletionMessage) -> Option<Violation> {
    let record = state.request(&message.run_id).await.ok().flatten();
    let Some(record) = record else {
        return Some(violation(
            8,
            format!("a completion message tells of run `{}`, which has no record", message.run_id),
        ));
    };
    let expected = completion(&record);
    (expected.totals != message.totals || expected.exports != message.exports)
        .then(|| violation(8, format!("the completion message of run `{}` says other than its record", message.run_id)))
}

/// 8, of the history: an export that a finished request says to have succeeded has succeeded in its run's record too.
pub async fn history_knows_every_success(state: &State) -> Vec<Violation> {
    let mut found = Vec::new();
    let requests = state.requests(usize::MAX).await.unwrap_or_default();
    for request in requests.iter().filter(|r| r.status.is_final()) {
        for task in request.tasks.iter().filter(|t| t.attempts > 0 && t.report.status.is_success()) {
            let run = state.run(&task.report.export, &request.run_id).await.ok().flatten();
            if !run.as_ref().is_some_and(RunRecord::has_succeeded) {
                let (id, export, status) = (&request.run_id, &task.report.export, run.map(|r| r.status));
                found.push(violation(8, format!("run `{id}` published `{export}`, and its record says {status:?}")));
            }
        }
    }
    found
}

/// 9. After any crash every lease is free again within its term: when a subscription has nothing left, nothing of it is leased,
///    and no slot of a job is still claimed.
pub fn every_lease_is_free(backlog: Backlog, slots: &[SlotRecord]) -> Vec<Violation> {
    let leased = backlog.leased.filter(|n| *n > 0).map(|n| violation(9, format!("{n} messages are still leased")));
    let claimed = slots.iter().filter(|s| !s.state.is_final());
    leased.into_iter().chain(claimed.map(|s| violation(9, format!("slot {} is still {:?}", s.slot, s.state)))).collect()
}

/// 7. Each of a job's nominal slots ended as exactly one of run, missed, skipped. `published` are the slots of the ticks that
///    were published, repeated ones included.
pub fn each_slot_has_one_outcome(
    nominal: &[Timestamp],
    records: &[SlotRecord],
    published: &[Timestamp],
) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let by_slot: BTreeMap<Timestamp, &SlotRecord> = records.iter().map(|r| (r.slot, r)).collect();
    // Slots in the count of another's record are missed.
    let counted = |slot: Timestamp| {
        records
            .iter()
            .any(|r| r.and_before.is_some_and(|b| b.first <= slot) && slot < r.slot && r.state == SlotState::Missed)
    };
    for slot in nominal {
        let ticks = published.iter().filter(|p| *p == slot).count();
        match by_slot.get(slot).map(|r| r.state) {
            Some(SlotState::Run) if ticks == 0 => {
                wrong.push(violation(7, format!("{slot} was run, but no tick was published")))
            }
            Some(SlotState::Run) => {}
            Some(state) if !state.is_final() => wrong.push(violation(7, format!("{slot} was left {state:?}"))),
            Some(state) if ticks > 0 => {
                wrong.push(violation(7, format!("{slot} was {state:?}, but its tick was published")))
            }
            Some(_) => {}
            None if counted(*slot) && ticks == 0 => {}
            None => wrong.push(violation(7, format!("{slot} has no outcome ({ticks} ticks were published)"))),
        }
    }
    let others = records.iter().map(|r| r.slot).chain(published.iter().copied());
    for slot in others.filter(|s| !nominal.contains(s)) {
        wrong.push(violation(7, format!("{slot} is no slot of the job")));
    }
    wrong
}
