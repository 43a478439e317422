//! A document's contract and guards, compiled once for all documents of a declaration.

use super::documents::{Maker, Rejected};
use crate::diagnostics::{Span, render};
use crate::document::check::CheckSink;
use crate::document::contract::Contract;
use crate::document::guards::{Final, Guards};
use crate::document::json::Encoder;
use crate::model::report::FindingReport;
use crate::shape::expr::Expr;
use crate::shape::{Ctx, Index, Input, KeyRows, Scope, Val};
use serde_json::Value;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Compiled once, used for each document.
pub struct Checker {
    contract: Option<Contract>,
    guards: Guards,
    asserts: Vec<(Expr, String, Span)>,
}

/// What is known of a document when it is finished.
pub struct Finished<'a> {
    pub counts: &'a BTreeMap<String, u64>,
    pub doc: &'a Value,
    pub bytes: u64,
    pub key: Option<KeyRows<'a>>,
    pub path: &'a str,
}

impl Checker {
    pub fn compile(maker: &Maker<'_>) -> Result<Self, Rejected> {
        let contract = contract(maker)?;
        let (guards, findings) = Guards::compile(&maker.document().guards, &maker.engine.project.forbid);
        if let Some(first) = findings.first() {
            return Err(Rejected::of_finding(first, &maker.engine.sources));
        }
        let scope = Scope { document: true, ..maker.prepared.scope.clone() };
        let each = super::export::fan_out(maker.document(), &scope, &mut Vec::new());
        let mut asserts = Vec::new();
        for guard in &guards.finals {
            if let Final::Assert { expression, message, span } = guard {
                let (expr, findings) = crate::shape::compile::compile_assert(expression, &scope, each);
                if let Some(first) = findings.first() {
                    return Err(Rejected::of_finding(first, &maker.engine.sources));
                }
                asserts.push((expr, message.clone(), *span));
            }
        }
        Ok(Self { contract, guards, asserts })
    }

    pub fn sink(&self, encoder: Encoder) -> CheckSink<'_> {
        CheckSink::new(encoder, self.contract.as_ref(), &self.guards)
    }

    /// What is decided when the document is finished. An empty document is not held to the guards that speak of its size.
    pub fn at_the_end(&self, maker: &Maker<'_>, done: &Finished<'_>) -> Result<Vec<FindingReport>, Rejected> {
        let mut findings = Vec::new();
        let mut found = |rule: &str, message: String, span: Span| {
            findings.push(FindingReport {
                rule: rule.to_owned(),
                message,
                pointer: None,
                document: Some(done.path.to_owned()),
                value: None,
                place: Some(render::span_place(span, &maker.engine.sources)),
                severity: "error".to_owned(),
            });
        };
        let count = |path: &str| done.counts.get(path).copied().unwrap_or(0);
        for guard in &self.guards.finals {
            match guard {
                Final::MinItems { path, least, span } if !maker.empty && count(path) < *least => {
                    found(
                        "min_items",
                        format!("`{path}` has {} items, at least {least} are needed", count(path)),
                        *span,
                    );
                }
                Final::MaxItems { path, most, span } if count(path) > *most => {
                    found(
                        "max_items",
                        format!("`{path}` has {} items, at most {most} are allowed", count(path)),
                        *span,
                    );
                }
                Final::MaxBytes { most, span } if done.bytes > *most => {
                    found(
                        "max_bytes",
                        format!("the document has {} bytes, at most {most} are allowed", done.bytes),
                        *span,
                    );
                }
                Final::MaxShrink { path, percent, span } if !maker.empty && done.key.is_none() => {
                    if let Some(before) = before(maker, done.path, path)?
                        && (count(path) as f64) < before as f64 * (1.0 - percent / 100.0)
                    {
                        found(
                            "max_shrink_pct",
                            format!("`{path}` went from {before} items to {}, more than {percent} % less", count(path)),
                            *span,
                        );
                    }
                }
                Final::MinRows { query, least } if !maker.empty => {
                    let rows = rows(maker, &query.value);
                    if rows < *least {
                        found(
                            "min_rows",
                            format!("the query `{}` gave {rows} rows, at least {least} are needed", query.value),
                            query.span,
                        );
                    }
                }
                Final::NoOrphans { rows, of, by, span } => {
                    if let Some(orphan) = orphan(maker, &rows.value, &of.value, by)? {
                        found(
                            "no_orphans",
                            format!("a row of `{}` ({orphan}) has no row in `{}`", rows.value, of.value),
                            *span,
                        );
                    }
                }
                _ => {}
            }
        }
        self.asserts(maker, done, &mut found)?;
        Ok(findings)
    }

    fn asserts(
        &self,
        maker: &Maker<'_>,
        done: &Finished<'_>,
        found: &mut dyn FnMut(&str, String, Span),
    ) -> Result<(), Rejected> {
        if self.asserts.is_empty() {
            return Ok(());
        }
        let doc: BTreeMap<String, Val<'static>> = done
            .doc
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| {
                let value = match value {
                    Value::Object(_) | Value::Array(_) => Val::Json(Rc::new(value.clone())),
                    scalar => crate::shape::eval::json_value(scalar.clone()),
                };
                (key.clone(), value)
            })
            .collect();
        let ctx = Ctx::new(&maker.prepared.inputs, &[]).with_document(done.counts, &doc);
        for (expr, message, span) in &self.asserts {
            match crate::shape::run::evaluate_keyed(expr, &ctx, done.key) {
                Ok(value) if value.truthy() => {}
                Ok(_) => found("assert", message.clone(), *span),
                Err(reason) => found("assert", format!("{message}: it cannot be decided: {reason}"), *span),
            }
        }
        Ok(())
    }
}

/// The document's JSON Schema.
fn contract(maker: &Maker<'_>) -> Result<Option<Contract>, Rejected> {
    let Some(path) = &maker.document().schema else { return Ok(None) };
    let full = maker.engine.project.root.join(&path.value);
    let text = std::fs::read_to_string(&full)
        .map_err(|error| Rejected::plain(format!("the schema {} cannot be read: {error}", path.value)))?;
    let schema: Value = serde_json::from_str(&text)
        .map_err(|error| Rejected::plain(format!("the schema {} is no JSON: {error}", path.value)))?;
    let contract = Contract::compile(&schema)
        .map_err(|problems| Rejected::plain(format!("the schema {}: {}", path.value, problems.join("; "))))?;
    Ok(Some(contract))
}

fn table(maker: &Maker<'_>, query: &str) -> Option<usize> {
    maker.prepared.scope.queries.iter().position(|(name, _)| name == query)
}

fn rows(maker: &Maker<'_>, query: &str) -> u64 {
    table(maker, query).map_or(0, |t| maker.prepared.inputs[t].rows())
}

/// How many items the last object at the document's own path had: a quiet evening is not held against a busy one, only
/// against what was published of it before; an undated document is held against its last state.
fn before(maker: &Maker<'_>, object: &str, path: &str) -> Result<Option<u64>, Rejected> {
    let state = &maker.engine.state;
    let object = format!("{}{object}", maker.engine.prefix);
    let last = maker
        .handle
        .block_on(state.last_object(
            &maker.export.name.value,
            maker.request.target_date,
            &maker.document().name,
            Some(&object),
        ))
        .map_err(|error| Rejected::plain(format!("the last release cannot be read: {error}")))?;
    Ok(last.and_then(|object| object.counts.get(path).copied()))
}

/// The first row that has no partner, as text.
fn orphan(maker: &Maker<'_>, rows: &str, of: &str, by: &[(String, String)]) -> Result<Option<String>, Rejected> {
    let input = |query: &str| match table(maker, query).map(|t| &maker.prepared.inputs[t]) {
        Some(Input::Table(table)) => Ok(table),
        _ => Err(Rejected::plain(format!("`no_orphans`: there is no query `{query}`"))),
    };
    let (here, there) = (input(rows)?, input(of)?);
    let column = |table: &crate::shape::Table, name: &str| {
        table.column(name).ok_or_else(|| Rejected::plain(format!("`no_orphans`: there is no column `{name}`")))
    };
    let mine = by.iter().map(|(name, _)| column(here, name)).collect::<Result<Vec<_>, _>>()?;
    let theirs = by.iter().map(|(_, name)| column(there, name)).collect::<Result<Vec<_>, _>>()?;
    let index = Index::build(there, theirs.clone());
    for row in 0..here.len {
        if !index.has(here, &mine, row, there) {
            let texts = mine
                .iter()
                .map(|c| format!("{} {}", here.fields[*c].name, Val::cell(&here.columns[*c], None, row).text()));
            return Ok(Some(texts.collect::<Vec<_>>().join(", ")));
        }
    }
    Ok(None)
}
