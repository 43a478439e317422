//! Aggregates, and the shared way in which they become window functions.

use super::order::{Key, groupable, joined, keys};
use super::typed::{Lit, Typed};
use super::{Analyser, Res};
use crate::model::Type;
use crate::sql::ast::Call;
use crate::sql::error::SqlError;
use std::ops::Range;

/// How the aggregates of one call are written.
#[derive(Debug, Clone, Default)]
pub(super) struct Frame {
    pub distinct: bool,
    pub order: Vec<Key>,
    /// Conditions of rows that count.
    pub filter: Vec<String>,
    /// ` OVER (…)`, or nothing.
    pub over: String,
}

impl Frame {
    /// `f(args)` with DISTINCT, ORDER BY, FILTER and OVER.
    pub fn agg(&self, function: &str, args: &str) -> String {
        self.agg_if(function, args, &[])
    }

    pub fn agg_if(&self, function: &str, args: &str, more: &[&str]) -> String {
        let distinct = if self.distinct { "DISTINCT " } else { "" };
        let order = if self.order.is_empty() { String::new() } else { format!(" ORDER BY {}", joined(&self.order)) };
        let conditions: Vec<&str> = self.filter.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let filter =
            if conditions.is_empty() { String::new() } else { format!(" FILTER (WHERE {})", conditions.join(" AND ")) };
        format!("{function}({distinct}{args}{order}){filter}{}", self.over)
    }

    /// Without DISTINCT and ORDER BY.
    pub fn plain(&self) -> Frame {
        Frame { distinct: false, order: Vec::new(), ..self.clone() }
    }
}

pub(super) fn is_aggregate(name: &str) -> bool {
    matches!(
        name,
        "COUNT"
            | "COUNTIF"
            | "SUM"
            | "AVG"
            | "MIN"
            | "MAX"
            | "ANY_VALUE"
            | "ARRAY_AGG"
            | "ARRAY_CONCAT_AGG"
            | "STRING_AGG"
            | "LOGICAL_AND"
            | "LOGICAL_OR"
            | "BIT_AND"
            | "BIT_OR"
            | "BIT_XOR"
            | "VARIANCE"
            | "VAR_SAMP"
            | "VAR_POP"
            | "STDDEV"
            | "STDDEV_SAMP"
            | "STDDEV_POP"
            | "CORR"
            | "COVAR_POP"
            | "COVAR_SAMP"
            | "APPROX_COUNT_DISTINCT"
            | "APPROX_QUANTILES"
            | "GROUPING"
            | "MAX_BY"
            | "MIN_BY"
    )
}

impl Analyser<'_> {
    pub(super) fn aggregate(&mut self, call: &Call, over: String, at: &Range<usize>) -> Res<Typed> {
        if self.in_aggregate {
            return Err(SqlError::invalid("an aggregate cannot hold an aggregate", at));
        }
        if call.safe {
            return Err(SqlError::unsupported("SAFE with an aggregate", at));
        }
        // A window function may hold aggregates, an aggregate may not.
        self.in_aggregate = over.is_empty();
        let out = self.aggregate_in(call, over, at);
        self.in_aggregate = false;
        self.aggregates += 1;
        out
    }

    fn aggregate_in(&mut self, call: &Call, over: String, at: &Range<usize>) -> Res<Typed> {
        let mut args = Vec::new();
        for (name, arg) in &call.args {
            if let Some(name) = name {
                return Err(SqlError::unsupported("a named argument of an aggregate", &name.at));
            }
            args.push(self.expr(arg)?);
        }
        let mut frame = Frame { distinct: call.distinct, over, ..Frame::default() };
        for item in &call.order_by {
            let t = self.expr(&item.expr)?;
            frame.order.extend(keys(&t, item.desc, item.nulls_first)?);
        }
        if call.distinct {
            if let Some(bad) = args.iter().find(|a| !groupable(&a.ty)) {
                return Err(SqlError::unsupported(format!("DISTINCT over {}", bad.ty), at));
            }
            // The keys of a distinct aggregate must be its argument.
            if frame.order.iter().any(|k| args.first().is_none_or(|a| a.sql != k.sql)) {
                return Err(SqlError::unsupported("ORDER BY in this DISTINCT aggregate", at));
            }
        }
        if let Some((max, key)) = &call.having {
            let key = self.expr(key)?;
            return self.having(call, args, &frame, *max, key, at);
        }
        if call.ignore_nulls == Some(true) && call.name != "ARRAY_AGG" && call.name != "ANY_VALUE" {
            return Err(SqlError::unsupported(format!("IGNORE NULLS in {}", call.name), at));
        }
        if call.limit.is_some() && !matches!(call.name.as_str(), "ARRAY_AGG" | "STRING_AGG" | "ARRAY_CONCAT_AGG") {
            return Err(SqlError::invalid(format!("LIMIT in {}", call.name), at));
        }
        self.aggregate_of(call, args, &frame, at)
    }

    pub(super) fn aggregate_of(
        &mut self,
        call: &Call,
        args: Vec<Typed>,
        frame: &Frame,
        at: &Range<usize>,
    ) -> Res<Typed> {
        let name = call.name.as_str();
        if name == "COUNT" && call.star {
            return Ok(Typed::new(frame.agg("count", "*"), Type::Int64).nullable(false).at(at));
        }
        let wanted = match name {
            "CORR" | "COVAR_POP" | "COVAR_SAMP" | "APPROX_QUANTILES" | "MAX_BY" | "MIN_BY" => 2..=2,
            "STRING_AGG" => 1..=2,
            _ => 1..=1,
        };
        if call.star || !wanted.contains(&args.len()) {
            return Err(SqlError::invalid(format!("{name} does not take {} arguments", args.len()), at));
        }
        let x = args[0].clone();
        let done = |sql: String, ty: Type| Ok(Typed::new(sql, ty).at(at));
        match name {
            "COUNT" => Ok(Typed::new(frame.agg("count", &x.sql), Type::Int64).nullable(false).at(at)),
            "APPROX_COUNT_DISTINCT" => {
                let frame = Frame { distinct: true, ..frame.clone() };
                Ok(Typed::new(frame.agg("count", &x.sql), Type::Int64).nullable(false).at(at))
            }
            "COUNTIF" => {
                let x = self.coerce(x, &Type::Bool)?;
                let sql = frame.agg("count", &format!("CASE WHEN {} THEN true END", x.sql));
                Ok(Typed::new(sql, Type::Int64).nullable(false).at(at))
            }
            "SUM" => self.sum(x, frame, at),
            "AVG" => self.avg(x, frame, at),
            "MIN" | "MAX" => self.extreme(name, x, frame, at),
            "ANY_VALUE" => {
                let mut out = Typed::new(frame.agg("any_value", &x.sql), x.ty.clone()).at(at);
                out.loose = x.loose;
                Ok(out)
            }
            "LOGICAL_AND" | "LOGICAL_OR" => {
                let x = self.coerce(x, &Type::Bool)?;
                done(frame.agg(if name == "LOGICAL_AND" { "bool_and" } else { "bool_or" }, &x.sql), Type::Bool)
            }
            "BIT_AND" | "BIT_OR" | "BIT_XOR" => {
                let x = self.coerce(x, &Type::Int64)?;
                done(frame.agg(&name.to_ascii_lowercase(), &x.sql), Type::Int64)
            }
            "VARIANCE" | "VAR_SAMP" | "VAR_POP" | "STDDEV" | "STDDEV_SAMP" | "STDDEV_POP" => {
                self.spread_of(name, x, frame, at)
            }
            "CORR" | "COVAR_POP" | "COVAR_SAMP" => self.pairs_of(name, x, args[1].clone(), frame, at),
            "ARRAY_AGG" => self.array_agg(call, x, frame, at),
            "ARRAY_CONCAT_AGG" => {
                if !matches!(x.ty, Type::Array(_)) {
                    return Err(SqlError::invalid("ARRAY_CONCAT_AGG needs arrays", at));
                }
                let list = frame.agg_if("list", &x.sql, &[&format!("({}) IS NOT NULL", x.sql)]);
                let list = self.limited(call, list)?;
                done(format!("flatten({list})"), x.ty)
            }
            "STRING_AGG" => self.string_agg(call, x, args.get(1).cloned(), frame, at),
            "GROUPING" => {
                done(format!("CAST(grouping({}) AS BIGINT)", x.sql), Type::Int64).map(|t: Typed| t.nullable(false))
            }
            "APPROX_QUANTILES" => self.quantiles(x, &args[1], frame, at),
            // A NaN key has an order of its own in GoogleSQL, so floats are left out.
            "MAX_BY" | "MIN_BY" if super::order::orderable(&args[1].ty) && args[1].ty != Type::Float64 => {
                let function = if name == "MAX_BY" { "arg_max_null" } else { "arg_min_null" };
                let known = format!("({}) IS NOT NULL", args[1].sql);
                let sql = frame.plain().agg_if(function, &format!("{}, {}", x.sql, args[1].sql), &[&known]);
                done(sql, x.ty)
            }
            _ => Err(SqlError::unsupported(format!("the aggregate {name}"), at)),
        }
    }

    fn sum(&mut self, x: Typed, frame: &Frame, at: &Range<usize>) -> Res<Typed> {
        if x.is_null_literal() {
            return Ok(Typed::new(format!("CAST({} AS BIGINT)", frame.agg("sum", &x.sql)), Type::Int64).at(at));
        }
        let sql = match x.ty {
            Type::Int64 => format!("CAST({} AS BIGINT)", frame.agg("sum", &x.sql)),
            Type::Float64 => {
                let sum = frame.agg("sum", &x.sql);
                let infinite = frame.plain().agg("bool_or", &format!("isinf({})", x.sql));
                let overflow = super::typed::fail("floating point overflow", &Type::Float64);
                format!("CASE WHEN isinf({sum}) AND NOT {infinite} THEN {overflow} ELSE {sum} END")
            }
            Type::Numeric => {
                let (sum, size) = numeric_sum(&x, frame);
                format!("gs_num_sum({sum}, {size})")
            }
            Type::BigNumeric => format!("gs_big_sum({})", frame.agg("list", &x.sql)),
            ref ty => return Err(SqlError::unsupported(format!("SUM of {ty}"), at)),
        };
        Ok(Typed::new(sql, x.ty).at(at))
    }

    fn avg(&mut self, x: Typed, frame: &Frame, at: &Range<usize>) -> Res<Typed> {
        match x.ty {
            Type::Int64 | Type::Float64 => Ok(Typed::new(frame.agg("avg", &x.sql), Type::Float64).at(at)),
            Type::Numeric => {
                let (sum, size) = numeric_sum(&x, frame);
                let sql = format!("gs_num_avg({sum}, {size}, {})", frame.agg("count", &x.sql));
                Ok(Typed::new(sql, Type::Numeric).at(at))
            }
            Type::BigNumeric => {
                Ok(Typed::new(format!("gs_big_avg({})", frame.agg("list", &x.sql)), Type::BigNumeric).at(at))
            }
            ref ty => Err(SqlError::unsupported(format!("AVG of {ty}"), at)),
        }
    }

    /// MIN and MAX: a NaN among the numbers is the answer.
    fn extreme(&mut self, name: &str, x: Typed, frame: &Frame, at: &Range<usize>) -> Res<Typed> {
        if !super::order::orderable(&x.ty) {
            return Err(SqlError::unsupported(format!("{name} of {}", x.ty), at));
        }
        // The order of equal extremes does not matter.
        let frame = frame.plain();
        let mut sql = frame.agg(&name.to_ascii_lowercase(), &x.sql);
        if name == "MIN" && x.ty == Type::Float64 {
            let nan = frame.agg("bool_or", &format!("isnan({})", x.sql));
            sql = format!("CASE WHEN {nan} THEN CAST('nan' AS DOUBLE) ELSE {sql} END");
        }
        let mut out = Typed::new(sql, x.ty.clone()).at(at);
        out.loose = x.loose;
        Ok(out)
    }

    fn array_agg(&mut self, call: &Call, x: Typed, frame: &Frame, at: &Range<usize>) -> Res<Typed> {
        if matches!(x.ty, Type::Array(_)) {
            return Err(SqlError::invalid("an array cannot hold arrays", at));
        }
        let ty = Type::Array(Box::new(x.ty.clone()));
        let list = if call.ignore_nulls == Some(true) {
            frame.agg_if("list", &x.strict_sql(), &[&format!("({}) IS NOT NULL", x.sql)])
        } else {
            frame.agg("list", &x.strict_sql())
        };
        Ok(Typed::new(self.limited(call, list)?, ty).at(at))
    }

    /// The first elements of a list.
    fn limited(&mut self, call: &Call, list: String) -> Res<String> {
        match &call.limit {
            None => Ok(list),
            Some(limit) => {
                let n = self.count_of(limit)?;
                Ok(format!("list_slice({list}, 1, {n})"))
            }
        }
    }

    fn string_agg(
        &mut self,
        call: &Call,
        x: Typed,
        separator: Option<Typed>,
        frame: &Frame,
        at: &Range<usize>,
    ) -> Res<Typed> {
        let x = if x.is_null_literal() { self.coerce(x, &Type::String)? } else { x };
        if x.ty == Type::Bytes {
            let separator = match separator {
                None => "BLOB ','".to_owned(),
                Some(s) if s.is_literal() || s.lit == Lit::Param || s.sql.starts_with("BLOB '") => {
                    self.coerce(s, &Type::Bytes)?.sql
                }
                Some(_) => return Err(SqlError::unsupported("a separator that is no literal", at)),
            };
            let list = frame.agg_if("list", &x.sql, &[&format!("({}) IS NOT NULL", x.sql)]);
            let list = self.limited(call, list)?;
            return Ok(Typed::new(format!("gs_join_b({list}, {separator})"), Type::Bytes).at(at));
        }
        if x.ty != Type::String {
            return Err(SqlError::unsupported(format!("STRING_AGG of {}", x.ty), at));
        }
        let separator = match separator {
            None => "','".to_owned(),
            Some(s) if matches!(s.lit, Lit::Str(_) | Lit::Param) => s.sql,
            Some(_) => return Err(SqlError::unsupported("a separator that is no literal", at)),
        };
        let list = frame.agg_if("list", &x.sql, &[&format!("({}) IS NOT NULL", x.sql)]);
        let list = self.limited(call, list)?;
        Ok(Typed::new(format!("array_to_string({list}, {separator})"), Type::String).at(at))
    }

    fn quantiles(&mut self, x: Typed, n: &Typed, frame: &Frame, at: &Range<usize>) -> Res<Typed> {
        let Lit::Int(n) = n.lit else {
            return Err(SqlError::invalid("APPROX_QUANTILES needs a literal number", at));
        };
        if !(1..=1000).contains(&n) || !super::order::orderable(&x.ty) {
            return Err(SqlError::unsupported("these APPROX_QUANTILES", at));
        }
        let fractions: Vec<String> = (0..=n).map(|i| format!("CAST({i} AS DOUBLE) / {n}")).collect();
        let x = x.strict();
        let sql = frame.agg("quantile_disc", &format!("{}, [{}]", x.sql, fractions.join(", ")));
        Ok(Typed::new(sql, Type::Array(Box::new(x.ty))).at(at))
    }

    /// `f(x HAVING MAX y)`: the rows whose `y` is the greatest are gathered, then `f` is computed over them.
    fn having(
        &mut self,
        call: &Call,
        args: Vec<Typed>,
        outer: &Frame,
        max: bool,
        key: Typed,
        at: &Range<usize>,
    ) -> Res<Typed> {
        if !super::order::orderable(&key.ty) {
            return Err(SqlError::invalid(format!("HAVING MAX of a {}", key.ty), at));
        }
        if call.distinct && !outer.order.is_empty() {
            return Err(SqlError::unsupported("ORDER BY in this DISTINCT aggregate", at));
        }
        // What the aggregate reads, by names of its own.
        let mut fields = vec![format!("y := {}", key.sql)];
        let mut inner = Vec::new();
        for (i, arg) in args.into_iter().map(Typed::strict).enumerate() {
            if arg.is_literal() {
                inner.push(arg);
                continue;
            }
            fields.push(format!("x{i} := {}", arg.sql));
            inner.push(Typed::new(format!("gs_h.x{i}"), arg.ty).at(at));
        }
        let mut frame = Frame { distinct: call.distinct, ..Frame::default() };
        for (i, order) in outer.order.iter().enumerate() {
            fields.push(format!("o{i} := {}", order.sql));
            frame.order.push(Key { sql: format!("gs_h.o{i}"), direction: order.direction.clone() });
        }
        let names: Vec<String> =
            fields.iter().filter_map(|f| f.split_once(" :=")).map(|(n, _)| format!("gs_r.r.{n} AS {n}")).collect();
        let row = format!("struct_pack({})", fields.join(", "));
        let list = format!("list({row}) FILTER (WHERE ({}) IS NOT NULL)", key.sql);
        let best = if key.ty == Type::Float64 {
            // A NaN equals nothing: with one among the keys no row is picked.
            let function = if max { "max" } else { "min" };
            format!("CASE WHEN bool_or(isnan({0})) THEN NULL ELSE {function}({0}) END", key.sql)
        } else {
            format!("{}({})", if max { "max" } else { "min" }, key.sql)
        };
        let plain = Call { having: None, ..call.clone() };
        if call.ignore_nulls == Some(true) && call.name != "ARRAY_AGG" {
            return Err(SqlError::unsupported(format!("IGNORE NULLS in {}", call.name), at));
        }
        let out = self.aggregate_of(&plain, inner, &frame, at)?;
        let sql = format!(
            "(SELECT {} FROM (SELECT {} FROM (SELECT unnest(gs_l.l) AS r, gs_l.b AS b FROM (SELECT {list} AS l, {best} AS b) AS gs_l) AS gs_r \
             WHERE gs_r.r.y = gs_r.b) AS gs_h)",
            out.sql,
            names.join(", ")
        );
        Ok(Typed { sql, ..out })
    }
}

/// The sum, and the sum of the floats: DuckDB's sum of DECIMAL(38, 9) wraps around, the floats tell whether it did.
fn numeric_sum(x: &Typed, frame: &Frame) -> (String, String) {
    let size = frame.agg("sum", &format!("CAST({} AS DOUBLE)", x.sql));
    (format!("CAST({} AS DECIMAL(38,9))", frame.agg("sum", &x.sql)), size)
}
