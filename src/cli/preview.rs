//! `phase6 preview`: makes an export's documents into a store in memory and shows them; nothing is published.

use super::args::{Global, PreviewArgs};
use super::context;
use super::exit::Exit;
use super::report;
use crate::adapters::memory::MemoryStore;
use crate::ports::store::ObjectStore;
use crate::state::State;
use std::path::Path;
use std::sync::Arc;

pub fn run(global: &Global, args: &PreviewArgs) -> Exit {
    match prepared(global, args) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn prepared(global: &Global, args: &PreviewArgs) -> Result<Exit, Exit> {
    let loaded = context::load(global)?;
    context::export(&loaded.project, &args.export)?;
    let request = context::request(&loaded.project, global, &args.selection, vec![args.export.clone()])?;
    let mut engine = context::engine(loaded, global)?;
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    engine.store = store.clone();
    engine.state = State::new(Arc::new(MemoryStore::new()));
    engine.prefix = String::new();
    let runtime = context::runtime()?;
    let run = runtime.block_on(crate::engine::run(&engine, &request, "preview", 1, &|_| {}));
    if run.totals.failed > 0 {
        eprint!("{}", report::human(&run, false));
        return Ok(super::run::exit(&run, false));
    }
    let objects = runtime.block_on(store.list("")).map_err(|e| context::fail(Exit::Unavailable, e))?;
    for object in &objects {
        let found = runtime.block_on(store.get(&object.path, None)).map_err(|e| context::fail(Exit::Unavailable, e))?;
        match &args.to {
            Some(dir) => write(dir, &object.path, &found.bytes)?,
            // The dated document or the first of a fan-out: what an analyst wants to see.
            None => {
                println!("{}", pretty(&found.bytes));
                if objects.len() > 1 {
                    eprintln!(
                        "phase6: this is {}; {} objects in all, see them with --to DIR",
                        object.path,
                        objects.len()
                    );
                }
                break;
            }
        }
    }
    if let Some(dir) = &args.to
        && !global.quiet
    {
        println!("{} documents in {}", objects.len(), dir.display());
    }
    if objects.is_empty() {
        eprint!("{}", report::human(&run, false));
    }
    Ok(Exit::Ok)
}

fn pretty(bytes: &[u8]) -> String {
    match serde_json::from_slice::<serde_json::Value>(bytes) {
        Ok(value) => format!("{value:#}"),
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

fn write(dir: &Path, path: &str, bytes: &[u8]) -> Result<(), Exit> {
    let full = dir.join(path);
    let folder = full.parent().unwrap_or(dir);
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&full, pretty(bytes) + "\n"))
        .map_err(|e| context::fail(Exit::Unavailable, format!("{} cannot be written: {e}", full.display())))
}
