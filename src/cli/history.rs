//! `phase6 history`: the releases of an export.

use super::args::{Global, HistoryArgs};
use super::context;
use super::exit::Exit;
use super::output;
use crate::engine::history::{Entry, Standing, entries};
use std::fmt::Write;

pub fn run(global: &Global, args: &HistoryArgs) -> Exit {
    match prepared(global, args) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn prepared(global: &Global, args: &HistoryArgs) -> Result<Exit, Exit> {
    let engine = context::engine(context::load(global)?, global)?;
    let runtime = context::runtime()?;
    let found = runtime
        .block_on(entries(&engine.state, &args.export, args.limit))
        .map_err(|error| context::fail(Exit::Unavailable, error))?;
    if found.is_empty() {
        // Only a misspelt name is wrong: an export may have been given up and still have its history.
        context::export(&engine.project, &args.export)?;
    }
    output::records(global, &found, |found| human(&args.export, found));
    Ok(Exit::Ok)
}

fn human(export: &str, entries: &[Entry]) -> String {
    if entries.is_empty() {
        return format!("`{export}` was never published here\n");
    }
    let mut text = String::new();
    let width = entries.iter().map(|e| e.run_id.len()).max().unwrap_or(0);
    for entry in entries {
        let o = entry.objects;
        let mut line = format!(
            "{}  {:width$}  date {}  {} written, {} unchanged",
            entry.time.strftime("%Y-%m-%d %H:%M:%SZ"),
            entry.run_id,
            entry.target_date,
            o.written,
            o.unchanged
        );
        if o.superseded > 0 {
            let _ = write!(line, ", {} superseded", o.superseded);
        }
        if o.deleted > 0 {
            let _ = write!(line, ", {} deleted", o.deleted);
        }
        match entry.standing {
            Standing::Current => line.push_str("  current"),
            Standing::RolledBack => line.push_str("  rolled back"),
            Standing::Past => {}
        }
        if let Some(rollback) = &entry.rollback {
            let _ = write!(line, "  went back from {} to {}", rollback.rollback_of, rollback.restores);
        }
        let _ = writeln!(text, "{line}");
    }
    text
}
