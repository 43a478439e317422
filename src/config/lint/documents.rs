//! Fan-outs and indexes name queries, columns and documents that exist.

use super::with_nearest;
use crate::config::{DocumentDecl, Export, Project};
use crate::diagnostics::Diagnostic;

/// Checks `each` and `index_of` of every document.
pub fn check(project: &Project) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for export in &project.exports {
        for document in &export.documents {
            findings.extend(each(export, document));
            findings.extend(index_of(export, document));
        }
    }
    findings
}

fn each(export: &Export, document: &DocumentDecl) -> Option<Diagnostic> {
    let each = document.each.as_ref()?;
    let (query, by) = (&each.query, &each.by);
    let Some(found) = export.queries.iter().find(|q| q.name.value == query.value) else {
        let found = Diagnostic::error("unknown-query", format!("there is no query `{}`", query.value), query.span);
        return Some(with_nearest(found, &query.value, export.queries.iter().map(|q| q.name.value.as_str())));
    };
    let columns = found.columns.as_ref()?;
    if columns.iter().any(|c| c.name.eq_ignore_ascii_case(&by.value)) {
        return None;
    }
    let message = format!("the query `{}` has no column `{}`", query.value, by.value);
    let found = Diagnostic::error("unknown-column", message, by.span);
    Some(with_nearest(found, &by.value, columns.iter().map(|c| c.name.as_str())))
}

fn index_of(export: &Export, document: &DocumentDecl) -> Option<Diagnostic> {
    let name = document.index_of.as_ref()?;
    let fans: Vec<&str> = export
        .documents
        .iter()
        .filter(|d| d.each.is_some() && d.name != document.name)
        .map(|d| d.name.as_str())
        .collect();
    if fans.contains(&name.value.as_str()) {
        return None;
    }
    let message = format!("there is no document `{}` with `each`", name.value);
    Some(with_nearest(Diagnostic::error("unknown-document", message, name.span), &name.value, fans.into_iter()))
}
