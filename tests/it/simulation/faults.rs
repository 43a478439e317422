//! A clock that follows paused time and can be stepped, a bus that loses replies, and the memory of what was acknowledged.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use phase6::adapters::faulty::Random;
use phase6::ports::bus::{Backlog, Bus, BusError, BusErrorKind, Delivery, LeaseId, Message, NewMessage, Subscription};
use phase6::ports::clock::Clock;
use phase6::service::invariants;
use phase6::state::State;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// Tokio's paused time, plus the steps that operators' clocks make.
pub struct SimClock {
    start: Instant,
    base: Timestamp,
    step_ms: AtomicI64,
}

impl SimClock {
    pub fn new(base: Timestamp) -> Self {
        Self { start: Instant::now(), base, step_ms: AtomicI64::new(0) }
    }

    pub fn step(&self, ms: i64) {
        self.step_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let ms = self.start.elapsed().as_millis() as i64 + self.step_ms.load(Ordering::Relaxed);
        self.base + SignedDuration::from_millis(ms)
    }
}

/// Wraps the bus: replies get lost, publications happen twice, and each acknowledgement is held against invariant 3.
pub struct FaultyBus {
    pub inner: Arc<dyn Bus>,
    pub random: Random,
    /// Faults of a thousand calls; zero when the world heals.
    pub rate: AtomicU64,
    pub faults: AtomicU64,
    /// The state as it is, without faults.
    pub truth: State,
    pub violations: Arc<Mutex<Vec<String>>>,
    leased: Mutex<BTreeMap<LeaseId, Message>>,
    /// The cause ids of all that was ever published, lost replies included.
    pub published: Mutex<Vec<String>>,
    /// The broken variant that acknowledges when it takes.
    pub ack_first: AtomicBool,
    /// The broken variant that forgets causes.
    pub no_dedupe: AtomicBool,
}

impl FaultyBus {
    pub fn new(inner: Arc<dyn Bus>, seed: u64, truth: State, violations: Arc<Mutex<Vec<String>>>) -> Self {
        Self {
            inner,
            random: Random::new(seed),
            rate: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            truth,
            violations,
            leased: Mutex::default(),
            published: Mutex::default(),
            ack_first: AtomicBool::new(false),
            no_dedupe: AtomicBool::new(false),
        }
    }

    fn strikes(&self) -> bool {
        let strikes = self.random.chance(self.rate.load(Ordering::Relaxed) as u32);
        self.faults.fetch_add(u64::from(strikes), Ordering::Relaxed);
        strikes
    }

    fn lost(&self) -> BusError {
        BusError::new(BusErrorKind::Transient, "injected: the reply was lost")
    }

    async fn answered(&self, lease: &LeaseId) {
        let message = self.leased.lock().unwrap().get(lease).cloned();
        if let Some(message) = message
            && !message.topic.contains("complete-sink")
            && let Some(violation) = invariants::acknowledged_is_answered(&self.truth, &message).await
        {
            self.violations.lock().unwrap().push(violation.to_string());
        }
    }
}

#[async_trait]
impl Bus for FaultyBus {
    fn describe(&self) -> String {
        "faulty bus".into()
    }

    async fn ensure(&self, subscription: &Subscription) -> Result<(), BusError> {
        self.inner.ensure(subscription).await
    }

    async fn publish(&self, topic: &str, message: &NewMessage) -> Result<String, BusError> {
        if self.strikes() {
            return Err(self.lost());
        }
        let id = self.inner.publish(topic, message).await?;
        let cause = message.attributes.get(phase6::model::message::attributes::CAUSE_ID).cloned();
        self.published.lock().unwrap().extend(cause);
        if self.strikes() {
            // Kept twice: a client that tried again after a time-out.
            self.inner.publish(topic, message).await?;
        }
        if self.strikes() { Err(self.lost()) } else { Ok(id) }
    }

    async fn pull(&self, subscription: &str, max: usize, wait: Duration) -> Result<Vec<Delivery>, BusError> {
        if self.strikes() {
            tokio::time::sleep(Duration::from_millis(self.random.below(500))).await;
            return Err(self.lost());
        }
        let mut pulled = self.inner.pull(subscription, max, wait).await?;
        for delivery in &mut pulled {
            if self.no_dedupe.load(Ordering::Relaxed) {
                let cause = delivery.message.id.clone();
                delivery.message.attributes.insert(phase6::model::message::attributes::CAUSE_ID.into(), cause);
            }
            self.leased.lock().unwrap().insert(delivery.lease.clone(), delivery.message.clone());
            if self.ack_first.load(Ordering::Relaxed) {
                self.answered_later(delivery);
                self.inner.ack(&delivery.lease).await?;
            }
        }
        Ok(pulled)
    }

    async fn ack(&self, lease: &LeaseId) -> Result<(), BusError> {
        if self.strikes() {
            return Err(self.lost());
        }
        self.answered(lease).await;
        self.inner.ack(lease).await?;
        if self.strikes() { Err(self.lost()) } else { Ok(()) }
    }

    async fn hand_back(&self, lease: &LeaseId, delay: Duration) -> Result<(), BusError> {
        if self.strikes() {
            return Err(self.lost());
        }
        self.inner.hand_back(lease, delay).await
    }

    async fn extend(&self, lease: &LeaseId, term: Duration) -> Result<bool, BusError> {
        if self.strikes() {
            return Err(self.lost());
        }
        self.inner.extend(lease, term).await
    }

    async fn backlog(&self, subscription: &str) -> Result<Backlog, BusError> {
        self.inner.backlog(subscription).await
    }
}

impl FaultyBus {
    /// What was acknowledged at once is looked at when the life is over.
    fn answered_later(&self, delivery: &Delivery) {
        self.leased.lock().unwrap().insert(delivery.lease.clone(), delivery.message.clone());
    }

    /// Every message that was ever taken has its answer.
    pub async fn check_all(&self) {
        let leases: Vec<LeaseId> = self.leased.lock().unwrap().keys().cloned().collect();
        for lease in leases {
            self.answered(&lease).await;
        }
    }
}
