//! The outside lets us down: a full disk, a store that cannot be written, a damaged warehouse file. What is public stays.

use crate::harness::{Sandbox, root};
use std::path::Path;
use std::process::Command;

fn base() -> Sandbox {
    Sandbox::copy_of(&root().join("tests/it/base"))
}

/// The base project's rows, with many more players: a document of some 100 kB.
fn many_players() -> String {
    let rows = (0..2000).map(|n| format!("g{},2025-12-12,player-number-{n:04},first,1.5,0.5\n", 1 + n % 2));
    format!("game_id,game_date,player,model,points,rate\n{}", rows.collect::<String>())
}

fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path.display().to_string());
        }
    }
    found.sort();
    found
}

/// A folder with its own file system, where this user may mount one; says so otherwise.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn tmpfs(folder: &'a Path, options: &str) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder).output();
        if mounted.is_ok_and(|o| o.status.success()) {
            return Some(Self(folder));
        }
        phase6_test_servers::emulators::skip("mounting", "no file system can be mounted here");
        None
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(Command::new("mount").args(["-o", &options]).arg(self.0).status().unwrap().success());
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_leaves_the_last_document_and_is_an_outside_fault() {
    let sandbox = base();
    let disk = sandbox.path().join("disk");
    let Some(_mounted) = Mounted::tmpfs(&disk, "size=256k") else { return };
    let run = "run --date 2025-12-12 --out disk/out --state state";
    sandbox.run(run).expect(0);
    let before = (files(&disk.join("out")), sandbox.read("disk/out/v1/board/latest.json"));
    // Fill it up to a little room.
    std::fs::write(disk.join("filler"), vec![0u8; 100_000]).unwrap();
    sandbox.write("warehouse/league/players.csv", &many_players());
    let ran = sandbox.run(run).expect(5);
    assert!(ran.stdout.contains("No space left") && ran.stdout.contains("free space"), "{}", ran.stdout);
    assert_eq!((files(&disk.join("out")), sandbox.read("disk/out/v1/board/latest.json")), before);
    std::fs::remove_file(disk.join("filler")).unwrap();
    sandbox.run("run --date 2025-12-12 --out disk/out --state state --no-update-latest").expect(0);
    assert_eq!(sandbox.json("disk/out/v1/board/2025-12-12.json")["total"], 2000);
}

/// The same without a mount: no file may become larger than a few blocks.
#[test]
fn a_write_that_is_cut_short_leaves_the_last_document() {
    let sandbox = base();
    sandbox.run("run --date 2025-12-12").expect(0);
    let before = sandbox.read("public/v1/board/latest.json");
    sandbox.write("warehouse/league/players.csv", &many_players());
    let program = env!("CARGO_BIN_EXE_phase6");
    let script = format!("trap '' XFSZ; ulimit -f 20; exec '{program}' run --date 2025-12-12");
    let ran = Command::new("sh").args(["-c", &script]).current_dir(sandbox.path()).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert_eq!(ran.status.code(), Some(5), "{said}");
    assert!(said.contains("File too large"), "{said}");
    assert_eq!(sandbox.read("public/v1/board/latest.json"), before);
    sandbox.run("run --date 2025-12-12").expect(0);
    assert_eq!(sandbox.json("public/v1/board/latest.json")["total"], 2000);
}

#[test]
fn a_store_that_cannot_be_written_leaves_the_last_document() {
    let sandbox = base();
    let disk = sandbox.path().join("disk");
    let Some(mounted) = Mounted::tmpfs(&disk, "size=4m") else { return };
    let run = "run --date 2025-12-12 --out disk/out --state state";
    sandbox.run(run).expect(0);
    let before = sandbox.read("disk/out/v1/board/latest.json");
    mounted.remount("ro");
    sandbox.write("warehouse/league/players.csv", &many_players());
    let ran = sandbox.run(run).expect(5);
    assert!(ran.stdout.contains("disk/out") && ran.stdout.contains("Read-only"), "{}", ran.stdout);
    assert_eq!(sandbox.read("disk/out/v1/board/latest.json"), before);
    // What is there already can still be said.
    sandbox.run("history board --out disk/out --state state").expect(0);
    mounted.remount("rw");
    sandbox.run(run).expect(0);
    assert_eq!(sandbox.json("disk/out/v1/board/latest.json")["total"], 2000);
}

#[test]
fn a_truncated_parquet_file_is_named_and_nothing_else_changes() {
    let sandbox = base();
    sandbox.run("run --date 2025-12-12").expect(0);
    let before = sandbox.read("public/v1/board/latest.json");
    let folder = sandbox.path().join("warehouse/league");
    let (csv, parquet) = (folder.join("players.csv"), folder.join("players.parquet"));
    sandbox.write("warehouse/league/players.csv", &many_players());
    let copy = format!(
        "COPY (SELECT game_id, game_date::DATE AS game_date, player, model, points::DECIMAL(5,1) AS points, rate \
         FROM read_csv('{}')) TO '{}' (FORMAT parquet)",
        csv.display(),
        parquet.display()
    );
    let duckdb = phase6::adapters::duckdb::DuckDb::new(None, Default::default());
    let cancel = phase6::ports::cancel::Cancel::default();
    let mut rows = duckdb.start(&copy, None, &[], &[], &cancel).unwrap();
    while phase6::ports::warehouse::RowStream::next(&mut rows).unwrap().is_some() {}
    std::fs::remove_file(&csv).unwrap();
    let whole = std::fs::read(&parquet).unwrap();
    for length in [whole.len() / 2, whole.len() - 5, 6, 0] {
        std::fs::write(&parquet, &whole[..length]).unwrap();
        let ran = sandbox.run("run --date 2025-12-12").expect(1);
        assert!(ran.stdout.contains("players.parquet"), "{length} bytes: {}", ran.stdout);
        assert_eq!(sandbox.read("public/v1/board/latest.json"), before, "{length} bytes");
    }
    std::fs::write(&parquet, &whole).unwrap();
    sandbox.run("run --date 2025-12-12").expect(0);
    assert_eq!(sandbox.json("public/v1/board/latest.json")["total"], 2000);
}

#[test]
fn what_is_no_longer_kept_cannot_come_back_and_is_named() {
    let sandbox = base();
    let rows = |points: usize| {
        format!(
            "game_id,game_date,player,model,points,rate\ng1,2025-12-12,ann,first,{points}.0,0.5\ng2,2025-12-12,bob,first,1.0,0.5\n"
        )
    };
    let mut first = None;
    // One more than the store keeps, and the live one.
    for n in 0..22 {
        sandbox.write("warehouse/league/players.csv", &rows(n));
        let ran = sandbox.run("run --date 2025-12-12 --format json").expect(0);
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        first.get_or_insert_with(|| report["run_id"].as_str().unwrap().to_owned());
    }
    let before = files(&sandbox.path().join("public"));
    let latest = sandbox.read("public/v1/board/latest.json");
    let ran = sandbox.run(&format!("rollback board --to {}", first.unwrap())).expect(1);
    for part in ["generation 1 of `v1/board/", "no longer kept", "the oldest is 2"] {
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
    }
    assert_eq!((files(&sandbox.path().join("public")), sandbox.read("public/v1/board/latest.json")), (before, latest));
    let ran = sandbox.run("rollback board --path board/latest.json --format json").expect(0);
    let said: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(said["objects"][0]["outcome"], "restored");
    assert_eq!(sandbox.json("public/v1/board/latest.json")["games"][0]["players"][0]["points"], 20);
}
