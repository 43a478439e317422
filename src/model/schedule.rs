//! Unix-cron's five fields as sets: what a schedule says, without a zone and without a clock.
//!
//! Cloud Scheduler's form: exactly five fields, 0 or 7 is Sunday, names, lists, ranges, steps; no seconds, no `L # W ?`, no
//! `@daily` (`design/semantics.md` §4). Which instants that means in a zone is `service::slots`.

use jiff::civil::Date;

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    /// Bit n: minute n. The other fields alike.
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    /// Bit 0: Sunday.
    weekdays: u64,
    either_day: bool,
    interval: bool,
}

const MONTHS: &[&str] = &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// What a field may hold.
struct Field {
    what: &'static str,
    low: u32,
    high: u32,
    names: &'static [&'static str],
    /// The number of the first name.
    first: u32,
}

const fn numbers(what: &'static str, low: u32, high: u32) -> Field {
    Field { what, low, high, names: &[], first: 0 }
}

const FIELDS: [Field; 5] = [
    numbers("minute", 0, 59),
    numbers("hour", 0, 23),
    numbers("day of the month", 1, 31),
    Field { what: "month", low: 1, high: 12, names: MONTHS, first: 1 },
    Field { what: "day of the week", low: 0, high: 7, names: WEEKDAYS, first: 0 },
];

impl Schedule {
    /// Reads the five fields; `Err` says what is wrong, with the column.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim_start().starts_with('@') {
            return Err(format!("`{text}`: words are not understood by Cloud Scheduler"));
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        if fields.len() != 5 {
            return Err(format!(
                "`{text}` has {} fields instead of five (minute hour day month weekday)",
                fields.len()
            ));
        }
        let mut sets = [0_u64; 5];
        for ((written, field), set) in fields.iter().zip(&FIELDS).zip(&mut sets) {
            let column = written.as_ptr() as usize - text.as_ptr() as usize + 1;
            for part in written.split(',') {
                *set |= field
                    .part(part)
                    .map_err(|reason| format!("`{text}`, column {column}, {}: {reason}", field.what))?;
            }
        }
        let [minutes, hours, days, months, weekdays] = sets;
        // As in Vixie's cron: a field is unrestricted when it begins with `*`, also with a step behind it (`*/2`).
        let starred = |i: usize| fields[i].starts_with('*');
        Ok(Self {
            text: fields.join(" "),
            minutes,
            hours,
            days,
            months,
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            either_day: !starred(2) && !starred(4),
            interval: starred(0) || starred(1),
        })
    }

    /// As written, with single blanks.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it follows real time (minute or hour begins with `*`) instead of naming times of day.
    pub fn is_interval(&self) -> bool {
        self.interval
    }

    pub fn has_minute(&self, minute: i8) -> bool {
        has(self.minutes, minute)
    }

    pub fn has_hour(&self, hour: i8) -> bool {
        has(self.hours, hour)
    }

    pub fn has_month(&self, month: i8) -> bool {
        has(self.months, month)
    }

    /// Whether the date is one of its days. Day of the month OR day of the week when both are restricted; else both must
    /// hold, so that `0 0 */2 * MON` means Mondays that are odd days, as in Vixie's cron.
    pub fn has_date(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        self.has_month(date.month()) && if self.either_day { day || weekday } else { day && weekday }
    }

    /// Whether any day of the calendar is one of its days: `0 0 30 2 *` has none.
    pub fn is_possible(&self) -> bool {
        const LENGTHS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        // In the course of the years every day of the year falls on each day of the week.
        let fits = |month: usize| self.days & ((1 << (LENGTHS[month] + 1)) - 1) != 0;
        self.either_day || (0..12).any(|month| self.has_month(month as i8 + 1) && fits(month))
    }
}

fn has(set: u64, number: i8) -> bool {
    u32::try_from(number).is_ok_and(|n| set >> n & 1 == 1)
}

impl Field {
    /// One part of a list: `*`, `5`, `1-5`, each also with a step; `5/10` goes from 5 to the end.
    fn part(&self, part: &str) -> Result<u64, String> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        let every = match step.map(str::parse::<u32>) {
            None => 1,
            Some(Ok(n)) if n > 0 && step.is_some_and(|s| s.bytes().all(|b| b.is_ascii_digit())) => n,
            Some(_) => return Err(format!("`{}` is no step", step.unwrap_or_default())),
        };
        let (from, to) = match range.split_once('-') {
            // 7 is another name of 0, not one more day.
            None if range == "*" => (self.low, if self.what == FIELDS[4].what { 6 } else { self.high }),
            None => {
                let value = self.value(range)?;
                (value, if step.is_some() { self.high } else { value })
            }
            Some((from, to)) => (self.value(from)?, self.value(to)?),
        };
        if from > to {
            return Err(format!("the range `{range}` runs backwards"));
        }
        Ok((from..=to).step_by(every as usize).fold(0, |set, n| set | 1 << n))
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        if let Some(index) = self.names.iter().position(|n| n.eq_ignore_ascii_case(text)) {
            return Ok(index as u32 + self.first);
        }
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(format!("`{text}` is not understood"));
        }
        match text.parse() {
            Ok(n) if (self.low..=self.high).contains(&n) => Ok(n),
            _ => Err(format!("{text} lies outside {} to {}", self.low, self.high)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    fn schedule(text: &str) -> Schedule {
        Schedule::parse(text).unwrap()
    }

    #[test]
    fn schedules_are_unix_cron() {
        for good in ["0 10 * * *", "0 11 * * 0", "*/5 0-6,12 1,15 JAN-MAR MON-FRI", "0 0 * * 7", "1/2 * * * *"] {
            assert!(Schedule::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "@daily",
            "0 0 10 * * *",
            "0 10 * *",
            "60 * * * *",
            "0 0 L * *",
            "0 0 ? * 1#2",
            "0 0 15W * *",
            "0 0 * * 8",
            "0 0 0 * *",
            "5-1 * * * *",
            "*/0 * * * *",
            "*/+5 * * * *",
            "*/ * * * *",
            "1,,2 * * * *",
            "-5 * * * *",
            "*-5 * * * *",
            "0 0 * * FRI-SUN",
        ] {
            assert!(Schedule::parse(bad).is_err(), "{bad}");
        }
        assert!(Schedule::parse("0 0 L * *").unwrap_err().contains("column 5"));
    }

    #[test]
    fn seven_is_sunday_alone_and_in_ranges() {
        let sunday = date(2025, 12, 14);
        for text in ["0 0 * * 0", "0 0 * * 7", "0 0 * * sun", "0 0 * * 5-7"] {
            assert!(schedule(text).has_date(sunday), "{text}");
        }
        assert_eq!(schedule("0 0 * * 0").weekdays, schedule("0 0 * * 7").weekdays);
        // `*/7` is Sunday alone, as 0 is its only multiple of the week.
        assert_eq!(schedule("0 0 * * */7").weekdays, 1);
    }

    #[test]
    fn two_restricted_day_fields_are_alternatives() {
        let both = schedule("0 0 13 * FRI");
        assert!(both.has_date(date(2025, 12, 12)) && both.has_date(date(2025, 12, 13)));
        assert!(!both.has_date(date(2025, 12, 14)));
        // A field that begins with `*` is unrestricted: both have to hold.
        let odd_mondays = schedule("0 0 */2 * MON");
        assert!(odd_mondays.has_date(date(2025, 12, 1)) && !odd_mondays.has_date(date(2025, 12, 8)));
        assert!(!odd_mondays.has_date(date(2025, 12, 3)));
    }

    #[test]
    fn impossible_days_are_known() {
        for never in ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 30-31 2 */2"] {
            assert!(!schedule(never).is_possible(), "{never}");
        }
        for possible in ["0 0 29 2 *", "0 0 30 2 MON", "0 0 31 * *", "0 0 31 2-3 *", "* * * * *"] {
            assert!(schedule(possible).is_possible(), "{possible}");
        }
    }
}
