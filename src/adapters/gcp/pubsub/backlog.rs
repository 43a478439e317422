//! What waits in a subscription, from Cloud Monitoring: Pub/Sub itself does not say.
//!
//! The numbers are samples: one a minute, to be read up to four minutes later
//! (<https://cloud.google.com/monitoring/api/metrics_gcp_p_z#gcp-pubsub>). How many messages are leased is not among them.

use super::super::{Api, Google};
use super::errors;
use crate::ports::bus::{Backlog, BusError, BusErrorKind};
use jiff::Timestamp;
use serde::Deserialize;
use std::time::Duration;

const MESSAGES: &str = "pubsub.googleapis.com/subscription/num_undelivered_messages";
const OLDEST: &str = "pubsub.googleapis.com/subscription/oldest_unacked_message_age";

/// How far back a sample may lie.
const WINDOW: Duration = Duration::from_secs(600);

const PATIENCE: Duration = Duration::from_secs(10);

/// The longest answer that is read, in bytes: ten samples of each of a subscription's series.
const MOST_BYTES: usize = 4 << 20;

/// Asks `timeSeries.list` for both numbers side by side; one call may name one metric type only.
pub async fn ask(
    google: &Google,
    bus: &str,
    project: &str,
    subscription: &str,
    now: Timestamp,
) -> Result<Backlog, BusError> {
    let fail = |(kind, reason): (BusErrorKind, String)| {
        BusError::new(kind, format!("{bus}: the backlog of subscription `{subscription}`: {reason}"))
    };
    let newest = |metric| newest(google, project, subscription, metric, now);
    let (messages, oldest) = tokio::try_join!(newest(MESSAGES), newest(OLDEST)).map_err(fail)?;
    read(messages, oldest, now).ok_or_else(|| {
        let reason = "Cloud Monitoring has no sample yet: the subscription is new, or absent";
        fail((BusErrorKind::Unknown, reason.to_owned()))
    })
}

/// The newest sample of one metric; none when there is none within the window.
async fn newest(
    google: &Google,
    project: &str,
    subscription: &str,
    metric: &str,
    now: Timestamp,
) -> Result<Option<u64>, (BusErrorKind, String)> {
    let url = format!("{}/v3/projects/{project}/timeSeries", google.endpoint(Api::Monitoring));
    let request = google.http().get(url).query(&query(subscription, metric, now));
    let answer = google.ask(Api::Monitoring, request, PATIENCE, MOST_BYTES).await;
    let answer = answer.map_err(|e| (errors::of_unanswered(&e), e.to_string()))?;
    if !answer.is_success() {
        return Err(refused(answer.status, &answer.body));
    }
    let listed: Listed = serde_json::from_slice(&answer.body)
        .map_err(|e| (BusErrorKind::Fatal, format!("Cloud Monitoring's answer cannot be read: {e}")))?;
    Ok(listed.newest())
}

/// What a refusal means, and what it says itself.
fn refused(status: u16, body: &[u8]) -> (BusErrorKind, String) {
    let kind = match status {
        408 | 429 | 500.. => BusErrorKind::Transient,
        _ => BusErrorKind::Fatal,
    };
    let error = errors::reason(body);
    let said = if error.message.is_empty() { String::new() } else { format!(": {}", error.message) };
    let hint = if status == 403 { " (roles/monitoring.viewer lets it be read)" } else { "" };
    (kind, format!("Cloud Monitoring answered {status}{said}{hint}"))
}

fn query(subscription: &str, metric: &str, now: Timestamp) -> [(&'static str, String); 4] {
    let resource =
        format!("resource.type = \"pubsub_subscription\" AND resource.labels.subscription_id = \"{subscription}\"");
    let begin = now.checked_sub(WINDOW).unwrap_or(now);
    [
        ("filter", format!("metric.type = \"{metric}\" AND {resource}")),
        ("interval.startTime", begin.to_string()),
        ("interval.endTime", now.to_string()),
        ("view", "FULL".to_owned()),
    ]
}

/// The backlog of the newest samples (a number of messages, an age in seconds); none without a count.
fn read(messages: Option<u64>, oldest: Option<u64>, now: Timestamp) -> Option<Backlog> {
    let messages = messages?;
    let age = oldest.filter(|_| messages > 0);
    let oldest = age.and_then(|seconds| now.checked_sub(Duration::from_secs(seconds)).ok());
    Some(Backlog { messages, leased: None, oldest })
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Listed {
    time_series: Vec<Series>,
}

impl Listed {
    /// The newest sample; of several series (a project's metrics scope has more than one), the highest.
    fn newest(&self) -> Option<u64> {
        // Points come newest first.
        self.time_series.iter().filter_map(|s| s.points.first()?.value.int64_value.parse().ok()).max()
    }
}

#[derive(Deserialize)]
struct Series {
    #[serde(default)]
    points: Vec<Point>,
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
