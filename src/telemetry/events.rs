//! The things worth knowing. Each struct holds what its line and its metric need; fields are plain, so that whoever emits
//! one needs nothing of this room but the struct.

use super::log::{Fields, Severity};
use super::otlp::{self, Span};
use super::trace::TraceContext;
use super::{Event, Metrics};
use crate::model::completion::RunOutcome;
use crate::model::report::{ExportReport, Status, Totals};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;
use std::time::Duration;

/// A value's name in JSON: `kept_empty`.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}

fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// The process is ready for work.
#[derive(Debug, Clone)]
pub struct Started<'a> {
    pub target: &'a str,
    pub exports: usize,
    pub jobs: usize,
    pub triggers: usize,
    /// The address of the HTTP door, where there is one.
    pub listen: Option<&'a str>,
}

impl Event for Started<'_> {
    fn severity(&self) -> Severity {
        Severity::Notice
    }
    fn message(&self) -> String {
        format!("started on target `{}`: {} exports, {} jobs", self.target, self.exports, self.jobs)
    }
    fn fields(&self, out: &mut Fields) {
        out.label("target", self.target);
        out.field("version", env!("CARGO_PKG_VERSION"));
        out.field("triggers", self.triggers);
        out.maybe("listen", self.listen);
    }
    fn count(&self, _metrics: &Metrics) {}
}

/// The process ends.
#[derive(Debug, Clone)]
pub struct Stopped<'a> {
    /// `SIGTERM`, or an error.
    pub reason: &'a str,
    /// Whether all work under way was finished; the rest is handed back.
    pub finished: bool,
    pub failed: bool,
}

impl Event for Stopped<'_> {
    fn severity(&self) -> Severity {
        if self.failed { Severity::Critical } else { Severity::Notice }
    }
    fn message(&self) -> String {
        format!("stopped: {}", self.reason)
    }
    fn fields(&self, out: &mut Fields) {
        out.field("finished", self.finished);
    }
    fn count(&self, _metrics: &Metrics) {}
}

/// The configuration was read again.
#[derive(Debug, Clone)]
pub struct Reloaded<'a> {
    /// Why the new one was refused; the old one stays.
    pub refused: Option<&'a str>,
}

impl Event for Reloaded<'_> {
    fn severity(&self) -> Severity {
        if self.refused.is_some() { Severity::Error } else { Severity::Notice }
    }
    fn message(&self) -> String {
        match self.refused {
            None => "the configuration was reloaded".to_owned(),
            Some(reason) => format!("the new configuration was refused and the old one stays: {reason}"),
        }
    }
    fn fields(&self, out: &mut Fields) {
        out.field("accepted", self.refused.is_none());
    }
    fn count(&self, metrics: &Metrics) {
        metrics.reload(if self.refused.is_some() { "refused" } else { "accepted" });
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestOutcome {
    Ran(RunOutcome),
    /// Another run answered the same cause.
    Duplicate,
}

impl RequestOutcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ran(RunOutcome::Success) => "success",
            Self::Ran(RunOutcome::Partial) => "partial",
            Self::Ran(RunOutcome::Failed) => "failed",
            Self::Ran(RunOutcome::Cancelled) => "cancelled",
            Self::Duplicate => "duplicate",
        }
    }
}

/// A request ended for good.
#[derive(Debug, Clone)]
pub struct RequestFinished<'a> {
    pub run_id: &'a str,
    pub cause_id: &'a str,
    pub target_date: Date,
    pub outcome: RequestOutcome,
    pub attempts: u32,
    pub totals: Totals,
    /// From its start to its end, all attempts and pauses included.
    pub took: Duration,
    /// From upstream completion to the last upload, where an upstream message was the cause.
    pub publish_latency: Option<Duration>,
    /// Why, where it did not succeed.
    pub reason: Option<&'a str>,
    pub trace: Option<&'a TraceContext>,
}

impl Event for RequestFinished<'_> {
    fn severity(&self) -> Severity {
        match self.outcome {
            RequestOutcome::Ran(RunOutcome::Failed) => Severity::Error,
            RequestOutcome::Ran(RunOutcome::Partial) => Severity::Warning,
            RequestOutcome::Ran(RunOutcome::Cancelled) => Severity::Notice,
            _ => Severity::Info,
        }
    }
    fn message(&self) -> String {
        let (good, all) = (self.totals.succeeded, self.totals.succeeded + self.totals.failed);
        let outcome = self.outcome.as_str();
        let reason = self.reason.map(|r| format!(": {r}")).unwrap_or_default();
        format!("run {} of {} ended: {outcome}, {good} of {all} exports{reason}", self.run_id, self.target_date)
    }
    fn fields(&self, out: &mut Fields) {
        out.label("run_id", self.run_id);
        out.field("cause_id", self.cause_id);
        out.field("target_date", self.target_date.to_string());
        out.field("outcome", self.outcome.as_str());
        out.field("attempts", self.attempts);
        out.field("objects_written", self.totals.objects.written);
        out.field("bytes", self.totals.bytes);
        out.field("duration_ms", ms(self.took));
        out.maybe("publish_latency_ms", self.publish_latency.map(ms));
        out.trace(Some(&otlp::place_of_run(self.run_id, self.trace)));
    }
    fn count(&self, metrics: &Metrics) {
        metrics.request(self.outcome.as_str(), self.took, self.publish_latency);
    }
    fn spans(&self, now: Timestamp) -> Vec<Span> {
        let failed = matches!(self.outcome, RequestOutcome::Ran(RunOutcome::Failed | RunOutcome::Partial));
        vec![Span {
            place: otlp::place_of_run(self.run_id, self.trace),
            parent: self.trace.map(|message| message.span_id.clone()),
            name: "request".to_owned(),
            start: otlp::after(now, -ms(self.took)),
            end: now,
            failed: failed.then(|| self.reason.unwrap_or("it failed").to_owned()),
            attributes: vec![
                ("phase6.run_id", self.run_id.into()),
                ("phase6.cause_id", self.cause_id.into()),
                ("phase6.target_date", self.target_date.to_string().into()),
                ("phase6.outcome", self.outcome.as_str().into()),
                ("phase6.attempts", self.attempts.into()),
            ],
        }]
    }
}

/// One attempt at an export ended.
#[derive(Debug, Clone)]
pub struct ExportFinished<'a> {
    pub run_id: &'a str,
    pub target_date: Date,
    pub attempt: u32,
    /// Whether the export is tried again later.
    pub retried: bool,
    /// When; others of its request may have taken longer, and the line is written behind the last.
    pub ended: Timestamp,
    pub report: &'a ExportReport,
    pub trace: Option<&'a TraceContext>,
}

impl Event for ExportFinished<'_> {
    fn severity(&self) -> Severity {
        match self.report.status {
            Status::Failed if self.retried => Severity::Warning,
            Status::Failed => Severity::Error,
            Status::NotReady | Status::NotRun => Severity::Notice,
            _ => Severity::Info,
        }
    }
    fn message(&self) -> String {
        let report = self.report;
        let reason = report.reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default();
        format!("export `{}` of {}: {}{reason}", report.export, self.target_date, word(&report.status))
    }
    fn fields(&self, out: &mut Fields) {
        let report = self.report;
        out.label("run_id", self.run_id);
        out.label("export", &report.export);
        out.field("target_date", self.target_date.to_string());
        out.field("status", word(&report.status));
        out.field("attempt", self.attempt);
        out.field("retried", self.retried);
        out.maybe("class", report.class.as_ref().map(word));
        out.field("objects_written", report.objects.written);
        out.field("objects_unchanged", report.objects.unchanged);
        out.field("objects_superseded", report.objects.superseded);
        out.field("bytes", report.bytes);
        out.field("query_ms", report.times.query_ms);
        out.field("shape_ms", report.times.shape_ms);
        out.field("publish_ms", report.times.publish_ms);
        out.field("duration_ms", report.times.total_ms);
        // Rules and places, never the values of a rejected document.
        let rules: Vec<String> = report.findings.iter().take(10).map(|f| f.rule.clone()).collect();
        if !rules.is_empty() {
            out.field("findings", rules);
        }
        out.maybe("quarantine", report.quarantine.clone());
        out.trace(Some(&self.place()));
    }
    fn count(&self, metrics: &Metrics) {
        metrics.export(self.report, &word(&self.report.status));
    }
    fn spans(&self, _now: Timestamp) -> Vec<Span> {
        let (report, times) = (self.report, self.report.times);
        let place = self.place();
        let start = otlp::after(self.ended, -times.total_ms);
        let failed = (!report.status.is_success()).then(|| report.reason.clone().unwrap_or_default());
        let mut spans = vec![Span {
            place: place.clone(),
            parent: Some(otlp::place_of_run(self.run_id, self.trace).span_id),
            name: format!("export {}", report.export),
            start,
            end: self.ended,
            failed,
            attributes: vec![
                ("phase6.run_id", self.run_id.into()),
                ("phase6.export", report.export.as_str().into()),
                ("phase6.target_date", self.target_date.to_string().into()),
                ("phase6.status", word(&report.status).into()),
                ("phase6.attempt", self.attempt.into()),
                ("phase6.bytes", report.bytes.into()),
            ],
        }];
        // One after the other, as the engine takes them; a step that was not reached took no time.
        let mut begun = start;
        for (step, took) in [("query", times.query_ms), ("shape", times.shape_ms), ("publish", times.publish_ms)] {
            let end = otlp::after(begun, took);
            if took > 0.0 {
                spans.push(Span {
                    place: otlp::below(&place, &[step]),
                    parent: Some(place.span_id.clone()),
                    name: step.to_owned(),
                    start: begun,
                    end,
                    failed: None,
                    attributes: Vec::new(),
                });
            }
            begun = end;
        }
        spans
    }
}

impl ExportFinished<'_> {
    /// Where the attempt is in its trace.
    fn place(&self) -> TraceContext {
        let run = otlp::place_of_run(self.run_id, self.trace);
        otlp::below(&run, &["export", &self.report.export, &self.attempt.to_string()])
    }
}

/// A gate decided on an upstream message.
#[derive(Debug, Clone)]
pub struct GateDecided<'a> {
    pub trigger: &'a str,
    /// `accept`, `skip`, `reject`, `duplicate`.
    pub verdict: &'a str,
    pub reason: &'a str,
    pub decision_id: &'a str,
    pub message_id: &'a str,
    pub cause_id: &'a str,
    pub forced: bool,
    pub trace: Option<&'a TraceContext>,
}

impl Event for GateDecided<'_> {
    fn severity(&self) -> Severity {
        match self.verdict {
            "reject" => Severity::Error,
            "skip" => Severity::Notice,
            _ => Severity::Info,
        }
    }
    fn message(&self) -> String {
        format!("trigger `{}` says {}: {}", self.trigger, self.verdict, self.reason)
    }
    fn fields(&self, out: &mut Fields) {
        out.label("trigger", self.trigger);
        out.field("verdict", self.verdict);
        out.field("decision_id", self.decision_id);
        out.field("message_id", self.message_id);
        out.field("cause_id", self.cause_id);
        out.field("forced", self.forced);
        out.trace(self.trace);
    }
    fn count(&self, metrics: &Metrics) {
        metrics.decision(self.trigger, self.verdict);
    }
}

/// A schedule's slot came to its end.
#[derive(Debug, Clone)]
pub struct TickSettled<'a> {
    pub job: &'a str,
    pub slot: Timestamp,
    /// `run`, `missed`, `skipped`.
    pub outcome: &'a str,
    pub reason: Option<&'a str>,
}

impl Event for TickSettled<'_> {
    fn severity(&self) -> Severity {
        match self.outcome {
            "missed" => Severity::Warning,
            "skipped" => Severity::Notice,
            _ => Severity::Info,
        }
    }
    fn message(&self) -> String {
        let reason = self.reason.map(|r| format!(": {r}")).unwrap_or_default();
        format!("job `{}`, slot {}: {}{reason}", self.job, self.slot, self.outcome)
    }
    fn fields(&self, out: &mut Fields) {
        out.label("job", self.job);
        out.field("slot", self.slot.to_string());
        out.field("outcome", self.outcome);
    }
    fn count(&self, metrics: &Metrics) {
        metrics.tick(self.job, self.outcome);
    }
}

/// A message was set aside.
#[derive(Debug, Clone)]
pub struct DeadLettered<'a> {
    pub id: &'a str,
    pub topic: &'a str,
    pub subscription: &'a str,
    pub message_id: &'a str,
    pub reason: &'a str,
    pub attempts: u32,
    pub run_id: Option<&'a str>,
    pub trace: Option<&'a TraceContext>,
}

impl Event for DeadLettered<'_> {
    fn severity(&self) -> Severity {
        Severity::Error
    }
    fn message(&self) -> String {
        format!("message {} on `{}` is a dead letter: {}", self.message_id, self.topic, self.reason)
    }
    fn fields(&self, out: &mut Fields) {
        if let Some(run_id) = self.run_id {
            out.label("run_id", run_id);
        }
        out.label("subscription", self.subscription);
        out.field("dead_letter", self.id);
        out.field("topic", self.topic);
        out.field("message_id", self.message_id);
        out.field("attempts", self.attempts);
        out.trace(self.trace);
    }
    fn count(&self, metrics: &Metrics) {
        metrics.dead_letter();
    }
}

/// The store or the bus refused for the moment and is asked again.
#[derive(Debug, Clone)]
pub struct PublishRetried<'a> {
    /// An object's path or a topic.
    pub what: &'a str,
    pub attempt: u32,
    pub delay: Duration,
    pub reason: &'a str,
}

impl Event for PublishRetried<'_> {
    fn severity(&self) -> Severity {
        Severity::Warning
    }
    fn message(&self) -> String {
        format!("`{}` is tried again in {} ms: {}", self.what, self.delay.as_millis(), self.reason)
    }
    fn fields(&self, out: &mut Fields) {
        out.field("what", self.what);
        out.field("attempt", self.attempt);
        out.field("delay_ms", ms(self.delay));
    }
    fn count(&self, metrics: &Metrics) {
        metrics.publish_retry();
    }
}

/// A message goes back and is delivered again.
#[derive(Debug, Clone)]
pub struct HandedBack<'a> {
    pub subscription: &'a str,
    pub message_id: &'a str,
    pub attempt: u32,
    pub delay: Duration,
    pub reason: &'a str,
    pub trace: Option<&'a TraceContext>,
}

impl Event for HandedBack<'_> {
    fn severity(&self) -> Severity {
        Severity::Notice
    }
    fn message(&self) -> String {
        format!("message {} goes back for {} s: {}", self.message_id, self.delay.as_secs(), self.reason)
    }
    fn fields(&self, out: &mut Fields) {
        out.label("subscription", self.subscription);
        out.field("message_id", self.message_id);
        out.field("attempt", self.attempt);
        out.trace(self.trace);
    }
    fn count(&self, metrics: &Metrics) {
        metrics.redelivery(self.subscription);
    }
}

/// A loop could not do a round of its work; it goes on with the next.
#[derive(Debug, Clone)]
pub struct LoopFailed<'a> {
    /// `worker`, `scheduler`, `monitor` …
    pub name: &'a str,
    pub reason: &'a str,
}

impl Event for LoopFailed<'_> {
    fn severity(&self) -> Severity {
        Severity::Warning
    }
    fn message(&self) -> String {
        format!("the {} could not do its round: {}", self.name, self.reason)
    }
    fn fields(&self, out: &mut Fields) {
        out.label("loop", self.name);
    }
    fn count(&self, metrics: &Metrics) {
        metrics.loop_failure(self.name);
    }
}

/// An alert began or ended.
#[derive(Debug, Clone)]
pub struct AlertChanged<'a> {
    pub alert: &'a str,
    pub firing: bool,
    pub summary: &'a str,
    pub since: Timestamp,
    /// Whether the log is one of its receivers; without it the line is for those who search.
    pub to_log: bool,
}

impl Event for AlertChanged<'_> {
    fn severity(&self) -> Severity {
        match (self.firing, self.to_log) {
            (true, true) => Severity::Critical,
            (true, false) => Severity::Warning,
            (false, _) => Severity::Notice,
        }
    }
    fn message(&self) -> String {
        let state = if self.firing { "is firing" } else { "is resolved" };
        format!("alert `{}` {state}: {}", self.alert, self.summary)
    }
    fn fields(&self, out: &mut Fields) {
        out.label("alert", self.alert);
        out.field("state", if self.firing { "firing" } else { "resolved" });
        out.field("since", self.since.to_string());
    }
    fn count(&self, metrics: &Metrics) {
        metrics.alert(self.alert, if self.firing { "firing" } else { "resolved" });
    }
}

/// A receiver was told, or could not be.
#[derive(Debug, Clone)]
pub struct Notified<'a> {
    pub alert: &'a str,
    pub receiver: &'a str,
    pub attempt: u32,
    /// Why it could not be told, and whether it is tried again.
    pub failed: Option<(&'a str, bool)>,
}

impl Event for Notified<'_> {
    fn severity(&self) -> Severity {
        match self.failed {
            None => Severity::Info,
            Some((_, true)) => Severity::Warning,
            Some((_, false)) => Severity::Error,
        }
    }
    fn message(&self) -> String {
        match self.failed {
            None => format!("{} was told of alert `{}`", self.receiver, self.alert),
            Some((reason, again)) => {
                let next = if again { "it is tried again" } else { "it is given up" };
                format!("{} could not be told of alert `{}`, {next}: {reason}", self.receiver, self.alert)
            }
        }
    }
    fn fields(&self, out: &mut Fields) {
        out.label("alert", self.alert);
        out.field("receiver", self.receiver);
        out.field("attempt", self.attempt);
    }
    fn count(&self, metrics: &Metrics) {
        let outcome = match self.failed {
            None => "told",
            Some((_, true)) => "retried",
            Some((_, false)) => "given_up",
        };
        metrics.notification(self.alert, outcome);
    }
}
