//! Holds the source tree against its own rules: imports go one way, files stay small, no export's name stands in the code.

use crate::harness::root;
use std::path::{Path, PathBuf};

/// Each room, and the rooms that it may import.
const ROOMS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("diagnostics", &["model"]),
    ("config", &["model", "diagnostics", "sql", "shape", "document"]),
    ("sql", &["model", "diagnostics", "config"]),
    ("shape", &["model", "diagnostics", "config", "ports"]),
    ("document", &["model", "diagnostics", "config", "shape", "ports"]),
    ("ports", &["model"]),
    ("state", &["model", "ports"]),
    ("engine", &["model", "diagnostics", "config", "sql", "shape", "document", "ports", "state"]),
    ("service", &["model", "diagnostics", "config", "shape", "document", "ports", "state", "engine", "telemetry"]),
    ("deploy", &["model", "config", "ports", "service"]),
    ("telemetry", &["model"]),
    ("adapters", &["model", "config", "sql", "ports"]),
    (
        "cli",
        &[
            "model",
            "diagnostics",
            "config",
            "sql",
            "shape",
            "document",
            "ports",
            "state",
            "engine",
            "service",
            "deploy",
            "telemetry",
            "adapters",
        ],
    ),
];

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let src = root().join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    assert!(files.len() > 20, "the source tree was found");
    files
        .into_iter()
        // Tests may name what they like.
        .filter(|p| p.file_name().is_none_or(|n| n != "tests.rs"))
        .map(|p| (p.strip_prefix(&src).unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(&p).unwrap()))
        .collect()
}

/// The code before the tests of a file.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or_default()
}

#[test]
fn imports_go_one_way() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some((room, _)) = path.split_once('/') else { continue };
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
            wrong.push(format!("{path}: the room `{room}` is not in the table"));
            continue;
        };
        for (i, line) in code(&text).lines().enumerate() {
            for (other, _) in ROOMS {
                if *other != room
                    && !allowed.contains(other)
                    && line.contains(&format!("crate::{other}::"))
                    && !line.trim_start().starts_with("//")
                {
                    wrong.push(format!("src/{path}:{}: `{room}` must not import `{other}`", i + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_code_knows_the_name_of_an_export() {
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(root().join("exports")).unwrap() {
        let path = entry.unwrap().path();
        let Some(name) = path.file_stem().map(|n| n.to_string_lossy().into_owned()) else { continue };
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        for (file, text) in sources() {
            // Help texts show the seed's own commands; `players` is also a word of the seed's messages.
            if file == "cli/args.rs" || name == "players" {
                continue;
            }
            // A key of JSON (SARIF's "results": …) is no export's name.
            let named = |l: &str| {
                l.contains(&format!("\"{name}\""))
                    && !l.contains(&format!("\"{name}\":"))
                    && !l.trim_start().starts_with("//")
            };
            if code(&text).lines().any(named) {
                wrong.push(format!("src/{file} names the export `{name}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_clock_reads_the_clock() {
    for (path, text) in sources() {
        if path != "ports/clock.rs" {
            assert!(!code(&text).contains("Timestamp::now()"), "src/{path} reads the clock");
        }
    }
}
