//! Filters and tests: to add one is an entry in the table and an arm.

use super::eval::{EvalError, attribute, binary, divide_half_away, json_value};
use super::parse::Op;
use super::run::Ctx;
use super::value::{Val, dec_text, parse_decimal, pow10, rescale};
use crate::model::dates::civil;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::rc::Rc;

macro_rules! filters {
    ($($variant:ident $name:literal $least:literal $most:literal),* $(,)?) => {
        /// A filter.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Filter { $($variant),* }

        const FILTERS: &[(&str, Filter, usize, usize)] = &[$(($name, Filter::$variant, $least, $most)),*];
    };
}

filters! {
    Abs "abs" 0 0, Avg "avg" 0 1, Capitalize "capitalize" 0 0, Date "date" 1 1, Default "default" 1 2, Default2 "d" 1 2,
    First "first" 0 0, Fixed "fixed" 1 1, Float "float" 0 0, Int "int" 0 0, Join "join" 0 2, Json "json" 0 0, Last "last" 0 0,
    Length "length" 0 0, Count "count" 0 1, List "list" 0 0, Lower "lower" 0 0, Map "map" 1 1, Max "max" 0 1, Min "min" 0 1,
    Number "number" 0 0, Percent "percent" 0 1, Plural "plural" 1 2, RejectAttr "rejectattr" 1 3, Replace "replace" 2 2,
    Reverse "reverse" 0 0, Round "round" 0 1, SelectAttr "selectattr" 1 3, Signed "signed" 0 1, Slug "slug" 0 0, Sort "sort" 0 1,
    Split "split" 0 1, String "string" 0 0, Sum "sum" 0 1, Title "title" 0 0, Trim "trim" 0 0, Unique "unique" 0 1,
    Upper "upper" 0 0,
}

impl Filter {
    /// The least and the most number of arguments.
    pub fn arity(self) -> (usize, usize) {
        FILTERS.iter().find(|(_, f, ..)| *f == self).map_or((0, 0), |(_, _, least, most)| (*least, *most))
    }

    /// Whether the first argument can be a column of the rows.
    pub fn takes_column(self) -> bool {
        use Filter::*;
        matches!(self, Avg | Count | Map | Max | Min | RejectAttr | SelectAttr | Sort | Sum | Unique)
    }
}

pub fn filter(name: &str) -> Option<Filter> {
    FILTERS.iter().find(|(n, ..)| *n == name).map(|(_, f, ..)| *f)
}

pub fn filter_names() -> impl Iterator<Item = &'static str> {
    FILTERS.iter().map(|(n, ..)| *n)
}

/// A test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    None,
    Defined,
    Undefined,
    String,
    Number,
    Odd,
    Even,
    True,
    False,
    Compare(Op),
}

const TESTS: &[(&str, Test)] = &[
    ("none", Test::None),
    ("defined", Test::Defined),
    ("undefined", Test::Undefined),
    ("string", Test::String),
    ("number", Test::Number),
    ("odd", Test::Odd),
    ("even", Test::Even),
    ("true", Test::True),
    ("false", Test::False),
    ("equalto", Test::Compare(Op::Eq)),
    ("eq", Test::Compare(Op::Eq)),
    ("ne", Test::Compare(Op::Ne)),
    ("lt", Test::Compare(Op::Lt)),
    ("lessthan", Test::Compare(Op::Lt)),
    ("le", Test::Compare(Op::Le)),
    ("gt", Test::Compare(Op::Gt)),
    ("greaterthan", Test::Compare(Op::Gt)),
    ("ge", Test::Compare(Op::Ge)),
    ("in", Test::Compare(Op::In)),
];

pub fn test(name: &str) -> Option<Test> {
    TESTS.iter().find(|(n, _)| *n == name).map(|(_, t)| *t)
}

pub fn test_names() -> impl Iterator<Item = &'static str> {
    TESTS.iter().map(|(n, _)| *n)
}

/// Whether a value passes a test.
pub fn check(test: Test, value: &Val<'_>, args: &[Val<'_>]) -> Result<bool, EvalError> {
    Ok(match test {
        Test::None | Test::Undefined => value.is_null(),
        Test::Defined => !value.is_null(),
        Test::String => matches!(value, Val::Str(_)),
        Test::Number => value.as_f64().is_some(),
        Test::Odd => matches!(value, Val::Int(v) if v % 2 != 0),
        Test::Even => matches!(value, Val::Int(v) if v % 2 == 0),
        Test::True => matches!(value, Val::Bool(true)),
        Test::False => matches!(value, Val::Bool(false)),
        Test::Compare(op) => {
            let Some(other) = args.first() else { return Err("this test needs a value to compare with".into()) };
            binary(op, value, other)?.truthy()
        }
    })
}

/// The items of a list, rows or JSON array; nothing has none.
pub fn items<'a>(value: &Val<'a>) -> Result<Vec<Val<'a>>, EvalError> {
    Ok(match value {
        Val::Null => Vec::new(),
        Val::List(items) => items.to_vec(),
        Val::Slice { child, ty, start, end } => (*start..*end).map(|i| Val::cell(child, *ty, i as usize)).collect(),
        Val::Rows(rows) => (0..rows.len()).map(|i| Val::Row { table: rows.table as u32, row: rows.row(i) }).collect(),
        Val::Json(json) => match json.as_array() {
            Some(items) => items.iter().cloned().map(json_value).collect(),
            None => return Err("this JSON is no list".into()),
        },
        other => return Err(format!("{} is no list", other.kind())),
    })
}

/// The items, or a column of them where the filter got one.
fn column<'a>(value: &Val<'a>, args: &[Val<'a>], ctx: &Ctx<'a>) -> Result<Vec<Val<'a>>, EvalError> {
    let items = items(value)?;
    match args.first() {
        None => Ok(items),
        Some(name) => items.iter().map(|i| attribute(i, &name.text(), ctx)).collect(),
    }
}

/// Applies a filter.
pub fn apply<'a>(filter: Filter, value: Val<'a>, args: &[Val<'a>], ctx: &Ctx<'a>) -> Result<Val<'a>, EvalError> {
    use Filter::*;
    let list = |items: Vec<Val<'a>>| Val::List(Rc::new(items));
    let text = |text: std::string::String| Val::Str(Cow::Owned(text));
    Ok(match filter {
        Default | Default2 => {
            let falsy = args.get(1).is_some_and(Val::truthy) && !value.truthy();
            if value.is_null() || falsy { args[0].clone() } else { value }
        }
        Length => match &value {
            Val::Null => Val::Int(0),
            Val::Str(s) => Val::Int(s.chars().count() as i64),
            Val::Rows(rows) => Val::Int(rows.len() as i64),
            Val::Dict(entries) => Val::Int(entries.len() as i64),
            other => Val::Int(items(other)?.len() as i64),
        },
        Count => match args {
            [] => return apply(Length, value, args, ctx),
            _ => Val::Int(column(&value, args, ctx)?.iter().filter(|v| !v.is_null()).count() as i64),
        },
        Sum => sum(&column(&value, args, ctx)?)?,
        Avg => average(&column(&value, args, ctx)?)?,
        Min => extreme(column(&value, args, ctx)?, Ordering::Less),
        Max => extreme(column(&value, args, ctx)?, Ordering::Greater),
        Map => list(column(&value, args, ctx)?),
        SelectAttr | RejectAttr => {
            let mut kept = Vec::new();
            for item in items(&value)? {
                let cell = attribute(&item, &args[0].text(), ctx)?;
                let holds = match args.get(1) {
                    None => cell.truthy(),
                    Some(name) => {
                        let test = test(&name.text()).ok_or_else(|| format!("there is no test `{}`", name.text()))?;
                        check(test, &cell, &args[2..])?
                    }
                };
                if holds == (filter == SelectAttr) {
                    kept.push(item);
                }
            }
            list(kept)
        }
        First => items(&value)?.into_iter().next().unwrap_or(Val::Null),
        Last => items(&value)?.into_iter().next_back().unwrap_or(Val::Null),
        List => list(items(&value)?),
        Reverse => list(items(&value)?.into_iter().rev().collect()),
        Sort => {
            let mut found = items(&value)?;
            let keys = column(&value, args, ctx)?;
            let mut order: Vec<usize> = (0..found.len()).collect();
            order.sort_by(|a, b| nulls_last(&keys[*a], &keys[*b]));
            found = order.into_iter().map(|i| found[i].clone()).collect();
            list(found)
        }
        Unique => {
            let keys = column(&value, args, ctx)?;
            let mut kept: Vec<usize> = Vec::new();
            for i in 0..keys.len() {
                if !kept.iter().any(|k| keys[*k].same_key(&keys[i])) {
                    kept.push(i);
                }
            }
            let found = items(&value)?;
            list(kept.into_iter().map(|i| found[i].clone()).collect())
        }
        Join => {
            let separator = args.first().map(|a| a.text().into_owned()).unwrap_or_default();
            let parts: Vec<_> = items(&value)?.iter().map(|i| i.text().into_owned()).collect();
            text(parts.join(&separator))
        }
        Json => parse_json(&value)?,
        _ if value.is_null() => Val::Null,
        Abs => match value {
            Val::Int(v) => Val::Int(v.checked_abs().ok_or("INT64 overflow")?),
            Val::Float(v) => Val::Float(v.abs()),
            Val::Dec(v, s) => Val::Dec(v.abs(), s),
            other => return Err(format!("{} has no absolute value", other.kind())),
        },
        Round => round(&value, digits(args, 0)?)?,
        Int => integer(&value)?,
        Float => Val::Float(number(&value)?.as_f64().unwrap_or(f64::NAN)),
        Number => number(&value)?,
        String => text(value.text().into_owned()),
        Upper => text(value.text().to_uppercase()),
        Lower => text(value.text().to_lowercase()),
        Capitalize => {
            let lower = value.text().to_lowercase();
            let mut chars = lower.chars();
            text(
                chars.next().map(|c| c.to_uppercase().collect::<std::string::String>()).unwrap_or_default()
                    + chars.as_str(),
            )
        }
        Title => text(title(&value.text())),
        Trim => text(value.text().trim().to_owned()),
        Replace => text(value.text().replace(args[0].text().as_ref(), &args[1].text())),
        Split => {
            let found = value.text();
            let parts: Vec<Val<'a>> = match args.first() {
                Some(by) => found.split(by.text().as_ref()).map(|p| text(p.to_owned())).collect(),
                None => found.split_whitespace().map(|p| text(p.to_owned())).collect(),
            };
            list(parts)
        }
        Signed => {
            let places = match args.first() {
                Some(_) => Some(digits(args, 0)?),
                None => None,
            };
            let shown = match places {
                Some(n) => fixed(&value, n)?,
                None => number(&value)?.text().into_owned(),
            };
            let positive = value.as_f64().is_some_and(|v| v > 0.0);
            text(if positive { format!("+{shown}") } else { shown })
        }
        Fixed => text(fixed(&value, digits(args, 0)?)?),
        Percent => {
            let hundred = binary(Op::Mul, &number(&value)?, &Val::Int(100))?;
            text(fixed(&hundred, if args.is_empty() { 1 } else { digits(args, 0)? })? + "%")
        }
        Plural => {
            let one = args[0].text().into_owned();
            let many = args.get(1).map_or_else(|| format!("{one}s"), |a| a.text().into_owned());
            let word = if value.as_f64() == Some(1.0) { one } else { many };
            text(format!("{} {word}", value.text()))
        }
        Date => text(date_format(&value, &args[0].text())?),
        Slug => text(crate::model::slug::slug(&value.text())),
    })
}

/// NULLs behind everything else.
pub fn nulls_last(a: &Val<'_>, b: &Val<'_>) -> Ordering {
    match (a.is_null(), b.is_null()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => a.compare(b).unwrap_or(Ordering::Equal),
    }
}

fn sum<'a>(values: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let mut total = Val::Int(0);
    for value in values.iter().filter(|v| !v.is_null()) {
        total = binary(Op::Add, &total, value)?;
    }
    Ok(total)
}

/// The mean of what is there; of nothing it is nothing.
fn average<'a>(values: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let count = values.iter().filter(|v| !v.is_null()).count() as i64;
    if count == 0 {
        return Ok(Val::Null);
    }
    binary(Op::Div, &sum(values)?, &Val::Int(count))
}

fn extreme<'a>(values: Vec<Val<'a>>, wanted: Ordering) -> Val<'a> {
    let mut best = Val::Null;
    for value in values {
        if !value.is_null() && (best.is_null() || value.compare(&best) == Some(wanted)) {
            best = value;
        }
    }
    best
}

fn digits(args: &[Val<'_>], at: usize) -> Result<u8, EvalError> {
    match args.get(at) {
        None => Ok(0),
        Some(Val::Int(n)) if (0..=18).contains(n) => Ok(*n as u8),
        Some(other) => Err(format!("the number of digits has to lie in 0 to 18, not {}", other.text())),
    }
}

/// Half away from zero: exact on INT64 and NUMERIC; on FLOAT64 as `ROUND(x * 10^n) / 10^n`, as BigQuery does it.
pub fn round<'a>(value: &Val<'a>, digits: u8) -> Result<Val<'a>, EvalError> {
    Ok(match value {
        Val::Int(v) => Val::Int(*v),
        Val::Dec(v, scale) if *scale <= digits => Val::Dec(*v, *scale),
        Val::Dec(v, scale) => {
            let unit = pow10(u32::from(scale - digits)).ok_or("NUMERIC overflow")?;
            Val::Dec(divide_half_away(*v, unit), digits)
        }
        Val::Float(v) => {
            let unit = 10f64.powi(i32::from(digits));
            let scaled = v * unit;
            Val::Float(if scaled.is_finite() { scaled.round() / unit } else { *v })
        }
        Val::Json(_) => round(&number(value)?, digits)?,
        other => return Err(format!("{} cannot be rounded", other.kind())),
    })
}

fn fixed(value: &Val<'_>, digits: u8) -> Result<String, EvalError> {
    let rounded = round(&number(value)?, digits)?;
    Ok(match rounded {
        Val::Float(v) => format!("{v:.*}", usize::from(digits)),
        other => {
            let (v, scale) = other.as_dec().ok_or("this is no number")?;
            let v = rescale(v, scale, digits).ok_or("NUMERIC overflow")?;
            let shown = dec_text(v, 0);
            if digits == 0 {
                return Ok(shown);
            }
            let (sign, shown) = shown.strip_prefix('-').map_or(("", shown.as_str()), |s| ("-", s));
            let padded = format!("{shown:0>width$}", width = usize::from(digits) + 1);
            let (whole, fraction) = padded.split_at(padded.len() - usize::from(digits));
            format!("{sign}{whole}.{fraction}")
        }
    })
}

fn integer<'a>(value: &Val<'a>) -> Result<Val<'a>, EvalError> {
    Ok(match number(value)? {
        Val::Int(v) => Val::Int(v),
        Val::Dec(v, scale) => {
            let whole = v / pow10(u32::from(scale)).ok_or("NUMERIC overflow")?;
            Val::Int(i64::try_from(whole).map_err(|_| "INT64 overflow")?)
        }
        Val::Float(v) if v.is_finite() && v.abs() < 9.2e18 => Val::Int(v.trunc() as i64),
        other => return Err(format!("{} is no whole number", other.text())),
    })
}

fn number<'a>(value: &Val<'a>) -> Result<Val<'a>, EvalError> {
    Ok(match value {
        Val::Int(_) | Val::Float(_) | Val::Dec(..) => value.clone(),
        Val::Bool(v) => Val::Int(i64::from(*v)),
        Val::Str(text) => match parse_decimal(text.trim()) {
            Some((v, 0)) => i64::try_from(v).map_or(Val::Dec(v, 0), Val::Int),
            Some((v, scale)) => Val::Dec(v, scale),
            None => Val::Float(text.trim().parse().map_err(|_| format!("`{text}` is no number"))?),
        },
        Val::Json(json) => json_value(json.as_ref().clone()),
        other => return Err(format!("{} is no number", other.kind())),
    })
}

/// JSON from a text; a text that holds a text that holds JSON is opened twice.
fn parse_json<'a>(value: &Val<'a>) -> Result<Val<'a>, EvalError> {
    match value {
        Val::Null | Val::Json(_) => Ok(value.clone()),
        Val::Str(text) => {
            let bad = |e: serde_json::Error| format!("this text is no JSON: {e}");
            let json: serde_json::Value = serde_json::from_str(text).map_err(bad)?;
            let json = match &json {
                serde_json::Value::String(inner) => serde_json::from_str(inner).unwrap_or(json),
                _ => json,
            };
            Ok(json_value(json))
        }
        other => Err(format!("{} is no JSON text", other.kind())),
    }
}

fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut start = true;
    for c in text.chars() {
        if start {
            out.extend(c.to_uppercase());
        } else {
            out.extend(c.to_lowercase());
        }
        start = !c.is_alphanumeric() && c != '\'';
    }
    out
}

/// A date or time by strftime's letters, in UTC.
fn date_format(value: &Val<'_>, format: &str) -> Result<String, EvalError> {
    let civil_date = |days: i32| {
        let (year, month, day) = civil(days);
        jiff::civil::Date::new(year as i16, month as i8, day as i8).map_err(|e| e.to_string())
    };
    let datetime = match value {
        Val::Date(days) => civil_date(*days)?.at(0, 0, 0, 0),
        Val::DateTime(micros) | Val::Timestamp(micros) => {
            let day = civil_date(i32::try_from(micros.div_euclid(86_400_000_000)).map_err(|e| e.to_string())?)?;
            let rest = micros.rem_euclid(86_400_000_000);
            let seconds = rest / 1_000_000;
            day.at(
                (seconds / 3600) as i8,
                (seconds / 60 % 60) as i8,
                (seconds % 60) as i8,
                (rest % 1_000_000 * 1000) as i32,
            )
        }
        Val::Str(text) => text.parse::<jiff::civil::DateTime>().map_err(|_| format!("`{text}` is no date"))?,
        other => return Err(format!("{} is no date", other.kind())),
    };
    jiff::fmt::strtime::format(format, datetime).map_err(|e| format!("`{format}`: {e}"))
}
