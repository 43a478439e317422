//! Thousands of seeded schedules of several publishers over stores that fail, and broken protocols that must be caught.
//! Only compiled for tests: `#[cfg(test)]`.
//!
//! No runtime and no clock: a few futures, polled in an order that the seed decides. A schedule that breaks an invariant
//! prints its seed; `PHASE6_SEED=<n>` runs that one alone, `PHASE6_SEEDS=<n>` another number of them.

use super::invariants::{self, Violation};
use super::publish::{Artifact, ArtifactKind, Intent, Outcome, Retry, keys, publish_object, watermark_of};
use super::release::{PublishOptions, ReleaseInfo, publish_release};
use super::watermark::Watermark;
use crate::adapters::faulty::{Faults, Faulty, Random};
use crate::adapters::memory::MemoryStore;
use crate::ports::store::{self, Body, Condition, Object, ObjectInfo, ObjectStore, StoreError, Version};
use crate::state::State;
use crate::state::releases::{Release, ReleasedObject, ReleasedOutcome};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub(super) const EXPORT: &str = "e";
const LATEST: &str = "e/latest.json";

/// The protocol, and the ways to get it wrong that were seen in the system before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Ours,
    /// Writes whatever is there.
    Overwrite,
    /// Looks first, then writes without a condition.
    CheckThenWrite,
    /// Leaves the watermark of unchanged content where it was.
    NoAdvance,
    /// Aliases first.
    AliasFirst,
    /// Writes the release record before the objects.
    RecordFirst,
}

/// All that was ever shown at a path: (path, watermark), in order.
type Log = Arc<Mutex<Vec<(String, Watermark)>>>;

/// The public store with a memory of all that it has shown.
struct Recording {
    inner: MemoryStore,
    log: Log,
    /// Whether folders are listed instead of asking for each object, as with a bucket.
    list_from: Option<usize>,
}

impl Recording {
    fn note(&self, info: &ObjectInfo) {
        if let Ok(Some(mark)) = watermark_of(info) {
            self.log.lock().unwrap().push((info.path.clone(), mark));
        }
    }
}

#[async_trait]
impl ObjectStore for Recording {
    fn describe(&self) -> String {
        self.inner.describe()
    }
    fn traffic(&self) -> store::Traffic {
        store::Traffic { list_from: self.list_from, ..store::Traffic::default() }
    }
    async fn stat(&self, path: &str) -> Result<Option<ObjectInfo>, StoreError> {
        self.inner.stat(path).await
    }
    async fn get(&self, path: &str, generation: Option<u64>) -> Result<Object, StoreError> {
        self.inner.get(path, generation).await
    }
    async fn put(&self, path: &str, body: &Body, options: &store::PutOptions) -> Result<ObjectInfo, StoreError> {
        let info = self.inner.put(path, body, options).await?;
        self.note(&info);
        Ok(info)
    }
    async fn touch(
        &self,
        path: &str,
        version: Version,
        metadata: &BTreeMap<String, String>,
    ) -> Result<ObjectInfo, StoreError> {
        let info = self.inner.touch(path, version, metadata).await?;
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

/// One run: what it publishes, and what it is called.
#[derive(Clone)]
pub(super) struct Run {
    pub intent: Intent,
    pub info: ReleaseInfo,
    pub artifacts: Vec<Artifact>,
}

/// A run in the world of one schedule. Contents have few values, so that runs of different days often agree.
pub(super) fn make_run(random: &Random, cause: u64, delivery: u64) -> Run {
    let (day, hour) = (10 + cause * 7 % 3, random.below(6));
    let intent = Intent {
        run_id: format!("run-{cause}-{delivery}"),
        target_date: format!("2025-12-{day}").parse().unwrap(),
        as_of: format!("2025-12-13T0{hour}:00:00Z").parse().unwrap(),
        config_hash: "c".into(),
        force: false,
    };
    let info = ReleaseInfo { export: EXPORT.into(), run_key: Some(format!("cause-{cause}")), ..ReleaseInfo::default() };
    let artifact = |path: String, kind, dated| {
        let text = format!("{{\"path\":\"{path}\",\"value\":{}}}", random.below(3));
        Artifact {
            sha256: crate::adapters::hex_sha256(text.as_bytes()),
            size: text.len() as u64,
            body: Body::from(text.into_bytes()),
            path,
            content_type: "application/json".into(),
            cache_control: None,
            kind,
            dated,
            once: false,
            gzip: false,
            document: EXPORT.into(),
            schema: None,
            counts: BTreeMap::new(),
        }
    };
    let artifacts = vec![
        artifact(LATEST.into(), ArtifactKind::Alias, false),
        artifact(format!("e/2025-12-{day}.json"), ArtifactKind::Dated, true),
        artifact("e/p/1.json".into(), ArtifactKind::Entity, false),
        artifact("e/p/2.json".into(), ArtifactKind::Entity, false),
        artifact("e/index.json".into(), ArtifactKind::Index, false),
    ];
    Run { intent, info, artifacts }
}

fn retry() -> Retry {
    Retry { attempts: 6, base: Duration::ZERO, ..Retry::default() }
}

/// One publisher's life. Errors are part of it.
async fn publish(protocol: Protocol, public: Arc<dyn ObjectStore>, state: State, run: Run, log: Log) {
    if protocol == Protocol::Ours {
        let options = PublishOptions { parallel: Some(3), retry: retry() };
        let _ = publish_release(&public, &state, run.artifacts, &run.intent, &run.info, &options).await;
    } else {
        let _ = publish_wrongly(protocol, public.as_ref(), &state, run, &log).await;
    }
}

async fn publish_wrongly(
    protocol: Protocol,
    public: &dyn ObjectStore,
    state: &State,
    run: Run,
    log: &Log,
) -> Result<(), String> {
    let mut artifacts = run.artifacts.clone();
    artifacts.sort_by_key(|a| a.kind);
    if protocol == Protocol::AliasFirst {
        artifacts.reverse();
    }
    let mut release = Release {
        run_id: run.intent.run_id.clone(),
        run_key: run.info.run_key.clone(),
        export: EXPORT.into(),
        target_date: run.intent.target_date,
        as_of: run.intent.as_of,
        data_date: None,
        config_hash: "c".into(),
        objects: Vec::new(),
        rollback: None,
    };
    if protocol == Protocol::RecordFirst {
        for artifact in &artifacts {
            let seen = public.stat(&artifact.path).await.map_err(|e| e.to_string())?;
            let outcome = Outcome::Written { generation: seen.map_or(0, |i| i.generation) + 1 };
            release.objects.push(released(artifact, &outcome));
        }
        state.record_release(&release).await.map_err(|e| e.to_string())?;
    }
    for artifact in &artifacts {
        let outcome = publish_object_wrongly(protocol, public, artifact, &run.intent, log).await?;
        release.objects.push(released(artifact, &outcome));
    }
    if protocol != Protocol::RecordFirst {
        state.record_release(&release).await.map_err(|e| e.to_string())?;
    }
    Ok(())
}

fn released(artifact: &Artifact, outcome: &Outcome) -> ReleasedObject {
    ReleasedObject {
        path: artifact.path.clone(),
        document: artifact.document.clone(),
        kind: artifact.kind.as_str().into(),
        dated: Some(artifact.dated),
        outcome: if outcome.is_live() { ReleasedOutcome::Written } else { ReleasedOutcome::Superseded },
        generation: outcome.generation(),
        sha256: artifact.sha256.clone(),
        size: artifact.size,
        schema: None,
        counts: BTreeMap::new(),
    }
}

async fn publish_object_wrongly(
    protocol: Protocol,
    public: &dyn ObjectStore,
    artifact: &Artifact,
    intent: &Intent,
    log: &Log,
) -> Result<Outcome, String> {
    let mine = intent.watermark(artifact);
    let mut options = store::PutOptions { sha256: Some(artifact.sha256.clone()), ..store::PutOptions::default() };
    options.metadata.insert(keys::WATERMARK.into(), mine.to_string());
    let text = |e: StoreError| e.to_string();
    match protocol {
        Protocol::Overwrite => {}
        Protocol::CheckThenWrite | Protocol::NoAdvance => {
            if let Some(seen) = public.stat(&artifact.path).await.map_err(text)? {
                let generation = seen.generation;
                if let Some(by) = watermark_of(&seen)?.filter(|theirs| theirs.is_newer_than(&mine)) {
                    return Ok(Outcome::Superseded { generation, by });
                }
                if protocol == Protocol::NoAdvance {
                    if seen.sha256.as_ref() == Some(&artifact.sha256) {
                        log.lock().unwrap().push((artifact.path.clone(), mine));
                        return Ok(Outcome::Unchanged { generation });
                    }
                    options.condition = Condition::Match(seen.version());
                }
            } else if protocol == Protocol::NoAdvance {
                options.condition = Condition::Absent;
            }
        }
        _ => return publish_object(public, artifact, intent, &retry()).await.map_err(|e| e.to_string()),
    }
    let info = public.put(&artifact.path, &artifact.body, &options).await.map_err(text)?;
    Ok(Outcome::Written { generation: info.generation })
}

/// A publisher's process.
struct Process {
    run: (u64, u64),
    stores: [Arc<Faulty>; 2],
    life: Pin<Box<dyn Future<Output = ()>>>,
}

struct World {
    random: Random,
    protocol: Protocol,
    public: Arc<Recording>,
    state_store: Arc<MemoryStore>,
    log: Log,
    faults: Faults,
    crashes: u32,
}

impl World {
    fn new(seed: u64, protocol: Protocol) -> Self {
        let random = Random::new(seed);
        let log = Log::default();
        let one = |random: &Random, most| u32::try_from(random.below(most)).unwrap_or(0);
        let faults = Faults {
            error_before: one(&random, 80),
            error_after: one(&random, 80),
            delay: 300 + one(&random, 600),
            crash: one(&random, 40),
        };
        let public = Arc::new(Recording {
            inner: MemoryStore::new(),
            log: log.clone(),
            list_from: seed.is_multiple_of(2).then_some(2),
        });
        Self { random, protocol, public, state_store: Arc::default(), log, faults, crashes: 0 }
    }

    fn state(&self) -> State {
        State::new(self.state_store.clone()).without_pauses()
    }

    fn start(&self, cause: u64, delivery: u64) -> Process {
        let public = Arc::new(Faulty::new(self.public.clone(), self.faults, self.random.next()));
        let state = Arc::new(Faulty::new(self.state_store.clone(), self.faults, self.random.next()));
        let run = make_run(&self.random, cause, delivery);
        let life = Box::pin(publish(
            self.protocol,
            public.clone(),
            State::new(state.clone()).without_pauses(),
            run,
            self.log.clone(),
        ));
        Process { run: (cause, delivery), stores: [public, state], life }
    }

    /// Runs the schedule to its end and looks whether every promise was kept, all the way.
    fn run(&mut self) -> Vec<Violation> {
        let causes = 2 + self.random.below(4);
        let mut deliveries = BTreeMap::new();
        let mut alive: Vec<Process> = (0..causes).map(|cause| self.start(cause, 0)).collect();
        for _ in 0..100_000 {
            if alive.is_empty() {
                break;
            }
            let chosen = usize::try_from(self.random.below(alive.len() as u64)).unwrap_or(0);
            let done = alive[chosen].life.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
            let crashed = alive[chosen].stores.iter().any(|s| s.has_crashed());
            if done || crashed {
                let (cause, delivery) = alive.swap_remove(chosen).run;
                self.crashes += u32::from(crashed);
                let delivered = deliveries.entry(cause).or_insert(0);
                // A message whose worker died comes again, as the same run or as another; some come twice anyway.
                if *delivered < 3 && (crashed || self.random.chance(150)) {
                    *delivered += 1;
                    let again = if self.random.chance(300) { delivery } else { *delivered };
                    alive.push(self.start(cause, again));
                }
                let found = self.midway();
                if !found.is_empty() {
                    return found;
                }
            }
        }
        assert!(alive.is_empty(), "a publisher neither ended nor died");
        self.finally()
    }

    fn midway(&self) -> Vec<Violation> {
        let public = self.public.as_ref();
        now(async {
            let dated = |mark: &Watermark| {
                let date = mark.target_date.expect("pointers are undated");
                vec![format!("e/{date}.json"), "e/p/1.json".into(), "e/p/2.json".into(), "e/index.json".into()]
            };
            let mut found = invariants::no_pointer_runs_ahead(public, LATEST, dated).await;
            let entities = |_: &Watermark| vec!["e/p/1.json".into(), "e/p/2.json".into()];
            found.extend(invariants::no_pointer_runs_ahead(public, "e/index.json", entities).await);
            found
        })
    }

    fn finally(&self) -> Vec<Violation> {
        let (public, state) = (self.public.as_ref(), self.state());
        let mut found = self.midway();
        found.extend(now(invariants::of_publication(public, &state, EXPORT, passes)));
        let mut shown: BTreeMap<&str, Vec<Watermark>> = BTreeMap::new();
        let log = self.log.lock().unwrap();
        for (path, mark) in log.iter() {
            shown.entry(path).or_default().push(mark.clone());
        }
        found.extend(shown.iter().filter_map(|(path, marks)| invariants::never_goes_back(path, marks)));
        found
    }
}

pub(super) fn passes(path: &str, bytes: &[u8]) -> Result<(), String> {
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    if value["path"] == path { Ok(()) } else { Err(format!("{value} belongs elsewhere")) }
}

/// Runs a future that never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the memory store never waits"),
    }
}

fn seeds(usual: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("PHASE6_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("PHASE6_SEEDS").unwrap_or(usual),
    }
}

#[test]
fn the_protocol_keeps_every_promise() {
    let (mut crashes, mut releases) = (0, 0);
    let range = seeds(2000);
    for seed in range.clone() {
        let mut world = World::new(seed, Protocol::Ours);
        let found = world.run();
        assert!(found.is_empty(), "PHASE6_SEED={seed}: {}", found[0]);
        crashes += world.crashes;
        releases += now(world.state().release_history(EXPORT)).unwrap().len();
    }
    println!("{range:?}: {crashes} crashes, {releases} releases");
    if range.end - range.start > 1000 {
        assert!(crashes > 1000 && releases > 1000, "the faults are real and so is the work");
    }
}

#[test]
fn broken_protocols_are_caught() {
    for (protocol, invariant) in [
        (Protocol::Overwrite, 2),
        (Protocol::CheckThenWrite, 2),
        (Protocol::NoAdvance, 2),
        (Protocol::AliasFirst, 5),
        (Protocol::RecordFirst, 6),
    ] {
        let caught = |seed: &u64| World::new(*seed, protocol).run().iter().any(|v| v.invariant == invariant);
        let times = (0..300).filter(caught).count();
        println!("{protocol:?}: invariant {invariant} broken in {times} of 300 schedules");
        assert!(times > 0, "{protocol:?} was not caught");
    }
}
