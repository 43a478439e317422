//! A project with a running service, and the commands of an operator beside it.

use crate::harness::{Ran, Sandbox, root};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long anything may take before the test fails: the machine may be busy with other things.
const PATIENCE: Duration = Duration::from_secs(240);

pub struct Desk {
    pub sandbox: Sandbox,
    service: Option<Running>,
}

struct Running {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Drop for Desk {
    fn drop(&mut self) {
        if let Some(mut running) = self.service.take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

/// Two small exports on the seed's topics; `slow` takes as long as the row `pace` of its table says.
const SMALL: &str = r#"version: 1
calendar: {timezone: America/New_York, day_starts_at: "04:00"}
vars: {best_model: first}
targets:
  local:
    warehouse: {type: duckdb, data: warehouse}
    store: {type: directory, path: public, prefix: v1}
    state: {type: directory, path: state}
    bus: {type: embedded, path: bus}
topics: {predictions_complete: upstream, export_trigger: trigger, export_complete: complete}
triggers:
  - name: gate
    topic: predictions_complete
    schema: schemas/predictions-complete.schema.json
    dedupe_by: =message.metadata.batch_id
    when:
      - {if: '=message.status in ["success", "partial"]', else: status is neither success nor partial}
      - {if: =message.metadata.completion_pct >= 80, else: fewer than 80 % of the predictions are complete}
      - {if: =message.game_date is not none, else: it has no game_date}
    publish:
      topic: export_trigger
      message:
        export_types: [board, slow]
        target_date: =message.game_date
        correlation_id: =message.correlation_id
        upstream_batch_id: =message.metadata.batch_id
"#;

const SLOW: &str = r#"export: slow
description: Takes as long as its table says.
params: {target_date: date}
timeout: 3s
sql: |
  SELECT COUNT(*) AS n FROM (SELECT MAX(steps) AS k FROM `league.pace`) p, UNNEST(GENERATE_ARRAY(1, p.k)) a,
    UNNEST(GENERATE_ARRAY(1, p.k)) b, UNNEST(GENERATE_ARRAY(1, p.k)) c
  WHERE MOD(a * b + c, 7) = 3
shape: {date: =target_date, n: {$row: rows, $value: =row.n}}
files: [{path: "slow/{{ target_date }}.json", aliases: [{path: slow/latest.json}]}]
"#;

impl Desk {
    /// The shipped project.
    pub fn shipped() -> Self {
        Self { sandbox: Sandbox::shipped(), service: None }
    }

    /// The base project with topics, a gate as the seed's, and a second export `slow`.
    pub fn small() -> Self {
        let sandbox = Sandbox::copy_of(&root().join("tests/it/base"));
        sandbox.write("phase6_publishing.yaml", SMALL);
        sandbox.write("exports/slow.yaml", SLOW);
        let contract =
            std::fs::read_to_string(root().join("schemas/messages/predictions-complete.schema.json")).unwrap();
        sandbox.write("schemas/predictions-complete.schema.json", &contract);
        let tables = sandbox.read("schemas/tables/league.sql");
        sandbox.write("schemas/tables/league.sql", &format!("{tables}\nCREATE TABLE league.pace (steps INT64);\n"));
        let desk = Self { sandbox, service: None };
        desk.slow(false);
        desk
    }

    /// The small project with more in its main file.
    pub fn small_with(more: &str) -> Self {
        let desk = Self::small();
        desk.sandbox.write("phase6_publishing.yaml", &format!("{SMALL}{more}"));
        desk
    }

    /// Whether `slow` never ends (but for its time limit) or has nothing to do.
    pub fn slow(&self, slow: bool) {
        let steps = if slow { 100_000 } else { 2 };
        // Whole at once: the service may be reading.
        self.sandbox.write("pace.new", &format!("steps\n{steps}\n"));
        let to = self.sandbox.path().join("warehouse/league/pace.csv");
        std::fs::rename(self.sandbox.path().join("pace.new"), to).unwrap();
    }

    /// Starts the service and waits until it says so.
    pub fn start(&mut self, args: &str) {
        self.start_with(args, &[]);
    }

    pub fn start_with(&mut self, args: &str, env: &[(&str, &str)]) {
        assert!(self.service.is_none(), "it runs already");
        let mut command = self.sandbox.command(&format!("serve --log-format json {args}"));
        command.envs(env.iter().copied()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, stderr) = (log.clone(), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        self.service = Some(Running { child, log });
        self.logged("started on target");
    }

    /// Waits for a line of the service's log with this text in its message.
    #[track_caller]
    pub fn logged(&self, text: &str) -> Value {
        self.until(text, || {
            self.log_lines().into_iter().find(|l| l["message"].as_str().unwrap_or_default().contains(text))
        })
    }

    pub fn log_lines(&self) -> Vec<Value> {
        let Some(running) = &self.service else { return Vec::new() };
        running.log.lock().unwrap().iter().filter_map(|l| serde_json::from_str(l).ok()).collect()
    }

    /// All that the service wrote, also what is no line of its log.
    pub fn log_text(&self) -> String {
        self.service.as_ref().map(|r| r.log.lock().unwrap().join("\n")).unwrap_or_default()
    }

    pub fn signal(&self, signal: Signal) {
        let id = self.service.as_ref().expect("it runs").child.id();
        kill_process(Pid::from_raw(id.cast_signed()).unwrap(), signal).unwrap();
    }

    /// SIGTERM, and the end in good order.
    #[track_caller]
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        self.ends_well();
    }

    /// Waits for the end of a service that was told to stop.
    #[track_caller]
    pub fn ends_well(&mut self) {
        let said = self.service.as_ref().map(|r| r.log.clone()).unwrap();
        let status = self.wait();
        let said = said.lock().unwrap().join("\n");
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(!said.contains("internal error"), "{said}");
    }

    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        assert_eq!(self.wait().code(), None);
    }

    fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.service.as_mut().expect("it runs").child.try_wait().unwrap() {
                self.service = None;
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not stop:\n{}", self.log_text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks until there is an answer.
    #[track_caller]
    pub fn until<T>(&self, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            assert!(begun.elapsed() < PATIENCE, "never came: {what}\n{}", self.log_text());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Publishes a message; its id.
    pub fn publish(&self, topic: &str, body: &str) -> String {
        self.publish_with(topic, body, "")
    }

    pub fn publish_with(&self, topic: &str, body: &str, options: &str) -> String {
        self.sandbox.write("message.json", body);
        let said = self.run(&format!("publish {topic} --message @message.json {options}"), 0);
        said.stdout.trim().to_owned()
    }

    #[track_caller]
    pub fn run(&self, args: &str, code: i32) -> Ran {
        self.sandbox.run(args).expect(code)
    }

    /// What a command says as JSON.
    #[track_caller]
    pub fn json(&self, args: &str) -> Value {
        let said = self.run(&format!("{args} --format json"), 0);
        serde_json::from_str(&said.stdout).unwrap_or_else(|e| panic!("{args}: {e}: {}", said.stdout))
    }

    fn array(&self, args: &str) -> Vec<Value> {
        match self.json(args) {
            Value::Array(items) => items,
            other => panic!("{args}: {other}"),
        }
    }

    /// Takes what is new in a topic.
    pub fn pull(&self, topic: &str) -> Vec<Value> {
        self.array(&format!("pull {topic} --max 1000 --ack"))
    }

    /// All runs, the newest first.
    pub fn runs(&self) -> Vec<Value> {
        self.array("runs list --limit 1000")
    }

    /// Waits for the end of the run of a trigger message, or of the one that a gate's message became.
    #[track_caller]
    pub fn ended(&self, message: &str) -> Value {
        self.until(&format!("the end of the run of message {message}"), || {
            let of = |r: &Value| r["cause"]["message_id"] == message && r["finished_at"].is_string();
            self.runs().into_iter().find(of)
        })
    }

    /// Waits for a gate's decision on a message.
    #[track_caller]
    pub fn decided(&self, message: &str) -> Value {
        self.until(&format!("a decision on message {message}"), || {
            self.array("gate list --limit 1000").into_iter().find(|d| d["message_id"] == message)
        })
    }

    /// Waits for the end of what an accepted upstream message asked for.
    #[track_caller]
    pub fn worked(&self, upstream: &str) -> Value {
        let decision = self.decided(upstream);
        assert_eq!(decision["verdict"], "accept", "{decision}");
        self.ended(decision["output_message"].as_str().unwrap())
    }

    /// All dead letters.
    pub fn dead(&self) -> Vec<Value> {
        self.array("dead-letter list")
    }

    /// Waits for the dead letter of a message.
    #[track_caller]
    pub fn buried(&self, message: &str) -> Value {
        self.until(&format!("the dead letter of message {message}"), || {
            self.dead().into_iter().find(|d| d["message_id"] == message)
        })
    }

    /// A published document.
    #[track_caller]
    pub fn document(&self, path: &str) -> Value {
        self.sandbox.json(&format!("public/v1/{path}"))
    }

    /// As a stopped process would: holds the locks of all objects of the public store, so that a run goes on until it
    /// wants to publish, and waits there.
    pub fn hold_publishing(&self) -> Vec<File> {
        let folder = self.sandbox.path().join("public.store/locks");
        std::fs::create_dir_all(&folder).unwrap();
        let held = |shard: u32| {
            let path = folder.join(format!("{shard:02}"));
            let file = File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
            file.lock().unwrap();
            file
        };
        (0..64).map(held).collect()
    }
}

/// A text that is as it has to be everywhere but in one place.
pub fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no text at {pointer}: {value:#}"))
}
