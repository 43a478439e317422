//! What `serve` shows of itself: its log, its metrics, and the monitor of the configuration in force.

use crate::adapters::webhook::Webhook;
use crate::engine::export::Engine;
use crate::ports::bus::Bus;
use crate::ports::clock::{Clock, SystemClock};
use crate::ports::notifier::Notifier;
use crate::service::monitor::{Monitor, Report, Webhooks};
use crate::service::settings::{Settings, subscriptions};
use crate::telemetry::otlp::Collector;
use crate::telemetry::{LogFormat, Options, Severity, Telemetry};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The process's telemetry. `GOOGLE_CLOUD_PROJECT` says in whose Cloud Trace the traces are, OpenTelemetry's variables which
/// collector gets them.
pub fn telemetry(format: LogFormat, quiet: bool) -> Telemetry {
    let threshold = if quiet { Severity::Warning } else { Severity::Info };
    let trace_project = std::env::var("GOOGLE_CLOUD_PROJECT").ok().filter(|name| !name.is_empty());
    let telemetry = Telemetry::new(Options { format, threshold, trace_project }, || SystemClock.now());
    if let Some(collector) = Collector::from_env(&|name| std::env::var(name).ok())
        && let Err(error) = telemetry.trace_to(collector)
    {
        telemetry.log(Severity::Error, &format!("traces cannot be sent: {error}"), &[]);
    }
    telemetry
}

/// Webhooks whose secrets come from the environment.
pub fn webhooks() -> Webhooks {
    Arc::new(|url, allow_private| {
        let webhook = Webhook::new(url, allow_private, &|name| std::env::var(name).ok())?;
        Ok(Arc::new(webhook) as Arc<dyn Notifier>)
    })
}

/// The running monitor. It is replaced when the configuration is, and ends when it is dropped: a round that is cut off
/// loses nothing, since what it decides is written whole or not at all.
pub struct Watch {
    task: JoinHandle<()>,
    /// What it found last.
    pub report: Arc<Mutex<Report>>,
}

impl Watch {
    pub fn start(
        engine: &Engine,
        bus: Arc<dyn Bus>,
        telemetry: &Telemetry,
        owner: &str,
        shutdown: watch::Receiver<bool>,
    ) -> Self {
        let names = subscriptions(&engine.project, &Settings::default()).into_iter().map(|s| s.name).collect();
        let monitor = Monitor::new(engine, Some((bus, names)), telemetry.clone(), owner.to_owned(), &webhooks());
        let report = monitor.report();
        Self { task: tokio::spawn(monitor.run(shutdown)), report }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
