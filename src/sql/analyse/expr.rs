//! Expressions.

use super::coerce::{array_of, bytes, constant, struct_of};
use super::typed::{Lit, Typed, fail, field_names, null_of, quoted, text};
use super::{Analyser, Res};
use crate::model::Type;
use crate::model::types::StructField;
use crate::sql::ast::*;
use crate::sql::error::SqlError;
use std::ops::Range;

fn lit(sql: impl Into<String>, ty: Type, value: Lit, at: &Range<usize>) -> Typed {
    let mut out = Typed::new(sql, ty).nullable(value == Lit::Null).at(at);
    out.lit = value;
    out.fails = false;
    out
}

/// NULL without a type of its own.
pub(super) fn null_literal(at: &Range<usize>) -> Typed {
    lit(null_of(&Type::Int64), Type::Int64, Lit::Null, at)
}

impl Analyser<'_> {
    pub(super) fn expr(&mut self, expr: &Expr) -> Res<Typed> {
        let out = self.expr_of(expr)?;
        self.spend(out.sql.len(), &expr.at)?;
        Ok(out)
    }

    fn expr_of(&mut self, expr: &Expr) -> Res<Typed> {
        let at = &expr.at;
        match &expr.kind {
            ExprKind::Null => Ok(null_literal(at)),
            ExprKind::Bool(value) => Ok(lit(value.to_string(), Type::Bool, Lit::No, at)),
            ExprKind::Int(digits) => {
                let value: i64 = digits.parse().map_err(|_| SqlError::invalid(format!("{digits} is no INT64"), at))?;
                let sql =
                    if value < 0 { format!("CAST('{value}' AS BIGINT)") } else { format!("CAST({value} AS BIGINT)") };
                Ok(lit(sql, Type::Int64, Lit::Int(value.into()), at))
            }
            ExprKind::Float(digits) => {
                let sql = constant(&Type::Float64, digits)
                    .ok_or_else(|| SqlError::invalid(format!("{digits} is no FLOAT64"), at))?;
                Ok(lit(sql, Type::Float64, Lit::Float(digits.clone()), at))
            }
            ExprKind::Str(value) => {
                if value.contains('\0') {
                    return Err(SqlError::unsupported("a NUL character in a literal", at));
                }
                Ok(lit(text(value), Type::String, Lit::Str(value.clone()), at))
            }
            ExprKind::Bytes(value) => Ok(lit(bytes(value), Type::Bytes, Lit::No, at)),
            ExprKind::Typed(name, value) => self.typed_literal(name, value, at),
            ExprKind::Interval { value, from, to } => self.interval(value, from, to.as_ref(), at),
            ExprKind::Param(name) => self.param(name, at),
            ExprKind::Name(name) => self.name(name),
            ExprKind::Field(base, field) => self.field(base, field, at),
            ExprKind::Index(base, kind, index) => self.index(base, *kind, index, at),
            ExprKind::Unary(op, inner) => self.unary(*op, inner, at),
            ExprKind::Binary(..) => self.chain(expr),
            ExprKind::Is { expr, what, not } => self.is(expr, *what, *not, at),
            ExprKind::DistinctFrom { left, right, not } => {
                let (a, b) = (self.expr(left)?, self.expr(right)?);
                self.distinct_from(a, b, *not, at)
            }
            ExprKind::Between { expr, low, high, not } => {
                let (x, low, high) = (self.expr(expr)?, self.expr(low)?, self.expr(high)?);
                self.between(x, low, high, *not, at)
            }
            ExprKind::In { expr, set, not } => self.in_set(expr, set, *not, at),
            ExprKind::Like { expr, patterns, quantifier, not } => self.like(expr, patterns, *quantifier, *not, at),
            ExprKind::Case { operand, whens, otherwise } => {
                self.case(operand.as_deref(), whens, otherwise.as_deref(), at)
            }
            ExprKind::Cast { safe, expr, ty, format, zone } => {
                self.cast(*safe, expr, ty, format.as_deref(), zone.as_deref(), at)
            }
            ExprKind::Extract { part, expr, zone } => self.extract(part, expr, zone.as_deref(), at),
            ExprKind::Call(call) => self.call(call, at),
            ExprKind::Array { ty, items } => self.array(ty.as_ref(), items, at),
            ExprKind::ArrayQuery(query) => self.array_query(query, at),
            ExprKind::Struct { ty, items } => self.structure(ty.as_ref(), items, at),
            ExprKind::Subquery(query) => self.scalar_query(query, at),
            ExprKind::Exists(query) => {
                let rel = self.subquery(query)?;
                Ok(Typed::new(format!("EXISTS ({})", rel.unordered()), Type::Bool).nullable(false).at(at))
            }
            ExprKind::With { names, body } => self.with_names_expr(names, body),
        }
    }

    fn typed_literal(&mut self, name: &str, value: &str, at: &Range<usize>) -> Res<Typed> {
        let ty = match name {
            "DATE" => Type::Date,
            "TIME" => Type::Time,
            "DATETIME" => Type::DateTime,
            "TIMESTAMP" => Type::Timestamp,
            "NUMERIC" | "DECIMAL" => Type::Numeric,
            "BIGNUMERIC" | "BIGDECIMAL" => Type::BigNumeric,
            "JSON" => {
                let parsed: serde_json::Value =
                    serde_json::from_str(value).map_err(|e| SqlError::invalid(format!("this is no JSON: {e}"), at))?;
                crate::sql::json::exact(value).map_err(|e| SqlError::invalid(e, at))?;
                return Ok(lit(text(&super::super::json::text(&parsed)), Type::Json, Lit::No, at));
            }
            _ => return Err(SqlError::unsupported(format!("{name} literals"), at)),
        };
        let sql = constant(&ty, value).ok_or_else(|| SqlError::invalid(format!("{} is no {ty}", text(value)), at))?;
        Ok(lit(sql, ty, Lit::No, at))
    }

    fn param(&mut self, name: &str, at: &Range<usize>) -> Res<Typed> {
        let found = self.params.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).cloned();
        let Some((name, ty)) = found else {
            let known = self.params.iter().map(|(n, _)| n.as_str());
            let help = crate::diagnostics::nearest(name, known).map(|n| format!("did you mean `@{n}`?"));
            return Err(SqlError::invalid(format!("unknown parameter `@{name}`"), at).help(help));
        };
        if super::typed::nests_big(&ty) {
            return Err(SqlError::unsupported(format!("a parameter of type {ty}"), at));
        }
        if !self.used.contains(&name) {
            self.used.push(name.clone());
        }
        let sql = match ty {
            Type::BigNumeric => format!("gs_str_big(CAST(${name} AS VARCHAR))"),
            ref ty => format!("CAST(${name} AS {})", super::typed::phys(ty)),
        };
        let mut out = lit(sql, ty, Lit::Param, at);
        out.nullable = true;
        Ok(out)
    }

    fn field(&mut self, base: &Expr, field: &Ident, at: &Range<usize>) -> Res<Typed> {
        if let ExprKind::Name(name) = &base.kind
            && let Some(found) = self.qualified(name, field)?
        {
            return Ok(found.at(at));
        }
        let t = self.expr(base)?;
        match &t.ty {
            Type::Struct(fields) => {
                let found: Vec<usize> =
                    (0..fields.len()).filter(|i| fields[*i].name.eq_ignore_ascii_case(&field.name)).collect();
                match found.as_slice() {
                    [i] => {
                        let names = field_names(fields);
                        let mut out = Typed::new(format!("({}).{}", t.sql, quoted(&names[*i])), fields[*i].ty.clone());
                        out.fails = t.fails;
                        Ok(out.at(at))
                    }
                    [] => {
                        let known = fields.iter().map(|f| f.name.as_str());
                        let help =
                            crate::diagnostics::nearest(&field.name, known).map(|n| format!("did you mean `{n}`?"));
                        Err(SqlError::invalid(format!("the struct has no field `{}`", field.name), &field.at)
                            .help(help))
                    }
                    _ => Err(SqlError::invalid(format!("the field `{}` is ambiguous", field.name), &field.at)),
                }
            }
            Type::Json => {
                let sql = format!("gs_json_field({}, {})", t.sql, text(&field.name));
                Ok(Typed::new(sql, Type::Json).at(at).total(&[&t]))
            }
            ty => Err(SqlError::invalid(format!("a {ty} has no field `{}`", field.name), &field.at)),
        }
    }

    fn index(&mut self, base: &Expr, kind: Index, index: &Expr, at: &Range<usize>) -> Res<Typed> {
        let array = self.expr(base)?;
        let i = self.expr(index)?;
        if array.ty == Type::Json && kind == Index::Plain {
            return match i.ty {
                Type::String => Ok(Typed::new(format!("gs_json_field({}, {})", array.sql, i.sql), Type::Json).at(at)),
                Type::Int64 => Ok(Typed::new(format!("gs_json_item({}, {})", array.sql, i.sql), Type::Json).at(at)),
                _ => Err(SqlError::invalid("a JSON subscript is a text or an INT64", &index.at)),
            };
        }
        if let (Type::Struct(fields), Lit::Int(n)) = (&array.ty, &i.lit) {
            let n = if matches!(kind, Index::Ordinal | Index::SafeOrdinal) { n - 1 } else { *n };
            let names = field_names(fields);
            return match usize::try_from(n).ok().filter(|n| *n < fields.len()) {
                Some(n) => {
                    Ok(Typed::new(format!("({}).{}", array.sql, quoted(&names[n])), fields[n].ty.clone()).at(at))
                }
                None => Err(SqlError::invalid("the struct has no such field", &index.at)),
            };
        }
        let Type::Array(item) = array.ty.clone() else {
            return Err(SqlError::invalid(format!("a {} has no elements", array.ty), &base.at));
        };
        let i = self.coerce(i, &Type::Int64)?;
        let a = &array.sql;
        let zero_based = if matches!(kind, Index::Ordinal | Index::SafeOrdinal) {
            format!("({} - 1)", i.sql)
        } else {
            i.sql.clone()
        };
        let pick = if matches!(kind, Index::Ordinal | Index::SafeOrdinal) {
            format!("({a})[{}]", i.sql)
        } else {
            format!("({a})[{} + 1]", i.sql)
        };
        let sql = if matches!(kind, Index::SafeOffset | Index::SafeOrdinal) {
            format!("CASE WHEN {zero_based} BETWEEN 0 AND len({a}) - 1 THEN {pick} END")
        } else {
            format!(
                "CASE WHEN ({a}) IS NOT NULL AND ({zero_based} < 0 OR {zero_based} >= len({a})) THEN {} ELSE {pick} END",
                fail("array index out of bounds", &item)
            )
        };
        let mut out = Typed::new(sql, *item).at(at);
        if matches!(kind, Index::SafeOffset | Index::SafeOrdinal) {
            out.fails = array.fails || i.fails;
        }
        Ok(out)
    }

    fn unary(&mut self, op: Unary, inner: &Expr, at: &Range<usize>) -> Res<Typed> {
        let t = self.expr(inner)?;
        match op {
            Unary::Not => {
                let t = self.coerce(t, &Type::Bool)?;
                Ok(Typed::new(format!("(NOT {})", t.sql), Type::Bool).nullable(t.nullable).at(at).total(&[&t]))
            }
            Unary::Minus => {
                if t.is_null_literal() {
                    return Ok(t);
                }
                if t.ty == Type::BigNumeric {
                    return Ok(Typed::new(format!("gs_big_neg({})", t.sql), t.ty.clone()).nullable(t.nullable).at(at));
                }
                if !matches!(t.ty, Type::Int64 | Type::Float64 | Type::Numeric) {
                    return Err(SqlError::unsupported(format!("the negative of a {}", t.ty), at));
                }
                Ok(Typed::new(format!("(- {})", t.strict_sql()), t.ty.clone()).nullable(t.nullable).at(at))
            }
            Unary::BitNot => {
                let t = self.coerce(t, &Type::Int64)?;
                Ok(Typed::new(format!("(~ {})", t.sql), Type::Int64).nullable(t.nullable).at(at).total(&[&t]))
            }
        }
    }

    /// `a + b + c + …`, from the left, without a deeper call for each operator.
    fn chain(&mut self, expr: &Expr) -> Res<Typed> {
        let mut links = Vec::new();
        let mut first = expr;
        while let ExprKind::Binary(op, left, right) = &first.kind {
            links.push((*op, &**left, &**right, &first.at));
            first = left;
        }
        // An INTERVAL in front has a meaning only with what stands behind it.
        let mut done = if matches!(first.kind, ExprKind::Interval { .. }) { None } else { Some(self.expr(first)?) };
        while let Some((op, left, right, at)) = links.pop() {
            let out = self.binary(op, done, left, right, at)?;
            self.spend(out.sql.len(), at)?;
            done = Some(out);
        }
        done.ok_or_else(|| SqlError::invalid("this is no value", &expr.at))
    }

    /// `a` is what `left` became, unless it is an INTERVAL.
    fn binary(&mut self, op: Binary, a: Option<Typed>, left: &Expr, right: &Expr, at: &Range<usize>) -> Res<Typed> {
        let plus = matches!(op, Binary::Add | Binary::Sub);
        if plus && matches!(right.kind, ExprKind::Interval { .. }) {
            let a = a.map_or_else(|| self.expr(left), Ok)?;
            return self.date_with_interval(a, right, op == Binary::Sub, at);
        }
        let a = match a {
            Some(a) => a,
            None if op == Binary::Add => {
                let b = self.expr(right)?;
                return self.date_with_interval(b, left, false, at);
            }
            None => self.expr(left)?,
        };
        match op {
            Binary::And | Binary::Or => {
                let a = self.bool_of(a, "AND and OR")?;
                let b = self.bool_condition(right, "AND and OR")?;
                let word = if op == Binary::And { "AND" } else { "OR" };
                Ok(Typed::new(format!("({} {word} {})", a.sql, b.sql), Type::Bool)
                    .nullable(a.nullable || b.nullable)
                    .at(at)
                    .total(&[&a, &b]))
            }
            Binary::Eq | Binary::Ne | Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge => {
                let b = self.expr(right)?;
                self.compare(op, a, b, at)
            }
            Binary::BitAnd | Binary::BitOr | Binary::BitXor => {
                let b = self.expr(right)?;
                let (a, b) = (self.coerce(a, &Type::Int64)?, self.coerce(b, &Type::Int64)?);
                let sql = match op {
                    Binary::BitAnd => format!("({} & {})", a.sql, b.sql),
                    Binary::BitOr => format!("({} | {})", a.sql, b.sql),
                    _ => format!("xor({}, {})", a.sql, b.sql),
                };
                Ok(Typed::new(sql, Type::Int64).nullable(a.nullable || b.nullable).at(at).total(&[&a, &b]))
            }
            Binary::ShiftLeft | Binary::ShiftRight => {
                let b = self.expr(right)?;
                let (a, b) = (self.coerce(a, &Type::Int64)?, self.coerce(b, &Type::Int64)?);
                let name = if op == Binary::ShiftLeft { "gs_shl" } else { "gs_shr" };
                Ok(Typed::new(format!("{name}({}, {})", a.sql, b.sql), Type::Int64)
                    .nullable(a.nullable || b.nullable)
                    .at(at))
            }
            Binary::Concat => {
                let b = self.expr(right)?;
                self.concat(vec![a, b], at)
            }
            Binary::Add | Binary::Sub | Binary::Mul | Binary::Div => {
                let b = self.expr(right)?;
                match (op, &a.ty, &b.ty) {
                    (Binary::Add | Binary::Sub, Type::Date, Type::Int64) => self.days(a, b, op == Binary::Sub, at),
                    (Binary::Add, Type::Int64, Type::Date) => self.days(b, a, false, at),
                    _ => self.arithmetic(op, a, b, at),
                }
            }
        }
    }

    /// `||` and CONCAT.
    pub(super) fn concat(&mut self, all: Vec<Typed>, at: &Range<usize>) -> Res<Typed> {
        let (all, ty) = self.unify(all, "this concatenation", at)?;
        let nullable = all.iter().any(|t| t.nullable);
        let refs: Vec<&Typed> = all.iter().collect();
        let parts: Vec<&str> = all.iter().map(|t| t.sql.as_str()).collect();
        let sql = match &ty {
            Type::String | Type::Bytes => format!("({})", parts.join(" || ")),
            Type::Array(_) => {
                let nulls: Vec<String> = parts.iter().map(|p| format!("({p}) IS NULL")).collect();
                let joined = parts[1..].iter().fold(parts[0].to_owned(), |a, b| format!("list_concat({a}, {b})"));
                format!("CASE WHEN {} THEN NULL ELSE {joined} END", nulls.join(" OR "))
            }
            ty => return Err(SqlError::invalid(format!("a {ty} cannot be concatenated"), at)),
        };
        Ok(Typed::new(sql, ty).nullable(nullable).at(at).total(&refs))
    }

    pub(super) fn arithmetic(&mut self, op: Binary, a: Typed, b: Typed, at: &Range<usize>) -> Res<Typed> {
        let nullable = a.nullable || b.nullable;
        let numeric = |t: &Typed| {
            matches!(t.ty, Type::Int64 | Type::Float64 | Type::Numeric | Type::BigNumeric) || t.is_null_literal()
        };
        if !numeric(&a) || !numeric(&b) {
            return Err(SqlError::unsupported(format!("this arithmetic on {} and {}", a.ty, b.ty), at));
        }
        let (both, mut ty) = self.unify(vec![a, b], "this arithmetic", at)?;
        let [a, b] = <[Typed; 2]>::try_from(both).expect("two came in");
        if ty == Type::Int64 && op == Binary::Div {
            ty = Type::Float64;
        }
        let (a, b) = (self.coerce(a, &ty)?, self.coerce(b, &ty)?);
        let (x, y) = (&a.sql, &b.sql);
        let sql = match (&ty, op) {
            (Type::Int64, _) | (Type::Numeric, Binary::Add | Binary::Sub) => {
                let sign = match op {
                    Binary::Add => "+",
                    Binary::Sub => "-",
                    _ => "*",
                };
                format!("({x} {sign} {y})")
            }
            (Type::Numeric, Binary::Mul) => format!("gs_num_mul({x}, {y})"),
            (Type::Numeric, _) => format!("gs_num_div({x}, {y})"),
            (Type::BigNumeric, _) => {
                let name = match op {
                    Binary::Add => "add",
                    Binary::Sub => "sub",
                    Binary::Mul => "mul",
                    _ => "div",
                };
                format!("gs_big_{name}({x}, {y})")
            }
            _ => float_arithmetic(op, x, y),
        };
        Ok(Typed::new(sql, ty).nullable(nullable).at(at))
    }

    fn is(&mut self, expr: &Expr, what: Is, not: bool, at: &Range<usize>) -> Res<Typed> {
        let t = self.expr(expr)?;
        let word = match (what, not) {
            (Is::Null, false) => "IS NULL",
            (Is::Null, true) => "IS NOT NULL",
            (Is::True, false) => "IS NOT DISTINCT FROM true",
            (Is::True, true) => "IS DISTINCT FROM true",
            (Is::False, false) => "IS NOT DISTINCT FROM false",
            (Is::False, true) => "IS DISTINCT FROM false",
        };
        let t = if what == Is::Null { t } else { self.coerce(t, &Type::Bool)? };
        Ok(Typed::new(format!("({} {word})", t.sql), Type::Bool).nullable(false).at(at).total(&[&t]))
    }

    fn case(
        &mut self,
        operand: Option<&Expr>,
        whens: &[(Expr, Expr)],
        otherwise: Option<&Expr>,
        at: &Range<usize>,
    ) -> Res<Typed> {
        let operand = operand.map(|o| self.expr(o)).transpose()?;
        let mut conditions = Vec::new();
        let mut results = Vec::new();
        for (when, then) in whens {
            let condition = match &operand {
                Some(x) => {
                    let value = self.expr(when)?;
                    self.compare(Binary::Eq, x.clone(), value, &when.at)?
                }
                None => self.bool_condition(when, "WHEN")?,
            };
            conditions.push(condition);
            results.push(self.expr(then)?);
        }
        let has_else = otherwise.is_some();
        results.push(match otherwise {
            Some(e) => self.expr(e)?,
            None => lit(null_of(&Type::Int64), Type::Int64, Lit::Null, at),
        });
        self.choose(conditions, results, has_else, at)
    }

    /// `CASE WHEN … THEN … ELSE … END`; there is one result more than there are conditions.
    pub(super) fn choose(
        &mut self,
        conditions: Vec<Typed>,
        results: Vec<Typed>,
        has_else: bool,
        at: &Range<usize>,
    ) -> Res<Typed> {
        let (results, ty) = self.unify(results, "CASE", at)?;
        let nullable = !has_else || results.iter().any(|r| r.nullable);
        let mut sql = "CASE".to_owned();
        for (condition, result) in conditions.iter().zip(&results) {
            sql.push_str(&format!(" WHEN {} THEN {}", condition.sql, result.sql));
        }
        if let Some(last) = results.last() {
            sql.push_str(&format!(" ELSE {} END", last.sql));
        }
        let refs: Vec<&Typed> = conditions.iter().chain(&results).collect();
        let null = results.iter().all(Typed::is_null_literal);
        let mut out = Typed::new(sql, ty).nullable(nullable).at(at).total(&refs);
        if null {
            out.lit = Lit::No;
        }
        Ok(out)
    }

    fn array(&mut self, ty: Option<&TypeName>, items: &[Expr], at: &Range<usize>) -> Res<Typed> {
        let mut parts = Vec::new();
        for item in items {
            parts.push(self.expr(item)?);
        }
        let item = match ty {
            Some(ty) => match self.type_of(ty)? {
                Type::Array(item) => *item,
                _ => return Err(SqlError::invalid("this is no array type", &ty.at)),
            },
            None if parts.is_empty() => Type::Int64,
            None => super::coerce::supertype(&parts.iter().collect::<Vec<_>>())
                .ok_or_else(|| SqlError::invalid("the elements have no common type", at))?,
        };
        if matches!(item, Type::Array(_)) {
            return Err(SqlError::invalid("an array cannot hold arrays", at));
        }
        let mut coerced = Vec::new();
        for part in parts {
            coerced.push(self.coerce(part, &item)?);
        }
        let empty = coerced.is_empty();
        let mut out = array_of(coerced, &item, at);
        if ty.is_some() && empty {
            // Typed: it takes no other type.
            out.lit = Lit::No;
        }
        Ok(out)
    }

    fn structure(&mut self, ty: Option<&TypeName>, items: &[(Expr, Option<Ident>)], at: &Range<usize>) -> Res<Typed> {
        let mut parts = Vec::new();
        for (item, _) in items {
            parts.push(self.expr(item)?);
        }
        let Some(ty) = ty else {
            let is_tuple = at.end > at.start && items.iter().all(|(_, a)| a.is_none());
            let fields: Vec<StructField> = items
                .iter()
                .zip(&parts)
                .map(|((e, alias), p)| {
                    let derived = match &e.kind {
                        ExprKind::Name(n) | ExprKind::Field(_, n) if !(is_tuple && self.tuple_at(at, items)) => {
                            n.name.clone()
                        }
                        _ => String::new(),
                    };
                    StructField { name: alias.as_ref().map_or(derived, |a| a.name.clone()), ty: p.ty.clone() }
                })
                .collect();
            let parts = parts.into_iter().map(Typed::strict).collect();
            return Ok(struct_of(parts, &fields, at));
        };
        let Type::Struct(fields) = self.type_of(ty)? else {
            return Err(SqlError::invalid("this is no struct type", &ty.at));
        };
        if fields.len() != parts.len() {
            return Err(SqlError::invalid(format!("the struct has {} fields, not {}", fields.len(), parts.len()), at));
        }
        let mut coerced = Vec::new();
        for (part, field) in parts.into_iter().zip(&fields) {
            coerced.push(self.coerce(part, &field.ty)?);
        }
        Ok(struct_of(coerced, &fields, at))
    }

    /// Whether `(a, b)` stands there, whose fields have no names, and not `STRUCT(a, b)`.
    fn tuple_at(&self, at: &Range<usize>, items: &[(Expr, Option<Ident>)]) -> bool {
        items.first().is_some_and(|(first, _)| first.at.start.saturating_sub(at.start) < "STRUCT(".len())
    }

    fn with_names_expr(&mut self, names: &[(Ident, Expr)], body: &Expr) -> Res<Typed> {
        let depth = self.scopes.len();
        for (name, expr) in names {
            let t = self.expr(expr);
            let t = match t {
                Ok(t) => t,
                Err(e) => {
                    self.scopes.truncate(depth);
                    return Err(e);
                }
            };
            let col = super::scope::Col { name: name.name.clone(), expr: Typed { lit: Lit::No, ..t } };
            self.scopes.push(super::scope::Scope { names: vec![col], ..Default::default() });
        }
        let out = self.expr(body);
        self.scopes.truncate(depth);
        out
    }

    fn interval(&mut self, value: &Expr, from: &Ident, to: Option<&Ident>, at: &Range<usize>) -> Res<Typed> {
        if to.is_some() {
            return Err(SqlError::unsupported("an INTERVAL of several parts", at));
        }
        let n = self.expr(value)?;
        let n = self.coerce(n, &Type::Int64)?;
        let (function, ty) = match from.name.to_ascii_uppercase().as_str() {
            "YEAR" => ("to_years", "INTEGER"),
            "QUARTER" => ("to_quarters", "INTEGER"),
            "MONTH" => ("to_months", "INTEGER"),
            "WEEK" => ("to_weeks", "INTEGER"),
            "DAY" => ("to_days", "INTEGER"),
            "HOUR" => ("to_hours", "BIGINT"),
            "MINUTE" => ("to_minutes", "BIGINT"),
            "SECOND" => ("to_seconds", "BIGINT"),
            "MILLISECOND" => ("to_milliseconds", "BIGINT"),
            "MICROSECOND" => ("to_microseconds", "BIGINT"),
            other => return Err(SqlError::invalid(format!("`{other}` is no part of an INTERVAL"), &from.at)),
        };
        Ok(Typed::new(format!("{function}(CAST({} AS {ty}))", n.sql), Type::Interval).nullable(n.nullable).at(at))
    }
}

/// FLOAT64 arithmetic: finite numbers give a finite number or an error.
fn float_arithmetic(op: Binary, x: &str, y: &str) -> String {
    let number = |s: &str| {
        s.strip_prefix("CAST('").and_then(|s| s.strip_suffix("' AS DOUBLE)")).and_then(|s| s.parse::<f64>().ok())
    };
    let (nx, ny) = (number(x), number(y));
    let small = |n: Option<f64>| n.is_some_and(|n| n.abs() < 1e290);
    let sign = match op {
        Binary::Add => "+",
        Binary::Sub => "-",
        Binary::Mul => "*",
        _ => "/",
    };
    let plain = format!("({x} {sign} {y})");
    if x.len() + y.len() > super::typed::LONG {
        let name = match op {
            Binary::Add => "add",
            Binary::Sub => "sub",
            Binary::Mul => "mul",
            _ => "div",
        };
        return format!("gs_float_{name}({x}, {y})");
    }
    let never = match op {
        Binary::Add | Binary::Sub => small(nx) || small(ny),
        Binary::Mul => nx.or(ny).is_some_and(|n| n.abs() <= 1.0),
        _ => ny.is_some_and(|n| n.abs() >= 1.0 && n.is_finite()),
    };
    if never {
        return plain;
    }
    let overflow = fail("floating point overflow", &Type::Float64);
    let zero = if op == Binary::Div && ny.is_none_or(|n| n == 0.0) {
        format!("WHEN {y} = 0 AND ({x}) IS NOT NULL THEN {} ", fail("division by zero", &Type::Float64))
    } else {
        String::new()
    };
    format!("CASE {zero}WHEN isinf{plain} AND NOT isinf({x}) AND NOT isinf({y}) THEN {overflow} ELSE {plain} END")
}
