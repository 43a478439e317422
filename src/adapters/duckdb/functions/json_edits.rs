//! Functions that change a JSON value at a path, and those that walk all of it.

use super::json::{Step, path, read};
use super::{int, is_true, lenient, strict, text};
use crate::adapters::duckdb::scalar::{Arg, Out, Phys, ScalarFunction};
use serde_json::Value;

/// The longest array that a path may make.
const LONGEST: usize = 1_000_000;

pub static FUNCTIONS: &[ScalarFunction] = &[
    lenient("gs_json_remove", &[Phys::Str, Phys::Str], Phys::Str, |a| edit(a, remove)),
    // The document, a path, a value, whether to make what is missing.
    lenient("gs_json_set", &[Phys::Str, Phys::Str, Phys::Str, Phys::Bool], Phys::Str, |a| {
        let value = read(text(a, 2))?;
        if matches!(a.get(3), Some(Arg::Null)) {
            return edit(a, |_, _| Ok(()));
        }
        edit(a, |root, path| set(root, path, value, is_true(a, 3)))
    }),
    // The document, a path, a value; insert or append; each element; whether the value is an array, a NULL array.
    lenient(
        "gs_json_add",
        &[Phys::Str, Phys::Str, Phys::Str, Phys::Bool, Phys::Bool, Phys::Bool, Phys::Bool],
        Phys::Str,
        |a| {
            let each = is_true(a, 4) && is_true(a, 5);
            let values = match read(text(a, 2))? {
                Value::Array(items) if each => items,
                value => vec![value],
            };
            if matches!(a.get(4), Some(Arg::Null)) || each && is_true(a, 6) {
                return edit(a, |_, _| Ok(()));
            }
            edit(a, |root, path| add(root, path, values, is_true(a, 3)))
        },
    ),
    // The document, a path, whether arrays are stripped, whether what is empty goes as well.
    lenient("gs_json_strip", &[Phys::Str, Phys::Str, Phys::Bool, Phys::Bool], Phys::Str, |a| {
        if a[1..].contains(&Arg::Null) {
            return edit(&[a[0].clone(), Arg::Null], |_, _| Ok(()));
        }
        edit(a, |root, path| {
            if let Some(target) = find(root, path) {
                let (arrays, empty) = (is_true(a, 2), is_true(a, 3));
                strip(target, arrays, empty);
                let gone = target.as_object().is_some_and(serde_json::Map::is_empty)
                    || arrays && target.as_array().is_some_and(Vec::is_empty);
                if empty && gone {
                    *target = Value::Null;
                }
            }
            Ok(())
        })
    }),
    strict("gs_json_keys", &[Phys::Str, Phys::I64, Phys::Str], Phys::StrList, |a| {
        let depth = int(a, 1);
        if depth < 1 {
            return Err("the depth in JSON_KEYS must be positive".into());
        }
        let lax = match text(a, 2).to_ascii_lowercase().as_str() {
            "strict" => Lax::No,
            "lax" => Lax::Once,
            "lax recursive" | "recursive lax" => Lax::Recursive,
            other => return Err(format!("`{other}` is no mode of JSON_KEYS")),
        };
        let mut keys = Vec::new();
        gather(&read(text(a, 0))?, "", depth, lax, &mut keys);
        keys.sort();
        keys.dedup();
        Ok(Out::StrList(keys.into_iter().map(Some).collect()))
    }),
    lenient("gs_json_object", &[Phys::StrList, Phys::StrList], Phys::Str, |a| {
        let (Some(Arg::StrList(keys)), Some(Arg::StrList(values))) = (a.first(), a.get(1)) else {
            return Err("the keys and values of JSON_OBJECT must not be NULL".into());
        };
        if keys.len() != values.len() {
            return Err("JSON_OBJECT needs as many values as keys".into());
        }
        let mut out = serde_json::Map::new();
        for (key, value) in keys.iter().zip(values) {
            let key = key.ok_or("a key of JSON_OBJECT is NULL")?;
            let value = value.map_or(Ok(Value::Null), read)?;
            // The first of equal keys is kept.
            out.entry(key).or_insert(value);
        }
        Ok(Out::Str(Value::Object(out).to_string()))
    }),
];

/// Reads the document, changes it at the path and writes it. NULL as document is NULL, as path it changes nothing.
fn edit(a: &[Arg<'_>], change: impl FnOnce(&mut Value, &[Step]) -> Result<(), String>) -> Result<Out, String> {
    let Some(Arg::Str(document)) = a.first() else { return Ok(Out::Null) };
    let mut root = read(document)?;
    if let Some(Arg::Str(at)) = a.get(1) {
        change(&mut root, &path(at)?)?;
    }
    Ok(Out::Str(root.to_string()))
}

/// The value at a path.
fn find<'v>(value: &'v mut Value, path: &[Step]) -> Option<&'v mut Value> {
    path.iter().try_fold(value, |v, step| match step {
        Step::Key(key) => v.as_object_mut()?.get_mut(key),
        Step::Item(i) => v.as_array_mut()?.get_mut(*i),
    })
}

fn remove(root: &mut Value, path: &[Step]) -> Result<(), String> {
    let (last, before) = path.split_last().ok_or("JSON_REMOVE cannot remove `$`")?;
    match (find(root, before), last) {
        (Some(Value::Object(map)), Step::Key(key)) => {
            map.shift_remove(key);
        }
        (Some(Value::Array(items)), Step::Item(i)) if *i < items.len() => {
            items.remove(*i);
        }
        _ => {}
    }
    Ok(())
}

/// Sets the value at a path; where a step does not fit what stands there, nothing is done.
fn set(root: &mut Value, path: &[Step], value: Value, create: bool) -> Result<(), String> {
    // How far the path leads through what is there.
    let mut known = 0;
    let mut here: &Value = root;
    for step in path {
        let next = match (here, step) {
            (Value::Object(map), Step::Key(key)) => map.get(key),
            (Value::Array(items), Step::Item(i)) => items.get(*i),
            (Value::Null, _) => None,
            _ => return Ok(()),
        };
        let Some(next) = next else { break };
        here = next;
        known += 1;
    }
    if known < path.len() && !create {
        return Ok(());
    }
    if path[known..].iter().any(|s| matches!(s, Step::Item(i) if *i >= LONGEST)) {
        return Err(format!("a JSON array of more than {LONGEST} elements"));
    }
    let mut target = root;
    for step in path {
        target = made(target, step);
    }
    *target = value;
    Ok(())
}

/// The place of one step, made if it is not there.
fn made<'v>(value: &'v mut Value, step: &Step) -> &'v mut Value {
    match step {
        Step::Key(key) => {
            if value.is_null() {
                *value = Value::Object(serde_json::Map::new());
            }
            &mut value[key.as_str()]
        }
        Step::Item(i) => {
            if value.is_null() {
                *value = Value::Array(Vec::new());
            }
            if let Value::Array(items) = value
                && items.len() <= *i
            {
                items.resize(*i + 1, Value::Null);
            }
            &mut value[*i]
        }
    }
}

/// Inserts before the element that the path names, or appends to the array that it names.
fn add(root: &mut Value, path: &[Step], values: Vec<Value>, insert: bool) -> Result<(), String> {
    let (place, before) = if insert {
        match path.split_last() {
            Some((Step::Item(i), before)) => (Some(*i), before),
            _ => return Ok(()),
        }
    } else {
        (None, path)
    };
    let Some(target) = find(root, before) else { return Ok(()) };
    if !target.is_null() && !target.is_array() {
        return Ok(());
    }
    if place.is_some_and(|i| i >= LONGEST) {
        return Err(format!("a JSON array of more than {LONGEST} elements"));
    }
    let mut items = match target.take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    };
    let at = place.unwrap_or(items.len());
    if items.len() < at {
        items.resize(at, Value::Null);
    }
    items.splice(at..at, values);
    *target = Value::Array(items);
    Ok(())
}

fn strip(value: &mut Value, arrays: bool, empty: bool) {
    let gone = |v: &Value| match v {
        Value::Null => true,
        Value::Object(map) => empty && map.is_empty(),
        Value::Array(items) => empty && arrays && items.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(|v| strip(v, arrays, empty));
            map.retain(|_, v| !gone(v));
        }
        Value::Array(items) => {
            items.iter_mut().for_each(|v| strip(v, arrays, empty));
            if arrays {
                items.retain(|v| !gone(v));
            }
        }
        _ => {}
    }
}

/// Whether JSON_KEYS looks into arrays.
#[derive(Clone, Copy, PartialEq)]
enum Lax {
    No,
    Once,
    Recursive,
}

/// The paths of all keys down to a depth.
fn gather(value: &Value, prefix: &str, depth: i64, lax: Lax, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let escaped = key.chars().any(|c| c < ' ' || matches!(c, '"' | '\\' | '.' | '\u{2028}' | '\u{2029}'));
                let key = if escaped { Value::String(key.clone()).to_string() } else { key.clone() };
                let full = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
                out.push(full.clone());
                if depth > 1 {
                    gather(inner, &full, depth - 1, lax, out);
                }
            }
        }
        Value::Array(items) if lax != Lax::No => {
            for item in items {
                if item.is_object() || item.is_array() && lax == Lax::Recursive {
                    gather(item, prefix, depth, lax, out);
                }
            }
        }
        _ => {}
    }
}
