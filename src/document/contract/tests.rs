//! Each keyword on its own, and the streaming validator held against the `jsonschema` crate.

use super::*;
use crate::model::sink::{Key, Sink};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Speaks a value as events.
fn feed(value: &Value, sink: &mut impl Sink) {
    let at = At(1);
    match value {
        Value::Null => sink.null(at),
        Value::Bool(b) => sink.bool(*b, at),
        Value::Number(n) => match n.as_i64() {
            Some(i) => sink.int(i, at),
            None => sink.float(n.as_f64().unwrap(), at),
        },
        Value::String(s) => sink.str(s, at),
        Value::Array(items) => {
            sink.begin_array(at).unwrap();
            items.iter().for_each(|i| feed(i, sink));
            sink.end_array()
        }
        Value::Object(entries) => {
            sink.begin_object(at).unwrap();
            for (k, v) in entries {
                sink.key(&Key::new(k)).unwrap();
                feed(v, sink);
            }
            sink.end_object()
        }
    }
    .unwrap();
}

fn check(schema: &Value, document: &Value) -> Findings {
    let contract = Contract::compile(schema).unwrap_or_else(|e| panic!("{schema}: {e:?}"));
    let mut validator = contract.validator();
    feed(document, &mut validator);
    assert_eq!(validator.frames_open(), 0, "{schema} {document}");
    validator.finish()
}

/// The rules broken, with their places.
fn broken(schema: Value, document: Value) -> Vec<(&'static str, String)> {
    check(&schema, &document).kept.into_iter().map(|f| (f.rule, f.pointer)).collect()
}

#[test]
fn each_keyword_finds_what_it_forbids() {
    for (schema, good, bad, rule, pointer) in [
        (json!({"type": "integer"}), json!(1.0), json!(1.5), "type", ""),
        (json!({"type": ["string", "null"]}), json!(null), json!(1), "type", ""),
        (json!({"enum": ["a", "b", null]}), json!(null), json!("c"), "enum", ""),
        (json!({"enum": [1, true]}), json!(1.0), json!(2), "enum", ""),
        (json!({"enum": [1, true]}), json!(true), json!(false), "enum", ""),
        (json!({"const": "x"}), json!("x"), json!(null), "const", ""),
        (json!({"minimum": 1}), json!(1), json!(0.5), "minimum", ""),
        (json!({"maximum": 1}), json!(1), json!(2), "maximum", ""),
        (json!({"exclusiveMinimum": 1}), json!(2), json!(1), "exclusiveMinimum", ""),
        (json!({"exclusiveMaximum": 1}), json!(0), json!(1), "exclusiveMaximum", ""),
        (json!({"multipleOf": 0.1}), json!(0.3), json!(0.35), "multipleOf", ""),
        (json!({"minLength": 2}), json!("éé"), json!("é"), "minLength", ""),
        (json!({"maxLength": 2}), json!("éé"), json!("abc"), "maxLength", ""),
        (json!({"pattern": "^\\d+$"}), json!("12"), json!("1a"), "pattern", ""),
        (json!({"format": "date"}), json!("2024-02-29"), json!("2023-02-29"), "format", ""),
        (json!({"format": "date-time"}), json!("2024-02-29T10:00:00Z"), json!("2024-02-29 10:00"), "format", ""),
        (json!({"format": "email"}), json!("a@b.org"), json!("a"), "format", ""),
        (json!({"format": "uri"}), json!("https://a.org/x"), json!("a b"), "format", ""),
        (json!({"required": ["a"]}), json!({"a": 1}), json!({"b": 1}), "required", ""),
        (json!({"properties": {"a": {"type": "null"}}}), json!({"a": null}), json!({"b": 1, "a": 1}), "type", "/a"),
        (
            json!({"properties": {"a": true}, "additionalProperties": false}),
            json!({"a": 1}),
            json!({"b/c": []}),
            "additionalProperties",
            "/b~1c",
        ),
        (json!({"additionalProperties": {"type": "null"}}), json!({"a": null}), json!({"a": 1}), "type", "/a"),
        (json!({"patternProperties": {"^x": {"type": "null"}}}), json!({"a": 1}), json!({"x1": 1}), "type", "/x1"),
        (json!({"propertyNames": {"maxLength": 1}}), json!({"a": 1}), json!({"ab": 1}), "propertyNames", "/ab"),
        (json!({"minProperties": 1}), json!({"a": 1}), json!({}), "minProperties", ""),
        (json!({"maxProperties": 0}), json!({}), json!({"a": 1}), "maxProperties", ""),
        (json!({"items": {"type": "null"}}), json!([null]), json!([null, 1]), "type", "/1"),
        (json!({"prefixItems": [true, {"type": "null"}]}), json!([1]), json!([1, 1]), "type", "/1"),
        (json!({"minItems": 1}), json!([1]), json!([]), "minItems", ""),
        (json!({"maxItems": 1}), json!([1]), json!([1, 2]), "maxItems", ""),
        (
            json!({"uniqueItems": true, "items": {"type": "string"}}),
            json!(["a", "b"]),
            json!(["a", "a"]),
            "uniqueItems",
            "/1",
        ),
        (json!({"uniqueItems": true}), json!([[1], [2]]), json!([[1], [1]]), "uniqueItems", ""),
        (
            json!({"anyOf": [{"type": "null"}, {"type": "object", "required": ["a"]}]}),
            json!(null),
            json!({}),
            "required",
            "",
        ),
        (
            json!({"oneOf": [{"type": "object", "maxProperties": 0}, {"type": "object", "required": ["a"]}]}),
            json!({}),
            json!({"b": 1}),
            "oneOf",
            "",
        ),
        (json!({"allOf": [{"minimum": 1}, {"maximum": 2}]}), json!(1), json!(3), "maximum", ""),
        (json!({"not": {"type": "null"}}), json!(1), json!(null), "not", ""),
        (json!({"if": {"type": "string"}, "then": {"minLength": 1}}), json!(1), json!(""), "minLength", ""),
        (
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}}}}),
            json!([[], []]),
            json!([[1]]),
            "type",
            "/0/0",
        ),
        (json!({"$defs": {"a": {"minimum": 1}}, "$ref": "#/$defs/a", "maximum": 2}), json!(1), json!(0), "minimum", ""),
    ] {
        assert_eq!(broken(schema.clone(), good.clone()), [], "{schema} {good}");
        assert_eq!(broken(schema.clone(), bad.clone()), [(rule, pointer.to_owned())], "{schema} {bad}");
    }
}

#[test]
fn numerics_are_numbers_exactly() {
    let contract = Contract::compile(&json!({"items": {"type": "integer", "enum": [2, 20]}})).unwrap();
    let mut validator = contract.validator();
    validator.begin_array(At(0)).unwrap();
    validator.decimal(2000, 2, At(0)).unwrap();
    validator.decimal(205, 1, At(7)).unwrap();
    validator.end_array().unwrap();
    let findings = validator.finish();
    assert_eq!(findings.total, 1);
    assert_eq!((findings.kept[0].rule, findings.kept[0].at, &*findings.kept[0].value), ("type", At(7), "20.5"));
}

#[test]
fn a_schema_with_mistakes_does_not_compile() {
    for (schema, says) in [
        (json!({"properties": {"a": {"requird": []}}}), "did you mean `required`"),
        (json!({"format": "dat"}), "did you mean `date`"),
        (json!({"$ref": "#/$defs/b"}), "not there"),
        (json!({"$ref": "http://x"}), "inside its file"),
        (json!({"pattern": "(?=a)"}), "cannot be used"),
        (json!({"type": "text"}), "no type of JSON"),
        (json!({"minLength": -1}), "whole number"),
        (json!({"oneOf": [{"typ": "x"}]}), "did you mean `type`"),
        (json!({"$defs": {"unused": {"typ": 1}}}), "did you mean `type`"),
    ] {
        let problems = Contract::compile(&schema).unwrap_err();
        assert!(problems.iter().any(|p| p.contains(says)), "{schema}: {problems:?}");
    }
}

#[test]
fn many_findings_are_counted_and_few_are_kept() {
    let findings = check(&json!({"items": {"type": "null"}}), &json!(vec![1; 50]));
    assert_eq!((findings.total, findings.kept.len()), (50, KEPT));
}

#[test]
fn more_than_64_properties_are_remembered() {
    let names: Vec<String> = (0..150).map(|i| format!("p{i}")).collect();
    let schema = json!({"required": names});
    let mut document: serde_json::Map<String, Value> = names.iter().map(|n| (n.clone(), json!(1))).collect();
    assert!(check(&schema, &Value::from(document.clone())).is_empty());
    document.remove("p130");
    assert_eq!(check(&schema, &Value::from(document)).total, 1);
}

fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        (-3_i64..6).prop_map(Value::from),
        (-4_i64..8).prop_map(|i| json!(i as f64 / 2.0)),
        prop::sample::select(vec!["", "a", "b", "ab", "abc", "2024-01-01", "é"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[abc]{1,2}", inner, 0..4).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

fn schema() -> impl Strategy<Value = Value> {
    let types = || prop::sample::select(vec!["null", "boolean", "integer", "number", "string", "array", "object"]);
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        types().prop_map(|t| json!({"type": t})),
        (types(), types()).prop_map(|(a, b)| if a == b { json!({"type": a}) } else { json!({"type": [a, b]}) }),
        prop::collection::btree_set(0_usize..6, 1..4).prop_map(|at| {
            let all = [json!("a"), json!(null), json!(1), json!(2.5), json!(true), json!([1])];
            json!({"enum": at.into_iter().map(|i| all[i].clone()).collect::<Vec<_>>()})
        }),
        (-2_i64..4).prop_map(|n| json!({"minimum": n, "exclusiveMaximum": n + 2})),
        (0_u64..3)
            .prop_map(|n| json!({"type": ["string", "number"], "minLength": n, "maxLength": n + 1, "multipleOf": 0.5})),
        Just(json!({"pattern": "^[ab]+$"})),
        Just(json!({"type": "string", "format": "date"})),
        document().prop_map(|d| json!({"const": d})),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        let some = prop::option::of(inner.clone());
        let named = prop::collection::btree_map("[abc]", inner.clone(), 0..3);
        let object = (named, prop::collection::btree_set("[abc]", 0..3), some.clone(), some.clone(), 0_u64..3);
        let array = (prop::collection::vec(inner.clone(), 0..3), some.clone(), 0_u64..2, any::<bool>());
        let several = prop::collection::vec(inner.clone(), 1..3);
        prop_oneof![
            object.prop_map(|(named, required, additional, pattern, least)| {
                let mut s = json!({"properties": named, "required": required, "minProperties": least});
                if let Some(a) = additional {
                    s["additionalProperties"] = a;
                }
                if let Some(p) = pattern {
                    s["patternProperties"] = json!({"^b": p});
                }
                s
            }),
            array.prop_map(|(prefix, items, least, unique)| {
                let mut s = json!({"type": "array", "minItems": least, "maxItems": least + 2, "uniqueItems": unique});
                if let Some(i) = items {
                    s["items"] = i;
                }
                if !prefix.is_empty() {
                    s["prefixItems"] = json!(prefix);
                }
                s
            }),
            (prop::sample::select(vec!["anyOf", "oneOf", "allOf"]), several).prop_map(|(k, l)| json!({k: l})),
            inner.clone().prop_map(|s| json!({"not": s})),
            inner
                .clone()
                .prop_map(|s| json!({"anyOf": [{"type": "null"}, {"type": "object", "properties": {"a": s}}]})),
            inner.prop_map(|s| json!({"$ref": "#/$defs/x", "$defs": {"x": s}})),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_stream_says_what_the_crate_says(mut schema in schema(), documents in prop::collection::vec(document(), 1..6)) {
        // References lead to the root's `$defs` only: nested ones are lifted.
        let mut lifted = serde_json::Map::new();
        lift(&mut schema, &mut lifted);
        if let Value::Object(root) = &mut schema {
            root.insert("$defs".into(), Value::Object(lifted));
        }
        let options = jsonschema::options().with_draft(jsonschema::Draft::Draft202012).should_validate_formats(true);
        let reference = options.build(&schema).unwrap();
        for document in &documents {
            let found = check(&schema, document);
            prop_assert_eq!(found.is_empty(), reference.is_valid(document), "{} {} {:?}", schema, document, found);
        }
    }
}

fn lift(schema: &mut Value, lifted: &mut serde_json::Map<String, Value>) {
    if let Value::Object(object) = schema {
        if let Some(mut defs) = object.remove("$defs") {
            let mut target = defs["x"].take();
            lift(&mut target, lifted);
            let name = format!("x{}", lifted.len());
            object["$ref"] = json!(format!("#/$defs/{name}"));
            lifted.insert(name, target);
        }
        for (_, value) in object.iter_mut().filter(|(k, _)| *k != "const" && *k != "enum") {
            lift(value, lifted);
        }
    } else if let Value::Array(items) = schema {
        items.iter_mut().for_each(|i| lift(i, lifted));
    }
}
