//! Names that Google Cloud takes, and the plan in words.

use super::plan::Plan;
use regex::Regex;

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
    hold("deployment (and service account)", &plan.name, ACCOUNT);
    plan.topics.iter().for_each(|t| hold("topic", t, TOPIC));
    plan.subscriptions.iter().for_each(|s| hold("subscription", &s.name, TOPIC));
    plan.jobs.iter().for_each(|j| hold("job", &j.name, JOB));
    plan.buckets.iter().for_each(|b| hold("bucket", &b.name, BUCKET));
    wrong
}
