//! The calls of the subscriber's side, by REST: `subscriptions.pull`, `acknowledge`, `modifyAckDeadline`
//! (<https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions>).

use super::super::{Api, Google};
use super::errors;
use crate::ports::bus::{BusError, BusErrorKind};
use base64::Engine as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The longest answer that is read, in bytes: a pull's messages have ten million at most, and a third more as base64.
const MOST_BYTES: usize = 64 << 20;

/// How long a call may take that does not wait for messages.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the server may wait for messages; it gives up by itself after about 90 s.
const LONG_POLL: Duration = Duration::from_secs(120);

/// A waiting call that fails after so long has failed because nothing came: servers and what lies between end such calls.
const VAIN_WAIT: Duration = Duration::from_secs(25);

/// The pauses between the attempts of an acknowledgement or a change of its deadline, which may be repeated.
const PAUSES: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(2)];

/// The calls to one subscription.
pub struct Rest {
    pub google: Arc<Google>,
    /// The bus, for messages.
    pub bus: String,
    pub name: String,
    pub path: String,
}

/// A message and its lease, as pulled.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Received {
    pub ack_id: String,
    #[serde(default)]
    pub delivery_attempt: Option<u32>,
    pub message: Content,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Content {
    #[serde(default, deserialize_with = "from_base64")]
    pub data: Vec<u8>,
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    pub message_id: String,
    pub publish_time: Timestamp,
}

fn from_base64<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
    base64::engine::general_purpose::STANDARD.decode(text.as_bytes()).map_err(serde::de::Error::custom)
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Pulled {
    received_messages: Vec<Received>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pull {
    max_messages: usize,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    return_immediately: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Leases<'a> {
    ack_ids: &'a [&'a str],
    #[serde(skip_serializing_if = "Option::is_none")]
    ack_deadline_seconds: Option<u64>,
}

impl Rest {
    /// At most `max` messages; waits for the first unless `at_once`.
    pub async fn pull(&self, max: usize, at_once: bool) -> Result<Vec<Received>, BusError> {
        let tried = format!("pulling from subscription `{}`", self.name);
        let body = Pull { max_messages: max.min(1000), return_immediately: at_once };
        let patience = if at_once { PATIENCE } else { LONG_POLL };
        let begun = tokio::time::Instant::now();
        let answer = match self.call("pull", &tried, &body, patience).await {
            // A wait that was broken off after a while was in vain, and nothing more.
            Err(error) if error.kind == BusErrorKind::Transient && begun.elapsed() >= VAIN_WAIT => {
                return Ok(Vec::new());
            }
            answer => answer?,
        };
        let pulled: Pulled = serde_json::from_slice(&answer).map_err(|e| {
            BusError::new(BusErrorKind::Fatal, format!("{}: {tried}: the answer cannot be read: {e}", self.bus))
        })?;
        Ok(pulled.received_messages)
    }

    /// Returns when the server has taken it.
    pub async fn acknowledge(&self, ack_ids: &[&str]) -> Result<(), BusError> {
        let tried = format!("acknowledging to subscription `{}`", self.name);
        let body = Leases { ack_ids, ack_deadline_seconds: None };
        self.repeated("acknowledge", &tried, &body).await
    }

    /// The lease ends in so many seconds, at most 600; with 0 at once.
    pub async fn set_deadline(&self, ack_ids: &[&str], seconds: u64) -> Result<(), BusError> {
        let tried = format!("setting a lease of subscription `{}`", self.name);
        let body = Leases { ack_ids, ack_deadline_seconds: Some(seconds.min(600)) };
        self.repeated("modifyAckDeadline", &tried, &body).await
    }

    async fn repeated(&self, method: &str, tried: &str, body: &impl Serialize) -> Result<(), BusError> {
        for pause in PAUSES {
            match self.call(method, tried, body, PATIENCE).await {
                Err(error) if error.kind == BusErrorKind::Transient => tokio::time::sleep(pause).await,
                answered => return answered.map(drop),
            }
        }
        self.call(method, tried, body, PATIENCE).await.map(drop)
    }

    async fn call(
        &self,
        method: &str,
        tried: &str,
        body: &impl Serialize,
        patience: Duration,
    ) -> Result<Vec<u8>, BusError> {
        let fail =
            |kind: BusErrorKind, reason: String| BusError::new(kind, format!("{}: {tried} failed: {reason}", self.bus));
        let url = format!("{}/v1/{}:{method}", self.google.endpoint(Api::PubSub), self.path);
        let body = serde_json::to_vec(body).map_err(|e| fail(BusErrorKind::Fatal, e.to_string()))?;
        let request = self.google.http().post(url).header(http::header::CONTENT_TYPE, "application/json").body(body);
        let answer = self
            .google
            .ask(Api::PubSub, request, patience, MOST_BYTES)
            .await
            .map_err(|e| fail(errors::of_unanswered(&e), e.to_string()))?;
        if answer.is_success() {
            return Ok(answer.body);
        }
        let error = errors::reason(&answer.body);
        let code = errors::code_of_rest(answer.status, &error.status);
        Err(errors::answered(&self.bus, tried, code, &error.message))
    }
}
