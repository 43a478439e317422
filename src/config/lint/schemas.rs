//! Every document has a JSON Schema that can be used.

use crate::config::Project;
use crate::diagnostics::{Diagnostic, Spanned};
use std::path::Path;

/// Checks the schema files.
pub fn check(project: &Project) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for export in &project.exports {
        for document in &export.documents {
            match &document.schema {
                Some(schema) => findings.extend(file(&project.root, schema)),
                None => findings.push(
                    Diagnostic::warning(
                        "no-schema",
                        format!("nothing says what the document `{}` has to be", document.name),
                        document.shape.span,
                    )
                    .help("write `schema: schemas/NAME.schema.json`"),
                ),
            }
        }
    }
    findings
}

fn file(root: &Path, schema: &Spanned<String>) -> Option<Diagnostic> {
    let name = &schema.value;
    let inside = name.split('/').all(|s| !s.is_empty() && s != "..");
    let Some(bytes) = inside.then(|| std::fs::read(root.join(name)).ok()).flatten() else {
        return Some(
            Diagnostic::error("missing-file", format!("there is no file {name}"), schema.span)
                .help("`schema` is a path below the project's folder, such as schemas/results.schema.json"),
        );
    };
    let fail = |reason: String| Some(Diagnostic::error("bad-schema", reason, schema.span));
    let value: serde_json::Value = match serde_json::from_slice(&bytes) {
        Ok(value) => value,
        Err(error) => return fail(format!("{name} is not JSON: {error}")),
    };
    match jsonschema::validator_for(&value) {
        Ok(_) => None,
        Err(error) => fail(format!("{name} is no JSON Schema: {} (at `{}`)", error.masked(), error.instance_path())),
    }
}
