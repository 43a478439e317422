//! The status page in a real browser: Debian's `chromium`, headless, over a door that serves what the test wrote. Screenshots are
//! left in CARGO_TARGET_TMPDIR for people to look at.

use async_trait::async_trait;
use jiff::Timestamp;
use phase6::adapters::memory::MemoryStore;
use phase6::adapters::memory_bus::MemoryBus;
use phase6::ports::bus::{Bus, NewMessage, Subscription};
use phase6::ports::clock::FixedClock;
use phase6::ports::store::{Body, ObjectStore, PutOptions};
use phase6::service::http::{
    AlertFact, Door, DoorStatus, Freshness, FreshnessFact, Limits, PageFacts, SlotFact, serve,
};
use phase6::state::State;
use phase6::telemetry::{Options, Telemetry};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

const RUN: &str = "20251212T180004Z-3f9c0a";
const OBJECT: &str = "tonight/all-players.json";
const EVIL: &str = "<script>document.title='taken'</script>";

/// Facts whose alert begins to fire after the page was first asked for.
struct Facts {
    asked: AtomicUsize,
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[async_trait]
impl PageFacts for Facts {
    async fn freshness(&self) -> Vec<FreshnessFact> {
        let fact = |export: &str, freshness, due: &str, reason: Option<&str>| FreshnessFact {
            export: export.into(),
            freshness,
            promise: "by 13:30 America/New_York".into(),
            data_date: Some("2025-12-12".parse().unwrap()),
            due: Some(at(due)),
            reason: reason.map(str::to_owned),
        };
        vec![
            fact("tonight", Freshness::Fresh, "2025-12-13T18:30:00Z", None),
            fact("predictions", Freshness::Fresh, "2025-12-13T18:30:00Z", None),
            fact("results", Freshness::Stale, "2025-12-12T10:30:00Z", Some("the newest data is of 2025-12-10")),
            fact("streaks", Freshness::Never, "2025-12-13T18:30:00Z", None),
        ]
    }

    async fn slots(&self, _: usize) -> Vec<SlotFact> {
        let slot = |job: &str, time: &str, schedule: &str, asks_for: &str| SlotFact {
            job: job.into(),
            at: at(time),
            schedule: schedule.into(),
            timezone: "Etc/UTC".into(),
            asks_for: asks_for.into(),
        };
        vec![
            slot(
                "phase6-daily-results",
                "2025-12-13T10:00:00Z",
                "0 10 * * *",
                "results, performance, best-bets for yesterday",
            ),
            slot("phase6-player-profiles", "2025-12-14T11:00:00Z", "0 11 * * 0", "players"),
        ]
    }

    async fn alerts(&self) -> Vec<AlertFact> {
        match self.asked.fetch_add(1, Ordering::SeqCst) {
            0 => Vec::new(),
            _ => vec![AlertFact {
                name: "exports-stale".into(),
                since: at("2025-12-12T10:45:00Z"),
                reason: "1 export is stale".into(),
            }],
        }
    }
}

fn report(export: &str, status: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut report = json!({"export": export, "status": status, "rows": {"games": 8, "players": 1432}, "bytes": 48_912,
        "objects": {"written": 2, "unchanged": 0, "superseded": 0},
        "times": {"query_ms": 412.3, "shape_ms": 18.2, "publish_ms": 95.0, "total_ms": 530.1}});
    change(&mut report);
    json!({"attempts": 1, "run_key": format!("{export}|2025-12-12"), "done": true, "report": report})
}

fn request(id: &str, status: &str, kind: &str, cause: &str, tasks: Vec<Value>) -> Value {
    let failed = tasks.iter().filter(|t| t["report"]["status"] == "failed").count();
    let exports: Vec<&Value> = tasks.iter().map(|t| &t["report"]["export"]).collect();
    json!({"run_id": id, "target": "local", "target_date": "2025-12-12", "exports": exports, "params": {"min_games": 5},
        "update_latest": true, "status": status, "attempts": 1, "started_at": "2025-12-12T18:00:04Z",
        "finished_at": "2025-12-12T18:00:05.24Z", "tasks": tasks,
        "cause": {"kind": kind, "id": cause, "time": "2025-12-12T18:00:00Z", "topic": "nba-phase6-export-trigger",
            "message_id": "m-103", "published_at": "2025-12-12T18:00:02Z", "decision": "20251212T180001Z-d1",
            "correlation_id": "abc-123", "upstream_batch_id": "batch_2025-12-12_1734012345",
            "upstream_at": "2025-12-12T17:59:58Z", "message": {"export_types": exports, "target_date": "2025-12-12"}},
        "totals": {"succeeded": tasks.len() - failed, "failed": failed, "bytes": 97_824,
            "objects": {"written": 4, "unchanged": 0, "superseded": 0}}})
}

async fn fill(state: &State, store: &MemoryStore, bus: &MemoryBus) {
    let sha = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let good = report("tonight", "published", |r| {
        r["paths"] = json!([
            {"path": OBJECT, "outcome": "written", "generation": 7, "sha256": sha, "bytes": 48_912},
            {"path": "tonight/2025-12-12.json", "outcome": "unchanged", "generation": 3, "sha256": sha, "bytes": 48_912}]);
    });
    let bad = report("results", "failed", |r| {
        r["reason"] = json!("a guard does not hold: min_items");
        r["class"] = json!("permanent");
        r["quarantine"] = json!("quarantine/results/20251212T180004Z");
        r["findings"] = json!([{"rule": "min_items", "message": "`games[]` has 0 items, at least 1 is wanted", "pointer": "/games",
            "document": "results/2025-12-12.json", "place": "exports/results.yaml:41:7", "severity": "error"}]);
    });
    for record in [
        request(
            "20251211T100000Z-aa11bb",
            "success",
            "schedule",
            "tick/phase6-daily-results/2025-12-11T10:00:00Z",
            vec![report("results", "published", |_| ())],
        ),
        request("20251212T100000Z-1c00de", "duplicate", "message", EVIL, vec![]),
        request(RUN, "partial", "message", "batch_2025-12-12_1734012345", vec![good, bad]),
    ] {
        state.record_request(&serde_json::from_value(record).unwrap()).await.unwrap();
    }
    for (id, verdict, reason) in [
        ("20251212T120000Z-d0", "skip", "fewer than 80 % of the predictions are complete"),
        ("20251212T180001Z-d1", "accept", "every rule holds"),
    ] {
        let decision = json!({"id": id, "trigger": "phase5-to-phase6-orchestrator", "verdict": verdict, "reason": reason,
            "message_id": "m-102", "topic": "nba-phase5-predictions-complete", "published_at": "2025-12-12T17:59:58Z",
            "decided_at": "2025-12-12T18:00:01Z", "cause_id": "batch_2025-12-12_1734012345",
            "message": {"status": "success", "game_date": "2025-12-12"}, "target_date": "2025-12-12",
            "output_message": "m-103", "duplicate_of": null, "forced": false});
        state.record_decision(&serde_json::from_value(decision).unwrap()).await.unwrap();
    }
    let letter = json!({"id": "nba-phase6-export-trigger-m-88", "topic": "nba-phase6-export-trigger", "subscription": "phase6-export",
        "message_id": "m-88", "published_at": "2025-12-12T15:00:00Z", "attributes": {"origin": EVIL}, "size": 27,
        "reason": "there is no export `tonite`: did you mean `tonight`?", "attempts": 1, "dead_at": "2025-12-12T15:00:01Z", "run_id": null});
    state.bury(&serde_json::from_value(letter).unwrap(), br#"{"export_types":["tonite"]}"#).await.unwrap();
    let release = json!({"run_id": RUN, "run_key": null, "export": "tonight", "target_date": "2025-12-12", "as_of": "2025-12-12T18:00:04Z",
        "data_date": null, "config_hash": "c", "objects": [{"path": OBJECT, "document": "tonight", "kind": "alias", "outcome": "written",
            "generation": 1, "sha256": sha, "size": 48_912}]});
    state.record_release(&serde_json::from_value(release).unwrap()).await.unwrap();
    for run in ["20251211T180004Z-77aa01", RUN] {
        let mut options = PutOptions { content_type: Some("application/json".into()), ..PutOptions::default() };
        options.metadata.insert("phase6-run-id".into(), run.into());
        options.metadata.insert("phase6-watermark".into(), format!("2025-12-12 2025-12-12T18:00:04Z {run}"));
        store.put(OBJECT, &Body::from(run.as_bytes().to_vec()), &options).await.unwrap();
    }
    let subscription = Subscription {
        name: "phase6-export".into(),
        topic: "nba-phase6-export-trigger".into(),
        lease: Duration::from_secs(60),
        backoff: (Duration::from_secs(1), Duration::from_secs(10)),
        max_attempts: 5,
        dead_letter_topic: None,
        from_earliest: true,
    };
    bus.ensure(&subscription).await.unwrap();
    bus.publish("nba-phase6-export-trigger", &NewMessage { body: b"{}".to_vec(), ..NewMessage::default() })
        .await
        .unwrap();
}

/// Serves on a thread of its own until the process ends.
fn served() -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let clock = Arc::new(FixedClock(at("2025-12-12T18:07:00Z")));
            let (store, bus) = (Arc::new(MemoryStore::new()), Arc::new(MemoryBus::new(clock.clone())));
            let state = State::new(Arc::new(MemoryStore::new()));
            fill(&state, &store, &bus).await;
            let project = Arc::new(phase6::config::load(&crate::harness::root(), &|_| None).project);
            let door = Door {
                bus,
                state,
                store,
                project: Arc::new(move || project.clone()),
                target: "local".into(),
                clock,
                token: None,
                verifier: None,
                subscriptions: vec!["phase6-export".into()],
                heartbeats: Arc::new(Vec::new),
                metrics: Arc::new(String::new),
                facts: Arc::new(Facts { asked: AtomicUsize::new(0) }),
                telemetry: Telemetry::new(Options::default(), || Timestamp::UNIX_EPOCH),
                limits: Limits::default(),
                status: DoorStatus::default(),
            };
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            let (_stop, shutdown) = watch::channel(false);
            serve(listener, Arc::new(door), shutdown).await.unwrap();
        });
    });
    told.recv().unwrap()
}

struct Browser {
    program: PathBuf,
    profile: tempfile::TempDir,
    site: SocketAddr,
}

impl Browser {
    fn found(site: SocketAddr) -> Option<Self> {
        let folders = ["/usr/bin", "/usr/local/bin"].map(Path::new);
        let names = ["chromium", "chromium-browser", "google-chrome"];
        let program = folders.iter().flat_map(|f| names.map(|n| f.join(n))).find(|p| p.exists())?;
        Some(Self { program, profile: tempfile::tempdir().unwrap(), site })
    }

    fn run(&self, path: &str, options: &[String]) -> String {
        let output = Command::new(&self.program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage"])
            .arg(format!("--user-data-dir={}", self.profile.path().display()))
            .args(options)
            .arg(format!("http://{}{path}", self.site))
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn dom(&self, path: &str) -> String {
        self.run(path, &["--dump-dom".into()])
    }

    fn shot(&self, name: &str, path: &str, size: &str, more: &[&str]) {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.png"));
        let mut options = vec![format!("--screenshot={}", file.display()), format!("--window-size={size}")];
        options.extend(more.iter().map(|&m| m.to_owned()));
        self.run(path, &options);
        let size = std::fs::metadata(&file).map(|m| m.len()).unwrap_or_default();
        assert!(size > 10_000, "{} has {size} bytes", file.display());
    }
}

#[test]
fn the_status_page_in_a_browser() {
    let Some(browser) = Browser::found(served()) else {
        let reason = "none is installed (apt-get install --no-install-recommends chromium)";
        return phase6_test_servers::emulators::skip("chromium", reason);
    };
    // The alert fires after the first answer: it is in the document only because the page asked again and swapped its content.
    let live = browser.run("/", &["--virtual-time-budget=12000".into(), "--dump-dom".into()]);
    for text in
        ["1 export is stale: results.", "exports-stale", "Live, every 5 seconds", "phase6-daily-results", "by 13:30"]
    {
        assert!(live.contains(text), "{text}: {live}");
    }
    for (path, texts) in [
        ("/runs", vec![RUN, "partial", "&lt;script&gt;document.title"]),
        (
            &*format!("/runs/{RUN}"),
            vec![
                "min_items",
                "exports/results.yaml:41:7",
                "/documents/tonight/all-players.json",
                "/gates/20251212T180001Z-d1",
                "1,432 players",
            ],
        ),
        ("/gates", vec!["fewer than 80 % of the predictions are complete", "accepted"]),
        ("/gates/20251212T180001Z-d1", vec!["game_date", RUN]),
        ("/dead-letters/nba-phase6-export-trigger-m-88", vec!["tonite", "phase6 dead-letter replay"]),
        ("/exports/tonight", vec!["Releases", RUN, "48.9 KB"]),
        ("/documents/tonight/all-players.json", vec!["20251211T180004Z-77aa01", RUN, "application/json"]),
    ] {
        let dom = browser.dom(path);
        for text in texts {
            assert!(dom.contains(text), "{path}: {text}: {dom}");
        }
        assert!(!dom.contains("<title>taken"), "{path}: a script of others ran");
        assert_eq!(dom.matches("<h1").count(), 1, "{path}");
        for part in ["<main", "<nav aria-label", "class=\"skip\"", "lang=\"en\"", "aria-live=\"polite\""] {
            assert!(dom.contains(part), "{path}: {part}");
        }
    }
    let dark = ["--blink-settings=preferredColorScheme=0"];
    browser.shot("overview-light", "/", "1280,1300", &[]);
    browser.shot("overview-dark", "/", "1280,1300", &dark);
    browser.shot("overview-phone", "/", "500,2600", &[]);
    browser.shot("run-light", &format!("/runs/{RUN}"), "1280,1100", &[]);
    browser.shot("run-phone-dark", &format!("/runs/{RUN}"), "500,2400", &dark);
    browser.shot("document-light", "/documents/tonight/all-players.json", "1280,700", &[]);
}
