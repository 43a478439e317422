//! Trigger messages that are refused: with the reason, once, and nothing is guessed.

use super::desk::{Desk, text};
use serde_json::{Value, json};

/// Every bad form, and what the reason has to say.
const BAD: &[(&str, &str)] = &[
    (r#"{"export_types":["bord"],"target_date":"2025-12-12"}"#, "there is no export `bord`; did you mean `board`?"),
    // I-4: the schedules sent other keys, and the receiver fell through to "yesterday".
    (r#"{"export_type":"board","date":"2025-12-12"}"#, "unknown field `export_type`"),
    (r#"{"export_types":"board","target_date":"2025-12-12"}"#, "expected a sequence"),
    (r#"{"export_types":[],"target_date":"2025-12-12"}"#, "`export_types` is empty"),
    (r#"{"export_types":["board","board"],"target_date":"2025-12-12"}"#, "names `board` twice"),
    (r#"{"export_types":["board"]}"#, "`target_date` is missing"),
    (r#"{"export_types":["board"],"target_date":null}"#, "`target_date` is missing"),
    (r#"{"export_types":["board"],"target_date":"2025-02-30"}"#, "no day of the calendar"),
    (r#"{"export_types":["board"],"target_date":"12/12/2025"}"#, "is no date"),
    (r#"{"export_types":["board"],"target_date":"9999-12-12"}"#, "not plausible"),
    (r#"{"export_types":["board"],"target_date":"0001-01-01"}"#, "not plausible"),
    (r#"{"export_types":["board"],"target_date":"tonight"}"#, "is no date"),
    (r#"{"export_types":["board"],"target_date":20251212}"#, "expected a string"),
    // I-14: bool("false") was true.
    (r#"{"export_types":["board"],"target_date":"2025-12-12","update_latest":"true"}"#, "expected a boolean"),
    (r#"{"players":"true"}"#, "expected a boolean"),
    (r#"{"players":false}"#, "`players` can only be true"),
    (r#"{"players":true,"export_types":["board"],"target_date":"2025-12-12"}"#, "send two messages"),
    (r#"{"players":true}"#, "no export says `selected_by: players`"),
    (
        r#"{"export_types":["board"],"target_date":"2025-12-12","min_games":5}"#,
        "none of the exports has this parameter",
    ),
    (r#"{"export_types":["board"],"target_date":"2025-12-12","min_games":5.5}"#, "floating point"),
    (r#"{"target_date":"2025-12-12"}"#, "it asks for nothing"),
    (r#"{"export_types":["board"],"target_date":"2025-12-12","target_date":"2025-12-13"}"#, "duplicate field"),
    (r#"{"export_types":["board"],"target_date":"2025-12-12""#, "EOF"),
    (r#""board""#, "no JSON object"),
    ("[]", "no JSON object"),
    ("", "no JSON object"),
];

#[test]
fn a_bad_message_is_refused_once_with_its_reason() {
    let mut desk = Desk::small();
    desk.start("");
    let messages: Vec<String> =
        BAD.iter().map(|(body, _)| desk.publish_with("export_trigger", body, "--attribute from=a-test")).collect();
    let letters: Vec<Value> = messages.iter().map(|m| desk.buried(m)).collect();
    for ((body, part), letter) in BAD.iter().zip(&letters) {
        assert!(text(letter, "/reason").contains(part), "{body}: {letter}");
        assert_eq!(letter["attempts"], 1, "{body}");
        assert_eq!(letter["attributes"]["from"], "a-test");
    }
    let id = text(&letters[0], "/id");
    let shown = desk.json(&format!("dead-letter show {id}"));
    assert_eq!(shown["body"], BAD[0].0);
    let said = desk.run(&format!("dead-letter show {id}"), 0).stdout;
    assert!(said.contains(BAD[0].1) && said.contains("from=a-test") && said.contains(BAD[0].0), "{said}");

    // Never a loop (I-25): a good message behind them is worked, and nothing was refused a second time.
    let good = desk.publish("export_trigger", r#"{"export_types":["board"],"target_date":"2025-12-12"}"#);
    assert_eq!(desk.ended(&good)["status"], "success");
    assert_eq!(desk.dead().len(), BAD.len());
    assert_eq!(desk.runs().len(), 1, "what is refused is no run");
    assert_eq!(desk.pull("export_complete").len(), 1);
    let refused = desk.log_lines().iter().filter(|l| text(l, "/message").contains("dead letter")).count();
    assert_eq!(refused, BAD.len(), "{}", desk.log_text());

    // Some are dropped; an id that is not there is wrong use and drops nothing.
    desk.run(&format!("dead-letter drop {id} {}", text(&letters[1], "/id")), 0);
    desk.run("dead-letter drop nothing", 2);
    desk.run("dead-letter show nothing", 2);
    desk.run("dead-letter replay nothing", 2);
    assert_eq!(desk.dead().len(), BAD.len() - 2);
    desk.stop();
}

#[test]
fn ten_megabytes_are_refused_and_change_nothing() {
    let mut desk = Desk::small();
    desk.start("");
    let valid = |size: usize| {
        let filler = "x".repeat(size);
        json!({"export_types": ["board"], "target_date": "2025-12-12", "triggered_by": filler}).to_string()
    };
    // As large as the bus takes at all.
    let message = desk.publish("export_trigger", &valid(9_900_000));
    let letter = desk.buried(&message);
    assert!(text(&letter, "/reason").contains("bytes, a trigger message at most"), "{letter}");
    assert!(letter["size"].as_u64().unwrap() > 9_900_000);
    // Upstream it has no contract that says how long a text may be: it is the gate's own message that is short.
    let refused = desk.sandbox.run(&format!("publish export_trigger --message @{}", {
        desk.sandbox.write("huge.json", &valid(11_000_000));
        "huge.json"
    }));
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("bytes"), "{}", refused.stderr);
    assert_eq!((desk.runs().len(), desk.dead().len()), (0, 1));
    desk.stop();
}

/// The sender was ahead of the configuration: once the export is there, the message is sent again and worked.
#[test]
fn a_replay_works_after_the_cause_is_mended() {
    let mut desk = Desk::small();
    desk.start("");
    let body = r#"{"export_types":["scores"],"target_date":"today-1d"}"#;
    let message = desk.publish("export_trigger", body);
    let letter = desk.buried(&message);
    let id = text(&letter, "/id").to_owned();

    // A replay before that comes back as a dead letter, its history kept.
    desk.run(&format!("dead-letter replay {id}"), 0);
    let second = desk.until("the replay is refused too", || desk.dead().into_iter().find(|d| d["id"] != *id));
    assert_eq!(second["reason"], letter["reason"]);
    assert_eq!(desk.dead().len(), 1, "a replayed message is no dead letter any more");
    // Its date words mean what they meant.
    assert_eq!(second["attributes"]["phase6-cause-time"], letter["published_at"]);

    let scores = desk.sandbox.read("exports/board.yaml").replace("export: board", "export: scores");
    let scores = scores.replace("board/", "scores/");
    desk.sandbox.write("exports/scores.yaml", &scores);
    desk.logged("the configuration was reloaded");
    let said = desk.run("dead-letter replay --all", 0).stdout;
    assert!(said.contains(text(&second, "/id")), "{said}");
    let run = desk.until("the run", || desk.runs().into_iter().find(|r| r["finished_at"].is_string()));
    assert_eq!((&run["status"], &run["exports"]), (&json!("success"), &json!(["scores"])), "{run:#}");
    assert_eq!(run["cause"]["time"], letter["published_at"]);
    assert!(desk.dead().is_empty());
    assert_eq!(desk.run("dead-letter list", 0).stdout, "there are no dead letters\n");
    desk.stop();
}
