//! The service's door and its windows: events and requests come in by HTTP, operators and supervisors look in.
//!
//! `server` moves bytes within limits, `auth` says who may do what, `envelope` and `api` turn events into messages on the bus,
//! `health` answers supervisors, `pages` shows people what happened. Nothing here works on a request: what comes in is a
//! message like any other once it is on the bus.

mod api;
pub mod auth;
mod body;
pub mod envelope;
pub mod facts;
mod health;
pub mod oidc;
mod pages;
pub mod problem;
mod server;

pub use auth::Token;
pub use facts::{AlertFact, Freshness, FreshnessFact, Heartbeat, NoFacts, PageFacts, SlotFact};
pub use server::serve;

use crate::config::Project;
use crate::ports::bus::Bus;
use crate::ports::clock::Clock;
use crate::ports::store::ObjectStore;
use crate::state::State;
use crate::telemetry::Telemetry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What the door stands on.
pub struct Door {
    pub bus: Arc<dyn Bus>,
    pub state: State,
    /// The public store, for the pages of documents.
    pub store: Arc<dyn ObjectStore>,
    /// Asked at each request, so that a reloaded project is the one that counts.
    pub project: Arc<dyn Fn() -> Arc<Project> + Send + Sync>,
    /// The target's name.
    pub target: String,
    pub clock: Arc<dyn Clock>,
    /// From `PHASE6_TOKEN`.
    pub token: Option<Token>,
    /// From `service.push`.
    pub verifier: Option<oidc::Verifier>,
    /// Whose backlogs are shown, and by which readiness is judged.
    pub subscriptions: Vec<String>,
    pub heartbeats: Arc<dyn Fn() -> Vec<Heartbeat> + Send + Sync>,
    /// OpenMetrics text.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    pub facts: Arc<dyn PageFacts>,
    pub telemetry: Telemetry,
    pub limits: Limits,
    pub status: DoorStatus,
}

/// What `serve` writes down while it runs.
#[derive(Default)]
pub struct DoorStatus {
    address: OnceLock<SocketAddr>,
    draining: AtomicBool,
}

impl Door {
    /// Whether only this machine can come in.
    pub fn is_local(&self) -> bool {
        self.status.address.get().is_some_and(|address| address.ip().is_loopback())
    }

    pub fn is_draining(&self) -> bool {
        self.status.draining.load(Ordering::Relaxed)
    }
}

/// How long and how much.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the connection, or the last answer, to the end of the next request's head. Ends idle connections, too.
    pub head: Duration,
    /// From the end of the head to the answer, the body's arrival included.
    pub request: Duration,
    /// A connection's whole life.
    pub connection: Duration,
    pub connections: usize,
    /// How long a stopping door finishes what it is at.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            request: Duration::from_secs(30),
            connection: Duration::from_secs(600),
            connections: 256,
            grace: Duration::from_secs(10),
        }
    }
}

#[cfg(test)]
mod tests;
