//! How the pages write things: times in the project's zone, sizes, durations, states with word, sign and tone.

use crate::model::percent;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use minijinja::value::Kwargs;
use minijinja::{Environment, Value, context};

/// The filters that do not depend on the moment.
pub fn add(env: &mut Environment<'static>) {
    env.add_filter("bytes", |n: u64| bytes(n));
    env.add_filter("number", |n: u64| number(n));
    env.add_filter("millis", |ms: f64| millis(ms));
    env.add_filter("took", |from: String, to: String| match (from.parse::<Timestamp>(), to.parse::<Timestamp>()) {
        (Ok(from), Ok(to)) => millis(to.duration_since(from).as_secs_f64() * 1e3),
        _ => String::new(),
    });
    env.add_filter("look", |status: String, form: Option<String>, _: Kwargs| match form {
        Some(_) => Value::from(look(&status).2),
        None => {
            let (tone, glyph, word) = look(&status);
            context! { tone, glyph, word }
        }
    });
    env.add_filter("segment", |text: String| percent::segment(&text));
    env.add_filter("path", |text: String| percent::path(&text));
    env.add_filter("tojson_text", |value: Value| serde_json::to_string_pretty(&value).unwrap_or_default());
}

/// The filters that depend on now and the project's zone.
pub fn add_times(env: &mut Environment<'static>, now: Timestamp, zone: &str) {
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    env.add_filter("civil", move |at: String| at.parse().map_or(at, |at| civil(at, now, &zone)));
    env.add_filter("ago", move |at: String| at.parse().map_or(at, |at| ago(at, now)));
    env.add_filter("age", move |at: String| at.parse().map_or(at, |at: Timestamp| span(seconds(at, now).abs())));
}

/// `12 Dec 13:00 EST`, with the year where it is another than now.
fn civil(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let at = at.to_zoned_datetime(zone.clone());
    let same_year = at.year() == now.to_zoned_datetime(zone.clone()).year();
    at.strftime(if same_year { "%-d %b %H:%M %Z" } else { "%-d %b %Y %H:%M %Z" }).to_string()
}

fn seconds(at: Timestamp, now: Timestamp) -> i64 {
    now.duration_since(at).as_secs()
}

fn ago(at: Timestamp, now: Timestamp) -> String {
    match seconds(at, now) {
        -4..=4 => "now".into(),
        ahead @ ..=-5 => format!("in {}", span(-ahead)),
        past => format!("{} ago", span(past)),
    }
}

/// One unit, rounded down: `5 min`.
fn span(seconds: i64) -> String {
    match seconds {
        172_800.. => format!("{} days", seconds / 86_400),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

fn millis(ms: f64) -> String {
    match ms {
        120_000.0.. => format!("{} min {} s", (ms / 60e3) as u64, (ms / 1e3) as u64 % 60),
        1_000.0.. => format!("{:.1} s", ms / 1e3),
        10.0.. => format!("{ms:.0} ms"),
        _ => format!("{ms:.1} ms"),
    }
}

fn bytes(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} B"),
        1_000..1_000_000 => format!("{:.1} KB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.2} GB", n as f64 / 1e9),
    }
}

/// `1,234,567`
fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Tone (a class of the style), sign and word of a state. The word alone says it; tone and sign repeat it.
fn look(status: &str) -> (&'static str, &'static str, String) {
    let (tone, glyph, word) = match status {
        "success" | "published" | "written" | "fresh" => ("ok", "✓", ""),
        "accept" => ("ok", "✓", "accepted"),
        "unchanged" | "kept" => ("ok", "=", ""),
        "failed" | "error" => ("bad", "✕", ""),
        "reject" => ("bad", "✕", "rejected"),
        "stale" => ("bad", "!", ""),
        "firing" => ("bad", "!", "fires"),
        "partial" | "warning" => ("warn", "!", ""),
        "never" => ("warn", "!", "never published"),
        "waiting" => ("warn", "…", "waits"),
        "not_ready" => ("warn", "…", "not ready"),
        "running" => ("info", "▸", ""),
        "skip" => ("mute", "–", "skipped"),
        "kept_empty" => ("mute", "–", "kept, was empty"),
        "not_run" => ("mute", "–", "not run"),
        "cancelled" => ("mute", "–", ""),
        "superseded" | "duplicate" => ("mute", "=", ""),
        "no_promise" => ("mute", "–", "no promise"),
        "http" => ("mute", "", "HTTP"),
        "command" | "backfill" | "message" | "schedule" | "retry" => {
            let mut letters = status.chars();
            let first = letters.next().map(|c| c.to_ascii_uppercase());
            return ("mute", "", first.into_iter().chain(letters).collect());
        }
        _ => ("mute", "–", ""),
    };
    let word = if word.is_empty() { status.replace('_', " ") } else { word.to_owned() };
    (tone, glyph, word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_for_readers() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2025-12-12T18:00:00Z");
        let zone = TimeZone::get("America/New_York").unwrap();
        assert_eq!(civil(at("2025-12-12T17:00:00Z"), now, &zone), "12 Dec 12:00 EST");
        assert_eq!(civil(at("2024-07-01T17:00:00Z"), now, &zone), "1 Jul 2024 13:00 EDT");
        for (when, text) in [
            ("2025-12-12T18:00:02Z", "now"),
            ("2025-12-12T17:59:00Z", "60 s ago"),
            ("2025-12-12T17:55:30Z", "4 min ago"),
            ("2025-12-12T23:00:00Z", "in 5 h"),
            ("2025-12-09T18:00:00Z", "3 days ago"),
        ] {
            assert_eq!(ago(at(when), now), text);
        }
    }

    #[test]
    fn sizes_and_names() {
        assert_eq!((number(7), number(1_234_567)), ("7".into(), "1,234,567".into()));
        assert_eq!((bytes(999), bytes(48_900)), ("999 B".into(), "48.9 KB".into()));
        assert_eq!(
            (millis(3.21), millis(2_500.0), millis(125e3)),
            ("3.2 ms".into(), "2.5 s".into(), "2 min 5 s".into())
        );
        assert_eq!(percent::path("a/b <c>"), "a/b%20%3Cc%3E");
        assert_eq!(percent::segment("tick/x"), "tick%2Fx");
    }

    #[test]
    fn every_state_has_a_word_and_a_tone() {
        for status in ["kept_empty", "not_ready", "reject", "unknown_state"] {
            let (tone, _, word) = look(status);
            assert!(!word.is_empty() && !word.contains('_') && !tone.is_empty(), "{status}");
        }
        assert_eq!(look("schedule").2, "Schedule");
    }
}
