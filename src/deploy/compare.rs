//! The plan held against what exists: for each thing what is to be done. Pure.
//!
//! Only the fields that we hold to are compared; what others set besides stays. What does not bear our mark is *foreign*: it is used
//! as it is, its differences are told, and nothing of it is changed unless it is adopted.

use super::access::{Grant, Place, Who};
use super::plan::Plan;
use super::resources::{Kind, Resource};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What exists, as it was read.
#[derive(Debug, Default)]
pub struct There {
    /// The project's number.
    pub number: String,
    /// The names of enabled services.
    pub enabled: BTreeSet<String>,
    pub things: BTreeMap<Kind, Vec<Value>>,
    /// The access policy of each place, in the order of [`places`].
    pub access: Vec<(Place, Policy)>,
}

/// An access policy, as far as it could be read.
#[derive(Debug)]
pub enum Policy {
    Is(Value),
    /// The place is not there.
    Absent,
    /// The place's service is not enabled yet, so nobody knows.
    Unknown,
}

/// What may be done besides making and changing our own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Leave {
    /// Foreign things of the plan's names become ours.
    pub adopt: bool,
    /// What is ours and no longer wanted is removed.
    pub prune: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Create,
    Change,
    Nothing,
    /// It exists and is not ours: used as it is.
    Foreign,
    Delete,
    /// It is ours and no longer wanted; only `--prune` removes it.
    LeftOver,
    /// It cannot be made as it has to be; the note says why.
    Blocked,
}

/// A field that is not as it has to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    pub field: String,
    pub old: String,
    pub new: String,
}

/// One thing and what is to be done about it.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    pub action: Action,
    /// What kind of thing, for people.
    pub what: &'static str,
    pub name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    #[serde(skip)]
    pub run: Run,
}

/// How a step is carried out.
#[derive(Debug, Clone, Default)]
pub enum Run {
    #[default]
    Nothing,
    Enable(Vec<&'static str>),
    Create(Resource),
    Change(Resource, Value, Vec<String>),
    Remove(Kind, Value),
    /// Rights to give and to take, as (role, member).
    Access {
        place: Place,
        give: Vec<(String, String)>,
        take: Vec<(String, String)>,
    },
}

impl Step {
    pub fn is_work(&self) -> bool {
        matches!(self.action, Action::Create | Action::Change | Action::Delete)
    }
}

/// All steps, in the order in which they are carried out.
pub fn steps(plan: &Plan, resources: &[Resource], there: &There, leave: Leave) -> Vec<Step> {
    let mut all = vec![enabled(plan, there)];
    let mut foreign = BTreeSet::new();
    for resource in resources {
        let step = of_resource(plan, resource, find(there, resource), leave);
        if step.action == Action::Foreign {
            foreign.insert((resource.kind, resource.name.clone()));
        }
        all.push(step);
    }
    // The account has to be there before it gets rights, and the rights before the service starts.
    let rights = rights(plan, there, leave, &foreign);
    let service = Kind::Service.words().0;
    let at = all.iter().position(|s| s.what == service).unwrap_or(all.len());
    all.splice(at..at, rights);
    for kind in Kind::ALL.into_iter().rev() {
        all.extend(left_over(plan, kind, resources, there, leave));
    }
    all
}

/// How many things of each kind are none of ours and not in the plan.
pub fn others(plan: &Plan, resources: &[Resource], there: &There) -> BTreeMap<&'static str, usize> {
    let mut all = BTreeMap::new();
    for (kind, things) in &there.things {
        let wanted = |name: &str| resources.iter().any(|r| r.kind == *kind && r.name == name);
        let foreign = things.iter().filter(|t| !kind.is_ours(plan, t) && !kind.name_of(t).is_some_and(wanted)).count();
        if foreign > 0 {
            let (one, many) = kind.words();
            all.insert(if foreign == 1 { one } else { many }, foreign);
        }
    }
    all
}

fn find<'t>(there: &'t There, resource: &Resource) -> Option<&'t Value> {
    there.things.get(&resource.kind)?.iter().find(|t| resource.kind.name_of(t) == Some(&resource.name))
}

fn enabled(plan: &Plan, there: &There) -> Step {
    let missing: Vec<&'static str> = plan.apis.iter().copied().filter(|api| !there.enabled.contains(*api)).collect();
    let all = format!("{} APIs", plan.apis.len());
    match missing.is_empty() {
        true => Step { run: Run::Nothing, ..step(Action::Nothing, "service", all) },
        false => Step { run: Run::Enable(missing.clone()), ..step(Action::Create, "enabled APIs", missing.join(", ")) },
    }
}

fn step(action: Action, what: &'static str, name: impl Into<String>) -> Step {
    Step { action, what, name: name.into(), changes: Vec::new(), note: None, run: Run::Nothing }
}

fn of_resource(plan: &Plan, resource: &Resource, there: Option<&Value>, leave: Leave) -> Step {
    let (kind, what) = (resource.kind, resource.kind.words().0);
    let new = |action| step(action, what, resource.name.clone());
    let Some(there) = there else {
        if kind == Kind::Service && plan.service.image.is_none() {
            return Step { note: Some("it is made with --image IMAGE".to_owned()), ..new(Action::Blocked) };
        }
        return Step { run: Run::Create(resource.clone()), ..new(Action::Create) };
    };
    let changes = differences(there, &resource.fields);
    let note = paused(kind, there);
    if !kind.is_ours(plan, there) && !leave.adopt {
        let differs = changes.into_iter().filter(|c| !is_mark(&c.field)).collect();
        let note = "it exists and was not made by this deployment: left as it is (--adopt takes it over)".to_owned();
        return Step { changes: differs, note: Some(note), ..new(Action::Foreign) };
    }
    if changes.is_empty() {
        return Step { note, ..new(Action::Nothing) };
    }
    let mut fields: Vec<String> = changes.iter().map(|c| top(&c.field).to_owned()).collect();
    fields.dedup();
    if let Some(fixed) = fields.iter().find(|f| kind.fixed().contains(&f.as_str())) {
        let note = format!("`{fixed}` cannot be changed: remove it by hand, then deploy again");
        return Step { changes, note: Some(note), ..new(Action::Blocked) };
    }
    Step { changes, note, run: Run::Change(resource.clone(), there.clone(), fields), ..new(Action::Change) }
}

fn is_mark(field: &str) -> bool {
    matches!(top(field), "labels" | "userLabels" | "description")
}

fn top(field: &str) -> &str {
    field.split(['.', '[']).next().unwrap_or(field)
}

/// What an operator paused stays paused.
fn paused(kind: Kind, there: &Value) -> Option<String> {
    (kind == Kind::Job && there["state"] == "PAUSED").then(|| "it is paused, and stays so".to_owned())
}

/// The places at which the plan gives rights, each once.
pub fn places(plan: &Plan) -> Vec<Place> {
    let mut all: Vec<Place> = Vec::new();
    for grant in &plan.grants {
        if !all.contains(&grant.on) {
            all.push(grant.on.clone());
        }
    }
    all
}

fn rights(plan: &Plan, there: &There, leave: Leave, foreign: &BTreeSet<(Kind, String)>) -> Vec<Step> {
    let ours = format!("serviceAccount:{}", plan.account());
    let mut all = Vec::new();
    for (place, policy) in &there.access {
        let is_foreign = match place {
            Place::Topic(name) => foreign.contains(&(Kind::Topic, name.clone())),
            Place::Subscription(name) => foreign.contains(&(Kind::Subscription, name.clone())),
            Place::Bucket(name) => foreign.contains(&(Kind::Bucket, name.clone())),
            Place::Project(_) | Place::Table { .. } => false,
        };
        let grants: Vec<&Grant> = plan.grants.iter().filter(|g| g.on == *place).collect();
        if matches!((policy, place), (Policy::Absent, Place::Table { .. })) {
            let note = "the table is not there: nobody can be given a right to it".to_owned();
            all.push(Step { note: Some(note), ..step(Action::Blocked, "rights", place.to_string()) });
            continue;
        }
        let known = match policy {
            Policy::Is(policy) => Some(policy),
            Policy::Absent | Policy::Unknown => None,
        };
        let wanted: Vec<(String, String, Who)> =
            grants.iter().map(|g| (g.role.clone(), g.member(plan, &there.number), g.who)).collect();
        let has = |role: &str, member: &str| known.is_some_and(|p| holds(p, role, member));
        let missing = wanted.iter().filter(|(role, member, _)| !has(role, member));
        // To open somebody else's bucket to everybody is not ours to decide; to let ourselves in is.
        let (give, open): (Vec<_>, Vec<_>) = missing.partition(|(_, _, who)| !is_foreign || *who == Who::Service);
        let extra: Vec<(String, String)> = bindings(known)
            .filter(|(role, members)| {
                members.contains(&ours.as_str()) && !wanted.iter().any(|(r, m, _)| r == role && *m == ours)
            })
            .map(|(role, _)| (role.to_owned(), ours.clone()))
            .collect();
        let give: Vec<(String, String)> = give.iter().map(|(role, member, _)| (role.clone(), member.clone())).collect();
        let mut changes: Vec<Change> = give.iter().map(|(role, member)| right(role, member, true)).collect();
        let take = if leave.prune { extra.clone() } else { Vec::new() };
        changes.extend(take.iter().map(|(role, member)| right(role, member, false)));
        let mut notes = Vec::new();
        if !open.is_empty() {
            let members: Vec<String> = open.iter().map(|(role, member, _)| format!("{role} to {member}")).collect();
            notes.push(format!("foreign: not given is {}", members.join(", ")));
        }
        if !leave.prune && !extra.is_empty() {
            let roles: Vec<&str> = extra.iter().map(|(role, _)| role.as_str()).collect();
            notes.push(format!("--prune takes {} from our account", roles.join(", ")));
        }
        let action = match (changes.is_empty(), known) {
            (true, _) => Action::Nothing,
            (false, None) => Action::Create,
            (false, Some(_)) => Action::Change,
        };
        all.push(Step {
            changes,
            note: (!notes.is_empty()).then(|| notes.join("; ")),
            run: if action == Action::Nothing {
                Run::Nothing
            } else {
                Run::Access { place: place.clone(), give, take }
            },
            ..step(action, "rights", place.to_string())
        });
    }
    all
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

fn left_over(plan: &Plan, kind: Kind, wanted: &[Resource], there: &There, leave: Leave) -> Vec<Step> {
    let things = there.things.get(&kind).into_iter().flatten();
    let ours = things.filter(|t| kind.is_ours(plan, t)).filter_map(|t| Some((kind.name_of(t)?, t)));
    let old = ours.filter(|(name, _)| !wanted.iter().any(|r| r.kind == kind && r.name == *name));
    let what = kind.words().0;
    old.map(|(name, there)| {
        let empty = (kind == Kind::Bucket).then(|| "only if it is empty".to_owned());
        if leave.prune {
            Step { note: empty, run: Run::Remove(kind, there.clone()), ..step(Action::Delete, what, name) }
        } else {
            let note = "it is no longer in the configuration; --prune removes it".to_owned();
            Step { note: Some(note), ..step(Action::LeftOver, what, name) }
        }
    })
    .collect()
}

/// The fields of ours that are otherwise there.
pub fn differences(there: &Value, ours: &Value) -> Vec<Change> {
    let mut all = Vec::new();
    compare(there, ours, "", &mut all);
    all
}

fn compare(there: &Value, ours: &Value, path: &str, all: &mut Vec<Change>) {
    let mut differs = || {
        all.push(Change { field: path.trim_start_matches('.').to_owned(), old: shown(there), new: shown(ours) });
    };
    match (there, ours) {
        // A field that must not be set.
        (there, Value::Null) => {
            if !is_default(there) {
                differs();
            }
        }
        (Value::Object(_) | Value::Null, Value::Object(ours)) => {
            for (key, value) in ours {
                compare(&there[key], value, &format!("{path}.{key}"), all);
            }
        }
        (Value::Array(there), Value::Array(ours)) if there.len() == ours.len() => {
            for (i, (there, ours)) in there.iter().zip(ours).enumerate() {
                compare(there, ours, &format!("{path}[{i}]"), all);
            }
        }
        (there, ours) => {
            if !same(there, ours) {
                differs();
            }
        }
    }
}

/// JSON of protocol buffers leaves out what has its default, and writes 64-bit numbers as texts.
fn same(there: &Value, ours: &Value) -> bool {
    let number = |value: &Value| match value {
        Value::Number(n) => n.as_f64(),
        Value::String(text) => text.parse::<f64>().ok(),
        _ => None,
    };
    there == ours
        || (is_default(there) && is_default(ours))
        || (ours.is_number() && number(there).is_some_and(|n| Some(n) == number(ours)))
}

fn is_default(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || text == "0s",
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.values().all(is_default),
    }
}

/// A value for people.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "not set".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(map) if map.is_empty() => "not set".to_owned(),
        other => sorted(other).to_string(),
    }
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut pairs: Vec<(String, Value)> = map.iter().map(|(k, v)| (k.clone(), sorted(v))).collect();
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(Map::from_iter(pairs))
        }
        Value::Array(list) => Value::Array(list.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests;
