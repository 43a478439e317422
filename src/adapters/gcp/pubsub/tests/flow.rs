//! What is in flight, and what becomes of it when the one who has it goes.

use super::{SOON, bus, emulator, message, subscription};
use crate::adapters::gcp::pubsub::PubSub;
use crate::ports::bus::{Bus, Delivery, Subscription};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// One pull of the service.
const TURN: Duration = Duration::from_millis(500);

/// Pulls with so many hands for a while, and keeps what comes.
async fn hold(bus: &PubSub, hands: usize, time: Duration) -> Vec<Delivery> {
    let (begun, mut held) = (Instant::now(), Vec::new());
    while begun.elapsed() < time {
        match hands - held.len() {
            0 => tokio::time::sleep(TURN).await,
            free => held.extend(bus.pull("sub", free, TURN).await.unwrap()),
        }
    }
    held
}

/// Pulls with so many hands and answers at once, until `count` messages were here; their ids.
async fn work(bus: &PubSub, hands: usize, count: usize, within: Duration) -> BTreeSet<String> {
    let (begun, mut done) = (Instant::now(), BTreeSet::new());
    while done.len() < count && begun.elapsed() < within {
        let pulled = bus.pull("sub", hands, TURN).await.unwrap();
        assert!(pulled.len() <= hands, "{} for {hands} hands", pulled.len());
        for delivery in pulled {
            assert_eq!(delivery.attempt, 1, "nobody had it before");
            bus.ack(&delivery.lease).await.unwrap();
            done.insert(delivery.message.id);
        }
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_copy_has_what_it_has_hands_for_and_the_other_gets_the_rest() {
    let Some(emulator) = emulator("a_busy_copy_has_what_it_has_hands_for").await else { return };
    let (busy, free) = (bus(&emulator, "flow"), bus(&emulator, "flow"));
    busy.ensure(&Subscription { lease: Duration::from_secs(60), ..subscription() }).await.unwrap();
    // It waits before anything comes, as a service does.
    let held = hold(&busy, 4, 3 * TURN);
    let publish = async {
        for n in 0..50 {
            free.publish("topic", &message(&n.to_string())).await.unwrap();
        }
    };
    let (held, ()) = tokio::join!(held, publish);
    assert_eq!(held.len(), 4);
    // Its loop goes on without a free hand, and takes no more.
    let (more, done) = tokio::join!(hold(&busy, 0, 6 * TURN), work(&free, 4, 46, 8 * SOON));
    assert_eq!((more.len(), done.len()), (0, 46), "the rest, long before any lease ends");
    for delivery in &held {
        assert!(busy.extend(&delivery.lease, Duration::from_secs(60)).await.unwrap());
        busy.ack(&delivery.lease).await.unwrap();
    }
    assert_eq!(free.pull("sub", 4, 4 * TURN).await.unwrap(), []);
}

/// Drops pulls until one has left its request going, and that has brought something.
async fn fetch_and_leave(bus: &PubSub, max: usize) {
    bus.known("sub").await.unwrap();
    let desk = bus.desk("sub").await.unwrap();
    let begun = Instant::now();
    loop {
        if let Ok(pulled) = tokio::time::timeout(Duration::from_millis(1), bus.pull("sub", max, SOON)).await {
            for delivery in pulled.unwrap() {
                bus.hand_back(&delivery.lease, Duration::ZERO).await.unwrap();
            }
        }
        let before = Instant::now();
        while before.elapsed() < TURN / 2 {
            if desk.ready() > 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(begun.elapsed() < 6 * SOON, "nothing came");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_took_is_handed_back_long_before_its_lease_ends() {
    let Some(emulator) = emulator("what_nobody_took_is_handed_back").await else { return };
    let (gone, other) = (bus(&emulator, "untaken"), bus(&emulator, "untaken"));
    gone.ensure(&Subscription { lease: Duration::from_secs(600), ..subscription() }).await.unwrap();
    let id = other.publish("topic", &message("x")).await.unwrap();
    fetch_and_leave(&gone, 4).await;
    let got = other.pull("sub", 1, 3 * SOON).await.unwrap();
    assert_eq!(got.len(), 1);
    assert_eq!((&got[0].message.id, got[0].attempt > 1), (&id, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_hands_back_at_once() {
    let Some(emulator) = emulator("closing_hands_back_at_once").await else { return };
    let (gone, other) = (bus(&emulator, "closing"), bus(&emulator, "closing"));
    gone.ensure(&Subscription { lease: Duration::from_secs(600), ..subscription() }).await.unwrap();
    for n in 0..8 {
        other.publish("topic", &message(&n.to_string())).await.unwrap();
    }
    fetch_and_leave(&gone, 8).await;
    gone.close().await;
    let mut got = BTreeSet::new();
    let begun = Instant::now();
    while got.len() < 8 && begun.elapsed() < 3 * SOON {
        got.extend(other.pull("sub", 8, TURN).await.unwrap().into_iter().map(|d| d.message.id));
    }
    assert_eq!(got.len(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_keeps_a_delay_when_the_process_dies() {
    let Some(emulator) = emulator("the_server_keeps_a_delay").await else { return };
    let (dies, other) = (bus(&emulator, "delay"), bus(&emulator, "delay"));
    dies.ensure(&subscription()).await.unwrap();
    other.publish("topic", &message("x")).await.unwrap();
    let held = dies.pull("sub", 1, SOON).await.unwrap();
    dies.hand_back(&held[0].lease, Duration::from_secs(15)).await.unwrap();
    let begun = Instant::now();
    drop(dies);
    let again = other.pull("sub", 1, 6 * SOON).await.unwrap();
    assert_eq!((again.len(), again[0].attempt), (1, 2));
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(14), "the subscription's lease is 10 s, the delay 15: {took:?}");
}

/// What the undertaker reads: the copy says the subscription and the publish time, and neither id nor topic.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_says_where_it_was() {
    let Some(emulator) = emulator("a_dead_letter_says_where_it_was").await else { return };
    let bus = bus(&emulator, "dead");
    let s = Subscription { max_attempts: 5, backoff: (Duration::ZERO, Duration::ZERO), ..subscription() };
    let dead = Subscription { name: "dead-sub".into(), topic: "dead".into(), dead_letter_topic: None, ..s.clone() };
    bus.ensure(&s).await.unwrap();
    bus.ensure(&dead).await.unwrap();
    bus.publish("topic", &message("x")).await.unwrap();
    let mut published = None;
    for attempt in 1..=5 {
        let got = bus.pull("sub", 1, 3 * SOON).await.unwrap();
        assert_eq!(got[0].attempt, attempt);
        published = Some(got[0].message.published_at);
        bus.hand_back(&got[0].lease, Duration::ZERO).await.unwrap();
    }
    let begun = Instant::now();
    let letter = loop {
        if let Some(letter) = bus.pull("dead-sub", 1, TURN).await.unwrap().pop() {
            break letter;
        }
        assert_eq!(bus.pull("sub", 1, TURN).await.unwrap(), []);
        assert!(begun.elapsed() < 4 * SOON, "no dead letter");
    };
    let said = |name: &str| letter.message.attributes[&format!("CloudPubSubDeadLetterSource{name}")].as_str();
    assert_eq!((said("DeliveryCount"), said("Subscription")), ("5", "sub"));
    assert_eq!(said("TopicPublishTime").parse().ok(), published);
    assert_eq!(letter.message.topic, "dead");
}
