//! What publication costs, to be looked at by hand: `cargo test --lib -- --ignored speed --nocapture`.
//! Only compiled for tests: `#[cfg(test)]`.

use super::publish::{Artifact, ArtifactKind, Intent};
use super::release::{PublishOptions, ReleaseInfo, publish_release};
use crate::adapters::directory::DirectoryStore;
use crate::ports::store::{Body, ObjectStore, SpoolFile};
use crate::state::State;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

fn artifact(path: String, body: Body, sha256: String, size: u64) -> Artifact {
    Artifact {
        path,
        body,
        sha256,
        size,
        content_type: "application/json".into(),
        cache_control: Some("public, max-age=300".into()),
        kind: ArtifactKind::Entity,
        dated: false,
        once: false,
        gzip: false,
        document: "e".into(),
        schema: Some("1".into()),
        counts: BTreeMap::from([("games[]".to_owned(), 7)]),
    }
}

fn cpu_ms() -> f64 {
    let threads: f64 = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|t| std::fs::read_to_string(t.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<f64>().ok())
        .sum();
    threads / 1e6
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn speed() {
    for base in ["/dev/shm", "/tmp"] {
        let dir = tempfile::tempdir_in(base).unwrap();
        for round in 0..4 {
            let out = dir.path().join("out");
            let store: Arc<dyn ObjectStore> = Arc::new(DirectoryStore::new(&out));
            let state = State::new(Arc::new(DirectoryStore::new(dir.path().join("state"))));
            let text = |n: usize| format!("{{\"round\":{},\"n\":{n},\"fill\":\"{}\"}}", round / 3, "x".repeat(20_000));
            let artifacts: Vec<Artifact> = (0..521)
                .map(|n| {
                    let text = text(n);
                    let sha256 = crate::adapters::hex_sha256(text.as_bytes());
                    let size = text.len() as u64;
                    artifact(format!("e/{n}.json"), Body::from(text.into_bytes()), sha256, size)
                })
                .collect();
            let intent = Intent {
                run_id: format!("run-{round}"),
                target_date: "2025-12-12".parse().unwrap(),
                as_of: format!("2025-12-12T0{round}:00:00Z").parse().unwrap(),
                config_hash: "c".into(),
                force: false,
            };
            let info = ReleaseInfo { export: "e".into(), ..ReleaseInfo::default() };
            let (started, cpu) = (Instant::now(), cpu_ms());
            publish_release(&store, &state, artifacts, &intent, &info, &PublishOptions::default()).await.unwrap();
            let (wall, cpu) = (started.elapsed().as_secs_f64() * 1e3, cpu_ms() - cpu);
            let what = ["fresh", "rewritten after rmtree", "unchanged", "all changed"][round];
            println!("{base}: 521 objects of 20 KB, {what}: {wall:.1} ms wall, {cpu:.1} ms cpu");
            if round == 0 {
                std::fs::remove_dir_all(&out).unwrap();
            }
        }
        let store: Arc<dyn ObjectStore> = Arc::new(DirectoryStore::new(dir.path().join("large")));
        let (spool, mut file) = SpoolFile::create(&store.spool_dir().unwrap()).unwrap();
        file.write_all(&vec![b'x'; 83_000_000]).unwrap();
        file.sync_all().unwrap();
        let body = Body::File(Arc::new(spool));
        let options = crate::ports::store::PutOptions {
            sha256: Some("known".into()),
            ..crate::ports::store::PutOptions::default()
        };
        let started = Instant::now();
        store.put("wide.json", &body, &options).await.unwrap();
        println!("{base}: 83 MB spooled: {:.2} ms", started.elapsed().as_secs_f64() * 1e3);
    }
}
