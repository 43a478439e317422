//! The plan as Terraform's HCL, in the form that `terraform fmt` gives it; the same plan gives the same bytes.

use super::access::{Grant, Place, Who};
use super::gcloud::api_names;
use super::plan::Plan;
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
    for api in api_names(plan) {
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
        &plan.account,
        &[Is("account_id", quoted(&plan.account)), Is("display_name", quoted("phase6 serve"))],
    );
    for grant in &plan.grants {
        access(&mut text, plan, grant);
    }
    service(&mut text, plan);
    text
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
                Is("depends_on", format!("[google_project_service.{}]", label("pubsub.googleapis.com"))),
            ],
        );
    }
    for s in &plan.subscriptions {
        let mut items = vec![
            Is("name", quoted(&s.name)),
            Is("topic", format!("google_pubsub_topic.{}.id", label(&s.topic))),
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
                Is("paused", job.paused.to_string()),
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
            Block("versioning", vec![Is("enabled", bucket.versioning.to_string())]),
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
        Who::Service => format!("\"serviceAccount:${{google_service_account.{}.email}}\"", label(&plan.account)),
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
    let Some(service) = &plan.service else { return };
    let env = service
        .env
        .iter()
        .map(|(name, value)| Block("env", vec![Is("name", quoted(name)), Is("value", quoted(value))]));
    let mut container = vec![
        Is("image", quoted(&service.image)),
        Is("args", "[\"serve\"]".into()),
        Block("ports", vec![Is("container_port", "8080".into())]),
        Block(
            "resources",
            vec![Is("limits", "{ cpu = \"1\", memory = \"1Gi\" }".into()), Is("cpu_idle", "false".into())],
        ),
    ];
    container.extend(env);
    resource(
        text,
        "google_cloud_run_v2_service",
        &service.name,
        &[
            Is("name", quoted(&service.name)),
            Is("location", quoted(&plan.region)),
            Is("depends_on", format!("[google_project_service.{}]", label("run.googleapis.com"))),
            Block(
                "template",
                vec![
                    Is("service_account", format!("google_service_account.{}.email", label(&plan.account))),
                    Block("scaling", vec![Is("min_instance_count", "1".into()), Is("max_instance_count", "2".into())]),
                    Block("containers", container),
                ],
            ),
        ],
    );
}
