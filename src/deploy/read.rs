//! Reads what exists: every listing and every access policy at once, so that a plan takes as long as the slowest of them.

use super::access::Place;
use super::compare::{Policy, There, places};
use super::permissions;
use super::plan::Plan;
use super::resources::Kind;
use crate::model::percent;
use crate::ports::cloud::{Api, Call, Cloud, CloudError, CloudErrorKind, Method};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Pages of one listing; what is longer is no project of ours.
const MAX_PAGES: usize = 100;

/// What one of the questions brought.
enum Answer {
    Number(Result<Value, CloudError>),
    Enabled(Result<Vec<Value>, CloudError>),
    Things(Kind, Result<Vec<Value>, CloudError>),
    Access(usize, Result<Value, CloudError>),
}

/// What exists of the wanted kinds and at the plan's places. `Err` says which call failed and what right it needs.
pub async fn read(cloud: &Arc<dyn Cloud>, plan: &Plan, parts: &BTreeSet<Part>) -> Result<There, CloudError> {
    let mut tasks: JoinSet<Answer> = JoinSet::new();
    let p = plan.project.clone();
    if parts.contains(&Part::Apis) {
        let (cloud, path) = (cloud.clone(), format!("/v1/projects/{p}/services?filter=state:ENABLED&pageSize=200"));
        tasks
            .spawn(async move { Answer::Enabled(pages(&cloud, Call::get(Api::ServiceUsage, path), "services").await) });
    }
    for kind in Kind::ALL.into_iter().filter(|kind| is_asked(*kind, parts)) {
        let (cloud, (first, key)) = (cloud.clone(), kind.list(plan));
        tasks.spawn(async move { Answer::Things(kind, pages(&cloud, first, key).await) });
    }
    let places = if parts.contains(&Part::Access) { places(plan) } else { Vec::new() };
    if parts.contains(&Part::Access) {
        let cloud = cloud.clone();
        let call = Call::get(Api::ResourceManager, format!("/v3/projects/{p}"));
        tasks.spawn(async move { Answer::Number(cloud.call(&call).await) });
    }
    for (i, place) in places.iter().enumerate() {
        let (cloud, call) = (cloud.clone(), policy_call(plan, place));
        tasks.spawn(async move { Answer::Access(i, cloud.call(&call).await) });
    }
    let mut there = There { access: places.into_iter().map(|p| (p, Policy::Absent)).collect(), ..There::default() };
    let (mut enabled, mut denied, mut number) = (None, Vec::new(), None);
    while let Some(answer) = tasks.join_next().await {
        let answer = answer.map_err(|e| CloudError { kind: CloudErrorKind::Invalid, message: e.to_string() })?;
        match answer {
            Answer::Number(answer) => {
                number = Some(answer);
            }
            Answer::Enabled(answer) => {
                let services = answer.map_err(explained)?;
                let of_service = services.first().and_then(|s| s["name"].as_str()?.split('/').nth(1));
                there.number = of_service.unwrap_or_default().to_owned();
                let names = services.iter().filter_map(|s| s["config"]["name"].as_str());
                enabled = Some(names.map(str::to_owned).collect::<BTreeSet<_>>());
            }
            Answer::Things(kind, Ok(things)) => drop(there.things.insert(kind, things)),
            // Enabled a moment ago, perhaps, and not everywhere yet: it has nothing.
            Answer::Things(_, Err(error)) if error.kind == CloudErrorKind::Disabled => {}
            Answer::Things(kind, Err(error)) if error.kind == CloudErrorKind::Denied => {
                denied.push((kind.api(), None, error))
            }
            Answer::Things(_, Err(error)) => return Err(error),
            Answer::Access(i, Ok(policy)) => there.access[i].1 = Policy::Is(policy),
            Answer::Access(_, Err(error)) if error.kind == CloudErrorKind::NotFound => {}
            Answer::Access(i, Err(error)) if error.kind == CloudErrorKind::Disabled => {
                there.access[i].1 = Policy::Unknown;
            }
            Answer::Access(i, Err(error)) if error.kind == CloudErrorKind::Denied => {
                there.access[i].1 = Policy::Unknown;
                let place = &there.access[i].0;
                denied.push((api(place), Some(place.clone()), error));
            }
            Answer::Access(_, Err(error)) => return Err(error),
        }
    }
    match number {
        Some(Ok(project)) => {
            let name = project["name"].as_str().and_then(|n| n.rsplit('/').next());
            there.number = name.unwrap_or_default().to_owned();
        }
        // A new project has Resource Manager off; the names of its services hold its number, too.
        Some(Err(error))
            if !matches!(error.kind, CloudErrorKind::Denied | CloudErrorKind::Disabled) || there.number.is_empty() =>
        {
            return Err(explained(error));
        }
        _ => {}
    }
    // A service that is not enabled refuses every call, and has nothing yet.
    let off = |api: &Api| enabled.as_ref().is_some_and(|on| !on.contains(api.service_name()));
    // A bucket that is not in the project's list may be somebody else's: making it will tell.
    let others = |place: &Option<Place>| match place {
        Some(Place::Bucket(name)) => {
            there.things.get(&Kind::Bucket).is_some_and(|all| all.iter().all(|b| Kind::Bucket.name_of(b) != Some(name)))
        }
        _ => false,
    };
    if let Some((.., error)) = denied.into_iter().find(|(api, place, _)| !off(api) && !others(place)) {
        return Err(explained(error));
    }
    there.enabled = enabled.unwrap_or_else(|| plan.apis.iter().map(|api| (*api).to_owned()).collect());
    Ok(there)
}

/// Whether a kind is listed: with the parts, and where rights are given at it, which depend on whose it is.
fn is_asked(kind: Kind, parts: &BTreeSet<Part>) -> bool {
    let has_rights = matches!(kind, Kind::Topic | Kind::Subscription | Kind::Bucket | Kind::RunJob);
    parts.contains(&Part::of(kind)) || has_rights && parts.contains(&Part::Access)
}

/// A refusal, with the right that was missing.
pub fn explained(error: CloudError) -> CloudError {
    match (error.kind, permissions::for_error(&error.message)) {
        (CloudErrorKind::Denied, Some(used)) => CloudError {
            message: format!("{} (it needs the permission {}, as in {})", error.message, used.permission, used.role),
            ..error
        },
        _ => error,
    }
}

/// All pages of a listing.
pub async fn pages(cloud: &Arc<dyn Cloud>, first: Call, key: &str) -> Result<Vec<Value>, CloudError> {
    let mut all = Vec::new();
    let mut next = first.clone();
    for _ in 0..MAX_PAGES {
        let mut page = cloud.call(&next).await?;
        if let Some(items) = page[key].as_array_mut() {
            all.append(items);
        }
        let token = page["nextPageToken"].as_str().filter(|token| !token.is_empty());
        let Some(token) = token else { return Ok(all) };
        next = Call { path: format!("{}&pageToken={}", first.path, percent::segment(token)), ..first.clone() };
    }
    let message = format!("{first}: the listing has more than {MAX_PAGES} pages");
    Err(CloudError { kind: CloudErrorKind::Invalid, message })
}

fn api(place: &Place) -> Api {
    match place {
        Place::Project(_) => Api::ResourceManager,
        Place::Topic(_) | Place::Subscription(_) => Api::PubSub,
        Place::Bucket(_) => Api::Storage,
        Place::Table { .. } => Api::BigQuery,
        Place::Secret(_) => Api::SecretManager,
        Place::RunJob(_) => Api::Run,
    }
}

/// The path of a place, without the verb at its end.
fn place_path(plan: &Plan, place: &Place) -> String {
    match place {
        Place::Project(name) => format!("/v3/projects/{name}"),
        Place::Topic(name) => Kind::Topic.path(plan, name, None),
        Place::Subscription(name) => Kind::Subscription.path(plan, name, None),
        Place::Bucket(name) => format!("{}/iam", Kind::Bucket.path(plan, name, None)),
        Place::Table { project, dataset, table } => {
            format!("/bigquery/v2/projects/{project}/datasets/{dataset}/tables/{table}")
        }
        Place::Secret(name) => format!("/v1/projects/{}/secrets/{name}", plan.project),
        Place::RunJob(name) => Kind::RunJob.path(plan, name, None),
    }
}

/// The call that reads a place's access policy, with its conditions.
pub fn policy_call(plan: &Plan, place: &Place) -> Call {
    let (api, path) = (api(place), place_path(plan, place));
    match place {
        Place::Topic(_) | Place::Subscription(_) | Place::Secret(_) | Place::RunJob(_) => {
            Call::get(api, format!("{path}:getIamPolicy?options.requestedPolicyVersion=3"))
        }
        Place::Bucket(_) => Call::get(api, format!("{path}?optionsRequestedPolicyVersion=3")),
        Place::Project(_) | Place::Table { .. } => {
            let body = json!({"options": {"requestedPolicyVersion": 3}});
            Call::with(api, Method::Post, format!("{path}:getIamPolicy"), body)
        }
    }
}

/// The call that writes it; its etag makes it fail where the policy was changed since it was read.
pub fn set_policy_call(plan: &Plan, place: &Place, policy: Value) -> Call {
    let (api, path) = (api(place), place_path(plan, place));
    match place {
        Place::Bucket(_) => Call::with(api, Method::Put, path, policy),
        _ => Call::with(api, Method::Post, format!("{path}:setIamPolicy"), json!({"policy": policy})),
    }
}

/// A part of a deployment, which can be deployed by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Part {
    /// The services of Google that have to be enabled
    Apis,
    /// Topics and subscriptions
    Pubsub,
    /// Cloud Scheduler's jobs
    Jobs,
    Buckets,
    /// The service account
    Account,
    /// Who may do what
    Access,
    /// The Cloud Run service or job
    Run,
    /// Log-based metrics and alert policies
    Monitoring,
}

impl Part {
    pub const ALL: [Self; 8] =
        [Self::Apis, Self::Pubsub, Self::Jobs, Self::Buckets, Self::Account, Self::Access, Self::Run, Self::Monitoring];

    pub fn of(kind: Kind) -> Self {
        match kind {
            Kind::Topic | Kind::Subscription => Self::Pubsub,
            Kind::Bucket => Self::Buckets,
            Kind::Account => Self::Account,
            Kind::Service | Kind::RunJob => Self::Run,
            Kind::Job => Self::Jobs,
            Kind::Metric | Kind::Policy => Self::Monitoring,
        }
    }

    /// The services that a part calls.
    pub fn apis(self) -> &'static [Api] {
        match self {
            Self::Apis => &[Api::ServiceUsage],
            Self::Pubsub => &[Api::PubSub],
            Self::Jobs => &[Api::Scheduler],
            Self::Buckets => &[Api::Storage],
            Self::Account => &[Api::Iam],
            Self::Access => {
                &[Api::ResourceManager, Api::PubSub, Api::Storage, Api::BigQuery, Api::Run, Api::SecretManager]
            }
            Self::Run => &[Api::Run],
            Self::Monitoring => &[Api::Logging, Api::Monitoring],
        }
    }
}
