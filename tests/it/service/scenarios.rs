//! The two scenarios of the seed (`phase6-orchestration.md`, "Complete Trigger Flow") with its own messages.

use super::desk::{Desk, text};
use crate::harness::root;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const UPSTREAM: &str = "nba-phase5-predictions-complete";
const TRIGGER: &str = "nba-phase6-export-trigger";
const COMPLETE: &str = "nba-phase6-export-complete";

/// The seed's input message, word for word.
const FROM_PHASE_5: &str = r#"{
  "processor_name": "PredictionCoordinator",
  "phase": "phase_5_predictions",
  "execution_id": "batch_2025-12-12_1734012345",
  "correlation_id": "abc-123",
  "game_date": "2025-12-12",
  "output_table": "player_prop_predictions",
  "status": "success",
  "record_count": 450,
  "metadata": {
    "batch_id": "batch_2025-12-12_1734012345",
    "expected_predictions": 450,
    "completed_predictions": 448,
    "failed_predictions": 2,
    "completion_pct": 99.6
  }
}"#;

#[test]
fn an_event_becomes_tonights_documents() {
    let mut desk = Desk::shipped();
    desk.start("");
    let upstream = desk.publish(UPSTREAM, FROM_PHASE_5);
    let run = desk.worked(&upstream);
    assert_eq!(run["status"], "success", "{run:#}");

    // The message between gate and worker is the seed's; its timestamp is the event's publish time.
    let published = desk.pull(UPSTREAM);
    assert_eq!(published.len(), 1);
    let triggers = desk.pull(TRIGGER);
    assert_eq!(triggers.len(), 1);
    let expected = json!({
        "export_types": ["tonight", "tonight-players", "predictions", "streaks"],
        "target_date": "2025-12-12",
        "update_latest": true,
        "trigger_source": "orchestrator",
        "triggered_by": "phase5_to_phase6_orchestrator",
        "correlation_id": "abc-123",
        "timestamp": published[0]["publishTime"],
        "upstream_batch_id": "batch_2025-12-12_1734012345",
        "upstream_predictions": 448
    });
    assert_eq!(triggers[0]["message"], expected);

    // What the front end reads is there, and of the date.
    let document = desk.sandbox.json(".phase6/public/v1/tonight/all-players.json");
    assert_eq!(document["game_date"], "2025-12-12");
    assert!(desk.sandbox.exists(".phase6/public/v1/tonight/2025-12-12.json"));

    let complete = desk.pull(COMPLETE);
    assert_eq!(complete.len(), 1);
    let complete = &complete[0]["message"];
    assert_eq!(complete["status"], "success");
    assert_eq!(complete["correlation_id"], "abc-123");
    assert_eq!(complete["upstream_batch_id"], "batch_2025-12-12_1734012345");
    tells_the_truth(&desk, complete);
    links_lead_back(&desk, &run, &upstream, triggers[0]["messageId"].as_str().unwrap());
    desk.stop();
}

/// The completion message keeps its contract, and says what the record and the files say.
fn tells_the_truth(desk: &Desk, complete: &Value) {
    let contract = std::fs::read_to_string(root().join("schemas/phase6/messages/export-complete.schema.json")).unwrap();
    let contract =
        jsonschema::options().should_validate_formats(true).build(&serde_json::from_str(&contract).unwrap()).unwrap();
    let errors: Vec<String> = contract.iter_errors(complete).map(|e| e.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");

    let record = desk.json(&format!("runs show {}", text(complete, "/run_id")));
    assert_eq!(complete["totals"], record["totals"]);
    assert_eq!(complete["target_date"], record["target_date"]);
    let (exports, tasks) = (complete["exports"].as_array().unwrap(), record["tasks"].as_array().unwrap());
    assert_eq!(exports.len(), tasks.len());
    let (mut written, mut bytes) = (0, 0);
    for (export, task) in exports.iter().zip(tasks) {
        let report = &task["report"];
        for field in ["export", "status", "rows", "bytes"] {
            assert_eq!(export[field], report[field], "{field}");
        }
        assert_eq!(export["attempts"], task["attempts"]);
        assert_eq!(export["objects"], report["paths"]);
        bytes += export["bytes"].as_u64().unwrap();
        for object in export["objects"].as_array().unwrap() {
            let path = text(object, "/path");
            let content = std::fs::read(desk.sandbox.path().join(".phase6/public").join(path)).unwrap();
            assert_eq!(object["bytes"], content.len(), "{path}");
            let hash: String = Sha256::digest(&content).iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(object["sha256"], *hash, "{path}");
            let origin = desk_explains(desk, path, written);
            assert!(origin.is_none_or(|o| o["generation"] == object["generation"]), "{path}");
            written += 1;
        }
        written += export["objects_omitted"].as_u64().unwrap();
    }
    assert_eq!(complete["totals"]["objects"]["written"], written);
    assert_eq!(complete["totals"]["bytes"], bytes);
    assert_eq!(complete["totals"]["succeeded"], exports.len());
    assert_eq!(complete["totals"]["failed"], 0);
}

/// Every twentieth object is explained: a command each for hundreds would take long.
fn desk_explains(desk: &Desk, path: &str, place: u64) -> Option<Value> {
    place.is_multiple_of(20).then(|| desk.json(&format!("explain {path}")))
}

/// From the object back to the event.
fn links_lead_back(desk: &Desk, run: &Value, upstream: &str, trigger: &str) {
    let origin = desk.json("explain tonight/all-players.json");
    assert_eq!(origin["run_id"], run["run_id"]);
    assert_eq!(origin["export"], "tonight");
    assert_eq!(origin["request"]["cause"]["message_id"], trigger);
    assert_eq!(origin["decision"]["message_id"], upstream);
    assert_eq!(origin["decision"]["message"], serde_json::from_str::<Value>(FROM_PHASE_5).unwrap());
    assert_eq!(origin["release"]["target_date"], "2025-12-12");
    for query in origin["queries"].as_array().unwrap() {
        assert!(query["rows"].as_u64().is_some_and(|n| n > 0), "{query}");
        assert!(!query["tables"].as_array().unwrap().is_empty(), "{query} names its tables");
    }
    let said = desk.run("explain v1/tonight/all-players.json", 0).stdout;
    let run = run["run_id"].as_str().unwrap();
    for part in [run, upstream, trigger, "every rule holds", "nba_raw.nbac_schedule", UPSTREAM] {
        assert!(said.contains(part), "{part}: {said}");
    }
    desk.run("explain tonight/nobody.json", 2);
}

/// "Test manually" in the seed: three fields are enough. The demo league has no games on that day.
#[test]
fn the_seeds_manual_message_is_worked() {
    let mut desk = Desk::shipped();
    desk.start("");
    let upstream = desk.publish(
        UPSTREAM,
        "{\n  \"game_date\":\"2024-12-12\",\n  \"status\":\"success\",\n  \"metadata\":{\"completion_pct\":100}\n}",
    );
    let run = desk.worked(&upstream);
    assert_eq!((&run["status"], &run["target_date"]), (&json!("success"), &json!("2024-12-12")), "{run:#}");
    // Without batch and correlation the event's own id is the cause.
    assert_eq!(run["cause"]["id"], upstream);
    let complete = desk.pull(COMPLETE);
    assert_eq!(complete[0]["message"]["correlation_id"], Value::Null);
    assert_eq!(complete[0]["message"]["target_date"], "2024-12-12");
    desk.stop();
}

#[test]
fn a_schedule_publishes_yesterdays_results() {
    let mut desk = Desk::shipped();
    desk.start("");
    let said = desk.json("schedule trigger phase6-daily-results --at 2025-12-12T10:00:00Z");
    let run = desk.ended(text(&said, "/message_id"));
    assert_eq!(run["status"], "success", "{run:#}");
    assert_eq!(run["target_date"], "2025-12-11");
    assert_eq!(run["cause"]["kind"], "schedule");
    assert_eq!(run["cause"]["id"], "tick/phase6-daily-results/2025-12-12T10:00:00Z");
    let triggers = desk.pull(TRIGGER);
    assert_eq!(
        triggers[0]["message"],
        json!({"export_types": ["results", "performance", "best-bets"], "target_date": "yesterday"})
    );
    assert_eq!(desk.sandbox.json(".phase6/public/v1/results/latest.json")["game_date"], "2025-12-11");

    // The slot's own tick a second time is a duplicate and publishes nothing.
    let again = desk.json("schedule trigger phase6-daily-results --at 2025-12-12T10:00:00Z");
    let duplicate = desk.ended(text(&again, "/message_id"));
    assert_eq!((&duplicate["status"], &duplicate["duplicate_of"]), (&json!("duplicate"), &run["run_id"]));
    assert_eq!(desk.pull(COMPLETE).len(), 1);

    // A time that is no slot is refused, with the next one.
    let refused = desk.run("schedule trigger phase6-daily-results --at 2025-12-12T10:00:01Z", 2);
    assert!(refused.stderr.contains("2025-12-13T10:00:00Z"), "{}", refused.stderr);
    desk.stop();
}

/// At 03:00 UTC it is the evening before in New York: UTC would give 2025-12-11.
#[test]
fn yesterday_is_the_leagues_yesterday() {
    let mut desk = Desk::small_with(
        "scheduler:\n  jobs:\n    - {name: late, schedule: \"0 3 * * *\", export_types: [board], target_date: yesterday}\n",
    );
    desk.start("");
    let said = desk.json("schedule trigger late --at 2025-12-14T03:00:00Z");
    let run = desk.ended(text(&said, "/message_id"));
    assert_eq!((&run["status"], &run["target_date"]), (&json!("success"), &json!("2025-12-12")), "{run:#}");
    assert_eq!(desk.document("board/latest.json")["date"], "2025-12-12");
    desk.stop();
}

/// The seed's message for player profiles.
#[test]
fn the_players_message_makes_profiles() {
    let mut desk = Desk::shipped();
    desk.start("");
    let message = desk.publish(TRIGGER, "{\n  \"players\": true,\n  \"min_games\": 5\n}");
    let run = desk.ended(&message);
    assert_eq!(run["exports"], json!(["players"]));
    assert_eq!(run["params"], json!({"min_games": 5}));
    assert_eq!(run["status"], "success", "{run:#}");
    let complete = desk.pull(COMPLETE);
    assert_eq!(complete[0]["message"]["exports"][0]["export"], "players");
    // The weekly job sends the same body.
    desk.json("schedule trigger phase6-player-profiles --at 2025-12-14T11:00:00Z");
    let sent = desk.pull(TRIGGER);
    assert_eq!(sent[0]["message"], sent[1]["message"]);
    desk.stop();
}
