//! Jobs and triggers name exports that exist; jobs are due, and ask for what the worker takes.

use super::with_nearest;
use crate::config::{Job, Node, NodeValue, Project};
use crate::diagnostics::{Diagnostic, Span};
use crate::model::dates::DayRule;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::time::Duration;

/// Checks the jobs and the triggers.
pub fn check(project: &Project) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for (i, job) in project.jobs.iter().enumerate() {
        if let Some(first) = project.jobs[..i].iter().find(|j| j.name.value == job.name.value) {
            let message = format!("there are two jobs `{}`", job.name.value);
            findings
                .push(Diagnostic::error("duplicate-job", message, job.name.span).also(first.name.span, "first here"));
        }
        for name in &job.export_types {
            findings.extend(known(project, &name.value, name.span));
        }
        findings.extend(what_it_asks_for(job));
        findings.extend(schedule(job));
        findings.extend(backup(project, job));
        if job.players && !project.exports.iter().any(|e| e.selected_by.as_deref() == Some("players")) {
            let message = format!("the job `{}` asks for players, but no export is selected by them", job.name.value);
            findings.push(
                Diagnostic::error("unknown-export", message, job.name.span)
                    .help("an export that it shall run has to say `selected_by: players`"),
            );
        }
    }
    for trigger in &project.triggers {
        if let Some(message) = trigger.get("publish").and_then(|p| p.get("message")) {
            message_exports(project, message, &mut findings);
        }
    }
    findings
}

/// A job's message has to be one that the worker takes: exports of a date, or the players' exports.
fn what_it_asks_for(job: &Job) -> Option<Diagnostic> {
    let name = &job.name.value;
    if job.players && !job.export_types.is_empty() {
        let message = format!("the job `{name}` asks for players and for exports by name");
        return Some(Diagnostic::error("bad-job", message, job.name.span).help("make two jobs of it"));
    }
    if !job.players && job.export_types.is_empty() {
        let message = format!("the job `{name}` asks for nothing");
        return Some(
            Diagnostic::error("bad-job", message, job.name.span).help("write `export_types` or `players: true`"),
        );
    }
    let Some(date) = &job.target_date else {
        let message = format!("the job `{name}` does not say for which date");
        let found = Diagnostic::error("bad-job", message, job.name.span);
        return (!job.players).then(|| found.help("write `target_date: today`, `yesterday` or such"));
    };
    // Any zone and instant will do: whether the text is a date does not depend on them.
    let rule = DayRule { zone: TimeZone::UTC, starts_at_minutes: 0 };
    let reason = rule.resolve(&date.value, SOME_DAY).err()?;
    Some(Diagnostic::error("bad-value", format!("the job's `target_date`: {reason}"), date.span))
}

/// 2025-12-12T00:00:00Z.
const SOME_DAY: Timestamp = Timestamp::constant(1_765_497_600, 0);

/// A schedule that is never due, and a delay that would reach into the next slot.
fn schedule(job: &Job) -> Option<Diagnostic> {
    let written = &job.schedule.value;
    if !written.is_possible() {
        let message = format!("the schedule `{}` is never due: no month of it has such a day", written.text());
        return Some(Diagnostic::error("never-due", message, job.schedule.span));
    }
    let jitter = job.jitter?;
    let most = if written.is_interval() { Duration::from_secs(60) } else { Duration::from_secs(3_600) };
    let message = format!("the job `{}` may be delayed by {jitter:?}, longer than {most:?}", job.name.value);
    (jitter > most).then(|| {
        Diagnostic::error("bad-value", message, job.name.span)
            .help("`jitter` spreads jobs within a minute (intervals) or an hour (fixed times)")
    })
}

/// A backup job stands in for a trigger: it has to name one, for a date, with exports that the trigger asks for too.
fn backup(project: &Project, job: &Job) -> Option<Diagnostic> {
    let backup_of = job.backup_of.as_ref()?;
    let text = |node: &Node, key: &str| node.get(key).and_then(Node::as_str).map(str::to_owned);
    let named = |trigger: &&Node| text(trigger, "name").is_some_and(|name| name == backup_of.value);
    let Some(trigger) = project.triggers.iter().find(named) else {
        let names: Vec<String> = project.triggers.iter().filter_map(|t| text(t, "name")).collect();
        let found =
            Diagnostic::error("unknown-trigger", format!("there is no trigger `{}`", backup_of.value), backup_of.span);
        return Some(with_nearest(found, &backup_of.value, names.iter().map(String::as_str)));
    };
    if job.target_date.is_none() {
        let message = format!("the job `{}` backs up a trigger without a `target_date`", job.name.value);
        return Some(
            Diagnostic::error("bad-job", message, backup_of.span)
                .help("an event and its backup are matched by their target date"),
        );
    }
    let asked = trigger.get("publish").and_then(|p| p.get("message")).and_then(|m| m.get("export_types"));
    let Some(Node { value: NodeValue::Seq(items), .. }) = asked else { return None };
    let asked: Vec<&str> = items.iter().filter_map(Node::as_str).collect();
    // What is computed cannot be compared.
    if asked.len() < items.len() || asked.iter().any(|name| name.starts_with('=') || name.contains("{{")) {
        return None;
    }
    let other = job.export_types.iter().find(|name| !asked.contains(&name.value.as_str()))?;
    let message =
        format!("the trigger `{}` does not ask for `{}`, which its backup would make", backup_of.value, other.value);
    Some(
        Diagnostic::error("bad-job", message, other.span)
            .help("once the event came the job is skipped: give this export a job of its own"),
    )
}

/// The names that a message asks for, where they are written out.
fn message_exports(project: &Project, message: &Node, findings: &mut Vec<Diagnostic>) {
    let Some(names) = message.get("export_types") else { return };
    let names = match &names.value {
        NodeValue::Seq(items) => items.as_slice(),
        _ => std::slice::from_ref(names),
    };
    for node in names {
        if let Some(text) = node.as_str().filter(|t| !t.starts_with('=') && !t.contains("{{")) {
            findings.extend(known(project, text, node.span));
        }
    }
}

fn known(project: &Project, name: &str, span: Span) -> Option<Diagnostic> {
    let names = project.exports.iter().map(|e| e.name.value.as_str());
    if names.clone().any(|n| n == name) {
        return None;
    }
    Some(with_nearest(Diagnostic::error("unknown-export", format!("there is no export `{name}`"), span), name, names))
}
