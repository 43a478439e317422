//! Jobs and triggers name exports that exist.

use super::with_nearest;
use crate::config::{Node, NodeValue, Project};
use crate::diagnostics::{Diagnostic, Span};

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
