//! What a command works with: the project with the command line's overrides, and the adapters of its target.

use super::args::{Global, Selection};
use super::cloud;
use super::exit::Exit;
use crate::adapters::directory::DirectoryStore;
use crate::adapters::duckdb::DuckDb;
use crate::adapters::sqlite_bus::SqliteBus;
use crate::config::{BusTarget, Export, Loaded, Project, StateTarget, StoreTarget, Target, WarehouseTarget};
use crate::diagnostics::nearest;
use crate::engine::export::Engine;
use crate::model::Value;
use crate::model::dates::DayRule;
use crate::model::request::{Cause, CauseKind, ExportRequest};
use crate::ports::bus::{Bus, BusError, BusErrorKind};
use crate::ports::cancel::Cancel;
use crate::ports::chance::chance;
use crate::ports::clock::{Clock, SystemClock};
use crate::ports::store::ObjectStore;
use crate::ports::warehouse::Warehouse;
use crate::service::settings::{DEAD_LETTER, Settings, subscriptions};
use crate::state::State;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Says what went wrong, on standard error.
pub fn fail(exit: Exit, message: impl std::fmt::Display) -> Exit {
    eprintln!("phase6: {message}");
    exit
}

/// The project's folder: as told, else this folder or the nearest above it that has the main file.
pub fn root(global: &Global) -> Result<PathBuf, Exit> {
    let main_file = crate::config::load::PUBLISHING_FILE;
    if let Some(dir) = &global.config {
        if dir.join(main_file).is_file() {
            return Ok(dir.clone());
        }
        return Err(fail(
            Exit::Usage,
            format!("{} holds no {main_file}: name a project's folder with --config", dir.display()),
        ));
    }
    let here = std::env::current_dir().map_err(|e| fail(Exit::Usage, format!("this folder cannot be read: {e}")))?;
    here.ancestors().find(|dir| dir.join(main_file).is_file()).map(Path::to_owned).ok_or_else(|| {
        fail(
            Exit::Usage,
            format!("neither {} nor a folder above it holds a {main_file}: name one with --config", here.display()),
        )
    })
}

/// Loads the project and applies the overrides; findings that forbid running are printed.
pub fn load(global: &Global) -> Result<Loaded, Exit> {
    let root = root(global)?;
    let mut loaded = crate::config::load(&root, &|name| std::env::var(name).ok());
    if loaded.has_errors() {
        let (text, _) = super::check::report(&loaded, super::args::Format::Human, false);
        eprint!("{text}");
        return Err(fail(Exit::Usage, "the project has errors: nothing was run"));
    }
    override_vars(&mut loaded.project, global)?;
    Ok(loaded)
}

/// Loads and checks the project, and fills in what its queries return.
pub fn load_checked(global: &Global) -> Result<Loaded, Exit> {
    let root = root(global)?;
    let mut loaded = super::check::load_and_analyse(&root);
    override_vars(&mut loaded.project, global)?;
    Ok(loaded)
}

fn override_vars(project: &mut Project, global: &Global) -> Result<(), Exit> {
    for pair in &global.vars {
        let (name, text) =
            pair.split_once('=').ok_or_else(|| fail(Exit::Usage, format!("--var {pair}: write NAME=VALUE")))?;
        let Some(value) = project.vars.get_mut(name) else {
            let known: Vec<&str> = project.vars.keys().map(String::as_str).collect();
            let hint = nearest(name, known.iter().copied())
                .map_or_else(|| format!("there are {}", known.join(", ")), |near| format!("did you mean `{near}`?"));
            return Err(fail(Exit::Usage, format!("--var {pair}: `vars:` has no `{name}`; {hint}")));
        };
        let bad =
            || fail(Exit::Usage, format!("--var {pair}: `{text}` is not of the type that `vars:` gives `{name}`"));
        *value = match value {
            Value::Int64(_) => Value::Int64(text.parse().map_err(|_| bad())?),
            Value::Float64(_) => Value::Float64(text.parse().map_err(|_| bad())?),
            Value::Bool(_) => Value::Bool(text.parse().map_err(|_| bad())?),
            _ => Value::Text(text.to_owned()),
        };
    }
    Ok(())
}

/// The chosen target.
pub fn target<'p>(project: &'p Project, global: &Global) -> Result<&'p Target, Exit> {
    match &global.target {
        None => project.targets.first().ok_or_else(|| fail(Exit::Usage, "the project has no target")),
        Some(name) => project.targets.iter().find(|t| t.name.value == *name).ok_or_else(|| {
            let known: Vec<&str> = project.targets.iter().map(|t| t.name.value.as_str()).collect();
            let hint = nearest(name, known.iter().copied())
                .map_or_else(|| format!("there are {}", known.join(", ")), |near| format!("did you mean `{near}`?"));
            fail(Exit::Usage, format!("there is no target `{name}`: {hint}"))
        }),
    }
}

/// The embedded engine over the target's data, or over `--data`: for what only it can do (its own SQL, its files).
pub fn duckdb(project: &Project, global: &Global) -> Result<Arc<DuckDb>, Exit> {
    let target = target(project, global)?;
    let data = match (&global.data, &target.warehouse) {
        (Some(data), _) => Some(data.clone()),
        (None, WarehouseTarget::DuckDb { data }) => Some(project.root.join(data)),
        (None, WarehouseTarget::BigQuery { .. }) => None,
    };
    Ok(Arc::new(DuckDb::new(data, project.tables.clone())))
}

/// The target's warehouse; the embedded engine with `--data`.
pub fn warehouse(project: &Project, global: &Global) -> Result<Arc<dyn Warehouse>, Exit> {
    let target = target(project, global)?;
    match (&global.data, &target.warehouse) {
        (None, WarehouseTarget::BigQuery { project, location, max_bytes_billed, .. }) => {
            cloud::warehouse(target, project, location.as_deref(), *max_bytes_billed)
        }
        _ => Ok(duckdb(project, global)?),
    }
}

/// The target's state, with `--state` and `--out` applied.
pub fn state(project: &Project, global: &Global) -> Result<State, Exit> {
    let target = target(project, global)?;
    let folder = match (&global.state, &global.out, &target.state) {
        (Some(state), _, _) => state.clone(),
        (None, Some(out), _) => beside(out, ".state"),
        (None, None, StateTarget::Directory { path }) => project.root.join(path),
        (None, None, StateTarget::Gcs { bucket }) => return Ok(State::new(cloud::store(target, bucket)?)),
    };
    let store: Arc<dyn ObjectStore> = Arc::new(DirectoryStore::new(folder).keep_versions(1));
    Ok(State::new(store))
}

/// The engine on the chosen target, with `--data`, `--out` and `--state` applied.
pub fn engine(loaded: Loaded, global: &Global) -> Result<Engine, Exit> {
    let warehouse = warehouse(&loaded.project, global)?;
    let target = target(&loaded.project, global)?;
    let root = &loaded.project.root;
    let directory = |path| -> Arc<dyn ObjectStore> { Arc::new(DirectoryStore::new(path)) };
    let (StoreTarget::Directory { prefix, .. } | StoreTarget::Gcs { prefix, .. }) = &target.store;
    let prefix = prefix.clone();
    let store = match (&global.out, &target.store) {
        (Some(out), _) => directory(out.clone()),
        (None, StoreTarget::Directory { path, .. }) => directory(root.join(path)),
        (None, StoreTarget::Gcs { bucket, .. }) => cloud::store(target, bucket)?,
    };
    let state = state(&loaded.project, global)?;
    Ok(Engine {
        // `--out` names the folder of the documents themselves; the prefix belongs to the target's own store.
        prefix: if prefix.is_empty() || prefix.ends_with('/') { prefix } else { format!("{prefix}/") },
        project: Arc::new(loaded.project),
        sources: Arc::new(loaded.sources),
        warehouse,
        store,
        state,
        clock: Arc::new(SystemClock),
        cancel: Cancel::default(),
    })
}

/// The target's bus, with `--bus` and `--out` applied.
pub fn bus(project: &Project, global: &Global, clock: Arc<dyn Clock>) -> Result<Arc<dyn Bus>, Exit> {
    let target = target(project, global)?;
    let folder = match (&global.bus, &global.out, &target.bus) {
        (Some(bus), _, _) => bus.clone(),
        (None, Some(out), _) => beside(out, ".bus"),
        (None, None, BusTarget::Embedded { path }) => project.root.join(path),
        (None, None, BusTarget::PubSub { project }) => return cloud::bus(target, project, clock),
    };
    Ok(Arc::new(SqliteBus::open(&folder, clock).map_err(bus_failed)?))
}

/// Says what the bus did not do.
pub fn bus_failed(error: BusError) -> Exit {
    let exit = match error.kind {
        BusErrorKind::NotFound | BusErrorKind::Invalid => Exit::Usage,
        BusErrorKind::Transient | BusErrorKind::Fatal | BusErrorKind::Unknown => Exit::Unavailable,
    };
    fail(exit, error)
}

/// Makes the project's subscriptions where they are absent: before anything is published, so that the first service finds what was
/// published before it was started. Those that are there stay as the service, with its `--lease`, or `deploy` has set them.
pub async fn make_subscriptions(project: &Project, bus: &dyn Bus) -> Result<(), Exit> {
    for subscription in subscriptions(project, &Settings::default()) {
        bus.make(&subscription).await.map_err(bus_failed)?;
    }
    Ok(())
}

/// A topic by its key under `topics:` or its own name.
pub fn topic(project: &Project, name: &str) -> Result<String, Exit> {
    if let Some(topic) = project.topic(name).or((name == DEAD_LETTER).then_some(DEAD_LETTER)) {
        return Ok(topic.to_owned());
    }
    let known = || project.topics.iter().flat_map(|(key, full)| [key.as_str(), full.as_str()]).chain([DEAD_LETTER]);
    let hint = nearest(name, known()).map_or_else(
        || format!("there are {}", known().collect::<Vec<_>>().join(", ")),
        |near| format!("did you mean `{near}`?"),
    );
    Err(fail(Exit::Usage, format!("there is no topic `{name}`: {hint}")))
}

fn beside(dir: &Path, suffix: &str) -> PathBuf {
    let mut name = dir.components().collect::<PathBuf>().into_os_string();
    name.push(suffix);
    name.into()
}

/// The cause's time: now, or `--now`.
pub fn cause_time(global: &Global) -> Result<Timestamp, Exit> {
    match &global.now {
        None => Ok(SystemClock.now()),
        Some(text) => text
            .parse()
            .map_err(|_| fail(Exit::Usage, format!("--now {text}: write an instant such as 2025-12-12T18:00:00Z"))),
    }
}

/// The calendar's rule for days.
pub fn day_rule(project: &Project) -> Result<DayRule, Exit> {
    project.calendar.day_rule().map_err(|reason| fail(Exit::Usage, reason))
}

/// The parameters of `--param` and `--min-games`.
pub fn params(pairs: &[String], min_games: Option<i64>) -> Result<BTreeMap<String, Value>, Exit> {
    let mut params = BTreeMap::new();
    for pair in pairs {
        let (name, text) =
            pair.split_once('=').ok_or_else(|| fail(Exit::Usage, format!("--param {pair}: write NAME=VALUE")))?;
        params.insert(name.to_owned(), Value::Text(text.to_owned()));
    }
    if let Some(number) = min_games {
        params.insert("min_games".to_owned(), Value::Int64(number));
    }
    Ok(params)
}

/// A request of the command line for one day.
pub fn request(
    project: &Project,
    global: &Global,
    selection: &Selection,
    exports: Vec<String>,
) -> Result<ExportRequest, Exit> {
    let time = cause_time(global)?;
    let rule = day_rule(project)?;
    let target_date =
        rule.resolve(&selection.date, time).map_err(|reason| fail(Exit::Usage, format!("--date: {reason}")))?;
    let params = params(&selection.params, selection.min_games)?;
    let known = |name: &str| {
        exports.iter().filter_map(|e| export(project, e).ok()).any(|e| e.params.iter().any(|p| p.name.value == name))
    };
    if let Some(unknown) = params.keys().find(|name| !known(name)) {
        return Err(fail(Exit::Usage, format!("--param {unknown}: none of the exports has this parameter")));
    }
    let run_id = run_id(SystemClock.now());
    Ok(ExportRequest {
        cause: Cause { kind: CauseKind::Command, id: run_id.clone(), time },
        run_id,
        exports,
        target_date,
        today: rule.day_of(time),
        params,
        update_latest: true,
        force: false,
    })
}

/// An id that sorts by time: `20251212T180000.123456Z-4f2a`.
pub fn run_id(now: Timestamp) -> String {
    let stamp = now.to_string().replace(['-', ':'], "");
    format!("{}-{:04x}", stamp.trim_end_matches('Z'), chance() & 0xffff)
}

/// An export by its name.
pub fn export<'p>(project: &'p Project, name: &str) -> Result<&'p Export, Exit> {
    project.exports.iter().find(|e| e.name.value == name).ok_or_else(|| {
        let known: Vec<&str> = project.exports.iter().map(|e| e.name.value.as_str()).collect();
        let hint = nearest(name, known.iter().copied())
            .map_or_else(|| format!("there are {}", known.join(", ")), |near| format!("did you mean `{near}`?"));
        fail(Exit::Usage, format!("there is no export `{name}`: {hint}"))
    })
}

/// A runtime for the ports' futures.
pub fn runtime() -> Result<tokio::runtime::Runtime, Exit> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| fail(Exit::Unavailable, format!("the runtime cannot be started: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::bus_conformance::HandClock;
    use crate::adapters::memory_bus::MemoryBus;
    use crate::ports::bus::{NewMessage, Subscription};
    use crate::service::settings::WORKER;
    use std::time::Duration;

    #[tokio::test]
    async fn a_command_leaves_the_service_its_lease() {
        let project = crate::config::load(Path::new(env!("CARGO_MANIFEST_DIR")), &|_| None).project;
        let clock = Arc::new(HandClock::new("2025-12-12T18:00:00Z"));
        let bus = MemoryBus::new(clock.clone());
        let five_minutes = Settings { lease: Duration::from_secs(300), ..Settings::default() };
        let all: Vec<Subscription> = subscriptions(&project, &five_minutes);
        for subscription in &all {
            bus.ensure(subscription).await.unwrap();
        }
        make_subscriptions(&project, &bus).await.unwrap();
        let worker = all.iter().find(|s| s.name == WORKER).unwrap();
        bus.publish(&worker.topic, &NewMessage { body: b"x".to_vec(), ..NewMessage::default() }).await.unwrap();
        let pull = async || bus.pull(WORKER, 1, Duration::ZERO).await.unwrap().len();
        assert_eq!(pull().await, 1);
        clock.advance(Duration::from_secs(290));
        assert_eq!(pull().await, 0, "it is leased for as long as the service wants");
    }
}
