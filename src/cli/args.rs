//! What can be typed: the commands, their options, their help.

use crate::config::forms;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Declarative exports: SQL rows in, validated JSON documents out, guarded publication.
#[derive(Debug, Parser)]
#[command(name = "phase6", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Examples:
  phase6 run --date 2025-12-12 --only tonight,tonight-players
  phase6 preview results --date 2025-12-11
  phase6 check

Exit codes: 0 all good · 1 findings, or every export failed · 2 wrong use or a bad project · 3 some exports
failed · 4 nothing to do (with --strict) · 5 an outside system was not available")]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub struct Global {
    /// The project's folder, which holds phase6_publishing.yaml (default: this folder or the nearest above it)
    #[arg(long, global = true, value_name = "DIR", env = "PHASE6_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where to read and publish: a name under `targets:` (default: the first)
    #[arg(long, global = true, value_name = "NAME", env = "PHASE6_TARGET")]
    pub target: Option<String>,
    /// Reads the tables from this folder instead of the target's: <dataset>/<table>.parquet|csv|jsonl|json
    #[arg(long, global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Publishes into this folder instead of the target's store
    #[arg(long, global = true, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Keeps runs and releases in this folder (default with --out: DIR.state)
    #[arg(long, global = true, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Keeps messages in this folder instead of the target's bus (default with --out: DIR.bus)
    #[arg(long, global = true, value_name = "DIR")]
    pub bus: Option<PathBuf>,
    /// Overrides an entry of `vars:`; may be repeated
    #[arg(long = "var", global = true, value_name = "NAME=VALUE")]
    pub vars: Vec<String>,
    /// Fixes the cause's time, so that a run can be repeated byte for byte
    #[arg(long, global = true, value_name = "RFC3339")]
    pub now: Option<String>,
    /// How results are written
    #[arg(long, global = true, value_enum, default_value_t = Format::Human)]
    pub format: Format,
    /// Says only what went wrong
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// When to colour
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
}

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Human,
    /// One JSON document
    Json,
    /// One JSON object a line
    Jsonl,
    /// An aligned table (query)
    Table,
    /// Comma-separated values (query)
    Csv,
    /// GitHub annotations (check, test)
    Github,
    /// SARIF 2.1 (check, test)
    Sarif,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal
    Auto,
    Always,
    Never,
}

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make and publish the documents of one day
    #[command(after_help = "Examples:
  phase6 run                                                      # everything of today
  phase6 run --date 2025-12-12 --only tonight,tonight-players
  phase6 run --date yesterday --only results,best-bets
  phase6 run --players --min-games 5
  phase6 run --date 2022-03-18 --data DIR --out OUT --now 2022-03-18T22:00:00Z")]
    Run(RunArgs),
    /// Make and publish the documents of many days; goes on where it was interrupted
    #[command(after_help = "Examples:
  phase6 backfill predictions,results --from 2021-10-19 --to 2022-04-09
  phase6 backfill results --from 2025-12-01 --to 2025-12-11 --jobs 2 --restart")]
    Backfill(BackfillArgs),
    /// List the releases of an export, newest first
    #[command(after_help = "Examples:
  phase6 history results
  phase6 history results --limit 5 --format json")]
    History(HistoryArgs),
    /// Make an earlier release public again from its kept generations; asks no query
    #[command(after_help = "Examples:
  phase6 rollback best-bets --dry-run      # what would come back
  phase6 rollback best-bets                # the release before the current one
  phase6 rollback best-bets --to 20251212T180000.123456-4f2a --path best-bets/latest.json

The next run of the same date or a newer one publishes as usual. Runs that began before the
rollback, and runs of an older date, do not replace what it restored.")]
    Rollback(RollbackArgs),
    /// Work messages and schedules until a signal ends it: triggers, exports, completion messages
    #[command(after_help = "Examples:
  phase6 serve
  phase6 serve --listen 127.0.0.1:8080        # status page, /metrics, POST /v1/events/<topic>
  phase6 serve --jobs 4 --grace 60s
  phase6 serve --until-idle 30s               # works off what waits, and ends

SIGTERM finishes what is under way; SIGHUP, or a changed file, reloads the configuration.")]
    Serve(ServeArgs),
    /// What the service was asked for: list, show, try the failed exports again, cancel
    #[command(after_help = "Examples:
  phase6 runs
  phase6 runs show 20251212T180000.5Z-1a2b3c4d
  phase6 runs retry 20251212T180000.5Z-1a2b3c4d")]
    Runs(RunsArgs),
    /// Messages that could not be worked: list, show, replay, drop
    #[command(after_help = "Examples:
  phase6 dead-letter list
  phase6 dead-letter show 20251212T180000.5Z-1a2b3c4d
  phase6 dead-letter replay 20251212T180000.5Z-1a2b3c4d")]
    DeadLetter(DeadLetterArgs),
    /// What the triggers' gates decided: list, show, force one open
    #[command(after_help = "Examples:
  phase6 gate
  phase6 gate force 20251212T180000.5Z-1a2b3c4d")]
    Gate(GateArgs),
    /// Say which run, message, query, rows and configuration made a published object
    #[command(after_help = "Examples:
  phase6 explain results/latest.json")]
    Explain(ExplainArgs),
    /// Say when the scheduler's jobs are due next, or publish a job's message by hand
    #[command(after_help = "Examples:
  phase6 schedule next
  phase6 schedule next --count 3 --from 2025-03-08T00:00:00Z phase6-daily-results
  phase6 schedule trigger phase6-tonight-picks
  phase6 schedule trigger phase6-daily-results --at 2025-12-12T10:00:00Z")]
    #[command(subcommand)]
    Schedule(ScheduleCommand),
    /// Publish a message to a topic, also while a service runs; prints its id
    #[command(after_help = "Examples:
  phase6 publish export_trigger --message '{\"export_types\":[\"results\"],\"target_date\":\"2025-12-11\"}'
  phase6 publish nba-phase5-predictions-complete --message @event.json --attribute source=manual
  generate | phase6 publish predictions_complete --message -
  phase6 publish export_trigger --jsonl < messages.jsonl        # one body a line

TOPIC is a key under `topics:` or a topic's own name. With --now the message is published as of that time.")]
    Publish(PublishArgs),
    /// Show the messages of a topic; with --ack, take them
    #[command(after_help = "Examples:
  phase6 pull export_complete --max 5
  phase6 pull export_complete --ack --wait 30s --format jsonl
  phase6 pull export_trigger --subscription phase6-export

Without --subscription the messages come from a subscription of this command's own, which begins with what the topic
still keeps; what is shown and not acknowledged is handed back at once and shown again next time. Showing messages of
the service's subscriptions counts as a delivery.")]
    Pull(PullArgs),
    /// Check the whole project: configuration, SQL, shapes, schemas; needs no warehouse
    #[command(after_help = "Examples:
  phase6 check
  phase6 check --target gcp           # and dry-runs each statement at BigQuery: columns, parameters, bytes
  phase6 check --format github        # annotations on a pull request
  phase6 check --nulls                # what else could be NULL where the contract takes none")]
    Check(CheckArgs),
    /// Run the tests that the exports bring along: rows in, document out; needs no warehouse
    #[command(after_help = "Examples:
  phase6 test
  phase6 test results,streaks
  phase6 test --filter push           # tests whose export or name has this text
  phase6 test --format github         # annotations on a pull request")]
    Test(TestArgs),
    /// Show the bound SQL and the parameters of an export
    #[command(after_help = "Examples:
  phase6 render results --date 2025-12-11
  phase6 render results --date 2025-12-11 --engine duckdb")]
    Render(RenderArgs),
    /// What a run would read, cost and publish; reads no rows and writes nothing
    #[command(after_help = "Examples:
  phase6 plan --target gcp --date 2025-12-12
  phase6 plan tonight,results --target gcp --format json

Exits with 1 where something would be billed more than it may (`max_bytes_billed`).")]
    Plan(PlanArgs),
    /// Make the documents of an export and show them; publishes nothing
    #[command(after_help = "Examples:
  phase6 preview results --date 2025-12-11
  phase6 preview players --to /tmp/players")]
    Preview(PreviewArgs),
    /// Run a GoogleSQL statement on the target's warehouse
    #[command(after_help = "Examples:
  phase6 query 'SELECT COUNT(*) AS games FROM nba_raw.nbac_schedule'
  phase6 query 'SELECT @day AS d' --param day=DATE:2025-12-12 --format json
  phase6 query --jsonl < statements.jsonl")]
    Query(QueryArgs),
    /// Show which documents keep their freshness promises, judged by the clock; exit with 1 if one does not
    #[command(after_help = "Examples:
  phase6 fresh
  phase6 fresh --quiet                # only what is stale or missing
  phase6 fresh --format json --now 2025-12-12T18:30:00Z")]
    Fresh,
    /// List the exports, their paths and the tables that they read
    #[command(after_help = "Examples:
  phase6 list
  phase6 list --format json")]
    List,
    /// Make what the project needs on Google Cloud, after showing how it differs from what is there
    #[command(after_help = "Examples:
  phase6 deploy --dry-run                     # the difference, for people; --format json for machines
  phase6 deploy --image us-west2-docker.pkg.dev/p/phase6/phase6-nba:1
  phase6 deploy --only pubsub,jobs --yes
  phase6 deploy --emit gcloud --image us-west2-docker.pkg.dev/p/phase6/phase6-nba:1 > deploy.sh
  phase6 deploy --emit terraform --target gcp --region us-west2 --to infra

Without --target it is the first target that has something on Google Cloud. --emit needs no credentials.
Exit codes: 0 everything is as it has to be · 1 nothing could be done · 2 wrong use · 3 a part was done, or something is
blocked · 4 the answer was no · 5 Google Cloud did not answer. With --dry-run, 0 says only that the plan could be made")]
    Deploy(DeployArgs),
    /// Say what is configured and what can be reached
    #[command(after_help = "Examples:
  phase6 doctor
  phase6 doctor --target local --format json")]
    Doctor,
    /// Ask a running service whether it is well; for a container's health check
    #[command(after_help = "Examples:
  phase6 health --listen 127.0.0.1:8080
  phase6 health --url https://phase6.example.com --ready --format json

Exit codes: 0 it is well · 1 it says that it is not · 5 it does not answer, or what stands before it lets nobody in")]
    Health(HealthArgs),
    /// Print or write the generated JSON Schemas
    #[command(after_help = "Examples:
  phase6 schema export                # the schema of exports/*.yaml
  phase6 schema publishing            # the schema of phase6_publishing.yaml
  phase6 schema --write               # all generated files of schemas/phase6")]
    Schema(SchemaArgs),
    /// Print the completions for a shell
    #[command(after_help = "Examples:
  phase6 completions bash > /etc/bash_completion.d/phase6")]
    Completions { shell: clap_complete::Shell },
}

/// Options that say what to make.
#[derive(Debug, Args, Clone)]
pub struct Selection {
    /// The target date: YYYY-MM-DD, today, yesterday, tomorrow, today-7d
    #[arg(long, value_name = "DATE", default_value = "today", allow_hyphen_values = true)]
    pub date: String,
    /// A parameter of the export; may be repeated
    #[arg(long = "param", value_name = "NAME=VALUE")]
    pub params: Vec<String>,
    /// Short for --param min_games=N
    #[arg(long, value_name = "N")]
    pub min_games: Option<i64>,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub selection: Selection,
    /// Only these exports
    #[arg(long, value_name = "EXPORT,…", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Only the exports that a message with `players: true` asks for
    #[arg(long, conflicts_with = "only")]
    pub players: bool,
    /// Leave `latest` and other undated objects alone
    #[arg(long)]
    pub no_update_latest: bool,
    /// Let an older date replace a newer one
    #[arg(long)]
    pub force: bool,
    /// How many exports run at once
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub jobs: u16,
    /// Exit with 4 when nothing was published
    #[arg(long)]
    pub strict: bool,
}

#[derive(Debug, Args)]
pub struct DeployArgs {
    /// Shows the difference and does nothing
    #[arg(long, conflicts_with = "emit")]
    pub dry_run: bool,
    /// Writes everything that has to be there as a bash script for gcloud, or as Terraform; nothing is called
    #[arg(long, value_enum)]
    pub emit: Option<Emit>,
    /// Writes into this folder (deploy.sh, main.tf) instead of printing
    #[arg(long, value_name = "DIR", requires = "emit")]
    pub to: Option<PathBuf>,
    /// The container image of the Cloud Run service (default: it keeps the one that it has)
    #[arg(long, value_name = "IMAGE", env = "PHASE6_IMAGE")]
    pub image: Option<String>,
    /// The region of buckets, jobs and service (default: the location of the target's BigQuery)
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// The name of service account, service and mark, for a second deployment in one project (default: phase6-<target>)
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// A notification channel that the alert policies tell: projects/<project>/notificationChannels/<id>; may be repeated
    #[arg(long, value_name = "CHANNEL")]
    pub notify: Vec<String>,
    /// Only these parts
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART", conflicts_with = "emit")]
    pub only: Vec<crate::deploy::Part>,
    /// Takes over what has a name of the plan and was made by others
    #[arg(long, conflicts_with = "emit")]
    pub adopt: bool,
    /// Removes what an earlier deployment made and the configuration no longer has; buckets only when they are empty
    #[arg(long, conflicts_with = "emit")]
    pub prune: bool,
    /// Does not ask
    #[arg(long, short, conflicts_with = "emit")]
    pub yes: bool,
}

/// What a plan is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Emit {
    Gcloud,
    Terraform,
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// How many exports run at once
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub jobs: u16,
    /// How many requests are worked at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub requests: u16,
    /// How long work under way may take to finish after SIGTERM (default: `service.grace`, 25s)
    #[arg(long, value_name = "DURATION", value_parser = forms::duration)]
    pub grace: Option<std::time::Duration>,
    /// How long a message stays with a copy of the service that died, before another one gets it (1s to 600s)
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = lease)]
    pub lease: std::time::Duration,
    /// Opens the HTTP door here: events, runs, health, metrics, status page (default: `service.listen`, else no door).
    /// `${NAME}` is taken from the environment: `0.0.0.0:${PORT}` is where Cloud Run calls
    #[arg(long, value_name = "ADDRESS:PORT", env = "PHASE6_LISTEN", value_parser = listen)]
    pub listen: Option<std::net::SocketAddr>,
    /// Leaves the clock to Cloud Scheduler's messages, as `phase6 deploy` makes them; with both, each slot still runs once
    #[arg(long)]
    pub no_scheduler: bool,
    /// Works off what waits and ends when no message has come for so long, for a job that starts by the clock. What has to be
    /// tried again later waits for its next start
    #[arg(long, value_name = "DURATION", value_parser = forms::duration)]
    pub until_idle: Option<std::time::Duration>,
    /// How the log is written, on standard error
    #[arg(long, value_enum, default_value_t = crate::telemetry::LogFormat::Auto)]
    pub log_format: crate::telemetry::LogFormat,
}

/// An address with a port, whose `${NAME}`s stand for the environment's values: a container's command has no shell for that.
pub fn listen(text: &str) -> Result<std::net::SocketAddr, String> {
    let text = forms::filled(text, &|name| std::env::var(name).ok()).map_err(|e| e.to_string())?;
    forms::address(&text)
}

#[derive(Debug, Args)]
pub struct HealthArgs {
    /// Where the service listens (default: `service.listen`); `0.0.0.0` is asked on this machine
    #[arg(long, value_name = "ADDRESS:PORT", env = "PHASE6_LISTEN", value_parser = listen)]
    pub listen: Option<std::net::SocketAddr>,
    /// The service's address as others see it, instead
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Asks whether work can be done (`/ready`: bus and state answer), not only whether the loops go round (`/live`)
    #[arg(long)]
    pub ready: bool,
    /// How long an answer may take
    #[arg(long, value_name = "DURATION", default_value = "4s", value_parser = forms::duration)]
    pub timeout: std::time::Duration,
}

/// A lease: what is shorter cannot be extended in time, what is longer no bus takes.
fn lease(text: &str) -> Result<std::time::Duration, String> {
    let lease = forms::duration(text)?;
    if (1..=600).contains(&lease.as_secs()) { Ok(lease) } else { Err("a lease takes 1s to 600s".to_owned()) }
}

#[derive(Debug, Args)]
pub struct RunsArgs {
    #[command(subcommand)]
    pub command: Option<RunsCommand>,
}

#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// The newest runs
    #[command(after_help = "Examples:
  phase6 runs list --limit 50
  phase6 runs list --format jsonl")]
    List {
        /// How many
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
    },
    /// One run: cause, exports, attempts, errors, objects
    #[command(after_help = "Examples:
  phase6 runs show 20251212T180000.5Z-1a2b3c4d")]
    Show { id: String },
    /// Asks again for the exports that failed
    #[command(after_help = "Examples:
  phase6 runs retry 20251212T180000.5Z-1a2b3c4d")]
    Retry { id: String },
    /// Stops a run before its next step
    #[command(after_help = "Examples:
  phase6 runs cancel 20251212T180000.5Z-1a2b3c4d")]
    Cancel { id: String },
}

#[derive(Debug, Args)]
pub struct DeadLetterArgs {
    #[command(subcommand)]
    pub command: Option<DeadLetterCommand>,
}

#[derive(Debug, Subcommand)]
pub enum DeadLetterCommand {
    /// All dead letters, the newest first
    #[command(after_help = "Examples:
  phase6 dead-letter list")]
    List,
    /// One dead letter with its attributes and body
    #[command(after_help = "Examples:
  phase6 dead-letter show 20251212T180000.5Z-1a2b3c4d")]
    Show { id: String },
    /// Publishes messages again, with their attributes
    #[command(after_help = "Examples:
  phase6 dead-letter replay 20251212T180000.5Z-1a2b3c4d
  phase6 dead-letter replay --all")]
    Replay {
        #[arg(required_unless_present = "all")]
        ids: Vec<String>,
        /// All dead letters
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
    /// Forgets messages
    #[command(after_help = "Examples:
  phase6 dead-letter drop 20251212T180000.5Z-1a2b3c4d")]
    Drop {
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub struct GateArgs {
    #[command(subcommand)]
    pub command: Option<GateCommand>,
}

#[derive(Debug, Subcommand)]
pub enum GateCommand {
    /// The newest decisions
    #[command(after_help = "Examples:
  phase6 gate list --limit 50")]
    List {
        /// How many
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
    },
    /// One decision with its message
    #[command(after_help = "Examples:
  phase6 gate show 20251212T180000.5Z-1a2b3c4d")]
    Show { id: String },
    /// Lets a skipped message pass although a rule says no
    #[command(after_help = "Examples:
  phase6 gate force 20251212T180000.5Z-1a2b3c4d")]
    Force { id: String },
}

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The object's path, with or without the store's prefix
    pub path: String,
}

#[derive(Debug, Args)]
pub struct BackfillArgs {
    /// The exports
    #[arg(value_name = "EXPORT,…", value_delimiter = ',', required = true)]
    pub exports: Vec<String>,
    /// The first date
    #[arg(long, value_name = "DATE")]
    pub from: String,
    /// The last date
    #[arg(long, value_name = "DATE")]
    pub to: String,
    /// A parameter of the exports; may be repeated
    #[arg(long = "param", value_name = "NAME=VALUE")]
    pub params: Vec<String>,
    /// How many exports run at once
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub jobs: u16,
    /// Forget what an earlier, interrupted backfill of the same range has done
    #[arg(long)]
    pub restart: bool,
    /// Let undated objects take part too
    #[arg(long)]
    pub update_latest: bool,
}

#[derive(Debug, Args)]
pub struct HistoryArgs {
    pub export: String,
    /// How many releases are shown
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
}

#[derive(Debug, Args)]
pub struct RollbackArgs {
    pub export: String,
    /// The run whose release is restored (default: the release before the current one)
    #[arg(long, value_name = "RUN_ID")]
    pub to: Option<String>,
    /// Restores only this object; may be repeated
    #[arg(long = "path", value_name = "PATH")]
    pub paths: Vec<String>,
    /// Shows what would be restored and changes nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct PublishArgs {
    /// A key under `topics:`, or a topic's own name
    pub topic: String,
    /// The body: a text, @FILE, or - for standard input
    #[arg(long, value_name = "TEXT|@FILE|-", required_unless_present_any = ["attributes", "jsonl"], allow_hyphen_values = true)]
    pub message: Option<String>,
    /// Publishes each line of standard input as one message, in their order
    #[arg(long, conflicts_with = "message")]
    pub jsonl: bool,
    /// An attribute; may be repeated
    #[arg(long = "attribute", value_name = "NAME=VALUE")]
    pub attributes: Vec<String>,
    /// Refuses a message that its readers will refuse, instead of only saying so
    #[arg(long)]
    pub check: bool,
}

#[derive(Debug, Args)]
pub struct PullArgs {
    /// A key under `topics:`, or a topic's own name
    pub topic: String,
    /// The subscription (default: one of this command's own)
    #[arg(long, value_name = "NAME")]
    pub subscription: Option<String>,
    /// How many messages at the most
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub max: u16,
    /// Acknowledges what was shown
    #[arg(long)]
    pub ack: bool,
    /// How long to wait for the first message
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    pub wait: String,
}

/// The engine whose SQL is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// The GoogleSQL that BigQuery gets
    Bigquery,
    /// What the embedded engine gets
    Duckdb,
}

#[derive(Debug, Args)]
pub struct RenderArgs {
    pub export: String,
    #[command(flatten)]
    pub selection: Selection,
    #[arg(long, value_enum, default_value_t = Engine::Bigquery)]
    pub engine: Engine,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Also warns of columns that may be NULL where the contract takes no null, as far as the types tell (WHERE and CASE are
    /// not followed)
    #[arg(long)]
    pub nulls: bool,
}

#[derive(Debug, Args)]
pub struct TestArgs {
    /// Only the tests of these exports
    #[arg(value_name = "EXPORT", value_delimiter = ',')]
    pub exports: Vec<String>,
    /// Only tests whose `export: name` has this text
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Only these exports
    #[arg(value_name = "EXPORT,…", value_delimiter = ',')]
    pub exports: Vec<String>,
    #[command(flatten)]
    pub selection: Selection,
    /// Leave `latest` and other undated objects alone
    #[arg(long)]
    pub no_update_latest: bool,
}

#[derive(Debug, Args)]
pub struct PreviewArgs {
    pub export: String,
    #[command(flatten)]
    pub selection: Selection,
    /// Writes the documents into this folder, under their paths
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct QueryArgs {
    /// The statement; `-` reads it from standard input
    #[arg(required_unless_present = "jsonl")]
    pub sql: Option<String>,
    /// A parameter: name=value, with a type where it is no text: day=DATE:2025-12-12
    #[arg(long = "param", value_name = "NAME=[TYPE:]VALUE")]
    pub params: Vec<String>,
    /// Reads {"id","sql"} lines and answers each with a line
    #[arg(long, conflicts_with = "sql")]
    pub jsonl: bool,
}

#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// export, publishing, or the path of a generated file
    pub which: Option<String>,
    /// Writes all generated files
    #[arg(long, conflicts_with = "which")]
    pub write: bool,
}

#[derive(Debug, Subcommand)]
pub enum ScheduleCommand {
    /// List the next slots: in UTC, in the job's zone, and what is asked for
    #[command(after_help = "Examples:
  phase6 schedule next --count 3
  phase6 schedule next --from 2025-03-08T00:00:00Z phase6-daily-results")]
    Next(ScheduleNextArgs),
    /// Publish the job's message now
    #[command(after_help = "Examples:
  phase6 schedule trigger phase6-tonight-picks
  phase6 schedule trigger phase6-daily-results --at 2025-12-12T10:00:00Z")]
    Trigger(ScheduleTriggerArgs),
}

#[derive(Debug, Args)]
pub struct ScheduleNextArgs {
    /// Only this job
    pub job: Option<String>,
    /// How many slots of each job
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub count: u16,
    /// From when (default: now)
    #[arg(long, value_name = "RFC3339")]
    pub from: Option<String>,
}

#[derive(Debug, Args)]
pub struct ScheduleTriggerArgs {
    pub job: String,
    /// As this slot's own tick: the dates are the slot's, and what it published already stays a duplicate (default: now)
    #[arg(long, value_name = "SLOT")]
    pub at: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory;

    fn without_examples(command: &clap::Command, path: &str, found: &mut Vec<String>) {
        let path = format!("{path} {}", command.get_name());
        if !command.get_after_help().is_some_and(|help| help.to_string().contains("Examples:\n")) {
            found.push(path.clone());
        }
        for below in command.get_subcommands().filter(|c| c.get_name() != "help") {
            without_examples(below, &path, found);
        }
    }

    #[test]
    fn every_command_shows_examples() {
        let (mut found, command) = (Vec::new(), Cli::command());
        without_examples(&command, "", &mut found);
        assert!(found.is_empty(), "{found:?}");
        command.debug_assert();
    }
}
