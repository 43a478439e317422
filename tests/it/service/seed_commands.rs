//! The seed's own `gcloud` commands, against Google's Pub/Sub emulator and a running service
//! (`phase6-orchestration.md`, "Test manually" and "Creating Topics").

use super::desk::Desk;
use phase6_test_servers::emulators::{self, Running};
use serde_json::{Value, json};
use std::process::{Command, Output};

const PROJECT: &str = "nba-props-platform";

/// The seed's command, word for word.
const TEST_MANUALLY: &str = r#"gcloud pubsub topics publish nba-phase5-predictions-complete --message='{
  "game_date":"2024-12-12",
  "status":"success",
  "metadata":{"completion_pct":100}
}'"#;

/// Whether it can be run at all; else a skip was printed.
fn emulator(test: &str) -> Option<Running> {
    let found = Command::new("gcloud").arg("--version").output();
    if !found.is_ok_and(|output| output.status.success()) {
        emulators::skip(test, "gcloud is not installed");
        return None;
    }
    emulators::pubsub::start().inspect_err(|reason| emulators::skip(test, reason)).ok()
}

/// Runs a line of shell with `gcloud` pointed at the emulator, with settings of its own and without an account.
fn shell(desk: &Desk, emulator: &Running, line: &str) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(desk.sandbox.path());
    command.env("CLOUDSDK_CONFIG", desk.sandbox.path().join("gcloud"));
    command.env("CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB", format!("{}/", emulator.url()));
    for (name, value) in [
        ("CLOUDSDK_AUTH_DISABLE_CREDENTIALS", "1"),
        ("CLOUDSDK_CORE_PROJECT", PROJECT),
        ("CLOUDSDK_CORE_DISABLE_PROMPTS", "1"),
        ("CLOUDSDK_CORE_DISABLE_USAGE_REPORTING", "1"),
        ("CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK", "1"),
    ] {
        command.env(name, value);
    }
    command.output().unwrap()
}

#[track_caller]
fn works(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The shipped project, with Pub/Sub in the place of the embedded bus.
fn on_pubsub() -> Desk {
    let desk = Desk::shipped();
    let file = "phase6_publishing.yaml";
    let text = desk.sandbox.read(file);
    let bus = "bus: {type: embedded, path: .phase6/bus}";
    assert!(text.contains(bus), "{text}");
    desk.sandbox.write(file, &text.replace(bus, &format!("bus: {{type: pubsub, project: {PROJECT}}}")));
    desk
}

#[test]
fn the_seeds_gcloud_command_triggers_the_exports() {
    let Some(emulator) = emulator("the_seeds_gcloud_command_triggers_the_exports") else { return };
    let mut desk = on_pubsub();
    let create = "gcloud pubsub topics create nba-phase6-export-trigger && \
                  gcloud pubsub topics create nba-phase6-export-complete";
    assert!(works(&shell(&desk, &emulator, create)).contains("nba-phase6-export-complete"));
    desk.start_with("", &[("PUBSUB_EMULATOR_HOST", &emulator.host())]);
    // Somebody who listens, as the seed's own monitoring would.
    works(&shell(&desk, &emulator, "gcloud pubsub subscriptions create ears --topic=nba-phase6-export-complete"));
    let said = works(&shell(&desk, &emulator, TEST_MANUALLY));
    assert!(said.contains("messageIds"), "{said}");

    let run = desk.until("the run", || desk.runs().into_iter().find(|r| r["finished_at"].is_string()));
    assert_eq!(run["status"], "success", "{run:#}");
    assert_eq!(
        (&run["target_date"], &run["cause"]["topic"]),
        (&json!("2024-12-12"), &json!("nba-phase6-export-trigger"))
    );
    assert_eq!(run["exports"], json!(["tonight", "tonight-players", "predictions", "streaks"]), "{run:#}");
    assert_eq!(desk.sandbox.json(".phase6/public/v1/tonight/2024-12-12.json")["game_date"], "2024-12-12");

    let pull = "gcloud pubsub subscriptions pull ears --auto-ack --limit=5 --format=json";
    let told = desk.until("the completion message", || {
        let pulled: Value = serde_json::from_slice(&shell(&desk, &emulator, pull).stdout).ok()?;
        pulled.as_array()?.first().cloned()
    });
    assert_eq!(told["message"]["attributes"]["phase6-run-id"], run["run_id"], "{told:#}");
    // A topic that is there is nothing new to either side.
    let again = shell(&desk, &emulator, "gcloud pubsub topics create nba-phase6-export-trigger");
    assert!(String::from_utf8_lossy(&again.stderr).contains("already exists"), "{again:?}");
    desk.stop();
}

#[test]
fn a_gate_stays_closed_to_what_the_seed_would_skip() {
    let Some(emulator) = emulator("a_gate_stays_closed_to_what_the_seed_would_skip") else { return };
    let mut desk = on_pubsub();
    desk.start_with("", &[("PUBSUB_EMULATOR_HOST", &emulator.host())]);
    works(&shell(&desk, &emulator, &TEST_MANUALLY.replace(":100}", ":42}")));
    let verdict = desk.logged("fewer than 80 %");
    assert_eq!(verdict["severity"], "NOTICE", "{verdict:#}");
    assert!(desk.runs().is_empty());
    desk.stop();
}
