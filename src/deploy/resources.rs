//! The plan as REST resources: for each thing the fields that we hold to, and the calls that list, make, change and remove it.
//! The fields and paths are those of the services' public REST references.

use super::plan::{ACCOUNT_DESCRIPTION, Bucket, Plan, Program, RETENTION_SECONDS, Runs, Subscription};
use crate::ports::cloud::{Api, Call, Method};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// What kinds of things there are, in the order in which they are made; they are removed the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Topic,
    Subscription,
    Bucket,
    Account,
    Service,
    RunJob,
    Job,
    Metric,
    Policy,
}

impl Kind {
    pub const ALL: [Self; 9] = [
        Self::Topic,
        Self::Subscription,
        Self::Bucket,
        Self::Account,
        Self::Service,
        Self::RunJob,
        Self::Job,
        Self::Metric,
        Self::Policy,
    ];

    /// The kind for people, one and many.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Topic => ("topic", "topics"),
            Self::Subscription => ("subscription", "subscriptions"),
            Self::Bucket => ("bucket", "buckets"),
            Self::Account => ("service account", "service accounts"),
            Self::Service => ("Cloud Run service", "Cloud Run services"),
            Self::RunJob => ("Cloud Run job", "Cloud Run jobs"),
            Self::Job => ("scheduler job", "scheduler jobs"),
            Self::Metric => ("log-based metric", "log-based metrics"),
            Self::Policy => ("alert policy", "alert policies"),
        }
    }

    pub fn api(self) -> Api {
        match self {
            Self::Topic | Self::Subscription => Api::PubSub,
            Self::Bucket => Api::Storage,
            Self::Account => Api::Iam,
            Self::Service | Self::RunJob => Api::Run,
            Self::Job => Api::Scheduler,
            Self::Metric => Api::Logging,
            Self::Policy => Api::Monitoring,
        }
    }

    /// The first page of all of them, and the key of the list in the answer.
    pub fn list(self, plan: &Plan) -> (Call, &'static str) {
        let (p, r) = (&plan.project, &plan.region);
        let (path, key) = match self {
            Self::Topic => (format!("/v1/projects/{p}/topics?pageSize=1000"), "topics"),
            Self::Subscription => (format!("/v1/projects/{p}/subscriptions?pageSize=1000"), "subscriptions"),
            Self::Bucket => (format!("/storage/v1/b?project={p}&maxResults=1000"), "items"),
            Self::Account => (format!("/v1/projects/{p}/serviceAccounts?pageSize=100"), "accounts"),
            Self::Service => (format!("/v2/projects/{p}/locations/{r}/services?pageSize=100"), "services"),
            Self::RunJob => (format!("/v2/projects/{p}/locations/{r}/jobs?pageSize=100"), "jobs"),
            Self::Job => (format!("/v1/projects/{p}/locations/{r}/jobs?pageSize=500"), "jobs"),
            Self::Metric => (format!("/v2/projects/{p}/metrics?pageSize=1000"), "metrics"),
            Self::Policy => (format!("/v3/projects/{p}/alertPolicies?pageSize=1000"), "alertPolicies"),
        };
        (Call::get(self.api(), path), key)
    }

    /// The name by which a thing that exists is known: what stands in the plan.
    pub fn name_of(self, there: &Value) -> Option<&str> {
        let text = |key: &str| there[key].as_str();
        match self {
            Self::Account => text("email")?.split('@').next(),
            Self::Policy => text("displayName"),
            Self::Bucket | Self::Metric => text("name"),
            _ => text("name")?.rsplit('/').next(),
        }
    }

    /// Where a thing is found; policies have a number that the service gave them.
    pub fn path(self, plan: &Plan, name: &str, there: Option<&Value>) -> String {
        let (p, r) = (&plan.project, &plan.region);
        match self {
            Self::Topic => format!("/v1/projects/{p}/topics/{name}"),
            Self::Subscription => format!("/v1/projects/{p}/subscriptions/{name}"),
            Self::Bucket => format!("/storage/v1/b/{name}"),
            Self::Account => format!("/v1/projects/{p}/serviceAccounts/{name}@{p}.iam.gserviceaccount.com"),
            Self::Service => format!("/v2/projects/{p}/locations/{r}/services/{name}"),
            Self::RunJob => format!("/v2/projects/{p}/locations/{r}/jobs/{name}"),
            Self::Job => format!("/v1/projects/{p}/locations/{r}/jobs/{name}"),
            Self::Metric => format!("/v2/projects/{p}/metrics/{name}"),
            Self::Policy => format!("/v3/{}", there.and_then(|t| t["name"].as_str()).unwrap_or(name)),
        }
    }

    /// Whether a thing that exists bears the mark of this deployment.
    pub fn is_ours(self, plan: &Plan, there: &Value) -> bool {
        match self {
            Self::Account | Self::Job | Self::Metric => {
                there["description"].as_str().is_some_and(|text| text.ends_with(&plan.mark()))
            }
            _ => plan.labels().iter().all(|(name, value)| there[self.labels_key()][name] == *value),
        }
    }

    fn labels_key(self) -> &'static str {
        if self == Self::Policy { "userLabels" } else { "labels" }
    }

    /// The fields, from the top, that cannot be changed once it is made.
    pub fn fixed(self) -> &'static [&'static str] {
        match self {
            Self::Subscription => &["topic", "filter"],
            Self::Bucket => &["location"],
            _ => &[],
        }
    }
}

/// A thing that is to be there.
#[derive(Debug, Clone)]
pub struct Resource {
    pub kind: Kind,
    pub name: String,
    /// The fields that we hold to. `null` says that a field must not be set.
    pub fields: Value,
}

/// Everything of the plan but rights and enabled services.
pub fn resources(plan: &Plan) -> Vec<Resource> {
    let mut all = Vec::new();
    let mut add = |kind: Kind, name: &str, fields: Value| {
        all.push(Resource { kind, name: name.to_owned(), fields: marked(plan, kind, fields) });
    };
    plan.topics.iter().for_each(|name| add(Kind::Topic, name, json!({"messageRetentionDuration": retention()})));
    plan.subscriptions.iter().for_each(|s| add(Kind::Subscription, &s.name, subscription(plan, s)));
    plan.buckets.iter().for_each(|b| add(Kind::Bucket, &b.name, bucket(plan, b)));
    add(Kind::Account, &plan.name, json!({"displayName": "phase6 serve", "description": ACCOUNT_DESCRIPTION}));
    let kind = if plan.program.is_job() { Kind::RunJob } else { Kind::Service };
    add(kind, &plan.program.name, program(plan, &plan.program));
    for job in &plan.jobs {
        let target = json!({
            "topicName": topic(plan, &job.topic),
            "data": STANDARD.encode(&job.body),
            "attributes": job.attributes,
        });
        let description = job.description();
        let (schedule, zone) = (&job.schedule, &job.timezone);
        let fields =
            json!({"description": description, "schedule": schedule, "timeZone": zone, "pubsubTarget": target});
        add(Kind::Job, &job.name, fields);
    }
    if let Runs::Job { schedule, .. } = &plan.program.runs {
        add(Kind::Job, &plan.program.starter(), starter(plan, schedule));
    }
    for metric in &plan.metrics {
        let descriptor = json!({"metricKind": "DELTA", "valueType": "INT64"});
        let fields =
            json!({"description": metric.description, "filter": metric.filter, "metricDescriptor": descriptor});
        add(Kind::Metric, &metric.name, fields);
    }
    for policy in &plan.policies {
        let mut fields = json!({
            "documentation": {"content": policy.text, "mimeType": "text/markdown"},
            "combiner": "OR",
            "conditions": policy.conditions,
        });
        // Whom a policy tells is nobody's business but the owner's where nothing is said.
        if !policy.channels.is_empty() {
            fields["notificationChannels"] = json!(policy.channels);
        }
        add(Kind::Policy, &policy.title, fields);
    }
    all
}

/// Adds what says that it is ours.
fn marked(plan: &Plan, kind: Kind, mut fields: Value) -> Value {
    match fields["description"].as_str() {
        Some(text) => fields["description"] = plan.marked(text).into(),
        None => {
            let labels = plan.labels().into_iter().map(|(name, value)| (name.to_owned(), value.into()));
            fields[kind.labels_key()] = Value::Object(labels.collect::<Map<_, _>>());
        }
    }
    fields
}

fn retention() -> String {
    format!("{RETENTION_SECONDS}s")
}

fn topic(plan: &Plan, name: &str) -> String {
    format!("projects/{}/topics/{name}", plan.project)
}

fn subscription(plan: &Plan, s: &Subscription) -> Value {
    let dead = s
        .dead_letter
        .as_ref()
        .map(|dead| json!({"deadLetterTopic": topic(plan, dead), "maxDeliveryAttempts": s.max_attempts}));
    json!({
        "topic": topic(plan, &s.topic),
        "ackDeadlineSeconds": s.ack_deadline_seconds,
        "messageRetentionDuration": retention(),
        // A policy without a time is one that never expires; without a policy it would be 31 days.
        "expirationPolicy": {"ttl": null},
        "retryPolicy": {
            "minimumBackoff": format!("{}s", s.min_retry_seconds),
            "maximumBackoff": format!("{}s", s.max_retry_seconds),
        },
        "deadLetterPolicy": dead,
        // It is pulled, and all of its topic.
        "pushConfig": null,
        "filter": null,
    })
}

fn bucket(plan: &Plan, b: &Bucket) -> Value {
    json!({
        "location": plan.region.to_uppercase(),
        "versioning": {"enabled": true},
        "lifecycle": b.lifecycle(),
        "cors": b.cors(),
        "iamConfiguration": {
            "uniformBucketLevelAccess": {"enabled": true},
            "publicAccessPrevention": if b.public { "inherited" } else { "enforced" },
        },
    })
}

fn program(plan: &Plan, p: &Program) -> Value {
    let value = |(name, value): (&&str, &String)| json!({"name": name, "value": value});
    let secret = |(name, secret): (&String, &String)| json!({"name": name, "valueSource": {"secretKeyRef": {"secret": secret, "version": "latest"}}});
    let env: Vec<Value> = p.env.iter().map(value).chain(p.secrets.iter().map(secret)).collect();
    let mut container =
        json!({"args": p.args, "env": env, "resources": {"limits": {"cpu": p.cpu, "memory": p.memory}}});
    if let Some(image) = &p.image {
        container["image"] = image.as_str().into();
    }
    let account = plan.account();
    match p.runs {
        Runs::Service { port, min_instances, max_instances, probe } => {
            let get = json!({"path": probe, "port": port});
            container["ports"] = json!([{"containerPort": port}]);
            container["resources"]["cpuIdle"] = false.into();
            container["startupProbe"] =
                json!({"httpGet": get, "periodSeconds": 2, "timeoutSeconds": 1, "failureThreshold": 30});
            container["livenessProbe"] =
                json!({"httpGet": get, "periodSeconds": 30, "timeoutSeconds": 5, "failureThreshold": 3});
            let scaling = json!({"minInstanceCount": min_instances, "maxInstanceCount": max_instances});
            json!({"template": {"serviceAccount": account, "scaling": scaling, "containers": [container]}})
        }
        Runs::Job { timeout_seconds, max_retries, .. } => {
            let task = json!({
                "serviceAccount": account,
                "timeout": format!("{timeout_seconds}s"),
                "maxRetries": max_retries,
                "containers": [container],
            });
            json!({"template": {"taskCount": 1, "template": task}})
        }
    }
}

/// The job of Cloud Scheduler that starts the Cloud Run job, in the name of the program's own account.
fn starter(plan: &Plan, schedule: &str) -> Value {
    json!({
        "description": plan.program.starter_description(),
        "schedule": schedule,
        "timeZone": "Etc/UTC",
        "httpTarget": {
            "uri": start_uri(plan),
            "httpMethod": "POST",
            "oauthToken": {"serviceAccountEmail": plan.account()},
        },
    })
}

/// What starts the Cloud Run job (`projects.locations.jobs.run`).
pub fn start_uri(plan: &Plan) -> String {
    format!("{}{}:run", Api::Run.public_endpoint(), Kind::RunJob.path(plan, &plan.program.name, None))
}

/// The call that makes it.
pub fn create(plan: &Plan, resource: &Resource) -> Call {
    let (kind, name) = (resource.kind, &resource.name);
    let (p, r) = (&plan.project, &plan.region);
    let fields = without_nulls(&resource.fields);
    let with = |key: &str, value: String| {
        let mut fields = fields.clone();
        fields[key] = value.into();
        fields
    };
    let api = kind.api();
    match kind {
        Kind::Topic | Kind::Subscription => Call::with(api, Method::Put, kind.path(plan, name, None), fields),
        Kind::Bucket => Call::with(api, Method::Post, format!("/storage/v1/b?project={p}"), with("name", name.clone())),
        Kind::Account => {
            let body = json!({"accountId": name, "serviceAccount": fields});
            Call::with(api, Method::Post, format!("/v1/projects/{p}/serviceAccounts"), body)
        }
        Kind::Service => {
            let path = format!("/v2/projects/{p}/locations/{r}/services?serviceId={name}");
            Call::with(api, Method::Post, path, fields)
        }
        Kind::RunJob => {
            Call::with(api, Method::Post, format!("/v2/projects/{p}/locations/{r}/jobs?jobId={name}"), fields)
        }
        Kind::Job => {
            let full = format!("projects/{p}/locations/{r}/jobs/{name}");
            Call::with(api, Method::Post, format!("/v1/projects/{p}/locations/{r}/jobs"), with("name", full))
        }
        Kind::Metric => Call::with(api, Method::Post, format!("/v2/projects/{p}/metrics"), with("name", name.clone())),
        Kind::Policy => {
            let path = format!("/v3/projects/{p}/alertPolicies");
            // The service gives the name: a second call would make a second policy.
            Call { once: true, ..Call::with(api, Method::Post, path, with("displayName", name.clone())) }
        }
    }
}

/// The call that takes the named fields, from the top, to what we hold to, and leaves all others as they are.
pub fn change(plan: &Plan, resource: &Resource, there: &Value, fields: &[String]) -> Call {
    let (kind, name) = (resource.kind, &resource.name);
    let (api, path) = (kind.api(), kind.path(plan, name, Some(there)));
    let mut new = Map::new();
    for field in fields {
        let merged = merged(&there[field], &resource.fields[field]);
        new.insert(field.clone(), merged);
    }
    let mask = fields.join(",");
    let mut new = Value::Object(new);
    match kind {
        Kind::Topic => {
            new["name"] = topic(plan, name).into();
            Call::with(api, Method::Patch, path, json!({"topic": new, "updateMask": mask}))
        }
        Kind::Subscription => {
            new["name"] = format!("projects/{}/subscriptions/{name}", plan.project).into();
            Call::with(api, Method::Patch, path, json!({"subscription": new, "updateMask": mask}))
        }
        Kind::Bucket => {
            let generation = there["metageneration"].as_str().unwrap_or_default();
            Call::with(api, Method::Patch, format!("{path}?ifMetagenerationMatch={generation}"), new)
        }
        Kind::Account => {
            new["etag"] = there["etag"].clone();
            Call::with(api, Method::Patch, path, json!({"serviceAccount": new, "updateMask": mask}))
        }
        Kind::Service => {
            new["etag"] = there["etag"].clone();
            new["name"] = there["name"].clone();
            // A revision that somebody named is there already; the service names the next one.
            if let Some(template) = new["template"].as_object_mut() {
                template.remove("revision");
            }
            Call::with(api, Method::Patch, format!("{path}?updateMask={mask}"), new)
        }
        // It has no mask: what is not sent is taken away.
        Kind::RunJob => {
            let kept = ["name", "etag", "labels", "annotations", "launchStage", "binaryAuthorization", "template"];
            Call::with(api, Method::Patch, path, merged(&writable(there, &kept), &resource.fields))
        }
        Kind::Job | Kind::Policy => {
            new["name"] = there["name"].clone();
            Call::with(api, Method::Patch, format!("{path}?updateMask={mask}"), new)
        }
        // A metric is written whole.
        Kind::Metric => {
            new = merged(&writable(there, &["name", "description", "filter", "metricDescriptor"]), &resource.fields);
            // What the service computed of the descriptor is its own.
            new["metricDescriptor"] = resource.fields["metricDescriptor"].clone();
            Call::with(api, Method::Put, path, new)
        }
    }
}

fn writable(there: &Value, keys: &[&str]) -> Value {
    let kept = there.as_object().into_iter().flatten().filter(|(key, _)| keys.contains(&key.as_str()));
    Value::Object(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// The call that removes it.
pub fn remove(plan: &Plan, kind: Kind, name: &str, there: &Value) -> Call {
    let path = kind.path(plan, name, Some(there));
    let path = match kind {
        Kind::Bucket => {
            format!("{path}?ifMetagenerationMatch={}", there["metageneration"].as_str().unwrap_or_default())
        }
        _ => path,
    };
    Call { api: kind.api(), method: Method::Delete, path, body: None, once: false }
}

/// The items of a list that are known by their names, as environment variables are: those of ours, where all have one.
pub fn named(list: &[Value]) -> Option<Vec<(&str, &Value)>> {
    let all: Option<Vec<_>> = list.iter().map(|item| Some((item["name"].as_str()?, item))).collect();
    all.filter(|all| !all.is_empty())
}

/// What is there with what we hold to laid over it: objects are merged, lists by the names of their items, or item by item where they
/// are equally long; `null` takes away.
fn merged(there: &Value, ours: &Value) -> Value {
    match (there, ours) {
        (Value::Object(there), Value::Object(ours)) => {
            let mut all = there.clone();
            for (key, value) in ours {
                match value {
                    Value::Null => drop(all.remove(key)),
                    value => drop(all.insert(key.clone(), merged(there.get(key).unwrap_or(&Value::Null), value))),
                }
            }
            Value::Object(all)
        }
        (Value::Array(there), Value::Array(ours)) => match named(ours) {
            Some(names) => {
                let others = there.iter().filter(|item| !names.iter().any(|(name, _)| item["name"] == *name));
                Value::Array(ours.iter().map(without_nulls).chain(others.cloned()).collect())
            }
            None if there.len() == ours.len() => {
                Value::Array(there.iter().zip(ours).map(|(there, ours)| merged(there, ours)).collect())
            }
            None => Value::Array(ours.iter().map(without_nulls).collect()),
        },
        (_, ours) => without_nulls(ours),
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, v)| !v.is_null());
            Value::Object(kept.map(|(key, value)| (key.clone(), without_nulls(value))).collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}
