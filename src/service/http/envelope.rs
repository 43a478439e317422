//! The forms in which an event comes by HTTP, and the one message that each of them is: Pub/Sub's push envelope, a bare body
//! (push without envelope), CloudEvents structured and binary.

use crate::model::message::{TriggerMessage, attributes};
use crate::ports::bus::{MAX_BODY, NewMessage};
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What a request may hold: the largest message in base64, and its envelope.
pub const MAX_REQUEST: usize = MAX_BODY.div_ceil(3) * 4 + 256 * 1024;

/// Kept as an attribute: the id that the message had where it was pushed from.
pub const PUSH_ID: &str = "phase6-push-message-id";

/// Kept as an attribute: the topics on which doors have put the event, each with its bus. A push subscription on one of them
/// brings it back.
pub const PUSHED_TO: &str = "phase6-pushed-to";

/// Between two of them.
const AND: &str = ", ";

/// How Pub/Sub names itself to whom it pushes.
const PUBSUB_AGENT: &str = "CloudPubSub-Google";

/// The CloudEvents type whose data is Pub/Sub's envelope.
const FROM_PUBSUB: &str = "google.cloud.pubsub.topic.v1.messagePublished";

/// An event, whatever its form was.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub body: Vec<u8>,
    pub attributes: BTreeMap<String, String>,
    /// Where the form has one.
    pub id: Option<String>,
    pub published_at: Option<Timestamp>,
}

/// Why an event is not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum BadEvent {
    Malformed(String),
    TooLarge(usize),
}

fn bad<T>(reason: impl Into<String>) -> Result<T, BadEvent> {
    Err(BadEvent::Malformed(reason.into()))
}

/// Reads a request of any of the forms.
pub fn read(headers: &HeaderMap, body: Vec<u8>) -> Result<Event, BadEvent> {
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let content_type = header("content-type").unwrap_or_default().to_ascii_lowercase();
    if content_type.starts_with("application/cloudevents-batch") {
        return bad("batches of CloudEvents are not taken: send them one by one");
    }
    let event = if content_type.starts_with("application/cloudevents") {
        structured(&body)
    } else if header("ce-specversion").is_some() {
        binary(headers, body)
    } else {
        bare_or_envelope(headers, body)
    }?;
    if event.body.len() > MAX_BODY {
        return Err(BadEvent::TooLarge(event.body.len()));
    }
    Ok(event)
}

fn object(body: &[u8]) -> Result<Map<String, Value>, BadEvent> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => bad("the body is no JSON object"),
        Err(error) => bad(format!("the body is no JSON: {error}")),
    }
}

fn bare_or_envelope(headers: &HeaderMap, body: Vec<u8>) -> Result<Event, BadEvent> {
    let map = object(&body)?;
    if is_envelope(&map) {
        return envelope(&map);
    }
    // Push without envelope tells of the message in headers, where it is asked to: attributes by their own names, of which only
    // ours is known from everybody else's headers.
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let id = header("x-goog-pubsub-message-id").map(str::to_owned);
    let published_at = header("x-goog-pubsub-publish-time").map(time).transpose()?;
    let been = header(PUSHED_TO).map(|been| (PUSHED_TO.to_owned(), been.to_owned()));
    Ok(Event { body, id, published_at, attributes: been.into_iter().collect() })
}

/// Whether Pub/Sub pushed it without saying which message it is: neither a second push of it nor its way back is noticed.
pub fn is_nameless_push(headers: &HeaderMap, event: &Event) -> bool {
    let agent = headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok());
    event.id.is_none() && agent.is_some_and(|agent| agent.starts_with(PUBSUB_AGENT))
}

/// A message of somebody's own may have a field `message` too; the envelope has nothing beside it.
fn is_envelope(map: &Map<String, Value>) -> bool {
    map.get("message").is_some_and(Value::is_object)
        && map.keys().all(|key| matches!(key.as_str(), "message" | "subscription" | "deliveryAttempt"))
}

fn envelope(map: &Map<String, Value>) -> Result<Event, BadEvent> {
    let Some(Value::Object(message)) = map.get("message") else {
        return bad("the envelope holds no `message`");
    };
    let text = |names: [&str; 2]| match names.iter().find_map(|name| message.get(*name)) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => bad(format!("`message.{}` is no text", names[0])),
    };
    let body = match text(["data", "data"])? {
        Some(data) => STANDARD.decode(data).or_else(|e| bad(format!("`message.data` is no base64: {e}")))?,
        None => Vec::new(),
    };
    let mut kept = BTreeMap::new();
    match message.get("attributes") {
        None | Some(Value::Null) => {}
        Some(Value::Object(attributes)) => {
            for (name, value) in attributes {
                let Value::String(value) = value else {
                    return bad(format!("the attribute `{name}` is no text"));
                };
                kept.insert(name.clone(), value.clone());
            }
        }
        Some(_) => return bad("`message.attributes` is no object"),
    }
    if body.is_empty() && kept.is_empty() {
        return bad("the message has neither data nor attributes");
    }
    let id = text(["messageId", "message_id"])?.map(str::to_owned);
    let published_at = text(["publishTime", "publish_time"])?.map(time).transpose()?;
    Ok(Event { body, attributes: kept, id, published_at })
}

fn structured(body: &[u8]) -> Result<Event, BadEvent> {
    let map = object(body)?;
    let text = |name: &str| match map.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => bad(format!("the CloudEvent's `{name}` is no text")),
    };
    let head = CloudHead {
        version: text("specversion")?,
        id: text("id")?,
        source: text("source")?,
        kind: text("type")?,
        time: text("time")?,
    };
    let data = match (map.get("data"), text("data_base64")?) {
        (Some(_), Some(_)) => return bad("the CloudEvent has both `data` and `data_base64`"),
        (Some(Value::String(data)), None) => data.clone().into_bytes(),
        (Some(data), None) => data.to_string().into_bytes(),
        (None, Some(data)) => STANDARD.decode(data).or_else(|e| bad(format!("`data_base64` is no base64: {e}")))?,
        (None, None) => return bad("the CloudEvent has no data"),
    };
    cloud_event(head, data)
}

fn binary(headers: &HeaderMap, body: Vec<u8>) -> Result<Event, BadEvent> {
    let text = |name: &str| match headers.get(name).map(|v| v.to_str()) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text.to_owned())),
        Some(Err(_)) => bad(format!("the header `{name}` is no plain text")),
    };
    let head = CloudHead {
        version: text("ce-specversion")?,
        id: text("ce-id")?,
        source: text("ce-source")?,
        kind: text("ce-type")?,
        time: text("ce-time")?,
    };
    cloud_event(head, body)
}

struct CloudHead {
    version: Option<String>,
    id: Option<String>,
    source: Option<String>,
    kind: Option<String>,
    time: Option<String>,
}

fn cloud_event(head: CloudHead, data: Vec<u8>) -> Result<Event, BadEvent> {
    let needed = |value: Option<String>, name: &str| match value {
        Some(value) if !value.is_empty() => Ok(value),
        _ => bad(format!("the CloudEvent has no `{name}`")),
    };
    let version = needed(head.version, "specversion")?;
    if version != "1.0" {
        return bad(format!("CloudEvents {version} is not known, only 1.0"));
    }
    let (id, source) = (needed(head.id, "id")?, needed(head.source, "source")?);
    let kind = needed(head.kind, "type")?;
    if kind == FROM_PUBSUB {
        let event = envelope(&object(&data)?)?;
        return Ok(Event { id: event.id.or(Some(id)), ..event });
    }
    let published_at = head.time.as_deref().map(time).transpose()?;
    let attributes = [("ce-type", kind), ("ce-source", source.clone()), ("ce-id", id.clone())];
    // An id is unique within its source only.
    let id = Some(format!("{source} {id}"));
    let attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(Event { body: data, attributes, id, published_at })
}

fn time(text: &str) -> Result<Timestamp, BadEvent> {
    text.parse().or_else(|_| bad(format!("`{text}` is no time in RFC 3339")))
}

impl Event {
    /// Whether a door has put the event on the topic `here` before.
    pub fn was_put(&self, here: &str) -> bool {
        self.attributes.get(PUSHED_TO).is_some_and(|been| been.split(AND).any(|place| place == here))
    }

    /// The message for the topic `here`. What the sender's attributes say already stays; the original id makes a second push of the
    /// same message the same cause, and its publish time is the one from which date words are resolved.
    pub fn into_message(self, here: &str) -> NewMessage {
        let mut kept = self.attributes;
        let been = kept.get(PUSHED_TO).map(|been| format!("{been}{AND}")).unwrap_or_default();
        kept.insert(PUSHED_TO.into(), format!("{been}{here}"));
        if let Some(id) = &self.id {
            kept.insert(PUSH_ID.into(), id.clone());
            // Our own messages name their batch or correlation themselves; that is the better cause.
            let names_its_cause = TriggerMessage::read(&self.body).is_ok_and(|m| m.dedupe_key().is_some());
            if !names_its_cause {
                kept.entry(attributes::CAUSE_ID.into()).or_insert_with(|| format!("push/{id}"));
            }
        }
        if let Some(at) = self.published_at {
            kept.entry(attributes::CAUSE_TIME.into()).or_insert_with(|| at.to_string());
        }
        NewMessage { body: self.body, attributes: kept }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(headers: &[(&'static str, &str)], body: impl AsRef<[u8]>) -> Result<Event, BadEvent> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        read(&map, body.as_ref().to_vec())
    }

    fn pushed() -> Value {
        json!({"message": {"data": STANDARD.encode(r#"{"players":true}"#), "attributes": {"a": "b"},
            "messageId": "77", "message_id": "77", "publishTime": "2025-12-12T18:00:00.5Z", "publish_time": "2025-12-12T18:00:00.5Z"},
            "subscription": "projects/p/subscriptions/s", "deliveryAttempt": 2})
    }

    #[test]
    fn every_form_is_the_same_message() {
        let envelope = pushed().to_string();
        let cloud =
            json!({"specversion": "1.0", "id": "77", "source": "//pubsub", "type": FROM_PUBSUB, "data": pushed()});
        let head = [("ce-specversion", "1.0"), ("ce-id", "77"), ("ce-source", "//pubsub"), ("ce-type", FROM_PUBSUB)];
        let events = [
            request(&[], &envelope).unwrap(),
            request(&[("content-type", "application/cloudevents+json; charset=utf-8")], cloud.to_string()).unwrap(),
            request(&head, &envelope).unwrap(),
        ];
        for event in events {
            assert_eq!(event.body, br#"{"players":true}"#);
            assert_eq!(event.id.as_deref(), Some("77"));
            let message = event.into_message("t of a bus");
            let want = [
                ("a", "b"),
                (attributes::CAUSE_ID, "push/77"),
                (attributes::CAUSE_TIME, "2025-12-12T18:00:00.5Z"),
                (PUSH_ID, "77"),
                (PUSHED_TO, "t of a bus"),
            ];
            assert_eq!(message.attributes, want.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        }
    }

    #[test]
    fn a_bare_body_is_kept_as_it_came() {
        let body = "{ \"message\": {\"data\": 1}, \"status\": \"success\" }";
        let headers = [("x-goog-pubsub-message-id", "5"), ("x-goog-pubsub-publish-time", "2025-12-12T18:00:00Z")];
        let event = request(&headers, body).unwrap();
        assert_eq!((event.body.as_slice(), event.id.as_deref()), (body.as_bytes(), Some("5")));
        let kept = request(&[], body).unwrap().into_message("t").attributes;
        assert_eq!(kept, BTreeMap::from([(PUSHED_TO.to_owned(), "t".to_owned())]));
    }

    #[test]
    fn an_event_knows_every_topic_on_which_it_was_put() {
        let mut event = pushed();
        let put = request(&[], event.to_string()).unwrap().into_message("t of here");
        event["message"]["attributes"] = json!(put.attributes);
        let envelope = request(&[], event.to_string()).unwrap();
        let bare = request(&[("phase6-pushed-to", "t of here")], "{}").unwrap();
        for back in [envelope, bare] {
            assert!(back.was_put("t of here") && !back.was_put("t of there") && !back.was_put("t"));
            // From there it may come back once more.
            let far = Event { attributes: back.into_message("t of there").attributes, ..Event::default() };
            assert!(far.was_put("t of here") && far.was_put("t of there"));
        }
    }

    #[test]
    fn a_push_that_does_not_say_which_message_it_is_is_known_by_its_agent() {
        let nameless = |headers: &[(&'static str, &str)]| {
            let map = headers.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect();
            is_nameless_push(&map, &read(&map, b"{}".to_vec()).unwrap())
        };
        let agent = ("user-agent", "CloudPubSub-Google");
        assert!(nameless(&[agent]));
        assert!(!nameless(&[agent, ("x-goog-pubsub-message-id", "5")]));
        assert!(!nameless(&[("user-agent", "curl/8")]) && !nameless(&[]));
    }

    #[test]
    fn other_cloud_events_keep_their_names() {
        let head = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/mine"), ("ce-type", "t")];
        let event = request(&head, "{}").unwrap();
        assert_eq!((event.body.as_slice(), event.id.as_deref()), (b"{}".as_slice(), Some("/mine 1")));
        assert_eq!(event.attributes["ce-source"], "/mine");
        let structured =
            json!({"specversion": "1.0", "id": "1", "source": "/mine", "type": "t", "data_base64": "e30="});
        let event = request(&[("content-type", "application/cloudevents+json")], structured.to_string()).unwrap();
        assert_eq!(event.body, b"{}");
    }

    #[test]
    fn the_sender_s_own_cause_stays() {
        let mut event = pushed();
        event["message"]["attributes"] =
            json!({"phase6-cause-id": "tick/job/2025", "phase6-cause-time": "2025-12-12T10:00:00Z"});
        let kept = request(&[], event.to_string()).unwrap().into_message("t").attributes;
        assert_eq!(kept[attributes::CAUSE_ID], "tick/job/2025");
        assert_eq!(kept[attributes::CAUSE_TIME], "2025-12-12T10:00:00Z");
        event["message"]["attributes"] = json!({});
        event["message"]["data"] = json!(STANDARD.encode(r#"{"players":true,"upstream_batch_id":"b1"}"#));
        let kept = request(&[], event.to_string()).unwrap().into_message("t").attributes;
        assert!(!kept.contains_key(attributes::CAUSE_ID), "the batch in the body is the cause");
    }

    #[test]
    fn what_is_malformed_is_refused_with_its_reason() {
        let with = |change: &dyn Fn(&mut Value)| {
            let mut event = pushed();
            change(&mut event);
            event.to_string()
        };
        let cloud = ("content-type", "application/cloudevents+json");
        for (headers, body, reason) in [
            (vec![], String::new(), "no JSON"),
            (vec![], "[1]".into(), "no JSON object"),
            (vec![], with(&|e| e["message"]["data"] = json!("%%")), "no base64"),
            (vec![], with(&|e| e["message"]["data"] = json!(5)), "`message.data` is no text"),
            (vec![], with(&|e| e["message"]["attributes"] = json!({"a": 1})), "attribute `a`"),
            (vec![], with(&|e| e["message"]["attributes"] = json!([])), "no object"),
            (vec![], with(&|e| e["message"]["publishTime"] = json!("soon")), "no time"),
            (vec![], json!({"message": {}, "subscription": "s"}).to_string(), "neither data nor attributes"),
            (vec![cloud], json!({"data": 1}).to_string(), "no `specversion`"),
            (
                vec![cloud],
                json!({"specversion": "0.3", "id": "1", "source": "s", "type": "t", "data": 1}).to_string(),
                "0.3",
            ),
            (vec![cloud], json!({"specversion": "1.0", "id": "1", "source": "s", "type": "t"}).to_string(), "no data"),
            (
                vec![cloud],
                json!({"specversion": "1.0", "id": 1, "source": "s", "type": "t", "data": 1}).to_string(),
                "`id` is no text",
            ),
            (vec![("ce-specversion", "1.0")], "{}".into(), "no `id`"),
            (vec![("content-type", "application/cloudevents-batch+json")], "[]".into(), "one by one"),
        ] {
            match request(&headers, &body) {
                Err(BadEvent::Malformed(found)) => assert!(found.contains(reason), "{body}: {found}"),
                other => panic!("{body}: {other:?}"),
            }
        }
        let large = json!({"message": {"data": STANDARD.encode(vec![b' '; MAX_BODY + 1])}}).to_string();
        assert!(large.len() < MAX_REQUEST);
        assert_eq!(request(&[], large), Err(BadEvent::TooLarge(MAX_BODY + 1)));
    }
}
