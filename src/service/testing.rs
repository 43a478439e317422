//! The shipped project's service over what the test gives it, and an exporter that waits for a word. Only compiled for tests:
//! `#[cfg(test)]`.

use super::beats::Beats;
use super::settings::Settings;
use super::{Exporter, Live, Service, Setup};
use crate::adapters::memory::MemoryStore;
use crate::engine::export::empty_report;
use crate::model::report::{ExportReport, FailureClass, Status};
use crate::model::request::ExportRequest;
use crate::ports::bus::Bus;
use crate::ports::cancel::Cancel;
use crate::ports::clock::Clock;
use crate::service::idle::Idle;
use crate::state::State;
use crate::telemetry::Telemetry;
use async_trait::async_trait;
use jiff::Timestamp;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The pause that [`Late`] asks for.
pub const LATE_PAUSE: Duration = Duration::from_secs(600);

/// Exports whose data is not there until it is said to be.
#[derive(Default)]
pub struct Late {
    pub ready: AtomicBool,
    /// What was asked for, each time.
    pub asked: Mutex<Vec<ExportRequest>>,
}

#[async_trait]
impl Exporter for Late {
    async fn export(&self, request: &ExportRequest, export: &str, _: &Cancel) -> ExportReport {
        self.asked.lock().unwrap().push(request.clone());
        let report = empty_report(export);
        if self.ready.load(Ordering::Relaxed) {
            return ExportReport { status: Status::Published, ..report };
        }
        let retry_after_ms = u64::try_from(LATE_PAUSE.as_millis()).ok();
        ExportReport { status: Status::NotReady, class: Some(FailureClass::NotReady), retry_after_ms, ..report }
    }
}

/// A service without gates, with an empty state.
pub fn service(bus: Arc<dyn Bus>, clock: Arc<dyn Clock>, exporter: Arc<dyn Exporter>) -> Service {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let project = Arc::new(crate::config::load(root, &|_| None).project);
    let setup = Setup {
        rule: project.calendar.day_rule().unwrap(),
        project,
        target: "local".into(),
        exporter,
        gates: Vec::new(),
        settings: Settings::default(),
    };
    Service {
        bus,
        state: State::new(Arc::new(MemoryStore::new())).without_pauses(),
        clock,
        live: Live::new(setup),
        name: "one".into(),
        telemetry: Telemetry::in_memory(|| Timestamp::UNIX_EPOCH),
        beats: Beats::default(),
        idle: Idle::default(),
        drain: Cancel::default(),
    }
}
