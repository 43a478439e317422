//! The embedded bus: a folder with one SQLite database, durable, used by several processes at once.
//!
//! ```text
//! .phase6/bus/bus.sqlite3          topics, messages, subscriptions, and what waits in them (`schema`)
//! .phase6/bus/opening.lock         one process at a time sets the database up
//! ```
//!
//! SQLite blocks, so that a thread of the bus's own holds the connection (`worker`) and runs what the futures of this file
//! send it (`operations`); calls that arrive together become one transaction, with one sync for all. A publish is synced to
//! the disk before it returns. Leases and acknowledgements are written but not synced: they survive the death of the
//! process, and a power cut that forgets one makes a message be delivered once more, which at least once allows.
//!
//! A waiting pull sleeps until the next message falls due, and is woken by what changes: at once by this process, within
//! [`worker::POLL`] by another.

mod errors;
mod operations;
mod schema;
mod worker;

use crate::ports::bus::{
    Backlog, Bus, BusError, BusErrorKind, Delivery, LeaseId, NewMessage, Subscription, check_message,
};
use crate::ports::clock::Clock;
use async_trait::async_trait;
use errors::Failure;
use operations::{Lease, Operations};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use worker::{Effort, Worker};

/// How long a topic keeps a message that everybody has acknowledged.
pub const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

/// A waiting pull looks again at least this often, in case the wall clock was set.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The embedded bus.
pub struct SqliteBus {
    name: String,
    worker: Worker,
}

impl SqliteBus {
    /// Opens the bus in `folder`, which is made where it is absent.
    pub fn open(folder: &Path, clock: Arc<dyn Clock>) -> Result<Self, BusError> {
        let name = format!("embedded bus `{}`", folder.display());
        let opened = schema::open(folder, &name)?;
        let worker = Worker::start(Operations::new(opened, clock, name.clone()))?;
        Ok(Self { name, worker })
    }

    /// Runs `operation` on the bus's thread.
    async fn call<T: Send + 'static>(
        &self,
        effort: Effort,
        operation: impl FnOnce(&Operations) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, BusError> {
        let stopped = || BusError::new(BusErrorKind::Fatal, format!("the thread of the {} has stopped", self.name));
        let (reply, answer) = tokio::sync::oneshot::channel();
        let job = worker::job(effort, operation, move |result| drop(reply.send(result)));
        self.worker.send(job).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

/// Deliveries on their way to the puller: dropped before they arrive, they are put back.
struct OnTheWay {
    deliveries: Vec<Delivery>,
    jobs: worker::Jobs,
}

impl Drop for OnTheWay {
    fn drop(&mut self) {
        let leases: Vec<LeaseId> = self.deliveries.drain(..).map(|d| d.lease).collect();
        if !leases.is_empty() {
            let job = worker::job(Effort::Write, move |ops| ops.never_delivered(&leases), |_: Result<(), BusError>| {});
            // A bus that has stopped leaves it to the leases' end.
            drop(self.jobs.send(job));
        }
    }
}

#[async_trait]
impl Bus for SqliteBus {
    fn describe(&self) -> String {
        self.name.clone()
    }

    async fn ensure(&self, subscription: &Subscription) -> Result<(), BusError> {
        subscription.check()?;
        let subscription = subscription.clone();
        self.call(Effort::Synced, move |ops| ops.ensure(&subscription)).await
    }

    async fn make(&self, subscription: &Subscription) -> Result<(), BusError> {
        subscription.check()?;
        let subscription = subscription.clone();
        self.call(Effort::Synced, move |ops| ops.make(&subscription)).await
    }

    async fn publish(&self, topic: &str, message: &NewMessage) -> Result<String, BusError> {
        check_message(topic, message)?;
        let (topic, message) = (topic.to_owned(), message.clone());
        self.call(Effort::Synced, move |ops| ops.publish(&topic, &message)).await
    }

    async fn pull(&self, subscription: &str, max: usize, wait: Duration) -> Result<Vec<Delivery>, BusError> {
        let deadline = Instant::now() + wait;
        let _waiting = self.worker.waiting();
        loop {
            let mut changed = std::pin::pin!(self.worker.changed().notified());
            changed.as_mut().enable();
            let name = subscription.to_owned();
            // Looking first takes no lock: only a pull that will get something becomes a writer.
            let until_due = self.call(Effort::Read, move |ops| ops.until_due(&name)).await?;
            if until_due == Some(Duration::ZERO) && max > 0 {
                let (name, jobs) = (subscription.to_owned(), self.worker.jobs());
                let pull = move |ops: &Operations| Ok(OnTheWay { deliveries: ops.pull(&name, max)?, jobs });
                let mut pulled = self.call(Effort::Write, pull).await?;
                if !pulled.deliveries.is_empty() {
                    return Ok(std::mem::take(&mut pulled.deliveries));
                }
                // Somebody else was quicker, or all of it was buried.
                continue;
            }
            let present = Instant::now();
            if max == 0 || present >= deadline {
                return Ok(Vec::new());
            }
            let pause = until_due.unwrap_or(LOOK_AGAIN).min(LOOK_AGAIN);
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(deadline.min(present + pause)) => {}
            }
        }
    }

    async fn ack(&self, lease: &LeaseId) -> Result<(), BusError> {
        let lease = Lease::parse(lease)?;
        self.call(Effort::Write, move |ops| ops.ack(&lease)).await
    }

    async fn hand_back(&self, lease: &LeaseId, delay: Duration) -> Result<(), BusError> {
        let lease = Lease::parse(lease)?;
        self.call(Effort::Write, move |ops| ops.hand_back(&lease, delay)).await
    }

    async fn extend(&self, lease: &LeaseId, term: Duration) -> Result<bool, BusError> {
        let lease = Lease::parse(lease)?;
        self.call(Effort::Write, move |ops| ops.extend(&lease, term)).await
    }

    async fn backlog(&self, subscription: &str) -> Result<Backlog, BusError> {
        let name = subscription.to_owned();
        self.call(Effort::Read, move |ops| ops.backlog(&name)).await
    }
}

#[cfg(test)]
mod tests;
