//! `phase6 check`: CI's door. Everything that can be known without a warehouse, and with a target what its warehouse says.

use super::args::{CheckArgs, Format, Global};
use super::exit::Exit;
use crate::config::lint::sql::{Analyse, Analysed, Wrong};
use crate::config::{DocumentDecl, Export, Loaded, Project, Table, lint};
use crate::diagnostics::{Diagnostic, render};
use crate::document::covers::{self, Schema};
use crate::document::guards::{Final, Guards};
use crate::model::{Type, Value};
use crate::shape::Scope;
use crate::sql::{MapCatalog, TableInfo};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;

/// `phase6 check`.
pub fn run(global: &Global, args: &CheckArgs) -> Exit {
    let root = match super::context::root(global) {
        Ok(root) => root,
        Err(exit) => return exit,
    };
    let mut loaded = load_and_analyse(&root);
    loaded.findings.retain(|found| args.nulls || found.code != covers::MAYBE_NULL);
    match super::check_target::findings(&loaded, global) {
        Ok(found) => loaded.findings.extend(found),
        Err(exit) => return exit,
    }
    render::sort(&mut loaded.findings, &loaded.sources);
    let (text, exit) = report(&loaded, global.format, super::colored(global, std::io::stdout().is_terminal()));
    if !(global.quiet && exit == Exit::Ok) {
        print!("{text}");
    }
    exit
}

/// Loads a project and checks it, its SQL against the declared tables.
pub fn load_and_analyse(root: &Path) -> Loaded {
    let mut loaded = load_and_check(root, Some(&analyse));
    let found = shapes(&loaded);
    loaded.findings.extend(found);
    render::sort(&mut loaded.findings, &loaded.sources);
    loaded
}

/// Compiles shapes, guards and asserts over the columns that the queries will have, with plausible parameters.
fn shapes(loaded: &Loaded) -> Vec<Diagnostic> {
    let project = &loaded.project;
    let mut findings = Vec::new();
    for export in &project.exports {
        let columns: Option<Vec<_>> =
            export.queries.iter().map(|q| Some((q.name.value.clone(), q.columns.clone()?.into()))).collect();
        // A query whose columns are not known has a finding of its own.
        let Some(queries) = columns else { continue };
        let mut facts = lint::sql::plausible_facts(&project.vars, export);
        // A default of null is no type: a value of the declared one stands for it.
        for (ty, value) in facts.values.values_mut().filter(|(_, value)| *value == Value::Null) {
            *value = lint::sql::plausible(ty);
        }
        let (values, vars) = crate::engine::facts::shape_values(&facts);
        let scope = Scope { queries, facts: values, vars, document: false };
        findings.extend(conditions(export, &scope));
        findings.extend(defaults(export));
        for document in &export.documents {
            let each = crate::engine::export::fan_out(document, &scope, &mut findings);
            let schema = schema(project, document);
            let shapes = [(Some(&document.shape), each), (document.empty.as_ref(), None)];
            for (shape, each) in shapes.into_iter().filter_map(|(shape, each)| Some((shape?, each))) {
                let (compiled, found) = crate::shape::compile::compile_plausible(shape, &scope, each);
                if let (Some((path, root)), true) = (&schema, found.is_empty()) {
                    findings.extend(covers::check(&compiled, &scope.queries, each, &Schema { root, path }));
                }
                findings.extend(found);
            }
            let (guards, found) = Guards::compile(&document.guards, &project.forbid);
            findings.extend(found);
            let asserts = Scope { document: true, ..scope.clone() };
            for guard in &guards.finals {
                if let Final::Assert { expression, .. } = guard {
                    findings.extend(crate::shape::compile::compile_assert(expression, &asserts, each).1);
                }
            }
        }
    }
    findings
}

/// Compiles the conditions of `ready` over their queries' columns. (A query that does not exist has a finding elsewhere.)
fn conditions(export: &Export, scope: &Scope) -> Vec<Diagnostic> {
    let fields = |name: &str| export.queries.iter().find(|q| q.name.value == name)?.columns.as_deref();
    let compiled = export.ready.iter().flat_map(|condition| {
        let fields = condition.query.as_ref().and_then(|q| fields(&q.value));
        crate::engine::ready::compile(export, condition, scope, fields).1
    });
    compiled.filter(|f| f.code != "unknown-query").collect()
}

/// Holds the default rows of optional queries against their columns.
fn defaults(export: &Export) -> Vec<Diagnostic> {
    let wrong = export.queries.iter().filter_map(|query| {
        let fields = query.columns.clone()?.into();
        crate::engine::defaults::rows(query.default.as_ref()?, &fields).err()
    });
    wrong.flatten().collect()
}

/// The document's schema; one that cannot be read has a finding of its own.
fn schema<'p>(project: &Project, document: &'p DocumentDecl) -> Option<(&'p str, serde_json::Value)> {
    let path = document.schema.as_ref()?.value.as_str();
    let text = std::fs::read_to_string(project.root.join(path)).ok()?;
    Some((path, serde_json::from_str(&text).ok()?))
}

/// What a statement reads and returns, and what is wrong with it.
fn analyse(sql: &str, params: &[(String, Type)], tables: &BTreeMap<String, Table>) -> Result<Analysed, Wrong> {
    let info =
        |t: &Table| TableInfo { name: t.name.clone(), fields: t.fields.clone(), partition_by: t.partition_by.clone() };
    let catalog: MapCatalog = tables.values().map(info).collect();
    let lowered = crate::sql::lower(sql, params, &catalog).map_err(|e| (e.message, e.at, e.help))?;
    let clocks = lowered.clocks.into_iter().map(|clock| {
        let help = "use {{ today }} or {{ now }}, which are pinned when the run begins".to_owned();
        (format!("`{}` asks the clock", clock.function), Some(clock.at), Some(help))
    });
    let unbounded = lowered.readings.into_iter().filter(|r| !r.bounded).map(|reading| {
        let help = format!("add a condition on `{}`: the whole table is read otherwise", reading.partition_by);
        (format!("`{}` is read without a bound on its partition", reading.table), Some(reading.at), Some(help))
    });
    let notes = clocks.chain(unbounded).collect();
    Ok(Analysed { columns: lowered.fields, tables: lowered.tables, notes })
}

/// Loads a project and runs every check on it; the findings are in the order of the files. `analyse` looks
/// into SQL.
pub fn load_and_check(root: &Path, analyse: Option<Analyse<'_>>) -> Loaded {
    let mut loaded = crate::config::load(root, &|name| std::env::var(name).ok());
    lint::run(&mut loaded, analyse);
    render::sort(&mut loaded.findings, &loaded.sources);
    loaded
}

/// The findings in a format, and how the command ends.
pub fn report(loaded: &Loaded, format: Format, color: bool) -> (String, Exit) {
    let Loaded { findings, sources, .. } = loaded;
    let objects = || findings.iter().map(|f| render::json(f, sources));
    let text = match format {
        Format::Json => format!("{:#}\n", serde_json::Value::Array(objects().collect())),
        Format::Jsonl => objects().map(|o| format!("{o}\n")).collect(),
        Format::Github => render::github(findings, sources),
        Format::Sarif => format!("{:#}\n", render::sarif(findings, sources)),
        Format::Human | Format::Table | Format::Csv if findings.is_empty() => {
            let exports = loaded.project.exports.len();
            format!("no findings in {exports} export{}\n", if exports == 1 { "" } else { "s" })
        }
        Format::Human | Format::Table | Format::Csv => {
            format!("{}{}\n", render::human(findings, sources, color), render::summary(findings))
        }
    };
    (text, if loaded.has_errors() { Exit::Failed } else { Exit::Ok })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_project_passes_in_every_format_and_in_time() {
        let begin = std::time::Instant::now();
        let loaded = load_and_check(Path::new(env!("CARGO_MANIFEST_DIR")), None);
        // A debug build on a busy machine; the release build has a fifth of this.
        assert!(begin.elapsed().as_millis() < 2_000, "{:?}", begin.elapsed());
        for format in [Format::Human, Format::Json, Format::Jsonl, Format::Github, Format::Sarif] {
            let (text, exit) = report(&loaded, format, false);
            assert_eq!(exit, Exit::Ok, "{text}");
        }
    }

    #[test]
    fn a_folder_without_a_project_is_a_finding() {
        let dir = tempfile::tempdir().unwrap();
        let (text, exit) = report(&load_and_check(dir.path(), None), Format::Human, false);
        assert_eq!(exit, Exit::Failed);
        assert!(text.contains("phase6_publishing.yaml"), "{text}");
    }
}
