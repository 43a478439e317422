//! Case folders: anyone can add one. `tests/it/cases/<name>/case.json` says what to run and what to see; `project/` holds the
//! files that are laid over the small base project (`tests/it/base`).
//!
//! A step: `{"run": "check", "exit": 1, "stdout": ["contained"], "stderr": [...], "not": [...], "json": true = stdout is JSON,
//! "write": {"path": "text"},
//! "replace": {"path": {"old": "new"}}, "remove": ["path"], "files": {"path": <subset of the JSON>, "path": null = absent}, "same": ["path" unchanged since the step
//! before]}`.

use crate::harness::{Sandbox, copy_tree, root};
use serde_json::Value;
use std::collections::BTreeMap;

#[test]
fn every_case_folder_holds() {
    let cases = root().join("tests/it/cases");
    let mut failures = Vec::new();
    let mut count = 0;
    let mut names: Vec<_> = std::fs::read_dir(&cases).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    for case in names.iter().filter(|p| p.join("case.json").is_file()) {
        count += 1;
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        if let Err(failure) = std::panic::catch_unwind(|| run_case(case)) {
            let text = failure
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| failure.downcast_ref::<&str>().map(|s| (*s).to_owned()))
                .unwrap_or_default();
            failures.push(format!("case {name}: {text}"));
        }
    }
    assert!(count > 0, "no case folder was found");
    assert!(failures.is_empty(), "{} of {count} cases failed:\n\n{}", failures.len(), failures.join("\n\n"));
}

fn run_case(case: &std::path::Path) {
    let sandbox = Sandbox::copy_of(&root().join("tests/it/base"));
    if case.join("project").is_dir() {
        copy_tree(&case.join("project"), sandbox.path());
    }
    let text = std::fs::read_to_string(case.join("case.json")).unwrap();
    let spec: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("case.json: {e}"));
    assert!(spec["about"].is_string(), "a case says what it is about");
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for (i, step) in spec["steps"].as_array().expect("steps").iter().enumerate() {
        run_step(&sandbox, step, i + 1, &mut seen);
    }
}

fn run_step(sandbox: &Sandbox, step: &Value, number: usize, seen: &mut BTreeMap<String, String>) {
    for (path, text) in step["write"].as_object().into_iter().flatten() {
        sandbox.write(path, text.as_str().expect("text"));
    }
    for (path, edits) in step["replace"].as_object().into_iter().flatten() {
        for (old, new) in edits.as_object().expect("old: new") {
            let text = sandbox.read(path);
            assert!(text.contains(old.as_str()), "step {number}: {path} has no {old:?}");
            sandbox.write(path, &text.replace(old.as_str(), new.as_str().expect("text")));
        }
    }
    for path in step["remove"].as_array().into_iter().flatten() {
        std::fs::remove_file(sandbox.path().join(path.as_str().expect("path"))).unwrap();
    }
    if let Some(command) = step["run"].as_str() {
        let ran = sandbox.run(command);
        let all = format!("step {number}, phase6 {command}\nstdout:\n{}\nstderr:\n{}", ran.stdout, ran.stderr);
        assert_eq!(i64::from(ran.code), step["exit"].as_i64().unwrap_or(0), "exit code; {all}");
        for (stream, text) in [("stdout", &ran.stdout), ("stderr", &ran.stderr)] {
            for part in step[stream].as_array().into_iter().flatten() {
                let part = part.as_str().expect("text");
                assert!(text.contains(part), "{stream} lacks {part:?}; {all}");
            }
        }
        if step["json"] == true {
            assert!(serde_json::from_str::<Value>(&ran.stdout).is_ok(), "stdout is no JSON; {all}");
        }
        for part in step["not"].as_array().into_iter().flatten() {
            let part = part.as_str().expect("text");
            assert!(!ran.stdout.contains(part) && !ran.stderr.contains(part), "{part:?} was said; {all}");
        }
    }
    for path in step["same"].as_array().into_iter().flatten() {
        let path = path.as_str().expect("path");
        assert_eq!(seen.get(path), Some(&sandbox.read(path)), "step {number}: {path} changed");
    }
    for (path, expected) in step["files"].as_object().into_iter().flatten() {
        if expected.is_null() {
            assert!(!sandbox.exists(path), "step {number}: {path} should not be there");
            continue;
        }
        let found = sandbox.json(path);
        contains(&found, expected, path).unwrap_or_else(|e| panic!("step {number}: {e}"));
        seen.insert(path.clone(), sandbox.read(path));
    }
}

/// Whether `found` has everything that `expected` names; arrays are compared whole.
fn contains(found: &Value, expected: &Value, place: &str) -> Result<(), String> {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => expected.iter().try_for_each(|(key, value)| {
            let place = format!("{place}/{key}");
            contains(found.get(key).ok_or_else(|| format!("{place} is missing"))?, value, &place)
        }),
        (Value::Array(found), Value::Array(expected)) if found.len() == expected.len() => {
            found.iter().zip(expected).enumerate().try_for_each(|(i, (f, e))| contains(f, e, &format!("{place}/{i}")))
        }
        (Value::Number(f), Value::Number(e)) if f.as_f64() == e.as_f64() => Ok(()),
        _ if found == expected => Ok(()),
        _ => Err(format!("{place} is {found}, expected {expected}")),
    }
}
