//! Queries: WITH, set operations, ORDER BY and LIMIT around them, subqueries.

use super::order::groupable;
use super::scope::{Col, Cte, Scope, Var, column_of};
use super::typed::Typed;
use super::{Analyser, Item, Rel, Res};
use crate::model::Type;
use crate::sql::ast::{Ident, OrderItem, Query, SetExpr, SetOp};
use crate::sql::error::SqlError;
use std::ops::Range;

impl Analyser<'_> {
    pub(super) fn query(&mut self, query: &Query) -> Res<Rel> {
        let ctes = self.ctes.len();
        let with = self.with(query)?;
        let mut rel = match &query.body {
            SetExpr::Select(select) => self.select(select, query)?,
            other => {
                let rel = self.set_expr(other)?;
                if query.order_by.is_empty() && query.limit.is_none() { rel } else { self.wrapped(rel, query)? }
            }
        };
        self.ctes.truncate(ctes);
        if !with.is_empty() {
            if let Some(raw) = &mut rel.raw {
                raw.insert_str(0, &with);
            }
            rel.prefix.insert_str(0, &with);
        }
        Ok(rel)
    }

    /// A query that sees the columns around it.
    pub(super) fn subquery(&mut self, query: &Query) -> Res<Rel> {
        let aggregate = std::mem::replace(&mut self.in_aggregate, false);
        let count = self.aggregates;
        let rel = self.query(query);
        self.in_aggregate = aggregate;
        self.aggregates = count;
        rel
    }

    fn set_expr(&mut self, body: &SetExpr) -> Res<Rel> {
        match body {
            SetExpr::Select(select) => {
                let plain = Query {
                    recursive: false,
                    with: Vec::new(),
                    body: SetExpr::Query(Box::new(empty_query())),
                    order_by: Vec::new(),
                    limit: None,
                    offset: None,
                    at: select.at.clone(),
                };
                self.select(select, &plain)
            }
            SetExpr::Query(query) => self.query(query),
            SetExpr::Op { op, all, items, at } => {
                let mut rels = Vec::new();
                for item in items {
                    rels.push(self.set_expr(item)?);
                }
                self.set_op(*op, *all, rels, at)
            }
        }
    }

    fn set_op(&mut self, op: SetOp, all: bool, mut rels: Vec<Rel>, at: &Range<usize>) -> Res<Rel> {
        let width = rels[0].items.len();
        if let Some(other) = rels.iter().find(|r| r.items.len() != width) {
            let message = format!("queries of {width} and {} columns in one set operation", other.items.len());
            return Err(SqlError::invalid(message, at));
        }
        for column in 0..width {
            let exprs: Vec<Typed> = rels.iter().map(|r| r.items[column].expr.clone()).collect();
            let numeric = exprs.iter().all(|e| e.ty == Type::Numeric);
            let (exprs, ty) = self.unify(exprs, "this column of the set operation", at)?;
            if !(groupable(&ty) || op == SetOp::Union && all) {
                return Err(SqlError::unsupported(format!("a distinct set operation over {ty}"), at));
            }
            for (rel, expr) in rels.iter_mut().zip(exprs) {
                if rel.raw.is_some() && rel.items[column].expr.ty != expr.ty {
                    return Err(SqlError::unsupported("coercing this query's columns", at));
                }
                if rel.raw.is_none() || numeric {
                    rel.items[column].expr = expr;
                }
            }
        }
        let word = match (op, all) {
            (SetOp::Union, true) => " UNION ALL ",
            (SetOp::Union, false) => " UNION ",
            (SetOp::Intersect, true) => " INTERSECT ALL ",
            (SetOp::Intersect, false) => " INTERSECT ",
            (SetOp::Except, true) => " EXCEPT ALL ",
            (SetOp::Except, false) => " EXCEPT ",
        };
        let alias = self.fresh("t");
        let mut items = Vec::new();
        for column in 0..width {
            let first = &rels[0].items[column];
            let mut col = Col { name: first.name.clone(), expr: first.expr.clone() };
            col.expr.nullable = rels.iter().any(|r| r.items[column].expr.nullable);
            let col = column_of(&alias, column, &col);
            items.push(Item { name: col.name, expr: col.expr });
        }
        let parts: Vec<String> = rels.iter().map(|r| format!("({})", r.unordered())).collect();
        Ok(Rel {
            prefix: "SELECT ".into(),
            items,
            suffix: format!(" FROM ({}) AS {alias}", parts.join(word)),
            value: rels.iter().all(|r| r.value),
            ..Rel::default()
        })
    }

    /// ORDER BY and LIMIT over a finished relation: its columns are all that can be named.
    pub(super) fn wrapped(&mut self, rel: Rel, query: &Query) -> Res<Rel> {
        let alias = self.fresh("t");
        let cols: Vec<Col> = rel
            .items
            .iter()
            .enumerate()
            .map(|(i, item)| column_of(&alias, i, &Col { name: item.name.clone(), expr: item.expr.clone() }))
            .collect();
        let value = if rel.value { cols.first().map(|c| c.expr.clone()) } else { None };
        let items = cols.iter().map(|c| Item { name: c.name.clone(), expr: c.expr.clone() }).collect();
        let mut out = Rel {
            prefix: "SELECT ".into(),
            items,
            suffix: format!(" FROM ({}) AS {alias}", rel.unordered()),
            value: rel.value,
            ..Rel::default()
        };
        let var = Var { name: String::new(), cols, value, merged: Vec::new(), hidden: Vec::new() };
        self.scopes.push(Scope { vars: vec![var], ..Scope::default() });
        let done = self.order_and_limit(&mut out, query);
        self.scopes.pop();
        done.map(|()| out)
    }

    fn order_and_limit(&mut self, rel: &mut Rel, query: &Query) -> Res<()> {
        for item in &query.order_by {
            let t = match self.ordinal(&item.expr, &rel.items)? {
                Some(t) => t,
                None => self.expr(&item.expr)?,
            };
            rel.order.extend(super::order::keys(&t, item.desc, item.nulls_first)?);
        }
        rel.limit = self.limit(query)?;
        Ok(())
    }

    /// ` LIMIT n OFFSET m`, or nothing.
    pub(super) fn limit(&mut self, query: &Query) -> Res<String> {
        let mut out = String::new();
        if let Some(limit) = &query.limit {
            out.push_str(&format!(" LIMIT {}", self.count_of(limit)?));
        }
        if let Some(offset) = &query.offset {
            out.push_str(&format!(" OFFSET {}", self.count_of(offset)?));
        }
        Ok(out)
    }

    /// A WITH RECURSIVE query; the flag tells whether it reads itself.
    pub(super) fn recursive(&mut self, name: &Ident, query: &Query, sql_name: &str) -> Res<(Rel, bool)> {
        let SetExpr::Op { op: SetOp::Union, all, items, at } = &query.body else {
            return Ok((self.query(query)?, false));
        };
        let plain = query.with.is_empty() && query.order_by.is_empty() && query.limit.is_none();
        let (Some((last, first)), true) = (items.split_last(), plain) else {
            return Ok((self.query(query)?, false));
        };
        let mut bases = Vec::new();
        for item in first {
            bases.push(self.set_expr(item)?);
        }
        let base = if bases.len() == 1 { bases.remove(0) } else { self.set_op(SetOp::Union, *all, bases, at)? };
        let cols = base.items.iter().map(|i| Col { name: i.name.clone(), expr: i.expr.clone() }).collect();
        self.ctes.push(Cte { name: name.name.clone(), sql_name: sql_name.to_owned(), cols, value: base.value });
        let step = self.set_expr(last);
        self.ctes.pop();
        let mut step = step?;
        if !step.sql().contains(&format!("{sql_name} AS t")) {
            return Ok((self.query(query)?, false));
        }
        if step.items.len() != base.items.len() {
            return Err(SqlError::invalid("the parts of a recursive query differ in their columns", at));
        }
        let mut base = base;
        for (b, s) in base.items.iter_mut().zip(step.items.iter_mut()) {
            b.expr = b.expr.clone().strict();
            if !s.expr.coerces(&b.expr.ty) {
                return Err(SqlError::unsupported("a recursive query whose parts differ in types", at));
            }
            s.expr = self.coerce(s.expr.clone(), &b.expr.ty.clone())?;
            b.expr.nullable |= s.expr.nullable;
            b.expr.lit = super::typed::Lit::No;
        }
        let word = if *all { "UNION ALL" } else { "UNION" };
        base.raw = Some(format!("({}) {word} ({})", base.unordered(), step.unordered()));
        Ok((base, true))
    }

    /// `ARRAY(SELECT …)`.
    pub(super) fn array_query(&mut self, query: &Query, at: &Range<usize>) -> Res<Typed> {
        let rel = self.subquery(query)?;
        if rel.items.len() != 1 {
            return Err(SqlError::invalid("a subquery in ARRAY() must have one column", at));
        }
        let item = rel.items[0].expr.ty.clone();
        if matches!(item, Type::Array(_)) {
            return Err(SqlError::invalid("an array cannot hold arrays", at));
        }
        let order: Vec<String> =
            rel.order.iter().enumerate().map(|(i, k)| format!("gs_s.\"k{}\" {}", i + 1, k.direction)).collect();
        let order = if order.is_empty() { String::new() } else { format!(" ORDER BY {}", order.join(", ")) };
        let ty = Type::Array(Box::new(item));
        let sql = format!(
            "(SELECT coalesce(list(gs_s.\"c1\"{order}), CAST([] AS {})) FROM ({}) AS gs_s)",
            super::typed::phys(&ty),
            rel.with_keys()
        );
        Ok(Typed::new(sql, ty).nullable(false).at(at))
    }

    /// `(SELECT …)` as a value.
    pub(super) fn scalar_query(&mut self, query: &Query, at: &Range<usize>) -> Res<Typed> {
        let rel = self.subquery(query)?;
        if rel.items.len() != 1 {
            return Err(SqlError::invalid("a subquery used as a value must have one column", at));
        }
        let ty = rel.items[0].expr.ty.clone();
        let mut out = Typed::new(format!("({})", rel.sql()), ty).at(at);
        out.loose = out.ty == Type::Numeric;
        Ok(out)
    }
}

fn empty_query() -> Query {
    Query {
        recursive: false,
        with: Vec::new(),
        body: SetExpr::Op { op: SetOp::Union, all: true, items: Vec::new(), at: 0..0 },
        order_by: Vec::<OrderItem>::new(),
        limit: None,
        offset: None,
        at: 0..0,
    }
}
