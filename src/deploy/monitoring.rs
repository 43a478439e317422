//! The project's `alerts:` as policies of Cloud Monitoring, with the log-based metrics that they stand on: who is told also where
//! the service itself, which judges the same alerts (`service::alerts`), does not run.

use super::plan::{Plan, Runs};
use crate::config::Project;
use crate::config::monitoring::{Alert, AlertKind};
use serde::Serialize;
use serde_json::{Value, json};

/// A log-based metric: it counts the log lines that its filter finds.
#[derive(Debug, Clone, Serialize)]
pub struct Metric {
    pub name: String,
    pub description: String,
    pub filter: String,
}

/// An alert policy; its title is what it is known by.
#[derive(Debug, Clone, Serialize)]
pub struct Policy {
    pub title: String,
    pub text: String,
    /// Conditions of which any one suffices, in Cloud Monitoring's words.
    pub conditions: Vec<Value>,
    /// Full names of notification channels.
    pub channels: Vec<String>,
}

/// How long nobody may be there to judge the promises; of a job, besides two of its pauses.
const NOBODY_FOR_SECONDS: u64 = 900;

/// The longest that Cloud Monitoring waits for what is absent: 23 hours and a half.
const LONGEST_ABSENCE_SECONDS: u64 = 84_600;

/// How long a message may wait where the alert says nothing, in seconds.
const BACKLOG_SECONDS: u64 = 600;

/// A metric and a policy for each alert that needs one.
pub fn alerts(project: &Project, plan: &Plan, channels: &[String]) -> (Vec<Metric>, Vec<Policy>) {
    let (mut metrics, mut policies) = (Vec::new(), Vec::new());
    for alert in &project.alerts {
        let metric = metric(plan, alert);
        let conditions = conditions(plan, alert, metric.as_ref());
        if conditions.is_empty() {
            continue;
        }
        metrics.extend(metric);
        policies.push(Policy {
            title: format!("{}: {}", plan.name, alert.name.value),
            text: text(plan, alert),
            conditions,
            channels: channels.to_vec(),
        });
    }
    (metrics, policies)
}

/// The lines that an alert counts. The keys are those of the service's log (`telemetry`).
fn metric(plan: &Plan, alert: &Alert) -> Option<Metric> {
    let what = match alert.when {
        // The last attempt of an export failed: a warning is tried again.
        AlertKind::Failure => {
            let exports: Vec<String> = alert.exports.iter().map(|e| quoted(&e.value)).collect();
            let of = if exports.is_empty() { "*".to_owned() } else { format!("({})", exports.join(" OR ")) };
            let holds = if exports.is_empty() { ":" } else { "=" };
            format!(r#"severity>=ERROR AND jsonPayload.status="failed" AND labels.export{holds}{of}"#)
        }
        AlertKind::Stale | AlertKind::MissedRun => {
            format!(r#"jsonPayload.state="firing" AND labels.alert={}"#, quoted(&alert.name.value))
        }
        AlertKind::DeadLetter => r#"severity>=ERROR AND jsonPayload.dead_letter:*"#.to_owned(),
        AlertKind::Backlog => return None,
    };
    let ((resource, label), name) = (plan.program.monitored(), quoted(&plan.program.name));
    Some(Metric {
        name: format!("{}-{}", plan.name, alert.name.value),
        description: format!("Log lines of the alert {}", alert.name.value),
        filter: format!(r#"resource.type="{resource}" AND resource.labels.{label}={name} AND {what}"#),
    })
}

fn conditions(plan: &Plan, alert: &Alert, metric: Option<&Metric>) -> Vec<Value> {
    let above = if matches!(alert.when, AlertKind::Failure | AlertKind::DeadLetter) { alert.above } else { 0 };
    let mut all = Vec::new();
    if let Some(metric) = metric {
        let resource = plan.program.monitored().0;
        let filter =
            format!(r#"metric.type="logging.googleapis.com/user/{}" AND resource.type="{resource}""#, metric.name);
        all.push(threshold("log lines", &filter, above, "ALIGN_DELTA", "REDUCE_SUM"));
    }
    match alert.when {
        AlertKind::Backlog if !plan.subscriptions.is_empty() => {
            let names: Vec<String> = plan.subscriptions.iter().map(|s| quoted(&s.name)).collect();
            let filter = pubsub("oldest_unacked_message_age", &names);
            let seconds = if alert.hold.is_zero() { BACKLOG_SECONDS } else { alert.hold.as_secs() };
            // What waits for the next start of a job waits in good order.
            let seconds = match plan.program.runs {
                Runs::Service { .. } => seconds,
                Runs::Job { longest_pause_seconds, .. } => seconds + longest_pause_seconds,
            };
            all.push(threshold("age of the oldest message", &filter, seconds, "ALIGN_MAX", "REDUCE_MAX"));
        }
        AlertKind::DeadLetter => {
            let names: Vec<String> =
                plan.subscriptions.iter().filter(|s| s.dead_letter.is_some()).map(|s| quoted(&s.name)).collect();
            if !names.is_empty() {
                let filter = pubsub("dead_letter_message_count", &names);
                all.push(threshold("messages given up by Pub/Sub", &filter, above, "ALIGN_DELTA", "REDUCE_SUM"));
            }
        }
        AlertKind::Stale => all.push(nobody(plan)),
        _ => {}
    }
    all
}

fn pubsub(metric: &str, subscriptions: &[String]) -> String {
    format!(
        r#"metric.type="pubsub.googleapis.com/subscription/{metric}" AND resource.type="pubsub_subscription" AND resource.labels.subscription_id=one_of({})"#,
        subscriptions.join(",")
    )
}

fn threshold(title: &str, filter: &str, above: u64, aligner: &str, reducer: &str) -> Value {
    json!({
        "displayName": title,
        "conditionThreshold": {
            "filter": filter,
            "comparison": "COMPARISON_GT",
            "thresholdValue": above,
            "duration": "0s",
            "aggregations": [{"alignmentPeriod": "300s", "perSeriesAligner": aligner, "crossSeriesReducer": reducer}],
            "trigger": {"count": 1},
        },
    })
}

/// Promises are judged by the program: where it does not run, nobody judges.
fn nobody(plan: &Plan) -> Value {
    let (resource, label) = plan.program.monitored();
    let (metric, title, seconds) = match plan.program.runs {
        Runs::Service { .. } => {
            ("container/billable_instance_time", "no instance of the service runs", NOBODY_FOR_SECONDS)
        }
        Runs::Job { longest_pause_seconds, .. } => {
            let seconds = longest_pause_seconds.saturating_mul(2) + NOBODY_FOR_SECONDS;
            ("job/completed_execution_count", "no start of the job ends", seconds.min(LONGEST_ABSENCE_SECONDS))
        }
    };
    let filter = format!(
        r#"metric.type="run.googleapis.com/{metric}" AND resource.type="{resource}" AND resource.labels.{label}={}"#,
        quoted(&plan.program.name)
    );
    json!({
        "displayName": title,
        "conditionAbsent": {
            "filter": filter,
            "duration": format!("{seconds}s"),
            "aggregations": [{"alignmentPeriod": "60s", "perSeriesAligner": "ALIGN_RATE", "crossSeriesReducer": "REDUCE_SUM"}],
            "trigger": {"count": 1},
        },
    })
}

/// What the one who is woken reads.
fn text(plan: &Plan, alert: &Alert) -> String {
    let look = match alert.when {
        AlertKind::Failure => "'phase6 runs' says which exports failed and why; the last good documents are still live",
        AlertKind::Stale => "'phase6 fresh' says which documents break their promise",
        AlertKind::Backlog => "messages wait: is the service running? 'phase6 doctor' says what it reaches",
        AlertKind::MissedRun => "'phase6 schedule next' and 'phase6 runs' say what did not run",
        AlertKind::DeadLetter => "'phase6 dead-letter list' shows them; 'replay' or 'drop' ends them",
    };
    format!("Alert {} of target {}: {look}.", alert.name.value, plan.target)
}

/// A text of the filter languages of logging and monitoring.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::export::empty_report;
    use crate::model::report::{ExportReport, Status};
    use crate::telemetry::{AlertChanged, DeadLettered, ExportFinished, Telemetry};
    use jiff::Timestamp;

    /// Whether a log line is found by a metric's filter, for the few forms that filters here have. What Cloud Run adds (`resource`)
    /// is taken as given.
    fn found(line: &Value, filter: &str) -> bool {
        filter.split(" AND ").filter(|part| !part.starts_with("resource.")).all(|part| {
            let field = |name: &str| match name.split_once('.') {
                Some(("labels", key)) => line["logging.googleapis.com/labels"][key].clone(),
                Some(("jsonPayload", key)) => line[key].clone(),
                _ => panic!("{name}"),
            };
            match part {
                "severity>=ERROR" => matches!(line["severity"].as_str(), Some("ERROR" | "CRITICAL")),
                part if part.ends_with(":*") => !field(part.trim_end_matches(":*")).is_null(),
                part => {
                    let (name, values) = part.split_once('=').unwrap();
                    let is = |v: &str| field(name) == *v.trim_matches(['(', ')']).trim_matches('"');
                    values.split(" OR ").any(is)
                }
            }
        })
    }

    #[test]
    fn the_metrics_find_the_lines_of_the_log() {
        let telemetry = Telemetry::in_memory(|| Timestamp::UNIX_EPOCH);
        let export = |status, retried| {
            let report = ExportReport { status, ..empty_report("scores") };
            let target_date = "2025-12-12".parse().unwrap();
            let ended = Timestamp::UNIX_EPOCH;
            telemetry.emit(&ExportFinished {
                run_id: "r",
                target_date,
                attempt: 1,
                retried,
                ended,
                report: &report,
                trace: None,
            });
        };
        export(Status::Failed, false);
        export(Status::Failed, true);
        export(Status::Published, false);
        telemetry.emit(&DeadLettered {
            id: "d",
            topic: "t",
            subscription: "s",
            message_id: "1",
            reason: "bad",
            attempts: 1,
            run_id: None,
            trace: None,
        });
        for (alert, firing) in [("stale-documents", true), ("stale-documents", false), ("missed-runs", true)] {
            let since = Timestamp::UNIX_EPOCH;
            telemetry.emit(&AlertChanged { alert, firing, summary: "x", since, to_log: true });
        }
        let lines: Vec<Value> = telemetry.lines().iter().map(|l| serde_json::from_str(l).unwrap()).collect();
        let plan = crate::deploy::plan::tests::shipped();
        let finds = |name: &str| -> Vec<usize> {
            let metric = plan.metrics.iter().find(|m| m.name == format!("phase6-gcp-{name}")).unwrap();
            (0..lines.len()).filter(|i| found(&lines[*i], &metric.filter)).collect()
        };
        assert_eq!(finds("export-failures"), [0], "what is tried again is no failure yet");
        assert_eq!(finds("dead-letters"), [3]);
        assert_eq!(finds("stale-documents"), [4]);
        assert_eq!(finds("missed-runs"), [6]);
    }

    #[test]
    fn terraform_has_a_word_for_every_key() {
        fn keys(value: &Value, all: &mut Vec<String>) {
            match value {
                Value::Object(map) => map.iter().for_each(|(key, value)| {
                    all.push(key.clone());
                    keys(value, all);
                }),
                Value::Array(list) => list.iter().for_each(|item| keys(item, all)),
                _ => {}
            }
        }
        let mut all = Vec::new();
        let plan = crate::deploy::plan::tests::shipped();
        plan.policies.iter().flat_map(|p| &p.conditions).for_each(|c| keys(c, &mut all));
        assert!(all.len() > 20);
        let lost: Vec<&String> = all.iter().filter(|key| crate::deploy::terraform::hcl_name(key).is_none()).collect();
        assert!(lost.is_empty(), "{lost:?}");
    }
}
