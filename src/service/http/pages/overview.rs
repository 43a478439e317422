//! The first page: one sentence on how things are, and what it rests on.

use super::Page;
use crate::config::Export;
use crate::service::http::problem::Problem;
use crate::service::http::{AlertFact, Door, Freshness, FreshnessFact};
use crate::state::requests::{RequestRecord, RequestStatus};
use minijinja::value::Serde;
use minijinja::{Value, context};
use serde::Serialize;

/// Requests that are looked through for each export's last run.
const LOOK_BACK: usize = 50;
const SHOWN_RUNS: usize = 8;
const SHOWN: usize = 5;

pub async fn page(door: &Door) -> Page {
    let project = (door.project)();
    let (facts, slots, alerts) = tokio::join!(door.facts.freshness(), door.facts.slots(8), door.facts.alerts());
    let runs = door.state.requests(LOOK_BACK).await?;
    let mut exports = Vec::new();
    for export in &project.exports {
        exports.push(summary(door, export, &facts, &runs).await?);
    }
    // What needs somebody comes first; the others stay in the order of their names.
    exports.sort_by_key(|e: &Summary| match e.state {
        "stale" => 0,
        "never" => 1,
        _ => 2,
    });
    let letters = door.state.dead_letters().await?;
    let decisions = door.state.decisions(SHOWN).await?;
    let backlogs = backlogs(door).await;
    let failed = |run: &&RequestRecord| matches!(run.status, RequestStatus::Failed | RequestStatus::Partial);
    let counts = Counts {
        promised: facts.len(),
        fresh: facts.iter().filter(|f| f.freshness == Freshness::Fresh).count(),
        stale: facts.iter().filter(|f| f.freshness == Freshness::Stale).count(),
        runs: runs.len(),
        failed: runs.iter().filter(failed).count(),
        letters: letters.len(),
        backlog: backlogs.iter().filter(|b| b.error.is_none()).map(|b| b.messages).reduce(|a, b| a + b),
        oldest: backlogs.iter().filter_map(|b| b.oldest.clone()).min(),
    };
    let verdict = verdict(door, &counts, &facts, &alerts);
    Ok(context! {
        verdict, slots => Serde(slots), alerts => Serde(alerts), counts => Serde(counts), exports => Serde(exports), backlogs => Serde(backlogs),
        decisions => Serde(decisions), runs => Serde(&runs[..runs.len().min(SHOWN_RUNS)]),
        letters => Serde(&letters[..letters.len().min(SHOWN)]),
    })
}

#[derive(Serialize)]
struct Counts {
    promised: usize,
    fresh: usize,
    stale: usize,
    runs: usize,
    failed: usize,
    letters: usize,
    /// None where the bus tells of no subscription.
    backlog: Option<u64>,
    oldest: Option<String>,
}

/// How an export stands.
#[derive(Serialize)]
pub struct Summary {
    pub name: String,
    state: &'static str,
    promise: Option<String>,
    reason: Option<String>,
    due: Option<String>,
    data_date: Option<String>,
    published_at: Option<String>,
    last: Option<Value>,
}

pub async fn summary(
    door: &Door,
    export: &Export,
    facts: &[FreshnessFact],
    runs: &[RequestRecord],
) -> Result<Summary, Problem> {
    let name = &export.name.value;
    let fact = facts.iter().find(|f| f.export == *name);
    let head = door.state.release_history(name).await?.into_iter().next();
    let last = runs.iter().find_map(|run| {
        let task = run.tasks.iter().find(|task| task.report.export == *name)?;
        Some(context! { run_id => &run.run_id, status => Serde(task.report.status), reason => task.report.reason.as_deref() })
    });
    let state = match fact.map(|f| f.freshness) {
        Some(Freshness::Fresh) => "fresh",
        Some(Freshness::Stale) => "stale",
        Some(Freshness::Never) => "never",
        None if head.is_some() => "published",
        None => "no_promise",
    };
    let told = fact.and_then(|f| f.data_date).or(head.as_ref().map(|h| h.target_date));
    Ok(Summary {
        name: name.clone(),
        state,
        promise: fact.map(|f| f.promise.clone()),
        reason: fact.and_then(|f| f.reason.clone()),
        due: fact.and_then(|f| f.due).map(|at| at.to_string()),
        data_date: told.map(|date| date.to_string()),
        published_at: head.map(|h| h.as_of.to_string()),
        last,
    })
}

#[derive(Serialize)]
struct BacklogRow {
    subscription: String,
    messages: u64,
    leased: Option<u64>,
    oldest: Option<String>,
    error: Option<String>,
}

async fn backlogs(door: &Door) -> Vec<BacklogRow> {
    let mut rows = Vec::new();
    for subscription in &door.subscriptions {
        let found = door.bus.backlog(subscription).await;
        let error = found.as_ref().err().map(|_| "not known".to_owned());
        let found = found.unwrap_or_default();
        rows.push(BacklogRow {
            subscription: subscription.clone(),
            messages: found.messages,
            leased: found.leased,
            oldest: found.oldest.map(|at| at.to_string()),
            error,
        });
    }
    rows
}

/// The page in a sentence: the worst first.
fn verdict(door: &Door, counts: &Counts, facts: &[FreshnessFact], alerts: &[AlertFact]) -> Value {
    let names = |wanted: Freshness| {
        let names: Vec<&str> = facts.iter().filter(|f| f.freshness == wanted).map(|f| f.export.as_str()).collect();
        names.join(", ")
    };
    let some = |n: usize, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
    let never = names(Freshness::Never);
    let mut more = Vec::new();
    if !alerts.is_empty() {
        more.push(format!("{} now.", some(alerts.len(), "alert fires", "alerts fire")));
    }
    if !never.is_empty() {
        more.push(format!("Never published: {never}."));
    }
    if counts.letters > 0 {
        more.push(format!("{} for an operator.", some(counts.letters, "dead letter waits", "dead letters wait")));
    }
    let (tone, glyph, text) = if door.is_draining() {
        ("warn", "…", "The service is stopping: it finishes what it has begun.".to_owned())
    } else if counts.stale > 0 {
        let what = some(counts.stale, "export is stale", "exports are stale");
        ("bad", "!", format!("{what}: {}.", names(Freshness::Stale)))
    } else if !alerts.is_empty() {
        ("bad", "!", "An alert fires, though what is promised is fresh.".to_owned())
    } else if !more.is_empty() {
        ("warn", "!", "What was published is fresh, but something waits for you.".to_owned())
    } else if facts.is_empty() {
        ("mute", "–", "No export promises how fresh it is; see the last runs.".to_owned())
    } else {
        ("ok", "✓", "Everything that is promised is fresh.".to_owned())
    };
    context! { tone, glyph, text, more => more.join(" ") }
}
