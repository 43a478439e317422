//! Promises that can be judged, and alerts that reach somebody.

use super::with_nearest;
use crate::config::decode::items;
use crate::config::monitoring::AlertKind;
use crate::config::{Export, Node, Project};
use crate::diagnostics::Diagnostic;

/// Checks `freshness` and `alerts`.
pub fn check(project: &Project) -> Vec<Diagnostic> {
    let mut findings: Vec<Diagnostic> = project.exports.iter().filter_map(promise).collect();
    for (i, alert) in project.alerts.iter().enumerate() {
        if let Some(first) = project.alerts[..i].iter().find(|a| a.name.value == alert.name.value) {
            let message = format!("there are two alerts `{}`", alert.name.value);
            let found = Diagnostic::error("duplicate-name", message, alert.name.span);
            findings.push(found.also(first.name.span, "first here"));
        }
        for export in &alert.exports {
            let names = project.exports.iter().map(|e| e.name.value.as_str());
            if !names.clone().any(|n| n == export.value) {
                let message = format!("there is no export `{}`", export.value);
                findings.push(with_nearest(
                    Diagnostic::error("unknown-export", message, export.span),
                    &export.value,
                    names,
                ));
            }
        }
        if !alert.exports.is_empty() && matches!(alert.when, AlertKind::Backlog | AlertKind::DeadLetter) {
            let message = format!("the alert `{}` watches messages, which belong to no export", alert.name.value);
            findings.push(Diagnostic::error("useless-key", message, alert.exports[0].span).help("leave `exports` out"));
        }
        // An alert that waits for a promise nobody made would never fire.
        if alert.when == AlertKind::Stale && !project.exports.iter().any(|e| e.freshness.is_some()) {
            let message = format!("the alert `{}` watches freshness, but no export declares it", alert.name.value);
            let help = "write `freshness: {by: \"05:30 America/New_York\"}` in an export";
            findings.push(Diagnostic::error("useless-alert", message, alert.name.span).help(help));
        }
        if alert.when == AlertKind::MissedRun && project.jobs.is_empty() {
            let message = format!("the alert `{}` watches jobs, but there is none", alert.name.value);
            findings
                .push(Diagnostic::error("useless-alert", message, alert.name.span).help("declare `scheduler.jobs`"));
        }
    }
    findings
}

fn promise(export: &Export) -> Option<Diagnostic> {
    let promise = export.freshness.as_ref()?;
    if promise.by.is_some() || promise.within.is_some() {
        return None;
    }
    Some(
        Diagnostic::error("missing-key", "this promise says no time", promise.span)
            .help("write `by: \"13:30 America/New_York\"`, `within: 26h`, or both"),
    )
}

/// What only the written form can tell: receivers that lack a key. Found while decoding, before the typed alert exists.
pub fn receivers(alert: &Node) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    if let Some(to) = alert.get("to").filter(|_| items(alert.get("to")).is_empty()) {
        findings
            .push(Diagnostic::error("missing-key", "this alert tells nobody", to.span).help("such as `{type: log}`"));
    }
    for to in items(alert.get("to")) {
        let kind = to.get("type").and_then(Node::as_str).unwrap_or_default();
        let needed = match kind {
            "webhook" => Some("url"),
            "topic" => Some("topic"),
            _ => None,
        };
        if let Some(key) = needed.filter(|key| to.get(key).is_none()) {
            let message = format!("a receiver of type `{kind}` lacks the key `{key}`");
            findings.push(Diagnostic::error("missing-key", message, to.span));
        }
        for (key, wanted) in [("url", "webhook"), ("allow_private", "webhook"), ("topic", "topic")] {
            if let Some(node) = to.get(key).filter(|_| wanted != kind) {
                let message = format!("a receiver of type `{kind}` has no key `{key}`");
                findings.push(Diagnostic::error("useless-key", message, node.span));
            }
        }
        findings.extend(to.get("url").and_then(|node| Some((node, node.as_str()?))).and_then(|(node, url)| {
            let reason = bad_url(url)?;
            Some(
                Diagnostic::error("bad-value", reason, node.span)
                    .help("such as `https://hooks.example.com/${HOOK_PATH}`"),
            )
        }));
    }
    findings
}

/// What is wrong with a webhook's address as written. Never repeats it: it may hold a secret all the same.
fn bad_url(url: &str) -> Option<&'static str> {
    let open = url.matches("${").count();
    let closed = url.split("${").skip(1).filter(|rest| rest.find('}').is_some_and(|end| end > 0)).count();
    if open != closed {
        return Some("`${` is not closed, or has no name");
    }
    let local = |rest: &str| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        ["localhost", "127.0.0.1", "[::1]"].iter().any(|l| host == *l || host.starts_with(&format!("{l}:")))
    };
    if url.starts_with("${") {
        return None;
    }
    match url.split_once("://") {
        Some(("https", rest)) if rest.contains('@') => Some("an address with a user name: write no secret into it"),
        Some(("https", rest)) if !rest.is_empty() => None,
        Some(("http", rest)) if local(rest) => None,
        Some(("http", _)) => Some("a webhook has to be https; http is for localhost alone"),
        _ => Some("this is no web address"),
    }
}
