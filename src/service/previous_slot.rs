//! The last slot of a job's schedule up to an instant: what the promises of freshness and missed runs are held against.

use crate::config::Job;
use jiff::{SignedDuration, Timestamp};

/// How far back a slot is looked for, in hours: first where most schedules have one, so that few slots are walked over. A
/// leap day comes every eight years at the rarest.
const WINDOWS: [i64; 6] = [1, 25, 8 * 24, 32 * 24, 367 * 24, 8 * 367 * 24];

/// The last slot at or before `at`; `None` for a schedule that has none.
pub fn previous_slot(job: &Job, at: Timestamp) -> Option<Timestamp> {
    let slots = super::scheduler::slots(job).ok()?;
    WINDOWS.iter().find_map(|hours| {
        let from = at.checked_sub(SignedDuration::from_hours(*hours)).ok()?;
        slots.between(from, at).last()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(schedule: &str, zone: &str, at: &str) -> String {
        let jobs =
            format!("{{name: j, schedule: '{schedule}', timezone: {zone}, export_types: [e], target_date: today}}");
        let project = crate::service::freshness::tests::project(&format!("scheduler: {{jobs: [{jobs}]}}\n"), "");
        previous_slot(&project.jobs[0], at.parse().unwrap()).map_or("none".into(), |s| s.to_string())
    }

    #[test]
    fn the_seeds_jobs() {
        assert_eq!(slot("0 10 * * *", "Etc/UTC", "2025-12-12T10:00:00Z"), "2025-12-12T10:00:00Z");
        assert_eq!(slot("0 10 * * *", "Etc/UTC", "2025-12-12T09:59:59Z"), "2025-12-11T10:00:00Z");
        assert_eq!(slot("0 11 * * 0", "Etc/UTC", "2025-12-12T18:00:00Z"), "2025-12-07T11:00:00Z");
        assert_eq!(slot("0 11 * * 7", "Etc/UTC", "2025-12-12T18:00:00Z"), "2025-12-07T11:00:00Z");
    }

    #[test]
    fn lists_ranges_steps_names_and_rare_days() {
        assert_eq!(slot("*/20 9-17 * DEC MON-FRI", "Etc/UTC", "2025-12-13T00:00:00Z"), "2025-12-12T17:40:00Z");
        assert_eq!(slot("0 0 13 * FRI", "Etc/UTC", "2025-12-12T18:00:00Z"), "2025-12-12T00:00:00Z");
        assert_eq!(slot("0 0 29 2 *", "Etc/UTC", "2027-12-12T18:00:00Z"), "2024-02-29T00:00:00Z");
        assert_eq!(slot("0 0 30 2 *", "Etc/UTC", "2027-12-12T18:00:00Z"), "none");
    }

    #[test]
    fn clock_changes() {
        let york = "America/New_York";
        // 02:30 does not exist on 9 March: the slot is when the clock jumps, 03:00 EDT.
        assert_eq!(slot("30 2 * * *", york, "2025-03-09T12:00:00Z"), "2025-03-09T07:00:00Z");
        // 01:30 comes twice on 2 November: the first counts.
        assert_eq!(slot("30 1 * * *", york, "2025-11-02T12:00:00Z"), "2025-11-02T05:30:00Z");
    }
}
