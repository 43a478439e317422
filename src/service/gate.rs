//! A trigger's gate: what an upstream message comes to. Pure; the loop around it is `orchestrator`.
//!
//! Three verdicts (`design/semantics.md` §2): *reject* what is not the message that was agreed on, *skip* what a rule says no
//! to, *accept* the rest, which becomes the trigger's own message.

use super::plan;
use crate::config::{Node, Project, TriggerDecl};
use crate::document::json::Encoder;
use crate::document::spool::Spool;
use crate::model::dates::DayRule;
use crate::model::facts::type_of;
use crate::model::message::{TriggerMessage, attributes};
use crate::ports::bus::{MAX_BODY, Message};
use crate::shape::{Ctx, Scope, Val};
use std::rc::Rc;

/// The key under `topics:` whose messages ask for exports.
pub const TRIGGER_TOPIC: &str = "export_trigger";

/// What a message comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Judgement {
    Accept(Accepted),
    /// The rule's reason.
    Skip(String),
    /// What is wrong with the message.
    Reject(String),
}

/// A message to publish.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    pub body: Vec<u8>,
    pub target_date: Option<String>,
}

/// A trigger that is ready to judge.
pub struct Gate {
    pub decl: TriggerDecl,
    schema: Option<jsonschema::Validator>,
}

impl Gate {
    /// Compiles a trigger; `Err` says what is wrong with its schema. Expressions were checked with the project.
    pub fn compile(project: &Project, decl: TriggerDecl) -> Result<Gate, String> {
        let schema = match &decl.schema {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(project.root.join(&path.value))
                    .map_err(|e| format!("`{}` cannot be read: {e}", path.value))?;
                let schema = serde_json::from_str(&text).map_err(|e| format!("`{}` is no JSON: {e}", path.value))?;
                let validator = jsonschema::options().should_validate_formats(true).build(&schema);
                Some(validator.map_err(|e| format!("`{}` is no JSON Schema: {e}", path.value))?)
            }
        };
        Ok(Gate { decl, schema })
    }

    /// The subscription that delivers its messages.
    pub fn subscription(&self) -> String {
        super::settings::trigger_subscription(&self.decl.name.value)
    }

    /// The dedupe key of a message: what `dedupe_by` gives, else its `correlation_id`, else the id with which it
    /// was pushed, else the message's id.
    pub fn cause_id(&self, project: &Project, rule: &DayRule, message: &Message, json: &serde_json::Value) -> String {
        let declared = self.decl.dedupe_by.as_ref().and_then(|node| {
            let value = evaluate(node, &scope(project, rule, message, json)).ok()?;
            (!value.is_null()).then(|| value.text().into_owned())
        });
        let correlation = || json.get("correlation_id")?.as_str().map(str::to_owned);
        // A message that was pushed twice has two ids here, but one where it came from.
        let pushed = || message.attributes.get(attributes::CAUSE_ID).cloned();
        let told = declared.filter(|id| !id.is_empty()).or_else(correlation).or_else(pushed);
        told.unwrap_or_else(|| message.id.clone())
    }

    /// Judges a message. `force` passes over the rules (never over the contract): an operator's word.
    pub fn judge(
        &self,
        project: &Project,
        rule: &DayRule,
        message: &Message,
        json: &serde_json::Value,
        force: bool,
    ) -> Judgement {
        if let Some(reason) = self.contract_broken(json) {
            return Judgement::Reject(reason);
        }
        let scope = scope(project, rule, message, json);
        for (condition, otherwise) in &self.decl.when {
            match evaluate(condition, &scope) {
                Ok(value) if value.truthy() || force => {}
                Ok(_) => return Judgement::Skip(otherwise.clone()),
                Err(reason) => return Judgement::Reject(format!("a rule cannot be decided: {reason}")),
            }
        }
        match self.output(project, rule, message, &scope) {
            Ok(accepted) => Judgement::Accept(accepted),
            Err(reason) => Judgement::Reject(reason),
        }
    }

    /// How a message breaks the contract that was agreed on.
    pub fn contract_broken(&self, json: &serde_json::Value) -> Option<String> {
        let Some(schema) = &self.schema else {
            return (!json.is_object()).then(|| "the message is no JSON object".to_owned());
        };
        let errors: Vec<String> = schema
            .iter_errors(json)
            .take(5)
            .map(|e| match e.instance_path().as_str() {
                "" => e.to_string(),
                path => format!("{e} at {path}"),
            })
            .collect();
        (!errors.is_empty()).then(|| format!("the message breaks its contract: {}", errors.join("; ")))
    }

    /// The message that is published; one on the trigger topic must be one that the worker takes.
    fn output(&self, project: &Project, rule: &DayRule, message: &Message, scope: &Scope) -> Result<Accepted, String> {
        let body = shaped(&self.decl.message, scope)?;
        if self.decl.publish_topic.value != TRIGGER_TOPIC {
            return Ok(Accepted { body, target_date: None });
        }
        let request =
            TriggerMessage::read(&body).map_err(|e| format!("what the trigger makes of it is refused: {e}"))?;
        plan::selection(project, rule, &request, asked_at(message))
            .map_err(|e| format!("what the trigger makes of it is refused: {e}"))?;
        Ok(Accepted { target_date: request.target_date.clone(), body: request.body() })
    }
}

/// The event's own time; an attribute that is none is no reason to lose the event.
pub fn asked_at(message: &Message) -> jiff::Timestamp {
    plan::cause_time(message).unwrap_or(message.published_at)
}

/// What a trigger's expressions see: `message`, `now` (its publish time), `today`, and `vars`.
fn scope(project: &Project, rule: &DayRule, message: &Message, json: &serde_json::Value) -> Scope {
    let mut scope = Scope::default();
    let mut fact = |name: &str, value: Val<'static>| scope.facts.insert(name.to_owned(), value);
    fact("message", Val::Json(Rc::new(json.clone())));
    let at = asked_at(message);
    fact("now", Val::Timestamp(at.as_microsecond()));
    fact("today", Val::Date(crate::model::dates::days(rule.day_of(at))));
    scope.vars = project.vars.iter().map(|(name, value)| (name.clone(), Val::of(&type_of(value), value))).collect();
    scope
}

fn evaluate(node: &Node, scope: &Scope) -> Result<Val<'static>, String> {
    let (expr, findings) = crate::shape::compile_expression(node, scope);
    if let Some(first) = findings.first() {
        return Err(first.message.clone());
    }
    let value = crate::shape::run::evaluate(&expr, &Ctx::nothing())?;
    crate::shape::expr::owned(&value).ok_or_else(|| "its value is no plain one".to_owned())
}

fn shaped(node: &Node, scope: &Scope) -> Result<Vec<u8>, String> {
    let (shape, findings) = crate::shape::compile(node, scope, None);
    if let Some(first) = findings.first() {
        return Err(first.message.clone());
    }
    let mut encoder = Encoder::new(Spool::with_limit(std::env::temp_dir(), MAX_BODY));
    shape.run(&[], &[], None, &mut encoder).map_err(|e| format!("its message cannot be made: {e:?}"))?;
    let spooled = encoder.finish().map_err(|e| e.message)?;
    spooled.content.read().map(|bytes| bytes.to_vec()).map_err(|e| format!("its message cannot be read back: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn judged(body: &str) -> Judgement {
        judged_with(body, &[])
    }

    fn judged_with(body: &str, attributes: &[(&str, &str)]) -> Judgement {
        let project = crate::config::load(Path::new(env!("CARGO_MANIFEST_DIR")), &|_| None).project;
        let rule = DayRule { zone: jiff::tz::TimeZone::get("America/New_York").unwrap(), starts_at_minutes: 240 };
        let gate = Gate::compile(&project, project.trigger_decls().remove(0)).unwrap();
        let message = Message {
            id: "17".into(),
            topic: "nba-phase5-predictions-complete".into(),
            published_at: "2025-12-12T18:00:00Z".parse().unwrap(),
            attributes: attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            body: body.as_bytes().to_vec(),
        };
        let json = serde_json::from_str(body).unwrap();
        gate.judge(&project, &rule, &message, &json, false)
    }

    /// Input and output of the seed, word for word.
    #[test]
    fn the_seeds_message_becomes_the_seeds_message() {
        let input = r#"{"processor_name": "PredictionCoordinator", "phase": "phase_5_predictions",
            "execution_id": "batch_2025-12-12_1734012345", "correlation_id": "abc-123", "game_date": "2025-12-12",
            "output_table": "player_prop_predictions", "status": "success", "record_count": 450,
            "metadata": {"batch_id": "batch_2025-12-12_1734012345", "expected_predictions": 450,
                "completed_predictions": 448, "failed_predictions": 2, "completion_pct": 99.6}}"#;
        let Judgement::Accept(accepted) = judged(input) else { panic!("accepted: {:?}", judged(input)) };
        let output: serde_json::Value = serde_json::from_slice(&accepted.body).unwrap();
        let expected = serde_json::json!({
            "export_types": ["tonight", "tonight-players", "predictions", "streaks"],
            "target_date": "2025-12-12", "update_latest": true, "trigger_source": "orchestrator",
            "triggered_by": "phase5_to_phase6_orchestrator", "correlation_id": "abc-123",
            "timestamp": "2025-12-12T18:00:00Z", "upstream_batch_id": "batch_2025-12-12_1734012345",
            "upstream_predictions": 448
        });
        assert_eq!(output, expected);
    }

    /// A pushed event was published before it arrived here.
    #[test]
    fn an_event_has_the_time_of_its_origin() {
        let body = r#"{"game_date":"2024-12-12","status":"success","metadata":{"completion_pct":100}}"#;
        for (time, expected) in [("2024-12-12T17:30:00Z", "2024-12-12T17:30:00Z"), ("noon", "2025-12-12T18:00:00Z")] {
            let judged = judged_with(body, &[(crate::model::message::attributes::CAUSE_TIME, time)]);
            let Judgement::Accept(accepted) = judged else { panic!("accepted: {judged:?}") };
            let output: serde_json::Value = serde_json::from_slice(&accepted.body).unwrap();
            assert_eq!(output["timestamp"], expected);
        }
    }

    #[test]
    fn the_seeds_manual_message_is_enough() {
        let body = r#"{"game_date":"2024-12-12","status":"success","metadata":{"completion_pct":100}}"#;
        let Judgement::Accept(accepted) = judged(body) else { panic!("accepted: {:?}", judged(body)) };
        assert_eq!(accepted.target_date.as_deref(), Some("2024-12-12"));
    }

    #[test]
    fn each_closed_gate_says_why() {
        for (body, part) in [
            (
                r#"{"game_date":"2025-12-12","status":"failed","metadata":{"completion_pct":100}}"#,
                "neither success nor",
            ),
            (r#"{"game_date":"2025-12-12","status":"partial","metadata":{"completion_pct":79.9}}"#, "fewer than 80 %"),
            (r#"{"status":"success","metadata":{"completion_pct":100}}"#, "no game_date"),
        ] {
            assert!(matches!(judged(body), Judgement::Skip(reason) if reason.contains(part)), "{:?}", judged(body));
        }
    }

    /// I-10: a renamed key made the gate read 0 % and skip in silence.
    #[test]
    fn a_broken_contract_is_refused() {
        for (body, part) in [
            (r#"{"game_date":"2025-12-12","status":"success","metadata":{"completion":100}}"#, "completion_pct"),
            (r#"{"game_date":"2025-12-12","status":"success","metadata":{"completion_pct":"100"}}"#, "number"),
            (r#"{"game_date":"12/12/2025","status":"success","metadata":{"completion_pct":100}}"#, "date"),
            (r#"{"game_date":"9999-12-31","status":"success","metadata":{"completion_pct":100}}"#, "plausible"),
            (r#"[]"#, "object"),
        ] {
            let judged = judged(body);
            assert!(matches!(&judged, Judgement::Reject(reason) if reason.contains(part)), "{body}: {judged:?}");
        }
    }
}
