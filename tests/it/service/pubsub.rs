//! The service on Pub/Sub: the real `phase6 serve` and the commands beside it on Google's emulator. Store and state are
//! folders, so that what differs from the other tests of the service is the bus alone.

use super::desk::{Desk, text};
use phase6_test_servers::emulators::{Running, pubsub, skip};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Child, Stdio};
use std::sync::Arc;

const BOARD: &str = r#"{"export_types":["board"],"target_date":"2025-12-12"}"#;
const BOTH: &str = r#"{"export_types":["board","slow"],"target_date":"2025-12-12"}"#;

/// The small project on a Pub/Sub project of its own; none where there is no emulator, which is printed.
fn desk(test: &str) -> Option<(Desk, Arc<Running>)> {
    let emulator = pubsub::shared().map_err(|reason| skip(test, &reason)).ok()?;
    let mut desk = Desk::small();
    let project = desk.sandbox.read("phase6_publishing.yaml");
    let bus = "bus: {type: embedded, path: bus}";
    assert!(project.contains(bus));
    // Projects are named in lower case, with dashes.
    let name = test.replace('_', "-");
    let project = project.replace(bus, &format!("bus: {{type: pubsub, project: {name}}}"));
    desk.sandbox.write("phase6_publishing.yaml", &project);
    desk.sandbox.env.push(("PUBSUB_EMULATOR_HOST", emulator.host()));
    Some((desk, emulator))
}

fn task<'v>(run: &'v Value, export: &str) -> &'v Value {
    let tasks = run["tasks"].as_array().unwrap();
    tasks.iter().find(|t| t["report"]["export"] == export).unwrap_or_else(|| panic!("no task {export}: {run:#}"))
}

/// Takes what is new in a topic until there is something.
fn pulled(desk: &Desk, topic: &str) -> Vec<Value> {
    desk.until(topic, || Some(desk.pull(topic)).filter(|pulled| !pulled.is_empty()))
}

/// As a Cloud Run job does it: start, work off what waits, the gate's own message among it, and end.
#[test]
fn until_idle_works_off_what_waits_and_ends() {
    let Some((desk, _emulator)) = desk("until_idle_works_off_what_waits") else { return };
    let event =
        json!({"game_date": "2025-12-12", "status": "success", "metadata": {"completion_pct": 99, "batch_id": "b1"}});
    desk.publish("predictions_complete", &event.to_string());
    desk.publish("export_trigger", BOTH);
    let ran = desk.sandbox.run("serve --until-idle 3s --log-format json").expect(0);
    assert!(ran.stderr.contains("as nothing was left to do"), "{}", ran.stderr);
    let runs = desk.sandbox.run("runs --format json").expect(0);
    let runs: Value = serde_json::from_str(&runs.stdout).unwrap();
    let ended: Vec<&Value> = runs.as_array().unwrap().iter().map(|run| &run["status"]).collect();
    assert_eq!(ended, ["success", "success"], "{runs:#}");
    assert_eq!(pulled(&desk, "export_complete").len(), 2);
    let begun = std::time::Instant::now();
    desk.sandbox.run("serve --until-idle 1s").expect(0);
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn an_event_becomes_documents_once() {
    let Some((mut desk, _emulator)) = desk("an_event_becomes_documents_once") else { return };
    let doctor = desk.sandbox.run("doctor");
    assert!(doctor.stdout.contains("Pub/Sub project `an-event-becomes-documents-once`"), "{doctor:?}");
    desk.start("");
    let event =
        json!({"game_date": "2025-12-12", "status": "success", "metadata": {"completion_pct": 99, "batch_id": "b1"}});
    let run = desk.worked(&desk.publish("predictions_complete", &event.to_string()));
    assert_eq!(run["status"], "success", "{run:#}");
    assert_eq!(desk.document("board/latest.json")["date"], "2025-12-12");
    let complete = pulled(&desk, "export_complete");
    assert_eq!((complete.len(), &complete[0]["message"]["status"]), (1, &json!("success")), "{complete:#?}");
    // The same batch again is no second run.
    let again = desk.decided(&desk.publish("predictions_complete", &event.to_string()));
    assert_eq!(again["verdict"], "duplicate", "{again}");
    // What waits cannot be known here: it is said so, and nothing is broken.
    let doctor = desk.sandbox.run("doctor");
    assert!(doctor.stdout.contains("what waits for the worker is not known"), "{doctor:?}");
    assert!(!desk.log_text().contains("it cannot see"), "{}", desk.log_text());
    desk.stop();
}

#[test]
fn what_fails_for_a_while_comes_again_alone() {
    let Some((mut desk, _emulator)) = desk("what_fails_for_a_while_comes_again_alone") else { return };
    desk.slow(true);
    desk.start("");
    let message = desk.publish("export_trigger", BOTH);
    let waiting = desk.until("a failed attempt", || {
        desk.runs().into_iter().find(|r| r["status"] == "waiting" && r["cause"]["message_id"] == *message)
    });
    assert_eq!(task(&waiting, "board")["done"], true);
    desk.slow(false);
    let run = desk.ended(&message);
    assert_eq!(run["status"], "success", "{run:#}");
    assert_eq!(task(&run, "board")["attempts"], 1);
    assert!(task(&run, "slow")["attempts"].as_u64().unwrap() > 1, "{run:#}");
    assert_eq!(pulled(&desk, "export_complete").len(), 1);
    desk.stop();
}

/// A minute's lease would make the test long: the shortest is 10 s.
#[test]
fn a_killed_services_message_is_redelivered_and_is_one_run() {
    let Some((mut desk, _emulator)) = desk("a_killed_services_message_is_redelivered") else { return };
    let held = desk.hold_publishing();
    desk.start("--lease 10s");
    let message = desk.publish("export_trigger", BOARD);
    let begun = desk.until("a run under way", || desk.runs().into_iter().find(|r| r["status"] == "running"));
    desk.kill();
    drop(held);
    assert!(!desk.sandbox.exists("public/v1/board/latest.json"));
    desk.start("--lease 10s");
    let run = desk.ended(&message);
    assert_eq!((&run["status"], &run["run_id"]), (&json!("success"), &begun["run_id"]), "{run:#}");
    assert_eq!((desk.runs().len(), pulled(&desk, "export_complete").len()), (1, 1));
    desk.stop();
}

#[test]
fn a_bad_message_is_a_dead_letter_and_can_be_replayed() {
    let Some((mut desk, _emulator)) = desk("a_bad_message_is_a_dead_letter") else { return };
    desk.start("");
    let bad = r#"{"export_types":["bord"],"target_date":"2025-12-12"}"#;
    desk.sandbox.write("message.json", bad);
    // Who asks is told before it is sent.
    let refused = desk.run("publish export_trigger --message @message.json --check", 1);
    assert!(refused.stderr.contains("did you mean `board`?") && refused.stdout.is_empty(), "{refused:?}");
    let message = desk.publish("export_trigger", bad);
    let letter = desk.buried(&message);
    assert!(text(&letter, "/reason").contains("did you mean `board`?"), "{letter}");
    let replayed = desk.run(&format!("dead-letter replay {}", text(&letter, "/id")), 0);
    assert!(replayed.stdout.contains("as message"), "{}", replayed.stdout);
    let again = desk.until("the replay's dead letter", || desk.dead().into_iter().find(|d| d["id"] != letter["id"]));
    assert_eq!(again["topic"], letter["topic"]);
    desk.stop();
}

/// A push subscription of the emulator: the envelope, and the bare body with its attributes as headers.
#[test]
fn the_door_takes_what_the_emulator_pushes() {
    let Some((mut desk, emulator)) = desk("the_door_takes_what_is_pushed") else { return };
    desk.start("--listen 127.0.0.1:0");
    let door = format!("http://{}/v1/events/export_trigger", text(&desk.logged("started on target"), "/listen"));
    let put = |path: &str, body: Value| rest(&emulator, "PUT", path, &body);
    let of = |kind: &str, name: &str| format!("/v1/projects/pushes/{kind}/{name}");
    put(&of("topics", "outside"), json!({}));
    let topic = "projects/pushes/topics/outside";
    let wrapped = json!({"topic": topic, "pushConfig": {"pushEndpoint": door}});
    put(&of("subscriptions", "wrapped"), wrapped);
    let bare = json!({"topic": topic, "pushConfig": {"pushEndpoint": door, "noWrapper": {"writeMetadata": true}}});
    put(&of("subscriptions", "bare"), bare);
    let data = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, BOARD);
    let published = rest(
        &emulator,
        "POST",
        &format!("{}:publish", of("topics", "outside")),
        &json!({"messages": [{"data": data, "attributes": {"origin": "outside"}}]}),
    );
    let id = published["messageIds"][0].as_str().unwrap().to_owned();
    let runs = desk.until("both pushes", || {
        let ended: Vec<Value> = desk.runs().into_iter().filter(|r| r["finished_at"].is_string()).collect();
        (ended.len() == 2).then_some(ended)
    });
    // One message, pushed twice: with its id it is one cause, and one of both did the work.
    let statuses: BTreeSet<&str> = runs.iter().map(|r| text(r, "/status")).collect();
    assert_eq!(statuses, BTreeSet::from(["duplicate", "success"]), "{runs:#?}");
    assert!(runs.iter().all(|r| r["cause"]["id"] == format!("push/{id}")), "{runs:#?}");
    assert!(runs.iter().any(|r| r["cause"]["attributes"]["origin"] == "outside"), "{runs:#?}");
    desk.stop();
}

/// What the door puts on the topic is pushed back to it, and would be put there again without end.
#[test]
fn a_push_subscription_on_the_services_own_topic_makes_no_loop() {
    let test = "a_push_subscription_on_its_own_topic";
    let Some((mut desk, emulator)) = desk(test) else { return };
    desk.start("--listen 127.0.0.1:0");
    let door = format!("http://{}/v1/events/export_trigger", text(&desk.logged("started on target"), "/listen"));
    let project = format!("projects/{}", test.replace('_', "-"));
    let own = json!({"topic": format!("{project}/topics/trigger"), "pushConfig": {"pushEndpoint": door}});
    rest(&emulator, "PUT", &format!("/v1/{project}/subscriptions/own"), &own);
    let message = desk.publish("export_trigger", BOARD);
    let came_back = desk.logged("an event that came by push is on its topic already");
    assert_eq!(came_back["severity"], "WARNING", "{came_back}");
    desk.ended(&message);
    desk.until("nothing under way", || desk.runs().iter().all(|r| r["finished_at"].is_string()).then_some(()));
    let causes: BTreeSet<String> = desk.runs().iter().map(|r| text(r, "/cause/id").to_owned()).collect();
    assert_eq!(causes, BTreeSet::from([message.clone(), format!("push/{message}")]), "the message and one copy of it");
    desk.stop();
}

/// A call to the emulator, which answers with JSON.
fn rest(emulator: &Running, method: &str, path: &str, body: &Value) -> Value {
    let url = format!("{}{path}", emulator.url());
    let request = match method {
        "PUT" => ureq::put(&url),
        _ => ureq::post(&url),
    };
    let sent = request.header("content-type", "application/json").send(body.to_string());
    let mut answer = sent.unwrap_or_else(|e| panic!("{method} {url}: {e}"));
    serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap()
}

/// A copy of the service beside the desk's, with its log in a file.
struct Copy {
    child: Child,
    log: String,
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const MESSAGES: u32 = 24;

#[test]
fn four_copies_share_the_work() {
    let Some((desk, _emulator)) = desk("four_copies_share_the_work") else { return };
    // The subscriptions are there before the messages.
    desk.run("pull export_trigger", 0);
    let copy = |n: u32| {
        let log = format!("log-{n}");
        let mut command = desk.sandbox.command("serve --log-format json --requests 1");
        let file = std::fs::File::create(desk.sandbox.path().join(&log)).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        Copy { child: command.spawn().unwrap(), log }
    };
    let copies: Vec<Copy> = (0..4).map(copy).collect();
    for copy in &copies {
        desk.until("its start", || desk.sandbox.read(&copy.log).contains("started on target").then_some(()));
    }
    let lines: String = (1..=MESSAGES)
        .map(|day| format!("{{\"export_types\":[\"board\"],\"target_date\":\"2025-12-{day:02}\"}}\n"))
        .collect();
    let mut publish = desk.sandbox.command("publish export_trigger --jsonl");
    let mut publish = publish.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    publish.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(publish.wait().unwrap().success());
    desk.until("all runs", || {
        let ended = desk.runs().iter().filter(|r| r["finished_at"].is_string()).count();
        (ended == MESSAGES as usize).then_some(())
    });
    let ended = |copy: &Copy| {
        let log = desk.sandbox.read(&copy.log);
        log.lines().filter(|l| l.contains("ended: success")).map(str::to_owned).collect::<Vec<_>>()
    };
    let each = || copies.iter().map(|c| ended(c).len()).collect::<Vec<_>>();
    // A run is recorded a moment before it is logged.
    desk.until("all lines", || (each().iter().sum::<usize>() >= MESSAGES as usize).then_some(()));
    let each = each();
    assert_eq!(each.iter().sum::<usize>(), MESSAGES as usize, "each is run once: {each:?}");
    assert!(each.iter().all(|n| *n > 0), "nobody takes more than it has hands for: {each:?}");
    assert!(desk.runs().iter().all(|r| r["attempts"] == 1), "nothing was delivered twice");
}
