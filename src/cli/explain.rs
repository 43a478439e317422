//! `phase6 explain PATH`: which run, message, query, rows and configuration made this object.

use super::args::{ExplainArgs, Global};
use super::context;
use super::exit::Exit;
use super::output::{self, time, word};
use crate::engine::export::Engine;
use crate::engine::publish::keys;
use crate::state::decisions::Decision;
use crate::state::releases::{Release, ReleasedObject};
use crate::state::requests::RequestRecord;
use crate::state::runs::RunRecord;
use serde::Serialize;
use std::fmt::Write;

pub fn run(global: &Global, args: &ExplainArgs) -> Exit {
    match prepared(global, args) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn prepared(global: &Global, args: &ExplainArgs) -> Result<Exit, Exit> {
    // The analysis tells which tables a query reads.
    let engine = context::engine(context::load_checked(global)?, global)?;
    let runtime = context::runtime()?;
    let found = runtime.block_on(origin(&engine, &args.path))?;
    output::record(global, &found, human);
    Ok(Exit::Ok)
}

/// Where an object comes from.
#[derive(Serialize)]
struct Origin {
    path: String,
    generation: u64,
    size: u64,
    run_id: String,
    config_hash: Option<String>,
    schema: Option<String>,
    watermark: Option<String>,
    export: Option<String>,
    release: Option<Released>,
    run: Option<RunRecord>,
    request: Option<RequestRecord>,
    decision: Option<Decision>,
    /// The export's queries as they were bound for this date; only while the configuration is the one that made the object.
    queries: Vec<BoundQuery>,
}

#[derive(Serialize)]
struct Released {
    target_date: String,
    as_of: String,
    object: Option<ReleasedObject>,
    objects: usize,
}

#[derive(Serialize)]
struct BoundQuery {
    query: String,
    rows: Option<u64>,
    tables: Vec<String>,
}

async fn origin(engine: &Engine, asked: &str) -> Result<Origin, Exit> {
    let away = |e: String| context::fail(Exit::Unavailable, e);
    let mut found = None;
    for path in [format!("{}{asked}", engine.prefix), asked.to_owned()] {
        if let Some(info) = engine.store.stat(&path).await.map_err(|e| away(e.to_string()))? {
            found = Some((path, info));
            break;
        }
    }
    let Some((path, info)) = found else {
        return Err(context::fail(Exit::Usage, format!("nothing is published at `{asked}`")));
    };
    let Some(run_id) = info.metadata.get(keys::RUN_ID).cloned() else {
        return Err(context::fail(Exit::Usage, format!("`{path}` was not written by phase6: it names no run")));
    };
    let state = |e: crate::state::StateError| away(e.to_string());
    let mut origin = Origin {
        generation: info.generation,
        size: info.size,
        config_hash: info.metadata.get(keys::CONFIG).cloned(),
        schema: info.metadata.get(keys::SCHEMA).cloned(),
        watermark: info.metadata.get(keys::WATERMARK).cloned(),
        export: None,
        release: None,
        run: None,
        request: engine.state.request(&run_id).await.map_err(state)?,
        decision: None,
        queries: Vec::new(),
        path,
        run_id,
    };
    if let Some(id) = origin.request.as_ref().and_then(|r| r.cause.decision.clone()) {
        origin.decision = engine.state.decision(&id).await.map_err(state)?;
    }
    for export in &engine.project.exports {
        let name = &export.name.value;
        let Some(run) = engine.state.run(name, &origin.run_id).await.map_err(state)? else { continue };
        let release = engine.state.release_of_run(name, &origin.run_id).await.map_err(state)?;
        let holds = |r: &Release| r.objects.iter().any(|o| o.path == origin.path);
        if !release.as_ref().is_some_and(holds) {
            continue;
        }
        origin.release = release.map(|r| released(r, &origin.path));
        let rows = |query: &str| run.report.get("rows")?.get(query)?.as_u64();
        origin.queries = export
            .queries
            .iter()
            .map(|q| BoundQuery { query: q.name.value.clone(), rows: rows(&q.name.value), tables: q.tables.clone() })
            .collect();
        origin.export = Some(name.clone());
        origin.run = Some(run);
        break;
    }
    Ok(origin)
}

fn released(release: Release, path: &str) -> Released {
    Released {
        target_date: release.target_date.to_string(),
        as_of: release.as_of.to_string(),
        objects: release.objects.len(),
        object: release.objects.into_iter().find(|o| o.path == path),
    }
}

fn human(origin: &Origin) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:10} {value}");
    };
    line("object", format!("{}, generation {}, {} bytes", origin.path, origin.generation, origin.size));
    let export = origin.export.as_deref().unwrap_or("unknown: no record of its run");
    line("export", export.to_owned());
    if let Some(release) = &origin.release {
        line(
            "release",
            format!(
                "for {}, asked of the warehouse at {}, {} objects",
                release.target_date, release.as_of, release.objects
            ),
        );
    }
    for query in &origin.queries {
        let rows = query.rows.map_or_else(|| "?".to_owned(), |n| n.to_string());
        line("query", format!("{}: {rows} rows from {}", query.query, query.tables.join(", ")));
    }
    line("run", origin.run_id.clone());
    if let Some(run) = &origin.run {
        line("", format!("{}, caused by {} at {}", word(&run.status), run.cause, time(run.cause_time)));
    }
    if let Some(cause) = origin.request.as_ref().map(|r| &r.cause) {
        let at = cause.published_at.map(time).unwrap_or_default();
        line(
            "message",
            format!(
                "{} on {} at {at}",
                cause.message_id.as_deref().unwrap_or("?"),
                cause.topic.as_deref().unwrap_or("?")
            ),
        );
    }
    if let Some(decision) = &origin.decision {
        line("gate", format!("{}: {} ({})", decision.trigger, word(&decision.verdict), decision.reason));
        line("upstream", format!("{} on {} at {}", decision.message_id, decision.topic, time(decision.published_at)));
    }
    line("config", origin.config_hash.clone().unwrap_or_else(|| "?".to_owned()));
    line("schema", origin.schema.clone().unwrap_or_else(|| "none".to_owned()));
    text
}
