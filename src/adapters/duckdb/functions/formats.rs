//! FORMAT_DATE and its kin, PARSE_DATE and its kin, FORMAT's parts.

use super::dates::zone;
use super::{Outcome, float, lenient, micros, strict, text};
use crate::adapters::duckdb::scalar::{Arg, Out, Phys, ScalarFunction};
use crate::sql::values::{self, DAY, civil_of, days_of};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

pub static FUNCTIONS: &[ScalarFunction] = &[
    strict("gs_format_dt", &[Phys::Str, Phys::DateTime, Phys::Str, Phys::Str], Phys::Str, |a| {
        format(text(a, 0), micros(a, 1), text(a, 2), None).map(Out::Str)
    }),
    strict("gs_format_ts", &[Phys::Str, Phys::Timestamp, Phys::Str], Phys::Str, |a| {
        let ts = micros(a, 1);
        let civil = values::to_civil(ts, &zone(text(a, 2))?).ok_or("the TIMESTAMP is out of range")?;
        format(text(a, 0), civil, "TIMESTAMP", Some((ts, text(a, 2)))).map(Out::Str)
    }),
    strict("gs_parse_dt", &[Phys::Str, Phys::Str, Phys::Str], Phys::DateTime, |a| {
        let (civil, offset) = parse(text(a, 0), text(a, 1), text(a, 2))?;
        if offset.is_some() {
            return Err("a zone has no place here".into());
        }
        Ok(Out::Micros(civil))
    }),
    strict("gs_parse_ts", &[Phys::Str, Phys::Str, Phys::Str], Phys::Timestamp, |a| {
        let (civil, offset) = parse(text(a, 0), text(a, 1), "TIMESTAMP")?;
        let utc = match offset {
            Some(seconds) => Some(civil - seconds * 1_000_000),
            None => values::to_utc(civil, &zone(text(a, 2))?),
        };
        utc.and_then(values::checked_micros).map(Out::Micros).ok_or_else(|| "the TIMESTAMP is out of range".into())
    }),
    strict("gs_cast_dt_format", &[Phys::DateTime, Phys::Str, Phys::Str, Phys::Str], Phys::Str, |a| {
        cast_format(micros(a, 0), text(a, 1), text(a, 2)).map(Out::Str)
    }),
    lenient("gs_format_int", &[Phys::I64, Phys::Str], Phys::Str, |a| match a.first() {
        Some(Arg::I64(v)) => number(&v.unsigned_abs().to_string(), *v < 0, text(a, 1), None),
        _ => Ok(Out::Null),
    }),
    strict("gs_format_float", &[Phys::F64, Phys::Str], Phys::Str, |a| {
        let v = float(a, 0);
        if !v.is_finite() {
            return Err("FORMAT of a FLOAT64 that is not finite is not supported".into());
        }
        let flags = text(a, 1);
        let (flags, precision) = flags.split_once('.').unwrap_or((flags, "6"));
        let precision: usize =
            if precision.is_empty() { 0 } else { precision.parse().map_err(|_| "bad FORMAT".to_owned())? };
        if precision > 60 {
            return Err("bad FORMAT".into());
        }
        number(&format!("{:.precision$}", v.abs()), v.is_sign_negative(), flags, Some(()))
    }),
    strict("gs_format_text", &[Phys::Str, Phys::Str], Phys::Str, |a| {
        let (s, flags) = (text(a, 0), text(a, 1));
        let (width, precision) = flags.split_once('.').map_or((flags, None), |(w, p)| (w, Some(p)));
        let s: String = match precision {
            Some(p) => s.chars().take(p.parse().unwrap_or(0)).collect(),
            None => s.to_owned(),
        };
        let left = width.starts_with('-');
        let width: usize = match width.trim_start_matches('-') {
            "" => 0,
            w => w.parse().map_err(|_| "bad FORMAT".to_owned())?,
        };
        let fill = " ".repeat(width.min(1 << 16).saturating_sub(s.chars().count()));
        Ok(Out::Str(if left { s + &fill } else { fill + &s }))
    }),
];

/// `%d` and `%f` with flags.
fn number(digits: &str, negative: bool, flags: &str, _float: Option<()>) -> Outcome {
    let rest = flags.trim_start_matches(['-', '+', ' ', '0', '\'', '#']);
    let set = &flags[..flags.len() - rest.len()];
    let width: usize = if rest.is_empty() { 0 } else { rest.parse().map_err(|_| "bad FORMAT".to_owned())? };
    if width > 1 << 16 || set.contains('#') {
        return Err("bad FORMAT".into());
    }
    let mut body = digits.to_owned();
    if set.contains('\'') {
        let (int, frac) = digits.split_once('.').map_or((digits, None), |(i, f)| (i, Some(f)));
        let mut grouped = String::new();
        for (i, c) in int.chars().enumerate() {
            if i > 0 && (int.len() - i).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(c);
        }
        body = frac.map_or(grouped.clone(), |f| format!("{grouped}.{f}"));
    }
    let sign = if negative {
        "-"
    } else if set.contains('+') {
        "+"
    } else if set.contains(' ') {
        " "
    } else {
        ""
    };
    let missing = width.saturating_sub(sign.len() + body.len());
    Ok(Out::Str(if set.contains('-') {
        format!("{sign}{body}{}", " ".repeat(missing))
    } else if set.contains('0') {
        format!("{sign}{}{body}", "0".repeat(missing))
    } else {
        format!("{}{sign}{body}", " ".repeat(missing))
    }))
}

/// strftime by GoogleSQL's elements; `kind` tells which of them have a meaning.
fn format(pattern: &str, civil: i64, kind: &str, stamp: Option<(i64, &str)>) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = pattern.chars();
    let (y, m, d) = civil_of(civil.div_euclid(DAY) as i32);
    let day = civil.div_euclid(DAY);
    let t = civil.rem_euclid(DAY);
    let (hour, minute, second) = (t / 3_600_000_000, t / 60_000_000 % 60, t / 1_000_000 % 60);
    let weekday = (day + 4).rem_euclid(7);
    let yday = day - i64::from(days_of(y, 1, 1).unwrap_or(0));
    let hour12 = if hour % 12 == 0 { 12 } else { hour % 12 };
    let has_date = kind != "TIME";
    let has_time = kind != "DATE";
    let part = |name: &str| match super::dates::FUNCTIONS.iter().find(|f| f.name == "gs_extract") {
        Some(f) => match (f.call)(&[Arg::Micros(civil), Arg::Str(name)]) {
            Ok(Out::I64(v)) => v,
            _ => 0,
        },
        None => 0,
    };
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let e = chars.next().ok_or("a format that ends in `%`")?;
        let dated = "AaBbhCcDdeFGgjmQUuVWwxYyEO".contains(e);
        let timed = "HIkLlMPpRrSTXc".contains(e);
        if dated && !has_date || timed && !has_time && e != 'c' {
            return Err(format!("the format element %{e} has no place in a {kind}"));
        }
        match e {
            'A' => out.push_str(DAYS[weekday as usize]),
            'a' => out.push_str(&DAYS[weekday as usize][..3]),
            'B' => out.push_str(MONTHS[m as usize - 1]),
            'b' | 'h' => out.push_str(&MONTHS[m as usize - 1][..3]),
            'C' => out.push_str(&format!("{:02}", y / 100)),
            'D' | 'x' => out.push_str(&format!("{m:02}/{d:02}/{:02}", y % 100)),
            'd' => out.push_str(&format!("{d:02}")),
            'e' => out.push_str(&format!("{d:2}")),
            'F' => out.push_str(&format!("{y}-{m:02}-{d:02}")),
            'G' => out.push_str(&part("ISOYEAR").to_string()),
            'g' => out.push_str(&format!("{:02}", part("ISOYEAR") % 100)),
            'H' => out.push_str(&format!("{hour:02}")),
            'I' => out.push_str(&format!("{hour12:02}")),
            'j' => out.push_str(&format!("{:03}", yday + 1)),
            'k' => out.push_str(&format!("{hour:2}")),
            'l' => out.push_str(&format!("{hour12:2}")),
            'M' => out.push_str(&format!("{minute:02}")),
            'm' => out.push_str(&format!("{m:02}")),
            'n' => out.push('\n'),
            'P' => out.push_str(if hour < 12 { "am" } else { "pm" }),
            'p' => out.push_str(if hour < 12 { "AM" } else { "PM" }),
            'Q' => out.push_str(&((m - 1) / 3 + 1).to_string()),
            'R' => out.push_str(&format!("{hour:02}:{minute:02}")),
            'S' => out.push_str(&format!("{second:02}")),
            'T' | 'X' => out.push_str(&format!("{hour:02}:{minute:02}:{second:02}")),
            't' => out.push('\t'),
            'U' => out.push_str(&format!("{:02}", part("WEEK"))),
            'u' => out.push_str(&(if weekday == 0 { 7 } else { weekday }).to_string()),
            'V' => out.push_str(&format!("{:02}", part("ISOWEEK"))),
            'W' => out.push_str(&format!("{:02}", part("WEEK(MONDAY)"))),
            'w' => out.push_str(&weekday.to_string()),
            'Y' => out.push_str(&y.to_string()),
            'y' => out.push_str(&format!("{:02}", y % 100)),
            '%' => out.push('%'),
            's' if stamp.is_some() => out.push_str(&stamp.map_or(0, |s| s.0.div_euclid(1_000_000)).to_string()),
            'z' if stamp.is_some() => out.push_str(&offset(civil, stamp, false)),
            'E' => {
                let next: String = chars.clone().take(2).collect();
                if next.starts_with('z') && stamp.is_some() {
                    chars.next();
                    out.push_str(&offset(civil, stamp, true));
                } else if let Some(n) = next
                    .strip_suffix('S')
                    .and_then(|n| n.parse::<usize>().ok())
                    .filter(|n| (1..=6).contains(n) && has_time)
                {
                    chars.next();
                    chars.next();
                    let micros = format!("{:06}", t % 1_000_000);
                    out.push_str(&format!("{second:02}.{}", &micros[..n]));
                } else if next == "*S" && has_time {
                    chars.next();
                    chars.next();
                    let micros = format!("{:06}", t % 1_000_000);
                    let micros = micros.trim_end_matches('0');
                    out.push_str(&format!("{second:02}"));
                    if !micros.is_empty() {
                        out.push_str(&format!(".{micros}"));
                    }
                } else if next == "4Y" {
                    chars.next();
                    chars.next();
                    out.push_str(&format!("{y:04}"));
                } else {
                    return Err("this format element is not supported".into());
                }
            }
            _ => return Err(format!("the format element %{e} is not supported")),
        }
    }
    Ok(out)
}

fn offset(civil: i64, stamp: Option<(i64, &str)>, colon: bool) -> String {
    let minutes = (civil - stamp.map_or(civil, |s| s.0)) / 60_000_000;
    let sign = if minutes < 0 { '-' } else { '+' };
    let (h, m) = (minutes.abs() / 60, minutes.abs() % 60);
    if colon { format!("{sign}{h:02}:{m:02}") } else { format!("{sign}{h:02}{m:02}") }
}

/// strptime: civil microseconds and, if the text has one, the zone's offset in seconds.
fn parse(pattern: &str, input: &str, kind: &str) -> Result<(i64, Option<i64>), String> {
    let bad = || format!("{input:?} does not match the format {pattern:?}");
    let (mut y, mut m, mut d) = (1970, 1, 1);
    let (mut hour, mut minute, mut second, mut micros) = (0, 0, 0, 0);
    let mut pm: Option<bool> = None;
    let mut offset = None;
    let expanded =
        pattern.replace("%F", "%Y-%m-%d").replace("%T", "%H:%M:%S").replace("%R", "%H:%M").replace("%D", "%m/%d/%y");
    let mut chars = expanded.chars();
    let mut rest = input.trim_start();
    fn digits(rest: &mut &str, max: usize) -> Option<i64> {
        let len = rest.bytes().take(max).take_while(u8::is_ascii_digit).count();
        let value = rest[..len].parse().ok()?;
        *rest = &rest[len..];
        Some(value)
    }
    fn name(rest: &mut &str, names: &[&str]) -> Option<i64> {
        for (i, full) in names.iter().enumerate() {
            for form in [*full, &full[..3]] {
                if rest.get(..form.len()).is_some_and(|r| r.eq_ignore_ascii_case(form)) {
                    *rest = &rest[form.len()..];
                    return Some(i as i64);
                }
            }
        }
        None
    }
    while let Some(c) = chars.next() {
        if c.is_whitespace() {
            rest = rest.trim_start();
            continue;
        }
        if c != '%' {
            rest = rest.strip_prefix(c).ok_or_else(bad)?;
            continue;
        }
        let e = chars.next().ok_or_else(bad)?;
        if "YmdBbheyj".contains(e) && kind == "TIME" || "HIMSpP".contains(e) && kind == "DATE" {
            return Err(format!("the format element %{e} has no place in a {kind}"));
        }
        match e {
            'Y' => y = digits(&mut rest, 4).ok_or_else(bad)?,
            'm' => m = digits(&mut rest, 2).ok_or_else(bad)?,
            'd' | 'e' => {
                rest = rest.trim_start();
                d = digits(&mut rest, 2).ok_or_else(bad)?;
            }
            'y' => {
                let short = digits(&mut rest, 2).ok_or_else(bad)?;
                y = if short >= 69 { 1900 + short } else { 2000 + short };
            }
            'B' | 'b' | 'h' => m = name(&mut rest, &MONTHS).ok_or_else(bad)? + 1,
            'A' | 'a' => {
                name(&mut rest, &DAYS).ok_or_else(bad)?;
            }
            'H' => hour = digits(&mut rest, 2).ok_or_else(bad)?,
            'I' => {
                hour = digits(&mut rest, 2).ok_or_else(bad)?;
                if !(1..=12).contains(&hour) {
                    return Err(bad());
                }
                pm = pm.or(Some(false));
            }
            'p' | 'P' => {
                let word = rest.get(..2).ok_or_else(bad)?;
                pm = Some(if word.eq_ignore_ascii_case("PM") {
                    true
                } else if word.eq_ignore_ascii_case("AM") {
                    false
                } else {
                    return Err(bad());
                });
                rest = &rest[2..];
            }
            'M' => minute = digits(&mut rest, 2).ok_or_else(bad)?,
            'S' => second = digits(&mut rest, 2).ok_or_else(bad)?,
            'E' => {
                let next: String = chars.clone().take(2).collect();
                if kind == "DATE" || !next.ends_with('S') {
                    return Err("this format element is not supported".into());
                }
                chars.next();
                chars.next();
                second = digits(&mut rest, 2).ok_or_else(bad)?;
                if let Some(after) = rest.strip_prefix('.') {
                    let len = after.bytes().take_while(u8::is_ascii_digit).count();
                    if len > 6 {
                        return Err("this many digits of a second are not supported".into());
                    }
                    let value: i64 = if len == 0 { 0 } else { after[..len].parse().map_err(|_| bad())? };
                    micros = value * 10i64.pow(6 - len as u32);
                    rest = &after[len..];
                }
            }
            'z' if kind == "TIMESTAMP" => {
                let sign = match rest.chars().next() {
                    Some('+') => 1,
                    Some('-') => -1,
                    _ => return Err(bad()),
                };
                rest = &rest[1..];
                let h = digits(&mut rest, 2).ok_or_else(bad)?;
                rest = rest.strip_prefix(':').unwrap_or(rest);
                let minutes = digits(&mut rest, 2).unwrap_or(0);
                offset = Some(sign * (h * 3600 + minutes * 60));
            }
            '%' => rest = rest.strip_prefix('%').ok_or_else(bad)?,
            _ => return Err(format!("the format element %{e} is not supported")),
        }
    }
    if !rest.trim_end().is_empty() {
        return Err(bad());
    }
    if let Some(pm) = pm {
        hour = hour % 12 + if pm { 12 } else { 0 };
    }
    if hour > 23 || minute > 59 || second > 59 {
        return Err(bad());
    }
    let day = days_of(y, m, d).ok_or_else(bad)?;
    Ok((i64::from(day) * DAY + (hour * 3600 + minute * 60 + second) * 1_000_000 + micros, offset))
}

/// CAST(… AS STRING FORMAT '…').
fn cast_format(civil: i64, pattern: &str, kind: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = pattern;
    let (y, m, d) = civil_of(civil.div_euclid(DAY) as i32);
    let t = civil.rem_euclid(DAY);
    let weekday = (civil.div_euclid(DAY) + 4).rem_euclid(7) as usize;
    let (hour, minute, second) = (t / 3_600_000_000, t / 60_000_000 % 60, t / 1_000_000 % 60);
    let cased = |word: &str, element: &str| {
        let mut letters = element.chars().filter(|c| c.is_alphabetic());
        let (first, next) =
            (letters.next().is_some_and(char::is_uppercase), letters.next().is_some_and(char::is_uppercase));
        match (first, next) {
            (true, true) => word.to_uppercase(),
            (true, false) => word.to_owned(),
            _ => word.to_lowercase(),
        }
    };
    const ELEMENTS: &[&str] = &[
        "YYYY", "YYY", "YY", "Y", "MONTH", "MON", "MM", "DDD", "DD", "DAY", "DY", "D", "HH24", "HH12", "HH", "MI",
        "SSSSS", "SS", "FF1", "FF2", "FF3", "FF4", "FF5", "FF6", "A.M.", "P.M.", "AM", "PM",
    ];
    while !rest.is_empty() {
        let first = rest.chars().next().unwrap_or(' ');
        if "-./,';: ".contains(first) {
            out.push(first);
            rest = &rest[1..];
            continue;
        }
        if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"').ok_or("a quoted part of the format has no end")?;
            if quoted[..end].contains('\\') {
                return Err("this format is not supported".into());
            }
            out.push_str(&quoted[..end]);
            rest = &quoted[end + 1..];
            continue;
        }
        let upper = rest.to_ascii_uppercase();
        let element = ELEMENTS
            .iter()
            .find(|e| upper.starts_with(**e))
            .ok_or_else(|| format!("the format {pattern:?} is not supported"))?;
        let written = &rest[..element.len()];
        rest = &rest[element.len()..];
        let timed = matches!(*element, "HH24" | "HH12" | "HH" | "MI" | "SS" | "SSSSS" | "AM" | "PM" | "A.M." | "P.M.")
            || element.starts_with("FF");
        if timed && kind == "DATE" {
            return Err(format!("the format element {element} has no place in a DATE"));
        }
        out.push_str(&match *element {
            "YYYY" => format!("{y:04}"),
            "YYY" => format!("{:03}", y % 1000),
            "YY" => format!("{:02}", y % 100),
            "Y" => format!("{}", y % 10),
            "MONTH" => cased(MONTHS[m as usize - 1], written),
            "MON" => cased(&MONTHS[m as usize - 1][..3], written),
            "MM" => format!("{m:02}"),
            "DDD" => format!("{:03}", civil.div_euclid(DAY) - i64::from(days_of(y, 1, 1).unwrap_or(0)) + 1),
            "DD" => format!("{d:02}"),
            "DAY" => cased(DAYS[weekday], written),
            "DY" => cased(&DAYS[weekday][..3], written),
            "D" => format!("{}", weekday + 1),
            "HH24" => format!("{hour:02}"),
            "HH12" | "HH" => format!("{:02}", if hour % 12 == 0 { 12 } else { hour % 12 }),
            "MI" => format!("{minute:02}"),
            "SSSSS" => format!("{:05}", t / 1_000_000),
            "SS" => format!("{second:02}"),
            "AM" | "PM" => cased(if hour < 12 { "Am" } else { "Pm" }, written),
            "A.M." | "P.M." => cased(if hour < 12 { "A.m." } else { "P.m." }, written),
            fraction => {
                let n: usize = fraction[2..].parse().unwrap_or(6);
                format!("{:06}", t % 1_000_000)[..n].to_owned()
            }
        });
    }
    Ok(out)
}
