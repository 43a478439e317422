//! The plan as Terraform's HCL, in the form that `terraform fmt` gives it; the same plan gives the same bytes.

use super::access::{Grant, Place, Who};
use super::monitoring::Policy;
use super::plan::{Plan, RETENTION_SECONDS};
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
    let provider =
        "\nterraform {\n  required_providers {\n    google = {\n      source = \"hashicorp/google\"\n    }\n  }\n}\n";
    text.push_str(provider);
    top(&mut text, "provider \"google\"", &[Is("project", quoted(&plan.project)), Is("region", quoted(&plan.region))]);
    if plan.grants.iter().any(|g| g.who == Who::PubSub) {
        top(&mut text, "data \"google_project\" \"this\"", &[Is("project_id", quoted(&plan.project))]);
    }
    top(
        &mut text,
        "variable \"image\"",
        &match &plan.service.image {
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
            Is("description", quoted(&format!("Runs phase6 serve {}", plan.mark()))),
        ],
    );
    for grant in &plan.grants {
        access(&mut text, plan, grant);
    }
    service(&mut text, plan);
    monitoring(&mut text, plan);
    text
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
                Is("depends_on", format!("[google_project_service.{}]", label("pubsub.googleapis.com"))),
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
                Is("description", quoted(&format!("The job {} of phase6 {}", job.name, plan.mark()))),
                Is("depends_on", format!("[google_project_service.{}]", label("cloudscheduler.googleapis.com"))),
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
    let (kind, mut items) = match &grant.on {
        Place::Project(name) => ("google_project_iam_member", vec![Is("project", quoted(name))]),
        Place::Topic(name) => {
            ("google_pubsub_topic_iam_member", vec![Is("topic", format!("google_pubsub_topic.{}.name", label(name)))])
        }
        Place::Subscription(name) => (
            "google_pubsub_subscription_iam_member",
            vec![Is("subscription", format!("google_pubsub_subscription.{}.name", label(name)))],
        ),
        Place::Bucket(name) => (
            "google_storage_bucket_iam_member",
            vec![Is("bucket", format!("google_storage_bucket.{}.name", label(name)))],
        ),
        Place::Table { project, dataset, table } => (
            "google_bigquery_table_iam_member",
            vec![Is("project", quoted(project)), Is("dataset_id", quoted(dataset)), Is("table_id", quoted(table))],
        ),
    };
    items.extend([Is("role", quoted(&grant.role)), Is("member", who)]);
    let name = match &grant.on {
        Place::Project(name) | Place::Topic(name) | Place::Subscription(name) | Place::Bucket(name) => name.clone(),
        Place::Table { dataset, table, .. } => format!("{dataset}.{table}"),
    };
    let role = grant.role.trim_start_matches("roles/");
    resource(text, kind, &format!("{name}/{:?}/{role}", grant.who), &items);
}

fn service(text: &mut String, plan: &Plan) {
    let service = &plan.service;
    let env = service
        .env
        .iter()
        .map(|(name, value)| Block("env", vec![Is("name", quoted(name)), Is("value", quoted(value))]));
    let args: Vec<String> = service.args.iter().map(|arg| quoted(arg)).collect();
    let probe = |period: u32, timeout: u32, failures: u32| {
        vec![
            Is("period_seconds", period.to_string()),
            Is("timeout_seconds", timeout.to_string()),
            Is("failure_threshold", failures.to_string()),
            Block("http_get", vec![Is("path", quoted(service.probe)), Is("port", service.port.to_string())]),
        ]
    };
    let limits = format!("{{ cpu = {}, memory = {} }}", quoted(service.cpu), quoted(service.memory));
    let mut container = vec![
        Is("image", "var.image".into()),
        Is("args", format!("[{}]", args.join(", "))),
        Block("ports", vec![Is("container_port", service.port.to_string())]),
        Block("resources", vec![Is("limits", limits), Is("cpu_idle", "false".into())]),
        Block("startup_probe", probe(2, 2, 30)),
        Block("liveness_probe", probe(30, 5, 3)),
    ];
    container.extend(env);
    let scaling = vec![
        Is("min_instance_count", service.min_instances.to_string()),
        Is("max_instance_count", service.max_instances.to_string()),
    ];
    resource(
        text,
        "google_cloud_run_v2_service",
        &service.name,
        &[
            Is("name", quoted(&service.name)),
            Is("location", quoted(&plan.region)),
            Is("labels", labels(plan)),
            Is("depends_on", format!("[google_project_service.{}]", label("run.googleapis.com"))),
            Block(
                "template",
                vec![
                    Is("service_account", format!("google_service_account.{}.email", label(&plan.name))),
                    Block("scaling", scaling),
                    Block("containers", container),
                ],
            ),
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
                Is("description", quoted(&format!("{} {}", metric.description, plan.mark()))),
                Is("filter", quoted(&metric.filter)),
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
        Is("notification_channels", format!("[{}]", channels.join(", "))),
        Is("depends_on", format!("[{}]", metrics.join(", "))),
        Block("documentation", vec![Is("content", quoted(&policy.text)), Is("mime_type", quoted("text/markdown"))]),
    ];
    items.extend(policy.conditions.iter().map(|condition| Block("conditions", from_json(condition))));
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
