//! Publication into a bucket: how many requests a large fan-out costs, and that every promise holds when the requests fail.
//! Only compiled for tests: `#[cfg(test)]`.

use super::invariants;
use super::publish::{Artifact, ArtifactKind, Intent, Outcome};
use super::release::{PublishOptions, Published, ReleaseInfo, publish_release};
use super::simulation::{EXPORT, make_run, passes};
use crate::adapters::faulty::Random;
use crate::adapters::gcp::storage::{BucketStore, Limits};
use crate::adapters::gcp::{Api, Google};
use crate::ports::store::{Body, ObjectStore};
use crate::state::State;
use phase6_test_servers::storage::{Chaos, Server};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A strict server with a bucket for documents and one for the state.
async fn server() -> Server {
    let server = Server::start().await;
    server.bucket("docs", true);
    server.bucket("state", false);
    server
}

/// The two buckets as a process of its own sees them.
fn stores(server: &Server, limits: Limits) -> (Arc<dyn ObjectStore>, State) {
    let google = Google::at(Api::Storage, &server.url);
    let open = |bucket| Arc::new(BucketStore::new(google.clone(), bucket).with_limits(limits));
    (open("docs"), State::new(open("state")))
}

fn fan_out(count: usize, text: &str) -> Vec<Artifact> {
    let one = |kind, path: String| Artifact {
        body: Body::from(text.as_bytes().to_vec()),
        sha256: crate::adapters::hex_sha256(text.as_bytes()),
        size: text.len() as u64,
        content_type: "application/json".into(),
        cache_control: Some("public, max-age=300".into()),
        kind,
        path,
        dated: false,
        once: false,
        gzip: false,
        document: "card".into(),
        schema: None,
        counts: BTreeMap::new(),
    };
    let mut all: Vec<Artifact> = (0..count).map(|n| one(ArtifactKind::Entity, format!("cards/{n}.json"))).collect();
    all.push(one(ArtifactKind::Index, "cards/index.json".into()));
    all
}

async fn publish(server: &Server, artifacts: Vec<Artifact>, minute: u32) -> Published {
    let (store, state) = stores(server, Limits::NONE);
    let intent = Intent {
        run_id: format!("run-{minute}"),
        target_date: "2025-12-12".parse().unwrap(),
        as_of: format!("2025-12-12T18:{minute:02}:00Z").parse().unwrap(),
        config_hash: "c".into(),
        force: false,
    };
    let info = ReleaseInfo { export: "cards".into(), ..ReleaseInfo::default() };
    publish_release(&store, &state, artifacts, &intent, &info, &PublishOptions::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fan_out_lists_once_and_uploads_what_changed() {
    let server = server().await;
    let count = |counts: &BTreeMap<&'static str, usize>, kind| counts.get(kind).copied().unwrap_or(0);
    let mut requests = Vec::new();
    for (minute, text) in [(1, "first"), (2, "first"), (2, "first"), (3, "second")] {
        let published = publish(&server, fan_out(1500, text), minute).await;
        let written = published.count(|o| matches!(o, Outcome::Written { .. }));
        // The state's own records are a handful.
        let docs: BTreeMap<&str, usize> = server.calls().into_iter().filter(|c| c.uri.contains("/b/docs/")).fold(
            BTreeMap::new(),
            |mut counts, call| {
                *counts.entry(call.kind).or_default() += 1;
                counts
            },
        );
        server.take_counts();
        requests.push((written, docs));
    }
    let [first, again, same_run, changed] = requests.as_slice() else { unreachable!() };
    assert_eq!((first.0, count(&first.1, "objects.insert")), (1501, 1501));
    // The index is one object, which is looked at as such.
    assert_eq!((count(&first.1, "objects.list"), count(&first.1, "objects.get")), (1, 1), "{first:?}");
    assert_eq!((again.0, count(&again.1, "objects.insert")), (0, 0), "{again:?}");
    assert_eq!((count(&again.1, "objects.list"), count(&again.1, "objects.get")), (2, 1), "two pages: {again:?}");
    assert_eq!(count(&again.1, "objects.patch"), 1501, "their watermarks move up");
    assert_eq!(same_run.1.keys().collect::<Vec<_>>(), [&"objects.get", &"objects.list"], "nothing to do");
    assert_eq!((changed.0, count(&changed.1, "objects.insert")), (1501, 1501));
    assert_eq!((count(&changed.1, "objects.list"), count(&changed.1, "objects.get")), (2, 1));
}

/// One schedule: several publishers with stores of their own, some killed, some delivered again, over a server that fails.
async fn lives(seed: u64) -> (u64, Vec<invariants::Violation>) {
    let server = server().await;
    let random = Random::new(seed);
    let often = |random: &Random| u32::try_from(random.below(60)).unwrap_or(0);
    server.chaos(Chaos {
        seed,
        unavailable: often(&random),
        too_many: often(&random),
        close_before: often(&random),
        lose_reply: often(&random),
        half_reply: often(&random),
        delay: 300,
    });
    if random.chance(500) {
        server.write_rate(Some(Duration::from_millis(20)));
    }
    let limits = Limits { per_name: Duration::from_millis(random.below(30)), per_second: None };
    let mut publishers = tokio::task::JoinSet::new();
    for cause in 0..3 + random.below(3) {
        for delivery in 0..1 + random.below(3) {
            // The same run again after its process died, or another for the same cause.
            let run = make_run(&random, cause, if random.chance(400) { 0 } else { delivery });
            let (store, state) = stores(&server, limits);
            let (begins, dies) = (random.below(200), random.chance(250).then(|| random.below(400)));
            publishers.spawn(async move {
                tokio::time::sleep(Duration::from_millis(begins)).await;
                let options = PublishOptions { parallel: Some(3), ..PublishOptions::default() };
                let life = publish_release(&store, &state, run.artifacts, &run.intent, &run.info, &options);
                match dies {
                    Some(after) => {
                        tokio::time::timeout(Duration::from_millis(after), life).await.is_ok_and(|r| r.is_ok())
                    }
                    None => life.await.is_ok(),
                }
            });
        }
    }
    let finished = publishers.join_all().await.into_iter().filter(|done| *done).count() as u64;
    server.chaos(Chaos::default());
    server.write_rate(None);
    let (store, state) = stores(&server, Limits::NONE);
    (finished, invariants::of_publication(store.as_ref(), &state, EXPORT, passes).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_promise_is_kept_on_a_bucket_that_fails() {
    let seeds = match std::env::var("PHASE6_SEED").ok().and_then(|text| text.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..24_u64,
    };
    let mut finished = 0;
    let all: Vec<u64> = seeds.collect();
    for some in all.chunks(8) {
        let mut worlds = tokio::task::JoinSet::new();
        for seed in some.iter().copied() {
            worlds.spawn(async move { (seed, lives(seed).await) });
        }
        for (seed, (done, found)) in worlds.join_all().await {
            assert!(found.is_empty(), "PHASE6_SEED={seed}: {}", found[0]);
            finished += done;
        }
    }
    assert!(finished >= all.len() as u64, "most publishers come to their end: {finished} of {} worlds", all.len());
}
