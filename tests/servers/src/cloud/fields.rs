//! Which fields a message has, and how JSON of protocol buffers is written.

use super::{Refusal, invalid};
use serde_json::{Map, Value};

/// Refuses fields that are not in the list: `name labels* retryPolicy(minimumBackoff maximumBackoff)`. A star is a free map; a list
/// is checked item by item.
pub fn check(value: &Value, spec: &str) -> Result<(), Refusal> {
    let Some(fields) = value.as_object() else { return Err(invalid("a JSON object is expected")) };
    let known = parsed(spec);
    for (name, value) in fields {
        let Some((_, inner)) = known.iter().find(|(known, _)| known == name) else {
            return Err(invalid(format!("Invalid JSON payload received. Unknown name \"{name}\": Cannot find field.")));
        };
        if let Inner::Fields(spec) = inner {
            match value {
                Value::Array(list) => list.iter().try_for_each(|item| check(item, spec))?,
                value => check(value, spec)?,
            }
        }
    }
    Ok(())
}

enum Inner {
    Anything,
    Fields(String),
}

fn parsed(spec: &str) -> Vec<(String, Inner)> {
    let mut all = Vec::new();
    let mut rest = spec.trim();
    while !rest.is_empty() {
        let end = rest.find([' ', '(', '*']).unwrap_or(rest.len());
        let name = rest[..end].to_owned();
        rest = &rest[end..];
        let inner = if rest.starts_with('(') {
            let mut depth = 0;
            let close = rest
                .char_indices()
                .find(|(_, c)| {
                    depth += i32::from(*c == '(') - i32::from(*c == ')');
                    depth == 0
                })
                .map_or(rest.len(), |(i, _)| i);
            let inner = rest[1..close].to_owned();
            rest = &rest[close + 1..];
            Inner::Fields(inner)
        } else {
            rest = rest.strip_prefix('*').unwrap_or(rest);
            Inner::Anything
        };
        all.push((name, inner));
        rest = rest.trim_start();
    }
    all
}

/// Leaves out false, 0, empty texts and lists; an empty message stays, as it was set.
pub fn without_defaults(value: &Value) -> Value {
    let is_default = |v: &Value| match v {
        Value::Null | Value::Bool(false) => true,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(map) => {
            let kept = map.iter().map(|(k, v)| (k.clone(), without_defaults(v))).filter(|(_, v)| !is_default(v));
            Value::Object(kept.collect::<Map<_, _>>())
        }
        Value::Array(list) => Value::Array(list.iter().map(without_defaults).collect()),
        other => other.clone(),
    }
}

/// Lays the masked fields of `new` over `old`; every field of the mask has to be known.
pub fn masked(old: &Value, new: &Value, mask: &str, known: &[&str]) -> Result<Value, Refusal> {
    if mask.is_empty() {
        return Err(invalid("The update_mask is required."));
    }
    let mut all = old.clone();
    for field in mask.split(',') {
        if !known.contains(&field) {
            return Err(invalid(format!("Invalid update_mask: the field `{field}` cannot be updated.")));
        }
        all[field] = new[field].clone();
    }
    Ok(all)
}

/// JSON merge patch, as Cloud Storage patches.
pub fn patched(old: &Value, patch: &Value) -> Value {
    let (Some(there), Some(patch)) = (old.as_object(), patch.as_object()) else { return patch.clone() };
    let mut all = there.clone();
    for (key, value) in patch {
        match value {
            Value::Null => drop(all.remove(key)),
            value => drop(all.insert(key.clone(), patched(there.get(key).unwrap_or(&Value::Null), value))),
        }
    }
    Value::Object(all)
}
