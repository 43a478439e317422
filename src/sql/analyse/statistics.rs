//! Variance, deviation, covariance and correlation.

use super::aggregate::Frame;
use super::typed::Typed;
use super::{Analyser, Res};
use crate::model::Type;
use std::ops::Range;

impl Analyser<'_> {
    /// VAR_POP and its kin: of BIGNUMERIC exactly, else by DuckDB's floats.
    pub(super) fn spread_of(&mut self, name: &str, x: Typed, frame: &Frame, at: &Range<usize>) -> Res<Typed> {
        let function = match name {
            "VARIANCE" | "VAR_SAMP" => "var_samp",
            "VAR_POP" => "var_pop",
            "STDDEV" | "STDDEV_SAMP" => "stddev_samp",
            _ => "stddev_pop",
        };
        if x.ty == Type::BigNumeric {
            let list = frame.agg_if("list", &x.sql, &[&known(&x)]);
            return Ok(Typed::new(format!("gs_big_spread({}, '{function}')", lists(&list)), Type::Float64).at(at));
        }
        let guard = large_numeric(&[&x], frame);
        let exact =
            format!("gs_num_spread({}, '{function}')", lists(&frame.agg_if("list", &x.strict_sql(), &[&known(&x)])));
        let x = self.coerce(x, &Type::Float64)?;
        Ok(Typed::new(guarded(guard, &exact, spread(function, &x.sql, frame), frame), Type::Float64).at(at))
    }

    /// CORR and COVAR.
    pub(super) fn pairs_of(&mut self, name: &str, x: Typed, y: Typed, frame: &Frame, at: &Range<usize>) -> Res<Typed> {
        let function = name.to_ascii_lowercase();
        let numeric = |t: &Typed| matches!(t.ty, Type::Int64 | Type::Numeric | Type::BigNumeric);
        let plain = frame.plain();
        let both = |x: &Typed, y: &Typed| format!("{} AND {}", known(x), known(y));
        if (x.ty == Type::BigNumeric || y.ty == Type::BigNumeric) && numeric(&x) && numeric(&y) {
            let (x, y) = (self.coerce(x, &Type::BigNumeric)?, self.coerce(y, &Type::BigNumeric)?);
            let list = |t: &Typed| lists(&plain.agg_if("list", &t.sql, &[&both(&x, &y)]));
            let sql = format!("gs_big_pairs({}, {}, '{function}')", list(&x), list(&y));
            return Ok(Typed::new(sql, Type::Float64).at(at));
        }
        let mut guard = None;
        let mut exact = String::new();
        if numeric(&x) && numeric(&y) && (x.ty == Type::Numeric || y.ty == Type::Numeric) {
            let (x, y) = (self.coerce(x.clone(), &Type::Numeric)?, self.coerce(y.clone(), &Type::Numeric)?);
            guard = large_numeric(&[&x, &y], frame);
            let list = |t: &Typed| lists(&plain.agg_if("list", &t.sql, &[&both(&x, &y)]));
            exact = format!("gs_num_pairs({}, {}, '{function}')", list(&x), list(&y));
        }
        let (x, y) = (self.coerce(x, &Type::Float64)?, self.coerce(y, &Type::Float64)?);
        Ok(Typed::new(guarded(guard, &exact, pairs(name, &x.sql, &y.sql, frame), frame), Type::Float64).at(at))
    }
}

fn known(t: &Typed) -> String {
    format!("({}) IS NOT NULL", t.sql)
}

/// No values are an empty list.
fn lists(list: &str) -> String {
    format!("coalesce({list}, [])")
}

/// Variance and deviation; a value that is not finite makes them NaN.
fn spread(function: &str, x: &str, frame: &Frame) -> String {
    let few = if function.ends_with("samp") { 2 } else { 1 };
    let plain = frame.plain();
    let broken = plain.agg("bool_or", &format!("NOT isfinite({x})"));
    let count = frame.agg("count", x);
    let finite = frame.agg(function, &format!("CASE WHEN isfinite({x}) THEN {x} END"));
    format!(
        "CASE WHEN {broken} THEN CASE WHEN {count} < {few} THEN NULL ELSE CAST('nan' AS DOUBLE) END ELSE {finite} END"
    )
}

/// Covariance and correlation over the pairs without NULL.
fn pairs(name: &str, x: &str, y: &str, frame: &Frame) -> String {
    let function = name.to_ascii_lowercase();
    let few = if name == "COVAR_POP" { 1 } else { 2 };
    let plain = frame.plain();
    let both = format!("({x}) IS NOT NULL AND ({y}) IS NOT NULL");
    let broken = plain.agg("bool_or", &format!("{both} AND NOT (isfinite({x}) AND isfinite({y}))"));
    let count = plain.agg("count", &format!("CASE WHEN {both} THEN 1 END"));
    let ok = format!("isfinite({x}) AND isfinite({y})");
    let finite = plain.agg(&function, &format!("CASE WHEN {ok} THEN {x} END, CASE WHEN {ok} THEN {y} END"));
    let nan = "CAST('nan' AS DOUBLE)";
    let value = if name == "CORR" { format!("coalesce({finite}, {nan})") } else { finite };
    format!("CASE WHEN {count} < {few} THEN NULL WHEN {broken} THEN {nan} ELSE {value} END")
}

/// True where a NUMERIC has too many digits for the statistics of floats.
fn large_numeric(args: &[&Typed], frame: &Frame) -> Option<String> {
    let plain = frame.plain();
    let large: Vec<String> = args
        .iter()
        .filter(|a| a.ty == Type::Numeric)
        .map(|a| format!("coalesce({} >= 1000000000000, false)", plain.agg("max", &format!("abs({})", a.sql))))
        .collect();
    (!large.is_empty()).then(|| large.join(" OR "))
}

/// The exact computation where the guard says so; over a window, whose lists would be as many as its rows, a refusal.
fn guarded(guard: Option<String>, exact: &str, sql: String, frame: &Frame) -> String {
    let Some(guard) = guard else { return sql };
    if frame.over.is_empty() {
        return format!("CASE WHEN {guard} THEN {exact} ELSE {sql} END");
    }
    let refuse = super::typed::fail("statistics of NUMERIC values this large are not supported", &Type::Float64);
    format!("CASE WHEN {guard} THEN {refuse} ELSE {sql} END")
}
