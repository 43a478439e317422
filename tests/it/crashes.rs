//! `kill -9` at any moment of `phase6 serve` under a stream of messages: nothing is lost, no cause is published twice, `latest`
//! never goes back, and it is up again at once. `PHASE6_KILLS` says how often (25; the whole is 1,000).

use crate::harness::Sandbox;
use crate::stream::{self, Stream, TRIGGER};
use jiff::civil::Date;
use phase6::adapters::directory::DirectoryStore;
use phase6::adapters::sqlite_bus::SqliteBus;
use phase6::engine::invariants::Violation;
use phase6::ports::clock::SystemClock;
use phase6::service::invariants as served;
use phase6::service::settings::{DEAD_LETTER, WORKER};
use phase6::state::State;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const TARGET: &str = "{warehouse: {type: duckdb, data: warehouse}, store: {type: directory, path: public}, \
                      state: {type: directory, path: state}, bus: {type: embedded, path: bus}}";

/// A delivery that a killed process had is free again after so long.
const LEASE: &str = "1s";

/// A running `phase6 serve`, and when it said that it had started.
struct Running {
    child: Child,
    begun: Instant,
    started: Receiver<Instant>,
}

impl Running {
    fn start(sandbox: &Sandbox) -> Running {
        let begun = Instant::now();
        let mut command = sandbox.command(&format!("serve --log-format json --lease {LEASE} --jobs 4"));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (say, started) = channel();
        let log = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                if line.contains("started on target") {
                    let _ = say.send(Instant::now());
                }
            }
        });
        Running { child, begun, started }
    }

    fn kill(mut self) -> Option<Duration> {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), None, "it was killed and did not end by itself");
        self.started.try_recv().ok().map(|at| at - self.begun)
    }

    fn terminate(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

/// The stream of messages, the folders as the process leaves them, and what was seen.
struct World {
    sandbox: Sandbox,
    runtime: Runtime,
    stream: Stream,
    latest: Option<Date>,
    startups: Vec<Duration>,
}

impl World {
    fn new() -> World {
        let sandbox = stream::sandbox(TARGET, "");
        let at = |name: &str| sandbox.path().join(name);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let bus = Arc::new(SqliteBus::open(&at("bus"), Arc::new(SystemClock)).unwrap());
        let public = Arc::new(DirectoryStore::new(at("public")));
        let state = State::new(Arc::new(DirectoryStore::new(at("state"))));
        let stream = runtime.block_on(Stream::new(bus, public, state, 7));
        World { sandbox, runtime, stream, latest: None, startups: Vec::new() }
    }

    fn send(&mut self, n: usize) {
        self.runtime.block_on(self.stream.send(n));
    }

    /// One life: messages before and while it works, and a kill when nobody expects it.
    fn life(&mut self, round: usize) {
        // No more than it can work off between two kills, or the end would be one long wait.
        let messages = if self.waiting() > 30 { 0 } else { 2 + self.stream.random.below(4) as usize };
        let early = self.stream.random.below(messages as u64 + 1) as usize;
        (0..early).for_each(|n| self.send(round * 10 + n));
        let running = Running::start(&self.sandbox);
        // From before it has started to some requests later.
        let life = Duration::from_millis(10 + self.stream.random.below(450));
        for n in early..messages {
            std::thread::sleep(life / messages.max(1) as u32);
            self.send(round * 10 + n);
        }
        std::thread::sleep(life.saturating_sub(running.begun.elapsed()));
        self.startups.extend(running.kill());
        self.look();
    }

    /// What a reader sees of `latest` right after the kill.
    fn look(&mut self) {
        let Ok(text) = std::fs::read_to_string(self.sandbox.path().join("public/days/latest.json")) else { return };
        let document: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("latest is torn: {e}: {text}"));
        let date: Date = document["date"].as_str().unwrap().parse().unwrap();
        assert!(self.latest.is_none_or(|before| before <= date), "`latest` went from {:?} back to {date}", self.latest);
        self.latest = Some(date);
    }

    /// Messages that somebody has still to answer.
    fn waiting(&self) -> usize {
        let backlog = |s: &&str| self.runtime.block_on(self.stream.bus.backlog(s)).map_or(0, |b| b.messages);
        [TRIGGER, WORKER, DEAD_LETTER].iter().map(backlog).sum::<u64>() as usize
    }

    /// Serves until nothing waits, then ends it in good order.
    fn drain(&mut self) {
        let running = Running::start(&self.sandbox);
        let up = running.started.recv_timeout(Duration::from_secs(60)).expect("it starts");
        self.startups.push(up - running.begun);
        // Of many deliveries that a kill cut off, the next is up to a minute away.
        let (mut progress, mut left) = (Instant::now(), usize::MAX);
        while left > 0 {
            assert!(progress.elapsed() < Duration::from_secs(120), "{left} messages do not come to an end");
            std::thread::sleep(Duration::from_millis(100));
            self.look();
            let now = self.waiting();
            if now < left {
                (progress, left) = (Instant::now(), now);
            }
        }
        running.terminate();
        self.look();
    }

    fn judge(&mut self) -> Vec<Violation> {
        let (mut found, summary) = self.runtime.block_on(self.stream.judge());
        for subscription in [TRIGGER, WORKER, DEAD_LETTER] {
            let backlog = self.runtime.block_on(self.stream.bus.backlog(subscription)).unwrap();
            found.extend(served::every_lease_is_free(backlog, &[]));
        }
        println!("{summary:?}");
        assert!(summary.failed.is_empty(), "{:#?}", summary.failed);
        found
    }
}

#[test]
fn killed_at_any_moment_the_service_loses_nothing_and_repeats_nothing() {
    let kills: usize = std::env::var("PHASE6_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(25);
    let begun = Instant::now();
    let mut world = World::new();
    for round in 0..kills {
        world.life(round);
        if round % 100 == 99 {
            println!("{} kills, {:?}", round + 1, begun.elapsed());
        }
    }
    world.drain();
    let violations = world.judge();
    assert!(violations.is_empty(), "{violations:#?}");
    world.startups.sort();
    let (median, longest) = (world.startups[world.startups.len() / 2], world.startups[world.startups.len() - 1]);
    println!(
        "{kills} kills, {} after the start; start-up: median {median:?}, longest {longest:?}; all in {:?}",
        world.startups.len() - 1,
        begun.elapsed()
    );
    assert!(world.latest.is_some() && world.startups.len() > kills / 4, "it came to work between the kills");
    // The longest says more of a busy machine than of the program.
    assert!(median < Duration::from_secs(1), "start-up takes {median:?}");
}
