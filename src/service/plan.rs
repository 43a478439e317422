//! A trigger message becomes a request: which exports, which day, which parameters. Pure and strict; nothing is guessed.

use crate::config::Project;
use crate::diagnostics::nearest;
use crate::model::Value;
use crate::model::dates::DayRule;
use crate::model::message::{TriggerMessage, attributes};
use crate::model::request::{Cause, CauseKind, ExportRequest, digest};
use crate::ports::bus::Message;
use jiff::Timestamp;
use jiff::civil::Date;
use std::collections::BTreeMap;

/// What a message asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    pub exports: Vec<String>,
    pub target_date: Date,
    pub params: BTreeMap<String, Value>,
}

/// Checks what the message asks for; `Err` is the reason for refusing it.
pub fn selection(
    project: &Project,
    rule: &DayRule,
    message: &TriggerMessage,
    cause_time: Timestamp,
) -> Result<Selection, String> {
    let players = match message.players {
        Some(false) => return Err("`players` can only be true".to_owned()),
        other => other.is_some(),
    };
    let exports = match (&message.export_types, players) {
        (Some(_), true) => return Err("it asks for `export_types` and for `players`: send two messages".to_owned()),
        (None, false) => return Err("it asks for nothing: neither `export_types` nor `players`".to_owned()),
        (Some(names), false) => named(project, names)?,
        (None, true) => by_players(project)?,
    };
    let target_date = match &message.target_date {
        Some(text) => rule.resolve(text, cause_time).map_err(|reason| format!("`target_date`: {reason}"))?,
        None if players => rule.day_of(cause_time),
        None => return Err("`target_date` is missing".to_owned()),
    };
    let mut params = BTreeMap::new();
    if let Some(min_games) = message.min_games {
        let takes =
            |name: &String| export(project, name).is_some_and(|e| e.params.iter().any(|p| p.name.value == "min_games"));
        if !exports.iter().any(takes) {
            return Err("`min_games`: none of the exports has this parameter".to_owned());
        }
        params.insert("min_games".to_owned(), Value::Int64(min_games));
    }
    Ok(Selection { exports, target_date, params })
}

fn export<'p>(project: &'p Project, name: &str) -> Option<&'p crate::config::Export> {
    project.exports.iter().find(|e| e.name.value == name)
}

fn named(project: &Project, names: &[String]) -> Result<Vec<String>, String> {
    if names.is_empty() {
        return Err("`export_types` is empty".to_owned());
    }
    for (i, name) in names.iter().enumerate() {
        if export(project, name).is_none() {
            let known = project.exports.iter().map(|e| e.name.value.as_str());
            let hint = nearest(name, known).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            return Err(format!("there is no export `{}`{hint}", name.escape_debug()));
        }
        if names[..i].contains(name) {
            return Err(format!("`export_types` names `{name}` twice"));
        }
    }
    Ok(names.to_vec())
}

fn by_players(project: &Project) -> Result<Vec<String>, String> {
    let chosen = project.exports.iter().filter(|e| e.selected_by.as_deref() == Some("players"));
    let names: Vec<String> = chosen.map(|e| e.name.value.clone()).collect();
    if names.is_empty() { Err("`players`: no export says `selected_by: players`".to_owned()) } else { Ok(names) }
}

/// The request of a trigger message, pinned by the message alone: a redelivery gives the same one.
pub fn request(
    project: &Project,
    rule: &DayRule,
    body: &TriggerMessage,
    message: &Message,
) -> Result<ExportRequest, String> {
    let cause = cause(body, message)?;
    let Selection { exports, target_date, params } = selection(project, rule, body, cause.time)?;
    Ok(ExportRequest {
        run_id: request_id(message),
        today: rule.day_of(cause.time),
        cause,
        exports,
        target_date,
        params,
        update_latest: body.update_latest.unwrap_or(true),
        force: false,
    })
}

/// When the cause was: a schedule's nominal slot, the publish time that a pushed message had at its origin, else the message's own
/// publish time.
pub fn cause_time(message: &Message) -> Result<Timestamp, String> {
    match message.attributes.get(attributes::CAUSE_TIME).filter(|text| !text.is_empty()) {
        None => Ok(message.published_at),
        Some(text) => text.parse().map_err(|_| {
            format!("the attribute `{}` is no instant: `{}`", attributes::CAUSE_TIME, text.escape_debug())
        }),
    }
}

/// What asked for it: the attributes that phase6 sets, else the batch, the correlation id, the message's own id.
fn cause(body: &TriggerMessage, message: &Message) -> Result<Cause, String> {
    let attribute = |name: &str| message.attributes.get(name).filter(|v| !v.is_empty());
    let time = cause_time(message)?;
    let kind = match attribute(attributes::CAUSE_KIND).map(String::as_str) {
        Some("schedule") => CauseKind::Schedule,
        Some("retry") => CauseKind::Retry,
        Some("http") => CauseKind::Http,
        _ => CauseKind::Message,
    };
    let id = match attribute(attributes::CAUSE_ID) {
        Some(id) => id.clone(),
        None => body.dedupe_key().unwrap_or(&message.id).to_owned(),
    };
    Ok(Cause { kind, id, time })
}

/// The id of the run that a trigger message is for: the one that it continues, else its own.
pub fn request_id(message: &Message) -> String {
    let continued = message.attributes.get(attributes::CONTINUES).filter(|id| !id.is_empty());
    continued.cloned().unwrap_or_else(|| run_id(message))
}

/// The run's id: sorts by the message's publish time, and is the same for each delivery of the message.
pub fn run_id(message: &Message) -> String {
    run_id_of(&message.topic, &message.id, message.published_at)
}

/// As [`run_id`], for a message that is known by its id alone.
pub fn run_id_of(topic: &str, message_id: &str, published_at: Timestamp) -> String {
    format!("{}{}", run_ids_of(published_at), &digest(&[topic, message_id])[..8])
}

/// How the ids of all runs begin whose messages were published at that instant.
pub fn run_ids_of(published_at: Timestamp) -> String {
    let stamp = published_at.to_string().replace(['-', ':'], "");
    format!("{}-", stamp.trim_end_matches('Z'))
}
