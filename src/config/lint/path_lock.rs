//! A path that was published once keeps its owner: `schemas/phase6/paths.json` remembers (I-11).

use super::paths::compiled;
use crate::config::Project;
use crate::config::path::PathTemplate;
use crate::diagnostics::{Diagnostic, Sources, Span, Spanned};
use std::collections::BTreeMap;

/// The generated file, below the project's root.
pub const FILE: &str = "schemas/phase6/paths.json";

const WRITE: &str = "run `phase6 schema --write` and commit the file";

type Owners = BTreeMap<String, String>;

/// Path patterns and the exports that own them now.
pub fn current(project: &Project) -> Owners {
    compiled(project).into_iter().map(|(o, t)| (t.pattern(), o.export.name.value.clone())).collect()
}

/// What the file has to hold: the patterns of now, and those that vanished without being retired, so that writing the file
/// cannot hide a loss.
pub fn file_text(project: &Project) -> String {
    let mut owners = current(project);
    let retired = retired(project);
    for (pattern, export) in read(project).and_then(Result::ok).unwrap_or_default() {
        if !retired.contains(&pattern) {
            owners.entry(pattern).or_insert(export);
        }
    }
    format!("{:#}\n", serde_json::json!(owners))
}

/// Checks the file against the exports.
pub fn check(project: &Project, sources: &mut Sources) -> Vec<Diagnostic> {
    let now = current(project);
    let locked = match read(project) {
        None if now.is_empty() => return Vec::new(),
        None => {
            let span = project.exports[0].name.span;
            return vec![Diagnostic::warning("path-lock", format!("there is no file {FILE}"), span).help(WRITE)];
        }
        Some(read) => read,
    };
    let text = std::fs::read_to_string(project.root.join(FILE)).unwrap_or_default();
    let file = sources.add(FILE, text.clone());
    let locked = match locked {
        Ok(locked) => locked,
        Err(error) => {
            let message = format!("{FILE} cannot be read: {error}");
            return vec![Diagnostic::error("path-lock", message, Span { file, start: 0, end: 0 }).help(WRITE)];
        }
    };
    let retired = retired(project);
    let mut findings = Vec::new();
    for (pattern, export) in locked.iter().filter(|(p, _)| !now.contains_key(*p) && !retired.contains(*p)) {
        let start = text.find(&format!("\"{pattern}\"")).unwrap_or(0);
        let span = Span { file, start: start as u32, end: (start + pattern.len() + 2) as u32 };
        findings.push(
            Diagnostic::error("lost-path", format!("nothing writes `{pattern}` any more; `{export}` did"), span)
                .help("its last document would stay for ever: write it again, or list it under `retired_paths`"),
        );
    }
    for (owned, template) in compiled(project) {
        let pattern = template.pattern();
        let message = match locked.get(&pattern) {
            Some(owner) if *owner == owned.export.name.value => continue,
            Some(owner) => format!("{FILE} says that `{pattern}` belongs to `{owner}`"),
            None => format!("`{pattern}` is not in {FILE}"),
        };
        findings.push(Diagnostic::error("path-lock", message, owned.written.span).help(WRITE));
    }
    findings
}

fn read(project: &Project) -> Option<Result<Owners, String>> {
    match std::fs::read(project.root.join(FILE)) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).map_err(|e| e.to_string())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => Some(Err(error.to_string())),
    }
}

/// Retired patterns, written as `{name}` or `{{ name }}`.
fn retired(project: &Project) -> Vec<String> {
    let span = Span { file: crate::diagnostics::FileId(0), start: 0, end: 0 };
    let pattern = |text: &String| {
        PathTemplate::compile(&Spanned { value: text.clone(), span }).map_or_else(|_| text.clone(), |t| t.pattern())
    };
    project.retired_paths.iter().map(pattern).collect()
}
