//! Carries out the steps of a comparison, in order. Each step looks at the answer, not at hope: a run that was cut off is
//! repeated whole, and what it had done is then nothing.

use super::compare::{Run, Step, changed_policy, differences};
use super::plan::Plan;
use super::read::{explained, pages, policy_call, set_policy_call};
use super::resources::{self, Kind, Resource};
use crate::ports::cloud::{Api, Call, Cloud, CloudError, CloudErrorKind, Method};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long a new instance or an enabled service is waited for.
const OPERATION_LIMIT: Duration = Duration::from_secs(300);

const OPERATION_PAUSE: Duration = Duration::from_millis(500);

/// Attempts at an access policy that others change at the same time, or that names an account which is not known everywhere yet.
const POLICY_ATTEMPTS: u32 = 6;

const POLICY_PAUSE: Duration = Duration::from_millis(500);

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

/// Carries out the steps; `told` hears of each that is done.
pub async fn apply(cloud: &Arc<dyn Cloud>, plan: &Plan, steps: &[Step], told: &mut dyn FnMut(&str)) -> Applied {
    let mut applied = Applied::default();
    // Steps of one kind do not stand on each other; what follows stands on them.
    let mut failed_what: Option<&'static str> = None;
    for step in steps.iter().filter(|s| s.is_work()) {
        let name = describe(step);
        if failed_what.is_some_and(|what| what != step.what) {
            applied.not_done.push(name);
            continue;
        }
        match carry_out(cloud, plan, step).await {
            Ok(()) => {
                told(&name);
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
            if resource.kind == Kind::Service { finished(cloud, Api::Run, "/v2/", answer).await } else { Ok(()) }
        }
        Run::Remove(kind, there) => remove(cloud, plan, *kind, &step.name, there).await,
        Run::Access { place, give, take } => {
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
                    // Changed by others meanwhile; or our account was made a moment ago and is not known everywhere.
                    Err(e)
                        if attempt < POLICY_ATTEMPTS
                            && matches!(
                                e.kind,
                                CloudErrorKind::Exists | CloudErrorKind::Changed | CloudErrorKind::Invalid
                            ) =>
                    {
                        tokio::time::sleep(POLICY_PAUSE * attempt).await;
                    }
                    Err(e) => return Err(e),
                }
            }
        }
    }
}

async fn create(cloud: &Arc<dyn Cloud>, plan: &Plan, resource: &Resource) -> Result<(), CloudError> {
    match cloud.call(&resources::create(plan, resource)).await {
        Ok(answer) if resource.kind == Kind::Service => finished(cloud, Api::Run, "/v2/", answer).await,
        Ok(_) => Ok(()),
        // The policy may have been made all the same: it is looked for before it is made again.
        Err(e) if e.kind == CloudErrorKind::Transient && resource.kind == Kind::Policy => {
            for attempt in 1..=POLICY_ATTEMPTS {
                tokio::time::sleep(POLICY_PAUSE * attempt).await;
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
        Ok(answer) if kind == Kind::Service => finished(cloud, Api::Run, "/v2/", answer).await,
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
