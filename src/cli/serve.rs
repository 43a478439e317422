//! `phase6 serve`: the whole picture on one machine, until a signal ends it.

use super::args::{Global, ServeArgs};
use super::exit::Exit;
use super::monitoring::{self, Watch};
use super::{context, door};
use crate::ports::cancel::Cancel;
use crate::ports::clock::SystemClock;
use crate::service::beats::Beats;
use crate::service::idle::Idle;
use crate::service::server::Server;
use crate::service::settings::Settings;
use crate::service::{Live, Service, Setup};
use crate::telemetry::{LoopFailed, Reloaded, Severity, Started, Stopped, Telemetry};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

pub fn run(global: &Global, args: &ServeArgs) -> Exit {
    let runtime = match context::runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    match runtime.block_on(serve(global, args)) {
        Ok(exit) | Err(exit) => {
            // Blocking work that did not stop must not keep the process.
            runtime.shutdown_timeout(Duration::from_secs(1));
            exit
        }
    }
}

fn setup(global: &Global, args: &ServeArgs) -> Result<(Setup, crate::engine::export::Engine), Exit> {
    let loaded = context::load(global)?;
    let target = context::target(&loaded.project, global)?.name.value.clone();
    let engine = context::engine(loaded, global)?;
    let settings = Settings {
        exports: args.jobs.into(),
        requests: args.requests.into(),
        lease: args.lease,
        own_clock: !args.no_scheduler,
        ..Settings::default()
    };
    let setup = Setup::of(engine.clone(), target, settings).map_err(|reason| context::fail(Exit::Usage, reason))?;
    Ok((setup, engine))
}

async fn serve(global: &Global, args: &ServeArgs) -> Result<Exit, Exit> {
    let (setup, engine) = setup(global, args)?;
    let telemetry = monitoring::telemetry(args.log_format, global.quiet);
    let bus = context::bus(&setup.project, global, Arc::new(SystemClock))?;
    let root = setup.project.root.clone();
    let grace = args.grace.unwrap_or(setup.project.service.grace);
    let listener = match door::address(&setup.project, args.listen) {
        Some(address) => Some(door::bind(address).await?),
        None => None,
    };
    let listen = listener.as_ref().and_then(|l| l.local_addr().ok()).map(|a| a.to_string());
    let service = Service {
        bus,
        state: engine.state.clone(),
        clock: Arc::new(SystemClock),
        live: Live::new(setup),
        name: name(),
        telemetry: telemetry.clone(),
        beats: Beats::default(),
        idle: Idle::default(),
        drain: Cancel::default(),
    };
    let (stop, shutdown) = watch::channel(false);
    let mut server = Server::start(service.clone(), shutdown.clone())
        .await
        .map_err(|error| context::fail(Exit::Unavailable, error))?;
    let mut watch = Watch::start(&engine, service.bus.clone(), &telemetry, &service.name, shutdown.clone());
    let report = Arc::new(Mutex::new(watch.report.clone()));
    if let Some(listener) = listener {
        let door = Arc::new(door::door(&service, &service.live.now(), &engine, report.clone()));
        let (telemetry, shutdown) = (telemetry.clone(), shutdown.clone());
        server.spawn(async move {
            if let Err(error) = crate::service::http::serve(listener, door, shutdown).await {
                telemetry.emit(&LoopFailed { name: "door", reason: &error.to_string() });
            }
        });
    }
    started(&telemetry, &service.live.now(), listen.as_deref());
    let mut signals = Signals::new()?;
    let mut watched = Watched::new(root);
    let ended = loop {
        let wish = tokio::select! {
            wish = signals.next(&mut watched) => wish,
            () = idle(&server, args.until_idle) => break "as nothing was left to do",
        };
        match wish {
            Wish::Stop => break "by a signal",
            Wish::Reload => {
                if let Some(engine) = reload(global, args, &service, &mut server, &telemetry).await {
                    watch = Watch::start(&engine, service.bus.clone(), &telemetry, &service.name, shutdown.clone());
                    *report.lock().unwrap_or_else(PoisonError::into_inner) = watch.report.clone();
                }
            }
        }
    };
    telemetry.log(Severity::Notice, "finishing what is under way", &[]);
    let _ = stop.send(true);
    drop(watch);
    let finished = tokio::select! {
        finished = server.finish(grace) => finished,
        () = signals.stop() => false,
    };
    service.bus.close().await;
    let reason = if finished { ended.to_owned() } else { format!("{ended}; what was not finished comes again") };
    telemetry.emit(&Stopped { reason: &reason, finished, failed: false });
    let _ = tokio::task::spawn_blocking(move || telemetry.flush_traces()).await;
    Ok(Exit::Ok)
}

/// How often it is looked whether anything is left to do.
const IDLE_LOOK: Duration = Duration::from_millis(250);

/// Returns when nothing has come for `term`; never without one.
async fn idle(server: &Server, term: Option<Duration>) {
    let Some(term) = term else { return std::future::pending().await };
    while !server.is_idle(term) {
        tokio::time::sleep(IDLE_LOOK).await;
    }
}

/// Takes a valid new configuration; a bad one changes nothing.
async fn reload(
    global: &Global,
    args: &ServeArgs,
    service: &Service,
    server: &mut Server,
    telemetry: &Telemetry,
) -> Option<crate::engine::export::Engine> {
    let Ok((setup, engine)) = setup(global, args) else {
        telemetry.emit(&Reloaded { refused: Some(&first_finding(global)) });
        return None;
    };
    service.live.replace(setup);
    telemetry.emit(&Reloaded { refused: None });
    if let Err(error) = server.follow().await {
        telemetry.emit(&LoopFailed { name: "server", reason: &error.to_string() });
    }
    Some(engine)
}

/// What is wrong with the project, as far as it can be said in a line; the findings themselves are on standard error.
fn first_finding(global: &Global) -> String {
    let wrong = context::root(global).ok().and_then(|root| {
        let loaded = crate::config::load(&root, &|name| std::env::var(name).ok());
        let first = loaded.findings.iter().find(|f| f.severity == crate::diagnostics::Severity::Error)?;
        Some(format!("{}: {}", crate::diagnostics::render::place(first, &loaded.sources), first.message))
    });
    wrong.unwrap_or_else(|| "see what was said on standard error".to_owned())
}

fn started(telemetry: &Telemetry, setup: &Setup, listen: Option<&str>) {
    telemetry.emit(&Started {
        target: &setup.target,
        exports: setup.project.exports.len(),
        jobs: setup.project.jobs.len(),
        triggers: setup.gates.len(),
        listen,
    });
}

/// This copy's own name: what it claims is its own alone.
fn name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}-{}-{:08x}", std::process::id(), crate::ports::chance::chance() & 0xffff_ffff)
}

/// What a signal or a changed file asks for.
enum Wish {
    Stop,
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self, Exit> {
        let listen =
            |kind| signal(kind).map_err(|e| context::fail(Exit::Unavailable, format!("signals cannot be heard: {e}")));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    async fn next(&mut self, watched: &mut Watched) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::Stop,
            _ = self.interrupt.recv() => Wish::Stop,
            _ = self.hangup.recv() => Wish::Reload,
            () = watched.changed() => Wish::Reload,
        }
    }
}

/// The project's files, looked at every few seconds.
struct Watched {
    root: PathBuf,
    seen: Vec<(PathBuf, Option<SystemTime>)>,
}

impl Watched {
    fn new(root: PathBuf) -> Self {
        let seen = Self::look(&root);
        Self { root, seen }
    }

    async fn changed(&mut self) {
        loop {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let now = Self::look(&self.root);
            if now != self.seen {
                self.seen = now;
                return;
            }
        }
    }

    fn look(root: &std::path::Path) -> Vec<(PathBuf, Option<SystemTime>)> {
        let mut files = vec![root.join(crate::config::load::PUBLISHING_FILE)];
        for folder in ["exports", "exports/sql", "schemas", "schemas/messages", "schemas/tables"] {
            let entries = std::fs::read_dir(root.join(folder)).into_iter().flatten();
            files.extend(entries.flatten().map(|e| e.path()).filter(|p| p.is_file()));
        }
        files.sort();
        let changed = |path: &PathBuf| path.metadata().and_then(|m| m.modified()).ok();
        files
            .into_iter()
            .map(|path| {
                let at = changed(&path);
                (path, at)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_copies_in_equal_containers_have_two_names() {
        assert_ne!(super::name(), super::name());
    }
}
