//! No path has two owners.

use super::paths::compiled;
use crate::config::Project;
use crate::diagnostics::Diagnostic;

/// Two exports must not be able to write one path; within an export no path is written twice in the same words. (A key of a
/// fan-out that meets another path of its export is found when it happens.)
pub fn check(project: &Project) -> Vec<Diagnostic> {
    let all = compiled(project);
    let mut findings = Vec::new();
    for (i, (owned, template)) in all.iter().enumerate() {
        let rival = all[..i].iter().find(|(other, theirs)| {
            if std::ptr::eq(other.export, owned.export) {
                theirs.pattern() == template.pattern()
            } else {
                theirs.may_meet(template)
            }
        });
        if let Some((other, _)) = rival {
            let message =
                format!("`{}` can be the same path as one of `{}`", owned.written.value, other.export.name.value);
            findings.push(
                Diagnostic::error("path-collision", message, owned.written.span)
                    .also(other.written.span, format!("`{}` owns this path", other.export.name.value))
                    .help("give every document its own folder or name"),
            );
        }
    }
    findings
}
