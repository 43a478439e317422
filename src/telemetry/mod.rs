//! What operators see of a running service: one struct for each thing worth knowing, and `emit`, which makes the log line and
//! the metric of it together, so that the two can never disagree.
//!
//! ```text
//! events.rs   the things worth knowing      log.rs      lines that Cloud Logging understands
//! metrics.rs  OpenMetrics text              trace.rs    W3C trace context of a message
//!                                           otlp.rs     spans for a collector
//! ```
//!
//! Messages' bodies and secrets have no field in any event; that is how they stay out of the logs.

pub mod events;
pub mod log;
pub mod metrics;
pub mod otlp;
pub mod trace;

pub use events::*;
pub use log::{Fields, LogFormat, Severity};
pub use metrics::{CONTENT_TYPE, Metrics};
pub use trace::TraceContext;

use jiff::Timestamp;
use otlp::{Collector, Span, Tracer};
use serde_json::Value;
use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};

/// Something worth knowing.
pub trait Event {
    fn severity(&self) -> Severity;
    /// One sentence, for people.
    fn message(&self) -> String;
    /// What a query of the logs asks for.
    fn fields(&self, out: &mut Fields);
    /// What is counted.
    fn count(&self, metrics: &Metrics);
    /// What took its time and ended now, for traces.
    fn spans(&self, _now: Timestamp) -> Vec<Span> {
        Vec::new()
    }
}

/// The handle that is passed around; a clone is a pointer.
#[derive(Clone)]
pub struct Telemetry {
    inner: Arc<Inner>,
}

struct Inner {
    metrics: Metrics,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    json: bool,
    threshold: Severity,
    trace_project: Option<String>,
    sink: Sink,
    tracer: OnceLock<Tracer>,
}

enum Sink {
    Stderr,
    Memory(Mutex<Vec<String>>),
}

/// How lines are written.
#[derive(Debug, Clone)]
pub struct Options {
    pub format: LogFormat,
    /// Lines below it are not written; their metrics count all the same.
    pub threshold: Severity,
    /// The Google Cloud project in whose Cloud Trace the traces are.
    pub trace_project: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { format: LogFormat::Auto, threshold: Severity::Info, trace_project: None }
    }
}

impl Telemetry {
    /// Lines go to standard error. `now` is the clock port's (this room does not know it).
    pub fn new(options: Options, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self::with_sink(options, Box::new(now), Sink::Stderr)
    }

    /// Keeps its JSON lines in memory, for tests and simulations.
    pub fn in_memory(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let options = Options { format: LogFormat::Json, threshold: Severity::Debug, trace_project: None };
        Self::with_sink(options, Box::new(now), Sink::Memory(Mutex::default()))
    }

    fn with_sink(options: Options, now: Box<dyn Fn() -> Timestamp + Send + Sync>, sink: Sink) -> Self {
        Self {
            inner: Arc::new(Inner {
                metrics: Metrics::new(now()),
                now,
                json: options.format.is_json(),
                threshold: options.threshold,
                trace_project: options.trace_project,
                sink,
                tracer: OnceLock::new(),
            }),
        }
    }

    /// The log line and the metric of an event.
    pub fn emit(&self, event: &impl Event) {
        event.count(&self.inner.metrics);
        if let Some(tracer) = self.inner.tracer.get() {
            event.spans((self.inner.now)()).into_iter().filter(|s| s.place.sampled).for_each(|s| tracer.send(s));
        }
        if event.severity() < self.inner.threshold {
            return;
        }
        let mut fields = Fields::default();
        event.fields(&mut fields);
        self.write(event.severity(), &event.message(), &fields);
    }

    /// From now on spans go to the collector.
    pub fn trace_to(&self, collector: Collector) -> std::io::Result<()> {
        let tracer = Tracer::start(collector, self.inner.metrics.spans.clone())?;
        let _ = self.inner.tracer.set(tracer);
        Ok(())
    }

    /// Sends the spans that wait; takes two seconds at most. Blocking.
    pub fn flush_traces(&self) {
        if let Some(tracer) = self.inner.tracer.get() {
            tracer.flush();
        }
    }

    /// A line without a metric.
    pub fn log(&self, severity: Severity, message: &str, fields: &[(&'static str, Value)]) {
        if severity < self.inner.threshold {
            return;
        }
        let mut all = Fields::default();
        for (name, value) in fields {
            all.field(name, value.clone());
        }
        self.write(severity, message, &all);
    }

    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// The answer of `/metrics`; its type is [`CONTENT_TYPE`].
    pub fn metrics_text(&self) -> String {
        self.inner.metrics.text((self.inner.now)())
    }

    /// The lines that were kept in memory; empty for a telemetry that writes to standard error.
    pub fn lines(&self) -> Vec<String> {
        match &self.inner.sink {
            Sink::Stderr => Vec::new(),
            Sink::Memory(lines) => lines.lock().map(|l| l.clone()).unwrap_or_default(),
        }
    }

    fn write(&self, severity: Severity, message: &str, fields: &Fields) {
        let now = (self.inner.now)();
        let line = if self.inner.json {
            log::json_line(now, severity, message, fields, self.inner.trace_project.as_deref())
        } else {
            log::text_line(now, severity, message, fields)
        };
        match &self.inner.sink {
            // One write a line, so that lines of several processes do not mix. A closed standard error stops nothing.
            Sink::Stderr => drop(std::io::stderr().lock().write_all(line.as_bytes())),
            Sink::Memory(lines) => {
                if let Ok(mut lines) = lines.lock() {
                    lines.push(line);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
