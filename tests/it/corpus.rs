//! The project's own files, damaged: whatever stands in them, `check` answers with findings, soon, and never panics.
//!
//! Each damage is made from a number, which a failure names. `PHASE6_CORPUS=100000` looks longer.

use crate::harness::{Sandbox, root};
use phase6::cli::check::load_and_analyse;
use phase6::config::Loaded;
use phase6::diagnostics::render;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// How long one damaged project may take; a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Small and repeatable.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }
}

/// Damages a text in one to three places.
fn damaged(bytes: &[u8], number: u64) -> Vec<u8> {
    let mut dice = Dice(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut bytes = bytes.to_vec();
    for _ in 0..=dice.roll(3) {
        match dice.roll(4) {
            0 => lines(&mut bytes, &mut dice),
            1 => scalar(&mut bytes, &mut dice),
            _ => single(&mut bytes, &mut dice),
        }
    }
    bytes
}

fn lines(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let mut lines: Vec<Vec<u8>> = bytes.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    let (at, other) = (dice.roll(lines.len()), dice.roll(lines.len()));
    match dice.roll(6) {
        0 => drop(lines.remove(at)),
        1 => lines.insert(other, lines[at].clone()),
        2 => lines.swap(at, other),
        3 => lines.truncate(at + 1),
        4 => lines[at].insert(0, [b' ', b'\t', b'-'][dice.roll(3)]),
        _ => drop(lines[at].pop()),
    }
    *bytes = lines.join(&b'\n');
}

/// Characters that mean something to YAML, JSON, SQL, templates or expressions, and some that mean nothing to anybody.
const PIECES: [&str; 34] = [
    "\t",
    ":",
    ": ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    "&a ",
    "*a",
    "!!x ",
    "|",
    ">",
    "#",
    "'",
    "\"",
    "\\",
    "=",
    "{{",
    "}}",
    "{%",
    "%}",
    "$",
    "$each: ",
    "---\n",
    "\u{feff}",
    "\u{2028}",
    "é",
    "\r",
    "(",
    ")",
    ",",
    "99999999999999999999",
    "%",
];

fn single(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let at = dice.roll(bytes.len());
    let to = (at + dice.roll(8)).min(bytes.len());
    match dice.roll(6) {
        0 => drop(bytes.drain(at..to)),
        1 => {
            let part = bytes[at..to].to_vec();
            bytes.splice(at..at, part);
        }
        2 if at + 1 < bytes.len() => bytes.swap(at, at + 1),
        3 => bytes.insert(at, dice.roll(256) as u8),
        _ => drop(bytes.splice(at..at, PIECES[dice.roll(PIECES.len())].bytes())),
    }
}

/// Another value behind some colon.
fn scalar(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let colons: Vec<usize> = (0..bytes.len()).filter(|i| bytes[*i] == b':').collect();
    let Some(at) = colons.get(dice.roll(colons.len())).copied() else { return };
    let end = (at..bytes.len()).find(|i| bytes[*i] == b'\n').unwrap_or(bytes.len());
    let values = [
        " null",
        " true",
        " -1",
        " 1e999",
        " .nan",
        " []",
        " {}",
        " =x",
        " '{{ x }}'",
        " ~",
        " 2025-13-45",
        " *",
        " [[[[]]]]",
    ];
    bytes.splice(at + 1..end, values[dice.roll(values.len())].bytes());
}

/// The files that are damaged, each with the export that reads it.
fn files() -> Vec<(PathBuf, Option<String>)> {
    let mut files = vec![(PathBuf::from("phase6_publishing.yaml"), Some("exports/streaks.yaml".to_owned()))];
    let mut of = |folder: &str, ending: &str, with: Option<&str>| {
        let mut found: Vec<PathBuf> =
            std::fs::read_dir(root().join(folder)).unwrap().map(|e| e.unwrap().path()).collect();
        found.retain(|p| p.to_string_lossy().ends_with(ending));
        found.sort();
        files.extend(found.iter().map(|p| (p.strip_prefix(root()).unwrap().to_owned(), with.map(str::to_owned))));
    };
    of("exports", ".yaml", None);
    of("schemas/messages", ".json", None);
    of("schemas/tables", ".sql", Some("exports/tonight.yaml"));
    of("exports/sql", "best_bets_picks.sql", Some("exports/best-bets.yaml"));
    of("exports/sql", "tonight_facts.sql", Some("exports/tonight.yaml"));
    of("schemas", "results.schema.json", Some("exports/results.yaml"));
    of("schemas", "performance.schema.json", Some("exports/performance.yaml"));
    files
}

/// Loads and checks in a thread of its own, so that a hang has a name.
fn answer(dir: &Path, what: &str) -> Loaded {
    let (send, receive) = channel();
    let dir = dir.to_owned();
    let worker = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        let loaded = load_and_analyse(&dir);
        render::human(&loaded.findings, &loaded.sources, false);
        render::github(&loaded.findings, &loaded.sources);
        render::sarif(&loaded.findings, &loaded.sources);
        let _ = send.send(loaded);
    });
    match receive.recv_timeout(PATIENCE) {
        Ok(loaded) => loaded,
        Err(RecvTimeoutError::Timeout) => panic!("{what}: no answer after {PATIENCE:?}"),
        Err(RecvTimeoutError::Disconnected) => {
            let _ = worker.unwrap().join();
            panic!("{what}: it panicked")
        }
    }
}

/// The shipped project without its exports.
fn project() -> Sandbox {
    let sandbox = Sandbox::empty();
    crate::harness::copy_tree(&root().join("schemas"), &sandbox.path().join("schemas"));
    crate::harness::copy_tree(&root().join("exports/sql"), &sandbox.path().join("exports/sql"));
    std::fs::copy(root().join("phase6_publishing.yaml"), sandbox.path().join("phase6_publishing.yaml")).unwrap();
    sandbox
}

#[test]
fn damaged_files_are_findings() {
    let files = files();
    let wanted = std::env::var("PHASE6_CORPUS").ok().and_then(|n| n.parse().ok()).unwrap_or(150);
    let sandbox = project();
    let mut found = 0;
    for number in 0..wanted as u64 {
        let (file, with) = &files[number as usize % files.len()];
        let good = std::fs::read(root().join(file)).unwrap();
        if let Some(with) = with {
            std::fs::copy(root().join(with), sandbox.path().join(with)).unwrap();
        }
        std::fs::write(sandbox.path().join(file), damaged(&good, number)).unwrap();
        let loaded = answer(sandbox.path(), &format!("{} damaged by {number}", file.display()));
        found += usize::from(!loaded.findings.is_empty());
        for path in [Some(file.to_string_lossy().into_owned()), with.clone()].into_iter().flatten() {
            std::fs::write(sandbox.path().join(file), &good).unwrap();
            if path.starts_with("exports/") && path.ends_with(".yaml") {
                std::fs::remove_file(sandbox.path().join(path)).unwrap();
            }
        }
    }
    assert!(found * 2 > wanted, "the damage is seen: {found} of {wanted}");
}

/// What a file of this text is called.
fn codes(text: &[u8]) -> Vec<&'static str> {
    let sandbox = project();
    std::fs::write(sandbox.path().join("exports/x.yaml"), text).unwrap();
    let loaded = answer(sandbox.path(), &String::from_utf8_lossy(&text[..text.len().min(60)]));
    loaded
        .findings
        .iter()
        .filter(|f| loaded.sources.get(f.labels[0].span.file).path.ends_with("x.yaml"))
        .map(|f| f.code)
        .collect()
}

#[test]
fn what_is_made_to_break_a_parser_is_refused() {
    let has = |text: String, code: &str| {
        let found = codes(text.as_bytes());
        assert!(found.contains(&code), "{}: {found:?}", &text[..text.len().min(60)]);
    };
    let deep =
        |open: &str, close: &str| format!("export: x\nshape: {}1{}\n", open.repeat(50_000), close.repeat(50_000));
    assert!(!codes(deep("[", "]").as_bytes()).is_empty());
    assert!(!codes(deep("{a: ", "}").as_bytes()).is_empty());
    has(format!("export: x\nshape: {}1\n", "- ".repeat(5_000)), "yaml-syntax");
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        bomb += &format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 9].join(", "));
    }
    has(bomb, "too-many-values");
    has("export: &x\n  a: *x\n".into(), "yaml-alias");
    has("export: x\n\tdescription: y\n".into(), "yaml-syntax");
    has(format!("export: x\ndescription: {}\n", "x".repeat(2 << 20)), "file-too-large");
    has("export: x\n---\nexport: y\n".into(), "several-documents");
    has(String::new(), "empty-file");
    has("export: x\nexport: x\n".into(), "duplicate-key");
    assert_eq!(codes(b"export: \xff\xfe\n"), ["not-utf-8"]);
    assert!(!codes(b"\0\0\0").is_empty());
    assert!(!codes("\u{feff}export: y\ndescription: x\n".as_bytes()).is_empty());
}

/// Long statements are the SQL analyser's own tests'.
#[test]
fn long_expressions_and_templates_end() {
    let export = |sql: &str, value: &str| {
        format!(
            "export: x\ndescription: x\nsql: \"{sql}\"\nshape: {{a: '{value}'}}\nfiles: [{{path: x.json}}]\nschema: schemas/results.schema.json\n"
        )
    };
    for value in [
        format!("={}1{}", "(".repeat(3_000), ")".repeat(3_000)),
        format!("=1{}", " + 1".repeat(20_000)),
        format!("={}1", "-".repeat(20_000)),
        format!("={}1", "not ".repeat(20_000)),
        format!("=1{}", " | round".repeat(20_000)),
        format!("=a{}", ".b".repeat(20_000)),
        format!("={}", "[".repeat(20_000)),
        format!("=1{}", " if 1 else 2".repeat(5_000)),
        "{{ 1 }}".repeat(20_000),
        "=2 ** 9999999 ** 9999999".to_owned(),
        "=9223372036854775807 * 9223372036854775807".to_owned(),
    ] {
        codes(export("SELECT 1 AS a", &value).as_bytes());
    }
    for sql in [
        "{% for i in range(100000000) %}x{% endfor %}".to_owned(),
        "{% for i in range(9999) %}{% for j in range(9999) %}{% for k in range(9999) %}{% endfor %}{% endfor %}{% endfor %}".to_owned(),
        "{{ ".repeat(10_000),
        "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}".to_owned(),
    ] {
        codes(export(&sql, "=1").as_bytes());
    }
}
