//! What is the embedded bus's own; the port's contract is in `adapters::bus_conformance`.

use super::*;
use crate::adapters::bus_conformance::{self, Bench, HandClock};
use jiff::Timestamp;

/// Two connections to one bus, as two processes would have them.
struct Embedded {
    clock: Arc<HandClock>,
    bus: Arc<SqliteBus>,
    other: Arc<SqliteBus>,
}

#[async_trait]
impl Bench for Embedded {
    fn bus(&self) -> Arc<dyn Bus> {
        self.bus.clone()
    }

    fn other(&self) -> Arc<dyn Bus> {
        self.other.clone()
    }

    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(HandClock::new("2025-12-12T18:00:00Z"));
    let open = || Arc::new(SqliteBus::open(folder.path(), clock.clone()).unwrap());
    bus_conformance::run(&Embedded { clock: clock.clone(), bus: open(), other: open() }).await;
}

fn clock() -> Arc<HandClock> {
    Arc::new(HandClock::new("2025-12-12T18:00:00Z"))
}

fn subscription(name: &str, topic: &str) -> Subscription {
    Subscription {
        name: name.into(),
        topic: topic.into(),
        lease: Duration::from_secs(60),
        backoff: (Duration::from_secs(1), Duration::from_secs(60)),
        max_attempts: 100,
        dead_letter_topic: None,
        from_earliest: false,
    }
}

fn earliest(name: &str, topic: &str) -> Subscription {
    Subscription { from_earliest: true, ..subscription(name, topic) }
}

fn message(body: &str) -> NewMessage {
    NewMessage { body: body.into(), ..NewMessage::default() }
}

async fn ids(bus: &SqliteBus, name: &str) -> Vec<String> {
    bus.pull(name, 100_000, Duration::ZERO).await.unwrap().into_iter().map(|d| d.message.id).collect()
}

#[tokio::test]
async fn everything_is_there_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, s) = (clock(), subscription("sub", "topic"));
    let bus = SqliteBus::open(folder.path(), clock.clone()).unwrap();
    bus.ensure(&s).await.unwrap();
    for body in ["waits", "leased", "acked"] {
        bus.publish("topic", &message(body)).await.unwrap();
    }
    let got = bus.pull("sub", 3, Duration::ZERO).await.unwrap();
    assert_eq!(got.len(), 3);
    bus.hand_back(&got[0].lease, Duration::ZERO).await.unwrap();
    bus.ack(&got[2].lease).await.unwrap();
    drop(bus);
    let bus = SqliteBus::open(folder.path(), clock.clone()).unwrap();
    let waits = bus.pull("sub", 9, Duration::ZERO).await.unwrap();
    assert_eq!((waits.len(), waits[0].attempt, &waits[0].message), (1, 2, &got[0].message));
    assert!(bus.extend(&got[1].lease, s.lease).await.unwrap(), "a lease outlives its process");
    clock.advance(s.lease * 3);
    assert_eq!(bus.pull("sub", 9, Duration::ZERO).await.unwrap().len(), 2);
}

#[tokio::test]
async fn ids_of_a_bus_that_was_begun_anew_are_new() {
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let bus = SqliteBus::open(folder.path(), clock()).unwrap();
        let id = bus.publish("topic", &message("x")).await.unwrap();
        assert_eq!(id.len(), 16, "{id}");
        assert!(seen.insert(id));
    }
}

#[tokio::test]
async fn old_messages_go_when_nobody_waits_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let clock = clock();
    let bus = SqliteBus::open(folder.path(), clock.clone()).unwrap();
    bus.ensure(&subscription("sub", "topic")).await.unwrap();
    for n in 0..450 {
        bus.publish("topic", &message(&n.to_string())).await.unwrap();
    }
    for d in bus.pull("sub", 449, Duration::ZERO).await.unwrap() {
        bus.ack(&d.lease).await.unwrap();
    }
    drop(bus);
    clock.advance(RETENTION - Duration::from_secs(1));
    // The thread sweeps when it starts.
    let bus = SqliteBus::open(folder.path(), clock.clone()).unwrap();
    bus.ensure(&earliest("before", "topic")).await.unwrap();
    let kept = bus.pull("before", 1000, Duration::ZERO).await.unwrap();
    assert_eq!(kept.len(), 450, "and not acknowledged: it looks on");
    drop(bus);
    clock.advance(Duration::from_secs(2));
    let bus = SqliteBus::open(folder.path(), clock.clone()).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bus.backlog("before").await.unwrap().messages, 1);
    bus.ensure(&earliest("after", "topic")).await.unwrap();
    let left = bus.pull("after", 1000, Duration::ZERO).await.unwrap();
    assert_eq!(left.iter().map(|d| d.message.body.as_slice()).collect::<Vec<_>>(), [b"449"], "`sub` waits for it");
}

#[tokio::test]
async fn a_pull_whose_caller_is_gone_gives_its_messages_back_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let bus = SqliteBus::open(folder.path(), clock()).unwrap();
    bus.ensure(&subscription("sub", "topic")).await.unwrap();
    bus.publish("topic", &message("x")).await.unwrap();
    let mut dropped = 0;
    for round in 0..300u64 {
        let pull = bus.pull("sub", 1, Duration::from_secs(1));
        // From before the pull to after it.
        if let Ok(got) = tokio::time::timeout(Duration::from_micros(round * 2), pull).await {
            let d = &got.unwrap()[0];
            assert_eq!(d.attempt, 1, "deliveries that nobody saw do not count");
            drop(OnTheWay { deliveries: vec![d.clone()], jobs: bus.worker.jobs() });
        } else {
            dropped += 1;
        }
    }
    assert!(dropped > 0);
    let got = bus.pull("sub", 1, Duration::from_secs(2)).await.unwrap();
    assert_eq!((got.len(), got[0].attempt), (1, 1));
}

#[tokio::test]
async fn large_messages_do_not_come_all_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let bus = SqliteBus::open(folder.path(), clock()).unwrap();
    bus.ensure(&subscription("sub", "topic")).await.unwrap();
    let large = NewMessage { body: vec![b'x'; crate::ports::bus::MAX_BODY], ..NewMessage::default() };
    for _ in 0..5 {
        bus.publish("topic", &large).await.unwrap();
    }
    let counts = [ids(&bus, "sub").await.len(), ids(&bus, "sub").await.len()];
    assert_eq!(counts, [4, 1]);
}

fn refused(folder: &Path) -> BusError {
    SqliteBus::open(folder, clock()).err().unwrap()
}

#[tokio::test]
async fn a_damaged_database_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(schema::FILE), "this is no database, however long it is. ".repeat(99)).unwrap();
    let error = refused(folder.path());
    assert_eq!(error.kind, BusErrorKind::Fatal);
    assert!(
        error.message.contains("is damaged: restore its files") && error.message.contains("embedded bus"),
        "{error}"
    );
}

#[tokio::test]
async fn damage_inside_is_named_by_the_call_that_meets_it() {
    let folder = tempfile::tempdir().unwrap();
    let bus = SqliteBus::open(folder.path(), clock()).unwrap();
    bus.ensure(&subscription("sub", "topic")).await.unwrap();
    for _ in 0..100 {
        bus.publish("topic", &message(&"x".repeat(1000))).await.unwrap();
    }
    drop(bus);
    let file = folder.path().join(schema::FILE);
    let mut bytes = std::fs::read(&file).unwrap();
    assert!(bytes.len() > 100_000);
    bytes[8192..].fill(0xa5);
    std::fs::write(&file, bytes).unwrap();
    let result = async {
        let bus = SqliteBus::open(folder.path(), clock())?;
        bus.pull("sub", 100, Duration::ZERO).await
    };
    let error = result.await.unwrap_err();
    assert_eq!(error.kind, BusErrorKind::Fatal);
    assert!(error.message.contains("is damaged"), "{error}");
}

#[tokio::test]
async fn foreign_and_newer_databases_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(schema::FILE);
    rusqlite::Connection::open(&file).unwrap().execute_batch("CREATE TABLE t(x)").unwrap();
    let error = refused(folder.path());
    assert_eq!(error.kind, BusErrorKind::Fatal);
    assert!(error.message.ends_with("is a database of another program"), "{error}");
    std::fs::remove_file(&file).unwrap();
    drop(SqliteBus::open(folder.path(), clock()).unwrap());
    rusqlite::Connection::open(&file).unwrap().pragma_update(None, "user_version", 7).unwrap();
    let error = refused(folder.path());
    assert_eq!(error.kind, BusErrorKind::Fatal);
    assert!(error.message.ends_with("was made by a newer phase6: its version is 7, this phase6 knows 1"), "{error}");
}

#[tokio::test]
async fn a_place_that_cannot_be_a_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    // Root may write everywhere else; but nobody into /proc.
    for place in [file.join("bus"), "/proc/bus".into()] {
        let error = refused(&place);
        assert_eq!(error.kind, BusErrorKind::Fatal);
        assert!(error.message.contains("its folder is not readable and writable"), "{error}");
    }
}

#[tokio::test]
async fn a_database_that_was_removed_while_in_use_is_not_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let bus = SqliteBus::open(&folder.path().join("bus"), clock()).unwrap();
    bus.ensure(&subscription("sub", "topic")).await.unwrap();
    std::fs::remove_dir_all(folder.path().join("bus")).unwrap();
    // Another process makes a new one in its place.
    drop(SqliteBus::open(&folder.path().join("bus"), clock()).unwrap());
    tokio::time::sleep(Duration::from_millis(250)).await;
    for error in [
        bus.publish("topic", &message("x")).await.unwrap_err(),
        bus.pull("sub", 1, Duration::from_secs(9)).await.unwrap_err(),
    ] {
        assert_eq!(error.kind, BusErrorKind::Fatal);
        assert!(error.message.contains("was removed or replaced while it was in use"), "{error}");
    }
}

#[tokio::test]
async fn a_full_disk_is_transient_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let bus = SqliteBus::open(folder.path(), clock()).unwrap();
    bus.ensure(&subscription("sub", "topic")).await.unwrap();
    let limit = |pages: u32| bus.call(Effort::Read, move |ops| Ok(ops.limit_pages(pages)?));
    limit(100).await.unwrap();
    let mut kept = Vec::new();
    let error = loop {
        match bus.publish("topic", &message(&"x".repeat(5000))).await {
            Ok(id) => kept.push(id),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind, BusErrorKind::Transient);
    assert!(error.message.contains("the disk is full"), "{error}");
    limit(1_000_000).await.unwrap();
    kept.push(bus.publish("topic", &message("there is room again")).await.unwrap());
    assert_eq!(ids(&bus, "sub").await, kept);
}

#[tokio::test]
async fn calls_that_arrive_together_are_synced_together() {
    let folder = tempfile::tempdir().unwrap();
    let bus = Arc::new(SqliteBus::open(folder.path(), clock()).unwrap());
    bus.ensure(&subscription("sub", "topic")).await.unwrap();
    let before = bus.call(Effort::Read, |ops| Ok(ops.commits())).await.unwrap();
    let publishers: Vec<_> = (0..500)
        .map(|n: u32| {
            let bus = bus.clone();
            tokio::spawn(async move { bus.publish("topic", &message(&n.to_string())).await.unwrap() })
        })
        .collect();
    for publisher in publishers {
        publisher.await.unwrap();
    }
    let commits = bus.call(Effort::Read, |ops| Ok(ops.commits())).await.unwrap() - before;
    assert!(commits < 250, "500 calls made {commits} transactions");
    assert_eq!(ids(&bus, "sub").await.len(), 500);
}

mod processes;
mod speed;
