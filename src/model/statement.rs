//! A bound SQL statement: text with named parameters, and their typed values.

use super::types::Type;
use std::time::Duration;

/// One statement, ready for a warehouse: GoogleSQL text whose `@name` parameters are all in `params`.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// What the statement is called in reports: `predictions.games`.
    pub name: String,
    pub sql: String,
    pub params: Vec<Param>,
    pub purpose: Purpose,
}

impl Statement {
    /// A statement that runs for nobody in particular.
    pub fn new(name: impl Into<String>, sql: impl Into<String>, params: Vec<Param>) -> Self {
        Self { name: name.into(), sql: sql.into(), params, purpose: Purpose::default() }
    }
}

/// What a statement runs for: told to a warehouse that bills its jobs and keeps records of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Purpose {
    /// The export, empty for a statement of the command line.
    pub export: String,
    /// The run, empty outside of runs.
    pub run_id: String,
    /// What it may be billed at the most, in bytes, where the project says less than the warehouse's own limit.
    pub max_bytes_billed: Option<u64>,
    /// When the warehouse shall stop it by itself, should we no longer be there to do so.
    pub time_limit: Option<Duration>,
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
