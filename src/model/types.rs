//! GoogleSQL's types, as a query returns them.

use std::fmt;

/// A GoogleSQL type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Type {
    Bool,
    Int64,
    Float64,
    Numeric,
    BigNumeric,
    String,
    Bytes,
    Date,
    Time,
    DateTime,
    Timestamp,
    Interval,
    Json,
    Geography,
    Array(Box<Type>),
    Struct(Vec<StructField>),
    Range(Box<Type>),
}

/// A field of a STRUCT; an anonymous field has an empty name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StructField {
    pub name: String,
    pub ty: Type,
}

/// A column of a table or of a query's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub ty: Type,
    /// Whether the value can be NULL, as far as can be told before running.
    pub nullable: bool,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Bool => f.write_str("BOOL"),
            Type::Int64 => f.write_str("INT64"),
            Type::Float64 => f.write_str("FLOAT64"),
            Type::Numeric => f.write_str("NUMERIC"),
            Type::BigNumeric => f.write_str("BIGNUMERIC"),
            Type::String => f.write_str("STRING"),
            Type::Bytes => f.write_str("BYTES"),
            Type::Date => f.write_str("DATE"),
            Type::Time => f.write_str("TIME"),
            Type::DateTime => f.write_str("DATETIME"),
            Type::Timestamp => f.write_str("TIMESTAMP"),
            Type::Interval => f.write_str("INTERVAL"),
            Type::Json => f.write_str("JSON"),
            Type::Geography => f.write_str("GEOGRAPHY"),
            Type::Array(item) => write!(f, "ARRAY<{item}>"),
            Type::Range(item) => write!(f, "RANGE<{item}>"),
            Type::Struct(fields) => {
                f.write_str("STRUCT<")?;
                for (i, field) in fields.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    if !field.name.is_empty() {
                        write!(f, "{} ", field.name)?;
                    }
                    write!(f, "{}", field.ty)?;
                }
                f.write_str(">")
            }
        }
    }
}
