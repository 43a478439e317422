//! `kill -9` at any moment of `phase6 serve` under a stream of messages: nothing is lost, no cause is published twice, `latest`
//! never goes back, and it is up again at once. `PHASE6_KILLS` says how often (25; the whole is 1,000).

use crate::harness::{Sandbox, root};
use jiff::civil::Date;
use phase6::adapters::directory::DirectoryStore;
use phase6::adapters::faulty::Random;
use phase6::adapters::sqlite_bus::SqliteBus;
use phase6::engine::invariants::{self as published, Violation};
use phase6::model::completion::CompletionMessage;
use phase6::ports::bus::{Bus, Message, NewMessage, Subscription};
use phase6::ports::clock::SystemClock;
use phase6::service::invariants as served;
use phase6::service::settings::{DEAD_LETTER, WORKER};
use phase6::state::State;
use phase6::state::requests::RequestStatus;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const PROJECT: &str = r#"version: 1
calendar: {timezone: America/New_York, day_starts_at: "04:00"}
targets:
  local:
    warehouse: {type: duckdb, data: warehouse}
    store: {type: directory, path: public}
    state: {type: directory, path: state}
    bus: {type: embedded, path: bus}
topics: {predictions_complete: upstream, export_trigger: trigger, export_complete: complete}
triggers:
  - name: orchestrator
    topic: predictions_complete
    schema: schemas/messages/predictions-complete.schema.json
    dedupe_by: =message.metadata.batch_id
    when:
      - {if: '=message.status in ["success", "partial"]', else: status is neither success nor partial}
    publish:
      topic: export_trigger
      message: {export_types: [days, cards], target_date: =message.game_date, update_latest: true, upstream_batch_id: =message.metadata.batch_id}
"#;

const DAYS: &str = r"export: days
description: A document for each day, and the latest of them.
params: {target_date: date}
queries:
  teams: {sql: 'SELECT team, wins FROM `league.teams` ORDER BY team'}
shape: {date: =target_date, made: =now, teams: {$each: teams, $fields: [team, wins]}}
files: [{path: 'days/{{ target_date }}.json', aliases: [{path: days/latest.json}]}]
";

const CARDS: &str = r"export: cards
description: A card for each team, and a list of them.
params: {target_date: date}
queries:
  teams: {sql: 'SELECT team, wins FROM `league.teams` ORDER BY team'}
documents:
  - name: card
    each: teams by team
    shape: {team: =key, date: =target_date}
    files: [{path: 'cards/{{ key }}.json'}]
  - name: index
    index_of: card
    shape: {date: =target_date, teams: {$each: teams, $value: =row.team}}
    files: [{path: cards/index.json}]
";

const TABLE: &str = "CREATE TABLE league.teams (team STRING NOT NULL, wins INT64 NOT NULL);\n";

const TRIGGER: &str = "phase6-orchestrator";

/// A delivery that a killed process had is free again after so long.
const LEASE: &str = "1s";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::empty();
    sandbox.write("phase6_publishing.yaml", PROJECT);
    sandbox.write("exports/days.yaml", DAYS);
    sandbox.write("exports/cards.yaml", CARDS);
    sandbox.write("warehouse/league/teams.csv", "team,wins\nBOS,3\nDEN,2\nLAL,1\n");
    sandbox.write("schemas/tables/league.sql", TABLE);
    let contract = "schemas/messages/predictions-complete.schema.json";
    sandbox.write(contract, &std::fs::read_to_string(root().join(contract)).unwrap());
    sandbox
}

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
    random: Random,
    bus: SqliteBus,
    public: DirectoryStore,
    state: State,
    /// By topic.
    sent: BTreeMap<&'static str, BTreeSet<String>>,
    /// The last body of each topic, sent again now and then.
    last: BTreeMap<&'static str, String>,
    latest: Option<Date>,
    startups: Vec<Duration>,
}

impl World {
    fn new() -> World {
        let sandbox = sandbox();
        let at = |name: &str| sandbox.path().join(name);
        World {
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
            random: Random::new(7),
            bus: SqliteBus::open(&at("bus"), Arc::new(SystemClock)).unwrap(),
            public: DirectoryStore::new(at("public")),
            state: State::new(Arc::new(DirectoryStore::new(at("state")))),
            sandbox,
            sent: BTreeMap::new(),
            last: BTreeMap::new(),
            latest: None,
            startups: Vec::new(),
        }
    }

    fn publish(&mut self, topic: &'static str, body: String) {
        let message = NewMessage { body: body.clone().into_bytes(), ..NewMessage::default() };
        let id = self.runtime.block_on(self.bus.publish(topic, &message)).unwrap();
        self.sent.entry(topic).or_default().insert(id);
        self.last.insert(topic, body);
    }

    /// Mostly good messages, some a second time, some that a rule or a check turns away.
    fn send(&mut self, n: usize) {
        let topic = if self.random.below(3) == 0 { "upstream" } else { "trigger" };
        let day = format!("2025-12-{:02}", 1 + self.random.below(20));
        let kind = self.random.below(20);
        let body = match (topic, kind) {
            (_, 0..4) if self.last.contains_key(topic) => self.last[topic].clone(),
            (_, 4) => "no JSON".to_owned(),
            ("upstream", _) => {
                let status = if kind == 5 { "failed" } else { "success" };
                let metadata = json!({"batch_id": format!("batch-{n}"), "completion_pct": 99.5});
                json!({"status": status, "game_date": day, "metadata": metadata}).to_string()
            }
            (_, 5) => json!({"export_types": ["nothing"], "target_date": day}).to_string(),
            _ => {
                let exports = [json!(["days"]), json!(["cards"]), json!(["days", "cards"])]
                    [self.random.below(3) as usize]
                    .clone();
                let latest = self.random.below(4) > 0;
                json!({"export_types": exports, "target_date": day, "correlation_id": format!("c-{n}"), "update_latest": latest})
                    .to_string()
            }
        };
        self.publish(topic, body);
    }

    /// One life: messages before and while it works, and a kill when nobody expects it.
    fn life(&mut self, round: usize) {
        // No more than it can work off between two kills, or the end would be one long wait.
        let messages = if self.waiting() > 30 { 0 } else { 2 + self.random.below(4) as usize };
        let early = self.random.below(messages as u64 + 1) as usize;
        (0..early).for_each(|n| self.send(round * 10 + n));
        let running = Running::start(&self.sandbox);
        // From before it has started to some requests later.
        let life = Duration::from_millis(10 + self.random.below(450));
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
        let backlog = |s: &&str| self.runtime.block_on(self.bus.backlog(s)).map_or(0, |b| b.messages);
        [TRIGGER, WORKER, DEAD_LETTER].iter().map(backlog).sum::<u64>() as usize
    }

    /// Serves until nothing waits, then ends it in good order.
    fn drain(&mut self) {
        let running = Running::start(&self.sandbox);
        let up = running.started.recv_timeout(Duration::from_secs(60)).expect("it starts");
        self.startups.push(up - running.begun);
        // Of many deliveries that a kill cut off, the next is up to ten minutes away.
        let (mut progress, mut left) = (Instant::now(), usize::MAX);
        while left > 0 {
            assert!(progress.elapsed() < Duration::from_secs(620), "{left} messages do not come to an end");
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

    /// All that a topic was ever given.
    fn heard(&self, topic: &str) -> Vec<Message> {
        let witness = Subscription {
            name: format!("witness-{topic}"),
            topic: topic.to_owned(),
            lease: Duration::from_secs(60),
            backoff: (Duration::from_secs(60), Duration::from_secs(60)),
            max_attempts: 5,
            dead_letter_topic: None,
            from_earliest: true,
        };
        self.runtime.block_on(async {
            self.bus.ensure(&witness).await.unwrap();
            let mut messages = Vec::new();
            loop {
                let pulled = self.bus.pull(&witness.name, 1000, Duration::ZERO).await.unwrap();
                if pulled.is_empty() {
                    return messages;
                }
                messages.extend(pulled.into_iter().map(|d| d.message));
            }
        })
    }

    fn judge(&self) -> Vec<Violation> {
        let (up, trigger, complete) = (self.heard("upstream"), self.heard("trigger"), self.heard("complete"));
        for (topic, sent) in &self.sent {
            let heard = if *topic == "upstream" { &up } else { &trigger };
            let heard: BTreeSet<&String> = heard.iter().map(|m| &m.id).collect();
            assert!(sent.iter().all(|id| heard.contains(id)), "`{topic}` kept all {} messages", sent.len());
        }
        let mut found = Vec::new();
        self.runtime.block_on(async {
            for message in up.iter().chain(&trigger) {
                found.extend(served::acknowledged_is_answered(&self.state, message).await);
            }
            let requests = self.state.requests(usize::MAX).await.unwrap();
            let ids: Vec<String> = requests.iter().filter_map(|r| r.cause.message_id.clone()).collect();
            found.extend(served::everything_came_to_an_end(&self.state, &ids).await);
            found.extend(served::one_run_for_each_cause(&self.state).await);
            let mut told = BTreeSet::new();
            for message in &complete {
                let completion: CompletionMessage = serde_json::from_slice(&message.body).unwrap();
                found.extend(served::completion_equals_record(&self.state, &completion).await);
                told.insert(completion.run_id);
            }
            for request in requests.iter().filter(|r| r.status != RequestStatus::Duplicate) {
                assert_eq!(request.status, RequestStatus::Success, "{}: {:?}", request.run_id, request.reason);
                assert!(told.contains(&request.run_id), "nobody was told of the end of run {}", request.run_id);
            }
            for subscription in [TRIGGER, WORKER, DEAD_LETTER] {
                found.extend(served::every_lease_is_free(self.bus.backlog(subscription).await.unwrap(), &[]));
            }
            found.extend(published::no_path_goes_back(&self.public).await);
            for export in ["days", "cards"] {
                found.extend(published::one_release_for_each_run_key(&self.state, export).await);
                found.extend(published::releases_name_what_exists(&self.public, &self.state, export).await);
            }
            let duplicates = requests.iter().filter(|r| r.status == RequestStatus::Duplicate).count();
            println!(
                "{} upstream and {} trigger messages, {} requests ({duplicates} duplicates), {} completion messages, {} dead letters",
                up.len(),
                trigger.len(),
                requests.len(),
                complete.len(),
                self.state.dead_letter_count().await.unwrap()
            );
        });
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
