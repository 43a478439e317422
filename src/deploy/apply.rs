//! Carries out the steps of a comparison, in order. Each step looks at the answer, not at hope: a run that was cut off is
//! repeated whole, and what it had done is then nothing.

use super::access::Place;
use super::compare::{Run, Step, differences};
use super::plan::Plan;
use super::read::{explained, pages, policy_call, set_policy_call};
use super::resources::{self, Kind, Resource};
use super::rights::changed_policy;
use crate::ports::cloud::{Api, Call, Cloud, CloudError, CloudErrorKind, Method};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long a new instance or an enabled service is waited for.
const OPERATION_LIMIT: Duration = Duration::from_secs(300);

const OPERATION_PAUSE: Duration = Duration::from_millis(500);

/// Attempts at what others change at the same time, or whose answer was lost.
const ATTEMPTS: u32 = 6;

const PAUSE: Duration = Duration::from_millis(500);

/// How long it may take until an account or an enabled service is known everywhere
/// (<https://cloud.google.com/iam/docs/access-change-propagation>), and a new metric to the alert policies (their error says ten minutes).
const KNOWN_WITHIN: Duration = Duration::from_secs(180);
const METRIC_KNOWN_WITHIN: Duration = Duration::from_secs(600);

/// The longest pause between two looks at whether it is.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What became of the steps.
#[derive(Debug, Default, Serialize)]
pub struct Applied {
    pub done: Vec<String>,
    pub failed: Vec<Failed>,
    /// Steps that were not tried, because one before them failed.
    pub not_done: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Failed {
    pub step: String,
    pub reason: String,
    #[serde(skip)]
    pub kind: Option<CloudErrorKind>,
}

/// Carries out the steps; `told` hears of each that is done, and of what is waited for.
pub async fn apply(cloud: &Arc<dyn Cloud>, plan: &Plan, steps: &[Step], told: &mut dyn FnMut(&str)) -> Applied {
    let mut applied = Applied::default();
    // Steps of one kind do not stand on each other; what follows stands on them.
    let mut failed_what: Option<&'static str> = None;
    let enables = steps.iter().any(|step| matches!(step.run, Run::Enable(_)));
    for step in steps.iter().filter(|s| s.is_work()) {
        let name = describe(step);
        if failed_what.is_some_and(|what| what != step.what) {
            applied.not_done.push(name);
            continue;
        }
        match patiently(cloud, plan, step, enables, told).await {
            Ok(()) => {
                told(&format!("done: {name}"));
                applied.done.push(name);
            }
            Err(error) => {
                let error = explained(error);
                failed_what = Some(step.what);
                applied.failed.push(Failed { step: name, reason: error.message, kind: Some(error.kind) });
            }
        }
    }
    applied
}

/// Carries a step out; what is refused only because something before it is not known everywhere yet is waited for.
async fn patiently(
    cloud: &Arc<dyn Cloud>,
    plan: &Plan,
    step: &Step,
    enables: bool,
    told: &mut dyn FnMut(&str),
) -> Result<(), CloudError> {
    let begun = tokio::time::Instant::now();
    let mut pause = PAUSE;
    let mut asked_for_agent = false;
    loop {
        let error = match carry_out(cloud, plan, step).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let (what, limit) = match not_yet(step, &error) {
            Some(NotYet::Service) if enables => ("the services that were enabled", KNOWN_WITHIN),
            Some(NotYet::Account) => ("the accounts that get rights", KNOWN_WITHIN),
            Some(NotYet::Metric) => {
                ("the metrics of the alert policies, which may take ten minutes", METRIC_KNOWN_WITHIN)
            }
            _ => return Err(error),
        };
        if begun.elapsed() > limit {
            return Err(error);
        }
        if pause == PAUSE {
            told(&format!("waiting until Google Cloud knows {what}"));
        }
        if !asked_for_agent && matches!(&step.run, Run::Access { give, .. } if give.iter().any(|(_, m)| is_agent(m))) {
            asked_for_agent = true;
            make_agent(cloud, plan).await?;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// What a refusal says is not known yet.
#[derive(Debug, PartialEq, Eq)]
enum NotYet {
    /// A service that was enabled a moment ago.
    Service,
    /// An account that was made a moment ago, or Pub/Sub's own, which is there only after it was asked for once.
    Account,
    /// A log-based metric that was made a moment ago.
    Metric,
}

fn not_yet(step: &Step, error: &CloudError) -> Option<NotYet> {
    match (&step.run, error.kind) {
        (_, CloudErrorKind::Disabled) => Some(NotYet::Service),
        // Cloud Run says it of the account that a service is to run as.
        (Run::Access { .. } | Run::Create(_), CloudErrorKind::Invalid)
            if error.message.contains("ervice account") && error.message.contains("does not exist") =>
        {
            Some(NotYet::Account)
        }
        (Run::Create(resource) | Run::Change(resource, ..), CloudErrorKind::NotFound)
            if resource.kind == Kind::Policy && error.message.contains("Cannot find metric") =>
        {
            Some(NotYet::Metric)
        }
        _ => None,
    }
}

fn is_agent(member: &str) -> bool {
    member.ends_with("@gcp-sa-pubsub.iam.gserviceaccount.com")
}

/// Asks for the account of Pub/Sub in the project; asked again, it is the same
/// (<https://cloud.google.com/service-usage/docs/reference/rest/v1beta1/services/generateServiceIdentity>).
async fn make_agent(cloud: &Arc<dyn Cloud>, plan: &Plan) -> Result<(), CloudError> {
    let service = Api::PubSub.service_name();
    let path = format!("/v1beta1/projects/{}/services/{service}:generateServiceIdentity", plan.project);
    let call = Call { api: Api::ServiceUsage, method: Method::Post, path, body: None, once: false };
    let answer = cloud.call(&call).await?;
    finished(cloud, Api::ServiceUsage, "/v1/", answer).await
}

/// `create topic nba-phase6-export-trigger`.
pub fn describe(step: &Step) -> String {
    let action = serde_json::to_value(step.action).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
    format!("{action} {} {}", step.what, step.name)
}

async fn carry_out(cloud: &Arc<dyn Cloud>, plan: &Plan, step: &Step) -> Result<(), CloudError> {
    match &step.run {
        Run::Nothing => Ok(()),
        Run::Enable(apis) => {
            let path = format!("/v1/projects/{}/services:batchEnable", plan.project);
            let call = Call::with(Api::ServiceUsage, Method::Post, path, json!({"serviceIds": apis}));
            let answer = cloud.call(&call).await?;
            finished(cloud, Api::ServiceUsage, "/v1/", answer).await
        }
        Run::Create(resource) => create(cloud, plan, resource).await,
        Run::Change(resource, there, fields) => {
            let answer = cloud.call(&resources::change(plan, resource, there, fields)).await;
            let answer = answer.map_err(|e| match e.kind {
                CloudErrorKind::Exists | CloudErrorKind::Changed => CloudError {
                    message: format!("{} (somebody changed it at the same time: deploy again)", e.message),
                    ..e
                },
                _ => e,
            })?;
            if is_run(resource.kind) { finished(cloud, Api::Run, "/v2/", answer).await } else { Ok(()) }
        }
        Run::Remove(kind, there) => remove(cloud, plan, *kind, &step.name, there).await,
        Run::Access { place, give, take } => access(cloud, plan, place, give, take).await,
    }
}

/// Changes an access policy, again if others change it at the same time.
async fn access(
    cloud: &Arc<dyn Cloud>,
    plan: &Plan,
    place: &Place,
    give: &[(String, String)],
    take: &[(String, String)],
) -> Result<(), CloudError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let policy = cloud.call(&policy_call(plan, place)).await?;
        let wanted = changed_policy(&policy, give, take);
        if wanted == policy {
            return Ok(());
        }
        match cloud.call(&set_policy_call(plan, place, wanted)).await {
            Ok(_) => return Ok(()),
            Err(e) if attempt < ATTEMPTS && matches!(e.kind, CloudErrorKind::Exists | CloudErrorKind::Changed) => {
                tokio::time::sleep(PAUSE * attempt).await;
            }
            Err(e) => return Err(e),
        }
    }
}

/// Cloud Run answers with an operation.
fn is_run(kind: Kind) -> bool {
    matches!(kind, Kind::Service | Kind::RunJob)
}

async fn create(cloud: &Arc<dyn Cloud>, plan: &Plan, resource: &Resource) -> Result<(), CloudError> {
    match cloud.call(&resources::create(plan, resource)).await {
        Ok(answer) if is_run(resource.kind) => finished(cloud, Api::Run, "/v2/", answer).await,
        Ok(_) => Ok(()),
        // The policy may have been made all the same: it is looked for before it is made again.
        Err(e) if e.kind == CloudErrorKind::Transient && resource.kind == Kind::Policy => {
            for attempt in 1..=ATTEMPTS {
                tokio::time::sleep(PAUSE * attempt).await;
                let (list, key) = resource.kind.list(plan);
                let all = pages(cloud, list, key).await?;
                if all.iter().any(|t| resource.kind.name_of(t) == Some(&resource.name)) {
                    return Ok(());
                }
                match cloud.call(&resources::create(plan, resource)).await {
                    Ok(_) => return Ok(()),
                    Err(e) if e.kind == CloudErrorKind::Transient => {}
                    Err(e) => return Err(e),
                }
            }
            Err(e)
        }
        // Our own call whose answer was lost, or somebody else's.
        Err(e) if e.kind == CloudErrorKind::Exists && resource.kind != Kind::Policy => {
            let path = resource.kind.path(plan, &resource.name, None);
            let there = cloud.call(&Call::get(resource.kind.api(), path)).await;
            match there {
                Ok(there) if differences(&there, &resource.fields).is_empty() => Ok(()),
                Ok(_) => Err(CloudError {
                    message: format!("{} (it was made since the plan: deploy again)", e.message),
                    ..e
                }),
                Err(_) => Err(CloudError { message: format!("{} (the name is somebody else's)", e.message), ..e }),
            }
        }
        Err(e) => Err(e),
    }
}

async fn remove(cloud: &Arc<dyn Cloud>, plan: &Plan, kind: Kind, name: &str, there: &Value) -> Result<(), CloudError> {
    if kind == Kind::Bucket {
        let path = format!("{}/o?maxResults=1&versions=true", kind.path(plan, name, None));
        let objects = cloud.call(&Call::get(Api::Storage, path)).await?;
        if objects["items"].as_array().is_some_and(|items| !items.is_empty()) {
            let message = format!("bucket `{name}` has objects: a bucket is removed only when it is empty");
            return Err(CloudError { kind: CloudErrorKind::Invalid, message });
        }
    }
    match cloud.call(&resources::remove(plan, kind, name, there)).await {
        Ok(answer) if is_run(kind) => finished(cloud, Api::Run, "/v2/", answer).await,
        Ok(_) => Ok(()),
        Err(e) if e.kind == CloudErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// Waits for a long-running operation.
async fn finished(cloud: &Arc<dyn Cloud>, api: Api, version: &str, mut answer: Value) -> Result<(), CloudError> {
    let begun = tokio::time::Instant::now();
    loop {
        let Some(name) = answer["name"].as_str().map(str::to_owned) else { return Ok(()) };
        if answer["done"] == true {
            return match answer["error"]["message"].as_str() {
                None => Ok(()),
                Some(said) => {
                    Err(CloudError { kind: CloudErrorKind::Invalid, message: format!("operation {name}: {said}") })
                }
            };
        }
        if begun.elapsed() > OPERATION_LIMIT {
            let message = format!("operation {name} goes on after {} s: deploy again later", OPERATION_LIMIT.as_secs());
            return Err(CloudError { kind: CloudErrorKind::Transient, message });
        }
        tokio::time::sleep(OPERATION_PAUSE).await;
        answer = cloud.call(&Call::get(api, format!("{version}{name}"))).await?;
    }
}
