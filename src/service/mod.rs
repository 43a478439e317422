//! The loops of `phase6 serve`: orchestrator (gates), scheduler, worker, monitor, HTTP door. Each is a pure decision and a small
//! loop around it; they meet only on the bus and in the state store, so that any number of copies may run.
//!
//! ```text
//!  upstream topic ─► orchestrator (gate) ─┐
//!  clock ─────────► scheduler ────────────┼─► export_trigger ─► worker (plan, retry) ─► engine ─► export_complete
//!  POST /v1/runs ─────────────────────────┘
//! ```

pub mod alerts;
pub mod beats;
pub mod consumer;
pub mod contract;
pub mod freshness;
pub mod gate;
pub mod http;
pub mod idle;
pub mod invariants;
pub mod monitor;
pub mod orchestrator;
pub mod outside_ticks;
pub mod page_facts;
pub mod plan;
pub mod previous_slot;
pub mod retry;
pub mod scheduler;
pub mod server;
pub mod settings;
pub mod slots;
#[cfg(test)]
mod testing;
pub mod undertaker;
pub mod worker;

use crate::config::Project;
use crate::engine::export::{Engine, empty_report};
use crate::model::dates::DayRule;
use crate::model::report::{ExportReport, Status};
use crate::model::request::ExportRequest;
use crate::ports::bus::{Bus, Delivery};
use crate::ports::cancel::Cancel;
use crate::ports::clock::Clock;
use crate::state::State;
use crate::telemetry::{HandedBack, LoopFailed, Telemetry, TraceContext};
use async_trait::async_trait;
use beats::Beats;
use idle::Idle;
use settings::Settings;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Makes and publishes one export of a request: the engine, or what stands for it in a simulation.
#[async_trait]
pub trait Exporter: Send + Sync {
    /// Whatever happens is in the report. A cancelled token ends the work before its next step; what is being published is
    /// finished.
    async fn export(&self, request: &ExportRequest, export: &str, cancel: &Cancel) -> ExportReport;
}

#[async_trait]
impl Exporter for Engine {
    async fn export(&self, request: &ExportRequest, export: &str, cancel: &Cancel) -> ExportReport {
        let mut engine = self.clone();
        engine.cancel = cancel.clone();
        let (request, name) = (request.clone(), export.to_owned());
        let handle = tokio::runtime::Handle::current();
        let task = tokio::task::spawn_blocking(move || crate::engine::request::one(&engine, &request, &name, &handle));
        task.await.unwrap_or_else(|error| ExportReport {
            status: Status::Failed,
            reason: Some(format!("internal error: {error}")),
            ..empty_report(export)
        })
    }
}

/// What a valid configuration comes to; a reload replaces it whole.
pub struct Setup {
    pub project: Arc<Project>,
    pub rule: DayRule,
    /// The target's name.
    pub target: String,
    pub exporter: Arc<dyn Exporter>,
    pub gates: Vec<gate::Gate>,
    pub settings: Settings,
}

impl Setup {
    /// The setup of a checked project; `Err` says what is wrong with its calendar or a trigger's contract.
    pub fn of(engine: Engine, target: String, settings: Settings) -> Result<Setup, String> {
        let project = engine.project.clone();
        for key in [gate::TRIGGER_TOPIC, settings::COMPLETE_TOPIC] {
            if project.topic(key).is_none() {
                return Err(format!("`topics:` has no `{key}`, which the service needs"));
            }
        }
        let rule = project.calendar.day_rule()?;
        let mut gates = Vec::new();
        for decl in project.trigger_decls() {
            let name = decl.name.value.clone();
            gates.push(gate::Gate::compile(&project, decl).map_err(|e| format!("trigger `{name}`: {e}"))?);
        }
        Ok(Setup { project, rule, target, exporter: Arc::new(engine), gates, settings })
    }
}

/// The setup in force.
#[derive(Clone)]
pub struct Live(Arc<RwLock<Arc<Setup>>>);

impl Live {
    pub fn new(setup: Setup) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(setup))))
    }

    /// The present setup; work under way keeps the one that it began with.
    pub fn now(&self) -> Arc<Setup> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn replace(&self, setup: Setup) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(setup);
    }
}

/// What every loop works with.
#[derive(Clone)]
pub struct Service {
    pub bus: Arc<dyn Bus>,
    pub state: State,
    pub clock: Arc<dyn Clock>,
    pub live: Live,
    /// This copy's name in claims.
    pub name: String,
    pub telemetry: Telemetry,
    pub beats: Beats,
    pub idle: Idle,
    /// Cancelled when the grace period of a shutdown is over: what can be handed back is.
    pub drain: Cancel,
}

/// Why a message could not be answered now: it is delivered again.
#[derive(Debug)]
pub struct Trouble(pub String);

impl<E: std::error::Error> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl Service {
    /// Says what went wrong with a loop's round; it goes on.
    fn trouble(&self, name: &str, reason: &str) {
        self.telemetry.emit(&LoopFailed { name, reason });
    }

    /// Says that a message will come again, and why; the answer for it.
    fn comes_again(&self, subscription: &str, delivery: &Delivery, delay: Duration, reason: &str) -> consumer::Answer {
        self.telemetry.emit(&HandedBack {
            subscription,
            message_id: &delivery.message.id,
            attempt: delivery.attempt,
            delay,
            reason,
            trace: TraceContext::of(&delivery.message.attributes).as_ref(),
        });
        consumer::Answer::Later(delay)
    }
}
