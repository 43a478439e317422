//! Functions with rules of their own: conditions, arrays, errors.

use super::super::typed::{Lit, Typed, fail, phys};
use super::super::{Analyser, Res};
use crate::model::Type;
use crate::sql::ast::{Binary, Call};
use crate::sql::error::SqlError;
use std::ops::Range;

type Found = Option<(Typed, Vec<Typed>)>;

impl Analyser<'_> {
    pub(super) fn special(&mut self, call: &Call, at: &Range<usize>) -> Res<Found> {
        let handled = matches!(
            call.name.as_str(),
            "IF" | "IFNULL"
                | "COALESCE"
                | "NULLIF"
                | "CONCAT"
                | "GREATEST"
                | "LEAST"
                | "ARRAY_LENGTH"
                | "ARRAY_CONCAT"
                | "ARRAY_REVERSE"
                | "ARRAY_FIRST"
                | "ARRAY_LAST"
                | "ARRAY_SLICE"
                | "ERROR"
                | "ROUND"
                | "TRUNC"
                | "CEIL"
                | "FLOOR"
                | "CEILING"
                | "FORMAT"
                | "IS_NAN"
                | "ZEROIFNULL"
                | "NULLIFZERO"
                | "ARRAY_TO_STRING"
                | "SAFE_DIVIDE"
                | "SAFE_ADD"
                | "SAFE_SUBTRACT"
                | "SAFE_MULTIPLY"
                | "SAFE_NEGATE"
                | "DATE"
                | "TYPEOF"
                | "ABS"
                | "SIGN"
                | "POW"
                | "POWER"
        );
        if !handled || call.args.iter().any(|(n, _)| n.is_some()) {
            return Ok(None);
        }
        let mut args = Vec::new();
        for (_, arg) in &call.args {
            args.push(self.expr(arg)?);
        }
        let out = self.special_of(call, &args, at)?;
        Ok(out.map(|t| (t, args)))
    }

    fn special_of(&mut self, call: &Call, args: &[Typed], at: &Range<usize>) -> Res<Option<Typed>> {
        let name = call.name.as_str();
        let refs: Vec<&Typed> = args.iter().collect();
        Ok(Some(match (name, args) {
            ("IF", [condition, yes, no]) => {
                let condition = self.coerce(condition.clone(), &Type::Bool)?;
                self.choose(vec![condition], vec![yes.clone(), no.clone()], true, at)?
            }
            ("IFNULL" | "COALESCE", [_, ..]) if name == "COALESCE" || args.len() == 2 => {
                let nullable = args.iter().all(|a| a.nullable);
                let (all, ty) = self.unify(args.to_vec(), name, at)?;
                let list: Vec<&str> = all.iter().map(|t| t.sql.as_str()).collect();
                Typed::new(format!("coalesce({})", list.join(", ")), ty).nullable(nullable).at(at).total(&refs)
            }
            ("NULLIF", [a, b]) => {
                let equal = self.compare(Binary::Eq, a.clone(), b.clone(), at)?;
                let (both, ty) = self.unify(vec![a.clone(), b.clone()], name, at)?;
                Typed::new(format!("CASE WHEN {} THEN NULL ELSE {} END", equal.sql, both[0].sql), ty)
                    .at(at)
                    .total(&refs)
            }
            ("ZEROIFNULL", [a]) if matches!(a.ty, Type::Int64 | Type::Float64 | Type::Numeric) => {
                let a = a.clone().strict();
                Typed::new(format!("coalesce({}, CAST(0 AS {}))", a.sql, phys(&a.ty)), a.ty).nullable(false).at(at)
            }
            ("NULLIFZERO", [a]) if matches!(a.ty, Type::Int64 | Type::Float64 | Type::Numeric) => {
                Typed::new(format!("nullif({}, 0)", a.strict_sql()), a.ty.clone()).at(at)
            }
            ("CONCAT", [_, ..]) => {
                let mut all = Vec::new();
                let bytes = args.iter().any(|a| a.ty == Type::Bytes);
                for arg in args {
                    let arg = arg.clone();
                    let to = if bytes { Type::Bytes } else { Type::String };
                    if arg.ty == to || arg.coerces(&to) {
                        all.push(self.coerce(arg, &to)?);
                    } else if !bytes && !matches!(arg.ty, Type::Array(_) | Type::Struct(_) | Type::Json) {
                        let sql = self.cast_sql(&arg, &to, false, at)?;
                        all.push(Typed::new(sql, to).nullable(arg.nullable).at(at));
                    } else {
                        return Err(SqlError::invalid(format!("CONCAT of {}", arg.ty), at));
                    }
                }
                self.concat(all, at)?
            }
            ("GREATEST" | "LEAST", [_, ..]) => self.greatest(name, args, at)?,
            ("ARRAY_LENGTH", [a]) => {
                let a = self.array_arg(a, at)?;
                Typed::new(format!("len({})", a.sql), Type::Int64).nullable(a.nullable).at(at).total(&refs)
            }
            ("ARRAY_CONCAT", [_, ..]) => {
                let mut all = Vec::new();
                for arg in args {
                    all.push(self.array_arg(arg, at)?);
                }
                self.concat(all, at)?
            }
            ("ARRAY_REVERSE", [a]) => {
                let a = self.array_arg(a, at)?;
                Typed::new(format!("list_reverse({})", a.sql), a.ty.clone()).nullable(a.nullable).at(at).total(&refs)
            }
            ("ARRAY_FIRST" | "ARRAY_LAST", [a]) => {
                let a = self.array_arg(a, at)?;
                let Type::Array(item) = a.ty.clone() else { return Ok(None) };
                let index = if name == "ARRAY_FIRST" { "1" } else { "-1" };
                let sql = format!(
                    "CASE WHEN len({0}) = 0 THEN {1} ELSE ({0})[{index}] END",
                    a.sql,
                    fail(&format!("{name} of an empty array"), &item)
                );
                Typed::new(sql, *item).at(at)
            }
            ("ARRAY_SLICE", [a, from, to]) => {
                let a = self.array_arg(a, at)?;
                let (from, to) = (self.coerce(from.clone(), &Type::Int64)?, self.coerce(to.clone(), &Type::Int64)?);
                // Negative places count from the end; places beyond an end are the end.
                let place = |i: &str| format!("CASE WHEN ({i}) < 0 THEN len({}) + ({i}) ELSE ({i}) END", a.sql);
                let sql = format!(
                    "CASE WHEN ({0}) IS NULL OR ({1}) IS NULL OR ({2}) IS NULL THEN NULL WHEN ({4}) < 0 THEN ({0})[1:0] \
                     ELSE list_slice({0}, greatest({3}, 0) + 1, ({4}) + 1) END",
                    a.sql,
                    from.sql,
                    to.sql,
                    place(&from.sql),
                    place(&to.sql)
                );
                Typed::new(sql, a.ty.clone()).at(at)
            }
            ("ARRAY_TO_STRING", [a, ..]) if a.lit == Lit::Composite && a.parts.is_empty() => return Ok(None),
            ("ERROR", [message]) => {
                let message = self.coerce(message.clone(), &Type::String)?;
                let mut out = Typed::new("", Type::Int64).at(at);
                out.parts = vec![message];
                out.sql = super::super::coerce::error_of(&out, &Type::Int64);
                out.lit = Lit::Error;
                out
            }
            ("ROUND" | "TRUNC" | "CEIL" | "FLOOR" | "CEILING" | "POW" | "POWER", [a, rest @ ..])
                if a.ty == Type::Int64 && !a.is_null_literal() =>
            {
                // Integers are rounded as FLOAT64.
                if rest.iter().any(|r| matches!(r.ty, Type::Numeric | Type::BigNumeric)) {
                    return Ok(None);
                }
                let float = self.coerce(a.clone(), &Type::Float64)?;
                let mut all = vec![Typed { lit: Lit::No, ..float }];
                all.extend_from_slice(rest);
                let plain = Call { name: call.name.clone(), ..call.clone() };
                self.entry(&plain, &all, at)?
            }
            ("SAFE_DIVIDE", [a, b]) if a.ty == Type::Int64 && b.ty == Type::Int64 => {
                let (a, b) = (self.coerce(a.clone(), &Type::Float64)?, self.coerce(b.clone(), &Type::Float64)?);
                Typed::new(format!("gs_safe_divide({}, {})", a.sql, b.sql), Type::Float64).at(at).total(&refs)
            }
            ("FORMAT", [format, values @ ..]) => self.format_function(format, values, at)?,
            _ => return Ok(None),
        }))
    }

    fn array_arg(&mut self, a: &Typed, at: &Range<usize>) -> Res<Typed> {
        if a.is_null_literal() {
            return self.coerce(a.clone(), &Type::Array(Box::new(Type::Int64)));
        }
        match a.ty {
            Type::Array(_) => Ok(a.clone()),
            ref ty => Err(SqlError::invalid(format!("an array is needed, this is a {ty}"), at)),
        }
    }

    /// NULL if any is NULL; NaN if any is NaN.
    fn greatest(&mut self, name: &str, args: &[Typed], at: &Range<usize>) -> Res<Typed> {
        let (all, ty) = self.unify(args.to_vec(), name, at)?;
        if !super::super::order::orderable(&ty) {
            return Err(SqlError::unsupported(format!("{name} of {ty}"), at));
        }
        let list: Vec<&str> = all.iter().map(|t| t.sql.as_str()).collect();
        let nulls: Vec<String> = list.iter().map(|x| format!("({x}) IS NULL")).collect();
        let mut whens = format!("WHEN {} THEN NULL ", nulls.join(" OR "));
        if ty == Type::Float64 {
            let nans: Vec<String> = list.iter().map(|x| format!("isnan({x})")).collect();
            whens.push_str(&format!("WHEN {} THEN CAST('nan' AS DOUBLE) ", nans.join(" OR ")));
        }
        let sql = format!("CASE {whens}ELSE {}({}) END", name.to_ascii_lowercase(), list.join(", "));
        let refs: Vec<&Typed> = all.iter().collect();
        Ok(Typed::new(sql, ty).nullable(all.iter().any(|t| t.nullable)).at(at).total(&refs))
    }
}
