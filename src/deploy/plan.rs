//! The plan: topics, subscriptions, jobs, buckets, the account with its rights, the service. Names come from the configuration.

use super::access::{self, Grant};
use crate::config::model::{BusTarget, StateTarget, StoreTarget, WarehouseTarget};
use crate::config::{Project, Target};
use crate::model::message::attributes;
use crate::service::gate::TRIGGER_TOPIC;
use crate::service::scheduler;
use crate::service::settings::{DEAD_LETTER, Settings, subscriptions};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What the configuration does not say.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The service's container image; no service without one.
    pub image: Option<String>,
    /// Where jobs, buckets and the service are; BigQuery's location if absent and a region.
    pub region: Option<String>,
}

/// Everything that a target needs.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    pub target: String,
    pub project: String,
    pub region: String,
    pub topics: Vec<String>,
    pub subscriptions: Vec<Subscription>,
    pub jobs: Vec<Job>,
    pub buckets: Vec<Bucket>,
    /// The service account's name before the `@`.
    pub account: String,
    pub grants: Vec<Grant>,
    pub service: Option<Service>,
    /// What the reader has to know before this is applied.
    pub notes: Vec<String>,
}

/// A subscription; it never expires.
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

/// A job of Cloud Scheduler.
#[derive(Debug, Clone, Serialize)]
pub struct Job {
    pub name: String,
    pub schedule: String,
    pub timezone: String,
    pub topic: String,
    pub body: String,
    pub attributes: BTreeMap<String, String>,
    /// Made, but not running: the service ticks by itself.
    pub paused: bool,
}

/// A bucket, with access by bucket alone.
#[derive(Debug, Clone, Serialize)]
pub struct Bucket {
    pub name: String,
    /// Everybody may read its objects (not list them), also from web pages of other origins.
    pub public: bool,
    /// Replaced objects are kept, for rollback.
    pub versioning: bool,
}

/// The Cloud Run service that runs `phase6 serve`.
#[derive(Debug, Clone, Serialize)]
pub struct Service {
    pub name: String,
    pub image: String,
    pub env: BTreeMap<String, String>,
}

/// The pauses between deliveries on Pub/Sub: the service's own pauses come by handing back, these are for crashes.
const RETRY_SECONDS: (u64, u64) = (10, 600);

/// What the target needs; the errors say what the configuration would have to have otherwise.
pub fn plan(project: &Project, target: &Target, options: &Options) -> Result<Plan, Vec<String>> {
    let name = &target.name.value;
    let Some(cloud) = cloud_project(target) else {
        return Err(vec![format!(
            "target `{name}` names no project of Google Cloud: it has neither pubsub nor bigquery"
        )]);
    };
    let region = region(target, options).map_err(|reason| vec![reason])?;
    let on_bus = matches!(target.bus, BusTarget::PubSub { .. });
    let mut plan = Plan {
        target: name.clone(),
        project: cloud.to_owned(),
        region,
        topics: if on_bus { topics(project) } else { Vec::new() },
        subscriptions: if on_bus { bus_subscriptions(project) } else { Vec::new() },
        jobs: if on_bus { jobs(project, options.image.is_some()) } else { Vec::new() },
        buckets: buckets(target),
        account: format!("phase6-{name}"),
        grants: Vec::new(),
        service: options.image.as_ref().map(|image| service(name, image)),
        notes: Vec::new(),
    };
    plan.grants = access::grants(project, target, &plan);
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

/// `--region`, else BigQuery's location where that is a region and not a part of the world (`US`, `EU`).
fn region(target: &Target, options: &Options) -> Result<String, String> {
    let location = match &target.warehouse {
        WarehouseTarget::BigQuery { location, .. } => location.as_deref(),
        WarehouseTarget::DuckDb { .. } => None,
    };
    options
        .region
        .as_deref()
        .or(location.filter(|l| l.contains('-')))
        .map(str::to_owned)
        .ok_or_else(|| "no region is known: name one with --region, such as us-west2".to_owned())
}

/// All topics, each once, and the dead letters'.
fn topics(project: &Project) -> Vec<String> {
    let all: BTreeSet<&str> = project.topics.values().map(String::as_str).chain([DEAD_LETTER]).collect();
    all.into_iter().map(str::to_owned).collect()
}

fn bus_subscriptions(project: &Project) -> Vec<Subscription> {
    let all = subscriptions(project, &Settings::default()).into_iter();
    all.map(|s| Subscription {
        name: s.name,
        topic: s.topic,
        ack_deadline_seconds: s.lease.as_secs().clamp(10, 600),
        min_retry_seconds: RETRY_SECONDS.0,
        max_retry_seconds: RETRY_SECONDS.1,
        dead_letter: s.dead_letter_topic,
        // Pub/Sub takes 5 to 100.
        max_attempts: s.max_attempts.clamp(5, 100),
    })
    .collect()
}

/// The jobs with the bodies that the service's own scheduler publishes. Cloud Scheduler cannot write a slot into a message,
/// so that of the attributes only those that are the same at each slot are left: its cause is then the message itself.
fn jobs(project: &Project, paused: bool) -> Vec<Job> {
    let Some(topic) = project.topic(TRIGGER_TOPIC) else { return Vec::new() };
    let of_each_slot = |name: &str| name == attributes::CAUSE_KIND;
    let job = |job: &crate::config::Job| {
        let tick = scheduler::tick(job, Timestamp::UNIX_EPOCH);
        Job {
            name: job.name.value.clone(),
            schedule: job.schedule.value.text().to_owned(),
            timezone: job.timezone.clone(),
            topic: topic.to_owned(),
            body: String::from_utf8_lossy(&tick.body).into_owned(),
            attributes: tick.attributes.into_iter().filter(|(name, _)| of_each_slot(name)).collect(),
            paused,
        }
    };
    project.jobs.iter().map(job).collect()
}

fn buckets(target: &Target) -> Vec<Bucket> {
    let mut all = Vec::new();
    if let StoreTarget::Gcs { bucket, .. } = &target.store {
        all.push(Bucket { name: bucket.clone(), public: true, versioning: true });
    }
    if let StateTarget::Gcs { bucket } = &target.state {
        all.push(Bucket { name: bucket.clone(), public: false, versioning: false });
    }
    all
}

fn service(target: &str, image: &str) -> Service {
    let env = [("PHASE6_TARGET", target), ("PHASE6_LISTEN", "0.0.0.0:8080")];
    Service {
        name: format!("phase6-{target}"),
        image: image.to_owned(),
        env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
    }
}

fn notes(project: &Project, plan: &Plan) -> Vec<String> {
    let mut notes = Vec::new();
    if plan.service.is_none() {
        notes.push("no --image: the plan has no Cloud Run service".to_owned());
    } else {
        notes.push(
            "this build has no adapters for BigQuery, Cloud Storage and Pub/Sub: the service starts with a later one"
                .to_owned(),
        );
        if !plan.jobs.is_empty() {
            notes.push(
                "the jobs are made paused: `phase6 serve` ticks by itself, and each slot has to run once".to_owned(),
            );
        }
    }
    for job in project.jobs.iter().filter(|j| j.backup_of.is_some() && plan.service.is_none()) {
        let name = &job.name.value;
        notes.push(format!("job `{name}`: Cloud Scheduler knows no `backup_of`: it asks also when the event came"));
    }
    if !project.alerts.is_empty() {
        notes.push("alerts are judged by `phase6 serve`; the plan has no policies of Cloud Monitoring".to_owned());
    }
    notes
}
