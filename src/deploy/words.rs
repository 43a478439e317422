//! Names that Google Cloud takes, and the plan in words.

use super::access::{Grant, Place, Who};
use super::plan::Plan;
use regex::Regex;
use std::fmt::Write;

/// What each kind of name has to look like.
const TOPIC: &str = r"^[A-Za-z][A-Za-z0-9._~+%-]{2,254}$";
const JOB: &str = r"^[A-Za-z0-9_-]{1,500}$";
const BUCKET: &str = r"^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$";
const ACCOUNT: &str = r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$";
const PROJECT: &str = r"^([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$";
const REGION: &str = r"^[a-z]+(-[a-z0-9]+)+$";

/// The names that would be refused, each with its reason: better here than in the middle of a deployment.
pub fn wrong_names(plan: &Plan) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut hold = |what: &str, name: &str, pattern: &str| {
        if !Regex::new(pattern).is_ok_and(|p| p.is_match(name)) {
            wrong.push(format!("Google Cloud takes no {what} `{name}`: it has to match {pattern}"));
        }
    };
    hold("project", &plan.project, PROJECT);
    hold("region", &plan.region, REGION);
    hold("service account", &plan.account, ACCOUNT);
    plan.topics.iter().for_each(|t| hold("topic", t, TOPIC));
    plan.subscriptions.iter().for_each(|s| hold("subscription", &s.name, TOPIC));
    plan.jobs.iter().for_each(|j| hold("job", &j.name, JOB));
    plan.buckets.iter().for_each(|b| hold("bucket", &b.name, BUCKET));
    wrong
}

/// The plan for people, in groups.
pub fn text(plan: &Plan) -> String {
    let mut text = format!(
        "Plan for target `{}`: project {}, region {}. Nothing was compared with what exists.\n",
        plan.target, plan.project, plan.region
    );
    group(&mut text, "topics", plan.topics.clone());
    let subscriptions = plan.subscriptions.iter().map(|s| {
        let dead =
            s.dead_letter.as_ref().map_or(String::new(), |d| format!(", after {} attempts to {d}", s.max_attempts));
        let (name, topic, ack) = (&s.name, &s.topic, s.ack_deadline_seconds);
        format!(
            "{name} of {topic}: lease {ack}s, retry {}s..{}s, never expires{dead}",
            s.min_retry_seconds, s.max_retry_seconds
        )
    });
    group(&mut text, "subscriptions", subscriptions.collect());
    let jobs = plan.jobs.iter().map(|j| {
        let paused = if j.paused { " (paused)" } else { "" };
        format!("{}: `{}` {} to {}{paused}\n      {}", j.name, j.schedule, j.timezone, j.topic, j.body)
    });
    group(&mut text, "scheduler jobs", jobs.collect());
    let buckets = plan.buckets.iter().map(|b| {
        let what = if b.public { "public reading, CORS GET" } else { "private, public access prevented" };
        format!("{}: {what}, versioning {}", b.name, if b.versioning { "on" } else { "off" })
    });
    group(&mut text, "buckets", buckets.collect());
    group(&mut text, "service account", vec![account(plan)]);
    group(&mut text, "rights", plan.grants.iter().map(right).collect());
    let service = plan.service.iter().map(|s| format!("{} runs `phase6 serve` from {}", s.name, s.image));
    group(&mut text, "Cloud Run", service.collect());
    group(&mut text, "to know", plan.notes.clone());
    text
}

fn group(text: &mut String, title: &str, lines: Vec<String>) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{title} ({})", lines.len());
    for line in lines {
        let _ = writeln!(text, "  {line}");
    }
}

fn right(grant: &Grant) -> String {
    let who = match grant.who {
        Who::Service => "the service",
        Who::PubSub => "Pub/Sub",
        Who::Everybody => "everybody",
    };
    let on = match &grant.on {
        Place::Project(name) => format!("project {name}"),
        Place::Topic(name) => format!("topic {name}"),
        Place::Subscription(name) => format!("subscription {name}"),
        Place::Bucket(name) => format!("bucket {name}"),
        Place::Table { project, dataset, table } => format!("table {project}:{dataset}.{table}"),
    };
    format!("{who}: {} on {on} ({})", grant.role, grant.why)
}

/// The service account's address.
pub fn account(plan: &Plan) -> String {
    format!("{}@{}.iam.gserviceaccount.com", plan.account, plan.project)
}
