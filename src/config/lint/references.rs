//! What keys name by text exists: topics, the queries of guards and readiness, and no two triggers or documents share a name.

use super::with_nearest;
use crate::config::{Export, Node, Project, Receiver};
use crate::diagnostics::{Diagnostic, Span, Spanned};

/// Checks the references.
pub fn check(project: &Project) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for trigger in &project.triggers {
        findings.extend(topic(project, trigger.get("topic")));
        findings.extend(topic(project, trigger.get("publish").and_then(|p| p.get("topic"))));
    }
    for to in project.alerts.iter().flat_map(|a| &a.to) {
        if let Receiver::Topic { topic } = to {
            findings.extend(topic_named(project, &topic.value, topic.span));
        }
    }
    let names: Vec<&Node> = project.triggers.iter().filter_map(|t| t.get("name")).collect();
    for (i, name) in names.iter().enumerate() {
        if let Some(first) = names[..i].iter().find(|n| n.value == name.value) {
            let message = format!("there are two triggers `{}`", name.as_str().unwrap_or_default());
            findings.push(Diagnostic::error("duplicate-name", message, name.span).also(first.span, "first here"));
        }
    }
    for export in &project.exports {
        findings.extend(documents(export));
        for document in &export.documents {
            for guard in &document.guards {
                findings
                    .extend(["min_rows", "no_orphans", "in"].iter().filter_map(|key| query(export, guard.get(key))));
            }
        }
        findings.extend(export.ready.iter().filter_map(|ready| known_query(export, ready.query.as_ref()?)));
    }
    findings
}

fn topic(project: &Project, node: Option<&Node>) -> Option<Diagnostic> {
    let node = node?;
    topic_named(project, node.as_str()?, node.span)
}

fn topic_named(project: &Project, name: &str, span: Span) -> Option<Diagnostic> {
    if project.topics.contains_key(name) {
        return None;
    }
    let found = Diagnostic::error("unknown-topic", format!("`topics` has no `{name}`"), span);
    Some(with_nearest(found, name, project.topics.keys().map(String::as_str)))
}

fn query(export: &Export, node: Option<&Node>) -> Option<Diagnostic> {
    let node = node?;
    known_query(export, &Spanned { value: node.as_str()?.to_owned(), span: node.span })
}

fn known_query(export: &Export, name: &Spanned<String>) -> Option<Diagnostic> {
    let known = export.queries.iter().map(|q| q.name.value.as_str());
    if known.clone().any(|k| k == name.value) {
        return None;
    }
    let found = Diagnostic::error("unknown-query", format!("there is no query `{}`", name.value), name.span);
    Some(with_nearest(found, &name.value, known))
}

fn documents(export: &Export) -> Vec<Diagnostic> {
    let twice = |(i, name): (usize, &str)| export.documents[..i].iter().any(|d| d.name == name);
    let named = export.documents.iter().enumerate().map(|(i, d)| (i, d.name.as_str()));
    named
        .filter(|named| twice(*named))
        .map(|(i, name)| {
            let message = format!("two documents of this export are called `{name}`");
            Diagnostic::error("duplicate-name", message, export.documents[i].shape.span)
        })
        .collect()
}
