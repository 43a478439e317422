//! The plan held against what exists: for each thing what is to be done. Pure.
//!
//! Only the fields that we hold to are compared; what others set besides stays. What does not bear our mark is *foreign*: it is used
//! as it is, its differences are told, and nothing of it is changed unless it is adopted.

use super::access::Place;
use super::plan::Plan;
use super::read::Part;
use super::resources::{Kind, Resource, named};
use super::rights::{Audience, Rights};
use serde::Serialize;
use serde_json::{Map, Value};
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

/// All steps of the parts, in the order in which they are carried out. `resources` are those of all parts: what is foreign counts for
/// the rights, too.
pub fn steps(plan: &Plan, resources: &[Resource], there: &There, leave: Leave, parts: &BTreeSet<Part>) -> Vec<Step> {
    let of = |resource: &Resource| of_resource(plan, resource, find(there, resource), there, leave);
    let made: Vec<(Kind, Step)> = resources.iter().map(|resource| (resource.kind, of(resource))).collect();
    let is_foreign = |(kind, step): &(Kind, Step)| (step.action == Action::Foreign).then(|| (*kind, step.name.clone()));
    let foreign: BTreeSet<(Kind, String)> = made.iter().filter_map(is_foreign).collect();
    let rights = Rights { plan, there, leave, foreign: &foreign };
    let (late, early): (Vec<Step>, Vec<Step>) = rights
        .steps(Audience::Accounts)
        .into_iter()
        .partition(|step| matches!(step.run, Run::Access { place: Place::RunJob(_), .. }));
    let mut all = vec![enabled(plan, there)];
    let mut made = made.into_iter().filter(|(kind, _)| parts.contains(&Part::of(*kind))).peekable();
    let mut take = |all: &mut Vec<Step>, last: Kind| {
        while let Some((_, step)) = made.next_if(|(kind, _)| *kind <= last) {
            all.push(step);
        }
    };
    // The account has to be there before it gets rights, the rights before the program starts, and a job before anybody may start it.
    take(&mut all, Kind::Account);
    all.extend(early);
    take(&mut all, Kind::RunJob);
    all.extend(late);
    take(&mut all, Kind::Policy);
    // What an organisation may forbid comes last, so that nothing else waits for it.
    all.extend(rights.steps(Audience::Everybody));
    for kind in Kind::ALL.into_iter().rev().filter(|kind| parts.contains(&Part::of(*kind))) {
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

pub fn step(action: Action, what: &'static str, name: impl Into<String>) -> Step {
    Step { action, what, name: name.into(), changes: Vec::new(), note: None, run: Run::Nothing }
}

fn of_resource(plan: &Plan, resource: &Resource, there: Option<&Value>, all: &There, leave: Leave) -> Step {
    let (kind, what) = (resource.kind, resource.kind.words().0);
    let new = |action| step(action, what, resource.name.clone());
    let Some(there) = there else {
        if matches!(kind, Kind::Service | Kind::RunJob) && plan.program.image.is_none() {
            return Step { note: Some("it is made with --image IMAGE".to_owned()), ..new(Action::Blocked) };
        }
        // A job that is not there cannot be started.
        if kind == Kind::Job && resource.name == plan.program.starter() && is_blocked_job(plan, all) {
            return Step {
                note: Some("it starts a Cloud Run job that is not there".to_owned()),
                ..new(Action::Blocked)
            };
        }
        return Step { run: Run::Create(resource.clone()), ..new(Action::Create) };
    };
    let changes = differences(there, &resource.fields);
    let note = paused(kind, there);
    if !kind.is_ours(plan, there) && !leave.adopt {
        let differs: Vec<Change> = changes.into_iter().filter(|c| !is_mark(&c.field)).collect();
        let (action, note) = match unusable(kind, &differs) {
            Some(field) => (
                Action::Blocked,
                format!("it was not made by this deployment, and with this `{field}` it cannot be used"),
            ),
            None => {
                let note = "it exists and was not made by this deployment: left as it is (--adopt takes it over)";
                (Action::Foreign, note.to_owned())
            }
        };
        return Step { changes: differs, note: Some(note), ..new(action) };
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

/// The field without which a subscription brings nothing, or not everything, to who pulls it.
fn unusable(kind: Kind, differs: &[Change]) -> Option<&str> {
    let fields = differs.iter().map(|change| top(&change.field)).filter(|_| kind == Kind::Subscription);
    fields.into_iter().find(|field| matches!(*field, "topic" | "filter" | "pushConfig"))
}

/// Whether the Cloud Run job is not there and cannot be made.
fn is_blocked_job(plan: &Plan, there: &There) -> bool {
    let jobs = there.things.get(&Kind::RunJob).into_iter().flatten();
    let is_there = jobs.into_iter().any(|job| Kind::RunJob.name_of(job) == Some(&plan.program.name));
    plan.program.image.is_none() && !is_there
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

/// Why something of ours stays although nothing of ours wants it any more.
fn needed_by_others(plan: &Plan, kind: Kind, thing: &Value, there: &There) -> Option<String> {
    let subscriptions = there.things.get(&Kind::Subscription).into_iter().flatten();
    let mut others = subscriptions.filter(|s| !Kind::Subscription.is_ours(plan, s) && s["topic"] == thing["name"]);
    let other = others.next().filter(|_| kind == Kind::Topic)?;
    Some(format!("not removed: `{}`, which is not ours, subscribes to it", Kind::Subscription.name_of(other)?))
}

fn left_over(plan: &Plan, kind: Kind, wanted: &[Resource], all_there: &There, leave: Leave) -> Vec<Step> {
    let things = all_there.things.get(&kind).into_iter().flatten();
    let ours = things.filter(|t| kind.is_ours(plan, t)).filter_map(|t| Some((kind.name_of(t)?, t)));
    let old = ours.filter(|(name, _)| !wanted.iter().any(|r| r.kind == kind && r.name == *name));
    let what = kind.words().0;
    old.map(|(name, there)| {
        if let Some(note) = needed_by_others(plan, kind, there, all_there).filter(|_| leave.prune) {
            return Step { note: Some(note), ..step(Action::Blocked, what, name) };
        }
        let note = match kind {
            Kind::Bucket => Some("only if it is empty".to_owned()),
            Kind::Subscription => Some("the messages that wait in it go with it".to_owned()),
            _ => None,
        };
        if leave.prune {
            Step { note, run: Run::Remove(kind, there.clone()), ..step(Action::Delete, what, name) }
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
        (Value::Array(there), Value::Array(ours)) if named(ours).is_some() => {
            for (name, ours) in named(ours).unwrap_or_default() {
                let there = there.iter().find(|item| item["name"] == name).unwrap_or(&Value::Null);
                compare(there, ours, &format!("{path}[{name}]"), all);
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
