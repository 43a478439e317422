//! The machine's side of the door: events come in, runs are asked for and looked up.

use super::problem::{Problem, json};
use super::{Door, auth, body, envelope};
use crate::config::Project;
use crate::config::model::BusTarget;
use crate::diagnostics::nearest;
use crate::model::message::{MAX_TRIGGER_BODY, TriggerMessage, attributes};
use crate::ports::bus::{BusError, BusErrorKind, NewMessage};
use crate::telemetry::Severity;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use std::collections::BTreeMap;
use std::sync::Arc;

/// `POST /v1/events/<topic>`: 204 once the message is durably kept, and also where it is on the topic already: what a push
/// subscription on that very topic brings back is not put there again and again.
pub async fn event(
    State(door): State<Arc<Door>>,
    Path(topic): Path<String>,
    headers: HeaderMap,
    content: Body,
) -> Result<StatusCode, Problem> {
    auth::pusher(&door, &headers).await?;
    let project = (door.project)();
    let topics = &project.topics;
    let topic = topics
        .get(&topic)
        .or_else(|| topics.values().find(|name| **name == topic))
        .ok_or_else(|| Problem::not_found("there is no such topic: the names under `topics:` are known"))?;
    let content = body::read(&headers, content, envelope::MAX_REQUEST).await?;
    let event = envelope::read(&headers, content).map_err(|error| match error {
        envelope::BadEvent::Malformed(reason) => Problem::bad(reason),
        envelope::BadEvent::TooLarge(size) => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the message has {size} bytes, which is too many"))
        }
    })?;
    if pulls_from_pubsub(&door, &project) && envelope::is_nameless_push(&headers, &event) {
        return Err(Problem::bad(
            "a push without envelope has to say which message it is: give the subscription --push-no-wrapper-write-metadata",
        ));
    }
    let here = format!("{topic} of {}", door.bus.describe());
    if event.was_put(&here) {
        came_back(&door, topic, event.id.as_deref());
        return Ok(StatusCode::NO_CONTENT);
    }
    door.bus.publish(topic, &event.into_message(&here)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether a push subscription can be on a topic of our own bus.
fn pulls_from_pubsub(door: &Door, project: &Project) -> bool {
    let target = project.targets.iter().find(|target| target.name.value == door.target);
    target.is_some_and(|target| matches!(target.bus, BusTarget::PubSub { .. }))
}

/// Tells the operator of a subscription that pushes what the service pulls.
fn came_back(door: &Door, topic: &str, id: Option<&str>) {
    let fields = [("topic", topic.into()), ("message_id", id.into())];
    let said = "an event that came by push is on its topic already, and was not put there again: a push subscription is on a topic \
                that the service pulls, and brings every message of it twice";
    door.telemetry.log(Severity::Warning, said, &fields);
}

impl From<BusError> for Problem {
    fn from(error: BusError) -> Self {
        match error.kind {
            BusErrorKind::Invalid => Self::bad(error.message),
            BusErrorKind::Transient | BusErrorKind::NotFound => Self::unavailable(error.message),
            BusErrorKind::Fatal | BusErrorKind::Unknown => Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.message),
        }
    }
}

/// `POST /v1/runs`: the body is a trigger message; 202 with the message's id. The same `Idempotency-Key` twice is one run.
pub async fn ask(State(door): State<Arc<Door>>, headers: HeaderMap, content: Body) -> Result<Response, Problem> {
    auth::operator(&door, &headers)?;
    let content = body::read(&headers, content, MAX_TRIGGER_BODY).await?;
    let message = TriggerMessage::read(&content).map_err(Problem::bad)?;
    let project = (door.project)();
    let known: Vec<&str> = project.exports.iter().map(|e| e.name.value.as_str()).collect();
    check(&message, &known).map_err(Problem::bad)?;
    let topic = project.topics.get("export_trigger").ok_or_else(|| {
        Problem::unavailable("the project declares no topic `export_trigger`, so nobody would take the message")
    })?;
    let mut kept = BTreeMap::from([(attributes::CAUSE_KIND.to_owned(), "http".to_owned())]);
    kept.insert(attributes::CAUSE_TIME.to_owned(), door.clock.now().to_string());
    if let Some(key) = headers.get("idempotency-key") {
        let key = key.to_str().ok().filter(|k| !k.is_empty() && k.len() <= 200);
        let key = key.ok_or_else(|| Problem::bad("the Idempotency-Key has to be 1 to 200 plain characters"))?;
        kept.insert(attributes::CAUSE_ID.to_owned(), format!("http/{key}"));
    }
    let id = door.bus.publish(topic, &NewMessage { body: content, attributes: kept }).await?;
    Ok(json(StatusCode::ACCEPTED, &serde_json::json!({"message_id": id})))
}

/// What can be said at once; the worker checks the rest. Asked for here, a wrong name is an answer and no dead letter.
fn check(message: &TriggerMessage, known: &[&str]) -> Result<(), String> {
    match (&message.export_types, message.players) {
        (Some(names), None) if !names.is_empty() => {
            if message.target_date.is_none() {
                return Err("`export_types` needs a `target_date`".into());
            }
            for name in names {
                if !known.contains(&name.as_str()) {
                    let near = nearest(name, known.iter().copied());
                    let hint = near.map_or(String::new(), |near| format!(": did you mean `{near}`?"));
                    return Err(format!("there is no export `{name}`{hint}"));
                }
            }
            Ok(())
        }
        (None, Some(true)) => Ok(()),
        _ => Err("a trigger message has either `export_types` with some names, or `players: true`".into()),
    }
}

/// `GET /v1/runs/<id>`: the request's record.
pub async fn run(State(door): State<Arc<Door>>, Path(id): Path<String>) -> Result<Response, Problem> {
    match door.state.request(&id).await? {
        Some(record) => Ok(json(StatusCode::OK, &record)),
        None => Err(Problem::not_found("there is no such run")),
    }
}
