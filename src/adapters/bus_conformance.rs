//! What every bus must do: each sentence of `ports::bus` is a function here, and each adapter runs them all.

use crate::ports::bus::{
    Backlog, Bus, BusErrorKind, Delivery, LeaseId, MAX_BODY, NewMessage, Subscription, check_name,
};
use crate::ports::clock::Clock;
use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A bus to test, and its time.
#[async_trait]
pub trait Bench: Send + Sync {
    fn bus(&self) -> Arc<dyn Bus>;
    /// The same bus as another process would have it, where there is such a thing.
    fn other(&self) -> Arc<dyn Bus> {
        self.bus()
    }
    /// Lets time pass.
    async fn pass(&self, time: Duration);
    fn now(&self) -> Timestamp;
    /// Waits for a lease that nobody knows of.
    async fn lease_in_vain_ends(&self) {
        self.pass(LEASE + 5 * SECOND).await;
    }
    /// How long a message that is on its way may need.
    fn travel(&self) -> Duration {
        Duration::ZERO
    }
    /// What cannot be seen on this bus, each with its reason; the tests leave it out.
    fn limits(&self) -> &'static [Limit] {
        &[]
    }
}

/// Something of the contract that a bus, or its emulator, does not let be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// It does not say what waits in a subscription.
    Backlog,
    /// It keeps no pause between the end of a lease and the next delivery.
    Pause,
    /// A new subscription cannot begin at the earliest message.
    Earliest,
    /// A new subscription always begins at the earliest message.
    Later,
    /// The copy of a message that was given up does not say which one it was.
    Origin,
}

/// A clock that is moved by hand.
pub struct HandClock(AtomicI64);

impl HandClock {
    pub fn new(start: &str) -> Self {
        Self(AtomicI64::new(start.parse::<Timestamp>().unwrap().as_microsecond()))
    }

    pub fn advance(&self, time: Duration) {
        self.0.fetch_add(time.as_micros() as i64, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_microsecond(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

/// A clock that follows tokio's, which a test can pause.
pub struct TokioClock {
    start: Timestamp,
    origin: tokio::time::Instant,
}

impl TokioClock {
    pub fn new(start: &str) -> Self {
        Self { start: start.parse().unwrap(), origin: tokio::time::Instant::now() }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        self.start + self.origin.elapsed()
    }
}

const LEASE: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);
const NOW: Duration = Duration::ZERO;
/// Long enough for a message that is surely on its way.
const SOON: Duration = Duration::from_secs(5);

/// A test under way.
pub type Test<'b> = Pin<Box<dyn Future<Output = ()> + Send + 'b>>;

/// The tests in this order, each a future of its own.
macro_rules! tests {
    ($b:expr; $($name:ident,)*) => {
        vec![$((stringify!($name), Box::pin($name($b)) as Test<'_>)),*]
    };
}

/// The whole suite, by name. Each test has topics and subscriptions of its own, so that they can also run side by side.
pub fn all(b: &dyn Bench) -> Vec<(&'static str, Test<'_>)> {
    tests![b;
        every_subscription_gets_every_message,
        only_later_messages_reach_a_later_subscription,
        from_earliest_begins_with_what_is_kept,
        messages_come_as_they_were_sent,
        a_leased_message_is_not_delivered,
        an_ended_lease_is_delivered_again_after_the_pause,
        the_pause_doubles_up_to_its_maximum,
        a_redelivery_is_the_same_message,
        extending_keeps_the_lease,
        an_ended_lease_can_be_taken_up_again,
        a_lost_lease_cannot_be_extended,
        an_acknowledged_message_never_comes_back,
        a_late_acknowledgement_counts_unless_delivered_anew,
        handing_back_waits_for_the_delay,
        after_handing_back_the_lease_is_gone,
        the_dead_letter_has_the_attributes,
        handing_back_the_last_delivery_buries_at_once,
        without_a_dead_letter_topic_it_comes_without_end,
        the_backlog_counts,
        ensuring_again_changes_settings_and_keeps_messages,
        making_changes_nothing_that_is_there,
        what_does_not_exist_is_not_found,
        what_is_not_allowed_is_refused,
        the_largest_body_is_taken,
        pull_takes_at_most_max,
        a_waiting_pull_wakes_for_a_message,
        a_waiting_pull_wakes_for_the_end_of_a_lease,
        a_waiting_pull_gives_up,
        dropping_a_pull_loses_nothing,
        several_pullers_never_hold_one_message_together,
    ]
}

/// Runs the whole suite, one test after the other.
pub async fn run(b: &dyn Bench) {
    for (_, test) in all(b) {
        test.await;
    }
}

fn subscription(test: &str, name: &str) -> Subscription {
    Subscription {
        name: format!("{test}-{name}"),
        topic: format!("{test}-topic"),
        lease: LEASE,
        backoff: (SECOND, 4 * SECOND),
        max_attempts: 100,
        // Pub/Sub counts deliveries only where somebody asks for the dead.
        dead_letter_topic: Some(format!("{test}-bin")),
        from_earliest: false,
    }
}

/// A subscription that is made, and its names.
async fn made(b: &dyn Bench, test: &str) -> Subscription {
    let s = subscription(test, "sub");
    b.bus().ensure(&s).await.unwrap();
    s
}

fn message(body: &str) -> NewMessage {
    NewMessage { body: body.into(), attributes: BTreeMap::new() }
}

/// What is there now: `count` messages.
async fn pull(b: &dyn Bench, s: &Subscription, count: usize) -> Vec<Delivery> {
    let mut found = b.bus().pull(&s.name, 100, b.travel()).await.unwrap();
    let begun = tokio::time::Instant::now();
    while found.len() < count && begun.elapsed() < b.travel() * 5 {
        found.extend(b.bus().pull(&s.name, 100, b.travel()).await.unwrap());
    }
    assert_eq!(
        found.len(),
        count,
        "{}: {:?}",
        s.name,
        found.iter().map(|d| (&d.message.id, d.attempt)).collect::<Vec<_>>()
    );
    found
}

async fn one(b: &dyn Bench, s: &Subscription) -> Delivery {
    let mut found = b.bus().pull(&s.name, 100, SOON).await.unwrap();
    assert_eq!(found.len(), 1, "{}", s.name);
    found.remove(0)
}

async fn none(b: &dyn Bench, s: &Subscription) {
    pull(b, s, 0).await;
}

fn sees(b: &dyn Bench, limit: Limit) -> bool {
    !b.limits().contains(&limit)
}

/// What waits, where the bus says it.
async fn waiting(b: &dyn Bench, s: &Subscription) -> Option<Backlog> {
    if sees(b, Limit::Backlog) { Some(b.other().backlog(&s.name).await.unwrap()) } else { None }
}

async fn nothing_waits(b: &dyn Bench, s: &Subscription) {
    let empty = Backlog { messages: 0, leased: Some(0), oldest: None };
    assert_eq!(waiting(b, s).await.unwrap_or(empty), empty, "{}", s.name);
}

fn bodies(deliveries: &[Delivery]) -> BTreeSet<String> {
    deliveries.iter().map(|d| String::from_utf8(d.message.body.clone()).unwrap()).collect()
}

fn set(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

async fn every_subscription_gets_every_message(b: &dyn Bench) {
    let (first, second) = (subscription("fan", "one"), subscription("fan", "two"));
    b.bus().ensure(&first).await.unwrap();
    b.bus().ensure(&second).await.unwrap();
    for body in ["a", "b"] {
        b.bus().publish("fan-topic", &message(body)).await.unwrap();
    }
    for s in [&first, &second] {
        let got = pull(b, s, 2).await;
        assert_eq!(bodies(&got), set(&["a", "b"]));
        b.bus().ack(&got[0].lease).await.unwrap();
    }
    b.bus().publish("other-topic", &message("not for us")).await.unwrap();
    none(b, &first).await;
}

async fn only_later_messages_reach_a_later_subscription(b: &dyn Bench) {
    if !sees(b, Limit::Later) {
        return;
    }
    b.bus().publish("later-topic", &message("early")).await.unwrap();
    let s = made(b, "later").await;
    b.bus().publish("later-topic", &message("late")).await.unwrap();
    assert_eq!(bodies(&pull(b, &s, 1).await), set(&["late"]));
}

async fn from_earliest_begins_with_what_is_kept(b: &dyn Bench) {
    if !sees(b, Limit::Earliest) {
        return;
    }
    let witness = subscription("earliest", "witness");
    b.bus().ensure(&witness).await.unwrap();
    b.bus().publish("earliest-topic", &message("acked")).await.unwrap();
    b.bus().ack(&one(b, &witness).await.lease).await.unwrap();
    b.bus().publish("earliest-topic", &message("early")).await.unwrap();
    let s = Subscription { from_earliest: true, ..subscription("earliest", "sub") };
    b.bus().ensure(&s).await.unwrap();
    b.bus().publish("earliest-topic", &message("late")).await.unwrap();
    let got = pull(b, &s, 3).await;
    assert_eq!(bodies(&got), set(&["acked", "early", "late"]));
    for d in &got {
        b.bus().ack(&d.lease).await.unwrap();
    }
    // Ensuring it again does not begin again.
    b.bus().ensure(&s).await.unwrap();
    none(b, &s).await;
}

async fn messages_come_as_they_were_sent(b: &dyn Bench) {
    let s = made(b, "same").await;
    let attributes = [("k", "v"), ("empty", ""), ("é ü", "日本\n\"x\"")];
    let sent = NewMessage {
        body: vec![0, 159, 146, 150, b'"', b'\n'],
        attributes: attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
    };
    let before = b.now();
    let id = b.bus().publish(&s.topic, &sent).await.unwrap();
    let got = one(b, &s).await;
    assert_eq!((&got.message.id, &got.message.topic, got.attempt), (&id, &s.topic, 1));
    assert_eq!((&got.message.body, &got.message.attributes), (&sent.body, &sent.attributes));
    assert!(got.message.published_at >= before - SECOND && got.message.published_at <= b.now() + SECOND);
    assert_eq!(got.lease.subscription, s.name);
    // Attributes alone make a message, and a body alone.
    let bare = NewMessage { body: Vec::new(), ..sent };
    let other = b.bus().publish(&s.topic, &bare).await.unwrap();
    assert_ne!(other, id);
    assert_eq!(one(b, &s).await.message.body, b"");
}

async fn a_leased_message_is_not_delivered(b: &dyn Bench) {
    let s = made(b, "leased").await;
    b.bus().publish(&s.topic, &message("x")).await.unwrap();
    one(b, &s).await;
    none(b, &s).await;
    b.pass(LEASE / 2).await;
    assert_eq!(b.other().pull(&s.name, 10, b.travel()).await.unwrap(), []);
}

async fn an_ended_lease_is_delivered_again_after_the_pause(b: &dyn Bench) {
    let s = made(b, "ended").await;
    b.bus().publish(&s.topic, &message("x")).await.unwrap();
    one(b, &s).await;
    if sees(b, Limit::Pause) {
        b.pass(LEASE + SECOND / 2).await;
        none(b, &s).await;
        b.pass(SECOND).await;
    } else {
        b.pass(LEASE / 2).await;
        none(b, &s).await;
        b.pass(LEASE / 2).await;
    }
    assert_eq!(one(b, &s).await.attempt, 2);
}

async fn the_pause_doubles_up_to_its_maximum(b: &dyn Bench) {
    let s = subscription("pause", "sub");
    let pauses: Vec<u64> = (1..6).map(|n| s.pause_after(n).as_secs()).collect();
    assert_eq!(pauses, [1, 2, 4, 4, 4]);
    assert_eq!(s.pause_after(u32::MAX), 4 * SECOND);
    if !sees(b, Limit::Pause) {
        return;
    }
    b.bus().ensure(&s).await.unwrap();
    b.bus().publish(&s.topic, &message("x")).await.unwrap();
    one(b, &s).await;
    b.pass(LEASE + SECOND).await;
    assert_eq!(one(b, &s).await.attempt, 2);
    b.pass(LEASE + SECOND).await;
    none(b, &s).await;
    b.pass(SECOND).await;
    assert_eq!(one(b, &s).await.attempt, 3);
}

async fn a_redelivery_is_the_same_message(b: &dyn Bench) {
    let s = made(b, "again").await;
    let sent = NewMessage { attributes: BTreeMap::from([("k".into(), "v".into())]), ..message("x") };
    b.bus().publish(&s.topic, &sent).await.unwrap();
    let first = one(b, &s).await;
    b.bus().hand_back(&first.lease, NOW).await.unwrap();
    let second = one(b, &s).await;
    assert_eq!((first.attempt, second.attempt), (1, 2));
    assert_eq!(first.message, second.message);
    assert_ne!(first.lease, second.lease);
    b.pass(LEASE + 4 * SECOND).await;
    let third = one(b, &s).await;
    assert_eq!((third.attempt, &third.message), (3, &first.message));
}

async fn extending_keeps_the_lease(b: &dyn Bench) {
    let s = made(b, "extend").await;
    b.bus().publish(&s.topic, &message("x")).await.unwrap();
    let d = one(b, &s).await;
    for _ in 0..2 {
        b.pass(LEASE - 2 * SECOND).await;
        assert!(b.bus().extend(&d.lease, LEASE).await.unwrap());
        none(b, &s).await;
    }
    // From now, not added to the old end.
    b.pass(LEASE + 2 * SECOND).await;
    assert_eq!(one(b, &s).await.attempt, 2);
}

async fn an_ended_lease_can_be_taken_up_again(b: &dyn Bench) {
    let s = made(b, "up-again").await;
    b.bus().publish(&s.topic, &message("x")).await.unwrap();
    let d = one(b, &s).await;
    b.pass(LEASE + 3 * SECOND).await;
    assert!(b.bus().extend(&d.lease, LEASE).await.unwrap());
    none(b, &s).await;
}

async fn a_lost_lease_cannot_be_extended(b: &dyn Bench) {
    let s = made(b, "lost").await;
    b.bus().publish(&s.topic, &message("x")).await.unwrap();
    let first = one(b, &s).await;
    b.pass(LEASE + 2 * SECOND).await;
    let second = one(b, &s).await;
    assert!(!b.bus().extend(&first.lease, LEASE).await.unwrap());
    // And does nothing to the one who has it.
    b.bus().hand_back(&first.lease, NOW).await.unwrap();
    none(b, &s).await;
    assert!(b.bus().extend(&second.lease, LEASE).await.unwrap());
    b.bus().ack(&second.lease).await.unwrap();
    assert!(!b.bus().extend(&second.lease, LEASE).await.unwrap());
}

async fn an_acknowledged_message_never_comes_back(b: &dyn Bench) {
    let s = made(b, "acked").await;
    b.bus().publish(&s.topic, &message("x")).await.unwrap();
    let d = one(b, &s).await;
    b.bus().ack(&d.lease).await.unwrap();
    // Twice is no error.
    b.bus().ack(&d.lease).await.unwrap();
    b.bus().hand_back(&d.lease, NOW).await.unwrap();
    b.pass(LEASE + 5 * SECOND).await;
    none(b, &s).await;
    nothing_waits(b, &s).await;
}

async fn a_late_acknowledgement_counts_unless_delivered_anew(b: &dyn Bench) {
    let s = made(b, "late-ack").await;
    b.bus().publish(&s.topic, &message("x")).await.unwrap();
    let first = one(b, &s).await;
    b.pass(LEASE + 2 * SECOND).await;
    let second = one(b, &s).await;
    b.bus().ack(&first.lease).await.unwrap();
    assert_eq!(waiting(b, &s).await.map_or(1, |w| w.messages), 1, "another delivery holds it");
    b.pass(LEASE + 3 * SECOND).await;
    b.bus().ack(&second.lease).await.unwrap();
    none(b, &s).await;
    nothing_waits(b, &s).await;
}

async fn handing_back_waits_for_the_delay(b: &dyn Bench) {
    let s = made(b, "back").await;
    b.bus().publish(&s.topic, &message("x")).await.unwrap();
    b.bus().hand_back(&one(b, &s).await.lease, 25 * SECOND).await.unwrap();
    b.pass(2 * LEASE).await;
    none(b, &s).await;
    b.pass(6 * SECOND).await;
    let d = one(b, &s).await;
    assert_eq!(d.attempt, 2);
    b.bus().hand_back(&d.lease, NOW).await.unwrap();
    assert_eq!(one(b, &s).await.attempt, 3);
}

async fn after_handing_back_the_lease_is_gone(b: &dyn Bench) {
    let s = made(b, "gone").await;
    b.bus().publish(&s.topic, &message("x")).await.unwrap();
    let d = one(b, &s).await;
    b.bus().hand_back(&d.lease, SECOND).await.unwrap();
    b.bus().ack(&d.lease).await.unwrap();
    assert!(!b.bus().extend(&d.lease, LEASE).await.unwrap());
    if let Some(backlog) = waiting(b, &s).await {
        assert_eq!((backlog.messages, backlog.leased), (1, Some(0)));
    }
    b.pass(SECOND).await;
    assert_eq!(one(b, &s).await.attempt, 2);
}

/// A subscription with five attempts, its dead letter's subscription, and a message in it.
async fn doomed(b: &dyn Bench, test: &str) -> (Subscription, Subscription, String) {
    let dead =
        Subscription { topic: format!("{test}-dead-topic"), dead_letter_topic: None, ..subscription(test, "dead") };
    let s = Subscription { dead_letter_topic: Some(dead.topic.clone()), max_attempts: 5, ..subscription(test, "sub") };
    b.bus().ensure(&s).await.unwrap();
    b.bus().ensure(&dead).await.unwrap();
    let sent = NewMessage { attributes: BTreeMap::from([("k".into(), "v".into())]), ..message("x") };
    let id = b.bus().publish(&s.topic, &sent).await.unwrap();
    (s, dead, id)
}

/// The dead letter of what `s` gave up. A bus that is far away may need a while, and pulls.
async fn letter(b: &dyn Bench, s: &Subscription, dead: &Subscription) -> Delivery {
    for _ in 0..20 {
        if let Some(letter) = b.bus().pull(&dead.name, 1, b.travel()).await.unwrap().pop() {
            return letter;
        }
        none(b, s).await;
    }
    panic!("{} has no dead letter", dead.name)
}

async fn the_dead_letter_has_the_attributes(b: &dyn Bench) {
    let (s, dead, id) = doomed(b, "doomed").await;
    let mut published = None;
    for attempt in 1..=5 {
        let d = one(b, &s).await;
        assert_eq!(d.attempt, attempt);
        published = Some(d.message.published_at);
        match attempt {
            5 => b.pass(LEASE + 4 * SECOND).await,
            _ => b.bus().hand_back(&d.lease, NOW).await.unwrap(),
        }
    }
    none(b, &s).await;
    nothing_waits(b, &s).await;
    let letter = letter(b, &s, &dead).await;
    assert_eq!((letter.message.body.as_slice(), letter.attempt), (b"x".as_slice(), 1));
    assert!(letter.message.id != id && letter.message.published_at >= published.unwrap() + LEASE);
    assert_eq!(letter.message.attributes["k"], "v");
    if !sees(b, Limit::Origin) {
        return;
    }
    let expected = [
        ("CloudPubSubDeadLetterSourceDeliveryCount", "5"),
        ("CloudPubSubDeadLetterSourceMessageId", &id),
        ("CloudPubSubDeadLetterSourceSubscription", &s.name),
        ("CloudPubSubDeadLetterSourceTopic", &s.topic),
        ("CloudPubSubDeadLetterSourceTopicPublishTime", &published.unwrap().to_string()),
        ("k", "v"),
    ];
    let attributes: Vec<(&str, &str)> =
        letter.message.attributes.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(attributes, expected);
}

async fn handing_back_the_last_delivery_buries_at_once(b: &dyn Bench) {
    let (s, dead, _) = doomed(b, "buried").await;
    for attempt in 1..=5 {
        none(b, &dead).await;
        let d = one(b, &s).await;
        assert_eq!(d.attempt, attempt);
        b.bus().hand_back(&d.lease, NOW).await.unwrap();
    }
    assert_eq!(bodies(&[letter(b, &s, &dead).await]), set(&["x"]));
    none(b, &s).await;
}

async fn without_a_dead_letter_topic_it_comes_without_end(b: &dyn Bench) {
    let s = Subscription { max_attempts: 5, dead_letter_topic: None, ..subscription("endless", "sub") };
    b.bus().ensure(&s).await.unwrap();
    b.bus().publish(&s.topic, &message("x")).await.unwrap();
    for _ in 1..=7 {
        b.bus().hand_back(&one(b, &s).await.lease, NOW).await.unwrap();
    }
    assert_eq!(bodies(&pull(b, &s, 1).await), set(&["x"]));
}

async fn the_backlog_counts(b: &dyn Bench) {
    if !sees(b, Limit::Backlog) {
        let s = made(b, "backlog").await;
        let error = b.bus().backlog(&s.name).await.unwrap_err();
        assert_eq!(error.kind, BusErrorKind::Unknown, "{error}");
        return b.bus().probe(&s.name).await.unwrap();
    }
    let s = made(b, "backlog").await;
    nothing_waits(b, &s).await;
    b.bus().publish(&s.topic, &message("a")).await.unwrap();
    b.pass(SECOND).await;
    for body in ["b", "c"] {
        b.bus().publish(&s.topic, &message(body)).await.unwrap();
    }
    let mut got = b.bus().pull(&s.name, 2, SOON).await.unwrap();
    got.sort_by_key(|d| d.message.published_at);
    let first = got[0].message.published_at;
    let backlog = b.other().backlog(&s.name).await.unwrap();
    assert_eq!(backlog, Backlog { messages: 3, leased: Some(2), oldest: Some(first) });
    b.bus().ack(&got[0].lease).await.unwrap();
    let backlog = b.bus().backlog(&s.name).await.unwrap();
    assert_eq!((backlog.messages, backlog.leased), (2, Some(1)));
    assert!(backlog.oldest > Some(first));
    b.pass(LEASE + SECOND / 2).await;
    let backlog = b.bus().backlog(&s.name).await.unwrap();
    assert_eq!(
        (backlog.messages, backlog.leased),
        (2, Some(0)),
        "an ended lease is none, though its pause is not over"
    );
}

async fn ensuring_again_changes_settings_and_keeps_messages(b: &dyn Bench) {
    let s = made(b, "settings").await;
    b.bus().publish(&s.topic, &message("x")).await.unwrap();
    b.bus().ensure(&Subscription { lease: 4 * LEASE, ..s.clone() }).await.unwrap();
    let d = one(b, &s).await;
    b.pass(3 * LEASE).await;
    none(b, &s).await;
    b.bus().ack(&d.lease).await.unwrap();
    let moved = Subscription { topic: "settings-elsewhere".into(), ..s };
    assert_eq!(b.bus().ensure(&moved).await.unwrap_err().kind, BusErrorKind::Invalid);
}

async fn making_changes_nothing_that_is_there(b: &dyn Bench) {
    let s = subscription("making", "sub");
    b.bus().make(&s).await.unwrap();
    b.other().make(&Subscription { lease: 4 * LEASE, ..s.clone() }).await.unwrap();
    b.bus().publish(&s.topic, &message("x")).await.unwrap();
    one(b, &s).await;
    b.pass(LEASE + 2 * SECOND).await;
    assert_eq!(one(b, &s).await.attempt, 2, "its lease is still the first one's");
}

async fn what_does_not_exist_is_not_found(b: &dyn Bench) {
    let (bus, s) = (b.bus(), made(b, "absent").await);
    bus.publish(&s.topic, &message("x")).await.unwrap();
    let lease = LeaseId { subscription: "nobody".into(), ..one(b, &s).await.lease };
    let errors = [
        bus.pull("nobody", 1, NOW).await.unwrap_err(),
        bus.pull("nobody", 1, SOON).await.unwrap_err(),
        bus.backlog("nobody").await.unwrap_err(),
        bus.probe("nobody").await.unwrap_err(),
        bus.ack(&lease).await.unwrap_err(),
        bus.hand_back(&lease, NOW).await.unwrap_err(),
        bus.extend(&lease, LEASE).await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind, BusErrorKind::NotFound, "{error}");
        assert!(error.message.contains("`nobody`"), "{error}");
    }
}

async fn what_is_not_allowed_is_refused(b: &dyn Bench) {
    let bus = b.bus();
    let s = made(b, "refused").await;
    for name in ["", "ab", "1abc", "a b", "goog-topic", "ünicode", "a/b", &"x".repeat(256)] {
        assert_eq!(bus.publish(name, &message("x")).await.unwrap_err().kind, BusErrorKind::Invalid, "{name:?}");
        for bad in [Subscription { name: name.into(), ..s.clone() }, Subscription { topic: name.into(), ..s.clone() }] {
            assert_eq!(bus.ensure(&bad).await.unwrap_err().kind, BusErrorKind::Invalid, "{name:?}");
        }
        check_name("topic", name).unwrap_err();
    }
    check_name("topic", "a1-._~+%").unwrap();
    let attribute =
        |k: &str, v: &str| NewMessage { attributes: BTreeMap::from([(k.to_owned(), v.to_owned())]), ..message("x") };
    let many = NewMessage { attributes: (0..101).map(|i| (format!("k{i}"), String::new())).collect(), ..message("x") };
    let large = NewMessage { body: vec![b'x'; MAX_BODY + 1], ..NewMessage::default() };
    let long = "x".repeat(1025);
    for bad in [NewMessage::default(), attribute("", "v"), attribute(&long, "v"), attribute("k", &long), many, large] {
        assert_eq!(bus.publish(&s.topic, &bad).await.unwrap_err().kind, BusErrorKind::Invalid);
    }
    none(b, &s).await;
    let own = Subscription { dead_letter_topic: Some(s.topic.clone()), ..s.clone() };
    assert_eq!(bus.ensure(&own).await.unwrap_err().kind, BusErrorKind::Invalid);
}

async fn the_largest_body_is_taken(b: &dyn Bench) {
    let s = made(b, "large").await;
    let body: Vec<u8> = (0..MAX_BODY).map(|i| (i % 251) as u8).collect();
    b.bus().publish(&s.topic, &NewMessage { body: body.clone(), ..NewMessage::default() }).await.unwrap();
    let d = one(b, &s).await;
    assert!(d.message.body == body);
    b.bus().ack(&d.lease).await.unwrap();
}

async fn pull_takes_at_most_max(b: &dyn Bench) {
    let s = made(b, "max").await;
    for i in 0..5 {
        b.bus().publish(&s.topic, &message(&i.to_string())).await.unwrap();
    }
    let mut seen = BTreeSet::new();
    while seen.len() < 5 {
        let got = b.bus().pull(&s.name, 2, SOON).await.unwrap();
        assert!((1..=2).contains(&got.len()), "{}", got.len());
        seen.extend(bodies(&got));
    }
    assert_eq!(b.bus().pull(&s.name, 2, b.travel()).await.unwrap(), []);
    assert_eq!(seen, set(&["0", "1", "2", "3", "4"]));
}

async fn a_waiting_pull_wakes_for_a_message(b: &dyn Bench) {
    let s = made(b, "wake").await;
    for publisher in [b.bus(), b.other()] {
        let (bus, name) = (b.bus(), s.name.clone());
        let waiting = tokio::spawn(async move { bus.pull(&name, 1, 20 * SECOND).await.unwrap() });
        tokio::time::sleep(SECOND / 10).await;
        let start = tokio::time::Instant::now();
        publisher.publish(&s.topic, &message("x")).await.unwrap();
        assert_eq!(waiting.await.unwrap().len(), 1);
        assert!(start.elapsed() < SECOND / 2, "woken, not found by chance: {:?}", start.elapsed());
    }
}

async fn a_waiting_pull_wakes_for_the_end_of_a_lease(b: &dyn Bench) {
    let s = made(b, "wake-end").await;
    b.bus().publish(&s.topic, &message("x")).await.unwrap();
    one(b, &s).await;
    let (bus, name) = (b.other(), s.name.clone());
    let waiting = tokio::spawn(async move { bus.pull(&name, 1, 60 * SECOND).await.unwrap() });
    tokio::time::sleep(SECOND / 10).await;
    b.pass(LEASE + SECOND).await;
    let got = waiting.await.unwrap();
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].attempt, 2);
}

async fn a_waiting_pull_gives_up(b: &dyn Bench) {
    let s = made(b, "give-up").await;
    let start = tokio::time::Instant::now();
    assert_eq!(b.bus().pull(&s.name, 1, SECOND / 5).await.unwrap(), []);
    assert!(start.elapsed() >= SECOND / 5 && start.elapsed() < 2 * SECOND);
    assert_eq!(b.bus().pull(&s.name, 0, NOW).await.unwrap(), []);
}

async fn dropping_a_pull_loses_nothing(b: &dyn Bench) {
    let s = made(b, "dropped").await;
    for round in 0..20u32 {
        b.bus().publish(&s.topic, &message("x")).await.unwrap();
        let bus = b.bus();
        let patience = Duration::from_micros(u64::from(round) * 10);
        match tokio::time::timeout(patience, bus.pull(&s.name, 1, NOW)).await {
            Ok(got) if got.as_ref().unwrap().is_empty() => bus.ack(&one(b, &s).await.lease).await.unwrap(),
            Ok(got) => bus.ack(&got.unwrap()[0].lease).await.unwrap(),
            Err(_) => {
                b.lease_in_vain_ends().await;
                bus.ack(&one(b, &s).await.lease).await.unwrap();
            }
        }
    }
    nothing_waits(b, &s).await;
}

async fn several_pullers_never_hold_one_message_together(b: &dyn Bench) {
    const MESSAGES: usize = 200;
    let s = made(b, "crowd").await;
    let held: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let done: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let mut pullers = Vec::new();
    for n in 0..6 {
        let bus = if n % 2 == 0 { b.bus() } else { b.other() };
        let (held, done, name) = (held.clone(), done.clone(), s.name.clone());
        pullers.push(tokio::spawn(async move {
            while done.lock().unwrap().len() < MESSAGES {
                for d in bus.pull(&name, 1 + n % 4, SECOND / 4).await.unwrap() {
                    let id = d.message.id.clone();
                    assert!(held.lock().unwrap().insert(id.clone()), "{id} is held twice");
                    tokio::task::yield_now().await;
                    held.lock().unwrap().remove(&id);
                    if (d.attempt as usize + n).is_multiple_of(3) {
                        bus.hand_back(&d.lease, NOW).await.unwrap();
                    } else {
                        assert!(done.lock().unwrap().insert(id.clone()), "{id} was acknowledged twice");
                        bus.ack(&d.lease).await.unwrap();
                    }
                }
            }
        }));
    }
    for i in 0..MESSAGES {
        let bus = if i % 2 == 0 { b.bus() } else { b.other() };
        bus.publish(&s.topic, &message(&i.to_string())).await.unwrap();
    }
    for puller in pullers {
        puller.await.unwrap();
    }
    nothing_waits(b, &s).await;
}
