//! The plan as Terraform's HCL, in the form that `terraform fmt` gives it; the same plan gives the same bytes.

use super::access::{Grant, Place, Who};
use super::monitoring::Policy;
use super::plan::{ACCOUNT_DESCRIPTION, Plan, Program, RETENTION_SECONDS, Runs};
use super::resources::start_uri;
use crate::ports::cloud::Api;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// A value as HCL writes it, or a block with its own attributes.
enum Item {
    Is(&'static str, String),
    Block(&'static str, Vec<Item>),
}
use Item::{Block, Is};

/// The whole file.
pub fn file(plan: &Plan) -> String {
    let mut text =
        String::from("# Made by `phase6 deploy --emit terraform`. What exists already has to be imported first.\n");
    let provider = "\nterraform {\n  required_providers {\n    google = {\n      source  = \"hashicorp/google\"\n      version = \">= 6.0\"\n    }\n  }\n}\n";
    text.push_str(provider);
    top(&mut text, "provider \"google\"", &[Is("project", quoted(&plan.project)), Is("region", quoted(&plan.region))]);
    if plan.grants.iter().any(|g| g.who == Who::PubSub) {
        let items = [Is("project_id", quoted(&plan.project)), after(&[api(Api::ResourceManager)])];
        top(&mut text, "data \"google_project\" \"this\"", &items);
    }
    top(
        &mut text,
        "variable \"image\"",
        &match &plan.program.image {
            Some(image) => vec![Is("type", "string".into()), Is("default", quoted(image))],
            None => vec![Is("type", "string".into())],
        },
    );
    for api in plan.apis.iter().copied() {
        resource(
            &mut text,
            "google_project_service",
            api,
            &[Is("service", quoted(api)), Is("disable_on_destroy", "false".into())],
        );
    }
    bus(&mut text, plan);
    buckets(&mut text, plan);
    resource(
        &mut text,
        "google_service_account",
        &plan.name,
        &[
            Is("account_id", quoted(&plan.name)),
            Is("display_name", quoted("phase6 serve")),
            Is("description", quoted(&plan.marked(ACCOUNT_DESCRIPTION))),
            after(&[api(Api::Iam)]),
        ],
    );
    for grant in &plan.grants {
        access(&mut text, plan, grant);
    }
    program(&mut text, plan);
    monitoring(&mut text, plan);
    text
}

/// What has to be there first, besides what is named anyway.
fn after(resources: &[String]) -> Item {
    Is("depends_on", format!("[{}]", resources.join(", ")))
}

/// The resource that enables a service.
fn api(api: Api) -> String {
    format!("google_project_service.{}", label(api.service_name()))
}

/// The labels of what we make.
fn labels(plan: &Plan) -> String {
    let pairs: Vec<String> =
        plan.labels().iter().map(|(name, value)| format!("{} = {}", quoted(name), quoted(value))).collect();
    format!("{{ {} }}", pairs.join(", "))
}

/// A text: whatever it holds, nothing in it is a template.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '$' | '%' if chars.peek() == Some(&'{') => out.extend([c, c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A name of a resource inside the file: what HCL cannot have in one is replaced, and a hash keeps two of them apart.
pub fn label(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(plain) {
        return name.to_owned();
    }
    let kept: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    let hash = Sha256::digest(name.as_bytes());
    format!("n_{kept}_{:02x}{:02x}{:02x}{:02x}", hash[0], hash[1], hash[2], hash[3])
}

fn resource(text: &mut String, kind: &str, name: &str, items: &[Item]) {
    top(text, &format!("resource \"{kind}\" \"{}\"", label(name)), items);
}

fn top(text: &mut String, head: &str, items: &[Item]) {
    let _ = writeln!(text, "\n{head} {{");
    write_items(text, items, 1);
    text.push_str("}\n");
}

/// Attributes that follow each other have their `=` in one column.
fn write_items(text: &mut String, items: &[Item], depth: usize) {
    let indent = "  ".repeat(depth);
    let mut i = 0;
    while i < items.len() {
        let run = items[i..].iter().take_while(|item| matches!(item, Is(..))).count();
        let names = items[i..i + run].iter().map(|item| match item {
            Is(name, _) | Block(name, _) => name.len(),
        });
        let width = names.max().unwrap_or(0);
        for item in &items[i..i + run] {
            if let Is(name, value) = item {
                let _ = writeln!(text, "{indent}{name:width$} = {value}");
            }
        }
        i += run;
        if let Some(Block(name, inner)) = items.get(i) {
            let gap = if i > 0 { "\n" } else { "" };
            let _ = writeln!(text, "{gap}{indent}{name} {{");
            write_items(text, inner, depth + 1);
            let _ = writeln!(text, "{indent}}}");
            i += 1;
        }
    }
}

fn bus(text: &mut String, plan: &Plan) {
    for topic in &plan.topics {
        resource(
            text,
            "google_pubsub_topic",
            topic,
            &[
                Is("name", quoted(topic)),
                Is("labels", labels(plan)),
                Is("message_retention_duration", quoted(&format!("{RETENTION_SECONDS}s"))),
                after(&[api(Api::PubSub)]),
            ],
        );
    }
    for s in &plan.subscriptions {
        let mut items = vec![
            Is("name", quoted(&s.name)),
            Is("topic", format!("google_pubsub_topic.{}.id", label(&s.topic))),
            Is("labels", labels(plan)),
            Is("message_retention_duration", quoted(&format!("{RETENTION_SECONDS}s"))),
            Is("ack_deadline_seconds", s.ack_deadline_seconds.to_string()),
            Block("expiration_policy", vec![Is("ttl", quoted(""))]),
            Block(
                "retry_policy",
                vec![
                    Is("minimum_backoff", quoted(&format!("{}s", s.min_retry_seconds))),
                    Is("maximum_backoff", quoted(&format!("{}s", s.max_retry_seconds))),
                ],
            ),
        ];
        if let Some(dead) = &s.dead_letter {
            items.push(Block(
                "dead_letter_policy",
                vec![
                    Is("dead_letter_topic", format!("google_pubsub_topic.{}.id", label(dead))),
                    Is("max_delivery_attempts", s.max_attempts.to_string()),
                ],
            ));
        }
        resource(text, "google_pubsub_subscription", &s.name, &items);
    }
    for job in &plan.jobs {
        let pairs: Vec<String> =
            job.attributes.iter().map(|(name, value)| format!("{} = {}", quoted(name), quoted(value))).collect();
        resource(
            text,
            "google_cloud_scheduler_job",
            &job.name,
            &[
                Is("name", quoted(&job.name)),
                Is("schedule", quoted(&job.schedule)),
                Is("time_zone", quoted(&job.timezone)),
                Is("description", quoted(&plan.marked(&job.description()))),
                after(&[api(Api::Scheduler)]),
                Block(
                    "pubsub_target",
                    vec![
                        Is("topic_name", format!("google_pubsub_topic.{}.id", label(&job.topic))),
                        Is("data", format!("base64encode({})", quoted(&job.body))),
                        Is("attributes", format!("{{ {} }}", pairs.join(", "))),
                    ],
                ),
            ],
        );
    }
}

fn buckets(text: &mut String, plan: &Plan) {
    for bucket in &plan.buckets {
        let prevention = if bucket.public { "inherited" } else { "enforced" };
        let mut items = vec![
            Is("name", quoted(&bucket.name)),
            Is("location", quoted(&plan.region)),
            Is("uniform_bucket_level_access", "true".into()),
            Is("public_access_prevention", quoted(prevention)),
            Is("labels", labels(plan)),
            after(&[api(Api::Storage)]),
            Block("versioning", vec![Is("enabled", "true".into())]),
            Block(
                "lifecycle_rule",
                vec![
                    Block("action", vec![Is("type", quoted("Delete"))]),
                    Block(
                        "condition",
                        vec![
                            Is("with_state", quoted("ARCHIVED")),
                            Is("days_since_noncurrent_time", bucket.keep_days.to_string()),
                            Is("num_newer_versions", bucket.keep_versions.to_string()),
                        ],
                    ),
                ],
            ),
        ];
        if bucket.public {
            items.push(Block(
                "cors",
                vec![
                    Is("origin", "[\"*\"]".into()),
                    Is("method", "[\"GET\", \"HEAD\"]".into()),
                    Is("response_header", "[\"Content-Type\", \"ETag\"]".into()),
                    Is("max_age_seconds", "3600".into()),
                ],
            ));
        }
        resource(text, "google_storage_bucket", &bucket.name, &items);
    }
}

fn access(text: &mut String, plan: &Plan, grant: &Grant) {
    let who = match grant.who {
        Who::Service => format!("\"serviceAccount:${{google_service_account.{}.email}}\"", label(&plan.name)),
        Who::PubSub => {
            "\"serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com\"".into()
        }
        Who::Everybody => quoted("allUsers"),
    };
    let mut items = match &grant.on {
        Place::Project(name) => vec![Is("project", quoted(name))],
        Place::Topic(name) => vec![Is("topic", format!("google_pubsub_topic.{}.name", label(name)))],
        Place::Subscription(name) => {
            vec![Is("subscription", format!("google_pubsub_subscription.{}.name", label(name)))]
        }
        Place::Bucket(name) => vec![Is("bucket", format!("google_storage_bucket.{}.name", label(name)))],
        Place::Secret(name) => vec![Is("secret_id", quoted(name))],
        Place::RunJob(name) => vec![
            Is("name", format!("google_cloud_run_v2_job.{}.name", label(name))),
            Is("location", quoted(&plan.region)),
        ],
        Place::Table { project, dataset, table } => {
            vec![Is("project", quoted(project)), Is("dataset_id", quoted(dataset)), Is("table_id", quoted(table))]
        }
    };
    items.extend([Is("role", quoted(&grant.role)), Is("member", who)]);
    resource(text, grant_kind(grant), &grant_name(grant), &items);
}

fn grant_name(grant: &Grant) -> String {
    let name = match &grant.on {
        Place::Project(name)
        | Place::Topic(name)
        | Place::Subscription(name)
        | Place::Bucket(name)
        | Place::Secret(name)
        | Place::RunJob(name) => name.clone(),
        Place::Table { dataset, table, .. } => format!("{dataset}.{table}"),
    };
    format!("{name}/{:?}/{}", grant.who, grant.role.trim_start_matches("roles/"))
}

/// The address of a right in the file.
fn grant_address(grant: &Grant) -> String {
    format!("{}.{}", grant_kind(grant), label(&grant_name(grant)))
}

fn grant_kind(grant: &Grant) -> &'static str {
    match &grant.on {
        Place::Project(_) => "google_project_iam_member",
        Place::Topic(_) => "google_pubsub_topic_iam_member",
        Place::Subscription(_) => "google_pubsub_subscription_iam_member",
        Place::Bucket(_) => "google_storage_bucket_iam_member",
        Place::Secret(_) => "google_secret_manager_secret_iam_member",
        Place::RunJob(_) => "google_cloud_run_v2_job_iam_member",
        Place::Table { .. } => "google_bigquery_table_iam_member",
    }
}

fn program(text: &mut String, plan: &Plan) {
    let p = &plan.program;
    // It needs what it works on, and the rights to it, before it starts.
    let mut first = vec![api(Api::Run)];
    first.extend(plan.subscriptions.iter().map(|s| format!("google_pubsub_subscription.{}", label(&s.name))));
    let own = |g: &&Grant| g.who == Who::Service && !matches!(g.on, Place::RunJob(_));
    first.extend(plan.grants.iter().filter(own).map(grant_address));
    let mut items = vec![
        Is("name", quoted(&p.name)),
        Is("location", quoted(&plan.region)),
        Is("labels", labels(plan)),
        after(&first),
    ];
    let account = Is("service_account", format!("google_service_account.{}.email", label(&plan.name)));
    let containers = Block("containers", container(p));
    match &p.runs {
        Runs::Service { min_instances, max_instances, .. } => {
            let scaling = vec![
                Is("min_instance_count", min_instances.to_string()),
                Is("max_instance_count", max_instances.to_string()),
            ];
            items.push(Block("template", vec![account, Block("scaling", scaling), containers]));
            resource(text, "google_cloud_run_v2_service", &p.name, &items);
        }
        Runs::Job { schedule, timeout_seconds, max_retries, .. } => {
            let task = vec![
                account,
                Is("timeout", quoted(&format!("{timeout_seconds}s"))),
                Is("max_retries", max_retries.to_string()),
                containers,
            ];
            items.push(Block("template", vec![Is("task_count", "1".into()), Block("template", task)]));
            resource(text, "google_cloud_run_v2_job", &p.name, &items);
            starter(text, plan, schedule);
        }
    }
}

fn container(p: &Program) -> Vec<Item> {
    let env =
        p.env.iter().map(|(name, value)| Block("env", vec![Is("name", quoted(name)), Is("value", quoted(value))]));
    let secrets = p.secrets.iter().map(|(name, secret)| {
        let newest = vec![Is("secret", quoted(secret)), Is("version", quoted("latest"))];
        Block("env", vec![Is("name", quoted(name)), Block("value_source", vec![Block("secret_key_ref", newest)])])
    });
    let args: Vec<String> = p.args.iter().map(|arg| quoted(arg)).collect();
    let limits = format!("{{ cpu = {}, memory = {} }}", quoted(&p.cpu), quoted(&p.memory));
    let mut all = vec![Is("image", "var.image".into()), Is("args", format!("[{}]", args.join(", ")))];
    match p.runs {
        Runs::Service { port, probe, .. } => {
            let asked = |period: u32, timeout: u32, failures: u32| {
                vec![
                    Is("period_seconds", period.to_string()),
                    Is("timeout_seconds", timeout.to_string()),
                    Is("failure_threshold", failures.to_string()),
                    Block("http_get", vec![Is("path", quoted(probe)), Is("port", port.to_string())]),
                ]
            };
            all.extend([
                Block("ports", vec![Is("container_port", port.to_string())]),
                Block("resources", vec![Is("limits", limits), Is("cpu_idle", "false".into())]),
                Block("startup_probe", asked(2, 1, 30)),
                Block("liveness_probe", asked(30, 5, 3)),
            ]);
        }
        Runs::Job { .. } => all.push(Block("resources", vec![Is("limits", limits)])),
    }
    all.into_iter().chain(env).chain(secrets).collect()
}

fn starter(text: &mut String, plan: &Plan, schedule: &str) {
    let description = plan.marked(&plan.program.starter_description());
    let account = Is("service_account_email", format!("google_service_account.{}.email", label(&plan.name)));
    let target = vec![
        Is("uri", quoted(&start_uri(plan))),
        Is("http_method", quoted("POST")),
        Block("oauth_token", vec![account]),
    ];
    let invoker = plan.grants.iter().filter(|g| matches!(g.on, Place::RunJob(_))).map(grant_address);
    let first: Vec<String> = std::iter::once(api(Api::Scheduler)).chain(invoker).collect();
    resource(
        text,
        "google_cloud_scheduler_job",
        &plan.program.starter(),
        &[
            Is("name", quoted(&plan.program.starter())),
            Is("schedule", quoted(schedule)),
            Is("time_zone", quoted("Etc/UTC")),
            Is("description", quoted(&description)),
            after(&first),
            Block("http_target", target),
        ],
    );
}

fn monitoring(text: &mut String, plan: &Plan) {
    for metric in &plan.metrics {
        resource(
            text,
            "google_logging_metric",
            &metric.name,
            &[
                Is("name", quoted(&metric.name)),
                Is("description", quoted(&plan.marked(&metric.description))),
                Is("filter", quoted(&metric.filter)),
                after(&[api(Api::Logging)]),
                Block("metric_descriptor", vec![Is("metric_kind", quoted("DELTA")), Is("value_type", quoted("INT64"))]),
            ],
        );
    }
    let all: Vec<String> = plan.metrics.iter().map(|m| format!("google_logging_metric.{}", label(&m.name))).collect();
    for policy in &plan.policies {
        resource(text, "google_monitoring_alert_policy", &policy.title, &policy_items(plan, policy, &all));
    }
}

fn policy_items(plan: &Plan, policy: &Policy, metrics: &[String]) -> Vec<Item> {
    let channels: Vec<String> = policy.channels.iter().map(|c| quoted(c)).collect();
    let mut items = vec![
        Is("display_name", quoted(&policy.title)),
        Is("combiner", quoted("OR")),
        Is("user_labels", labels(plan)),
        after(&metrics.iter().cloned().chain([api(Api::Monitoring)]).collect::<Vec<_>>()),
        Block("documentation", vec![Is("content", quoted(&policy.text)), Is("mime_type", quoted("text/markdown"))]),
    ];
    items.extend(policy.conditions.iter().map(|condition| Block("conditions", from_json(condition))));
    if channels.is_empty() {
        // Whom a policy tells is set by somebody else.
        items.push(Block("lifecycle", vec![Is("ignore_changes", "[notification_channels]".into())]));
    } else {
        items.insert(0, Is("notification_channels", format!("[{}]", channels.join(", "))));
    }
    items
}

/// A condition in Cloud Monitoring's words as HCL's.
fn from_json(value: &Value) -> Vec<Item> {
    let (mut plain, mut blocks) = (Vec::new(), Vec::new());
    for (key, value) in value.as_object().into_iter().flatten() {
        let Some(name) = hcl_name(key) else { continue };
        match value {
            Value::Object(_) => blocks.push(Block(name, from_json(value))),
            Value::Array(list) => blocks.extend(list.iter().map(|item| Block(name, from_json(item)))),
            Value::String(text) => plain.push(Is(name, quoted(text))),
            other => plain.push(Is(name, other.to_string())),
        }
    }
    plain.into_iter().chain(blocks).collect()
}

/// The keys of conditions that `monitoring` writes; a test holds it to that.
pub fn hcl_name(key: &str) -> Option<&'static str> {
    Some(match key {
        "displayName" => "display_name",
        "conditionThreshold" => "condition_threshold",
        "conditionAbsent" => "condition_absent",
        "filter" => "filter",
        "comparison" => "comparison",
        "thresholdValue" => "threshold_value",
        "duration" => "duration",
        "aggregations" => "aggregations",
        "alignmentPeriod" => "alignment_period",
        "perSeriesAligner" => "per_series_aligner",
        "crossSeriesReducer" => "cross_series_reducer",
        "trigger" => "trigger",
        "count" => "count",
        _ => return None,
    })
}
