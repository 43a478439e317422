//! Real processes, killed at any moment while they publish into one directory store; then the invariants are checked.
//! Only compiled for tests: `#[cfg(test)]`.

use super::invariants;
use super::publish::{Artifact, ArtifactKind, Intent, Retry};
use super::release::{PublishOptions, ReleaseInfo, publish_release};
use super::watermark::Watermark;
use crate::adapters::directory::DirectoryStore;
use crate::adapters::faulty::Random;
use crate::ports::store::{Body, ObjectStore, SpoolFile};
use crate::state::State;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const FOLDER: &str = "PHASE6_CRASH_FOLDER";
const SEED: &str = "PHASE6_CRASH_SEED";
const EXPORT: &str = "e";

fn stores(folder: &Path) -> (Arc<dyn ObjectStore>, State) {
    // More than the test makes: a pruned generation could hide a lost one.
    let open = |name| Arc::new(DirectoryStore::new(folder.join(name)).keep_versions(100_000));
    (open("out"), State::new(open("state")))
}

/// A document of 20 KB that says where it belongs, and is only whole with its last byte.
fn artifact(store: &dyn ObjectStore, path: String, kind: ArtifactKind, value: u64) -> Artifact {
    let text = format!("{{\"path\":\"{path}\",\"value\":{value},\"fill\":\"{}\"}}", "x".repeat(20_000));
    let body = if kind == ArtifactKind::Dated {
        let (spooled, mut file) = SpoolFile::create(&store.spool_dir().unwrap()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Body::File(Arc::new(spooled))
    } else {
        Body::from(text.clone().into_bytes())
    };
    Artifact {
        sha256: crate::adapters::hex_sha256(text.as_bytes()),
        size: text.len() as u64,
        body,
        dated: kind == ArtifactKind::Dated,
        path,
        content_type: "application/json".into(),
        cache_control: None,
        kind,
        once: false,
        gzip: false,
        document: EXPORT.into(),
        schema: None,
        counts: BTreeMap::new(),
    }
}

/// The child: publishes until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the crash test, as a process of its own"]
async fn child() {
    let (Ok(folder), Ok(seed)) = (std::env::var(FOLDER), std::env::var(SEED)) else { return };
    let seed: u64 = seed.parse().unwrap();
    let random = Random::new(seed);
    let (store, state) = stores(Path::new(&folder));
    for n in 0.. {
        let day = 10 + random.below(5);
        let intent = Intent {
            run_id: format!("run-{seed:03}-{n:05}"),
            target_date: format!("2025-12-{day}").parse().unwrap(),
            as_of: format!("2025-12-20T00:{:02}:{:02}Z", seed % 60, n % 60).parse().unwrap(),
            config_hash: "c".into(),
            force: false,
        };
        let make = |path: &str, kind| artifact(store.as_ref(), path.into(), kind, random.below(4));
        let mut artifacts = vec![
            make("e/latest.json", ArtifactKind::Alias),
            make("e/index.json", ArtifactKind::Index),
            make(&format!("e/2025-12-{day}.json"), ArtifactKind::Dated),
        ];
        artifacts.extend((0..6).map(|n| make(&format!("e/p/{n}.json"), ArtifactKind::Entity)));
        let info =
            ReleaseInfo { export: EXPORT.into(), run_key: Some(format!("{seed}-{}", n / 2)), ..ReleaseInfo::default() };
        let options = PublishOptions { parallel: Some(4), retry: Retry::default() };
        publish_release(&store, &state, artifacts, &intent, &info, &options).await.unwrap();
    }
}

fn start(folder: &Path, seed: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "engine::crash::child", "--ignored", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(SEED, seed.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_none(), "the child ended by itself: {said}");
}

#[tokio::test]
async fn killed_at_any_moment_every_promise_is_kept() {
    let rounds: u64 = std::env::var("PHASE6_CRASHES").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let dir = tempfile::tempdir().unwrap();
    let random = Random::new(7);
    for round in 0..rounds {
        // Two at once; the second goes on alone for a while.
        let (first, second) = (start(dir.path(), 2 * round), start(dir.path(), 2 * round + 1));
        std::thread::sleep(Duration::from_micros(30_000 + random.below(120_000)));
        kill(first);
        std::thread::sleep(Duration::from_micros(random.below(30_000)));
        kill(second);
        check(dir.path(), round).await;
    }
    let (_, state) = stores(dir.path());
    let releases = state.all_releases(EXPORT).await.unwrap().len();
    println!("{} kills, {releases} releases", rounds * 2);
    assert!(releases > 0, "the children did something");
    let leftovers = std::fs::read_dir(dir.path().join("out.store/staging")).unwrap().count();
    assert!(leftovers <= 4, "the staging of the dead is removed by the living: {leftovers}");
}

async fn check(folder: &Path, round: u64) {
    let (store, state) = stores(folder);
    let store = store.as_ref();
    let passes = |path: &str, bytes: &[u8]| {
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if value["path"] == path { Ok(()) } else { Err("belongs elsewhere".to_owned()) }
    };
    let pointees = |mark: &Watermark| {
        let date = mark.target_date.unwrap();
        vec![format!("e/{date}.json"), "e/p/0.json".into(), "e/p/5.json".into(), "e/index.json".into()]
    };
    let mut found = invariants::only_valid_documents(store, passes).await;
    found.extend(invariants::no_path_goes_back(store).await);
    found.extend(invariants::one_release_for_each_run_key(&state, EXPORT).await);
    found.extend(invariants::no_pointer_runs_ahead(store, "e/latest.json", pointees).await);
    found.extend(invariants::releases_name_what_exists(store, &state, EXPORT).await);
    assert!(found.is_empty(), "round {round}: {}", found[0]);
    // Nothing but documents, and nothing unfinished, lies in the public folder.
    for entry in std::fs::read_dir(folder.join("out")).into_iter().flatten() {
        assert_eq!(entry.unwrap().file_name(), "e");
    }
    for entry in std::fs::read_dir(folder.join("out/e")).into_iter().flatten() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name == "p" || name.ends_with(".json"), "{name}");
    }
}
