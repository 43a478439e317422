//! Queries render with plausible values, and what they come to is analysed.

use crate::config::{Export, Project, Query, Table};
use crate::diagnostics::{Diagnostic, Sources};
use crate::model::facts::type_of;
use crate::model::{Facts, Field, Type, Value};
use crate::sql::template::{Rendered, render_in};
use std::collections::BTreeMap;
use std::ops::Range;

/// What is wrong with a statement: the sentence, the bytes, what to do.
pub type Wrong = (String, Option<Range<usize>>, Option<String>);

/// What a statement comes to.
pub struct Analysed {
    pub columns: Vec<Field>,
    /// `dataset.table` names that it reads.
    pub tables: Vec<String>,
    /// What is wrong although it can be understood: a call that asks the clock, a partition without bounds.
    pub notes: Vec<Wrong>,
}

/// Looks into a statement, given its parameters and the declared tables.
pub type Analyse<'a> = &'a dyn Fn(&str, &[(String, Type)], &BTreeMap<String, Table>) -> Result<Analysed, Wrong>;

/// Renders every query; with `analyse` fills in `columns` and `tables`.
pub fn check(project: &mut Project, sources: &Sources, analyse: Option<Analyse<'_>>) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    let Project { exports, tables, vars, root, .. } = project;
    for export in exports {
        let facts = plausible_facts(vars, export);
        let name = export.name.value.clone();
        for query in &mut export.queries {
            let name = format!("{name}.{}", query.name.value);
            let rendered = match render_in(&name, query, &facts, root, Some(sources)) {
                Ok(rendered) => rendered,
                Err(found) => {
                    findings.extend(found);
                    continue;
                }
            };
            let Some(analyse) = analyse else { continue };
            let params: Vec<(String, Type)> =
                rendered.statement.params.iter().map(|p| (p.name.clone(), p.ty.clone())).collect();
            match analyse(&rendered.statement.sql, &params, tables) {
                Ok(analysed) => {
                    let notes = analysed.notes.into_iter();
                    findings.extend(notes.map(|note| finding("sql-lint", note, &rendered, query, sources)));
                    query.columns = Some(analysed.columns);
                    query.tables = analysed.tables;
                }
                Err(wrong) => findings.push(finding("bad-sql", wrong, &rendered, query, sources)),
            }
        }
    }
    findings
}

fn finding(code: &'static str, wrong: Wrong, rendered: &Rendered, query: &Query, sources: &Sources) -> Diagnostic {
    let (message, at, help) = wrong;
    let (span, note) = match at {
        Some(at) => rendered.map.place(at, query, Some(sources)),
        None => (query.sql_span, None),
    };
    let found = Diagnostic::error(code, message, span);
    let mut found = if let Some(note) = note { found.label(note) } else { found };
    found.help = help;
    found
}

/// Values of the declared types, so that a template can run without a request.
pub fn plausible_facts(vars: &BTreeMap<String, Value>, export: &Export) -> Facts {
    let mut facts = Facts::default();
    for param in &export.params {
        let value = param.default.clone().unwrap_or_else(|| plausible(&param.ty));
        facts.values.insert(param.name.value.clone(), (param.ty.clone(), value));
    }
    let day = || (Type::Date, plausible(&Type::Date));
    facts.values.entry("target_date".into()).or_insert_with(day);
    facts.values.insert("today".into(), (Type::Date, plausible(&Type::Date)));
    facts.values.insert("now".into(), (Type::Timestamp, plausible(&Type::Timestamp)));
    facts.vars = vars.iter().map(|(name, value)| (name.clone(), (type_of(value), value.clone()))).collect();
    facts
}

/// A value of a type.
pub fn plausible(ty: &Type) -> Value {
    match ty {
        Type::Bool => Value::Bool(true),
        Type::Int64 => Value::Int64(1),
        Type::Float64 => Value::Float64(1.5),
        Type::Array(item) => Value::Array(vec![plausible(item)]),
        Type::Date => Value::Text("2025-12-12".into()),
        Type::Timestamp => Value::Text("2025-12-12T18:00:00Z".into()),
        Type::Numeric | Type::BigNumeric => Value::Text("1.5".into()),
        _ => Value::Text("x".into()),
    }
}
