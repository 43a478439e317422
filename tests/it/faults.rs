//! Runs of the service whose connections to Pub/Sub and Cloud Storage break: late, silent, reset, with lost replies and with
//! requests and replies that come twice. When they are well again, everything comes to its end and every promise holds.
//!
//! Pub/Sub is Google's emulator, Cloud Storage the strict server; each run has topics, buckets and two proxies of its own.
//! `PHASE6_FAULT_RUNS` says how many (24; the whole is 500), `PHASE6_FAULT_SEED` with which seed they begin.

use crate::harness::Sandbox;
use crate::stream::{self, Stream, Summary};
use async_trait::async_trait;
use phase6::adapters::duckdb::DuckDb;
use phase6::adapters::faulty::Random;
use phase6::adapters::gcp::Google;
use phase6::adapters::gcp::pubsub::PubSub;
use phase6::adapters::gcp::storage::BucketStore;
use phase6::engine::export::Engine;
use phase6::engine::invariants::Violation;
use phase6::ports::bus::{Backlog, Bus, BusError, Delivery, LeaseId, NewMessage, Subscription};
use phase6::ports::cancel::Cancel;
use phase6::ports::clock::{Clock, SystemClock};
use phase6::ports::store::{
    Body, Condition, Object, ObjectInfo, ObjectStore, PutOptions, StoreError, Traffic, Version,
};
use phase6::service::beats::Beats;
use phase6::service::idle::Idle;
use phase6::service::server::Server;
use phase6::service::settings::{Settings, subscriptions};
use phase6::service::{Live, Service, Setup};
use phase6::state::State;
use phase6::telemetry::Telemetry;
use phase6_test_servers::emulators;
use phase6_test_servers::proxy::{self, Done, Faults, Proxy};
use phase6_test_servers::storage;
use std::collections::{BTreeMap, BTreeSet};
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
    bus: Arc<dyn Bus>,
    public: Arc<dyn ObjectStore>,
    state: State,
}

/// What is wrong with our own side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// Messages are acknowledged when they are taken, and the process dies once.
    AcknowledgesFirst,
    /// Some writes are taken for done although their answer has not come, and they never arrive.
    BelievesWrites,
}

impl View {
    fn broken(self, how: Broken, seed: u64) -> View {
        match how {
            Broken::Nothing => self,
            Broken::AcknowledgesFirst => View { bus: Arc::new(AcknowledgesFirst(self.bus)), ..self },
            Broken::BelievesWrites => {
                let public = Arc::new(BelievesWrites { inner: self.public, random: Random::new(seed) });
                View { public, ..self }
            }
        }
    }
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

async fn run(cloud: &Cloud, seed: u64, how: Broken) -> Run {
    let begun = Instant::now();
    cloud.buckets.bucket(&format!("public-{seed}"), true);
    cloud.buckets.bucket(&format!("state-{seed}"), false);
    let upstream = |host: &str| host.trim_start_matches("http://").parse().unwrap();
    let buckets = Proxy::start(upstream(&cloud.buckets.url), proxy::Traffic::Http1, storage_faults(seed)).unwrap();
    let pubsub = Proxy::start(upstream(&cloud.pubsub.host()), proxy::Traffic::Bytes, pubsub_faults(seed)).unwrap();
    let straight = view(seed, &cloud.pubsub.host(), &cloud.buckets.url);
    let broken = view(seed, &pubsub.host(), &buckets.url()).broken(how, seed);
    let mut stream = Stream::new(straight.bus, straight.public, straight.state, seed).await;
    let (service, settings) = service(cloud, &broken);
    // Before anything is published, so that nothing is missed.
    for subscription in subscriptions(&service.live.now().project, &settings) {
        stream.bus.ensure(&subscription).await.unwrap();
    }
    let (stop, shutdown) = watch::channel(false);
    let mut server = started(&service, &shutdown).await;
    for n in 0..5 {
        stream.send(n).await;
        tokio::time::sleep(Duration::from_millis(stream.random.below(600))).await;
        if n % 2 == 1 && how == Broken::AcknowledgesFirst {
            // Its loops and what they were at are gone from one moment to the next.
            drop(server);
            server = started(&service, &shutdown).await;
        }
    }
    tokio::time::sleep(Duration::from_millis(1000 + stream.random.below(3000))).await;
    buckets.heal();
    pubsub.heal();
    let healed = Instant::now();
    while stream.open(100).await > 0 {
        if how != Broken::Nothing && healed.elapsed() > Duration::from_secs(20) {
            break;
        }
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

/// Starts it as whoever keeps the process running does: again, until it runs.
async fn started(service: &Service, shutdown: &watch::Receiver<bool>) -> Server {
    loop {
        match Server::start(service.clone(), shutdown.clone()).await {
            Ok(server) => return server,
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
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
        idle: Idle::default(),
        drain: Cancel::default(),
    };
    (service, settings)
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

async fn runs_of(cloud: &Arc<Cloud>, seeds: std::ops::Range<u64>, how: Broken) -> Vec<Run> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = tokio::task::JoinSet::new();
    for seed in seeds {
        let (cloud, places) = (cloud.clone(), places.clone());
        tasks.spawn(async move {
            let _place = places.acquire_owned().await;
            run(&cloud, seed, how).await
        });
    }
    let mut all = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        all.push(ended.unwrap());
    }
    all
}

/// The net catches fish.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn broken_protocols_are_caught() {
    let cloud = match Cloud::start().await {
        Ok(cloud) => Arc::new(cloud),
        Err(reason) => return emulators::skip("broken_protocols_are_caught", &reason),
    };
    for (how, first) in [(Broken::AcknowledgesFirst, 1), (Broken::BelievesWrites, 101)] {
        let all = runs_of(&cloud, first..first + 12, how).await;
        let broken: BTreeSet<u8> = all.iter().flat_map(|run| &run.violations).map(|v| v.invariant).collect();
        let caught = all.iter().filter(|run| !run.violations.is_empty()).count();
        println!("{how:?}: {caught} of {} runs broke the promises {broken:?}", all.len());
        assert!(caught > 0, "{how:?} was not noticed");
    }
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
    let all = runs_of(&cloud, first..first + runs, Broken::Nothing).await;
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

/// A bus on which what is taken never comes again.
struct AcknowledgesFirst(Arc<dyn Bus>);

#[async_trait]
impl Bus for AcknowledgesFirst {
    fn describe(&self) -> String {
        self.0.describe()
    }

    async fn ensure(&self, subscription: &Subscription) -> Result<(), BusError> {
        self.0.ensure(subscription).await
    }

    async fn publish(&self, topic: &str, message: &NewMessage) -> Result<String, BusError> {
        self.0.publish(topic, message).await
    }

    async fn pull(&self, subscription: &str, max: usize, wait: Duration) -> Result<Vec<Delivery>, BusError> {
        let pulled = self.0.pull(subscription, max, wait).await?;
        for delivery in &pulled {
            self.0.ack(&delivery.lease).await?;
        }
        Ok(pulled)
    }

    async fn ack(&self, _: &LeaseId) -> Result<(), BusError> {
        Ok(())
    }

    async fn hand_back(&self, _: &LeaseId, _: Duration) -> Result<(), BusError> {
        Ok(())
    }

    async fn extend(&self, _: &LeaseId, _: Duration) -> Result<bool, BusError> {
        Ok(true)
    }

    async fn backlog(&self, subscription: &str) -> Result<Backlog, BusError> {
        self.0.backlog(subscription).await
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

/// A store to which one write in ten never gets, and which says that it has.
struct BelievesWrites {
    inner: Arc<dyn ObjectStore>,
    random: Random,
}

#[async_trait]
impl ObjectStore for BelievesWrites {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn traffic(&self) -> Traffic {
        self.inner.traffic()
    }

    async fn stat(&self, path: &str) -> Result<Option<ObjectInfo>, StoreError> {
        self.inner.stat(path).await
    }

    async fn get(&self, path: &str, generation: Option<u64>) -> Result<Object, StoreError> {
        self.inner.get(path, generation).await
    }

    async fn put(&self, path: &str, body: &Body, options: &PutOptions) -> Result<ObjectInfo, StoreError> {
        if self.random.chance(900) {
            return self.inner.put(path, body, options).await;
        }
        Ok(ObjectInfo {
            path: path.to_owned(),
            generation: 1,
            metageneration: 1,
            size: 1,
            sha256: None,
            content_type: None,
            cache_control: None,
            metadata: options.metadata.clone(),
        })
    }

    async fn touch(
        &self,
        path: &str,
        version: Version,
        metadata: &BTreeMap<String, String>,
    ) -> Result<ObjectInfo, StoreError> {
        self.inner.touch(path, version, metadata).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.inner.list(prefix).await
    }

    async fn delete(&self, path: &str, condition: Condition) -> Result<(), StoreError> {
        self.inner.delete(path, condition).await
    }

    async fn forget(&self, path: &str) -> Result<(), StoreError> {
        self.inner.forget(path).await
    }

    async fn versions(&self, path: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.inner.versions(path).await
    }
}
