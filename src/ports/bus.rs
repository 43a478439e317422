//! The bus: topics that keep what is published, subscriptions that deliver it at least once. Pub/Sub's meaning, in the few
//! words that phase6 needs of it.
//!
//! Every sentence of the contract below is a test in `adapters::bus_conformance`, which each adapter runs. Deliberately not
//! here: what a message means (`model::message`) and when it is acknowledged (`service`).

use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The largest message body, in bytes: Pub/Sub's own limit.
pub const MAX_BODY: usize = 10_000_000;

/// Topics and subscriptions.
///
/// - A published message is delivered to every subscription of its topic that existed when it was published, until that
///   subscription acknowledges it. It survives the death of every process.
/// - Delivery is at least once and in no promised order. A delivered message is *leased*: it is not delivered to the same
///   subscription again before its lease ends, is handed back, or is acknowledged.
/// - A redelivered message keeps its id, publish time, attributes and body; its `attempt` grows by one.
/// - A message whose deliveries reach the subscription's `max_attempts` without being acknowledged goes to its dead-letter
///   topic instead of being delivered again, with the attributes of [`dead_letter_attributes`] added to its own.
/// - Several processes may use one bus at once.
#[async_trait]
pub trait Bus: Send + Sync {
    /// What the bus is called in messages: ``embedded bus `.phase6/bus` ``.
    fn describe(&self) -> String;

    /// Makes the subscription and its topics where they are absent; an existing one takes the new settings and keeps its
    /// messages.
    async fn ensure(&self, subscription: &Subscription) -> Result<(), BusError>;

    /// Keeps the message and returns its id. When this returns, the message survives a crash. An error of kind
    /// [`BusErrorKind::Transient`] may have kept it all the same (a lost reply).
    async fn publish(&self, topic: &str, message: &NewMessage) -> Result<String, BusError>;

    /// The next messages, at most `max`, each leased for the subscription's `lease`. Waits up to `wait` for the first; an
    /// empty list says that there was none.
    async fn pull(&self, subscription: &str, max: usize, wait: Duration) -> Result<Vec<Delivery>, BusError>;

    /// Acknowledges: it is not delivered to this subscription again. An acknowledgement of a lease that has ended does
    /// nothing if the message was delivered anew since; that is no error.
    async fn ack(&self, lease: &LeaseId) -> Result<(), BusError>;

    /// Hands the message back: it is delivered again, not before `delay` has passed.
    async fn hand_back(&self, lease: &LeaseId, delay: Duration) -> Result<(), BusError>;

    /// Extends the lease by `term` from now; `false` says that it was lost to another delivery.
    async fn extend(&self, lease: &LeaseId, term: Duration) -> Result<bool, BusError>;

    /// What waits in the subscription.
    async fn backlog(&self, subscription: &str) -> Result<Backlog, BusError>;
}

/// A subscription and how it delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub name: String,
    pub topic: String,
    /// How long a delivery is leased; 10 to 600 seconds on Pub/Sub.
    pub lease: Duration,
    /// The pause before a message whose lease ended is delivered again: `min`, doubled with each attempt, at most `max`.
    pub backoff: (Duration, Duration),
    /// Deliveries before the dead letter; 5 to 100 on Pub/Sub.
    pub max_attempts: u32,
    pub dead_letter_topic: Option<String>,
    /// Whether a new subscription also gets what the topic still keeps from before it was made.
    pub from_earliest: bool,
}

/// A message to publish.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewMessage {
    pub body: Vec<u8>,
    pub attributes: BTreeMap<String, String>,
}

/// A message as its topic keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub id: String,
    pub topic: String,
    pub published_at: Timestamp,
    pub attributes: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// A message in the hands of one subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub message: Message,
    pub lease: LeaseId,
    /// 1 for the first delivery.
    pub attempt: u32,
}

/// One delivery's lease.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseId {
    pub subscription: String,
    /// The adapter's own text.
    pub token: String,
}

/// What waits in a subscription.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Messages that are not acknowledged, leased ones included.
    pub messages: u64,
    /// Of these, the leased ones.
    pub leased: u64,
    /// The oldest one's publish time.
    pub oldest: Option<Timestamp>,
}

/// The attributes that a dead-letter copy has besides its own, named as Pub/Sub names them.
pub fn dead_letter_attributes(message: &Message, subscription: &str, attempts: u32) -> BTreeMap<String, String> {
    let mut attributes = message.attributes.clone();
    let mut set = |name: &str, value: String| attributes.insert(format!("CloudPubSubDeadLetterSource{name}"), value);
    set("DeliveryCount", attempts.to_string());
    set("Subscription", subscription.to_owned());
    set("MessageId", message.id.clone());
    set("Topic", message.topic.clone());
    set("TopicPublishTime", message.published_at.to_string());
    attributes
}

/// Why the bus did not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BusErrorKind {
    /// There is no such topic or subscription (the operator's).
    NotFound,
    /// The message is too large or has a name that is not allowed (the sender's).
    Invalid,
    /// The bus was not available; trying again may help.
    Transient,
    /// Access was denied or the bus is broken (the operator's).
    Fatal,
}

/// A failed call, in a sentence that names what was tried.
#[derive(Debug, Clone)]
pub struct BusError {
    pub kind: BusErrorKind,
    pub message: String,
}

impl BusError {
    pub fn new(kind: BusErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl fmt::Display for BusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for BusError {}
