//! A bus in memory with the full meaning of the port: for tests and simulation.
//!
//! Deterministic: ids are counted, deliveries come in the order in which they fell due, and time is the clock's (publish
//! times, lease ends) and tokio's (waiting), so that a paused runtime with a clock of its own replays exactly. Keeps every
//! message until it is dropped.

use crate::ports::bus::{
    Backlog, Bus, BusError, BusErrorKind, Delivery, LeaseId, Message, NewMessage, Subscription, check_message,
    dead_letter_attributes,
};
use crate::ports::clock::Clock;
use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The bus. Clones of the `Arc` around it are its users.
pub struct MemoryBus {
    clock: Arc<dyn Clock>,
    /// Told whenever something may have fallen due earlier than a waiting pull believes.
    changed: Notify,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    topics: BTreeMap<String, Vec<Arc<Message>>>,
    queues: BTreeMap<String, Queue>,
    /// Ids given so far.
    count: u64,
}

/// A subscription and what it has not acknowledged.
struct Queue {
    settings: Subscription,
    waiting: BTreeMap<u64, Waiting>,
    /// (when it may be delivered, number): `waiting` in the order of delivery.
    due: BTreeSet<(Timestamp, u64)>,
}

struct Waiting {
    message: Arc<Message>,
    due: Timestamp,
    /// The end of the lease of delivery `attempt`; none when it was handed back or never delivered.
    leased_until: Option<Timestamp>,
    attempt: u32,
}

impl MemoryBus {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, changed: Notify::new(), kept: Mutex::default() }
    }

    /// Lets waiting pulls look again: for a simulation that moves its clock otherwise than by tokio's time.
    pub fn clock_has_moved(&self) {
        self.changed.notify_waiters();
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Microseconds are what every bus keeps.
    fn now(&self) -> Timestamp {
        let now = self.clock.now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }
}

impl Kept {
    fn queue(&mut self, name: &str) -> Result<&mut Queue, BusError> {
        self.queues.get_mut(name).ok_or_else(|| {
            BusError::new(BusErrorKind::NotFound, format!("the memory bus has no subscription `{name}`"))
        })
    }

    fn publish(&mut self, topic: &str, message: NewMessage, now: Timestamp) -> String {
        self.count += 1;
        let id = self.count.to_string();
        let NewMessage { body, attributes } = message;
        let message =
            Arc::new(Message { id: id.clone(), topic: topic.to_owned(), published_at: now, attributes, body });
        self.topics.entry(topic.to_owned()).or_default().push(message.clone());
        for queue in self.queues.values_mut().filter(|q| q.settings.topic == topic) {
            queue.put(self.count, Waiting { message: message.clone(), due: now, leased_until: None, attempt: 0 });
        }
        id
    }

    fn bury(&mut self, settings: &Subscription, waiting: &Waiting, now: Timestamp) {
        let attributes = dead_letter_attributes(&waiting.message, &settings.name, waiting.attempt);
        let copy = NewMessage { body: waiting.message.body.clone(), attributes };
        if let Some(topic) = &settings.dead_letter_topic {
            self.publish(topic, copy, now);
        }
    }

    /// Leases what is due. The second answer says whether something was buried.
    fn pull(&mut self, name: &str, max: usize, now: Timestamp) -> Result<(Vec<Delivery>, bool), BusError> {
        let queue = self.queue(name)?;
        let settings = queue.settings.clone();
        let (mut taken, mut dead) = (Vec::new(), Vec::new());
        while taken.len() < max
            && let Some(&(due, number)) = queue.due.first()
            && due <= now
        {
            let Some(mut waiting) = queue.take(number) else { break };
            if settings.is_last(waiting.attempt) {
                dead.push(waiting);
                continue;
            }
            waiting.attempt += 1;
            waiting.lease(&settings, now, settings.lease);
            let token = format!("{number}.{}", waiting.attempt);
            taken.push(Delivery {
                message: (*waiting.message).clone(),
                lease: LeaseId { subscription: name.to_owned(), token },
                attempt: waiting.attempt,
            });
            queue.put(number, waiting);
        }
        for waiting in &dead {
            self.bury(&settings, waiting, now);
        }
        Ok((taken, !dead.is_empty()))
    }
}

impl Queue {
    fn put(&mut self, number: u64, waiting: Waiting) {
        self.due.insert((waiting.due, number));
        self.waiting.insert(number, waiting);
    }

    fn take(&mut self, number: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&number)?;
        self.due.remove(&(waiting.due, number));
        Some(waiting)
    }

    /// Takes the message of a lease that is not lost.
    fn take_leased(&mut self, lease: &LeaseId) -> Result<Option<(u64, Waiting)>, BusError> {
        let parts = lease.token.split_once('.').map(|(number, attempt)| (number.parse(), attempt.parse::<u32>()));
        let Some((Ok(number), Ok(attempt))) = parts else {
            let reason = format!("`{}` is no lease of the memory bus", lease.token);
            return Err(BusError::new(BusErrorKind::Invalid, reason));
        };
        let held = self.waiting.get(&number).is_some_and(|w| w.attempt == attempt && w.leased_until.is_some());
        Ok(if held { self.take(number).map(|waiting| (number, waiting)) } else { None })
    }
}

impl Waiting {
    fn lease(&mut self, settings: &Subscription, now: Timestamp, term: Duration) {
        let until = after(now, term);
        self.leased_until = Some(until);
        let pause = if settings.is_last(self.attempt) { Duration::ZERO } else { settings.pause_after(self.attempt) };
        self.due = after(until, pause);
    }
}

fn after(time: Timestamp, pause: Duration) -> Timestamp {
    time.checked_add(pause).unwrap_or(Timestamp::MAX)
}

#[async_trait]
impl Bus for MemoryBus {
    fn describe(&self) -> String {
        "memory bus".into()
    }

    async fn ensure(&self, subscription: &Subscription) -> Result<(), BusError> {
        subscription.check()?;
        let now = self.now();
        {
            let mut kept = self.kept();
            for topic in std::iter::once(&subscription.topic).chain(&subscription.dead_letter_topic) {
                kept.topics.entry(topic.clone()).or_default();
            }
            if let Some(queue) = kept.queues.get_mut(&subscription.name) {
                if queue.settings.topic != subscription.topic {
                    let (name, topic) = (&subscription.name, &queue.settings.topic);
                    let reason = format!("subscription `{name}` belongs to the topic `{topic}` and cannot be moved");
                    return Err(BusError::new(BusErrorKind::Invalid, reason));
                }
                queue.settings = subscription.clone();
            } else {
                let mut queue =
                    Queue { settings: subscription.clone(), waiting: BTreeMap::new(), due: BTreeSet::new() };
                let kept_before = kept.topics.get(&subscription.topic).filter(|_| subscription.from_earliest);
                for message in kept_before.into_iter().flatten() {
                    let number = message.id.parse().expect("ids are counted");
                    queue.put(number, Waiting { message: message.clone(), due: now, leased_until: None, attempt: 0 });
                }
                kept.queues.insert(subscription.name.clone(), queue);
            }
        }
        self.changed.notify_waiters();
        Ok(())
    }

    async fn publish(&self, topic: &str, message: &NewMessage) -> Result<String, BusError> {
        check_message(topic, message)?;
        let id = self.kept().publish(topic, message.clone(), self.now());
        self.changed.notify_waiters();
        Ok(id)
    }

    async fn pull(&self, subscription: &str, max: usize, wait: Duration) -> Result<Vec<Delivery>, BusError> {
        let deadline = Instant::now() + wait;
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let now = self.now();
            let (taken, buried) = self.kept().pull(subscription, max, now)?;
            if buried {
                self.changed.notify_waiters();
            }
            let present = Instant::now();
            if !taken.is_empty() || max == 0 || present >= deadline {
                return Ok(taken);
            }
            let next = self.kept().queue(subscription)?.due.first().map(|(due, _)| *due);
            let until_due = next.map(|due| Duration::try_from(due.duration_since(now)).unwrap_or_default());
            let wake = until_due.map_or(deadline, |pause| deadline.min(present + pause));
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    async fn ack(&self, lease: &LeaseId) -> Result<(), BusError> {
        self.kept().queue(&lease.subscription)?.take_leased(lease)?;
        Ok(())
    }

    async fn hand_back(&self, lease: &LeaseId, delay: Duration) -> Result<(), BusError> {
        let now = self.now();
        {
            let mut kept = self.kept();
            let queue = kept.queue(&lease.subscription)?;
            let Some((number, mut waiting)) = queue.take_leased(lease)? else { return Ok(()) };
            if queue.settings.is_last(waiting.attempt) {
                let settings = queue.settings.clone();
                kept.bury(&settings, &waiting, now);
            } else {
                (waiting.leased_until, waiting.due) = (None, after(now, delay));
                queue.put(number, waiting);
            }
        }
        self.changed.notify_waiters();
        Ok(())
    }

    async fn extend(&self, lease: &LeaseId, term: Duration) -> Result<bool, BusError> {
        let now = self.now();
        let sooner = {
            let mut kept = self.kept();
            let queue = kept.queue(&lease.subscription)?;
            let Some((number, mut waiting)) = queue.take_leased(lease)? else { return Ok(false) };
            let before = waiting.due;
            waiting.lease(&queue.settings, now, term);
            let sooner = waiting.due < before;
            queue.put(number, waiting);
            sooner
        };
        if sooner {
            self.changed.notify_waiters();
        }
        Ok(true)
    }

    async fn backlog(&self, subscription: &str) -> Result<Backlog, BusError> {
        let now = self.now();
        let mut kept = self.kept();
        let waiting = &kept.queue(subscription)?.waiting;
        Ok(Backlog {
            messages: waiting.len() as u64,
            leased: Some(waiting.values().filter(|w| w.leased_until.is_some_and(|until| until > now)).count() as u64),
            oldest: waiting.values().map(|w| w.message.published_at).min(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::bus_conformance::{self, Bench, TokioClock};

    struct Paused {
        clock: Arc<TokioClock>,
        bus: Arc<MemoryBus>,
    }

    #[async_trait]
    impl Bench for Paused {
        fn bus(&self) -> Arc<dyn Bus> {
            self.bus.clone()
        }

        async fn pass(&self, time: Duration) {
            tokio::time::sleep(time).await;
        }

        fn now(&self) -> Timestamp {
            self.clock.now()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn keeps_the_contract() {
        let clock = Arc::new(TokioClock::new("2025-12-12T18:00:00Z"));
        let bus = Arc::new(MemoryBus::new(clock.clone()));
        bus_conformance::run(&Paused { clock, bus }).await;
    }
}
