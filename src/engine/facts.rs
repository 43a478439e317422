//! The named values of one task: parameters, the pinned dates, the project's variables.

use crate::config::{Export, Project};
use crate::model::facts::{Facts, type_of};
use crate::model::request::ExportRequest;
use crate::model::{Type, Value};
use crate::shape::Val;
use std::collections::BTreeMap;

/// The facts of an export in a request; `Err` says which parameter is wrong.
pub fn facts(project: &Project, export: &Export, request: &ExportRequest) -> Result<Facts, String> {
    let mut values = BTreeMap::new();
    for param in &export.params {
        let name = &param.name.value;
        let given = match name.as_str() {
            "target_date" => Some(Value::Text(request.target_date.to_string())),
            _ => request.params.get(name).cloned(),
        };
        let value = match given.or_else(|| param.default.clone()) {
            Some(value) => coerced(&param.ty, value).map_err(|reason| format!("parameter `{name}`: {reason}"))?,
            None => return Err(format!("the parameter `{name}` has no value: give it with --param {name}=…")),
        };
        values.insert(name.clone(), (param.ty.clone(), value));
    }
    values
        .entry("target_date".to_owned())
        .or_insert_with(|| (Type::Date, Value::Text(request.target_date.to_string())));
    values.insert("today".to_owned(), (Type::Date, Value::Text(request.today.to_string())));
    values.insert("now".to_owned(), (Type::Timestamp, Value::Text(request.cause.time.to_string())));
    let vars = project.vars.iter().map(|(name, value)| (name.clone(), (type_of(value), value.clone()))).collect();
    Ok(Facts { values, vars })
}

/// A value in its declared type; texts from a command line are parsed.
fn coerced(ty: &Type, value: Value) -> Result<Value, String> {
    let bad = |text: &str| format!("`{text}` is no {ty}");
    Ok(match (ty, value) {
        (_, Value::Null) => Value::Null,
        (Type::Int64, Value::Text(text)) => Value::Int64(text.trim().parse().map_err(|_| bad(&text))?),
        (Type::Float64, Value::Text(text)) => Value::Float64(text.trim().parse().map_err(|_| bad(&text))?),
        (Type::Float64, Value::Int64(v)) => Value::Float64(v as f64),
        (Type::Bool, Value::Text(text)) => match text.as_str() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => return Err(bad(&text)),
        },
        (Type::Date, Value::Text(text)) => {
            Value::Text(text.parse::<jiff::civil::Date>().map_err(|_| bad(&text))?.to_string())
        }
        (Type::Timestamp, Value::Text(text)) => {
            Value::Text(text.parse::<jiff::Timestamp>().map_err(|_| bad(&text))?.to_string())
        }
        (Type::Numeric, Value::Int64(v)) => Value::Text(v.to_string()),
        (Type::Numeric, Value::Float64(v)) => Value::Text(v.to_string()),
        (Type::Numeric, Value::Text(text)) => {
            crate::shape::value::parse_decimal(&text).ok_or_else(|| bad(&text))?;
            Value::Text(text)
        }
        (Type::Array(item), Value::Array(items)) => {
            Value::Array(items.into_iter().map(|v| coerced(item, v)).collect::<Result<_, _>>()?)
        }
        (Type::Array(item), Value::Text(text)) => Value::Array(
            text.split(',').map(|part| coerced(item, Value::Text(part.trim().to_owned()))).collect::<Result<_, _>>()?,
        ),
        (Type::Int64, v @ Value::Int64(_))
        | (Type::Float64, v @ Value::Float64(_))
        | (Type::Bool, v @ Value::Bool(_))
        | (Type::String, v @ Value::Text(_)) => v,
        (_, other) => return Err(format!("{other:?} is no {ty}")),
    })
}

/// The facts as a shape sees them.
pub fn shape_values(facts: &Facts) -> (BTreeMap<String, Val<'static>>, BTreeMap<String, Val<'static>>) {
    let convert = |map: &BTreeMap<String, (Type, Value)>| {
        map.iter().map(|(name, (ty, value))| (name.clone(), Val::of(ty, value))).collect()
    };
    (convert(&facts.values), convert(&facts.vars))
}

/// A fact as text in a path: `target_date`, `vars.season`.
pub fn path_text(facts: &Facts, name: &str) -> Option<String> {
    let (ty, value) = facts.get(name)?;
    match Val::of(ty, value) {
        Val::Null => None,
        value => Some(value.text().into_owned()),
    }
}
