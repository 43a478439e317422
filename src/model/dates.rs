//! Dates of a request: words like `yesterday` become a day once, from the cause's time, in the calendar's zone.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// The first and the last year that a target date may lie in: outside it is a slip, not a request.
const PLAUSIBLE_YEARS: std::ops::RangeInclusive<i16> = 1946..=2100;

/// When days begin: `design/semantics.md` §1.
#[derive(Debug, Clone)]
pub struct DayRule {
    pub zone: TimeZone,
    /// Minutes after midnight, civil time, at which the next day begins.
    pub starts_at_minutes: u32,
}

impl DayRule {
    /// The calendar's day at an instant. Computed in civil time, so that it is right on clock-change days too.
    pub fn day_of(&self, at: Timestamp) -> Date {
        let civil = self.zone.to_datetime(at);
        let minutes = civil.hour() as u32 * 60 + civil.minute() as u32;
        if minutes < self.starts_at_minutes { civil.date().yesterday().unwrap_or(civil.date()) } else { civil.date() }
    }

    /// A date word or an ISO date. `Err` says what is wrong with the text.
    pub fn resolve(&self, text: &str, cause_time: Timestamp) -> Result<Date, String> {
        let today = self.day_of(cause_time);
        let shifted = |days: i64| {
            today.checked_add(Span::new().days(days)).map_err(|_| format!("`{text}` lies outside the calendar"))
        };
        let date = match text {
            "today" => today,
            "yesterday" => shifted(-1)?,
            "tomorrow" => shifted(1)?,
            _ => match text.strip_prefix("today") {
                Some(shift) => shifted(shift_of(shift).ok_or_else(|| bad(text))?)?,
                None => iso_date(text)?,
            },
        };
        if PLAUSIBLE_YEARS.contains(&date.year()) {
            Ok(date)
        } else {
            Err(format!("`{text}` is not plausible: the year must lie in {PLAUSIBLE_YEARS:?}"))
        }
    }
}

/// `+3d` or `-7d`.
fn shift_of(text: &str) -> Option<i64> {
    let days = text.strip_suffix('d')?;
    let (sign, digits) = match days.as_bytes().first()? {
        b'+' => (1, &days[1..]),
        b'-' => (-1, &days[1..]),
        _ => return None,
    };
    if digits.is_empty() || digits.len() > 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(sign * digits.parse::<i64>().ok()?)
}

/// Exactly `YYYY-MM-DD`, a day that exists.
fn iso_date(text: &str) -> Result<Date, String> {
    let bytes = text.as_bytes();
    let form = bytes.len() == 10
        && bytes.iter().enumerate().all(|(i, b)| if i == 4 || i == 7 { *b == b'-' } else { b.is_ascii_digit() });
    if !form {
        return Err(bad(text));
    }
    text.parse().map_err(|_| format!("`{text}` is no day of the calendar"))
}

fn bad(text: &str) -> String {
    format!("`{text}` is no date: write YYYY-MM-DD, today, yesterday, tomorrow or today-7d")
}

/// A day of the proleptic Gregorian calendar; algorithm `civil_from_days` of Howard Hinnant's "chrono-Compatible Low-Level Date
/// Algorithms".
pub fn civil(days: i32) -> (i64, u32, u32) {
    let z = i64::from(days) + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = (doy - (153 * mp + 2) / 5 + 1) as u32;
    let month = if mp < 10 { mp + 3 } else { mp - 9 } as u32;
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

/// Days since 1970-01-01 of a date.
pub fn days(date: Date) -> i32 {
    let (y, m, d) = (i64::from(date.year()), i64::from(date.month()), i64::from(date.day()));
    let y = if m <= 2 { y - 1 } else { y };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * (m + if m > 2 { -3 } else { 9 }) + 2) / 5 + d - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    (era * 146_097 + doe - 719_468) as i32
}

/// `YYYY-MM-DD` of a day number. Documents and SQL write dates alike; their times differ (`T` or a blank, and how many digits a
/// fraction has), so each keeps those.
pub fn date_text(days: i32) -> String {
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `HH:MM:SS` of the seconds since midnight.
pub fn clock_text(seconds: i64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> DayRule {
        DayRule { zone: TimeZone::get("America/New_York").unwrap(), starts_at_minutes: 240 }
    }

    fn resolve(text: &str, at: &str) -> Result<String, String> {
        rule().resolve(text, at.parse().unwrap()).map(|d| d.to_string())
    }

    #[test]
    fn a_game_after_midnight_belongs_to_the_evening_before() {
        // 03:59 Eastern is still the day before, 04:00 is not; UTC would have moved on at 19:00 Eastern.
        assert_eq!(resolve("today", "2025-12-13T08:59:59Z").unwrap(), "2025-12-12");
        assert_eq!(resolve("today", "2025-12-13T09:00:00Z").unwrap(), "2025-12-13");
        assert_eq!(resolve("today", "2025-12-13T00:30:00Z").unwrap(), "2025-12-12");
    }

    #[test]
    fn clock_change_days_are_days() {
        assert_eq!(resolve("yesterday", "2025-03-09T07:30:00Z").unwrap(), "2025-03-07"); // 03:30 EDT, before 04:00
        assert_eq!(resolve("yesterday", "2025-11-02T09:30:00Z").unwrap(), "2025-11-01"); // 04:30 EST
    }

    #[test]
    fn words_and_shifts() {
        assert_eq!(resolve("today-7d", "2025-12-12T18:00:00Z").unwrap(), "2025-12-05");
        assert_eq!(resolve("tomorrow", "2025-12-31T18:00:00Z").unwrap(), "2026-01-01");
        assert_eq!(resolve("today+1d", "2025-12-12T18:00:00Z").unwrap(), "2025-12-13");
    }

    #[test]
    fn everything_else_is_refused_with_a_reason() {
        for text in [
            "",
            "now",
            "2025-13-01",
            "2025-02-29",
            "25-12-12",
            "2025-12-12T00:00",
            "today-",
            "today-xd",
            "9999-01-01",
            "0001-01-01",
            "２０２５-12-12",
        ] {
            assert!(resolve(text, "2025-12-12T18:00:00Z").is_err(), "{text}");
        }
    }
}
