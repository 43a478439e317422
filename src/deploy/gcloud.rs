//! The plan as a bash script that drives `gcloud`: each step looks first, so that it can be run again.

use super::access::{Place, Who};
use super::plan::Plan;
use super::words::account;
use std::fmt::Write;

/// The script's functions.
const HEAD: &str = r#"set -euo pipefail

exists() { "$@" >/dev/null 2>&1; }

topic() { # NAME
  exists gcloud pubsub topics describe "$1" --project="$PROJECT" ||
    gcloud pubsub topics create "$1" --project="$PROJECT"
}

subscription() { # NAME TOPIC FLAG...
  local name=$1 topic=$2
  shift 2
  if exists gcloud pubsub subscriptions describe "$name" --project="$PROJECT"; then
    gcloud pubsub subscriptions update "$name" --project="$PROJECT" "$@"
  else
    gcloud pubsub subscriptions create "$name" --project="$PROJECT" --topic="$topic" "$@"
  fi
}

job() { # NAME running|paused ATTRIBUTES FLAG...
  local name=$1 wanted=$2 attributes=$3 state
  local place=(--project="$PROJECT" --location="$REGION")
  shift 3
  if exists gcloud scheduler jobs describe "$name" "${place[@]}"; then
    gcloud scheduler jobs update pubsub "$name" "${place[@]}" --update-attributes="$attributes" "$@"
  else
    gcloud scheduler jobs create pubsub "$name" "${place[@]}" --attributes="$attributes" "$@"
  fi
  state=$(gcloud scheduler jobs describe "$name" "${place[@]}" --format='value(state)')
  if [ "$wanted" = paused ] && [ "$state" != PAUSED ]; then
    gcloud scheduler jobs pause "$name" "${place[@]}"
  elif [ "$wanted" = running ] && [ "$state" = PAUSED ]; then
    gcloud scheduler jobs resume "$name" "${place[@]}"
  fi
}

bucket() { # NAME FLAG...
  local name=$1
  shift
  exists gcloud storage buckets describe "gs://$name" ||
    gcloud storage buckets create "gs://$name" --project="$PROJECT" --location="$REGION" --uniform-bucket-level-access
  gcloud storage buckets update "gs://$name" --uniform-bucket-level-access "$@"
}
"#;

/// The whole script.
pub fn script(plan: &Plan) -> String {
    let mut text = String::from(
        "#!/usr/bin/env bash\n# Made by `phase6 deploy --emit gcloud`; it may be run again. It deletes nothing.\n",
    );
    let _ = writeln!(text, "{HEAD}\nPROJECT={}\nREGION={}", quoted(&plan.project), quoted(&plan.region));
    let _ = writeln!(text, "ACCOUNT={}", quoted(&account(plan)));
    apis(&mut text, plan);
    bus(&mut text, plan);
    buckets(&mut text, plan);
    access(&mut text, plan);
    service(&mut text, plan);
    text
}

/// A word for the shell: whatever it holds, it stays one word and nothing in it is run.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The services of Google that the plan uses.
pub fn api_names(plan: &Plan) -> Vec<&'static str> {
    let jobs = plan.grants.iter().any(|g| g.role == "roles/bigquery.jobUser");
    let all = [
        ("bigquery.googleapis.com", jobs),
        ("cloudscheduler.googleapis.com", !plan.jobs.is_empty()),
        ("iam.googleapis.com", true),
        ("pubsub.googleapis.com", !plan.topics.is_empty()),
        ("run.googleapis.com", plan.service.is_some()),
        ("storage.googleapis.com", !plan.buckets.is_empty()),
    ];
    all.into_iter().filter(|(_, used)| *used).map(|(name, _)| name).collect()
}

fn apis(text: &mut String, plan: &Plan) {
    let _ = writeln!(text, "\ngcloud services enable {} --project=\"$PROJECT\"", api_names(plan).join(" "));
}

fn bus(text: &mut String, plan: &Plan) {
    for topic in &plan.topics {
        let _ = writeln!(text, "topic {}", quoted(topic));
    }
    for s in &plan.subscriptions {
        let _ = write!(
            text,
            "subscription {} {} --expiration-period=never --ack-deadline={} --min-retry-delay={}s --max-retry-delay={}s",
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
            "job {} {} {} --schedule={} --time-zone={} --topic={} --message-body={}",
            quoted(&job.name),
            if job.paused { "paused" } else { "running" },
            quoted(&attributes.join(",")),
            quoted(&job.schedule),
            quoted(&job.timezone),
            quoted(&job.topic),
            quoted(&job.body)
        );
    }
}

fn buckets(text: &mut String, plan: &Plan) {
    if plan.buckets.iter().any(|b| b.public) {
        text.push_str("\nCORS=$(mktemp)\ntrap 'rm -f \"$CORS\"' EXIT\n");
        let cors = r#"[{"origin":["*"],"method":["GET","HEAD"],"responseHeader":["Content-Type","ETag"],"maxAgeSeconds":3600}]"#;
        let _ = writeln!(text, "printf '%s' {} >\"$CORS\"", quoted(cors));
    }
    for bucket in &plan.buckets {
        let versioning = if bucket.versioning { "--versioning" } else { "--no-versioning" };
        let reading = if bucket.public {
            "--no-public-access-prevention --cors-file=\"$CORS\""
        } else {
            "--public-access-prevention"
        };
        let _ = writeln!(text, "bucket {} {versioning} {reading}", quoted(&bucket.name));
    }
}

fn access(text: &mut String, plan: &Plan) {
    let _ = writeln!(
        text,
        "\nexists gcloud iam service-accounts describe \"$ACCOUNT\" --project=\"$PROJECT\" ||\n  \
         gcloud iam service-accounts create {} --project=\"$PROJECT\" --display-name='phase6 serve'",
        quoted(&plan.account)
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
    let Some(service) = &plan.service else { return };
    let env: Vec<String> = service.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let _ = writeln!(
        text,
        "\ngcloud run deploy {} --image={} --project=\"$PROJECT\" --region=\"$REGION\" --service-account=\"$ACCOUNT\" \
         --args=serve --port=8080 --no-allow-unauthenticated --no-cpu-throttling --min-instances=1 --max-instances=2 \
         --cpu=1 --memory=1Gi --set-env-vars={} --quiet",
        quoted(&service.name),
        quoted(&service.image),
        quoted(&env.join(","))
    );
}
