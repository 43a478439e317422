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
///   topic instead of being delivered again, with the attributes of [`dead_letter_attributes`] added to its own: at once
///   when the last delivery is handed back, else at a pull after its lease has ended. It is a new message there, with an
///   id and a publish time of its own. Without a dead-letter topic it is delivered without end.
/// - A topic keeps its messages for a while (the embedded bus: 7 days) after everybody has acknowledged them, for
///   subscriptions that begin at the earliest.
/// - Several processes may use one bus at once; what one publishes or hands back wakes the pulls of the others.
/// - A subscription that does not exist is an error of kind [`BusErrorKind::NotFound`] in every call that names it.
#[async_trait]
pub trait Bus: Send + Sync {
    /// What the bus is called in messages: ``embedded bus `.phase6/bus` ``.
    fn describe(&self) -> String;

    /// Makes the subscription and its topics where they are absent; an existing one takes the new settings and keeps its
    /// messages. It cannot be moved to another topic ([`BusErrorKind::Invalid`]).
    async fn ensure(&self, subscription: &Subscription) -> Result<(), BusError>;

    /// Makes the subscription and its topics where they are absent; an existing one stays as it is, whatever is wanted here. For
    /// who comes by beside a service whose subscription it is.
    async fn make(&self, subscription: &Subscription) -> Result<(), BusError> {
        match self.probe(&subscription.name).await {
            Err(error) if error.kind == BusErrorKind::NotFound => self.ensure(subscription).await,
            there => there,
        }
    }

    /// What of the subscriptions is not as [`Self::ensure`] wanted it and can be lived with, each in a sentence, for the log.
    fn shortfalls(&self) -> Vec<String> {
        Vec::new()
    }

    /// Keeps the message and returns its id. When this returns, the message survives a crash. An error of kind
    /// [`BusErrorKind::Transient`] may have kept it all the same (a lost reply). A topic that is absent is made, where the
    /// bus lets the publisher do so ([`BusErrorKind::NotFound`] otherwise). What [`check_message`] refuses is never kept.
    async fn publish(&self, topic: &str, message: &NewMessage) -> Result<String, BusError>;

    /// The next messages, at most `max`, each leased for the subscription's `lease`. Waits up to `wait` for the first; an
    /// empty list says that there was none. It need not fill up to `max` (large bodies). Dropping the future before it is
    /// ready loses no message; at worst one is leased in vain.
    async fn pull(&self, subscription: &str, max: usize, wait: Duration) -> Result<Vec<Delivery>, BusError>;

    /// Acknowledges: it is not delivered to this subscription again. An acknowledgement of a lease that has ended counts
    /// unless the message was delivered anew or handed back since: then it does nothing, and that is no error.
    async fn ack(&self, lease: &LeaseId) -> Result<(), BusError>;

    /// Hands the message back: it is delivered again, not before `delay` has passed. This ends the lease. It does nothing
    /// where an acknowledgement would do nothing.
    async fn hand_back(&self, lease: &LeaseId, delay: Duration) -> Result<(), BusError>;

    /// Extends the lease to `term` from now, also one that has ended but was not lost yet; `false` says that it was lost:
    /// delivered anew, handed back or acknowledged.
    async fn extend(&self, lease: &LeaseId, term: Duration) -> Result<bool, BusError>;

    /// What waits in the subscription. A bus that cannot say it (an emulator without a monitoring service) answers with an
    /// error of kind [`BusErrorKind::Unknown`], which callers show as such: nothing is broken.
    async fn backlog(&self, subscription: &str) -> Result<Backlog, BusError>;

    /// Whether the bus answers and has the subscription; cheap enough to be asked for each question after readiness.
    async fn probe(&self, subscription: &str) -> Result<(), BusError> {
        self.backlog(subscription).await.map(drop)
    }

    /// Before the process ends: hands back at once what is held or was fetched and not taken, and waits a few seconds for
    /// what is on its way, acknowledgements above all. Nothing to do where every call waits for its own effect.
    async fn close(&self) {}
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
    /// Whether a new subscription also gets what the topic still keeps from before it was made. Such a subscription looks
    /// on: it does not make the topic keep a message longer than it would anyway.
    pub from_earliest: bool,
}

impl Subscription {
    /// The pause between the end of the lease of delivery `attempt` (from 1) and the next delivery.
    pub fn pause_after(&self, attempt: u32) -> Duration {
        let (min, max) = self.backoff;
        min.saturating_mul(1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX)).min(max)
    }

    /// Whether delivery `attempt` (from 1) is the last before the dead letter.
    pub fn is_last(&self, attempt: u32) -> bool {
        self.dead_letter_topic.is_some() && attempt >= self.max_attempts
    }

    /// What every bus refuses, as a sentence.
    pub fn check(&self) -> Result<(), BusError> {
        let refuse = |reason: String| BusError::new(BusErrorKind::Invalid, reason);
        check_name("subscription", &self.name)?;
        for topic in std::iter::once(&self.topic).chain(&self.dead_letter_topic) {
            check_name("topic", topic)?;
        }
        if self.lease.is_zero() || self.max_attempts == 0 {
            return Err(refuse(format!("subscription `{}` needs a lease and at least one attempt", self.name)));
        }
        if self.dead_letter_topic.as_ref() == Some(&self.topic) {
            return Err(refuse(format!("subscription `{}` would bury its messages in their own topic", self.name)));
        }
        Ok(())
    }
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
    /// Of these, the leased ones, where the bus counts them.
    pub leased: Option<u64>,
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

/// Refuses a name that Pub/Sub would refuse: a letter, then 2 to 254 letters, digits or `-._~+%`; not `goog…`.
pub fn check_name(what: &str, name: &str) -> Result<(), BusError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~+%".contains(c);
    let well_formed = name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(allowed);
    let reason = if name.is_empty() {
        "is empty"
    } else if !well_formed {
        "must begin with a letter and hold only letters, digits and `-._~+%`"
    } else if !(3..=255).contains(&name.len()) {
        "must have 3 to 255 characters"
    } else if name.starts_with("goog") {
        "must not begin with `goog`"
    } else {
        return Ok(());
    };
    Err(BusError::new(BusErrorKind::Invalid, format!("the {what} name `{name}` {reason}")))
}

/// Refuses a message that Pub/Sub would refuse: too large, empty, or with attributes beyond its limits.
pub fn check_message(topic: &str, message: &NewMessage) -> Result<(), BusError> {
    check_name("topic", topic)?;
    let refuse = |reason: String| Err(BusError::new(BusErrorKind::Invalid, format!("a message to `{topic}` {reason}")));
    let size = message.body.len();
    if size > MAX_BODY {
        return refuse(format!("has {size} bytes, more than the {MAX_BODY} that a bus takes"));
    }
    if size == 0 && message.attributes.is_empty() {
        return refuse("has neither a body nor attributes".to_owned());
    }
    if message.attributes.len() > 100 {
        return refuse(format!("has {} attributes, more than 100", message.attributes.len()));
    }
    for (key, value) in &message.attributes {
        if key.is_empty() || key.len() > 256 || key.starts_with("goog") {
            return refuse(format!("has an attribute named `{key:.300}`: 1 to 256 bytes, not `goog…`"));
        }
        if value.len() > 1024 {
            return refuse(format!("has {} bytes in the attribute `{key}`, more than 1024", value.len()));
        }
    }
    Ok(())
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
    /// The bus works but cannot tell what was asked.
    Unknown,
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
