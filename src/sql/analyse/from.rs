//! FROM: tables, joins, UNNEST.

use super::scope::{Col, Scope, Var, column_of};
use super::typed::{Lit, Typed, field_names, phys, quoted};
use super::{Analyser, Res};
use crate::diagnostics::nearest;
use crate::model::Type;
use crate::sql::ast::*;
use crate::sql::error::SqlError;
use std::ops::Range;

/// A FROM clause: its text and the names it gives.
#[derive(Debug, Clone, Default)]
pub(super) struct From {
    pub sql: String,
    pub scope: Scope,
    /// Reads columns of what stands left of it.
    lateral: bool,
}

impl Analyser<'_> {
    /// `left` is what an array's path may refer to.
    pub(super) fn from(&mut self, table: &TableExpr, left: Option<&Scope>) -> Res<From> {
        match table {
            TableExpr::Table { path, alias, at } => self.table(path, alias.as_ref(), at, left),
            TableExpr::Unnest { expr, alias, offset, at } => {
                self.unnest(expr, alias.as_ref(), offset.as_ref(), at, left)
            }
            TableExpr::Sub { query, alias } => {
                let rel = self.subquery(query)?;
                let cols =
                    rel.items.iter().map(|i| Col { name: i.name.clone(), expr: i.expr.clone() }).collect::<Vec<_>>();
                let sql = format!("({})", rel.unordered());
                Ok(self.relation(sql, &cols, rel.value, alias.as_ref().map_or("", |a| &a.name)))
            }
            TableExpr::Join { kind, left: l, right, on, at } => self.join(*kind, l, right, on, at, left),
            TableExpr::Pivot { input, pivot, alias, at } => self.pivot(input, pivot, alias.as_ref(), at),
            TableExpr::Unpivot { input, unpivot, alias, at } => self.unpivot(input, unpivot, alias.as_ref(), at),
        }
    }

    /// Something that gives columns `"c1"`, …, under a fresh alias.
    pub(super) fn relation(&mut self, sql: String, cols: &[Col], value: bool, name: &str) -> From {
        let alias = self.fresh("t");
        let cols: Vec<Col> = cols.iter().enumerate().map(|(i, c)| column_of(&alias, i, c)).collect();
        let scope = Scope { vars: vec![var_of(name, cols, value)], ..Scope::default() };
        From { sql: format!("{sql} AS {alias}"), scope, lateral: false }
    }

    fn table(&mut self, path: &[Ident], alias: Option<&Ident>, at: &Range<usize>, left: Option<&Scope>) -> Res<From> {
        let first = &path[0];
        if path.len() > 1 {
            // A path that begins with a range variable is an array of it.
            let known = left.is_some_and(|s| s.var(&first.name).is_some())
                || self.scopes.iter().any(|s| s.var(&first.name).is_some());
            if known {
                let mut expr = Expr { kind: ExprKind::Name(first.clone()), at: first.at.clone() };
                for part in &path[1..] {
                    let place = first.at.start..part.at.end;
                    expr = Expr { kind: ExprKind::Field(Box::new(expr), part.clone()), at: place };
                }
                let alias = alias.or(path.last());
                return self.unnest(&expr, alias, None, at, left);
            }
        } else if let Some(cte) = self.cte(&first.name) {
            let name = alias.map_or(first.name.as_str(), |a| &a.name);
            return Ok(self.relation(cte.sql_name.clone(), &cte.cols, cte.value, name));
        }
        let name = match path {
            [_] => first.name.clone(),
            [.., dataset, table] => format!("{}.{}", dataset.name, table.name),
            [] => String::new(),
        };
        if name.contains('*') || path.iter().any(|p| p.name.eq_ignore_ascii_case("INFORMATION_SCHEMA")) {
            return Err(SqlError::unsupported(format!("the table `{name}`"), at));
        }
        let Some(info) = self.catalog.table(&name).filter(|_| path.len() > 1) else {
            let ctes: Vec<String> = self.ctes.iter().map(|c| c.name.clone()).collect();
            let known = self.catalog.names();
            let help =
                nearest(&name, known.iter().chain(&ctes).map(String::as_str)).map(|n| format!("did you mean `{n}`?"));
            return Err(SqlError::invalid(format!("unknown table `{name}`"), at).help(help));
        };
        if !self.tables.iter().any(|t| t.eq_ignore_ascii_case(&info.name)) {
            self.tables.push(info.name.clone());
        }
        if let Some(f) = info.fields.iter().find(|f| super::typed::nests_big(&f.ty)) {
            return Err(SqlError::unsupported(format!("the column `{}` of type {}", f.name, f.ty), at));
        }
        let t = self.fresh("t");
        let cols: Vec<Col> = info
            .fields
            .iter()
            .map(|f| {
                let column = format!("{t}.{}", quoted(&f.name));
                // JSON is handled as its text.
                let sql = match f.ty {
                    Type::Json => format!("CAST({column} AS VARCHAR)"),
                    Type::BigNumeric => format!("gs_str_big({column})"),
                    _ => column,
                };
                let mut expr = Typed::new(sql, f.ty.clone()).nullable(f.nullable);
                expr.loose = f.ty == Type::Numeric;
                expr.fails = false;
                Col { name: f.name.clone(), expr }
            })
            .collect();
        if let Some(partition) = &info.partition_by {
            let reading = super::Reading {
                table: info.name.clone(),
                partition_by: partition.clone(),
                bounded: false,
                at: at.clone(),
            };
            let column =
                info.fields.iter().find(|f| f.name.eq_ignore_ascii_case(partition)).map_or(partition, |f| &f.name);
            self.readings.push(super::Bound { reading, column: format!("{t}.{}", quoted(column)) });
        }
        let (dataset, table) = info.name.split_once('.').unwrap_or(("", &info.name));
        let name = alias.map_or_else(|| path.last().map_or("", |p| &p.name), |a| &a.name);
        let scope = Scope { vars: vec![var_of(name, cols, false)], ..Scope::default() };
        Ok(From { sql: format!("{}.{} AS {t}", quoted(dataset), quoted(table)), scope, lateral: false })
    }

    fn unnest(
        &mut self,
        expr: &Expr,
        alias: Option<&Ident>,
        offset: Option<&Option<Ident>>,
        _at: &Range<usize>,
        left: Option<&Scope>,
    ) -> Res<From> {
        self.scopes.push(left.cloned().unwrap_or_default());
        let array = self.expr(expr);
        self.scopes.pop();
        let mut array = array?;
        if array.is_null_literal() && array.ty == Type::Int64 {
            array = self.coerce(array, &Type::Array(Box::new(Type::Int64)))?;
        }
        let Type::Array(item) = array.ty.clone() else {
            return Err(SqlError::invalid(format!("UNNEST needs an array, this is a {}", array.ty), &expr.at));
        };
        let t = self.fresh("t");
        let value = Typed { fails: false, ..Typed::new(format!("{t}.v"), (*item).clone()) };
        let name = alias.map_or("", |a| &a.name);
        let cols = match item.as_ref() {
            Type::Struct(fields) => fields
                .iter()
                .zip(field_names(fields))
                .map(|(f, n)| {
                    let expr = Typed { fails: false, ..Typed::new(format!("({t}.v).{}", quoted(&n)), f.ty.clone()) };
                    Col { name: f.name.clone(), expr }
                })
                .collect(),
            _ => vec![Col { name: name.to_owned(), expr: value.clone() }],
        };
        let mut vars =
            vec![Var { name: name.to_owned(), cols, value: Some(value), merged: Vec::new(), hidden: Vec::new() }];
        let mut more = String::new();
        if let Some(offset) = offset {
            let name = offset.as_ref().map_or("offset", |o| &o.name).to_owned();
            let expr = Typed { fails: false, ..Typed::new(format!("{t}.o"), Type::Int64).nullable(false) };
            vars.push(Var {
                name: name.clone(),
                cols: vec![Col { name, expr: expr.clone() }],
                value: Some(expr),
                merged: Vec::new(),
                hidden: Vec::new(),
            });
            more = ", unnest(range(len(gs_a.a))) AS o".into();
        }
        let sql = format!(
            "(SELECT unnest(gs_a.a) AS v{more} FROM (SELECT {} AS a) AS gs_a) AS {t}",
            if array.lit == Lit::Composite && array.parts.is_empty() {
                format!("CAST([] AS {})", phys(&array.ty))
            } else {
                array.sql.clone()
            }
        );
        Ok(From { sql, scope: Scope { vars, ..Scope::default() }, lateral: true })
    }

    fn join(
        &mut self,
        kind: JoinKind,
        left: &TableExpr,
        right: &TableExpr,
        on: &JoinOn,
        at: &Range<usize>,
        outer_left: Option<&Scope>,
    ) -> Res<From> {
        let first_left = self.readings.len();
        let mut l = self.from(left, outer_left)?;
        let first_right = self.readings.len();
        let mut r = self.from(right, Some(&l.scope))?;
        for var in &r.scope.vars {
            if !var.name.is_empty() && l.scope.var(&var.name).is_some() {
                return Err(SqlError::invalid(format!("two tables are called `{}`", var.name), at));
            }
        }
        if matches!(kind, JoinKind::Right | JoinKind::Full) {
            make_nullable(&mut l.scope);
        }
        if matches!(kind, JoinKind::Left | JoinKind::Full) {
            make_nullable(&mut r.scope);
        }
        let mut right_sql =
            if matches!(right, TableExpr::Join { .. }) { format!("({})", r.sql) } else { r.sql.clone() };
        if r.lateral && !matches!(kind, JoinKind::Right | JoinKind::Full) {
            right_sql = format!("LATERAL {right_sql}");
        }
        let mut scope = Scope { vars: [l.scope.vars.clone(), r.scope.vars.clone()].concat(), ..Scope::default() };
        scope.using = [l.scope.using.clone(), r.scope.using.clone()].concat();
        let word = match kind {
            JoinKind::Cross | JoinKind::Inner => "INNER JOIN",
            JoinKind::Left => "LEFT JOIN",
            JoinKind::Right => "RIGHT JOIN",
            JoinKind::Full => "FULL JOIN",
        };
        let condition = match on {
            JoinOn::None if matches!(kind, JoinKind::Cross | JoinKind::Inner) => {
                let sql = format!("{} CROSS JOIN {right_sql}", l.sql);
                return Ok(From { sql, scope, lateral: l.lateral });
            }
            JoinOn::None => "true".to_owned(),
            JoinOn::On(expr) => {
                self.scopes.push(scope.clone());
                let t = self.bool_condition(expr, "ON");
                if t.is_ok() {
                    self.note_join_bounds(kind, expr, (first_left, first_right));
                }
                self.scopes.pop();
                t?.sql
            }
            JoinOn::Using(names) => self.using(kind, names, &l.scope, &r.scope, &mut scope)?,
        };
        let sql = format!("{} {word} {right_sql} ON {condition}", l.sql);
        Ok(From { sql, scope, lateral: l.lateral })
    }

    /// ON bounds both sides of an inner join, and the side that an outer join fills with NULL.
    fn note_join_bounds(&mut self, kind: JoinKind, on: &Expr, (first_left, first_right): (usize, usize)) {
        let before: Vec<bool> = self.readings.iter().map(|r| r.reading.bounded).collect();
        self.note_bounds(on);
        for (i, reading) in self.readings.iter_mut().enumerate() {
            let kept = match kind {
                JoinKind::Inner | JoinKind::Cross => i >= first_left,
                JoinKind::Left => i >= first_right,
                JoinKind::Right => (first_left..first_right).contains(&i),
                JoinKind::Full => false,
            };
            if !kept {
                reading.reading.bounded = before[i];
            }
        }
    }

    fn using(&mut self, kind: JoinKind, names: &[Ident], l: &Scope, r: &Scope, out: &mut Scope) -> Res<String> {
        let mut conditions = Vec::new();
        let mut merged = Vec::new();
        for name in names {
            let pick = |side: &Scope| {
                side.find(name)?.ok_or_else(|| {
                    SqlError::invalid(format!("the column `{}` of USING is not on both sides", name.name), &name.at)
                })
            };
            let (a, b) = (pick(l)?, pick(r)?);
            conditions.push(self.compare(Binary::Eq, a.clone(), b.clone(), &name.at)?.sql);
            let expr = match kind {
                JoinKind::Right => b,
                JoinKind::Full => {
                    let nullable = a.nullable && b.nullable;
                    let (both, ty) = self.unify(vec![a, b], "USING", &name.at)?;
                    let sql = format!("coalesce({}, {})", both[0].sql, both[1].sql);
                    Typed { fails: false, ..Typed::new(sql, ty).nullable(nullable) }
                }
                _ => a,
            };
            merged.push(Col { name: name.name.clone(), expr });
        }
        for var in &mut out.vars {
            for name in names {
                if var.col(&name.name).is_some() {
                    var.merged.push(name.name.clone());
                }
            }
        }
        out.using.retain(|c| !names.iter().any(|n| n.name.eq_ignore_ascii_case(&c.name)));
        merged.append(&mut out.using);
        out.using = merged;
        Ok(conditions.join(" AND "))
    }
}

fn var_of(name: &str, cols: Vec<Col>, value: bool) -> Var {
    if !value {
        return Var { name: name.to_owned(), cols, value: None, merged: Vec::new(), hidden: Vec::new() };
    }
    let row = cols[0].expr.clone();
    let cols = match &row.ty {
        Type::Struct(fields) => fields
            .iter()
            .zip(field_names(fields))
            .map(|(f, n)| {
                let expr = Typed { fails: false, ..Typed::new(format!("({}).{}", row.sql, quoted(&n)), f.ty.clone()) };
                Col { name: f.name.clone(), expr }
            })
            .collect(),
        _ => vec![Col { name: name.to_owned(), expr: row.clone() }],
    };
    Var { name: name.to_owned(), cols, value: Some(row), merged: Vec::new(), hidden: Vec::new() }
}

fn make_nullable(scope: &mut Scope) {
    for var in &mut scope.vars {
        var.cols.iter_mut().for_each(|c| c.expr.nullable = true);
        if let Some(value) = &mut var.value {
            value.nullable = true;
        }
    }
    scope.using.iter_mut().for_each(|c| c.expr.nullable = true);
}
