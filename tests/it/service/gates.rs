//! The gate: what it lets pass, what it skips and why, what it refuses, and the same thing told twice.

use super::desk::{Desk, text};
use serde_json::{Value, json};

fn event(date: &str, status: &str, pct: f64, batch: &str) -> String {
    json!({"game_date": date, "status": status, "metadata": {"completion_pct": pct, "batch_id": batch}}).to_string()
}

#[test]
fn a_closed_gate_says_why_and_can_be_forced() {
    let mut desk = Desk::small();
    desk.start("");
    let cases = [
        (event("2025-12-12", "failed", 100.0, "a"), "status is neither success nor partial"),
        (event("2025-12-12", "success", 79.9, "b"), "fewer than 80 % of the predictions are complete"),
        (r#"{"status":"success","metadata":{"completion_pct":100,"batch_id":"c"}}"#.to_owned(), "it has no game_date"),
    ];
    let mut skipped = Vec::new();
    for (body, reason) in &cases {
        let message = desk.publish("predictions_complete", body);
        let decision = desk.decided(&message);
        assert_eq!((&decision["verdict"], &decision["reason"]), (&json!("skip"), &json!(reason)));
        assert_eq!(decision["message"], serde_json::from_str::<Value>(body).unwrap());
        skipped.push(text(&decision, "/id").to_owned());
    }
    assert!(desk.dead().is_empty(), "a skipped message is no dead letter");
    assert!(desk.runs().is_empty() && desk.pull("export_trigger").is_empty());
    let list = desk.run("gate", 0).stdout;
    assert!(cases.iter().all(|(_, reason)| list.contains(reason)), "{list}");

    // An operator's word opens it; once more says that it is done.
    let said = desk.run(&format!("gate force {}", skipped[1]), 0).stdout;
    let message = said.split_whitespace().nth(2).unwrap();
    let run = desk.ended(message);
    assert_eq!((&run["status"], &run["cause"]["id"]), (&json!("success"), &json!("b")), "{run:#}");
    assert_eq!(run["cause"]["decision"], *skipped[1]);
    let decision = desk.json(&format!("gate show {}", skipped[1]));
    assert_eq!((&decision["verdict"], &decision["forced"]), (&json!("accept"), &json!(true)));
    let again = desk.run(&format!("gate force {}", skipped[1]), 2);
    assert!(again.stderr.contains("was accepted already"), "{}", again.stderr);
    // What came after it of the same batch is a duplicate.
    let late = desk.publish("predictions_complete", &event("2025-12-12", "success", 100.0, "b"));
    assert_eq!(desk.decided(&late)["verdict"], "duplicate");

    // Without a date there is nothing to force.
    let refused = desk.run(&format!("gate force {}", skipped[2]), 2);
    assert!(refused.stderr.contains("cannot be forced"), "{}", refused.stderr);
    desk.run("gate force nothing", 2);
    assert_eq!(desk.runs().len(), 1);
    desk.stop();
}

/// I-10: a renamed key made the gate read 0 % and skip in silence.
#[test]
fn what_is_not_the_agreed_message_is_refused() {
    let mut desk = Desk::small();
    desk.start("");
    let cases = [
        ("{\"game_date\":", "no JSON"),
        ("", "no JSON"),
        ("[]", "object"),
        (r#"{"game_date":"2025-12-12","status":"success","metadata":{"completion":100}}"#, "completion_pct"),
        (r#"{"game_date":"2025-12-12","status":"success","metadata":{"completion_pct":"100"}}"#, "number"),
        (r#"{"game_date":"2025-12-12","status":true,"metadata":{"completion_pct":100}}"#, "string"),
        (r#"{"game_date":"12/12/2025","status":"success","metadata":{"completion_pct":100}}"#, "date"),
        (r#"{"game_date":"9999-12-31","status":"success","metadata":{"completion_pct":100}}"#, "plausible"),
        (r#"{"game_date":"2025-12-12","status":"success","metadata":{"completion_pct":250}}"#, "maximum"),
    ];
    for (body, part) in cases {
        let message = desk.publish_with("predictions_complete", body, "--attribute source=test");
        let decision = desk.decided(&message);
        assert_eq!(decision["verdict"], "reject", "{body}");
        assert!(text(&decision, "/reason").contains(part), "{body}: {decision}");
        let letter = desk.buried(&message);
        assert_eq!(letter["reason"], decision["reason"]);
        let shown = desk.json(&format!("dead-letter show {}", text(&letter, "/id")));
        assert_eq!((&shown["body"], &shown["attributes"]["source"]), (&json!(body), &json!("test")));
        desk.run(&format!("gate force {}", text(&decision, "/id")), 2);
    }
    assert_eq!(desk.dead().len(), cases.len());
    assert!(desk.runs().is_empty());
    // Extra fields are the sender's business.
    let more = desk.publish(
        "predictions_complete",
        r#"{"game_date":"2025-12-12","status":"partial","new":{"a":1},"metadata":{"completion_pct":80,"other":[]}}"#,
    );
    assert_eq!(desk.worked(&more)["status"], "success");
    desk.stop();
}

/// I-5: two deliveries of one event ran every export twice at once.
#[test]
fn the_same_batch_twice_is_one_run() {
    let mut desk = Desk::small();
    // Both lie there when the service starts, so that they are judged side by side.
    let body = event("2025-12-12", "success", 99.6, "batch-1");
    let (first, second) = (desk.publish("predictions_complete", &body), desk.publish("predictions_complete", &body));
    desk.start("");
    let verdicts = [desk.decided(&first), desk.decided(&second)];
    desk.until("one run", || desk.runs().iter().any(|r| r["status"] == "success").then_some(()));
    desk.until("nothing under way", || desk.runs().iter().all(|r| r["finished_at"].is_string()).then_some(()));
    let accepted = verdicts.iter().filter(|d| d["verdict"] == "accept").count();
    assert!(accepted >= 1, "{verdicts:?}");
    assert_eq!(desk.pull("export_complete").len(), 1);
    assert_eq!(desk.json("history board").as_array().unwrap().len(), 1);
    let ran = desk.runs().iter().filter(|r| r["status"] != "duplicate").count();
    assert_eq!(ran, 1);
    desk.stop();
}

#[test]
fn different_messages_of_one_correlation_are_one_run() {
    let mut desk = Desk::small();
    desk.start("");
    let body = |pct: f64| json!({"game_date": "2025-12-12", "status": "success", "correlation_id": "abc-123", "metadata": {"completion_pct": pct}});
    let run = desk.worked(&desk.publish("predictions_complete", &body(90.0).to_string()));
    assert_eq!(run["cause"]["id"], "abc-123");
    let second = desk.decided(&desk.publish("predictions_complete", &body(100.0).to_string()));
    assert_eq!(second["verdict"], "duplicate");
    assert_eq!(second["duplicate_of"], run["cause"]["decision"]);
    assert!(text(&second, "/reason").contains("abc-123"), "{second}");
    // Another batch of the same date is another run.
    let third = desk.worked(&desk.publish("predictions_complete", &event("2025-12-12", "success", 100.0, "next")));
    assert_eq!(third["status"], "success");
    assert_eq!(desk.pull("export_complete").len(), 2);
    desk.stop();
}

#[test]
fn one_trigger_message_published_three_times_is_one_run() {
    let mut desk = Desk::small();
    let body = r#"{"export_types":["board"],"target_date":"2025-12-12","upstream_batch_id":"batch-1"}"#;
    let messages: Vec<String> = (0..3).map(|_| desk.publish("export_trigger", body)).collect();
    desk.start("");
    let runs: Vec<Value> = messages.iter().map(|m| desk.ended(m)).collect();
    let of = |status: &str| runs.iter().filter(|r| r["status"] == status).count();
    assert_eq!((of("success"), of("duplicate")), (1, 2), "{runs:#?}");
    let ran = runs.iter().find(|r| r["status"] == "success").unwrap();
    assert!(runs.iter().filter(|r| r["status"] == "duplicate").all(|r| r["duplicate_of"] == ran["run_id"]));
    assert_eq!(desk.pull("export_complete").len(), 1);
    assert_eq!(desk.json("history board").as_array().unwrap().len(), 1);
    desk.stop();
}
