//! The HTTP door of the real service: events in, runs asked for, and what it tells of itself.

use super::desk::{Desk, text};
use base64::Engine as _;
use serde_json::{Value, json};
use std::time::Duration;

const TOKEN: &str = "a-token-of-the-test";

/// An answer: its status and its text.
struct Answer(u16, String);

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.1).unwrap_or_else(|e| panic!("{e}: {}", self.1))
    }
}

/// The address is free only if the system chooses it; the service says which it is.
fn address(desk: &Desk) -> String {
    format!("http://{}", text(&desk.logged("started on target"), "/listen"))
}

fn agent() -> ureq::Agent {
    let config =
        ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(60)));
    config.build().into()
}

fn get(url: &str) -> Answer {
    let mut answer = agent().get(url).call().unwrap_or_else(|e| panic!("{url}: {e}"));
    Answer(answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
}

fn post(url: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
    let mut request = agent().post(url).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut answer = request.send(body.to_string()).unwrap_or_else(|e| panic!("{url}: {e}"));
    Answer(answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
}

/// What Pub/Sub pushes.
fn pushed(id: &str, at: &str, body: &str) -> Value {
    let data = base64::engine::general_purpose::STANDARD.encode(body);
    json!({
        "message": {"data": data, "messageId": id, "message_id": id, "publishTime": at, "publish_time": at, "attributes": {"origin": "phase5"}},
        "subscription": "projects/p/subscriptions/s"
    })
}

#[test]
fn a_pushed_event_is_worked_once() {
    let mut desk = Desk::small();
    desk.start("--listen 127.0.0.1:0");
    let url = address(&desk);
    let event = r#"{"game_date":"2025-12-12","status":"success","metadata":{"completion_pct":99.6}}"#;
    let envelope = pushed("4711", "2025-12-12T18:00:00Z", event);
    // Pushed twice, as after a lost answer: one run.
    for _ in 0..2 {
        assert_eq!(post(&format!("{url}/v1/events/upstream"), &envelope, &[]).0, 204);
    }
    let decisions = desk.until("two decisions", || {
        let all = desk.json("gate list").as_array().unwrap().clone();
        (all.len() == 2).then_some(all)
    });
    assert!(decisions.iter().all(|d| d["cause_id"] == decisions[0]["cause_id"]), "{decisions:#?}");
    let run = desk.until("the run", || desk.runs().into_iter().find(|r| r["status"] == "success"));
    assert_eq!((&run["target_date"], &run["cause"]["id"]), (&json!("2025-12-12"), &json!("push/4711")), "{run:#}");
    desk.until("nothing under way", || desk.runs().iter().all(|r| r["finished_at"].is_string()).then_some(()));
    assert_eq!(desk.pull("complete").len(), 1);

    // A trigger message that is pushed: its date word is meant at its own publish time, the evening before in New York.
    let body = r#"{"export_types":["board"],"target_date":"today"}"#;
    let trigger = pushed("4712", "2025-12-14T02:30:00Z", body);
    assert_eq!(post(&format!("{url}/v1/events/export_trigger"), &trigger, &[]).0, 204);
    let run = desk.until("the second run", || {
        desk.runs().into_iter().find(|r| r["cause"]["id"] == "push/4712" && r["finished_at"].is_string())
    });
    assert_eq!((&run["status"], &run["target_date"]), (&json!("success"), &json!("2025-12-13")), "{run:#}");

    // What is no event is an answer, and no message.
    assert_eq!(post(&format!("{url}/v1/events/nowhere"), &envelope, &[]).0, 404);
    assert_eq!(post(&format!("{url}/v1/events/upstream"), &json!([1]), &[]).0, 400);
    assert_eq!(post(&format!("{url}/v1/events/upstream"), &envelope, &[("origin", "http://evil.example")]).0, 403);
    assert_eq!(desk.json("gate list").as_array().unwrap().len(), 2);
    // Without a token nobody asks for runs.
    assert_eq!(post(&format!("{url}/v1/runs"), &json!({"players": true}), &[]).0, 403);
    desk.stop();
}

#[test]
fn a_run_is_asked_for_with_the_token() {
    let mut desk = Desk::small();
    desk.start_with("--listen 127.0.0.1:0", &[("PHASE6_TOKEN", TOKEN)]);
    let url = address(&desk);
    let runs = format!("{url}/v1/runs");
    let body = json!({"export_types": ["board"], "target_date": "2025-12-12"});
    let bearer = format!("Bearer {TOKEN}");
    assert_eq!(post(&runs, &body, &[]).0, 401);
    assert_eq!(post(&runs, &body, &[("authorization", "Bearer another")]).0, 401);
    let envelope = pushed("1", "2025-12-12T18:00:00Z", "{}");
    assert_eq!(post(&format!("{url}/v1/events/upstream"), &envelope, &[]).0, 401);
    let with_key = [("authorization", bearer.as_str()), ("idempotency-key", "once")];
    let accepted = post(&runs, &body, &with_key);
    assert_eq!(accepted.0, 202, "{}", accepted.1);
    let run = desk.ended(text(&accepted.json(), "/message_id"));
    assert_eq!((&run["status"], &run["cause"]["kind"]), (&json!("success"), &json!("http")), "{run:#}");
    // The same key again is the same run.
    let again = desk.ended(text(&post(&runs, &body, &with_key).json(), "/message_id"));
    assert_eq!((&again["status"], &again["duplicate_of"]), (&json!("duplicate"), &run["run_id"]));
    // A wrong name is an answer here and no dead letter.
    let wrong =
        post(&runs, &json!({"export_types": ["bord"], "target_date": "2025-12-12"}), &[("authorization", &bearer)]);
    assert!(wrong.0 == 400 && wrong.1.contains("did you mean `board`"), "{} {}", wrong.0, wrong.1);
    assert!(desk.dead().is_empty());
    assert!(!desk.log_text().contains(TOKEN), "the token is never written");
    desk.stop();
}

#[test]
fn the_service_tells_of_its_runs() {
    let mut desk = Desk::small();
    desk.start("--listen 127.0.0.1:0");
    let url = address(&desk);
    assert_eq!(get(&format!("{url}/livez")).0, 200);
    desk.until("ready", || (get(&format!("{url}/readyz")).0 == 200).then_some(()));
    let run = desk.ended(&desk.publish("export_trigger", r#"{"export_types":["board"],"target_date":"2025-12-12"}"#));
    let id = text(&run, "/run_id");
    // The record is written just before the counters move.
    desk.until("the counted run", || {
        let metrics = get(&format!("{url}/metrics"));
        assert_eq!(metrics.0, 200);
        let counted = |l: &str| l.starts_with("phase6_requests_total{") && l.contains("success") && l.ends_with(" 1");
        metrics.1.lines().any(counted).then_some(())
    });
    let metrics = get(&format!("{url}/metrics")).1;
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    assert!(metrics.lines().any(|l| l.starts_with("phase6_exports_total{") && l.contains("published")), "{metrics}");
    let page = get(&url);
    assert!(page.0 == 200 && page.1.contains(id), "the status page lists {id}: {}", page.1);
    assert_eq!(get(&format!("{url}/nothing")).0, 404);
    desk.stop();
    assert!(agent().get(&url).call().is_err(), "the door is closed");
}
