//! Every recorded incident is held by something that exists: `tests/it/cases/README.md` says by what.

use crate::harness::root;

#[test]
fn every_incident_is_held_by_a_case_or_a_test() {
    let text = std::fs::read_to_string(root().join("tests/it/cases/README.md")).unwrap();
    let mut wrong = Vec::new();
    let expected = (1..=26).map(|n| format!("I-{n}")).chain([1, 3, 4, 5, 7, 8, 9].map(|n| format!("P-{n}")));
    for incident in expected {
        let Some(row) = text.lines().find(|line| line.starts_with(&format!("| {incident} |"))) else {
            wrong.push(format!("{incident} has no row"));
            continue;
        };
        let held_by = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
        let names: Vec<&str> = held_by.split(", ").map(|name| name.trim_matches('`')).collect();
        wrong.extend(names.iter().filter(|name| !exists(name)).map(|name| format!("{incident}: there is no `{name}`")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A case folder, or a test's name behind its file.
fn exists(name: &str) -> bool {
    match name.split_once("::") {
        None => root().join("tests/it/cases").join(name).join("case.json").is_file(),
        Some((file, test)) => std::fs::read_to_string(root().join(file))
            .is_ok_and(|text| text.contains(&format!("fn {test}(")) && text.contains("test")),
    }
}
