//! SELECT and its clauses.

use super::order::{groupable, keys};
use super::scope::{Col, has};
use super::typed::{Lit, Typed, quoted};
use super::{Analyser, Item, Rel, Res};
use crate::model::Type;
use crate::model::types::StructField;
use crate::sql::ast::*;
use crate::sql::error::SqlError;

impl Analyser<'_> {
    pub(super) fn select(&mut self, select: &Select, query: &Query) -> Res<Rel> {
        let from = match &select.from {
            Some(table) => self.from(table, None)?,
            None => super::from::From::default(),
        };
        self.scopes.push(from.scope);
        self.windows.push(select.windows.iter().map(|(n, o)| (n.name.clone(), o.clone())).collect());
        let out = self.select_in(select, query, &from.sql);
        self.windows.pop();
        self.scopes.pop();
        out
    }

    fn select_in(&mut self, select: &Select, query: &Query, from: &str) -> Res<Rel> {
        let mut suffix = if from.is_empty() { String::new() } else { format!(" FROM {from}") };
        if let Some(filter) = &select.filter {
            let before = self.aggregates;
            let t = self.condition(filter, "WHERE")?;
            if self.aggregates != before {
                return Err(SqlError::invalid("WHERE cannot hold aggregates or window functions", &filter.at));
            }
            self.note_bounds(filter);
            suffix.push_str(&format!(" WHERE {}", t.sql));
        }
        let before = self.aggregates;
        let (items, plain) = self.items(select)?;
        let mut items = items;
        let mut aggregated = self.aggregates != before;
        if let Some(group_by) = &select.group_by {
            aggregated = true;
            suffix.push_str(&self.group_by(group_by, &mut items, &plain)?);
        }
        // HAVING, QUALIFY and ORDER BY see the select list's names.
        let names: Vec<Col> = items
            .iter()
            .filter(|i| !i.name.is_empty())
            .map(|i| Col { name: i.name.clone(), expr: Typed { lit: Lit::No, ..i.expr.clone() } })
            .collect();
        if let Some(having) = &select.having {
            let t = self.with_names(&names, true, |a| a.condition(having, "HAVING"))?;
            suffix.push_str(&format!(" HAVING {}", t.sql));
            aggregated = true;
        }
        if let Some(qualify) = &select.qualify {
            let t = self.with_names(&names, true, |a| a.condition(qualify, "QUALIFY"))?;
            suffix.push_str(&format!(" QUALIFY {}", t.sql));
        }
        let _ = aggregated;
        let mut rel = Rel { prefix: "SELECT ".into(), suffix, ..Rel::default() };
        if select.distinct {
            if let Some(bad) = items.iter().find(|i| !groupable(&i.expr.ty)) {
                return Err(SqlError::unsupported(format!("DISTINCT over {}", bad.expr.ty), &bad.expr.at));
            }
            rel.prefix.push_str("DISTINCT ");
            return self.distinct_ordered(select, query, rel, items, &names);
        }
        for item in &query.order_by {
            let t = match self.ordinal(&item.expr, &items)? {
                Some(t) => t,
                None => self.with_names(&names, false, |a| a.expr(&item.expr))?,
            };
            rel.order.extend(keys(&t, item.desc, item.nulls_first)?);
        }
        rel.limit = self.limit(query)?;
        self.pack(select, &mut rel, items)?;
        Ok(rel)
    }

    /// SELECT DISTINCT with ORDER BY: the keys are columns of the result.
    fn distinct_ordered(
        &mut self,
        select: &Select,
        query: &Query,
        mut rel: Rel,
        items: Vec<Item>,
        names: &[Col],
    ) -> Res<Rel> {
        if query.order_by.is_empty() && query.limit.is_none() || select.select_as != SelectAs::Columns {
            if !query.order_by.is_empty() {
                return Err(SqlError::unsupported("SELECT DISTINCT AS with ORDER BY", &select.at));
            }
            rel.limit = self.limit(query)?;
            self.pack(select, &mut rel, items)?;
            return Ok(rel);
        }
        let mut picks = Vec::new();
        for order in &query.order_by {
            let t = match self.ordinal(&order.expr, &items)? {
                Some(t) => t,
                None => self.with_names(names, false, |a| a.expr(&order.expr))?,
            };
            let index = items.iter().position(|i| i.expr.sql == t.sql).ok_or_else(|| {
                SqlError::unsupported("ordering SELECT DISTINCT by what it does not select", &order.expr.at)
            })?;
            picks.push(index);
        }
        self.pack(select, &mut rel, items)?;
        let mut plain = query.clone();
        plain.order_by.clear();
        let mut out = self.wrapped(rel, &plain)?;
        for (order, index) in query.order_by.iter().zip(picks) {
            let t = out.items[index].expr.clone().at(&order.expr.at);
            out.order.extend(keys(&t, order.desc, order.nulls_first)?);
        }
        Ok(out)
    }

    /// SELECT AS STRUCT and AS VALUE.
    fn pack(&mut self, select: &Select, rel: &mut Rel, items: Vec<Item>) -> Res<()> {
        match select.select_as {
            SelectAs::Columns => rel.items = items,
            SelectAs::Value => {
                if items.len() != 1 {
                    return Err(SqlError::invalid("SELECT AS VALUE needs one column", &select.at));
                }
                rel.value = true;
                rel.items = items;
            }
            SelectAs::Struct => {
                let fields: Vec<StructField> =
                    items.iter().map(|i| StructField { name: i.name.clone(), ty: i.expr.ty.clone() }).collect();
                let parts = items.into_iter().map(|i| i.expr).collect();
                let mut expr = super::coerce::struct_of(parts, &fields, &select.at);
                expr.lit = Lit::No;
                rel.value = true;
                rel.items = vec![Item { name: String::new(), expr }];
            }
        }
        Ok(())
    }

    /// Runs with names of the select list in front of the FROM clause's (`behind`: only where FROM has no such name).
    fn with_names<T>(&mut self, names: &[Col], behind: bool, run: impl FnOnce(&mut Self) -> Res<T>) -> Res<T> {
        let scope = self.scopes.last().cloned().unwrap_or_default();
        let mut kept: Vec<Col> = Vec::new();
        for col in names {
            let ident = Ident { name: col.name.clone(), at: 0..0 };
            let in_from = scope.find(&ident);
            let shadowed = match &in_from {
                Ok(Some(t)) => behind || t.sql == col.expr.sql,
                Ok(None) => false,
                Err(_) => behind,
            };
            if !shadowed && !kept.iter().any(|k| k.name.eq_ignore_ascii_case(&col.name) && k.expr.sql == col.expr.sql) {
                kept.push(col.clone());
            }
        }
        if let Some(top) = self.scopes.last_mut() {
            top.names.extend(kept);
        }
        let out = run(self);
        if let Some(top) = self.scopes.last_mut() {
            *top = scope;
        }
        out
    }

    fn condition(&mut self, expr: &Expr, what: &str) -> Res<Typed> {
        let t = self.expr(expr)?;
        self.bool_of(t, what)
    }

    pub(super) fn bool_of(&mut self, t: Typed, what: &str) -> Res<Typed> {
        if t.is_null_literal() {
            return self.coerce(t, &Type::Bool);
        }
        if t.ty != Type::Bool {
            return Err(SqlError::invalid(format!("{what} needs a BOOL, this is a {}", t.ty), &t.at));
        }
        Ok(t)
    }

    pub(super) fn bool_condition(&mut self, expr: &Expr, what: &str) -> Res<Typed> {
        self.condition(expr, what)
    }

    /// The select list, and for each item whether it holds neither aggregates nor window functions.
    fn items(&mut self, select: &Select) -> Res<(Vec<Item>, Vec<bool>)> {
        let mut items = Vec::new();
        let mut plain = Vec::new();
        for item in &select.items {
            match item {
                SelectItem::Expr { expr, alias } => {
                    let before = self.aggregates;
                    let t = self.expr(expr)?;
                    plain.push(self.aggregates == before);
                    let name =
                        alias.as_ref().map(|a| a.name.clone()).or_else(|| derived_name(expr)).unwrap_or_default();
                    items.push(Item { name, expr: t });
                }
                SelectItem::Star { base, except, replace, at } => {
                    let cols = self.star(base.as_ref(), at)?;
                    for name in except {
                        if !cols.iter().any(|c| c.name.eq_ignore_ascii_case(&name.name)) {
                            return Err(SqlError::invalid(format!("no column `{}` to leave out", name.name), &name.at));
                        }
                    }
                    let except: Vec<String> = except.iter().map(|i| i.name.clone()).collect();
                    for col in cols {
                        if has(&except, &col.name) {
                            continue;
                        }
                        let replaced = replace.iter().find(|(_, n)| n.name.eq_ignore_ascii_case(&col.name));
                        let expr = match replaced {
                            Some((expr, _)) => self.expr(expr)?,
                            None => col.expr,
                        };
                        items.push(Item { name: col.name, expr: expr.at(at) });
                        plain.push(true);
                    }
                }
            }
        }
        Ok((items, plain))
    }

    fn star(&mut self, base: Option<&Expr>, at: &std::ops::Range<usize>) -> Res<Vec<Col>> {
        let Some(base) = base else {
            let scope = self.scopes.last().cloned().unwrap_or_default();
            if scope.vars.is_empty() {
                return Err(SqlError::invalid("`*` needs a FROM clause", at));
            }
            return Ok(scope.star());
        };
        if let ExprKind::Name(name) = &base.kind {
            for scope in self.scopes.iter().rev() {
                if let Some(var) = scope.var(&name.name) {
                    let scalar = var.value.as_ref().is_some_and(|v| !matches!(v.ty, Type::Struct(_)));
                    if scalar {
                        return Err(SqlError::invalid(format!("`{}` has no columns", name.name), &name.at));
                    }
                    return Ok(var.cols.iter().filter(|c| !has(&var.hidden, &c.name)).cloned().collect());
                }
            }
        }
        let t = self.expr(base)?;
        let Type::Struct(fields) = &t.ty else {
            return Err(SqlError::invalid(format!("`.*` needs a struct, this is a {}", t.ty), &base.at));
        };
        let names = super::typed::field_names(fields);
        Ok(fields
            .iter()
            .zip(names)
            .map(|(f, n)| Col {
                name: f.name.clone(),
                expr: Typed::new(format!("({}).{}", t.sql, quoted(&n)), f.ty.clone()),
            })
            .collect())
    }

    /// The item that `1` or `2` in GROUP BY or ORDER BY means.
    pub(super) fn ordinal(&mut self, expr: &Expr, items: &[Item]) -> Res<Option<Typed>> {
        let ExprKind::Int(digits) = &expr.kind else { return Ok(None) };
        let index: usize = digits.parse().unwrap_or(0);
        match index.checked_sub(1).and_then(|i| items.get(i)) {
            Some(item) => Ok(Some(Typed { lit: Lit::No, ..item.expr.clone() }.at(&expr.at))),
            None => Err(SqlError::invalid(format!("there is no column {digits}"), &expr.at)),
        }
    }

    fn group_key(&mut self, expr: &Expr, items: &[Item]) -> Res<Typed> {
        if let Some(t) = self.ordinal(expr, items)? {
            return self.checked_key(t);
        }
        if let ExprKind::Name(name) = &expr.kind {
            let found: Vec<&Item> = items.iter().filter(|i| i.name.eq_ignore_ascii_case(&name.name)).collect();
            let from = self.scopes.last().cloned().unwrap_or_default().find(name)?;
            if let Some(first) = found.first() {
                if found.iter().any(|f| f.expr.sql != first.expr.sql) {
                    return Err(SqlError::invalid(format!("`{}` is ambiguous", name.name), &name.at));
                }
                let t = Typed { lit: Lit::No, ..first.expr.clone() }.at(&expr.at);
                let _ = from;
                return self.checked_key(t);
            }
        }
        let t = self.expr(expr)?;
        self.checked_key(t)
    }

    fn checked_key(&mut self, t: Typed) -> Res<Typed> {
        if !groupable(&t.ty) {
            return Err(SqlError::unsupported(format!("grouping by a {}", t.ty), &t.at));
        }
        Ok(t)
    }

    fn group_by(&mut self, group_by: &GroupBy, items: &mut [Item], plain: &[bool]) -> Res<String> {
        let list = match group_by {
            GroupBy::All => {
                let keys: Vec<String> = items
                    .iter()
                    .zip(plain)
                    .filter(|(i, plain)| **plain && !i.expr.is_literal())
                    .map(|(i, _)| i.expr.sql.clone())
                    .collect();
                for (item, plain) in items.iter().zip(plain) {
                    if *plain {
                        self.checked_key(item.expr.clone())?;
                    }
                }
                if keys.is_empty() && plain.iter().all(|p| *p) {
                    return Err(SqlError::unsupported("GROUP BY ALL over literals alone", &(0..0)));
                }
                return Ok(if keys.is_empty() {
                    String::new()
                } else {
                    format!(" GROUP BY {}", unique(keys).join(", "))
                });
            }
            GroupBy::Items(list) => list,
        };
        let simple = list.iter().all(|g| matches!(g, GroupItem::Expr(_)));
        let mut product: Vec<Vec<String>> = vec![Vec::new()];
        for item in list {
            let sets = self.group_sets(item, items)?;
            let mut next = Vec::new();
            for left in &product {
                for right in &sets {
                    next.push([left.clone(), right.clone()].concat());
                }
            }
            if next.len() > 4096 {
                return Err(SqlError::unsupported("this many grouping sets", &(0..0)));
            }
            product = next;
        }
        if simple {
            return Ok(format!(" GROUP BY {}", unique(product.remove(0)).join(", ")));
        }
        items.iter_mut().for_each(|i| i.expr.nullable = true);
        // DuckDB would compute one key from another that is NULL in a set.
        let keys = unique(product.concat());
        if keys.iter().any(|k| keys.iter().any(|other| other != k && other.contains(k.as_str()))) {
            return Err(SqlError::unsupported("grouping sets with a key inside another key", &(0..0)));
        }
        let sets: Vec<String> = product.into_iter().map(|s| format!("({})", unique(s).join(", "))).collect();
        Ok(format!(" GROUP BY GROUPING SETS ({})", sets.join(", ")))
    }

    fn group_sets(&mut self, item: &GroupItem, items: &[Item]) -> Res<Vec<Vec<String>>> {
        match item {
            GroupItem::Expr(expr) => Ok(vec![vec![self.group_key(expr, items)?.sql]]),
            GroupItem::Rollup(parts) => self.rollup(parts, items),
            GroupItem::Cube(parts) => self.cube(parts, items),
            GroupItem::Sets(sets) => {
                let mut out = Vec::new();
                for set in sets {
                    match set {
                        GroupSet::Exprs(exprs) => out.push(self.group_keys(exprs, items)?),
                        GroupSet::Rollup(parts) => out.extend(self.rollup(parts, items)?),
                        GroupSet::Cube(parts) => out.extend(self.cube(parts, items)?),
                    }
                }
                Ok(out)
            }
        }
    }

    fn group_keys(&mut self, exprs: &[Expr], items: &[Item]) -> Res<Vec<String>> {
        exprs.iter().map(|e| Ok(self.group_key(e, items)?.sql)).collect()
    }

    fn rollup(&mut self, parts: &[Vec<Expr>], items: &[Item]) -> Res<Vec<Vec<String>>> {
        let parts: Vec<Vec<String>> = parts.iter().map(|p| self.group_keys(p, items)).collect::<Res<_>>()?;
        Ok((0..=parts.len()).rev().map(|n| parts[..n].concat()).collect())
    }

    fn cube(&mut self, parts: &[Vec<Expr>], items: &[Item]) -> Res<Vec<Vec<String>>> {
        if parts.len() > 10 {
            return Err(SqlError::unsupported("a CUBE of this size", &(0..0)));
        }
        let parts: Vec<Vec<String>> = parts.iter().map(|p| self.group_keys(p, items)).collect::<Res<_>>()?;
        let n = parts.len();
        Ok((0..1usize << n)
            .rev()
            .map(|mask| (0..n).filter(|i| mask >> (n - 1 - i) & 1 == 1).flat_map(|i| parts[i].clone()).collect())
            .collect())
    }

    /// Notes which partitioned tables a WHERE clause bounds.
    pub(super) fn note_bounds(&mut self, filter: &Expr) {
        let mut filter = filter;
        while let ExprKind::Binary(Binary::And, left, right) = &filter.kind {
            self.note_bounds(right);
            filter = left;
        }
        // What is compared, and what it is compared with.
        let (subject, others): (&Expr, Vec<&Expr>) = match &filter.kind {
            ExprKind::Binary(Binary::Eq | Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge, left, right) => {
                self.note_bound(right, &[left]);
                (left, vec![right])
            }
            ExprKind::Between { expr, low, high, not: false } => (expr, vec![low, high]),
            ExprKind::In { expr, set: InSet::List(items), not: false } => (expr, items.iter().collect()),
            ExprKind::In { expr, not: false, .. } => (expr, Vec::new()),
            _ => return,
        };
        self.note_bound(subject, &others);
    }

    /// A bound is a comparison with what is known before the tables are read: no column.
    fn note_bound(&mut self, subject: &Expr, others: &[&Expr]) {
        // A filter within what is looked at here is looked at when its turn comes.
        if self.noting || self.readings.iter().all(|r| r.reading.bounded) {
            return;
        }
        self.noting = true;
        let (aggregates, next) = (self.aggregates, self.next);
        let (readings, clocks) = (self.readings.len(), self.clocks.len());
        let subject = self.expr(subject);
        let others: Res<Vec<Typed>> = others.iter().map(|e| self.expr(e)).collect();
        (self.aggregates, self.next) = (aggregates, next);
        self.readings.truncate(readings);
        self.clocks.truncate(clocks);
        self.noting = false;
        let (Ok(subject), Ok(others)) = (subject, others) else { return };
        if others.iter().any(|o| o.sql.contains(".\"")) {
            return;
        }
        for reading in &mut self.readings {
            if subject.sql.contains(&reading.column) {
                reading.reading.bounded = true;
            }
        }
    }
}

fn unique(keys: Vec<String>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for key in keys {
        if !out.contains(&key) {
            out.push(key);
        }
    }
    out
}

/// The name that an expression gives its column.
fn derived_name(expr: &Expr) -> Option<String> {
    match &expr.kind {
        ExprKind::Name(name) | ExprKind::Field(_, name) => Some(name.name.clone()),
        _ => None,
    }
}
