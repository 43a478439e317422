//! `phase6 check --target …` on a warehouse that bills: each statement is dry-run there, and what it says is held against what
//! the declared tables say.

use super::args::Global;
use super::context;
use super::exit::Exit;
use super::report::bytes;
use crate::config::lint::sql::plausible_facts;
use crate::config::{Export, Loaded, Query};
use crate::diagnostics::{Diagnostic, Sources};
use crate::engine::budget;
use crate::engine::export::purpose;
use crate::model::Field;
use crate::ports::warehouse::{DryRun, WarehouseError, WarehouseErrorKind as Kind};
use crate::sql::template::{Rendered, render_in};

/// The findings of the chosen target's warehouse; none where no target was chosen or its warehouse is the embedded one, which the
/// ordinary check knows. `Err` when the warehouse could not be asked.
pub fn findings(loaded: &Loaded, global: &Global) -> Result<Vec<Diagnostic>, Exit> {
    if global.target.is_none() || loaded.has_errors() {
        return Ok(Vec::new());
    }
    let warehouse = context::warehouse(&loaded.project, global)?;
    if !warehouse.bills() {
        return Ok(Vec::new());
    }
    let runtime = context::runtime()?;
    let mut found = Vec::new();
    for export in &loaded.project.exports {
        let rendered: Vec<(&Query, Rendered)> = rendered(loaded, export);
        let statements: Vec<_> = rendered.iter().map(|(_, r)| r.statement.clone()).collect();
        let answers = runtime.block_on(budget::ask(&warehouse, &statements));
        let mut billed = 0;
        for ((query, rendered), answer) in rendered.iter().zip(answers) {
            let asked = Asked { query, rendered, sources: &loaded.sources };
            match answer {
                Ok(told) => {
                    billed += told.cost.map_or(0, |cost| cost.billed);
                    found.extend(asked.told(&told));
                }
                Err(error) if error.kind == Kind::Transient => return Err(context::fail(Exit::Unavailable, error)),
                Err(error) => found.push(asked.refused(error)),
            }
        }
        found.extend(together(export, billed));
    }
    Ok(found)
}

/// Each query with plausible values; what cannot be rendered has a finding of its own.
fn rendered<'p>(loaded: &'p Loaded, export: &'p Export) -> Vec<(&'p Query, Rendered)> {
    let project = &loaded.project;
    let facts = plausible_facts(&project.vars, export);
    let one = |query: &'p Query| {
        let name = format!("{}.{}", export.name.value, query.name.value);
        let mut rendered = render_in(&name, query, &facts, &project.root, Some(&loaded.sources)).ok()?;
        rendered.statement.purpose = purpose("", export, query);
        Some((query, rendered))
    };
    export.queries.iter().filter_map(one).collect()
}

fn together(export: &Export, billed: u64) -> Option<Diagnostic> {
    let cap = budget::over_together(export, billed)?;
    let message = format!("its queries together would be billed {}, and its cap is {}", bytes(billed), bytes(cap));
    Some(Diagnostic::error("over-cap", message, export.name.span).help("raise `max_bytes_billed`, or read less"))
}

/// A query that the warehouse was asked about.
struct Asked<'a> {
    query: &'a Query,
    rendered: &'a Rendered,
    sources: &'a Sources,
}

impl Asked<'_> {
    fn finding(&self, code: &'static str, message: String, at: Option<std::ops::Range<usize>>) -> Diagnostic {
        let (span, note) = match at {
            Some(at) => self.rendered.map.place(at, self.query, Some(self.sources)),
            None => (self.query.name.span, None),
        };
        let found = Diagnostic::error(code, message, span);
        if let Some(note) = note { found.label(note) } else { found }
    }

    fn refused(&self, error: WarehouseError) -> Diagnostic {
        let message = format!("the warehouse refuses the query `{}`: {}", self.query.name.value, error.message);
        self.finding("warehouse", message, error.at)
    }

    fn told(&self, told: &DryRun) -> Vec<Diagnostic> {
        let name = &self.query.name.value;
        let mut found = Vec::new();
        for (parameter, ty) in &told.undeclared {
            let used = format!("@{parameter}");
            let at = self.rendered.statement.sql.find(&used).map(|start| start..start + used.len());
            let message = format!("the query `{name}` uses the parameter `{used}`, and nobody declares it");
            found.push(
                self.finding("undeclared-parameter", message, at).help(format!(
                    "declare it under `params:`, such as `{parameter}: {}`",
                    ty.to_string().to_lowercase()
                )),
            );
        }
        if let Some(declared) = &self.query.columns {
            found.extend(differences(declared, &told.fields).into_iter().map(|difference| {
                self.finding("schema-drift", format!("the query `{name}`: {difference}"), None)
                    .help("the tables under schemas/tables are not what the warehouse has; write what it has there")
            }));
        }
        if let Some(cost) = told.cost.filter(budget::over) {
            let message = format!(
                "the query `{name}` would be billed {}, and its cap is {}",
                bytes(cost.billed),
                bytes(cost.cap)
            );
            found.push(
                self.finding("over-cap", message, None).help("raise `max_bytes_billed`, or read less of the table"),
            );
        }
        found
    }
}

/// What differs in the columns' names and types. Whether a column may be NULL is not compared: a result's columns always may.
fn differences(declared: &[Field], told: &[Field]) -> Vec<String> {
    if declared.len() != told.len() {
        return vec![format!(
            "the warehouse returns {} columns, the declared tables say {}",
            told.len(),
            declared.len()
        )];
    }
    let differ = |(ours, theirs): (&Field, &Field)| {
        if !ours.name.eq_ignore_ascii_case(&theirs.name) {
            return Some(format!("the warehouse calls `{}` a column that we call `{}`", theirs.name, ours.name));
        }
        (ours.ty != theirs.ty).then(|| {
            format!("the warehouse returns `{}` as {}, the declared tables say {}", theirs.name, theirs.ty, ours.ty)
        })
    };
    declared.iter().zip(told).filter_map(differ).collect()
}
