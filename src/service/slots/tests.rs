//! Slots against `croner` in UTC, and by hand at clock changes. Only compiled for tests: `#[cfg(test)]`.

use super::*;
use crate::adapters::faulty::Random;

fn slots(text: &str, zone: &str) -> Slots {
    Slots { schedule: Schedule::parse(text).unwrap(), zone: TimeZone::get(zone).unwrap() }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The slots between two instants, as the wall shows them.
fn shown(text: &str, zone: &str, from: &str, to: &str) -> Vec<String> {
    let slots = slots(text, zone);
    let show = |slot: Timestamp| slot.to_zoned_datetime(slots.zone.clone()).strftime("%m-%d %H:%M%:z").to_string();
    slots.between(at(from), at(to)).map(show).collect()
}

fn utc(text: &str, from: &str) -> Option<String> {
    slots(text, "Etc/UTC").next(at(from)).map(|t| t.to_string())
}

/// A random field: a star, a step, a number, a range, a list, a name.
fn field(random: &Random, low: u64, high: u64, names: &[&str], star: u32) -> String {
    if random.chance(star) {
        return "*".into();
    }
    let number = || low + random.below(high - low + 1);
    match random.below(if names.is_empty() { 5 } else { 6 }) {
        0 => format!("*/{}", 1 + random.below(high)),
        1 => number().to_string(),
        2 => {
            let (a, b) = (number(), number());
            format!("{}-{}", a.min(b), a.max(b))
        }
        3 => {
            let (a, b) = (number(), number());
            format!("{}-{}/{}", a.min(b), a.max(b), 1 + random.below(5))
        }
        4 => format!("{},{},{}", number(), number(), number()),
        _ => names[random.below(names.len() as u64) as usize].to_owned(),
    }
}

#[test]
fn agrees_with_croner_in_utc() {
    const MONTHS: &[&str] = &["JAN", "jun", "DEC"];
    const DAYS: &[&str] = &["MON", "wed", "SUN"];
    let random = Random::new(20_251_212);
    let (mut compared, mut never) = (0, 0);
    for round in 0..2_000 {
        let (day, weekday) = (field(&random, 1, 31, &[], 500), field(&random, 0, 7, DAYS, 500));
        // croner takes `*/2` for a restriction; Vixie's cron, whose rule Cloud Scheduler names, does not.
        if day.starts_with("*/") && weekday != "*" || weekday.starts_with("*/") && day != "*" {
            continue;
        }
        let minute = field(&random, 0, 59, &[], 100);
        let hour = field(&random, 0, 23, &[], 300);
        let mut text = format!("{minute} {hour} {day} {} {weekday}", field(&random, 1, 12, MONTHS, 600));
        if round == 0 {
            text = "0 0 30 2 *".into();
        }
        let ours = slots(&text, "Etc/UTC");
        let theirs: croner::Cron = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        // Anywhere in 60 years, also in the middle of a minute.
        let mut from = 1_000_000_000 + random.below(60 * 365 * 86_400) as i64;
        for _ in 0..12 {
            let start = chrono::DateTime::from_timestamp(from, 0).unwrap();
            let expected = theirs.find_next_occurrence(&start, false).ok().map(|t| t.timestamp());
            let found = ours.next(Timestamp::from_second(from).unwrap()).map(Timestamp::as_second);
            assert_eq!(found, expected, "`{text}` after {start}");
            assert_eq!(found.is_some(), ours.schedule.is_possible(), "`{text}`");
            let Some(found) = found else {
                never += 1;
                break;
            };
            from = found;
        }
        compared += 1;
    }
    assert!(compared >= 1_200 && never > 0, "{compared} schedules were compared, {never} of them never due");
}

#[test]
fn the_seeds_jobs_are_due_when_the_seed_says() {
    assert_eq!(utc("0 10 * * *", "2025-12-12T09:59:59Z").unwrap(), "2025-12-12T10:00:00Z");
    assert_eq!(utc("0 10 * * *", "2025-12-12T10:00:00Z").unwrap(), "2025-12-13T10:00:00Z");
    assert_eq!(utc("0 18 * * *", "2025-12-31T20:00:00Z").unwrap(), "2026-01-01T18:00:00Z");
    // Sunday is 0; 2025-12-14 was one.
    assert_eq!(utc("0 11 * * 0", "2025-12-12T00:00:00Z").unwrap(), "2025-12-14T11:00:00Z");
}

#[test]
fn a_fixed_time_in_the_skipped_hour_is_due_once_when_the_clock_jumps() {
    let day = ("2025-03-09T04:00:00Z", "2025-03-10T12:00:00Z");
    let new_york = |text| shown(text, "America/New_York", day.0, day.1);
    assert_eq!(new_york("30 2 * * *"), ["03-09 03:00-04:00", "03-10 02:30-04:00"]);
    // Two skipped times and one at the jump itself are one slot; no slot comes twice.
    assert_eq!(new_york("0,30 2,3 9 * *"), ["03-09 03:00-04:00", "03-09 03:30-04:00"]);
    let oslo = shown("15 2 * * *", "Europe/Oslo", "2025-03-29T12:00:00Z", "2025-03-31T12:00:00Z");
    assert_eq!(oslo, ["03-30 03:00+02:00", "03-31 02:15+02:00"]);
}

#[test]
fn a_fixed_time_in_the_repeated_hour_is_due_the_first_time() {
    let new_york = shown("30 1 * * *", "America/New_York", "2025-11-01T12:00:00Z", "2025-11-03T12:00:00Z");
    assert_eq!(new_york, ["11-02 01:30-04:00", "11-03 01:30-05:00"]);
    // Also when it is asked for between the two.
    let between = slots("30 1 * * *", "America/New_York").next(at("2025-11-02T06:10:00Z")).unwrap();
    assert_eq!(between, at("2025-11-03T06:30:00Z"));
    let oslo = shown("0 2,3 * * *", "Europe/Oslo", "2025-10-25T12:00:00Z", "2025-10-26T12:00:00Z");
    assert_eq!(oslo, ["10-26 02:00+02:00", "10-26 03:00+01:00"]);
}

#[test]
fn an_interval_follows_real_time() {
    let spring = shown("*/30 * * * *", "America/New_York", "2025-03-09T06:15:00Z", "2025-03-09T07:30:00Z");
    assert_eq!(spring, ["03-09 01:30-05:00", "03-09 03:00-04:00", "03-09 03:30-04:00"]);
    let autumn = shown("0 * * * *", "Europe/Oslo", "2025-10-25T23:30:00Z", "2025-10-26T02:00:00Z");
    assert_eq!(autumn, ["10-26 02:00+02:00", "10-26 02:00+01:00", "10-26 03:00+01:00"]);
    // The hour is named, the minute is not: every minute that shows 02 is due, and in spring there is none.
    assert!(shown("* 2 9 3 *", "America/New_York", "2025-03-09T00:00:00Z", "2025-03-10T00:00:00Z").is_empty());
    assert_eq!(shown("*/30 1 2 11 *", "America/New_York", "2025-11-02T00:00:00Z", "2025-11-03T00:00:00Z").len(), 4);
}

#[test]
fn half_an_hours_change_is_one_too() {
    // Lord Howe: 02:00 becomes 02:30 in October, and 02:00 becomes 01:30 in April.
    let zone = "Australia/Lord_Howe";
    let spring = shown("15 2 * * *", zone, "2025-10-04T00:00:00Z", "2025-10-05T20:00:00Z");
    assert_eq!(spring, ["10-05 02:30+11:00", "10-06 02:15+11:00"]);
    let autumn = shown("45 1 * * *", zone, "2025-04-05T00:00:00Z", "2025-04-06T20:00:00Z");
    assert_eq!(autumn, ["04-06 01:45+11:00", "04-07 01:45+10:30"]);
    let each = shown("*/15 1 * * *", zone, "2025-04-05T13:00:00Z", "2025-04-05T16:00:00Z");
    let shown_times: Vec<&str> = each.iter().map(|t| &t[6..]).collect();
    assert_eq!(shown_times, ["01:00+11:00", "01:15+11:00", "01:30+11:00", "01:45+11:00", "01:30+10:30", "01:45+10:30"]);
}

#[test]
fn a_skipped_day_is_due_once_when_it_is_skipped() {
    // Samoa had no 30 December 2011.
    let noon = shown("0 12 * * *", "Pacific/Apia", "2011-12-29T12:00:00Z", "2012-01-01T12:00:00Z");
    assert_eq!(noon, ["12-29 12:00-10:00", "12-31 00:00+14:00", "12-31 12:00+14:00", "01-01 12:00+14:00"]);
    let hourly = shown("0 * * * *", "Pacific/Apia", "2011-12-30T08:30:00Z", "2011-12-30T11:00:00Z");
    assert_eq!(hourly, ["12-29 23:00-10:00", "12-31 00:00+14:00", "12-31 01:00+14:00"]);
}

#[test]
fn leap_days_are_found_and_impossible_days_end_the_search() {
    assert_eq!(utc("0 0 29 2 *", "2025-01-01T00:00:00Z").unwrap(), "2028-02-29T00:00:00Z");
    // 2100 is no leap year.
    assert_eq!(utc("0 0 29 2 *", "2096-03-01T00:00:00Z").unwrap(), "2104-02-29T00:00:00Z");
    // A 29 February that is a Sunday: `*/7` is unrestricted, so both hold.
    assert_eq!(utc("0 0 29 2 */7", "2025-01-01T00:00:00Z").unwrap(), "2032-02-29T00:00:00Z");
    assert_eq!(utc("0 0 29 2 */7", "2088-03-01T00:00:00Z").unwrap(), "2128-02-29T00:00:00Z");
    for never in ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "* * 30 2 *"] {
        assert_eq!(utc(never, "2025-01-01T00:00:00Z"), None, "{never}");
    }
    assert_eq!(utc("0 0 1 1 *", "9999-06-01T00:00:00Z"), None);
}

#[test]
fn slots_only_ever_go_forward() {
    let random = Random::new(7);
    let zones = ["America/New_York", "Europe/Oslo", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca"];
    for round in 0..400 {
        let text = format!("{} {} * * *", field(&random, 0, 59, &[], 100), field(&random, 0, 23, &[], 100),);
        let slots = slots(&text, zones[round % zones.len()]);
        let from = Timestamp::from_second(1_262_304_000 + random.below(16 * 365 * 86_400) as i64).unwrap();
        let mut last = from;
        for slot in slots.between(from, Timestamp::MAX).take(40) {
            assert!(slot > last, "{text} in {:?}: {slot} after {last}", slots.zone);
            // From anywhere between, the same slot comes next.
            let between = last.as_second() + random.below((slot.as_second() - last.as_second()) as u64) as i64;
            assert_eq!(slots.next(Timestamp::from_second(between).unwrap()), Some(slot), "{text} in {:?}", slots.zone);
            last = slot;
        }
    }
}
