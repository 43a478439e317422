//! Several `phase6 serve` on one Pub/Sub and two buckets, with nothing else between them: killed and started again at random under a
//! stream of messages, each cause is run once, each tick fired once, and every promise holds. Pub/Sub is Google's emulator,
//! Cloud Storage the strict server; the warehouse is embedded, so that only the distribution is tested.
//!
//! `PHASE6_FLEET_MESSAGES` says how many messages (120; the whole is 2,000).

use crate::harness::Sandbox;
use crate::stream::{self, Stream};
use jiff::{SignedDuration, Timestamp};
use phase6::adapters::gcp::Google;
use phase6::adapters::gcp::pubsub::PubSub;
use phase6::adapters::gcp::storage::BucketStore;
use phase6::engine::invariants::Violation;
use phase6::ports::clock::{Clock, SystemClock};
use phase6::service::invariants as served;
use phase6::state::State;
use phase6_test_servers::emulators::{self, Running};
use phase6_test_servers::storage;
use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const JOB: &str = "heartbeat";
const SCHEDULE: &str = "* * * * *";
/// As its record calls it.
const RECORDED: &str = "* * * * * Etc/UTC";
const PROJECT: &str = "fleet";

/// The shortest that Pub/Sub has.
const LEASE: Duration = Duration::from_secs(10);

/// Pub/Sub and Cloud Storage.
struct Cloud {
    runtime: Runtime,
    pubsub: Running,
    buckets: storage::Server,
}

impl Cloud {
    fn start() -> Result<Cloud, String> {
        let pubsub = emulators::pubsub::start()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let buckets = runtime.block_on(storage::Server::start());
        buckets.bucket("public", true);
        buckets.bucket("state", false);
        Ok(Cloud { runtime, pubsub, buckets })
    }

    fn variables(&self) -> BTreeMap<&'static str, String> {
        BTreeMap::from([
            ("PUBSUB_EMULATOR_HOST", self.pubsub.host()),
            ("STORAGE_EMULATOR_HOST", self.buckets.url.clone()),
        ])
    }

    fn stream(&self) -> Stream {
        let variables = self.variables();
        let google = Arc::new(Google::new(&|name| variables.get(name).cloned()).unwrap());
        let bus = Arc::new(PubSub::new(google.clone(), PROJECT, Arc::new(SystemClock)));
        let public = Arc::new(BucketStore::new(google.clone(), "public"));
        let state = State::new(Arc::new(BucketStore::new(google, "state")));
        self.runtime.block_on(Stream::new(bus, public, state, 11))
    }
}

/// The copies, each with a log of its own.
struct Copies {
    sandbox: Sandbox,
    variables: BTreeMap<&'static str, String>,
    running: Vec<Option<Child>>,
    kills: usize,
}

impl Copies {
    fn new(cloud: &Cloud, copies: usize) -> Copies {
        let target = format!(
            "{{warehouse: {{type: duckdb, data: warehouse}}, store: {{type: gcs, bucket: public}}, \
             state: {{type: gcs, bucket: state}}, bus: {{type: pubsub, project: {PROJECT}}}}}"
        );
        let jobs = format!(
            "scheduler:\n  jobs:\n    - {{name: {JOB}, schedule: \"{SCHEDULE}\", export_types: [beat], target_date: today}}\n"
        );
        let sandbox = stream::sandbox(&target, &jobs);
        Copies { sandbox, variables: cloud.variables(), running: (0..copies).map(|_| None).collect(), kills: 0 }
    }

    fn log(&self, n: usize) -> String {
        std::fs::read_to_string(self.sandbox.path().join(format!("copy-{n}.log"))).unwrap_or_default()
    }

    fn start(&mut self, n: usize) {
        let log = self.sandbox.path().join(format!("copy-{n}.log"));
        let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
        let lease = LEASE.as_secs();
        let mut command = self.sandbox.command(&format!("serve --log-format json --lease {lease}s --jobs 2"));
        command.envs(&self.variables).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.running[n] = Some(emulators::spawn(command).unwrap());
    }

    fn start_all(&mut self) {
        for n in 0..self.running.len() {
            self.start(n);
        }
        let begun = Instant::now();
        while !(0..self.running.len()).all(|n| self.log(n).contains("started on target")) {
            assert!(begun.elapsed() < Duration::from_secs(60), "the copies do not start:\n{}", self.log(0));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Kills one, and starts the one that was killed before it.
    fn kill(&mut self, n: usize) {
        if let Some(mut child) = self.running[n].take() {
            child.kill().unwrap();
            let status = child.wait().unwrap();
            assert_eq!(status.code(), None, "copy {n} had ended by itself:\n{}", self.log(n));
            self.kills += 1;
        }
    }

    fn start_the_dead(&mut self) {
        for n in 0..self.running.len() {
            if self.running[n].is_none() {
                self.start(n);
            }
        }
    }

    fn terminate(&mut self) {
        let mut children: Vec<Child> = self.running.iter_mut().filter_map(Option::take).collect();
        for child in &children {
            let pid = rustix::process::Pid::from_child(child);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        }
        for child in &mut children {
            assert!(child.wait().unwrap().success(), "it ends in good order");
        }
    }
}

/// Waits until every message has its answer.
fn drain(cloud: &Cloud, stream: &mut Stream, copies: &Copies) {
    let (mut progress, mut left) = (Instant::now(), usize::MAX);
    loop {
        let now = cloud.runtime.block_on(stream.open(100));
        if now == 0 {
            return;
        }
        if now < left {
            (progress, left) = (Instant::now(), now);
        }
        // What a kill cut off comes again when its lease has ended; who has to wait for another's turn waits longer.
        if progress.elapsed() > Duration::from_secs(240) {
            let open = cloud.runtime.block_on(stream.tell());
            let logs: String = (0..copies.running.len()).map(|n| tail(&copies.log(n))).collect();
            panic!("{left} messages do not come to an end:\n{open}\n{logs}");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n") + "\n----\n"
}

/// 7. Every slot of the job since `from` has one outcome.
async fn of_slots(stream: &Stream, from: Timestamp, to: Timestamp) -> (Vec<Violation>, usize) {
    let minute = SignedDuration::from_mins(1);
    let mut nominal = Vec::new();
    let mut slot = Timestamp::from_second(from.as_second() / 60 * 60).unwrap() + minute;
    while slot <= to {
        nominal.push(slot);
        slot += minute;
    }
    let records = stream.state.slots(JOB, usize::MAX).await.unwrap();
    let ticks = stream.ticks(JOB);
    // The last one may have come between the end and its being settled.
    nominal.retain(|slot| records.iter().any(|r| r.slot == *slot) || *slot + minute < to);
    (served::each_slot_has_one_outcome(&nominal, &records, &ticks), ticks.len())
}

fn messages() -> usize {
    std::env::var("PHASE6_FLEET_MESSAGES").ok().and_then(|text| text.parse().ok()).unwrap_or(120)
}

#[test]
fn four_copies_that_are_killed_at_random_run_each_cause_once() {
    let cloud = match Cloud::start() {
        Ok(cloud) => cloud,
        Err(reason) => return emulators::skip("four_copies_that_are_killed_at_random_run_each_cause_once", &reason),
    };
    let begun = Instant::now();
    let mut stream = cloud.stream();
    // The job's watermark lies some slots back, so that all copies find ticks to fire at once.
    let past = SystemClock.now() - SignedDuration::from_mins(3);
    cloud.runtime.block_on(stream.state.schedule(JOB, RECORDED, past)).unwrap();
    let mut copies = Copies::new(&cloud, 4);
    copies.start_all();
    for n in 0..messages() {
        cloud.runtime.block_on(stream.send(n));
        std::thread::sleep(Duration::from_millis(stream.random.below(120)));
        match stream.random.below(20) {
            0 | 1 => copies.kill(stream.random.below(4) as usize),
            2..8 => copies.start_the_dead(),
            _ => {}
        }
    }
    copies.start_the_dead();
    drain(&cloud, &mut stream, &copies);
    copies.terminate();
    let (mut violations, summary) = cloud.runtime.block_on(stream.judge());
    let (slots, ticks) = cloud.runtime.block_on(of_slots(&stream, past, SystemClock.now()));
    violations.extend(slots);
    violations.extend(cloud.runtime.block_on(stream.nothing_left(LEASE + Duration::from_secs(2))));
    println!("4 copies, {} kills, {ticks} ticks, {summary:?}, in {:?}", copies.kills, begun.elapsed());
    assert!(violations.is_empty(), "{violations:#?}");
    assert!(summary.failed.is_empty(), "{:#?}", summary.failed);
    assert!(copies.kills >= messages() / 25 && ticks > 0);
}

/// The net catches fish: where the bucket looks at no precondition, two copies that get the same cause at once both run it.
#[test]
fn copies_without_preconditions_are_caught() {
    let cloud = match Cloud::start() {
        Ok(cloud) => cloud,
        Err(reason) => return emulators::skip("copies_without_preconditions_are_caught", &reason),
    };
    let mut stream = cloud.stream();
    let past = SystemClock.now() - SignedDuration::from_mins(3);
    cloud.runtime.block_on(stream.state.schedule(JOB, RECORDED, past)).unwrap();
    cloud.buckets.forget_conditions();
    let mut copies = Copies::new(&cloud, 4);
    copies.start_all();
    for n in 0..30 {
        // Each cause three times at the same moment.
        let body = format!(r#"{{"export_types":["days"],"target_date":"2025-12-10","correlation_id":"c-{n}"}}"#);
        for _ in 0..3 {
            cloud.runtime.block_on(stream.publish("trigger", body.clone()));
        }
    }
    std::thread::sleep(Duration::from_secs(15));
    copies.terminate();
    let (mut violations, _) = cloud.runtime.block_on(stream.judge());
    violations.extend(cloud.runtime.block_on(of_slots(&stream, past, SystemClock.now())).0);
    let broken: std::collections::BTreeSet<_> = violations.iter().map(|v| v.invariant).collect();
    println!("without preconditions: {} violations of the promises {broken:?}", violations.len());
    assert!(broken.contains(&4), "{violations:#?}");
}

/// What a call is about: an object's name, else the list of a bucket.
fn about(call: &storage::Call) -> String {
    let (path, query) = call.uri.split_once('?').unwrap_or((&call.uri, ""));
    let name = match path.rsplit_once("/o/") {
        Some((_, name)) => name,
        None => {
            query.split('&').find_map(|pair| pair.strip_prefix("name=").or(pair.strip_prefix("prefix="))).unwrap_or("")
        }
    };
    let bucket = path.split("/b/").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or("");
    format!("{bucket}: {}", name.replace("%2F", "/"))
}

/// A name without what differs from run to run.
fn family(name: &str) -> String {
    let digits = |segment: &str| segment.chars().filter(char::is_ascii_digit).count() > 5;
    let segment = |s: &str| if digits(s) && !s.starts_with("2025-") { "*".to_owned() } else { s.to_owned() };
    name.split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// What a run asks of Cloud Storage, in calls. The bounds hold ARCHITECTURE.md's figures ("What gives way first").
#[test]
fn a_run_costs_so_many_calls_to_cloud_storage() {
    let cloud = match Cloud::start() {
        Ok(cloud) => cloud,
        Err(reason) => return emulators::skip("a_run_costs_so_many_calls_to_cloud_storage", &reason),
    };
    const RUNS: usize = 10;
    let mut stream = cloud.stream();
    let mut copies = Copies::new(&cloud, 1);
    copies.start_all();
    // The first run makes what is there only once.
    let ask = |n: usize| {
        format!(r#"{{"export_types":["days"],"target_date":"2025-12-{:02}","correlation_id":"c{n}"}}"#, 10 + n)
    };
    let mut told = 0;
    let mut finish = |stream: &mut Stream, n: usize| {
        told += n;
        let begun = Instant::now();
        while stream.completions() < told {
            assert!(begun.elapsed() < Duration::from_secs(60), "{}", tail(&copies.log(0)));
            cloud.runtime.block_on(stream.hear());
        }
        // The acknowledgement comes after the completion message, and nothing of the store after that.
        std::thread::sleep(Duration::from_millis(500));
    };
    cloud.runtime.block_on(stream.publish("trigger", ask(0)));
    finish(&mut stream, 1);
    let before = cloud.buckets.calls().len();
    let begun = Instant::now();
    for n in 1..=RUNS {
        cloud.runtime.block_on(stream.publish("trigger", ask(n)));
        finish(&mut stream, 1);
    }
    let calls = cloud.buckets.calls().split_off(before);
    let (mut kinds, mut written) = (BTreeMap::<&str, usize>::new(), BTreeMap::<String, usize>::new());
    let mut read = BTreeMap::<String, usize>::new();
    for call in &calls {
        *kinds.entry(call.kind).or_default() += 1;
        let names = if call.method == "GET" { &mut read } else { &mut written };
        *names.entry(family(&about(call))).or_default() += 1;
    }
    println!("{RUNS} runs in {:?}: {kinds:?}", begun.elapsed());
    println!("written: {written:#?}\nread: {read:#?}");
    let of = |kind: &str| kinds.get(kind).copied().unwrap_or_default();
    let writes = of("objects.insert") + of("objects.patch") + of("objects.delete");
    assert!(writes <= RUNS * 14, "{writes} writes");
    assert!(of("objects.list") <= RUNS * 4, "{} lists", of("objects.list"));
    copies.terminate();
}

/// Requests a second with 1, 2 and 4 copies, all messages waiting from the beginning; then 4 copies where a name may be written once
/// a second, as on Cloud Storage: every request writes some of the same names.
#[test]
#[ignore = "a measurement: cargo test --release --features gcp --test it fleet::throughput -- --ignored --nocapture"]
fn throughput_with_one_two_and_four_copies() {
    for n in [1, 2, 4] {
        throughput(n, messages(), None);
    }
    throughput(4, messages() / 4, Some(Duration::from_secs(1)));
    idle();
}

/// What a copy that has nothing to do asks of Cloud Storage in a minute.
fn idle() {
    let cloud = Cloud::start().unwrap();
    let mut copies = Copies::new(&cloud, 1);
    copies.start_all();
    let before = cloud.buckets.calls().len();
    std::thread::sleep(Duration::from_secs(60));
    let mut kinds = BTreeMap::<&str, usize>::new();
    for call in cloud.buckets.calls().split_off(before) {
        *kinds.entry(call.kind).or_default() += 1;
    }
    println!("a minute of nothing: {kinds:?}");
    copies.terminate();
}

fn throughput(copies: usize, messages: usize, one_name_every: Option<Duration>) {
    let cloud = Cloud::start().unwrap();
    let mut stream = cloud.stream();
    let mut copies = Copies::new(&cloud, copies);
    // Their subscriptions have to be there before the first message.
    copies.start_all();
    copies.terminate();
    let ask = |n: usize| {
        let day = 1 + n % 28;
        format!(r#"{{"export_types":["days"],"target_date":"2025-12-{day:02}","correlation_id":"c{n}"}}"#)
    };
    cloud.runtime.block_on(async {
        for n in 0..messages {
            stream.publish("trigger", ask(n)).await;
        }
    });
    cloud.buckets.write_rate(one_name_every);
    let before = cloud.buckets.calls().len();
    copies.start_all();
    let begun = Instant::now();
    while stream.completions() < messages {
        assert!(begun.elapsed() < Duration::from_secs(900), "{}", tail(&copies.log(0)));
        cloud.runtime.block_on(stream.hear());
    }
    let took = begun.elapsed();
    let calls = cloud.buckets.calls().split_off(before);
    let of = |status: u16| calls.iter().filter(|c| c.status == status).count();
    println!(
        "{} copies, one name every {one_name_every:?}: {messages} requests in {took:?}, {:.1}/s, {} calls a request, {} times 412, {} times 429",
        copies.running.len(),
        messages as f64 / took.as_secs_f64(),
        calls.len() / messages,
        of(412),
        of(429)
    );
    copies.terminate();
    let (violations, summary) = cloud.runtime.block_on(stream.judge());
    assert!(violations.is_empty(), "{violations:#?}");
    assert!(summary.failed.is_empty(), "{:#?}", summary.failed);
}
