//! A JSON Schema (2020-12) as a validator of events: what reports are made of is checked while the document is written,
//! everything else falls back to the `jsonschema` crate on the part of the document that it speaks of.

use regex::Regex;
use serde_json::Value;
use std::collections::HashMap;

/// Bits of the types that a value may have.
pub mod types {
    pub const NULL: u8 = 1;
    pub const BOOL: u8 = 2;
    pub const INTEGER: u8 = 4;
    /// Numbers that are no integers.
    pub const FRACTION: u8 = 8;
    pub const STRING: u8 = 16;
    pub const ARRAY: u8 = 32;
    pub const OBJECT: u8 = 64;
    pub const ANY: u8 = 127;
}

/// A compiled schema.
#[derive(Debug)]
pub struct Contract {
    pub(super) nodes: Vec<Node>,
    pub(super) root: usize,
}

/// One schema.
#[derive(Debug)]
pub(super) struct Node {
    pub types: u8,
    /// `enum` and `const`: the texts, and whether other values are among them.
    pub texts: Option<Vec<String>>,
    pub others: Vec<Value>,
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
    pub above: Option<f64>,
    pub below: Option<f64>,
    pub min_length: u64,
    pub max_length: u64,
    pub pattern: Option<Regex>,
    pub format: Option<Format>,
    pub items: Option<usize>,
    pub min_items: u64,
    pub max_items: u64,
    pub properties: Vec<(String, usize)>,
    pub by_name: HashMap<String, usize>,
    /// A bit for each required property's place in `properties`.
    pub required: u64,
    pub additional: Additional,
    pub min_properties: u64,
    pub max_properties: u64,
    /// The whole subtree is collected and checked by the library.
    pub fallback: Option<Box<jsonschema::Validator>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Additional {
    Allowed,
    Forbidden,
    Schema(usize),
}

/// A format that is asserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Date,
    DateTime,
    Time,
    Email,
    Uri,
    Uuid,
}

const ANNOTATIONS: [&str; 10] = [
    "title",
    "description",
    "examples",
    "default",
    "$comment",
    "deprecated",
    "readOnly",
    "writeOnly",
    "$schema",
    "$id",
];

/// Keywords that the streaming validator knows.
const STREAMED: [&str; 22] = [
    "type",
    "enum",
    "const",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "items",
    "minItems",
    "maxItems",
    "properties",
    "required",
    "additionalProperties",
    "minProperties",
    "maxProperties",
    "$ref",
    "$defs",
    "anyOf",
];

/// Keywords that send a subtree to the library.
const LIBRARY: [&str; 16] = [
    "oneOf",
    "allOf",
    "not",
    "if",
    "then",
    "else",
    "prefixItems",
    "contains",
    "minContains",
    "maxContains",
    "uniqueItems",
    "multipleOf",
    "patternProperties",
    "propertyNames",
    "dependentRequired",
    "dependentSchemas",
];

impl Contract {
    /// Compiles a schema; every problem is a sentence with the place in the schema.
    pub fn compile(schema: &Value) -> Result<Contract, Vec<String>> {
        let mut c = Compiler { root: schema, nodes: Vec::new(), by_pointer: HashMap::new(), problems: Vec::new() };
        let root = c.schema(schema, "");
        if c.problems.is_empty() { Ok(Contract { nodes: c.nodes, root }) } else { Err(c.problems) }
    }
}

struct Compiler<'s> {
    root: &'s Value,
    nodes: Vec<Node>,
    by_pointer: HashMap<String, usize>,
    problems: Vec<String>,
}

impl Node {
    fn any() -> Node {
        Node {
            types: types::ANY,
            texts: None,
            others: Vec::new(),
            minimum: None,
            maximum: None,
            above: None,
            below: None,
            min_length: 0,
            max_length: u64::MAX,
            pattern: None,
            format: None,
            items: None,
            min_items: 0,
            max_items: u64::MAX,
            properties: Vec::new(),
            by_name: HashMap::new(),
            required: 0,
            additional: Additional::Allowed,
            min_properties: 0,
            max_properties: u64::MAX,
            fallback: None,
        }
    }
}

impl Compiler<'_> {
    fn problem(&mut self, pointer: &str, text: impl std::fmt::Display) {
        let place = if pointer.is_empty() { "the root" } else { pointer };
        self.problems.push(format!("{place}: {text}"));
    }

    fn schema(&mut self, schema: &Value, pointer: &str) -> usize {
        if let Some(known) = self.by_pointer.get(pointer) {
            return *known;
        }
        let place = self.nodes.len();
        self.nodes.push(Node::any());
        self.by_pointer.insert(pointer.to_owned(), place);
        let node = match schema {
            Value::Bool(true) => Node::any(),
            Value::Bool(false) => Node { types: 0, ..Node::any() },
            Value::Object(map) => self.object(schema, map, pointer),
            _ => {
                self.problem(pointer, "a schema is an object, true or false");
                Node::any()
            }
        };
        self.nodes[place] = node;
        place
    }

    fn object(&mut self, schema: &Value, map: &serde_json::Map<String, Value>, pointer: &str) -> Node {
        let mut library = false;
        for (key, _) in map {
            let key = key.as_str();
            if LIBRARY.contains(&key) {
                library = true;
            } else if !STREAMED.contains(&key) && !ANNOTATIONS.contains(&key) {
                self.problem(pointer, format!("the keyword `{key}` is not known"));
            }
        }
        if let Some(reference) = map.get("$ref") {
            return self.reference(reference, map, pointer);
        }
        if let Some(branches) = map.get("anyOf") {
            match self.nullable(branches, map, pointer) {
                Some(node) => return node,
                None => library = true,
            }
        }
        if library {
            return self.fallback(schema, pointer);
        }
        let mut node = Node::any();
        self.scalars(&mut node, map, pointer);
        self.containers(&mut node, map, pointer);
        node
    }

    /// `{"$ref": "#/$defs/x"}`: the target's node again, so that a schema may refer to itself.
    fn reference(&mut self, reference: &Value, map: &serde_json::Map<String, Value>, pointer: &str) -> Node {
        let Some(target) = reference.as_str().and_then(|r| r.strip_prefix('#')) else {
            self.problem(pointer, "`$ref` has to point into this file: `#/$defs/…`");
            return Node::any();
        };
        if map.keys().any(|k| k != "$ref" && k != "$defs" && !ANNOTATIONS.contains(&k.as_str())) {
            self.problem(pointer, "`$ref` stands alone, so that it is clear what holds");
        }
        match self.root.pointer(target) {
            // A node of its own that allows what the target allows; recursion ends at `by_pointer`.
            Some(found) if found.is_object() && found.get("$ref").is_none() => {
                let found = found.clone();
                let library = found.as_object().is_some_and(|m| m.keys().any(|k| LIBRARY.contains(&k.as_str())));
                if library { self.fallback(&found, target) } else { self.object_once(&found, target) }
            }
            _ => {
                self.problem(pointer, format!("`$ref` points to `{target}`, which is no schema"));
                Node::any()
            }
        }
    }

    fn object_once(&mut self, schema: &Value, pointer: &str) -> Node {
        match schema.as_object() {
            Some(map) if self.by_pointer.len() < 10_000 => self.object(schema, &map.clone(), pointer),
            _ => {
                self.problem(pointer, "the schema refers to itself without end");
                Node::any()
            }
        }
    }

    /// `anyOf: [{type: "null"}, X]` is X or null.
    fn nullable(&mut self, branches: &Value, map: &serde_json::Map<String, Value>, pointer: &str) -> Option<Node> {
        let branches = branches.as_array().filter(|b| b.len() == 2)?;
        if map.keys().any(|k| k != "anyOf" && !ANNOTATIONS.contains(&k.as_str())) {
            return None;
        }
        let null = branches.iter().position(|b| b["type"] == "null" && b.as_object().is_some_and(|m| m.len() == 1))?;
        let other = 1 - null;
        let inner = self.schema(&branches[other].clone(), &format!("{pointer}/anyOf/{other}"));
        let mut node = std::mem::replace(&mut self.nodes[inner], Node::any());
        if node.fallback.is_some() {
            return None;
        }
        node.types |= types::NULL;
        if node.texts.is_some() {
            node.others.push(Value::Null);
        }
        Some(node)
    }

    /// The library looks at this subtree. References are resolved against the whole schema.
    fn fallback(&mut self, schema: &Value, pointer: &str) -> Node {
        let mut whole = schema.clone();
        if let (Some(defs), Some(map)) = (self.root.get("$defs"), whole.as_object_mut()) {
            map.insert("$defs".to_owned(), defs.clone());
        }
        match jsonschema::draft202012::options().should_validate_formats(true).build(&whole) {
            Ok(validator) => Node { fallback: Some(Box::new(validator)), ..Node::any() },
            Err(error) => {
                self.problem(pointer, error);
                Node::any()
            }
        }
    }

    fn scalars(&mut self, node: &mut Node, map: &serde_json::Map<String, Value>, pointer: &str) {
        if let Some(ty) = map.get("type") {
            let names: Vec<&Value> = ty.as_array().map_or_else(|| vec![ty], |a| a.iter().collect());
            node.types = names.iter().map(|n| self.type_bits(n, pointer)).fold(0, |a, b| a | b);
        }
        let listed = match (map.get("enum"), map.get("const")) {
            (Some(Value::Array(values)), None) => Some(values.clone()),
            (None, Some(value)) => Some(vec![value.clone()]),
            (None, None) => None,
            _ => {
                self.problem(pointer, "`enum` is a list, and does not stand beside `const`");
                None
            }
        };
        if let Some(values) = listed {
            let (texts, others): (Vec<_>, Vec<_>) = values.into_iter().partition(Value::is_string);
            node.texts = Some(texts.into_iter().filter_map(|t| t.as_str().map(str::to_owned)).collect());
            if others.iter().any(|v| v.is_array() || v.is_object()) {
                self.problem(pointer, "`enum` and `const` hold texts, numbers, booleans or null");
            }
            node.others = others;
        }
        for (key, target) in [
            ("minimum", &mut node.minimum),
            ("maximum", &mut node.maximum),
            ("exclusiveMinimum", &mut node.above),
            ("exclusiveMaximum", &mut node.below),
        ] {
            *target = map.get(key).and_then(Value::as_f64);
        }
        node.min_length = self.count(map, "minLength", pointer).unwrap_or(0);
        node.max_length = self.count(map, "maxLength", pointer).unwrap_or(u64::MAX);
        if let Some(pattern) = map.get("pattern").and_then(Value::as_str) {
            match Regex::new(pattern) {
                Ok(regex) => node.pattern = Some(regex),
                Err(error) => self.problem(pointer, format!("`pattern`: {error}")),
            }
        }
        if let Some(format) = map.get("format").and_then(Value::as_str) {
            node.format = match format {
                "date" => Some(Format::Date),
                "date-time" => Some(Format::DateTime),
                "time" => Some(Format::Time),
                "email" => Some(Format::Email),
                "uri" => Some(Format::Uri),
                "uuid" => Some(Format::Uuid),
                other => {
                    self.problem(pointer, format!("the format `{other}` is not known"));
                    None
                }
            };
        }
    }

    fn type_bits(&mut self, name: &Value, pointer: &str) -> u8 {
        match name.as_str() {
            Some("null") => types::NULL,
            Some("boolean") => types::BOOL,
            Some("integer") => types::INTEGER,
            Some("number") => types::INTEGER | types::FRACTION,
            Some("string") => types::STRING,
            Some("array") => types::ARRAY,
            Some("object") => types::OBJECT,
            _ => {
                self.problem(pointer, format!("{name} is no type"));
                types::ANY
            }
        }
    }

    fn count(&mut self, map: &serde_json::Map<String, Value>, key: &str, pointer: &str) -> Option<u64> {
        let value = map.get(key)?;
        let count = value.as_u64();
        if count.is_none() {
            self.problem(pointer, format!("`{key}` has to be a whole number"));
        }
        count
    }

    fn containers(&mut self, node: &mut Node, map: &serde_json::Map<String, Value>, pointer: &str) {
        node.min_items = self.count(map, "minItems", pointer).unwrap_or(0);
        node.max_items = self.count(map, "maxItems", pointer).unwrap_or(u64::MAX);
        node.min_properties = self.count(map, "minProperties", pointer).unwrap_or(0);
        node.max_properties = self.count(map, "maxProperties", pointer).unwrap_or(u64::MAX);
        if let Some(items) = map.get("items") {
            node.items = Some(self.schema(items, &format!("{pointer}/items")));
        }
        for (name, schema) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let escaped = name.replace('~', "~0").replace('/', "~1");
            let child = self.schema(schema, &format!("{pointer}/properties/{escaped}"));
            node.by_name.insert(name.clone(), node.properties.len());
            node.properties.push((name.clone(), child));
        }
        node.additional = match map.get("additionalProperties") {
            None | Some(Value::Bool(true)) => Additional::Allowed,
            Some(Value::Bool(false)) => Additional::Forbidden,
            Some(schema) => Additional::Schema(self.schema(schema, &format!("{pointer}/additionalProperties"))),
        };
        for name in map.get("required").and_then(Value::as_array).into_iter().flatten() {
            let Some(name) = name.as_str() else { continue };
            let place = match node.by_name.get(name) {
                Some(place) => *place,
                None => {
                    let any = self.nodes.len();
                    self.nodes.push(Node::any());
                    node.by_name.insert(name.to_owned(), node.properties.len());
                    node.properties.push((name.to_owned(), any));
                    node.properties.len() - 1
                }
            };
            if place >= 64 {
                self.problem(pointer, "more than 64 properties with a required one among the last");
                continue;
            }
            node.required |= 1 << place;
        }
    }
}

impl Format {
    /// Whether a text has this form.
    pub fn holds(self, text: &str) -> bool {
        match self {
            Format::Date => is_date(text),
            Format::DateTime => {
                text.len() >= 20 && text.parse::<jiff::Timestamp>().is_ok() && text.as_bytes()[10] == b'T'
            }
            Format::Time => {
                text.split_once(['Z', '+', '-']).is_some_and(|(t, _)| t.parse::<jiff::civil::Time>().is_ok())
            }
            Format::Email => {
                let mut parts = text.split('@');
                matches!((parts.next(), parts.next(), parts.next()), (Some(a), Some(b), None) if !a.is_empty() && !b.is_empty() && !text.contains(' '))
            }
            Format::Uri => text.split_once(':').is_some_and(|(scheme, rest)| {
                scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                    && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
                    && !rest.is_empty()
                    && !rest.contains(|c: char| {
                        c.is_whitespace()
                            || c.is_control()
                            || matches!(c, '<' | '>' | '"' | '{' | '}' | '|' | '\\' | '^' | '`')
                    })
            }),
            Format::Uuid => {
                text.len() == 36
                    && text
                        .bytes()
                        .enumerate()
                        .all(|(i, b)| if matches!(i, 8 | 13 | 18 | 23) { b == b'-' } else { b.is_ascii_hexdigit() })
            }
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Format::Date => "date",
            Format::DateTime => "date-time",
            Format::Time => "time",
            Format::Email => "email",
            Format::Uri => "uri",
            Format::Uuid => "uuid",
        }
    }
}

/// `YYYY-MM-DD`, a day that exists; by hand, because documents hold very many.
fn is_date(text: &str) -> bool {
    let b = text.as_bytes();
    if b.len() != 10 || b[4] != b'-' || b[7] != b'-' {
        return false;
    }
    let digits = |r: std::ops::Range<usize>| {
        b[r].iter().try_fold(0u32, |n, c| c.is_ascii_digit().then(|| n * 10 + u32::from(c - b'0')))
    };
    let (Some(year), Some(month), Some(day)) = (digits(0..4), digits(5..7), digits(8..10)) else { return false };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        _ => return false,
    };
    (1..=days).contains(&day)
}
