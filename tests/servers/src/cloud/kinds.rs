//! The things themselves: which fields they have, what is required of them, what of them can be changed.

use super::{Answer, Asked, Refusal, World, fields, invalid, not_found};
use serde_json::{Value, json};

const TOPIC: &str = "name labels* messageStoragePolicy* kmsKeyName schemaSettings* messageRetentionDuration";
const SUBSCRIPTION: &str = "name topic labels* pushConfig* ackDeadlineSeconds retainAckedMessages messageRetentionDuration \
    enableMessageOrdering expirationPolicy(ttl) filter deadLetterPolicy(deadLetterTopic maxDeliveryAttempts) \
    retryPolicy(minimumBackoff maximumBackoff) detached enableExactlyOnceDelivery";
const ACCOUNT: &str = "displayName description etag";
const JOB: &str = "name description pubsubTarget(topicName data attributes*) \
    httpTarget(uri httpMethod headers* oauthToken(serviceAccountEmail scope)) schedule timeZone retryConfig* attemptDeadline";
const PROBE: &str = "initialDelaySeconds timeoutSeconds periodSeconds failureThreshold httpGet(path port)";
const ENV: &str = "name value valueSource(secretKeyRef(secret version))";
const METRIC: &str =
    "name description filter metricDescriptor(metricKind valueType unit labels*) labelExtractors* disabled";
const POLICY: &str = "name displayName documentation(content mimeType subject) userLabels* conditions(name displayName \
    conditionThreshold(filter aggregations(alignmentPeriod perSeriesAligner crossSeriesReducer groupByFields) comparison \
    thresholdValue duration trigger(count percent)) \
    conditionAbsent(filter aggregations(alignmentPeriod perSeriesAligner crossSeriesReducer groupByFields) duration \
    trigger(count percent))) combiner enabled notificationChannels alertStrategy*";
const BUCKET: &str = "name location labels* versioning(enabled) lifecycle(rule(action(type) condition(age isLive \
    numNewerVersions daysSinceNoncurrentTime))) cors(origin method responseHeader maxAgeSeconds) \
    iamConfiguration(uniformBucketLevelAccess(enabled) publicAccessPrevention) storageClass";

fn service_fields() -> String {
    format!(
        "name labels* etag template(serviceAccount scaling(minInstanceCount maxInstanceCount) timeout containers(name image args \
         env({ENV}) ports(name containerPort) resources(limits* cpuIdle startupCpuBoost) startupProbe({PROBE}) \
         livenessProbe({PROBE}))) ingress"
    )
}

fn run_job_fields() -> String {
    format!(
        "name labels* annotations* etag template(taskCount parallelism template(serviceAccount timeout maxRetries \
         containers(name image args env({ENV}) resources(limits*))))"
    )
}

/// What a full name is of. Cloud Run and Cloud Scheduler both have jobs; the names of the former's begin with [`RUN`] here.
fn kind_of<'a>(segments: &[&'a str]) -> &'a str {
    let kind = segments[if segments.len() % 2 == 1 { segments.len() - 1 } else { segments.len() - 2 }];
    if kind == "jobs" && segments[0].starts_with(RUN) { "run jobs" } else { kind }
}

/// Before the names of Cloud Run's jobs.
pub(super) const RUN: &str = "run:";

fn shown(name: &str) -> &str {
    name.trim_start_matches(RUN)
}

/// Cloud Run's things, whose changes are operations.
fn is_run(kind: &str) -> bool {
    matches!(kind, "services" | "run jobs")
}

fn exists(name: &str) -> Refusal {
    Refusal(409, "ALREADY_EXISTS", format!("Resource already exists in the project (resource={name})."))
}

impl World {
    /// A list, a create, a read, a change or a removal of what has a full name.
    pub(super) fn thing(&mut self, asked: &Asked) -> Answer {
        let name = asked.name.clone();
        let segments: Vec<&str> = name.split('/').collect();
        let is_list = segments.len() % 2 == 1;
        let kind = kind_of(&segments);
        if is_run(kind) {
            self.known_region(&segments)?;
        }
        match (asked.method, is_list) {
            ("GET", true) => {
                asked.only(&["pageSize", "pageToken"])?;
                let key = match kind {
                    "serviceAccounts" => "accounts",
                    "run jobs" => "jobs",
                    kind => kind,
                };
                let below = format!("{name}/");
                let all =
                    self.things.iter().filter(|(n, _)| n.strip_prefix(&below).is_some_and(|rest| !rest.contains('/')));
                self.page(asked, key, all.map(|(_, value)| value.clone()).collect())
            }
            ("GET", false) => {
                asked.only(&[])?;
                self.things.get(&name).cloned().ok_or_else(|| not_found(&name))
            }
            ("POST", true) | ("PUT", false) => self.create(asked, kind),
            ("PATCH", false) => self.change(asked, kind),
            ("DELETE", false) => {
                asked.only(&[])?;
                self.things.remove(&name).ok_or_else(|| not_found(&name))?;
                self.policies.remove(&name);
                if is_run(kind) { Ok(self.new_operation(&operations_of(&name))) } else { Ok(json!({})) }
            }
            _ => Err(not_found(&name)),
        }
    }

    fn known_region(&self, segments: &[&str]) -> Result<(), Refusal> {
        if segments.get(3).is_some_and(|region| region.contains('-')) {
            Ok(())
        } else {
            Err(invalid("unknown location"))
        }
    }

    fn create(&mut self, asked: &Asked, kind: &str) -> Answer {
        let (parent, mut new) = (&asked.name, asked.body.clone());
        asked.only(match kind {
            "services" => &["serviceId", "validateOnly"],
            "run jobs" => &["jobId", "validateOnly"],
            _ => &[],
        })?;
        let name = match (asked.method, kind) {
            ("PUT", "topics" | "subscriptions") => parent.clone(),
            ("PUT", "metrics") => return self.write_metric(asked),
            ("POST", "serviceAccounts") => {
                fields::check(&new, &format!("accountId serviceAccount({ACCOUNT})"))?;
                let id = new["accountId"].as_str().ok_or_else(|| invalid("accountId is required"))?.to_owned();
                let project = parent.split('/').nth(1).unwrap_or_default();
                let email = format!("{id}@{project}.iam.gserviceaccount.com");
                new = new["serviceAccount"].clone();
                new["email"] = email.clone().into();
                format!("{parent}/{email}")
            }
            ("POST", "services") => {
                format!("{parent}/{}", asked.query.get("serviceId").ok_or_else(|| invalid("serviceId is required"))?)
            }
            ("POST", "run jobs") => {
                format!("{parent}/{}", asked.query.get("jobId").ok_or_else(|| invalid("jobId is required"))?)
            }
            ("POST", "jobs") => new["name"].as_str().unwrap_or_default().to_owned(),
            ("POST", "metrics") => format!("{parent}/{}", new["name"].as_str().unwrap_or_default()),
            ("POST", "alertPolicies") => format!("{parent}/{}", self.number()),
            _ => return Err(not_found(parent)),
        };
        if !name.starts_with(parent.as_str()) || name.ends_with('/') {
            return Err(invalid(format!("the name `{name}` is not below {parent}")));
        }
        if self.things.contains_key(&name) {
            return Err(exists(&name));
        }
        self.hold(kind, &new)?;
        if kind != "metrics" {
            new["name"] = shown(&name).into();
        }
        self.filled(kind, &mut new);
        self.things.insert(name.clone(), new.clone());
        if is_run(kind) { Ok(self.new_operation(&operations_of(&name))) } else { Ok(new) }
    }

    fn write_metric(&mut self, asked: &Asked) -> Answer {
        self.hold("metrics", &asked.body)?;
        if !asked.name.ends_with(&format!("/metrics/{}", asked.body["name"].as_str().unwrap_or_default())) {
            return Err(invalid("the name in the body is another one"));
        }
        self.things.insert(asked.name.clone(), asked.body.clone());
        Ok(asked.body.clone())
    }

    /// What a new or changed thing must be.
    fn hold(&mut self, kind: &str, new: &Value) -> Result<(), Refusal> {
        let spec = match kind {
            "topics" => TOPIC.to_owned(),
            "subscriptions" => SUBSCRIPTION.to_owned(),
            "serviceAccounts" => format!("{ACCOUNT} email"),
            "jobs" => JOB.to_owned(),
            "metrics" => METRIC.to_owned(),
            "alertPolicies" => POLICY.to_owned(),
            "services" => service_fields(),
            "run jobs" => run_job_fields(),
            _ => return Err(not_found(kind)),
        };
        fields::check(new, &spec)?;
        let labels = new["labels"].as_object().or(new["userLabels"].as_object());
        let plain = |text: &str| {
            text.len() <= 63 && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c))
        };
        if labels.into_iter().flatten().any(|(k, v)| !plain(k) || !v.as_str().is_some_and(plain)) {
            return Err(invalid("labels take lower-case letters, digits, - and _"));
        }
        match kind {
            "subscriptions" => self.hold_subscription(new),
            "jobs" => hold_job(new),
            "services" => self.hold_program(&new["template"]),
            "run jobs" => self.hold_program(&new["template"]["template"]),
            "alertPolicies" => self.hold_policy(new),
            "metrics" if new["filter"].as_str().is_none_or(str::is_empty) => Err(invalid("a metric needs a filter")),
            _ => Ok(()),
        }
    }

    fn hold_subscription(&self, new: &Value) -> Result<(), Refusal> {
        let dead = &new["deadLetterPolicy"];
        for topic in [&new["topic"], &dead["deadLetterTopic"]].into_iter().filter_map(Value::as_str) {
            if !self.things.contains_key(topic) {
                return Err(not_found(topic));
            }
        }
        if new["topic"].as_str().is_none() {
            return Err(invalid("a subscription needs a topic"));
        }
        let within = |value: &Value, low: u64, high: u64| {
            value.is_null() || value.as_u64().is_some_and(|n| (low..=high).contains(&n))
        };
        if !within(&new["ackDeadlineSeconds"], 10, 600) || !within(&dead["maxDeliveryAttempts"], 5, 100) {
            return Err(invalid("ackDeadlineSeconds is 10 to 600, maxDeliveryAttempts 5 to 100"));
        }
        Ok(())
    }

    fn hold_program(&self, template: &Value) -> Result<(), Refusal> {
        let containers = template["containers"].as_array().map_or(&[][..], Vec::as_slice);
        if containers.is_empty() || containers.iter().any(|c| c["image"].as_str().is_none_or(str::is_empty)) {
            return Err(invalid("template.containers[0].image is required"));
        }
        let env = containers.iter().flat_map(|c| c["env"].as_array().into_iter().flatten());
        if env.clone().any(|e| !e["value"].is_null() && !e["valueSource"].is_null()) {
            return Err(invalid("an environment variable has a value or a source of it"));
        }
        let account = template["serviceAccount"].as_str().unwrap_or_default();
        if !self.things.values().any(|t| t["email"] == account) {
            return Err(Refusal(
                403,
                "PERMISSION_DENIED",
                format!("Permission 'iam.serviceaccounts.actAs' denied on {account}"),
            ));
        }
        Ok(())
    }

    fn hold_policy(&mut self, new: &Value) -> Result<(), Refusal> {
        for condition in new["conditions"].as_array().into_iter().flatten() {
            let filter =
                ["conditionThreshold", "conditionAbsent"].iter().find_map(|k| condition[*k]["filter"].as_str());
            let filter = filter.ok_or_else(|| invalid("a condition needs a filter"))?;
            if !filter.contains("resource.type=") {
                return Err(invalid("must specify a restriction on \"resource.type\" in the filter"));
            }
            if let Some(rest) = filter.split("logging.googleapis.com/user/").nth(1) {
                let metric = rest.split('"').next().unwrap_or_default();
                let unknown = self.metrics_unknown_for > 0;
                self.metrics_unknown_for = self.metrics_unknown_for.saturating_sub(1);
                if unknown || !self.things.keys().any(|name| name.ends_with(&format!("/metrics/{metric}"))) {
                    return Err(Refusal(
                        404,
                        "NOT_FOUND",
                        format!(
                            "Cannot find metric that matches type = \"{metric}\". If a metric was created recently, it could take \
                             up to 10 minutes to become available. Please try again soon."
                        ),
                    ));
                }
            }
        }
        Ok(())
    }

    /// What the service adds by itself.
    fn filled(&mut self, kind: &str, new: &mut Value) {
        match kind {
            "subscriptions" => {
                if new["expirationPolicy"].is_null() {
                    new["expirationPolicy"] = json!({"ttl": "2678400s"});
                }
                if new["messageRetentionDuration"].is_null() {
                    new["messageRetentionDuration"] = "604800s".into();
                }
                new["state"] = "ACTIVE".into();
            }
            "topics" => new["state"] = "ACTIVE".into(),
            "jobs" => {
                new["state"] = "ENABLED".into();
                new["userUpdateTime"] = "2025-12-12T00:00:00Z".into();
            }
            "serviceAccounts" | "services" => new["etag"] = format!("e{}", self.number()).into(),
            "metrics" => new["version"] = "V2".into(),
            "alertPolicies" => {
                let policy = new["name"].as_str().unwrap_or_default().to_owned();
                for (i, condition) in new["conditions"].as_array_mut().into_iter().flatten().enumerate() {
                    condition["name"] = format!("{policy}/conditions/{i}").into();
                }
                new["enabled"] = true.into();
            }
            _ => {}
        }
    }

    fn change(&mut self, asked: &Asked, kind: &str) -> Answer {
        let there = self.things.get(&asked.name).cloned().ok_or_else(|| not_found(&asked.name))?;
        let (inner, known): (Option<&str>, &[&str]) = match kind {
            "topics" => (Some("topic"), &["labels", "messageRetentionDuration"]),
            "subscriptions" => (
                Some("subscription"),
                &[
                    "labels",
                    "ackDeadlineSeconds",
                    "messageRetentionDuration",
                    "expirationPolicy",
                    "retryPolicy",
                    "deadLetterPolicy",
                    "pushConfig",
                ],
            ),
            "serviceAccounts" => (Some("serviceAccount"), &["displayName", "description"]),
            "jobs" => (None, &["description", "schedule", "timeZone", "pubsubTarget", "httpTarget"]),
            "services" => (None, &["labels", "template"]),
            // It has no mask: the body is the whole job.
            "run jobs" => (None, &["labels", "annotations", "template"]),
            "alertPolicies" => {
                (None, &["userLabels", "documentation", "combiner", "conditions", "notificationChannels"])
            }
            _ => return Err(not_found(&asked.name)),
        };
        let (new, mask) = match inner {
            Some(inner) => {
                asked.only(&[])?;
                if asked.body.as_object().is_none_or(|b| b.keys().any(|k| k != inner && k != "updateMask")) {
                    return Err(invalid(format!("the body has `{inner}` and `updateMask`")));
                }
                (asked.body[inner].clone(), asked.body["updateMask"].as_str().unwrap_or_default())
            }
            None if kind == "run jobs" => {
                asked.only(&["allowMissing", "validateOnly"])?;
                (asked.body.clone(), "labels,annotations,template")
            }
            None => {
                asked.only(&["updateMask"])?;
                (asked.body.clone(), asked.query.get("updateMask").map_or("", String::as_str))
            }
        };
        let stale = matches!(kind, "serviceAccounts" | "services" | "run jobs") && new["etag"] != there["etag"];
        if stale {
            return Err(Refusal(409, "ABORTED", "the etag is an old one".into()));
        }
        if new["name"].as_str().is_some_and(|name| name != shown(&asked.name)) {
            return Err(invalid("the name in the body is another one"));
        }
        let mut all = fields::masked(&there, &new, mask, known)?;
        let mut asked_for = all.clone();
        for own in ["state", "userUpdateTime", "version", "enabled"] {
            if let Some(fields) = asked_for.as_object_mut() {
                fields.remove(own);
            }
        }
        self.hold(kind, &asked_for)?;
        if there["etag"].is_string() {
            all["etag"] = format!("e{}", self.number()).into();
        }
        self.things.insert(asked.name.clone(), all.clone());
        if is_run(kind) { Ok(self.new_operation(&operations_of(&asked.name))) } else { Ok(all) }
    }

    /// Cloud Storage: `b`, `b/<bucket>`, `b/<bucket>/iam`, `b/<bucket>/o`.
    pub(super) fn storage(&mut self, asked: &Asked) -> Answer {
        let segments: Vec<&str> = asked.name.split('/').collect();
        match (asked.method, segments.as_slice()) {
            ("GET", ["b"]) => {
                asked.only(&["project", "maxResults", "pageToken", "prefix", "projection"])?;
                asked.query.get("project").ok_or_else(|| invalid("Required parameter: project"))?;
                let all = self.things.iter().filter(|(name, _)| name.starts_with("b/")).map(|(_, b)| b.clone());
                self.page(asked, "items", all.collect())
            }
            ("POST", ["b"]) => {
                asked.only(&["project", "predefinedAcl", "projection"])?;
                fields::check(&asked.body, BUCKET)?;
                let name = asked.body["name"].as_str().ok_or_else(|| invalid("Required field: name"))?;
                let full = format!("b/{name}");
                if self.things.contains_key(&full) || self.taken.contains(name) {
                    return Err(Refusal(409, "conflict", "The requested bucket name is not available.".into()));
                }
                let mut bucket = asked.body.clone();
                bucket["metageneration"] = "1".into();
                self.things.insert(full, bucket.clone());
                Ok(bucket)
            }
            ("GET", ["b", name, "iam"]) => {
                asked.only(&["optionsRequestedPolicyVersion"])?;
                self.bucket(name)?;
                Ok(self.policy_of(&format!("b/{name}")))
            }
            ("PUT", ["b", name, "iam"]) => {
                asked.only(&[])?;
                fields::check(&asked.body, "version etag bindings(role members condition*) kind resourceId")?;
                self.bucket(name)?;
                self.set_policy(&format!("b/{name}"), &asked.body, 412)
            }
            ("GET", ["b", name, "o"]) => {
                asked.only(&["maxResults", "versions", "prefix", "pageToken"])?;
                self.bucket(name)?;
                let objects = self.objects.get(*name).copied().unwrap_or(0);
                Ok(json!({"items": (0..objects).map(|i| json!({"name": format!("o{i}")})).collect::<Vec<_>>()}))
            }
            ("GET", ["b", name]) => {
                asked.only(&["projection"])?;
                self.bucket(name)
            }
            ("PATCH" | "DELETE", ["b", name]) => {
                asked.only(&["ifMetagenerationMatch"])?;
                let there = self.bucket(name)?;
                let wanted = asked.query.get("ifMetagenerationMatch");
                if wanted.map(String::as_str) != there["metageneration"].as_str() {
                    return Err(Refusal(
                        412,
                        "conditionNotMet",
                        "At least one of the pre-conditions you specified did not hold.".into(),
                    ));
                }
                let full = format!("b/{name}");
                if asked.method == "DELETE" {
                    if self.objects.get(*name).copied().unwrap_or(0) > 0 {
                        return Err(Refusal(409, "conflict", "The bucket you tried to delete is not empty.".into()));
                    }
                    self.things.remove(&full);
                    return Ok(Value::Null);
                }
                fields::check(&asked.body, BUCKET)?;
                if asked.body.get("location").is_some_and(|l| *l != there["location"]) {
                    return Err(invalid("The location of a bucket cannot be changed."));
                }
                let mut all = fields::patched(&there, &asked.body);
                let generation: u64 = there["metageneration"].as_str().and_then(|g| g.parse().ok()).unwrap_or(1);
                all["metageneration"] = (generation + 1).to_string().into();
                self.things.insert(full, all.clone());
                Ok(all)
            }
            _ => Err(not_found(&asked.name)),
        }
    }

    fn bucket(&self, name: &str) -> Answer {
        if self.taken.contains(name) {
            return Err(Refusal(403, "forbidden", "The caller does not have storage.buckets.get access.".into()));
        }
        self.things.get(&format!("b/{name}")).cloned().ok_or_else(|| not_found(name))
    }
}

fn hold_job(new: &Value) -> Result<(), Refusal> {
    let text = |value: &Value| value.as_str().is_some_and(|t| !t.is_empty());
    let (message, call) = (&new["pubsubTarget"], &new["httpTarget"]);
    if !text(&new["schedule"]) || text(&message["topicName"]) == text(&call["uri"]) {
        return Err(invalid("a job needs a schedule and one target"));
    }
    // A token for Google's own services is OAuth's, and goes to nobody else.
    let to_google =
        call["uri"].as_str().is_none_or(|uri| uri.starts_with("https://") && uri.contains(".googleapis.com/"));
    if !to_google || text(&call["uri"]) && !text(&call["oauthToken"]["serviceAccountEmail"]) {
        return Err(invalid("an OAuth token is for *.googleapis.com"));
    }
    let data = new["pubsubTarget"]["data"].as_str().unwrap_or_default();
    use base64::Engine;
    let read = base64::engine::general_purpose::STANDARD.decode(data);
    if read.is_err() { Err(invalid("pubsubTarget.data is no base64")) } else { Ok(()) }
}

/// Where the operations of a Cloud Run service or job are.
fn operations_of(name: &str) -> String {
    shown(name).split("/services/").next().and_then(|n| n.split("/jobs/").next()).unwrap_or(name).to_owned()
        + "/operations"
}
