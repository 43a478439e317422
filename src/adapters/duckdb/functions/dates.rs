//! Dates and times by parts.

use super::{Outcome, date, int, micros, strict, text};
use crate::adapters::duckdb::scalar::{Arg, Out, Phys, ScalarFunction};
use crate::sql::values::{self, DAY, checked_day, checked_micros, civil_of, days_of};

pub static FUNCTIONS: &[ScalarFunction] = &[
    strict("gs_date_add", &[Phys::Date, Phys::I64, Phys::Str], Phys::Date, |a| {
        let moved = add_days(i64::from(date(a, 0)), int(a, 1), text(a, 2)).and_then(checked_day);
        moved.map(Out::Date).ok_or_else(|| "the DATE is out of range".into())
    }),
    strict("gs_dt_add", &[Phys::DateTime, Phys::I64, Phys::Str], Phys::DateTime, add_micros),
    strict("gs_ts_add", &[Phys::Timestamp, Phys::I64, Phys::Str], Phys::Timestamp, add_micros),
    strict("gs_time_add", &[Phys::Time, Phys::I64, Phys::Str], Phys::Time, |a| {
        let by = i128::from(int(a, 1)) * i128::from(size(text(a, 2)).unwrap_or(0));
        Ok(Out::Micros(((i128::from(micros(a, 0)) + by).rem_euclid(i128::from(DAY))) as i64))
    }),
    strict("gs_date_diff", &[Phys::Date, Phys::Date, Phys::Str], Phys::I64, |a| {
        diff(i64::from(date(a, 0)) * DAY, i64::from(date(a, 1)) * DAY, text(a, 2), false)
    }),
    strict("gs_dt_diff", &[Phys::DateTime, Phys::DateTime, Phys::Str], Phys::I64, |a| {
        diff(micros(a, 0), micros(a, 1), text(a, 2), false)
    }),
    strict("gs_ts_diff", &[Phys::Timestamp, Phys::Timestamp, Phys::Str], Phys::I64, |a| {
        diff(micros(a, 0), micros(a, 1), text(a, 2), true)
    }),
    strict("gs_time_diff", &[Phys::Time, Phys::Time, Phys::Str], Phys::I64, |a| {
        diff(micros(a, 0), micros(a, 1), text(a, 2), false)
    }),
    strict("gs_date_trunc", &[Phys::Date, Phys::Str], Phys::Date, |a| {
        let day = trunc_day(date(a, 0), text(a, 1)).and_then(checked_day);
        day.map(Out::Date).ok_or_else(|| "the DATE is out of range".into())
    }),
    strict("gs_dt_trunc", &[Phys::DateTime, Phys::Str], Phys::DateTime, |a| {
        trunc(micros(a, 0), text(a, 1)).map(Out::Micros).ok_or_else(|| "the DATETIME is out of range".into())
    }),
    strict("gs_time_trunc", &[Phys::Time, Phys::Str], Phys::Time, |a| {
        Ok(Out::Micros(micros(a, 0) - micros(a, 0).rem_euclid(size(text(a, 1)).unwrap_or(1))))
    }),
    strict("gs_ts_trunc", &[Phys::Timestamp, Phys::Str, Phys::Str], Phys::Timestamp, |a| {
        let ts = micros(a, 0);
        // Up to the minute a zone does not matter.
        if let "MICROSECOND" | "MILLISECOND" | "SECOND" | "MINUTE" = text(a, 1) {
            return Ok(Out::Micros(ts - ts.rem_euclid(size(text(a, 1)).unwrap_or(1))));
        }
        let tz = zone(text(a, 2))?;
        let civil = values::to_civil(ts, &tz).and_then(|c| trunc(c, text(a, 1)).map(|t| (c, t)));
        let (civil, start) = civil.ok_or("the TIMESTAMP is out of range")?;
        if text(a, 1) == "HOUR" {
            return Ok(Out::Micros(ts - (civil - start)));
        }
        values::to_utc(start, &tz).map(Out::Micros).ok_or_else(|| "the TIMESTAMP is out of range".into())
    }),
    strict("gs_extract", &[Phys::DateTime, Phys::Str], Phys::I64, |a| extract(micros(a, 0), text(a, 1))),
    strict("gs_last_day", &[Phys::Date, Phys::Str], Phys::Date, |a| {
        let part = text(a, 1);
        let start = trunc_day(date(a, 0), part).and_then(checked_day).ok_or("the DATE is out of range")?;
        let next = match part {
            p if p.starts_with("WEEK") || p == "ISOWEEK" => Some(i64::from(start) + 7),
            "MONTH" | "QUARTER" | "YEAR" => {
                // The day after 9999-12-31 is no DATE: the last month's own last day is taken.
                let (year, month, _) = values::civil_of(start);
                let last = match part {
                    "MONTH" => month,
                    "QUARTER" => month + 2,
                    _ => 12,
                };
                if last == 12 { days_of(year, 12, 31) } else { days_of(year, last + 1, 1).map(|d| d - 1) }
                    .map(|d| i64::from(d) + 1)
            }
            "ISOYEAR" => iso_year_start(iso_year(start) + 1),
            _ => return Err("this part has no last day".into()),
        };
        next.and_then(|n| checked_day(n - 1)).map(Out::Date).ok_or_else(|| "the DATE is out of range".into())
    }),
    strict("gs_make_date", &[Phys::I64, Phys::I64, Phys::I64], Phys::Date, |a| {
        days_of(int(a, 0), int(a, 1), int(a, 2)).map(Out::Date).ok_or_else(|| "this is no DATE".into())
    }),
    strict("gs_make_time", &[Phys::I64, Phys::I64, Phys::I64], Phys::Time, |a| {
        let (h, m, s) = (int(a, 0), int(a, 1), int(a, 2));
        let ok = (0..24).contains(&h) && (0..60).contains(&m) && (0..60).contains(&s);
        if ok { Ok(Out::Micros((h * 3600 + m * 60 + s) * 1_000_000)) } else { Err("this is no TIME".into()) }
    }),
    strict("gs_make_dt", &[Phys::Date, Phys::Time], Phys::DateTime, |a| {
        Ok(Out::Micros(i64::from(date(a, 0)) * DAY + micros(a, 1)))
    }),
    strict("gs_ts_civil", &[Phys::Timestamp, Phys::Str], Phys::DateTime, |a| {
        values::to_civil(micros(a, 0), &zone(text(a, 1))?)
            .and_then(checked_micros)
            .map(Out::Micros)
            .ok_or_else(|| "the TIMESTAMP is out of range".into())
    }),
    strict("gs_civil_ts", &[Phys::DateTime, Phys::Str], Phys::Timestamp, |a| {
        values::to_utc(micros(a, 0), &zone(text(a, 1))?)
            .and_then(checked_micros)
            .map(Out::Micros)
            .ok_or_else(|| "the DATETIME is out of range".into())
    }),
    strict("gs_ts_micros", &[Phys::I64, Phys::I64], Phys::Timestamp, |a| {
        let value = int(a, 0).checked_mul(int(a, 1)).and_then(checked_micros);
        value.map(Out::Micros).ok_or_else(|| "the TIMESTAMP is out of range".into())
    }),
    strict("gs_dt_bucket", &[Phys::DateTime, Phys::I64, Phys::DateTime], Phys::DateTime, |a| {
        let (x, width, origin) = (micros(a, 0), int(a, 1), micros(a, 2));
        checked_micros(x - (x - origin).rem_euclid(width.max(1)))
            .map(Out::Micros)
            .ok_or_else(|| "the bucket is out of range".into())
    }),
    // Buckets of months: their starts are the origin and whole steps from it.
    strict("gs_dt_bucket_months", &[Phys::DateTime, Phys::I64, Phys::DateTime], Phys::DateTime, |a| {
        let (x, n, origin) = (micros(a, 0), int(a, 1).max(1), micros(a, 2));
        let start = |k: i64| {
            let day = add_days(origin.div_euclid(DAY), k.checked_mul(n)?, "MONTH")?;
            checked_micros(day.checked_mul(DAY)? + origin.rem_euclid(DAY))
        };
        let months = |micros: i64| {
            let (year, month, _) = civil_of(micros.div_euclid(DAY) as i32);
            year * 12 + month
        };
        let mut k = (months(x) - months(origin)).div_euclid(n);
        if start(k).is_some_and(|s| s > x) {
            k -= 1;
        }
        start(k).map(Out::Micros).ok_or_else(|| "the bucket is out of range".into())
    }),
    // From, to, step and part, as microseconds; each value is made from the one before.
    strict("gs_generate_dt", &[Phys::DateTime, Phys::DateTime, Phys::I64, Phys::Str], Phys::I64List, |a| {
        let (from, to, step) = (micros(a, 0), micros(a, 1), int(a, 2));
        if step == 0 {
            return Err("the step must not be zero".into());
        }
        let mut out = Vec::new();
        let mut next = Some(from);
        while let Some(at) = next.filter(|at| if step > 0 { *at <= to } else { *at >= to }) {
            if out.len() >= 1_000_000 {
                return Err("an array of more than a million elements".into());
            }
            out.push(Some(at));
            next = moved(at, step, text(a, 3));
        }
        Ok(Out::I64List(out))
    }),
];

pub fn zone(name: &str) -> Result<jiff::tz::TimeZone, String> {
    values::zone(name).ok_or_else(|| format!("unknown time zone `{name}`"))
}

fn size(part: &str) -> Option<i64> {
    Some(match part {
        "MICROSECOND" => 1,
        "MILLISECOND" => 1000,
        "SECOND" => 1_000_000,
        "MINUTE" => 60_000_000,
        "HOUR" => 3_600_000_000,
        "DAY" => DAY,
        "WEEK" => 7 * DAY,
        _ => return None,
    })
}

/// A day number plus `n` parts; a day beyond the month's end becomes the month's last.
fn add_days(day: i64, n: i64, part: &str) -> Option<i64> {
    let months = match part {
        "DAY" => return day.checked_add(n),
        "WEEK" => return day.checked_add(n.checked_mul(7)?),
        "MONTH" => n,
        "QUARTER" => n.checked_mul(3)?,
        "YEAR" => n.checked_mul(12)?,
        _ => return None,
    };
    let (y, m, d) = civil_of(i32::try_from(day).ok()?);
    let month = (y * 12 + m - 1).checked_add(months)?;
    let (y, m) = (month.div_euclid(12), month.rem_euclid(12) + 1);
    (0..4).find_map(|less| days_of(y, m, d - less)).map(i64::from)
}

fn add_micros(a: &[Arg<'_>]) -> Outcome {
    let moved = moved(micros(a, 0), int(a, 1), text(a, 2));
    moved.map(Out::Micros).ok_or_else(|| "the result is out of range".into())
}

/// `n` parts later.
fn moved(x: i64, n: i64, part: &str) -> Option<i64> {
    let moved = match size(part) {
        Some(size) => n.checked_mul(size).and_then(|by| x.checked_add(by)),
        None => add_days(x.div_euclid(DAY), n, part).and_then(|d| d.checked_mul(DAY)).map(|d| d + x.rem_euclid(DAY)),
    };
    moved.and_then(checked_micros)
}

/// Boundaries of `part` between two civil times (or, for instants, whole parts).
fn diff(a: i64, b: i64, part: &str, instants: bool) -> Outcome {
    if let Some(size) = size(part).filter(|_| !part.starts_with("WEEK") && (part != "DAY" || instants)) {
        let value = if instants { (a - b) / size } else { a.div_euclid(size) - b.div_euclid(size) };
        return Ok(Out::I64(value));
    }
    if instants {
        return Err(format!("{part} is no part of a TIMESTAMP's difference"));
    }
    let day = |x: i64| x.div_euclid(DAY) as i32;
    let months = |x: i64| {
        let (y, m, _) = civil_of(day(x));
        y * 12 + m - 1
    };
    let value = match part {
        "DAY" => i64::from(day(a)) - i64::from(day(b)),
        "MONTH" => months(a) - months(b),
        "QUARTER" => months(a).div_euclid(3) - months(b).div_euclid(3),
        "YEAR" => months(a).div_euclid(12) - months(b).div_euclid(12),
        "ISOYEAR" => iso_year(day(a)) - iso_year(day(b)),
        _ => {
            let first = week_start(part).ok_or_else(|| format!("unknown part {part}"))?;
            let week = |x: i64| (i64::from(day(x)) + 4 - first).div_euclid(7);
            week(a) - week(b)
        }
    };
    Ok(Out::I64(value))
}

/// Which weekday begins a week: 0 = Sunday.
fn week_start(part: &str) -> Option<i64> {
    Some(match part {
        "WEEK" | "WEEK(SUNDAY)" => 0,
        "ISOWEEK" | "WEEK(MONDAY)" => 1,
        "WEEK(TUESDAY)" => 2,
        "WEEK(WEDNESDAY)" => 3,
        "WEEK(THURSDAY)" => 4,
        "WEEK(FRIDAY)" => 5,
        "WEEK(SATURDAY)" => 6,
        _ => return None,
    })
}

/// 0 = Sunday.
fn weekday(day: i64) -> i64 {
    (day + 4).rem_euclid(7)
}

fn iso_year(day: i32) -> i64 {
    // The year of the week's Thursday.
    let monday = i64::from(day) - (weekday(i64::from(day)) + 6).rem_euclid(7);
    civil_of((monday + 3) as i32).0
}

fn iso_year_start(year: i64) -> Option<i64> {
    let fourth = i64::from(days_of(year, 1, 4)?);
    Some(fourth - (weekday(fourth) + 6).rem_euclid(7))
}

fn trunc_day(day: i32, part: &str) -> Option<i64> {
    let (y, m, _) = civil_of(day);
    Some(match part {
        "DAY" => i64::from(day),
        "MONTH" => i64::from(days_of(y, m, 1)?),
        "QUARTER" => i64::from(days_of(y, (m - 1) / 3 * 3 + 1, 1)?),
        "YEAR" => i64::from(days_of(y, 1, 1)?),
        "ISOYEAR" => iso_year_start(iso_year(day))?,
        _ => {
            let first = week_start(part)?;
            i64::from(day) - (weekday(i64::from(day)) - first).rem_euclid(7)
        }
    })
}

fn trunc(x: i64, part: &str) -> Option<i64> {
    match size(part).filter(|_| part != "WEEK") {
        Some(size) => Some(x - x.rem_euclid(size)),
        None => checked_day(trunc_day(x.div_euclid(DAY) as i32, part)?).map(|d| i64::from(d) * DAY),
    }
}

fn extract(x: i64, part: &str) -> Outcome {
    let day = x.div_euclid(DAY) as i32;
    let (y, m, d) = civil_of(day);
    let t = x.rem_euclid(DAY);
    let year_start = i64::from(days_of(y, 1, 1).unwrap_or(day));
    Ok(Out::I64(match part {
        "YEAR" => y,
        "QUARTER" => (m - 1) / 3 + 1,
        "MONTH" => m,
        "DAY" => d,
        "DAYOFWEEK" => weekday(i64::from(day)) + 1,
        "DAYOFYEAR" => i64::from(day) - year_start + 1,
        "ISOYEAR" => iso_year(day),
        "ISOWEEK" => (i64::from(day) - iso_year_start(iso_year(day)).unwrap_or(0)) / 7 + 1,
        "HOUR" => t / 3_600_000_000,
        "MINUTE" => t / 60_000_000 % 60,
        "SECOND" => t / 1_000_000 % 60,
        "MILLISECOND" => t / 1000 % 1000,
        "MICROSECOND" => t % 1_000_000,
        _ => {
            // Days before the year's first week day are in week 0.
            let first = week_start(part).ok_or_else(|| format!("unknown part {part}"))?;
            let until = (first - weekday(year_start)).rem_euclid(7);
            (i64::from(day) - year_start - until).div_euclid(7) + 1
        }
    }))
}
