//! The parts of a JSON Schema that speak of a value, and the kinds of values that they take.

use serde_json::Value;

/// A schema and where it stands.
pub struct Schema<'a> {
    pub root: &'a Value,
    /// The file's path, for messages.
    pub path: &'a str,
}

/// A part of the schema.
#[derive(Clone)]
pub struct Place<'a> {
    pub value: &'a Value,
    /// Its JSON pointer in the file.
    pub pointer: String,
}

impl<'a> Place<'a> {
    /// What stands under a key.
    pub fn below(&self, key: &str) -> Option<Place<'a>> {
        let pointer = format!("{}/{}", self.pointer, key.replace('~', "~0").replace('/', "~1"));
        Some(Place { value: self.value.get(key)?, pointer })
    }

    /// What stands in a list under a key.
    pub fn list(&self, key: &str) -> Vec<Place<'a>> {
        let items = self.value.get(key).and_then(Value::as_array).into_iter().flatten();
        items.enumerate().map(|(i, value)| Place { value, pointer: format!("{}/{key}/{i}", self.pointer) }).collect()
    }
}

/// The kinds of values, by the places of their bits.
pub const KINDS: [&str; 6] = ["null", "boolean", "number", "string", "array", "object"];
pub const NULL: u8 = 1;
pub const BOOL: u8 = 2;
pub const NUMBER: u8 = 4;
pub const TEXT: u8 = 8;
pub const ARRAY: u8 = 16;
pub const OBJECT: u8 = 32;
pub const ALL: u8 = 63;

fn kind(value: &Value) -> u8 {
    match value {
        Value::Null => NULL,
        Value::Bool(_) => BOOL,
        Value::Number(_) => NUMBER,
        Value::String(_) => TEXT,
        Value::Array(_) => ARRAY,
        Value::Object(_) => OBJECT,
    }
}

impl<'a> Schema<'a> {
    /// The whole schema.
    pub fn all(&self) -> Place<'a> {
        Place { value: self.root, pointer: String::new() }
    }

    /// A part as messages name it.
    pub fn name(&self, place: &Place<'_>) -> String {
        format!("{}#{}", self.path, place.pointer)
    }

    /// The schema itself, what it refers to and all that has to hold as well.
    pub fn parts(&self, place: &Place<'a>) -> Vec<Place<'a>> {
        let mut parts = vec![place.clone()];
        let mut next = 0;
        let add = |parts: &mut Vec<Place<'a>>, part: Place<'a>| {
            if !parts.iter().any(|p| p.pointer == part.pointer) {
                parts.push(part);
            }
        };
        while next < parts.len() {
            let part = parts[next].clone();
            next += 1;
            if let Some(target) = part.value.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix('#'))
                && let Some(value) = self.root.pointer(target)
            {
                add(&mut parts, Place { value, pointer: target.to_owned() });
            }
            part.list("allOf").into_iter().for_each(|p| add(&mut parts, p));
        }
        parts
    }

    /// The kinds of values that a schema takes.
    pub fn kinds(&self, place: &Place<'a>) -> u8 {
        self.kinds_below(place, 0)
    }

    fn kinds_below(&self, place: &Place<'a>, depth: usize) -> u8 {
        let mut kinds = ALL;
        if depth > 4 {
            return kinds;
        }
        for part in self.parts(place) {
            let schema = part.value;
            if schema.as_bool() == Some(false) {
                return 0;
            }
            let named = |name: &str| match name {
                "integer" => NUMBER,
                name => KINDS.iter().position(|k| *k == name).map_or(0, |i| 1 << i),
            };
            kinds &= match schema.get("type") {
                Some(Value::String(name)) => named(name),
                Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).map(named).fold(0, |a, b| a | b),
                _ => ALL,
            };
            if let Some(values) = schema.get("enum").and_then(Value::as_array) {
                kinds &= values.iter().map(kind).fold(0, |a, b| a | b);
            }
            kinds &= schema.get("const").map_or(ALL, kind);
            for word in ["anyOf", "oneOf"] {
                let alternatives = part.list(word);
                if !alternatives.is_empty() {
                    kinds &= alternatives.iter().map(|a| self.kinds_below(a, depth + 1)).fold(0, |a, b| a | b);
                }
            }
        }
        kinds
    }
}
