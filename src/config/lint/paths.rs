//! Paths are well formed and use names that exist.

use super::with_nearest;
use crate::config::path::PathTemplate;
use crate::config::{DocumentDecl, Export, Project};
use crate::diagnostics::{Diagnostic, Spanned};

/// A path of the project and whose it is.
pub struct Owned<'a> {
    pub export: &'a Export,
    pub document: &'a DocumentDecl,
    pub written: &'a Spanned<String>,
}

/// Every path as written, aliases too.
pub fn written(project: &Project) -> impl Iterator<Item = Owned<'_>> {
    project.exports.iter().flat_map(|export| {
        export.documents.iter().flat_map(move |document| {
            document.files.iter().flat_map(move |file| {
                std::iter::once(&file.path).chain(file.aliases.iter().map(|a| &a.path)).map(move |written| Owned {
                    export,
                    document,
                    written,
                })
            })
        })
    })
}

/// Every path that can be read.
pub fn compiled(project: &Project) -> Vec<(Owned<'_>, PathTemplate)> {
    written(project).filter_map(|o| PathTemplate::compile(o.written).ok().map(|t| (o, t))).collect()
}

/// Checks form and names.
pub fn check(project: &Project) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for owned in written(project) {
        match PathTemplate::compile(owned.written) {
            Err(found) => findings.push(found),
            Ok(template) => findings.extend(template.names().filter_map(|name| unknown(project, &owned, name))),
        }
    }
    findings
}

fn unknown(project: &Project, owned: &Owned<'_>, name: &str) -> Option<Diagnostic> {
    let mut known: Vec<String> = owned.export.params.iter().map(|p| p.name.value.clone()).collect();
    known.extend(["target_date".to_owned(), "today".to_owned()]);
    known.extend(project.vars.keys().map(|v| format!("vars.{v}")));
    if owned.document.each.is_some() {
        known.push("key".to_owned());
    }
    if known.iter().any(|k| k == name) {
        return None;
    }
    let found = Diagnostic::error("unknown-name", format!("there is no value `{name}`"), owned.written.span);
    if name == "key" {
        return Some(found.help("only a document with `each` has a key"));
    }
    Some(with_nearest(found, name, known.iter().map(String::as_str)))
}
