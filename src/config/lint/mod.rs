//! What no single file can tell: names that lead nowhere, paths with two owners, SQL that does not hold together.

pub mod documents;
pub mod jobs;
pub mod monitoring;
pub mod owners;
pub mod path_lock;
pub mod paths;
pub mod push;
pub mod ready;
pub mod references;
pub mod schemas;
pub mod sql;

use super::{Loaded, Project};
use crate::diagnostics::{Diagnostic, Sources, nearest};

/// Runs every check. `analyse` looks into rendered SQL; without it only the templates are checked.
pub fn all(project: &mut Project, sources: &mut Sources, analyse: Option<sql::Analyse<'_>>) -> Vec<Diagnostic> {
    // First, since the columns that it fills in are read by the others.
    let mut findings = sql::check(project, sources, analyse);
    findings.extend(documents::check(project));
    findings.extend(paths::check(project));
    findings.extend(owners::check(project));
    findings.extend(schemas::check(project, sources));
    findings.extend(jobs::check(project));
    findings.extend(references::check(project));
    findings.extend(monitoring::check(project));
    findings.extend(push::check(project));
    findings.extend(ready::check(project));
    findings.extend(path_lock::check(project, sources));
    findings.extend(project.exports.iter().flat_map(|e| super::example::examples(project, e).1));
    findings
}

/// Runs every check on what was loaded. A file that could not be read is no reason for findings about what it would have said.
pub fn run(loaded: &mut Loaded, analyse: Option<sql::Analyse<'_>>) {
    let complete = !loaded.has_errors();
    let found = all(&mut loaded.project, &mut loaded.sources, analyse);
    let consequence = |code| matches!(code, "lost-path" | "unknown-export");
    loaded.findings.extend(found.into_iter().filter(|f| complete || !consequence(f.code)));
}

/// Adds "did you mean", or what there is.
fn with_nearest<'a>(found: Diagnostic, written: &str, known: impl Iterator<Item = &'a str> + Clone) -> Diagnostic {
    match nearest(written, known.clone()) {
        Some(near) => found.help(format!("did you mean `{near}`?")),
        None => {
            let all: Vec<&str> = known.collect();
            found.help(if all.is_empty() { "there is none".to_owned() } else { format!("one of {}", all.join(", ")) })
        }
    }
}

#[cfg(test)]
mod tests;
