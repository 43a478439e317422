//! `phase6 runs`: what the service was asked for, how far it came; try again, or stop.

use super::args::{Global, RunsArgs, RunsCommand};
use super::context;
use super::exit::Exit;
use super::output::{self, table, time, word};
use crate::model::message::{TriggerMessage, attributes};
use crate::ports::bus::NewMessage;
use crate::ports::clock::{Clock, SystemClock};
use crate::service::gate::TRIGGER_TOPIC;
use crate::state::State;
use crate::state::requests::{CauseState, RequestRecord, RequestStatus};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

pub fn run(global: &Global, args: &RunsArgs) -> Exit {
    match prepared(global, args) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn prepared(global: &Global, args: &RunsArgs) -> Result<Exit, Exit> {
    let loaded = context::load(global)?;
    let state = context::state(&loaded.project, global)?;
    let runtime = context::runtime()?;
    match &args.command {
        None => runtime.block_on(list(global, &state, DEFAULT_LIMIT)),
        Some(RunsCommand::List { limit }) => runtime.block_on(list(global, &state, *limit)),
        Some(RunsCommand::Show { id }) => {
            output::record(global, &runtime.block_on(find(&state, id))?, human);
            Ok(Exit::Ok)
        }
        Some(RunsCommand::Cancel { id }) => runtime.block_on(cancel(&state, id)),
        Some(RunsCommand::Retry { id }) => {
            let bus = context::bus(&loaded.project, global, Arc::new(SystemClock))?;
            runtime.block_on(async {
                context::make_subscriptions(&loaded.project, bus.as_ref()).await?;
                let record = find(&state, id).await?;
                let cause = retry_cause(&state, &record).await?;
                let message = again(&record, cause).map_err(|reason| context::fail(Exit::Usage, reason))?;
                let topic = loaded.project.topic(TRIGGER_TOPIC).unwrap_or(TRIGGER_TOPIC);
                let id = bus.publish(topic, &message).await.map_err(|e| context::fail(Exit::Unavailable, e))?;
                println!("asked again for what failed: message {id}");
                Ok(Exit::Ok)
            })
        }
    }
}

const DEFAULT_LIMIT: usize = 20;

async fn list(global: &Global, state: &State, limit: usize) -> Result<Exit, Exit> {
    let requests = state.requests(limit).await.map_err(|e| context::fail(Exit::Unavailable, e))?;
    output::records(global, &requests, |requests| {
        if requests.is_empty() {
            return "no run of the service is recorded here\n".to_owned();
        }
        let row = |r: &RequestRecord| {
            let took = r
                .finished_at
                .map_or_else(String::new, |end| format!("{:.1} s", end.duration_since(r.started_at).as_secs_f64()));
            vec![
                r.run_id.clone(),
                word(&r.status),
                r.target_date.to_string(),
                word(&r.cause.kind),
                r.exports.join(","),
                took,
            ]
        };
        table(&["run", "status", "date", "cause", "exports", "took"], &requests.iter().map(row).collect::<Vec<_>>())
    });
    Ok(Exit::Ok)
}

async fn find(state: &State, id: &str) -> Result<RequestRecord, Exit> {
    match state.request(id).await {
        Ok(Some(record)) => Ok(record),
        Ok(None) => Err(context::fail(Exit::Usage, format!("there is no run `{id}`: see `phase6 runs list`"))),
        Err(error) => Err(context::fail(Exit::Unavailable, error)),
    }
}

async fn cancel(state: &State, id: &str) -> Result<Exit, Exit> {
    let record = find(state, id).await?;
    if record.status.is_final() {
        return Err(context::fail(Exit::Usage, format!("run `{id}` has ended: {}", word(&record.status))));
    }
    state.ask_to_cancel(id, SystemClock.now()).await.map_err(|e| context::fail(Exit::Unavailable, e))?;
    match record.next_attempt.filter(|_| record.status == RequestStatus::Waiting) {
        Some(due) => println!("run {id} waits; it ends when its next attempt is due, at {}", time(due)),
        None => println!("run {id} will stop before its next step; what is being published is finished"),
    }
    Ok(Exit::Ok)
}

/// The cause of the next retry of a run: the same until a run of it has failed, so that a command given twice is one run.
async fn retry_cause(state: &State, record: &RequestRecord) -> Result<String, Exit> {
    let first = format!("{}/retry-of-{}", record.cause.id, record.run_id);
    let mut cause = first.clone();
    for n in 2.. {
        match state.cause_state(&cause).await.map_err(|e| context::fail(Exit::Unavailable, e))? {
            CauseState::Unknown => break,
            CauseState::Failed(_) => cause = format!("{first}/{n}"),
            CauseState::Going(run) => {
                return Err(context::fail(Exit::Usage, format!("run `{run}` tries it again already")));
            }
            CauseState::Succeeded(run) => {
                return Err(context::fail(Exit::Usage, format!("run `{run}` has made up for it")));
            }
        }
    }
    Ok(cause)
}

/// The message that asks again for the exports that failed.
fn again(record: &RequestRecord, cause: String) -> Result<NewMessage, String> {
    if !record.status.is_final() {
        return Err(format!("run `{}` has not ended: it tries again by itself", record.run_id));
    }
    let unfinished =
        |name: &&String| !record.tasks.iter().any(|t| t.report.export == **name && t.report.status.is_success());
    let failed: Vec<String> = record.exports.iter().filter(unfinished).cloned().collect();
    if failed.is_empty() || record.status == RequestStatus::Duplicate {
        return Err(format!("nothing of run `{}` failed", record.run_id));
    }
    let before: TriggerMessage =
        serde_json::from_value(record.cause.message.clone()).map_err(|e| format!("its message cannot be read: {e}"))?;
    let body = TriggerMessage {
        export_types: Some(failed),
        players: None,
        target_date: Some(record.target_date.to_string()),
        trigger_source: Some("manual".to_owned()),
        triggered_by: Some("phase6 runs retry".to_owned()),
        ..before
    };
    let set = [
        (attributes::CAUSE_ID, cause),
        (attributes::CAUSE_KIND, "retry".to_owned()),
        (attributes::CAUSE_TIME, record.cause.time.to_string()),
        (attributes::RETRY_OF, record.run_id.clone()),
    ];
    let attributes: BTreeMap<String, String> = set.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    Ok(NewMessage { body: body.body(), attributes })
}

fn human(record: &RequestRecord) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:12} {value}");
    };
    line("run", record.run_id.clone());
    line("status", format!("{}, attempt {}", word(&record.status), record.attempts));
    line("date", record.target_date.to_string());
    line("cause", format!("{} {}", word(&record.cause.kind), record.cause.id));
    if let Some(message) = &record.cause.message_id {
        let at = record.cause.published_at.map(time).unwrap_or_default();
        line("message", format!("{message} on {} at {at}", record.cause.topic.as_deref().unwrap_or("?")));
    }
    if let Some(decision) = &record.cause.decision {
        line("gate", format!("decision {decision}"));
    }
    line("started", time(record.started_at));
    if let Some(end) = record.finished_at {
        line("finished", time(end));
    }
    if let Some(due) = record.next_attempt {
        line("next attempt", time(due));
    }
    if let Some(reason) = &record.reason {
        line("reason", reason.clone());
    }
    if let Some(other) = &record.duplicate_of {
        line("answered by", other.clone());
    }
    if let Some(other) = &record.retry_of {
        line("retry of", other.clone());
    }
    for task in &record.tasks {
        let r = &task.report;
        let _ = writeln!(
            text,
            "\n{}  {}, attempt {}, {:.0} ms (query {:.0}, shape {:.0}, publish {:.0}), {} bytes",
            r.export,
            word(&r.status),
            task.attempts,
            r.times.total_ms,
            r.times.query_ms,
            r.times.shape_ms,
            r.times.publish_ms,
            r.bytes
        );
        if let Some(reason) = &r.reason {
            let _ = writeln!(text, "  {reason}");
        }
        if let Some(billed) = super::report::billed(r) {
            let _ = writeln!(text, "  {billed}");
        }
        for (query, job) in &r.jobs {
            let _ = writeln!(text, "  {:10} {}", query, job.job_id);
        }
        for object in &r.paths {
            let _ = writeln!(text, "  {:10} {}", object.outcome, object.path);
        }
    }
    text
}
