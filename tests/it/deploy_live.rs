//! `phase6 deploy` against a strict server of the services that it calls, and its Pub/Sub part against Google's own emulator.

use crate::harness::{Sandbox, root};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use phase6::deploy::permissions::{By, needed};
use phase6::ports::cloud::Api;
use phase6_test_servers::cloud::{Server, World};
use phase6_test_servers::emulators;
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const PROJECT: &str = "nba-props-platform";
const IMAGE: &str = "us-west2-docker.pkg.dev/p/r/phase6:1";

/// The shipped project beside a cloud of its own.
struct Place {
    sandbox: Sandbox,
    server: Server,
    _runtime: Runtime,
}

/// What a command of `deploy` said.
struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Said {
    #[track_caller]
    fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

fn said(command: &mut Command) -> Said {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

impl Place {
    /// A project with nothing in it but the tables that the exports read.
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let server = runtime.block_on(Server::start());
        let place = Self { sandbox: Sandbox::shipped(), server, _runtime: runtime };
        let plan = place.json("--dry-run");
        for step in plan["steps"].as_array().unwrap() {
            let Some(table) = step["name"].as_str().unwrap().strip_prefix("table ") else { continue };
            let (dataset, table) = table.split_once(':').unwrap().1.split_once('.').unwrap();
            let name = format!("projects/{PROJECT}/datasets/{dataset}/tables/{table}");
            place.world().policies.insert(name, json!({"version": 1, "etag": "t", "bindings": []}));
        }
        place.server.take_calls();
        place
    }

    fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.server.world()
    }

    fn command(&self, args: &str) -> Command {
        let mut command = self.sandbox.command(&format!("deploy {args}"));
        for api in Api::ALL {
            command.env(api.emulator_variable(), &self.server.url);
        }
        command
    }

    fn run(&self, args: &str) -> Said {
        said(&mut self.command(args))
    }

    fn json(&self, args: &str) -> Value {
        serde_json::from_str(&self.run(&format!("{args} --format json")).expect(0).stdout).unwrap()
    }

    fn deploy(&self) {
        self.run(&format!("--yes --image {IMAGE}")).expect(0);
    }

    fn thing(&self, name: &str) -> Value {
        let world = self.world();
        world.things.get(name).unwrap_or_else(|| panic!("{name} is not there: {:?}", world.things.keys())).clone()
    }

    fn topic(&self, name: &str) -> String {
        format!("projects/{PROJECT}/topics/{name}")
    }

    /// Everything that is there, without what changes at each write.
    fn all(&self) -> String {
        let world = self.world();
        format!("{:#?}\n{:#?}", world.things, world.policies)
    }
}

fn counts(plan: &Value, action: &str) -> u64 {
    plan["counts"][action].as_u64().unwrap_or(0)
}

fn members(policy: &Value, role: &str) -> Vec<String> {
    let all = policy["bindings"].as_array().unwrap().iter().filter(|b| b["role"] == role);
    all.flat_map(|b| b["members"].as_array().unwrap()).map(|m| m.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_deployment_is_made_once_and_then_nothing_is_to_do() {
    let place = Place::new();
    let before = place.all();
    let plan = place.run(&format!("--dry-run --image {IMAGE}")).expect(0).stdout;
    for line in [
        "  + topic              nba-phase6-export-trigger",
        "  + bucket             nba-props-platform-api",
        "change 0 (~)",
    ] {
        assert!(plan.contains(line), "{line}\n{plan}");
    }
    assert_eq!(place.all(), before);
    assert!(place.server.take_calls().iter().all(|c| !c.is_change()), "a dry run changes nothing");
    // Without somebody to ask, and without --yes, nothing is done.
    assert!(place.run("").expect(2).stderr.contains("--yes"));
    assert!(place.server.take_calls().iter().all(|c| !c.is_change()));
    place.deploy();
    what_was_made(&place);
    let calls = place.server.take_calls();
    assert!(calls.iter().filter(|c| c.is_change()).count() > 40, "{calls:?}");
    let unknown: Vec<_> = calls
        .iter()
        .filter(|c| !Api::ALL.iter().any(|api| needed(By::Deploy, *api, &c.method, &c.path).is_some()))
        .collect();
    assert!(unknown.is_empty(), "deploy::permissions::USES has no line for {unknown:?}");
    // Again, with and without the image: nothing.
    let after = place.all();
    for args in [format!("--yes --image {IMAGE}"), "--yes".to_owned(), "--yes --prune".to_owned()] {
        let said = place.run(&args).expect(0).stdout;
        assert!(said.contains("create 0 (+), change 0 (~), delete 0 (-)"), "{said}");
    }
    assert!(place.server.take_calls().iter().all(|c| !c.is_change()));
    assert_eq!(place.all(), after);
}

fn what_was_made(place: &Place) {
    let ours = json!({"managed-by": "phase6", "deployment": "phase6-gcp"});
    assert_eq!(place.thing(&place.topic("phase6-dead-letter"))["labels"], ours);
    let subscription = place.thing(&format!("projects/{PROJECT}/subscriptions/phase6-export"));
    assert_eq!(subscription["topic"], place.topic("nba-phase6-export-trigger"));
    assert_eq!(subscription["expirationPolicy"], json!({}), "it never expires");
    let dead = json!({"deadLetterTopic": place.topic("phase6-dead-letter"), "maxDeliveryAttempts": 100});
    assert_eq!(subscription["deadLetterPolicy"], dead);
    assert_eq!(subscription["retryPolicy"], json!({"minimumBackoff": "1s", "maximumBackoff": "60s"}));
    let job = place.thing(&format!("projects/{PROJECT}/locations/us-west2/jobs/phase6-player-profiles"));
    let body = STANDARD.decode(job["pubsubTarget"]["data"].as_str().unwrap()).unwrap();
    assert_eq!(String::from_utf8(body).unwrap(), r#"{"players":true,"min_games":5}"#);
    assert_eq!(job["pubsubTarget"]["attributes"], json!({"phase6-job": "phase6-player-profiles"}));
    assert_eq!((&job["schedule"], &job["timeZone"]), (&json!("0 11 * * 0"), &json!("Etc/UTC")));
    let public = place.thing("b/nba-props-platform-api");
    assert_eq!(public["versioning"]["enabled"], true);
    assert_eq!(public["cors"][0]["method"], json!(["GET", "HEAD"]));
    let state = place.thing("b/nba-props-platform-phase6");
    assert_eq!(state["iamConfiguration"]["publicAccessPrevention"], "enforced");
    let service = place.thing(&format!("projects/{PROJECT}/locations/us-west2/services/phase6-gcp"));
    let container = &service["template"]["containers"][0];
    assert_eq!(container["image"], IMAGE);
    assert_eq!(container["resources"]["cpuIdle"], false);
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/livez");
    assert_eq!(service["template"]["scaling"]["minInstanceCount"], 1);
    let world = place.world();
    let account = format!("serviceAccount:phase6-gcp@{PROJECT}.iam.gserviceaccount.com");
    assert_eq!(members(&world.policies["b/nba-props-platform-api"], "roles/storage.legacyObjectReader"), ["allUsers"]);
    for (name, policy) in &world.policies {
        let everybody = policy.to_string().contains("allUsers");
        assert_eq!(everybody, name == "b/nba-props-platform-api", "{name}");
    }
    assert_eq!(members(&world.policies["b/nba-props-platform-phase6"], "roles/storage.objectUser"), [account.as_str()]);
    let agent = "serviceAccount:service-123456789@gcp-sa-pubsub.iam.gserviceaccount.com";
    let dead_letter = &world.policies[&place.topic("phase6-dead-letter")];
    assert_eq!(members(dead_letter, "roles/pubsub.publisher"), [account.as_str(), agent]);
    let tables = world.policies.iter().filter(|(name, _)| name.contains("/tables/"));
    assert!(
        tables.clone().count() > 10
            && tables.clone().all(|(_, p)| members(p, "roles/bigquery.dataViewer") == [account.as_str()])
    );
    assert!(world.things.keys().filter(|name| name.contains("/alertPolicies/")).count() == 5);
}

#[test]
fn what_drifted_is_set_right_and_what_others_added_stays() {
    let place = Place::new();
    place.deploy();
    {
        let mut world = place.world();
        let mut set = |name: &str, change: &dyn Fn(&mut Value)| change(world.things.get_mut(name).unwrap());
        let subscription = format!("projects/{PROJECT}/subscriptions/phase6-export");
        set(&subscription, &|s| {
            s["ackDeadlineSeconds"] = 30.into();
            s["expirationPolicy"] = json!({"ttl": "2678400s"});
            s["labels"]["team"] = "data".into();
        });
        set("b/nba-props-platform-api", &|b| {
            b["cors"] = json!([]);
            b["labels"]["cost"] = "web".into();
            b["labels"].as_object_mut().unwrap();
        });
        set(&format!("projects/{PROJECT}/locations/us-west2/jobs/phase6-daily-results"), &|j| {
            j["schedule"] = "0 9 * * *".into();
            j["state"] = "PAUSED".into();
        });
        set(&format!("projects/{PROJECT}/metrics/phase6-gcp-dead-letters"), &|m| m["filter"] = "x".into());
        let service = format!("projects/{PROJECT}/locations/us-west2/services/phase6-gcp");
        set(&service, &|s| s["template"]["scaling"]["minInstanceCount"] = 0.into());
        let policy = world.policies.get_mut("b/nba-props-platform-phase6").unwrap();
        policy["bindings"] = json!([{"role": "roles/storage.objectViewer", "members": ["user:someone@example.com"]}]);
    }
    let plan = place.run("--dry-run").expect(0).stdout;
    for line in [
        "ackDeadlineSeconds: 30 -> 60",
        "expirationPolicy.ttl: 2678400s -> not set",
        "cors: not set -> [{",
        "schedule: 0 9 * * * -> 0 10 * * *",
        "it is paused, and stays so",
        "template.scaling.minInstanceCount: not set -> 1",
        "roles/storage.objectUser: nobody -> serviceAccount:phase6-gcp@",
        "create 0 (+), change 6 (~), delete 0 (-)",
    ] {
        assert!(plan.contains(line), "{line}\n{plan}");
    }
    place.run("--yes").expect(0);
    let plan = place.json("--dry-run");
    assert_eq!((counts(&plan, "create"), counts(&plan, "change")), (0, 0), "{plan:#}");
    let subscription = place.thing(&format!("projects/{PROJECT}/subscriptions/phase6-export"));
    assert_eq!(subscription["labels"]["team"], "data");
    assert_eq!(place.thing("b/nba-props-platform-api")["labels"]["cost"], "web");
    let service = place.thing(&format!("projects/{PROJECT}/locations/us-west2/services/phase6-gcp"));
    assert_eq!(service["template"]["containers"][0]["image"], IMAGE, "a change keeps the image");
    let viewers = members(&place.world().policies["b/nba-props-platform-phase6"], "roles/storage.objectViewer");
    assert_eq!(viewers, ["user:someone@example.com"]);
    let job = place.thing(&format!("projects/{PROJECT}/locations/us-west2/jobs/phase6-daily-results"));
    assert_eq!(job["state"], "PAUSED");
}

#[test]
fn what_is_foreign_is_used_and_never_touched() {
    let place = Place::new();
    let topic = place.topic("nba-phase5-predictions-complete");
    let bucket = json!({"name": "nba-props-platform-api", "location": "US", "metageneration": "7"});
    {
        let mut world = place.world();
        for api in [Api::PubSub, Api::Storage, Api::ResourceManager] {
            world.enabled.insert(api.service_name().to_owned());
        }
        world.things.insert(topic.clone(), json!({"name": topic, "labels": {"team": "phase5"}}));
        world.things.insert(place.topic("something-else"), json!({"name": place.topic("something-else")}));
        world.things.insert("b/nba-props-platform-api".into(), bucket.clone());
    }
    // Also where the buckets themselves are not asked for.
    let plan = place.run("--dry-run --only access").expect(0).stdout;
    assert!(plan.contains("foreign: not given is roles/storage.legacyObjectReader to allUsers"), "{plan}");
    let plan = place.run(&format!("--dry-run --image {IMAGE}")).expect(0).stdout;
    for line in [
        "  f topic              nba-phase5-predictions-complete",
        "left as it is",
        "location: US -> US-WEST2",
        "not ours, not looked at: 1 topic",
    ] {
        assert!(plan.contains(line), "{line}\n{plan}");
    }
    place.deploy();
    assert_eq!(place.thing(&topic)["labels"], json!({"team": "phase5"}));
    assert_eq!(place.thing("b/nba-props-platform-api"), bucket);
    let policy = place.world().policies["b/nba-props-platform-api"].clone();
    assert!(!policy.to_string().contains("allUsers"), "nobody's bucket is opened by us: {policy}");
    assert_eq!(members(&policy, "roles/storage.objectUser").len(), 1, "but we may write there");
    place.run("--yes --prune").expect(0);
    assert_eq!(place.thing(&topic)["labels"], json!({"team": "phase5"}));
    // Adopted: what can be changed is, and what cannot is said.
    let said = place.run("--yes --adopt").expect(3);
    assert!(said.stdout.contains("`location` cannot be changed"), "{}", said.stdout);
    let labels = json!({"team": "phase5", "managed-by": "phase6", "deployment": "phase6-gcp"});
    assert_eq!(place.thing(&topic)["labels"], labels);
}

/// What the seed's deployment left, as far as its names are ours.
fn seeds_deployment(place: &Place) {
    let job = |name: &str, schedule: &str, message: Value| {
        let name = format!("projects/{PROJECT}/locations/us-west2/jobs/{name}");
        let topic = place.topic("nba-phase6-export-trigger");
        let target = json!({"topicName": topic, "data": STANDARD.encode(message.to_string())});
        (name.clone(), json!({"name": name, "schedule": schedule, "timeZone": "UTC", "pubsubTarget": target}))
    };
    let results = json!({"export_types": ["results", "performance", "best-bets"], "target_date": "yesterday"});
    let tonight =
        json!({"export_types": ["tonight", "tonight-players", "predictions", "streaks"], "target_date": "today"});
    let topics = ["nba-phase5-predictions-complete", "nba-phase6-export-trigger", "nba-phase6-export-complete"];
    let mut world = place.world();
    let enabled = ["pubsub.googleapis.com", "storage.googleapis.com", "cloudscheduler.googleapis.com"];
    world.enabled.extend(enabled.map(str::to_owned));
    world.things.extend([
        job("phase6-daily-results", "0 10 * * *", results),
        job("phase6-tonight-picks", "0 18 * * *", tonight),
        job("phase6-player-profiles", "0 11 * * 0", json!({"players": true, "min_games": 5})),
    ]);
    world.things.extend(topics.map(|t| place.topic(t)).map(|t| (t.clone(), json!({"name": t}))));
    let bucket = json!({"name": "nba-props-platform-api", "location": "US-WEST2", "metageneration": "7"});
    world.things.insert("b/nba-props-platform-api".into(), bucket);
}

/// The commands of "Moving over" in docs/deploy.md, in their order.
#[test]
fn the_seeds_deployment_is_taken_over_by_the_documented_commands() {
    let page = std::fs::read_to_string(root().join("docs/deploy.md")).unwrap();
    let section = page.split_once("## Moving over").unwrap().1.split_once("\n## ").unwrap().0;
    let block = section.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let commands: Vec<&str> = block
        .lines()
        .filter_map(|l| Some(l.strip_prefix("phase6 deploy")?.split('#').next().unwrap().trim()))
        .collect();
    assert_eq!(commands.len(), 4, "{commands:?}");
    let place = Place::new();
    seeds_deployment(&place);
    let job = format!("projects/{PROJECT}/locations/us-west2/jobs/phase6-daily-results");
    let plan = place.run("--dry-run").expect(0).stdout;
    assert!(plan.contains("  f scheduler job      phase6-daily-results"), "{plan}");
    for command in commands {
        let asks = if command == "--dry-run" { "" } else { "--yes" };
        place.run(&format!("{command} {asks} --image {IMAGE}")).expect(0);
    }
    assert_eq!(place.thing(&job)["pubsubTarget"]["attributes"]["phase6-job"], "phase6-daily-results");
    assert_eq!(place.thing("b/nba-props-platform-api")["versioning"]["enabled"], true);
    assert_eq!(place.thing(&place.topic("nba-phase5-predictions-complete"))["labels"], Value::Null, "it is phase 5's");
    let plan = place.json("--dry-run");
    let counted = ["create", "change", "foreign", "blocked"].map(|action| counts(&plan, action));
    assert_eq!(counted, [0, 0, 3, 0], "the three topics stay foreign: {plan:#}");
}

#[test]
fn only_what_is_ours_and_unwanted_is_pruned() {
    let place = Place::new();
    place.deploy();
    let text = place.sandbox.read("phase6_publishing.yaml");
    let (head, rest) = text.split_once("    - name: phase6-player-profiles").unwrap();
    let rest = rest.split_once("\n\n").unwrap().1;
    place.sandbox.write(
        "phase6_publishing.yaml",
        &format!("{head}\n{rest}").replace("{name: missed-runs, ", "{name: missed-slots, "),
    );
    let labels = json!({"managed-by": "phase6", "deployment": "phase6-gcp"});
    {
        let mut world = place.world();
        for (name, labels) in [
            ("old-full", &labels),
            ("old-empty", &labels),
            ("others", &json!({"managed-by": "phase6", "deployment": "other"})),
        ] {
            let bucket = json!({"name": name, "labels": labels, "metageneration": "1", "location": "US-WEST2"});
            world.things.insert(format!("b/{name}"), bucket);
        }
        world.objects.insert("old-full".into(), 3);
        let job = format!("projects/{PROJECT}/locations/us-west2/jobs/theirs");
        world.things.insert(job.clone(), json!({"name": job, "description": "nightly", "schedule": "* * * * *"}));
        let policy = world.policies.get_mut(&place.topic("nba-phase6-export-trigger")).unwrap();
        let member = format!("serviceAccount:phase6-gcp@{PROJECT}.iam.gserviceaccount.com");
        policy["bindings"].as_array_mut().unwrap().extend([
            json!({"role": "roles/pubsub.viewer", "members": [member, "user:x@example.com"]}),
            json!({"role": "roles/pubsub.editor", "members": [member]}),
        ]);
        // Somebody else listens to a topic that is ours and no longer wanted.
        for topic in ["old-heard", "old-unheard"] {
            let topic = place.topic(topic);
            world.things.insert(topic.clone(), json!({"name": topic, "labels": labels}));
        }
        let theirs = format!("projects/{PROJECT}/subscriptions/theirs");
        world.things.insert(theirs.clone(), json!({"name": theirs, "topic": place.topic("old-heard")}));
    }
    let plan = place.run("--dry-run").expect(0).stdout;
    assert!(plan.contains("? scheduler job      phase6-player-profiles") && plan.contains("delete 0 (-)"), "{plan}");
    place.run("--yes").expect(0);
    place.thing(&format!("projects/{PROJECT}/locations/us-west2/jobs/phase6-player-profiles"));
    let said = place.run("--yes --prune").expect(3);
    assert!(said.stderr.contains("bucket `old-full` has objects"), "{}", said.stderr);
    assert!(said.stdout.contains("not removed: `theirs`, which is not ours, subscribes to it"), "{}", said.stdout);
    let left: Vec<String> = place.world().things.keys().cloned().collect();
    for (name, is_there) in [
        ("/jobs/phase6-player-profiles", false),
        ("/jobs/theirs", true),
        ("/jobs/phase6-daily-results", true),
        ("b/old-empty", false),
        ("b/old-full", true),
        ("b/others", true),
        ("/topics/old-heard", true),
        ("/metrics/phase6-gcp-missed-runs", false),
        ("/metrics/phase6-gcp-missed-slots", true),
    ] {
        assert_eq!(left.iter().any(|n| n.ends_with(name)), is_there, "{name}: {left:#?}");
    }
    let policy = place.world().policies[&place.topic("nba-phase6-export-trigger")].clone();
    assert_eq!(members(&policy, "roles/pubsub.viewer"), ["user:x@example.com"]);
    assert_eq!(members(&policy, "roles/pubsub.editor").len(), 1, "no plan gives this role: it is somebody else's gift");
    {
        let mut world = place.world();
        world.objects.clear();
        world.things.remove(&format!("projects/{PROJECT}/subscriptions/theirs"));
    }
    place.run("--yes --prune").expect(0);
    assert!(!place.world().things.contains_key("b/old-full"));
    assert!(!place.world().things.keys().any(|name| name.contains("/topics/old-")));
    // A table that is gone: said, and the rest goes on.
    place.world().policies.retain(|name, _| !name.ends_with("/tables/nbac_schedule"));
    let said = place.run("--yes").expect(3);
    assert!(said.stdout.contains("it is not there: nobody can be given a right to it"), "{}", said.stdout);
}

/// Cut off after each number of changes, killed in the middle, with answers lost: the same command again makes the rest.
#[test]
fn a_deployment_that_was_cut_off_is_finished_by_the_next() {
    let place = Place::new();
    place.world().agent_made = true;
    for left in [0, 1, 6, 9, 12, 10] {
        place.world().changes_left = Some(left);
        let said = place.run(&format!("--yes --image {IMAGE}"));
        assert!(matches!(said.code, 1 | 3), "{left}: {} {}", said.code, said.stderr);
        assert!(said.stderr.contains("failed: ") && said.stderr.contains("not done: "), "{}", said.stderr);
        assert!(said.stderr.contains(&format!("phase6: {left} done")), "{}", said.stderr);
    }
    place.world().changes_left = None;
    // Killed by force in the middle of a call.
    place.world().delay = Duration::from_millis(30);
    let mut child =
        place.command(&format!("--yes --image {IMAGE}")).stdout(std::process::Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(700));
    child.kill().unwrap();
    child.wait().unwrap();
    {
        let mut world = place.world();
        world.delay = Duration::ZERO;
        world.failing = [429].into();
        world.lost_answers = 60;
        world.accounts_unknown_for = 2;
    }
    place.deploy();
    place.world().lost_answers = 0;
    what_was_made(&place);
    let plan = place.json("--dry-run");
    assert_eq!((counts(&plan, "create"), counts(&plan, "change"), counts(&plan, "left_over")), (0, 0, 0), "{plan:#}");
}

/// What was made a moment ago is not known everywhere: it is waited for, and said.
#[test]
fn a_new_project_is_deployed_at_the_first_try() {
    let place = Place::new();
    {
        let mut world = place.world();
        world.services_unknown_for = 3;
        world.metrics_unknown_for = 2;
        world.accounts_unknown_for = 2;
    }
    let said = place.run(&format!("--yes --image {IMAGE}")).expect(0).stdout;
    for what in ["the services that were enabled", "the accounts that get rights", "the metrics of the alert policies"]
    {
        assert!(said.contains(&format!("waiting until Google Cloud knows {what}")), "{what}: {said}");
    }
    what_was_made(&place);
    // Right after it, when the list says that a service is on and the service says that it is not.
    place.world().services_unknown_for = 1;
    place.run("--dry-run").expect(0);
}

#[test]
fn an_organisation_that_forbids_public_access_stops_nothing_else() {
    let place = Place::new();
    place.world().no_public_members = true;
    let said = place.run(&format!("--yes --image {IMAGE}")).expect(3);
    assert!(said.stderr.contains("failed: create public access bucket nba-props-platform-api"), "{}", said.stderr);
    assert!(said.stderr.contains("permitted customer") && !said.stderr.contains("not done"), "{}", said.stderr);
    place.thing(&format!("projects/{PROJECT}/locations/us-west2/services/phase6-gcp"));
    let text = place.sandbox.read("phase6_publishing.yaml");
    let text = text.replace(
        "bucket: nba-props-platform-api, prefix: v1",
        "bucket: nba-props-platform-api, public: false, prefix: v1",
    );
    place.sandbox.write("phase6_publishing.yaml", &text);
    place.run("--yes").expect(0);
    assert_eq!(place.thing("b/nba-props-platform-api")["iamConfiguration"]["publicAccessPrevention"], "enforced");
}

#[test]
fn what_others_set_on_the_service_and_the_policies_stays() {
    let place = Place::new();
    place.deploy();
    let service = format!("projects/{PROJECT}/locations/us-west2/services/phase6-gcp");
    let secret = json!({"name": "PHASE6_TOKEN", "valueSource": {"secretKeyRef": {"secret": "token", "version": "1"}}});
    let policies: Vec<String> = {
        let mut world = place.world();
        let env = &mut world.things.get_mut(&service).unwrap()["template"]["containers"][0]["env"];
        env.as_array_mut().unwrap().insert(0, secret.clone());
        let policies: Vec<String> = world.things.keys().filter(|n| n.contains("/alertPolicies/")).cloned().collect();
        for name in &policies {
            world.things.get_mut(name).unwrap()["notificationChannels"] = json!(["projects/p/notificationChannels/7"]);
        }
        policies
    };
    let plan = place.json("--dry-run");
    assert_eq!(counts(&plan, "change"), 0, "{plan:#}");
    // A change of ours in the same list leaves it, too.
    place.run("--yes --image other:2").expect(0);
    let env = place.thing(&service)["template"]["containers"][0]["env"].clone();
    assert!(env.as_array().unwrap().contains(&secret) && env.as_array().unwrap().len() == 4, "{env}");
    let channels = |name: &String| place.thing(name)["notificationChannels"].as_array().unwrap().len();
    assert!(policies.iter().all(|name| channels(name) == 1));
}

#[test]
fn a_target_names_its_secrets_and_channels() {
    let place = Place::new();
    let text = place.sandbox.read("phase6_publishing.yaml");
    let compute = "    compute: {type: cloud_run_service, memory: 2Gi, secrets: {PHASE6_TOKEN: phase6-token}, notify: [projects/p/notificationChannels/7]}\n";
    let bus = "    bus: {type: pubsub, project: nba-props-platform}\n";
    place.sandbox.write("phase6_publishing.yaml", &text.replace(bus, &format!("{bus}{compute}")));
    place.world().enabled.insert("secretmanager.googleapis.com".to_owned());
    let said = place.run(&format!("--yes --image {IMAGE}")).expect(3);
    assert!(said.stdout.contains("! rights             secret phase6-token"), "{}", said.stdout);
    let secret = format!("projects/{PROJECT}/secrets/phase6-token");
    place.world().policies.insert(secret.clone(), json!({"version": 1, "etag": "s", "bindings": []}));
    place.run("--yes").expect(0);
    assert_eq!(members(&place.world().policies[&secret], "roles/secretmanager.secretAccessor").len(), 1);
    let service = place.thing(&format!("projects/{PROJECT}/locations/us-west2/services/phase6-gcp"));
    let container = &service["template"]["containers"][0];
    let source = json!({"secretKeyRef": {"secret": "phase6-token", "version": "latest"}});
    assert!(container["env"].as_array().unwrap().iter().any(|e| e["valueSource"] == source), "{container:#}");
    assert_eq!(container["resources"]["limits"]["memory"], "2Gi");
    let world = place.world();
    let policies = world.things.iter().filter(|(name, _)| name.contains("/alertPolicies/"));
    assert!(
        policies.clone().count() == 5 && policies.clone().all(|(_, p)| p["notificationChannels"][0] != Value::Null)
    );
}

#[test]
fn a_job_takes_the_place_of_the_service() {
    let place = Place::new();
    place.deploy();
    let text = place.sandbox.read("phase6_publishing.yaml");
    let bus = "    bus: {type: pubsub, project: nba-props-platform}\n";
    let compute = "    compute: {type: cloud_run_job, schedule: \"*/10 * * * *\"}\n";
    place.sandbox.write("phase6_publishing.yaml", &text.replace(bus, &format!("{bus}{compute}")));
    let plan = place.run("--dry-run").expect(0).stdout;
    assert!(
        plan.contains("! Cloud Run job      phase6-gcp") && plan.contains("it is made with --image IMAGE"),
        "{plan}"
    );
    place.run(&format!("--yes --prune --image {IMAGE}")).expect(0);
    let name = format!("projects/{PROJECT}/locations/us-west2/jobs/phase6-gcp");
    let job = place.thing(&format!("run:{name}"));
    let task = &job["template"]["template"];
    assert_eq!(task["containers"][0]["args"], json!(["serve", "--grace", "8s", "--until-idle", "30s"]));
    assert_eq!((&task["timeout"], &task["maxRetries"]), (&json!("3600s"), &json!(3)));
    let starter = place.thing(&format!("{name}-start"));
    assert_eq!(starter["httpTarget"]["uri"], format!("https://run.googleapis.com/v2/{name}:run"));
    assert_eq!(starter["schedule"], "*/10 * * * *");
    let account = format!("serviceAccount:phase6-gcp@{PROJECT}.iam.gserviceaccount.com");
    assert_eq!(members(&place.world().policies[&format!("run:{name}")], "roles/run.invoker"), [account]);
    assert!(!place.world().things.keys().any(|n| n.contains("/services/")), "the service is gone");
    let filter = place.thing(&format!("projects/{PROJECT}/metrics/phase6-gcp-dead-letters"))["filter"].to_string();
    assert!(filter.contains("cloud_run_job") && filter.contains("job_name"), "{filter}");
    for args in ["--yes", "--yes --prune"] {
        let said = place.run(args).expect(0).stdout;
        assert!(said.contains("create 0 (+), change 0 (~), delete 0 (-)"), "{said}");
    }
    // It has no mask: whatever others set has to be sent again.
    place.world().things.get_mut(&format!("run:{name}")).unwrap()["annotations"] = json!({"team": "data"});
    place.run("--yes --image other:2").expect(0);
    let job = place.thing(&format!("run:{name}"));
    assert_eq!(job["annotations"], json!({"team": "data"}));
    assert_eq!(job["template"]["template"]["containers"][0]["image"], "other:2");
    let calls = place.server.take_calls();
    let unknown = |c: &&phase6_test_servers::cloud::Call| {
        !Api::ALL.iter().any(|api| needed(By::Deploy, *api, &c.method, &c.path).is_some())
    };
    assert_eq!(calls.iter().find(unknown), None);
}

#[test]
fn a_foreign_subscription_that_brings_nothing_is_said() {
    let place = Place::new();
    place.deploy();
    let name = format!("projects/{PROJECT}/subscriptions/phase6-export");
    {
        let mut world = place.world();
        let subscription = world.things.get_mut(&name).unwrap();
        subscription["labels"] = json!({"team": "data"});
        subscription["ackDeadlineSeconds"] = 30.into();
    }
    assert!(place.run("--dry-run").expect(0).stdout.contains("f subscription       phase6-export"));
    place.world().things.get_mut(&name).unwrap()["pushConfig"] = json!({"pushEndpoint": "https://example.com"});
    let plan = place.run("--dry-run").expect(0).stdout;
    assert!(plan.contains("! subscription       phase6-export") && plan.contains("cannot be used"), "{plan}");
    place.run("--yes --adopt").expect(0);
    assert!(place.thing(&name)["pushConfig"].is_null(), "it is pulled again");
}

#[test]
fn a_refusal_names_the_right_that_is_missing() {
    let place = Place::new();
    place.world().denied = vec![("PUT", "/topics/nba-phase6")];
    let said = place.run(&format!("--yes --image {IMAGE}")).expect(3);
    assert!(
        said.stderr.contains("it needs the permission pubsub.topics.create, as in roles/pubsub.admin"),
        "{}",
        said.stderr
    );
    assert!(said.stderr.contains("not done: create subscription phase6-export"), "{}", said.stderr);
    place.world().denied = vec![("GET", "/alertPolicies")];
    let said = place.run("--dry-run").expect(1);
    assert!(said.stderr.contains("monitoring.alertPolicies.list"), "{}", said.stderr);
    place.world().denied.clear();
    place.world().taken.insert("nba-props-platform-api".into());
    let said = place.run(&format!("--yes --image {IMAGE}")).expect(3);
    assert!(said.stderr.contains("the name is somebody else's"), "{}", said.stderr);
    place.world().failing = [503; 300].into();
    place.run("--dry-run --only jobs").expect(5);
}

#[test]
fn a_test_and_the_real_cloud_are_not_mixed() {
    let place = Place::new();
    let mut command = place.sandbox.command("deploy --dry-run");
    let said = said(command.env("PUBSUB_EMULATOR_HOST", &place.server.url)).expect(2);
    assert!(said.stderr.contains("choose parts with --only"), "{}", said.stderr);
}

/// Every call takes 100 ms, as across an ocean: they are made at once.
#[test]
fn a_plan_makes_its_calls_at_once() {
    let place = Place::new();
    place.deploy();
    place.world().delay = Duration::from_millis(100);
    place.server.take_calls();
    let begun = Instant::now();
    place.run("--dry-run").expect(0);
    let took = begun.elapsed();
    let calls = place.server.take_calls().len();
    eprintln!("deploy --dry-run: {calls} calls of 100 ms in {took:?}");
    assert!(calls >= 40, "{calls}");
    // One after the other they would take longer than this, whatever the machine is busy with. The goal, two seconds, is measured
    // on an idle one (docs/deploy.md).
    assert!(took < Duration::from_millis(100) * u32::try_from(calls).unwrap(), "{took:?}");
}

/// Google's own emulator takes the same topics and subscriptions.
#[test]
fn the_pubsub_part_on_googles_emulator() {
    let emulator = match emulators::pubsub::start() {
        Ok(emulator) => emulator,
        Err(reason) => return emulators::skip("the_pubsub_part_on_googles_emulator", &reason),
    };
    let sandbox = Sandbox::shipped();
    let run = |args: &str| {
        let mut command = sandbox.command(&format!("deploy --only pubsub {args}"));
        said(command.env("PUBSUB_EMULATOR_HOST", emulator.host()))
    };
    let made = run("--yes").expect(0);
    assert!(made.stdout.contains("done: create topic nba-phase6-export-trigger"), "{}", made.stdout);
    let again = run("--yes --prune").expect(0);
    assert!(again.stdout.contains("create 0 (+), change 0 (~), delete 0 (-), nothing to do"), "{}", again.stdout);
    let subscription = format!("{}/v1/projects/{PROJECT}/subscriptions/phase6-export", emulator.url());
    let change = json!({"subscription": {"name": format!("projects/{PROJECT}/subscriptions/phase6-export"), "ackDeadlineSeconds": 33}, "updateMask": "ackDeadlineSeconds"});
    ureq::patch(&subscription).header("content-type", "application/json").send(change.to_string()).unwrap();
    assert!(run("--dry-run").expect(0).stdout.contains("ackDeadlineSeconds: 33 -> 60"));
    run("--yes").expect(0);
    let text = ureq::get(&subscription).call().unwrap().body_mut().read_to_string().unwrap();
    let there: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(there["ackDeadlineSeconds"], 60, "{there}");
    let text = sandbox.read("phase6_publishing.yaml").replace("nba-phase6-export-complete", "nba-phase6-export-ended");
    sandbox.write("phase6_publishing.yaml", &text);
    assert!(run("--yes --prune").expect(0).stdout.contains("done: delete topic nba-phase6-export-complete"));
    assert!(run("--dry-run").expect(0).stdout.contains("create 0 (+), change 0 (~)"));
}

/// The page's tables are the code's.
#[test]
fn the_page_has_the_table_of_rights() {
    let page = std::fs::read_to_string(root().join("docs/deploy.md")).unwrap();
    for by in [By::Service, By::Deploy] {
        let table = phase6::deploy::permissions::markdown(by);
        assert!(page.contains(&table), "docs/deploy.md has to hold this table:\n\n{table}");
    }
}
