use super::*;
use crate::adapters::bus_conformance::HandClock;
use crate::adapters::memory::MemoryStore;
use crate::adapters::memory_bus::MemoryBus;
use crate::model::request::ExportRequest;
use crate::ports::bus::{Bus, LeaseId, dead_letter_attributes};
use crate::service::testing::{LATE_PAUSE, Late, service};
use crate::service::worker::Worker;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::Semaphore;

const BODY: &[u8] = br#"{"export_types":["board"],"target_date":"2025-12-12"}"#;
const AT: &str = "2025-12-12T18:00:00.123Z";

fn attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// The copy as Pub/Sub makes it: without the id and the topic of what it was.
fn copy(more: &[(&str, &str)]) -> Delivery {
    let mut all = attributes(&[
        ("CloudPubSubDeadLetterSourceDeliveryCount", "100"),
        ("CloudPubSubDeadLetterSourceSubscription", "phase6-export"),
        ("CloudPubSubDeadLetterSourceSubscriptionProject", "p"),
        ("CloudPubSubDeadLetterSourceTopicPublishTime", "2025-12-12T18:00:00.123+00:00"),
        ("k", "v"),
    ]);
    all.extend(attributes(more));
    let message = Message {
        id: "copy".into(),
        topic: "phase6-dead-letter".into(),
        published_at: "2025-12-12T20:00:00Z".parse().unwrap(),
        attributes: all,
        body: BODY.into(),
    };
    let lease = LeaseId { subscription: "phase6-dead-letter".into(), token: "1".into() };
    Delivery { message, lease, attempt: 1 }
}

fn subscriptions() -> [Subscription; 1] {
    [Subscription {
        name: "phase6-export".into(),
        topic: "trigger".into(),
        lease: Duration::from_secs(60),
        backoff: (Duration::ZERO, Duration::ZERO),
        max_attempts: 100,
        dead_letter_topic: Some("phase6-dead-letter".into()),
        from_earliest: false,
    }]
}

/// A run that was begun for the message with this id and the same time.
fn record(id: &str, attribute: &str, status: &str) -> RequestRecord {
    let run_id = plan::run_id_of("trigger", id, AT.parse().unwrap());
    let value = json!({
        "run_id": run_id, "target": "t", "target_date": "2025-12-12", "exports": ["board"], "params": {},
        "update_latest": true, "status": status, "attempts": 1, "started_at": AT, "tasks": [],
        "totals": serde_json::to_value(crate::model::report::Totals::default()).unwrap(),
        "cause": {
            "kind": "message", "id": id, "time": AT, "topic": "trigger", "message_id": id, "published_at": AT,
            "attributes": {"k": attribute},
            "message": serde_json::to_value(TriggerMessage::read(BODY).unwrap()).unwrap(),
        },
    });
    serde_json::from_value(value).unwrap()
}

async fn state(records: &[RequestRecord]) -> State {
    let state = State::new(Arc::new(MemoryStore::new()));
    for record in records {
        state.record_request(record).await.unwrap();
    }
    state
}

#[test]
fn a_copy_that_says_all_is_believed() {
    let told = copy(&[
        ("CloudPubSubDeadLetterSourceMessageId", "4711"),
        ("CloudPubSubDeadLetterSourceTopic", "elsewhere"),
        ("CloudPubSubDeadLetterSourceSubscription", "projects/p/subscriptions/phase6-export"),
    ]);
    assert_eq!(subscription_of(&told), "phase6-export");
    let original = original(&told, &subscriptions());
    assert_eq!((original.message.id.as_str(), original.message.topic.as_str()), ("4711", "elsewhere"));
    assert_eq!((original.attempt, original.message.published_at), (100, AT.parse().unwrap()));
    assert_eq!(original.message.attributes, attributes(&[("k", "v")]));
}

#[tokio::test]
async fn what_pubsub_does_not_say_is_found_by_the_run_that_was_begun() {
    let records = [record("1", "other", "running"), record("2", "v", "success"), record("3", "v", "running")];
    let told = original(&copy(&[]), &subscriptions());
    assert_eq!((told.message.id.as_str(), told.message.topic.as_str()), ("copy", "trigger"));
    let found = identify(&state(&records).await, told).await.unwrap();
    assert_eq!(found.message.id, "3", "the one with these attributes that has not ended");
    assert_eq!(plan::run_id(&found.message), records[2].run_id);
}

#[tokio::test]
async fn without_such_a_run_it_stays_the_copy() {
    let told = original(&copy(&[]), &subscriptions());
    let found = identify(&state(&[record("2", "v", "success")]).await, told.clone()).await.unwrap();
    assert_eq!(found, told);
    let nothing = identify(&state(&[]).await, told.clone()).await.unwrap();
    assert_eq!(nothing, told);
}

#[test]
fn only_what_waits_in_good_order_goes_on_and_not_for_ever() {
    let service = service(
        Arc::new(MemoryBus::new(Arc::new(HandClock::new(AT)))),
        Arc::new(HandClock::new(AT)),
        Arc::new(Late::default()),
    );
    let setup = service.live.now();
    let after = |minutes: u64| retry::after(AT.parse().unwrap(), Duration::from_secs(60 * minutes));
    // Two hours of asking, and half an hour for a run.
    let waiting = record("1", "v", "waiting");
    assert!(may_wait(&waiting, &setup, after(149)) && !may_wait(&waiting, &setup, after(150)));
    for other in ["running", "success", "failed"] {
        assert!(!may_wait(&record("1", "v", other), &setup, after(1)), "{other}");
    }
}

const TRIGGER: &str = "nba-phase6-export-trigger";

/// Worker and undertaker on one bus.
struct Office {
    clock: Arc<HandClock>,
    bus: Arc<MemoryBus>,
    late: Arc<Late>,
    service: Service,
    worker: Worker,
    undertaker: Undertaker,
}

impl Office {
    async fn open() -> Self {
        let clock = Arc::new(HandClock::new("2025-12-12T08:30:00Z"));
        let (bus, late) = (Arc::new(MemoryBus::new(clock.clone())), Arc::new(Late::default()));
        let service = service(bus.clone(), clock.clone(), late.clone());
        let setup = service.live.now();
        for subscription in settings::subscriptions(&setup.project, &setup.settings) {
            bus.ensure(&subscription).await.unwrap();
        }
        let worker = Worker { service: service.clone(), permits: Arc::new(Semaphore::new(2)) };
        let undertaker = Undertaker { service: service.clone() };
        Self { clock, bus, late, service, worker, undertaker }
    }

    async fn ask(&self, body: &str) {
        let message = NewMessage { body: body.into(), ..NewMessage::default() };
        self.bus.publish(TRIGGER, &message).await.unwrap();
    }

    async fn pull(&self, subscription: &str) -> Delivery {
        self.bus.pull(subscription, 1, Duration::ZERO).await.unwrap().pop().expect("a message")
    }

    async fn work(&self, delivery: &Delivery) -> Answer {
        self.worker.handle(delivery, &Cancel::default()).await
    }

    /// As the bus does after the last delivery.
    async fn give_up(&self, delivery: Delivery) {
        self.bus.ack(&delivery.lease).await.unwrap();
        let attributes = dead_letter_attributes(&delivery.message, settings::WORKER, 100);
        let copy = NewMessage { body: delivery.message.body, attributes };
        self.bus.publish(settings::DEAD_LETTER, &copy).await.unwrap();
        let letter = self.pull(settings::DEAD_LETTER).await;
        assert_eq!(self.undertaker.handle(&letter, &Cancel::default()).await, Answer::Ack);
    }

    async fn request(&self) -> RequestRecord {
        let mut all = self.service.state.requests(10).await.unwrap();
        assert_eq!(all.len(), 1, "{all:#?}");
        all.remove(0)
    }
}

#[tokio::test]
async fn a_request_that_waits_for_its_data_outlives_its_message() {
    let office = Office::open().await;
    office.ask(r#"{"export_types":["results"],"target_date":"yesterday"}"#).await;
    let first = office.pull(settings::WORKER).await;
    assert_eq!(office.work(&first).await, Answer::Later(LATE_PAUSE));
    let begun = office.request().await;
    assert_eq!(begun.status, RequestStatus::Waiting);
    // The day ends before the next message is published: the date stays.
    office.clock.advance(Duration::from_secs(3600));
    office.give_up(first).await;
    assert!(office.service.state.dead_letters().await.unwrap().is_empty(), "nothing is wrong with it");
    office.late.ready.store(true, Ordering::Relaxed);
    let second = office.pull(settings::WORKER).await;
    assert_eq!(office.work(&second).await, Answer::Ack);
    let ended = office.request().await;
    assert_eq!((ended.status, &ended.run_id, &ended.cause), (RequestStatus::Success, &begun.run_id, &begun.cause));
    let asked = office.late.asked.lock().unwrap();
    let said = |request: &ExportRequest| (request.run_id.clone(), request.target_date, request.cause.clone());
    assert_eq!((asked.len(), said(&asked[0])), (2, said(&asked[1])), "the same of the same day");
}

#[tokio::test]
async fn a_continued_request_whose_worker_dies_each_time_ends() {
    let office = Office::open().await;
    office.ask(r#"{"export_types":["results"],"target_date":"2025-12-11"}"#).await;
    let first = office.pull(settings::WORKER).await;
    office.work(&first).await;
    office.give_up(first).await;
    let second = office.pull(settings::WORKER).await;
    let killed = RequestRecord { status: RequestStatus::Running, ..office.request().await };
    office.service.state.record_request(&killed).await.unwrap();
    office.give_up(second).await;
    let ended = office.request().await;
    assert_eq!((ended.status, &ended.run_id), (RequestStatus::Failed, &killed.run_id));
    let letters = office.service.state.dead_letters().await.unwrap();
    assert_eq!(letters.iter().map(|l| l.run_id.clone()).collect::<Vec<_>>(), [Some(killed.run_id)]);
    assert!(office.bus.pull(settings::WORKER, 1, Duration::ZERO).await.unwrap().is_empty());
}

#[tokio::test]
async fn who_waits_for_a_turn_looks_less_and_less_often() {
    let office = Office::open().await;
    for _ in 0..2 {
        office.ask(r#"{"export_types":["results"],"target_date":"2025-12-11","correlation_id":"c"}"#).await;
    }
    let first = office.pull(settings::WORKER).await;
    assert_eq!(office.work(&first).await, Answer::Later(LATE_PAUSE));
    let mut second = office.pull(settings::WORKER).await;
    assert_eq!(
        office.work(&second).await,
        Answer::Later(LATE_PAUSE),
        "nothing happens before the other's next attempt"
    );
    let run = plan::run_id(&first.message);
    let waiting = office.service.state.request(&run).await.unwrap().unwrap();
    let working = RequestRecord { status: RequestStatus::Running, next_attempt: None, ..waiting };
    office.service.state.record_request(&working).await.unwrap();
    for (attempt, seconds) in [(1, 2), (8, 2), (12, 32), (99, 300)] {
        second.attempt = attempt;
        assert_eq!(office.work(&second).await, Answer::Later(Duration::from_secs(seconds)), "delivery {attempt}");
    }
}
