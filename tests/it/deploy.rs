//! `phase6 deploy`: the plan of the shipped project, and its files as bash and Terraform read them.

use crate::harness::Sandbox;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

const IMAGE: &str = "--image us-west2-docker.pkg.dev/p/r/phase6:1";

fn plan(sandbox: &Sandbox, args: &str) -> serde_json::Value {
    let ran = sandbox.run(&format!("deploy --dry-run --format json {args}")).expect(0);
    serde_json::from_str(&ran.stdout).unwrap()
}

fn tool(name: &str) -> bool {
    let found = Command::new(name).arg("--version").output().is_ok();
    if !found {
        eprintln!("SKIPPED: `{name}` is not on this machine");
    }
    found
}

fn succeeds(output: &Output) {
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn the_plan_has_what_the_seed_deploys() {
    let plan = plan(&Sandbox::shipped(), IMAGE);
    let topics = plan["topics"].to_string();
    for topic in [
        "nba-phase5-predictions-complete",
        "nba-phase6-export-trigger",
        "nba-phase6-export-complete",
        "phase6-dead-letter",
    ] {
        assert!(topics.contains(topic), "{topics}");
    }
    let bodies: Vec<&str> = plan["jobs"].as_array().unwrap().iter().map(|j| j["body"].as_str().unwrap()).collect();
    assert_eq!(
        bodies,
        [
            r#"{"export_types":["results","performance","best-bets"],"target_date":"yesterday"}"#,
            r#"{"export_types":["tonight","tonight-players","predictions","streaks"],"target_date":"today"}"#,
            r#"{"players":true,"min_games":5}"#,
        ]
    );
    for job in plan["jobs"].as_array().unwrap() {
        assert_eq!(job["topic"], "nba-phase6-export-trigger");
        // The slot is not known beforehand; a fixed cause would make every tick the same one.
        assert_eq!(job["attributes"].to_string(), r#"{"phase6-cause-kind":"schedule"}"#);
        assert_eq!(job["paused"], true);
    }
    for s in plan["subscriptions"].as_array().unwrap() {
        assert_eq!((s["min_retry_seconds"].as_u64(), s["max_retry_seconds"].as_u64()), (Some(10), Some(600)));
        assert_eq!(s["dead_letter"].is_null(), s["name"] == "phase6-dead-letter", "{s}");
    }
    let public: Vec<bool> = plan["buckets"].as_array().unwrap().iter().map(|b| b["public"] == true).collect();
    assert_eq!(public, [true, false]);
    assert_eq!(plan["region"], "us-west2");
}

#[test]
fn rights_are_narrow() {
    let plan = plan(&Sandbox::shipped(), "");
    let grants = plan["grants"].as_array().unwrap();
    let on_project: Vec<&str> =
        grants.iter().filter(|g| !g["on"]["project"].is_null()).map(|g| g["role"].as_str().unwrap()).collect();
    assert_eq!(on_project, ["roles/bigquery.jobUser"]);
    for grant in grants {
        let role = grant["role"].as_str().unwrap();
        assert!(!["admin", "Admin", "owner", "editor"].iter().any(|wide| role.contains(wide)), "{grant}");
        // What others publish, the service does not; and the public reads one bucket alone.
        assert!(!(role.contains("publisher") && grant["on"]["topic"] == "nba-phase5-predictions-complete"), "{grant}");
        assert!(grant["who"] != "everybody" || grant["on"]["bucket"] == "nba-props-platform-api", "{grant}");
    }
    assert!(grants.iter().any(|g| g["on"]["table"]["dataset"].is_string()), "the tables that exports read");
    assert!(plan["service"].is_null() && plan["jobs"][0]["paused"] == false);
}

/// A `gcloud` and a `bq` that write down how they were called; what is described exists when `there` does.
fn fake_cloud(sandbox: &Sandbox) -> String {
    let fake = "#!/bin/bash\nhere=$(dirname \"$0\")\nprintf '%s\\x1f' \"$(basename \"$0\")\" \"$@\" >>\"$here/calls\"\n\
        echo >>\"$here/calls\"\ncase \" $* \" in *' describe '*'--format'*) echo 7 ;;\n\
        *' describe '*) [ -e \"$here/there\" ] ;;\nesac\n";
    for name in ["fake/gcloud", "fake/bq"] {
        sandbox.write(name, fake);
        let path = sandbox.path().join(name);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    format!("{}:{}", sandbox.path().join("fake").display(), std::env::var("PATH").unwrap())
}

#[test]
fn the_script_makes_everything_and_makes_nothing_twice() {
    let sandbox = Sandbox::shipped();
    sandbox.run(&format!("deploy --emit gcloud --to out {IMAGE}")).expect(0);
    let script = sandbox.path().join("out/deploy.sh");
    succeeds(&Command::new("bash").arg("-n").arg(&script).output().unwrap());
    if tool("shellcheck") {
        succeeds(&Command::new("shellcheck").arg(&script).output().unwrap());
    }
    let path = fake_cloud(&sandbox);
    let deploy = || {
        let _ = std::fs::remove_file(sandbox.path().join("fake/calls"));
        succeeds(&Command::new("bash").arg(&script).env("PATH", &path).output().unwrap());
        sandbox.read("fake/calls").replace('\x1f', " ")
    };
    let first = deploy();
    for call in [
        "gcloud pubsub topics create nba-phase6-export-trigger ",
        "gcloud pubsub topics create phase6-dead-letter ",
        "gcloud pubsub subscriptions create phase6-export ",
        "gcloud storage buckets create gs://nba-props-platform-api ",
        r#"--message-body={"players":true,"min_games":5} "#,
        "--schedule=0 11 * * 0 ",
        "gcloud scheduler jobs pause phase6-player-profiles ",
        "gcloud iam service-accounts create phase6-gcp ",
        "gcloud run deploy phase6-gcp --image=us-west2-docker.pkg.dev/p/r/phase6:1 ",
        "bq add-iam-policy-binding ",
    ] {
        assert!(first.contains(call), "{call}\n{first}");
    }
    sandbox.write("fake/there", "");
    let second = deploy();
    let made: Vec<&str> = second.lines().filter(|l| l.contains(" create ") && !l.contains(" identity ")).collect();
    assert!(made.is_empty(), "{made:?}");
    assert!(second.contains("gcloud scheduler jobs update pubsub phase6-daily-results "), "{second}");
}

#[test]
fn terraform_takes_its_file() {
    let sandbox = Sandbox::shipped();
    sandbox.run(&format!("deploy --emit terraform --to out {IMAGE}")).expect(0);
    let text = sandbox.read("out/main.tf");
    assert_eq!(text, sandbox.run(&format!("deploy --emit terraform {IMAGE}")).expect(0).stdout, "always the same");
    let heads: Vec<&str> = text.lines().filter(|l| l.starts_with("resource ")).collect();
    let mut once = heads.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), heads.len(), "two resources have one name");
    assert!(heads.len() > 30, "{heads:?}");
    if tool("terraform") {
        let path = sandbox.path().join("out");
        succeeds(&Command::new("terraform").args(["fmt", "-check", "-diff"]).arg(path).output().unwrap());
    }
}

/// What a configuration may hold and a shell would run.
#[test]
fn awkward_texts_stay_texts() {
    let sandbox = Sandbox::shipped();
    let image = "a b$(touch ran)`touch ran`\"${x}%{y}\\;&'c";
    let run = |emit: &str| {
        let output = sandbox.command("deploy --emit").arg(emit).arg("--image").arg(image).output().unwrap();
        succeeds(&output);
        String::from_utf8(output.stdout).unwrap()
    };
    sandbox.write("deploy.sh", &run("gcloud"));
    let path = fake_cloud(&sandbox);
    let mut bash = Command::new("bash");
    succeeds(&bash.arg("deploy.sh").env("PATH", path).current_dir(sandbox.path()).output().unwrap());
    assert!(sandbox.read("fake/calls").contains(&format!("\x1f--image={image}\x1f")));
    assert!(!sandbox.exists("ran"));
    sandbox.write("tf/main.tf", &run("terraform"));
    assert!(sandbox.read("tf/main.tf").contains(r#""a b$(touch ran)`touch ran`\"$${x}%%{y}\\;&'c""#));
    if tool("terraform") {
        succeeds(&Command::new("terraform").args(["fmt", "-check"]).arg(sandbox.path().join("tf")).output().unwrap());
    }
}

#[test]
fn what_cannot_be_done_is_said() {
    let sandbox = Sandbox::shipped();
    assert!(sandbox.run("deploy").expect(2).stderr.contains("applies nothing"));
    assert!(sandbox.run("deploy --dry-run --target local").expect(2).stderr.contains("no project of Google Cloud"));
    assert!(sandbox.run("deploy --dry-run --region 'us west'").expect(2).stderr.contains("no region `us west`"));
    sandbox.run("deploy --prune").expect(2);
    let text = sandbox.read("phase6_publishing.yaml").replace("nba-phase6-export-complete", "export complete!");
    sandbox.write("phase6_publishing.yaml", &text);
    assert!(sandbox.run("deploy --dry-run").expect(2).stderr.contains("no topic `export complete!`"));
}
