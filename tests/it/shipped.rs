//! The shipped project, as a newcomer runs it.

use crate::harness::{Sandbox, root, sample};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const NOW: &str = "--now 2025-12-12T18:00:00Z";

#[test]
fn nine_kinds_of_documents_are_published_and_a_second_run_changes_nothing() {
    let sandbox = Sandbox::shipped();
    sandbox.run(&format!("run --date 2025-12-12 {NOW}")).expect(0);
    let public = ".phase6/public/v1";
    for path in [
        "results/2025-12-12.json",
        "systems/performance.json",
        "best-bets/2025-12-12.json",
        "tonight/2025-12-12.json",
        "tonight/all-players.json",
        "predictions/2025-12-12.json",
        "predictions/today.json",
        "streaks/today.json",
        "players/index.json",
    ] {
        sandbox.json(&format!("{public}/{path}"));
    }
    let players = std::fs::read_dir(sandbox.path().join(public).join("players")).unwrap().count();
    let tonight = std::fs::read_dir(sandbox.path().join(public).join("tonight/player/2025-12-12")).unwrap().count();
    assert!(players > 20 && tonight > 20, "{players} profiles, {tonight} tonight");
    let before = tree(&sandbox.path().join(public));
    assert!(before.len() > 40, "{} documents", before.len());
    let ran = sandbox.run(&format!("run --date 2025-12-12 {NOW} --format json")).expect(0);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["totals"]["objects"]["written"], 0, "{}", ran.stdout);
    assert_eq!(tree(&sandbox.path().join(public)), before);
    assert!(ran.stdout.contains("\"unchanged\""), "{}", ran.stdout);
}

/// Two folders, one cause time: the same bytes.
#[test]
fn a_run_elsewhere_gives_the_same_bytes() {
    let [one, two] = [Sandbox::shipped(), Sandbox::shipped()].map(|sandbox| {
        sandbox.run(&format!("run --date 2025-12-12 --only tonight,best-bets,streaks {NOW}")).expect(0);
        tree(&sandbox.path().join(".phase6/public"))
    });
    assert!(!one.is_empty());
    assert_eq!(one, two);
}

#[test]
fn an_older_day_leaves_latest() {
    let sandbox = Sandbox::shipped();
    let latest = ".phase6/public/v1/results/latest.json";
    sandbox.run("run --date 2025-12-11 --only results").expect(0);
    let newest = sandbox.read(latest);
    sandbox.run("run --date 2025-12-10 --only results").expect(0);
    assert_eq!(sandbox.read(latest), newest);
    assert!(sandbox.exists(".phase6/public/v1/results/2025-12-10.json"));
}

/// Every file below a folder, with its text.
fn tree(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(
                tree(&path).into_iter().map(|(name, text)| (Path::new(path.file_name().unwrap()).join(name), text)),
            );
        } else {
            let text = std::fs::read_to_string(&path).unwrap();
            found.insert(PathBuf::from(path.file_name().unwrap()), text);
        }
    }
    found
}

#[test]
fn the_seeds_manual_commands_work() {
    let sandbox = Sandbox::shipped();
    sandbox.run("run --date 2025-12-12 --only tonight,tonight-players").expect(0);
    sandbox.run("run --date 2025-12-11 --only results,best-bets").expect(0);
    let ran = sandbox.run(&format!("run --players --min-games 5 --date 2025-12-12 {NOW}")).expect(0);
    assert!(ran.stdout.contains("players"), "{}", ran.stdout);
    assert!(sandbox.json(".phase6/public/v1/results/latest.json")["results"].as_array().unwrap().len() > 5);
}

#[test]
fn a_backfill_goes_on_where_it_stopped() {
    let sandbox = Sandbox::shipped();
    let command = "backfill results,predictions --from 2025-12-01 --to 2025-12-11";
    let first = sandbox.run(command).expect(0);
    assert!(first.stdout.contains("published"), "{}", first.stdout);
    let again = sandbox.run(&format!("{command} --format json"));
    let report: serde_json::Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(report["totals"]["objects"]["written"], 0, "{}", again.stdout);
}

#[test]
fn the_other_commands_answer() {
    let sandbox = Sandbox::shipped();
    sandbox.run("check").expect(0);
    assert!(sandbox.run("list").expect(0).stdout.contains("results"));
    assert!(sandbox.run("render results --date 2025-12-11").expect(0).stdout.contains("@target_date"));
    assert!(sandbox.run("render results --date 2025-12-11 --engine duckdb").expect(0).stdout.contains("$target_date"));
    let preview = sandbox.run("preview streaks --date 2025-12-12").expect(0);
    assert!(serde_json::from_str::<serde_json::Value>(&preview.stdout).unwrap()["streaks"].is_object());
    assert!(!sandbox.exists(".phase6/public"), "a preview publishes nothing");
    sandbox.run("doctor").expect(0);
    assert!(sandbox.run("schema export").expect(0).stdout.contains("json-schema.org"));
    assert!(sandbox.run("completions bash").expect(0).stdout.contains("phase6"));
    let query = sandbox.run("query 'SELECT @n + 1 AS m' --param n=INT64:41 --format json").expect(0);
    assert!(query.stdout.contains("42"), "{}", query.stdout);
}

#[test]
fn the_readmes_worked_example_works() {
    let sandbox = Sandbox::shipped();
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let yaml = readme.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    sandbox.write("exports/top-scorers.yaml", yaml);
    let ran = sandbox.run("preview top-scorers --date 2025-12-11").expect(0);
    let document: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(document["players"].as_array().unwrap().len(), 10);
    let tests = readme.split("```yaml\n").nth(2).unwrap().split("```").next().unwrap();
    sandbox.write("exports/top-scorers.yaml", &format!("{yaml}{tests}"));
    sandbox.run("test top-scorers").expect(0);
    sandbox.write("exports/top-scorers.yaml", &yaml.replace("$fields: [player_lookup", "$fields: [player_lokup"));
    let ran = sandbox.run("check").expect(1);
    assert!(ran.stdout.contains("did you mean `player_lookup`?"), "{}", ran.stdout);
    assert!(ran.stdout.contains("exports/top-scorers.yaml:20:"), "{}", ran.stdout);
}

#[test]
fn the_large_sample_has_its_days_without_games() {
    let Some(data) = sample() else { return };
    let sandbox = Sandbox::shipped();
    let command = format!(
        "run --data {} --var champion_system=ensemble_v1 --now 2022-02-18T22:00:00Z --date 2022-02-18 --only results,predictions --out OUT",
        data.display()
    );
    sandbox.run(&command).expect(0);
    assert_eq!(sandbox.json("OUT/v1/results/2022-02-18.json")["summary"]["total_predictions"], 0);
    assert!(!sandbox.exists("OUT/v1/results/latest.json"), "nothing to say does not make a latest");
    assert!(sandbox.exists("OUT.state") && sandbox.exists("OUT.store"));
}
