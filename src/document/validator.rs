//! Runs a [`Contract`] over the events of one document.

use super::contract::{Additional, Contract, Node, types};
use crate::model::sink::{At, Key, Sink, SinkError};
use serde_json::Value;

/// How many findings are kept; the others are counted.
pub const MAX_FINDINGS: usize = 20;

/// One finding about a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The schema's keyword, or the guard.
    pub rule: &'static str,
    /// JSON pointer in the document.
    pub pointer: String,
    pub message: String,
    pub value: Option<String>,
    /// The node of the shape that produced the value.
    pub at: At,
}

/// A running validation.
pub struct Validator<'c> {
    contract: &'c Contract,
    stack: Vec<Frame>,
    /// The schema of the value that comes next; `None` = anything.
    next: Option<usize>,
    /// A subtree that is collected for the library.
    collector: Option<Collector>,
    pub findings: Vec<Finding>,
    pub total: usize,
}

struct Frame {
    schema: Option<usize>,
    is_object: bool,
    /// The property that is at work; an unknown key's name is in `key`.
    current: usize,
    key: String,
    count: u64,
    seen: u64,
    /// The property after the last one: where the next key is looked for first.
    hint: usize,
    at: At,
}

struct Collector {
    schema: usize,
    at: At,
    open: Vec<(Value, String)>,
}

type Done = Result<(), SinkError>;

impl<'c> Validator<'c> {
    pub fn new(contract: &'c Contract) -> Self {
        Self { contract, stack: Vec::new(), next: Some(contract.root), collector: None, findings: Vec::new(), total: 0 }
    }

    fn pointer(&self) -> String {
        let mut pointer = String::new();
        for frame in &self.stack {
            pointer.push('/');
            if frame.is_object {
                let known = frame.schema.and_then(|s| self.contract.nodes[s].properties.get(frame.current));
                let key = known.map_or(frame.key.as_str(), |(name, _)| name.as_str());
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
            } else {
                pointer.push_str(&frame.count.saturating_sub(1).to_string());
            }
        }
        pointer
    }

    #[cold]
    fn find(&mut self, rule: &'static str, message: String, value: Option<String>, at: At) {
        self.total += 1;
        if self.findings.len() < MAX_FINDINGS {
            let pointer = self.pointer();
            self.findings.push(Finding { rule, pointer, message, value, at });
        }
    }

    /// The schema of the value that begins now.
    #[inline]
    fn value_begins(&mut self) -> Option<usize> {
        match self.stack.last_mut() {
            Some(frame) if !frame.is_object => {
                frame.count += 1;
                frame.schema.and_then(|s| self.contract.nodes[s].items)
            }
            _ => self.next.take(),
        }
    }

    #[inline]
    fn scalar(&mut self, kind: u8, at: At, shown: impl Fn() -> String, json: impl Fn() -> Value) -> Option<&'c Node> {
        let schema = self.value_begins()?;
        let contract = self.contract;
        let node = &contract.nodes[schema];
        if node.fallback.is_some() {
            self.library(schema, &json(), at);
            return None;
        }
        if node.types & kind == 0 {
            self.find("type", format!("{} is {}", named(kind), wanted(node.types)), Some(shown()), at);
            return None;
        }
        Some(node)
    }

    fn library(&mut self, schema: usize, value: &Value, at: At) {
        let contract = self.contract;
        let Some(validator) = &contract.nodes[schema].fallback else { return };
        for error in validator.iter_errors(value) {
            let base = self.pointer();
            self.total += 1;
            if self.findings.len() < MAX_FINDINGS {
                self.findings.push(Finding {
                    rule: "schema",
                    pointer: format!("{base}{}", error.instance_path()),
                    message: shortened(&error.to_string()),
                    value: None,
                    at,
                });
            }
        }
    }

    fn number(&mut self, node: &Node, value: f64, at: At, shown: impl Fn() -> String) {
        if node.minimum.is_some_and(|m| value < m) {
            self.find("minimum", format!("the number is below {}", node.minimum.unwrap_or(0.0)), Some(shown()), at);
        }
        if node.maximum.is_some_and(|m| value > m) {
            self.find("maximum", format!("the number is above {}", node.maximum.unwrap_or(0.0)), Some(shown()), at);
        }
        if node.above.is_some_and(|m| value <= m) {
            self.find(
                "exclusiveMinimum",
                format!("the number is not above {}", node.above.unwrap_or(0.0)),
                Some(shown()),
                at,
            );
        }
        if node.below.is_some_and(|m| value >= m) {
            self.find(
                "exclusiveMaximum",
                format!("the number is not below {}", node.below.unwrap_or(0.0)),
                Some(shown()),
                at,
            );
        }
        if node.texts.is_some() && !node.others.iter().any(|o| o.as_f64() == Some(value)) {
            self.find("enum", format!("the value is not one of {}", listed(node)), Some(shown()), at);
        }
    }

    fn open(&mut self, is_object: bool, at: At) {
        let schema = self.value_begins();
        let mut schema = schema;
        if let Some(s) = schema {
            let node = &self.contract.nodes[s];
            if node.fallback.is_some() {
                let empty = if is_object { Value::Object(Default::default()) } else { Value::Array(Vec::new()) };
                self.collector = Some(Collector { schema: s, at, open: vec![(empty, String::new())] });
                return;
            }
            let kind = if is_object { types::OBJECT } else { types::ARRAY };
            if node.types & kind == 0 || node.texts.is_some() {
                self.find("type", format!("{} is {}", named(kind), wanted(node.types)), None, at);
                schema = None;
            }
        }
        self.stack.push(Frame {
            schema,
            is_object,
            current: usize::MAX,
            key: String::new(),
            count: 0,
            seen: 0,
            hint: 0,
            at,
        });
    }

    fn close(&mut self) {
        let Some(frame) = self.stack.pop() else { return };
        let Some(schema) = frame.schema else { return };
        let contract = self.contract;
        let node = &contract.nodes[schema];
        if frame.is_object {
            let missing = node.required & !frame.seen;
            if missing != 0 {
                for (i, (name, _)) in node.properties.iter().enumerate().take(64) {
                    if missing & (1 << i) != 0 {
                        self.find("required", format!("the key `{name}` is missing"), None, frame.at);
                    }
                }
            }
            if frame.count < node.min_properties || frame.count > node.max_properties {
                self.find("maxProperties", format!("there are {} keys", frame.count), None, frame.at);
            }
        } else if frame.count < node.min_items {
            self.find(
                "minItems",
                format!("there are {} items, at least {} are needed", frame.count, node.min_items),
                None,
                frame.at,
            );
        } else if frame.count > node.max_items {
            self.find(
                "maxItems",
                format!("there are {} items, at most {} are allowed", frame.count, node.max_items),
                None,
                frame.at,
            );
        }
    }

    /// Adds a scalar to the subtree that is collected.
    fn collect(&mut self, value: Value) {
        if let Some(Collector { open, .. }) = &mut self.collector {
            match open.last_mut() {
                Some((Value::Array(items), _)) => items.push(value),
                Some((Value::Object(map), key)) => drop(map.insert(std::mem::take(key), value)),
                _ => {}
            }
        }
    }

    fn collected_close(&mut self) {
        let Some(collector) = &mut self.collector else { return };
        let Some((value, _)) = collector.open.pop() else { return };
        if collector.open.is_empty() {
            let (schema, at) = (collector.schema, collector.at);
            self.collector = None;
            self.library(schema, &value, at);
        } else {
            self.collect(value);
        }
    }
}

impl Sink for Validator<'_> {
    fn begin_object(&mut self, at: At) -> Done {
        match &mut self.collector {
            Some(collector) => collector.open.push((Value::Object(Default::default()), String::new())),
            None => self.open(true, at),
        }
        Ok(())
    }

    #[inline]
    fn key(&mut self, key: &Key) -> Done {
        if let Some(collector) = &mut self.collector {
            if let Some((_, name)) = collector.open.last_mut() {
                key.text().clone_into(name);
            }
            return Ok(());
        }
        let contract = self.contract;
        let Some(frame) = self.stack.last_mut() else { return Ok(()) };
        frame.count += 1;
        self.next = None;
        let Some(schema) = frame.schema else {
            key.text().clone_into(&mut frame.key);
            return Ok(());
        };
        let node = &contract.nodes[schema];
        let place = match node.properties.get(frame.hint) {
            Some((name, _)) if name == key.text() => Some(frame.hint),
            _ => node.by_name.get(key.text()).copied(),
        };
        match place {
            Some(place) => {
                frame.hint = place + 1;
                frame.current = place;
                if place < 64 {
                    frame.seen |= 1 << place;
                }
                self.next = Some(node.properties[place].1);
            }
            None => {
                frame.current = usize::MAX;
                key.text().clone_into(&mut frame.key);
                match node.additional {
                    Additional::Allowed => {}
                    Additional::Schema(schema) => self.next = Some(schema),
                    Additional::Forbidden => {
                        let at = frame.at;
                        self.find(
                            "additionalProperties",
                            format!("the key `{}` is not in the contract", key.text()),
                            None,
                            at,
                        );
                    }
                }
            }
        }
        Ok(())
    }

    fn end_object(&mut self) -> Done {
        if self.collector.is_some() {
            self.collected_close()
        } else {
            self.close()
        }
        Ok(())
    }

    fn begin_array(&mut self, at: At) -> Done {
        match &mut self.collector {
            Some(collector) => collector.open.push((Value::Array(Vec::new()), String::new())),
            None => self.open(false, at),
        }
        Ok(())
    }

    fn end_array(&mut self) -> Done {
        self.end_object()
    }

    fn null(&mut self, at: At) -> Done {
        if self.collector.is_some() {
            self.collect(Value::Null);
        } else if let Some(node) = self.scalar(types::NULL, at, || "null".into(), || Value::Null)
            && node.texts.is_some()
            && !node.others.contains(&Value::Null)
        {
            self.find("enum", format!("null is not one of {}", listed(node)), None, at);
        }
        Ok(())
    }

    fn bool(&mut self, value: bool, at: At) -> Done {
        if self.collector.is_some() {
            self.collect(Value::Bool(value));
        } else if let Some(node) = self.scalar(types::BOOL, at, || value.to_string(), || Value::Bool(value))
            && node.texts.is_some()
            && !node.others.contains(&Value::Bool(value))
        {
            self.find("enum", format!("the value is not one of {}", listed(node)), Some(value.to_string()), at);
        }
        Ok(())
    }

    fn int(&mut self, value: i64, at: At) -> Done {
        if self.collector.is_some() {
            self.collect(Value::from(value));
        } else if let Some(node) = self.scalar(types::INTEGER, at, || value.to_string(), || Value::from(value)) {
            self.number(node, value as f64, at, || value.to_string());
        }
        Ok(())
    }

    fn float(&mut self, value: f64, at: At) -> Done {
        let kind = if value.fract() == 0.0 { types::INTEGER } else { types::FRACTION };
        if self.collector.is_some() {
            self.collect(Value::from(value));
        } else if let Some(node) = self.scalar(kind, at, || value.to_string(), || Value::from(value)) {
            self.number(node, value, at, || value.to_string());
        }
        Ok(())
    }

    fn decimal(&mut self, value: i128, scale: u8, at: At) -> Done {
        // Most decimals are small: 128-bit division is ten times slower.
        let whole = match (i64::try_from(value), 10i64.checked_pow(u32::from(scale))) {
            (Ok(value), Some(unit)) => value % unit == 0,
            _ => value % 10i128.checked_pow(u32::from(scale)).unwrap_or(i128::MAX) == 0,
        };
        let kind = if whole { types::INTEGER } else { types::FRACTION };
        let float = || crate::shape::value::dec_to_f64(value, scale);
        let json = || if whole { Value::from(float() as i64) } else { Value::from(float()) };
        if self.collector.is_some() {
            self.collect(json());
        } else if let Some(node) = self.scalar(kind, at, || crate::shape::value::dec_text(value, scale), json) {
            let limited = node.minimum.is_some()
                || node.maximum.is_some()
                || node.above.is_some()
                || node.below.is_some()
                || node.texts.is_some();
            if limited {
                self.number(node, float(), at, || crate::shape::value::dec_text(value, scale));
            }
        }
        Ok(())
    }

    fn str(&mut self, value: &str, at: At) -> Done {
        if self.collector.is_some() {
            self.collect(Value::from(value));
            return Ok(());
        }
        let Some(node) = self.scalar(types::STRING, at, || shortened(value), || Value::from(value)) else {
            return Ok(());
        };
        if let Some(texts) = &node.texts
            && !texts.iter().any(|t| t == value)
        {
            self.find("enum", format!("the text is not one of {}", listed(node)), Some(shortened(value)), at);
        }
        if node.min_length > 0 || node.max_length != u64::MAX {
            let length = value.chars().count() as u64;
            if length < node.min_length {
                self.find(
                    "minLength",
                    format!("the text has {length} characters, at least {} are needed", node.min_length),
                    Some(shortened(value)),
                    at,
                );
            } else if length > node.max_length {
                self.find(
                    "maxLength",
                    format!("the text has {length} characters, at most {} are allowed", node.max_length),
                    Some(shortened(value)),
                    at,
                );
            }
        }
        if let Some(pattern) = &node.pattern
            && !pattern.is_match(value)
        {
            self.find("pattern", format!("the text does not match `{pattern}`"), Some(shortened(value)), at);
        }
        if let Some(format) = node.format
            && !format.holds(value)
        {
            self.find("format", format!("the text is no {}", format.name()), Some(shortened(value)), at);
        }
        Ok(())
    }
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(80).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

fn named(kind: u8) -> &'static str {
    match kind {
        types::NULL => "null",
        types::BOOL => "a boolean",
        types::INTEGER => "a whole number",
        types::FRACTION => "a number with a fraction",
        types::STRING => "a text",
        types::ARRAY => "a list",
        _ => "an object",
    }
}

fn wanted(bits: u8) -> String {
    let mut names = Vec::new();
    for (bit, name) in [
        (types::STRING, "text"),
        (types::BOOL, "boolean"),
        (types::ARRAY, "list"),
        (types::OBJECT, "object"),
        (types::NULL, "null"),
    ] {
        if bits & bit != 0 {
            names.push(name);
        }
    }
    if bits & types::FRACTION != 0 {
        names.insert(0, "number");
    } else if bits & types::INTEGER != 0 {
        names.insert(0, "whole number");
    }
    if names.is_empty() {
        "not allowed here".into()
    } else {
        format!("not what the contract allows: {}", names.join(" or "))
    }
}

fn listed(node: &Node) -> String {
    let texts = node.texts.iter().flatten().map(|t| format!("`{t}`"));
    texts.chain(node.others.iter().map(|o| o.to_string())).collect::<Vec<_>>().join(", ")
}
