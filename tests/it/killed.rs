//! `kill -9` at any moment of `phase6 run`: what is public is whole, and the next run completes it.

use crate::harness::{Sandbox, root};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

const CARDS: usize = 40;

const EXPORT: &str = "export: cards\ndescription: A card for each player, with a list of them.\nparams: {target_date: date}\n\
queries:\n  players: {sql: \"SELECT player, model, points FROM `league.players` WHERE game_date = {{ target_date }} ORDER BY player\"}\n\
documents:\n  - name: card\n    each: players by player\n    vanished: delete\n    shape: {player: =key, round: =row.model, fill: {$each: rows, $value: '{{ row.model }}'}}\n    files: [{path: \"cards/{{ key }}.json\"}]\n\
\x20 - name: index\n    index_of: card\n    shape: {round: {$row: players, $value: =row.model}, players: {$each: players, $value: =row.player}}\n    files: [{path: \"cards/index.json\"}, {path: \"days/{{ target_date }}.json\", aliases: [{path: days/latest.json}]}]\n";

/// The base project with a fan-out whose documents all say the round in which they were made.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::copy_of(&root().join("tests/it/base"));
    std::fs::remove_file(sandbox.path().join("exports/board.yaml")).unwrap();
    sandbox.write("exports/cards.yaml", EXPORT);
    sandbox
}

/// Each round has other players: some come, some go.
fn players(round: usize) -> Vec<String> {
    (0..CARDS).filter(|n| n % 7 != round % 7).map(|n| format!("p{n:02}")).collect()
}

fn write_round(sandbox: &Sandbox, round: usize) {
    let rows = players(round).into_iter().map(|p| format!("g1,2025-12-12,{p},round{round},1.0,0.5\n"));
    let text = format!("game_id,game_date,player,model,points,rate\n{}", rows.collect::<String>());
    sandbox.write("warehouse/league/players.csv", &text);
}

/// Every document below a folder; each has to be whole.
fn documents(folder: &Path) -> BTreeMap<PathBuf, Value> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(documents(&path));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let value: Value = serde_json::from_slice(&bytes)
            .unwrap_or_else(|e| panic!("{} is torn: {e}: {}", path.display(), String::from_utf8_lossy(&bytes)));
        found.insert(path, value);
    }
    found
}

/// Starts a run and kills it after a while; whether it was killed (and not done before).
fn run_and_kill(sandbox: &Sandbox, after: Duration) -> bool {
    let mut command = sandbox.command("run --date 2025-12-12");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap().code().is_none()
}

#[test]
fn killed_at_any_moment_a_second_run_completes_it() {
    let rounds: usize = std::env::var("PHASE6_CRASHES").ok().and_then(|text| text.parse().ok()).unwrap_or(40);
    let sandbox = sandbox();
    let public = sandbox.path().join("public");
    write_round(&sandbox, 0);
    sandbox.run("run --date 2025-12-12").expect(0);
    write_round(&sandbox, 1);
    let begun = Instant::now();
    sandbox.run("run --date 2025-12-12").expect(0);
    let mut whole = begun.elapsed();
    let (mut killed, mut half_done) = (0, 0);
    let mut seed = 7u64;
    for round in 2..rounds + 2 {
        write_round(&sandbox, round);
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Mostly in the second half, where documents are published.
        let part = 0.3 + 0.8 * ((seed >> 33) % 1000) as f64 / 1000.0;
        killed += usize::from(run_and_kill(&sandbox, whole.mul_f64(part)));
        // All that is public is whole, and of this round or of the one before.
        let (new, old) = (format!("round{round}"), format!("round{}", round - 1));
        let left = documents(&public);
        for (path, document) in &left {
            let says = document["round"].as_str().unwrap();
            assert!(says == new || says == old, "{}: {says} in round {round}", path.display());
        }
        let latest = &left[&public.join("v1/days/latest.json")];
        // What points to others comes after them.
        if latest["round"] == *new {
            for player in players(round) {
                let card = &left[&public.join(format!("v1/cards/{player}.json"))];
                assert_eq!(card["round"], *new, "{player} in round {round}");
            }
        }
        let rounds_seen: std::collections::BTreeSet<&str> = left.values().filter_map(|d| d["round"].as_str()).collect();
        half_done += usize::from(rounds_seen.len() > 1);
        let begun = Instant::now();
        sandbox.run("run --date 2025-12-12").expect(0);
        // The machine may have become busier, or less.
        whole = (whole + begun.elapsed()) / 2;
        let left = documents(&public);
        assert_eq!(left.len(), players(round).len() + 3, "round {round}: {:?}", left.keys());
        assert!(left.values().all(|d| d["round"] == *new), "round {round} is complete");
        let history = sandbox.run("history cards --limit 1 --format json").expect(0);
        let history: Value = serde_json::from_str(&history.stdout).unwrap();
        assert_eq!(history[0]["standing"], "current");
    }
    let staging = std::fs::read_dir(sandbox.path().join("public.store/staging")).map_or(0, Iterator::count);
    assert!(staging <= 4, "the staging of the dead is removed by the living: {staging}");
    println!("{rounds} rounds, {killed} killed, {half_done} in the middle of publishing; a run takes {whole:?}");
    assert!(killed * 4 > rounds, "{killed} of {rounds} were killed in time");
}
