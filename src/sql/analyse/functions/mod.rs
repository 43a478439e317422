//! Scalar functions: those that are a line of the table, and those with a grammar of their own.

mod dates;
mod format;
mod json;
mod special;
mod table;

use super::cast::safely;
use super::typed::{Lit, Typed};
use super::{Analyser, Res};
use crate::model::Type;
use crate::sql::ast::Call;
use crate::sql::error::SqlError;
use std::ops::Range;

impl Analyser<'_> {
    pub(super) fn call(&mut self, call: &Call, at: &Range<usize>) -> Res<Typed> {
        if let Some(over) = &call.over {
            return self.window(call, over, at);
        }
        if super::aggregate::is_aggregate(&call.name) {
            return self.aggregate(call, String::new(), at);
        }
        let extra =
            call.distinct || call.star || call.having.is_some() || call.limit.is_some() || !call.order_by.is_empty();
        if extra || call.ignore_nulls.is_some() {
            return Err(SqlError::unsupported(format!("the function {} with these clauses", call.name), at));
        }
        let (mut out, args) = self.scalar(call, at)?;
        if call.safe && out.lit == Lit::Error {
            return Ok(super::expr::null_literal(at));
        }
        if call.safe {
            let refs: Vec<&Typed> = args.iter().collect();
            out.sql = safely(&out.sql, &refs);
            out.nullable = true;
            out.fails = args.iter().any(|a| a.fails);
        }
        Ok(out)
    }

    /// The call and the arguments it was made of.
    fn scalar(&mut self, call: &Call, at: &Range<usize>) -> Res<(Typed, Vec<Typed>)> {
        if let Some(found) = self.special(call, at)? {
            return Ok(found);
        }
        if let Some(found) = self.json_function(call, at)? {
            return Ok(found);
        }
        if let Some(found) = self.date_function(call, at)? {
            return Ok(found);
        }
        if let Some((name, _)) = call.args.iter().find(|(n, _)| n.is_some()) {
            let at = name.as_ref().map_or(at, |n| &n.at);
            return Err(SqlError::unsupported(format!("a named argument of {}", call.name), at));
        }
        let mut args = Vec::new();
        for (_, arg) in &call.args {
            args.push(self.expr(arg)?);
        }
        let out = self.entry(call, &args, at)?;
        Ok((out, args))
    }

    /// A function of the table: the entry that needs the fewest conversions.
    fn entry(&mut self, call: &Call, args: &[Typed], at: &Range<usize>) -> Res<Typed> {
        let mut best: Option<(usize, &table::Entry)> = None;
        let mut known = false;
        for entry in table::TABLE.iter().filter(|e| e.0 == call.name) {
            known = true;
            let types = table::types(entry.1);
            if types.len() != args.len() {
                continue;
            }
            let mut cost = 0;
            let fits = types.iter().zip(args).all(|(ty, arg)| {
                if arg.ty != *ty {
                    cost += if arg.is_null_literal() {
                        0
                    } else if arg.is_literal() {
                        1
                    } else {
                        10
                    };
                }
                // These GoogleSQL computes as NUMERIC, with its digits.
                let narrowed = matches!(arg.ty, Type::Numeric | Type::BigNumeric)
                    && *ty == Type::Float64
                    && matches!(entry.0, "EXP" | "LN" | "LOG" | "LOG10" | "CBRT");
                arg.coerces(ty) && !narrowed
            });
            if fits && best.is_none_or(|(c, _)| cost < c) {
                best = Some((cost, entry));
            }
        }
        let Some((_, entry)) = best else {
            let types: Vec<String> = args.iter().map(|a| a.ty.to_string()).collect();
            let message = format!("the function {}({})", call.name, types.join(", "));
            let _ = known;
            return Err(SqlError::unsupported(message, at));
        };
        let mut coerced = Vec::new();
        for (arg, ty) in args.iter().zip(table::types(entry.1)) {
            coerced.push(self.coerce(arg.clone(), &ty)?);
        }
        let total = entry.3.starts_with('!');
        let sql = fill(entry.3.trim_start_matches('!'), &coerced);
        let ty = table::types(entry.2).pop().unwrap_or(Type::Int64);
        let refs: Vec<&Typed> = coerced.iter().collect();
        let nullable = coerced.iter().any(|a| a.nullable) || entry.3.contains("CASE") || entry.3.contains("gs_n");
        let out = Typed::new(sql, ty).nullable(nullable || !total).at(at);
        Ok(if total { out.total(&refs) } else { out })
    }
}

/// `{0}` is the first argument.
fn fill(template: &str, args: &[Typed]) -> String {
    let mut out = template.to_owned();
    for (i, arg) in args.iter().enumerate() {
        // No argument may be taken for a place of a later one.
        out = out.replace(&format!("{{{i}}}"), &format!("\u{1}{i}\u{2}"));
        let _ = arg;
    }
    for (i, arg) in args.iter().enumerate().rev() {
        out = out.replace(&format!("\u{1}{i}\u{2}"), &arg.sql);
    }
    out
}
