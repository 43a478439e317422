//! The adapter against Google's emulator, and against strict servers of our own where the emulator is none.

use super::*;
use crate::adapters::bus_conformance::{self, Bench, Limit};
use crate::ports::clock::SystemClock;
use jiff::Timestamp;
use phase6_test_servers::emulators::{Running, pubsub, skip};
use std::sync::Arc;
use std::task::Poll;

mod flow;
mod rights;
mod speed;

/// The shared emulator; none is a printed skip.
async fn emulator(test: &str) -> Option<Arc<Running>> {
    let started = tokio::task::spawn_blocking(pubsub::shared).await.unwrap();
    started.map_err(|reason| skip(test, &reason)).ok()
}

/// A connection of its own, as another process would have.
fn bus(emulator: &Running, project: &str) -> PubSub {
    PubSub::new(Google::at(Api::PubSub, &emulator.host()), project, Arc::new(SystemClock))
}

/// `sub` on `topic`, with the shortest lease that Pub/Sub takes.
fn subscription() -> Subscription {
    Subscription {
        name: "sub".into(),
        topic: "topic".into(),
        lease: Duration::from_secs(10),
        backoff: (Duration::from_secs(1), Duration::from_secs(60)),
        max_attempts: 100,
        dead_letter_topic: Some("dead".into()),
        from_earliest: false,
    }
}

fn message(body: &str) -> NewMessage {
    NewMessage { body: body.into(), ..NewMessage::default() }
}

const SOON: Duration = Duration::from_secs(5);

/// The emulator as the port's suite sees it: real time, and what the emulator does not do.
struct Emulated {
    bus: Arc<PubSub>,
    other: Arc<PubSub>,
}

#[async_trait]
impl Bench for Emulated {
    fn bus(&self) -> Arc<dyn Bus> {
        self.bus.clone()
    }

    fn other(&self) -> Arc<dyn Bus> {
        self.other.clone()
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    /// What a dropped pull fetched is the next one's.
    async fn lease_in_vain_ends(&self) {}

    fn travel(&self) -> Duration {
        Duration::from_millis(1000)
    }

    fn limits(&self) -> &'static [Limit] {
        &[
            // The emulator has no Cloud Monitoring: `backlog::tests` asks a strict server.
            Limit::Backlog,
            // The emulator's pauses are not the policy's (design/stack.md).
            Limit::Pause,
            // A topic that keeps its messages gives all of them to a new subscription; Pub/Sub only when it is told to seek,
            // which the emulator answers with 501.
            Limit::Later,
            // Pub/Sub tells a dead letter's subscription and publish time, not its id and topic.
            Limit::Origin,
        ]
    }
}

/// All 30 at once: most of their time is leases that have to end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract() {
    let Some(emulator) = emulator("keeps_the_contract").await else { return };
    let bench = Emulated { bus: Arc::new(bus(&emulator, "suite")), other: Arc::new(bus(&emulator, "suite")) };
    let mut tests = bus_conformance::all(&bench);
    assert_eq!(tests.len(), 30);
    let mut failed = Vec::new();
    std::future::poll_fn(|task| {
        tests.retain_mut(|(name, test)| {
            let poll = std::panic::AssertUnwindSafe(|| test.as_mut().poll(task).is_pending());
            std::panic::catch_unwind(poll).unwrap_or_else(|_| {
                failed.push(*name);
                false
            })
        });
        if tests.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    assert!(failed.is_empty(), "{failed:#?}");
}
