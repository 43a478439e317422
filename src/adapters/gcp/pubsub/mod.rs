//! The bus on Pub/Sub. Publishing, topics and subscriptions by Google's own crate; pulling, leases and acknowledgements by the
//! service's REST calls.
//!
//! **Why not the crate's streaming pull**, which was built first and measured (crate 1.7, emulator 0.8.20):
//! - Its handlers tell no ack ids, confirm no acknowledgement (an error is dropped), and nack at once only. The port promises
//!   more: `ack` returns when the server has it, `hand_back` keeps a delay, `extend` says what is known.
//! - Flow control counts what a stream has out, also what waits for its delay: four requests whose data is not there yet would
//!   make a copy deaf for minutes. And only the server can hold it: a stream with `max_outstanding_messages` 1 was given 4 of
//!   50 messages at once, and the next stream the other 46. A request for as many messages as are free cannot be given more.
//! - A stream that ends by a reset stays alive for the emulator (`NoSuchMethodError` in its `onRstStreamRead`) and takes
//!   messages from the living: of 20 published after it, 7 had arrived a minute later.
//!
//! Google's documentation names unary pull for subscribers that need strict control of what is in flight; what streaming gains
//! (throughput of small messages) the service has no use for: a message is a run of seconds.
//!
//! **Pulling** (`desk`): one waiting request a subscription, for as many messages as the service has hands free, so that what is
//! in flight is never more; the rest is the other copies'. An emulator is asked to answer at once instead, several times a second,
//! as it gives messages to waiting requests that were given up.
//!
//! Measured against the emulator on a busy machine (2 cores, load 20, debug build): a publish alone 9.6 ms, side by side 16,000 a
//! second; four hands that answer at once pull and acknowledge 130 messages a second; a waiting subscription takes 0.35 % of a CPU.
//!
//! **Leases** are the server's own. The consumer extends them by `modifyAckDeadline` while a message is worked, for as long as
//! the run takes; if the process dies, they end within their term. `extend` says false when this process was given the message
//! anew or has answered it. Whether somebody else was, nobody can know on an at-least-once subscription (the server says OK to
//! a lease that was lost); the run keys absorb that. Exactly-once delivery would tell; it is slower, works in one region only,
//! and the service does not need it.
//!
//! **`ack`** returns when the server has taken it, and is tried four times.
//!
//! **`hand_back` with a delay** sets the lease to end then: the server keeps the delay, also when the process dies meanwhile.
//! It is in whole seconds, at most 600; a longer one ends then, and whoever gets the message sees in the request's record that
//! it is not due and hands it back for the rest. On top comes the pause of the subscription's retry policy.
//!
//! **Attempts** are counted by Pub/Sub where the subscription has a dead-letter topic; elsewhere each delivery is attempt 1.
//!
//! **Least privilege.** `phase6 deploy` makes topics and subscriptions. `ensure` changes what differs where it may; an account
//! without these rights is content with an existing subscription that is right, or that has another lease alone: then each
//! message's lease is set when it has come.

mod backlog;
mod desk;
mod errors;
mod resources;
mod rest;

use super::{Api, Google};
use crate::ports::bus::{
    Backlog, Bus, BusError, BusErrorKind, Delivery, LeaseId, NewMessage, Subscription, check_message, check_name,
};
use crate::ports::clock::Clock;
use async_trait::async_trait;
use desk::Desk;
use google_cloud_gax::error::Error;
use google_cloud_gax::error::rpc::Code;
use google_cloud_gax::retry_policy::RetryPolicyExt;
use google_cloud_pubsub::client::{BasePublisher, Publisher, SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::model;
use google_cloud_pubsub::retry_policy::RetryableErrors;
use google_cloud_wkt::FieldMask;
use resources::Names;
use rest::Rest;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;

/// How long a publish or a change is tried before it is an error of kind `Transient`.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a single message waits for others that go with it.
const GATHER: Duration = Duration::from_millis(2);

/// What a subscription needs to be pulled from.
#[derive(Clone)]
struct Known {
    topic: String,
    /// The lease that is wanted, where the subscription has another one or it could not be seen.
    own_term: Option<Duration>,
}

/// Pub/Sub in one project.
pub struct PubSub {
    google: Arc<Google>,
    names: Names,
    clock: Arc<dyn Clock>,
    clients: OnceCell<Clients>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// By subscription, what it could not be given.
    shortfalls: BTreeMap<String, String>,
    known: BTreeMap<String, Known>,
    desks: BTreeMap<String, Arc<Desk>>,
    publishers: BTreeMap<String, Publisher>,
}

struct Clients {
    publisher: BasePublisher,
    topics: TopicAdmin,
    subscriptions: SubscriptionAdmin,
}

impl PubSub {
    /// Nothing is called yet.
    pub fn new(google: Arc<Google>, project: &str, clock: Arc<dyn Clock>) -> Self {
        let names = Names { project: project.to_owned() };
        Self { google, names, clock, clients: OnceCell::new(), kept: Mutex::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, tried: &str, error: &Error) -> BusError {
        errors::failed(&self.describe(), tried, error)
    }

    fn refused(&self, kind: BusErrorKind, reason: &str) -> BusError {
        BusError::new(kind, format!("{}: {reason}", self.describe()))
    }

    fn no_client(&self, error: impl std::fmt::Display) -> BusError {
        self.refused(BusErrorKind::Fatal, &format!("the client cannot be made: {error}"))
    }

    async fn clients(&self) -> Result<&Clients, BusError> {
        self.clients.get_or_try_init(|| self.make_clients()).await
    }

    async fn make_clients(&self) -> Result<Clients, BusError> {
        let (endpoint, me) = (self.google.endpoint(Api::PubSub), self.google.credentials(Api::PubSub));
        let retry = || RetryableErrors.with_time_limit(PATIENCE);
        let publisher =
            BasePublisher::builder().with_endpoint(endpoint).with_credentials(me.clone()).with_retry_policy(retry());
        let topics =
            TopicAdmin::builder().with_endpoint(endpoint).with_credentials(me.clone()).with_retry_policy(retry());
        let subscriptions =
            SubscriptionAdmin::builder().with_endpoint(endpoint).with_credentials(me).with_retry_policy(retry());
        Ok(Clients {
            publisher: publisher.build().await.map_err(|e| self.no_client(e))?,
            topics: topics.build().await.map_err(|e| self.no_client(e))?,
            subscriptions: subscriptions.build().await.map_err(|e| self.no_client(e))?,
        })
    }

    /// Waits for a call that might retry for longer.
    async fn within<T>(
        &self,
        tried: &str,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<Result<T, Error>, BusError> {
        tokio::time::timeout(2 * PATIENCE, call).await.map_err(|_| {
            let reason = format!("{tried} took longer than {} s", 2 * PATIENCE.as_secs());
            self.refused(BusErrorKind::Transient, &reason)
        })
    }

    /// The subscription as it is; none where it is absent; an error of kind `Fatal` where it may not be looked at.
    async fn look(&self, name: &str) -> Result<Result<model::Subscription, Code>, BusError> {
        let tried = format!("looking at subscription `{name}`");
        let call = self.clients().await?.subscriptions.get_subscription();
        match self.within(&tried, call.set_subscription(self.names.subscription(name)).send()).await? {
            Ok(found) => Ok(Ok(found)),
            Err(error) => match errors::code(&error) {
                Some(code @ (Code::NotFound | Code::PermissionDenied)) => Ok(Err(code)),
                _ => Err(self.failed(&tried, &error)),
            },
        }
    }

    fn not_found(&self, subscription: &str) -> BusError {
        self.refused(BusErrorKind::NotFound, &format!("there is no subscription `{subscription}`"))
    }

    /// What is known of a subscription, from `ensure` or by looking.
    async fn known(&self, name: &str) -> Result<Known, BusError> {
        if let Some(known) = self.kept().known.get(name) {
            return Ok(known.clone());
        }
        let found = match self.look(name).await? {
            Ok(found) => found,
            Err(Code::NotFound) => return Err(self.not_found(name)),
            Err(_) => {
                let reason =
                    format!("subscription `{name}` may not be looked at: the account lacks roles/pubsub.viewer");
                return Err(self.refused(BusErrorKind::Fatal, &reason));
            }
        };
        let known = Known { topic: self.names.short_topic(&found.topic), own_term: None };
        self.kept().known.insert(name.to_owned(), known.clone());
        Ok(known)
    }

    async fn desk(&self, name: &str) -> Result<Arc<Desk>, BusError> {
        if let Some(desk) = self.kept().desks.get(name) {
            return Ok(desk.clone());
        }
        let known = self.known(name).await?;
        let rest = Rest {
            google: self.google.clone(),
            bus: self.describe(),
            name: name.to_owned(),
            path: self.names.subscription(name),
        };
        let desk = Desk::new(rest, self.google.is_emulated(Api::PubSub), known.topic, known.own_term);
        Ok(self.kept().desks.entry(name.to_owned()).or_insert_with(|| Arc::new(desk)).clone())
    }

    /// Makes the topic where it is absent.
    async fn make_topic(&self, name: &str) -> Result<Made, BusError> {
        let tried = format!("creating topic `{name}`");
        let call = self.clients().await?.topics.create_topic().with_request(resources::topic(&self.names, name));
        match self.within(&tried, call.send()).await? {
            Ok(_) => Ok(Made::Now),
            Err(error) => match errors::code(&error) {
                Some(Code::AlreadyExists) => Ok(Made::Before),
                Some(Code::PermissionDenied) => Ok(Made::Denied),
                _ => Err(self.failed(&tried, &error)),
            },
        }
    }

    async fn make_topics(&self, wanted: &Subscription) -> Result<(), BusError> {
        for topic in std::iter::once(&wanted.topic).chain(&wanted.dead_letter_topic) {
            // Who may not make topics may still subscribe to one that exists.
            self.make_topic(topic).await?;
        }
        Ok(())
    }

    /// The subscription as it shall be. Google's emulator (0.8.20) gets no retry policy: with one, whatever its numbers, it gives a
    /// message whose lease has ended three times and then never again (10 of 10 were not seen for 210 s).
    fn wanted(&self, wanted: &Subscription) -> model::Subscription {
        let subscription = resources::subscription(&self.names, wanted);
        match self.google.is_emulated(Api::PubSub) {
            true => subscription.set_or_clear_retry_policy(None::<model::RetryPolicy>),
            false => subscription,
        }
    }

    /// Makes the subscription; false where another process was quicker.
    async fn create(&self, wanted: &Subscription) -> Result<bool, BusError> {
        let (name, clients) = (&wanted.name, self.clients().await?);
        self.make_topics(wanted).await?;
        let tried = format!("creating subscription `{name}` on topic `{}`", wanted.topic);
        let request = self.wanted(wanted);
        let call = clients.subscriptions.create_subscription().with_request(request);
        match self.within(&tried, call.send()).await? {
            Ok(_) => {}
            Err(error) if errors::code(&error) == Some(Code::AlreadyExists) => return Ok(false),
            Err(error) => return Err(self.failed(&tried, &error)),
        }
        if wanted.from_earliest {
            self.rewind(name).await?;
        }
        Ok(true)
    }

    /// Begins a new subscription at the earliest message that its topic keeps.
    async fn rewind(&self, name: &str) -> Result<(), BusError> {
        let tried = format!("rewinding subscription `{name}`");
        let begin = self.clock.now().checked_sub(resources::RETENTION).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let time = google_cloud_wkt::Timestamp::clamp(begin.as_second(), 0);
        let call = self.clients().await?.subscriptions.seek();
        match self.within(&tried, call.set_subscription(self.names.subscription(name)).set_time(time).send()).await? {
            Ok(_) => Ok(()),
            // The emulator cannot; there it begins with what comes next.
            Err(error) if errors::code(&error) == Some(Code::Unimplemented) => Ok(()),
            Err(error) => Err(self.failed(&tried, &error)),
        }
    }

    /// Brings an existing subscription to what is wanted. `Some` is the lease that it could not be given: a message's can still be
    /// set when it has come.
    async fn update(
        &self,
        existing: &model::Subscription,
        wanted: &Subscription,
    ) -> Result<Option<Duration>, BusError> {
        let name = &wanted.name;
        let topic = self.names.short_topic(&existing.topic);
        if topic != wanted.topic {
            let reason = format!("subscription `{name}` belongs to the topic `{topic}` and cannot be moved");
            return Err(self.refused(BusErrorKind::Invalid, &reason));
        }
        if existing.push_config.as_ref().is_some_and(|push| !push.push_endpoint.is_empty()) {
            let reason = format!("subscription `{name}` pushes to an address: it cannot be pulled from");
            return Err(self.refused(BusErrorKind::Invalid, &reason));
        }
        let request = self.wanted(wanted);
        let differences = resources::differences(existing, &request);
        if differences.is_empty() {
            return Ok(None);
        }
        self.make_topics(wanted).await?;
        let lease = differences.contains(&resources::LEASE).then_some(wanted.lease);
        let others: Vec<&str> = differences.iter().copied().filter(|field| *field != resources::LEASE).collect();
        let tried = format!("changing {} of subscription `{name}`", differences.join(", "));
        let call = self.clients().await?.subscriptions.update_subscription();
        let mask = FieldMask::default().set_paths(differences);
        match self.within(&tried, call.set_subscription(request).set_update_mask(mask).send()).await? {
            Ok(_) => {
                self.kept().shortfalls.remove(name);
                Ok(None)
            }
            // Nothing is lost by any of them: somebody's hand at one subscription must not keep the service from starting.
            Err(error) if errors::code(&error) == Some(Code::PermissionDenied) => {
                if !others.is_empty() {
                    let others = others.join(", ");
                    let said = format!(
                        "subscription `{name}` is not as it has to be in {others}: `phase6 deploy` sets it right"
                    );
                    self.kept().shortfalls.insert(name.clone(), said);
                }
                Ok(lease)
            }
            Err(error) => Err(self.failed(&tried, &error)),
        }
    }

    /// Makes the subscription where it is absent. An existing one is brought to what is wanted, or `stays` as it is.
    async fn have(&self, wanted: &Subscription, stays: bool) -> Result<(), BusError> {
        resources::check(wanted)?;
        let own_term = loop {
            match self.look(&wanted.name).await? {
                Ok(_) if stays => break None,
                Ok(existing) => break self.update(&existing, wanted).await?,
                Err(Code::NotFound) => {
                    if self.create(wanted).await? {
                        break None;
                    }
                }
                // It may not be looked at: that it is there and right is `deploy`'s affair, and a pull will tell.
                Err(_) => break Some(wanted.lease),
            }
        };
        let known = Known { topic: wanted.topic.clone(), own_term };
        self.kept().known.insert(wanted.name.clone(), known);
        Ok(())
    }

    fn publisher(&self, clients: &Clients, topic: &str) -> Publisher {
        let mut kept = self.kept();
        let make = || clients.publisher.publisher(self.names.topic(topic)).set_delay_threshold(GATHER).build();
        kept.publishers.entry(topic.to_owned()).or_insert_with(make).clone()
    }
}

enum Made {
    Now,
    Before,
    Denied,
}

#[async_trait]
impl Bus for PubSub {
    fn describe(&self) -> String {
        format!("Pub/Sub project `{}`", self.names.project)
    }

    fn shortfalls(&self) -> Vec<String> {
        self.kept().shortfalls.values().cloned().collect()
    }

    async fn ensure(&self, subscription: &Subscription) -> Result<(), BusError> {
        self.have(subscription, false).await
    }

    async fn make(&self, subscription: &Subscription) -> Result<(), BusError> {
        self.have(subscription, true).await
    }

    async fn publish(&self, topic: &str, message: &NewMessage) -> Result<String, BusError> {
        check_message(topic, message)?;
        let tried = format!("publishing to topic `{topic}`");
        let clients = self.clients().await?;
        let publisher = self.publisher(clients, topic);
        let mut made = false;
        loop {
            let message = model::Message::new()
                .set_data(message.body.clone())
                .set_attributes(message.attributes.iter().map(|(k, v)| (k.clone(), v.clone())));
            // The publisher's own limit counts attempts, not an attempt that hangs.
            let error = match tokio::time::timeout(PATIENCE, publisher.publish(message)).await {
                Ok(Ok(id)) => return Ok(id),
                Ok(Err(error)) => error,
                Err(_) => {
                    let reason = format!("{tried} took longer than {} s", PATIENCE.as_secs());
                    return Err(self.refused(BusErrorKind::Transient, &reason));
                }
            };
            let Some(error) = errors::of_publish(&error) else {
                return Err(self.refused(BusErrorKind::Transient, &format!("{tried} was broken off: {error}")));
            };
            let absent = errors::code(error) == Some(Code::NotFound);
            if !absent || made || matches!(self.make_topic(topic).await?, Made::Denied) {
                return Err(self.failed(&tried, error));
            }
            made = true;
        }
    }

    async fn pull(&self, subscription: &str, max: usize, wait: Duration) -> Result<Vec<Delivery>, BusError> {
        let desk = self.desk(subscription).await?;
        if max == 0 { Ok(Vec::new()) } else { desk.pull(max, wait).await }
    }

    async fn ack(&self, lease: &LeaseId) -> Result<(), BusError> {
        self.desk(&lease.subscription).await?.ack(&lease.token).await
    }

    async fn hand_back(&self, lease: &LeaseId, delay: Duration) -> Result<(), BusError> {
        self.desk(&lease.subscription).await?.hand_back(&lease.token, delay).await
    }

    async fn extend(&self, lease: &LeaseId, term: Duration) -> Result<bool, BusError> {
        self.desk(&lease.subscription).await?.extend(&lease.token, term).await
    }

    async fn backlog(&self, subscription: &str) -> Result<Backlog, BusError> {
        check_name("subscription", subscription)?;
        if self.google.is_emulated(Api::PubSub) && !self.google.is_emulated(Api::Monitoring) {
            // Of an absent one, too, that is what is known.
            self.probe(subscription).await?;
            let reason = format!("what waits in `{subscription}` is not known: the emulator has no Cloud Monitoring");
            return Err(self.refused(BusErrorKind::Unknown, &reason));
        }
        backlog::ask(&self.google, &self.describe(), &self.names.project, subscription, self.clock.now()).await
    }

    async fn probe(&self, subscription: &str) -> Result<(), BusError> {
        match self.look(subscription).await? {
            Err(Code::NotFound) => Err(self.not_found(subscription)),
            // It answered; what this account may look at is another matter.
            _ => Ok(()),
        }
    }

    async fn close(&self) {
        let desks: Vec<Arc<Desk>> = self.kept().desks.values().cloned().collect();
        for desk in desks {
            desk.close().await;
        }
    }
}

#[cfg(test)]
mod tests;
