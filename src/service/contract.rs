//! What the readers of a topic take, for who is about to publish to it.
//!
//! Pub/Sub's own schemas are Avro and Protocol Buffers; the contracts here are JSON Schema, which Pub/Sub cannot hold a message
//! against. So the gate and the worker do that for each message when it arrives, whoever sent it, and `phase6 publish` says
//! beforehand what they will say.

use super::gate::{Gate, TRIGGER_TOPIC};
use super::plan;
use crate::config::Project;
use crate::model::dates::DayRule;
use crate::model::message::TriggerMessage;
use jiff::Timestamp;

/// The contracts of one topic's readers.
pub struct Contract<'p> {
    project: &'p Project,
    rule: DayRule,
    gates: Vec<Gate>,
    is_trigger: bool,
}

impl<'p> Contract<'p> {
    /// Of a topic by its own name; `Err` says what is wrong with a schema or the calendar.
    pub fn of(project: &'p Project, topic: &str) -> Result<Self, String> {
        let mut gates = Vec::new();
        for decl in project.trigger_decls() {
            if project.topic(&decl.topic.value) == Some(topic) {
                let name = decl.name.value.clone();
                gates.push(Gate::compile(project, decl).map_err(|e| format!("trigger `{name}`: {e}"))?);
            }
        }
        let is_trigger = project.topic(TRIGGER_TOPIC) == Some(topic);
        Ok(Self { project, rule: project.calendar.day_rule()?, gates, is_trigger })
    }

    /// Why a reader will refuse the body; date words are meant as of `now`.
    pub fn broken(&self, body: &[u8], now: Timestamp) -> Option<String> {
        if self.is_trigger {
            let asked = TriggerMessage::read(body).and_then(|m| plan::selection(self.project, &self.rule, &m, now));
            if let Err(reason) = asked {
                return Some(format!("the worker will refuse it: {reason}"));
            }
        }
        let refused = |gate: &Gate| {
            let reason = match serde_json::from_slice(body) {
                Ok(json) => gate.contract_broken(&json)?,
                Err(error) => format!("the message is no JSON: {error}"),
            };
            Some(format!("the trigger `{}` will refuse it: {reason}", gate.decl.name.value))
        };
        self.gates.iter().find_map(refused)
    }
}
