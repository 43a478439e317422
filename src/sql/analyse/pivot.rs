//! PIVOT and UNPIVOT as plain SELECTs.

use super::aggregate::Frame;
use super::from::From;
use super::scope::{Col, has};
use super::typed::{Lit, Typed, text};
use super::{Analyser, Res};
use crate::model::Type;
use crate::sql::ast::{Expr, ExprKind, Ident, InSet, Pivot, TableExpr, Unpivot};
use crate::sql::error::SqlError;
use std::ops::Range;

impl Analyser<'_> {
    pub(super) fn pivot(
        &mut self,
        input: &TableExpr,
        pivot: &Pivot,
        alias: Option<&Ident>,
        at: &Range<usize>,
    ) -> Res<From> {
        let from = self.from(input, None)?;
        self.scopes.push(from.scope.clone());
        let out = self.pivot_columns(&from, pivot, at);
        self.scopes.pop();
        let (groups, values) = out?;
        let mut columns: Vec<Col> = groups.clone();
        columns.extend(values);
        let list: Vec<String> =
            columns.iter().enumerate().map(|(i, c)| format!("{} AS \"c{}\"", c.expr.sql, i + 1)).collect();
        let keys: Vec<String> = groups.iter().map(|c| c.expr.sql.clone()).collect();
        let group = if keys.is_empty() { String::new() } else { format!(" GROUP BY {}", keys.join(", ")) };
        let sql = format!("(SELECT {} FROM {}{group})", list.join(", "), from.sql);
        Ok(self.relation(sql, &columns, false, alias.map_or("", |a| &a.name)))
    }

    /// The grouping columns, and the aggregates of each value.
    fn pivot_columns(&mut self, from: &From, pivot: &Pivot, at: &Range<usize>) -> Res<(Vec<Col>, Vec<Col>)> {
        let mut used = Vec::new();
        names_in(&pivot.input, &mut used);
        pivot.aggregates.iter().for_each(|(e, _)| names_in(e, &mut used));
        if has(&used, A_QUERY) {
            return Err(SqlError::unsupported("a subquery in PIVOT", at));
        }
        let groups: Vec<Col> = from.scope.star().into_iter().filter(|c| !has(&used, &c.name)).collect();
        for col in &groups {
            if !super::order::groupable(&col.expr.ty) {
                return Err(SqlError::unsupported(format!("PIVOT grouping by {}", col.expr.ty), at));
            }
        }
        let key = self.expr(&pivot.input)?;
        let mut columns = Vec::new();
        let several = pivot.aggregates.len() > 1;
        for (value, value_alias) in &pivot.values {
            let v = self.expr(value)?;
            let label = match value_alias {
                Some(a) => a.name.clone(),
                None => pivot_label(&v, at)?,
            };
            let same = self.distinct_from(key.clone(), v, true, &value.at)?;
            for (aggregate, aggregate_alias) in &pivot.aggregates {
                let ExprKind::Call(call) = &aggregate.kind else {
                    return Err(SqlError::invalid("PIVOT needs aggregates", &aggregate.at));
                };
                if !super::aggregate::is_aggregate(&call.name)
                    || call.having.is_some()
                    || call.safe
                    || call.over.is_some()
                {
                    return Err(SqlError::unsupported("this aggregate in PIVOT", &aggregate.at));
                }
                let mut args = Vec::new();
                for (_, arg) in &call.args {
                    args.push(self.expr(arg)?);
                }
                let mut frame = Frame { distinct: call.distinct, filter: vec![same.sql.clone()], ..Frame::default() };
                if call.distinct && !call.order_by.is_empty() {
                    return Err(SqlError::unsupported("this aggregate in PIVOT", &aggregate.at));
                }
                for item in &call.order_by {
                    let key = self.expr(&item.expr)?;
                    frame.order.extend(super::order::keys(&key, item.desc, item.nulls_first)?);
                }
                let mut expr = self.aggregate_of(call, args, &frame, &aggregate.at)?;
                expr.nullable = true;
                let name = match aggregate_alias {
                    Some(a) => format!(
                        "{}_{}",
                        a.name,
                        if value_alias.is_some() { &label } else { label.trim_start_matches('_') }
                    ),
                    None if several => {
                        return Err(SqlError::invalid("several aggregates of PIVOT need aliases", &aggregate.at));
                    }
                    None => label.clone(),
                };
                columns.push(Col { name, expr });
            }
        }
        Ok((groups, columns))
    }

    pub(super) fn unpivot(
        &mut self,
        input: &TableExpr,
        unpivot: &Unpivot,
        alias: Option<&Ident>,
        at: &Range<usize>,
    ) -> Res<From> {
        let from = self.from(input, None)?;
        let all = from.scope.star();
        let find = |name: &Ident| {
            all.iter()
                .find(|c| c.name.eq_ignore_ascii_case(&name.name))
                .cloned()
                .ok_or_else(|| SqlError::invalid(format!("unknown column `{}`", name.name), &name.at))
        };
        let used: Vec<String> =
            unpivot.groups.iter().flat_map(|(names, _)| names.iter().map(|n| n.name.clone())).collect();
        let kept: Vec<Col> = all.iter().filter(|c| !has(&used, &c.name)).cloned().collect();
        let width = unpivot.values.len();
        let mut branches: Vec<(Vec<Typed>, Typed)> = Vec::new();
        for (names, label) in &unpivot.groups {
            if names.len() != width {
                return Err(SqlError::invalid("a group of UNPIVOT has another number of columns", at));
            }
            let cols = names.iter().map(|n| find(n).map(|c| c.expr)).collect::<Res<Vec<_>>>()?;
            let label = match label {
                Some(label) => self.expr(label)?,
                None => {
                    let name = names.iter().map(|n| n.name.as_str()).collect::<Vec<_>>().join("_");
                    Typed {
                        lit: Lit::Str(name.clone()),
                        fails: false,
                        ..Typed::new(text(&name), Type::String).nullable(false)
                    }
                }
            };
            branches.push((cols, label));
        }
        for column in 0..width {
            if branches.iter().any(|b| b.0[column].ty != branches[0].0[column].ty) {
                return Err(SqlError::invalid("the columns of UNPIVOT differ in types", at));
            }
        }
        let label_ty = branches[0].1.ty.clone();
        if branches.iter().any(|b| b.1.ty != label_ty) {
            return Err(SqlError::invalid("the labels of UNPIVOT differ in types", at));
        }
        let mut columns: Vec<Col> = kept.clone();
        for (i, name) in unpivot.values.iter().enumerate() {
            columns.push(Col { name: name.name.clone(), expr: Typed::new("", branches[0].0[i].ty.clone()) });
        }
        columns.push(Col { name: unpivot.name.name.clone(), expr: Typed::new("", label_ty).nullable(false) });
        // One row of structs for each branch, in a list: the input is read once.
        let mut rows = Vec::new();
        for (cols, label) in &branches {
            let mut parts: Vec<String> =
                cols.iter().enumerate().map(|(i, c)| format!("v{} := {}", i + 1, c.strict_sql())).collect();
            parts.push(format!("l := {}", label.sql));
            rows.push(format!("struct_pack({})", parts.join(", ")));
        }
        let mut list: Vec<String> =
            kept.iter().enumerate().map(|(i, c)| format!("{} AS \"c{}\"", c.expr.sql, i + 1)).collect();
        for i in 0..width {
            list.push(format!("gs_u.r.v{} AS \"c{}\"", i + 1, kept.len() + i + 1));
        }
        list.push(format!("gs_u.r.l AS \"c{}\"", kept.len() + width + 1));
        let nulls: Vec<String> = (0..width).map(|i| format!("gs_u.r.v{} IS NOT NULL", i + 1)).collect();
        let filter = if unpivot.include_nulls { String::new() } else { format!(" WHERE {}", nulls.join(" OR ")) };
        let sql = format!(
            "(SELECT {} FROM {} CROSS JOIN LATERAL (SELECT unnest([{}]) AS r) AS gs_u{filter})",
            list.join(", "),
            from.sql,
            rows.join(", ")
        );
        Ok(self.relation(sql, &columns, false, alias.map_or("", |a| &a.name)))
    }
}

/// The name of a value's column.
fn pivot_label(v: &Typed, at: &Range<usize>) -> Res<String> {
    match &v.lit {
        Lit::Str(s) => Ok(s.clone()),
        Lit::Int(i) if *i >= 0 => Ok(format!("_{i}")),
        Lit::Int(i) => Ok(format!("minus_{}", -i)),
        Lit::Null => Ok("NULL".into()),
        _ if v.ty == Type::Bool => Ok(if v.sql == "true" { "TRUE".into() } else { "FALSE".into() }),
        _ if v.ty == Type::Date && v.sql.starts_with("DATE '") => {
            Ok(format!("_{}", v.sql[6..v.sql.len() - 1].replace('-', "_")))
        }
        _ => Err(SqlError::unsupported("a value of PIVOT without an alias", at)),
    }
}

/// Stands among the names for a query, whose names are not gathered.
const A_QUERY: &str = "\0";

/// The bare column names in an expression.
fn names_in(expr: &Expr, out: &mut Vec<String>) {
    match &expr.kind {
        ExprKind::Name(name) => out.push(name.name.clone()),
        ExprKind::Field(base, field) => {
            if let ExprKind::Name(_) = base.kind {
                out.push(field.name.clone());
            }
            names_in(base, out);
        }
        ExprKind::Call(call) => {
            call.args.iter().for_each(|(_, e)| names_in(e, out));
            call.order_by.iter().for_each(|o| names_in(&o.expr, out));
            call.having.iter().for_each(|(_, e)| names_in(e, out));
        }
        ExprKind::Unary(_, e) | ExprKind::Is { expr: e, .. } => names_in(e, out),
        ExprKind::Binary(_, a, b) | ExprKind::Index(a, _, b) => {
            names_in(a, out);
            names_in(b, out);
        }
        ExprKind::Cast { expr, .. } | ExprKind::Extract { expr, .. } => names_in(expr, out),
        ExprKind::Between { expr, low, high, .. } => [expr, low, high].iter().for_each(|e| names_in(e, out)),
        ExprKind::Case { operand, whens, otherwise } => {
            operand.iter().for_each(|e| names_in(e, out));
            otherwise.iter().for_each(|e| names_in(e, out));
            whens.iter().for_each(|(a, b)| {
                names_in(a, out);
                names_in(b, out);
            });
        }
        ExprKind::Struct { items, .. } => items.iter().for_each(|(e, _)| names_in(e, out)),
        ExprKind::Array { items, .. } => items.iter().for_each(|e| names_in(e, out)),
        ExprKind::DistinctFrom { left, right, .. } => [left, right].iter().for_each(|e| names_in(e, out)),
        ExprKind::In { expr, set, .. } | ExprKind::Like { expr, patterns: set, .. } => {
            names_in(expr, out);
            match set {
                InSet::List(items) => items.iter().for_each(|e| names_in(e, out)),
                InSet::Unnest(e) => names_in(e, out),
                InSet::Query(_) => out.push(A_QUERY.to_owned()),
            }
        }
        ExprKind::Interval { value, .. } => names_in(value, out),
        ExprKind::ArrayQuery(_) | ExprKind::Subquery(_) | ExprKind::Exists(_) | ExprKind::With { .. } => {
            out.push(A_QUERY.to_owned());
        }
        ExprKind::Null
        | ExprKind::Bool(_)
        | ExprKind::Int(_)
        | ExprKind::Float(_)
        | ExprKind::Str(_)
        | ExprKind::Bytes(_)
        | ExprKind::Typed(..)
        | ExprKind::Param(_) => {}
    }
}
