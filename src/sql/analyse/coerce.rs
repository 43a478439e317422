//! GoogleSQL's implicit conversions: of literals, of numbers, of arrays and structs.

use super::typed::{Lit, Typed, field_names, null_of, phys, quoted, text};
use super::{Analyser, Res};
use crate::model::Type;
use crate::model::types::StructField;
use crate::sql::error::SqlError;
use crate::sql::{big, values};
use std::ops::Range;

/// A constant of a type, from its text.
pub(super) fn constant(ty: &Type, value: &str) -> Option<String> {
    Some(match ty {
        Type::Date => format!("DATE '{}'", values::date_text(values::parse_date(value)?)),
        Type::Time => format!("TIME '{}'", values::time_text(values::parse_time(value)?)),
        Type::DateTime => format!("TIMESTAMP '{}'", values::datetime_text(values::parse_datetime(value)?)),
        Type::Timestamp => {
            let micros = values::parse_timestamp(value, "UTC")?;
            format!("TIMESTAMPTZ '{}+00'", values::datetime_text(micros))
        }
        Type::Numeric => format!("CAST('{}' AS DECIMAL(38,9))", values::numeric_text(values::parse_numeric(value)?)),
        Type::BigNumeric => bytes(&big::encode(&big::parse(value)?)),
        Type::Float64 => format!("CAST('{}' AS DOUBLE)", values::parse_float(value).map(values::float_text)?),
        _ => return None,
    })
}

fn rank(ty: &Type) -> Option<u8> {
    Some(match ty {
        Type::Int64 => 0,
        Type::Numeric => 1,
        Type::BigNumeric => 2,
        Type::Float64 => 3,
        _ => return None,
    })
}

/// Whether a value that is no literal converts without being asked.
fn widens(from: &Type, to: &Type) -> bool {
    match (rank(from), rank(to)) {
        (Some(a), Some(b)) => a <= b,
        _ => matches!((from, to), (Type::Date, Type::DateTime)),
    }
}

impl Typed {
    /// Whether the expression converts to `ty` without a CAST.
    pub fn coerces(&self, ty: &Type) -> bool {
        if self.ty == *ty || self.is_null_literal() || widens(&self.ty, ty) {
            return true;
        }
        match (&self.lit, &self.ty, ty) {
            (Lit::Float(_), _, Type::Numeric | Type::BigNumeric) => true,
            (Lit::Str(_) | Lit::Param, Type::String, Type::Date | Type::DateTime | Type::Time | Type::Timestamp) => {
                true
            }
            (Lit::Str(_), Type::String, Type::Bytes) => true,
            (Lit::Composite, Type::Array(_), Type::Array(item)) => self.parts.iter().all(|p| p.coerces(item)),
            (_, Type::Struct(from), Type::Struct(to)) if from.len() == to.len() => {
                if self.lit == Lit::Composite {
                    self.parts.iter().zip(to).all(|(p, f)| p.coerces(&f.ty))
                } else {
                    from.iter().zip(to).all(|(a, b)| Typed::new("", a.ty.clone()).coerces(&b.ty))
                }
            }
            (_, Type::Array(from), Type::Array(to)) => same_shape(from, to),
            _ => false,
        }
    }
}

/// Whether two types differ in names of fields alone.
fn same_shape(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Struct(a), Type::Struct(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(x, y)| same_shape(&x.ty, &y.ty))
        }
        (Type::Array(a), Type::Array(b)) => same_shape(a, b),
        _ => a == b,
    }
}

/// The type that all expressions convert to.
pub(super) fn supertype(all: &[&Typed]) -> Option<Type> {
    let typed: Vec<&&Typed> = all.iter().filter(|t| !t.is_null_literal()).collect();
    let Some(first) = typed.first() else {
        return all.first().map(|t| t.ty.clone());
    };
    if typed.iter().all(|t| t.ty == first.ty) {
        return Some(first.ty.clone());
    }
    let firm: Vec<&&&Typed> = typed.iter().filter(|t| !t.is_literal()).collect();
    let mut candidates: Vec<Type> = Vec::new();
    for t in firm.iter().copied().chain(typed.iter()) {
        if !candidates.contains(&t.ty) {
            candidates.push(t.ty.clone());
        }
    }
    if typed.iter().all(|t| rank(&t.ty).is_some()) {
        // The narrowest that holds all that are no literals, if the literals fit it; else the widest.
        candidates.sort_by_key(rank);
    }
    if let Some(found) = candidates.iter().find(|c| typed.iter().all(|t| t.coerces(c))) {
        return Some(found.clone());
    }
    if let Type::Struct(fields) = &first.ty {
        let mut out = Vec::new();
        for (i, field) in fields.iter().enumerate() {
            let column: Vec<Typed> = typed.iter().map(|t| field_stub(t, i)).collect::<Option<_>>()?;
            out.push(StructField { name: field.name.clone(), ty: supertype(&column.iter().collect::<Vec<_>>())? });
        }
        let found = Type::Struct(out);
        return typed.iter().all(|t| t.coerces(&found)).then_some(found);
    }
    if let Type::Array(_) = first.ty {
        let items: Vec<&Typed> = typed.iter().flat_map(|t| t.parts.iter()).collect();
        let item = supertype(&items)?;
        let found = Type::Array(Box::new(item));
        return typed.iter().all(|t| t.coerces(&found)).then_some(found);
    }
    None
}

/// Field `i` of a struct, for its type alone.
fn field_stub(t: &Typed, i: usize) -> Option<Typed> {
    match &t.ty {
        Type::Struct(fields) => {
            if t.lit == Lit::Composite {
                return t.parts.get(i).cloned();
            }
            fields.get(i).map(|f| Typed::new("", f.ty.clone()))
        }
        _ => None,
    }
}

impl Analyser<'_> {
    /// Converts to a type that the expression coerces to.
    pub(super) fn coerce(&mut self, t: Typed, ty: &Type) -> Res<Typed> {
        if t.lit == Lit::Error {
            let mut out = t;
            out.sql = error_of(&out, ty);
            out.ty = ty.clone();
            return Ok(out);
        }
        if t.is_null_literal() {
            let mut out = t;
            out.sql = null_of(ty);
            out.ty = ty.clone();
            return Ok(out);
        }
        if t.ty == *ty {
            return Ok(t.strict());
        }
        let at = t.at.clone();
        if !t.coerces(ty) {
            return Err(SqlError::invalid(format!("a {} cannot be used as a {ty}", t.ty), &at));
        }
        let done = |sql: String, t: &Typed| {
            let mut out = Typed::new(sql, ty.clone()).nullable(t.nullable).at(&at);
            out.fails = t.fails;
            out
        };
        match (&t.lit, ty) {
            (Lit::Int(v), Type::Float64 | Type::Numeric | Type::BigNumeric) => {
                return Ok(done(literal(ty, &v.to_string(), &at)?, &t));
            }
            (Lit::Float(v), Type::Numeric | Type::BigNumeric) => return Ok(done(literal(ty, v, &at)?, &t)),
            (Lit::Str(v), Type::Date | Type::DateTime | Type::Time | Type::Timestamp) => {
                return Ok(done(literal(ty, v, &at)?, &t));
            }
            (Lit::Str(v), Type::Bytes) => {
                let mut out = done(bytes(v.as_bytes()), &t);
                out.fails = false;
                return Ok(out);
            }
            (Lit::Composite, Type::Array(item)) => {
                let mut parts = Vec::new();
                for part in t.parts.clone() {
                    parts.push(self.coerce(part, item)?);
                }
                return Ok(array_of(parts, item, &at));
            }
            (Lit::Composite, Type::Struct(fields)) => {
                let mut parts = Vec::new();
                for (part, field) in t.parts.clone().into_iter().zip(fields) {
                    parts.push(self.coerce(part, &field.ty)?);
                }
                return Ok(struct_of(parts, fields, &at));
            }
            _ => {}
        }
        match (&t.ty, ty) {
            (Type::Int64, Type::Float64) => Ok(done(format!("CAST({} AS DOUBLE)", t.sql), &t)),
            (Type::Int64, Type::Numeric) => Ok(done(format!("CAST({} AS DECIMAL(38,9))", t.sql), &t)),
            (Type::Numeric, Type::Float64) => Ok(done(format!("CAST(CAST({} AS VARCHAR) AS DOUBLE)", t.sql), &t)),
            (Type::Int64, Type::BigNumeric) => Ok(done(format!("gs_int_big({})", t.sql), &t)),
            (Type::Numeric, Type::BigNumeric) => Ok(done(format!("gs_num_big({})", t.strict_sql()), &t)),
            (Type::BigNumeric, Type::Float64) => Ok(done(format!("gs_big_float({})", t.sql), &t)),
            (Type::Date, Type::DateTime) => Ok(done(format!("CAST({} AS TIMESTAMP)", t.sql), &t)),
            (Type::Struct(from), Type::Struct(to)) => {
                let names = field_names(from);
                let mut parts = Vec::new();
                for ((f, n), field) in from.iter().zip(names).zip(to) {
                    let mut part = Typed::new(format!("({}).{}", t.sql, quoted(&n)), f.ty.clone()).at(&at);
                    part.fails = t.fails;
                    parts.push(self.coerce(part, &field.ty)?);
                }
                let made = struct_of(parts, to, &at);
                let sql = format!("CASE WHEN {} IS NULL THEN {} ELSE {} END", t.sql, null_of(ty), made.sql);
                Ok(done(if t.nullable { sql } else { made.sql }, &t))
            }
            (Type::Array(from), Type::Array(to)) => {
                let item = Typed::new("gs_x", (**from).clone()).at(&at);
                let item = self.coerce(item, to)?;
                Ok(done(format!("list_transform({}, lambda gs_x: {})", t.sql, item.sql), &t))
            }
            (Type::String, _) => {
                let sql = self.cast_sql(&t, ty, false, &at)?;
                let mut out = done(sql, &t);
                out.fails = true;
                Ok(out)
            }
            _ => Err(SqlError::unsupported(format!("a {} as a {ty}", t.ty), &at)),
        }
    }

    /// Brings all to one type.
    pub(super) fn unify(&mut self, all: Vec<Typed>, what: &str, at: &Range<usize>) -> Res<(Vec<Typed>, Type)> {
        let ty = supertype(&all.iter().collect::<Vec<_>>()).ok_or_else(|| {
            let types: Vec<String> = all.iter().map(|t| t.ty.to_string()).collect();
            SqlError::invalid(format!("{what} has no common type for {}", types.join(", ")), at)
        })?;
        let mut out = Vec::new();
        for t in all {
            out.push(self.coerce(t, &ty)?);
        }
        Ok((out, ty))
    }
}

fn literal(ty: &Type, value: &str, at: &Range<usize>) -> Res<String> {
    constant(ty, value).ok_or_else(|| SqlError::invalid(format!("{} is no {ty}", text(value)), at))
}

/// A BLOB constant.
pub(super) fn bytes(value: &[u8]) -> String {
    let body: String = value.iter().map(|b| format!("\\x{b:02X}")).collect();
    format!("BLOB '{body}'")
}

/// `[a, b]` of coerced items.
pub(super) fn array_of(parts: Vec<Typed>, item: &Type, at: &Range<usize>) -> Typed {
    let ty = Type::Array(Box::new(item.clone()));
    let items: Vec<&str> = parts.iter().map(|p| p.sql.as_str()).collect();
    let sql = if items.is_empty() { format!("CAST([] AS {})", phys(&ty)) } else { format!("[{}]", items.join(", ")) };
    let mut out = Typed::new(sql, ty).nullable(false).at(at);
    out.fails = parts.iter().any(|p| p.fails);
    out.lit = Lit::Composite;
    out.parts = parts;
    out
}

/// `STRUCT(a, b)` of coerced fields.
pub(super) fn struct_of(parts: Vec<Typed>, fields: &[StructField], at: &Range<usize>) -> Typed {
    let items: Vec<String> =
        field_names(fields).iter().zip(&parts).map(|(n, p)| format!("{} := {}", quoted(n), p.strict_sql())).collect();
    let mut out =
        Typed::new(format!("struct_pack({})", items.join(", ")), Type::Struct(fields.to_vec())).nullable(false).at(at);
    out.fails = parts.iter().any(|p| p.fails);
    out.lit = Lit::Composite;
    out.parts = parts;
    out
}

/// ERROR(…) of a type.
pub(super) fn error_of(t: &Typed, ty: &Type) -> String {
    let message = t.parts.first().map_or("''", |p| &p.sql);
    format!("CAST(error(coalesce({message}, 'NULL')) AS {})", phys(ty))
}
