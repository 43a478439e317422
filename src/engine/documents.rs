//! One kind of document of an export: made, checked, and spooled; a fan-out makes one for each key.

use super::checks::{Checker, Finished};
use super::export::{Engine, Prepared};
use super::paths::{File, Paths};
use crate::config::{DocumentDecl, Export};
use crate::diagnostics::{Diagnostic, Sources, render};
use crate::document::check::Checked;
use crate::document::json::Encoder;
use crate::document::spool::{Spool, Spooled};
use crate::model::Facts;
use crate::model::report::{FailureClass, FindingReport};
use crate::model::request::ExportRequest;
use crate::model::sink::At;
use crate::ports::store::Body;
use crate::shape::{CompiledShape, Index, Input, KeyRows, RunError};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tokio::runtime::Handle;

/// A document that passed, and its copies.
pub struct Made {
    pub body: Body,
    pub sha256: String,
    pub len: u64,
    pub counts: BTreeMap<String, u64>,
    pub files: Vec<File>,
    pub warnings: Vec<FindingReport>,
}

/// A document that did not pass; nothing of the export is published.
pub struct Rejected {
    pub reason: String,
    pub class: FailureClass,
    pub findings: Vec<FindingReport>,
    /// The document that is set aside: path, content, size.
    pub document: Option<(String, Body, u64)>,
}

impl Rejected {
    pub fn plain(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), class: FailureClass::Permanent, findings: Vec::new(), document: None }
    }

    pub fn of_finding(found: &Diagnostic, sources: &Sources) -> Self {
        Self {
            findings: vec![super::export::finding(found, sources)],
            ..Self::plain(format!("{} ({})", found.message, render::place(found, sources)))
        }
    }
}

/// By the fan-out's name: its table, and the rows whose keys got no document.
pub type FailedRows = BTreeMap<String, (usize, Vec<u32>)>;

/// What it takes to make the documents of one declaration.
pub struct Maker<'a> {
    pub engine: &'a Engine,
    pub request: &'a ExportRequest,
    pub export: &'a Export,
    pub facts: &'a Facts,
    pub prepared: &'a Prepared,
    /// Which of the export's documents.
    pub number: usize,
    pub empty: bool,
    pub handle: &'a Handle,
}

impl<'a> Maker<'a> {
    pub fn document(&self) -> &'a DocumentDecl {
        &self.export.documents[self.number]
    }

    /// Makes all documents of the declaration. `failed` are the rows whose keys got no document, for the index.
    pub fn documents(&self, paths: &Paths, failed: &mut FailedRows) -> Result<Vec<Made>, Rejected> {
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        let spool_dir = self
            .engine
            .store
            .spool_dir()
            // The store itself is not there; what was asked may be right.
            .map_err(|error| Rejected {
                class: FailureClass::Transient,
                ..Rejected::plain(format!("no place to write documents: {error}"))
            })?;
        let checker = Checker::compile(self)?;
        let document = self.document();
        let shape = match &self.prepared.empties[self.number] {
            Some(empty) if self.empty => empty,
            _ => &self.prepared.shapes[self.number],
        };
        if document.each.is_none() {
            let files = paths.render(self, None).map_err(Rejected::plain)?;
            let made = match self.without_failed(failed) {
                None => self.one(shape, self.rows(), &checker, &spool_dir, None, files)?,
                Some(inputs) => {
                    let indexes = shape.build_indexes(&inputs);
                    self.one(shape, (&inputs, &indexes), &checker, &spool_dir, None, files)?
                }
            };
            return Ok(vec![made]);
        }
        self.fan_out(shape, &checker, &spool_dir, paths, failed)
    }

    fn rows(&self) -> (&'a [Input], &'a [Index]) {
        (&self.prepared.inputs, &self.prepared.indexes[self.number])
    }

    /// What `index_of` sees when some documents were left out: all rows but those of their keys.
    fn without_failed(&self, failed: &FailedRows) -> Option<Vec<Input>> {
        let (table, rows) = failed.get(&self.document().index_of.as_ref()?.value)?;
        let inputs = self.prepared.inputs.iter().enumerate();
        inputs
            .map(|(i, input)| match input {
                Input::Table(all) if i == *table => Some(Input::Table(all.without(rows))),
                Input::Table(all) => Some(Input::Table(all.clone())),
                // Only an export with a single document streams, and that one is no index.
                Input::Stream { .. } => None,
            })
            .collect()
    }

    fn fan_out(
        &self,
        shape: &CompiledShape,
        checker: &Checker,
        spool_dir: &PathBuf,
        paths: &Paths,
        failed: &mut FailedRows,
    ) -> Result<Vec<Made>, Rejected> {
        let mut findings = Vec::new();
        let Some((table, column)) = super::export::fan_out(self.document(), &self.prepared.scope, &mut findings) else {
            return Err(Rejected::plain("the fan-out's query or column does not exist"));
        };
        let Input::Table(rows) = &self.prepared.inputs[table] else {
            return Err(Rejected::plain("a fan-out's rows have to be collected"));
        };
        let index = Index::build(rows, vec![column]);
        let mut made = Vec::with_capacity(index.groups());
        let mut failures: Vec<Rejected> = Vec::new();
        for group in 0..index.groups() {
            // Not a failure of this key, so no matter of the budget.
            if let Some(reason) = self.engine.cancel.reason() {
                return Err(Rejected { class: FailureClass::Transient, ..Rejected::plain(reason) });
            }
            let key = KeyRows { table, column, rows: index.group(group) };
            let cell =
                crate::shape::Val::cell(&rows.columns[column], Some(&rows.fields[column].ty), key.rows[0] as usize);
            let text = (!cell.is_null()).then(|| cell.text().into_owned());
            let one = paths
                .render(self, text.as_deref())
                .map_err(|reason| Rejected::plain(format!("the key `{}`: {reason}", text.as_deref().unwrap_or("null"))))
                .and_then(|files| self.one(shape, self.rows(), checker, spool_dir, Some(key), files));
            match one {
                Ok(one) => made.push(one),
                Err(rejected) => {
                    failures.push(rejected);
                    failed.entry(self.document().name.clone()).or_insert((table, Vec::new())).1.extend(key.rows);
                }
            }
        }
        self.within_budget(made, failures, index.groups())
    }

    /// A few documents of a fan-out may fail, if the export says so.
    fn within_budget(&self, mut made: Vec<Made>, failures: Vec<Rejected>, all: usize) -> Result<Vec<Made>, Rejected> {
        let count = failures.len();
        let Some(first) = failures.into_iter().next() else { return Ok(made) };
        if count as f64 * 100.0 > self.document().failure_budget_pct * all as f64 || made.is_empty() {
            let reason = match count {
                1 => first.reason.clone(),
                _ => format!("{count} of {all} documents did not pass; the first: {}", first.reason),
            };
            return Err(Rejected { reason, ..first });
        }
        let warning = FindingReport {
            rule: "failure-budget".to_owned(),
            message: format!("{count} of {all} documents did not pass and were left out; the first: {}", first.reason),
            pointer: None,
            document: None,
            value: None,
            place: None,
            severity: "warning".to_owned(),
        };
        if let Some(last) = made.last_mut() {
            last.warnings.push(warning);
        }
        Ok(made)
    }

    fn one(
        &self,
        shape: &CompiledShape,
        (inputs, indexes): (&[Input], &[Index]),
        checker: &Checker,
        spool_dir: &PathBuf,
        key: Option<KeyRows<'_>>,
        files: Vec<File>,
    ) -> Result<Made, Rejected> {
        let path = files.first().map_or_else(String::new, |f| f.path.clone());
        let mut sink = checker.sink(Encoder::new(Spool::new(spool_dir)));
        shape.run(inputs, indexes, key, &mut sink).map_err(|error| self.cannot_be_made(shape, error, &path))?;
        let Checked { spooled, findings, counts, doc } =
            sink.finish().map_err(|error| self.cannot_be_made(shape, RunError::Sink(error), &path))?;
        let mut reports: Vec<FindingReport> = findings.iter().map(|f| self.report(shape, f, &path)).collect();
        reports.extend(
            checker.at_the_end(self, &Finished { counts: &counts, doc: &doc, bytes: spooled.len, key, path: &path })?,
        );
        let Spooled { content, sha256, len } = spooled;
        if reports.is_empty() {
            return Ok(Made { body: content, sha256, len, counts, files, warnings: Vec::new() });
        }
        let first = &reports[0];
        let reason = format!(
            "`{path}` did not pass: {}{}{}",
            first.message,
            first
                .pointer
                .as_ref()
                .map(|p| format!(" at {}", if p.is_empty() { "the root" } else { p }))
                .unwrap_or_default(),
            if reports.len() > 1 { format!(" (and {} more)", reports.len() - 1) } else { String::new() }
        );
        Err(Rejected { findings: reports, document: Some((path, content, len)), ..Rejected::plain(reason) })
    }

    fn place(&self, shape: &CompiledShape, at: At) -> Option<String> {
        shape.spans.get(at.0 as usize).map(|span| render::span_place(*span, &self.engine.sources))
    }

    fn report(&self, shape: &CompiledShape, finding: &crate::document::check::Finding, path: &str) -> FindingReport {
        FindingReport {
            rule: finding.rule.to_owned(),
            message: finding.message.clone(),
            pointer: Some(finding.pointer.clone()),
            document: Some(path.to_owned()),
            value: (!finding.value.is_empty()).then(|| finding.value.clone()),
            place: self.place(shape, finding.at),
            severity: "error".to_owned(),
        }
    }

    /// A value that JSON cannot hold, an expression without a value, rows that stopped.
    fn cannot_be_made(&self, shape: &CompiledShape, error: RunError, path: &str) -> Rejected {
        let (rule, message, at, class) = match error {
            RunError::Sink(error) => {
                let class = if error.code == "io" { FailureClass::Transient } else { FailureClass::Permanent };
                (error.code, error.message, Some(error.at), class)
            }
            RunError::Eval { message, at } => ("expression", message, Some(at), FailureClass::Permanent),
            RunError::Warehouse(error) => ("query", error.message, None, super::export::query_class(error.kind)),
        };
        let finding = FindingReport {
            rule: rule.to_owned(),
            message: message.clone(),
            pointer: None,
            document: Some(path.to_owned()),
            value: None,
            place: at.and_then(|at| self.place(shape, at)),
            severity: "error".to_owned(),
        };
        Rejected { class, findings: vec![finding], ..Rejected::plain(format!("`{path}` cannot be made: {message}")) }
    }
}
