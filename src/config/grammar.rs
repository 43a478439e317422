//! What `phase6_publishing.yaml` and `exports/*.yaml` may hold.

use super::forms::{ADDRESS, CLOCK, DUE, DURATION, IDENTIFIER, NAME, SCHEDULE, SIZE, ZONE};
use super::monitoring::AlertKind;
use super::spec::{Field, Kind, Object};
use Kind::{Any, Bool, Either, Int, List, Map, Number, OneOf, Text};

/// An optional key.
macro_rules! opt {
    ($name:literal, $kind:expr, $doc:expr $(,)?) => {
        Field { name: $name, kind: $kind, required: false, doc: $doc }
    };
}

/// A required key.
macro_rules! req {
    ($name:literal, $kind:expr, $doc:expr $(,)?) => {
        Field { name: $name, kind: $kind, required: true, doc: $doc }
    };
}

const SCALARS: &[Kind] = &[Text, Int, Number, Bool];
const TEXTS: Kind = List(&Text);

/// `phase6_publishing.yaml`.
pub static PUBLISHING: Object = Object {
    doc: "Where things go and when: targets, calendar, variables, topics, triggers, schedules, alerts.",
    fields: &[
        req!("version", Int, "The format's version: 1"),
        opt!("calendar", Kind::Object(&CALENDAR), "When days begin, for words like `yesterday`"),
        opt!("vars", Map(&Either(SCALARS)), "Constants that SQL and shapes read as `vars.name`"),
        req!("targets", Map(&Kind::Object(&TARGET)), "Where phase6 reads and publishes; the first is the default"),
        opt!("forbid", Kind::Object(&FORBID), "Keys and values that no published document may hold"),
        opt!("retired_paths", TEXTS, "Path patterns that were published once and are given up on purpose"),
        opt!("topics", Map(&Text), "The topics by the name that this file uses for them"),
        opt!("triggers", List(&Kind::Object(&TRIGGER)), "Upstream events that become export requests"),
        opt!("scheduler", Kind::Object(&SCHEDULER), "Jobs that run by the clock"),
        opt!("alerts", List(&Kind::Object(&ALERT)), "What operators are told"),
        opt!("service", Kind::Object(&SERVICE), "The HTTP door and the status page of `phase6 serve`"),
    ],
};

static SERVICE: Object = Object {
    doc: "The HTTP door of `phase6 serve`. Its token is taken from the environment: PHASE6_TOKEN.",
    fields: &[
        opt!("listen", Kind::Form(&ADDRESS), "Where it listens; 127.0.0.1:8080 if absent"),
        opt!("push", Kind::Object(&PUSH), "Who may push events, by OIDC token; if absent, the token's owner"),
        opt!("grace", Kind::Form(&DURATION), "How long a stopping service finishes what it is at; 25s if absent"),
    ],
};

static PUSH: Object = Object {
    doc: "Who may push events.",
    fields: &[
        req!("audience", Text, "The audience that the push subscription asks tokens for"),
        req!("service_accounts", TEXTS, "The e-mail addresses that may push"),
        opt!("issuer", Text, "Who signs the tokens; https://accounts.google.com if absent"),
        opt!("keys_url", Text, "Where the issuer's keys are (a JWK set); Google's if absent"),
    ],
};

static CALENDAR: Object = Object {
    doc: "When days begin.",
    fields: &[
        req!("timezone", Kind::Form(&ZONE), "The zone of the league's days"),
        opt!("day_starts_at", Kind::Form(&CLOCK), "The time at which the next day begins; 00:00 if absent"),
    ],
};

static TARGET: Object = Object {
    doc: "One place to read from and publish to.",
    fields: &[
        req!("warehouse", Kind::Object(&WAREHOUSE), "Where the tables are"),
        req!("store", Kind::Object(&STORE), "Where the documents go"),
        req!("state", Kind::Object(&STATE), "Where runs and releases are kept; never the public store"),
        opt!("bus", Kind::Object(&BUS), "Where the messages are (default: embedded, in .phase6/bus/<target>)"),
        opt!("compute", Kind::Object(&COMPUTE), "What `phase6 deploy` lets it run on (default: a Cloud Run service)"),
    ],
};

static COMPUTE: Object = Object {
    doc: "What `phase6 deploy` lets it run on.",
    fields: &[
        req!(
            "type",
            OneOf(&["cloud_run_service", "cloud_run_job"]),
            "cloud_run_service: it always runs; cloud_run_job: it starts by the clock, works off what waits, and ends"
        ),
        opt!(
            "schedule",
            Kind::Form(&SCHEDULE),
            "cloud_run_job: when it starts, in Etc/UTC; every 15 minutes if absent"
        ),
        opt!("cpu", Text, "How many processors, as Cloud Run writes it; \"1\" if absent"),
        opt!("memory", Text, "How much memory, as Cloud Run writes it; 1Gi if absent"),
        opt!("secrets", Map(&Text), "Environment variables with the names of Secret Manager's secrets that fill them"),
        opt!("region", Text, "Where it runs, with jobs and buckets (default: the warehouse's location)"),
        opt!(
            "notify",
            TEXTS,
            "Notification channels that alert policies tell: projects/<project>/notificationChannels/<id>"
        ),
    ],
};

static WAREHOUSE: Object = Object {
    doc: "A warehouse.",
    fields: &[
        req!("type", OneOf(&["duckdb", "bigquery"]), "duckdb: a folder of files; bigquery: BigQuery"),
        opt!("data", Text, "duckdb: the folder <dataset>/<table>.parquet|csv|jsonl|json"),
        opt!("project", Text, "bigquery: the project; `${NAME}` is taken from the environment"),
        opt!("location", Text, "bigquery: where its tables are, and so its jobs run"),
        opt!(
            "max_bytes_billed",
            Kind::Form(&SIZE),
            "bigquery: what a query may be billed at the most, in bytes read; 20GB if absent"
        ),
        opt!(
            "price_per_tib",
            Number,
            "bigquery: what reading 1 TiB costs, in US dollars, where the region's price is another than 6.25"
        ),
    ],
};

static STORE: Object = Object {
    doc: "A store of documents.",
    fields: &[
        req!("type", OneOf(&["directory", "gcs"]), "directory: a folder; gcs: Google Cloud Storage"),
        opt!("path", Text, "directory: the folder"),
        opt!("bucket", Text, "gcs: the bucket; `${NAME}` is taken from the environment"),
        opt!("prefix", Text, "What stands before every path"),
        opt!("public", Bool, "gcs: whether `phase6 deploy` lets everybody read the documents; true if absent"),
    ],
};

static STATE: Object = Object {
    doc: "The store of runs and releases.",
    fields: &[
        req!("type", OneOf(&["directory", "gcs"]), "directory: a folder; gcs: a private bucket"),
        opt!("path", Text, "directory: the folder"),
        opt!("bucket", Text, "gcs: the bucket; `${NAME}` is taken from the environment"),
    ],
};

static BUS: Object = Object {
    doc: "The messages' way.",
    fields: &[
        req!("type", OneOf(&["embedded", "pubsub"]), "embedded: a folder; pubsub: Google Pub/Sub"),
        opt!("path", Text, "embedded: the folder"),
        opt!("project", Text, "pubsub: the project; `${NAME}` is taken from the environment"),
    ],
};

pub static FORBID: Object = Object {
    doc: "What no published document may hold.",
    fields: &[opt!("keys", TEXTS, "Forbidden keys"), opt!("values", TEXTS, "Texts that no value may contain")],
};

static TRIGGER: Object = Object {
    doc: "An upstream event that becomes an export request.",
    fields: &[
        req!("name", Kind::Form(&NAME), "The trigger's name"),
        req!("topic", Text, "A topic's name in `topics`"),
        opt!("schema", Text, "The JSON Schema of the upstream message"),
        opt!("dedupe_by", Text, "An expression: the same value twice is one request"),
        opt!("when", List(&Kind::Object(&WHEN)), "Conditions, with the reason for not going on"),
        req!("publish", Kind::Object(&PUBLISH), "The message that is published"),
    ],
};

static WHEN: Object = Object {
    doc: "A condition and what is said when it does not hold.",
    fields: &[req!("if", Text, "An expression over `message`"), req!("else", Text, "The reason when it does not hold")],
};

static PUBLISH: Object = Object {
    doc: "A message.",
    fields: &[
        req!("topic", Text, "A topic's name in `topics`"),
        req!("message", Any, "The message, in the shape language"),
    ],
};

static SCHEDULER: Object =
    Object { doc: "Jobs that run by the clock.", fields: &[req!("jobs", List(&Kind::Object(&JOB)), "The jobs")] };

static JOB: Object = Object {
    doc: "A job.",
    fields: &[
        req!("name", Kind::Form(&NAME), "The job's name"),
        req!("schedule", Kind::Form(&SCHEDULE), "Five fields of unix-cron, quoted"),
        opt!("timezone", Kind::Form(&ZONE), "The schedule's zone; Etc/UTC if absent"),
        opt!("export_types", TEXTS, "The exports to run"),
        opt!("target_date", Text, "today, yesterday, tomorrow, today-7d, or a date"),
        opt!("players", Bool, "Runs the exports that declare `selected_by: players`"),
        opt!("min_games", Int, "The parameter min_games"),
        opt!("update_latest", Bool, "Whether `latest` and other undated objects take part; true if absent"),
        opt!("backup_of", Text, "The trigger whose run this job makes if it did not come"),
        opt!(
            "catch_up",
            OneOf(&["latest", "each_date", "none"]),
            "What happens to missed slots: latest (if absent) runs the newest, each_date the newest of each target date, none none"
        ),
        opt!("max_age", Kind::Form(&DURATION), "How old a missed slot may be to be caught up"),
        opt!(
            "overlap",
            OneOf(&["queue", "skip"]),
            "What happens when the last run is still going: queue (if absent) or skip"
        ),
        opt!("jitter", Kind::Form(&DURATION), "A fixed delay that spreads jobs"),
    ],
};

static ALERT: Object = Object {
    doc: "What operators are told.",
    fields: &[
        req!("name", Kind::Form(&NAME), "The alert's name"),
        req!("when", OneOf(AlertKind::WORDS), ALERT_WHEN),
        opt!(
            "for",
            Kind::Form(&DURATION),
            "How long it has to last; of a missed run, how late it may be (15m if absent)"
        ),
        opt!("above", Int, "The number above which it fires; 0 if absent"),
        opt!("exports", TEXTS, "The exports that it looks at; all if absent"),
        req!("to", List(&Kind::Object(&RECEIVER)), "Who is told"),
    ],
};

const ALERT_WHEN: &str = "What it watches. failure: exports whose last run failed; stale: documents that break their \
    `freshness`; backlog: waiting messages, of which the oldest has waited for `for`; missed_run: a job's slot after which \
    an export of it has ended no run; dead_letter: messages that were set aside and wait for an operator";

static RECEIVER: Object = Object {
    doc: "Who is told.",
    fields: &[
        req!("type", OneOf(&["log", "webhook", "topic"]), "How"),
        opt!("url", Text, "webhook: the address; `${NAME}` is taken from the environment"),
        opt!("allow_private", Bool, "webhook: whether the address may be a private one; false if absent"),
        opt!("topic", Text, "topic: a name in `topics`"),
    ],
};

/// `exports/<name>.yaml`.
pub static EXPORT: Object =
    Object { doc: "One export type: parameters, SQL, shape, paths, guards, freshness, tests.", fields: EXPORT_FIELDS };

const EXPORT_FIELDS: &[Field] = &[
    req!("export", Kind::Form(&NAME), "The export's name: the file's name without .yaml"),
    req!("description", Text, "What the document is for"),
    opt!("selected_by", OneOf(&["players"]), "The message field and option that select this export without naming it"),
    opt!("params", Map(&Either(&[Text, Kind::Object(&PARAM)])), "The parameters by name: a type, or {type, default}"),
    opt!("timeout", Kind::Form(&DURATION), "How long it may ask and shape before it is stopped; 9m if absent"),
    opt!("max_bytes_billed", Kind::Form(&SIZE), "bigquery: what its queries together may be billed at the most"),
    opt!("ready", List(&Kind::Object(&READY)), "Conditions for running; not ready is not a failure"),
    opt!("queries", Map(&Kind::Object(&QUERY)), "The queries by name"),
    opt!("sql", Text, "The only query, called `rows`"),
    opt!("sql_file", Text, "The only query's file below exports/"),
    opt!("documents", List(&Kind::Object(&DOCUMENT)), "Several kinds of document"),
    opt!("each", Text, "Fan-out: `QUERY by COLUMN` makes a document for each key"),
    opt!("shape", Any, "The document"),
    opt!("empty", Any, "The document when there is nothing to say"),
    opt!("files", List(&Kind::Object(&FILE)), "Where the document goes"),
    opt!("schema", Text, "The document's JSON Schema"),
    opt!("guards", List(&Any), "What must hold before publishing"),
    opt!("failure_budget_pct", Number, "Fan-out: how many documents of a hundred may fail"),
    opt!("vanished", OneOf(VANISHED), "Fan-out: what becomes of objects whose keys are no more; keep if absent"),
    opt!(
        "on_empty",
        Either(&[OneOf(ON_EMPTY), Kind::Object(&ON_EMPTY_WHEN)]),
        "What happens when there is nothing to say",
    ),
    opt!("freshness", Kind::Object(&FRESHNESS), "How new the document has to be"),
    opt!("tests", List(&Kind::Object(&TEST)), "Rows in, document out"),
];

const VANISHED: &[&str] = &["keep", "delete"];

const ON_EMPTY: &[&str] = &["keep", "write", "fail"];

static ON_EMPTY_WHEN: Object = Object {
    doc: "What happens when there is nothing to say.",
    fields: &[
        opt!("when", Text, "An expression: when there is nothing to say"),
        req!("do", OneOf(ON_EMPTY), "keep the last documents, write the empty one, or fail"),
    ],
};

static PARAM: Object = Object {
    doc: "A parameter.",
    fields: &[
        req!("type", Text, "bool, int64, float64, numeric, string, date, timestamp or array<…>"),
        opt!("default", Any, "Its value when the request does not say"),
    ],
};

static READY: Object = Object {
    doc: "A condition for running, asked before everything else.",
    fields: &[
        opt!(
            "query",
            Text,
            "A query of this export, asked first; if no document reads it, it is this condition's alone"
        ),
        req!(
            "if",
            Text,
            "An expression. `ready.rows` is how many rows the query gave, `ready.COLUMN` (also `row.COLUMN`) a column of its first row; it may use parameters, `today`, `now` and `vars` too",
        ),
        req!("else", Text, "The reason when it does not hold"),
        opt!(
            "retry_every",
            Kind::Form(&DURATION),
            "How long to wait before asking again; 5m if absent, and at least an eightieth of `give_up_after`"
        ),
        opt!(
            "give_up_after",
            Kind::Form(&DURATION),
            "When waiting ends, counted from the first time it was asked; 2h if absent"
        ),
    ],
};

static QUERY: Object = Object {
    doc: "A query.",
    fields: &[
        opt!("sql", Text, "GoogleSQL with {{ values }}"),
        opt!("sql_file", Text, "A file below exports/"),
        opt!("optional", Bool, "Whether a failure is replaced by the default rows"),
        opt!("default", Any, "The rows that replace a failure: a list of maps, held against the query's columns"),
        opt!("max_bytes_billed", Kind::Form(&SIZE), "bigquery: what it may be billed at the most"),
    ],
};

static DOCUMENT: Object = Object {
    doc: "One kind of document.",
    fields: &[
        req!("name", Kind::Form(&IDENTIFIER), "The document's name"),
        opt!("each", Text, "Fan-out: `QUERY by COLUMN` makes a document for each key"),
        opt!("index_of", Text, "Sees only the rows of keys whose documents of that name were made"),
        req!("shape", Any, "The document"),
        opt!("empty", Any, "The document when there is nothing to say"),
        req!("files", List(&Kind::Object(&FILE)), "Where the document goes"),
        opt!("schema", Text, "The document's JSON Schema"),
        opt!("guards", List(&Any), "What must hold before publishing"),
        opt!("failure_budget_pct", Number, "Fan-out: how many documents of a hundred may fail"),
        opt!("vanished", OneOf(VANISHED), "Fan-out: what becomes of objects whose keys are no more; keep if absent"),
    ],
};

static FILE: Object = Object {
    doc: "A place of the document.",
    fields: &[
        req!("path", Text, "The path below the store's prefix, with {{ values }}"),
        opt!("cache_control", CACHE, "The Cache-Control header"),
        opt!("aliases", List(&Kind::Object(&ALIAS)), "Undated copies, such as latest.json"),
        opt!("gzip", Bool, "Kept compressed in a bucket, together with its aliases; a directory holds it plain"),
        opt!("write", OneOf(&["replace", "once"]), "once: made when absent and never replaced"),
    ],
};

const CACHE: Kind = Either(&[Text, Kind::Object(&CACHE_BY_STATE)]);

static CACHE_BY_STATE: Object = Object {
    doc: "A header by state.",
    fields: &[
        opt!("when", Text, "An expression: whether the document is final; its day is over if absent"),
        req!("final", Text, "The header of a final document"),
        req!("else", Text, "The header otherwise"),
    ],
};

static ALIAS: Object = Object {
    doc: "An undated copy.",
    fields: &[
        req!("path", Text, "The path below the store's prefix"),
        opt!("cache_control", CACHE, "The Cache-Control header"),
        opt!("when_empty", OneOf(&["keep", "write"]), "Whether an empty document replaces it; keep if absent"),
    ],
};

const FRESH_BY: &str = "A time of each day and its zone. From then on the data has to be of the date for which a job that runs \
    this export asked in its last slot up to that time (of several jobs the latest date); without a job, of that day itself";

static FRESHNESS: Object = Object {
    doc: "How new the document has to be.",
    fields: &[
        opt!("by", Kind::Form(&DUE), FRESH_BY),
        opt!("within", Kind::Form(&DURATION), "The longest time since a document was last known to be right"),
        opt!("data_date", Text, "An expression over the rows: the date of the data; the target date if absent"),
    ],
};

static TEST: Object = Object {
    doc: "Rows in, document out.",
    fields: &[
        req!("name", Text, "What it shows"),
        req!("given", Kind::Object(&GIVEN), "What there is"),
        req!("expect", Either(&[Kind::Object(&EXPECT), List(&Kind::Object(&EXPECT))]), "What is made of it"),
    ],
};

static GIVEN: Object = Object {
    doc: "What there is: parameters, time, rows.",
    fields: &[
        opt!("params", Map(&Any), "Values of parameters, as in a request"),
        opt!("vars", Map(&Any), "Values of `vars:` for this test"),
        opt!("now", Text, "The cause's time, such as 2025-12-12T18:00:00Z; 18:00 UTC of the target date if absent"),
        opt!("tables", Map(&List(&Map(&Any))), "Rows by `dataset.table`; tables that are not named are empty"),
    ],
};

static EXPECT: Object = Object {
    doc: "What is expected: one of contains, document, rejected, kept.",
    fields: &[
        opt!("path", Text, "Which document, where the export makes several"),
        opt!("contains", Any, "These keys of the document, at any depth; lists whole"),
        opt!("document", Any, "The whole document"),
        opt!("rejected", Text, "Nothing is published, and the reason has this text"),
        opt!("kept", Bool, "true: nothing is published since there is nothing to say"),
    ],
};

/// The generated files: path below the project's root, text.
pub fn generated_schemas() -> Vec<(&'static str, String)> {
    [
        ("schemas/phase6/publishing.schema.json", PUBLISHING.document_schema("phase6_publishing.yaml")),
        ("schemas/phase6/export.schema.json", EXPORT.document_schema("exports/<name>.yaml")),
        ("schemas/phase6/messages/export-trigger.schema.json", crate::model::message::trigger_schema()),
        ("schemas/phase6/messages/export-complete.schema.json", crate::model::completion::completion_schema()),
    ]
    .into_iter()
    .map(|(path, schema)| (path, format!("{schema:#}\n")))
    .collect()
}
