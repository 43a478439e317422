//! Findings for people and for machines.

use super::{Diagnostic, Severity, Sources};
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value, json};

/// Sorts by file and place and drops what was found twice.
pub fn sort(findings: &mut Vec<Diagnostic>, sources: &Sources) {
    findings.sort_by(|a, b| {
        let key = |d: &Diagnostic| {
            let span = d.labels[0].span;
            (sources.get(span.file).path.clone(), span.start, span.end, d.code)
        };
        key(a).cmp(&key(b))
    });
    findings.dedup();
}

/// The findings underlined in their lines, with help; escape codes only where `color` says so.
pub fn human(findings: &[Diagnostic], sources: &Sources, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    findings.iter().map(|finding| renderer.render(&groups(finding, sources)) + "\n\n").collect()
}

fn groups<'a>(finding: &'a Diagnostic, sources: &'a Sources) -> Vec<Group<'a>> {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(finding.message.as_str()).id(finding.code));
    let main = finding.labels[0].span.file;
    let mut files = vec![main];
    for label in &finding.labels {
        if !files.contains(&label.span.file) {
            files.push(label.span.file);
        }
    }
    for file in files {
        let source = sources.get(file);
        let mut snippet = Snippet::source(source.text.as_str()).path(source.path.to_string_lossy().into_owned());
        for (i, label) in finding.labels.iter().enumerate().filter(|(_, l)| l.span.file == file) {
            let kind = if i == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
            let range = clipped(&source.text, label.span.range());
            let annotation = kind.span(range);
            snippet =
                snippet.annotation(if label.text.is_empty() { annotation } else { annotation.label(&label.text) });
        }
        group = group.element(snippet);
    }
    if let Some(help) = &finding.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    vec![group]
}

/// A range that lies in the text, on character borders, and covers no more than its first line: a finding about a whole block
/// points to where it begins.
fn clipped(text: &str, range: std::ops::Range<usize>) -> std::ops::Range<usize> {
    let floor = |mut i: usize| {
        i = i.min(text.len());
        while !text.is_char_boundary(i) {
            i -= 1;
        }
        i
    };
    let start = floor(range.start);
    let end = floor(range.end).max(start);
    let line_end = text[start..end].find('\n').map_or(end, |i| start + i);
    start..line_end
}

/// `file:line:column` of a finding's main place.
pub fn place(finding: &Diagnostic, sources: &Sources) -> String {
    span_place(finding.labels[0].span, sources)
}

/// `file:line:column` of a span's start.
pub fn span_place(span: super::Span, sources: &Sources) -> String {
    let (line, column) = sources.line_column(span.file, span.start);
    format!("{}:{line}:{column}", sources.get(span.file).path.display())
}

/// A finding as a JSON object.
pub fn json(finding: &Diagnostic, sources: &Sources) -> Value {
    let span = finding.labels[0].span;
    let (line, column) = sources.line_column(span.file, span.start);
    let (end_line, end_column) = sources.line_column(span.file, span.end);
    json!({
        "code": finding.code,
        "severity": severity(finding.severity),
        "message": finding.message,
        "file": sources.get(span.file).path,
        "line": line,
        "column": column,
        "end_line": end_line,
        "end_column": end_column,
        "help": finding.help,
        "related": finding.labels[1..].iter().map(|label| {
            let (line, column) = sources.line_column(label.span.file, label.span.start);
            json!({"file": sources.get(label.span.file).path, "line": line, "column": column, "message": label.text})
        }).collect::<Vec<_>>(),
    })
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// A line for each finding in the form of GitHub's workflow commands, which annotates a pull request.
pub fn github(findings: &[Diagnostic], sources: &Sources) -> String {
    let escape = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    findings
        .iter()
        .map(|finding| {
            let span = finding.labels[0].span;
            let (line, column) = sources.line_column(span.file, span.start);
            let help = finding.help.as_ref().map(|h| format!("\nhelp: {h}")).unwrap_or_default();
            format!(
                "::{} file={},line={line},col={column},title={}::{}\n",
                severity(finding.severity),
                sources.get(span.file).path.display(),
                finding.code,
                escape(&format!("{}{help}", finding.message))
            )
        })
        .collect()
}

/// A SARIF 2.1.0 log.
pub fn sarif(findings: &[Diagnostic], sources: &Sources) -> Value {
    let results: Vec<Value> = findings
        .iter()
        .map(|finding| {
            let span = finding.labels[0].span;
            let (line, column) = sources.line_column(span.file, span.start);
            let (end_line, end_column) = sources.line_column(span.file, span.end);
            json!({
                "ruleId": finding.code,
                "level": severity(finding.severity),
                "message": {"text": finding.message},
                "locations": [{"physicalLocation": {
                    "artifactLocation": {"uri": sources.get(span.file).path},
                    "region": {"startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column},
                }}],
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": {"name": "phase6", "version": env!("CARGO_PKG_VERSION"), "rules": []}}, "results": results}],
    })
}

/// `3 errors, 1 warning in 2 files`.
pub fn summary(findings: &[Diagnostic]) -> String {
    let count = |severity| findings.iter().filter(|f| f.severity == severity).count();
    let mut files: Vec<_> = findings.iter().map(|f| f.labels[0].span.file).collect();
    files.sort();
    files.dedup();
    let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    format!(
        "{}, {} in {}",
        plural(count(Severity::Error), "error"),
        plural(count(Severity::Warning), "warning"),
        plural(files.len(), "file")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostics::Span;

    #[test]
    fn a_finding_shows_place_text_code_and_help() {
        let mut sources = Sources::default();
        let file = sources.add("exports/a.yaml", "export: a\nscheam: x\n");
        let found =
            Diagnostic::error("unknown-key", "an export has no key `scheam`", Span { file, start: 10, end: 16 })
                .help("did you mean `schema`?");
        let text = human(std::slice::from_ref(&found), &sources, false);
        assert!(text.contains("error[unknown-key]: an export has no key `scheam`"), "{text}");
        assert!(text.contains("exports/a.yaml:2:1"), "{text}");
        assert!(text.contains("^^^^^^"), "{text}");
        assert!(text.contains("help: did you mean `schema`?"), "{text}");
        assert_eq!(json(&found, &sources)["column"], 1);
        assert!(github(&[found], &sources).starts_with("::error file=exports/a.yaml,line=2,col=1,title=unknown-key::"));
    }
}
