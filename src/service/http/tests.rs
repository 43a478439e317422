//! The door over real connections, with requests written by hand.

use super::*;
use crate::adapters::faulty::{Faults, Faulty};
use crate::adapters::memory::MemoryStore;
use crate::adapters::memory_bus::MemoryBus;
use crate::config::Target;
use crate::config::decode::empty_project;
use crate::config::model::{BusTarget, Compute, StateTarget, StoreTarget, WarehouseTarget};
use crate::diagnostics::{FileId, Span, Spanned};
use crate::model::message::attributes;
use crate::ports::bus::{Delivery, MAX_BODY, Message, NewMessage, Subscription};
use crate::ports::clock::FixedClock;
use crate::state::dead_letters::DeadLetter;
use base64::Engine as _;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

fn at(text: &str) -> jiff::Timestamp {
    text.parse().unwrap()
}

struct Site {
    address: SocketAddr,
    door: Arc<Door>,
    stop: watch::Sender<bool>,
    served: JoinHandle<std::io::Result<()>>,
}

const WORKER: &str = "phase6-export";
const UPSTREAM: &str = "phase6-gate";

async fn door() -> Door {
    let clock = Arc::new(FixedClock(at("2025-12-12T18:00:00Z")));
    let bus = Arc::new(MemoryBus::new(clock.clone()));
    for (name, topic) in [(WORKER, "real-trigger"), (UPSTREAM, "real-upstream")] {
        let subscription = Subscription {
            name: name.into(),
            topic: topic.into(),
            lease: Duration::from_secs(60),
            backoff: (Duration::from_secs(1), Duration::from_secs(10)),
            max_attempts: 5,
            dead_letter_topic: None,
            from_earliest: true,
        };
        bus.ensure(&subscription).await.unwrap();
    }
    let mut project = empty_project(Path::new("/nowhere"));
    project.topics.insert("export_trigger".into(), "real-trigger".into());
    project.topics.insert("upstream".into(), "real-upstream".into());
    let project = Arc::new(project);
    Door {
        bus,
        state: State::new(Arc::new(MemoryStore::new())).without_pauses(),
        store: Arc::new(MemoryStore::new()),
        project: Arc::new(move || project.clone()),
        target: "local".into(),
        clock,
        token: None,
        verifier: None,
        subscriptions: vec![WORKER.into(), UPSTREAM.into()],
        heartbeats: Arc::new(Vec::new),
        metrics: Arc::new(|| "# EOF\n".into()),
        facts: Arc::new(NoFacts),
        telemetry: Telemetry::in_memory(|| jiff::Timestamp::UNIX_EPOCH),
        limits: Limits::default(),
        status: DoorStatus::default(),
    }
}

async fn open(door: Door) -> Site {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let door = Arc::new(door);
    let (stop, shutdown) = watch::channel(false);
    let served = tokio::spawn(serve(listener, door.clone(), shutdown));
    Site { address, door, stop, served }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    fn detail(&self) -> String {
        assert!(self.head.contains("application/problem+json"), "{}", self.head);
        let problem: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(problem["status"], self.status);
        problem["detail"].as_str().unwrap().to_owned()
    }
}

impl Site {
    async fn send(&self, head: &str, body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut request = format!("{head}\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        request = request.replace("\n\r\n\r\n", "\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        // The door may answer before it has read all.
        let _ = stream.write_all(body).await;
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        Answer::of(&bytes)
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1"), b"").await
    }

    async fn event(&self, topic: &str, headers: &str, body: &str) -> Answer {
        self.send(&format!("POST /v1/events/{topic} HTTP/1.1{headers}"), body.as_bytes()).await
    }

    async fn messages(&self, subscription: &str) -> Vec<Delivery> {
        self.door.bus.pull(subscription, 100, Duration::ZERO).await.unwrap()
    }
}

fn pushed(id: &str) -> String {
    let data = base64::engine::general_purpose::STANDARD.encode(r#"{"status":"success"}"#);
    json!({"message": {"data": data, "attributes": {"k": "v"}, "messageId": id, "publishTime": "2025-12-12T17:59:00Z"},
        "subscription": "s"})
    .to_string()
}

#[tokio::test]
async fn a_pushed_event_is_on_the_bus_when_it_is_answered() {
    let site = open(door().await).await;
    for topic in ["upstream", "real-upstream"] {
        let answer = site.event(topic, "\r\nContent-Type: application/json", &pushed("77")).await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    }
    let kept = site.messages(UPSTREAM).await;
    assert_eq!(kept.len(), 2);
    for delivery in kept {
        assert_eq!(delivery.message.body, br#"{"status":"success"}"#);
        let attribute = |name: &str| delivery.message.attributes[name].clone();
        assert_eq!((attribute("k"), attribute(attributes::CAUSE_ID)), ("v".into(), "push/77".into()));
        assert_eq!(attribute(attributes::CAUSE_TIME), "2025-12-12T17:59:00Z");
    }
}

/// A push subscription on the very topic: each push would be published, pushed and published for ever.
#[tokio::test]
async fn what_a_push_brings_back_is_not_published_again() {
    let site = open(door().await).await;
    let push = async |message: &Message| {
        let data = base64::engine::general_purpose::STANDARD.encode(&message.body);
        let envelope = json!({"message": {"data": data, "attributes": message.attributes, "messageId": message.id}});
        assert_eq!(site.event("upstream", "", &envelope.to_string()).await.status, 204);
    };
    let event = NewMessage { body: br#"{"status":"success"}"#.to_vec(), ..NewMessage::default() };
    site.door.bus.publish("real-upstream", &event).await.unwrap();
    let [original] = &site.messages(UPSTREAM).await[..] else { panic!("one message") };
    push(&original.message).await;
    let [copy] = &site.messages(UPSTREAM).await[..] else { panic!("its copy") };
    push(&copy.message).await;
    assert_eq!(site.messages(UPSTREAM).await, [], "it is there already");
    let lines = site.door.telemetry.lines();
    assert!(lines.iter().any(|l| l.contains("WARNING") && l.contains("real-upstream")), "{lines:?}");
    // On another topic it is not.
    let data = base64::engine::general_purpose::STANDARD.encode(br#"{"players":true}"#);
    let other = json!({"message": {"data": data, "attributes": copy.message.attributes, "messageId": "1"}});
    assert_eq!(site.event("export_trigger", "", &other.to_string()).await.status, 204);
    assert_eq!(site.messages(WORKER).await.len(), 1);
}

#[tokio::test]
async fn a_push_that_does_not_say_which_message_it_is_is_refused_where_pubsub_is_pulled() {
    let on = async |bus: BusTarget| {
        let mut project = empty_project(Path::new("/nowhere"));
        project.topics.insert("upstream".into(), "real-upstream".into());
        let name = Spanned { value: "local".to_owned(), span: Span { file: FileId(0), start: 0, end: 0 } };
        let warehouse = WarehouseTarget::DuckDb { data: "d".into() };
        let store = StoreTarget::Directory { path: "p".into(), prefix: String::new() };
        project.targets.push(Target {
            name,
            warehouse,
            store,
            state: StateTarget::Directory { path: "s".into() },
            bus,
            compute: Compute::default(),
        });
        let project = Arc::new(project);
        let site = open(Door { project: Arc::new(move || project.clone()), ..door().await }).await;
        site.event("upstream", "\r\nUser-Agent: CloudPubSub-Google", "{}").await
    };
    assert_eq!(on(BusTarget::Embedded { path: "b".into() }).await.status, 204);
    let refused = on(BusTarget::PubSub { project: "p".into() }).await;
    assert_eq!((refused.status, refused.detail().contains("write-metadata")), (400, true));
}

#[tokio::test]
async fn what_is_no_event_is_a_problem_with_its_reason() {
    let site = open(door().await).await;
    let unknown = site.event("nowhere", "", "{}").await;
    assert_eq!((unknown.status, unknown.detail().contains("no such topic")), (404, true));
    let broken = site.event("upstream", "", "{").await;
    assert_eq!((broken.status, broken.detail().contains("no JSON")), (400, true));
    let method = site.get("/v1/events/upstream").await;
    assert_eq!((method.status, method.detail()), (405, "this address takes another method".into()));
    let nothing = site.get("/favicon.ico").await;
    assert_eq!((nothing.status, nothing.detail()), (404, "there is nothing here".into()));
    let page = site.event("upstream", "\r\nOrigin: https://evil.example", "{}").await;
    assert_eq!((page.status, page.detail().contains("web pages")), (403, true));
    assert!(site.messages(UPSTREAM).await.is_empty());
}

#[tokio::test]
async fn large_bodies_are_refused_before_they_are_read() {
    let site = open(door().await).await;
    let declared = format!(
        "POST /v1/events/upstream HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        100_000_000
    );
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    stream.write_all(declared.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(Answer::of(&bytes).status, 413);
    // Without a declared length it is counted.
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    let head =
        "POST /v1/events/upstream HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, " ".repeat(1 << 20));
    for _ in 0..16 {
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    assert_eq!(Answer::of(&bytes).status, 413);
    // The bus's own limit counts for a bare body, which the envelope's size would let pass.
    let bare = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_BODY));
    let answer = site.event("upstream", "", &bare).await;
    assert_eq!((answer.status, answer.detail().contains("too many")), (413, true));
    let largest = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_BODY - 8));
    assert_eq!(site.event("upstream", "", &largest).await.status, 204);
}

#[tokio::test]
async fn events_need_a_token_where_one_is_set_or_others_can_come_in() {
    let guarded = open(Door { token: Token::new(" s3cret\n"), ..door().await }).await;
    let none = guarded.event("upstream", "", "{}").await;
    assert_eq!((none.status, none.head.contains("www-authenticate: bearer")), (401, true));
    assert_eq!(guarded.event("upstream", "\r\nAuthorization: Bearer other", "{}").await.status, 401);
    assert_eq!(guarded.event("upstream", "\r\nAuthorization: Basic s3cret", "{}").await.status, 401);
    assert_eq!(guarded.event("upstream", "\r\nAuthorization: bearer s3cret", "{}").await.status, 204);

    let wide = door().await;
    wide.status.address.set("0.0.0.0:8080".parse().unwrap()).unwrap();
    let refused = open(wide).await.event("upstream", "", "{}").await;
    assert_eq!(refused.status, 403);
    assert!(refused.detail().contains("PHASE6_TOKEN"));
}

#[tokio::test]
async fn runs_are_asked_for_with_the_token_alone() {
    let closed = open(door().await).await;
    let answer = closed.send("POST /v1/runs HTTP/1.1", b"{\"players\":true}").await;
    assert_eq!((answer.status, answer.detail().contains("PHASE6_TOKEN")), (403, true));

    let site = open(Door { token: Token::new("s3cret"), ..door().await }).await;
    let post = "POST /v1/runs HTTP/1.1\r\nAuthorization: Bearer s3cret";
    assert_eq!(site.send("POST /v1/runs HTTP/1.1", b"{\"players\":true}").await.status, 401);
    for (body, reason) in [
        (r#"{"players": 1}"#, "boolean"),
        (r#"{"export_types": ["x"], "players": true}"#, "either"),
        (r#"{"export_types": ["x"]}"#, "needs a `target_date`"),
        (r#"{"export_types": ["x"], "target_date": "today"}"#, "no export `x`"),
        ("{}", "either"),
    ] {
        let answer = site.send(post, body.as_bytes()).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.detail().contains(reason), "{body}: {}", answer.body);
    }
    let large = vec![b' '; 256 * 1024 + 1];
    assert_eq!(site.send(post, &large).await.status, 413);
    assert!(site.messages(WORKER).await.is_empty());

    let answer = site.send(&format!("{post}\r\nIdempotency-Key: abc"), br#"{"players":true,"min_games":5}"#).await;
    assert_eq!(answer.status, 202);
    let said: Value = serde_json::from_str(&answer.body).unwrap();
    let kept = site.messages(WORKER).await;
    assert_eq!(kept.len(), 1);
    assert_eq!(said["message_id"], kept[0].message.id);
    let attributes = &kept[0].message.attributes;
    assert_eq!(
        (attributes[attributes::CAUSE_KIND].as_str(), attributes[attributes::CAUSE_ID].as_str()),
        ("http", "http/abc")
    );
}

#[tokio::test]
async fn readiness_and_liveness_name_what_fails() {
    let site = open(door().await).await;
    assert_eq!(site.get("/live").await.status, 200);
    assert_eq!(site.get("/livez").await.status, 200);
    let ready = site.get("/ready").await;
    assert_eq!(site.get("/readyz").await.body, ready.body);
    let said: Value = serde_json::from_str(&ready.body).unwrap();
    let names: Vec<&str> = said["checks"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!((ready.status, names), (200, vec!["bus", "state", "serving"]));
    assert!(site.get("/metrics").await.head.contains("application/openmetrics-text"));

    let age = Arc::new(AtomicU64::new(1));
    let beats = age.clone();
    let heartbeats = move || {
        let age = Duration::from_secs(beats.load(Ordering::Relaxed));
        vec![Heartbeat { name: "worker".into(), age, limit: Duration::from_secs(60) }]
    };
    let faulty = Faulty::new(Arc::new(MemoryStore::new()), Faults { error_before: 1000, ..Faults::default() }, 1);
    let sick = Door {
        heartbeats: Arc::new(heartbeats),
        subscriptions: vec!["absent".into()],
        state: State::new(Arc::new(faulty)).without_pauses(),
        ..door().await
    };
    let site = open(sick).await;
    assert_eq!(site.get("/live").await.status, 200);
    age.store(61, Ordering::Relaxed);
    let live = site.get("/live").await;
    assert_eq!((live.status, live.body.contains("\"worker\"")), (503, true));
    let ready = site.get("/ready").await;
    let said: Value = serde_json::from_str(&ready.body).unwrap();
    assert_eq!(ready.status, 503);
    assert_eq!(
        (&said["checks"][0]["ok"], &said["checks"][1]["ok"], &said["checks"][2]["ok"]),
        (&json!(false), &json!(false), &json!(true))
    );
}

fn tight() -> Limits {
    Limits {
        head: Duration::from_millis(200),
        request: Duration::from_millis(300),
        grace: Duration::from_secs(2),
        connections: 2,
        ..Limits::default()
    }
}

#[tokio::test]
async fn nobody_holds_the_door_by_being_slow() {
    let site = open(Door { limits: tight(), ..door().await }).await;
    let begun = Instant::now();
    // All places are taken by peers that say nothing, or half a head, or half a body.
    let silent = TcpStream::connect(site.address).await.unwrap();
    let mut slow = TcpStream::connect(site.address).await.unwrap();
    slow.write_all(b"GET /livez HTTP/1.1\r\nHost:").await.unwrap();
    assert_eq!(site.get("/livez").await.status, 200);
    let mut half = TcpStream::connect(site.address).await.unwrap();
    half.write_all(b"POST /v1/events/upstream HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{").await.unwrap();
    let mut bytes = Vec::new();
    half.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(Answer::of(&bytes).status, 408);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop((silent, slow));
}

#[tokio::test]
async fn a_stopping_door_answers_what_it_has_begun() {
    let site = open(Door { limits: Limits { request: Duration::from_secs(10), ..tight() }, ..door().await }).await;
    let mut begun = TcpStream::connect(site.address).await.unwrap();
    begun.write_all(b"POST /v1/events/upstream HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{").await.unwrap();
    // Until the request is in the handler's hands.
    tokio::time::sleep(Duration::from_millis(100)).await;
    site.stop.send(true).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(TcpStream::connect(site.address).await.is_err(), "no new connection is taken");
    assert!(site.door.is_draining() && !site.served.is_finished());
    begun.write_all(b"}").await.unwrap();
    let mut bytes = Vec::new();
    begun.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(Answer::of(&bytes).status, 204);
    site.served.await.unwrap().unwrap();
    assert_eq!(site.door.bus.pull(UPSTREAM, 10, Duration::ZERO).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_peer_that_never_ends_does_not_hold_up_the_stop() {
    let limits = Limits { grace: Duration::from_millis(200), request: Duration::from_secs(60), ..Limits::default() };
    let site = open(Door { limits, ..door().await }).await;
    let mut half = TcpStream::connect(site.address).await.unwrap();
    half.write_all(b"POST /v1/events/upstream HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    site.stop.send(true).unwrap();
    tokio::time::timeout(Duration::from_secs(5), site.served).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn pages_escape_what_others_wrote_and_forbid_other_scripts() {
    let site = open(door().await).await;
    let evil = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>";
    let letter = DeadLetter {
        id: evil.into(),
        topic: evil.into(),
        subscription: evil.into(),
        message_id: evil.into(),
        published_at: at("2025-12-12T17:00:00Z"),
        attributes: BTreeMap::from([(evil.to_owned(), evil.to_owned())]),
        size: 5,
        reason: evil.into(),
        attempts: 1,
        dead_at: at("2025-12-12T17:30:00Z"),
        run_id: Some(evil.into()),
    };
    site.door.state.bury(&letter, evil.as_bytes()).await.unwrap();
    let path =
        "/dead-letters/%3Cscript%3Ealert%28%27x%27%29%3C%2Fscript%3E%22%3E%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E";
    for path in ["/", "/dead-letters", path] {
        let page = site.get(path).await;
        assert_eq!(page.status, 200, "{path}: {}", page.body);
        assert!(!page.body.contains("<script>alert") && !page.body.contains("<img"), "{path}");
        assert!(page.body.contains("&lt;script&gt;alert"), "{path}");
        for header in [
            "content-security-policy: default-src 'none'; style-src 'sha256-",
            "nosniff",
            "referrer-policy: no-referrer",
        ] {
            assert!(page.head.contains(header), "{path}: {}", page.head);
        }
        assert!(!page.head.contains("unsafe"), "{}", page.head);
        assert_eq!(page.body.matches("<script>").count(), 1, "the page's own script alone");
    }
    for path in [
        "/runs/nothing",
        "/gates/nothing",
        "/dead-letters/nothing",
        "/exports/nothing",
        "/documents/no/thing.json",
        "/documents/../x",
        "/documents/%00",
    ] {
        let page = site.get(path).await;
        assert_eq!(
            (page.status, page.body.contains("There is no such") || page.body.contains("nothing here")),
            (404, true),
            "{path}: {}",
            page.body
        );
    }
}
