//! The life of the process: stop, crash, reload; and an operator's word to a run.

use super::desk::{Desk, text};
use rustix::process::Signal;
use serde_json::{Value, json};

const BOARD: &str = r#"{"export_types":["board"],"target_date":"2025-12-12"}"#;
const SLOW: &str = r#"{"export_types":["slow"],"target_date":"2025-12-12"}"#;

fn running(desk: &Desk) -> Value {
    desk.until("a run under way", || desk.runs().into_iter().find(|r| r["status"] == "running"))
}

/// `slow` without a time limit that would come in between.
fn patient(desk: &Desk) {
    let slow = desk.sandbox.read("exports/slow.yaml").replace("timeout: 3s", "timeout: 1h");
    desk.sandbox.write("exports/slow.yaml", &slow);
}

#[test]
fn a_signal_lets_the_run_finish() {
    let mut desk = Desk::small();
    let held = desk.hold_publishing();
    desk.start("--grace 10m");
    let message = desk.publish("export_trigger", BOARD);
    running(&desk);
    desk.signal(Signal::TERM);
    desk.logged("finishing what is under way");
    // What comes now waits for the next service, or is still taken by this one.
    let later = desk.publish("export_trigger", r#"{"export_types":["board"],"target_date":"2025-12-13"}"#);
    assert!(!desk.sandbox.exists("public/v1/board/latest.json"), "it waits for the locks");
    drop(held);
    desk.ends_well();
    let run = desk.ended(&message);
    assert_eq!((&run["status"], &run["attempts"]), (&json!("success"), &json!(1)), "{run:#}");
    assert_eq!(desk.document("board/2025-12-12.json")["date"], "2025-12-12");
    desk.start("");
    assert_eq!(desk.ended(&later)["status"], "success");
    assert_eq!(desk.document("board/latest.json")["date"], "2025-12-13");
    assert_eq!((desk.runs().len(), desk.pull("export_complete").len()), (2, 2));
    desk.stop();
}

#[test]
fn what_does_not_finish_in_time_is_handed_back() {
    let mut desk = Desk::small();
    patient(&desk);
    desk.slow(true);
    desk.start("--grace 1s");
    let message = desk.publish("export_trigger", SLOW);
    let begun = running(&desk);
    desk.stop();
    let waiting = desk.json(&format!("runs show {}", text(&begun, "/run_id")));
    assert_eq!(waiting["status"], "waiting", "{waiting:#}");
    assert!(text(&waiting, "/reason").contains("goes away"), "{waiting:#}");
    desk.slow(false);
    desk.start("");
    let run = desk.ended(&message);
    assert_eq!((&run["status"], &run["run_id"]), (&json!("success"), &begun["run_id"]), "{run:#}");
    assert_eq!((desk.runs().len(), desk.pull("export_complete").len()), (1, 1));
    desk.stop();
}

/// The message of a killed service comes again when its lease has ended (a minute).
#[test]
fn a_killed_run_comes_again_and_is_one_run() {
    let mut desk = Desk::small();
    let held = desk.hold_publishing();
    desk.start("");
    let message = desk.publish("export_trigger", BOARD);
    let begun = running(&desk);
    desk.kill();
    drop(held);
    assert!(!desk.sandbox.exists("public/v1/board/latest.json"));
    desk.start("");
    let run = desk.ended(&message);
    assert_eq!((&run["status"], &run["run_id"]), (&json!("success"), &begun["run_id"]), "{run:#}");
    assert_eq!((desk.runs().len(), desk.pull("export_complete").len()), (1, 1));
    assert_eq!(desk.json("history board").as_array().unwrap().len(), 1);
    desk.stop();
}

#[test]
fn a_reload_takes_what_is_valid_and_keeps_the_old_otherwise() {
    let mut desk = Desk::small();
    desk.start("");
    let valid = desk.sandbox.read("phase6_publishing.yaml");
    let event = |pct: u32, batch: &str| json!({"game_date": "2025-12-12", "status": "success", "metadata": {"completion_pct": pct, "batch_id": batch}});
    let judged = |desk: &Desk, pct: u32, batch: &str| {
        let message = desk.publish("predictions_complete", &event(pct, batch).to_string());
        text(&desk.decided(&message), "/verdict").to_owned()
    };
    assert_eq!(judged(&desk, 85, "before"), "accept");

    // Not YAML; a key that is not known; a contract that is none. Each is refused with its place, and the old one works on.
    let broken = "triggers: [\n".to_owned();
    let unknown = valid.replace("dedupe_by:", "dedupe:");
    for (wrong, says) in [(broken, "phase6_publishing.yaml:"), (unknown, "dedupe")] {
        let before = desk.log_lines().iter().filter(|l| l["accepted"] == false).count();
        desk.sandbox.write("phase6_publishing.yaml", &wrong);
        desk.signal(Signal::HUP);
        let line =
            desk.until("the refusal", || desk.log_lines().into_iter().filter(|l| l["accepted"] == false).nth(before));
        assert!(text(&line, "/message").contains("the old one stays"), "{line}");
        assert!(text(&line, "/message").contains(says), "{line}");
        // The commands refuse the broken project too; what was sent before it is judged by the old rules.
        desk.run("runs", 2);
    }
    desk.sandbox.write("phase6_publishing.yaml", &valid);
    assert_eq!(judged(&desk, 86, "still"), "accept");

    let strict = valid.replace("completion_pct >= 80", "completion_pct >= 90");
    let before = desk.log_lines().iter().filter(|l| l["accepted"] == true).count();
    desk.sandbox.write("phase6_publishing.yaml", &strict);
    desk.signal(Signal::HUP);
    desk.until("the reload", || desk.log_lines().into_iter().filter(|l| l["accepted"] == true).nth(before));
    assert_eq!(judged(&desk, 87, "after"), "skip");
    desk.stop();
}

#[test]
fn a_run_under_way_can_be_cancelled() {
    let mut desk = Desk::small();
    patient(&desk);
    desk.slow(true);
    desk.start("");
    let message = desk.publish("export_trigger", SLOW);
    let begun = running(&desk);
    let id = text(&begun, "/run_id");
    let said = desk.run(&format!("runs cancel {id}"), 0).stdout;
    assert!(said.contains("will stop"), "{said}");
    let run = desk.ended(&message);
    assert_eq!((&run["status"], &run["reason"]), (&json!("cancelled"), &json!("an operator cancelled it")), "{run:#}");
    assert!(!desk.sandbox.exists("public/v1/slow/latest.json"));
    let complete = desk.until("the completion message", || desk.pull("export_complete").into_iter().next());
    assert_eq!(complete["message"]["status"], "cancelled");
    assert!(desk.dead().is_empty(), "who cancels does not want it again");
    let again = desk.run(&format!("runs cancel {id}"), 2);
    assert!(again.stderr.contains("has ended: cancelled"), "{}", again.stderr);
    desk.run("runs cancel nothing", 2);
    // It can be asked for again.
    desk.slow(false);
    let said = desk.run(&format!("runs retry {id}"), 0).stdout;
    assert_eq!(desk.ended(said.split_whitespace().last().unwrap())["status"], "success");
    desk.stop();
}

/// A run that waits for its next attempt begins none when it was cancelled meanwhile.
#[test]
fn a_waiting_run_can_be_cancelled() {
    let mut desk = Desk::small();
    let slow = desk.sandbox.read("exports/slow.yaml").replace(
        "sql: |",
        "ready:\n  - {query: pace, if: =pace.steps < 100, else: it is slow, retry_every: 10s, give_up_after: 13m}\n\
queries:\n  pace: {sql: \"SELECT steps FROM `league.pace`\"}\n  rows:\n    sql: |",
    );
    let slow = slow.replace("  SELECT COUNT", "      SELECT COUNT").replace("    UNNEST(G", "        UNNEST(G");
    desk.sandbox.write("exports/slow.yaml", &slow.replace("  WHERE MOD", "      WHERE MOD"));
    desk.slow(true);
    desk.start("");
    let message = desk.publish("export_trigger", SLOW);
    let waiting = desk.until("a waiting run", || desk.runs().into_iter().find(|r| r["status"] == "waiting"));
    let said = desk.run(&format!("runs cancel {}", text(&waiting, "/run_id")), 0).stdout;
    desk.slow(false);
    let run = desk.ended(&message);
    assert_eq!(run["status"], "cancelled", "{said}{run:#}");
    assert!(!desk.sandbox.exists("public/v1/slow/latest.json"), "it was ready by then, and not wanted");
    desk.stop();
}

#[test]
fn runs_are_listed_and_shown() {
    let mut desk = Desk::small();
    assert_eq!(desk.run("runs", 0).stdout, "no run of the service is recorded here\n");
    assert_eq!(desk.json("runs"), json!([]));
    desk.start("");
    let first = desk.ended(&desk.publish("export_trigger", BOARD));
    let second = desk.worked(&desk.publish(
        "predictions_complete",
        r#"{"game_date":"2025-12-13","status":"success","metadata":{"completion_pct":100,"batch_id":"b-13"}}"#,
    ));
    desk.stop();
    // The newest first; everything can be read without a service.
    let list = desk.run("runs list", 0).stdout;
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 3, "{list}");
    assert!(lines[1].starts_with(text(&second, "/run_id")) && lines[2].starts_with(text(&first, "/run_id")), "{list}");
    assert_eq!(desk.run("runs list --limit 1", 0).stdout.lines().count(), 2);
    let jsonl = desk.run("runs list --format jsonl", 0).stdout;
    let ids: Vec<Value> = jsonl.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["run_id"].clone()).collect();
    assert_eq!(ids, [second["run_id"].clone(), first["run_id"].clone()]);
    let shown = desk.run(&format!("runs show {}", text(&second, "/run_id")), 0).stdout;
    for part in
        ["success, attempt 1", "2025-12-13", "message b-13", "gate ", "board  published", "v1/board/2025-12-13.json"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    desk.run("runs show nothing", 2);
    desk.run("runs list --limit many", 2);
}

#[test]
fn a_service_that_cannot_start_says_why() {
    let desk = Desk::small();
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let said = desk.run(&format!("serve --listen {}", busy.local_addr().unwrap()), 5);
    assert!(said.stderr.contains("cannot listen on"), "{}", said.stderr);
    let valid = desk.sandbox.read("phase6_publishing.yaml");
    desk.sandbox.write("phase6_publishing.yaml", &valid.replace("dedupe_by:", "dedupe:"));
    desk.run("serve", 2);
    desk.sandbox.write("phase6_publishing.yaml", &valid.replace(", export_complete: complete", ""));
    let said = desk.run("serve", 2);
    assert!(said.stderr.contains("`export_complete`"), "{}", said.stderr);
}
