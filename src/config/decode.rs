//! Checked trees to the [`super::model`]: the specs in `grammar.rs` have held, so what is missing here was a finding already.

use super::forms::{self, Unfilled};
use super::model::*;
use super::node::{Node, NodeValue};
use super::tables::named_type;
use crate::diagnostics::{Diagnostic, Spanned, nearest};
use crate::model::schedule::Schedule;
use crate::model::{Type, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Reads `${NAME}`s of the environment, where the grammar says that a value may hold them.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The entries of a map; none where it is no map.
pub fn entries(node: &Node) -> &[(Spanned<String>, Node)] {
    match &node.value {
        NodeValue::Map(entries) => entries,
        _ => &[],
    }
}

/// The items of a list; none where it is no list.
pub fn items(node: Option<&Node>) -> &[Node] {
    match node.map(|n| &n.value) {
        Some(NodeValue::Seq(items)) => items,
        _ => &[],
    }
}

fn text(node: &Node, key: &str) -> Option<String> {
    node.get(key).and_then(Node::as_str).map(str::to_owned)
}

fn spanned(node: &Node, key: &str) -> Option<Spanned<String>> {
    let value = node.get(key)?;
    Some(Spanned { value: value.as_str()?.to_owned(), span: value.span })
}

fn texts(node: Option<&Node>) -> Vec<String> {
    items(node).iter().filter_map(|n| n.as_str().map(str::to_owned)).collect()
}

/// A scalar as a parameter's value.
pub fn value(node: &Node) -> Value {
    match &node.value {
        NodeValue::Null | NodeValue::Map(_) => Value::Null,
        NodeValue::Bool(v) => Value::Bool(*v),
        NodeValue::Int(v) => Value::Int64(*v),
        NodeValue::Float(v) => Value::Float64(*v),
        NodeValue::Str { text, .. } => Value::Text(text.clone()),
        NodeValue::Seq(nodes) => Value::Array(nodes.iter().map(value).collect()),
    }
}

/// A declared type: `date`, `array<string>`.
pub fn declared_type(text: &str) -> Option<Type> {
    let text = text.trim();
    let lower = text.to_ascii_lowercase();
    if let Some(inner) = lower.strip_prefix("array<").and_then(|t| t.strip_suffix('>')) {
        return Some(Type::Array(Box::new(named_type(inner)?)));
    }
    named_type(text)
}

/// `phase6_publishing.yaml` into the project.
pub fn publishing(node: &Node, env: Env<'_>, project: &mut Project, findings: &mut Vec<Diagnostic>) {
    if let Some(version) = node.get("version")
        && version.value != NodeValue::Int(1)
    {
        findings.push(
            Diagnostic::error("unknown-version", "this version of the format is not known", version.span)
                .help("write `version: 1`"),
        );
    }
    if let Some(calendar) = node.get("calendar") {
        project.calendar = Calendar {
            timezone: text(calendar, "timezone").unwrap_or_else(|| "Etc/UTC".into()),
            day_starts_at_minutes: text(calendar, "day_starts_at").and_then(|t| forms::clock(&t).ok()).unwrap_or(0),
        };
    }
    for (name, node) in node.get("vars").map(entries).unwrap_or_default() {
        project.vars.insert(name.value.clone(), value(node));
    }
    if let Some(forbid) = node.get("forbid") {
        project.forbid = Forbid { keys: texts(forbid.get("keys")), values: texts(forbid.get("values")) };
    }
    project.retired_paths = texts(node.get("retired_paths"));
    for (name, topic) in node.get("topics").map(entries).unwrap_or_default() {
        project.topics.insert(name.value.clone(), topic.as_str().unwrap_or_default().to_owned());
    }
    for (name, node) in node.get("targets").map(entries).unwrap_or_default() {
        if let Some(target) = target(name, node, env, findings) {
            project.targets.push(target);
        }
    }
    for node in items(node.get("scheduler").and_then(|s| s.get("jobs"))) {
        project.jobs.extend(job(node));
    }
    project.triggers = items(node.get("triggers")).to_vec();
    for node in items(node.get("alerts")) {
        findings.extend(super::lint::monitoring::receivers(node));
        project.alerts.extend(super::monitoring::alert(node));
    }
    if let Some(node) = node.get("service") {
        project.service = service(node, findings);
    }
}

/// Where a declared door is when it does not say.
const DEFAULT_LISTEN: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

fn service(node: &Node, findings: &mut Vec<Diagnostic>) -> Service {
    let absent = Service::default();
    Service {
        listen: text(node, "listen").map_or(Some(DEFAULT_LISTEN), |t| forms::address(&t).ok()),
        push: node.get("push").and_then(|push| self::push(push, findings)),
        grace: text(node, "grace").and_then(|t| forms::duration(&t).ok()).unwrap_or(absent.grace),
    }
}

fn push(node: &Node, findings: &mut Vec<Diagnostic>) -> Option<Spanned<Push>> {
    let keys_url = text(node, "keys_url").unwrap_or_else(|| "https://www.googleapis.com/oauth2/v3/certs".into());
    let local = ["http://127.0.0.1:", "http://[::1]:", "http://localhost:"];
    if !keys_url.starts_with("https://") && !local.iter().any(|prefix| keys_url.starts_with(prefix)) {
        let message = format!("`{keys_url}` would fetch the keys without TLS");
        findings.push(Diagnostic::error("bad-value", message, node.span).help("write an https:// address"));
    }
    let push = Push {
        audience: text(node, "audience")?,
        service_accounts: texts(node.get("service_accounts")),
        issuer: text(node, "issuer").unwrap_or_else(|| "https://accounts.google.com".into()),
        keys_url,
    };
    if push.service_accounts.is_empty() {
        let message = "no service account may push: `service_accounts` is empty";
        findings.push(Diagnostic::error("bad-value", message, node.span).help("name the push subscription's account"));
    }
    Some(Spanned { value: push, span: node.span })
}

fn target(name: &Spanned<String>, node: &Node, env: Env<'_>, findings: &mut Vec<Diagnostic>) -> Option<Target> {
    findings.extend(node.get("warehouse").and_then(unlocated));
    let mut field = |part: &Node, key: &str| -> Option<String> {
        match part.get(key) {
            Some(node) => expanded(node, env, findings),
            None => {
                findings.push(
                    Diagnostic::error(
                        "missing-key",
                        format!("this `{}` lacks the key `{key}`", text(part, "type")?),
                        part.span,
                    )
                    .help("the type of a target's part decides which keys it has"),
                );
                None
            }
        }
    };
    let warehouse = node.get("warehouse")?;
    let store = node.get("store")?;
    let state = node.get("state")?;
    let warehouse = match text(warehouse, "type")?.as_str() {
        "duckdb" => WarehouseTarget::DuckDb { data: PathBuf::from(field(warehouse, "data")?) },
        _ => WarehouseTarget::BigQuery {
            project: field(warehouse, "project")?,
            location: text(warehouse, "location"),
            max_bytes_billed: size(warehouse, "max_bytes_billed").unwrap_or(DEFAULT_MAX_BYTES_BILLED),
            price_per_tib: number(warehouse.get("price_per_tib")).unwrap_or(DEFAULT_PRICE_PER_TIB),
        },
    };
    let prefix = text(store, "prefix").unwrap_or_default();
    let store = match text(store, "type")?.as_str() {
        "directory" => StoreTarget::Directory { path: PathBuf::from(field(store, "path")?), prefix },
        _ => StoreTarget::Gcs { bucket: field(store, "bucket")?, prefix, public: !is(store, "public", false) },
    };
    let state = match text(state, "type")?.as_str() {
        "directory" => StateTarget::Directory { path: PathBuf::from(field(state, "path")?) },
        _ => StateTarget::Gcs { bucket: field(state, "bucket")? },
    };
    let bus = match node.get("bus") {
        None => BusTarget::Embedded { path: Path::new(DEFAULT_BUS).join(&name.value) },
        Some(bus) if text(bus, "type")? == "embedded" => {
            BusTarget::Embedded { path: PathBuf::from(field(bus, "path")?) }
        }
        Some(bus) => BusTarget::PubSub { project: field(bus, "project")? },
    };
    Some(Target { name: name.clone(), warehouse, store, state, bus, compute: compute(node.get("compute")) })
}

/// When a Cloud Run job starts whose target does not say.
const DEFAULT_START: &str = "*/15 * * * *";

fn compute(node: Option<&Node>) -> Compute {
    let of = |key: &str| node.and_then(|node| text(node, key));
    let kind = match of("type").as_deref() {
        Some("cloud_run_job") => Schedule::parse(of("schedule").as_deref().unwrap_or(DEFAULT_START))
            .map_or(ComputeKind::Service, |schedule| ComputeKind::Job { schedule }),
        _ => ComputeKind::Service,
    };
    let secrets = node.and_then(|node| node.get("secrets")).map_or(&[][..], entries).iter();
    let secrets = secrets.filter_map(|(name, secret)| Some((name.value.clone(), secret.as_str()?.to_owned())));
    let otherwise = Compute::default();
    Compute {
        kind,
        cpu: of("cpu").unwrap_or(otherwise.cpu),
        memory: of("memory").unwrap_or(otherwise.memory),
        secrets: secrets.collect(),
        region: of("region"),
        notify: texts(node.and_then(|node| node.get("notify"))),
    }
}

/// Whether a key says just this.
fn is(node: &Node, key: &str, wanted: bool) -> bool {
    node.get(key).is_some_and(|value| value.value == NodeValue::Bool(wanted))
}

/// Warns of a BigQuery without a location: then BigQuery chooses where a job runs by the tables that it reads, and tells so in the
/// answer to its insert. When that is lost the job is found by its id only in the US and the EU ("Specify locations" in
/// <https://cloud.google.com/bigquery/docs/locations>).
fn unlocated(warehouse: &Node) -> Option<Diagnostic> {
    let unlocated = text(warehouse, "type")? == "bigquery" && warehouse.get("location").is_none();
    unlocated.then(|| {
        let message = "without `location` a job whose first answer is lost is found again only in the US and the EU";
        Diagnostic::warning("no-location", message, warehouse.span)
            .help("name where its datasets are, such as `us-west2`")
    })
}

/// The folder of the embedded buses of targets that name none.
const DEFAULT_BUS: &str = ".phase6/bus";

/// What a BigQuery job may read when nothing is said, in bytes.
const DEFAULT_MAX_BYTES_BILLED: u64 = 20_000_000_000;

/// US dollars for 1 TiB read on demand in the US multi-region (https://cloud.google.com/bigquery/pricing, "On-demand compute
/// pricing", since July 2023). Single regions may cost more: a target says so with `price_per_tib`.
const DEFAULT_PRICE_PER_TIB: f64 = 6.25;

/// A size in bytes (`20GB`), which the grammar has checked.
fn size(node: &Node, key: &str) -> Option<u64> {
    forms::size(&text(node, key)?).ok()
}

fn number(node: Option<&Node>) -> Option<f64> {
    match &node?.value {
        NodeValue::Int(v) => Some(*v as f64),
        NodeValue::Float(v) => Some(*v),
        _ => None,
    }
}

/// A text with its `${NAME}`s filled in. The finding names the variable, never its value.
fn expanded(node: &Node, env: Env<'_>, findings: &mut Vec<Diagnostic>) -> Option<String> {
    let finding = match forms::filled(node.as_str()?, env) {
        Ok(text) => return Some(text),
        Err(wrong) => {
            let (code, help) = match &wrong {
                Unfilled::Open => ("bad-value", "write `${NAME}`".to_owned()),
                Unfilled::Missing(name) => ("missing-environment", format!("set {name} before starting phase6")),
            };
            Diagnostic::error(code, wrong.to_string(), node.span).help(help)
        }
    };
    findings.push(finding);
    None
}

fn job(node: &Node) -> Option<Job> {
    let schedule = spanned(node, "schedule")?;
    let time = |key: &str| text(node, key).and_then(|t| forms::duration(&t).ok());
    Some(Job {
        name: spanned(node, "name")?,
        schedule: Spanned { value: Schedule::parse(&schedule.value).ok()?, span: schedule.span },
        timezone: text(node, "timezone").unwrap_or_else(|| "Etc/UTC".into()),
        export_types: items(node.get("export_types"))
            .iter()
            .filter_map(|n| Some(Spanned { value: n.as_str()?.to_owned(), span: n.span }))
            .collect(),
        target_date: spanned(node, "target_date"),
        players: is(node, "players", true),
        min_games: match node.get("min_games").map(|n| &n.value) {
            Some(NodeValue::Int(v)) => Some(*v),
            _ => None,
        },
        update_latest: match node.get("update_latest").map(|n| &n.value) {
            Some(NodeValue::Bool(v)) => Some(*v),
            _ => None,
        },
        backup_of: spanned(node, "backup_of"),
        catch_up: match text(node, "catch_up").as_deref() {
            Some("each_date") => CatchUp::EachDate,
            Some("none") => CatchUp::None,
            _ => CatchUp::Latest,
        },
        max_age: time("max_age"),
        overlap: match text(node, "overlap").as_deref() {
            Some("skip") => Overlap::Skip,
            _ => Overlap::Queue,
        },
        jitter: time("jitter"),
    })
}

/// A file of SQL that was read: its text and where it stands.
pub type ReadSql<'a> =
    &'a mut dyn FnMut(&Spanned<String>, &mut Vec<Diagnostic>) -> Option<(String, crate::diagnostics::Span)>;

/// `exports/<name>.yaml`.
pub fn export(node: &Node, file: &Path, sql: ReadSql<'_>, findings: &mut Vec<Diagnostic>) -> Option<Export> {
    let name = spanned(node, "export")?;
    if file.file_stem().is_some_and(|stem| *stem != *name.value) {
        findings.push(
            Diagnostic::error(
                "export-name",
                format!("the export is called `{}`, its file is not", name.value),
                name.span,
            )
            .help(format!("rename the file to {}.yaml", name.value)),
        );
    }
    let params = node.get("params").map(entries).unwrap_or_default();
    let params = params.iter().filter_map(|(name, node)| param(name, node, findings)).collect();
    let mut queries: Vec<Query> = Vec::new();
    if node.get("sql").is_some() || node.get("sql_file").is_some() {
        let rows = Spanned { value: "rows".to_owned(), span: node.get("sql").or(node.get("sql_file"))?.span };
        queries.extend(query(&rows, node, sql, findings));
    }
    for (name, node) in node.get("queries").map(entries).unwrap_or_default() {
        queries.extend(query(name, node, sql, findings));
    }
    let mut documents: Vec<DocumentDecl> = Vec::new();
    if node.get("shape").is_some() {
        documents.extend(document(name.value.clone(), node, findings));
    }
    for part in items(node.get("documents")) {
        documents.extend(document(text(part, "name").unwrap_or_default(), part, findings));
    }
    if documents.is_empty() {
        findings.push(
            Diagnostic::error("missing-key", "this export makes no document", name.span)
                .help("write `shape`, `files` and `schema`, or a list of `documents`"),
        );
    }
    Some(Export {
        description: text(node, "description").unwrap_or_default(),
        selected_by: text(node, "selected_by"),
        file: file.to_owned(),
        config_hash: String::new(),
        params,
        queries,
        documents,
        on_empty: on_empty(node.get("on_empty")),
        timeout: text(node, "timeout").and_then(|t| forms::duration(&t).ok()),
        max_bytes_billed: size(node, "max_bytes_billed"),
        freshness: node.get("freshness").map(super::monitoring::freshness),
        ready: items(node.get("ready")).iter().filter_map(ready).collect(),
        tests: items(node.get("tests")).to_vec(),
        name,
    })
}

fn ready(node: &Node) -> Option<ReadyDecl> {
    let duration = |key: &str| text(node, key).and_then(|t| forms::duration(&t).ok());
    let written = |key: &str| Some(Spanned { value: duration(key)?, span: node.get(key)?.span });
    Some(ReadyDecl {
        query: spanned(node, "query"),
        condition: node.get("if")?.clone(),
        otherwise: text(node, "else")?,
        retry_every: written("retry_every"),
        give_up_after: duration("give_up_after"),
    })
}

fn param(name: &Spanned<String>, node: &Node, findings: &mut Vec<Diagnostic>) -> Option<ParamDecl> {
    let type_node = if node.as_str().is_some() { node } else { node.get("type")? };
    let written = type_node.as_str()?;
    let Some(ty) = declared_type(written) else {
        const KNOWN: [&str; 7] = ["bool", "int64", "float64", "numeric", "string", "date", "timestamp"];
        let found =
            Diagnostic::error("unknown-type", format!("there is no parameter type `{written}`"), type_node.span);
        findings.push(match nearest(written, KNOWN) {
            Some(near) => found.help(format!("did you mean `{near}`?")),
            None => found.help(format!("one of {}, array<…>", KNOWN.join(", "))),
        });
        return None;
    };
    Some(ParamDecl { name: name.clone(), ty, default: node.get("default").map(value) })
}

fn query(name: &Spanned<String>, node: &Node, sql: ReadSql<'_>, findings: &mut Vec<Diagnostic>) -> Option<Query> {
    let (text, span, sql_file) = match (node.get("sql"), spanned(node, "sql_file")) {
        (Some(inline), None) => (inline.as_str()?.to_owned(), inline.span, None),
        (None, Some(path)) => {
            let (text, span) = sql(&path, findings)?;
            (text, span, Some(path.value))
        }
        _ => {
            findings.push(
                Diagnostic::error(
                    "missing-key",
                    format!("the query `{}` needs `sql` or `sql_file`", name.value),
                    name.span,
                )
                .help("exactly one of them"),
            );
            return None;
        }
    };
    let optional = is(node, "optional", true);
    if optional && node.get("default").is_none() {
        findings.push(
            Diagnostic::error(
                "missing-key",
                format!("the optional query `{}` lacks its `default`", name.value),
                name.span,
            )
            .help("write the rows that replace a failure, such as `default: []`"),
        );
    }
    Some(Query {
        name: name.clone(),
        sql: text,
        sql_span: span,
        sql_file,
        optional,
        default: node.get("default").cloned(),
        max_bytes_billed: size(node, "max_bytes_billed"),
        columns: None,
        tables: Vec::new(),
    })
}

fn document(name: String, node: &Node, findings: &mut Vec<Diagnostic>) -> Option<DocumentDecl> {
    let shape = node.get("shape")?.clone();
    let each = node.get("each").and_then(|each| {
        let text = each.as_str()?;
        let parts: Vec<&str> = text.split_whitespace().collect();
        match parts.as_slice() {
            [query, "by", column] => {
                let part = |value: &str| Spanned { value: value.to_owned(), span: each.span };
                Some(Each { query: part(query), by: part(column) })
            }
            _ => {
                findings.push(
                    Diagnostic::error("bad-value", format!("`{text}` is no fan-out"), each.span)
                        .help("write `each: QUERY by COLUMN`"),
                );
                None
            }
        }
    });
    let files: Vec<FileDecl> = items(node.get("files")).iter().filter_map(file_decl).collect();
    if files.is_empty() {
        findings.push(
            Diagnostic::error("missing-key", format!("the document `{name}` goes nowhere"), node.get("shape")?.span)
                .help("write `files: [{path: …}]`"),
        );
    }
    let budget = number(node.get("failure_budget_pct")).unwrap_or(0.0);
    Some(DocumentDecl {
        name,
        each,
        index_of: spanned(node, "index_of"),
        shape,
        empty: node.get("empty").cloned(),
        files,
        schema: spanned(node, "schema"),
        guards: items(node.get("guards")).to_vec(),
        failure_budget_pct: budget,
        delete_vanished: delete_vanished(node, findings),
    })
}

/// `vanished: delete`, which only a fan-out can say.
fn delete_vanished(node: &Node, findings: &mut Vec<Diagnostic>) -> bool {
    let Some(vanished) = node.get("vanished") else { return false };
    if node.get("each").is_none() {
        findings.push(
            Diagnostic::error("bad-value", "`vanished` speaks of the keys of a fan-out", vanished.span)
                .help("write `each: QUERY by COLUMN`, or leave it out"),
        );
    }
    vanished.as_str() == Some("delete")
}

fn file_decl(node: &Node) -> Option<FileDecl> {
    Some(FileDecl {
        path: spanned(node, "path")?,
        cache_control: cache_control(node.get("cache_control")),
        aliases: items(node.get("aliases"))
            .iter()
            .filter_map(|alias| {
                Some(AliasDecl {
                    path: spanned(alias, "path")?,
                    cache_control: cache_control(alias.get("cache_control")),
                    write_when_empty: text(alias, "when_empty").is_some_and(|t| t == "write"),
                })
            })
            .collect(),
        once: text(node, "write").is_some_and(|t| t == "once"),
        gzip: is(node, "gzip", true),
    })
}

/// What a public object says when nothing is declared; without a header Cloud Storage would let it be cached for an hour.
const DEFAULT_CACHE_CONTROL: &str = "public, max-age=300";

fn cache_control(node: Option<&Node>) -> CacheControl {
    match node {
        Some(node) if node.get("final").is_some() => CacheControl::ByState {
            when: node.get("when").cloned(),
            last: text(node, "final").unwrap_or_default(),
            otherwise: text(node, "else").unwrap_or_default(),
        },
        Some(node) => CacheControl::Fixed(node.as_str().unwrap_or(DEFAULT_CACHE_CONTROL).to_owned()),
        None => CacheControl::Fixed(DEFAULT_CACHE_CONTROL.to_owned()),
    }
}

fn on_empty(node: Option<&Node>) -> OnEmpty {
    let word = match node {
        Some(node) if node.as_str().is_some() => node.as_str().map(str::to_owned),
        Some(node) => text(node, "do"),
        None => None,
    };
    let action = match word.as_deref() {
        Some("write") => OnEmptyDo::Write,
        Some("fail") => OnEmptyDo::Fail,
        _ => OnEmptyDo::Keep,
    };
    OnEmpty { when: node.and_then(|n| n.get("when")).cloned(), action }
}

/// The calendar when nothing is declared.
pub fn default_calendar() -> Calendar {
    Calendar { timezone: "Etc/UTC".into(), day_starts_at_minutes: 0 }
}

/// An empty project at a root.
pub fn empty_project(root: &Path) -> Project {
    Project {
        root: root.to_owned(),
        calendar: default_calendar(),
        vars: BTreeMap::new(),
        targets: Vec::new(),
        forbid: Forbid::default(),
        retired_paths: Vec::new(),
        topics: BTreeMap::new(),
        triggers: Vec::new(),
        alerts: Vec::new(),
        jobs: Vec::new(),
        service: Service::default(),
        exports: Vec::new(),
        tables: BTreeMap::new(),
    }
}
