//! What happens after an export's attempt: nothing more, another attempt, or giving up; and how long a message waits that cannot be
//! worked now. Pure.
//!
//! A bus gives a message up after 100 deliveries, whatever they were for. So a request is asked for its data again 80 times at most
//! ([`shortest_pause`]), and what waits for a turn, or for the end of some trouble, waits longer each time ([`message_pause`]).

use super::settings::Settings;
use crate::config::Project;
use crate::config::model::shortest_pause;
use crate::model::report::{ExportReport, FailureClass, Status};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// What happens next to an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It succeeded, or trying again cannot help.
    Done,
    /// It is tried again at this time.
    Again(Timestamp),
    /// Attempts or time are used up; why, in words that end a sentence.
    GiveUp(String),
}

/// The longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The first pause of a message that could not be worked.
const SHORT_PAUSE: Duration = Duration::from_secs(2);

/// For so many deliveries it stays that short.
const SHORT_PAUSES: u32 = 8;

/// Decides by the error's class alone (`design/semantics.md` §2). The deadline counts from the first attempt, so that a retry
/// never eats more than its budget (incident I-9).
pub fn next_step(
    report: &ExportReport,
    attempts: u32,
    first_attempt: Timestamp,
    now: Timestamp,
    settings: &Settings,
    salt: &str,
) -> Step {
    if report.status.is_success() {
        return Step::Done;
    }
    let (pause, give_up_after, limit) = match (report.status, report.class) {
        (Status::NotReady, _) | (_, Some(FailureClass::NotReady)) => {
            let wanted = report.retry_after_ms.map_or(settings.retry_every, Duration::from_millis);
            let give_up_after = report.give_up_after_ms.map_or(settings.give_up_after, Duration::from_millis);
            (wanted.max(shortest_pause(give_up_after)), give_up_after, u32::MAX)
        }
        (Status::NotRun, _) | (_, Some(FailureClass::Transient)) => {
            (backoff(settings.backoff, attempts, salt), settings.give_up_after, settings.max_attempts)
        }
        _ => return Step::Done,
    };
    if attempts >= limit {
        return Step::GiveUp(format!("given up after {attempts} attempts"));
    }
    let deadline = after(first_attempt, give_up_after);
    if now >= deadline {
        return Step::GiveUp(format!("given up after {}", human(give_up_after)));
    }
    // The last attempt is at the deadline itself.
    Step::Again(after(now, pause).min(deadline))
}

/// How long a message waits that cannot be worked now: for its turn, or until some trouble is over. Two seconds at first, from the
/// ninth delivery on doubled, at most five minutes: 100 deliveries last seven hours.
pub fn message_pause(delivery: u32) -> Duration {
    let doublings = delivery.saturating_sub(SHORT_PAUSES).min(16);
    SHORT_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE)
}

/// How long a request may wait in good order, from its first attempt on: as long as its most patient export is tried again, and
/// one run on top.
pub fn patience(project: &Project, exports: &[String], settings: &Settings) -> Duration {
    let asked = project.exports.iter().filter(|export| exports.contains(&export.name.value));
    let declared = asked.flat_map(|export| &export.ready).filter_map(|ready| ready.give_up_after);
    let longest = declared.fold(settings.give_up_after, Duration::max);
    longest.saturating_add(settings.run_timeout)
}

/// Doubles with each attempt, with a quarter of jitter that the request's name decides, so that a simulation repeats itself.
fn backoff(first: Duration, attempts: u32, salt: &str) -> Duration {
    let doubled = first.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(LONGEST_PAUSE);
    let hash = salt.bytes().fold(attempts.wrapping_mul(0x9e37), |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    doubled + doubled.mul_f64(f64::from(hash % 1000) / 4000.0)
}

/// When a time is over that began then.
pub fn after(at: Timestamp, pause: Duration) -> Timestamp {
    SignedDuration::try_from(pause).ok().and_then(|d| at.checked_add(d).ok()).unwrap_or(Timestamp::MAX)
}

fn human(duration: Duration) -> String {
    match duration.as_secs() {
        s if s >= 7200 && s % 3600 == 0 => format!("{} h", s / 3600),
        s if s >= 120 && s % 60 == 0 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::export::empty_report;

    fn failed(class: FailureClass) -> ExportReport {
        ExportReport { status: Status::Failed, class: Some(class), ..empty_report("x") }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_765_000_000 + seconds).unwrap()
    }

    #[test]
    fn permanent_errors_are_never_tried_again() {
        let step = next_step(&failed(FailureClass::Permanent), 1, at(0), at(1), &Settings::default(), "r");
        assert_eq!(step, Step::Done);
    }

    #[test]
    fn transient_errors_back_off_and_end() {
        let report = failed(FailureClass::Transient);
        let settings = Settings::default();
        let mut pauses = Vec::new();
        for attempt in 1..settings.max_attempts {
            let Step::Again(next) = next_step(&report, attempt, at(0), at(0), &settings, "r") else { panic!("again") };
            pauses.push(next.duration_since(at(0)).as_secs_f64());
        }
        assert!(pauses.windows(2).all(|p| p[1] > p[0] * 1.5), "{pauses:?}");
        assert!(matches!(next_step(&report, 5, at(0), at(0), &settings, "r"), Step::GiveUp(_)));
    }

    /// I-9: waits of 60 s used up a limit of 120 s, and the steps behind them never ran.
    #[test]
    fn i09_no_pause_reaches_beyond_the_deadline() {
        let settings = Settings {
            retry_every: Duration::from_secs(50),
            backoff: Duration::from_secs(50),
            give_up_after: Duration::from_secs(120),
            max_attempts: 100,
            ..Settings::default()
        };
        for class in [FailureClass::NotReady, FailureClass::Transient] {
            let (mut now, mut attempts) = (at(0), 1);
            while let Step::Again(next) = next_step(&failed(class), attempts, at(0), now, &settings, "r") {
                assert!(now < next && next <= at(120), "{class:?}: {next}");
                (now, attempts) = (next, attempts + 1);
            }
            assert_eq!(now, at(120), "{class:?}: the last attempt is at the deadline");
        }
    }

    /// The bus gives a message up after 100 deliveries.
    #[test]
    fn what_is_not_ready_is_never_asked_more_often_than_its_message_can_be_delivered() {
        for (retry_every, give_up_after) in [(1_000, 3_600_000), (60_000, 6 * 3_600_000), (60_000, 7 * 86_400_000)] {
            let report = ExportReport {
                retry_after_ms: Some(retry_every),
                give_up_after_ms: Some(give_up_after),
                ..failed(FailureClass::NotReady)
            };
            let (mut now, mut asked) = (at(0), 1);
            while let Step::Again(next) = next_step(&report, asked, at(0), now, &Settings::default(), "r") {
                (now, asked) = (next, asked + 1);
            }
            assert_eq!(
                (now, asked),
                (after(at(0), Duration::from_millis(give_up_after)), 81),
                "every {retry_every} ms"
            );
        }
    }

    #[test]
    fn a_message_that_waits_is_delivered_a_hundred_times_in_hours() {
        let pauses: Vec<u64> = (1..=100).map(|delivery| message_pause(delivery).as_secs()).collect();
        assert_eq!(pauses[..10], [2, 2, 2, 2, 2, 2, 2, 2, 4, 8], "soon at first");
        assert_eq!((pauses[15], pauses[99]), (300, 300));
        let hours = pauses.iter().sum::<u64>() / 3600;
        assert_eq!(hours, 7);
        assert_eq!(message_pause(u32::MAX), LONGEST_PAUSE);
    }

    #[test]
    fn not_ready_waits_until_its_own_deadline() {
        let report = ExportReport {
            status: Status::NotReady,
            class: Some(FailureClass::NotReady),
            retry_after_ms: Some(60_000),
            give_up_after_ms: Some(150_000),
            ..empty_report("x")
        };
        let step = |now| next_step(&report, 40, at(0), at(now), &Settings::default(), "r");
        assert_eq!(step(0), Step::Again(at(60)));
        assert_eq!(step(120), Step::Again(at(150)), "the last attempt is at the deadline");
        assert!(matches!(step(150), Step::GiveUp(_)));
    }
}
