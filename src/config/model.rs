//! What analysts and operators wrote, checked: inside, types cannot be wrong.

use super::monitoring::{Alert, Freshness};
use super::node::Node;
use crate::diagnostics::{Span, Spanned};
use crate::model::dates::DayRule;
use crate::model::schedule::Schedule;
use crate::model::{Field, Type, Value};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The whole project.
#[derive(Debug, Clone)]
pub struct Project {
    /// The folder that holds `phase6_publishing.yaml`.
    pub root: PathBuf,
    pub calendar: Calendar,
    /// Constants that SQL and shapes read as `vars.name`.
    pub vars: BTreeMap<String, Value>,
    /// In the order written; the first is the default.
    pub targets: Vec<Target>,
    /// Keys and values that no document may hold (I-, P-8), checked in every document.
    pub forbid: Forbid,
    /// Path patterns that were published once and are given up on purpose.
    pub retired_paths: Vec<String>,
    pub topics: BTreeMap<String, String>,
    /// As written, checked for their keys; the service compiles them.
    pub triggers: Vec<Node>,
    pub alerts: Vec<Alert>,
    pub jobs: Vec<Job>,
    pub service: Service,
    /// By name.
    pub exports: Vec<Export>,
    /// Declared tables, by `dataset.table` in lower case.
    pub tables: BTreeMap<String, Table>,
}

/// The HTTP door of `phase6 serve`.
#[derive(Debug, Clone)]
pub struct Service {
    /// Where the door is, where one is declared.
    pub listen: Option<SocketAddr>,
    /// Who may push events; `None` leaves them to the token.
    pub push: Option<Spanned<Push>>,
    /// How long a stopping service finishes what it is at.
    pub grace: Duration,
}

impl Default for Service {
    fn default() -> Self {
        Self { listen: None, push: None, grace: Duration::from_secs(25) }
    }
}

/// Whose OIDC tokens the events door takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    pub audience: String,
    pub service_accounts: Vec<String>,
    pub issuer: String,
    pub keys_url: String,
}

/// When a day begins, for `today`, `yesterday` and friends.
#[derive(Debug, Clone)]
pub struct Calendar {
    pub timezone: String,
    /// Minutes after midnight, civil time.
    pub day_starts_at_minutes: u32,
}

impl Calendar {
    /// The rule for days. The zone was checked with the project; `Err` names the key all the same.
    pub fn day_rule(&self) -> Result<DayRule, String> {
        let zone = jiff::tz::TimeZone::get(&self.timezone).map_err(|e| format!("calendar.timezone: {e}"))?;
        Ok(DayRule { zone, starts_at_minutes: self.day_starts_at_minutes })
    }
}

/// Where things are.
#[derive(Debug, Clone)]
pub struct Target {
    pub name: Spanned<String>,
    pub warehouse: WarehouseTarget,
    pub store: StoreTarget,
    pub state: StateTarget,
    pub bus: BusTarget,
    pub compute: Compute,
}

/// What `phase6 deploy` lets a target run on.
#[derive(Debug, Clone)]
pub struct Compute {
    pub kind: ComputeKind,
    /// As Cloud Run writes them: `1`, `1Gi`.
    pub cpu: String,
    pub memory: String,
    /// Environment variables, and the secrets of Secret Manager that they hold.
    pub secrets: BTreeMap<String, String>,
    pub region: Option<String>,
    /// Full names of notification channels.
    pub notify: Vec<String>,
}

impl Default for Compute {
    fn default() -> Self {
        Self {
            kind: ComputeKind::Service,
            cpu: "1".to_owned(),
            memory: "1Gi".to_owned(),
            secrets: BTreeMap::new(),
            region: None,
            notify: Vec::new(),
        }
    }
}

#[derive(Debug, Clone)]
pub enum ComputeKind {
    /// It runs always.
    Service,
    /// It starts by the clock (in UTC), works off what waits, and ends.
    Job { schedule: Schedule },
}

#[derive(Debug, Clone)]
pub enum WarehouseTarget {
    /// A folder `<dataset>/<table>.parquet|csv|jsonl|json`, read by the embedded engine.
    DuckDb { data: PathBuf },
    BigQuery {
        project: String,
        location: Option<String>,
        /// What a job may be billed at the most, in bytes.
        max_bytes_billed: u64,
        /// US dollars for 1 TiB read.
        price_per_tib: f64,
    },
}

#[derive(Debug, Clone)]
pub enum StoreTarget {
    Directory { path: PathBuf, prefix: String },
    Gcs { bucket: String, prefix: String, public: bool },
}

#[derive(Debug, Clone)]
pub enum StateTarget {
    Directory { path: PathBuf },
    Gcs { bucket: String },
}

#[derive(Debug, Clone)]
pub enum BusTarget {
    /// A folder, `.phase6/bus/<target>` where the target says nothing: two targets never share their messages by accident.
    Embedded {
        path: PathBuf,
    },
    PubSub {
        project: String,
    },
}

#[derive(Debug, Clone, Default)]
pub struct Forbid {
    pub keys: Vec<String>,
    pub values: Vec<String>,
}

/// A job of the `scheduler:` block.
#[derive(Debug, Clone)]
pub struct Job {
    pub name: Spanned<String>,
    pub schedule: Spanned<Schedule>,
    pub timezone: String,
    pub export_types: Vec<Spanned<String>>,
    /// A date word (`yesterday`) or an ISO date.
    pub target_date: Option<Spanned<String>>,
    pub players: bool,
    pub min_games: Option<i64>,
    /// What the message says about undated objects; it says nothing if absent.
    pub update_latest: Option<bool>,
    /// The trigger whose run this job makes if it did not come.
    pub backup_of: Option<Spanned<String>>,
    pub catch_up: CatchUp,
    /// How old a slot may be to be run late.
    pub max_age: Option<Duration>,
    pub overlap: Overlap,
    /// The most by which a slot is delayed; how much it is comes from the job's name.
    pub jitter: Option<Duration>,
}

/// What happens to slots that passed while nobody ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CatchUp {
    /// The newest runs, the older ones are missed.
    #[default]
    Latest,
    /// The newest of each target date runs.
    EachDate,
    /// None runs.
    None,
}

/// What happens at a slot while the last one's run is still going.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Overlap {
    /// Its message waits for its turn.
    #[default]
    Queue,
    /// The slot is skipped.
    Skip,
}

/// An upstream event that becomes a request.
#[derive(Debug, Clone)]
pub struct TriggerDecl {
    pub name: Spanned<String>,
    /// A key of `topics`.
    pub topic: Spanned<String>,
    /// Path of the upstream message's JSON Schema below the project's root.
    pub schema: Option<Spanned<String>>,
    pub dedupe_by: Option<Node>,
    /// Conditions, each with the reason when it does not hold.
    pub when: Vec<(Node, String)>,
    /// A key of `topics`.
    pub publish_topic: Spanned<String>,
    /// The published message's shape.
    pub message: Node,
}

/// A declared table.
#[derive(Debug, Clone)]
pub struct Table {
    /// `dataset.table`, as declared.
    pub name: String,
    pub fields: Vec<Field>,
    /// The column that the table is partitioned by.
    pub partition_by: Option<String>,
    pub span: Option<Span>,
}

/// One export type.
#[derive(Debug, Clone)]
pub struct Export {
    pub name: Spanned<String>,
    pub description: String,
    /// The message field and option that select this export without naming it.
    pub selected_by: Option<String>,
    /// The file's path below the project's root.
    pub file: PathBuf,
    /// Hex SHA-256 over the export's file, its SQL files and what they include, and its contracts (`hash`).
    pub config_hash: String,
    pub params: Vec<ParamDecl>,
    pub queries: Vec<Query>,
    pub documents: Vec<DocumentDecl>,
    pub on_empty: OnEmpty,
    pub timeout: Option<Duration>,
    /// What its queries together may be billed at the most, in bytes.
    pub max_bytes_billed: Option<u64>,
    pub freshness: Option<Freshness>,
    pub ready: Vec<ReadyDecl>,
    pub tests: Vec<Node>,
}

/// A declared parameter: `target_date: date`, or `min_games: {type: int64, default: 5}`.
#[derive(Debug, Clone)]
pub struct ParamDecl {
    pub name: Spanned<String>,
    pub ty: Type,
    pub default: Option<Value>,
}

/// A condition for running: `{query, if, else, retry_every, give_up_after}`.
#[derive(Debug, Clone)]
pub struct ReadyDecl {
    /// The query whose first row the condition sees; none where it looks at the request alone.
    pub query: Option<Spanned<String>>,
    pub condition: Node,
    /// What is said when it does not hold.
    pub otherwise: String,
    pub retry_every: Option<Spanned<Duration>>,
    pub give_up_after: Option<Duration>,
}

/// The pause before a condition is asked again, where it does not say.
pub const RETRY_EVERY: Duration = Duration::from_secs(5 * 60);

/// How long a condition is asked again, from the first time on, where it does not say.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(2 * 3600);

/// How often a condition is asked again at most. Each time is a delivery of the request's message, of which a bus makes 100: the
/// rest is for crashes, turns and trouble.
pub const MOST_ASKED: u32 = 80;

/// The shortest pause before a condition is asked again that is given up after so long.
pub fn shortest_pause(give_up_after: Duration) -> Duration {
    give_up_after / MOST_ASKED
}

/// One named query.
#[derive(Debug, Clone)]
pub struct Query {
    pub name: Spanned<String>,
    /// The template's text.
    pub sql: String,
    /// Where the text stands: the YAML scalar, or the whole `.sql` file.
    pub sql_span: Span,
    /// Path of the `.sql` file below `exports/`, where `sql_file:` was used.
    pub sql_file: Option<String>,
    /// A failure is replaced by the default rows (`default:` is always a list of rows; `[]` is common).
    pub optional: bool,
    pub default: Option<Node>,
    /// What it may be billed at the most, in bytes.
    pub max_bytes_billed: Option<u64>,
    /// What the query returns, as far as `check` could tell without a warehouse.
    pub columns: Option<Vec<Field>>,
    /// `dataset.table` names that it reads.
    pub tables: Vec<String>,
}

/// One kind of document of an export.
#[derive(Debug, Clone)]
pub struct DocumentDecl {
    /// `name:`, else the export's name.
    pub name: String,
    /// `each: players by player_lookup`: a document for each key of the query.
    pub each: Option<Each>,
    /// `index_of: profile`: the fan-out query's rows are those whose documents were really made.
    pub index_of: Option<Spanned<String>>,
    /// The shape, as written.
    pub shape: Node,
    /// The declared empty document.
    pub empty: Option<Node>,
    pub files: Vec<FileDecl>,
    /// Path of the JSON Schema below the project's root.
    pub schema: Option<Spanned<String>>,
    /// As written; compiled by `document::guards`.
    pub guards: Vec<Node>,
    /// Fan-out: how many documents of a hundred may fail before the export fails.
    pub failure_budget_pct: f64,
    /// Fan-out, `vanished: delete`: undated objects of keys that are no more are deleted.
    pub delete_vanished: bool,
}

#[derive(Debug, Clone)]
pub struct Each {
    pub query: Spanned<String>,
    pub by: Spanned<String>,
}

/// Where a document goes.
#[derive(Debug, Clone)]
pub struct FileDecl {
    pub path: Spanned<String>,
    pub cache_control: CacheControl,
    pub aliases: Vec<AliasDecl>,
    /// `write: once`: a frozen copy, made when absent and never replaced.
    pub once: bool,
    /// Whether it and its aliases may lie compressed, in a store that can say so to its readers.
    pub gzip: bool,
}

#[derive(Debug, Clone)]
pub struct AliasDecl {
    pub path: Spanned<String>,
    pub cache_control: CacheControl,
    /// Whether an empty document replaces it.
    pub write_when_empty: bool,
}

/// A Cache-Control header, fixed or by state.
#[derive(Debug, Clone)]
pub enum CacheControl {
    Fixed(String),
    /// `when` defaults to "the target date's day is over": `=target_date < today`.
    ByState {
        when: Option<Node>,
        last: String,
        otherwise: String,
    },
}

/// What happens when every required query returned no row.
#[derive(Debug, Clone)]
pub enum OnEmptyDo {
    /// The last good objects stay; nothing is written.
    Keep,
    /// The document is written all the same (or `empty:` where declared).
    Write,
    /// The export fails.
    Fail,
}

/// `on_empty: keep`, or `on_empty: {when: =games | length == 0, do: keep}`.
#[derive(Debug, Clone)]
pub struct OnEmpty {
    pub when: Option<Node>,
    pub action: OnEmptyDo,
}
