//! Secrets stay where they were put: a service that has one in each place where one may be, whose webhook and collector refuse
//! it (so that it has errors to tell of), and then all that it wrote, answers and keeps is searched.

use super::desk::{Desk, text};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Each in its own place, so that a find says which one leaked.
const IN_PATH: &str = "hook-path-s3cret";
const TOKEN: &str = "operator-token-s3cret";
const HEADER: &str = "collector-header-s3cret";
const UNUSED: &str = "database-password-s3cret";

const ALERTS: &str = r#"alerts:
  - {name: failed, when: failure, to: [{type: webhook, url: "${HOOK}"}, {type: log}]}
"#;

/// Answers everything with an error whose text repeats what was asked, as debugging servers do.
fn parrot() -> (u16, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(Mutex::new(String::new()));
    let all = heard.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let said = head(stream);
            all.lock().unwrap().push_str(&said);
        }
    });
    (port, heard)
}

fn head(mut stream: TcpStream) -> String {
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    while !read.windows(4).any(|w| w == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(n) if n > 0 => read.extend_from_slice(&buffer[..n]),
            _ => break,
        }
    }
    let said = String::from_utf8_lossy(&read).into_owned();
    let _ = write!(stream, "HTTP/1.1 500 No\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{said}", said.len());
    said
}

/// All files below a folder, whatever they are.
fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => files(&path, found),
            false => found.push((path.display().to_string(), std::fs::read(&path).unwrap_or_default())),
        }
    }
}

fn page(url: &str) -> Vec<u8> {
    let config = ureq::Agent::config_builder().http_status_as_error(false).build();
    let mut answer = ureq::Agent::from(config).get(url).call().unwrap_or_else(|e| panic!("{url}: {e}"));
    answer.body_mut().read_to_vec().unwrap()
}

#[test]
fn secrets_are_in_nothing_that_is_written_answered_or_kept() {
    let (port, heard) = parrot();
    let hook = format!("http://127.0.0.1:{port}/{IN_PATH}");
    let collector = format!("http://127.0.0.1:{port}");
    let header = format!("x-api-key={HEADER}");
    let environment = [
        ("HOOK", hook.as_str()),
        ("PHASE6_TOKEN", TOKEN),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", header.as_str()),
        ("DATABASE_PASSWORD", UNUSED),
    ];
    let mut desk = Desk::small_with(ALERTS);
    let table = "warehouse/league/pace.csv";
    desk.sandbox.write(table, "steps\nno number\n");
    desk.start_with("--listen 127.0.0.1:0", &environment);
    let url = format!("http://{}", text(&desk.logged("started on target"), "/listen"));
    let run = desk.ended(&desk.publish("export_trigger", r#"{"export_types":["slow"],"target_date":"2025-12-12"}"#));
    assert_eq!(run["status"], "failed", "{run:#}");
    // It was used where it belongs: else the search below would find nothing for the wrong reason.
    desk.until("the webhook's call and the collector's", || {
        let heard = heard.lock().unwrap();
        (heard.contains(IN_PATH) && heard.contains(HEADER)).then_some(())
    });
    desk.logged("could not be told");

    let mut found = vec![("the log".to_owned(), desk.log_text().into_bytes())];
    for path in ["/", "/runs", "/gates", "/dead-letters", "/metrics", "/live", "/ready", "/exports/slow"] {
        found.push((path.to_owned(), page(&format!("{url}{path}"))));
    }
    let id = text(&run, "/run_id");
    found.push(("the run's record".to_owned(), page(&format!("{url}/v1/runs/{id}"))));
    for command in
        ["doctor", "check --format json", "list --format json", "runs --format json", "fresh", "no-such-command"]
    {
        let mut started = desk.sandbox.command(command);
        let output = started.envs(environment).output().unwrap();
        found.push((command.to_owned(), [output.stdout, output.stderr].concat()));
    }
    desk.stop();
    files(desk.sandbox.path(), &mut found);
    assert!(found.len() > 30, "{} places were searched", found.len());
    for (place, bytes) in &found {
        for secret in [IN_PATH, TOKEN, HEADER, UNUSED] {
            let there = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
            assert!(!there, "{secret} is in {place}: {}", String::from_utf8_lossy(bytes));
        }
    }
}

/// Refused before anything is called, in words that do not repeat it.
#[test]
fn a_secret_in_a_wrong_address_is_not_repeated() {
    let address = format!("https://user:{IN_PATH}@hooks.example/x");
    for (url, env) in [(address.as_str(), ""), ("http://hooks.example/${HOOK}", IN_PATH), ("${HOOK}", &address[1..])] {
        let desk = Desk::small_with(&ALERTS.replace("${HOOK}", url));
        let output = desk.sandbox.command("check").env("HOOK", env).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        // The snippet of the project's own line is what its author wrote there, and has to be seen to be mended.
        let own = said.lines().filter(|l| l.contains(IN_PATH)).all(|l| l.contains("url: \"https://user:"));
        assert!(own, "{said}");
    }
}

/// Credentials of Google that are at hand are not shown to who stands in for Google.
#[cfg(feature = "gcp")]
#[test]
fn an_emulator_hears_no_credentials() {
    const REFRESH: &str = "refresh-token-s3cret";
    let (port, heard) = parrot();
    let desk = Desk::small();
    let project = desk.sandbox.read("phase6_publishing.yaml");
    let cloud = project
        .replace(
            "store: {type: directory, path: public, prefix: v1}",
            "store: {type: gcs, bucket: public-bucket, prefix: v1}",
        )
        .replace("state: {type: directory, path: state}", "state: {type: gcs, bucket: state-bucket}")
        .replace("warehouse: {type: duckdb, data: warehouse}", "warehouse: {type: bigquery, project: p, location: EU}")
        .replace("bus: {type: embedded, path: bus}", "bus: {type: pubsub, project: p}");
    assert_eq!(
        cloud.matches("type: gcs").count() + cloud.matches("bigquery").count() + cloud.matches("pubsub").count(),
        4
    );
    desk.sandbox.write("phase6_publishing.yaml", &cloud);
    let key = format!(
        r#"{{"type":"authorized_user","client_id":"c","client_secret":"{UNUSED}","refresh_token":"{REFRESH}"}}"#
    );
    desk.sandbox.write("credentials.json", &key);
    let emulator = format!("http://127.0.0.1:{port}");
    for command in ["doctor", "publish export_trigger --message '{}'"] {
        let mut started = desk.sandbox.command(command);
        for api in ["STORAGE", "BIGQUERY", "PUBSUB"] {
            started.env(format!("{api}_EMULATOR_HOST"), &emulator);
        }
        let file = desk.sandbox.path().join("credentials.json");
        let output = started.env("GOOGLE_APPLICATION_CREDENTIALS", file).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!output.status.success(), "the parrot is no service: {said}");
        assert!(!said.contains(REFRESH) && !said.contains(UNUSED), "{command}: {said}");
    }
    let heard = heard.lock().unwrap().to_lowercase();
    assert!(heard.contains("state-bucket"), "the stand-in was called:\n{heard}");
    for word in ["authorization", "bearer", "x-goog-user-project", REFRESH, UNUSED] {
        assert!(!heard.contains(word), "{word}:\n{heard}");
    }
}
