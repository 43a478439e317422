//! A document held against what a test expects of it.
//!
//! `contains` asks for the given keys of objects, at any depth, and for nothing else of them; a list is compared element by
//! element and whole, since "these are the players" is what a test wants to say, and `{}` means an object without keys, as
//! `[]` means a list without elements. Numbers are compared by value; the order of keys does not matter.

use serde_json::{Map, Value};

/// How much of the document is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Whole,
    Contains,
}

/// What is not as expected: where, and a sentence.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    pub pointer: String,
    pub message: String,
}

/// All differences, in the order of the expectation.
pub fn differences(expected: &Value, found: &Value, mode: Mode) -> Vec<Difference> {
    let mut all = Vec::new();
    compare(expected, found, mode, "", &mut all);
    all
}

fn compare(expected: &Value, found: &Value, mode: Mode, pointer: &str, all: &mut Vec<Difference>) {
    let mut differ = |pointer: String, message: String| all.push(Difference { pointer, message });
    match (expected, found) {
        (Value::Object(wanted), Value::Object(has)) => {
            let whole = mode == Mode::Whole || wanted.is_empty();
            for key in has.keys().filter(|key| whole && !wanted.contains_key(*key)) {
                differ(pointer.to_owned(), format!("it has the key `{key}`, which is not expected"));
            }
            for (key, value) in wanted {
                let pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                match has.get(key) {
                    Some(found) => compare(value, found, mode, &pointer, all),
                    None => all.push(Difference { pointer, message: "it is missing".into() }),
                }
            }
        }
        (Value::Array(wanted), Value::Array(has)) => {
            if wanted.len() != has.len() {
                differ(pointer.to_owned(), format!("it has {}, {} expected", elements(has.len()), were(wanted.len())));
            }
            for (i, (value, found)) in wanted.iter().zip(has).enumerate() {
                compare(value, found, mode, &format!("{pointer}/{i}"), all);
            }
        }
        _ if same(expected, found) => {}
        _ => differ(pointer.to_owned(), format!("it is {}, {} was expected", short(found), short(expected))),
    }
}

fn elements(n: usize) -> String {
    format!("{n} element{}", if n == 1 { "" } else { "s" })
}

fn were(n: usize) -> String {
    format!("{n} {}", if n == 1 { "was" } else { "were" })
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

fn short(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".into(),
        Value::Array(_) => "a list".into(),
        scalar => {
            let text = scalar.to_string();
            if text.chars().count() <= 80 { text } else { text.chars().take(80).chain("…".chars()).collect() }
        }
    }
}

/// Both sides as lines, the document without what was not asked for, and the lines that differ.
pub fn diff(expected: &Value, found: &Value, mode: Mode) -> String {
    let (expected, found) = (plain(expected), plain(&asked(expected, found, mode)));
    let (expected, found) = (format!("{expected:#}\n"), format!("{found:#}\n"));
    let lines = similar::TextDiff::from_lines(&expected, &found);
    lines.unified_diff().context_radius(3).header("expected", "document").to_string()
}

/// The part of the document that the expectation speaks of, its keys in the expectation's order.
fn asked(expected: &Value, found: &Value, mode: Mode) -> Value {
    match (expected, found) {
        (Value::Object(wanted), Value::Object(has)) => {
            let mut part: Map<String, Value> =
                wanted.iter().filter_map(|(k, v)| Some((k.clone(), asked(v, has.get(k)?, mode)))).collect();
            if mode == Mode::Whole || wanted.is_empty() {
                part.extend(has.iter().filter(|(k, _)| !wanted.contains_key(*k)).map(|(k, v)| (k.clone(), v.clone())));
            }
            Value::Object(part)
        }
        (Value::Array(wanted), Value::Array(has)) => has
            .iter()
            .enumerate()
            .map(|(i, found)| wanted.get(i).map_or_else(|| found.clone(), |w| asked(w, found, mode)))
            .collect(),
        _ => found.clone(),
    }
}

/// Numbers of one value in one form.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(n) => match n.as_f64() {
            Some(v) if v.fract() == 0.0 && v.abs() < 9e15 => Value::from(v as i64),
            _ => value.clone(),
        },
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(map) => Value::Object(map.iter().map(|(k, v)| (k.clone(), plain(v))).collect()),
        _ => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn messages(expected: Value, found: Value, mode: Mode) -> Vec<String> {
        differences(&expected, &found, mode).into_iter().map(|d| format!("{} {}", d.pointer, d.message)).collect()
    }

    #[test]
    fn contains_asks_for_the_given_keys_and_whole_lists() {
        let document = json!({"a": 1.0, "b": {"c": [{"x": 1, "y": 2}, {"x": 3}], "d": null}, "e": {}});
        let good = json!({"a": 1, "b": {"c": [{"x": 1}, {}], "d": null}, "e": {}});
        assert_eq!(
            messages(good, document.clone(), Mode::Contains),
            ["/b/c/1 it has the key `x`, which is not expected"]
        );
        assert!(messages(json!({"b": {"c": [{"y": 2}, {"x": 3}]}}), document.clone(), Mode::Contains).is_empty());
        assert_eq!(
            messages(json!({"b": {"c": [], "z": 1}, "a": "1"}), document.clone(), Mode::Contains),
            ["/b/c it has 2 elements, 0 were expected", "/b/z it is missing", "/a it is 1.0, \"1\" was expected"]
        );
        assert_eq!(messages(document.clone(), document, Mode::Whole), [""; 0]);
    }

    #[test]
    fn the_whole_document_has_no_other_keys() {
        assert_eq!(
            messages(json!({"a": {}}), json!({"a": {"b": 1}, "c": 2}), Mode::Whole),
            [" it has the key `c`, which is not expected", "/a it has the key `b`, which is not expected"]
        );
    }

    #[test]
    fn the_diff_shows_what_was_asked_for_alone() {
        let text = diff(&json!({"b": 2, "a": 1.0}), &json!({"a": 1, "b": 3, "noise": 4}), Mode::Contains);
        assert_eq!(
            text,
            "--- expected\n+++ document\n@@ -1,4 +1,4 @@\n {\n-  \"b\": 2,\n+  \"b\": 3,\n   \"a\": 1\n }\n"
        );
    }
}
