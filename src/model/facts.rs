//! What a request says: the named, typed values that SQL, shapes and paths may use.

use super::{Type, Value};
use std::collections::BTreeMap;

/// The values of one request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Parameters (with `target_date`), `today` (DATE) and `now` (TIMESTAMP, RFC 3339).
    pub values: BTreeMap<String, (Type, Value)>,
    /// The project's constants, read as `vars.name`.
    pub vars: BTreeMap<String, (Type, Value)>,
}

impl Facts {
    /// The fact written `name` or `vars.name`.
    pub fn get(&self, path: &str) -> Option<&(Type, Value)> {
        match path.strip_prefix("vars.") {
            Some(name) => self.vars.get(name),
            None => self.values.get(path),
        }
    }

    /// Every name, as it is written.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.values.keys().cloned().chain(self.vars.keys().map(|name| format!("vars.{name}")))
    }
}

/// The type that a plain value of a YAML file has.
pub fn type_of(value: &Value) -> Type {
    match value {
        Value::Bool(_) => Type::Bool,
        Value::Int64(_) => Type::Int64,
        Value::Float64(_) => Type::Float64,
        Value::Null | Value::Text(_) => Type::String,
        Value::Array(items) => {
            let mut types = items.iter().map(type_of);
            let first = types.next().unwrap_or(Type::String);
            let mixed = types.any(|ty| ty != first);
            let numbers = items.iter().all(|v| matches!(v, Value::Int64(_) | Value::Float64(_)));
            Type::Array(Box::new(if !mixed {
                first
            } else if numbers {
                Type::Float64
            } else {
                Type::String
            }))
        }
    }
}
