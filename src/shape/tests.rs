//! Each directive alone: rows in, document out.

use super::{Input, Scope, Table};
use crate::config::yaml;
use crate::diagnostics::Sources;
use crate::document::json::Encoder;
use crate::document::spool::Spool;
use crate::model::rows::StrColumn;
use crate::model::{Column, Data, Field, Type};
use std::sync::Arc;

/// Games: id, team, points (NULL in the third), day.
fn games() -> Table {
    let field = |name: &str, ty| Field { name: name.into(), ty, nullable: true };
    let fields: Arc<[Field]> = vec![
        field("id", Type::Int64),
        field("team", Type::String),
        field("points", Type::Int64),
        field("extra", Type::Json),
    ]
    .into();
    let mut teams = StrColumn::default();
    ["DEN", "LAL", "DEN", "BOS"].iter().for_each(|t| teams.push(t));
    let mut extra = StrColumn::default();
    [r#"{"a": 1}"#, "[1, 2]", "null", r#"{"id": 9}"#].iter().for_each(|t| extra.push(t));
    let full = |data| Column { data, nulls: None };
    let columns = vec![
        full(Data::Int64(vec![1, 2, 3, 4])),
        full(Data::Str(teams)),
        Column { data: Data::Int64(vec![10, 30, 0, 20]), nulls: Some(vec![false, false, true, false]) },
        full(Data::Str(extra)),
    ];
    Table { fields, columns, len: 4 }
}

/// The document of a shape over `games` and the empty query `none`, or what is wrong.
fn made(shape: &str) -> Result<String, String> {
    let mut sources = Sources::default();
    let (node, problems) = yaml::parse(sources.add("a.yaml", shape), shape);
    assert!(problems.is_empty(), "{shape}: {problems:?}");
    let (games, none) = (games(), Table::empty(games().fields));
    let queries = vec![("games".to_owned(), games.fields.clone()), ("nothing".to_owned(), none.fields.clone())];
    let scope = Scope { queries, ..Scope::default() };
    let (compiled, problems) = super::compile(&node.unwrap(), &scope, None);
    if let Some(first) = problems.first() {
        return Err(format!("{}: {}", first.code, first.message));
    }
    let inputs = [Input::Table(games), Input::Table(none)];
    let mut sink = Encoder::new(Spool::new(std::env::temp_dir()));
    let indexes = compiled.build_indexes(&inputs);
    compiled.run(&inputs, &indexes, None, &mut sink).map_err(|e| format!("{e:?}"))?;
    let bytes = sink.finish().unwrap().read().unwrap();
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}

#[track_caller]
fn gives(shape: &str, document: &str) {
    let made = made(shape).unwrap_or_else(|e| panic!("{shape}: {e}"));
    let parsed: serde_json::Value = serde_json::from_str(&made).unwrap();
    assert_eq!(parsed.to_string(), document, "{shape}");
    // Reading drops the first of two equal keys: both texts have as many.
    assert_eq!(made.matches("\":").count(), document.matches("\":").count(), "{made}");
}

#[track_caller]
fn refused(shape: &str, reason: &str) {
    let found = made(shape).expect_err(shape);
    assert!(found.contains(reason), "{shape}: {found}");
}

#[test]
fn literals_expressions_and_texts() {
    gives("{a: 1, b: true, c: null, d: x, e: 1.50}", r#"{"a":1,"b":true,"c":null,"d":"x","e":1.5}"#);
    gives("{a: =1 + 1, b: '\\=x', c: 'n {{ 1 + 1 }}!', $$d: 1}", r#"{"a":2,"b":"=x","c":"n 2!","$d":1}"#);
    // A text with a hole is no text.
    gives("{a: 'n {{ none }}'}", r#"{"a":null}"#);
    gives("[1, =games | length, [a]]", r#"[1,4,["a"]]"#);
}

#[test]
fn each_and_its_value() {
    gives("{$each: games, $value: =row.id}", "[1,2,3,4]");
    gives("{$each: games, n: =row.id, $limit: 1}", r#"[{"n":1}]"#);
    gives("{$each: nothing, n: =row.id}", "[]");
    gives("{$each: '=[3, 4]', $value: '=row * loop.index'}", "[3,8]");
    gives("{$each: '=none', $value: =row}", "[]");
    refused("{$each: gmaes, n: 1}", "unknown-query");
    refused("{$each: '=7', $value: =row}", "a number is no list");
}

#[test]
fn loop_counts() {
    gives(
        "{$each: games, $limit: 2, $value: {i: =loop.index, f: =loop.first, l: =loop.last}}",
        r#"[{"i":1,"f":true,"l":false},{"i":2,"f":false,"l":true}]"#,
    );
}

#[test]
fn map_and_key() {
    gives("{$map: games, $key: =row.id, $value: =row.team, $limit: 2}", r#"{"1":"DEN","2":"LAL"}"#);
    gives("{$map: games, $group: team, $key: =key, $value: =rows | length}", r#"{"DEN":2,"LAL":1,"BOS":1}"#);
    refused("{$map: games, $key: =row.team, $value: 1}", "two elements have the key `DEN`");
    refused("{$map: games, $value: 1}", "`$key` is missing");
}

#[test]
fn row_and_else() {
    gives("{a: {$row: games, $sort: -points, id: =row.id}}", r#"{"a":{"id":2}}"#);
    gives("{a: {$row: nothing, id: =row.id}}", r#"{"a":null}"#);
    gives("{a: {$row: nothing, id: =row.id, $else: {}}}", r#"{"a":{}}"#);
}

#[test]
fn where_and_filter() {
    gives("{$each: games, $where: {team: DEN}, $value: =row.id}", "[1,3]");
    gives("{$each: games, $where: {team: DEN, id: 3}, $value: =row.id}", "[3]");
    gives("{$each: games, $where: {points: =none}, $value: =row.id}", "[3]");
    gives("{$each: games, $filter: =row.points > 10, $value: =row.id}", "[2,4]");
    // `$where` looks at the row outside, not at its own.
    gives("{$each: games, $limit: 1, $value: {$each: games, $where: {team: =row.team}, $value: =row.id}}", "[[1,3]]");
    // A source that does not exist is one finding, whatever hangs on it.
    refused(
        "{$each: gaems, $where: {team: DEN}, $sort: id, $group: team, $distinct: [id], $fields: [id]}",
        "unknown-query",
    );
    refused(
        "{$let: {x: {$rows: gaems, $sort: id}}, a: '=x | sum(\"points\")', b: {$each: x, $fields: '*', $sort: id}}",
        "unknown-query",
    );
    refused("{$each: '=[1]', $sort: id, $value: 1}", "the items of a list have no columns");
    refused("{$each: games, $where: {taem: DEN}, $value: 1}", "unknown-column");
}

#[test]
fn sort_puts_nulls_last_both_ways_and_is_stable() {
    gives("{$each: games, $sort: points, $value: =row.id}", "[1,4,2,3]");
    gives("{$each: games, $sort: -points, $value: =row.id}", "[2,4,1,3]");
    gives("{$each: games, $sort: [team, -id], $value: =row.id}", "[4,3,1,2]");
    gives("{$each: games, $sort: '=row.id % 2', $value: =row.id}", "[2,4,1,3]");
    gives("{$each: games, $sort: id, $limit: 2, $value: =row.id}", "[1,2]");
}

#[test]
fn distinct_keeps_the_first() {
    gives("{$each: games, $distinct: [team], $value: =row.id}", "[1,2,4]");
    gives("{$each: games, $distinct: [team], $sort: -id, $value: =row.id}", "[4,2,1]");
}

#[test]
fn groups_have_key_rows_and_the_first_row() {
    gives(
        "{$each: games, $group: team, k: =key, n: =rows | length, first: =row.id}",
        r#"[{"k":"DEN","n":2,"first":1},{"k":"LAL","n":1,"first":2},{"k":"BOS","n":1,"first":4}]"#,
    );
    gives("{$each: games, $group: [team, id], $limit: 1, $value: =key}", r#"[["DEN",1]]"#);
    gives("{$each: games, $group: team, $sort: '=rows | length', $limit: 2, $value: =key}", r#"["LAL","BOS"]"#);
    gives("{$each: games, $group: team, $value: {$each: rows, $sort: -id, $value: =row.id}}", "[[3,1],[2],[4]]");
}

#[test]
fn as_names_the_row_for_what_is_inside() {
    gives(
        "{$each: games, $limit: 2, $as: outer, $value: {$each: games, $limit: 1, $value: '=outer.id * 10 + row.id'}}",
        "[[11],[21]]",
    );
}

#[test]
fn let_names_values_and_rows() {
    gives(
        "{$let: {n: =games | length, den: {$rows: games, $where: {team: DEN}, $sort: -id}}, a: =n, b: {$each: den, $value: =row.id}}",
        r#"{"a":4,"b":[3,1]}"#,
    );
    gives("{$let: {a: 1, b: =a}, c: '=b + 1'}", r#"{"c":2}"#);
    refused("{a: {$let: {n: 1}, x: =n}, b: =n}", "nothing here is called `n`");
}

#[test]
fn when_leaves_keys_and_elements_out() {
    gives("{a: {$when: =1 > 2, $value: 1}, b: {$when: =2 > 1, c: 3}}", r#"{"b":{"c":3}}"#);
    gives("[{$when: =none, $value: 1}, 2]", "[2]");
    gives("{$each: games, $value: {$when: =row.points, $value: =row.id}}", "[1,2,4]");
}

#[test]
fn fields_take_columns_as_they_are() {
    gives("{$row: games, $fields: [id, {t: team}], x: 1}", r#"{"id":1,"t":"DEN","x":1}"#);
    gives("{$row: games, x: 1, $fields: {t: team}}", r#"{"x":1,"t":"DEN"}"#);
    gives("{$row: games, $fields: '*', $except: [extra, points]}", r#"{"id":1,"team":"DEN"}"#);
    refused("{$fields: [id]}", "`$fields` needs a row");
    refused("{$row: games, $fields: [id], id: 1}", "the key `id` is published twice");
}

#[test]
fn merge_splices_an_object_in() {
    gives("{a: 1, $merge: {$if: =true, $then: {b: 2}}, c: 3}", r#"{"a":1,"b":2,"c":3}"#);
    gives("{a: 1, $merge: {$if: =false, $then: {b: 2}}}", r#"{"a":1}"#);
    gives("{$merge: {$switch: x, $cases: {x: {b: 2}}}}", r#"{"b":2}"#);
    gives("{$merge: {$row: games, $fields: [id]}}", r#"{"id":1}"#);
    gives("{$merge: {$map: games, $key: =row.id, $value: 1, $limit: 1}}", r#"{"1":1}"#);
    gives("{$row: games, $merge: =row.extra}", r#"{"a":1}"#);
    gives("{$row: games, $where: {id: 3}, $merge: =row.extra}", "{}");
    gives("{$merge: '={\"x\": 1}'}", r#"{"x":1}"#);
    refused("{$row: games, $where: {id: 2}, $merge: =row.extra}", "takes an object or null");
    refused("{$merge: [1]}", "`$merge` takes an object");
    refused("{a: 1, $merge: {a: 2}}", "the key `a` is published twice");
    gives("{$merge: {$if: =true, $then: {a: 1}, $else: {a: 2}}}", r#"{"a":1}"#);
}

#[test]
fn if_and_switch() {
    gives("{$if: =1 < 2, $then: a, $else: b}", r#""a""#);
    gives("{x: {$if: =none, $then: a}}", r#"{"x":null}"#);
    gives("{$switch: '=\"b\"', $cases: {a: 1, b: 2}, $else: 3}", "2");
    gives("{$switch: =7, $cases: {'7': seven}, $else: 3}", r#""seven""#);
    gives("{$switch: =none, $cases: {'': 1}, $else: 3}", "3");
    refused("{$if: =true}", "`$then` is missing");
    refused("{$switch: a}", "`$cases` is missing");
}

#[test]
fn list_has_a_limit_that_absent_elements_do_not_count_for() {
    gives("{$list: [{$when: =false, $value: 1}, 2, 3, 4], $limit: 2}", "[2,3]");
    gives("{$list: [{$if: =false, $then: 1}, 2], $limit: 1}", "[null]");
    refused("{$list: 1}", "`$list` has to be a list");
    refused("{$list: [1], $limit: -1}", "`$limit` has to be a whole number");
}

#[test]
fn slips_have_a_hint() {
    refused("{$eech: games, n: 1}", "unknown-directive");
    refused("{a: =gams}", "nothing here is called `gams`");
    refused("{a: =games | lenght}", "there is no filter `lenght`");
    refused("{a: =games | sum(\"point\")}", "has no column `point`");
    refused("{a: '{{ 1'}", "`{{` is not closed");
    refused("{a: =1 +}", "expression-syntax");
    refused("{$each: games, $value: '=row.team + 1'}", "cannot be computed");
}
