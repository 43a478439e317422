//! Which right each call needs: method and path, the permission, and the role that brings it. The source is each method's
//! reference page ("IAM permissions"). The strict servers of the tests record the calls that the adapters and `deploy` really make,
//! and [`missing`] holds them against this table and against the rights of the plan.

use super::access::{Place, Who};
use super::plan::Plan;
use crate::ports::cloud::Api;
use std::fmt::Write;

/// Who makes a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// `phase6 serve`, by the service account that the plan makes.
    Service,
    /// Whoever runs `phase6 deploy`.
    Deploy,
}

/// A call that may be made.
#[derive(Debug)]
pub struct Use {
    pub by: By,
    pub api: Api,
    pub method: &'static str,
    /// `*` stands for (a part of) one segment, `**` for the rest.
    pub path: &'static str,
    pub permission: &'static str,
    pub role: &'static str,
}

const fn service(
    api: Api,
    method: &'static str,
    path: &'static str,
    permission: &'static str,
    role: &'static str,
) -> Use {
    Use { by: By::Service, api, method, path, permission, role }
}

const fn deploy(
    api: Api,
    method: &'static str,
    path: &'static str,
    permission: &'static str,
    role: &'static str,
) -> Use {
    Use { by: By::Deploy, api, method, path, permission, role }
}

const JOB_USER: &str = "roles/bigquery.jobUser";
const DATA_VIEWER: &str = "roles/bigquery.dataViewer";
const OBJECT_USER: &str = "roles/storage.objectUser";
const PUBLISHER: &str = "roles/pubsub.publisher";
const SUBSCRIBER: &str = "roles/pubsub.subscriber";
const PUBSUB_VIEWER: &str = "roles/pubsub.viewer";
const PUBSUB_ADMIN: &str = "roles/pubsub.admin";
const STORAGE_ADMIN: &str = "roles/storage.admin";
const ACCOUNT_ADMIN: &str = "roles/iam.serviceAccountAdmin";
const RUN_ADMIN: &str = "roles/run.admin";
const SCHEDULER_ADMIN: &str = "roles/cloudscheduler.admin";
const LOGGING_WRITER: &str = "roles/logging.configWriter";
const ALERT_EDITOR: &str = "roles/monitoring.alertPolicyEditor";
const USAGE_ADMIN: &str = "roles/serviceusage.serviceUsageAdmin";
const PROJECT_IAM_ADMIN: &str = "roles/resourcemanager.projectIamAdmin";
const SECRET_ADMIN: &str = "roles/secretmanager.admin";
const DATA_OWNER: &str = "roles/bigquery.dataOwner";

/// What the roles of the service hold, as far as calls of the service need it.
const ROLES: &[(&str, &[&str])] = &[
    (JOB_USER, &["bigquery.jobs.create"]),
    (DATA_VIEWER, &["bigquery.tables.get", "bigquery.tables.getData"]),
    (
        OBJECT_USER,
        &[
            "storage.objects.create",
            "storage.objects.delete",
            "storage.objects.get",
            "storage.objects.list",
            "storage.objects.update",
        ],
    ),
    ("roles/storage.legacyObjectReader", &["storage.objects.get"]),
    (PUBLISHER, &["pubsub.topics.publish"]),
    (SUBSCRIBER, &["pubsub.subscriptions.consume"]),
    (PUBSUB_VIEWER, &["pubsub.subscriptions.get", "pubsub.topics.get"]),
    ("roles/monitoring.viewer", &["monitoring.timeSeries.list"]),
    // Used by Cloud Run and Cloud Scheduler in the account's name, in no call of the program's own.
    ("roles/secretmanager.secretAccessor", &[]),
    ("roles/run.invoker", &[]),
];

/// Whether the service's account is ever given the role by a plan: others that it has were given by somebody else.
pub fn is_ours_to_give(role: &str) -> bool {
    ROLES.iter().any(|(name, _)| *name == role)
}

/// Every call that is made, with the right that it needs.
pub const USES: &[Use] = &[
    // A job's own creator may look at it, read its results and cancel it; the tables that it reads are asked for besides.
    service(Api::BigQuery, "POST", "/bigquery/v2/projects/*/jobs", "bigquery.jobs.create", JOB_USER),
    service(Api::BigQuery, "GET", "/bigquery/v2/projects/*/jobs/*", "bigquery.jobs.create", JOB_USER),
    service(Api::BigQuery, "POST", "/bigquery/v2/projects/*/jobs/*/cancel", "bigquery.jobs.create", JOB_USER),
    service(Api::BigQuery, "POST", "/bigquery/v2/projects/*/queries", "bigquery.jobs.create", JOB_USER),
    service(Api::BigQuery, "GET", "/bigquery/v2/projects/*/queries/*", "bigquery.jobs.create", JOB_USER),
    service(Api::BigQuery, "GET", "/bigquery/v2/projects/*/datasets/*/tables/*", "bigquery.tables.get", DATA_VIEWER),
    service(
        Api::BigQuery,
        "GET",
        "/bigquery/v2/projects/*/datasets/*/tables/*/data",
        "bigquery.tables.getData",
        DATA_VIEWER,
    ),
    // Writing over an object deletes its old content.
    service(Api::Storage, "POST", "/upload/storage/v1/b/*/o", "storage.objects.create", OBJECT_USER),
    service(Api::Storage, "PUT", "/upload/storage/v1/b/*/o", "storage.objects.create", OBJECT_USER),
    service(Api::Storage, "GET", "/storage/v1/b/*/o", "storage.objects.list", OBJECT_USER),
    service(Api::Storage, "GET", "/storage/v1/b/*/o/**", "storage.objects.get", OBJECT_USER),
    service(Api::Storage, "GET", "/download/storage/v1/b/*/o/**", "storage.objects.get", OBJECT_USER),
    service(Api::Storage, "PATCH", "/storage/v1/b/*/o/**", "storage.objects.update", OBJECT_USER),
    service(Api::Storage, "DELETE", "/storage/v1/b/*/o/**", "storage.objects.delete", OBJECT_USER),
    service(Api::Storage, "POST", "/storage/v1/b/*/o/**", "storage.objects.create", OBJECT_USER),
    service(Api::PubSub, "POST", "/v1/projects/*/topics/*:publish", "pubsub.topics.publish", PUBLISHER),
    service(Api::PubSub, "POST", "/google.pubsub.v1.Publisher/Publish", "pubsub.topics.publish", PUBLISHER),
    service(Api::PubSub, "POST", "/v1/projects/*/subscriptions/*:pull", "pubsub.subscriptions.consume", SUBSCRIBER),
    service(
        Api::PubSub,
        "POST",
        "/v1/projects/*/subscriptions/*:acknowledge",
        "pubsub.subscriptions.consume",
        SUBSCRIBER,
    ),
    service(
        Api::PubSub,
        "POST",
        "/v1/projects/*/subscriptions/*:modifyAckDeadline",
        "pubsub.subscriptions.consume",
        SUBSCRIBER,
    ),
    service(
        Api::PubSub,
        "POST",
        "/google.pubsub.v1.Subscriber/StreamingPull",
        "pubsub.subscriptions.consume",
        SUBSCRIBER,
    ),
    service(Api::PubSub, "POST", "/google.pubsub.v1.Subscriber/Pull", "pubsub.subscriptions.consume", SUBSCRIBER),
    service(
        Api::PubSub,
        "POST",
        "/google.pubsub.v1.Subscriber/Acknowledge",
        "pubsub.subscriptions.consume",
        SUBSCRIBER,
    ),
    service(
        Api::PubSub,
        "POST",
        "/google.pubsub.v1.Subscriber/ModifyAckDeadline",
        "pubsub.subscriptions.consume",
        SUBSCRIBER,
    ),
    service(Api::PubSub, "GET", "/v1/projects/*/subscriptions/*", "pubsub.subscriptions.get", PUBSUB_VIEWER),
    service(
        Api::PubSub,
        "POST",
        "/google.pubsub.v1.Subscriber/GetSubscription",
        "pubsub.subscriptions.get",
        PUBSUB_VIEWER,
    ),
    service(
        Api::Monitoring,
        "GET",
        "/v3/projects/*/timeSeries",
        "monitoring.timeSeries.list",
        "roles/monitoring.viewer",
    ),
    deploy(Api::ServiceUsage, "GET", "/v1/projects/*/services", "serviceusage.services.list", USAGE_ADMIN),
    deploy(
        Api::ServiceUsage,
        "POST",
        "/v1/projects/*/services:batchEnable",
        "serviceusage.services.enable",
        USAGE_ADMIN,
    ),
    deploy(
        Api::ServiceUsage,
        "POST",
        "/v1beta1/projects/*/services/*:generateServiceIdentity",
        "serviceusage.services.enable",
        USAGE_ADMIN,
    ),
    deploy(
        Api::SecretManager,
        "GET",
        "/v1/projects/*/secrets/*:getIamPolicy",
        "secretmanager.secrets.getIamPolicy",
        SECRET_ADMIN,
    ),
    deploy(
        Api::SecretManager,
        "POST",
        "/v1/projects/*/secrets/*:setIamPolicy",
        "secretmanager.secrets.setIamPolicy",
        SECRET_ADMIN,
    ),
    deploy(Api::ServiceUsage, "GET", "/v1/operations/*", "serviceusage.operations.get", USAGE_ADMIN),
    deploy(Api::ResourceManager, "GET", "/v3/projects/*", "resourcemanager.projects.get", PROJECT_IAM_ADMIN),
    deploy(
        Api::ResourceManager,
        "POST",
        "/v3/projects/*:getIamPolicy",
        "resourcemanager.projects.getIamPolicy",
        PROJECT_IAM_ADMIN,
    ),
    deploy(
        Api::ResourceManager,
        "POST",
        "/v3/projects/*:setIamPolicy",
        "resourcemanager.projects.setIamPolicy",
        PROJECT_IAM_ADMIN,
    ),
    deploy(Api::PubSub, "GET", "/v1/projects/*/topics", "pubsub.topics.list", PUBSUB_ADMIN),
    deploy(Api::PubSub, "GET", "/v1/projects/*/topics/*:getIamPolicy", "pubsub.topics.getIamPolicy", PUBSUB_ADMIN),
    deploy(Api::PubSub, "POST", "/v1/projects/*/topics/*:setIamPolicy", "pubsub.topics.setIamPolicy", PUBSUB_ADMIN),
    deploy(Api::PubSub, "GET", "/v1/projects/*/topics/*", "pubsub.topics.get", PUBSUB_ADMIN),
    deploy(Api::PubSub, "PUT", "/v1/projects/*/topics/*", "pubsub.topics.create", PUBSUB_ADMIN),
    deploy(Api::PubSub, "PATCH", "/v1/projects/*/topics/*", "pubsub.topics.update", PUBSUB_ADMIN),
    deploy(Api::PubSub, "DELETE", "/v1/projects/*/topics/*", "pubsub.topics.delete", PUBSUB_ADMIN),
    deploy(Api::PubSub, "GET", "/v1/projects/*/subscriptions", "pubsub.subscriptions.list", PUBSUB_ADMIN),
    deploy(
        Api::PubSub,
        "GET",
        "/v1/projects/*/subscriptions/*:getIamPolicy",
        "pubsub.subscriptions.getIamPolicy",
        PUBSUB_ADMIN,
    ),
    deploy(
        Api::PubSub,
        "POST",
        "/v1/projects/*/subscriptions/*:setIamPolicy",
        "pubsub.subscriptions.setIamPolicy",
        PUBSUB_ADMIN,
    ),
    deploy(Api::PubSub, "GET", "/v1/projects/*/subscriptions/*", "pubsub.subscriptions.get", PUBSUB_ADMIN),
    deploy(Api::PubSub, "PUT", "/v1/projects/*/subscriptions/*", "pubsub.subscriptions.create", PUBSUB_ADMIN),
    deploy(Api::PubSub, "PATCH", "/v1/projects/*/subscriptions/*", "pubsub.subscriptions.update", PUBSUB_ADMIN),
    deploy(Api::PubSub, "DELETE", "/v1/projects/*/subscriptions/*", "pubsub.subscriptions.delete", PUBSUB_ADMIN),
    deploy(Api::Storage, "GET", "/storage/v1/b", "storage.buckets.list", STORAGE_ADMIN),
    deploy(Api::Storage, "POST", "/storage/v1/b", "storage.buckets.create", STORAGE_ADMIN),
    deploy(Api::Storage, "GET", "/storage/v1/b/*", "storage.buckets.get", STORAGE_ADMIN),
    deploy(Api::Storage, "PATCH", "/storage/v1/b/*", "storage.buckets.update", STORAGE_ADMIN),
    deploy(Api::Storage, "DELETE", "/storage/v1/b/*", "storage.buckets.delete", STORAGE_ADMIN),
    deploy(Api::Storage, "GET", "/storage/v1/b/*/iam", "storage.buckets.getIamPolicy", STORAGE_ADMIN),
    deploy(Api::Storage, "PUT", "/storage/v1/b/*/iam", "storage.buckets.setIamPolicy", STORAGE_ADMIN),
    deploy(Api::Storage, "GET", "/storage/v1/b/*/o", "storage.objects.list", STORAGE_ADMIN),
    deploy(Api::Iam, "GET", "/v1/projects/*/serviceAccounts", "iam.serviceAccounts.list", ACCOUNT_ADMIN),
    deploy(Api::Iam, "POST", "/v1/projects/*/serviceAccounts", "iam.serviceAccounts.create", ACCOUNT_ADMIN),
    deploy(Api::Iam, "GET", "/v1/projects/*/serviceAccounts/*", "iam.serviceAccounts.get", ACCOUNT_ADMIN),
    deploy(Api::Iam, "PATCH", "/v1/projects/*/serviceAccounts/*", "iam.serviceAccounts.update", ACCOUNT_ADMIN),
    deploy(Api::Iam, "DELETE", "/v1/projects/*/serviceAccounts/*", "iam.serviceAccounts.delete", ACCOUNT_ADMIN),
    deploy(Api::Scheduler, "GET", "/v1/projects/*/locations/*/jobs", "cloudscheduler.jobs.list", SCHEDULER_ADMIN),
    deploy(Api::Scheduler, "POST", "/v1/projects/*/locations/*/jobs", "cloudscheduler.jobs.create", SCHEDULER_ADMIN),
    deploy(Api::Scheduler, "GET", "/v1/projects/*/locations/*/jobs/*", "cloudscheduler.jobs.get", SCHEDULER_ADMIN),
    deploy(Api::Scheduler, "PATCH", "/v1/projects/*/locations/*/jobs/*", "cloudscheduler.jobs.update", SCHEDULER_ADMIN),
    deploy(
        Api::Scheduler,
        "DELETE",
        "/v1/projects/*/locations/*/jobs/*",
        "cloudscheduler.jobs.delete",
        SCHEDULER_ADMIN,
    ),
    deploy(Api::Run, "GET", "/v2/projects/*/locations/*/services", "run.services.list", RUN_ADMIN),
    // And `iam.serviceAccounts.actAs` on the service account, as in roles/iam.serviceAccountUser.
    deploy(Api::Run, "POST", "/v2/projects/*/locations/*/services", "run.services.create", RUN_ADMIN),
    deploy(Api::Run, "GET", "/v2/projects/*/locations/*/services/*", "run.services.get", RUN_ADMIN),
    deploy(Api::Run, "PATCH", "/v2/projects/*/locations/*/services/*", "run.services.update", RUN_ADMIN),
    deploy(Api::Run, "DELETE", "/v2/projects/*/locations/*/services/*", "run.services.delete", RUN_ADMIN),
    deploy(Api::Run, "GET", "/v2/projects/*/locations/*/jobs", "run.jobs.list", RUN_ADMIN),
    deploy(Api::Run, "POST", "/v2/projects/*/locations/*/jobs", "run.jobs.create", RUN_ADMIN),
    deploy(Api::Run, "GET", "/v2/projects/*/locations/*/jobs/*:getIamPolicy", "run.jobs.getIamPolicy", RUN_ADMIN),
    deploy(Api::Run, "POST", "/v2/projects/*/locations/*/jobs/*:setIamPolicy", "run.jobs.setIamPolicy", RUN_ADMIN),
    deploy(Api::Run, "GET", "/v2/projects/*/locations/*/jobs/*", "run.jobs.get", RUN_ADMIN),
    deploy(Api::Run, "PATCH", "/v2/projects/*/locations/*/jobs/*", "run.jobs.update", RUN_ADMIN),
    deploy(Api::Run, "DELETE", "/v2/projects/*/locations/*/jobs/*", "run.jobs.delete", RUN_ADMIN),
    deploy(Api::Run, "GET", "/v2/projects/*/locations/*/operations/*", "run.operations.get", RUN_ADMIN),
    deploy(Api::Logging, "GET", "/v2/projects/*/metrics", "logging.logMetrics.list", LOGGING_WRITER),
    deploy(Api::Logging, "POST", "/v2/projects/*/metrics", "logging.logMetrics.create", LOGGING_WRITER),
    deploy(Api::Logging, "GET", "/v2/projects/*/metrics/*", "logging.logMetrics.get", LOGGING_WRITER),
    deploy(Api::Logging, "PUT", "/v2/projects/*/metrics/*", "logging.logMetrics.update", LOGGING_WRITER),
    deploy(Api::Logging, "DELETE", "/v2/projects/*/metrics/*", "logging.logMetrics.delete", LOGGING_WRITER),
    deploy(Api::Monitoring, "GET", "/v3/projects/*/alertPolicies", "monitoring.alertPolicies.list", ALERT_EDITOR),
    deploy(Api::Monitoring, "POST", "/v3/projects/*/alertPolicies", "monitoring.alertPolicies.create", ALERT_EDITOR),
    deploy(Api::Monitoring, "PATCH", "/v3/projects/*/alertPolicies/*", "monitoring.alertPolicies.update", ALERT_EDITOR),
    deploy(
        Api::Monitoring,
        "DELETE",
        "/v3/projects/*/alertPolicies/*",
        "monitoring.alertPolicies.delete",
        ALERT_EDITOR,
    ),
    deploy(
        Api::BigQuery,
        "POST",
        "/bigquery/v2/projects/*/datasets/*/tables/*:getIamPolicy",
        "bigquery.tables.getIamPolicy",
        DATA_OWNER,
    ),
    deploy(
        Api::BigQuery,
        "POST",
        "/bigquery/v2/projects/*/datasets/*/tables/*:setIamPolicy",
        "bigquery.tables.setIamPolicy",
        DATA_OWNER,
    ),
];

/// The line of a call; its query does not matter.
pub fn needed(by: By, api: Api, method: &str, path: &str) -> Option<&'static Use> {
    let path = path.split('?').next().unwrap_or_default();
    USES.iter().find(|u| u.by == by && u.api == api && u.method == method && fits(u.path, path))
}

/// The line of deploy's call that an error's text begins with.
pub fn for_error(message: &str) -> Option<&'static Use> {
    let mut words = message.split([' ', '/']);
    let (method, host) = (words.next()?, words.next()?);
    let api = Api::ALL.into_iter().find(|api| api.service_name() == host)?;
    let rest = message.get(method.len() + 1 + host.len()..)?;
    needed(By::Deploy, api, method, rest.split(": ").next()?)
}

/// What the service's account may not do of the calls that were really made (method and path, as a server saw them): in a list that
/// has to be empty, each with its reason.
pub fn missing<'c>(plan: &Plan, api: Api, calls: impl IntoIterator<Item = (&'c str, &'c str)>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for (method, path) in calls {
        let name = format!("{method} {}{path}", api.service_name());
        let wrong = match needed(By::Service, api, method, path) {
            None => Some(format!("{name}: deploy::permissions::USES has no line for it")),
            Some(used) if !is_granted(plan, used, path) => {
                Some(format!("{name}: the plan does not give {} there ({})", used.permission, used.role))
            }
            Some(_) => None,
        };
        all.extend(wrong.filter(|wrong| !all.contains(wrong)));
    }
    all
}

/// Whether a role that the plan gives to the service, at a place that the path lies in, holds the permission.
fn is_granted(plan: &Plan, used: &Use, path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let holds = |role: &str| ROLES.iter().any(|(name, has)| *name == role && has.contains(&used.permission));
    let is_rpc = path.starts_with("/google.");
    let covers = |place: &Place| match place {
        Place::Project(name) => is_rpc || path.contains(&format!("/projects/{name}/")),
        Place::Topic(name) => is_rpc || segment(path, "topics") == Some(name),
        Place::Subscription(name) => is_rpc || segment(path, "subscriptions") == Some(name),
        Place::Bucket(name) => is_rpc || segment(path, "b") == Some(name),
        Place::Table { dataset, table, .. } => {
            segment(path, "datasets") == Some(dataset) && segment(path, "tables") == Some(table)
        }
        // The program itself calls neither.
        Place::Secret(_) | Place::RunJob(_) => false,
    };
    plan.grants.iter().any(|g| g.who == Who::Service && holds(&g.role) && covers(&g.on))
}

/// The segment behind the one of this name, without a verb.
fn segment<'p>(path: &'p str, name: &str) -> Option<&'p str> {
    let mut segments = path.split('/');
    segments.find(|s| *s == name)?;
    segments.next()?.split(':').next()
}

fn fits(pattern: &str, path: &str) -> bool {
    let mut path = path.trim_start_matches('/').split('/');
    for part in pattern.trim_start_matches('/').split('/') {
        if part == "**" {
            return path.next().is_some_and(|s| !s.is_empty());
        }
        let fits = match (path.next(), part.split_once('*')) {
            (None, _) => false,
            (Some(segment), None) => segment == part,
            // A bare star takes no verb: `topics/*` is not `topics/t:publish`.
            (Some(segment), Some(("", ""))) => !segment.is_empty() && !segment.contains(':'),
            (Some(segment), Some((start, end))) => {
                segment.len() > start.len() + end.len() && segment.starts_with(start) && segment.ends_with(end)
            }
        };
        if !fits {
            return false;
        }
    }
    path.next().is_none()
}

/// The table as `docs/deploy.md` has it: the permissions of each role.
pub fn markdown(by: By) -> String {
    let mut text = String::from("| API | call | permission | role |\n|---|---|---|---|\n");
    for used in USES.iter().filter(|u| u.by == by) {
        let (api, role) = (used.api.service_name().trim_end_matches(".googleapis.com"), used.role);
        let _ = writeln!(text, "| {api} | `{} {}` | `{}` | `{role}` |", used.method, used.path, used.permission);
    }
    text
}

#[cfg(test)]
mod tests;
