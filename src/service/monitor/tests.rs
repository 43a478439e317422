use super::*;
use crate::adapters::duckdb::DuckDb;
use crate::adapters::memory_bus::MemoryBus;
use crate::ports::bus::{Backlog, BusError, BusErrorKind, Delivery, LeaseId, Subscription};
use crate::service::freshness::tests::{Stage, project};
use crate::state::decisions::{Decision, Verdict};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// A clock that a test moves.
struct Hand(Mutex<Timestamp>);

impl Hand {
    fn set(&self, text: &str) {
        *self.0.lock().unwrap() = text.parse().unwrap();
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// A bus that can be switched off.
struct Switched {
    bus: MemoryBus,
    off: AtomicBool,
    /// It cannot tell what waits.
    blind: AtomicBool,
}

#[async_trait]
impl Bus for Switched {
    fn describe(&self) -> String {
        self.bus.describe()
    }
    async fn ensure(&self, subscription: &Subscription) -> Result<(), BusError> {
        self.bus.ensure(subscription).await
    }
    async fn publish(&self, topic: &str, message: &NewMessage) -> Result<String, BusError> {
        self.bus.publish(topic, message).await
    }
    async fn pull(&self, subscription: &str, max: usize, wait: Duration) -> Result<Vec<Delivery>, BusError> {
        self.bus.pull(subscription, max, wait).await
    }
    async fn ack(&self, lease: &LeaseId) -> Result<(), BusError> {
        self.bus.ack(lease).await
    }
    async fn hand_back(&self, lease: &LeaseId, delay: Duration) -> Result<(), BusError> {
        self.bus.hand_back(lease, delay).await
    }
    async fn extend(&self, lease: &LeaseId, term: Duration) -> Result<bool, BusError> {
        self.bus.extend(lease, term).await
    }
    async fn backlog(&self, subscription: &str) -> Result<Backlog, BusError> {
        if self.off.load(Ordering::Relaxed) {
            return Err(BusError::new(BusErrorKind::Transient, "the bus is off"));
        }
        if self.blind.load(Ordering::Relaxed) {
            return Err(BusError::new(BusErrorKind::Unknown, "the bus cannot tell"));
        }
        self.bus.backlog(subscription).await
    }
}

struct World {
    clock: Arc<Hand>,
    stage: Stage,
    bus: Arc<Switched>,
    telemetry: Telemetry,
    monitor: Monitor,
}

const YAML: &str = "topics: {ops: ops}
scheduler: {jobs: [{name: j, schedule: '0 10 * * *', export_types: [e], target_date: yesterday}]}
alerts:
  - {name: stale, when: stale, to: [{type: topic, topic: ops}]}
  - {name: backlog, when: backlog, for: 5m, to: [{type: log}]}
";

async fn world() -> World {
    let clock = Arc::new(Hand(Mutex::new("2025-12-12T12:00:00Z".parse().unwrap())));
    let bus = Arc::new(Switched {
        bus: MemoryBus::new(clock.clone()),
        off: AtomicBool::new(false),
        blind: AtomicBool::new(false),
    });
    for (name, topic) in [("work", "work"), ("ops", "ops")] {
        let subscription = Subscription {
            name: name.into(),
            topic: topic.into(),
            lease: Duration::from_secs(60),
            backoff: (Duration::from_secs(1), Duration::from_secs(2)),
            max_attempts: 5,
            dead_letter_topic: None,
            from_earliest: false,
        };
        bus.ensure(&subscription).await.unwrap();
    }
    let stage = Stage::empty();
    let engine = Engine {
        project: Arc::new(project(YAML, "freshness: {by: '05:30 America/New_York'}\n")),
        sources: Arc::default(),
        warehouse: Arc::new(DuckDb::new(None, BTreeMap::new())),
        store: stage.store.clone(),
        prefix: "v1/".into(),
        state: stage.state.clone(),
        clock: clock.clone(),
        cancel: Default::default(),
    };
    let hand = clock.clone();
    let telemetry = Telemetry::in_memory(move || hand.now());
    let webhooks: Webhooks = Arc::new(|_, _| Err("no webhook here".into()));
    let with: Arc<dyn Bus> = bus.clone();
    let monitor =
        Monitor::new(&engine, Some((with, vec!["work".into()])), telemetry.clone(), "copy-1".into(), &webhooks);
    World { clock, stage, bus, telemetry, monitor }
}

impl World {
    /// The notices on the topic since the last time.
    async fn notices(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for delivery in self.bus.pull("ops", 10, Duration::ZERO).await.unwrap() {
            self.bus.ack(&delivery.lease).await.unwrap();
            let body: serde_json::Value = serde_json::from_slice(&delivery.message.body).unwrap();
            all.push((body["alert"].as_str().unwrap().into(), body["state"].as_str().unwrap().into()));
        }
        all
    }

    fn firing(&self) -> Vec<String> {
        self.monitor.report.lock().unwrap().firing.iter().map(|f| f.alert.clone()).collect()
    }

    fn lines(&self, part: &str) -> usize {
        self.telemetry.lines().iter().filter(|line| line.contains(part)).count()
    }
}

#[tokio::test]
async fn nothing_ran_and_operators_are_told_once_and_once_more_when_it_is_over() {
    let mut world = world().await;
    for _ in 0..3 {
        world.monitor.round().await;
    }
    assert_eq!(world.notices().await, [("stale".to_owned(), "firing".to_owned())]);
    assert_eq!(world.firing(), ["stale"]);
    let text = world.telemetry.metrics_text();
    assert!(text.contains("phase6_stale_exports 1.0") && text.contains("phase6_alerts_firing{alert=\"stale\"} 1.0"));
    assert!(!text.contains("phase6_freshness_seconds{"), "there is no document whose age could be told");

    world.stage.publish("r1", "2025-12-11", "2025-12-12T11:00:00Z", Some("2025-12-11")).await;
    for _ in 0..3 {
        world.monitor.round().await;
    }
    assert_eq!(world.notices().await, [("stale".to_owned(), "resolved".to_owned())]);
    let text = world.telemetry.metrics_text();
    assert!(text.contains("phase6_stale_exports 0.0"));
    assert!(text.contains("phase6_freshness_seconds{export=\"e\",path=\"v1/e/latest.json\"} 3600.0"), "{text}");
    assert!(text.contains("phase6_data_age_days{export=\"e\",path=\"v1/e/latest.json\"} 1.0"));
}

#[tokio::test]
async fn a_bus_that_does_not_answer_resolves_nothing_and_is_said_once() {
    let mut world = world().await;
    world.bus.publish("work", &NewMessage { body: b"{}".to_vec(), ..NewMessage::default() }).await.unwrap();
    world.monitor.round().await;
    assert!(!world.firing().contains(&"backlog".to_owned()), "it is not old yet");
    world.clock.set("2025-12-12T12:05:00Z");
    world.monitor.round().await;
    assert!(world.firing().contains(&"backlog".to_owned()));
    assert!(world.telemetry.metrics_text().contains("phase6_backlog_oldest_seconds{subscription=\"work\"} 300.0"));
    world.bus.off.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        world.monitor.round().await;
    }
    assert!(world.firing().contains(&"backlog".to_owned()));
    assert_eq!(world.lines("it cannot see the backlog: the bus is off"), 1);
    world.bus.off.store(false, Ordering::Relaxed);
    let delivery = world.bus.pull("work", 1, Duration::ZERO).await.unwrap().remove(0);
    world.bus.ack(&delivery.lease).await.unwrap();
    world.monitor.round().await;
    assert_eq!(world.lines("the monitor sees the backlog again"), 1);
    assert_eq!(world.lines("alert `backlog` is resolved"), 1);
    assert_eq!(world.lines("alert `backlog` is firing"), 1);
}

#[tokio::test]
async fn a_bus_that_cannot_tell_its_backlog_is_no_trouble_and_no_alert() {
    let mut world = world().await;
    world.bus.blind.store(true, Ordering::Relaxed);
    world.bus.publish("work", &NewMessage { body: b"{}".to_vec(), ..NewMessage::default() }).await.unwrap();
    for time in ["2025-12-12T12:00:00Z", "2025-12-12T13:00:00Z"] {
        world.clock.set(time);
        world.monitor.round().await;
    }
    assert_eq!(world.lines("it cannot see the backlog"), 0);
    assert!(!world.firing().contains(&"backlog".to_owned()), "what is not known fires nothing");
    assert!(!world.telemetry.metrics_text().contains("phase6_backlog_messages{"), "and is no zero");
    world.bus.blind.store(false, Ordering::Relaxed);
    world.monitor.round().await;
    assert!(world.firing().contains(&"backlog".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_until_it_is_told_to_stop() {
    let world = world().await;
    let (stop, stopped) = watch::channel(false);
    let report = world.monitor.report();
    let running = tokio::spawn(world.monitor.run(stopped));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(report.lock().unwrap().at, Some("2025-12-12T12:00:00Z".parse().unwrap()));
    world.clock.set("2025-12-12T12:00:20Z");
    tokio::time::sleep(PERIOD).await;
    assert_eq!(report.lock().unwrap().at, Some("2025-12-12T12:00:20Z".parse().unwrap()));
    stop.send(true).unwrap();
    tokio::time::timeout(Duration::from_secs(1), running).await.expect("it stops at once").unwrap();
}

#[tokio::test]
async fn old_decisions_go_by_the_clock_and_only_once_an_hour() {
    let mut world = world().await;
    let decided = |id: &str, at: &str| Decision {
        id: id.into(),
        trigger: "t".into(),
        verdict: Verdict::Skip,
        reason: String::new(),
        message_id: String::new(),
        topic: String::new(),
        published_at: at.parse().unwrap(),
        decided_at: at.parse().unwrap(),
        cause_id: id.into(),
        message: serde_json::Value::Null,
        target_date: None,
        output_message: None,
        duplicate_of: None,
        forced: false,
    };
    let state = world.stage.state.clone();
    let left = async || state.decisions(10).await.unwrap().into_iter().map(|d| d.id).collect::<Vec<_>>();
    state.record_decision(&decided("1-old", "2025-11-12T11:00:00Z")).await.unwrap();
    state.record_decision(&decided("2-young", "2025-11-12T12:30:00Z")).await.unwrap();
    world.monitor.round().await;
    assert_eq!(left().await, ["2-young"]);
    world.clock.set("2025-12-12T12:45:00Z");
    world.monitor.round().await;
    assert_eq!(left().await, ["2-young"], "it looks once an hour");
    world.clock.set("2025-12-12T13:00:00Z");
    world.monitor.round().await;
    assert!(left().await.is_empty());
}
