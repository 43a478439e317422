//! The seed's "Error Handling": the orchestrator fails, an export fails, some succeed, somebody recovers by hand.

use super::desk::{Desk, text};
use crate::harness::Sandbox;
use serde_json::{Value, json};

const EVENT: &str =
    r#"{"game_date":"2025-12-12","status":"success","metadata":{"completion_pct":100,"batch_id":"late"}}"#;

fn backup(schedule: &str) -> String {
    format!(
        "scheduler:\n  jobs:\n    - {{name: backup, schedule: \"{schedule}\", export_types: [board, slow], target_date: 2025-12-12, backup_of: gate}}\n"
    )
}

fn task<'v>(run: &'v Value, export: &str) -> &'v Value {
    let tasks = run["tasks"].as_array().unwrap();
    tasks.iter().find(|t| t["report"]["export"] == export).unwrap_or_else(|| panic!("no task {export}: {run:#}"))
}

/// "Scheduler backup: the 1 PM scheduler job will run tonight exports."
#[test]
fn the_backup_job_runs_where_the_orchestrator_failed() {
    let mut desk = Desk::small_with(&backup("0 18 * * *"));
    desk.start("");
    let refused = desk.decided(&desk.publish("predictions_complete", r#"{"gamedate":"2025-12-12"}"#));
    assert_eq!(refused["verdict"], "reject");
    let said = desk.json("schedule trigger backup --at 2025-12-12T18:00:00Z");
    let run = desk.ended(text(&said, "/message_id"));
    assert_eq!((&run["status"], &run["cause"]["kind"]), (&json!("success"), &json!("schedule")), "{run:#}");
    assert_eq!(desk.document("board/latest.json")["date"], "2025-12-12");

    // The event that comes after all is the same run.
    let late = desk.decided(&desk.publish("predictions_complete", EVENT));
    assert_eq!(late["verdict"], "duplicate");
    assert!(text(&late, "/reason").contains(text(&run, "/run_id")), "{late}");
    assert_eq!(late["duplicate_of"], run["cause"]["id"]);
    assert_eq!((desk.runs().len(), desk.pull("export_complete").len()), (1, 1));
    desk.stop();
}

/// As above, by the scheduler's own clock: waits for a full minute.
#[test]
fn an_event_after_the_tick_is_a_duplicate() {
    let mut desk = Desk::small_with(&backup("* * * * *"));
    desk.start("");
    let tick = desk.logged("job `backup`, slot");
    assert_eq!(tick["outcome"], "run", "{tick}");
    let cause = format!("tick/backup/{}", text(&tick, "/slot"));
    let ended = |desk: &Desk| desk.runs().into_iter().find(|r| r["cause"]["id"] == *cause && r["status"] == "success");
    let run = desk.until("the backup's run", || ended(&desk));
    let late = desk.decided(&desk.publish("predictions_complete", EVENT));
    assert_eq!((&late["verdict"], &late["duplicate_of"]), (&json!("duplicate"), &run["cause"]["id"]), "{late}");
    desk.stop();
}

#[test]
fn a_tick_after_the_event_is_skipped() {
    // The job's slots begin after the event was worked, so that none can come before it.
    let mut desk = Desk::small_with(&backup("0 0 29 2 *"));
    desk.start("");
    let run = desk.worked(&desk.publish("predictions_complete", EVENT));
    assert_eq!(run["status"], "success");
    let rare = desk.sandbox.read("phase6_publishing.yaml");
    desk.sandbox.write("phase6_publishing.yaml", &rare.replace("0 0 29 2 *", "* * * * *"));
    let skipped = desk.logged("skipped: the event came");
    assert!(text(&skipped, "/message").contains("late"), "{skipped}");
    assert_eq!((desk.runs().len(), desk.pull("export_complete").len()), (1, 1));
    // The operator's word goes through all the same, and says that the event came.
    let said = desk.run("schedule trigger backup", 0);
    assert!(said.stderr.contains("the event came already"), "{}", said.stderr);
    desk.stop();
}

/// "Automatic retries with exponential backoff": what fails for a while is tried again, and only that.
#[test]
fn what_fails_for_a_while_is_tried_again_alone() {
    let mut desk = Desk::small();
    desk.slow(true);
    desk.start("");
    let message = desk.publish("export_trigger", r#"{"export_types":["board","slow"],"target_date":"2025-12-12"}"#);
    let waiting = desk.until("a failed attempt", || {
        desk.runs().into_iter().find(|r| r["status"] == "waiting" && r["cause"]["message_id"] == *message)
    });
    assert_eq!(task(&waiting, "board")["done"], true);
    let slow = task(&waiting, "slow");
    assert_eq!((&slow["done"], &slow["report"]["class"]), (&json!(false), &json!("transient")), "{slow:#}");
    assert!(text(slow, "/report/reason").contains("time limit"), "{slow}");
    assert!(waiting["next_attempt"].is_string());
    assert!(desk.pull("export_complete").is_empty(), "it has not ended");
    desk.slow(false);
    let run = desk.ended(&message);
    assert_eq!(run["status"], "success", "{run:#}");
    assert_eq!(task(&run, "board")["attempts"], 1);
    assert!(task(&run, "slow")["attempts"].as_u64().unwrap() > 1, "{run:#}");
    assert_eq!(desk.json("history board").as_array().unwrap().len(), 1, "what succeeded was left alone");
    let complete = desk.pull("export_complete");
    assert_eq!(complete.len(), 1);
    assert_eq!(complete[0]["message"]["exports"][1]["attempts"], task(&run, "slow")["attempts"]);
    assert!(desk.dead().is_empty());
    desk.stop();
}

/// Attempts are bounded (I-25); then it is a dead letter, which an operator can send again.
#[test]
fn what_never_succeeds_is_given_up_and_can_be_replayed() {
    let mut desk = Desk::small();
    desk.slow(true);
    desk.start("");
    let message = desk.publish("export_trigger", r#"{"export_types":["board","slow"],"target_date":"2025-12-12"}"#);
    let run = desk.ended(&message);
    assert_eq!(run["status"], "partial", "{run:#}");
    assert_eq!(task(&run, "slow")["attempts"], 5);
    assert!(text(&run, "/reason").contains("given up after 5 attempts"), "{run:#}");
    let letter = desk.buried(&message);
    assert_eq!(letter["run_id"], run["run_id"]);
    desk.slow(false);
    desk.run(&format!("dead-letter replay {}", text(&letter, "/id")), 0);
    let again = desk.until("the replay's run", || {
        desk.runs().into_iter().find(|r| r["retry_of"] == run["run_id"] && r["finished_at"].is_string())
    });
    assert_eq!(again["status"], "success", "{again:#}");
    assert_eq!(task(&again, "board")["report"]["status"], "unchanged");
    assert!(desk.dead().is_empty());
    desk.stop();
}

#[test]
fn what_is_not_ready_is_asked_again() {
    let mut desk = Desk::small();
    let board = desk.sandbox.read("exports/board.yaml");
    let ready = "ready:\n  - {query: ready, if: =ready.players >= 1, else: no players yet, retry_every: 1s, give_up_after: 80s}\n\
queries:\n  ready: {sql: \"SELECT COUNT(*) AS players FROM `league.players` WHERE game_date = {{ target_date }}\"}\n";
    desk.sandbox.write("exports/board.yaml", &board.replace("queries:\n", ready));
    let players = desk.sandbox.read("warehouse/league/players.csv");
    desk.sandbox.write("warehouse/league/players.csv", players.lines().next().unwrap());
    desk.start("");
    let message = desk.publish("export_trigger", r#"{"export_types":["board","slow"],"target_date":"2025-12-12"}"#);
    let waiting = desk.until("a second attempt", || {
        desk.runs().into_iter().find(|r| r["status"] == "waiting" && r["attempts"].as_u64() >= Some(2))
    });
    assert_eq!(task(&waiting, "board")["report"]["status"], "not_ready");
    assert!(text(task(&waiting, "board"), "/report/reason").contains("no players yet"));
    assert!(!desk.sandbox.exists("public/v1/board/latest.json"));
    desk.sandbox.write("players.new", &players);
    let sandbox = desk.sandbox.path();
    std::fs::rename(sandbox.join("players.new"), sandbox.join("warehouse/league/players.csv")).unwrap();
    let run = desk.ended(&message);
    assert_eq!(run["status"], "success", "{run:#}");
    assert_eq!(task(&run, "slow")["attempts"], 1);
    assert_eq!(desk.document("board/latest.json")["total"], 3);
    desk.stop();
}

/// "Partial success: function reports which exports succeeded/failed."
#[test]
fn a_partial_success_says_what_failed_and_only_that_is_retried() {
    let mut desk = Desk::small();
    let pace = desk.sandbox.path().join("warehouse/league/pace.csv");
    let away = desk.sandbox.path().join("pace.away");
    std::fs::rename(&pace, &away).unwrap();
    desk.start("");
    let run = desk.worked(&desk.publish("predictions_complete", EVENT));
    let id = text(&run, "/run_id");
    assert_eq!(run["status"], "partial", "{run:#}");
    assert_eq!(task(&run, "slow")["attempts"], 1, "a permanent error is tried once");
    let complete = desk.pull("export_complete");
    let complete = &complete[0]["message"];
    assert_eq!((&complete["status"], &complete["totals"]["failed"]), (&json!("partial"), &json!(1)));
    let failed = &complete["exports"][1];
    assert_eq!((&failed["export"], &failed["class"]), (&json!("slow"), &json!("permanent")), "{failed:#}");
    assert!(text(failed, "/reason").contains("league.pace"), "{failed:#}");
    assert!(desk.dead().is_empty(), "trying again does not help, so there is nothing to send again");

    // A retry before it is mended fails; the next one is another run.
    let retry = |desk: &Desk, id: &str| {
        let said = desk.run(&format!("runs retry {id}"), 0).stdout;
        desk.ended(said.split_whitespace().last().unwrap())
    };
    let second = retry(&desk, id);
    assert_eq!((&second["status"], &second["exports"]), (&json!("failed"), &json!(["slow"])), "{second:#}");
    std::fs::rename(&away, &pace).unwrap();
    let third = retry(&desk, id);
    assert_eq!((&third["status"], &third["exports"]), (&json!("success"), &json!(["slow"])), "{third:#}");
    assert_eq!((&third["retry_of"], &third["cause"]["kind"]), (&run["run_id"], &json!("retry")));
    assert_eq!((&third["target_date"], &third["cause"]["time"]), (&run["target_date"], &run["cause"]["time"]));
    assert_eq!(desk.document("slow/latest.json")["date"], "2025-12-12");
    assert_eq!(desk.json("history board").as_array().unwrap().len(), 1, "what succeeded was left alone");

    let refused = desk.run(&format!("runs retry {id}"), 2);
    assert!(refused.stderr.contains(text(&third, "/run_id")), "{}", refused.stderr);
    let nothing = desk.run(&format!("runs retry {}", text(&third, "/run_id")), 2);
    assert!(nothing.stderr.contains("nothing of run"), "{}", nothing.stderr);
    desk.run("runs retry nothing", 2);
    desk.stop();
}

/// "Manual recovery: run specific exports via CLI": the seed's three commands, while the service runs.
#[test]
fn exports_are_run_by_hand_beside_the_service() {
    let mut desk = Desk::shipped();
    desk.start("");
    desk.run("run --date 2025-12-12 --only tonight,tonight-players", 0);
    desk.run("run --date 2025-12-11 --only results,best-bets", 0);
    desk.run("run --players --min-games 5 --date 2025-12-12", 0);
    let file = |sandbox: &Sandbox, path: &str| sandbox.json(&format!(".phase6/public/v1/{path}"));
    assert_eq!(file(&desk.sandbox, "tonight/all-players.json")["game_date"], "2025-12-12");
    assert_eq!(file(&desk.sandbox, "results/latest.json")["game_date"], "2025-12-11");
    let origin = desk.json("explain tonight/all-players.json");
    assert_eq!((&origin["request"], &origin["run"]["status"]), (&Value::Null, &json!("published")));

    // The service finds what was made and goes on.
    let message = desk.publish("export_trigger", r#"{"export_types":["tonight"],"target_date":"2025-12-12"}"#);
    let run = desk.ended(&message);
    assert_eq!(run["status"], "success", "{run:#}");
    // An older date does not take `latest` back.
    let older = desk.publish("export_trigger", r#"{"export_types":["results"],"target_date":"2025-12-10"}"#);
    assert_eq!(desk.ended(&older)["status"], "success");
    assert_eq!(file(&desk.sandbox, "results/latest.json")["game_date"], "2025-12-11");
    assert_eq!(file(&desk.sandbox, "results/2025-12-10.json")["game_date"], "2025-12-10");
    desk.stop();
}
