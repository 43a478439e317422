//! Starts the loops, keeps one for each trigger as the configuration changes, and ends them in good order.

use super::consumer::{Handler, consume};
use super::orchestrator::Orchestrator;
use super::settings::{self, DEAD_LETTER, WORKER};
use super::undertaker::Undertaker;
use super::worker::Worker;
use super::{Service, scheduler};
use crate::ports::bus::{BusError, Subscription};
use crate::telemetry::Severity;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// Messages of one trigger that are judged at once.
const JUDGED_AT_ONCE: usize = 4;

/// The running loops.
pub struct Server {
    service: Service,
    permits: Arc<Semaphore>,
    shutdown: watch::Receiver<bool>,
    loops: JoinSet<()>,
    /// Subscriptions that have a loop.
    running: BTreeSet<String>,
}

impl Server {
    /// Makes the subscriptions and starts a loop for each.
    pub async fn start(service: Service, shutdown: watch::Receiver<bool>) -> Result<Server, BusError> {
        let permits = Arc::new(Semaphore::new(service.live.now().settings.exports));
        let mut server = Server { service, permits, shutdown, loops: JoinSet::new(), running: BTreeSet::new() };
        server.follow().await?;
        if server.service.live.now().settings.own_clock {
            server.loops.spawn(scheduler::run(server.service.clone(), server.shutdown.clone()));
        }
        Ok(server)
    }

    /// Starts what the present configuration has more; a loop whose trigger is gone leaves its messages alone.
    pub async fn follow(&mut self) -> Result<(), BusError> {
        let setup = self.service.live.now();
        for subscription in settings::subscriptions(&setup.project, &setup.settings) {
            self.service.bus.ensure(&subscription).await?;
            if self.running.insert(subscription.name.clone()) {
                self.consume(subscription);
            }
        }
        for shortfall in self.service.bus.shortfalls() {
            self.service.telemetry.log(Severity::Warning, &shortfall, &[]);
        }
        Ok(())
    }

    fn consume(&mut self, subscription: Subscription) {
        let service = self.service.clone();
        let requests = service.live.now().settings.requests;
        let (at_once, handler): (usize, Arc<dyn Handler>) = match subscription.name.as_str() {
            WORKER => (requests, Arc::new(Worker { service: service.clone(), permits: self.permits.clone() })),
            DEAD_LETTER => (1, Arc::new(Undertaker { service: service.clone() })),
            name => {
                let trigger = name.strip_prefix("phase6-").unwrap_or(name).to_owned();
                (JUDGED_AT_ONCE, Arc::new(Orchestrator { service: service.clone(), trigger }))
            }
        };
        self.loops.spawn(consume(service, subscription, at_once, handler, self.shutdown.clone()));
    }

    /// Whether nothing has come for so long, and nothing is under way.
    pub fn is_idle(&self, term: Duration) -> bool {
        self.service.idle.is_idle(self.running.iter(), term)
    }

    /// Another loop that ends with the shutdown.
    pub fn spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.loops.spawn(work);
    }

    /// Waits for the loops, which have heard the shutdown: `grace` for what is under way to finish, then it is handed back.
    /// Returns whether everything finished by itself.
    pub async fn finish(mut self, grace: Duration) -> bool {
        let ended = async |loops: &mut JoinSet<()>| while loops.join_next().await.is_some() {};
        if tokio::time::timeout(grace, ended(&mut self.loops)).await.is_ok() {
            return true;
        }
        self.service.drain.cancel("the service goes away");
        if tokio::time::timeout(HAND_BACK, ended(&mut self.loops)).await.is_err() {
            self.service.trouble("shutdown", "some work did not stop; its messages come again when their leases end");
        }
        false
    }
}

/// How long handing back may take after the grace period.
const HAND_BACK: Duration = Duration::from_secs(5);
