//! Values, what computing one can come to, and how they are written in GoogleSQL.

use num_bigint::BigInt;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ty {
    Int,
    Num,
    Float,
    Str,
    Bool,
    Date,
}

pub const TYPES: [Ty; 6] = [Ty::Int, Ty::Num, Ty::Float, Ty::Str, Ty::Bool, Ty::Date];

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Int(i64),
    /// Billionths.
    Num(BigInt),
    Float(f64),
    Str(String),
    Bool(bool),
    Date(jiff::civil::Date),
}

/// What an expression comes to in one row.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Is(Value),
    Fails,
    /// The language leaves it open: a part that is not needed fails.
    Open,
}

impl Ty {
    pub fn name(self) -> &'static str {
        match self {
            Ty::Int => "INT64",
            Ty::Num => "NUMERIC",
            Ty::Float => "FLOAT64",
            Ty::Str => "STRING",
            Ty::Bool => "BOOL",
            Ty::Date => "DATE",
        }
    }
}

impl Value {
    pub fn sql(&self, ty: Ty) -> String {
        match self {
            Value::Null => format!("CAST(NULL AS {})", ty.name()),
            Value::Int(v) => v.to_string(),
            Value::Num(v) => format!("NUMERIC '{}'", numeric_text(v)),
            Value::Float(v) if v.is_finite() => format!("CAST('{v:e}' AS FLOAT64)"),
            Value::Float(v) => format!(
                "CAST('{}' AS FLOAT64)",
                if v.is_nan() {
                    "nan"
                } else if *v > 0.0 {
                    "inf"
                } else {
                    "-inf"
                }
            ),
            Value::Str(v) => format!("'{}'", v.replace('\\', "\\\\").replace('\'', "\\'")),
            Value::Bool(v) => v.to_string(),
            Value::Date(v) => format!("DATE '{v}'"),
        }
    }

    /// Equal as results: NaN is NaN, a float may differ in its last digits.
    pub fn agrees(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Float(a), Value::Float(b)) => {
                a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
            }
            _ => self == other,
        }
    }
}

/// Billionths as a decimal text without trailing zeros.
pub fn numeric_text(v: &BigInt) -> String {
    let negative = *v < BigInt::ZERO;
    let digits = format!("{:0>10}", v.magnitude().to_string());
    let (whole, fraction) = digits.split_at(digits.len() - 9);
    let text = format!("{}{whole}.{fraction}", if negative { "-" } else { "" });
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
