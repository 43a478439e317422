//! What must hold of the service, as named functions (`design/semantics.md` §8): the simulation, the crash tests and production
//! assertions ask the same ones.

use crate::state::schedules::{SlotRecord, SlotState};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Invariant 7: each of the nominal slots ended as exactly one of run, missed, skipped. `published` are the slots of the ticks that
/// were published, repeated ones included. Says what is wrong, in sentences.
pub fn each_slot_has_one_outcome(
    nominal: &[Timestamp],
    records: &[SlotRecord],
    published: &[Timestamp],
) -> Vec<String> {
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
            Some(SlotState::Run) if ticks == 0 => wrong.push(format!("{slot} was run, but no tick was published")),
            Some(SlotState::Run) => {}
            Some(state) if !state.is_final() => wrong.push(format!("{slot} was left {state:?}")),
            Some(state) if ticks > 0 => wrong.push(format!("{slot} was {state:?}, but its tick was published")),
            Some(_) => {}
            None if counted(*slot) && ticks == 0 => {}
            None => wrong.push(format!("{slot} has no outcome ({ticks} ticks were published)")),
        }
    }
    let others = records.iter().map(|r| r.slot).chain(published.iter().copied());
    for slot in others.filter(|s| !nominal.contains(s)) {
        wrong.push(format!("{slot} is no slot of the job"));
    }
    wrong
}
