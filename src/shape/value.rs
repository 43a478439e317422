//! Values while a shape runs: borrowed from the rows where they can be.

use super::run::RowSet;
use super::table::Fx;
pub use crate::model::dates::date_text;
use crate::model::dates::{civil, clock_text, days};
use crate::model::types::StructField;
use crate::model::{Column, Data, Type, Value};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::hash::Hasher;
use std::rc::Rc;

/// A value.
#[derive(Debug, Clone)]
pub enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// `value / 10^scale`
    Dec(i128, u8),
    Str(Cow<'a, str>),
    Date(i32),
    Time(i64),
    DateTime(i64),
    Timestamp(i64),
    Json(Rc<serde_json::Value>),
    /// A part of a list column's child.
    Slice {
        child: &'a Column,
        ty: Option<&'a Type>,
        start: u32,
        end: u32,
    },
    /// A row of a struct column.
    Struct {
        columns: &'a [Column],
        fields: Option<&'a [StructField]>,
        row: u32,
    },
    List(Rc<Vec<Val<'a>>>),
    Dict(Rc<Vec<(Val<'a>, Val<'a>)>>),
    Rows(RowSet<'a>),
    /// A whole row: its columns are its attributes.
    Row {
        table: u32,
        row: u32,
    },
}

impl<'a> Val<'a> {
    /// A cell of a column. JSON columns are parsed when their type says so.
    pub fn cell(column: &'a Column, ty: Option<&'a Type>, row: usize) -> Val<'a> {
        if column.is_null(row) {
            return Val::Null;
        }
        match &column.data {
            Data::Bool(v) => Val::Bool(v[row]),
            Data::Int64(v) => Val::Int(v[row]),
            Data::Float64(v) => Val::Float(v[row]),
            Data::Decimal { scale, values } => Val::Dec(values[row], *scale),
            Data::Str(v) => match ty {
                Some(Type::Json) => serde_json::from_str(v.get(row))
                    .map_or(Val::Str(Cow::Borrowed(v.get(row))), |j| Val::Json(Rc::new(j))),
                Some(Type::BigNumeric) => match parse_decimal(v.get(row)) {
                    Some((value, scale)) => Val::Dec(value, scale),
                    None => Val::Str(Cow::Borrowed(v.get(row))),
                },
                _ => Val::Str(Cow::Borrowed(v.get(row))),
            },
            Data::Date(v) => Val::Date(v[row]),
            Data::Time(v) => Val::Time(v[row]),
            Data::DateTime(v) => Val::DateTime(v[row]),
            Data::Timestamp(v) => Val::Timestamp(v[row]),
            Data::List { offsets, child } => {
                let ty = match ty {
                    Some(Type::Array(item)) => Some(item.as_ref()),
                    _ => None,
                };
                Val::Slice { child, ty, start: offsets[row], end: offsets[row + 1] }
            }
            Data::Struct(columns) => {
                let fields = match ty {
                    Some(Type::Struct(fields)) => Some(fields.as_slice()),
                    _ => None,
                };
                Val::Struct { columns, fields, row: row as u32 }
            }
            Data::Null(_) => Val::Null,
        }
    }

    /// A fact's or a constant's value in its declared type.
    pub fn of(ty: &Type, value: &Value) -> Val<'static> {
        match (ty, value) {
            (_, Value::Null) => Val::Null,
            (_, Value::Bool(v)) => Val::Bool(*v),
            (Type::Float64, Value::Int64(v)) => Val::Float(*v as f64),
            (_, Value::Int64(v)) => Val::Int(*v),
            (_, Value::Float64(v)) => Val::Float(*v),
            (Type::Array(item), Value::Array(items)) => {
                Val::List(Rc::new(items.iter().map(|v| Val::of(item, v)).collect()))
            }
            (_, Value::Array(items)) => Val::List(Rc::new(items.iter().map(|v| Val::of(&Type::String, v)).collect())),
            (Type::Date, Value::Text(text)) => text
                .parse::<jiff::civil::Date>()
                .map_or_else(|_| Val::Str(Cow::Owned(text.clone())), |d| Val::Date(days(d))),
            (Type::Timestamp, Value::Text(text)) => text
                .parse::<jiff::Timestamp>()
                .map_or_else(|_| Val::Str(Cow::Owned(text.clone())), |t| Val::Timestamp(t.as_microsecond())),
            (Type::Numeric, Value::Text(text)) => {
                parse_decimal(text).map_or_else(|| Val::Str(Cow::Owned(text.clone())), |(v, s)| Val::Dec(v, s))
            }
            (_, Value::Text(text)) => Val::Str(Cow::Owned(text.clone())),
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Val::Null)
    }

    /// What counts as true: as in minijinja, zero and what is empty is false.
    pub fn truthy(&self) -> bool {
        match self {
            Val::Null => false,
            Val::Bool(v) => *v,
            Val::Int(v) => *v != 0,
            Val::Float(v) => *v != 0.0,
            Val::Dec(v, _) => *v != 0,
            Val::Str(v) => !v.is_empty(),
            Val::Slice { start, end, .. } => start != end,
            Val::List(v) => !v.is_empty(),
            Val::Dict(v) => !v.is_empty(),
            Val::Json(v) => match v.as_ref() {
                serde_json::Value::Null => false,
                serde_json::Value::Bool(b) => *b,
                serde_json::Value::Array(a) => !a.is_empty(),
                serde_json::Value::Object(o) => !o.is_empty(),
                serde_json::Value::String(s) => !s.is_empty(),
                serde_json::Value::Number(n) => n.as_f64() != Some(0.0),
            },
            Val::Rows(rows) => !rows.is_empty(),
            Val::Date(_)
            | Val::Time(_)
            | Val::DateTime(_)
            | Val::Timestamp(_)
            | Val::Struct { .. }
            | Val::Row { .. } => true,
        }
    }

    /// As a number for mixed arithmetic.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Val::Int(v) => Some(*v as f64),
            Val::Float(v) => Some(*v),
            Val::Dec(v, scale) => Some(dec_to_f64(*v, *scale)),
            Val::Json(v) => v.as_f64(),
            _ => None,
        }
    }

    /// As a decimal, where it is exact.
    pub fn as_dec(&self) -> Option<(i128, u8)> {
        match self {
            Val::Int(v) => Some((i128::from(*v), 0)),
            Val::Dec(v, scale) => Some((*v, *scale)),
            _ => None,
        }
    }

    /// Equality of keys: numbers by value, NULL equals nothing but NULL.
    pub fn same_key(&self, other: &Val<'_>) -> bool {
        match (self, other) {
            (Val::Null, Val::Null) => true,
            (Val::Null, _) | (_, Val::Null) => false,
            _ => self.compare(other) == Some(Ordering::Equal),
        }
    }

    /// The order of two values; `None` where they have none (NULL, NaN, different kinds).
    pub fn compare(&self, other: &Val<'_>) -> Option<Ordering> {
        match (self, other) {
            (Val::Int(a), Val::Int(b)) => Some(a.cmp(b)),
            (Val::Str(a), Val::Str(b)) => Some(a.as_ref().cmp(b.as_ref())),
            (Val::Bool(a), Val::Bool(b)) => Some(a.cmp(b)),
            (Val::Date(a), Val::Date(b)) => Some(a.cmp(b)),
            (Val::Time(a), Val::Time(b))
            | (Val::DateTime(a), Val::DateTime(b))
            | (Val::Timestamp(a), Val::Timestamp(b)) => Some(a.cmp(b)),
            // A date and its text: `target_date >= "2025-10-01"`.
            (Val::Date(_), Val::Str(b)) => Some(self.text().as_ref().cmp(b.as_ref())),
            (Val::Str(a), Val::Date(_)) => Some(a.as_ref().cmp(other.text().as_ref())),
            (Val::Json(a), Val::Json(b)) => (a == b).then_some(Ordering::Equal),
            (Val::Json(a), Val::Str(b)) => Some(a.as_str()?.cmp(b.as_ref())),
            (Val::Str(a), Val::Json(b)) => Some(a.as_ref().cmp(b.as_str()?)),
            (Val::Json(a), Val::Bool(b)) => Some(a.as_bool()?.cmp(b)),
            (Val::List(a), Val::List(b)) => {
                for (x, y) in a.iter().zip(b.iter()) {
                    match x.compare(y)? {
                        Ordering::Equal => {}
                        other => return Some(other),
                    }
                }
                Some(a.len().cmp(&b.len()))
            }
            _ => match (self.as_dec(), other.as_dec()) {
                (Some((a, sa)), Some((b, sb))) => match (rescale(a, sa, sa.max(sb)), rescale(b, sb, sa.max(sb))) {
                    (Some(a), Some(b)) => Some(a.cmp(&b)),
                    _ => self.as_f64()?.partial_cmp(&other.as_f64()?),
                },
                _ => self.as_f64()?.partial_cmp(&other.as_f64()?),
            },
        }
    }

    /// The value as text: as it stands in JSON, without quotes. NULL is empty.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Val::Null => Cow::Borrowed(""),
            Val::Bool(v) => Cow::Borrowed(if *v { "true" } else { "false" }),
            Val::Int(v) => Cow::Owned(v.to_string()),
            Val::Float(v) => Cow::Owned(float_text(*v)),
            Val::Dec(v, scale) => Cow::Owned(dec_text(*v, *scale)),
            Val::Str(v) => Cow::Borrowed(v),
            Val::Date(v) => Cow::Owned(date_text(*v)),
            Val::Time(v) => Cow::Owned(time_text(*v)),
            Val::DateTime(v) => Cow::Owned(datetime_text(*v)),
            Val::Timestamp(v) => Cow::Owned(datetime_text(*v) + "Z"),
            Val::Json(v) => match v.as_ref() {
                serde_json::Value::String(s) => Cow::Borrowed(s),
                other => Cow::Owned(other.to_string()),
            },
            Val::Slice { .. } | Val::List(_) | Val::Dict(_) | Val::Rows(_) | Val::Row { .. } | Val::Struct { .. } => {
                Cow::Borrowed("…")
            }
        }
    }

    /// What a value is, in an analyst's words.
    pub fn kind(&self) -> &'static str {
        match self {
            Val::Null => "null",
            Val::Bool(_) => "a boolean",
            Val::Int(_) | Val::Float(_) | Val::Dec(..) => "a number",
            Val::Str(_) => "a text",
            Val::Date(_) => "a date",
            Val::Time(_) | Val::DateTime(_) | Val::Timestamp(_) => "a time",
            Val::Json(_) => "JSON",
            Val::Slice { .. } | Val::List(_) => "a list",
            Val::Dict(_) => "a map",
            Val::Struct { .. } | Val::Row { .. } => "a row",
            Val::Rows(_) => "rows",
        }
    }
}

/// Hashes a value so that values that are `same_key` hash alike.
pub fn hash_value(value: &Val<'_>, hash: &mut Fx) {
    match value {
        Val::Null => hash.write_u64(1),
        Val::Bool(v) => hash.write_u64(2 + u64::from(*v)),
        Val::Str(v) => hash.write(v.as_bytes()),
        // A date may be looked up by its text.
        Val::Date(v) => hash.write(date_text(*v).as_bytes()),
        Val::Time(v) | Val::DateTime(v) | Val::Timestamp(v) => hash.write_u64(*v as u64),
        Val::Json(v) => match v.as_ref() {
            serde_json::Value::String(s) => hash.write(s.as_bytes()),
            other => hash.write(other.to_string().as_bytes()),
        },
        Val::Int(v) => hash.write_u64((*v as f64).to_bits()),
        Val::Float(v) => hash.write_u64(if *v == 0.0 { 0 } else { v.to_bits() }),
        Val::Dec(v, scale) => hash.write_u64(if *v == 0 { 0 } else { dec_to_f64(*v, *scale).to_bits() }),
        _ => hash.write_u64(7),
    }
}

pub fn pow10(n: u32) -> Option<i128> {
    10i128.checked_pow(n)
}

/// The same value with another, larger scale.
pub fn rescale(value: i128, from: u8, to: u8) -> Option<i128> {
    value.checked_mul(pow10(u32::from(to.checked_sub(from)?))?)
}

/// The nearest double, as the decimal's text would be read.
pub fn dec_to_f64(value: i128, scale: u8) -> f64 {
    const EXACT: i128 = 1 << 53;
    if value.abs() <= EXACT && scale <= 22 {
        return value as f64 / 10f64.powi(i32::from(scale));
    }
    dec_text(value, scale).parse().unwrap_or(f64::NAN)
}

/// Decimal digits without trailing zeros.
pub fn dec_text(value: i128, scale: u8) -> String {
    let digits = value.unsigned_abs().to_string();
    let scale = usize::from(scale);
    let sign = if value < 0 { "-" } else { "" };
    if scale == 0 {
        return format!("{sign}{digits}");
    }
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// Digits as a decimal; `None` when they are no plain decimal or do not fit.
pub fn parse_decimal(text: &str) -> Option<(i128, u8)> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && fraction.is_empty()) || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: i128 = format!("{whole}{fraction}").parse().ok()?;
    Some((if negative { -value } else { value }, u8::try_from(fraction.len()).ok()?))
}

pub fn float_text(value: f64) -> String {
    zmij::Buffer::new().format(value).to_owned()
}

/// `YYYY-MM-DD` of a four-digit year without an allocation: documents hold very many dates.
pub fn short_date(days: i32, buffer: &mut [u8; 10]) -> Option<&str> {
    let (year, month, day) = civil(days);
    let year = u32::try_from(year).ok().filter(|y| *y < 10_000)?;
    let digit = |n: u32| b'0' + (n % 10) as u8;
    *buffer = [
        digit(year / 1000),
        digit(year / 100),
        digit(year / 10),
        digit(year),
        b'-',
        digit(month / 10),
        digit(month),
        b'-',
        digit(day / 10),
        digit(day),
    ];
    std::str::from_utf8(buffer).ok()
}

/// `HH:MM:SS`, with a fraction only when it is not zero.
pub fn time_text(micros: i64) -> String {
    let mut text = clock_text(micros.div_euclid(1_000_000));
    let fraction = micros.rem_euclid(1_000_000);
    if fraction != 0 {
        text.push_str(format!(".{fraction:06}").trim_end_matches('0'));
    }
    text
}

/// `YYYY-MM-DDTHH:MM:SS`, with a fraction only when it is not zero.
pub fn datetime_text(micros: i64) -> String {
    let day = micros.div_euclid(86_400_000_000);
    format!("{}T{}", date_text(i32::try_from(day).unwrap_or(0)), time_text(micros.rem_euclid(86_400_000_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_written_without_trailing_zeros() {
        for (value, scale, text) in
            [(2640, 2, "26.4"), (200, 1, "20"), (-5, 1, "-0.5"), (0, 3, "0"), (7, 0, "7"), (-1, 9, "-0.000000001")]
        {
            assert_eq!(dec_text(value, scale), text);
        }
        assert_eq!(parse_decimal("-12.50"), Some((-1250, 2)));
        assert_eq!(parse_decimal("1e5"), None);
    }

    #[test]
    fn days_are_civil_dates() {
        assert_eq!(date_text(0), "1970-01-01");
        assert_eq!(date_text(20434), "2025-12-12");
        assert_eq!(date_text(-1), "1969-12-31");
        assert_eq!(days(jiff::civil::date(2024, 2, 29)), 19782);
        assert_eq!(date_text(19782), "2024-02-29");
        assert_eq!(datetime_text(1_765_562_400_000_000), "2025-12-12T18:00:00");
    }

    #[test]
    fn numbers_compare_by_value() {
        assert!(Val::Int(2).same_key(&Val::Dec(20, 1)));
        assert!(Val::Float(0.5).same_key(&Val::Dec(5, 1)));
        assert!(!Val::Null.same_key(&Val::Int(0)));
        assert_eq!(Val::Dec(95, 1).compare(&Val::Int(10)), Some(Ordering::Less));
        let hash = |v: &Val| {
            let mut h = Fx::default();
            hash_value(v, &mut h);
            h.finish()
        };
        assert_eq!(hash(&Val::Int(2)), hash(&Val::Dec(200, 2)));
        assert_eq!(hash(&Val::Date(20434)), hash(&Val::Str("2025-12-12".into())));
    }
}
