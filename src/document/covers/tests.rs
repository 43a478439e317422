use super::*;
use crate::config::yaml;
use crate::diagnostics::{Severity, Sources, render};
use crate::model::Type;
use crate::shape::Scope;
use serde_json::json;

fn queries() -> Vec<(String, Arc<[Field]>)> {
    let field = |name: &str, ty, nullable| Field { name: name.into(), ty, nullable };
    vec![(
        "games".into(),
        vec![
            field("id", Type::Int64, false),
            field("name", Type::String, true),
            field("day", Type::Date, false),
            field("at", Type::Timestamp, false),
            field("price", Type::Numeric, true),
            field("tags", Type::Array(Box::new(Type::String)), true),
            field("extra", Type::Json, true),
        ]
        .into(),
    )]
}

/// The findings, as `E code line:column message`.
fn found(shape: &str, schema: Value) -> Vec<String> {
    let mut sources = Sources::default();
    let file = sources.add("a.yaml", shape);
    let (node, problems) = yaml::parse(file, shape);
    assert!(problems.is_empty(), "{problems:?}");
    let queries = queries();
    let scope = Scope { queries: queries.clone(), ..Scope::default() };
    let (compiled, problems) = crate::shape::compile::compile_plausible(&node.unwrap(), &scope, None);
    assert!(problems.is_empty(), "{problems:?}");
    let schema = Schema { root: &schema, path: "s.json" };
    check(&compiled, &queries, None, &schema)
        .into_iter()
        .map(|f| {
            let severity = if f.severity == Severity::Error { 'E' } else { 'W' };
            let place = render::place(&f, &sources).replace("a.yaml:", "");
            format!("{severity} {} {place} {}", f.code.trim_start_matches("schema-"), f.message)
        })
        .collect()
}

/// The findings about one value, without the place.
fn one(value: &str, schema: Value) -> Vec<String> {
    let shape = format!("{{v: {value}}}");
    let found = found(&shape, json!({"type": "object", "properties": {"v": schema}}));
    found.into_iter().map(|f| f.replace(" 1:5 ", " ").replace("s.json#/properties/v", "it")).collect()
}

#[test]
fn a_key_too_few_and_a_key_too_many() {
    let schema = json!({
        "required": ["games", "total"], "additionalProperties": false,
        "properties": {"total": {"type": "integer"}, "games": {"items": {"$ref": "#/$defs/game"}}},
        "$defs": {"game": {"required": ["id", "name"], "additionalProperties": false,
                           "properties": {"id": true, "name": true}, "patternProperties": {"^x_": true}}}
    });
    assert_eq!(
        found("games:\n  $each: games\n  $fields: [id, {x_day: day}, {nam: name}]\ntotl: 1\n", schema.clone()),
        [
            "E key 3:37 s.json#/$defs/game allows no key `nam`",
            "E required 2:3 s.json#/$defs/game requires the key `name`, which is never written here",
            "E key 4:7 s.json# allows no key `totl`",
            "E required 1:1 s.json# requires the key `total`, which is never written here",
        ]
    );
    let good = "games:\n  $each: games\n  $fields: [id]\n  $merge: {name: x}\ntotal: =games | length\n";
    assert_eq!(found(good, schema), [""; 0]);
}

#[test]
fn what_is_merged_from_data_may_have_any_key() {
    let schema = json!({"required": ["a"]});
    assert_eq!(found("$merge: {$if: '=1 == 1', $then: {a: 1}}\n", schema.clone()), [""; 0]);
    assert_eq!(found("$merge: '=(games | first).extra'\n", schema.clone()), [""; 0]);
    assert_eq!(found("$merge: {b: 1}\n", schema.clone()).len(), 1);
    assert_eq!(
        found("a: {$when: '=games | length > 0', $value: 1}\n", schema),
        ["W required 1:4 s.json# requires the key `a`, which is absent under a condition"]
    );
}

#[test]
fn a_type_that_can_never_fit() {
    let text = json!({"type": "string"});
    assert_eq!(one("1", text.clone()), ["E type this is a number, and it takes string"]);
    assert_eq!(
        one("'{{ 1 }}'", json!({"type": ["integer", "null"]})),
        ["E type this is a text, and it takes null or number"]
    );
    assert_eq!(one("{a: 1}", json!({"type": "array"})), ["E type this is an object, and it takes array"]);
    assert_eq!(
        one("{$each: games, $value: 1}", json!({"type": "object"})),
        ["E type this is a list, and it takes object"]
    );
    assert_eq!(one("{$map: games, $key: =row.name, $value: 1}", json!({"type": "array"})).len(), 1);
    assert_eq!(one("{$each: games, $value: =row.day}", json!({"items": {"type": "integer"}})).len(), 1);
    assert_eq!(one("{$each: games, $value: =row.tags}", json!({"items": {"items": {"type": "integer"}}})).len(), 1);
    assert_eq!(one("{$each: games, $value: =row.extra}", json!({"items": {"type": "integer"}})), [""; 0]);
    // A number may turn out to be whole.
    assert_eq!(
        one("{$each: games, $value: '=row.price | default(0)'}", json!({"items": {"type": "integer"}})),
        [""; 0]
    );
    assert_eq!(one("=games | length > 1", text.clone()).len(), 1);
    assert_eq!(one("=(games | length) ~ ''", text), [""; 0]);
    assert_eq!(one("b", json!({"enum": ["a", "c"]})), ["E type `b` is none of the values of it"]);
    assert_eq!(one("1", json!(false)).len(), 1);
}

#[test]
fn the_forms_of_dates_and_times() {
    let each = |column: &str, format: &str| {
        one(&format!("{{$each: games, $value: =row.{column}}}"), json!({"items": {"type": "string", "format": format}}))
    };
    assert_eq!(each("day", "date-time").len(), 1);
    assert_eq!(each("at", "date").len(), 1);
    assert_eq!(each("day", "date"), [""; 0]);
    assert_eq!(each("at", "date-time"), [""; 0]);
    assert_eq!(one("{$each: games, $value: '=row.at | date(\"%Y\")'}", json!({"items": {"format": "date"}})), [""; 0]);
}

#[test]
fn null_where_none_may_be() {
    let number = json!({"type": "number"});
    let codes = |value: &str| -> String {
        one(value, number.clone()).iter().map(|f| f.split(' ').take(2).collect::<Vec<_>>().join(" ") + ";").collect()
    };
    assert_eq!(codes("null"), "E null;");
    assert_eq!(codes("=none"), "E null;");
    assert_eq!(codes("=none + 1"), "E null;");
    assert_eq!(codes("=1 if games else none"), "W null;");
    assert_eq!(codes("{$if: =games, $then: 1}"), "W null;");
    assert_eq!(codes("=games | max(\"price\")"), "W null;");
    assert_eq!(codes("=games | max(\"price\") | default(0)"), "");
    assert_eq!(codes("=(games | first).id"), "");
    assert_eq!(codes("=games | sum(\"price\")"), "");
    // There may always be a row; somebody who writes `$else: null` knows that there is not.
    assert_eq!(codes("{$row: games, $value: =row.id}"), "");
    assert_eq!(codes("{$row: games, $value: =row.id, $else: null}"), "W null;");
    // What the column may be is said under a code of its own, and not below a condition.
    assert_eq!(codes("{$row: games, $value: =row.price}"), "W null-column;");
    assert_eq!(codes("{$row: games, $value: '=row.price | default(0)'}"), "");
    assert_eq!(codes("{$row: games, $value: '=row.price * 2'}"), "W null-column;");
    assert_eq!(codes("{$row: games, $filter: =row.price is not none, $value: =row.price}"), "");
    assert_eq!(codes("{$row: games, $value: {$if: =row.price, $then: =row.price, $else: 0}}"), "");
    assert_eq!(codes("{$row: games, $value: '=row.price if row.price is not none else 0'}"), "");
    assert_eq!(one("null", json!({"type": ["number", "null"]})), [""; 0]);
    assert_eq!(one("null", json!({"anyOf": [{"$ref": "#/properties/w"}, {"type": "null"}]})), [""; 0]);
}

#[test]
fn one_of_the_alternatives_has_to_fit() {
    let schema = json!({"oneOf": [
        {"type": "object", "additionalProperties": false, "required": ["a"], "properties": {"a": {"type": "string"}}},
        {"type": "object", "additionalProperties": false, "required": ["b"], "properties": {"b": {"type": "integer"}}},
        {"type": "null"}
    ]});
    assert_eq!(one("{a: x}", schema.clone()), [""; 0]);
    assert_eq!(one("{b: 1}", schema.clone()), [""; 0]);
    assert_eq!(one("{$if: =games, $then: {a: x}, $else: {b: 1}}", schema.clone()), [""; 0]);
    assert_eq!(one("{$if: =games, $then: {a: x}}", schema.clone()), [""; 0]);
    assert!(!one("{b: x}", schema.clone()).is_empty());
    assert!(!one("{c: x}", schema).is_empty());
}

#[test]
fn schemas_that_refer_to_themselves_end() {
    let schema =
        json!({"$ref": "#", "allOf": [{"$ref": "#"}], "anyOf": [{"$ref": "#"}], "properties": {"a": {"$ref": "#"}}});
    assert_eq!(found("{a: {a: {a: 1}}}", schema), [""; 0]);
}

#[test]
fn keys_that_are_data_are_held_against_what_other_keys_may_be() {
    let map = "{$map: games, $key: =row.name, $value: =row.id}";
    assert_eq!(one(map, json!({"additionalProperties": {"type": "integer"}})), [""; 0]);
    assert_eq!(one(map, json!({"additionalProperties": {"type": "string"}})).len(), 1);
    assert_eq!(one(map, json!({"additionalProperties": false})).len(), 1);
    assert_eq!(
        one(map, json!({"additionalProperties": false, "patternProperties": {"^": {"type": "string"}}})).len(),
        1
    );
    assert_eq!(one(map, json!({"additionalProperties": false, "properties": {"a": true}})), [""; 0]);
}
