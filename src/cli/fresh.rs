//! `phase6 fresh`: which documents keep their promises, by the clock.

use super::args::{Format, Global};
use super::context;
use super::exit::Exit;
use crate::service::freshness::{Condition, Reader, Row, last_runs};
use jiff::Timestamp;
use std::fmt::Write;

pub fn run(global: &Global) -> Exit {
    match judged(global) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn judged(global: &Global) -> Result<Exit, Exit> {
    let now = context::cause_time(global)?;
    let engine = context::engine(context::load(global)?, global)?;
    let runtime = context::runtime()?;
    let rows = runtime.block_on(async {
        let runs = last_runs(&engine.state, &engine.project).await.map_err(|e| e.to_string())?;
        let mut reader = Reader::new(engine.store.clone(), engine.state.clone(), engine.prefix.clone());
        reader.rows(&engine.project, &runs, now).await.map_err(|e| e.to_string())
    });
    let rows = rows.map_err(|reason| context::fail(Exit::Unavailable, reason))?;
    let broken = rows.iter().filter(|row| row.state != Condition::Fresh).count();
    match global.format {
        Format::Json => println!("{:#}", serde_json::to_value(&rows).unwrap_or_default()),
        Format::Jsonl => {
            for row in &rows {
                println!("{}", serde_json::to_value(row).unwrap_or_default());
            }
        }
        _ if global.quiet => print!("{}", table(&rows, now, true)),
        _ => print!("{}", table(&rows, now, false)),
    }
    Ok(if broken > 0 { Exit::Failed } else { Exit::Ok })
}

/// The table for people; `broken` leaves out what is fresh.
fn table(rows: &[Row], now: Timestamp, broken: bool) -> String {
    let mut lines = vec![["EXPORT", "PATH", "DATA", "CONFIRMED", "PROMISE", "STATE", "REASON"].map(str::to_owned)];
    for row in rows.iter().filter(|row| !broken || row.state != Condition::Fresh) {
        let ago = |at: Timestamp| format!("{} ago", crate::service::freshness::words(now.duration_since(at)));
        lines.push([
            row.export.clone(),
            row.path.clone(),
            row.data_date.map_or("-".into(), |d| d.to_string()),
            row.verified_at.map_or("-".into(), ago),
            row.promise.clone(),
            match row.state {
                Condition::Fresh => "fresh",
                Condition::Stale => "STALE",
                Condition::Missing => "MISSING",
            }
            .to_owned(),
            row.reason.clone(),
        ]);
    }
    if lines.len() == 1 {
        return if broken { String::new() } else { "no export declares `freshness`\n".to_owned() };
    }
    let widths: Vec<usize> =
        (0..6).map(|i| lines.iter().map(|line| line[i].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for line in &lines {
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(text, "{cell:width$}  ");
        }
        let _ = writeln!(text, "{}", line[6]);
    }
    text
}
