//! Each exit code has one meaning; scripts and schedulers rely on it.

use crate::harness::{Sandbox, root};

const OTHER: &str = "export: other\ndescription: One more.\nparams: {target_date: date}\nsql: \"SELECT game_id FROM `league.TABLE` \
    WHERE game_date = {{ target_date }}\"\nshape: {date: =target_date, ids: {$each: rows, $value: =row.game_id}}\n\
    files: [{path: \"other/{{ target_date }}.json\"}]\nschema: schemas/other.schema.json\n";

/// The base project with a second, smaller export on this table.
fn with_other(table: &str) -> Sandbox {
    let sandbox = Sandbox::copy_of(&root().join("tests/it/base"));
    sandbox.write("exports/other.yaml", &OTHER.replace("TABLE", table));
    sandbox.write(
        "schemas/other.schema.json",
        r#"{"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}"#,
    );
    sandbox
}

#[test]
fn zero_is_all_good() {
    let ran = with_other("games").run("run --date 2025-12-12").expect(0);
    assert!(ran.stdout.contains("other") && ran.stdout.contains("board"), "{}", ran.stdout);
}

#[test]
fn one_is_a_finding_or_that_every_export_failed() {
    let sandbox = with_other("gone");
    sandbox.run("check").expect(1);
    sandbox.run("run --date 2025-12-12 --only other").expect(1);
}

#[test]
fn two_is_wrong_use_or_a_bad_project() {
    let sandbox = with_other("games");
    sandbox.run("no-such-command").expect(2);
    sandbox.run("run --date 2025-02-30").expect(2);
    sandbox.write("phase6_publishing.yaml", "version: [\n");
    sandbox.run("run --date 2025-12-12").expect(2);
    Sandbox::empty().run("run --date 2025-12-12").expect(2);
}

#[test]
fn three_is_a_partial_success() {
    let ran = with_other("gone").run("run --date 2025-12-12 --format json").expect(3);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(report["totals"].is_object(), "{}", ran.stdout);
}

#[test]
fn four_is_nothing_to_do_and_only_when_asked() {
    let sandbox = Sandbox::copy_of(&root().join("tests/it/base"));
    sandbox.run("run --date 2025-12-20").expect(0);
    sandbox.run("run --date 2025-12-20 --strict").expect(4);
}

#[test]
fn five_is_that_an_outside_system_was_not_available() {
    let sandbox = Sandbox::copy_of(&root().join("tests/it/base"));
    // A file where the store's folder has to be.
    sandbox.write("public", "in the way");
    sandbox.run("doctor").expect(5);
    let ran = sandbox.run("run --date 2025-12-12").expect(5);
    assert!(ran.stdout.contains("public") && sandbox.read("public") == "in the way", "{}", ran.stdout);
}
