//! One life: a world, two or three copies of the service, and what happens to them.

use super::exporter::SimExporter;
use super::faults::{FaultyBus, SimClock};
use async_trait::async_trait;
use jiff::Timestamp;
use phase6::adapters::faulty::{Faults, Faulty, Random};
use phase6::adapters::memory::MemoryStore;
use phase6::adapters::memory_bus::MemoryBus;
use phase6::config::Project;
use phase6::engine::invariants as published;
use phase6::engine::publish::watermark_of;
use phase6::engine::watermark::Watermark;
use phase6::model::completion::CompletionMessage;
use phase6::model::dates::DayRule;
use phase6::ports::bus::{Backlog, Bus, NewMessage, Subscription};
use phase6::ports::cancel::Cancel;
use phase6::ports::clock::Clock;
use phase6::ports::store::{Body, Condition, Object, ObjectInfo, ObjectStore, PutOptions, StoreError, Version};
use phase6::service::beats::Beats;
use phase6::service::gate::Gate;
use phase6::service::idle::Idle;
use phase6::service::scheduler;
use phase6::service::server::Server;
use phase6::service::settings::Settings;
use phase6::service::{Live, Service, Setup, invariants};
use phase6::state::State;
use phase6::state::decisions::Verdict;
use phase6::state::requests::RequestStatus;
use phase6::telemetry::{LogFormat, Options, Severity, Telemetry};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::sync::watch;

/// The protocol, and ways to get it wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    Ours,
    /// Acknowledges a message when it is taken.
    AckFirst,
    /// Publishes without a precondition.
    CheckThenWrite,
    /// Every message is a cause of its own.
    NoDedupe,
}

/// What a life came to.
pub struct Life {
    pub violations: Vec<String>,
    pub story: Vec<String>,
    pub counts: Counts,
}

#[derive(Debug, Default)]
pub struct Counts {
    pub crashes: u64,
    pub faults: u64,
    pub published: u64,
    pub failed: u64,
    pub duplicates: u64,
    pub skipped: u64,
    pub dead_letters: u64,
    pub completions: u64,
    pub slots: u64,
    pub ticks: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        self.crashes += other.crashes;
        self.faults += other.faults;
        self.published += other.published;
        self.failed += other.failed;
        self.duplicates += other.duplicates;
        self.skipped += other.skipped;
        self.dead_letters += other.dead_letters;
        self.completions += other.completions;
        self.slots += other.slots;
        self.ticks += other.ticks;
    }
}

/// The shipped project: its real trigger, gates and messages.
fn project() -> Arc<Project> {
    static PROJECT: OnceLock<Arc<Project>> = OnceLock::new();
    let load = || {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        Arc::new(phase6::config::load(root, &|_| None).project)
    };
    PROJECT.get_or_init(load).clone()
}

const UPSTREAM: &str = "nba-phase5-predictions-complete";
const TRIGGER: &str = "nba-phase6-export-trigger";
const COMPLETE: &str = "nba-phase6-export-complete";
const SUBSCRIPTIONS: [&str; 3] = ["phase6-phase5-to-phase6-orchestrator", "phase6-export", "phase6-dead-letter"];
const SINK: &str = "complete-sink";

/// The public store with a memory of what `latest` has shown.
struct Shown {
    inner: Arc<MemoryStore>,
    log: Arc<Mutex<BTreeMap<String, Vec<Watermark>>>>,
    violations: Arc<Mutex<Vec<String>>>,
}

impl Shown {
    fn note(&self, info: &ObjectInfo) {
        let Ok(Some(mark)) = watermark_of(info) else { return };
        let mut log = self.log.lock().unwrap();
        let shown = log.entry(info.path.clone()).or_default();
        shown.push(mark);
        if let Some(violation) = published::never_goes_back(&info.path, shown) {
            self.violations.lock().unwrap().push(violation.to_string());
        }
    }
}

#[async_trait]
impl ObjectStore for Shown {
    fn describe(&self) -> String {
        self.inner.describe()
    }
    async fn stat(&self, path: &str) -> Result<Option<ObjectInfo>, StoreError> {
        self.inner.stat(path).await
    }
    async fn get(&self, path: &str, generation: Option<u64>) -> Result<Object, StoreError> {
        self.inner.get(path, generation).await
    }
    async fn put(&self, path: &str, body: &Body, options: &PutOptions) -> Result<ObjectInfo, StoreError> {
        let info = self.inner.put(path, body, options).await?;
        self.note(&info);
        Ok(info)
    }
    async fn touch(&self, path: &str, v: Version, m: &BTreeMap<String, String>) -> Result<ObjectInfo, StoreError> {
        let info = self.inner.touch(path, v, m).await?;
        self.note(&info);
        Ok(info)
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

struct World {
    seed: u64,
    variant: Variant,
    random: Arc<Random>,
    clock: Arc<SimClock>,
    bus: Arc<FaultyBus>,
    public: Arc<dyn ObjectStore>,
    state_store: Arc<dyn ObjectStore>,
    truth: State,
    troubled: Arc<AtomicBool>,
    violations: Arc<Mutex<Vec<String>>>,
    story: Vec<String>,
    counts: Counts,
    copies: Vec<Option<Copy>>,
    started: u64,
}

/// A running copy of the service.
struct Copy {
    server: Server,
    stop: watch::Sender<bool>,
}

/// Lives a life.
pub fn live(seed: u64, variant: Variant) -> Life {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed, variant);
        world.youth().await;
        world.heal().await;
        world.judge().await;
        let violations = world.violations.lock().unwrap().clone();
        Life { violations, story: world.story, counts: world.counts }
    })
}

impl World {
    fn new(seed: u64, variant: Variant) -> World {
        let random = Arc::new(Random::new(seed ^ 0x5eed));
        let clock = Arc::new(SimClock::new("2025-12-12T17:58:45Z".parse::<Timestamp>().unwrap()));
        let violations = Arc::new(Mutex::new(Vec::new()));
        let shown = Shown { inner: Arc::new(MemoryStore::new()), log: Arc::default(), violations: violations.clone() };
        let state_store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
        let truth = State::new(state_store.clone()).without_pauses();
        let inner: Arc<dyn Bus> = Arc::new(MemoryBus::new(clock.clone()));
        let bus = Arc::new(FaultyBus::new(inner, seed ^ 0xb05, truth.clone(), violations.clone()));
        bus.ack_first.store(variant == Variant::AckFirst, Ordering::Relaxed);
        bus.no_dedupe.store(variant == Variant::NoDedupe, Ordering::Relaxed);
        let copies = (0..2 + random.below(2)).map(|_| None).collect();
        World {
            seed,
            variant,
            random,
            clock,
            bus,
            public: Arc::new(shown),
            state_store,
            truth,
            troubled: Arc::new(AtomicBool::new(true)),
            violations,
            story: Vec::new(),
            counts: Counts::default(),
            copies,
            started: 0,
        }
    }

    /// Starts a copy whose stores fail by a seed of their own.
    async fn start(&mut self, place: usize, faulty: bool) {
        self.started += 1;
        let rates = match faulty {
            true => Faults { error_before: 8, error_after: 8, delay: 100, crash: 0 },
            false => Faults::default(),
        };
        let seed = self.seed.wrapping_mul(1_000) + self.started;
        let store: Arc<dyn ObjectStore> = Arc::new(Faulty::new(self.public.clone(), rates, seed));
        let state_store: Arc<dyn ObjectStore> = Arc::new(Faulty::new(self.state_store.clone(), rates, !seed));
        let state = State::new(state_store).without_pauses();
        let project = project();
        let exporter = SimExporter {
            store,
            state: state.clone(),
            clock: self.clock.clone(),
            random: self.random.clone(),
            troubled: self.troubled.clone(),
            check_then_write: self.variant == Variant::CheckThenWrite,
        };
        let zone = jiff::tz::TimeZone::get(&project.calendar.timezone).unwrap();
        let gates = project.trigger_decls().into_iter().map(|decl| Gate::compile(&project, decl).unwrap()).collect();
        let setup = Setup {
            rule: DayRule { zone, starts_at_minutes: project.calendar.day_starts_at_minutes },
            project,
            target: "sim".into(),
            exporter: Arc::new(exporter),
            gates,
            settings: Settings {
                lease: Duration::from_secs(15),
                pull_wait: Duration::from_secs(10),
                ..Settings::default()
            },
        };
        let quiet = Options { format: LogFormat::Json, threshold: Severity::Critical, trace_project: None };
        let service = Service {
            bus: self.bus.clone(),
            state,
            clock: self.clock.clone(),
            live: Live::new(setup),
            name: format!("copy-{}", self.started),
            telemetry: Telemetry::new(quiet, || Timestamp::UNIX_EPOCH),
            beats: Beats::default(),
            idle: Idle::default(),
            drain: Cancel::default(),
        };
        let (stop, shutdown) = watch::channel(false);
        let server = Server::start(service, shutdown).await.unwrap();
        self.copies[place] = Some(Copy { server, stop });
    }

    fn tell(&mut self, what: String) {
        let at = self.clock.now();
        self.story.push(format!("{at} {what}"));
    }

    /// Half a dozen minutes in which everything happens.
    async fn youth(&mut self) {
        let sink = Subscription {
            name: SINK.into(),
            topic: COMPLETE.into(),
            lease: Duration::from_secs(600),
            backoff: (Duration::from_secs(1), Duration::from_secs(1)),
            max_attempts: 100,
            dead_letter_topic: None,
            from_earliest: true,
        };
        self.bus.inner.ensure(&sink).await.unwrap();
        for place in 0..self.copies.len() {
            self.start(place, true).await;
        }
        self.bus.rate.store(60, Ordering::Relaxed);
        for _ in 0..14 + self.random.below(14) {
            match self.random.below(10) {
                0..5 => self.event().await,
                5..7 => self.request().await,
                7 | 8 => self.crash(),
                _ => self.step_clock(),
            }
            tokio::time::sleep(Duration::from_millis(self.random.below(6_000))).await;
            for place in 0..self.copies.len() {
                if self.copies[place].is_none() && self.random.chance(700) {
                    self.start(place, true).await;
                }
            }
        }
    }

    async fn publish(&mut self, topic: &str, body: String) {
        self.tell(format!("publish {body}"));
        let message = NewMessage { body: body.into_bytes(), attributes: BTreeMap::new() };
        self.bus.inner.publish(topic, &message).await.unwrap();
    }

    /// An upstream message: good, again, not good enough, or broken.
    async fn event(&mut self) {
        let batch = self.random.below(5);
        let day = 10 + batch % 3;
        let body = match self.random.below(10) {
            0 => "{\"game_date\": ".to_owned(),
            1 => {
                format!("{{\"game_date\":\"2025-12-{day}\",\"status\":\"success\",\"metadata\":{{\"completion\":90}}}}")
            }
            2 | 3 => format!(
                "{{\"game_date\":\"2025-12-{day}\",\"status\":\"success\",\"metadata\":{{\"batch_id\":\"b{batch}\",\"completion_pct\":{}}}}}",
                self.random.below(80)
            ),
            _ => format!(
                "{{\"game_date\":\"2025-12-{day}\",\"status\":\"success\",\"metadata\":{{\"batch_id\":\"b{batch}\",\"completion_pct\":99}}}}"
            ),
        };
        self.publish(UPSTREAM, body).await;
    }

    /// A trigger message of somebody else.
    async fn request(&mut self) {
        let day = 8 + self.random.below(6);
        let body = match self.random.below(6) {
            0 => "{\"export_type\":[\"results\"],\"date\":\"2025-12-11\"}".to_owned(),
            1 => "{\"players\":true,\"min_games\":5}".to_owned(),
            2 => "{\"export_types\":[\"results\",\"performance\"],\"target_date\":\"yesterday\"}".to_owned(),
            _ => format!(
                "{{\"export_types\":[\"results\",\"tonight\"],\"target_date\":\"2025-12-{day:02}\",\"correlation_id\":\"c{day}\"}}"
            ),
        };
        self.publish(TRIGGER, body).await;
    }

    /// A copy dies: everything that it was doing ends where it was.
    fn crash(&mut self) {
        let place = self.random.below(self.copies.len() as u64) as usize;
        if self.copies[place].take().is_some() {
            self.counts.crashes += 1;
            self.tell(format!("crash of copy {place}"));
        }
    }

    fn step_clock(&mut self) {
        let ms = self.random.below(40_000) as i64 - 20_000;
        self.clock.step(ms);
        self.tell(format!("the clock steps by {ms} ms"));
    }

    /// No more faults; the copies that are there work until nothing is left to do.
    async fn heal(&mut self) {
        self.bus.rate.store(0, Ordering::Relaxed);
        self.troubled.store(false, Ordering::Relaxed);
        for place in 0..self.copies.len() {
            self.copies[place] = None;
        }
        self.start(0, false).await;
        self.start(1, false).await;
        for round in 0..200 {
            tokio::time::sleep(Duration::from_secs(20)).await;
            // The claim of a slot whose copy died ends after a minute, and the scheduler looks every twenty seconds.
            if round >= 6 && self.is_quiet().await {
                break;
            }
        }
        for copy in self.copies.iter_mut().filter_map(Option::take) {
            let _ = copy.stop.send(true);
            if !copy.server.finish(Duration::from_secs(30)).await {
                self.violations.lock().unwrap().push("a copy did not stop within its grace".into());
            }
        }
    }

    async fn is_quiet(&self) -> bool {
        for name in SUBSCRIPTIONS {
            if self.bus.inner.backlog(name).await.unwrap().messages > 0 {
                return false;
            }
        }
        true
    }

    /// Holds everything against the invariants.
    async fn judge(&mut self) {
        let mut found = Vec::new();
        if !self.is_quiet().await {
            found.push("messages are left that nobody works".to_owned());
        }
        self.bus.check_all().await;
        let state = &self.truth.clone();
        let requests = state.requests(usize::MAX).await.unwrap();
        let heard: Vec<String> = requests.iter().filter_map(|r| r.cause.message_id.clone()).collect();
        let mut violations = invariants::everything_came_to_an_end(state, &heard).await;
        violations.extend(invariants::one_run_for_each_cause(state).await);
        violations.extend(invariants::history_knows_every_success(state).await);
        violations.extend(self.slots().await);
        for export in &project().exports {
            let name = &export.name.value;
            violations.extend(published::one_release_for_each_run_key(state, name).await);
            violations.extend(published::releases_name_what_exists(self.public.as_ref(), state, name).await);
        }
        violations.extend(published::no_path_goes_back(self.public.as_ref()).await);
        let passes = |path: &str, bytes: &[u8]| match serde_json::from_slice::<serde_json::Value>(bytes) {
            Ok(json) if path.starts_with(json["export"].as_str().unwrap_or("?")) => Ok(()),
            _ => Err("no document of its export".to_owned()),
        };
        violations.extend(published::only_valid_documents(self.public.as_ref(), passes).await);
        for name in SUBSCRIPTIONS {
            violations.extend(invariants::every_lease_is_free(self.bus.inner.backlog(name).await.unwrap(), &[]));
        }
        for delivery in self.bus.inner.pull(SINK, 10_000, Duration::ZERO).await.unwrap() {
            let message: CompletionMessage = serde_json::from_slice(&delivery.message.body).unwrap();
            violations.extend(invariants::completion_equals_record(state, &message).await);
            self.counts.completions += 1;
        }
        found.extend(violations.iter().map(ToString::to_string));
        if self.variant == Variant::NoDedupe {
            found.extend(batches_released_twice(&requests));
        }
        for request in &requests {
            match request.status {
                RequestStatus::Duplicate => self.counts.duplicates += 1,
                RequestStatus::Success => self.counts.published += 1,
                _ => self.counts.failed += 1,
            }
        }
        for decision in state.decisions(usize::MAX).await.unwrap() {
            match decision.verdict {
                Verdict::Skip => self.counts.skipped += 1,
                Verdict::Duplicate => self.counts.duplicates += 1,
                Verdict::Accept | Verdict::Reject => {}
            }
        }
        self.counts.dead_letters += state.dead_letters().await.unwrap().len() as u64;
        self.counts.faults += self.bus.faults.load(Ordering::Relaxed);
        let line = format!("{:?}", self.counts);
        self.tell(line);
        self.violations.lock().unwrap().extend(found);
    }
}

impl World {
    /// 7 and 9. Each slot since the first start has one outcome, and its tick was published accordingly.
    async fn slots(&mut self) -> Vec<published::Violation> {
        let mut found = Vec::new();
        let (state, now) = (self.truth.clone(), self.clock.now());
        for job in &project().jobs {
            let name = &job.name.value;
            let slots = scheduler::slots(job).unwrap();
            let schedule = format!("{} {}", job.schedule.value.text(), job.timezone);
            let since = state.schedule(name, &schedule, now).await.unwrap().since[&schedule];
            let nominal: Vec<Timestamp> = slots.between(since, now).collect();
            let records = state.slots(name, 1_000).await.unwrap();
            let ticks = self.bus.published.lock().unwrap().clone();
            let published: Vec<Timestamp> =
                nominal.iter().filter(|slot| ticks.contains(&scheduler::cause_id(name, **slot))).copied().collect();
            found.extend(invariants::each_slot_has_one_outcome(&nominal, &records, &published));
            found.extend(invariants::every_lease_is_free(Backlog::default(), &records));
            self.counts.ticks += published.len() as u64;
            self.counts.slots += nominal.len() as u64;
        }
        found
    }
}

/// A batch that was worked by two runs which are no duplicates.
fn batches_released_twice(requests: &[phase6::state::requests::RequestRecord]) -> Vec<String> {
    let mut runs: BTreeMap<&str, u64> = BTreeMap::new();
    for request in requests.iter().filter(|r| r.status == RequestStatus::Success) {
        if let Some(batch) = &request.cause.upstream_batch_id {
            *runs.entry(batch).or_default() += 1;
        }
    }
    let twice = runs.into_iter().filter(|(_, n)| *n > 1);
    twice.map(|(batch, n)| format!("invariant 4: batch `{batch}` was run {n} times")).collect()
}
