//! Traces for an OpenTelemetry collector: OTLP over HTTP in JSON, one span for each request, each attempt at an export, and each
//! of its steps. Work never waits for it: a bounded queue and one thread; what does not fit or does not arrive is counted.
//!
//! A span's id is made of what it stands for, so that a request's span, which is known last, is the parent that its exports named
//! before. A message without a trace begins one whose id comes from the run's.

use super::metrics::Counters;
use super::trace::TraceContext;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

/// Spans that wait to be sent.
const QUEUE: usize = 4_096;
/// Spans of one call.
const BATCH: usize = 512;
/// How long the first span of a call waits for others.
const GATHER: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the end of the process waits for the last spans.
const FLUSH: Duration = Duration::from_secs(2);

/// Where spans go.
pub struct Collector {
    url: String,
    /// They may hold secrets, and are never shown.
    headers: Vec<(String, String)>,
    service: String,
}

impl Collector {
    /// From OpenTelemetry's variables; `None` when no collector is named.
    pub fn from_env(env: &dyn Fn(&str) -> Option<String>) -> Option<Self> {
        let var = |name: &str| env(name).filter(|value| !value.trim().is_empty());
        let url = var("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| {
            var("OTEL_EXPORTER_OTLP_ENDPOINT").map(|base| format!("{}/v1/traces", base.trim_end_matches('/')))
        })?;
        let pairs = var("OTEL_EXPORTER_OTLP_HEADERS").unwrap_or_default();
        let pair = |text: &str| text.split_once('=').map(|(k, v)| (k.trim().to_owned(), v.trim().to_owned()));
        let service = var("OTEL_SERVICE_NAME").unwrap_or_else(|| "phase6".to_owned());
        Some(Self { url, headers: pairs.split(',').filter_map(pair).collect(), service })
    }

    fn send(&self, agent: &ureq::Agent, spans: &[Span]) -> bool {
        let mut call = agent.post(&self.url).header("content-type", "application/json");
        for (name, value) in &self.headers {
            call = call.header(name, value);
        }
        call.send(self.body(spans).to_string()).is_ok_and(|answer| answer.status().is_success())
    }

    fn body(&self, spans: &[Span]) -> Value {
        let resource = attributes(&[
            ("service.name", self.service.as_str().into()),
            ("service.version", env!("CARGO_PKG_VERSION").into()),
        ]);
        let spans: Vec<Value> = spans.iter().map(Span::json).collect();
        let scope = json!({"name": "phase6", "version": env!("CARGO_PKG_VERSION")});
        json!({"resourceSpans": [{
            "resource": {"attributes": resource},
            "scopeSpans": [{"scope": scope, "spans": spans}],
        }]})
    }
}

/// Something that took its time.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The trace, and the span's own id.
    pub place: TraceContext,
    pub parent: Option<String>,
    pub name: String,
    pub start: Timestamp,
    pub end: Timestamp,
    /// Why it failed, where it did.
    pub failed: Option<String>,
    pub attributes: Vec<(&'static str, Value)>,
}

impl Span {
    fn json(&self) -> Value {
        let mut span = json!({
            "traceId": self.place.trace_id,
            "spanId": self.place.span_id,
            "name": self.name,
            "kind": 1,
            "startTimeUnixNano": self.start.as_nanosecond().to_string(),
            "endTimeUnixNano": self.end.as_nanosecond().to_string(),
            "attributes": attributes(&self.attributes),
            "status": match &self.failed {
                None => json!({"code": 1}),
                Some(reason) => json!({"code": 2, "message": reason}),
            },
        });
        if let Some(parent) = &self.parent {
            span["parentSpanId"] = parent.as_str().into();
        }
        span
    }
}

fn attributes(pairs: &[(&'static str, Value)]) -> Vec<Value> {
    let value = |value: &Value| match value {
        Value::Bool(yes) => json!({"boolValue": yes}),
        // OTLP writes 64-bit integers as text.
        Value::Number(n) if n.is_f64() => json!({"doubleValue": n}),
        Value::Number(n) => json!({"intValue": n.to_string()}),
        Value::String(text) => json!({"stringValue": text}),
        other => json!({"stringValue": other.to_string()}),
    };
    pairs.iter().map(|(name, v)| json!({"key": name, "value": value(v)})).collect()
}

/// The id of what `parts` name, in so many hex digits.
fn id(parts: &[&str], digits: usize) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>()[..digits].to_owned()
}

/// The place of a run's own span: in the message's trace, else in one of its own.
pub fn place_of_run(run_id: &str, message: Option<&TraceContext>) -> TraceContext {
    TraceContext {
        trace_id: message.map_or_else(|| id(&["trace", run_id], 32), |m| m.trace_id.clone()),
        span_id: id(&["run", run_id], 16),
        sampled: message.is_none_or(|m| m.sampled),
    }
}

/// The place of a span below another.
pub fn below(parent: &TraceContext, what: &[&str]) -> TraceContext {
    let parts: Vec<&str> = [parent.span_id.as_str()].into_iter().chain(what.iter().copied()).collect();
    TraceContext { span_id: id(&parts, 16), ..parent.clone() }
}

/// The instant so many milliseconds after another.
pub fn after(at: Timestamp, ms: f64) -> Timestamp {
    at.saturating_add(SignedDuration::from_micros((ms * 1e3) as i64)).unwrap_or(at)
}

enum Order {
    Send(Span),
    /// Answered when all that came before was sent.
    Flush(SyncSender<()>),
}

/// The way to a collector.
pub struct Tracer {
    queue: SyncSender<Order>,
    counters: Counters,
}

impl Tracer {
    /// Starts the thread that sends; it ends with the tracer.
    pub fn start(collector: Collector, counters: Counters) -> std::io::Result<Self> {
        let (queue, orders) = sync_channel(QUEUE);
        let counted = counters.clone();
        std::thread::Builder::new().name("traces".into()).spawn(move || send_all(&collector, &orders, &counted))?;
        Ok(Self { queue, counters })
    }

    pub fn send(&self, span: Span) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.queue.try_send(Order::Send(span)) {
            count(&self.counters, "dropped", 1);
        }
    }

    /// Sends what waits, but does not wait long for it.
    pub fn flush(&self) {
        let (answer, done) = sync_channel(1);
        if self.queue.try_send(Order::Flush(answer)).is_ok() {
            let _ = done.recv_timeout(FLUSH);
        }
    }
}

fn count(counters: &Counters, outcome: &str, number: u64) {
    counters.get_or_create(&vec![("outcome", outcome.to_owned())]).inc_by(number);
}

fn send_all(collector: &Collector, orders: &Receiver<Order>, counters: &Counters) {
    let config = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).max_redirects(0).proxy(None).build();
    let agent: ureq::Agent = config.into();
    while let Ok(first) = orders.recv() {
        let (spans, asked) = gather(first, orders);
        if !spans.is_empty() {
            let outcome = if collector.send(&agent, &spans) { "sent" } else { "failed" };
            count(counters, outcome, spans.len() as u64);
        }
        if let Some(answer) = asked {
            let _ = answer.send(());
        }
    }
}

/// The spans of one call: until it is full, nothing came for a while, or somebody asks for an end.
fn gather(first: Order, orders: &Receiver<Order>) -> (Vec<Span>, Option<SyncSender<()>>) {
    let (mut spans, until) = (Vec::new(), Instant::now() + GATHER);
    let mut next = Ok(first);
    loop {
        match next {
            Ok(Order::Send(span)) => spans.push(span),
            Ok(Order::Flush(answer)) => return (spans, Some(answer)),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return (spans, None),
        }
        if spans.len() == BATCH {
            return (spans, None);
        }
        next = orders.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}
