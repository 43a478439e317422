//! A bound SQL statement: text with named parameters, and their typed values.

use super::types::Type;

/// One statement, ready for a warehouse: GoogleSQL text whose `@name` parameters are all in `params`.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// What the statement is called in reports: `predictions.games`.
    pub name: String,
    pub sql: String,
    pub params: Vec<Param>,
}

/// A named, typed parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    pub name: String,
    pub ty: Type,
    pub value: Value,
}

/// A parameter's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int64(i64),
    Float64(f64),
    /// Everything that is written as text: STRING, DATE `2025-12-12`, TIMESTAMP in RFC 3339, NUMERIC in digits …
    Text(String),
    Array(Vec<Value>),
}

impl Value {
    /// The value as JSON, for records.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Value::Null => serde_json::Value::Null,
            Value::Bool(v) => (*v).into(),
            Value::Int64(v) => (*v).into(),
            Value::Float64(v) => (*v).into(),
            Value::Text(text) => text.as_str().into(),
            Value::Array(items) => items.iter().map(Value::to_json).collect(),
        }
    }
}
