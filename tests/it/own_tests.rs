//! `phase6 test`: the tests that exports bring along.

use crate::harness::{Sandbox, root};

/// The base project, its export with these tests.
fn with_tests(tests: &str) -> Sandbox {
    let sandbox = Sandbox::copy_of(&root().join("tests/it/base"));
    let board = sandbox.read("exports/board.yaml");
    sandbox.write("exports/board.yaml", &format!("{board}tests:\n{tests}"));
    std::fs::remove_dir_all(sandbox.path().join("warehouse")).unwrap();
    sandbox
}

const GIVEN: &str = "    given:
      params: {target_date: 2025-12-12}
      tables:
        league.games: [{game_id: g1, game_date: 2025-12-12, home: DEN, away: LAL}]
        league.players:
          - {game_id: g1, game_date: 2025-12-12, player: anna, model: first, points: 12.5, rate: 0.5}
          - {game_id: g1, game_date: 2025-12-12, player: berta, model: second, points: 9}
";

fn one(expect: &str) -> Sandbox {
    with_tests(&format!("  - name: one game\n{GIVEN}    expect: {expect}\n"))
}

#[test]
fn a_test_that_holds_passes_without_any_warehouse() {
    let ran = one("{contains: {total: 1, games: [{home: DEN, players: [{player: anna, points: 12.50}]}]}}").run("test");
    let ran = ran.expect(0);
    assert!(ran.stdout.contains("✓ board  one game"), "{}", ran.stdout);
    assert!(ran.stdout.contains("1 passed"), "{}", ran.stdout);
}

#[test]
fn a_variable_and_the_whole_document() {
    let tests = format!(
        "  - name: the other model\n{GIVEN}      vars: {{best_model: second}}\n    expect: {{rejected: type}}\n  - name: empty\n    given: {{params: {{target_date: 2025-12-12}}}}\n    expect: {{kept: true}}\n  - name: whole\n{GIVEN}    expect:\n      path: board/latest.json\n      document: {{date: 2025-12-12, total: 1, games: [{{game_id: g1, home: DEN, away: LAL, players: [{{player: anna, points: 12.5, rate: 0.5}}]}}]}}\n"
    );
    with_tests(&tests).run("test").expect(0);
}

#[test]
fn a_failing_test_shows_its_place_and_what_differs() {
    let sandbox = one("{contains: {total: 1, games: [{players: [{player: anna, points: 13}, {player: carla}]}]}}");
    let ran = sandbox.run("test").expect(1);
    for text in [
        "✗ board  one game",
        "/games/0/players: it has 1 element, 2 were expected (and 1 more)",
        "--> exports/board.yaml:41:",
        "-          \"points\": 13\n",
        "+          \"points\": 12.5\n",
        "1 failed",
    ] {
        assert!(ran.stdout.contains(text), "{text}\n{}", ran.stdout);
    }
    let ran = sandbox.run("test --format json").expect(1);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report[0]["passed"], false);
    assert_eq!(report[0]["failures"][0]["place"].as_str().unwrap().split(':').next(), Some("exports/board.yaml"));
    let ran = sandbox.run("test --format github").expect(1);
    assert!(ran.stdout.starts_with("::error file=exports/board.yaml,line=41,"), "{}", ran.stdout);
}

#[test]
fn a_run_that_ends_otherwise_says_how() {
    let ran = one("{rejected: something}").run("test").expect(1);
    assert!(ran.stdout.contains("a rejection was expected, but: 2 documents were published"), "{}", ran.stdout);
    let ran = one("{path: board/2025-12-13.json, contains: {}}").run("test").expect(1);
    assert!(ran.stdout.contains("there is no document `board/2025-12-13.json`"), "{}", ran.stdout);
    assert!(ran.stdout.contains("board/2025-12-12.json"), "{}", ran.stdout);
}

#[test]
fn slips_in_a_test_are_findings_of_check() {
    let tests = "  - name: slips
    given:
      params: {target_date: 2025-12-12, min_game: 1}
      vars: {best_modl: x}
      tables:
        league.gams: []
        league.games: [{game_id: 7, hom: DEN, away: null}]
        league.players: [{points: many, rate: 0.5, game_date: 12.12.2025}]
    expect: {contains: {}, document: {}}
  - name: no day
    given: {}
    expect: {contains: {}}
  - {name: slips, given: {now: yesterday}, expect: {contans: {}}}
";
    let sandbox = with_tests(tests);
    let ran = sandbox.run("check --format jsonl").expect(1);
    let found: Vec<(u64, String)> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|f| (f["line"].as_u64().unwrap(), format!("{} {}", f["message"].as_str().unwrap(), f["help"])))
        .collect();
    for (line, text) in [
        (35, "the export has no parameter `min_game`"),
        (36, "did you mean `best_model`?"),
        (38, "did you mean `league.games`?"),
        (39, "put the value into quotes"),
        (39, "did you mean `home`?"),
        (39, "`away` of `league.games` is NOT NULL"),
        (40, "is NUMERIC: the text `many` is none"),
        (40, "is DATE: the text `12.12.2025` is none"),
        (41, "one of `contains`"),
        (43, "this test has no day"),
        (45, "`now` is no instant"),
        (45, "did you mean `contains`?"),
    ] {
        assert!(found.iter().any(|(l, m)| *l == line && m.contains(text)), "{line} {text}\n{found:#?}");
    }
    sandbox.run("test").expect(2);
}

#[test]
fn tests_are_chosen_by_export_and_by_text() {
    let tests = format!(
        "  - name: good\n{GIVEN}    expect: {{contains: {{total: 1}}}}\n  - name: bad\n{GIVEN}    expect: {{contains: {{total: 2}}}}\n"
    );
    let sandbox = with_tests(&tests);
    sandbox.run("test").expect(1);
    let ran = sandbox.run("test board --filter good").expect(0);
    assert!(ran.stdout.contains("1 passed") && !ran.stdout.contains("bad"), "{}", ran.stdout);
    sandbox.run("test --filter 'board: bad'").expect(1);
    sandbox.run("test --filter nothing").expect(2);
    sandbox.run("test nothing").expect(2);
}

#[test]
fn rows_are_given_in_every_type() {
    let sandbox = Sandbox::copy_of(&root().join("tests/it/base"));
    sandbox.write(
        "schemas/tables/all.sql",
        "CREATE TABLE league.all_types (b BOOL, i INT64, f FLOAT64, n NUMERIC, s STRING, y BYTES, d DATE, t TIME, dt DATETIME,\n  ts TIMESTAMP, j JSON, a ARRAY<INT64>, st STRUCT<x INT64, y STRING>, many ARRAY<STRUCT<d DATE>>);",
    );
    sandbox.write("schemas/any.schema.json", "{}");
    sandbox.write(
        "exports/types.yaml",
        "export: types
description: Every type.
sql: SELECT * FROM `league.all_types`
shape: {rows: {$each: rows, $fields: [b, i, f, n, s, y, d, t, dt, ts, j, a, st, many]}}
files: [{path: types.json}]
schema: schemas/any.schema.json
tests:
  - name: as given
    given:
      now: 2025-12-12T18:00:00Z
      tables:
        league.all_types:
          - {b: true, i: -7, f: 2, n: \"12345678901234567890.5\", s: \"it's \\\"\\n\", y: aGk=, d: 2025-12-12, t: \"09:30:00\", dt: 2025-12-12T09:30:00,
             ts: 2025-12-12T09:30:00-05:00, j: {k: [1, null]}, a: [1, 2], st: {x: 1, y: z}, many: [{d: 2025-12-12}]}
          - {j: '\"text\"', n: 0.1, f: 1.0e-7}
    expect:
      document:
        rows:
          - {b: true, i: -7, f: 2, n: 12345678901234567890.5, s: \"it's \\\"\\n\", y: aGk=, d: 2025-12-12, t: \"09:30:00\", dt: \"2025-12-12T09:30:00\",
             ts: \"2025-12-12T14:30:00Z\", j: {k: [1, null]}, a: [1, 2], st: {x: 1, y: z}, many: [{d: 2025-12-12}]}
          - {b: null, i: null, f: 0.0000001, n: 0.1, s: null, y: null, d: null, t: null, dt: null, ts: null, j: text, a: [], st: null, many: []}
",
    );
    sandbox.run("test types").expect(0);
}

#[test]
fn a_test_does_not_wait_for_upstream() {
    let sandbox = one("{contains: {total: 1}}");
    let board = sandbox.read("exports/board.yaml");
    let ready = "ready: [{query: players, if: =ready.rows >= 50, else: fewer than 50 players}]\nshape:\n";
    sandbox.write("exports/board.yaml", &board.replace("shape:\n", ready));
    sandbox.run("test").expect(0);
}
