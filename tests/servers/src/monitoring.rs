//! Cloud Monitoring's `projects.timeSeries.list`, as strict as its reference
//! (<https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.timeSeries/list>), for gauges of Pub/Sub subscriptions.

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A server in this process; it ends with the runtime that it was started on.
pub struct Server {
    pub url: String,
    shared: Arc<Shared>,
}

/// End time and value, newest first.
type Samples = Vec<(String, i64)>;

#[derive(Default)]
struct Shared {
    /// By (subscription, metric).
    samples: Mutex<BTreeMap<(String, String), Samples>>,
    refusal: Mutex<Option<(u16, &'static str)>>,
    calls: Mutex<Vec<String>>,
}

fn open<T>(lock: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    pub async fn start() -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let route = axum::routing::get(list).fallback(|| async { refuse(405, "UNIMPLEMENTED", "only GET") });
        let app = Router::new()
            .route("/v3/projects/{project}/timeSeries", route)
            .fallback(|uri: Uri| async move { refuse(404, "NOT_FOUND", &format!("no such method: {uri}")) })
            .with_state(shared.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { url, shared })
    }

    /// Adds a sample, newer than those before it.
    pub fn sample(&self, subscription: &str, metric: &str, end_time: &str, value: i64) {
        let key = (subscription.to_owned(), metric.to_owned());
        open(&self.shared.samples).entry(key).or_default().insert(0, (end_time.to_owned(), value));
    }

    /// Every further call is answered so.
    pub fn refuse(&self, status: u16, name: &'static str) {
        *open(&self.shared.refusal) = Some((status, name));
    }

    /// The query of each call.
    pub fn calls(&self) -> Vec<String> {
        open(&self.shared.calls).clone()
    }
}

fn refuse(status: u16, name: &str, message: &str) -> Response {
    let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    as_json(code, &json!({"error": {"code": status, "message": message, "status": name}}))
}

fn as_json(status: StatusCode, value: &Value) -> Response {
    (status, [("content-type", "application/json; charset=UTF-8")], value.to_string()).into_response()
}

async fn list(State(shared): State<Arc<Shared>>, Path(_): Path<String>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    open(&shared.calls).push(query.clone());
    if let Some((status, name)) = *open(&shared.refusal) {
        return refuse(status, name, "as told");
    }
    match answer(&shared, &query) {
        Ok(answer) => as_json(StatusCode::OK, &answer),
        Err(reason) => refuse(400, "INVALID_ARGUMENT", &reason),
    }
}

/// The known parameters; the two that are required and `view` may come once.
fn parameters(query: &str) -> Result<BTreeMap<String, String>, String> {
    let mut found = BTreeMap::new();
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !["filter", "interval.startTime", "interval.endTime", "view", "pageSize", "pageToken"].contains(&name) {
            return Err(format!(
                "Invalid JSON payload received. Unknown name \"{name}\": Cannot bind query parameter."
            ));
        }
        if found.insert(name.to_owned(), decoded(value)?).is_some() {
            return Err(format!("\"{name}\" was given twice"));
        }
    }
    Ok(found)
}

fn decoded(text: &str) -> Result<String, String> {
    let (bytes, mut out, mut i) = (text.as_bytes(), Vec::new(), 0);
    while i < bytes.len() {
        match bytes[i] {
            b'+' => out.push(b' '),
            b'%' => {
                let hex = text.get(i + 1..i + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
                out.push(hex.ok_or("a bad escape")?);
                i += 2;
            }
            byte => out.push(byte),
        }
        i += 1;
    }
    String::from_utf8(out).map_err(|e| e.to_string())
}

fn answer(shared: &Shared, query: &str) -> Result<Value, String> {
    let parameters = parameters(query)?;
    let given = |name: &str| parameters.get(name).ok_or(format!("Field {name} had an invalid value: it is required"));
    let (metric, subscription) = filter(given("filter")?)?;
    let (start, end) = (given("interval.startTime")?, given("interval.endTime")?);
    // Both are in UTC, so that they compare as texts.
    if !start.ends_with('Z') || !end.ends_with('Z') || start > end {
        return Err("Field interval had an invalid value: the end must not be before the start, in RFC 3339".into());
    }
    if parameters.get("view").is_some_and(|view| view != "FULL" && view != "HEADERS") {
        return Err("Field view had an invalid value".into());
    }
    let samples = open(&shared.samples);
    let kept = samples.get(&(subscription.clone(), metric.clone())).map(Vec::as_slice).unwrap_or_default();
    let points: Vec<Value> = kept
        .iter()
        .filter(|(at, _)| at > start && at <= end)
        .map(|(at, value)| json!({"interval": {"startTime": at, "endTime": at}, "value": {"int64Value": value.to_string()}}))
        .collect();
    if points.is_empty() {
        // An empty list is left out, as in every answer of the API.
        return Ok(json!({}));
    }
    let resource =
        json!({"type": "pubsub_subscription", "labels": {"subscription_id": subscription, "project_id": "p"}});
    let series = json!({
        "metric": {"type": metric, "labels": {}}, "resource": resource,
        "metricKind": "GAUGE", "valueType": "INT64", "points": points,
    });
    Ok(json!({"timeSeries": [series], "unit": "1"}))
}

/// `metric.type = "a" AND resource.type = "pubsub_subscription" AND resource.labels.subscription_id = "s"`: the metric and the
/// subscription. "The filter must specify a single metric type": neither none nor several, also not by `one_of`, `starts_with` or OR.
fn filter(text: &str) -> Result<(String, String), String> {
    let invalid = |what: &str| format!("Field filter had an invalid value of \"{text}\": {what}");
    let single = || invalid("The filter must specify a single metric type.");
    let (mut metric, mut subscription) = (None, None);
    for term in text.split(" AND ") {
        let (name, value) = term.split_once(" = ").ok_or_else(|| invalid("could not parse the filter"))?;
        let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).filter(|v| !v.contains('"'));
        match (name, inner) {
            ("metric.type", Some(one)) if metric.is_none() => metric = Some(one.to_owned()),
            ("metric.type", _) => return Err(single()),
            ("resource.type", Some("pubsub_subscription")) => {}
            ("resource.labels.subscription_id", Some(one)) => subscription = Some(one.to_owned()),
            _ => return Err(invalid("this server has no such resource")),
        }
    }
    let metric = metric.ok_or_else(single)?;
    Ok((metric, subscription.ok_or_else(|| invalid("this server needs a subscription"))?))
}
