//! The last slot of a job's schedule up to an instant: what the promises of freshness and missed runs are held against.

use crate::config::Job;
use jiff::civil::{Date, time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Span, Timestamp};

/// How far back a slot is looked for: a leap day comes every eight years at the rarest.
const DAYS: i32 = 8 * 366 + 3;

/// The last slot at or before `at`; `None` for a schedule that has none.
pub fn previous_slot(job: &Job, at: Timestamp) -> Option<Timestamp> {
    let fields = Fields::parse(&job.schedule)?;
    let zone = TimeZone::get(&job.timezone).ok()?;
    let today = zone.to_datetime(at).date();
    (0..DAYS).find_map(|back| {
        let date = today.checked_sub(Span::new().days(back)).ok()?;
        if fields.has(date) { fields.last_of(date, &zone, at) } else { None }
    })
}

/// The five fields as sets of bits; `schedule:` has been checked, so what does not parse has no slot.
struct Fields {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether the day of the month or the day of the week is enough, when both are restricted.
    either: bool,
}

impl Fields {
    fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = parts.as_slice() else { return None };
        let mut weekdays = bits(weekday, 0, 7, &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"], 0)?;
        weekdays |= weekdays >> 7 & 1;
        const MONTHS: &[&str] = &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
        Some(Self {
            minutes: bits(minute, 0, 59, &[], 0)?,
            hours: bits(hour, 0, 23, &[], 0)?,
            days: bits(day, 1, 31, &[], 0)?,
            months: bits(month, 1, 12, MONTHS, 1)?,
            weekdays,
            either: !day.starts_with('*') && !weekday.starts_with('*'),
        })
    }

    fn has(&self, date: Date) -> bool {
        let day = self.days >> date.day() & 1 == 1;
        let weekday = self.weekdays >> date.weekday().to_sunday_zero_offset() & 1 == 1;
        let of_month = if self.either { day || weekday } else { day && weekday };
        of_month && self.months >> date.month() & 1 == 1
    }

    /// The last slot of the day that is not after `at`. A time that the clock skips counts when it jumps; one that comes
    /// twice, the first time.
    fn last_of(&self, date: Date, zone: &TimeZone, at: Timestamp) -> Option<Timestamp> {
        let minutes =
            (0..24 * 60).rev().filter(|m| self.hours >> (m / 60) & 1 == 1 && self.minutes >> (m % 60) & 1 == 1);
        let mut slots = minutes.filter_map(|m| {
            let civil = date.to_datetime(time((m / 60) as i8, (m % 60) as i8, 0, 0));
            let ambiguous = zone.to_ambiguous_timestamp(civil);
            match ambiguous.offset() {
                AmbiguousOffset::Gap { .. } => ambiguous.later().ok(),
                _ => ambiguous.earlier().ok(),
            }
        });
        slots.find(|slot| *slot <= at)
    }
}

fn bits(field: &str, low: u32, high: u32, names: &[&str], first: u32) -> Option<u64> {
    let value = |text: &str| match names.iter().position(|n| n.eq_ignore_ascii_case(text)) {
        Some(index) => Some(index as u32 + first),
        None => text.parse().ok().filter(|n| (low..=high).contains(n)),
    };
    let mut set = 0;
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<usize>().ok().filter(|s| *s > 0)?)),
            None => (part, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (low, high),
            Some((from, to)) => (value(from)?, value(to)?),
            // `1/2` goes on to the end, `1` is one value.
            None => (value(range)?, if step.is_some() { high } else { value(range)? }),
        };
        for n in (from..=to).step_by(step.unwrap_or(1)) {
            set |= 1u64 << n;
        }
    }
    Some(set)
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
        // 02:30 does not exist on 9 March: the slot is when the clock jumps past it, 03:30 EDT.
        assert_eq!(slot("30 2 * * *", york, "2025-03-09T12:00:00Z"), "2025-03-09T07:30:00Z");
        // 01:30 comes twice on 2 November: the first counts.
        assert_eq!(slot("30 1 * * *", york, "2025-11-02T12:00:00Z"), "2025-11-02T05:30:00Z");
    }
}
