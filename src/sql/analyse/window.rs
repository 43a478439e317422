//! Window functions and their frames.

use super::aggregate::is_aggregate;
use super::order::{Key, joined, keys};
use super::typed::{Lit, Typed};
use super::{Analyser, Res};
use crate::model::Type;
use crate::sql::ast::{Bound, Call, Expr, Over, WindowSpec};
use crate::sql::error::SqlError;
use std::ops::Range;

impl Analyser<'_> {
    pub(super) fn window(&mut self, call: &Call, over: &Over, at: &Range<usize>) -> Res<Typed> {
        if self.in_aggregate {
            return Err(SqlError::invalid("an aggregate cannot hold a window function", at));
        }
        let mut spec = self.window_of(over, 0)?;
        let negative = |b: &Bound| match b {
            Bound::Preceding(e) | Bound::Following(e) => {
                matches!(&e.kind, crate::sql::ast::ExprKind::Int(d) | crate::sql::ast::ExprKind::Float(d) if d.starts_with('-'))
            }
            _ => false,
        };
        if spec.frame.as_ref().is_some_and(|f| negative(&f.start) || negative(&f.end)) {
            // GoogleSQL fails on it at run time.
            spec.frame = None;
            let mut out = self.window(call, &Over::Spec(spec), at)?;
            out.sql = super::typed::fail("a window frame's offset must not be negative", &out.ty);
            return Ok(out);
        }
        if is_aggregate(&call.name) {
            if !call.order_by.is_empty() || call.limit.is_some() || call.having.is_some() {
                return Err(SqlError::unsupported("ORDER BY, LIMIT or HAVING in a window function's arguments", at));
            }
            let over = self.over_sql(&spec, at)?;
            return self.aggregate(call, over, at);
        }
        self.aggregates += 1;
        let mut args = Vec::new();
        for (_, arg) in &call.args {
            args.push(self.expr(arg)?);
        }
        let nulls = match call.ignore_nulls {
            Some(true) => " IGNORE NULLS",
            _ => "",
        };
        if call.safe || call.distinct || call.star {
            return Err(SqlError::invalid(format!("this form of {}", call.name), at));
        }
        let over = self.over_sql(&spec, at)?;
        let ordered = !spec.order_by.is_empty();
        let done = |sql: String, ty: Type| Ok(Typed::new(sql, ty).at(at));
        let name = call.name.as_str();
        match (name, args.as_slice()) {
            ("ROW_NUMBER", []) => done(format!("row_number(){over}"), Type::Int64).map(|t: Typed| t.nullable(false)),
            ("RANK" | "DENSE_RANK", []) if ordered => {
                done(format!("{}(){over}", name.to_ascii_lowercase()), Type::Int64).map(|t: Typed| t.nullable(false))
            }
            ("PERCENT_RANK" | "CUME_DIST", []) if ordered => {
                done(format!("{}(){over}", name.to_ascii_lowercase()), Type::Float64).map(|t: Typed| t.nullable(false))
            }
            ("NTILE", [n]) if ordered && n.ty == Type::Int64 => done(format!("ntile({}){over}", n.sql), Type::Int64),
            ("FIRST_VALUE" | "LAST_VALUE", [x]) => {
                done(format!("{}({}{nulls}){over}", name.to_ascii_lowercase(), x.strict_sql()), x.ty.clone())
            }
            ("NTH_VALUE", [x, n]) => {
                if matches!(n.lit, Lit::Int(i) if i <= 0) {
                    return done(super::typed::fail("the N of NTH_VALUE must be positive", &x.ty), x.ty.clone());
                }
                if !matches!(n.lit, Lit::Int(_)) {
                    return Err(SqlError::unsupported("NTH_VALUE of a number that is no positive literal", at));
                }
                done(format!("nth_value({}, {}{nulls}){over}", x.strict_sql(), n.sql), x.ty.clone())
            }
            ("LAG" | "LEAD", [x, rest @ ..]) if ordered && rest.len() <= 2 => {
                let mut parts = Vec::new();
                let mut x = x.clone();
                if let Some(n) = rest.first() {
                    if !matches!(n.lit, Lit::Int(i) if i >= 0) {
                        return Err(SqlError::unsupported(format!("{name} by a number that is no literal"), at));
                    }
                    parts.push(n.sql.clone());
                }
                if let Some(default) = rest.get(1) {
                    let (both, _) = self.unify(vec![x, default.clone()], name, at)?;
                    x = both[0].clone();
                    parts.push(both[1].sql.clone());
                }
                parts.insert(0, x.strict_sql());
                done(format!("{}({}{nulls}){over}", name.to_ascii_lowercase(), parts.join(", ")), x.ty)
            }
            ("PERCENTILE_CONT" | "PERCENTILE_DISC", _) if ordered || spec.frame.is_some() => {
                Err(SqlError::invalid(format!("{name} takes no ORDER BY and no frame"), at))
            }
            ("PERCENTILE_CONT" | "PERCENTILE_DISC", [x, p]) => self.percentile(call, x, p, &over, at),
            _ => Err(SqlError::unsupported(format!("the window function {name}"), at)),
        }
    }

    /// The window that a name or a specification means, with its base windows merged in.
    fn window_of(&mut self, over: &Over, depth: usize) -> Res<WindowSpec> {
        let (base, mut spec) = match over {
            Over::Named(name) => (Some(name), WindowSpec::default()),
            Over::Spec(spec) => (spec.base.as_ref(), spec.clone()),
        };
        let Some(name) = base else { return Ok(spec) };
        let known =
            self.windows.last().and_then(|w| w.iter().find(|(n, _)| n.eq_ignore_ascii_case(&name.name))).cloned();
        let (Some((_, inner)), true) = (known, depth < 32) else {
            return Err(SqlError::invalid(format!("unknown window `{}`", name.name), &name.at));
        };
        let base = self.window_of(&inner, depth + 1)?;
        spec.base = None;
        if spec.partition_by.is_empty() {
            spec.partition_by = base.partition_by;
        }
        if spec.order_by.is_empty() {
            spec.order_by = base.order_by;
        }
        if spec.frame.is_none() {
            spec.frame = base.frame;
        }
        Ok(spec)
    }

    /// ` OVER (…)`.
    fn over_sql(&mut self, spec: &WindowSpec, at: &Range<usize>) -> Res<String> {
        let mut parts = Vec::new();
        let mut partition = Vec::new();
        for expr in &spec.partition_by {
            let t = self.expr(expr)?;
            if !super::order::groupable(&t.ty) {
                return Err(SqlError::unsupported(format!("PARTITION BY a {}", t.ty), &expr.at));
            }
            partition.push(t.sql);
        }
        if !partition.is_empty() {
            parts.push(format!("PARTITION BY {}", partition.join(", ")));
        }
        let mut order: Vec<Key> = Vec::new();
        let mut types = Vec::new();
        for item in &spec.order_by {
            let t = self.expr(&item.expr)?;
            types.push(t.ty.clone());
            order.extend(keys(&t, item.desc, item.nulls_first)?);
        }
        let mut frame = String::new();
        if let Some(f) = &spec.frame {
            let offset = |b: &Bound| matches!(b, Bound::Preceding(_) | Bound::Following(_));
            let by_value = !f.rows && (offset(&f.start) || offset(&f.end));
            if by_value {
                let [ty] = types.as_slice() else {
                    return Err(SqlError::invalid("RANGE with a number needs one ORDER BY key", &f.at));
                };
                match ty {
                    // Room for key ± number beyond INT64.
                    Type::Int64 => order[0].sql = format!("CAST({} AS HUGEINT)", order[0].sql),
                    Type::Float64 => {
                        order.remove(0);
                        let open = |b: &Bound| matches!(b, Bound::UnboundedPreceding | Bound::UnboundedFollowing);
                        if open(&f.start) || open(&f.end) {
                            // NaN must stand below -inf: it takes its place, and -inf that of the least number.
                            order[0].sql = format!(
                                "CASE WHEN isnan({0}) THEN CAST('-inf' AS DOUBLE) WHEN {0} = CAST('-inf' AS DOUBLE) \
                                 THEN CAST('-1.7976931348623157e308' AS DOUBLE) ELSE {0} END",
                                order[0].sql
                            );
                        }
                    }
                    _ => return Err(SqlError::unsupported(format!("RANGE with a number over {ty}"), &f.at)),
                }
            }
            if f.rows && order.is_empty() {
                // No order is known: any will do.
            }
            let key = if by_value { types.first() } else { None };
            let (start, end) = (self.bound(&f.start, key)?, self.bound(&f.end, key)?);
            frame = format!("{} BETWEEN {start} AND {end}", if f.rows { "ROWS" } else { "RANGE" });
        }
        let _ = at;
        if !order.is_empty() {
            parts.push(format!("ORDER BY {}", joined(&order)));
        }
        if !frame.is_empty() {
            parts.push(frame);
        }
        Ok(format!(" OVER ({})", parts.join(" ")))
    }

    fn bound(&mut self, bound: &Bound, key: Option<&Type>) -> Res<String> {
        let mut value = |expr: &Expr| -> Res<String> {
            let t = self.expr(expr)?;
            // Literals are known to be no less than 0 and not too large; everything else is looked at when it runs.
            let plain = match &t.lit {
                Lit::Int(i) => *i >= 0,
                Lit::Float(f) => !f.starts_with('-') && f.parse::<f64>().is_ok_and(|f| f < 1e290),
                _ => false,
            };
            if t.sql.contains(".\"") {
                return Err(SqlError::invalid("a frame bound must be a constant", &expr.at));
            }
            let checked = |sql: String, ty: &Type| match (plain, ty) {
                (true, _) => sql,
                (_, Type::Float64) => format!("gs_bound_float({sql})"),
                _ => format!("gs_bound_int({sql})"),
            };
            Ok(match key {
                Some(Type::Float64) => checked(self.coerce(t, &Type::Float64)?.sql, &Type::Float64),
                Some(Type::Int64) if t.ty == Type::Int64 => {
                    format!("CAST({} AS HUGEINT)", checked(t.sql, &Type::Int64))
                }
                None if t.ty == Type::Int64 => checked(t.sql, &Type::Int64),
                Some(_) => return Err(SqlError::unsupported("this frame bound", &expr.at)),
                None => return Err(SqlError::invalid("ROWS needs an INT64", &expr.at)),
            })
        };
        Ok(match bound {
            Bound::UnboundedPreceding => "UNBOUNDED PRECEDING".into(),
            Bound::UnboundedFollowing => "UNBOUNDED FOLLOWING".into(),
            Bound::CurrentRow => "CURRENT ROW".into(),
            Bound::Preceding(expr) => format!("{} PRECEDING", value(expr)?),
            Bound::Following(expr) => format!("{} FOLLOWING", value(expr)?),
        })
    }
}
