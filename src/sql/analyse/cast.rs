//! CAST and SAFE_CAST, and types by name.

use super::typed::{Typed, fail, field_names, null_of, phys, quoted};
use super::{Analyser, Res};
use crate::config::tables::named_type;
use crate::model::Type;
use crate::model::types::StructField;
use crate::sql::ast::{Expr, TypeKind, TypeName};
use crate::sql::error::SqlError;
use std::ops::Range;

impl Analyser<'_> {
    /// The type that was written, without its parameters.
    pub(super) fn type_of(&mut self, ty: &TypeName) -> Res<Type> {
        Ok(match &ty.kind {
            TypeKind::Simple(name, params) => {
                if !params.is_empty()
                    && !matches!(
                        name.as_str(),
                        "NUMERIC" | "DECIMAL" | "BIGNUMERIC" | "BIGDECIMAL" | "STRING" | "BYTES"
                    )
                {
                    return Err(SqlError::invalid(format!("{name} takes no parameters"), &ty.at));
                }
                // FLOAT is a name in table schemas alone.
                match named_type(name).filter(|_| name != "FLOAT") {
                    Some(ty) => ty,
                    None => return Err(SqlError::invalid(format!("unknown type `{name}`"), &ty.at)),
                }
            }
            TypeKind::Array(item) => {
                let item = self.type_of(item)?;
                if matches!(item, Type::Array(_)) {
                    return Err(SqlError::invalid("an array cannot hold arrays", &ty.at));
                }
                Type::Array(Box::new(item))
            }
            TypeKind::Range(item) => Type::Range(Box::new(self.type_of(item)?)),
            TypeKind::Struct(fields) => {
                let mut out = Vec::new();
                for (name, field) in fields {
                    let name = name.as_ref().map_or(String::new(), |n| n.name.clone());
                    out.push(StructField { name, ty: self.type_of(field)? });
                }
                Type::Struct(out)
            }
        })
    }

    pub(super) fn cast(
        &mut self,
        safe: bool,
        expr: &Expr,
        ty: &TypeName,
        format: Option<&Expr>,
        zone: Option<&Expr>,
        at: &Range<usize>,
    ) -> Res<Typed> {
        let t = self.expr(expr)?;
        let to = self.type_of(ty)?;
        if nested_params(ty, false) {
            return Err(SqlError::unsupported("type parameters within an array or a struct", &ty.at));
        }
        let literal = match (&t.lit, &to) {
            (super::typed::Lit::Float(digits), Type::Numeric | Type::BigNumeric) => {
                super::coerce::constant(&to, digits)
            }
            _ => None,
        };
        let mut sql = match format {
            None if literal.is_some() => literal.unwrap_or_default(),
            Some(format) => self.cast_format(&t, &to, format, zone, at)?,
            None => {
                let zone = zone.map(|z| self.expr(z)).transpose()?;
                match zone {
                    Some(z) => match (&t.ty, &to) {
                        (Type::Timestamp, Type::String) => format!("gs_ts_text({}, {})", t.sql, z.sql),
                        (Type::String, Type::Timestamp) => format!("gs_str_ts({}, {})", t.sql, z.sql),
                        _ => return Err(SqlError::unsupported("this CAST with AT TIME ZONE", at)),
                    },
                    None => self.cast_sql(&t, &to, false, at)?,
                }
            }
        };
        sql = self.fit(sql, &to, ty, at)?;
        let same = t.ty == to;
        if safe && !same {
            sql = safely(&sql, &[&t]);
        }
        let mut out = Typed::new(sql, to).nullable(safe || t.nullable).at(at);
        out.fails = if safe || same { t.fails } else { t.fails || can_fail(&t.ty, &out.ty) };
        if same && !t.is_null_literal() && t.ty != Type::Numeric {
            out.loose = false;
        }
        Ok(out)
    }

    /// Holds a value to the parameters of its type.
    fn fit(&mut self, sql: String, to: &Type, ty: &TypeName, at: &Range<usize>) -> Res<String> {
        let TypeKind::Simple(_, params) = &ty.kind else { return Ok(sql) };
        match (to, params.as_slice()) {
            (_, []) => Ok(sql),
            (Type::Numeric, [p]) => Ok(format!("gs_num_fit({sql}, CAST({p} AS BIGINT), CAST(0 AS BIGINT))")),
            (Type::Numeric, [p, s]) => Ok(format!("gs_num_fit({sql}, CAST({p} AS BIGINT), CAST({s} AS BIGINT))")),
            (Type::BigNumeric, [p]) => Ok(format!("gs_big_fit({sql}, CAST({p} AS BIGINT), CAST(0 AS BIGINT))")),
            (Type::BigNumeric, [p, s]) => Ok(format!("gs_big_fit({sql}, CAST({p} AS BIGINT), CAST({s} AS BIGINT))")),
            (Type::String, [n]) => Ok(format!(
                "CASE WHEN length({sql}) > {n} THEN {} ELSE {sql} END",
                fail("the text is too long for its type", to)
            )),
            (Type::Bytes, [n]) => Ok(format!(
                "CASE WHEN octet_length({sql}) > {n} THEN {} ELSE {sql} END",
                fail("the bytes are too long for their type", to)
            )),
            _ => Err(SqlError::unsupported("these type parameters", at)),
        }
    }

    /// The text of a CAST that fails where GoogleSQL's does.
    pub(super) fn cast_sql(&mut self, t: &Typed, to: &Type, inner: bool, at: &Range<usize>) -> Res<String> {
        if t.lit == super::typed::Lit::Error {
            return Ok(super::coerce::error_of(t, to));
        }
        if t.is_null_literal() {
            return Ok(null_of(to));
        }
        if t.ty == *to {
            return Ok(t.strict_sql());
        }
        let x = t.strict_sql();
        let plain = |ty: &Type| format!("CAST({x} AS {})", phys(ty));
        let sql = match (&t.ty, to) {
            (Type::Int64, Type::Bool) => format!("({x} <> 0)"),
            (Type::Bool, Type::Int64)
            | (Type::Int64, Type::Float64 | Type::Numeric | Type::String)
            | (Type::Bool, Type::String)
            | (Type::Date, Type::String | Type::DateTime)
            | (Type::DateTime, Type::Date | Type::Time | Type::Timestamp)
            | (Type::Timestamp, Type::DateTime)
            | (Type::Numeric, Type::Int64) => plain(to),
            (Type::Timestamp, Type::Date | Type::Time) => format!("CAST(CAST({x} AS TIMESTAMP) AS {})", phys(to)),
            (Type::Date, Type::Timestamp) => format!("CAST(CAST({x} AS TIMESTAMP) AS TIMESTAMPTZ)"),
            (Type::Float64, Type::Int64) => format!("CAST(round({x}) AS BIGINT)"),
            (Type::Float64, Type::Numeric) => format!("gs_float_num({x})"),
            (Type::Float64, Type::String) => format!("gs_float_text({x})"),
            (Type::Numeric, Type::Float64) => format!("CAST(CAST({x} AS VARCHAR) AS DOUBLE)"),
            (Type::Numeric, Type::String) => format!("gs_num_text({x})"),
            (Type::Int64, Type::BigNumeric) => format!("gs_int_big({x})"),
            (Type::Numeric, Type::BigNumeric) => format!("gs_num_big({x})"),
            (Type::Float64, Type::BigNumeric) => format!("gs_float_big({x})"),
            (Type::String, Type::BigNumeric) => format!("gs_str_big({x})"),
            (Type::BigNumeric, Type::Int64) => format!("gs_big_int({x})"),
            (Type::BigNumeric, Type::Float64) => format!("gs_big_float({x})"),
            (Type::BigNumeric, Type::Numeric) => format!("gs_big_num({x})"),
            (Type::BigNumeric, Type::String) => format!("gs_big_text({x})"),
            (Type::Bytes, Type::String) => format!("gs_utf8({x})"),
            (Type::String, Type::Bytes) => format!("encode({x})"),
            (Type::String, Type::Bool) => format!("gs_str_bool({x})"),
            (Type::String, Type::Int64) => format!("gs_str_int({x})"),
            (Type::String, Type::Float64) => format!("gs_str_float({x})"),
            (Type::String, Type::Numeric) => format!("gs_str_num({x})"),
            (Type::String, Type::Date) => format!("gs_str_date({x})"),
            (Type::String, Type::Time) => format!("gs_str_time({x})"),
            (Type::String, Type::DateTime) => format!("gs_str_dt({x})"),
            (Type::String, Type::Timestamp) => format!("gs_str_ts({x}, 'UTC')"),
            (Type::Time, Type::String) => format!("gs_time_text({x})"),
            (Type::DateTime, Type::String) => format!("gs_dt_text({x})"),
            (Type::Timestamp, Type::String) => format!("gs_ts_text({x}, 'UTC')"),
            (Type::Array(from), Type::Array(item)) => {
                if inner {
                    return Err(SqlError::unsupported("a CAST of arrays within arrays", at));
                }
                if t.coerces(to) {
                    return Ok(self.coerce(t.clone(), to)?.sql);
                }
                let element = Typed::new("gs_c", (**from).clone()).at(at);
                let element = self.cast_sql(&element, item, true, at)?;
                format!("list_transform({x}, lambda gs_c: {element})")
            }
            (Type::Struct(from), Type::Struct(fields)) if from.len() == fields.len() => {
                let mut parts = Vec::new();
                for (i, (name, field)) in field_names(from).iter().zip(fields).enumerate() {
                    let part = match t.parts.get(i) {
                        Some(part) => part.clone(),
                        None => Typed::new(format!("({x}).{}", quoted(name)), from[i].ty.clone()),
                    };
                    let sql = self.cast_sql(&part, &field.ty, inner, at)?;
                    parts.push(Typed::new(sql, field.ty.clone()));
                }
                let made = super::coerce::struct_of(parts, fields, at).sql;
                if t.nullable { format!("CASE WHEN ({x}) IS NULL THEN {} ELSE {made} END", null_of(to)) } else { made }
            }
            (from, to) => {
                let known = |t: &Type| matches!(t, Type::Interval | Type::Range(_) | Type::Geography);
                let message = format!("a CAST from {from} to {to}");
                return Err(if known(from) || known(to) {
                    SqlError::unsupported(message, at)
                } else {
                    SqlError::invalid(message, at)
                });
            }
        };
        Ok(sql)
    }

    fn cast_format(
        &mut self,
        t: &Typed,
        to: &Type,
        format: &Expr,
        zone: Option<&Expr>,
        at: &Range<usize>,
    ) -> Res<String> {
        let format = self.expr(format)?;
        let zone = match zone {
            Some(z) => self.expr(z)?.sql,
            None => "'UTC'".to_owned(),
        };
        if format.ty != Type::String {
            return Err(SqlError::invalid("FORMAT needs a text", at));
        }
        let (x, f) = (&t.sql, &format.sql);
        Ok(match (&t.ty, to) {
            (Type::Bytes, Type::String) => format!("gs_bytes_text({x}, {f})"),
            (Type::String, Type::Bytes) => format!("gs_text_bytes({x}, {f})"),
            (Type::Date, Type::String) => format!("gs_cast_dt_format(CAST({x} AS TIMESTAMP), {f}, 'DATE', '')"),
            (Type::DateTime, Type::String) => format!("gs_cast_dt_format({x}, {f}, 'DATETIME', '')"),
            (Type::Timestamp, Type::String) => {
                format!("gs_cast_dt_format(gs_ts_civil({x}, {zone}), {f}, 'TIMESTAMP', '')")
            }
            _ => return Err(SqlError::unsupported("this CAST with FORMAT", at)),
        })
    }
}

/// Whether a cast can fail on a value.
fn can_fail(from: &Type, to: &Type) -> bool {
    !matches!(
        (from, to),
        (
            Type::Int64
                | Type::Bool
                | Type::Date
                | Type::DateTime
                | Type::Timestamp
                | Type::Time
                | Type::Float64
                | Type::Numeric
                | Type::BigNumeric,
            Type::String
        ) | (Type::Int64, Type::Float64 | Type::Numeric | Type::BigNumeric | Type::Bool)
            | (Type::Bool, Type::Int64)
            | (Type::Numeric, Type::Float64 | Type::BigNumeric)
            | (Type::BigNumeric, Type::Float64)
            | (Type::Date, Type::DateTime | Type::Timestamp)
            | (Type::DateTime, Type::Date | Type::Time | Type::Timestamp)
            | (Type::Timestamp, Type::Date | Type::DateTime | Type::Time)
            | (Type::String, Type::Bytes)
    )
}

/// NULL where `sql` fails; where its arguments fail, the failure stays.
pub(super) fn safely(sql: &str, args: &[&Typed]) -> String {
    if let Some(call) = single_call(sql) {
        return format!("gs_try_{call}");
    }
    let failing: Vec<&&Typed> = args.iter().filter(|a| a.fails).collect();
    if failing.is_empty() {
        return format!("TRY({sql})");
    }
    // The arguments are computed outside of TRY first.
    let whens: Vec<String> = failing.iter().map(|a| format!("WHEN ({}) IS NULL THEN TRY({sql})", a.sql)).collect();
    format!("CASE {} ELSE TRY({sql}) END", whens.join(" "))
}

/// Whether a type inside another has parameters.
fn nested_params(ty: &TypeName, inside: bool) -> bool {
    match &ty.kind {
        TypeKind::Simple(_, params) => inside && !params.is_empty(),
        TypeKind::Array(item) | TypeKind::Range(item) => nested_params(item, true),
        TypeKind::Struct(fields) => fields.iter().any(|(_, f)| nested_params(f, true)),
    }
}

/// What follows `gs_`, if the text is one call of a function of our own.
fn single_call(sql: &str) -> Option<&str> {
    let call = sql.strip_prefix("gs_")?;
    let mut depth = 0usize;
    let mut quoted = None;
    for (i, c) in call.char_indices() {
        match (quoted, c) {
            (Some(q), c) if c == q => quoted = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quoted = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return (i + 1 == call.len()).then_some(call);
                }
            }
            _ => {}
        }
    }
    None
}
