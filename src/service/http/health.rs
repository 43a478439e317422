//! What supervisors ask: `/live` (do the loops go round?), `/ready` (can work be done?), `/metrics`.

use super::Door;
use super::problem::json as answer_json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// An outside system that takes longer is not ready.
const PATIENCE: Duration = Duration::from_secs(2);

fn answer(good: bool, checks: Vec<Value>) -> Response {
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if good { "ok" } else { "failed" };
    answer_json(status, &json!({"status": word, "checks": checks}))
}

/// 200 while every loop has gone round within its limit. Says nothing of the outside: a restart would not mend that.
pub async fn live(State(door): State<Arc<Door>>) -> Response {
    let beats = (door.heartbeats)();
    let good = beats.iter().all(|beat| beat.age <= beat.limit);
    let check = |beat: &super::Heartbeat| {
        let ok = beat.age <= beat.limit;
        json!({"name": beat.name, "ok": ok, "age_seconds": beat.age.as_secs_f64(), "limit_seconds": beat.limit.as_secs_f64()})
    };
    answer(good, beats.iter().map(check).collect())
}

/// 200 while bus and state answer and the service is not stopping.
pub async fn ready(State(door): State<Arc<Door>>) -> Response {
    let mut checks = Vec::new();
    let mut good = true;
    let mut check = |name: &str, result: Result<(), String>| {
        good &= result.is_ok();
        checks.push(match result {
            Ok(()) => json!({"name": name, "ok": true}),
            Err(reason) => json!({"name": name, "ok": false, "reason": reason}),
        });
    };
    let late = |_| Err(format!("no answer within {} s", PATIENCE.as_secs()));
    let bus = async {
        for subscription in &door.subscriptions {
            door.bus.probe(subscription).await.map_err(|e| e.message)?;
        }
        Ok(())
    };
    let state = async { door.state.store().stat("ready").await.map(drop).map_err(|e| e.to_string()) };
    let (bus, state) = tokio::join!(tokio::time::timeout(PATIENCE, bus), tokio::time::timeout(PATIENCE, state));
    check("bus", bus.unwrap_or_else(late));
    check("state", state.unwrap_or_else(late));
    check("serving", if door.is_draining() { Err("the service is stopping".into()) } else { Ok(()) });
    answer(good, checks)
}

/// OpenMetrics text.
pub async fn metrics(State(door): State<Arc<Door>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")], (door.metrics)()).into_response()
}
