//! Runs one test of an export: its rows become a warehouse of their own, the whole engine runs, and what it made is compared.

use super::report;
use crate::adapters::duckdb::DuckDb;
use crate::adapters::memory::MemoryStore;
use crate::config::example::{Example, Expect, Expected, json};
use crate::config::{Export, Node, Project};
use crate::diagnostics::{Diagnostic, Sources};
use crate::document::compare::{self, Mode};
use crate::engine::export::Engine;
use crate::model::dates::DayRule;
use crate::model::report::{ExportReport, Status};
use crate::model::request::{Cause, CauseKind, ExportRequest};
use crate::ports::cancel::Cancel;
use crate::ports::clock::SystemClock;
use crate::ports::store::ObjectStore;
use crate::state::State;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::Handle;

/// What is not as expected.
#[derive(Debug)]
pub struct Failure {
    pub found: Diagnostic,
    /// What else there is to say: the lines that differ, or the findings of a rejected document.
    pub details: String,
}

/// What every test needs.
pub struct Stage {
    pub project: Project,
    pub sources: Arc<Sources>,
    pub days: DayRule,
}

impl Stage {
    /// Runs a test; no failure means that it passed. `Err` is about this machine, not about the test.
    pub fn rehearse(&self, export: &Export, example: &Example, handle: &Handle) -> Result<Vec<Failure>, String> {
        let folder = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
        write_tables(folder.path(), &self.project, example)
            .map_err(|e| format!("a test's rows cannot be written: {e}"))?;
        let mut project = self.project.clone();
        project.vars.extend(example.vars.clone());
        let warehouse = Arc::new(DuckDb::new(Some(folder.path().to_owned()), project.tables.clone()));
        let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
        let engine = Engine {
            project: Arc::new(project),
            sources: self.sources.clone(),
            warehouse,
            store: store.clone(),
            prefix: String::new(),
            state: State::new(Arc::new(MemoryStore::new())),
            clock: Arc::new(SystemClock),
            cancel: Cancel::default(),
        };
        // `ready` asks whether upstream has finished; a test's rows are all there will be.
        let export = Export { ready: Vec::new(), ..export.clone() };
        let report = crate::engine::export::run(&engine, &self.request(&export, example), &export, handle);
        let documents = documents(store.as_ref(), handle)?;
        let made = Made { example, report, documents };
        Ok(example.expects.iter().filter_map(|expect| made.check(expect)).collect())
    }

    fn request(&self, export: &Export, example: &Example) -> ExportRequest {
        ExportRequest {
            run_id: "test".to_owned(),
            cause: Cause { kind: CauseKind::Command, id: "test".to_owned(), time: example.now },
            exports: vec![export.name.value.clone()],
            target_date: example.target_date,
            today: self.days.day_of(example.now),
            params: example.params.clone(),
            update_latest: true,
            force: false,
        }
    }
}

/// A file of JSON lines for each declared table; those that the test does not name are empty.
fn write_tables(folder: &Path, project: &Project, example: &Example) -> std::io::Result<()> {
    for (key, table) in &project.tables {
        let Some((dataset, name)) = table.name.split_once('.') else { continue };
        let rows = example.tables.get(key).map(Vec::as_slice).unwrap_or_default();
        let lines: String = rows.iter().map(|row| serde_json::Value::Object(row.clone()).to_string() + "\n").collect();
        let dataset = folder.join(dataset);
        std::fs::create_dir_all(&dataset)?;
        std::fs::write(dataset.join(format!("{name}.jsonl")), lines)?;
    }
    Ok(())
}

fn documents(store: &dyn ObjectStore, handle: &Handle) -> Result<BTreeMap<String, serde_json::Value>, String> {
    let mut documents = BTreeMap::new();
    for object in handle.block_on(store.list("")).map_err(|e| e.to_string())? {
        let found = handle.block_on(store.get(&object.path, None)).map_err(|e| e.to_string())?;
        let document = serde_json::from_slice(&found.bytes).map_err(|e| format!("{} is no JSON: {e}", object.path))?;
        documents.insert(object.path, document);
    }
    Ok(documents)
}

/// What a test's run came to.
struct Made<'a> {
    example: &'a Example,
    report: ExportReport,
    documents: BTreeMap<String, serde_json::Value>,
}

impl Made<'_> {
    fn check(&self, expect: &Expect) -> Option<Failure> {
        match &expect.what {
            Expected::Contains(node) => self.document(expect, node, Mode::Contains),
            Expected::Document(node) => self.document(expect, node, Mode::Whole),
            Expected::Kept if self.report.status == Status::KeptEmpty => None,
            Expected::Kept => Some(self.otherwise(expect, "nothing to say was expected")),
            Expected::Rejected(text) => {
                if self.report.status != Status::Failed {
                    return Some(self.otherwise(expect, "a rejection was expected"));
                }
                let findings = self.report.findings.iter().map(|f| format!("{} {}", f.rule, f.message));
                let mut said = self.report.reason.iter().cloned().chain(findings);
                if said.any(|s| s.contains(text.as_str())) {
                    return None;
                }
                Some(self.otherwise(expect, &format!("a rejection for `{text}` was expected")))
            }
        }
    }

    /// How the run ended, when it was to end in another way.
    fn otherwise(&self, expect: &Expect, wanted: &str) -> Failure {
        let ended = match (&self.report.reason, self.documents.len()) {
            (Some(reason), _) => reason.clone(),
            (None, 1) => "one document was published".to_owned(),
            (None, n) => format!("{n} documents were published"),
        };
        let details: Vec<String> = self.report.findings.iter().map(report::finding_line).collect();
        self.failure(format!("{wanted}, but: {ended}"), expect.span, details.join("\n"))
    }

    fn failure(&self, message: String, span: crate::diagnostics::Span, details: String) -> Failure {
        let found = Diagnostic::error("failed-test", message, span).also(self.example.name.span, "in this test");
        Failure { found, details }
    }

    fn document(&self, expect: &Expect, node: &Node, mode: Mode) -> Option<Failure> {
        if self.documents.is_empty() {
            return Some(self.otherwise(expect, "a document was expected"));
        }
        let document = match self.chosen(expect) {
            Ok(document) => document,
            Err(message) => {
                let span = expect.path.as_ref().map_or(expect.span, |p| p.span);
                let paths: Vec<String> = self.documents.keys().map(|path| format!("  {path}")).collect();
                return Some(self.failure(message, span, format!("the documents are\n{}", paths.join("\n"))));
            }
        };
        let expected = json(node);
        let differences = compare::differences(&expected, document, mode);
        let first = differences.first()?;
        let pointer = if first.pointer.is_empty() { "the root" } else { &first.pointer };
        let more = match differences.len() {
            1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        let message = format!("{pointer}: {}{more}", first.message);
        let span = node.at_pointer(&first.pointer).span;
        Some(self.failure(message, span, compare::diff(&expected, document, mode)))
    }

    /// The document that is meant: by its path, or the only one there is (its aliases aside).
    fn chosen(&self, expect: &Expect) -> Result<&serde_json::Value, String> {
        if let Some(path) = &expect.path {
            return self.documents.get(&path.value).ok_or_else(|| format!("there is no document `{}`", path.value));
        }
        let mut documents = self.documents.values();
        let Some(first) = documents.next() else { return Err("there is no document".into()) };
        if documents.all(|other| other == first) {
            return Ok(first);
        }
        Err("the export made several documents: say which with `path`".into())
    }
}
