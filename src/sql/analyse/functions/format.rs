//! FORMAT: a literal format becomes a concatenation.

use super::super::typed::{Lit, Typed, text};
use super::super::{Analyser, Res};
use crate::model::Type;
use crate::sql::error::SqlError;
use std::ops::Range;

impl Analyser<'_> {
    pub(super) fn format_function(&mut self, format: &Typed, values: &[Typed], at: &Range<usize>) -> Res<Typed> {
        if format.lit == Lit::Null {
            return Ok(Typed::new(super::super::typed::null_of(&Type::String), Type::String).at(at));
        }
        if format.lit == Lit::Error {
            return self.coerce(format.clone(), &Type::String);
        }
        let Lit::Str(format) = &format.lit else {
            return Err(SqlError::unsupported("FORMAT with a format that is no literal", at));
        };
        let mut parts: Vec<String> = Vec::new();
        let mut rest = format.as_str();
        let mut values = values.iter();
        while let Some(i) = rest.find('%') {
            if i > 0 {
                parts.push(text(&rest[..i]));
            }
            rest = &rest[i + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                parts.push("'%'".into());
                rest = after;
                continue;
            }
            let end = rest
                .find(|c: char| c.is_ascii_alphabetic())
                .ok_or_else(|| SqlError::invalid("this format has no end", at))?;
            let flags = &rest[..end];
            let kind = &rest[end..=end];
            rest = &rest[end + 1..];
            let value = values.next().ok_or_else(|| SqlError::invalid("FORMAT has too few values", at))?;
            parts.push(self.format_part(flags, kind, value, at)?);
        }
        if !rest.is_empty() {
            parts.push(text(rest));
        }
        if values.next().is_some() {
            return Err(SqlError::invalid("FORMAT has too many values", at));
        }
        if parts.is_empty() {
            parts.push("''".into());
        }
        Ok(Typed::new(format!("({})", parts.join(" || ")), Type::String).at(at))
    }

    fn format_part(&mut self, flags: &str, kind: &str, value: &Typed, at: &Range<usize>) -> Res<String> {
        let refuse = || SqlError::unsupported(format!("%{flags}{kind} of a {} in FORMAT", value.ty), at);
        if flags.contains('*') {
            return Err(refuse());
        }
        let x = value.strict_sql();
        Ok(match (kind, &value.ty) {
            ("d" | "i", Type::Int64) => format!("gs_format_int({x}, {})", text(flags)),
            ("s", Type::String) => format!("gs_format_text({x}, {})", text(flags)),
            ("f", Type::Float64) => format!("gs_format_float({x}, {})", text(flags)),
            ("f", Type::Int64) if value.is_literal() => {
                let x = self.coerce(value.clone(), &Type::Float64)?;
                format!("gs_format_float({}, {})", x.sql, text(flags))
            }
            ("t", Type::String) if flags.is_empty() => format!("coalesce({x}, 'NULL')"),
            (
                "t",
                Type::Int64
                | Type::Bool
                | Type::Float64
                | Type::Numeric
                | Type::Date
                | Type::DateTime
                | Type::Timestamp
                | Type::Time,
            ) if flags.is_empty() => {
                let sql = self.cast_sql(value, &Type::String, false, at)?;
                format!("coalesce({sql}, 'NULL')")
            }
            ("T", Type::Int64 | Type::Bool) if flags.is_empty() => format!("coalesce(CAST({x} AS VARCHAR), 'NULL')"),
            _ => return Err(refuse()),
        })
    }
}
