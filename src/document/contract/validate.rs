//! Holds the events of one document against its contract.

use super::collect::{Collector, number};
use super::compile::{canonical_decimal, canonical_float};
use super::rules::*;
use super::{Contract, Finding, Findings};
use crate::model::sink::{At, Key, Sink, SinkError};
use serde_json::Value;
use std::collections::HashSet;

/// The check of one document.
#[derive(Debug)]
pub struct Validator<'c> {
    contract: &'c Contract,
    /// Open containers that have rules; the first stands for the document itself.
    frames: Vec<Frame>,
    /// Containers open below a value of which nothing is asked.
    free: u32,
    /// The open property's or item's schema, for objects.
    pending: u32,
    whole: Option<Whole>,
    findings: Findings,
}

#[derive(Debug)]
struct Whole {
    validator: u32,
    collector: Collector,
    at: At,
}

#[derive(Debug)]
struct Frame {
    rules: u32,
    array: bool,
    at: At,
    count: u64,
    /// The property expected next, or the present one plus one.
    hint: u32,
    seen: u64,
    more: Vec<u64>,
    /// The present property, where the schema does not name it.
    unnamed: Option<String>,
    unique: Option<HashSet<String>>,
}

impl Frame {
    fn new(rules: u32, array: bool, at: At) -> Self {
        Self { rules, array, at, count: 0, hint: 0, seen: 0, more: Vec::new(), unnamed: None, unique: None }
    }

    /// Notes the property; whether it was there before.
    #[inline]
    fn see(&mut self, at: u32) -> bool {
        let bit = 1 << (at % 64);
        if at < 64 {
            let before = self.seen & bit != 0;
            self.seen |= bit;
            return before;
        }
        let word = at as usize / 64 - 1;
        if self.more.len() <= word {
            self.more.resize(word + 1, 0);
        }
        let before = self.more[word] & bit != 0;
        self.more[word] |= bit;
        before
    }

    fn word(&self, i: usize) -> u64 {
        if i == 0 { self.seen } else { self.more.get(i - 1).copied().unwrap_or(0) }
    }
}

impl<'c> Validator<'c> {
    pub(super) fn new(contract: &'c Contract) -> Self {
        let root = Frame::new(u32::MAX, false, At::default());
        let mut frames = Vec::with_capacity(16);
        frames.push(root);
        Self { contract, frames, free: 0, pending: contract.root, whole: None, findings: Findings::default() }
    }

    /// What was found.
    pub fn finish(self) -> Findings {
        self.findings
    }

    #[cfg(test)]
    pub(super) fn frames_open(&self) -> usize {
        self.frames.len() - 1 + self.free as usize + usize::from(self.whole.is_some())
    }

    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// The schema of the value that comes now.
    #[inline]
    fn next(&mut self) -> u32 {
        let Some(frame) = self.frames.last_mut() else { return ANY };
        if !frame.array {
            return self.pending;
        }
        let rules = &self.contract.arrays[frame.rules as usize];
        let at = frame.count as usize;
        frame.count += 1;
        if rules.prefix.is_empty() { rules.items } else { rules.prefix.get(at).copied().unwrap_or(rules.items) }
    }

    #[cold]
    fn add(&mut self, rule: &'static str, message: String, value: String, at: At) {
        let pointer = pointer(self.contract, &self.frames);
        self.findings.add(|| Finding { rule, pointer, message, value, at });
    }

    #[cold]
    fn reject(&mut self, node: u32, kind: Kind, value: String, at: At) {
        let contract = self.contract;
        let node = &contract.nodes[node as usize];
        if let (Act::NotListed | Act::Check(_), Some(listed)) = (node.acts[kind as usize], &node.listed) {
            return self.add(listed.rule, format!("{value} is not {}", listed.text), value, at);
        }
        let allowed: Vec<&str> =
            KINDS.into_iter().filter(|k| node.acts[*k as usize] != Act::Reject).map(Kind::name).collect();
        let message = match allowed.as_slice() {
            [] => "no value is allowed here".to_owned(),
            names => format!("{value} is not of type {}", list(names)),
        };
        self.add(if allowed.is_empty() { "false schema" } else { "type" }, message, value, at);
    }

    /// Whether the event belongs to a part that is collected or free.
    #[inline]
    fn elsewhere(&self) -> bool {
        self.free > 0 || self.whole.is_some()
    }

    #[cold]
    fn collect_scalar(&mut self, value: Value) {
        let Some(whole) = &mut self.whole else { return };
        if let Some(value) = whole.collector.scalar(value) {
            self.judge(&value);
        }
    }

    /// A scalar for a schema that wants the whole value.
    #[cold]
    fn whole_scalar(&mut self, validator: u32, value: Value, at: At) {
        self.whole = Some(Whole { validator, collector: Collector::default(), at });
        self.judge(&value);
    }

    fn judge(&mut self, value: &Value) {
        let Some(whole) = self.whole.take() else { return };
        let base = pointer(self.contract, &self.frames);
        self.note_unique(|| value.to_string(), whole.at);
        for error in self.contract.whole[whole.validator as usize].iter_errors(value) {
            let at = whole.at;
            self.findings.add(|| Finding {
                rule: rule_name(error.kind().keyword()),
                pointer: format!("{base}{}", error.instance_path()),
                message: shorten(&error.to_string(), 300),
                value: shorten(&error.instance().to_string(), 80),
                at,
            });
        }
    }

    #[inline]
    fn note_unique(&mut self, text: impl FnOnce() -> String, at: At) {
        let Some(frame) = self.frames.last_mut() else { return };
        if let Some(unique) = &mut frame.unique {
            let text = text();
            if !unique.insert(text.clone()) {
                self.add("uniqueItems", format!("{} is in the list twice", shorten(&text, 60)), shorten(&text, 80), at);
            }
        }
    }

    #[inline]
    fn number(&mut self, kind: Kind, value: f64, text: impl Fn() -> String, at: At) {
        if self.free > 0 {
            return;
        }
        if self.whole.is_some() {
            return self.collect_scalar(number(&text()));
        }
        let id = self.next();
        let node = &self.contract.nodes[id as usize];
        if let Some(whole) = node.whole {
            return self.whole_scalar(whole, number(&text()), at);
        }
        self.note_unique(&text, at);
        match node.acts[kind as usize] {
            Act::Accept => {}
            Act::Check(rules) => {
                if let Some((rule, says)) = self.contract.numbers[rules as usize].check(value, &text) {
                    self.add(rule, format!("{} {says}", text()), text(), at);
                }
            }
            Act::Reject | Act::NotListed => self.reject(id, kind, text(), at),
        }
    }

    #[inline]
    fn begin(&mut self, array: bool, at: At) {
        if self.free > 0 {
            self.free += 1;
            return;
        }
        if let Some(whole) = &mut self.whole {
            return whole.collector.begin(array);
        }
        let id = self.next();
        let node = &self.contract.nodes[id as usize];
        if let Some(validator) = node.whole {
            let mut collector = Collector::default();
            collector.begin(array);
            self.whole = Some(Whole { validator, collector, at });
            return;
        }
        let kind = if array { Kind::Array } else { Kind::Object };
        match node.acts[kind as usize] {
            Act::Check(rules) => {
                let mut frame = Frame::new(rules, array, at);
                if array && self.contract.arrays[rules as usize].unique {
                    frame.unique = Some(HashSet::new());
                }
                self.frames.push(frame);
            }
            act => {
                if act != Act::Accept {
                    self.reject(id, kind, if array { "[...]".into() } else { "{...}".into() }, at);
                }
                self.free = 1;
            }
        }
    }

    /// Whether the end that comes now is one of a container with rules.
    #[inline]
    fn end(&mut self) -> bool {
        if self.free > 0 {
            self.free -= 1;
            return false;
        }
        if let Some(whole) = &mut self.whole {
            if let Some(value) = whole.collector.end() {
                self.judge(&value);
            }
            return false;
        }
        self.frames.len() > 1
    }

    fn missing(&mut self, frame: &Frame, rules: &ObjectRules) {
        for (i, word) in rules.required.iter().enumerate() {
            let mut absent = word & !frame.word(i);
            while absent != 0 {
                let at = i * 64 + absent.trailing_zeros() as usize;
                let name = &rules.properties[at].name;
                self.add("required", format!("property `{name}` is missing"), String::new(), frame.at);
                absent &= absent - 1;
            }
        }
    }

    #[inline]
    fn size(&mut self, count: u64, min: u64, max: Option<u64>, rules: [&'static str; 2], what: &str, at: At) {
        if count < min {
            self.add(rules[0], format!("has {count} {what}, at least {min} are needed"), count.to_string(), at);
        } else if max.is_some_and(|max| count > max) {
            let max = max.unwrap_or_default();
            self.add(rules[1], format!("has {count} {what}, at most {max} are allowed"), count.to_string(), at);
        }
    }

    /// A key that is not the one expected.
    fn look_up(&mut self, text: &str) {
        let contract = self.contract;
        let Some(frame) = self.frames.last_mut() else { return };
        let rules = &contract.objects[frame.rules as usize];
        if let Some(at) = rules.index.get(text) {
            frame.unnamed = None;
            frame.hint = at + 1;
            self.pending = rules.properties[*at as usize].node;
            if frame.see(*at) {
                let at = frame.at;
                self.add("unique keys", format!("property `{text}` is there twice"), String::new(), at);
            }
            return;
        }
        frame.unnamed = Some(text.to_owned());
        if let Some((pattern, node)) = &rules.pattern
            && pattern.is_match(text)
        {
            self.pending = *node;
            return;
        }
        self.pending = rules.additional;
        if rules.additional == NEVER {
            let at = frame.at;
            self.pending = ANY;
            let known = rules.properties.iter().map(|p| &*p.name);
            let hint = crate::diagnostics::nearest(text, known).map(|n| format!("; did you mean `{n}`?"));
            let message = format!("property `{text}` is not in the contract{}", hint.unwrap_or_default());
            self.add("additionalProperties", message, String::new(), at);
        }
    }

    #[cold]
    fn check_name(&mut self, names: u32, text: &str) {
        let contract = self.contract;
        let node = &contract.nodes[names as usize];
        let at = self.frames.last().map_or(At::default(), |f| f.at);
        let problem = match (node.whole, node.acts[Kind::Str as usize]) {
            (Some(whole), _) => {
                (!contract.whole[whole as usize].is_valid(&Value::from(text))).then(|| "is not allowed".to_owned())
            }
            (None, Act::Accept) => None,
            (None, Act::Check(rules)) => contract.strings[rules as usize].check(text).map(|(_, says)| says),
            (None, Act::Reject | Act::NotListed) => Some("is not allowed".to_owned()),
        };
        if let Some(says) = problem {
            self.add("propertyNames", format!("property name `{text}` {says}"), text.to_owned(), at);
        }
    }
}

impl Sink for Validator<'_> {
    #[inline]
    fn begin_object(&mut self, at: At) -> Result<(), SinkError> {
        self.begin(false, at);
        Ok(())
    }

    #[inline]
    fn key(&mut self, key: &Key) -> Result<(), SinkError> {
        if self.free > 0 {
            return Ok(());
        }
        if let Some(whole) = &mut self.whole {
            whole.collector.key(key.text());
            return Ok(());
        }
        let contract = self.contract;
        let Some(frame) = self.frames.last_mut() else { return Ok(()) };
        let Some(rules) = contract.objects.get(frame.rules as usize) else { return Ok(()) };
        frame.count += 1;
        let hint = frame.hint;
        match rules.properties.get(hint as usize) {
            Some(property) if *property.name == *key.text() && !frame.see(hint) => {
                frame.hint = hint + 1;
                frame.unnamed = None;
                self.pending = property.node;
            }
            _ => self.look_up(key.text()),
        }
        if let Some(names) = rules.names {
            self.check_name(names, key.text());
        }
        Ok(())
    }

    #[inline]
    fn end_object(&mut self) -> Result<(), SinkError> {
        if self.end()
            && let Some(frame) = self.frames.pop()
        {
            let rules = &self.contract.objects[frame.rules as usize];
            self.missing(&frame, rules);
            self.size(frame.count, rules.min, rules.max, ["minProperties", "maxProperties"], "properties", frame.at);
        }
        Ok(())
    }

    #[inline]
    fn begin_array(&mut self, at: At) -> Result<(), SinkError> {
        self.begin(true, at);
        Ok(())
    }

    #[inline]
    fn end_array(&mut self) -> Result<(), SinkError> {
        if self.end()
            && let Some(frame) = self.frames.pop()
        {
            let rules = &self.contract.arrays[frame.rules as usize];
            self.size(frame.count, rules.min, rules.max, ["minItems", "maxItems"], "items", frame.at);
        }
        Ok(())
    }

    #[inline]
    fn null(&mut self, at: At) -> Result<(), SinkError> {
        if self.elsewhere() {
            self.collect_scalar(Value::Null);
            return Ok(());
        }
        let id = self.next();
        let node = &self.contract.nodes[id as usize];
        if let Some(whole) = node.whole {
            self.whole_scalar(whole, Value::Null, at);
            return Ok(());
        }
        self.note_unique(|| "null".into(), at);
        if node.acts[Kind::Null as usize] != Act::Accept {
            self.reject(id, Kind::Null, "null".into(), at);
        }
        Ok(())
    }

    #[inline]
    fn bool(&mut self, value: bool, at: At) -> Result<(), SinkError> {
        if self.elsewhere() {
            self.collect_scalar(Value::Bool(value));
            return Ok(());
        }
        let id = self.next();
        let node = &self.contract.nodes[id as usize];
        if let Some(whole) = node.whole {
            self.whole_scalar(whole, Value::Bool(value), at);
            return Ok(());
        }
        self.note_unique(|| value.to_string(), at);
        let fine = match node.acts[Kind::Bool as usize] {
            Act::Accept => true,
            Act::Check(_) => node.listed.as_ref().is_none_or(|l| l.bools[usize::from(value)]),
            Act::Reject | Act::NotListed => false,
        };
        if !fine {
            self.reject(id, Kind::Bool, value.to_string(), at);
        }
        Ok(())
    }

    #[inline]
    fn int(&mut self, value: i64, at: At) -> Result<(), SinkError> {
        self.number(Kind::Integer, value as f64, || value.to_string(), at);
        Ok(())
    }

    #[inline]
    fn float(&mut self, value: f64, at: At) -> Result<(), SinkError> {
        let kind = if value.fract() == 0.0 { Kind::Integer } else { Kind::Number };
        self.number(kind, value, || canonical_float(value), at);
        Ok(())
    }

    #[inline]
    fn decimal(&mut self, value: i128, scale: u8, at: At) -> Result<(), SinkError> {
        if self.free > 0 {
            return Ok(());
        }
        let text = || canonical_decimal(value, scale);
        let (whole, float) = decimal_parts(value, scale);
        self.number(if whole { Kind::Integer } else { Kind::Number }, float, text, at);
        Ok(())
    }

    #[inline]
    fn str(&mut self, value: &str, at: At) -> Result<(), SinkError> {
        if self.free > 0 {
            return Ok(());
        }
        if self.whole.is_some() {
            self.collect_scalar(Value::from(value));
            return Ok(());
        }
        let id = self.next();
        let node = &self.contract.nodes[id as usize];
        if let Some(whole) = node.whole {
            self.whole_scalar(whole, Value::from(value), at);
            return Ok(());
        }
        self.note_unique(|| format!("\"{value}\""), at);
        match node.acts[Kind::Str as usize] {
            Act::Accept => {}
            Act::Check(rules) => {
                if let Some((rule, says)) = self.contract.strings[rules as usize].check(value) {
                    let shown = format!("\"{}\"", shorten(value, 80));
                    self.add(rule, format!("{shown} {says}"), shown, at);
                }
            }
            Act::Reject | Act::NotListed => {
                self.reject(id, Kind::Str, format!("\"{}\"", shorten(value, 80)), at);
            }
        }
        Ok(())
    }
}

/// Whether a NUMERIC has no fraction, and the nearest float, as a reader of its JSON would see it.
#[inline]
fn decimal_parts(value: i128, scale: u8) -> (bool, f64) {
    const UNITS: [i64; 19] = {
        let mut units = [1; 19];
        let mut i = 1;
        while i < 19 {
            units[i] = units[i - 1] * 10;
            i += 1;
        }
        units
    };
    match (i64::try_from(value), UNITS.get(usize::from(scale))) {
        // Both are exact in a float below 2^53, so that the division is rounded once.
        (Ok(small), Some(unit)) if small.unsigned_abs() < 1 << 53 && *unit < 1 << 53 => {
            (small % unit == 0, small as f64 / *unit as f64)
        }
        _ => {
            let text = canonical_decimal(value, scale);
            (!text.contains('.'), text.parse().unwrap_or(f64::NAN))
        }
    }
}

/// The JSON pointer of the present value.
fn pointer(contract: &Contract, frames: &[Frame]) -> String {
    let mut out = String::new();
    for frame in frames.iter().skip(1) {
        out.push('/');
        if frame.array {
            out.push_str(&frame.count.saturating_sub(1).to_string());
            continue;
        }
        let rules = &contract.objects[frame.rules as usize];
        let name = match &frame.unnamed {
            Some(name) => name,
            None => rules.properties.get((frame.hint as usize).wrapping_sub(1)).map_or("", |p| &*p.name),
        };
        out.push_str(&name.replace('~', "~0").replace('/', "~1"));
    }
    out
}

fn list(names: &[&str]) -> String {
    // `number` says `integer` too.
    let names: Vec<&str> = names.iter().copied().filter(|n| *n != "integer" || !names.contains(&"number")).collect();
    names.join(" or ")
}

/// A text of at most `limit` characters.
pub fn shorten(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

/// The keyword as one of the known names.
fn rule_name(keyword: &str) -> &'static str {
    super::compile::keyword(keyword).unwrap_or("schema")
}
