use super::*;
use crate::adapters::memory::MemoryStore;
use crate::ports::bus::{LeaseId, Message};
use crate::state::requests::RequestRecord;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

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
