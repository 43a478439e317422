//! The loop of one trigger: judges each upstream message, publishes what it comes to, records the verdict, acknowledges. In this
//! order: a crash in between judges again, and what is published twice is one run by its cause.

use super::consumer::{Answer, Handler};
use super::gate::{self, Accepted, Gate, Judgement};
use super::retry::message_pause;
use super::{Service, Setup, Trouble, plan, undertaker};
use crate::model::message::attributes;
use crate::ports::bus::{Delivery, Message, NewMessage};
use crate::ports::cancel::Cancel;
use crate::state::backups::{BackupBy, BackupClaim};
use crate::state::decisions::{Decision, Verdict};
use crate::telemetry::{GateDecided, TraceContext};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a message waits whose trigger is not there.
const NO_TRIGGER_PAUSE: Duration = Duration::from_secs(60);

/// Judges the messages of one trigger.
pub struct Orchestrator {
    pub service: Service,
    pub trigger: String,
}

#[async_trait]
impl Handler for Orchestrator {
    async fn handle(&self, delivery: &Delivery, _cancel: &Cancel) -> Answer {
        let setup = self.service.live.now();
        let Some(gate) = setup.gates.iter().find(|g| g.decl.name.value == self.trigger) else {
            // The trigger was taken out of the configuration: its messages wait for it to come back, or for the dead letter.
            return Answer::Later(NO_TRIGGER_PAUSE);
        };
        match judge(&self.service, &setup, gate, delivery).await {
            Ok(()) => Answer::Ack,
            Err(Trouble(reason)) => {
                self.service.comes_again(&gate.subscription(), delivery, message_pause(delivery.attempt), &reason)
            }
        }
    }
}

async fn judge(service: &Service, setup: &Setup, gate: &Gate, delivery: &Delivery) -> Result<(), Trouble> {
    let message = &delivery.message;
    let id = plan::run_id(message);
    if service.state.decision(&id).await?.is_some() {
        return Ok(());
    }
    let json: serde_json::Value = match serde_json::from_slice(&message.body) {
        Ok(json) => json,
        Err(error) => {
            let reason = format!("the body is no JSON: {error}");
            undertaker::bury(service, delivery, &gate.subscription(), &reason, None).await?;
            let decision = decision(service, gate, message, serde_json::Value::Null, &message.id);
            return record(service, delivery, Decision { verdict: Verdict::Reject, reason, ..decision }).await;
        }
    };
    let cause_id = gate.cause_id(&setup.project, &setup.rule, message, &json);
    let judgement = gate.judge(&setup.project, &setup.rule, message, &json, false);
    let decision = decision(service, gate, message, json, &cause_id);
    let decision = match judgement {
        Judgement::Skip(reason) => Decision { verdict: Verdict::Skip, reason, ..decision },
        Judgement::Reject(reason) => {
            undertaker::bury(service, delivery, &gate.subscription(), &reason, None).await?;
            Decision { verdict: Verdict::Reject, reason, ..decision }
        }
        Judgement::Accept(accepted) => accept(service, setup, gate, delivery, accepted, decision).await?,
    };
    record(service, delivery, decision).await
}

/// Publishes an accepted message, unless the same cause was accepted before.
async fn accept(
    service: &Service,
    setup: &Setup,
    gate: &Gate,
    delivery: &Delivery,
    accepted: Accepted,
    decision: Decision,
) -> Result<Decision, Trouble> {
    let trigger = &gate.decl.name.value;
    if let Some(before) = service.state.accepted(trigger, &decision.cause_id).await? {
        let reason = format!("`{}` was accepted before", decision.cause_id);
        return Ok(Decision { verdict: Verdict::Duplicate, reason, duplicate_of: Some(before), ..decision });
    }
    if let Some((other, reason)) = backup_came_first(service, setup, trigger, &accepted, &decision).await? {
        return Ok(Decision { verdict: Verdict::Duplicate, reason, duplicate_of: Some(other), ..decision });
    }
    let output = publish(service, setup, gate, &accepted, &decision, &delivery.message.attributes).await?;
    service.state.accept(trigger, &decision.cause_id, &decision.id).await?;
    Ok(Decision {
        verdict: Verdict::Accept,
        reason: "every rule holds".to_owned(),
        output_message: Some(output),
        target_date: accepted.target_date,
        ..decision
    })
}

/// Where jobs are this trigger's backup: whether one of them has made the date's exports already, with the reason for leaving
/// the event alone. Event and backup are one run (`design/semantics.md` §4).
async fn backup_came_first(
    service: &Service,
    setup: &Setup,
    trigger: &str,
    accepted: &Accepted,
    decision: &Decision,
) -> Result<Option<(String, String)>, Trouble> {
    let is_backup = |job: &crate::config::Job| job.backup_of.as_ref().is_some_and(|of| of.value == trigger);
    let date = accepted.target_date.as_ref().and_then(|text| setup.rule.resolve(text, decision.published_at).ok());
    let Some(date) = date.filter(|_| setup.project.jobs.iter().any(is_backup)) else { return Ok(None) };
    let (by, now) = (BackupBy::Event, service.clock.now());
    Ok(match service.state.claim_backup(trigger, date, by, &decision.cause_id, now).await? {
        BackupClaim::Go => None,
        BackupClaim::Answered { cause_id, run_id } => {
            let run = run_id.map(|run| format!(", run {run}")).unwrap_or_default();
            Some((cause_id.clone(), format!("the backup job has made the exports of {date}: `{cause_id}`{run}")))
        }
    })
}

/// Publishes the trigger's message; returns its id. `traced` are the upstream message's attributes: its trace goes on.
pub async fn publish(
    service: &Service,
    setup: &Setup,
    gate: &Gate,
    accepted: &Accepted,
    decision: &Decision,
    traced: &BTreeMap<String, String>,
) -> Result<String, Trouble> {
    let key = &gate.decl.publish_topic.value;
    let topic = setup.project.topic(key).ok_or_else(|| Trouble(format!("`topics:` has no `{key}`")))?;
    let mut set = BTreeMap::new();
    set.insert(attributes::CAUSE_ID.to_owned(), decision.cause_id.clone());
    set.insert(attributes::CAUSE_KIND.to_owned(), "message".to_owned());
    set.insert(attributes::DECISION.to_owned(), decision.id.clone());
    set.insert(attributes::UPSTREAM_TIME.to_owned(), decision.published_at.to_string());
    if let Some(trace) = TraceContext::of(traced) {
        set.insert("traceparent".to_owned(), trace.header());
    }
    let message = NewMessage { body: accepted.body.clone(), attributes: set };
    Ok(service.bus.publish(topic, &message).await?)
}

fn decision(service: &Service, judge: &Gate, message: &Message, json: serde_json::Value, cause_id: &str) -> Decision {
    Decision {
        id: plan::run_id(message),
        trigger: judge.decl.name.value.clone(),
        verdict: Verdict::Skip,
        reason: String::new(),
        message_id: message.id.clone(),
        topic: message.topic.clone(),
        published_at: gate::asked_at(message),
        decided_at: service.clock.now(),
        cause_id: cause_id.to_owned(),
        message: json,
        target_date: None,
        output_message: None,
        duplicate_of: None,
        forced: false,
    }
}

async fn record(service: &Service, delivery: &Delivery, decision: Decision) -> Result<(), Trouble> {
    service.state.record_decision(&decision).await?;
    service.telemetry.emit(&GateDecided {
        trigger: &decision.trigger,
        verdict: decision.verdict.as_str(),
        reason: &decision.reason,
        decision_id: &decision.id,
        message_id: &decision.message_id,
        cause_id: &decision.cause_id,
        forced: decision.forced,
        trace: TraceContext::of(&delivery.message.attributes).as_ref(),
    });
    Ok(())
}
