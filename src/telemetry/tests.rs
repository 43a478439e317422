use super::*;
use crate::model::completion::RunOutcome;
use crate::model::report::{ExportReport, JobReport, Status, Times, Totals};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

const NOW: &str = "2025-12-12T18:00:00Z";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn telemetry() -> Telemetry {
    Telemetry::in_memory(|| NOW.parse().unwrap())
}

fn billed((query, bytes_billed): (&str, Option<u64>)) -> (String, JobReport) {
    (query.to_owned(), JobReport { bytes_billed, ..JobReport::default() })
}

fn report(export: &str, status: Status) -> ExportReport {
    ExportReport {
        export: export.into(),
        status,
        reason: Some("because".into()),
        class: None,
        empty: false,
        retry_after_ms: None,
        give_up_after_ms: None,
        findings: Vec::new(),
        rows: BTreeMap::new(),
        jobs: BTreeMap::from([("games", Some(10 << 20)), ("players", Some(1 << 20)), ("cached", None)].map(billed)),
        bytes: 4_000,
        objects: crate::model::report::ObjectCounts { written: 2, unchanged: 1, superseded: 0, deleted: 0 },
        paths: Vec::new(),
        quarantine: None,
        times: Times { query_ms: 40.0, shape_ms: 2.0, publish_ms: 1.0, total_ms: 43.0 },
    }
}

/// Emits one of everything.
fn everything() -> Telemetry {
    let telemetry = telemetry();
    let trace = TraceContext::parse(PARENT).unwrap();
    telemetry.emit(&Started { target: "local", exports: 8, jobs: 3, triggers: 1, listen: Some("127.0.0.1:8080") });
    telemetry.emit(&ExportFinished {
        run_id: "r1",
        target_date: "2025-12-12".parse().unwrap(),
        attempt: 1,
        retried: false,
        ended: NOW.parse().unwrap(),
        report: &report("daily \"x\"\\y\nz", Status::Published),
        trace: Some(&trace),
    });
    telemetry.emit(&RequestFinished {
        run_id: "r1",
        cause_id: "batch",
        target_date: "2025-12-12".parse().unwrap(),
        outcome: RequestOutcome::Ran(RunOutcome::Success),
        attempts: 1,
        totals: Totals { succeeded: 4, ..Totals::default() },
        took: Duration::from_millis(1_250),
        publish_latency: Some(Duration::from_secs(42)),
        reason: None,
        trace: Some(&trace),
    });
    telemetry.emit(&GateDecided {
        trigger: "t",
        verdict: "skip",
        reason: "fewer than 80 %",
        decision_id: "d",
        message_id: "m",
        cause_id: "c",
        forced: false,
        trace: None,
    });
    let slot = NOW.parse().unwrap();
    telemetry.emit(&TickSettled { job: "j", slot, outcome: "missed", reason: Some("too old") });
    telemetry.emit(&DeadLettered {
        id: "x",
        topic: "t",
        subscription: "s",
        message_id: "m",
        reason: "no JSON",
        attempts: 5,
        run_id: None,
        trace: None,
    });
    let delay = Duration::from_millis(50);
    telemetry.emit(&PublishRetried { what: "a.json", attempt: 1, delay, reason: "429" });
    telemetry.emit(&HandedBack { subscription: "s", message_id: "m", attempt: 1, delay, reason: "x", trace: None });
    telemetry.emit(&LoopFailed { name: "worker", reason: "no bus" });
    telemetry.emit(&Reloaded { refused: Some("line 3") });
    telemetry.emit(&AlertChanged { alert: "stale", firing: true, summary: "2 of 9", since: slot, to_log: true });
    telemetry.emit(&Notified { alert: "stale", receiver: "webhook hooks.example", attempt: 1, failed: None });
    telemetry.emit(&Stopped { reason: "SIGTERM", finished: true, failed: false });
    let metrics = telemetry.metrics();
    metrics.set_freshness(&[FreshnessGauge {
        export: "e".into(),
        path: "v1/e/latest.json".into(),
        object_age: Some(Duration::from_secs(3_600)),
        data_age_days: Some(1),
        stale: true,
    }]);
    metrics.set_backlog(&[BacklogGauge {
        subscription: "s".into(),
        messages: 3,
        oldest: Some(Duration::from_secs(9)),
    }]);
    metrics.set_dead_letters_waiting(2);
    metrics.set_last_run(Some("2025-12-12T17:00:00Z".parse().unwrap()));
    metrics.set_alert("stale", true);
    telemetry
}

use super::metrics::{BacklogGauge, FreshnessGauge};

#[test]
fn every_line_is_one_json_object_that_cloud_logging_understands() {
    let telemetry = everything();
    let lines = telemetry.lines();
    assert_eq!(lines.len(), 13);
    for line in &lines {
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let severity = value["severity"].as_str().unwrap();
        assert!(["DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL"].contains(&severity), "{line}");
        assert_eq!(value["time"], NOW);
        assert!(!value["message"].as_str().unwrap().is_empty());
        if let Some(labels) = value.get("logging.googleapis.com/labels") {
            assert!(labels.as_object().unwrap().values().all(serde_json::Value::is_string), "{line}");
        }
    }
    let export: serde_json::Value = serde_json::from_str(&lines[1]).unwrap();
    assert_eq!(export["logging.googleapis.com/trace"], "4bf92f3577b34da6a3ce929d0e0e4736");
    let span = export["logging.googleapis.com/spanId"].as_str().unwrap();
    assert!(span.len() == 16 && span != "00f067aa0ba902b7", "its own span, not the message's: {span}");
    assert_eq!(export["logging.googleapis.com/labels"]["run_id"], "r1");
    assert_eq!(export["duration_ms"], 43.0);
    assert_eq!(export["status"], "published");
}

#[test]
fn a_line_for_people_stays_one_line_whatever_its_reason_holds() {
    let mut fields = Fields::default();
    fields.label("export", "a\nb");
    fields.field("reason", "x\ny\u{1b}[31m");
    let line = log::text_line(NOW.parse().unwrap(), Severity::Error, "no\ngood\u{1b}[0m", &fields);
    assert_eq!(line.matches('\n').count(), 1);
    assert!(!line.contains('\u{1b}'), "{line:?}");
    assert!(line.starts_with("18:00:00.000 ERROR    no good"), "{line}");
}

#[test]
fn long_reasons_are_cut() {
    let telemetry = telemetry();
    telemetry.emit(&LoopFailed { name: "worker", reason: &"ä".repeat(1_000_000) });
    assert!(telemetry.lines()[0].len() < 5_000);
}

#[test]
fn lines_below_the_threshold_are_not_written_but_counted() {
    let options = Options { threshold: Severity::Critical, ..Options::default() };
    let telemetry = Telemetry::new(options, || NOW.parse().unwrap());
    telemetry.emit(&Reloaded { refused: None });
    assert!(telemetry.metrics_text().contains("phase6_reloads_total{outcome=\"accepted\"} 1\n"));
}

#[test]
fn the_line_and_the_metric_come_together() {
    let text = everything().metrics_text();
    for wanted in [
        "phase6_requests_total{outcome=\"success\"} 1",
        "phase6_publish_latency_seconds_bucket{le=\"60.0\"} 1",
        "phase6_publish_latency_seconds_bucket{le=\"30.0\"} 0",
        "phase6_publish_latency_seconds_sum 42.0",
        "phase6_exports_total{export=\"daily \\\"x\\\"\\\\y\\nz\",status=\"published\"} 1",
        "phase6_step_duration_seconds_count",
        "phase6_objects_total{export=\"daily \\\"x\\\"\\\\y\\nz\",outcome=\"written\"} 2",
        "phase6_billed_bytes_total{export=\"daily \\\"x\\\"\\\\y\\nz\"} 11534336",
        "phase6_gate_decisions_total{trigger=\"t\",verdict=\"skip\"} 1",
        "phase6_ticks_total{job=\"j\",outcome=\"missed\"} 1",
        "phase6_dead_letters_total 1",
        "phase6_freshness_seconds{export=\"e\",path=\"v1/e/latest.json\"} 3600.0",
        "phase6_data_age_days{export=\"e\",path=\"v1/e/latest.json\"} 1.0",
        "phase6_backlog_messages{subscription=\"s\"} 3.0",
        "phase6_backlog_oldest_seconds{subscription=\"s\"} 9.0",
        "phase6_seconds_since_last_run 3600.0",
        "phase6_stale_exports 1.0",
        "phase6_alerts_firing{alert=\"stale\"} 1.0",
    ] {
        assert!(text.lines().any(|l| l.starts_with(wanted)), "{wanted}\n{text}");
    }
}

#[test]
fn gauges_of_what_is_gone_go_too() {
    let telemetry = everything();
    telemetry.metrics().set_freshness(&[]);
    telemetry.metrics().set_backlog(&[]);
    let text = telemetry.metrics_text();
    assert!(!text.contains("latest.json") && !text.contains("phase6_backlog_messages{"));
    assert!(text.contains("phase6_stale_exports 0.0"));
}

/// OpenMetrics' own rules, without a parser: the end mark, HELP and TYPE before samples, families in one piece, names
/// with the prefix, finite numbers.
#[test]
fn the_text_is_open_metrics() {
    let text = everything().metrics_text();
    assert!(text.ends_with("# EOF\n"));
    assert_eq!(text.matches("# EOF").count(), 1);
    let (mut family, mut seen) = (String::new(), Vec::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(name.starts_with("phase6_") && help.len() > 8, "{line}");
            assert!(!seen.contains(&name.to_owned()), "{name} comes twice");
            seen.push(name.to_owned());
            family = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert!(rest.starts_with(&format!("{family} ")), "{line}");
        } else if !line.starts_with('#') {
            assert!(line.starts_with(&family), "{line} is not of the family {family}");
            let value = line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
            assert!(value.is_finite(), "{line}");
        }
    }
    assert!(seen.len() > 20);
}

/// The official linter. It reads Prometheus' older text, in which a family is called as its samples are, and has no infos.
#[test]
fn promtool_finds_nothing() {
    let Some(promtool) = promtool() else {
        let reason = "it is neither on the path nor in PROMTOOL (apt-get download prometheus; dpkg-deb -x)";
        return phase6_test_servers::emulators::skip("promtool", reason);
    };
    let older = older_text(&everything().metrics_text());
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(older.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    // The one thing it has to say: dates have days, and nobody thinks of a data's age in seconds.
    let complaints: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(complaints, ["phase6_data_age_days use base unit \"seconds\" instead of \"days\""], "{older}");
}

fn older_text(text: &str) -> String {
    let types = || text.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split_once(' '));
    let renamed = |line: &str, mark: &str| {
        let (name, rest) = line.strip_prefix(mark)?.split_once(' ')?;
        let (suffix, rest) = match types().find(|(n, _)| *n == name)?.1 {
            "counter" => ("_total", rest),
            "info" => ("_info", if mark == "# TYPE " { "gauge" } else { rest }),
            _ => ("", rest),
        };
        Some(format!("{mark}{name}{suffix} {rest}\n"))
    };
    let older = |l: &str| renamed(l, "# TYPE ").or_else(|| renamed(l, "# HELP ")).unwrap_or_else(|| format!("{l}\n"));
    text.lines().map(older).collect()
}

fn promtool() -> Option<std::path::PathBuf> {
    let named = std::env::var_os("PROMTOOL").map(std::path::PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    named.into_iter().chain(std::env::split_paths(&path).map(|dir| dir.join("promtool"))).find(|p| p.is_file())
}

#[test]
fn trace_context_is_read_strictly() {
    let trace = TraceContext::parse(PARENT).unwrap();
    assert!(trace.sampled);
    assert_eq!(trace.header(), PARENT);
    assert!(TraceContext::parse("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-more").is_some());
    for bad in [
        "",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
    ] {
        assert!(TraceContext::parse(bad).is_none(), "{bad}");
    }
    let attributes = BTreeMap::from([("googclient_traceparent".to_owned(), PARENT.to_owned())]);
    assert_eq!(TraceContext::of(&attributes), Some(trace));
}

/// A collector: answers each call with `status` and gives back its head and its JSON.
fn collector(
    status: &'static str,
    calls: usize,
) -> (String, std::thread::JoinHandle<Vec<(String, serde_json::Value)>>) {
    use std::io::{BufRead, BufReader, Read};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}");
        let call = || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                reader.read_line(&mut head).unwrap();
            }
            let head = head.to_lowercase();
            let size = head.lines().find_map(|l| l.strip_prefix("content-length: ")).unwrap().parse().unwrap();
            let mut body = vec![0; size];
            reader.read_exact(&mut body).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            (head, serde_json::from_slice(&body).unwrap())
        };
        (0..calls).map(|_| call()).collect()
    });
    (address, serving)
}

fn traced(address: &str, trace: Option<&TraceContext>) -> Telemetry {
    let telemetry = telemetry();
    let env = |name: &str| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(address.to_owned()),
        "OTEL_EXPORTER_OTLP_HEADERS" => Some("x-key=secret, x-other=1".to_owned()),
        _ => None,
    };
    telemetry.trace_to(Collector::from_env(&env).unwrap()).unwrap();
    let target_date = "2025-12-12".parse().unwrap();
    let report = report("daily", Status::Failed);
    // It ended a second before the request's last one.
    let ended = NOW.parse::<Timestamp>().unwrap() - Duration::from_secs(1);
    telemetry.emit(&ExportFinished {
        run_id: "r1",
        target_date,
        attempt: 2,
        retried: false,
        ended,
        report: &report,
        trace,
    });
    telemetry.emit(&RequestFinished {
        run_id: "r1",
        cause_id: "batch",
        target_date,
        outcome: RequestOutcome::Ran(RunOutcome::Failed),
        attempts: 2,
        totals: Totals::default(),
        took: Duration::from_millis(1_250),
        publish_latency: None,
        reason: Some("because"),
        trace,
    });
    telemetry.flush_traces();
    telemetry
}

#[test]
fn a_run_is_one_trace_below_its_message() {
    let (address, serving) = collector("200 OK", 1);
    let parent = TraceContext::parse(PARENT).unwrap();
    let telemetry = traced(&address, Some(&parent));
    let (head, body) = serving.join().unwrap().remove(0);
    assert!(head.starts_with("post /v1/traces http/1.1") && head.contains("x-key: secret\r\n"), "{head}");
    let resource = &body["resourceSpans"][0];
    let service = serde_json::json!({"key": "service.name", "value": {"stringValue": "phase6"}});
    assert_eq!(resource["resource"]["attributes"][0], service);
    let spans = resource["scopeSpans"][0]["spans"].as_array().unwrap();
    let span = |name: &str| spans.iter().find(|s| s["name"] == name).unwrap_or_else(|| panic!("no {name}: {spans:?}"));
    assert!(spans.len() == 5 && spans.iter().all(|s| s["traceId"] == parent.trace_id.as_str()), "{spans:?}");
    let (request, export) = (span("request"), span("export daily"));
    assert_eq!(request["parentSpanId"], parent.span_id.as_str());
    assert_eq!(export["parentSpanId"], request["spanId"]);
    assert_eq!(export["status"], serde_json::json!({"code": 2, "message": "because"}));
    let time = |span: &serde_json::Value, key: &str| span[key].as_str().unwrap().parse::<i128>().unwrap() / 1_000_000;
    let now = NOW.parse::<Timestamp>().unwrap().as_millisecond() as i128;
    let mut begun = time(export, "startTimeUnixNano");
    assert_eq!((now - begun, now - time(request, "startTimeUnixNano")), (1_043, 1_250));
    for (step, took) in [("query", 40), ("shape", 2), ("publish", 1)] {
        assert_eq!(span(step)["parentSpanId"], export["spanId"]);
        let times = (time(span(step), "startTimeUnixNano"), time(span(step), "endTimeUnixNano"));
        assert_eq!(times, (begun, begun + took), "{step}");
        begun += took;
    }
    assert!(telemetry.metrics_text().contains("phase6_trace_spans_total{outcome=\"sent\"} 5"));
    // What the log says of the export is found from its span.
    let line: serde_json::Value = serde_json::from_str(&telemetry.lines()[0]).unwrap();
    assert_eq!(line["logging.googleapis.com/spanId"], export["spanId"]);
}

#[test]
fn without_a_message_a_run_begins_its_own_trace_and_errors_are_counted() {
    let (address, serving) = collector("503 Service Unavailable", 1);
    let telemetry = traced(&address, None);
    let (_, body) = serving.join().unwrap().remove(0);
    let spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    let trace = spans[0]["traceId"].as_str().unwrap();
    assert!(trace.len() == 32 && spans.iter().all(|s| s["traceId"] == trace), "{spans:?}");
    assert!(spans.iter().find(|s| s["name"] == "request").unwrap().get("parentSpanId").is_none());
    assert!(telemetry.metrics_text().contains("phase6_trace_spans_total{outcome=\"failed\"} 5"));
    // Nobody listens any more: nothing is thrown, nothing waits.
    let gone = traced(&address, None);
    assert!(gone.metrics_text().contains("phase6_trace_spans_total{outcome=\"failed\"} 5"));
}

#[test]
fn a_trace_that_is_not_sampled_is_not_sent() {
    let unsampled = TraceContext::parse(&PARENT.replace("-01", "-00")).unwrap();
    let telemetry = traced("http://127.0.0.1:9", Some(&unsampled));
    assert!(!telemetry.metrics_text().contains("phase6_trace_spans_total{"));
}
