//! The services that a deployment is made of, in one server: Service Usage, Resource Manager, Pub/Sub's administration, Cloud
//! Storage's buckets, IAM, Cloud Scheduler, Cloud Run, Logging's metrics, Monitoring's policies, BigQuery's table policies.
//!
//! As strict as their public REST references: unknown query parameters and fields are refused, an update needs its mask, a second
//! create answers 409, a stale etag 409 or 412, what names something absent is refused. Answers leave out defaults, as JSON of
//! protocol buffers does. Every call is recorded.

mod fields;
mod kinds;
mod policies;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A call as it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub method: String,
    pub path: String,
    pub query: String,
}

impl Call {
    /// Whether it changes something: reading a policy is a POST in some services.
    pub fn is_change(&self) -> bool {
        self.method != "GET" && !self.path.ends_with(":getIamPolicy")
    }
}

/// Everything that is there. Full names (`projects/p/topics/t`) are keys.
#[derive(Debug, Default)]
pub struct World {
    pub things: BTreeMap<String, Value>,
    /// Access policies, by the same names; tables are there when they have one.
    pub policies: BTreeMap<String, Value>,
    pub enabled: BTreeSet<String>,
    /// Buckets that other projects have.
    pub taken: BTreeSet<String>,
    /// Objects by bucket.
    pub objects: BTreeMap<String, u32>,
    /// Long-running operations: how often they are asked for before they are done.
    operations: BTreeMap<String, u32>,
    pub calls: Vec<Call>,
    /// Answers to the next calls instead of real ones.
    pub failing: VecDeque<u16>,
    /// Changing calls that still work; afterwards all answer 403.
    pub changes_left: Option<u32>,
    /// Calls (method and a part of the path) that are answered with 403.
    pub denied: Vec<(&'static str, &'static str)>,
    /// Changes whose answer is lost after they were made: 503.
    pub lost_answers: u32,
    /// Services that were enabled refuse so many calls, as shortly after it.
    pub services_unknown_for: u32,
    /// Alert policies are refused so often, as shortly after their metrics were made.
    pub metrics_unknown_for: u32,
    /// Pub/Sub's own account is there only after it was asked for.
    pub agent_made: bool,
    /// An organisation forbids members from outside.
    pub no_public_members: bool,
    /// Policies that name an account are refused so often, as shortly after it was made.
    pub accounts_unknown_for: u32,
    pub delay: Duration,
    counter: u64,
}

/// The running server.
pub struct Server {
    pub url: String,
    world: Arc<Mutex<World>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// A project `number` 123456789 with nothing in it but enabled services.
    pub async fn start() -> Server {
        let enabled = ["cloudapis.googleapis.com".to_owned()].into();
        let world = Arc::new(Mutex::new(World { enabled, ..World::default() }));
        let app = Router::new().fallback(answer).with_state(world.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Server { url, world, task }
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The calls since the last time they were taken.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.world().calls)
    }
}

/// An error as Google writes it.
#[derive(Debug)]
pub(crate) struct Refusal(pub u16, pub &'static str, pub String);

pub(crate) type Answer = Result<Value, Refusal>;

pub(crate) fn invalid(message: impl Into<String>) -> Refusal {
    Refusal(400, "INVALID_ARGUMENT", message.into())
}

pub(crate) fn not_found(name: &str) -> Refusal {
    Refusal(404, "NOT_FOUND", format!("Resource not found (resource={name})."))
}

fn status_of(code: u16) -> &'static str {
    match code {
        403 => "PERMISSION_DENIED",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        _ => "INTERNAL",
    }
}

async fn answer(State(world): State<Arc<Mutex<World>>>, method: Method, uri: Uri, body: Bytes) -> Response {
    let (delay, answer) = {
        let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
        (world.delay, world.answer(method.as_str(), uri.path(), uri.query().unwrap_or_default(), &body))
    };
    tokio::time::sleep(delay).await;
    let (code, body) = match answer {
        Ok(Value::Null) => (200, json!({})),
        Ok(value) => (200, fields::without_defaults(&value)),
        Err(Refusal(code, status, message)) => {
            let mut error = json!({"code": code, "message": message, "status": status});
            if error["message"].as_str().is_some_and(|m| m.contains("has not been used in project")) {
                error["details"] =
                    json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED"}]);
            }
            (code, json!({"error": error}))
        }
    };
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (code, [("content-type", "application/json")], body.to_string()).into_response()
}

/// A call, taken apart.
pub(crate) struct Asked<'a> {
    pub method: &'a str,
    /// The path below the version, `projects/p/topics/t`, without its verb.
    pub name: String,
    /// `:setIamPolicy`
    pub verb: &'a str,
    pub query: BTreeMap<String, String>,
    pub body: Value,
}

impl Asked<'_> {
    /// Refuses query parameters that the method does not have.
    pub fn only(&self, known: &[&str]) -> Result<(), Refusal> {
        match self.query.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(invalid(format!("Unknown query parameter \"{key}\"."))),
        }
    }
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut i = 0;
    while i < bytes.len() {
        let hex = bytes
            .get(i + 1..i + 3)
            .and_then(|h| std::str::from_utf8(h).ok())
            .and_then(|h| u8::from_str_radix(h, 16).ok());
        match (bytes[i], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                i += 3;
            }
            (byte, _) => {
                out.push(byte);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl World {
    fn answer(&mut self, method: &str, path: &str, query: &str, body: &[u8]) -> Answer {
        let call = Call { method: method.to_owned(), path: path.to_owned(), query: query.to_owned() };
        let changes = call.is_change();
        self.calls.push(call);
        if let Some(code) = self.failing.pop_front() {
            return Err(Refusal(code, status_of(code), "The service failed on demand.".into()));
        }
        if self.denied.iter().any(|(m, part)| *m == method && path.contains(part)) {
            return Err(Refusal(403, "PERMISSION_DENIED", "The caller does not have permission".into()));
        }
        if changes && let Some(left) = &mut self.changes_left {
            if *left == 0 {
                return Err(Refusal(403, "PERMISSION_DENIED", "No more changes, on demand.".into()));
            }
            *left -= 1;
        }
        let body = match body {
            [] => Value::Null,
            body => serde_json::from_slice(body).map_err(|e| invalid(format!("Invalid JSON payload received. {e}")))?,
        };
        let pairs = query.split('&').filter(|p| !p.is_empty()).map(|p| p.split_once('=').unwrap_or((p, "")));
        let query = pairs.map(|(key, value)| (decoded(key), decoded(value))).collect();
        let answer = self.route(method, path, query, body)?;
        if changes && self.lost_answers > 0 {
            self.lost_answers -= 1;
            return Err(Refusal(503, "UNAVAILABLE", "The answer was lost on demand.".into()));
        }
        Ok(answer)
    }

    fn route(&mut self, method: &str, path: &str, query: BTreeMap<String, String>, body: Value) -> Answer {
        if let Some(rest) = path.strip_prefix("/storage/v1/") {
            self.is_enabled("storage.googleapis.com")?;
            return self.storage(&Asked { method, name: rest.to_owned(), verb: "", query, body });
        }
        let (version, rest) = match path.strip_prefix("/bigquery/v2/") {
            Some(rest) => ("bigquery", rest),
            None => path.trim_start_matches('/').split_once('/').ok_or_else(|| not_found(path))?,
        };
        let (name, verb) = match rest.rfind(':') {
            Some(at) if !rest[at..].contains('/') => rest.split_at(at),
            _ => (rest, ""),
        };
        let segments: Vec<&str> = name.split('/').collect();
        let of_run = version == "v2" && segments.get(4) == Some(&"jobs");
        let full = if of_run { format!("{}{name}", kinds::RUN) } else { name.to_owned() };
        let asked = Asked { method, name: full, verb, query, body };
        let service = match (version, segments.as_slice()) {
            ("v1", ["operations", ..])
            | ("v1", ["projects", _, "services"])
            | ("v1beta1", ["projects", _, "services", _]) => "serviceusage.googleapis.com",
            ("v1", ["projects", _, "secrets", _]) => "secretmanager.googleapis.com",
            ("v1", ["projects", _, "topics" | "subscriptions", ..]) => "pubsub.googleapis.com",
            ("v1", ["projects", _, "serviceAccounts", ..]) => "iam.googleapis.com",
            ("v1", ["projects", _, "locations", _, "jobs", ..]) => "cloudscheduler.googleapis.com",
            ("v2", ["projects", _, "locations", ..]) => "run.googleapis.com",
            ("v2", ["projects", _, "metrics", ..]) => "logging.googleapis.com",
            ("v3", ["projects", _, "alertPolicies", ..]) => "monitoring.googleapis.com",
            ("v3", ["projects", _]) => "cloudresourcemanager.googleapis.com",
            ("bigquery", ["projects", _, "datasets", _, "tables", _]) => "bigquery.googleapis.com",
            _ => return Err(not_found(path)),
        };
        self.is_enabled(service)?;
        match service {
            "serviceusage.googleapis.com" => self.usage(&asked),
            _ if matches!(verb, ":getIamPolicy" | ":setIamPolicy") => self.policy(&asked, service),
            "cloudresourcemanager.googleapis.com" if method == "GET" => {
                asked.only(&[])?;
                Ok(json!({"name": "projects/123456789", "projectId": segments[1], "state": "ACTIVE"}))
            }
            "run.googleapis.com" if segments.get(4) == Some(&"operations") => self.operation(&asked.name),
            _ if !verb.is_empty() => Err(not_found(path)),
            _ => self.thing(&asked),
        }
    }

    /// A service that is not enabled refuses everything; Service Usage is always there.
    fn is_enabled(&mut self, service: &str) -> Result<(), Refusal> {
        let known = self.services_unknown_for == 0 || !self.enabled.contains(service);
        if service == "serviceusage.googleapis.com" || known && self.enabled.contains(service) {
            return Ok(());
        }
        if !known {
            self.services_unknown_for -= 1;
        }
        let message = format!("{service} has not been used in project 123456789 before or it is disabled.");
        Err(Refusal(403, "PERMISSION_DENIED", message))
    }

    fn usage(&mut self, asked: &Asked) -> Answer {
        match (asked.method, asked.verb) {
            ("GET", "") if asked.name.starts_with("operations/") => self.operation(&asked.name),
            ("GET", "") => {
                asked.only(&["filter", "pageSize", "pageToken"])?;
                if asked.query.get("filter").map(String::as_str) != Some("state:ENABLED") {
                    return Err(invalid("the filter is state:ENABLED or state:DISABLED"));
                }
                let service = |name: &String| json!({"name": format!("projects/123456789/services/{name}"), "config": {"name": name}, "state": "ENABLED"});
                self.page(asked, "services", self.enabled.iter().map(service).collect())
            }
            ("POST", ":batchEnable") => {
                fields::check(&asked.body, "serviceIds")?;
                let ids: Vec<String> =
                    serde_json::from_value(asked.body["serviceIds"].clone()).map_err(|e| invalid(e.to_string()))?;
                if ids.is_empty() || ids.len() > 20 {
                    return Err(invalid("between 1 and 20 services"));
                }
                self.enabled.extend(ids);
                Ok(self.new_operation("operations"))
            }
            ("POST", ":generateServiceIdentity") => {
                asked.only(&[])?;
                self.agent_made |= asked.name.ends_with("/pubsub.googleapis.com");
                Ok(self.new_operation("operations"))
            }
            _ => Err(not_found(&asked.name)),
        }
    }

    pub(crate) fn new_operation(&mut self, parent: &str) -> Value {
        self.counter += 1;
        let name = format!("{parent}/op-{}", self.counter);
        self.operations.insert(name.clone(), 1);
        json!({"name": name, "done": false})
    }

    fn operation(&mut self, name: &str) -> Answer {
        let left = self.operations.get_mut(name).ok_or_else(|| not_found(name))?;
        let done = *left == 0;
        *left = left.saturating_sub(1);
        Ok(json!({"name": name, "done": done}))
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// One page of a listing, three things long at most, so that paging is really done.
    pub(crate) fn page(&self, asked: &Asked, key: &str, all: Vec<Value>) -> Answer {
        const PAGE: usize = 3;
        let from = match asked.query.get("pageToken") {
            None => 0,
            Some(token) => {
                let at = token.strip_prefix("from=").and_then(|n| n.parse().ok());
                at.ok_or_else(|| invalid("Invalid page token"))?
            }
        };
        let items: Vec<Value> = all.iter().skip(from).take(PAGE).cloned().collect();
        let mut page = json!({ key: items });
        if all.len() > from + PAGE {
            page["nextPageToken"] = format!("from={}", from + PAGE).into();
        }
        Ok(page)
    }
}
