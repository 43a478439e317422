//! The plan as a bash script that drives `gcloud`: each step looks first, so that it can be run again.

use super::access::{Place, Who};
use super::plan::{Plan, RETENTION_SECONDS};
use serde_json::json;
use std::fmt::Write;

/// The script's functions.
const HEAD: &str = r#"set -euo pipefail

exists() { "$@" >/dev/null 2>&1; }

topic() { # NAME
  exists gcloud pubsub topics describe "$1" --project="$PROJECT" ||
    gcloud pubsub topics create "$1" --project="$PROJECT" --labels="$LABELS" --message-retention-duration="$RETENTION"
}

subscription() { # NAME TOPIC FLAG...
  local name=$1 topic=$2
  shift 2
  if exists gcloud pubsub subscriptions describe "$name" --project="$PROJECT"; then
    gcloud pubsub subscriptions update "$name" --project="$PROJECT" "$@"
  else
    gcloud pubsub subscriptions create "$name" --project="$PROJECT" --topic="$topic" --labels="$LABELS" "$@"
  fi
}

job() { # NAME ATTRIBUTES FLAG...
  local name=$1 attributes=$2
  local place=(--project="$PROJECT" --location="$REGION")
  shift 2
  if exists gcloud scheduler jobs describe "$name" "${place[@]}"; then
    gcloud scheduler jobs update pubsub "$name" "${place[@]}" --update-attributes="$attributes" "$@"
  else
    gcloud scheduler jobs create pubsub "$name" "${place[@]}" --attributes="$attributes" "$@"
  fi
}

metric() { # NAME FLAG...
  local name=$1
  shift
  if exists gcloud logging metrics describe "$name" --project="$PROJECT"; then
    gcloud logging metrics update "$name" --project="$PROJECT" "$@"
  else
    gcloud logging metrics create "$name" --project="$PROJECT" "$@"
  fi
}

policy() { # TITLE JSON
  local name
  name=$(gcloud alpha monitoring policies list --project="$PROJECT" --filter="displayName=\"$1\"" --format='value(name)' --limit=1)
  if [ -n "$name" ]; then
    gcloud alpha monitoring policies update "$name" --project="$PROJECT" --policy="$2"
  else
    gcloud alpha monitoring policies create --project="$PROJECT" --policy="$2"
  fi
}

bucket() { # NAME FLAG...
  local name=$1
  shift
  exists gcloud storage buckets describe "gs://$name" ||
    gcloud storage buckets create "gs://$name" --project="$PROJECT" --location="$REGION" --uniform-bucket-level-access
  gcloud storage buckets update "gs://$name" --update-labels="$LABELS" --uniform-bucket-level-access "$@"
}
"#;

/// The whole script.
pub fn script(plan: &Plan) -> String {
    let mut text = String::from(
        "#!/usr/bin/env bash\n# Made by `phase6 deploy --emit gcloud`; it may be run again. It deletes nothing.\n",
    );
    let _ = writeln!(text, "{HEAD}\nPROJECT={}\nREGION={}", quoted(&plan.project), quoted(&plan.region));
    let _ = writeln!(text, "ACCOUNT={}", quoted(&plan.account()));
    let labels: Vec<String> = plan.labels().iter().map(|(name, value)| format!("{name}={value}")).collect();
    let _ = writeln!(text, "LABELS={}", quoted(&labels.join(",")));
    let _ = writeln!(text, "RETENTION={RETENTION_SECONDS}s");
    match &plan.service.image {
        Some(image) => drop(writeln!(text, "IMAGE={}", quoted(image))),
        None => text.push_str("IMAGE=${IMAGE:?set it to the container image that is to run}\n"),
    }
    apis(&mut text, plan);
    bus(&mut text, plan);
    buckets(&mut text, plan);
    access(&mut text, plan);
    service(&mut text, plan);
    monitoring(&mut text, plan);
    text
}

/// A word for the shell: whatever it holds, it stays one word and nothing in it is run.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn apis(text: &mut String, plan: &Plan) {
    let _ = writeln!(text, "\ngcloud services enable {} --project=\"$PROJECT\"", plan.apis.join(" "));
}

fn bus(text: &mut String, plan: &Plan) {
    for topic in &plan.topics {
        let _ = writeln!(text, "topic {}", quoted(topic));
    }
    for s in &plan.subscriptions {
        let _ = write!(
            text,
            "subscription {} {} --expiration-period=never --message-retention-duration=\"$RETENTION\" --ack-deadline={} --min-retry-delay={}s --max-retry-delay={}s",
            quoted(&s.name),
            quoted(&s.topic),
            s.ack_deadline_seconds,
            s.min_retry_seconds,
            s.max_retry_seconds
        );
        if let Some(dead) = &s.dead_letter {
            let _ = write!(text, " --dead-letter-topic={} --max-delivery-attempts={}", quoted(dead), s.max_attempts);
        }
        text.push('\n');
    }
    for job in &plan.jobs {
        let attributes: Vec<String> = job.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let _ = writeln!(
            text,
            "job {} {} --description={} --schedule={} --time-zone={} --topic={} --message-body={}",
            quoted(&job.name),
            quoted(&attributes.join(",")),
            quoted(&format!("The job {} of phase6 {}", job.name, plan.mark())),
            quoted(&job.schedule),
            quoted(&job.timezone),
            quoted(&job.topic),
            quoted(&job.body)
        );
    }
}

fn buckets(text: &mut String, plan: &Plan) {
    if plan.buckets.is_empty() {
        return;
    }
    text.push_str("\nDIR=$(mktemp -d)\ntrap 'rm -rf \"$DIR\"' EXIT\n");
    for (i, bucket) in plan.buckets.iter().enumerate() {
        let reading = if bucket.public { "--no-public-access-prevention" } else { "--public-access-prevention" };
        let cors = if bucket.public { format!("--cors-file=\"$DIR/cors-{i}\"") } else { "--clear-cors".to_owned() };
        let _ = writeln!(text, "printf '%s' {} >\"$DIR/lifecycle-{i}\"", quoted(&bucket.lifecycle().to_string()));
        if bucket.public {
            let _ = writeln!(text, "printf '%s' {} >\"$DIR/cors-{i}\"", quoted(&bucket.cors().to_string()));
        }
        let _ = writeln!(
            text,
            "bucket {} --versioning {reading} {cors} --lifecycle-file=\"$DIR/lifecycle-{i}\"",
            quoted(&bucket.name)
        );
    }
}

fn access(text: &mut String, plan: &Plan) {
    let _ = writeln!(
        text,
        "\nexists gcloud iam service-accounts describe \"$ACCOUNT\" --project=\"$PROJECT\" ||\n  \
         gcloud iam service-accounts create {} --project=\"$PROJECT\" --display-name='phase6 serve'",
        quoted(&plan.name)
    );
    if plan.grants.iter().any(|g| g.who == Who::PubSub) {
        text.push_str("NUMBER=$(gcloud projects describe \"$PROJECT\" --format='value(projectNumber)')\n");
        text.push_str("PUBSUB=\"service-$NUMBER@gcp-sa-pubsub.iam.gserviceaccount.com\"\n");
        // The agent is there only after it was asked for once.
        text.push_str("gcloud beta services identity create --service=pubsub.googleapis.com --project=\"$PROJECT\"\n");
    }
    for grant in &plan.grants {
        let member = match grant.who {
            Who::Service => "\"serviceAccount:$ACCOUNT\"",
            Who::PubSub => "\"serviceAccount:$PUBSUB\"",
            Who::Everybody => "allUsers",
        };
        let place = match &grant.on {
            Place::Project(name) => {
                format!("gcloud projects add-iam-policy-binding {} --condition=None", quoted(name))
            }
            Place::Topic(name) => {
                format!("gcloud pubsub topics add-iam-policy-binding {} --project=\"$PROJECT\"", quoted(name))
            }
            Place::Subscription(name) => {
                format!("gcloud pubsub subscriptions add-iam-policy-binding {} --project=\"$PROJECT\"", quoted(name))
            }
            Place::Bucket(name) => {
                format!("gcloud storage buckets add-iam-policy-binding {}", quoted(&format!("gs://{name}")))
            }
            Place::Table { .. } => "bq add-iam-policy-binding --table=true".to_owned(),
        };
        let _ = write!(text, "{place} --member={member} --role={}", quoted(&grant.role));
        if let Place::Table { project, dataset, table } = &grant.on {
            let _ = write!(text, " {}", quoted(&format!("{project}:{dataset}.{table}")));
        }
        text.push_str(" >/dev/null\n");
    }
}

fn service(text: &mut String, plan: &Plan) {
    let service = &plan.service;
    let env: Vec<String> = service.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let (path, port) = (service.probe, service.port);
    let startup =
        format!("httpGet.path={path},httpGet.port={port},periodSeconds=2,timeoutSeconds=2,failureThreshold=30");
    let liveness =
        format!("httpGet.path={path},httpGet.port={port},periodSeconds=30,timeoutSeconds=5,failureThreshold=3");
    let _ = writeln!(
        text,
        "\ngcloud run deploy {} --image=\"$IMAGE\" --project=\"$PROJECT\" --region=\"$REGION\" \\\n  \
         --service-account=\"$ACCOUNT\" --args={} --port={port} --no-allow-unauthenticated --no-cpu-throttling \\\n  \
         --min-instances={} --max-instances={} --cpu={} --memory={} --labels=\"$LABELS\" --set-env-vars={} \\\n  \
         --startup-probe={startup} --liveness-probe={liveness} --quiet",
        quoted(&service.name),
        quoted(&service.args.join(",")),
        service.min_instances,
        service.max_instances,
        service.cpu,
        service.memory,
        quoted(&env.join(","))
    );
}

fn monitoring(text: &mut String, plan: &Plan) {
    text.push('\n');
    for metric in &plan.metrics {
        let description = format!("{} {}", metric.description, plan.mark());
        let (name, filter) = (quoted(&metric.name), quoted(&metric.filter));
        let _ = writeln!(text, "metric {name} --description={} --log-filter={filter}", quoted(&description));
    }
    for policy in &plan.policies {
        let labels: serde_json::Map<_, _> =
            plan.labels().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let body = json!({
            "displayName": policy.title,
            "documentation": {"content": policy.text, "mimeType": "text/markdown"},
            "combiner": "OR",
            "conditions": policy.conditions,
            "notificationChannels": policy.channels,
            "userLabels": labels,
        });
        let _ = writeln!(text, "policy {} {}", quoted(&policy.title), quoted(&body.to_string()));
    }
}
