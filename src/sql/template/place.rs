//! From a byte of the statement back to the line that somebody wrote.

use super::env::{MAIN, Run};
use super::scan::Shifts;
use crate::config::Query;
use crate::diagnostics::{Sources, Span};
use minijinja::{OutputSpan, OutputSpanKind};
use std::ops::Range;

/// Where a statement's text comes from.
#[derive(Debug)]
pub struct Origins {
    shifts: Shifts,
    /// In order, without overlap: place in the rendered text, included file, place in its text, copied byte by byte.
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    rendered: Range<usize>,
    file: Option<String>,
    source: Range<usize>,
    line: usize,
    exact: bool,
}

impl Origins {
    pub(super) fn plain(len: usize) -> Origins {
        let part = Part { rendered: 0..len, file: None, source: 0..len, line: 1, exact: true };
        Origins { shifts: vec![(0, 0)], parts: vec![part] }
    }

    pub(super) fn new(run: &Run, shifts: Shifts) -> Origins {
        let parts = run.spans.iter().map(|span| Part {
            rendered: span.output_range(),
            file: Some(span.name().to_owned()).filter(|n| n != MAIN),
            source: span.source_range(),
            line: span.line(),
            exact: span.kind() == OutputSpanKind::Raw,
        });
        Origins { parts: parts.collect(), shifts }
    }

    /// The place of a byte range of the statement, and a note where it lies in an included file.
    pub fn place(&self, at: Range<usize>, query: &Query, sources: Option<&Sources>) -> (Span, Option<String>) {
        let start = self.rendered(at.start);
        let end = self.rendered(at.end.max(at.start)).max(start);
        let i = self.parts.partition_point(|p| p.rendered.end <= start);
        let Some(part) = self.parts.get(i).or(self.parts.last()) else { return (query.sql_span, None) };
        let source = within(&part.rendered, &part.source, part.exact, start..end);
        let (span, note) = locate(query, part.file.as_deref(), source, sources);
        (span, note.map(|note| format!("{note}, in the part that begins at line {}", part.line)))
    }

    fn rendered(&self, at: usize) -> usize {
        let i = self.shifts.partition_point(|(new, _)| *new <= at).saturating_sub(1);
        self.shifts.get(i).map_or(at, |(new, old)| old + (at - new.min(&at)))
    }
}

/// A part of a span's output in the span's source.
pub fn source_range(span: &OutputSpan, at: Range<usize>) -> Range<usize> {
    within(&span.output_range(), &span.source_range(), span.kind() == OutputSpanKind::Raw, at)
}

fn within(rendered: &Range<usize>, source: &Range<usize>, exact: bool, at: Range<usize>) -> Range<usize> {
    if !exact {
        return source.clone();
    }
    let start = (source.start + at.start.saturating_sub(rendered.start)).min(source.end);
    let end = (source.start + at.end.saturating_sub(rendered.start)).clamp(start, source.end);
    start..end
}

/// A range of a template's text in the project's files; in an included file the place is where the query names it.
pub fn locate(
    query: &Query,
    file: Option<&str>,
    at: Range<usize>,
    sources: Option<&Sources>,
) -> (Span, Option<String>) {
    let (at, note) = match file {
        Some(file) => {
            let found = query.sql.find(file).map_or(0..0, |i| i..i + file.len());
            (found, Some(format!("in exports/{file}")))
        }
        None => (at, None),
    };
    let whole = query.sql_span;
    if query.sql_file.is_some() {
        let place = |i: usize| whole.start + (i as u32).min(whole.end - whole.start);
        return (Span { start: place(at.start), end: place(at.end), ..whole }, note);
    }
    let exact = sources.and_then(|s| {
        let written = s.get(whole.file).text.get(whole.range())?;
        let start = inline(written, &query.sql, at.start)?;
        let end = inline(written, &query.sql, at.end).unwrap_or(start).max(start);
        Some(Span { start: whole.start + start as u32, end: whole.start + end as u32, ..whole })
    });
    (exact.unwrap_or(whole), note)
}

/// An offset of a YAML scalar's value in the scalar as written: line by line, since only the indentation differs.
fn inline(written: &str, text: &str, at: usize) -> Option<usize> {
    let mut cursor = 0;
    let mut line_start = 0;
    for line in text.split_inclusive('\n') {
        let content = line.trim();
        let lead = line.len() - line.trim_start().len();
        let found = if content.is_empty() { cursor } else { cursor + written.get(cursor..)?.find(content)? };
        if at < line_start + line.len() || line_start + line.len() == text.len() {
            return Some(
                (found + (at.saturating_sub(line_start)).saturating_sub(lead).min(content.len())).min(written.len()),
            );
        }
        cursor = found + content.len();
        line_start += line.len();
    }
    None
}
