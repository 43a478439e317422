//! PERCENTILE_CONT and PERCENTILE_DISC.
//!
//! DuckDB's quantiles do for finite numbers without NULL; the rest is computed over the list of the window's values.

use super::typed::{Lit, Typed};
use super::{Analyser, Res};
use crate::model::Type;
use crate::sql::ast::Call;
use crate::sql::error::SqlError;
use std::ops::Range;

impl Analyser<'_> {
    /// NULL is ignored unless told otherwise.
    pub(super) fn percentile(
        &mut self,
        call: &Call,
        x: &Typed,
        p: &Typed,
        over: &str,
        at: &Range<usize>,
    ) -> Res<Typed> {
        if p.sql.contains(".\"") {
            return Err(SqlError::invalid("a percentile must be a constant", &p.at));
        }
        let respect = call.ignore_nulls == Some(false);
        if call.name == "PERCENTILE_DISC" {
            self.disc(x, p, respect, over, at)
        } else {
            self.cont(x, p, respect, over, at)
        }
    }

    fn disc(&mut self, x: &Typed, p: &Typed, respect: bool, over: &str, at: &Range<usize>) -> Res<Typed> {
        if !super::order::orderable(&x.ty) {
            return Err(SqlError::invalid(format!("PERCENTILE_DISC of {}", x.ty), at));
        }
        let p = self.coerce(p.clone(), &Type::Float64)?;
        let x = x.clone().strict();
        let sql = if x.ty == Type::Float64 {
            format!("gs_pct_disc({}, {}, {respect})", list(&x.sql, over), p.sql)
        } else if fraction(&p).is_some() && !respect {
            format!("quantile_disc({}, {}){over}", x.sql, p.sql)
        } else {
            let known = format!("list({0}) FILTER (WHERE ({0}) IS NOT NULL){over}", x.sql);
            let count = format!("count({}){over}", x.sql);
            let nulls = if respect { format!("(count(*){over} - {count})") } else { "CAST(0 AS BIGINT)".to_owned() };
            format!("(list_sort({known}))[gs_pct_disc_place({}, {count}, {nulls})]", p.sql)
        };
        Ok(Typed::new(sql, x.ty).at(at))
    }

    fn cont(&mut self, x: &Typed, p: &Typed, respect: bool, over: &str, at: &Range<usize>) -> Res<Typed> {
        // The wider of both types is the result's.
        let ty = if x.is_null_literal() {
            Some(Type::Float64)
        } else {
            [Type::Numeric, Type::BigNumeric, Type::Float64]
                .into_iter()
                .find(|ty| x.coerces(ty) && p.coerces(ty) && (*ty == Type::Float64 || x.ty == *ty || p.ty == *ty))
        };
        let ty = ty.ok_or_else(|| SqlError::invalid(format!("PERCENTILE_CONT of {} and {}", x.ty, p.ty), at))?;
        let (x, p) = (self.coerce(x.clone(), &ty)?, self.coerce(p.clone(), &ty)?);
        if ty != Type::Float64 {
            let (x, p) = (self.coerce(x, &Type::BigNumeric)?, self.coerce(p, &Type::BigNumeric)?);
            let big = format!("gs_pct_cont_big({}, {}, {respect})", list(&x.sql, over), p.sql);
            let sql = if ty == Type::Numeric { format!("gs_big_num({big})") } else { big };
            return Ok(Typed::new(sql, ty).at(at));
        }
        let all = format!("gs_pct_cont({}, {}, {respect})", list(&x.sql, over), p.sql);
        let sql = match fraction(&p) {
            Some(_) if !respect => format!(
                "CASE WHEN bool_or(NOT isfinite({0})){over} OR max(abs({0})){over} > 1e300 THEN {all} ELSE quantile_cont({0}, {1}){over} END",
                x.sql, p.sql
            ),
            _ => all,
        };
        Ok(Typed::new(sql, Type::Float64).at(at))
    }
}

fn list(x: &str, over: &str) -> String {
    format!("list({x}){over}")
}

/// A literal between 0 and 1, as a FLOAT64.
fn fraction(p: &Typed) -> Option<f64> {
    let text = p.sql.strip_prefix("CAST('")?.strip_suffix("' AS DOUBLE)")?;
    text.parse().ok().filter(|f: &f64| (0.0..=1.0).contains(f) && f.is_sign_positive() && p.lit != Lit::Param)
}
