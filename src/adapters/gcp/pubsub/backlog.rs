//! What waits in a subscription, from Cloud Monitoring: Pub/Sub itself does not say.
//!
//! The numbers are samples: one a minute, to be read up to four minutes later
//! (<https://cloud.google.com/monitoring/api/metrics_gcp_p_z#gcp-pubsub>). How many messages are leased is not among them.

use super::super::{Api, Google};
use crate::ports::bus::{Backlog, BusError, BusErrorKind};
use jiff::Timestamp;
use serde::Deserialize;
use std::time::Duration;

const MESSAGES: &str = "pubsub.googleapis.com/subscription/num_undelivered_messages";
const OLDEST: &str = "pubsub.googleapis.com/subscription/oldest_unacked_message_age";

/// How far back a sample may lie.
const WINDOW: Duration = Duration::from_secs(600);

const PATIENCE: Duration = Duration::from_secs(10);

/// Asks `timeSeries.list` for both numbers at once.
pub async fn ask(
    google: &Google,
    bus: &str,
    project: &str,
    subscription: &str,
    now: Timestamp,
) -> Result<Backlog, BusError> {
    let fail = |kind: BusErrorKind, reason: String| {
        BusError::new(kind, format!("{bus}: the backlog of subscription `{subscription}`: {reason}"))
    };
    let headers = google.authorization(Api::Monitoring).await.map_err(|e| fail(BusErrorKind::Fatal, e.to_string()))?;
    let url = format!("{}/v3/projects/{project}/timeSeries", google.endpoint(Api::Monitoring));
    let request = google.http().get(url).query(&query(subscription, now)).headers(headers).timeout(PATIENCE);
    let answer = request.send().await.map_err(|e| fail(BusErrorKind::Transient, e.to_string()))?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(|e| fail(BusErrorKind::Transient, e.to_string()))?;
    if !status.is_success() {
        let kind = match status.as_u16() {
            408 | 429 | 500.. => BusErrorKind::Transient,
            _ => BusErrorKind::Fatal,
        };
        let hint = if status == 403 { " (roles/monitoring.viewer lets it be read)" } else { "" };
        return Err(fail(kind, format!("Cloud Monitoring answered {status}{hint}")));
    }
    let listed: Listed = serde_json::from_slice(&body)
        .map_err(|e| fail(BusErrorKind::Fatal, format!("Cloud Monitoring's answer cannot be read: {e}")))?;
    read(&listed, now).ok_or_else(|| {
        fail(BusErrorKind::Unknown, "Cloud Monitoring has no sample yet: the subscription is new, or absent".to_owned())
    })
}

fn query(subscription: &str, now: Timestamp) -> [(&'static str, String); 4] {
    let metrics = format!("metric.type = one_of(\"{MESSAGES}\", \"{OLDEST}\")");
    let resource =
        format!("resource.type = \"pubsub_subscription\" AND resource.labels.subscription_id = \"{subscription}\"");
    let begin = now.checked_sub(WINDOW).unwrap_or(now);
    [
        ("filter", format!("{metrics} AND {resource}")),
        ("interval.startTime", begin.to_string()),
        ("interval.endTime", now.to_string()),
        ("view", "FULL".to_owned()),
    ]
}

/// The newest samples; none without a count.
fn read(listed: &Listed, now: Timestamp) -> Option<Backlog> {
    // Points come newest first.
    let newest = |metric: &str| {
        let series = listed.time_series.iter().filter(|s| s.metric.kind == metric);
        series.filter_map(|s| s.points.first()?.value.int64_value.parse::<u64>().ok()).max()
    };
    let messages = newest(MESSAGES)?;
    let age = newest(OLDEST).filter(|_| messages > 0);
    let oldest = age.and_then(|seconds| now.checked_sub(Duration::from_secs(seconds)).ok());
    Some(Backlog { messages, leased: None, oldest })
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Listed {
    time_series: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: Metric,
    #[serde(default)]
    points: Vec<Point>,
}

#[derive(Deserialize)]
struct Metric {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Point {
    value: TypedValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TypedValue {
    /// A 64-bit number is a text in Google's JSON.
    #[serde(default)]
    int64_value: String,
}

#[cfg(test)]
mod tests;
