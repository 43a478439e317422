//! GoogleSQL's texts of values: how numbers, dates and times are read and written. Used for literals and, at run time, by
//! the engine's functions.

pub use crate::model::dates::{date_text, days};

use crate::model::dates::clock_text;
use jiff::civil;
use jiff::tz::TimeZone;

pub const DAY: i64 = 86_400_000_000;
/// 10^9: one unit of NUMERIC.
pub const NUMERIC_ONE: i128 = 1_000_000_000;
/// The largest NUMERIC.
pub const NUMERIC_MAX: i128 = 10i128.pow(38) - 1;
const MIN_DAY: i64 = -719_162;
const MAX_DAY: i64 = 2_932_896;

/// Days since 1970-01-01 of a civil date.
pub fn days_of(year: i64, month: i64, day: i64) -> Option<i32> {
    let date = civil::Date::new(year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?).ok()?;
    if date.year() < 1 {
        return None;
    }
    Some(days(date))
}

/// Year, month, day of a day number.
pub fn civil_of(days: i32) -> (i64, i64, i64) {
    let (year, month, day) = crate::model::dates::civil(days);
    (year, i64::from(month), i64::from(day))
}

/// A day number within 0001-01-01 … 9999-12-31.
pub fn checked_day(day: i64) -> Option<i32> {
    (MIN_DAY..=MAX_DAY).contains(&day).then_some(day as i32)
}

/// Microseconds within the years 1 … 9999.
pub fn checked_micros(micros: i64) -> Option<i64> {
    checked_day(micros.div_euclid(DAY)).map(|_| micros)
}

pub fn jiff_datetime(micros: i64) -> Option<civil::DateTime> {
    let (y, m, d) = civil_of(i32::try_from(micros.div_euclid(DAY)).ok()?);
    let t = micros.rem_euclid(DAY);
    let s = t / 1_000_000;
    civil::DateTime::new(
        y.try_into().ok()?,
        m as i8,
        d as i8,
        (s / 3600) as i8,
        (s / 60 % 60) as i8,
        (s % 60) as i8,
        (t % 1_000_000 * 1000) as i32,
    )
    .ok()
}

pub fn micros_of(dt: civil::DateTime) -> i64 {
    let t = dt.time();
    i64::from(days(dt.date())) * DAY
        + (i64::from(t.hour()) * 3600 + i64::from(t.minute()) * 60 + i64::from(t.second())) * 1_000_000
        + i64::from(t.subsec_nanosecond()) / 1000
}

/// A time zone by GoogleSQL's names: `America/New_York`, `UTC`, `+05:30`.
pub fn zone(name: &str) -> Option<TimeZone> {
    if name.eq_ignore_ascii_case("UTC") || name == "Z" {
        return Some(TimeZone::UTC);
    }
    let name = name.strip_prefix("UTC").filter(|rest| rest.starts_with(['+', '-'])).unwrap_or(name);
    if let Some(seconds) = offset_seconds(name) {
        return jiff::tz::Offset::from_seconds(seconds).ok().map(jiff::tz::Offset::to_time_zone);
    }
    // Only names of the database: `Etc/UTC`, no POSIX rules.
    TimeZone::get(name).ok()
}

/// Seconds of `+5`, `-07:30`, `+0530`.
fn offset_seconds(text: &str) -> Option<i32> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let rest = &text[1..];
    let (hours, minutes) = match rest.split_once(':') {
        Some((h, m)) if m.len() == 2 => (h, m),
        Some(_) => return None,
        None if rest.len() == 4 => (&rest[..2], &rest[2..]),
        None => (rest, "0"),
    };
    if hours.is_empty() || hours.len() > 2 || !hours.bytes().chain(minutes.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (h, m): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    (h <= 14 && m <= 59 && h * 60 + m <= 14 * 60).then_some(sign * (h * 3600 + m * 60))
}

/// UTC microseconds of a civil time in a zone; a skipped time moves forward, of a repeated one the first is taken.
pub fn to_utc(micros: i64, tz: &TimeZone) -> Option<i64> {
    if *tz == TimeZone::UTC {
        return Some(micros);
    }
    let stamp = tz.to_ambiguous_timestamp(jiff_datetime(micros)?).compatible().ok()?;
    Some(stamp.as_microsecond())
}

/// Civil microseconds in a zone.
pub fn to_civil(micros: i64, tz: &TimeZone) -> Option<i64> {
    if *tz == TimeZone::UTC {
        return Some(micros);
    }
    let stamp = jiff::Timestamp::from_microsecond(micros).ok()?;
    Some(micros + i64::from(tz.to_offset(stamp).seconds()) * 1_000_000)
}

/// Reads digits: at least `min`, at most `max`.
fn digits(text: &mut &str, min: usize, max: usize) -> Option<i64> {
    let len = text.bytes().take(max).take_while(u8::is_ascii_digit).count();
    if len < min {
        return None;
    }
    let value = text[..len].parse().ok()?;
    *text = &text[len..];
    Some(value)
}

fn eat(text: &mut &str, c: char) -> Option<()> {
    *text = text.strip_prefix(c)?;
    Some(())
}

fn date_part(text: &mut &str) -> Option<i64> {
    let year = digits(text, 4, 5)?;
    eat(text, '-')?;
    let month = digits(text, 1, 2)?;
    eat(text, '-')?;
    let day = digits(text, 1, 2)?;
    days_of(year, month, day).map(i64::from)
}

/// `H:M:S[.F]`, in microseconds; more than six digits of a fraction are an error.
fn time_part(text: &mut &str) -> Option<i64> {
    let hour = digits(text, 1, 2)?;
    eat(text, ':')?;
    let minute = digits(text, 1, 2)?;
    eat(text, ':')?;
    let second = digits(text, 1, 2)?;
    let mut micros = 0;
    if eat(text, '.').is_some() {
        let before = text.len();
        let value = digits(text, 0, 6).unwrap_or(0);
        let len = before - text.len();
        micros = if len == 0 { 0 } else { value * 10i64.pow(6 - len as u32) };
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
    }
    // A leap second is the next minute's first, without its fraction.
    let micros = if second == 60 { 0 } else { micros };
    (hour < 24 && minute < 60 && second <= 60).then_some((hour * 3600 + minute * 60 + second) * 1_000_000 + micros)
}

pub fn parse_date(text: &str) -> Option<i32> {
    let mut rest = text.trim();
    let day = date_part(&mut rest)?;
    rest.is_empty().then_some(day as i32)
}

pub fn parse_time(text: &str) -> Option<i64> {
    let mut rest = text.trim();
    let micros = time_part(&mut rest)?;
    rest.is_empty().then_some(micros.rem_euclid(DAY))
}

/// `Y-M-D[( |T)H:M:S[.F]]`.
pub fn parse_datetime(text: &str) -> Option<i64> {
    let mut rest = text.trim();
    let micros = datetime_part(&mut rest)?;
    rest.is_empty().then_some(micros)
}

fn datetime_part(rest: &mut &str) -> Option<i64> {
    let day = date_part(rest)?;
    let mut after = *rest;
    let separated = eat(&mut after, ' ').or_else(|| eat(&mut after, 'T')).or_else(|| eat(&mut after, 't'));
    if separated.is_some() && after.starts_with(|c: char| c.is_ascii_digit()) {
        *rest = after;
        return checked_micros(day * DAY + time_part(rest)?);
    }
    Some(day * DAY)
}

/// A TIMESTAMP; without a zone in the text it is in `default`.
pub fn parse_timestamp(text: &str, default: &str) -> Option<i64> {
    let mut rest = text.trim();
    let civil = datetime_part(&mut rest)?;
    let spaced = rest.starts_with(' ');
    let name = rest.trim_start();
    let tz = if name.is_empty() {
        zone(default)?
    } else if name == "Z" || name == "z" {
        TimeZone::UTC
    } else if name.starts_with(['+', '-']) || spaced {
        zone(name)?
    } else {
        return None;
    };
    checked_micros(to_utc(civil, &tz)?)
}

/// ` .5` in groups of three digits, as GoogleSQL prints fractions.
fn fraction(micros: i64) -> String {
    match micros {
        0 => String::new(),
        m if m % 1000 == 0 => format!(".{:03}", m / 1000),
        m => format!(".{m:06}"),
    }
}

pub fn time_text(micros: i64) -> String {
    clock_text(micros / 1_000_000) + &fraction(micros % 1_000_000)
}

pub fn datetime_text(micros: i64) -> String {
    format!("{} {}", date_text(micros.div_euclid(DAY) as i32), time_text(micros.rem_euclid(DAY)))
}

/// `2020-01-31 01:02:03+00`.
pub fn timestamp_text(micros: i64, tz: &TimeZone) -> Option<String> {
    let civil = to_civil(micros, tz)?;
    let offset = (civil - micros) / 1_000_000;
    let sign = if offset < 0 { '-' } else { '+' };
    let minutes = offset.abs() / 60;
    let mut text = format!("{}{sign}{:02}", datetime_text(civil), minutes / 60);
    if minutes % 60 != 0 {
        text.push_str(&format!(":{:02}", minutes % 60));
    }
    Some(text)
}

/// INT64 of a text: decimal or `0x…`, blanks around allowed.
pub fn parse_int(text: &str) -> Option<i64> {
    let text = text.trim();
    let (negative, body) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let value = match body.strip_prefix("0x").or_else(|| body.strip_prefix("0X")) {
        Some(hex) if hex.bytes().all(|b| b.is_ascii_hexdigit()) => i128::from_str_radix(hex, 16).ok()?,
        Some(_) => return None,
        None if !body.is_empty() && body.bytes().all(|b| b.is_ascii_digit()) => body.parse::<i128>().ok()?,
        None => return None,
    };
    i64::try_from(if negative { -value } else { value }).ok()
}

/// FLOAT64 of a text.
pub fn parse_float(text: &str) -> Option<f64> {
    let text = text.trim();
    let lower = text.to_ascii_lowercase();
    let body = lower.trim_start_matches(['+', '-']);
    if lower.len() - body.len() > 1 {
        return None;
    }
    match body {
        "nan" => return Some(f64::NAN),
        "inf" | "infinity" => return Some(if lower.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY }),
        _ => {}
    }
    if !body.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'+' | b'-')) {
        return None;
    }
    let value: f64 = lower.parse().ok()?;
    value.is_finite().then_some(value)
}

/// A decimal number's text in its parts: digits alone in `int` and `frac`, and at least one of them.
pub struct DecimalText<'a> {
    pub negative: bool,
    pub int: &'a str,
    pub frac: &'a str,
    pub exponent: i64,
}

impl<'a> DecimalText<'a> {
    pub fn of(text: &'a str) -> Option<Self> {
        let text = text.trim();
        let negative = text.starts_with('-');
        let body = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (mantissa, exponent) = match body.split_once(['e', 'E']) {
            Some((m, e)) => {
                let digits = e.strip_prefix(['+', '-']).unwrap_or(e);
                if digits.is_empty() || digits.len() > 5 || !digits.bytes().all(|b| b.is_ascii_digit()) {
                    return None;
                }
                (m, e.strip_prefix('+').unwrap_or(e).parse::<i64>().ok()?)
            }
            None => (body, 0),
        };
        let (int, frac) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if int.is_empty() && frac.is_empty() || !int.bytes().chain(frac.bytes()).all(|b| b.is_ascii_digit()) {
            return None;
        }
        Some(Self { negative, int, frac, exponent })
    }
}

/// NUMERIC of a text, in billionths; digits beyond nine are rounded half away from zero.
pub fn parse_numeric(text: &str) -> Option<i128> {
    let DecimalText { negative, int, frac, exponent } = DecimalText::of(text)?;
    let all: Vec<u8> = int.bytes().chain(frac.bytes()).collect();
    // The value is all × 10^(exponent - frac.len()); wanted in units of 10^-9.
    let shift = exponent - frac.len() as i64 + 9;
    let keep = all.len() as i64 + shift.min(0);
    let mut value: i128 = 0;
    for (i, digit) in all.iter().enumerate() {
        if (i as i64) < keep {
            value = value.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
        }
    }
    if shift > 0 {
        for _ in 0..shift {
            if value == 0 {
                break;
            }
            value = value.checked_mul(10)?;
        }
    } else if keep >= 0 && (keep as usize) < all.len() && all[keep as usize] >= b'5' {
        value += 1;
    }
    (value <= NUMERIC_MAX).then_some(if negative { -value } else { value })
}

/// The text of a NUMERIC.
pub fn numeric_text(value: i128) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let abs = value.unsigned_abs();
    let (int, frac) = (abs / NUMERIC_ONE as u128, abs % NUMERIC_ONE as u128);
    if frac == 0 {
        return format!("{sign}{int}");
    }
    let text = format!("{sign}{int}.{frac:09}");
    text.trim_end_matches('0').to_owned()
}

/// The text of a FLOAT64: the shortest that reads back.
pub fn float_text(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf".into() } else { "-inf".into() };
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0.0".into() } else { "0.0".into() };
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // As C's %.*g with 15 digits, or 17 where 15 do not read back.
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    let precision = if digits > 15 { 17 } else { 15 };
    if exponent < -4 || exponent >= precision {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{value}");
    if plain.contains('.') { plain } else { format!("{plain}.0") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_and_written() {
        assert_eq!(parse_numeric("1.5"), Some(1_500_000_000));
        assert_eq!(parse_numeric("-0.0000000005"), Some(-1));
        assert_eq!(parse_numeric("1e28"), Some(10i128.pow(37)));
        assert_eq!(parse_numeric("1e29"), None);
        assert_eq!(parse_numeric("12e-10"), Some(1));
        assert_eq!(numeric_text(-1_500_000_000), "-1.5");
        assert_eq!(float_text(1.0), "1.0");
        assert_eq!(float_text(1e20), "1e+20");
        assert_eq!(float_text(0.1), "0.1");
        assert_eq!(parse_int(" 0x1F "), Some(31));
    }

    #[test]
    fn dates_are_read_and_written() {
        assert_eq!(parse_date("1970-01-02"), Some(1));
        assert_eq!(parse_date("2025-02-29"), None);
        assert_eq!(date_text(parse_date("0001-01-01").unwrap()), "0001-01-01");
        assert_eq!(parse_timestamp("2020-01-01 00:00:00+01", "UTC"), parse_timestamp("2019-12-31T23:00:00Z", "UTC"));
        assert_eq!(datetime_text(parse_datetime("2020-01-31 1:2:3.5").unwrap()), "2020-01-31 01:02:03.500");
    }
}
