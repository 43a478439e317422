//! The plan: what a target needs on Google Cloud, as plain data. Names come from the configuration; the numbers of the
//! subscriptions are those that the service itself asks its bus for.

use super::access::{self, Grant};
use super::monitoring::{self, Metric, Policy};
use crate::config::model::{BusTarget, ComputeKind, StateTarget, StoreTarget, WarehouseTarget};
use crate::config::{Project, Target};
use crate::model::schedule::Schedule;
use crate::ports::cloud::Api;
use crate::service::gate::TRIGGER_TOPIC;
use crate::service::scheduler;
use crate::service::settings::{DEAD_LETTER, Settings, subscriptions};
use crate::service::slots::Slots;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What the configuration does not say.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The container's image; what runs keeps its image if absent.
    pub image: Option<String>,
    /// Where jobs, buckets and the program are; the target's `compute.region` if absent, else BigQuery's location where that is a region.
    pub region: Option<String>,
    /// The deployment's name, `phase6-<target>` if absent: of the account, of the service, and in the mark on what was made.
    pub name: Option<String>,
    /// Notification channels of Cloud Monitoring that the alert policies tell, by their full names; the target's `compute.notify` if none.
    pub notify: Vec<String>,
}

/// How long topics and subscriptions keep a message: what waits over a long weekend is still there, and a subscription that begins
/// at the earliest finds what came before it. As the bus of Pub/Sub itself makes them (`adapters::gcp::pubsub`).
pub const RETENTION_SECONDS: u32 = 7 * 24 * 3600;

/// The description of the program's account.
pub const ACCOUNT_DESCRIPTION: &str = "Runs phase6 serve";

/// Everything that a target needs.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// The deployment's name.
    pub name: String,
    pub target: String,
    pub project: String,
    pub region: String,
    /// The services of Google that have to be enabled.
    pub apis: Vec<&'static str>,
    pub topics: Vec<String>,
    pub subscriptions: Vec<Subscription>,
    pub jobs: Vec<Job>,
    pub buckets: Vec<Bucket>,
    pub grants: Vec<Grant>,
    pub program: Program,
    pub metrics: Vec<Metric>,
    pub policies: Vec<Policy>,
    /// What the reader has to know before this is applied.
    pub notes: Vec<String>,
}

impl Plan {
    /// The service account's address.
    pub fn account(&self) -> String {
        format!("{}@{}.iam.gserviceaccount.com", self.name, self.project)
    }

    /// The labels on what was made, where a service has labels.
    pub fn labels(&self) -> [(&'static str, &str); 2] {
        [("managed-by", "phase6"), ("deployment", &self.name)]
    }

    /// A description with our mark.
    pub fn marked(&self, description: &str) -> String {
        format!("{description} {}", self.mark())
    }

    /// The end of the description of what was made, where a service has no labels.
    pub fn mark(&self) -> String {
        format!("[managed-by=phase6 deployment={}]", self.name)
    }
}

/// A subscription; it never expires. It has no filter: a subscriber of ours takes everything of its topic, and a message that it
/// cannot work has to end as a dead letter, not to vanish.
#[derive(Debug, Clone, Serialize)]
pub struct Subscription {
    pub name: String,
    pub topic: String,
    pub ack_deadline_seconds: u64,
    pub min_retry_seconds: u64,
    pub max_retry_seconds: u64,
    /// Where a message goes after `max_attempts`.
    pub dead_letter: Option<String>,
    pub max_attempts: u32,
}

/// A job of Cloud Scheduler. Its messages name the job, and the worker finds the slot (`service::outside_ticks`).
#[derive(Debug, Clone, Serialize)]
pub struct Job {
    pub name: String,
    pub schedule: String,
    pub timezone: String,
    pub topic: String,
    pub body: String,
    pub attributes: BTreeMap<String, String>,
}

impl Job {
    pub fn description(&self) -> String {
        format!("The job {} of phase6", self.name)
    }
}

/// A bucket, with access by bucket alone.
#[derive(Debug, Clone, Serialize)]
pub struct Bucket {
    pub name: String,
    /// Everybody may read its objects (not list them), also from web pages of other origins.
    pub public: bool,
    /// Replaced contents are kept for so many days at least, for rollback.
    pub keep_days: u32,
    /// And of each object so many of them.
    pub keep_versions: u32,
}

impl Bucket {
    /// The rules of its life cycle, in Cloud Storage's words: both have to hold before a replaced content goes.
    pub fn lifecycle(&self) -> Value {
        let old =
            json!({"isLive": false, "daysSinceNoncurrentTime": self.keep_days, "numNewerVersions": self.keep_versions});
        json!({"rule": [{"action": {"type": "Delete"}, "condition": old}]})
    }

    /// Which web pages may read it, in Cloud Storage's words.
    pub fn cors(&self) -> Value {
        if !self.public {
            return json!([]);
        }
        json!([{"origin": ["*"], "method": ["GET", "HEAD"], "responseHeader": ["Content-Type", "ETag"], "maxAgeSeconds": 3600}])
    }
}

/// `phase6 serve` on Cloud Run.
#[derive(Debug, Clone, Serialize)]
pub struct Program {
    pub name: String,
    pub image: Option<String>,
    pub args: Vec<&'static str>,
    pub env: BTreeMap<&'static str, String>,
    /// Environment variables that the newest version of a secret fills.
    pub secrets: BTreeMap<String, String>,
    pub cpu: String,
    pub memory: String,
    pub runs: Runs,
}

/// How it runs.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Runs {
    /// A service: it pulls, so one instance always runs, with its CPU.
    Service {
        port: u16,
        min_instances: u32,
        max_instances: u32,
        /// Asked before the first request, and then always; what hangs is started anew.
        probe: &'static str,
    },
    /// A job that Cloud Scheduler starts, in UTC; a second one at the same time is but another copy.
    Job { schedule: String, timeout_seconds: u32, max_retries: u32, longest_pause_seconds: u64 },
}

impl Program {
    pub fn is_job(&self) -> bool {
        matches!(self.runs, Runs::Job { .. })
    }

    /// The type of Cloud Run's resource in logs and metrics, and the label that holds its name.
    pub fn monitored(&self) -> (&'static str, &'static str) {
        if self.is_job() { ("cloud_run_job", "job_name") } else { ("cloud_run_revision", "service_name") }
    }

    /// The name of the job of Cloud Scheduler that starts the Cloud Run job.
    pub fn starter(&self) -> String {
        format!("{}-start", self.name)
    }

    /// And its description.
    pub fn starter_description(&self) -> String {
        format!("Starts the Cloud Run job {}", self.name)
    }
}

/// What the target needs; the errors say what the configuration would have to have otherwise.
pub fn plan(project: &Project, target: &Target, options: &Options) -> Result<Plan, Vec<String>> {
    let Some(cloud) = cloud_project(target) else {
        let name = &target.name.value;
        let reason = format!("target `{name}` names no project of Google Cloud: it has neither pubsub nor bigquery");
        return Err(vec![reason]);
    };
    let region = region(target, options).map_err(|reason| vec![reason])?;
    let name = options.name.clone().unwrap_or_else(|| format!("phase6-{}", target.name.value));
    let on_bus = matches!(target.bus, BusTarget::PubSub { .. });
    let mut plan = Plan {
        program: program(&name, target, cloud, options),
        name,
        target: target.name.value.clone(),
        project: cloud.to_owned(),
        region,
        apis: Vec::new(),
        topics: if on_bus { topics(project) } else { Vec::new() },
        subscriptions: if on_bus { bus_subscriptions(project) } else { Vec::new() },
        jobs: if on_bus { jobs(project) } else { Vec::new() },
        buckets: buckets(target),
        grants: Vec::new(),
        metrics: Vec::new(),
        policies: Vec::new(),
        notes: Vec::new(),
    };
    plan.grants = access::grants(project, target, &plan);
    let notify = if options.notify.is_empty() { &target.compute.notify } else { &options.notify };
    (plan.metrics, plan.policies) = monitoring::alerts(project, &plan, notify);
    plan.apis = apis(target, &plan);
    plan.notes = notes(project, &plan);
    let wrong = super::words::wrong_names(&plan);
    if wrong.is_empty() { Ok(plan) } else { Err(wrong) }
}

/// The project in which things are made: the bus's, else the warehouse's.
pub fn cloud_project(target: &Target) -> Option<&str> {
    match (&target.bus, &target.warehouse) {
        (BusTarget::PubSub { project }, _) | (_, WarehouseTarget::BigQuery { project, .. }) => Some(project),
        _ => None,
    }
}

/// `--region`, else the target's own, else BigQuery's location where that is a region and not a part of the world (`US`, `EU`).
fn region(target: &Target, options: &Options) -> Result<String, String> {
    let location = match &target.warehouse {
        WarehouseTarget::BigQuery { location, .. } => location.as_deref(),
        WarehouseTarget::DuckDb { .. } => None,
    };
    let given = options.region.as_deref().or(target.compute.region.as_deref());
    given
        .or(location.filter(|l| l.contains('-')))
        .map(str::to_owned)
        .ok_or_else(|| "no region is known: name one with `compute.region` or --region, such as us-west2".to_owned())
}

/// The services that the plan and the running program call.
fn apis(target: &Target, plan: &Plan) -> Vec<&'static str> {
    let used = [
        (Api::BigQuery, matches!(target.warehouse, WarehouseTarget::BigQuery { .. })),
        (Api::ResourceManager, true),
        (Api::Scheduler, !plan.jobs.is_empty() || plan.program.is_job()),
        (Api::Iam, true),
        (Api::Logging, true),
        (Api::Monitoring, true),
        (Api::PubSub, !plan.topics.is_empty()),
        (Api::Run, true),
        (Api::SecretManager, !plan.program.secrets.is_empty()),
        (Api::Storage, !plan.buckets.is_empty()),
    ];
    used.into_iter().filter(|(_, used)| *used).map(|(api, _)| api.service_name()).collect()
}

/// All topics, each once, and the dead letters'.
fn topics(project: &Project) -> Vec<String> {
    let all: BTreeSet<&str> = project.topics.values().map(String::as_str).chain([DEAD_LETTER]).collect();
    all.into_iter().map(str::to_owned).collect()
}

/// What the service asks of its bus, within Pub/Sub's limits.
fn bus_subscriptions(project: &Project) -> Vec<Subscription> {
    let all = subscriptions(project, &Settings::default()).into_iter();
    all.map(|s| Subscription {
        name: s.name,
        topic: s.topic,
        ack_deadline_seconds: s.lease.as_secs().clamp(10, 600),
        min_retry_seconds: s.backoff.0.as_secs().min(600),
        max_retry_seconds: s.backoff.1.as_secs().min(600),
        dead_letter: s.dead_letter_topic,
        max_attempts: s.max_attempts.clamp(5, 100),
    })
    .collect()
}

/// The jobs with the bodies that the service's own scheduler publishes.
fn jobs(project: &Project) -> Vec<Job> {
    let Some(topic) = project.topic(TRIGGER_TOPIC) else { return Vec::new() };
    let job = |job: &crate::config::Job| {
        let tick = scheduler::outside_tick(job);
        Job {
            name: job.name.value.clone(),
            schedule: job.schedule.value.text().to_owned(),
            timezone: job.timezone.clone(),
            topic: topic.to_owned(),
            body: String::from_utf8_lossy(&tick.body).into_owned(),
            attributes: tick.attributes,
        }
    };
    project.jobs.iter().map(job).collect()
}

/// Contents of the public store that a rollback may go back to; the directory store keeps as many.
const PUBLIC_VERSIONS: u32 = 20;

fn buckets(target: &Target) -> Vec<Bucket> {
    let mut all = Vec::new();
    if let StoreTarget::Gcs { bucket, public, .. } = &target.store {
        all.push(Bucket { name: bucket.clone(), public: *public, keep_days: 30, keep_versions: PUBLIC_VERSIONS });
    }
    if let StateTarget::Gcs { bucket } = &target.state {
        // Old records are for looking into what happened; nothing of the program reads them.
        all.push(Bucket { name: bucket.clone(), public: false, keep_days: 7, keep_versions: 3 });
    }
    all
}

fn program(name: &str, target: &Target, cloud: &str, options: &Options) -> Program {
    const PORT: u16 = 8080;
    let compute = &target.compute;
    let mut env =
        BTreeMap::from([("GOOGLE_CLOUD_PROJECT", cloud.to_owned()), ("PHASE6_TARGET", target.name.value.clone())]);
    // Cloud Run kills ten seconds after SIGTERM: what is not finished by then is handed back before.
    let mut args = vec!["serve", "--grace", "8s"];
    let runs = match &compute.kind {
        ComputeKind::Service => {
            env.insert("PHASE6_LISTEN", format!("0.0.0.0:{PORT}"));
            Runs::Service { port: PORT, min_instances: 1, max_instances: 3, probe: "/livez" }
        }
        ComputeKind::Job { schedule } => {
            args.extend(["--until-idle", IDLE_FOR]);
            Runs::Job {
                schedule: schedule.text().to_owned(),
                timeout_seconds: JOB_TIMEOUT_SECONDS,
                // A task that fails is started again by Cloud Run, so that one bad machine is no missed start.
                max_retries: 3,
                longest_pause_seconds: longest_pause(schedule),
            }
        }
    };
    let (cpu, memory, secrets) = (compute.cpu.clone(), compute.memory.clone(), compute.secrets.clone());
    Program { name: name.to_owned(), image: options.image.clone(), args, env, secrets, cpu, memory, runs }
}

/// How long a job waits for more: Pub/Sub may answer a pull with nothing although something waits, but not for so long.
const IDLE_FOR: &str = "30s";

/// How long one start of a job may work.
const JOB_TIMEOUT_SECONDS: u32 = 3600;

/// The longest time between two starts in the next weeks, in seconds.
fn longest_pause(schedule: &Schedule) -> u64 {
    let slots = Slots { schedule: schedule.clone(), zone: jiff::tz::TimeZone::UTC };
    // Any month of 31 days does.
    let (from, to) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(31 * 24));
    let all: Vec<i64> = slots.between(from, to).map(|slot| slot.as_second()).collect();
    let pauses = all.windows(2).map(|pair| pair[1].abs_diff(pair[0]));
    pauses.max().unwrap_or(to.as_second().unsigned_abs())
}

fn notes(project: &Project, plan: &Plan) -> Vec<String> {
    let mut notes = Vec::new();
    let what = if plan.program.is_job() { "job" } else { "service" };
    if plan.program.image.is_none() {
        notes.push(format!("no --image: a {what} that exists keeps its image, and none is made"));
    }
    if plan.policies.iter().any(|policy| policy.channels.is_empty()) {
        notes.push(
            "no `compute.notify` and no --notify: policies keep their channels; one that is new opens incidents in Cloud Monitoring \
             and sends nothing"
                .to_owned(),
        );
    }
    if !project.jobs.is_empty() {
        notes.push(format!("Cloud Scheduler and the {what}'s own clock may both run: each slot still runs once"));
    }
    if project.service.push.is_some() {
        let note = "`service.push`: this service takes no unauthenticated calls, and Cloud Run's own check removes the signatures of the \
                    tokens, so that events by push are refused; it pulls";
        notes.push(note.to_owned());
    }
    notes
}

#[cfg(test)]
pub mod tests {
    use super::*;

    fn with(options: &Options) -> Plan {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let project = crate::config::load(root, &|_| None).project;
        let target = project.targets.iter().find(|t| t.name.value == "gcp").unwrap();
        plan(&project, target, options).unwrap()
    }

    /// The plan of the shipped project.
    pub fn shipped() -> Plan {
        with(&Options { image: Some("image:1".to_owned()), ..Options::default() })
    }

    #[test]
    fn a_declared_push_is_noted_as_refused() {
        let dir = tempfile::tempdir().unwrap();
        let publishing = "version: 1\ntargets:\n  gcp: {warehouse: {type: bigquery, project: nba-props}, store: {type: gcs, bucket: public}, state: {type: gcs, bucket: state}, bus: {type: pubsub, project: nba-props}}\n";
        let notes = |more: &str| {
            std::fs::write(dir.path().join("phase6_publishing.yaml"), format!("{publishing}{more}")).unwrap();
            let project = crate::config::load(dir.path(), &|_| None).project;
            let options = Options { region: Some("us-west2".into()), ..Options::default() };
            plan(&project, &project.targets[0], &options).unwrap().notes
        };
        let push = "service: {push: {audience: a, service_accounts: [p@x.iam.gserviceaccount.com]}}\n";
        assert!(notes(push).iter().any(|note| note.contains("`service.push`") && note.contains("it pulls")));
        assert!(!notes("").iter().any(|note| note.contains("push")));
    }

    #[test]
    fn subscriptions_are_those_that_the_service_asks_for() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let project = crate::config::load(root, &|_| None).project;
        let asked = subscriptions(&project, &Settings::default());
        let planned = shipped().subscriptions;
        assert_eq!(asked.len(), planned.len());
        for (asked, planned) in asked.iter().zip(planned) {
            assert_eq!((&asked.name, &asked.topic), (&planned.name, &planned.topic));
            assert_eq!(asked.lease.as_secs(), planned.ack_deadline_seconds, "it would be changed at each start");
            let backoff = (asked.backoff.0.as_secs(), asked.backoff.1.as_secs());
            assert_eq!(backoff, (planned.min_retry_seconds, planned.max_retry_seconds));
            assert_eq!((&asked.dead_letter_topic, asked.max_attempts), (&planned.dead_letter, planned.max_attempts));
        }
    }

    #[test]
    fn rights_are_narrow() {
        let plan = shipped();
        let everywhere: Vec<&str> =
            plan.grants.iter().filter(|g| matches!(g.on, access::Place::Project(_))).map(|g| g.role.as_str()).collect();
        assert_eq!(everywhere, ["roles/monitoring.viewer", "roles/bigquery.jobUser"]);
        for grant in &plan.grants {
            let wide = ["admin", "Admin", "owner", "Owner", "editor", "Editor"];
            assert!(!wide.iter().any(|w| grant.role.contains(w)), "{grant:?}");
            // What others publish, the service does not; and the public reads one bucket alone, and does not list it.
            let upstream = access::Place::Topic("nba-phase5-predictions-complete".to_owned());
            assert!(grant.on != upstream, "{grant:?}");
            let public = access::Place::Bucket("nba-props-platform-api".to_owned());
            assert!(grant.who != access::Who::Everybody || grant.on == public, "{grant:?}");
            assert!(grant.who != access::Who::Everybody || grant.role == "roles/storage.legacyObjectReader");
        }
    }

    #[test]
    fn a_second_deployment_has_names_of_its_own() {
        let plan = with(&Options { name: Some("phase6-staging".to_owned()), ..Options::default() });
        assert_eq!(plan.account(), "phase6-staging@nba-props-platform.iam.gserviceaccount.com");
        assert!(plan.policies.iter().all(|p| p.title.starts_with("phase6-staging: ")));
        assert!(plan.mark().contains("phase6-staging") && plan.program.image.is_none());
    }
}
