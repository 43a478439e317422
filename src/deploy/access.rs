//! Who may do what: the least that the service needs, each right at the narrowest place, with its reason.

use super::plan::Plan;
use crate::config::model::{BusTarget, WarehouseTarget};
use crate::config::{Project, Receiver, Target};
use crate::service::gate::TRIGGER_TOPIC;
use crate::service::settings::COMPLETE_TOPIC;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;

/// One right.
#[derive(Debug, Clone, Serialize)]
pub struct Grant {
    pub who: Who,
    pub role: String,
    pub on: Place,
    pub why: String,
}

/// Who gets a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// The service's own account.
    Service,
    /// Pub/Sub itself, which moves dead letters.
    PubSub,
    Everybody,
}

/// Where it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    Project(String),
    Topic(String),
    Subscription(String),
    Bucket(String),
    Table {
        project: String,
        dataset: String,
        table: String,
    },
    /// A secret of Secret Manager.
    Secret(String),
    /// A Cloud Run job.
    RunJob(String),
}

impl Grant {
    /// The member as a policy names it; `number` is the project's.
    pub fn member(&self, plan: &Plan, number: &str) -> String {
        match self.who {
            Who::Service => format!("serviceAccount:{}", plan.account()),
            Who::PubSub => format!("serviceAccount:service-{number}@gcp-sa-pubsub.iam.gserviceaccount.com"),
            Who::Everybody => "allUsers".to_owned(),
        }
    }
}

impl Who {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "the service",
            Self::PubSub => "Pub/Sub",
            Self::Everybody => "everybody",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Project(name) => write!(f, "project {name}"),
            Self::Topic(name) => write!(f, "topic {name}"),
            Self::Subscription(name) => write!(f, "subscription {name}"),
            Self::Bucket(name) => write!(f, "bucket {name}"),
            Self::Table { project, dataset, table } => write!(f, "table {project}:{dataset}.{table}"),
            Self::Secret(name) => write!(f, "secret {name}"),
            Self::RunJob(name) => write!(f, "Cloud Run job {name}"),
        }
    }
}

/// All rights of the plan, in the order in which they are made.
pub fn grants(project: &Project, target: &Target, plan: &Plan) -> Vec<Grant> {
    let grant = |who, role: &str, on, why: &str| Grant { who, role: role.to_owned(), on, why: why.to_owned() };
    let mut all = Vec::new();
    if matches!(target.bus, BusTarget::PubSub { .. }) {
        for topic in published(project) {
            all.push(grant(Who::Service, "roles/pubsub.publisher", Place::Topic(topic), "publishes to it"));
        }
        for s in &plan.subscriptions {
            let on = || Place::Subscription(s.name.clone());
            all.push(grant(Who::Service, "roles/pubsub.subscriber", on(), "works its messages"));
            all.push(grant(Who::Service, "roles/pubsub.viewer", on(), "looks whether it is as it has to be"));
            if s.dead_letter.is_some() {
                all.push(grant(Who::PubSub, "roles/pubsub.subscriber", on(), "takes out what it gave up delivering"));
            }
        }
        let dead: BTreeSet<&String> = plan.subscriptions.iter().filter_map(|s| s.dead_letter.as_ref()).collect();
        for topic in dead {
            let on = Place::Topic(topic.clone());
            all.push(grant(Who::PubSub, "roles/pubsub.publisher", on, "puts there what it gave up delivering"));
        }
    }
    if !plan.subscriptions.is_empty() {
        let on = Place::Project(plan.project.clone());
        let why = "reads the backlogs' metrics; they belong to no narrower place";
        all.push(grant(Who::Service, "roles/monitoring.viewer", on, why));
    }
    for bucket in &plan.buckets {
        let on = || Place::Bucket(bucket.name.clone());
        let why = if bucket.public { "publishes documents" } else { "keeps runs, releases and claims" };
        all.push(grant(Who::Service, "roles/storage.objectUser", on(), why));
        if bucket.public {
            all.push(grant(Who::Everybody, "roles/storage.legacyObjectReader", on(), "reads documents, lists none"));
        }
    }
    if let WarehouseTarget::BigQuery { project: warehouse, .. } = &target.warehouse {
        let on = Place::Project(warehouse.clone());
        all.push(grant(Who::Service, "roles/bigquery.jobUser", on, "runs queries; a job belongs to no narrower place"));
        for (dataset, table) in tables(project) {
            let on = Place::Table { project: warehouse.clone(), dataset, table };
            all.push(grant(Who::Service, "roles/bigquery.dataViewer", on, "exports read it"));
        }
    }
    let secrets: BTreeSet<&String> = plan.program.secrets.values().collect();
    for secret in secrets {
        let on = Place::Secret(secret.clone());
        all.push(grant(Who::Service, "roles/secretmanager.secretAccessor", on, "an environment variable holds it"));
    }
    if plan.program.is_job() {
        let on = Place::RunJob(plan.program.name.clone());
        all.push(grant(Who::Service, "roles/run.invoker", on, "Cloud Scheduler starts it in the account's name"));
    }
    all
}

/// The topics that the service publishes to: requests, completions, dead letters, what triggers and alerts name.
fn published(project: &Project) -> BTreeSet<String> {
    let triggers = project.trigger_decls();
    let named = triggers.iter().map(|t| t.publish_topic.value.as_str());
    let told = project.alerts.iter().flat_map(|a| &a.to).filter_map(|to| match to {
        Receiver::Topic { topic } => Some(topic.value.as_str()),
        _ => None,
    });
    // What Pub/Sub pushes to the service's door, the door puts on the topic.
    let pushed = triggers.iter().filter(|_| project.service.push.is_some()).map(|t| t.topic.value.as_str());
    let all = named.chain(told).chain(pushed).chain([TRIGGER_TOPIC, COMPLETE_TOPIC]);
    let dead_letters = [crate::service::settings::DEAD_LETTER.to_owned()];
    all.filter_map(|key| project.topic(key)).map(str::to_owned).chain(dead_letters).collect()
}

/// The tables that the exports read, as dataset and table.
fn tables(project: &Project) -> BTreeSet<(String, String)> {
    let read = project.exports.iter().flat_map(|e| &e.queries).flat_map(|q| &q.tables);
    read.filter_map(|name| name.rsplit_once('.')).map(|(d, t)| (d.to_owned(), t.to_owned())).collect()
}
