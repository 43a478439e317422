//! The rights held against the access policies: what is to be given and taken at each place. Pure.

use super::access::{Grant, Place, Who};
use super::compare::{Action, Change, Leave, Policy, Run, Step, There, step};
use super::permissions;
use super::plan::Plan;
use super::resources::Kind;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Whose rights.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// The program's and Pub/Sub's.
    Accounts,
    Everybody,
}

/// A role and a member.
type Right = (String, String);

/// What the rights depend on.
pub struct Rights<'a> {
    pub plan: &'a Plan,
    pub there: &'a There,
    pub leave: Leave,
    pub foreign: &'a BTreeSet<(Kind, String)>,
}

impl Rights<'_> {
    /// A step for each place at which the audience gets rights.
    pub fn steps(&self, audience: Audience) -> Vec<Step> {
        self.there.access.iter().filter_map(|(place, policy)| self.step(place, policy, audience)).collect()
    }

    fn step(&self, place: &Place, policy: &Policy, audience: Audience) -> Option<Step> {
        let what = if audience == Audience::Everybody { "public access" } else { "rights" };
        let is_meant = |g: &&Grant| g.on == *place && (g.who == Who::Everybody) == (audience == Audience::Everybody);
        let wanted: Vec<&Grant> = self.plan.grants.iter().filter(is_meant).collect();
        if wanted.is_empty() {
            return None;
        }
        if let (Policy::Absent, Place::Table { .. } | Place::Secret(_)) = (policy, place) {
            let note = "it is not there: nobody can be given a right to it".to_owned();
            return Some(Step { note: Some(note), ..step(Action::Blocked, what, place.to_string()) });
        }
        let known = match policy {
            Policy::Is(policy) => Some(policy),
            Policy::Absent | Policy::Unknown => None,
        };
        let (give, open) = self.missing(place, known, &wanted);
        let extra = if audience == Audience::Accounts { self.extra(known, &wanted) } else { Vec::new() };
        let note = self.note(&open, &extra);
        let take = if self.leave.prune { extra } else { Vec::new() };
        let given = give.iter().map(|(role, member)| right(role, member, true));
        let changes: Vec<Change> = given.chain(take.iter().map(|(role, member)| right(role, member, false))).collect();
        let (action, run) = match (changes.is_empty(), known) {
            (true, _) => (Action::Nothing, Run::Nothing),
            (false, known) => {
                let action = if known.is_some() { Action::Change } else { Action::Create };
                (action, Run::Access { place: place.clone(), give, take })
            }
        };
        Some(Step { changes, note, run, ..step(action, what, place.to_string()) })
    }

    /// What is not given yet: what is to be given, and what is not ours to give. To open somebody else's bucket to everybody is not
    /// ours to decide; to let ourselves in is.
    fn missing(&self, place: &Place, known: Option<&Value>, wanted: &[&Grant]) -> (Vec<Right>, Vec<Right>) {
        let is_foreign = self.is_foreign(place);
        let member = |g: &Grant| g.member(self.plan, &self.there.number);
        let missing = wanted.iter().filter(|g| !known.is_some_and(|policy| holds(policy, &g.role, &member(g))));
        let (give, open): (Vec<_>, Vec<_>) = missing.partition(|g| !is_foreign || g.who == Who::Service);
        let rights = |all: Vec<&&Grant>| all.into_iter().map(|g| (g.role.clone(), member(g))).collect();
        (rights(give), rights(open))
    }

    /// What our account has and no longer needs. What somebody else gave it is not ours to take.
    fn extra(&self, known: Option<&Value>, wanted: &[&Grant]) -> Vec<Right> {
        let ours = format!("serviceAccount:{}", self.plan.account());
        let needed = |role: &str| wanted.iter().any(|g| g.role == role && g.who == Who::Service);
        let has = bindings(known).filter(|(_, members)| members.contains(&ours.as_str())).map(|(role, _)| role);
        let extra = has.filter(|role| permissions::is_ours_to_give(role) && !needed(role));
        extra.map(|role| (role.to_owned(), ours.clone())).collect()
    }

    fn is_foreign(&self, place: &Place) -> bool {
        let is = |kind: Kind, name: &String| self.foreign.contains(&(kind, name.clone()));
        match place {
            Place::Topic(name) => is(Kind::Topic, name),
            Place::Subscription(name) => is(Kind::Subscription, name),
            Place::Bucket(name) => is(Kind::Bucket, name),
            Place::RunJob(name) => is(Kind::RunJob, name),
            Place::Project(_) | Place::Table { .. } | Place::Secret(_) => false,
        }
    }

    fn note(&self, open: &[Right], extra: &[Right]) -> Option<String> {
        let mut notes = Vec::new();
        if !open.is_empty() {
            let members: Vec<String> = open.iter().map(|(role, member)| format!("{role} to {member}")).collect();
            notes.push(format!("foreign: not given is {}", members.join(", ")));
        }
        if !self.leave.prune && !extra.is_empty() {
            let roles: Vec<&str> = extra.iter().map(|(role, _)| role.as_str()).collect();
            notes.push(format!("--prune takes {} from our account", roles.join(", ")));
        }
        (!notes.is_empty()).then(|| notes.join("; "))
    }
}

fn right(role: &str, member: &str, given: bool) -> Change {
    let (none, member) = ("nobody".to_owned(), member.to_owned());
    let (old, new) = if given { (none, member) } else { (member, none) };
    Change { field: role.to_owned(), old, new }
}

/// The bindings without a condition: role and members.
fn bindings(policy: Option<&Value>) -> impl Iterator<Item = (&str, Vec<&str>)> {
    let all = policy.and_then(|p| p["bindings"].as_array()).into_iter().flatten();
    all.filter(|b| b["condition"].is_null()).filter_map(|b| {
        let members = b["members"].as_array().into_iter().flatten().filter_map(Value::as_str);
        Some((b["role"].as_str()?, members.collect()))
    })
}

fn holds(policy: &Value, role: &str, member: &str) -> bool {
    bindings(Some(policy)).any(|(r, members)| r == role && members.contains(&member))
}

/// A policy with some rights more and some less; its other bindings, conditions and etag stay.
pub fn changed_policy(policy: &Value, give: &[(String, String)], take: &[(String, String)]) -> Value {
    let mut policy = if policy.is_object() { policy.clone() } else { json!({}) };
    let mut all = policy["bindings"].as_array().cloned().unwrap_or_default();
    let is = |b: &Value, role: &str| b["role"] == role && b["condition"].is_null();
    for (role, member) in give {
        match all.iter_mut().find(|b| is(b, role)) {
            Some(binding) => {
                if let Some(members) = binding["members"].as_array_mut()
                    && !members.iter().any(|m| m == member)
                {
                    members.push(member.as_str().into());
                }
            }
            None => all.push(json!({"role": role, "members": [member]})),
        }
    }
    for (role, member) in take {
        for binding in all.iter_mut().filter(|b| is(b, role)) {
            if let Some(members) = binding["members"].as_array_mut() {
                members.retain(|m| m != member);
            }
        }
    }
    all.retain(|b| b["members"].as_array().is_some_and(|members| !members.is_empty()));
    policy["bindings"] = Value::Array(all);
    policy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_keeps_what_others_gave() {
        let pair = |role: &str, member: &str| (role.to_owned(), member.to_owned());
        let condition = json!({"role": "r1", "members": ["user:x"], "condition": {"expression": "true"}});
        let there = json!({"etag": "e", "version": 3, "bindings": [condition, {"role": "r1", "members": ["user:y"]}]});
        let given = changed_policy(&there, &[pair("r1", "a"), pair("r2", "a"), pair("r1", "a")], &[]);
        assert_eq!(given["etag"], "e");
        assert_eq!(given["bindings"][0], condition, "a binding with a condition is another one");
        assert_eq!(given["bindings"][1]["members"], json!(["user:y", "a"]));
        assert_eq!(given["bindings"][2], json!({"role": "r2", "members": ["a"]}));
        let taken = changed_policy(&given, &[], &[pair("r2", "a"), pair("r1", "a")]);
        assert_eq!(taken["bindings"], there["bindings"]);
    }
}
