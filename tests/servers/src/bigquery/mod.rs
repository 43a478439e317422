//! BigQuery's jobs as its REST reference (v2) has them: `jobs.insert`, `jobs.get`, `jobs.cancel`, `jobs.getQueryResults`. It runs no
//! SQL: what a statement gives is scripted by the test.

mod reference;

use crate::http::{self, Listening, Manner, Reply, Request};
use base64::Engine as _;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What the statements that contain a text come to.
#[derive(Debug, Clone)]
pub struct Script {
    /// `TableFieldSchema`s.
    pub schema: Value,
    /// Each a list of cells as they stand behind `v`; TIMESTAMPs in microseconds.
    pub rows: Vec<Vec<Value>>,
    /// The most rows of a page, whatever is asked for: BigQuery ends pages by bytes.
    pub page_rows: usize,
    pub bytes: u64,
    /// What the job is billed; as many as it reads if `None`.
    pub billed: Option<u64>,
    pub tables: usize,
    pub slot_ms: u64,
    pub cache_hit: bool,
    /// How often `jobComplete` is false.
    pub polls: usize,
    /// It runs until it is cancelled.
    pub endless: bool,
    /// The job is refused with this reason and message.
    pub refused: Option<(String, String)>,
    /// The job is taken and fails, this often.
    pub fails: Option<(String, String)>,
    pub failures: usize,
    /// Rows come before their schema, which JSON allows.
    pub rows_first: bool,
    /// `errors` beside a result.
    pub warnings: Vec<(String, String)>,
    /// Where the tables are, and so the jobs that name no location.
    pub location: &'static str,
    /// How often a job is not found after its insert was repeated
    /// (<https://github.com/googleapis/python-bigquery/issues/2134>).
    pub unseen: usize,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            schema: json!([{ "name": "n", "type": "INTEGER", "mode": "NULLABLE" }]),
            rows: Vec::new(),
            page_rows: 1000,
            bytes: 0,
            billed: None,
            tables: 1,
            slot_ms: 0,
            cache_hit: false,
            polls: 0,
            endless: false,
            refused: None,
            fails: None,
            failures: usize::MAX,
            rows_first: false,
            warnings: Vec::new(),
            location: "US",
            unseen: 0,
        }
    }
}

/// What happens to a call.
#[derive(Debug, Clone)]
pub enum Trouble {
    /// An error in BigQuery's form.
    Error(u16, &'static str),
    /// An answer that is no JSON: a proxy's.
    Plain(u16),
    /// The work is done and the answer comes so.
    Answered(Manner),
    /// Nothing is done and the connection is closed.
    Dropped,
}

/// A call, for the tests of what is asked for.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// `jobs.insert` …
    pub method: &'static str,
    pub request: Request,
}

struct Job {
    project: String,
    id: String,
    location: String,
    body: Value,
    script: Script,
    polls: usize,
    unseen: usize,
    failure: Option<(String, String)>,
    cancelled: bool,
}

#[derive(Default)]
struct State {
    scripts: Vec<(String, Script)>,
    jobs: Vec<Job>,
    trouble: Vec<(&'static str, Trouble)>,
    calls: Vec<Recorded>,
    dry_runs: Vec<Value>,
}

/// The server; it ends when it is dropped.
pub struct Server {
    pub url: String,
    state: Arc<Mutex<State>>,
    _listening: Listening,
}

type Answer = Result<Value, (u16, String, String)>;

impl Server {
    pub async fn start() -> Server {
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = state.clone();
        let listening = http::serve(move |request| {
            let state = shared.clone();
            async move { answer(&state, request).await }
        })
        .await;
        Server { url: listening.url.clone(), state, _listening: listening }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Statements that contain this text come to this; the latest script that fits counts.
    pub fn script(&self, part: &str, script: Script) {
        self.state().scripts.push((part.to_owned(), script));
    }

    /// The next calls of a method (`jobs.insert`) meet these troubles, one each.
    pub fn trouble(&self, method: &'static str, troubles: impl IntoIterator<Item = Trouble>) {
        self.state().trouble.extend(troubles.into_iter().map(|t| (method, t)));
    }

    pub fn calls(&self, method: &str) -> Vec<Request> {
        self.state().calls.iter().filter(|c| c.method == method).map(|c| c.request.clone()).collect()
    }

    /// The names of all calls, in their order.
    pub fn methods(&self) -> Vec<&'static str> {
        self.state().calls.iter().map(|c| c.method).collect()
    }

    /// The jobs that were taken, as they were sent.
    pub fn jobs(&self) -> Vec<Value> {
        self.state().jobs.iter().map(|j| j.body.clone()).collect()
    }

    pub fn dry_runs(&self) -> Vec<Value> {
        self.state().dry_runs.clone()
    }

    /// The ids of the jobs that were cancelled.
    pub fn cancelled(&self) -> Vec<String> {
        self.state().jobs.iter().filter(|j| j.cancelled).map(|j| j.id.clone()).collect()
    }

    /// Jobs that lack what every job of a run has to carry: labels, location, a cap on what is billed, a time limit.
    pub fn careless_jobs(&self) -> Vec<String> {
        let lacks = |body: &Value| -> Vec<&'static str> {
            let configuration = &body["configuration"];
            let there = [
                ("labels.export", configuration["labels"].get("export").is_some()),
                ("labels.run", configuration["labels"].get("run").is_some()),
                ("location", body["jobReference"].get("location").is_some()),
                ("maximumBytesBilled", configuration["query"].get("maximumBytesBilled").is_some()),
                ("jobTimeoutMs", configuration.get("jobTimeoutMs").is_some()),
            ];
            there.into_iter().filter(|(_, there)| !there).map(|(name, _)| name).collect()
        };
        let state = self.state();
        let careless = state.jobs.iter().map(|j| (j, lacks(&j.body))).filter(|(_, lacks)| !lacks.is_empty());
        careless.map(|(job, lacks)| format!("{}: {}", job.id, lacks.join(", "))).collect()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A path's method and its variable parts.
fn route<'r>(request: &'r Request, parts: &[&'r str]) -> Option<(&'static str, &'r str, &'r str)> {
    match (request.method.as_str(), parts) {
        ("POST", ["bigquery", "v2", "projects", project, "jobs"]) => Some(("jobs.insert", project, "")),
        ("GET", ["bigquery", "v2", "projects", project, "jobs", id]) => Some(("jobs.get", project, id)),
        ("POST", ["bigquery", "v2", "projects", project, "jobs", id, "cancel"]) => Some(("jobs.cancel", project, id)),
        ("GET", ["bigquery", "v2", "projects", project, "queries", id]) => Some(("jobs.getQueryResults", project, id)),
        _ => None,
    }
}

async fn answer(state: &Mutex<State>, request: Request) -> Reply {
    let path = request.path.trim_start_matches('/').to_owned();
    let parts: Vec<&str> = path.split('/').collect();
    let Some((method, project, id)) = route(&request, &parts) else {
        return reply(Err((404, "notFound".into(), format!("Not Found: {} {}", request.method, request.path))));
    };
    let trouble = {
        let mut state = lock(state);
        state.calls.push(Recorded { method, request: request.clone() });
        let place = state.trouble.iter().position(|(m, _)| *m == method);
        place.map(|place| state.trouble.remove(place).1)
    };
    let manner = match trouble {
        Some(Trouble::Dropped) => return Reply { status: 200, body: Vec::new(), manner: Manner::Nothing },
        Some(Trouble::Plain(status)) => {
            return Reply { status, body: b"<html>upstream</html>".to_vec(), manner: Manner::Whole };
        }
        Some(Trouble::Error(status, reason)) => {
            return reply(Err((status, reason.into(), format!("told to answer {reason}"))));
        }
        Some(Trouble::Answered(manner)) => manner,
        None => Manner::Whole,
    };
    let waits = method == "jobs.getQueryResults"
        && lock(state).jobs.iter().any(|j| j.id == id && j.script.endless && !j.cancelled);
    if waits {
        // The long poll of a job that goes on; shorter than asked for, as BigQuery may.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let answer = match method {
        "jobs.insert" => insert(&mut lock(state), project, &request),
        "jobs.get" => get(&mut lock(state), project, id, &request),
        "jobs.cancel" => cancel(&mut lock(state), project, id, &request),
        _ => results(&mut lock(state), project, id, &request),
    };
    Reply { manner, ..reply(answer) }
}

fn reply(answer: Answer) -> Reply {
    let (status, body) = match answer {
        Ok(body) => (200, body),
        Err((status, reason, message)) => (status, error(status, &reason, &message)),
    };
    Reply { status, body: body.to_string().into_bytes(), manner: Manner::Whole }
}

/// An error in BigQuery's form.
fn error(status: u16, reason: &str, message: &str) -> Value {
    let domain = if matches!(reason, "rateLimitExceeded" | "quotaExceeded") { "usageLimits" } else { "global" };
    json!({ "error": {
        "code": status,
        "message": message,
        "errors": [{ "message": message, "domain": domain, "reason": reason }],
        "status": match status { 400 => "INVALID_ARGUMENT", 403 => "PERMISSION_DENIED", 404 => "NOT_FOUND", 409 => "ALREADY_EXISTS", _ => "UNAVAILABLE" },
    } })
}

/// The HTTP status that a job's failure is told with.
fn status_of(reason: &str) -> u16 {
    match reason {
        "accessDenied" | "billingNotEnabled" | "blocked" | "quotaExceeded" | "rateLimitExceeded"
        | "responseTooLarge" => 403,
        "notFound" => 404,
        "stopped" => 499,
        "internalError" => 500,
        "backendError" => 503,
        _ => 400,
    }
}

fn refused((reason, message): reference::Refusal) -> (u16, String, String) {
    (status_of(reason), reason.to_owned(), message)
}

fn insert(state: &mut State, project: &str, request: &Request) -> Answer {
    reference::query_params(&request.query, &[]).map_err(refused)?;
    let body: Value = serde_json::from_slice(&request.body)
        .map_err(|e| (400, "parseError".to_owned(), format!("Parse Error: {e}")))?;
    reference::job(&body, project).map_err(refused)?;
    let sql = body["configuration"]["query"]["query"].as_str().unwrap_or_default().to_owned();
    let script = state.scripts.iter().rev().find(|(part, _)| sql.contains(part.as_str())).map(|(_, s)| s.clone());
    let script = script.ok_or_else(|| (400, "invalidQuery".into(), format!("no script fits the statement: {sql}")))?;
    let dry = body["configuration"]["dryRun"] == true;
    let missing = undeclared(&sql, &body);
    if let (false, Some(name)) = (dry, missing.first()) {
        return Err((
            400,
            "invalidQuery".into(),
            format!("Query parameter '{name}' not found at {}", place(&sql, &format!("@{name}"))),
        ));
    }
    if let Some((reason, message)) = &script.refused {
        return Err((status_of(reason), reason.clone(), message.clone()));
    }
    if dry {
        state.dry_runs.push(body.clone());
        return Ok(dry_run(&body, &script, &missing));
    }
    let reference = &body["jobReference"];
    let id = reference["jobId"].as_str().map_or_else(|| format!("job_{}", state.jobs.len()), str::to_owned);
    if let Some(job) = state.jobs.iter_mut().find(|j| j.id == id && j.project == project) {
        job.unseen = job.script.unseen;
        return Err((409, "duplicate".into(), format!("Already Exists: Job {project}:{id}")));
    }
    let location = reference["location"].as_str().unwrap_or(script.location).to_owned();
    let failed_before = state.jobs.iter().filter(|j| j.body["configuration"]["query"]["query"] == sql.as_str()).count();
    let mut failure = script.fails.clone().filter(|_| failed_before < script.failures);
    let cap = body["configuration"]["query"]["maximumBytesBilled"].as_str().and_then(|t| t.parse::<u64>().ok());
    let billed = script.billed.unwrap_or(script.bytes);
    if let Some(cap) = cap.filter(|cap| billed > *cap) {
        failure = Some((
            "bytesBilledLimitExceeded".into(),
            format!("Query exceeded limit for bytes billed: {cap}. {billed} or higher required."),
        ));
    }
    let polls = script.polls;
    let project = project.to_owned();
    state.jobs.push(Job { project, id, location, body, script, polls, unseen: 0, failure, cancelled: false });
    // BigQuery answers before the job has run.
    Ok(resource(&state.jobs[state.jobs.len() - 1], "RUNNING"))
}

/// Parameters that the statement uses and that are not given.
fn undeclared(sql: &str, body: &Value) -> Vec<String> {
    let given = &body["configuration"]["query"]["queryParameters"];
    let is_given = |name: &str| given.as_array().into_iter().flatten().any(|p| p["name"] == name);
    let used = sql
        .split('@')
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default().to_owned());
    let mut missing: Vec<String> = used.filter(|name| !name.is_empty() && !is_given(name)).collect();
    missing.dedup();
    missing
}

/// `[line:column]` of a text in a statement.
fn place(sql: &str, part: &str) -> String {
    let before = &sql[..sql.find(part).unwrap_or(0)];
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("[{}:{column}]", before.matches('\n').count() + 1)
}

fn dry_run(body: &Value, script: &Script, missing: &[String]) -> Value {
    let table = |i: usize| json!({ "projectId": "p", "datasetId": "d", "tableId": format!("t{i}") });
    let undeclared: Vec<Value> =
        missing.iter().map(|name| json!({ "name": name, "parameterType": { "type": "INT64" } })).collect();
    json!({
        "kind": "bigquery#job",
        "configuration": body["configuration"],
        "jobReference": { "projectId": body["jobReference"]["projectId"], "location": body["jobReference"]["location"] },
        "statistics": {
            "totalBytesProcessed": script.bytes.to_string(),
            "query": {
                "totalBytesProcessed": script.bytes.to_string(),
                "totalBytesBilled": "0",
                "cacheHit": false,
                "referencedTables": (0..script.tables).map(table).collect::<Vec<_>>(),
                "schema": { "fields": script.schema },
                "statementType": "SELECT",
                "undeclaredQueryParameters": undeclared,
            },
        },
        "status": { "state": "DONE" },
    })
}

/// A job by its id; the location has to be told, unless it is one of the two multi-regions.
fn find<'s>(
    state: &'s mut State,
    project: &str,
    id: &str,
    request: &Request,
) -> Result<&'s mut Job, (u16, String, String)> {
    let missing = || (404, "notFound".to_owned(), format!("Not found: Job {project}:{id}"));
    let job = state.jobs.iter_mut().find(|j| j.id == id && j.project == project).ok_or_else(missing)?;
    let told = request.param("location");
    let found = told == Some(job.location.as_str()) || told.is_none() && matches!(job.location.as_str(), "US" | "EU");
    if job.unseen > 0 {
        job.unseen -= 1;
        return Err(missing());
    }
    if found { Ok(job) } else { Err(missing()) }
}

fn get(state: &mut State, project: &str, id: &str, request: &Request) -> Answer {
    reference::query_params(&request.query, &["location"]).map_err(refused)?;
    let job = find(state, project, id, request)?;
    let going_on = job.polls > 0 || job.script.endless && !job.cancelled;
    Ok(resource(job, if going_on { "RUNNING" } else { "DONE" }))
}

fn cancel(state: &mut State, project: &str, id: &str, request: &Request) -> Answer {
    reference::query_params(&request.query, &["location"]).map_err(refused)?;
    let job = find(state, project, id, request)?;
    if job.polls > 0 || job.script.endless {
        job.failure = Some(("stopped".into(), "Job execution was cancelled: User requested cancellation".into()));
    }
    job.cancelled = true;
    job.polls = 0;
    Ok(json!({ "kind": "bigquery#jobCancelResponse", "job": resource(job, "DONE") }))
}

fn resource(job: &Job, state: &str) -> Value {
    let mut status = json!({ "state": state });
    let mut statistics = json!({ "creationTime": "1765562400000" });
    if state == "DONE" {
        if let Some((reason, message)) = &job.failure {
            status["errorResult"] = json!({ "reason": reason, "message": message, "location": "query" });
            status["errors"] = json!([{ "reason": reason, "message": message, "location": "query" }]);
        }
        let script = &job.script;
        let billed = script.billed.unwrap_or(script.bytes);
        statistics["totalBytesProcessed"] = script.bytes.to_string().into();
        statistics["totalSlotMs"] = script.slot_ms.to_string().into();
        statistics["query"] = json!({
            "totalBytesProcessed": script.bytes.to_string(),
            "totalBytesBilled": billed.to_string(),
            "totalSlotMs": script.slot_ms.to_string(),
            "cacheHit": script.cache_hit,
            "statementType": "SELECT",
        });
    }
    json!({
        "kind": "bigquery#job",
        "id": format!("{}:{}.{}", job.project, job.location, job.id),
        "jobReference": { "projectId": job.project, "jobId": job.id, "location": job.location },
        "configuration": job.body["configuration"],
        "statistics": statistics,
        "status": status,
    })
}

const RESULT_PARAMS: &[&str] =
    &["startIndex", "pageToken", "maxResults", "timeoutMs", "location", "formatOptions.useInt64Timestamp"];

fn results(state: &mut State, project: &str, id: &str, request: &Request) -> Answer {
    reference::query_params(&request.query, RESULT_PARAMS).map_err(refused)?;
    let job = find(state, project, id, request)?;
    let reference = json!({ "projectId": job.project, "jobId": job.id, "location": job.location });
    let going_on = job.polls > 0 || job.script.endless && !job.cancelled;
    if going_on {
        job.polls = job.polls.saturating_sub(1);
        return Ok(
            json!({ "kind": "bigquery#getQueryResultsResponse", "jobReference": reference, "jobComplete": false }),
        );
    }
    if let Some((reason, message)) = &job.failure {
        return Err((status_of(reason), reason.clone(), message.clone()));
    }
    let script = &job.script;
    let start = match request.param("pageToken") {
        None => 0,
        Some(token) => page_of(token, id).ok_or_else(|| (400, "invalid".into(), "Invalid page token".into()))?,
    };
    let asked = request.param("maxResults").and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
    let end = script.rows.len().min(start + script.page_rows.min(asked));
    let int64 = request.param("formatOptions.useInt64Timestamp") == Some("true");
    let rows: Vec<Value> = script.rows[start..end].iter().map(|cells| row(cells, &script.schema, int64)).collect();
    let mut told = json!({ "kind": "bigquery#getQueryResultsResponse", "etag": "e" });
    if script.rows_first && !rows.is_empty() {
        told["rows"] = rows.clone().into();
    }
    told["schema"] = json!({ "fields": script.schema });
    told["jobReference"] = reference;
    told["totalRows"] = script.rows.len().to_string().into();
    if end < script.rows.len() {
        told["pageToken"] = token(id, end).into();
    }
    if !script.rows_first && !rows.is_empty() {
        told["rows"] = rows.into();
    }
    told["totalBytesProcessed"] = script.bytes.to_string().into();
    told["jobComplete"] = true.into();
    if !script.warnings.is_empty() {
        let proto = |(reason, message): &(String, String)| json!({ "reason": reason, "message": message });
        told["errors"] = script.warnings.iter().map(proto).collect();
    }
    told["cacheHit"] = script.cache_hit.into();
    Ok(told)
}

fn token(id: &str, start: usize) -> String {
    base64::engine::general_purpose::STANDARD.encode(format!("{id}/{start}"))
}

fn page_of(token: &str, id: &str) -> Option<usize> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(token).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    text.strip_prefix(id)?.strip_prefix('/')?.parse().ok()
}

/// A row on the wire. Without `useInt64Timestamp` a TIMESTAMP is seconds in exponent form, whose last digits are lost.
fn row(cells: &[Value], schema: &Value, int64: bool) -> Value {
    let fields = schema.as_array().map(Vec::as_slice).unwrap_or_default();
    let cell = |(value, field): (&Value, &Value)| {
        let seconds =
            value.as_str().filter(|_| !int64 && field["type"] == "TIMESTAMP").and_then(|t| t.parse::<f64>().ok());
        json!({ "v": seconds.map_or_else(|| value.clone(), |micros| format!("{:E}", micros / 1e6).into()) })
    };
    json!({ "f": cells.iter().zip(fields).map(cell).collect::<Vec<_>>() })
}
