//! The metrics, in OpenMetrics text: what `design/semantics.md` and the seed's "Monitoring" ask for.

use jiff::Timestamp;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// The type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;
pub(super) type Counters = Family<Labels, Counter>;
type Real = Gauge<f64, AtomicU64>;
type Gauges = Family<Labels, Real>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// Everything that is counted and measured.
pub struct Metrics {
    registry: Registry,
    /// Held while a set of gauges is replaced and while the text is made: a scrape sees the old set or the new one.
    whole: Mutex<()>,
    requests: Counters,
    request_duration: Histograms,
    publish_latency: Histogram,
    exports: Counters,
    export_duration: Histograms,
    step_duration: Histograms,
    objects: Counters,
    published_bytes: Counters,
    billed_bytes: Counters,
    decisions: Counters,
    ticks: Counters,
    dead_letters: Counter,
    publish_retries: Counter,
    redeliveries: Counters,
    reloads: Counters,
    loop_failures: Counters,
    alert_transitions: Counters,
    notifications: Counters,
    /// The tracer's thread counts with a clone of it.
    pub(super) spans: Counters,
    alerts_firing: Gauges,
    freshness: Gauges,
    data_age: Gauges,
    stale: Real,
    backlog: Gauges,
    backlog_oldest: Gauges,
    dead_letters_waiting: Real,
    since_last_run: Real,
    last_run: Mutex<Option<Timestamp>>,
}

/// Seconds: a trivial export takes milliseconds, a season's profiles minutes.
fn seconds() -> Histogram {
    Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0])
}

/// From upstream completion to upload: readiness conditions may make it wait for hours.
fn latency() -> Histogram {
    Histogram::new([
        0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0,
    ])
}

fn histograms() -> Histograms {
    Family::new_with_constructor(seconds as fn() -> Histogram)
}

/// A freshness row as the gauges show it.
#[derive(Debug, Clone, PartialEq)]
pub struct FreshnessGauge {
    pub export: String,
    pub path: String,
    /// Since the object was last known to be right.
    pub object_age: Option<Duration>,
    pub data_age_days: Option<i64>,
    pub stale: bool,
}

/// A subscription's backlog as the gauges show it.
#[derive(Debug, Clone, PartialEq)]
pub struct BacklogGauge {
    pub subscription: String,
    pub messages: u64,
    pub oldest: Option<Duration>,
}

impl Metrics {
    pub(super) fn new(started: Timestamp) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("phase6"),
            whole: Mutex::new(()),
            requests: Family::default(),
            request_duration: histograms(),
            publish_latency: latency(),
            exports: Family::default(),
            export_duration: histograms(),
            step_duration: histograms(),
            objects: Family::default(),
            published_bytes: Family::default(),
            billed_bytes: Family::default(),
            decisions: Family::default(),
            ticks: Family::default(),
            dead_letters: Counter::default(),
            publish_retries: Counter::default(),
            redeliveries: Family::default(),
            reloads: Family::default(),
            loop_failures: Family::default(),
            alert_transitions: Family::default(),
            notifications: Family::default(),
            spans: Family::default(),
            alerts_firing: Family::default(),
            freshness: Family::default(),
            data_age: Family::default(),
            stale: Gauge::default(),
            backlog: Family::default(),
            backlog_oldest: Family::default(),
            dead_letters_waiting: Gauge::default(),
            since_last_run: Gauge::default(),
            last_run: Mutex::new(None),
        };
        metrics.register_work();
        metrics.register_state(started);
        metrics
    }

    fn register_work(&mut self) {
        let r = &mut self.registry;
        r.register("requests", "Requests that ended, by outcome", self.requests.clone());
        let help = "From a request's start to its completion message";
        r.register_with_unit("request_duration", help, Unit::Seconds, self.request_duration.clone());
        let help = "From upstream completion to the last upload of its run";
        r.register_with_unit("publish_latency", help, Unit::Seconds, self.publish_latency.clone());
        r.register("exports", "Exports that ended, by status", self.exports.clone());
        r.register_with_unit("export_duration", "Whole exports", Unit::Seconds, self.export_duration.clone());
        let help = "The steps of exports: query, shape (with contract, guards and writing), publish";
        r.register_with_unit("step_duration", help, Unit::Seconds, self.step_duration.clone());
        r.register("objects", "Objects of the public store, by what became of them", self.objects.clone());
        r.register_with_unit("published", "Bytes of all documents made", Unit::Bytes, self.published_bytes.clone());
        let help = "Bytes that the warehouse billed for the jobs of exports";
        r.register_with_unit("billed", help, Unit::Bytes, self.billed_bytes.clone());
        r.register("gate_decisions", "Verdicts on upstream messages", self.decisions.clone());
        r.register("ticks", "Schedule slots that were settled, by outcome", self.ticks.clone());
        r.register("dead_letters", "Messages that were set aside", self.dead_letters.clone());
        r.register(
            "publish_retries",
            "Attempts that a store or bus refused for the moment",
            self.publish_retries.clone(),
        );
        r.register("redeliveries", "Messages that were handed back to be delivered again", self.redeliveries.clone());
        r.register("reloads", "Reloads of the configuration, by outcome", self.reloads.clone());
        r.register("loop_failures", "Rounds of a loop that could not do their work", self.loop_failures.clone());
        r.register("alert_transitions", "Alerts that began or ended", self.alert_transitions.clone());
        r.register("notifications", "Notices to receivers, by outcome", self.notifications.clone());
        r.register("trace_spans", "Spans for the collector of traces, by outcome", self.spans.clone());
    }

    fn register_state(&mut self, started: Timestamp) {
        let r = &mut self.registry;
        r.register("build", "The running version", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
        let start = Real::default();
        start.set(started.as_millisecond() as f64 / 1e3);
        r.register_with_unit("start_time", "When the process started, since the epoch", Unit::Seconds, start);
        r.register("alerts_firing", "Whether an alert is firing (1) or not (0)", self.alerts_firing.clone());
        let help = "Since the object was last known to be right";
        r.register_with_unit("freshness", help, Unit::Seconds, self.freshness.clone());
        r.register("data_age_days", "Days from the data's date to today", self.data_age.clone());
        r.register("stale_exports", "Exports with an object that breaks its promise", self.stale.clone());
        r.register("backlog_messages", "Messages that are not acknowledged", self.backlog.clone());
        let help = "Age of the oldest message that is not acknowledged";
        r.register_with_unit("backlog_oldest", help, Unit::Seconds, self.backlog_oldest.clone());
        let help = "Dead letters that nobody has replayed or dropped";
        r.register("dead_letters_waiting", help, self.dead_letters_waiting.clone());
        // Not `register_with_unit`: the unit would come last and the name would be another.
        r.register("seconds_since_last_run", "Since the last run of any export ended", self.since_last_run.clone());
    }

    /// The exposition.
    pub fn text(&self, now: Timestamp) -> String {
        if let Some(last) = self.last_run.lock().ok().and_then(|l| *l) {
            self.since_last_run.set(now.duration_since(last).as_secs_f64().max(0.0));
        }
        let _whole = self.whole.lock();
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(_) => String::new(),
        }
    }

    /// Replaces the freshness of all objects.
    pub fn set_freshness(&self, rows: &[FreshnessGauge]) {
        let _whole = self.whole.lock();
        self.freshness.clear();
        self.data_age.clear();
        for row in rows {
            let labels: Labels = vec![("export", row.export.clone()), ("path", row.path.clone())];
            if let Some(age) = row.object_age {
                self.freshness.get_or_create(&labels).set(age.as_secs_f64());
            }
            if let Some(days) = row.data_age_days {
                self.data_age.get_or_create(&labels).set(days as f64);
            }
        }
        let mut stale: Vec<&str> = rows.iter().filter(|r| r.stale).map(|r| r.export.as_str()).collect();
        stale.sort_unstable();
        stale.dedup();
        self.stale.set(stale.len() as f64);
    }

    /// Replaces the backlog of all subscriptions.
    pub fn set_backlog(&self, rows: &[BacklogGauge]) {
        let _whole = self.whole.lock();
        self.backlog.clear();
        self.backlog_oldest.clear();
        for row in rows {
            let labels: Labels = vec![("subscription", row.subscription.clone())];
            self.backlog.get_or_create(&labels).set(row.messages as f64);
            self.backlog_oldest.get_or_create(&labels).set(row.oldest.unwrap_or_default().as_secs_f64());
        }
    }

    pub fn set_dead_letters_waiting(&self, number: u64) {
        self.dead_letters_waiting.set(number as f64);
    }

    /// From when `seconds_since_last_run` counts.
    pub fn set_last_run(&self, at: Option<Timestamp>) {
        if let Ok(mut last) = self.last_run.lock() {
            *last = at.or(*last);
        }
    }

    pub fn set_alert(&self, alert: &str, firing: bool) {
        self.alerts_firing.get_or_create(&vec![("alert", alert.to_owned())]).set(f64::from(u8::from(firing)));
    }

    pub(super) fn request(&self, outcome: &str, took: Duration, latency: Option<Duration>) {
        self.requests.get_or_create(&vec![("outcome", outcome.to_owned())]).inc();
        self.request_duration.get_or_create(&vec![("outcome", outcome.to_owned())]).observe(took.as_secs_f64());
        if let Some(latency) = latency {
            self.publish_latency.observe(latency.as_secs_f64());
        }
    }

    pub(super) fn export(&self, report: &crate::model::report::ExportReport, status: &str) {
        let export = || ("export", report.export.clone());
        self.exports.get_or_create(&vec![export(), ("status", status.to_owned())]).inc();
        self.export_duration.get_or_create(&vec![export()]).observe(report.times.total_ms / 1e3);
        let times = &report.times;
        for (step, ms) in [("query", times.query_ms), ("shape", times.shape_ms), ("publish", times.publish_ms)] {
            if ms > 0.0 {
                self.step_duration.get_or_create(&vec![export(), ("step", step.to_owned())]).observe(ms / 1e3);
            }
        }
        let objects = &report.objects;
        let counts =
            [("written", objects.written), ("unchanged", objects.unchanged), ("superseded", objects.superseded)];
        for (outcome, number) in counts.into_iter().filter(|(_, n)| *n > 0) {
            self.objects.get_or_create(&vec![export(), ("outcome", outcome.to_owned())]).inc_by(number);
        }
        if report.bytes > 0 {
            self.published_bytes.get_or_create(&vec![export()]).inc_by(report.bytes);
        }
        let billed: u64 = report.jobs.values().filter_map(|job| job.bytes_billed).sum();
        if billed > 0 {
            self.billed_bytes.get_or_create(&vec![export()]).inc_by(billed);
        }
    }

    pub(super) fn decision(&self, trigger: &str, verdict: &str) {
        let labels: Labels = vec![("trigger", trigger.to_owned()), ("verdict", verdict.to_owned())];
        self.decisions.get_or_create(&labels).inc();
    }

    pub(super) fn tick(&self, job: &str, outcome: &str) {
        self.ticks.get_or_create(&vec![("job", job.to_owned()), ("outcome", outcome.to_owned())]).inc();
    }

    pub(super) fn dead_letter(&self) {
        self.dead_letters.inc();
    }

    pub(super) fn publish_retry(&self) {
        self.publish_retries.inc();
    }

    pub(super) fn redelivery(&self, subscription: &str) {
        self.redeliveries.get_or_create(&vec![("subscription", subscription.to_owned())]).inc();
    }

    pub(super) fn reload(&self, outcome: &str) {
        self.reloads.get_or_create(&vec![("outcome", outcome.to_owned())]).inc();
    }

    pub(super) fn loop_failure(&self, name: &str) {
        self.loop_failures.get_or_create(&vec![("loop", name.to_owned())]).inc();
    }

    pub(super) fn alert(&self, alert: &str, state: &str) {
        self.alert_transitions.get_or_create(&vec![("alert", alert.to_owned()), ("state", state.to_owned())]).inc();
    }

    pub(super) fn notification(&self, alert: &str, outcome: &str) {
        self.notifications.get_or_create(&vec![("alert", alert.to_owned()), ("outcome", outcome.to_owned())]).inc();
    }
}
