//! `phase6 deploy`: the plan of the shipped project, and its files as bash and Terraform read them.

use crate::harness::Sandbox;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

const IMAGE: &str = "--image us-west2-docker.pkg.dev/p/r/phase6:1";

/// Whether a tool is here; a test without it is a skip, and a failure in CI.
/// A program on the path, or where `.ci/examples` installs its tools.
fn tool(name: &str) -> Option<Command> {
    let cache = std::env::var("XDG_CACHE_HOME").or_else(|_| std::env::var("HOME").map(|home| home + "/.cache"));
    let installed = cache.map(|cache| format!("{cache}/phase6-ci-tools/bin/{name}")).unwrap_or_default();
    let found = [name, &installed].into_iter().find(|name| Command::new(name).arg("--version").output().is_ok());
    if found.is_none() {
        phase6_test_servers::emulators::skip(name, "it is not on this machine");
    }
    found.map(Command::new)
}

/// The emitted script is sound bash.
fn lint(script: &std::path::Path) {
    succeeds(&Command::new("bash").arg("-n").arg(script).output().unwrap());
    if let Some(mut shellcheck) = tool("shellcheck") {
        succeeds(&shellcheck.arg(script).output().unwrap());
    }
}

fn succeeds(output: &Output) {
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// A `gcloud` and a `bq` that write down how they were called; what is described exists when `there` does.
fn fake_cloud(sandbox: &Sandbox) -> String {
    let fake = "#!/bin/bash\nhere=$(dirname \"$0\")\nprintf '%s\\x1f' \"$(basename \"$0\")\" \"$@\" >>\"$here/calls\"\n\
        echo >>\"$here/calls\"\ncase \" $* \" in *' projects describe '*) echo 7 ;;\n\
        *' describe '*'--format'*) if [ -e \"$here/there\" ]; then cat \"$here/there\"; else exit 1; fi ;;\n\
        *' policies list '*) if [ -e \"$here/there\" ]; then echo policies/1; fi ;;\n\
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
    lint(&script);
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
        "--attributes=phase6-job=phase6-player-profiles ",
        "gcloud logging metrics create phase6-gcp-export-failures ",
        "gcloud alpha monitoring policies create ",
        "--lifecycle-file=",
        "gcloud iam service-accounts create phase6-gcp ",
        "gcloud run deploy phase6-gcp --args=serve,--grace,8s ",
        "bq add-iam-policy-binding ",
    ] {
        assert!(first.contains(call), "{call}\n{first}");
    }
    sandbox.write("fake/there", "phase6-gcp");
    let second = deploy();
    let made: Vec<&str> = second.lines().filter(|l| l.contains(" create ") && !l.contains(" identity ")).collect();
    assert!(made.is_empty(), "{made:?}");
    assert!(second.contains("gcloud scheduler jobs update pubsub phase6-daily-results "), "{second}");
    // What others made is left alone, and nobody's bucket is opened to everybody.
    sandbox.write("fake/there", "somebody else");
    let third = deploy();
    for word in [" update ", " pubsub topics create ", " update pubsub ", "allUsers", "gcloud run deploy"] {
        let done: Vec<&str> =
            third.lines().filter(|l| l.contains(word) && !l.contains(" monitoring policies update ")).collect();
        assert!(done.is_empty(), "{done:?}");
    }
}

#[test]
fn the_script_of_a_job_makes_what_starts_it() {
    let sandbox = Sandbox::shipped();
    let text = sandbox.read("phase6_publishing.yaml");
    let bus = "    bus: {type: pubsub, project: nba-props-platform}\n";
    let compute = "    compute: {type: cloud_run_job, secrets: {HOOK: hook}}\n";
    sandbox.write("phase6_publishing.yaml", &text.replace(bus, &format!("{bus}{compute}")));
    sandbox.run(&format!("deploy --emit gcloud --to out {IMAGE}")).expect(0);
    let path = fake_cloud(&sandbox);
    let script = sandbox.path().join("out/deploy.sh");
    lint(&script);
    succeeds(&Command::new("bash").arg(&script).env("PATH", &path).output().unwrap());
    let calls = sandbox.read("fake/calls").replace('\x1f', " ");
    for call in [
        "gcloud run jobs deploy phase6-gcp --args=serve,--grace,8s,--until-idle,30s ",
        "--update-secrets=HOOK=hook:latest",
        "gcloud run jobs add-iam-policy-binding phase6-gcp ",
        "gcloud scheduler jobs create http phase6-gcp-start ",
        "gcloud secrets add-iam-policy-binding hook ",
    ] {
        assert!(calls.contains(call), "{call}\n{calls}");
    }
    sandbox.run(&format!("deploy --emit terraform --to out {IMAGE}")).expect(0);
    if let Some(mut terraform) = tool("terraform") {
        let out = sandbox.path().join("out");
        succeeds(&terraform.args(["fmt", "-check", "-diff"]).arg(out).output().unwrap());
    }
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
    if let Some(mut terraform) = tool("terraform") {
        let path = sandbox.path().join("out");
        succeeds(&terraform.args(["fmt", "-check", "-diff"]).arg(path).output().unwrap());
    }
}

/// `terraform validate` knows the provider's fields; the provider comes from a registry that not every machine reaches, so that
/// its absence is said and is no failure.
#[test]
fn terraform_validates_its_file_where_the_provider_can_be_had() {
    let sandbox = Sandbox::shipped();
    sandbox.run(&format!("deploy --emit terraform --to out {IMAGE}")).expect(0);
    if tool("terraform").is_none() {
        return;
    }
    let terraform =
        |args: &[&str]| Command::new("terraform").args(args).current_dir(sandbox.path().join("out")).output().unwrap();
    let init = terraform(&["init", "-backend=false", "-input=false", "-no-color"]);
    if init.status.success() {
        succeeds(&terraform(&["validate", "-no-color"]));
        return;
    }
    let said = String::from_utf8_lossy(&init.stderr);
    assert!(said.contains("hashicorp/google"), "the file itself was refused: {said}");
    phase6_test_servers::emulators::skip("terraform validate", "the provider hashicorp/google cannot be had here");
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
    if let Some(mut terraform) = tool("terraform") {
        succeeds(&terraform.args(["fmt", "-check"]).arg(sandbox.path().join("tf")).output().unwrap());
    }
}

#[test]
fn what_cannot_be_done_is_said() {
    let sandbox = Sandbox::shipped();
    let emit = |args: &str| sandbox.run(&format!("deploy --emit gcloud {args}"));
    assert!(emit("--target local").expect(2).stderr.contains("no project of Google Cloud"));
    assert!(emit("--region 'us west'").expect(2).stderr.contains("no region `us west`"));
    assert!(emit("--name p").expect(2).stderr.contains("service account"));
    emit("--prune").expect(2);
    emit("--only pubsub").expect(2);
    let text = sandbox.read("phase6_publishing.yaml").replace("nba-phase6-export-complete", "export complete!");
    sandbox.write("phase6_publishing.yaml", &text);
    assert!(emit("").expect(2).stderr.contains("no topic `export complete!`"));
}

#[cfg(not(feature = "gcp"))]
#[test]
fn without_the_feature_only_files_are_written() {
    let sandbox = Sandbox::shipped();
    for args in ["deploy --dry-run", "deploy --yes"] {
        assert!(sandbox.run(args).expect(2).stderr.contains("--emit gcloud or --emit terraform"));
    }
}
