//! Texts of a certain form: durations, sizes, clock times, zones, schedules, names.

use super::spec::Form;
use crate::model::schedule::Schedule;
use std::fmt;
use std::time::Duration;

pub static DURATION: Form =
    Form { name: "a duration", example: "5m", pattern: "^[0-9]+(ms|s|m|h|d)$", check: |t| duration(t).map(drop) };
pub static SIZE: Form =
    Form { name: "a size", example: "20GB", pattern: "^[0-9]+(B|KB|MB|GB|TB)$", check: |t| size(t).map(drop) };
pub static CLOCK: Form = Form {
    name: "a time of day",
    example: "04:00",
    pattern: "^([01][0-9]|2[0-3]):[0-5][0-9]$",
    check: |t| clock(t).map(drop),
};
pub static DUE: Form = Form {
    name: "a time of day and a zone",
    example: "13:30 America/New_York",
    pattern: "^([01][0-9]|2[0-3]):[0-5][0-9] +[A-Za-z0-9_+/-]+$",
    check: |t| super::monitoring::due_time(t).map(drop),
};
pub static ADDRESS: Form = Form {
    name: "an address with a port",
    example: "127.0.0.1:8080",
    pattern: "^(\\[[0-9A-Fa-f:.]+\\]|[0-9.]+):[0-9]{1,5}$",
    check: |t| address(t).map(drop),
};
pub static ZONE: Form =
    Form { name: "a time zone", example: "America/New_York", pattern: "^[A-Za-z0-9_+/-]+$", check: zone };
pub static SCHEDULE: Form =
    Form { name: "a schedule of five fields", example: "0 10 * * *", pattern: "^\\S+( +\\S+){4}$", check: schedule };
pub static NAME: Form = Form {
    name: "a name of lower-case letters, digits and `-`",
    example: "daily-table",
    pattern: "^[a-z][a-z0-9_-]{0,62}$",
    check: name,
};
pub static IDENTIFIER: Form = Form {
    name: "a name of letters, digits and `_`",
    example: "games",
    pattern: "^[A-Za-z_][A-Za-z0-9_]{0,62}$",
    check: identifier,
};

/// `5m`, `540s`, `2h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let bad = || format!("`{text}` is no duration");
    let number: u64 = digits.parse().map_err(|_| bad())?;
    let factor = match unit {
        "ms" => return Ok(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(bad()),
    };
    number.checked_mul(factor).map(Duration::from_secs).ok_or_else(bad)
}

/// A duration as it would be written: `9m`, `90s`, `1500ms`.
pub fn duration_text(duration: Duration) -> String {
    let ms = duration.as_millis();
    match [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")]
        .iter()
        .find(|(unit, _)| ms >= *unit && ms.is_multiple_of(*unit))
    {
        Some((unit, name)) => format!("{}{name}", ms / unit),
        None => format!("{ms}ms"),
    }
}

/// `20GB`, in decimal units as BigQuery bills them.
pub fn size(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let bad = || format!("`{text}` is no size");
    let factor: u64 = match unit {
        "B" => 1,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return Err(bad()),
    };
    digits.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).ok_or_else(bad)
}

/// `04:00` as minutes after midnight.
pub fn clock(text: &str) -> Result<u32, String> {
    let bad = || format!("`{text}` is no time of day");
    let (hour, minute) = text.split_once(':').ok_or_else(bad)?;
    if hour.len() != 2 || minute.len() != 2 {
        return Err(bad());
    }
    let (hour, minute): (u32, u32) = (hour.parse().map_err(|_| bad())?, minute.parse().map_err(|_| bad())?);
    if hour < 24 && minute < 60 { Ok(hour * 60 + minute) } else { Err(bad()) }
}

/// `127.0.0.1:8080`, `[::1]:0`.
pub fn address(text: &str) -> Result<std::net::SocketAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is no address with a port"))
}

/// Why a text's `${NAME}`s cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfilled {
    /// A `${` is not closed.
    Open,
    /// The environment has no such name.
    Missing(String),
}

impl fmt::Display for Unfilled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("`${` is not closed"),
            Self::Missing(name) => write!(f, "the environment has no `{name}`"),
        }
    }
}

/// A text with its `${NAME}`s taken from the environment. Errors name the variable, never a value.
pub fn filled(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, Unfilled> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(start) = rest.find("${") {
        let end = rest[start..].find('}').ok_or(Unfilled::Open)? + start;
        let name = &rest[start + 2..end];
        out.push_str(&rest[..start]);
        out.push_str(&env(name).ok_or_else(|| Unfilled::Missing(name.to_owned()))?);
        rest = &rest[end + 1..];
    }
    Ok(out + rest)
}

fn zone(text: &str) -> Result<(), String> {
    jiff::tz::TimeZone::get(text).map(drop).map_err(|_| format!("there is no time zone `{text}`"))
}

fn name(text: &str) -> Result<(), String> {
    let good = text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_');
    if good { Ok(()) } else { Err(format!("`{text}` is no such name")) }
}

fn identifier(text: &str) -> Result<(), String> {
    let good = text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if good { Ok(()) } else { Err(format!("`{text}` is no such name")) }
}

fn schedule(text: &str) -> Result<(), String> {
    Schedule::parse(text).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_have_units() {
        assert_eq!(size("20GB"), Ok(20_000_000_000));
        assert_eq!(duration("540s"), Ok(Duration::from_secs(540)));
        for text in ["9m", "90s", "1500ms", "2h", "1d"] {
            assert_eq!(duration_text(duration(text).unwrap()), text);
        }
        assert!(size("20").is_err() && size("20gb").is_err() && size("99999999999999999999GB").is_err());
        assert!(duration("5").is_err() && duration("-5m").is_err());
    }
}
