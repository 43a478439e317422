//! JSON values and paths.

use super::{float, int, strict, text};
use crate::adapters::duckdb::scalar::{Out, Phys, ScalarFunction};
use serde_json::Value;

/// The longest path, as deep as JSON is read.
const DEEPEST: usize = 120;

const S: &[Phys] = &[Phys::Str];
const SS: &[Phys] = &[Phys::Str, Phys::Str];
const SI: &[Phys] = &[Phys::Str, Phys::I64];

pub static FUNCTIONS: &[ScalarFunction] = &[
    strict("gs_json_field", SS, Phys::Str, |a| {
        let value = read(text(a, 0))?;
        Ok(json(value.get(text(a, 1)).filter(|_| value.is_object())))
    }),
    strict("gs_json_item", SI, Phys::Str, |a| {
        let value = read(text(a, 0))?;
        Ok(json(usize::try_from(int(a, 1)).ok().and_then(|i| value.as_array().and_then(|l| l.get(i)))))
    }),
    strict("gs_json_value", SS, Phys::Str, |a| {
        let path = path(text(a, 1))?;
        // A text that is no JSON gives NULL.
        let Ok(value) = read(text(a, 0)) else { return Ok(Out::Null) };
        Ok(scalar(walk(&value, &path)).map_or(Out::Null, Out::Str))
    }),
    strict("gs_json_query", SS, Phys::Str, |a| {
        let path = path(text(a, 1))?;
        let Ok(value) = read(text(a, 0)) else { return Ok(Out::Null) };
        Ok(json(walk(&value, &path)))
    }),
    strict("gs_json_array", SS, Phys::StrList, |a| {
        let path = path(text(a, 1))?;
        let Ok(value) = read(text(a, 0)) else { return Ok(Out::Null) };
        match walk(&value, &path) {
            Some(Value::Array(items)) => Ok(Out::StrList(items.iter().map(|i| Some(i.to_string())).collect())),
            _ => Ok(Out::Null),
        }
    }),
    strict("gs_json_values", SS, Phys::StrList, |a| {
        let path = path(text(a, 1))?;
        let Ok(value) = read(text(a, 0)) else { return Ok(Out::Null) };
        match walk(&value, &path) {
            Some(Value::Array(items)) if !items.iter().any(|i| i.is_array() || i.is_object()) => {
                Ok(Out::StrList(items.iter().map(|i| scalar(Some(i))).collect()))
            }
            _ => Ok(Out::Null),
        }
    }),
    strict("gs_parse_json", SS, Phys::Str, |a| {
        let value = read(text(a, 0))?;
        match text(a, 1) {
            "round" => {}
            "exact" => crate::sql::json::exact(text(a, 0))?,
            other => return Err(format!("`{other}` is no wide_number_mode")),
        }
        Ok(Out::Str(value.to_string()))
    }),
    strict("gs_json_type", S, Phys::Str, |a| {
        Ok(Out::Str(
            match read(text(a, 0))? {
                Value::Null => "null",
                Value::Bool(_) => "boolean",
                Value::Number(_) => "number",
                Value::String(_) => "string",
                Value::Array(_) => "array",
                Value::Object(_) => "object",
            }
            .into(),
        ))
    }),
    strict("gs_json_bool", S, Phys::Bool, |a| {
        read(text(a, 0))?.as_bool().map(Out::Bool).ok_or_else(|| "the JSON value is no boolean".into())
    }),
    strict("gs_json_int", S, Phys::I64, |a| {
        let value = read(text(a, 0))?;
        let whole = value.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9.2e18 && value.is_f64()).map(|f| f as i64);
        value.as_i64().or(whole).map(Out::I64).ok_or_else(|| "the JSON value is no INT64".into())
    }),
    strict("gs_json_float", SS, Phys::F64, |a| match read(text(a, 0))? {
        _ if !matches!(text(a, 1), "round" | "exact") => Err(format!("`{}` is no wide_number_mode", text(a, 1))),
        Value::Number(n) if text(a, 1) == "exact" && !whole_in_double(&n) => {
            Err(format!("the JSON number {n} cannot be a FLOAT64 without loss"))
        }
        Value::Number(n) => n.as_f64().map(Out::F64).ok_or_else(|| "the JSON value is no FLOAT64".into()),
        Value::String(s) => match s.as_str() {
            "NaN" => Ok(Out::F64(f64::NAN)),
            "Infinity" => Ok(Out::F64(f64::INFINITY)),
            "-Infinity" => Ok(Out::F64(f64::NEG_INFINITY)),
            _ => Err("the JSON value is no FLOAT64".into()),
        },
        _ => Err("the JSON value is no FLOAT64".into()),
    }),
    strict("gs_json_string", S, Phys::Str, |a| match read(text(a, 0))? {
        Value::String(s) => Ok(Out::Str(s)),
        _ => Err("the JSON value is no string".into()),
    }),
    strict("gs_json_lax_string", S, Phys::Str, |a| Ok(scalar(Some(&read(text(a, 0))?)).map_or(Out::Null, Out::Str))),
    strict("gs_json_of_text", S, Phys::Str, |a| Ok(Out::Str(Value::String(text(a, 0).to_owned()).to_string()))),
    strict("gs_json_of_int", &[Phys::I64], Phys::Str, |a| {
        let v = int(a, 0);
        // Beyond what a double holds, TO_JSON_STRING writes a text.
        Ok(Out::Str(if v.unsigned_abs() > 1 << 53 { format!("\"{v}\"") } else { v.to_string() }))
    }),
    strict("gs_json_of_big", &[Phys::Blob, Phys::Str], Phys::Str, |a| {
        let value = super::bigs::number(a, 0);
        let text = crate::sql::big::text(&value);
        let float = crate::sql::big::nearest(&value, 38);
        let whole = !text.contains('.');
        Ok(Out::Str(match super::text(a, 1) {
            // A number where a double holds it, by TO_JSON_STRING's narrow idea of that.
            "text" if whole && float.abs() <= 9_007_199_254_740_992.0 => text,
            "text" => format!("\"{text}\""),
            _ if whole && (text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok()) => text,
            "quoted" if float.to_string() != text => format!("\"{text}\""),
            _ => Value::from(float).to_string(),
        }))
    }),
    strict("gs_json_of_float", &[Phys::F64], Phys::Str, |a| {
        let v = float(a, 0);
        Ok(Out::Str(if v.is_nan() {
            "\"NaN\"".into()
        } else if v.is_infinite() {
            if v > 0.0 { "\"Infinity\"".into() } else { "\"-Infinity\"".into() }
        } else {
            let text = crate::sql::values::float_text(v);
            text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
        }))
    }),
];

pub(super) fn read(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map(|First(value)| value).map_err(|e| format!("bad JSON: {e}"))
}

/// A JSON value where the first of equal keys counts.
struct First(Value);

impl<'de> serde::Deserialize<'de> for First {
    fn deserialize<D: serde::Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(FirstVisitor).map(First)
    }
}

struct FirstVisitor;

impl<'de> serde::de::Visitor<'de> for FirstVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(First(item)) = seq.next_element()? {
            out.push(item);
        }
        Ok(Value::Array(out))
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut out = serde_json::Map::new();
        while let Some((key, First(item))) = map.next_entry::<String, First>()? {
            out.entry(key).or_insert(item);
        }
        Ok(Value::Object(out))
    }
}

fn json(value: Option<&Value>) -> Out {
    value.map_or(Out::Null, |v| Out::Str(v.to_string()))
}

fn scalar(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(s) => Some(s.clone()),
        Value::Bool(b) => Some(b.to_string()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    }
}

pub(super) enum Step {
    Key(String),
    Item(usize),
}

/// `$.a[0]."b c"`, also `$['a']`.
pub(super) fn path(text: &str) -> Result<Vec<Step>, String> {
    let bad = || format!("bad JSON path {text:?}");
    let mut rest = text.strip_prefix('$').ok_or_else(bad)?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if steps.len() >= DEEPEST {
            return Err(format!("a JSON path of more than {DEEPEST} steps"));
        }
        if let Some(after) = rest.strip_prefix('.') {
            if let Some(quoted) = after.strip_prefix('"') {
                let end = quoted.find('"').ok_or_else(bad)?;
                if quoted[..end].contains('\\') {
                    return Err(bad());
                }
                steps.push(Step::Key(quoted[..end].to_owned()));
                rest = &quoted[end + 1..];
            } else {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                if end == 0 || after[..end].contains(['*', '$', '"', '\'', ' ', ']', '?', '@']) {
                    return Err(bad());
                }
                steps.push(Step::Key(after[..end].to_owned()));
                rest = &after[end..];
            }
        } else if let Some(after) = rest.strip_prefix('[') {
            let end = after.find(']').ok_or_else(bad)?;
            let inner = after[..end].trim();
            let key = ['\'', '"'].iter().find_map(|q| inner.strip_prefix(*q).and_then(|i| i.strip_suffix(*q)));
            steps.push(match key {
                Some(key) => Step::Key(key.to_owned()),
                None => Step::Item(inner.parse().map_err(|_| bad())?),
            });
            rest = &after[end + 1..];
        } else {
            return Err(bad());
        }
    }
    Ok(steps)
}

fn walk<'v>(value: &'v Value, path: &[Step]) -> Option<&'v Value> {
    path.iter().try_fold(value, |v, step| match step {
        Step::Key(key) => v.as_object()?.get(key),
        Step::Item(i) => v.as_array()?.get(*i),
    })
}

/// Whether an integer is a double.
fn whole_in_double(n: &serde_json::Number) -> bool {
    match (n.as_i64(), n.as_u64()) {
        (Some(v), _) => (v as f64) as i128 == i128::from(v),
        (_, Some(v)) => (v as f64) as u128 == u128::from(v),
        _ => true,
    }
}
