use super::*;
use crate::config::{Loaded, load};
use crate::diagnostics::Severity;

const PUBLISHING: &str = "version: 1\nvars: {system: a}\ntargets:\n  local: {warehouse: {type: duckdb, data: d}, store: {type: directory, path: p}, state: {type: directory, path: s}}\n";
const SCORES: &str = "export: scores\ndescription: x\nparams: {target_date: date}\nsql: SELECT {{ target_date }} AS d\nshape: {d: =target_date}\nfiles: [{path: 'scores/{{ target_date }}.json', aliases: [{path: scores/latest.json}]}]\nschema: s.json\n";

fn project(extra: &str, exports: &[(&str, &str)], files: &[(&str, &str)]) -> (tempfile::TempDir, Loaded) {
    let dir = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    put("phase6_publishing.yaml", &format!("{PUBLISHING}{extra}"));
    put("s.json", "{}");
    for (name, text) in exports {
        put(&format!("exports/{name}.yaml"), text);
    }
    for (path, text) in files {
        put(path, text);
    }
    let loaded = load(dir.path(), &|_| None);
    (dir, loaded)
}

fn lint(extra: &str, exports: &[(&str, &str)], files: &[(&str, &str)]) -> Vec<(&'static str, String, String)> {
    let (_dir, mut loaded) = project(extra, exports, files);
    assert!(loaded.findings.is_empty(), "{:?}", loaded.findings);
    all(&mut loaded.project, &mut loaded.sources, None)
        .into_iter()
        .map(|d| (d.code, d.message, d.help.unwrap_or_default()))
        .collect()
}

fn codes(extra: &str, exports: &[(&str, &str)], files: &[(&str, &str)]) -> Vec<&'static str> {
    lint(extra, exports, files).into_iter().map(|f| f.0).collect()
}

const LOCK: (&str, &str) =
    (path_lock::FILE, "{\"scores/{target_date}.json\": \"scores\", \"scores/latest.json\": \"scores\"}");

#[test]
fn a_sound_project_has_no_finding() {
    assert_eq!(lint("", &[("scores", SCORES)], &[LOCK]), []);
    assert_eq!(codes("", &[("scores", SCORES)], &[]), ["path-lock"]);
}

#[test]
fn a_bigquery_without_a_location_is_warned_of() {
    let found = |warehouse: &str| -> Vec<_> {
        let publishing = PUBLISHING.replace("{type: duckdb, data: d}", warehouse);
        let (_dir, loaded) = project("", &[], &[("phase6_publishing.yaml", &publishing)]);
        assert!(!loaded.has_errors());
        loaded.findings.into_iter().map(|f| f.code).collect()
    };
    assert_eq!(found("{type: bigquery, project: p}"), ["no-location"]);
    assert_eq!(found("{type: bigquery, project: p, location: us-west2}"), [""; 0]);
}

#[test]
fn a_path_has_one_owner() {
    let other = SCORES.replace("scores", "other").replace("other/latest", "scores/latest");
    let found = codes("", &[("scores", SCORES), ("other", &other)], &[LOCK]);
    assert!(found.contains(&"path-collision"), "{found:?}");
}

#[test]
fn a_path_that_vanished_has_to_be_retired() {
    let lock = LOCK.1.trim_end_matches('}').to_owned() + ", \"old/latest.json\": \"old\"}";
    let files = [(path_lock::FILE, lock.as_str())];
    assert_eq!(codes("", &[("scores", SCORES)], &files), ["lost-path"]);
    assert_eq!(codes("retired_paths: [old/latest.json]\n", &[("scores", SCORES)], &files), [""; 0]);
    let (_dir, loaded) = project("", &[("scores", SCORES)], &files);
    assert!(path_lock::file_text(&loaded.project).contains("old/latest.json"));
}

fn job(rest: &str) -> Vec<(&'static str, String, String)> {
    let trigger = "topics: {t: t}\ntriggers: [{name: gate, topic: t, publish: {topic: t, message: {export_types: [scores], target_date: '=message.day'}}}]\n";
    let other = SCORES.replace("scores", "other");
    let extra = format!("{trigger}scheduler: {{jobs: [{{name: a, {rest}}}]}}\n");
    let found = lint(&extra, &[("scores", SCORES), ("other", &other)], &[LOCK]);
    found.into_iter().filter(|f| f.0 != "path-lock").collect()
}

#[test]
fn jobs_are_due_and_ask_for_what_the_worker_takes() {
    for good in [
        "schedule: '0 9 * * *', export_types: [scores], target_date: yesterday",
        "schedule: '0 9 29 2 *', export_types: [scores, other], target_date: today-7d, jitter: 5m, max_age: 2h, overlap: skip",
        "schedule: '0 9 * * *', export_types: [scores], target_date: today, backup_of: gate, catch_up: each_date",
    ] {
        assert_eq!(job(good), [], "{good}");
    }
    for (bad, code, message) in [
        ("schedule: '0 9 30 2 *', export_types: [scores], target_date: today", "never-due", "no month"),
        ("schedule: '0 9 * * *'", "bad-job", "asks for nothing"),
        ("schedule: '0 9 * * *', export_types: [scores]", "bad-job", "for which date"),
        ("schedule: '0 9 * * *', export_types: [scores], target_date: yestreday", "bad-value", "yestreday"),
        ("schedule: '*/5 * * * *', export_types: [scores], target_date: today, jitter: 5m", "bad-value", "delayed"),
        (
            "schedule: '0 9 * * *', export_types: [scores], target_date: today, backup_of: gaet",
            "unknown-trigger",
            "gaet",
        ),
        ("schedule: '0 9 * * *', export_types: [other], target_date: today, backup_of: gate", "bad-job", "other"),
    ] {
        let found = job(bad);
        assert!(found.len() == 1 && found[0].0 == code && found[0].1.contains(message), "{bad}: {found:?}");
    }
    let near = job("schedule: '0 9 * * *', export_types: [scores], target_date: today, backup_of: gaet");
    assert!(near[0].2.contains("`gate`"), "{near:?}");
}

#[test]
fn jobs_and_triggers_name_exports() {
    let extra = "scheduler:\n  jobs:\n    - {name: a, schedule: '0 9 * * *', export_types: [socres], target_date: today}\n    - {name: a, schedule: '0 9 * * *', players: true, target_date: today}\n";
    let found = lint(extra, &[("scores", SCORES)], &[LOCK]);
    assert!(found.contains(&("unknown-export", "there is no export `socres`".into(), "did you mean `scores`?".into())));
    assert!(found.iter().any(|f| f.0 == "duplicate-job"), "{found:?}");
    assert!(found.iter().any(|f| f.1.contains("asks for players")), "{found:?}");
    let extra =
        "topics: {t: u}\ntriggers:\n  - {name: a, topic: t, publish: {topic: t, message: {export_types: [scoes]}}}\n";
    assert!(codes(extra, &[("scores", SCORES)], &[LOCK]).contains(&"unknown-export"));
}

#[test]
fn schemas_exist_and_are_schemas() {
    let with = |schema: &str| SCORES.replace("schema: s.json", schema);
    let one = |schema: &str, text: &str| codes("", &[("scores", &with(schema))], &[LOCK, ("t.json", text)]);
    assert_eq!(one("", "{}"), ["no-schema"]);
    assert_eq!(one("schema: none.json", "{}"), ["missing-file"]);
    assert_eq!(one("schema: ../t.json", "{}"), ["missing-file"]);
    assert_eq!(one("schema: t.json", "{"), ["bad-schema"]);
    assert_eq!(one("schema: t.json", "{\"type\": 5}"), ["bad-schema"]);
}

#[test]
fn names_in_paths_exist() {
    let bad = SCORES.replace("scores/latest.json", "'{{ key }}/{{ vars.sytem }}/{{ target_dat }}'");
    let found = lint("", &[("scores", &bad)], &[("unused", "")]);
    let helps: Vec<&str> = found.iter().filter(|f| f.0 == "unknown-name").map(|f| f.2.as_str()).collect();
    assert_eq!(
        helps,
        ["only a document with `each` has a key", "did you mean `vars.system`?", "did you mean `target_date`?"]
    );
    let bad = SCORES.replace("scores/latest.json", "../x");
    assert!(codes("", &[("scores", &bad)], &[LOCK]).contains(&"bad-path"));
}

#[test]
fn fan_outs_and_indexes_lead_somewhere() {
    let text = "export: players\ndescription: x\nparams: {target_date: date}\nqueries: {players: {sql: SELECT 1 AS id}}\ndocuments:\n  - {name: profile, each: playrs by id, shape: {a: 1}, files: [{path: 'p/{{ key }}.json'}], schema: s.json}\n  - {name: index, index_of: profil, shape: {a: 1}, files: [{path: i.json}], schema: s.json}\n";
    let found = codes("", &[("players", text)], &[]);
    assert_eq!(found, ["unknown-query", "unknown-document", "path-lock"]);
}

#[test]
fn queries_render_and_are_analysed() {
    let bad = SCORES.replace("{{ target_date }} AS d", "{{ tagret_date }} AS d");
    assert_eq!(codes("", &[("scores", &bad)], &[LOCK]), ["unknown-name"]);
    let (_dir, mut loaded) = project("", &[("scores", SCORES)], &[LOCK]);
    let analyse: sql::Analyse<'_> = &|sql, params, _| {
        assert_eq!(params[0].0, "target_date");
        let at = sql.find(" AS").unwrap() + 1;
        Err(("no".into(), Some(at..at + 2), None))
    };
    let found = all(&mut loaded.project, &mut loaded.sources, Some(analyse)).remove(0);
    let span = found.labels[0].span;
    assert_eq!(&loaded.sources.get(span.file).text[span.range()], "AS");
    let analyse: sql::Analyse<'_> = &|_, _, _| {
        let notes = vec![("ask not the clock".into(), Some(0..6), None)];
        Ok(sql::Analysed { columns: Vec::new(), tables: vec!["a.b".into()], notes })
    };
    let found = all(&mut loaded.project, &mut loaded.sources, Some(analyse));
    assert_eq!(found[0].message, "ask not the clock");
    assert_eq!(loaded.project.exports[0].queries[0].tables, ["a.b"]);
}

#[test]
fn schemas_hold_no_word_that_a_validator_skips() {
    let text = SCORES.replace("schema: s.json", "schema: t.json");
    let one = |schema: &str| codes("", &[("scores", &text)], &[LOCK, ("t.json", schema)]);
    assert_eq!(one(r#"{"properties": {"a": {"minumum": 1}}}"#), ["unknown-schema-word"]);
    assert_eq!(one(r#"{"properties": {"format": {"format": "datum"}}}"#), ["unknown-schema-word"]);
    assert_eq!(one(r#"{"type": "string", "pattern": "(?=a)"}"#), ["bad-schema"]);
    assert_eq!(one(r#"{"$ref": "https://example.com/x.json"}"#), ["bad-schema"]);
    assert_eq!(one(r#"{"x-note": 1, "properties": {"minumum": {"format": "date"}}}"#), [""; 0]);
}

#[test]
fn topics_queries_and_names_lead_somewhere() {
    let text = format!("{SCORES}guards: [{{min_rows: rowz, at_least: 1}}]\n");
    assert_eq!(codes("", &[("scores", &text)], &[LOCK]), ["unknown-query"]);
    let extra = "topics: {up: x}\ntriggers:\n  - {name: t, topic: upp, publish: {topic: up, message: {}}}\n  - {name: t, topic: up, publish: {topic: up, message: {}}}\n";
    assert_eq!(codes(extra, &[("scores", SCORES)], &[LOCK]), ["unknown-topic", "duplicate-name"]);
}

#[test]
fn promises_and_alerts_can_be_kept() {
    let promised = format!("{SCORES}freshness: {{within: 26h}}\n");
    let sound = "topics: {up: x}\nalerts:\n  - {name: a, when: stale, for: 5m, exports: [scores], to: [{type: log}, {type: topic, topic: up}, {type: webhook, url: 'https://h.example/${HOOK}'}, {type: webhook, url: 'http://localhost:9/x', allow_private: true}]}\n";
    assert_eq!(codes(sound, &[("scores", &promised)], &[LOCK]), [""; 0]);
    let wrong = "alerts:\n  - {name: a, when: stale, exports: [scoers], to: [{type: topic, topic: up}]}\n  - {name: a, when: missed_run, to: [{type: log}]}\n  - {name: b, when: backlog, exports: [scores], to: [{type: log}]}\n";
    let found = codes(wrong, &[("scores", SCORES)], &[LOCK]);
    for code in ["unknown-export", "unknown-topic", "duplicate-name", "useless-alert", "useless-key"] {
        assert!(found.contains(&code), "{code}: {found:?}");
    }
    let text = format!("{SCORES}freshness: {{data_date: =target_date}}\n");
    assert_eq!(codes("", &[("scores", &text)], &[LOCK]), ["missing-key"]);
}

#[test]
fn receivers_are_whole_and_no_finding_repeats_an_address() {
    let one = |to: &str| {
        let extra = format!("alerts:\n  - {{name: a, when: failure, to: {to}}}\n");
        let (_dir, loaded) = project(&extra, &[("scores", SCORES)], &[LOCK]);
        assert!(loaded.findings.iter().all(|f| !format!("{f:?}").contains("s3cret")), "{:?}", loaded.findings);
        loaded.findings.into_iter().map(|f| f.code).collect::<Vec<_>>()
    };
    assert_eq!(one("[]"), ["missing-key"]);
    assert_eq!(one("[{type: webhook}]"), ["missing-key"]);
    assert_eq!(one("[{type: topic}]"), ["missing-key"]);
    assert_eq!(one("[{type: log, url: 'https://a/s3cret'}]"), ["useless-key"]);
    for url in [
        "http://a.example/s3cret",
        "ftp://s3cret",
        "https://a/${s3cret",
        "https://u:s3cret@a/",
        "https://a/${}/s3cret",
        "http://localhost.a.example/s3cret",
    ] {
        assert_eq!(one(&format!("[{{type: webhook, url: '{url}'}}]")), ["bad-value"], "{url}");
    }
    assert_eq!(one("[{type: webhook, url: '${HOOK}'}]"), [""; 0]);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    /// Whatever happens to the bytes of good files, the answer is findings and never a panic.
    #[test]
    fn mutations_of_good_files_are_findings(at in 0usize..4000, len in 0usize..6, bytes in proptest::collection::vec(0u8..=255, 0..6)) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("exports")).unwrap();
        std::fs::create_dir_all(dir.path().join("schemas/tables")).unwrap();
        let mutated = |text: &str| {
            let mut text = text.as_bytes().to_vec();
            let start = at % text.len();
            let end = (start + len).min(text.len());
            text.splice(start..end, bytes.clone());
            text
        };
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        for (from, to) in [("phase6_publishing.yaml", "phase6_publishing.yaml"), ("exports/players.yaml", "exports/a.yaml"),
                           ("schemas/tables/nba_raw.nbac_schedule.sql", "schemas/tables/a.b.sql")] {
            std::fs::write(dir.path().join(to), mutated(&std::fs::read_to_string(root.join(from)).unwrap())).unwrap();
        }
        let mut loaded = load(dir.path(), &|_| None);
        run(&mut loaded, None);
        crate::diagnostics::render::sort(&mut loaded.findings, &loaded.sources);
        crate::diagnostics::render::human(&loaded.findings, &loaded.sources, false);
        crate::diagnostics::render::sarif(&loaded.findings, &loaded.sources);
    }
}

#[test]
fn a_push_beside_a_bus_that_is_pulled_is_warned_of() {
    let push = "service: {push: {audience: a, service_accounts: [p@x.iam.gserviceaccount.com]}}\n";
    assert_eq!(codes(push, &[("scores", SCORES)], &[LOCK]), [""; 0], "the embedded bus pushes nothing");
    let target = "  cloud: {warehouse: {type: duckdb, data: d}, store: {type: directory, path: p}, state: {type: directory, path: s}, bus: {type: pubsub, project: p}}\n";
    let both = format!("{target}{push}");
    let (_dir, mut loaded) = project(&both, &[("scores", SCORES)], &[LOCK]);
    let found = all(&mut loaded.project, &mut loaded.sources, None);
    let [finding] = &found[..] else { panic!("{found:?}") };
    assert_eq!((finding.code, finding.severity), ("push-and-pull", Severity::Warning));
    assert!(finding.message.contains("`cloud`"), "{}", finding.message);
    let written = &loaded.sources.get(finding.labels[0].span.file).text[finding.labels[0].span.range()];
    assert!(written.contains("audience"), "{written}");
    assert_eq!(codes(target, &[("scores", SCORES)], &[LOCK]), [""; 0]);
}

#[test]
fn a_condition_that_is_asked_too_often_is_warned_of_with_the_pause_that_is_kept() {
    let asked = |numbers: &str| {
        let ready = format!("ready: [{{if: '=true', else: not yet{numbers}}}]\nsql:");
        lint("", &[("scores", &SCORES.replace("sql:", &ready))], &[LOCK])
    };
    for good in ["", ", retry_every: 90s", ", retry_every: 270s, give_up_after: 6h", ", give_up_after: 24h"] {
        assert_eq!(asked(good), [], "{good}");
    }
    for (bad, kept) in [(", retry_every: 89s", "every 90s"), (", retry_every: 1m, give_up_after: 6h", "every 270s")] {
        let [(code, message, help)] = &asked(bad)[..] else { panic!("{bad}") };
        assert_eq!(*code, "asked-too-often");
        assert!(message.contains("more than 80 times") && help.contains(kept), "{message}; {help}");
    }
}
