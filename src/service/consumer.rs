//! Takes messages of a subscription, a few at once, keeps their leases, and answers each: the loop that orchestrator, worker
//! and undertaker share.

use super::Service;
use super::idle::Working;
use crate::ports::bus::{Delivery, LeaseId, Subscription};
use crate::ports::cancel::Cancel;
use async_trait::async_trait;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// What is done with a message.
#[async_trait]
pub trait Handler: Send + Sync {
    /// Works the message. `cancel` says that its lease was lost or that the service goes away.
    async fn handle(&self, delivery: &Delivery, cancel: &Cancel) -> Answer;
}

/// A message's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is done with: never again.
    Ack,
    /// It shall come again, after this time at the earliest.
    Later(Duration),
}

/// A lease is extended for the first time after so long, at the latest: whoever set the subscription last (an older copy with
/// another `--lease`, `deploy`) may have given it less than is wanted here.
const FIRST_EXTENSION: Duration = Duration::from_secs(3);

/// How long the loop waits for a free hand before it shows that it is alive.
const BUSY_WAIT: Duration = Duration::from_secs(10);

/// A loop that has not gone round for so long hangs.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// Works the subscription until the shutdown, then finishes what is under way.
pub async fn consume(
    service: Service,
    subscription: Subscription,
    at_once: usize,
    handler: Arc<dyn Handler>,
    shutdown: watch::Receiver<bool>,
) {
    let permits = Arc::new(Semaphore::new(at_once));
    let mut tasks = JoinSet::new();
    let mut failures = 0;
    while !*shutdown.borrow() {
        let mut gone = shutdown.clone();
        service.beats.beat(&subscription.name, HANGS_AFTER);
        let first = tokio::select! {
            permit = permits.clone().acquire_owned() => permit,
            _ = gone.changed() => break,
            // All hands are busy: that is no hanging.
            () = tokio::time::sleep(BUSY_WAIT) => continue,
        };
        let Ok(first) = first else { break };
        let free = 1 + permits.available_permits();
        let wait = service.live.now().settings.pull_wait;
        let pulled = match service.bus.pull(&subscription.name, free, wait).await {
            Ok(pulled) => pulled,
            Err(error) => {
                failures += 1;
                service.idle.cannot_tell(&subscription.name);
                service.trouble(&subscription.name, &error.to_string());
                drop(first);
                tokio::time::sleep(pause(failures)).await;
                continue;
            }
        };
        failures = 0;
        if pulled.is_empty() {
            service.idle.found_nothing(&subscription.name);
        }
        // All of them, also those that wait for a hand.
        let working: Vec<Working> = pulled.iter().map(|_| service.idle.work()).collect();
        let mut permit = Some(first);
        for (delivery, working) in pulled.into_iter().zip(working) {
            let permit = match permit.take() {
                Some(permit) => permit,
                None => match permits.clone().acquire_owned().await {
                    Ok(permit) => permit,
                    Err(_) => break,
                },
            };
            let (service, handler, lease) = (service.clone(), handler.clone(), subscription.lease);
            tasks.spawn(async move {
                answer(&service, &delivery, handler.as_ref(), lease).await;
                drop((permit, working));
            });
        }
        while tasks.try_join_next().is_some() {}
    }
    while tasks.join_next().await.is_some() {}
}

fn pause(failures: u32) -> Duration {
    Duration::from_millis(250 << failures.min(7))
}

/// Works one message and tells the bus. An answer that does not arrive is as if the process had died: it comes again.
async fn answer(service: &Service, delivery: &Delivery, handler: &dyn Handler, lease: Duration) {
    let (cancel, _guard) = service.drain.child();
    let work = handler.handle(delivery, &cancel);
    let answer = tokio::select! {
        answer = work => answer,
        never = keep(service, &delivery.lease, lease, &cancel) => match never {},
    };
    let told = match answer {
        Answer::Ack => service.bus.ack(&delivery.lease).await,
        Answer::Later(delay) => service.bus.hand_back(&delivery.lease, delay).await,
    };
    if let Err(error) = told {
        service.trouble(&delivery.lease.subscription, &format!("message {}: {error}", delivery.message.id));
    }
}

/// Extends the lease as long as the message is worked. Never ends: when the lease is lost, the work is told and stops itself.
async fn keep(service: &Service, id: &LeaseId, lease: Duration, cancel: &Cancel) -> Infallible {
    let mut pause = FIRST_EXTENSION.min(lease / 3);
    loop {
        tokio::time::sleep(pause).await;
        pause = lease / 3;
        if let Ok(false) = service.bus.extend(id, lease).await {
            cancel.cancel("another copy has taken the message over");
            return std::future::pending().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::bus_conformance::TokioClock;
    use crate::adapters::memory_bus::MemoryBus;
    use crate::ports::bus::{Bus, NewMessage};
    use crate::service::testing::{Late, service};
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Takes 40 seconds for a message.
    #[derive(Default)]
    struct Slow {
        begun: AtomicU32,
    }

    #[async_trait]
    impl Handler for Slow {
        async fn handle(&self, _: &Delivery, cancel: &Cancel) -> Answer {
            self.begun.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(40)).await;
            assert!(!cancel.is_cancelled(), "{:?}", cancel.reason());
            Answer::Ack
        }
    }

    /// An older copy, or `deploy`, has set the subscription after us.
    #[tokio::test(start_paused = true)]
    async fn a_message_is_kept_though_its_lease_is_shorter_than_was_asked_for() {
        let clock = Arc::new(TokioClock::new("2025-12-12T18:00:00Z"));
        let bus = Arc::new(MemoryBus::new(clock.clone()));
        let wanted = Subscription {
            name: "sub".into(),
            topic: "topic".into(),
            lease: Duration::from_secs(300),
            backoff: (Duration::from_secs(1), Duration::from_secs(60)),
            max_attempts: 100,
            dead_letter_topic: None,
            from_earliest: false,
        };
        bus.ensure(&Subscription { lease: Duration::from_secs(10), ..wanted.clone() }).await.unwrap();
        bus.publish("topic", &NewMessage { body: b"x".to_vec(), ..NewMessage::default() }).await.unwrap();
        let (slow, service) = (Arc::new(Slow::default()), service(bus.clone(), clock, Arc::new(Late::default())));
        let (stop, shutdown) = watch::channel(false);
        let consuming = tokio::spawn(consume(service, wanted, 4, slow.clone(), shutdown));
        tokio::time::sleep(Duration::from_secs(60)).await;
        stop.send(true).unwrap();
        consuming.await.unwrap();
        assert_eq!(slow.begun.load(Ordering::Relaxed), 1);
        assert_eq!(bus.backlog("sub").await.unwrap().messages, 0);
    }
}
