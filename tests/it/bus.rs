//! `phase6 publish` and `phase6 pull`, on the real program: what `gcloud pubsub` is to Pub/Sub.

use crate::harness::{Ran, Sandbox, root};
use serde_json::{Value, json};
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

fn shipped() -> Sandbox {
    Sandbox::shipped()
}

fn pulled(ran: Ran) -> Vec<Value> {
    ran.expect(0).stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn id(ran: Ran) -> String {
    let id = ran.expect(0).stdout.trim().to_owned();
    assert!(id.len() == 16 && id.bytes().all(|b| b.is_ascii_digit()), "{id:?}");
    id
}

#[test]
fn a_published_message_is_shown_until_it_is_acknowledged() {
    let s = shipped();
    let first =
        id(s.run(r#"publish export_trigger --message '{"b":1,"a":[2]}' --attribute from=me --attribute 'x=a=b'"#));
    let second = id(s.run("publish nba-phase6-export-trigger --message 'no json'"));
    assert!(first < second);
    for attempt in [1, 2] {
        let got = pulled(s.run("pull export_trigger --format jsonl"));
        assert_eq!(got.len(), 2);
        let published = got[0]["publishTime"].as_str().unwrap().to_owned();
        assert!(published.parse::<jiff::Timestamp>().is_ok());
        let expected = json!({
            "messageId": first, "publishTime": published, "topic": "nba-phase6-export-trigger", "deliveryAttempt": attempt,
            "attributes": {"from": "me", "x": "a=b"}, "message": {"b": 1, "a": [2]},
        });
        assert_eq!(got[0], expected);
        assert_eq!((got[1]["text"].as_str(), got[1].get("message")), (Some("no json"), None));
    }
    assert_eq!(pulled(s.run("pull export_trigger --max 1 --ack --format jsonl")).len(), 1);
    assert_eq!(pulled(s.run("pull nba-phase6-export-trigger --ack --format jsonl")).len(), 1);
    let empty = s.run("pull export_trigger").expect(0);
    assert_eq!((empty.stdout.as_str(), empty.stderr.as_str()), ("", "no messages\n"));
    assert_eq!(s.run("pull export_trigger --format json").expect(0).stdout, "[]\n");
}

#[test]
fn the_service_finds_what_was_published_before_its_first_start() {
    let s = shipped();
    let event = id(s.run("publish predictions_complete --message {}"));
    let request = id(s.run("publish export_trigger --message {}"));
    // Nobody has pulled yet; the subscriptions of the service have it, and watching does not take it away.
    pulled(s.run("pull export_trigger --ack --format jsonl"));
    let got = pulled(s.run("pull export_trigger --subscription phase6-export --format jsonl"));
    assert_eq!(got[0]["messageId"], request);
    let name = "phase6-phase5-to-phase6-orchestrator";
    let got = pulled(s.run(&format!("pull predictions_complete --subscription {name} --format jsonl")));
    assert_eq!(got[0]["messageId"], event);
}

#[test]
fn people_can_read_it() {
    let s = shipped();
    let id = id(s.run(r#"publish export_trigger --now 2025-12-12T18:00:00Z --message '{"a":1}' --attribute k=v"#));
    let text = s.run("pull export_trigger").expect(0).stdout;
    assert_eq!(text, format!("{id}  2025-12-12T18:00:00Z  attempt 1\n  k=v\n  {{\n    \"a\": 1\n  }}\n"));
}

#[test]
fn bodies_come_from_files_and_standard_input() {
    let s = shipped();
    s.write("event.json", "{\"from\":\"file\"}\n");
    id(s.run("publish export_trigger --message @event.json"));
    let mut command = s.command("publish export_trigger --message - --format json");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&[0xff, 0x00]).unwrap();
    let answer: Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
    id(s.run("publish export_trigger --attribute alone=yes"));
    let got = pulled(s.run("pull export_trigger --format jsonl"));
    assert_eq!(got[0]["message"], json!({"from": "file"}));
    assert_eq!((&got[1]["data"], &got[1]["messageId"]), (&json!("/wA="), &answer["messageIds"][0]));
    assert_eq!((&got[2]["text"], &got[2]["attributes"]), (&json!(""), &json!({"alone": "yes"})));
}

#[test]
fn many_messages_come_a_line_each() {
    let s = shipped();
    let mut command = s.command("publish export_trigger --jsonl --attribute from=file");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let text: String = (0..300).map(|n| format!("{{\"n\":{n}}}\n\n")).collect();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let ids: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    let got = pulled(s.run("pull export_trigger --max 1000 --format jsonl"));
    assert_eq!((ids.len(), got.len()), (300, 300), "an empty line is no message");
    for (n, (id, message)) in ids.iter().zip(&got).enumerate() {
        assert_eq!(
            (&message["messageId"], &message["message"]["n"]),
            (&json!(id), &json!(n)),
            "in the order of the lines"
        );
        assert_eq!(message["attributes"], json!({"from": "file"}));
    }
}

#[test]
fn a_waiting_pull_hears_of_another_process() {
    let s = shipped();
    s.run("pull export_complete").expect(0);
    let mut command = s.command("pull export_complete --wait 60s --ack --format jsonl");
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let begin = Instant::now();
    let id = id(s.run("publish export_complete --message '{\"n\":1}'"));
    let output = child.wait_with_output().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(line["messageId"], id);
}

#[test]
fn wrong_use_is_named() {
    let s = shipped();
    let said = |args: &str| s.run(args).expect(2).stderr;
    assert!(
        said("publish export_triger --message x")
            .contains("there is no topic `export_triger`: did you mean `export_trigger`?")
    );
    assert!(said("pull nba-phase6-export-compete").contains("did you mean `nba-phase6-export-complete`?"));
    assert!(said("publish export_trigger").contains("--message"));
    assert!(said("publish export_trigger --message x --jsonl").contains("cannot be used with"));
    assert!(said("publish export_trigger --message ''").contains("neither a body nor attributes"));
    assert!(said("publish export_trigger --message @absent.json").contains("@absent.json: No such file"));
    assert!(said("publish export_trigger --message x --attribute k").contains("write NAME=VALUE"));
    assert!(said("publish export_trigger --message x --attribute k=1 --attribute k=2").contains("was given already"));
    assert!(said("publish export_trigger --message x --now 2999-01-01T00:00:00Z").contains("is to come"));
    assert!(said("pull export_trigger --wait soon").contains("--wait soon: `soon` is no duration"));
    assert!(said("pull export_trigger --subscription phase6-exprt").contains("there are phase6-export, phase6-pull-"));
    assert!(
        said("pull export_complete --subscription phase6-export")
            .contains("is of the topic `nba-phase6-export-trigger`")
    );
    #[cfg(not(feature = "gcp"))]
    assert!(said("publish export_trigger --message x --target gcp").contains("no Pub/Sub adapter; use --bus DIR"));
    s.write("large", &"x".repeat(10_000_001));
    assert!(said("publish export_trigger --message @large").contains("10000001 bytes, more than the 10000000"));
    assert_eq!(s.run("pull export_trigger --format jsonl").expect(0).stdout, "", "nothing of that was kept");
}

#[test]
fn who_publishes_is_told_what_the_readers_will_refuse() {
    let s = shipped();
    let event = r#"publish predictions_complete --message '{"status":"success"}'"#;
    let trigger = r#"publish export_trigger --message '{"export_types":["tonigt"],"target_date":"today"}'"#;
    for (command, says) in [
        (event, "will refuse it: the message breaks its contract"),
        (trigger, "the worker will refuse it: there is no export `tonigt`; did you mean `tonight`?"),
    ] {
        let refused = s.run(&format!("{command} --check")).expect(1);
        assert!(refused.stderr.contains(says) && refused.stdout.is_empty(), "{}", refused.stderr);
        let warned = s.run(command).expect(0);
        assert!(warned.stderr.contains("warning") && warned.stderr.contains(says), "{}", warned.stderr);
    }
    let good = r#"publish export_trigger --check --message '{"export_types":["tonight"],"target_date":"today"}'"#;
    assert_eq!(s.run(good).expect(0).stderr, "");
    // Nobody has agreed on what the others hold.
    assert_eq!(s.run("publish export_complete --check --message x").expect(0).stderr, "");
    assert_eq!(
        pulled(s.run("pull export_trigger --format jsonl")).len(),
        2,
        "what was only warned of, and the good one"
    );
}

#[test]
fn the_bus_lies_where_it_is_told() {
    let s = shipped();
    s.run("publish export_trigger --message x").expect(0);
    assert!(s.exists(".phase6/bus/bus.sqlite3"), "the target's own");
    s.run("publish export_trigger --message x --out there").expect(0);
    assert!(s.exists("there.bus/bus.sqlite3"));
    s.run("publish export_trigger --message x --out there --bus elsewhere/bus --target gcp").expect(0);
    assert!(s.exists("elsewhere/bus/bus.sqlite3"));
    // A target without one has a folder of its own below the project.
    let base = Sandbox::copy_of(&root().join("tests/it/base"));
    base.run("publish phase6-dead-letter --message x").expect(0);
    assert!(base.exists(".phase6/bus/local/bus.sqlite3"));
    base.write("file", "");
    let broken = base.run("pull phase6-dead-letter --bus file/bus").expect(5);
    assert!(broken.stderr.contains("embedded bus `file/bus` cannot be opened"), "{}", broken.stderr);
}
