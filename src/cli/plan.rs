//! `phase6 plan`: what a run would read, cost and publish. It reads no rows and writes nothing.

use super::args::{Global, PlanArgs};
use super::context;
use super::exit::Exit;
use super::output;
use super::report::bytes;
use crate::config::path::PathTemplate;
use crate::config::{DocumentDecl, Export, WarehouseTarget};
use crate::engine::budget;
use crate::engine::export::{Engine, statements};
use crate::engine::facts::{facts, path_text};
use crate::model::Facts;
use crate::model::request::ExportRequest;
use crate::ports::warehouse::{Cost, WarehouseErrorKind};
use serde::Serialize;
use std::fmt::Write;

/// What a run of one day would come to.
#[derive(Debug, Serialize)]
struct Plan {
    target: String,
    target_date: String,
    warehouse: String,
    store: String,
    /// US dollars for 1 TiB; absent where nothing is billed.
    #[serde(skip_serializing_if = "Option::is_none")]
    price_per_tib: Option<f64>,
    exports: Vec<PlannedExport>,
    /// Absent, as the cost is, where of one query it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_billed: Option<u64>,
    /// US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<f64>,
    /// Of how many queries it is not known what they would be billed.
    unknown_queries: usize,
    over_cap: bool,
}

#[derive(Debug, Serialize)]
struct PlannedExport {
    export: String,
    queries: Vec<PlannedQuery>,
    /// Absent, as the cost is, where of one query it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_billed: Option<u64>,
    /// What its queries together may be billed, where the export says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_bytes_billed: Option<u64>,
    /// US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<f64>,
    over_cap: bool,
    /// Where its documents would go; the key of a fan-out stands in braces.
    paths: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct PlannedQuery {
    query: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_billed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_bytes_billed: Option<u64>,
    /// US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<f64>,
    over_cap: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    away: bool,
}

impl PlannedQuery {
    /// What it would be billed in bytes: nothing where nothing is billed, and not known where it could not be asked.
    fn billed(&self) -> Option<u64> {
        if self.error.is_some() { None } else { Some(self.bytes_billed.unwrap_or_default()) }
    }
}

pub fn run(global: &Global, args: &PlanArgs) -> Exit {
    match prepared(global, args) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn prepared(global: &Global, args: &PlanArgs) -> Result<Exit, Exit> {
    let loaded = context::load(global)?;
    for name in &args.exports {
        context::export(&loaded.project, name)?;
    }
    let names = loaded.project.exports.iter().map(|e| e.name.value.clone());
    let names: Vec<String> = names.filter(|name| args.exports.is_empty() || args.exports.contains(name)).collect();
    let mut request = context::request(&loaded.project, global, &args.selection, names)?;
    request.update_latest = !args.no_update_latest;
    let target = context::target(&loaded.project, global)?;
    let price = match &target.warehouse {
        WarehouseTarget::BigQuery { price_per_tib, .. } => *price_per_tib,
        WarehouseTarget::DuckDb { .. } => 0.0,
    };
    let target = target.name.value.clone();
    let engine = context::engine(loaded, global)?;
    let runtime = context::runtime()?;
    let mut exports = Vec::new();
    for export in engine.project.exports.iter().filter(|e| request.exports.contains(&e.name.value)) {
        exports.push(runtime.block_on(planned(&engine, &request, export, price)));
    }
    let bills = engine.warehouse.bills();
    let plan = Plan {
        target,
        target_date: request.target_date.to_string(),
        warehouse: engine.warehouse.describe(),
        store: engine.store.describe(),
        price_per_tib: bills.then_some(price),
        bytes_billed: exports.iter().map(|e| e.bytes_billed).sum(),
        cost: exports.iter().map(|e| e.cost).sum(),
        unknown_queries: exports.iter().flat_map(|e| &e.queries).filter(|q| q.billed().is_none()).count(),
        over_cap: exports.iter().any(|e| e.over_cap),
        exports,
    };
    output::record(global, &plan, human);
    let failed: Vec<&PlannedQuery> =
        plan.exports.iter().flat_map(|e| &e.queries).filter(|q| q.error.is_some()).collect();
    Ok(if plan.over_cap || plan.exports.iter().any(|e| e.error.is_some()) {
        Exit::Failed
    } else if failed.is_empty() {
        Exit::Ok
    } else if failed.iter().all(|q| q.away) {
        Exit::Unavailable
    } else {
        Exit::Failed
    })
}

async fn planned(engine: &Engine, request: &ExportRequest, export: &Export, price: f64) -> PlannedExport {
    let mut plan = PlannedExport {
        export: export.name.value.clone(),
        queries: export
            .queries
            .iter()
            .map(|query| unknown(query.name.value.clone(), "it was not asked", false))
            .collect(),
        bytes_billed: None,
        max_bytes_billed: export.max_bytes_billed,
        cost: None,
        over_cap: false,
        paths: Vec::new(),
        error: None,
    };
    let facts = match facts(&engine.project, export, request) {
        Ok(facts) => facts,
        Err(reason) => return PlannedExport { error: Some(reason), ..plan },
    };
    plan.paths = paths(engine, request, export, &facts);
    let asked = match statements(engine, request, export, &facts) {
        Ok(made) => made,
        Err(failure) => return PlannedExport { error: Some(failure.reason), ..plan },
    };
    let answers = budget::ask(&engine.warehouse, &asked).await;
    plan.queries.clear();
    for (query, answer) in export.queries.iter().zip(answers) {
        let name = query.name.value.clone();
        plan.queries.push(match answer {
            Ok(told) => cost(name, told.cost, price),
            Err(error) => unknown(name, error.message, error.kind == WarehouseErrorKind::Transient),
        });
    }
    plan.bytes_billed = plan.queries.iter().map(PlannedQuery::billed).sum();
    plan.cost = plan.bytes_billed.map(|billed| money(billed, price));
    // What is known may be too much already.
    let known = plan.queries.iter().filter_map(PlannedQuery::billed).sum();
    let together = budget::over_together(export, known).is_some();
    plan.over_cap = together || plan.queries.iter().any(|q| q.over_cap);
    plan
}

fn cost(query: String, cost: Option<Cost>, price: f64) -> PlannedQuery {
    PlannedQuery {
        query,
        bytes: cost.map(|c| c.bytes),
        bytes_billed: cost.map(|c| c.billed),
        max_bytes_billed: cost.map(|c| c.cap),
        cost: cost.map(|c| money(c.billed, price)),
        over_cap: cost.is_some_and(|c| budget::over(&c)),
        error: None,
        away: false,
    }
}

/// A query of which nothing is known.
fn unknown(query: String, reason: impl Into<String>, away: bool) -> PlannedQuery {
    PlannedQuery { error: Some(reason.into()), away, ..cost(query, None, 0.0) }
}

/// US dollars for so many bytes.
fn money(billed: u64, price_per_tib: f64) -> f64 {
    billed as f64 / (1u64 << 40) as f64 * price_per_tib
}

/// A text that a path takes and that stands for the key of a fan-out until it is shown.
const KEY: &str = "~key~";

fn paths(engine: &Engine, request: &ExportRequest, export: &Export, facts: &Facts) -> Vec<String> {
    let mut paths = Vec::new();
    for document in &export.documents {
        for file in &document.files {
            let written = std::iter::once((&file.path, false)).chain(file.aliases.iter().map(|a| (&a.path, true)));
            for (path, alias) in written {
                // What cannot be compiled is a finding of `phase6 check`.
                let Ok(template) = PathTemplate::compile(path) else { continue };
                if !request.update_latest && (alias || !template.is_dated()) {
                    continue;
                }
                let value = |name: &str| if name == "key" { Some(KEY.to_owned()) } else { path_text(facts, name) };
                paths.extend(template.render(&value).map(|p| format!("{}{}", engine.prefix, keyed(p, document))));
            }
        }
    }
    paths
}

fn keyed(path: String, document: &DocumentDecl) -> String {
    let key = document.each.as_ref().map_or("key", |each| each.by.value.as_str());
    path.replace(KEY, &format!("{{{key}}}"))
}

fn human(plan: &Plan) -> String {
    let mut text = String::new();
    for export in &plan.exports {
        let billed = if plan.price_per_tib.is_some() { billed(export) } else { String::new() };
        let _ = writeln!(text, "{}{billed}", export.export);
        if let Some(error) = &export.error {
            let _ = writeln!(text, "  {error}");
        }
        for query in &export.queries {
            let _ = writeln!(text, "  {}", line(query));
        }
        for path in &export.paths {
            let _ = writeln!(text, "  → {path}");
        }
    }
    let queries: usize = plan.exports.iter().map(|e| e.queries.len()).sum();
    let sum = total(plan, queries);
    let _ = writeln!(text, "{} exports, {queries} queries at {}: {sum}", plan.exports.len(), plan.warehouse);
    let _ = writeln!(text, "would be published in {} for {}, target {}", plan.store, plan.target_date, plan.target);
    text
}

/// What an export would come to, behind its name.
fn billed(export: &PlannedExport) -> String {
    let over = if export.over_cap { "  OVER ITS CAP" } else { "" };
    let together = export.max_bytes_billed.map_or_else(String::new, |cap| format!(" of at most {}", bytes(cap)));
    match (export.bytes_billed, export.cost) {
        (Some(billed), Some(cost)) => format!(": {}{together}, ${cost:.4}{over}", bytes(billed)),
        _ => format!(": what it would cost is not known{over}"),
    }
}

/// What all of it would come to. A sum that leaves out what is not known would be read as the price.
fn total(plan: &Plan, queries: usize) -> String {
    match (plan.price_per_tib, plan.bytes_billed, plan.cost) {
        (None, ..) => "nothing is billed".to_owned(),
        (Some(price), Some(billed), Some(cost)) => format!(
            "at most {} billed, ${cost:.4} at ${price} per TiB (on demand; a result from the cache costs nothing)",
            bytes(billed)
        ),
        _ => format!(
            "no total, as of {} of {queries} queries it is not known what they would be billed",
            plan.unknown_queries
        ),
    }
}

fn line(query: &PlannedQuery) -> String {
    let name = &query.query;
    match (&query.error, query.bytes_billed, query.max_bytes_billed, query.cost) {
        (Some(error), ..) => format!("{name}: {error}"),
        (None, Some(billed), Some(cap), Some(cost)) => {
            let over = if query.over_cap { "  OVER ITS CAP" } else { "" };
            format!("{name}: {} of at most {}, ${cost:.4}{over}", bytes(billed), bytes(cap))
        }
        _ => format!("{name}: can be run"),
    }
}
