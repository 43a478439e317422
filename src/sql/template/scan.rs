//! One pass over the rendered text, which knows quotes and comments: marks and `@name`s become parameters.

use super::env::{Bound, CLOSE, MAIN, OPEN, Run, named};
use super::{Problem, suggestion};
use crate::model::{Facts, Param, Type, Value};
use std::ops::Range;

/// Where a run of the final text begins in the rendered one: (final, rendered).
pub type Shifts = Vec<(usize, usize)>;

/// The statement's text, its parameters and the shifts.
pub fn bind(run: &Run, facts: &Facts) -> Result<(String, Vec<Param>, Shifts), Vec<Problem>> {
    let mut scan = Scan {
        run,
        facts,
        out: String::with_capacity(run.text.len()),
        at: 0,
        word: String::new(),
        params: Vec::new(),
        numbered: 0,
        shifts: vec![(0, 0)],
        problems: Vec::new(),
    };
    while scan.at < run.text.len() {
        scan.step();
    }
    if scan.problems.is_empty() { Ok((scan.out, scan.params, scan.shifts)) } else { Err(scan.problems) }
}

struct Scan<'a> {
    run: &'a Run,
    facts: &'a Facts,
    out: String,
    at: usize,
    /// The last word before this place, if nothing but space and comments stands between.
    word: String,
    params: Vec<Param>,
    numbered: usize,
    shifts: Shifts,
    problems: Vec<Problem>,
}

fn in_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

impl<'a> Scan<'a> {
    fn rest(&self) -> &'a str {
        &self.run.text[self.at..]
    }

    fn step(&mut self) {
        let rest = self.rest();
        let Some(c) = rest.chars().next() else { return };
        if c == OPEN {
            self.mark();
        } else if rest.starts_with("--") || c == '#' {
            self.quoted(rest.find('\n').unwrap_or(rest.len()), "a comment");
        } else if let Some(body) = rest.strip_prefix("/*") {
            self.quoted(body.find("*/").map_or(rest.len(), |i| i + 4), "a comment");
        } else if matches!(c, '\'' | '"' | '`') {
            self.quoted(quote_len(rest, c), if c == '`' { "a quoted name" } else { "a text in quotes" });
            self.word.clear();
        } else if rest.starts_with("@@") {
            self.copy(2);
        } else if c == '@' {
            self.at_name();
        } else if in_name(c) {
            let len = rest.find(|c| !in_name(c)).unwrap_or(rest.len());
            self.word = rest[..len].to_owned();
            self.copy(len);
        } else {
            if !c.is_whitespace() {
                self.word.clear();
            }
            if c == CLOSE {
                self.problem("sql-template", "a text was cut in the middle of a value", self.at..self.at + 3, None);
            }
            self.copy(c.len_utf8());
        }
    }

    fn copy(&mut self, len: usize) {
        self.out.push_str(&self.rest()[..len]);
        self.at += len;
    }

    /// Quotes and comments are kept as they are; a value in them is a mistake.
    fn quoted(&mut self, len: usize, place: &str) {
        let text = &self.rest()[..len];
        for (i, _) in text.match_indices(OPEN) {
            let end = text[i..].find(CLOSE).map_or(len, |n| i + n + 3);
            self.problem(
                "value-in-quotes",
                format!("a value cannot stand in {place}"),
                self.at + i..self.at + end,
                Some("write the value without quotes: it becomes a typed parameter".to_owned()),
            );
        }
        self.copy(len);
    }

    fn mark(&mut self) {
        let rest = self.rest();
        let len = rest.find(CLOSE).map_or(rest.len(), |i| i + CLOSE.len_utf8());
        let at = self.at..self.at + len;
        let number = rest[..len].trim_start_matches(OPEN).trim_end_matches(CLOSE).parse::<usize>().ok();
        let Some(bound) = number.and_then(|n| self.run.bound.get(n)) else {
            self.problem("sql-template", "a text was cut in the middle of a value", at, None);
            self.at += len;
            return;
        };
        let before = self.out.ends_with(|c| in_name(c) || matches!(c, '.' | '@'));
        if before || rest[len..].starts_with(|c: char| in_name(c) || c == OPEN) {
            let help = "a value stands for itself; names of tables and columns are written out".to_owned();
            self.problem("value-in-name", "a value cannot be a part of a name", at.clone(), Some(help));
        }
        let bound = self.written(&at).and_then(|w| named(w, bound, self.facts)).unwrap_or_else(|| bound.clone());
        let text = self.parameter(bound);
        self.put(&text, len);
    }

    /// The expression that printed a mark, as written.
    fn written(&self, at: &Range<usize>) -> Option<&'a str> {
        let span = self.run.span_at(at.start).filter(|s| s.output_range() == *at)?;
        self.run.files.get(span.name())?.get(span.source_range())
    }

    fn at_name(&mut self) {
        let rest = &self.rest()[1..];
        let len = rest.find(|c| !in_name(c)).unwrap_or(rest.len());
        let name = &rest[..len];
        let path = match name.strip_prefix("vars_") {
            Some(var) if !self.facts.values.contains_key(name) => format!("vars.{var}"),
            _ => name.to_owned(),
        };
        match self.facts.get(&path) {
            Some((ty, value)) => {
                let text = self.parameter(Bound { fact: Some(path), ty: Some(ty.clone()), value: value.clone() });
                self.put(&text, len + 1);
            }
            None => {
                let help = Some(suggestion(&path, self.facts));
                let message = format!("there is no value `@{name}`");
                self.problem("unknown-name", message, self.at..self.at + len + 1, help);
                self.copy(len + 1);
            }
        }
    }

    /// Replaces `len` bytes of the rendered text.
    fn put(&mut self, text: &str, len: usize) {
        self.shifts.push((self.out.len(), self.at));
        self.out.push_str(text);
        self.at += len;
        self.shifts.push((self.out.len(), self.at));
        self.word.clear();
    }

    /// The parameter's text; equal facts and equal values are one parameter.
    fn parameter(&mut self, bound: Bound) -> String {
        // A NULL without a type is the same for every value, so it may be text.
        let Some(ty) = bound.ty else { return "NULL".to_owned() };
        let is_list = matches!(ty, Type::Array(_));
        let name = match &bound.fact {
            Some(path) => path.replace('.', "_"),
            None => match self.numbered_like(&ty, &bound.value) {
                Some(name) => name,
                None => self.next_name(),
            },
        };
        let name = self.add(name, ty, bound.value);
        if is_list && self.word.eq_ignore_ascii_case("in") { format!("UNNEST(@{name})") } else { format!("@{name}") }
    }

    fn add(&mut self, name: String, ty: Type, value: Value) -> String {
        match self.params.iter().find(|p| p.name == name) {
            Some(known) if known.ty == ty && known.value == value => name,
            // `vars.x` and a parameter called `vars_x`.
            Some(_) => {
                let other = self.next_name();
                self.params.push(Param { name: other.clone(), ty, value });
                other
            }
            None => {
                self.params.push(Param { name: name.clone(), ty, value });
                name
            }
        }
    }

    fn numbered_like(&self, ty: &Type, value: &Value) -> Option<String> {
        let numbered = |name: &str| name.strip_prefix('p').is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
        let same = |p: &&Param| numbered(&p.name) && !self.facts.values.contains_key(&p.name);
        self.params.iter().filter(same).find(|p| p.ty == *ty && p.value == *value).map(|p| p.name.clone())
    }

    fn next_name(&mut self) -> String {
        loop {
            self.numbered += 1;
            let name = format!("p{}", self.numbered);
            if !self.facts.values.contains_key(&name) {
                return name;
            }
        }
    }

    fn problem(&mut self, code: &'static str, message: impl Into<String>, at: Range<usize>, help: Option<String>) {
        let (file, at) = origin(self.run, at);
        self.problems.push(Problem { code, message: message.into(), file, at, help });
    }
}

/// A range of the rendered text in the template that wrote it.
pub fn origin(run: &Run, at: Range<usize>) -> (Option<String>, Range<usize>) {
    let Some(span) = run.span_at(at.start) else { return (None, 0..0) };
    (Some(span.name().to_owned()).filter(|n| n != MAIN), super::place::source_range(span, at))
}

/// The length of a quoted text, quotes included; open to the end where it is not closed.
fn quote_len(rest: &str, quote: char) -> usize {
    let triple: String = [quote; 3].iter().collect();
    let close = if quote != '`' && rest.starts_with(&triple) { triple } else { quote.to_string() };
    let mut at = close.len();
    while let Some(c) = rest[at..].chars().next() {
        if rest[at..].starts_with(&close) {
            return at + close.len();
        }
        at += c.len_utf8();
        if c == '\\' {
            at += rest[at..].chars().next().map_or(0, char::len_utf8);
        }
    }
    rest.len()
}
