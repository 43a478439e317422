//! One export's way: render, query, shape, check, publish. Runs on a blocking thread; ports are asked through the runtime.

use super::data_date::data_date;
use super::documents::{Made, Maker, Rejected};
use super::facts::{facts, shape_values};
use super::inputs::{self, Asking, QueryError, Started};
use super::paths::Paths;
use super::publish::{Artifact, ArtifactKind, Intent, Outcome};
use super::ready::{self, Asked};
use super::release::{PublishOptions, ReleaseError, ReleaseInfo, publish_release};
use super::vanished;
use crate::config::forms::duration_text;
use crate::config::{DocumentDecl, Export, OnEmptyDo, Project, Query};
use crate::diagnostics::{Diagnostic, Sources, render};
use crate::model::report::{ExportReport, FailureClass, FindingReport, ObjectCounts, ObjectReport, Status, Times};
use crate::model::request::ExportRequest;
use crate::model::{Facts, Purpose, Statement};
use crate::ports::cancel::{Cancel, Watchdog};
use crate::ports::clock::Clock;
use crate::ports::store::ObjectStore;
use crate::ports::warehouse::{Warehouse, WarehouseErrorKind};
use crate::shape::{CompiledShape, Ctx, Index, Input, Scope};
use crate::sql::template;
use crate::state::State;
use crate::state::quarantine::Rejection;
use crate::state::releases::ReleasedOutcome;
use jiff::civil::Date;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// What an export needs of the outside, and the project.
#[derive(Clone)]
pub struct Engine {
    pub project: Arc<Project>,
    pub sources: Arc<Sources>,
    pub warehouse: Arc<dyn Warehouse>,
    pub store: Arc<dyn ObjectStore>,
    /// What stands before every path in the store; empty or with a slash at its end.
    pub prefix: String,
    pub state: State,
    pub clock: Arc<dyn Clock>,
    /// Ends the run: heard between its steps and by the warehouse.
    pub cancel: Cancel,
}

/// How long an export may ask and shape when it does not say (`timeout`).
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(9 * 60);

impl Engine {
    /// The same engine for one run with a token of its own.
    pub fn with_cancel(&self, cancel: Cancel) -> Engine {
        Engine { cancel, ..self.clone() }
    }

    /// Stops where the run was cancelled.
    pub(super) fn go_on(&self) -> Result<(), Failure> {
        match self.cancel.reason() {
            Some(reason) => Err(Failure { class: Some(FailureClass::Transient), ..Failure::permanent(reason) }),
            None => Ok(()),
        }
    }

    /// A failed query's sentence and class.
    pub fn query_failure(&self, failed: QueryError) -> Failure {
        let class = query_class(failed.error.kind);
        let reason = match (failed.error.kind, self.cancel.reason()) {
            (WarehouseErrorKind::Cancelled, Some(reason)) => {
                format!("{reason}; the query `{}` was stopped", failed.query)
            }
            _ => format!("the query `{}` failed: {}", failed.query, failed.error.message),
        };
        Failure { class: Some(class), ..Failure::permanent(reason) }
    }
}

/// Whether asking again may help.
pub fn query_class(kind: WarehouseErrorKind) -> FailureClass {
    match kind {
        WarehouseErrorKind::Transient | WarehouseErrorKind::Cancelled => FailureClass::Transient,
        _ => FailureClass::Permanent,
    }
}

/// Why an export stopped, for its report.
pub struct Failure {
    pub status: Status,
    pub class: Option<FailureClass>,
    pub reason: String,
    pub findings: Vec<FindingReport>,
    pub quarantine: Option<String>,
    /// Not ready: when to ask again, and when waiting ends.
    pub retry_after: Option<Duration>,
    pub give_up_after: Option<Duration>,
}

impl Failure {
    pub fn permanent(reason: impl Into<String>) -> Self {
        Self {
            status: Status::Failed,
            class: Some(FailureClass::Permanent),
            reason: reason.into(),
            findings: Vec::new(),
            quarantine: None,
            retry_after: None,
            give_up_after: None,
        }
    }

    pub fn of_findings(reason: impl Into<String>, findings: &[Diagnostic], sources: &Sources) -> Self {
        Self { findings: findings.iter().map(|f| finding(f, sources)).collect(), ..Self::permanent(reason) }
    }
}

/// A finding about what somebody wrote, in a report.
pub fn finding(found: &Diagnostic, sources: &Sources) -> FindingReport {
    FindingReport {
        rule: found.code.to_owned(),
        message: match &found.help {
            Some(help) => format!("{} ({help})", found.message),
            None => found.message.clone(),
        },
        pointer: None,
        document: None,
        value: None,
        place: Some(render::place(found, sources)),
        severity: "error".to_owned(),
    }
}

/// Runs one export to its end; whatever happens is in the report.
pub fn run(engine: &Engine, request: &ExportRequest, export: &Export, handle: &Handle) -> ExportReport {
    let begun = Instant::now();
    let mut report = empty_report(&export.name.value);
    let limit = export.timeout.unwrap_or(DEFAULT_TIMEOUT);
    let (cancel, _with_the_run) = engine.cancel.child();
    let reason = format!("it took longer than its time limit of {} (`timeout`)", duration_text(limit));
    let _watchdog = Watchdog::start(cancel.clone(), limit, reason);
    let engine = &engine.with_cancel(cancel);
    if let Err(failure) = steps(engine, request, export, handle, &mut report) {
        report.status = failure.status;
        report.class = failure.class;
        report.reason = Some(failure.reason);
        report.findings.extend(failure.findings);
        report.quarantine = failure.quarantine;
        report.retry_after_ms = ready::millis(failure.retry_after);
        report.give_up_after_ms = ready::millis(failure.give_up_after);
    }
    report.times.total_ms = millis(begun);
    report
}

/// A report of an export that has not begun.
pub fn empty_report(name: &str) -> ExportReport {
    ExportReport {
        export: name.to_owned(),
        status: Status::NotRun,
        reason: None,
        class: None,
        empty: false,
        retry_after_ms: None,
        give_up_after_ms: None,
        findings: Vec::new(),
        rows: BTreeMap::new(),
        jobs: BTreeMap::new(),
        bytes: 0,
        objects: ObjectCounts::default(),
        paths: Vec::new(),
        quarantine: None,
        times: Times::default(),
    }
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// The story of one export.
fn steps(
    engine: &Engine,
    request: &ExportRequest,
    export: &Export,
    handle: &Handle,
    report: &mut ExportReport,
) -> Result<(), Failure> {
    let facts = facts(&engine.project, export, request).map_err(Failure::permanent)?;
    let statements = statements(engine, request, export, &facts)?;
    super::budget::check(engine, export, &statements, handle)?;
    let as_of = engine.clock.now();
    let clock = Instant::now();
    let rows =
        ready::check(engine, export, &facts, &statements, handle, &mut report.jobs).and_then(|(asked, replaced)| {
            warn(report, replaced);
            query(engine, export, &facts, &statements, asked, handle, report)
        });
    report.times.query_ms = millis(clock);
    let prepared = rows?;
    engine.go_on()?;
    let empty = is_empty(export, &prepared)?;
    report.empty = empty;
    if empty && keeps(export, report)? {
        return Ok(());
    }
    let clock = Instant::now();
    let made = make(engine, request, export, &facts, &prepared, empty, handle);
    report.times.shape_ms = millis(clock);
    count_rows(export, &prepared, report);
    // What was stopped was not rejected: nothing is set aside.
    engine.go_on()?;
    let mut made = match made {
        Ok(made) => made,
        Err(rejected) => return Err(reject(engine, request, export, rejected, handle)),
    };
    made.data_date = data_date(export, &prepared, request.target_date)?;
    report.findings.extend(made.warnings.iter().cloned());
    report.bytes = made.bytes;
    let intent = Intent {
        run_id: request.run_id.clone(),
        target_date: request.target_date,
        as_of,
        config_hash: export.config_hash.clone(),
        force: request.force,
    };
    let clock = Instant::now();
    let published = publish(engine, request, export, made, &intent, handle, report);
    report.times.publish_ms = millis(clock);
    published
}

/// The bound SQL of every query, with what a warehouse that bills is told about it.
pub fn statements(
    engine: &Engine,
    request: &ExportRequest,
    export: &Export,
    facts: &Facts,
) -> Result<Vec<Statement>, Failure> {
    let mut findings = Vec::new();
    let mut statements = Vec::new();
    for query in &export.queries {
        let name = format!("{}.{}", export.name.value, query.name.value);
        match template::render_in(&name, query, facts, &engine.project.root, Some(&engine.sources)) {
            Ok(rendered) => {
                statements.push(Statement { purpose: purpose(&request.run_id, export, query), ..rendered.statement });
            }
            Err(found) => findings.extend(found),
        }
    }
    if findings.is_empty() {
        return Ok(statements);
    }
    Err(Failure::of_findings("its SQL cannot be rendered", &findings, &engine.sources))
}

/// What a query of an export is asked for.
pub fn purpose(run_id: &str, export: &Export, query: &Query) -> Purpose {
    Purpose {
        export: export.name.value.clone(),
        run_id: run_id.to_owned(),
        max_bytes_billed: [query.max_bytes_billed, export.max_bytes_billed].into_iter().flatten().min(),
        time_limit: Some(export.timeout.unwrap_or(DEFAULT_TIMEOUT)),
    }
}

/// Rows and compiled shapes.
pub struct Prepared {
    pub scope: Scope,
    pub shapes: Vec<CompiledShape>,
    pub empties: Vec<Option<CompiledShape>>,
    pub inputs: Vec<Input>,
    pub indexes: Vec<Vec<Index>>,
    /// Whether each query gave rows.
    filled: Vec<bool>,
}

impl Prepared {
    /// A query that a `ready` condition names and no document reads says nothing about whether there is something to say.
    fn only_asks(&self, export: &Export, query: usize) -> bool {
        let name = &export.queries[query].name.value;
        let fans_out = export.documents.iter().any(|d| d.each.as_ref().is_some_and(|e| e.query.value == *name));
        let mut shapes = self.shapes.iter().chain(self.empties.iter().flatten());
        ready::is_asked(export, query) && !fans_out && !shapes.any(|shape| shape.reads(query))
    }
}

/// Starts the queries, compiles the shapes over their columns, collects what has to be collected.
fn query(
    engine: &Engine,
    export: &Export,
    facts: &Facts,
    statements: &[Statement],
    asked: Asked,
    handle: &Handle,
    report: &mut ExportReport,
) -> Result<Prepared, Failure> {
    let asking = Asking { warehouse: engine.warehouse.as_ref(), handle, cancel: &engine.cancel };
    let open: Vec<_> = (0..statements.len()).filter(|i| !asked.contains_key(i)).collect();
    let queries: Vec<_> = open.iter().map(|i| (&export.queries[*i], &statements[*i])).collect();
    let (rest, replaced) = inputs::start(&asking, &queries).map_err(|e| engine.query_failure(e))?;
    warn(report, replaced);
    for ((query, _), started) in queries.iter().zip(&rest) {
        report.jobs.extend(started.job().map(|job| (query.name.value.clone(), job)));
    }
    let mut by_place: BTreeMap<usize, Started> =
        asked.into_iter().map(|(place, table)| (place, Started::of(table))).collect();
    by_place.extend(open.into_iter().zip(rest));
    let started: Vec<Started> = by_place.into_values().collect();
    let scope = scope(export, facts, &started);
    let (shapes, empties) = compile(export, &scope, &engine.sources)?;
    let filled: Vec<bool> = started.iter().map(|s| !s.is_empty()).collect();
    let streamed: Vec<bool> = (0..started.len()).map(|table| streams(export, &shapes, &empties, table)).collect();
    let inputs = inputs::collect(&export.queries, started, &streamed).map_err(|e| engine.query_failure(e))?;
    let indexes = shapes.iter().map(|shape| shape.build_indexes(&inputs)).collect();
    Ok(Prepared { scope, shapes, empties, inputs, indexes, filled })
}

/// Says which optional queries were replaced by their defaults.
fn warn(report: &mut ExportReport, replaced: Vec<inputs::Replaced>) {
    report.findings.extend(replaced.into_iter().map(|found| FindingReport {
        rule: "optional-query".to_owned(),
        message: format!("the query `{}` failed and its default was taken: {}", found.query, found.reason),
        pointer: None,
        document: None,
        value: None,
        place: None,
        severity: "warning".to_owned(),
    }));
}

fn scope(export: &Export, facts: &Facts, started: &[Started]) -> Scope {
    let (values, vars) = shape_values(facts);
    let queries = export.queries.iter().zip(started).map(|(q, s)| (q.name.value.clone(), s.fields.clone())).collect();
    Scope { queries, facts: values, vars, document: false }
}

type Shapes = (Vec<CompiledShape>, Vec<Option<CompiledShape>>);

/// Compiles the shapes of all documents; all mistakes at once.
pub fn compile(export: &Export, scope: &Scope, sources: &Sources) -> Result<Shapes, Failure> {
    let mut findings = Vec::new();
    let (mut shapes, mut empties) = (Vec::new(), Vec::new());
    for document in &export.documents {
        let each = fan_out(document, scope, &mut findings);
        let (shape, found) = crate::shape::compile(&document.shape, scope, each);
        findings.extend(found);
        shapes.push(shape);
        empties.push(document.empty.as_ref().map(|node| {
            let (shape, found) = crate::shape::compile(node, scope, None);
            findings.extend(found);
            shape
        }));
    }
    if findings.is_empty() {
        return Ok((shapes, empties));
    }
    Err(Failure::of_findings("its shape does not fit its queries", &findings, sources))
}

/// The table and the key column of a fan-out.
pub fn fan_out(document: &DocumentDecl, scope: &Scope, findings: &mut Vec<Diagnostic>) -> Option<(usize, usize)> {
    let each = document.each.as_ref()?;
    let Some(table) = scope.queries.iter().position(|(name, _)| *name == each.query.value) else {
        findings.push(Diagnostic::error(
            "unknown-query",
            format!("there is no query `{}`", each.query.value),
            each.query.span,
        ));
        return None;
    };
    let column = scope.queries[table].1.iter().position(|f| f.name.eq_ignore_ascii_case(&each.by.value));
    if column.is_none() {
        findings.push(Diagnostic::error(
            "unknown-column",
            format!("the query `{}` has no column `{}`", each.query.value, each.by.value),
            each.by.span,
        ));
    }
    Some((table, column?))
}

/// Whether a query's rows may be read while its document is written.
fn streams(export: &Export, shapes: &[CompiledShape], empties: &[Option<CompiledShape>], table: usize) -> bool {
    let [document] = export.documents.as_slice() else { return false };
    let name = &export.queries[table].name.value;
    let guarded = document.guards.iter().any(|g| crate::document::guards::mentions_query(g, name));
    document.each.is_none()
        && !guarded
        && !super::data_date::reads(export, name)
        && export.on_empty.when.is_none()
        && shapes[0].may_stream(table)
        && empties.iter().flatten().all(|e| !e.reads(table))
}

/// Whether there is nothing to say.
fn is_empty(export: &Export, prepared: &Prepared) -> Result<bool, Failure> {
    let Some(when) = &export.on_empty.when else {
        let mut queries = export.queries.iter().zip(&prepared.filled).enumerate();
        return Ok(queries.all(|(i, (q, filled))| q.optional || !filled || prepared.only_asks(export, i)));
    };
    let (expr, found) = crate::shape::compile_expression(when, &prepared.scope);
    if let Some(first) = found.first() {
        return Err(Failure::permanent(format!("`on_empty.when`: {}", first.message)));
    }
    let value = crate::shape::run::evaluate(&expr, &Ctx::new(&prepared.inputs, &[]))
        .map_err(|reason| Failure::permanent(format!("`on_empty.when`: {reason}")))?;
    Ok(value.truthy())
}

/// Whether the last good documents stay because there is nothing to say.
fn keeps(export: &Export, report: &mut ExportReport) -> Result<bool, Failure> {
    match export.on_empty.action {
        OnEmptyDo::Write => Ok(false),
        OnEmptyDo::Fail => Err(Failure::permanent("there is nothing to say (`on_empty: fail`)")),
        OnEmptyDo::Keep => {
            report.status = Status::KeptEmpty;
            report.reason = Some("there is nothing to say; the last documents stay (`on_empty: keep`)".to_owned());
            Ok(true)
        }
    }
}

fn count_rows(export: &Export, prepared: &Prepared, report: &mut ExportReport) {
    for (query, input) in export.queries.iter().zip(&prepared.inputs) {
        report.rows.insert(query.name.value.clone(), input.rows());
    }
}

/// Everything that will be published.
struct MadeAll {
    data_date: Option<Date>,
    artifacts: Vec<Artifact>,
    /// Fan-outs of which some keys got no document.
    incomplete: BTreeSet<String>,
    warnings: Vec<FindingReport>,
    bytes: u64,
}

/// Makes and checks every document before the first is published.
fn make(
    engine: &Engine,
    request: &ExportRequest,
    export: &Export,
    facts: &Facts,
    prepared: &Prepared,
    empty: bool,
    handle: &Handle,
) -> Result<MadeAll, Rejected> {
    let mut all =
        MadeAll { data_date: None, artifacts: Vec::new(), incomplete: BTreeSet::new(), warnings: Vec::new(), bytes: 0 };
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    let mut failed = BTreeMap::new();
    for number in 0..export.documents.len() {
        let maker = Maker { engine, request, export, facts, prepared, number, empty, handle };
        let paths = Paths::compile(&maker)?;
        for made in maker.documents(&paths, &mut failed)? {
            let Made { body, sha256, len, counts, files, warnings } = made;
            all.bytes += len;
            all.warnings.extend(warnings);
            for file in files {
                if let Some(other) = owners.insert(file.path.clone(), file.key.clone()) {
                    return Err(Rejected::plain(format!(
                        "`{}` and `{}` both go to `{}`: two rows may not share a path",
                        other, file.key, file.path
                    )));
                }
                all.artifacts.push(Artifact {
                    path: format!("{}{}", engine.prefix, file.path),
                    body: body.clone(),
                    sha256: sha256.clone(),
                    size: len,
                    content_type: "application/json".to_owned(),
                    cache_control: Some(file.cache_control),
                    kind: file.kind,
                    dated: file.dated,
                    once: file.once,
                    gzip: file.gzip,
                    document: export.documents[number].name.clone(),
                    schema: export.documents[number].schema.as_ref().map(|s| s.value.clone()),
                    counts: if file.kind == ArtifactKind::Entity { BTreeMap::new() } else { counts.clone() },
                });
            }
        }
    }
    all.incomplete = failed.into_keys().collect();
    Ok(all)
}

/// Sets the rejected document aside and says why nothing was published.
fn reject(engine: &Engine, request: &ExportRequest, export: &Export, rejected: Rejected, handle: &Handle) -> Failure {
    let mut failure = Failure { findings: rejected.findings, ..Failure::permanent(rejected.reason) };
    failure.class = Some(rejected.class);
    let Some((path, body, size)) = rejected.document else { return failure };
    let rejection = Rejection {
        export: export.name.value.clone(),
        run_id: request.run_id.clone(),
        path: path.clone(),
        at: engine.clock.now(),
        size,
        findings: failure.findings.iter().filter_map(|f| serde_json::to_value(f).ok()).collect(),
    };
    match handle.block_on(engine.state.quarantine(&rejection, &body)) {
        Ok(()) => failure.quarantine = Some(format!("quarantine/{}/{}/{path}", export.name.value, request.run_id)),
        Err(error) => failure.reason.push_str(&format!("; it could not be set aside: {error}")),
    }
    failure
}

fn publish(
    engine: &Engine,
    request: &ExportRequest,
    export: &Export,
    made: MadeAll,
    intent: &Intent,
    handle: &Handle,
    report: &mut ExportReport,
) -> Result<(), Failure> {
    let MadeAll { artifacts, incomplete, data_date, .. } = made;
    if artifacts.is_empty() {
        report.status = Status::KeptEmpty;
        report.reason = Some("no document is due: undated ones were left alone, or there was no key".to_owned());
        return Ok(());
    }
    let name = &export.name.value;
    let complete = |document: &str| !incomplete.contains(document);
    let vanished = handle.block_on(vanished::find(&engine.state, name, &export.documents, &artifacts, complete));
    let vanished = vanished.map_err(|error| release_failure(&error.into()))?;
    let info = ReleaseInfo {
        vanished,
        export: export.name.value.clone(),
        run_key: Some(request.run_key(name)),
        data_date,
        ..ReleaseInfo::default()
    };
    let published = handle.block_on(publish_release(
        &engine.store,
        &engine.state,
        artifacts.clone(),
        intent,
        &info,
        &PublishOptions::default(),
    ));
    let published = published.map_err(|error| release_failure(&error))?;
    for (artifact, outcome) in artifacts.iter().zip(&published.outcomes) {
        let name = match outcome {
            Outcome::Written { .. } => "written",
            Outcome::Unchanged { .. } | Outcome::Kept { .. } => "unchanged",
            Outcome::Superseded { .. } => "superseded",
        };
        match name {
            "written" => report.objects.written += 1,
            "unchanged" => report.objects.unchanged += 1,
            _ => report.objects.superseded += 1,
        }
        if report.paths.len() < PATHS_SHOWN {
            report.paths.push(ObjectReport {
                path: artifact.path.clone(),
                outcome: name.to_owned(),
                generation: Some(outcome.generation()),
                sha256: artifact.sha256.clone(),
                bytes: artifact.size,
            });
        }
    }
    let deleted = published.release.objects.iter().filter(|o| o.outcome == ReleasedOutcome::Deleted);
    for object in deleted {
        report.objects.deleted += 1;
        if report.paths.len() < PATHS_SHOWN {
            report.paths.push(ObjectReport {
                path: object.path.clone(),
                outcome: "deleted".to_owned(),
                generation: Some(object.generation),
                sha256: object.sha256.clone(),
                bytes: object.size,
            });
        }
    }
    report.status = if report.objects.written + report.objects.deleted > 0 {
        Status::Published
    } else if report.objects.unchanged > 0 {
        Status::Unchanged
    } else {
        Status::Superseded
    };
    Ok(())
}

/// How many objects a report lists; the release record has all.
const PATHS_SHOWN: usize = 50;

fn release_failure(error: &ReleaseError) -> Failure {
    let class = if error.is_transient() { FailureClass::Transient } else { FailureClass::Permanent };
    Failure { class: Some(class), ..Failure::permanent(error.to_string()) }
}
