//! `phase6 doctor`: what is configured, and what can be reached.

use super::args::{Format, Global};
use super::context;
use super::exit::Exit;
use crate::adapters::duckdb::{DuckDb, files};
use crate::config::{Project, Table};
use crate::model::Statement;
use crate::ports::bus::BusErrorKind;
use crate::ports::clock::SystemClock;
use crate::ports::warehouse::{Warehouse, WarehouseErrorKind};
use crate::service::settings::WORKER;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

pub fn run(global: &Global) -> Exit {
    match prepared(global) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn prepared(global: &Global) -> Result<Exit, Exit> {
    let loaded = context::load(global)?;
    let target = context::target(&loaded.project, global)?.name.value.clone();
    let project = loaded.project.root.display().to_string();
    let exports = loaded.project.exports.len();
    let tables: Vec<Table> = loaded.project.tables.values().cloned().collect();
    let embedded = context::duckdb(&loaded.project, global)?;
    let engine = context::engine(loaded, global)?;
    let runtime = context::runtime()?;
    let mut lines: Vec<(String, Result<String, String>)> =
        vec![("project".into(), Ok(format!("{project}, {exports} exports"))), ("target".into(), Ok(target))];
    let probe = Statement::new("doctor", "SELECT 1 AS one", Vec::new());
    let answered = runtime.block_on(engine.warehouse.query(&probe, &engine.cancel)).and_then(|mut rows| rows.next());
    lines.push(("warehouse".into(), answered.map(|_| engine.warehouse.describe()).map_err(|e| e.message)));
    lines.push(("tables".into(), tables_are_there(engine.warehouse.as_ref(), &embedded, &tables, &runtime)));
    for (name, store) in [("store", &engine.store), ("state", engine.state.store())] {
        let reached = runtime.block_on(store.list("doctor-probe"));
        lines.push((name.into(), reached.map(|_| store.describe()).map_err(|e| e.to_string())));
    }
    lines.push(("bus".into(), runtime.block_on(bus(&engine.project, global))));
    lines.push(("door".into(), Ok(door(&engine.project))));
    // A table without a file is a matter of the queries that read it; everything else must be there.
    let broken = lines.iter().any(|(name, result)| name != "tables" && result.is_err());
    if matches!(global.format, Format::Json | Format::Jsonl) {
        let objects: Vec<_> = lines
            .iter()
            .map(|(name, r)| json!({"check": name, "ok": r.is_ok(), "detail": r.as_ref().unwrap_or_else(|e| e)}))
            .collect();
        println!("{:#}", json!(objects));
    } else {
        for (name, result) in &lines {
            let (mark, text) = match result {
                Ok(text) => ("ok", text),
                Err(text) => ("--", text),
            };
            println!("{mark}  {name:10} {text}");
        }
    }
    Ok(if broken { Exit::Unavailable } else { Exit::Ok })
}

/// Whether each declared table is there. BigQuery is asked by dry runs, which read nothing; the embedded engine's are files.
fn tables_are_there(
    warehouse: &dyn Warehouse,
    embedded: &DuckDb,
    tables: &[Table],
    runtime: &Runtime,
) -> Result<String, String> {
    let mut lacks = Lacks::default();
    for declared in tables {
        match (warehouse.bills(), &declared.name, embedded.data()) {
            (true, table, _) => {
                // A table may insist on a condition on its partitions.
                let bound = declared.partition_by.iter().map(|column| format!(" WHERE `{column}` IS NOT NULL"));
                let sql = format!("SELECT * FROM `{table}`{}", bound.collect::<String>());
                let probe = Statement::new("doctor", sql, Vec::new());
                match runtime.block_on(warehouse.columns(&probe)) {
                    Ok(_) => {}
                    Err(error) if error.kind == WarehouseErrorKind::Data => lacks.absent.push(table),
                    Err(error) => lacks.unknown.entry(error.message).or_default().push(table),
                }
            }
            (false, table, Some(data)) if files::find(data, table).is_err() => lacks.absent.push(table),
            (false, ..) => {}
        }
    }
    lacks.told(tables.len())
}

/// The declared tables that were not found.
#[derive(Debug, Default)]
struct Lacks<'t> {
    absent: Vec<&'t str>,
    /// Those that could not be asked for, by the reason: one may be that of all, such as a missing login.
    unknown: BTreeMap<String, Vec<&'t str>>,
}

impl Lacks<'_> {
    /// What is said of so many declared tables.
    fn told(&self, declared: usize) -> Result<String, String> {
        let mut told = Vec::new();
        if !self.absent.is_empty() {
            let (number, names) = (self.absent.len(), self.absent.join(", "));
            told.push(format!("{number} of {declared} declared tables are not there: {names}"));
        }
        for (reason, tables) in &self.unknown {
            told.push(match tables.len() == declared {
                true => format!("whether the {declared} declared tables are there is not known: {reason}"),
                false => format!("whether {} is there is not known: {reason}", tables.join(", ")),
            });
        }
        if told.is_empty() { Ok(format!("{declared} declared, each is there")) } else { Err(told.join("; ")) }
    }
}

/// The bus, and what waits in the worker's subscription. One that nobody has served yet has none.
async fn bus(project: &Project, global: &Global) -> Result<String, String> {
    let bus = context::bus(project, global, Arc::new(SystemClock)).map_err(|_| "it cannot be opened".to_owned())?;
    match bus.backlog(WORKER).await {
        Ok(backlog) => Ok(format!("{}, {} messages wait for the worker", bus.describe(), backlog.messages)),
        Err(error) if error.kind == BusErrorKind::NotFound => {
            Ok(format!("{}, no service has used it yet", bus.describe()))
        }
        Err(error) if error.kind == BusErrorKind::Unknown => {
            Ok(format!("{}, what waits for the worker is not known", bus.describe()))
        }
        Err(error) => Err(error.message),
    }
}

/// Where `serve` would listen, whether somebody listens there, and who may come in.
fn door(project: &Project) -> String {
    let asked = std::env::var("PHASE6_LISTEN").ok().and_then(|text| super::args::listen(&text).ok());
    let Some(address) = super::door::address(project, asked) else {
        return "none: `phase6 serve --listen ADDRESS:PORT` or `service.listen` opens one".to_owned();
    };
    let open = TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok();
    let pushes = match (&project.service.push, super::door::has_token()) {
        (Some(push), _) => format!("events by OIDC for {}", push.value.audience),
        (None, true) => "events by PHASE6_TOKEN".to_owned(),
        (None, false) => "no token is set: events from this machine alone".to_owned(),
    };
    format!("{address}, {}; {pushes}", if open { "open" } else { "nobody listens there now" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_that_all_tables_share_is_told_once_and_calls_none_absent() {
        let unknown = BTreeMap::from([("nobody is logged in".to_owned(), vec!["d.a", "d.b"])]);
        let told = Lacks { absent: Vec::new(), unknown: unknown.clone() }.told(2);
        let all = "whether the 2 declared tables are there is not known: nobody is logged in";
        assert_eq!(told, Err(all.to_owned()));
        let told = Lacks { absent: vec!["d.c"], unknown }.told(3);
        let some =
            "1 of 3 declared tables are not there: d.c; whether d.a, d.b is there is not known: nobody is logged in";
        assert_eq!(told, Err(some.to_owned()));
        assert_eq!(Lacks::default().told(3), Ok("3 declared, each is there".to_owned()));
    }
}
