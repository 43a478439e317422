//! `phase6 gate`: what the triggers' gates decided, and an operator's word against a rule.

use super::args::{GateArgs, GateCommand, Global};
use super::context;
use super::exit::Exit;
use super::output::{self, table, time, word};
use crate::ports::bus::Message;
use crate::ports::cancel::Cancel;
use crate::ports::clock::SystemClock;
use crate::service::beats::Beats;
use crate::service::gate::Judgement;
use crate::service::idle::Idle;
use crate::service::settings::Settings;
use crate::service::{Live, Service, Setup, orchestrator};
use crate::state::State;
use crate::state::decisions::{Decision, Verdict};
use crate::telemetry::LogFormat;
use std::collections::BTreeMap;
use std::sync::Arc;

pub fn run(global: &Global, args: &GateArgs) -> Exit {
    match prepared(global, args) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn prepared(global: &Global, args: &GateArgs) -> Result<Exit, Exit> {
    let loaded = context::load(global)?;
    let state = context::state(&loaded.project, global)?;
    let runtime = context::runtime()?;
    match &args.command {
        None => list(global, &runtime.block_on(decisions(&state, 20))?),
        Some(GateCommand::List { limit }) => list(global, &runtime.block_on(decisions(&state, *limit))?),
        Some(GateCommand::Show { id }) => {
            output::record(global, &runtime.block_on(find(&state, id))?, |d| {
                format!("{}\n", serde_json::to_string_pretty(d).unwrap_or_default())
            });
        }
        Some(GateCommand::Force { id }) => {
            let decision = runtime.block_on(find(&state, id))?;
            let bus = context::bus(&loaded.project, global, Arc::new(SystemClock))?;
            let target = context::target(&loaded.project, global)?.name.value.clone();
            let engine = context::engine(loaded, global)?;
            let setup = Setup::of(engine, target, Settings::default()).map_err(|e| context::fail(Exit::Usage, e))?;
            let service = Service {
                bus,
                state,
                clock: Arc::new(SystemClock),
                live: Live::new(setup),
                name: "operator".to_owned(),
                telemetry: super::monitoring::telemetry(LogFormat::Auto, true),
                beats: Beats::default(),
                idle: Idle::default(),
                drain: Cancel::default(),
            };
            let message = runtime.block_on(force(&service, decision))?;
            println!("forced: message {message} asks for the exports");
        }
    }
    Ok(Exit::Ok)
}

async fn decisions(state: &State, limit: usize) -> Result<Vec<Decision>, Exit> {
    state.decisions(limit).await.map_err(|e| context::fail(Exit::Unavailable, e))
}

async fn find(state: &State, id: &str) -> Result<Decision, Exit> {
    match state.decision(id).await {
        Ok(Some(decision)) => Ok(decision),
        Ok(None) => Err(context::fail(Exit::Usage, format!("there is no decision `{id}`: see `phase6 gate list`"))),
        Err(error) => Err(context::fail(Exit::Unavailable, error)),
    }
}

fn list(global: &Global, decisions: &[Decision]) {
    output::records(global, decisions, |decisions| {
        if decisions.is_empty() {
            return "no gate has decided anything here\n".to_owned();
        }
        let row = |d: &Decision| {
            let forced = if d.forced { " (forced)" } else { "" };
            vec![
                d.id.clone(),
                d.trigger.clone(),
                time(d.decided_at),
                format!("{}{forced}", word(&d.verdict)),
                d.reason.clone(),
            ]
        };
        table(&["decision", "trigger", "at", "verdict", "reason"], &decisions.iter().map(row).collect::<Vec<_>>())
    });
}

/// Passes over the rules, never over the contract: a message that is not what was agreed on cannot be forced.
async fn force(service: &Service, decision: Decision) -> Result<String, Exit> {
    let usage = |reason: String| context::fail(Exit::Usage, reason);
    let setup = service.live.now();
    context::make_subscriptions(&setup.project, service.bus.as_ref()).await?;
    let gate = setup.gates.iter().find(|g| g.decl.name.value == decision.trigger);
    let gate = gate.ok_or_else(|| usage(format!("there is no trigger `{}` any more", decision.trigger)))?;
    let message = Message {
        id: decision.message_id.clone(),
        topic: decision.topic.clone(),
        published_at: decision.published_at,
        attributes: BTreeMap::new(),
        body: Vec::new(),
    };
    let away = |e: String| context::fail(Exit::Unavailable, e);
    let accepted = service.state.accepted(&decision.trigger, &decision.cause_id).await;
    match accepted.map_err(|e| away(e.to_string()))? {
        // An earlier word of an operator that was cut off before it was recorded.
        Some(own) if own == decision.id && decision.verdict != Verdict::Accept => {}
        Some(by) => {
            let cause = &decision.cause_id;
            return Err(usage(format!(
                "the cause `{cause}` was accepted already, by the decision {by}; see `phase6 runs`"
            )));
        }
        None => {}
    }
    match gate.judge(&setup.project, &setup.rule, &message, &decision.message, true) {
        Judgement::Accept(accepted) => {
            let untraced = BTreeMap::new();
            let published = orchestrator::publish(service, &setup, gate, &accepted, &decision, &untraced);
            let id = published.await.map_err(|e| away(e.0))?;
            let trigger = decision.trigger.clone();
            let forced = Decision {
                verdict: Verdict::Accept,
                forced: true,
                // Decided anew: its record is kept from now on.
                decided_at: service.clock.now(),
                output_message: Some(id.clone()),
                target_date: accepted.target_date,
                ..decision
            };
            service.state.accept(&trigger, &forced.cause_id, &forced.id).await.map_err(|e| away(e.to_string()))?;
            service.state.record_decision(&forced).await.map_err(|e| away(e.to_string()))?;
            Ok(id)
        }
        Judgement::Skip(reason) | Judgement::Reject(reason) => Err(usage(format!("it cannot be forced: {reason}"))),
    }
}
