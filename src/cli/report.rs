//! A run's report for people: a line an export, its findings below, the totals last.

use crate::model::report::{ExportReport, FindingReport, JobReport, RunReport, Status};
use std::fmt::Write;

const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";
const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

/// How many findings of an export are shown; the rest is counted.
const FINDINGS_SHOWN: usize = 10;

/// The report's text; with escape codes only where `color` says so.
pub fn human(report: &RunReport, color: bool) -> String {
    let mut text = String::new();
    let paint = |code: &'static str| if color { code } else { "" };
    let width = report.exports.iter().map(|e| e.export.chars().count()).max().unwrap_or(0);
    for export in &report.exports {
        let (mark, code) = mark(export.status);
        let _ = writeln!(
            text,
            "{}{mark}{} {:width$}  {}",
            paint(code),
            paint(RESET),
            export.export,
            line(export, paint(DIM), paint(RESET)),
        );
        for finding in export.findings.iter().take(FINDINGS_SHOWN) {
            let _ = writeln!(text, "    {}", finding_line(finding));
        }
        if export.findings.len() > FINDINGS_SHOWN {
            let _ = writeln!(text, "    … and {} more", export.findings.len() - FINDINGS_SHOWN);
        }
        if let Some(path) = &export.quarantine {
            let _ = writeln!(text, "    the rejected document was set aside: {path}");
        }
    }
    text.push_str(&totals(report));
    text
}

fn mark(status: Status) -> (&'static str, &'static str) {
    match status {
        Status::Published => ("✓", GREEN),
        Status::Unchanged | Status::Superseded => ("=", GREEN),
        Status::KeptEmpty | Status::NotReady => ("·", YELLOW),
        Status::Failed | Status::NotRun => ("✗", RED),
    }
}

/// What the status is called in reports.
pub fn status_name(status: Status) -> &'static str {
    match status {
        Status::Published => "published",
        Status::Unchanged => "unchanged",
        Status::Superseded => "superseded",
        Status::KeptEmpty => "kept",
        Status::NotReady => "not ready",
        Status::Failed => "failed",
        Status::NotRun => "not run",
    }
}

fn line(export: &ExportReport, dim: &str, reset: &str) -> String {
    let mut text = format!("{:10}", status_name(export.status));
    if let Some(reason) = &export.reason {
        let _ = write!(text, " {reason}");
        if let Some(wait) = export.retry_after_ms {
            let _ = write!(text, " (to be asked again after {})", duration(wait));
        }
        if !export.status.is_success() {
            return text;
        }
    }
    let rows: u64 = export.rows.values().sum();
    let objects = export.objects;
    let all = objects.written + objects.unchanged + objects.superseded;
    let _ = write!(text, " {rows} rows → {all} {}", if all == 1 { "object" } else { "objects" });
    if objects.unchanged > 0 && objects.written > 0 {
        let _ = write!(text, " ({} unchanged)", objects.unchanged);
    }
    if objects.superseded > 0 {
        let _ = write!(text, " ({} superseded by a newer one)", objects.superseded);
    }
    if objects.deleted > 0 {
        let _ = write!(text, " ({} vanished, deleted)", objects.deleted);
    }
    if let Some(jobs) = billed(export) {
        let _ = write!(text, ", {jobs}");
    }
    let t = export.times;
    let _ = write!(
        text,
        ", {}  {dim}{} = query {} + shape {} + publish {}{reset}",
        bytes(export.bytes),
        ms(t.total_ms),
        ms(t.query_ms),
        ms(t.shape_ms),
        ms(t.publish_ms)
    );
    text
}

/// What the warehouse's jobs of an export were billed; `None` where it keeps no records of them.
pub fn billed(export: &ExportReport) -> Option<String> {
    if export.jobs.is_empty() {
        return None;
    }
    let sum = |of: fn(&JobReport) -> Option<u64>| export.jobs.values().filter_map(of).sum::<u64>();
    let cached = export.jobs.values().filter(|job| job.cache_hit == Some(true)).count();
    let mut text = format!("{} billed", bytes(sum(|job| job.bytes_billed)));
    let slots = sum(|job| job.slot_ms);
    if slots > 0 {
        let _ = write!(text, ", {} of slots", ms(slots as f64));
    }
    if cached > 0 {
        let _ = write!(text, ", {cached} of {} from the cache", export.jobs.len());
    }
    Some(text)
}

/// A finding for people, its place in a line of its own.
pub fn finding_line(finding: &FindingReport) -> String {
    let mut text = format!("{}[{}]", finding.severity, finding.rule);
    if let Some(document) = &finding.document {
        let _ = write!(text, " {document}");
    }
    if let Some(pointer) = &finding.pointer {
        let _ = write!(text, " at {}", if pointer.is_empty() { "the root" } else { pointer });
    }
    let _ = write!(text, ": {}", finding.message);
    if let Some(place) = &finding.place {
        let _ = write!(text, "\n      --> {place}");
    }
    text
}

fn totals(report: &RunReport) -> String {
    let t = &report.totals;
    let mut text = format!("{} succeeded", t.succeeded);
    if t.failed > 0 {
        let _ = write!(text, ", {} failed", t.failed);
    }
    let _ = writeln!(
        text,
        " · {} written, {} unchanged · {} · {} · target {}, date {}, run {}",
        t.objects.written,
        t.objects.unchanged,
        bytes(t.bytes),
        ms(report.duration_ms),
        report.target,
        report.target_date,
        report.run_id
    );
    text
}

fn duration(ms: u64) -> String {
    crate::config::forms::duration_text(std::time::Duration::from_millis(ms))
}

/// A size for people, in decimal units.
pub fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// A duration for people.
pub fn ms(ms: f64) -> String {
    if ms < 10.0 {
        format!("{ms:.1} ms")
    } else if ms < 1_000.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{:.2} s", ms / 1e3)
    }
}
