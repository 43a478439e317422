//! The plan as a bash script that drives `gcloud`: each step looks first, so that it can be run again, and leaves alone
//! what does not bear the deployment's mark.

use super::access::{Grant, Place, Who};
use super::plan::{ACCOUNT_DESCRIPTION, Plan, RETENTION_SECONDS, Runs};
use super::resources::start_uri;
use serde_json::json;
use std::fmt::Write;

/// The script's functions.
const HEAD: &str = r#"set -euo pipefail

# Whether something is absent, ours or foreign: by the mark that what describes it prints.
state() { # COMMAND...
  local text
  if ! text=$("$@" 2>/dev/null); then echo absent; return; fi
  if [[ "$text" == *"$NAME"* ]]; then echo ours; else echo foreign; fi
}

FOREIGN=' '
foreign() { # WHAT
  echo "foreign, left as it is: $1" >&2
  FOREIGN="$FOREIGN$1 "
}

# What was made a moment ago is not known everywhere at once.
eventually() { # TIMES COMMAND...
  local left=$1
  shift
  until "$@"; do
    left=$((left - 1))
    if [ "$left" -le 0 ]; then return 1; fi
    sleep 10
  done
}

topic() { # NAME
  case $(state gcloud pubsub topics describe "$1" --project="$PROJECT" --format='value(labels.deployment)') in
    absent) gcloud pubsub topics create "$1" --project="$PROJECT" --labels="$LABELS" --message-retention-duration="$RETENTION" ;;
    foreign) foreign "topic $1" ;;
  esac
}

subscription() { # NAME TOPIC FLAG...
  local name=$1 topic=$2
  shift 2
  case $(state gcloud pubsub subscriptions describe "$name" --project="$PROJECT" --format='value(labels.deployment)') in
    absent) gcloud pubsub subscriptions create "$name" --project="$PROJECT" --topic="$topic" --labels="$LABELS" "$@" ;;
    ours) gcloud pubsub subscriptions update "$name" --project="$PROJECT" "$@" ;;
    foreign) foreign "subscription $name" ;;
  esac
}

job() { # NAME ATTRIBUTES FLAG...
  local name=$1 attributes=$2
  local place=(--project="$PROJECT" --location="$REGION")
  shift 2
  case $(state gcloud scheduler jobs describe "$name" "${place[@]}" --format='value(description)') in
    absent) gcloud scheduler jobs create pubsub "$name" "${place[@]}" --attributes="$attributes" "$@" ;;
    ours) gcloud scheduler jobs update pubsub "$name" "${place[@]}" --update-attributes="$attributes" "$@" ;;
    foreign) foreign "scheduler job $name" ;;
  esac
}

starter() { # NAME FLAG...
  local name=$1
  local place=(--project="$PROJECT" --location="$REGION")
  shift
  case $(state gcloud scheduler jobs describe "$name" "${place[@]}" --format='value(description)') in
    absent) gcloud scheduler jobs create http "$name" "${place[@]}" "$@" ;;
    ours) gcloud scheduler jobs update http "$name" "${place[@]}" "$@" ;;
    foreign) foreign "scheduler job $name" ;;
  esac
}

metric() { # NAME FLAG...
  local name=$1
  shift
  case $(state gcloud logging metrics describe "$name" --project="$PROJECT" --format='value(description)') in
    absent) gcloud logging metrics create "$name" --project="$PROJECT" "$@" ;;
    ours) gcloud logging metrics update "$name" --project="$PROJECT" "$@" ;;
    foreign) foreign "log-based metric $name" ;;
  esac
}

policy() { # TITLE JSON
  local name channels
  local more=()
  name=$(gcloud alpha monitoring policies list --project="$PROJECT" --filter="displayName=\"$1\"" --format='value(name)' --limit=1)
  if [ -z "$name" ]; then
    eventually 60 gcloud alpha monitoring policies create --project="$PROJECT" --policy="$2"
    return
  fi
  # Whom a policy tells stays as it is where nothing is said.
  if [[ "$2" != *'"notificationChannels"'* ]]; then
    channels=$(gcloud alpha monitoring policies describe "$name" --project="$PROJECT" --format='value(notificationChannels.list())')
    if [ -n "$channels" ]; then more=(--set-notification-channels="$channels"); fi
  fi
  eventually 60 gcloud alpha monitoring policies update "$name" --project="$PROJECT" --policy="$2" ${more[@]+"${more[@]}"}
}

bucket() { # NAME FLAG...
  local name=$1
  shift
  case $(state gcloud storage buckets describe "gs://$name" --raw --format='value(labels.deployment)') in
    absent)
      gcloud storage buckets create "gs://$name" --project="$PROJECT" --location="$REGION" --uniform-bucket-level-access
      gcloud storage buckets update "gs://$name" --update-labels="$LABELS" --uniform-bucket-level-access "$@"
      ;;
    ours) gcloud storage buckets update "gs://$name" --update-labels="$LABELS" --uniform-bucket-level-access "$@" ;;
    foreign) foreign "bucket $name" ;;
  esac
}

program() { # FLAG...
  case $(state gcloud run "$KIND" describe "$NAME" --project="$PROJECT" --region="$REGION" --format='value(metadata.labels.deployment)') in
    foreign) foreign "Cloud Run $NAME" ;;
    *) eventually 12 gcloud run "$@" --image="$IMAGE" --project="$PROJECT" --region="$REGION" --service-account="$ACCOUNT" \
      --labels="$LABELS" --quiet ;;
  esac
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
    let kind = if plan.program.is_job() { "jobs" } else { "services" };
    let _ = writeln!(text, "NAME={}\nKIND='{kind}'\nRETENTION={RETENTION_SECONDS}s", quoted(&plan.name));
    match &plan.program.image {
        Some(image) => drop(writeln!(text, "IMAGE={}", quoted(image))),
        None => text.push_str("IMAGE=${IMAGE:?set it to the container image that is to run}\n"),
    }
    apis(&mut text, plan);
    bus(&mut text, plan);
    buckets(&mut text, plan);
    access(&mut text, plan);
    program(&mut text, plan);
    monitoring(&mut text, plan);
    public(&mut text, plan);
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
            quoted(&plan.marked(&job.description())),
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
        "\ngcloud iam service-accounts describe \"$ACCOUNT\" --project=\"$PROJECT\" >/dev/null 2>&1 ||\n  \
         gcloud iam service-accounts create {} --project=\"$PROJECT\" --display-name='phase6 serve' --description={}",
        quoted(&plan.name),
        quoted(&plan.marked(ACCOUNT_DESCRIPTION))
    );
    if plan.grants.iter().any(|g| g.who == Who::PubSub) {
        text.push_str("NUMBER=$(gcloud projects describe \"$PROJECT\" --format='value(projectNumber)')\n");
        text.push_str("PUBSUB=\"service-$NUMBER@gcp-sa-pubsub.iam.gserviceaccount.com\"\n");
        // The agent is there only after it was asked for once.
        text.push_str("gcloud beta services identity create --service=pubsub.googleapis.com --project=\"$PROJECT\"\n");
    }
    let early = |g: &&Grant| g.who != Who::Everybody && !matches!(g.on, Place::RunJob(_));
    for grant in plan.grants.iter().filter(early) {
        let _ = writeln!(text, "eventually 12 {} >/dev/null", binding(grant));
    }
}

/// What everybody may read comes last, so that an organisation that forbids it stops nothing else.
fn public(text: &mut String, plan: &Plan) {
    for grant in plan.grants.iter().filter(|g| g.who == Who::Everybody) {
        let foreign = quoted(&format!(" {} ", grant.on));
        let _ = writeln!(text, "[[ \"$FOREIGN\" == *{foreign}* ]] || {} >/dev/null", binding(grant));
    }
}

/// The command that gives a right.
fn binding(grant: &Grant) -> String {
    let member = match grant.who {
        Who::Service => "\"serviceAccount:$ACCOUNT\"",
        Who::PubSub => "\"serviceAccount:$PUBSUB\"",
        Who::Everybody => "allUsers",
    };
    let add = "add-iam-policy-binding";
    let place = match &grant.on {
        Place::Project(name) => format!("gcloud projects {add} {} --condition=None", quoted(name)),
        Place::Topic(name) => format!("gcloud pubsub topics {add} {} --project=\"$PROJECT\"", quoted(name)),
        Place::Subscription(name) => {
            format!("gcloud pubsub subscriptions {add} {} --project=\"$PROJECT\"", quoted(name))
        }
        Place::Bucket(name) => format!("gcloud storage buckets {add} {}", quoted(&format!("gs://{name}"))),
        Place::Secret(name) => format!("gcloud secrets {add} {} --project=\"$PROJECT\"", quoted(name)),
        Place::RunJob(name) => {
            format!("gcloud run jobs {add} {} --project=\"$PROJECT\" --region=\"$REGION\"", quoted(name))
        }
        Place::Table { .. } => format!("bq {add} --table=true"),
    };
    let table = match &grant.on {
        Place::Table { project, dataset, table } => format!(" {}", quoted(&format!("{project}:{dataset}.{table}"))),
        _ => String::new(),
    };
    format!("{place} --member={member} --role={}{table}", quoted(&grant.role))
}

fn program(text: &mut String, plan: &Plan) {
    let p = &plan.program;
    let pairs = |of: Vec<String>| quoted(&of.join(","));
    let env = pairs(p.env.iter().map(|(name, value)| format!("{name}={value}")).collect());
    let mut common = format!(
        "--args={} --cpu={} --memory={} --update-env-vars={env}",
        quoted(&p.args.join(",")),
        quoted(&p.cpu),
        quoted(&p.memory)
    );
    if !p.secrets.is_empty() {
        let secrets = pairs(p.secrets.iter().map(|(name, secret)| format!("{name}={secret}:latest")).collect());
        let _ = write!(common, " --update-secrets={secrets}");
    }
    let name = quoted(&p.name);
    match &p.runs {
        Runs::Service { port, min_instances, max_instances, probe } => {
            let get = format!("httpGet.path={probe},httpGet.port={port}");
            let _ = writeln!(
                text,
                "\nprogram deploy {name} {common} --port={port} \\\n  \
                 --no-allow-unauthenticated --no-cpu-throttling --min-instances={min_instances} --max-instances={max_instances} \\\n  \
                 --startup-probe={get},periodSeconds=2,timeoutSeconds=1,failureThreshold=30 \\\n  \
                 --liveness-probe={get},periodSeconds=30,timeoutSeconds=5,failureThreshold=3"
            );
        }
        Runs::Job { schedule, timeout_seconds, max_retries, .. } => {
            let _ = writeln!(
                text,
                "\nprogram jobs deploy {name} {common} --tasks=1 --max-retries={max_retries} --task-timeout={timeout_seconds}s"
            );
            for grant in plan.grants.iter().filter(|g| matches!(g.on, Place::RunJob(_))) {
                let _ = writeln!(text, "eventually 12 {} >/dev/null", binding(grant));
            }
            let description = plan.marked(&p.starter_description());
            let _ = writeln!(
                text,
                "starter {} --description={} --schedule={} --time-zone=Etc/UTC --uri={} --http-method=POST --oauth-service-account-email=\"$ACCOUNT\"",
                quoted(&p.starter()),
                quoted(&description),
                quoted(schedule),
                quoted(&start_uri(plan))
            );
        }
    }
}

fn monitoring(text: &mut String, plan: &Plan) {
    text.push('\n');
    for metric in &plan.metrics {
        let description = plan.marked(&metric.description);
        let (name, filter) = (quoted(&metric.name), quoted(&metric.filter));
        let _ = writeln!(text, "metric {name} --description={} --log-filter={filter}", quoted(&description));
    }
    for policy in &plan.policies {
        let labels: serde_json::Map<_, _> =
            plan.labels().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let mut body = json!({
            "displayName": policy.title,
            "documentation": {"content": policy.text, "mimeType": "text/markdown"},
            "combiner": "OR",
            "conditions": policy.conditions,
            "userLabels": labels,
        });
        if !policy.channels.is_empty() {
            body["notificationChannels"] = json!(policy.channels);
        }
        let _ = writeln!(text, "policy {} {}", quoted(&policy.title), quoted(&body.to_string()));
    }
}
