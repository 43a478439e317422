//! Collects a subtree of a document as one value.

use serde_json::{Map, Number, Value};

/// A subtree in the making.
#[derive(Debug, Default)]
pub struct Collector {
    open: Vec<(Option<String>, Value)>,
    key: Option<String>,
}

impl Collector {
    pub fn key(&mut self, key: &str) {
        self.key = Some(key.to_owned());
    }

    pub fn begin(&mut self, array: bool) {
        let value = if array { Value::Array(Vec::new()) } else { Value::Object(Map::new()) };
        self.open.push((self.key.take(), value));
    }

    /// Closes the innermost container; the value when that was the outermost.
    pub fn end(&mut self) -> Option<Value> {
        let (key, value) = self.open.pop()?;
        self.key = key;
        self.scalar(value)
    }

    /// Adds a value; gives it back when nothing is open.
    pub fn scalar(&mut self, value: Value) -> Option<Value> {
        match self.open.last_mut() {
            None => return Some(value),
            Some((_, Value::Array(items))) => items.push(value),
            Some((_, Value::Object(entries))) => {
                entries.insert(self.key.take().unwrap_or_default(), value);
            }
            Some(_) => {}
        }
        None
    }
}

/// A number from its JSON text.
pub fn number(text: &str) -> Value {
    text.parse::<Number>().map_or(Value::Null, Value::Number)
}
