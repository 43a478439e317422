//! Runs of the service whose connections to Pub/Sub and Cloud Storage break: late, silent, reset, with lost replies and with
//! requests and replies that come twice. When they are well again, everything comes to its end and every promise holds.
//!
//! Pub/Sub is Google's emulator, Cloud Storage the strict server; each run has topics, buckets and two proxies of its own.
//! `PHASE6_FAULT_RUNS` says how many (24; the whole is 500), `PHASE6_FAULT_SEED` with which seed they begin.

use crate::harness::Sandbox;
use crate::stream::{self, Stream, Summary};
use phase6::adapters::duckdb::DuckDb;
use phase6::adapters::gcp::Google;
use phase6::adapters::gcp::pubsub::PubSub;
use phase6::adapters::gcp::storage::BucketStore;
use phase6::engine::export::Engine;
use phase6::engine::invariants::Violation;
use phase6::ports::bus::Bus;
use phase6::ports::cancel::Cancel;
use phase6::ports::clock::{Clock, SystemClock};
use phase6::service::beats::Beats;
use phase6::service::server::Server;
use phase6::service::settings::{Settings, subscriptions};
use phase6::service::{Live, Service, Setup};
use phase6::state::State;
use phase6::telemetry::Telemetry;
use phase6_test_servers::emulators;
use phase6_test_servers::proxy::{Done, Faults, Proxy, Traffic};
use phase6_test_servers::storage;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};

/// The shortest that Pub/Sub has.
const LEASE: Duration = Duration::from_secs(10);

/// Runs at once; most of their time they wait.
const AT_ONCE: usize = 20;

/// What all runs share.
struct Cloud {
    sandbox: Sandbox,
    pubsub: emulators::Running,
    buckets: storage::Server,
}

impl Cloud {
    async fn start() -> Result<Cloud, String> {
        let target = "{warehouse: {type: duckdb, data: warehouse}, store: {type: directory, path: public}, \
                      state: {type: directory, path: state}, bus: {type: embedded, path: bus}}";
        let pubsub = emulators::pubsub::start()?;
        Ok(Cloud { sandbox: stream::sandbox(target, ""), pubsub, buckets: storage::Server::start().await })
    }
}

/// How one run sees the outside: straight, or by the proxies.
struct View {
    bus: Arc<PubSub>,
    public: Arc<BucketStore>,
    state: State,
}

fn view(seed: u64, pubsub: &str, buckets: &str) -> View {
    let variable = |name: &str| match name {
        "PUBSUB_EMULATOR_HOST" => Some(pubsub.to_owned()),
        "STORAGE_EMULATOR_HOST" => Some(buckets.to_owned()),
        _ => None,
    };
    let google = Arc::new(Google::new(&variable).unwrap());
    View {
        bus: Arc::new(PubSub::new(google.clone(), &format!("run-{seed}"), Arc::new(SystemClock))),
        public: Arc::new(BucketStore::new(google.clone(), &format!("public-{seed}"))),
        state: State::new(Arc::new(BucketStore::new(google, &format!("state-{seed}")))),
    }
}

/// One in some dozen requests to Cloud Storage goes wrong, and of the pieces of bytes to and from Pub/Sub one in fifty.
fn storage_faults(seed: u64) -> Faults {
    Faults {
        seed,
        delay: 60,
        longest_delay: Duration::from_millis(150),
        drop: 5,
        silence: Duration::from_millis(1500),
        reset: 20,
        cut: 25,
        repeat_request: 20,
        repeat_reply: 10,
    }
}

fn pubsub_faults(seed: u64) -> Faults {
    Faults {
        seed,
        delay: 50,
        longest_delay: Duration::from_millis(150),
        drop: 5,
        silence: Duration::from_millis(1500),
        reset: 8,
        cut: 8,
        ..Faults::NONE
    }
}

/// What became of one run.
#[derive(Default)]
struct Run {
    seed: u64,
    violations: Vec<Violation>,
    summary: Summary,
    storage: Done,
    pubsub: Done,
    took: Duration,
    /// What the service said of it.
    log: Vec<String>,
}

async fn run(cloud: &Cloud, seed: u64) -> Run {
    let begun = Instant::now();
    cloud.buckets.bucket(&format!("public-{seed}"), true);
    cloud.buckets.bucket(&format!("state-{seed}"), false);
    let upstream = |host: &str| host.trim_start_matches("http://").parse().unwrap();
    let buckets = Proxy::start(upstream(&cloud.buckets.url), Traffic::Http1, storage_faults(seed)).unwrap();
    let pubsub = Proxy::start(upstream(&cloud.pubsub.host()), Traffic::Bytes, pubsub_faults(seed)).unwrap();
    let straight = view(seed, &cloud.pubsub.host(), &cloud.buckets.url);
    let broken = view(seed, &pubsub.host(), &buckets.url());
    let mut stream = Stream::new(straight.bus, straight.public, straight.state, seed).await;
    let (service, settings) = service(cloud, &broken);
    // Before anything is published, so that nothing is missed.
    for subscription in subscriptions(&service.live.now().project, &settings) {
        stream.bus.ensure(&subscription).await.unwrap();
    }
    let (stop, shutdown) = watch::channel(false);
    let server = loop {
        // As whoever keeps the process running starts it again.
        match Server::start(service.clone(), shutdown.clone()).await {
            Ok(server) => break server,
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    for n in 0..5 {
        stream.send(n).await;
        tokio::time::sleep(Duration::from_millis(stream.random.below(600))).await;
    }
    tokio::time::sleep(Duration::from_millis(1000 + stream.random.below(3000))).await;
    buckets.heal();
    pubsub.heal();
    let healed = Instant::now();
    while stream.open(100).await > 0 {
        assert!(healed.elapsed() < Duration::from_secs(120), "seed {seed} does not end:\n{}", stream.tell().await);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    stop.send(true).unwrap();
    server.finish(Duration::from_secs(10)).await;
    broken.bus.close().await;
    let (violations, summary) = stream.judge().await;
    Run {
        seed,
        violations,
        summary,
        storage: buckets.done(),
        pubsub: pubsub.done(),
        took: begun.elapsed(),
        log: service.telemetry.lines(),
    }
}

/// The service as `phase6 serve` builds it, on the broken connections.
fn service(cloud: &Cloud, broken: &View) -> (Service, Settings) {
    let loaded = phase6::config::load(cloud.sandbox.path(), &|_| None);
    assert!(!loaded.has_errors(), "{:?}", loaded.findings);
    let engine = Engine {
        prefix: String::new(),
        warehouse: Arc::new(DuckDb::new(Some(cloud.sandbox.path().join("warehouse")), loaded.project.tables.clone())),
        project: Arc::new(loaded.project),
        sources: Arc::new(loaded.sources),
        store: broken.public.clone(),
        state: broken.state.clone(),
        clock: Arc::new(SystemClock),
        cancel: Cancel::default(),
    };
    let settings = Settings { lease: LEASE, backoff: Duration::from_millis(300), ..Settings::default() };
    let setup = Setup::of(engine, "cloud".to_owned(), settings.clone()).unwrap();
    let service = Service {
        bus: broken.bus.clone(),
        state: broken.state.clone(),
        clock: Arc::new(SystemClock),
        live: Live::new(setup),
        name: "copy".to_owned(),
        telemetry: Telemetry::in_memory(|| SystemClock.now()),
        beats: Beats::default(),
        drain: Cancel::default(),
    };
    (service, settings)
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_breaks_between_us_and_the_cloud_every_promise_holds() {
    let cloud = match Cloud::start().await {
        Ok(cloud) => Arc::new(cloud),
        Err(reason) => {
            return emulators::skip("whatever_breaks_between_us_and_the_cloud_every_promise_holds", &reason);
        }
    };
    let begun = Instant::now();
    let (runs, first) = (number("PHASE6_FAULT_RUNS", 24), number("PHASE6_FAULT_SEED", 1));
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = tokio::task::JoinSet::new();
    for seed in first..first + runs {
        let (cloud, places) = (cloud.clone(), places.clone());
        tasks.spawn(async move {
            let _place = places.acquire_owned().await;
            run(&cloud, seed).await
        });
    }
    let mut all = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        all.push(ended.unwrap());
    }
    report(&all, begun.elapsed());
    let broken: Vec<&Run> = all.iter().filter(|run| !run.violations.is_empty()).collect();
    for run in &broken {
        println!("seed {}: {:#?}\n{}", run.seed, run.violations, run.log.join("\n"));
    }
    assert!(broken.is_empty(), "{} of {runs} runs broke a promise", broken.len());
}

fn report(all: &[Run], took: Duration) {
    let storage: Done = all.iter().map(|r| r.storage).sum();
    let pubsub: Done = all.iter().map(|r| r.pubsub).sum();
    let sum = |of: fn(&Summary) -> usize| all.iter().map(|r| of(&r.summary)).sum::<usize>();
    let (requests, failed) = (sum(|s| s.requests), sum(|s| s.failed.len()));
    let longest = all.iter().map(|r| r.took).max().unwrap_or_default();
    println!(
        "{} runs in {took:?} (longest {longest:?}), {requests} requests, {} duplicates, {failed} failed, {} dead letters\n\
         Cloud Storage: {storage:?}\nPub/Sub: {pubsub:?}",
        all.len(),
        sum(|s| s.duplicates),
        sum(|s| s.dead_letters)
    );
    for text in all.iter().flat_map(|r| &r.summary.failed).take(5) {
        println!("failed: {text}");
    }
    // What fails for a while is tried five times: it may end so, but seldom.
    assert!(failed * 20 <= requests, "{failed} of {requests} requests failed");
    if all.len() >= 20 {
        let done = [storage.delayed, storage.dropped, storage.reset, storage.cut, storage.repeated_requests];
        assert!(done.into_iter().all(|n| n > 0) && storage.repeated_replies > 0, "everything went wrong");
        assert!(pubsub.delayed > 0 && pubsub.faults() > 0, "{pubsub:?}");
    }
}
