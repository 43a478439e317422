//! Comparisons with three truth values: NaN, structs, IN, LIKE.

use super::typed::{Lit, Typed, field_names, quoted, text};
use super::{Analyser, Res};
use crate::model::Type;
use crate::sql::ast::{Binary, Expr, InSet, Quantifier};
use crate::sql::error::SqlError;
use std::ops::Range;

fn symbol(op: Binary) -> &'static str {
    match op {
        Binary::Ne => "<>",
        Binary::Lt => "<",
        Binary::Le => "<=",
        Binary::Gt => ">",
        Binary::Ge => ">=",
        _ => "=",
    }
}

/// Whether a type's values hold FLOAT64 or are compared field by field.
fn plain(ty: &Type) -> bool {
    !matches!(ty, Type::Float64 | Type::Struct(_) | Type::Array(_))
}

impl Analyser<'_> {
    pub(super) fn compare(&mut self, op: Binary, left: Typed, right: Typed, at: &Range<usize>) -> Res<Typed> {
        let (mut both, ty) = self.loose_unify(left, right, at)?;
        let right = both.pop().expect("two came in");
        let left = both.pop().expect("two came in");
        let sql = self.compare_sql(op, &left, &right, &ty, at)?;
        Ok(Typed::new(sql, Type::Bool).nullable(left.nullable || right.nullable).at(at).total(&[&left, &right]))
    }

    /// As `unify`, but NUMERICs keep their width.
    fn loose_unify(&mut self, left: Typed, right: Typed, at: &Range<usize>) -> Res<(Vec<Typed>, Type)> {
        if left.ty == Type::Numeric && right.ty == Type::Numeric && !left.is_null_literal() && !right.is_null_literal()
        {
            return Ok((vec![left, right], Type::Numeric));
        }
        self.unify(vec![left, right], "this comparison", at)
    }

    fn compare_sql(&mut self, op: Binary, a: &Typed, b: &Typed, ty: &Type, at: &Range<usize>) -> Res<String> {
        let sign = symbol(op);
        match ty {
            Type::Json | Type::Geography => Err(SqlError::invalid(format!("a {ty} cannot be compared"), at)),
            Type::Interval | Type::Range(_) => Err(SqlError::unsupported(format!("comparing values of type {ty}"), at)),
            Type::Float64 => Ok(float_compare(op, a, b)),
            Type::Struct(fields) => {
                if !matches!(op, Binary::Eq | Binary::Ne) {
                    return Err(SqlError::invalid("structs cannot be ordered", at));
                }
                let mut all = Vec::new();
                for (i, (name, field)) in field_names(fields).iter().zip(fields).enumerate() {
                    let part = |t: &Typed| {
                        if t.lit == Lit::Composite {
                            return t.parts[i].clone();
                        }
                        let mut part = Typed::new(format!("({}).{}", t.sql, quoted(name)), field.ty.clone());
                        part.fails = t.fails;
                        part
                    };
                    let (x, y) = (part(a), part(b));
                    all.push(format!("({})", self.compare_sql(Binary::Eq, &x, &y, &field.ty, at)?));
                }
                let sql = if all.is_empty() { "true".to_owned() } else { all.join(" AND ") };
                Ok(if op == Binary::Ne { format!("NOT ({sql})") } else { format!("({sql})") })
            }
            Type::Array(item) => {
                if !matches!(op, Binary::Eq | Binary::Ne) {
                    return Err(SqlError::invalid("arrays cannot be ordered", at));
                }
                let x = Typed::new(format!("({})[gs_i]", a.sql), (**item).clone());
                let y = Typed::new(format!("({})[gs_i]", b.sql), (**item).clone());
                let eq = self.compare_sql(Binary::Eq, &x, &y, item, at)?;
                let list = format!("list_transform(range(1, len({}) + 1), lambda gs_i: {eq})", a.sql);
                let sql = format!(
                    "CASE WHEN ({0}) IS NULL OR ({1}) IS NULL THEN NULL WHEN len({0}) <> len({1}) THEN false \
                     WHEN list_contains({list}, false) THEN false \
                     WHEN len(list_filter({list}, lambda gs_b: gs_b IS NULL)) > 0 THEN NULL ELSE true END",
                    a.sql, b.sql
                );
                Ok(if op == Binary::Ne { format!("NOT ({sql})") } else { sql })
            }
            _ => Ok(format!("({} {sign} {})", a.sql, b.sql)),
        }
    }

    /// IS [NOT] DISTINCT FROM: NULL equals NULL, NaN equals NaN.
    pub(super) fn distinct_from(&mut self, a: Typed, b: Typed, not: bool, at: &Range<usize>) -> Res<Typed> {
        let (both, ty) = self.unify(vec![a, b], "this comparison", at)?;
        if !super::order::groupable(&ty) {
            return Err(SqlError::unsupported(format!("IS DISTINCT FROM of a {ty}"), at));
        }
        let word = if not { "IS NOT DISTINCT FROM" } else { "IS DISTINCT FROM" };
        Ok(Typed::new(format!("({} {word} {})", both[0].sql, both[1].sql), Type::Bool)
            .nullable(false)
            .at(at)
            .total(&[&both[0], &both[1]]))
    }

    pub(super) fn between(&mut self, x: Typed, low: Typed, high: Typed, not: bool, at: &Range<usize>) -> Res<Typed> {
        let (mut all, _) = self.unify(vec![x, low, high], "BETWEEN", at)?;
        let high = all.pop().expect("three came in");
        let low = all.pop().expect("three came in");
        let x = all.pop().expect("three came in");
        let first = self.compare(Binary::Ge, x.clone(), low, at)?;
        let second = self.compare(Binary::Le, x, high, at)?;
        let sql = format!("({} AND {})", first.sql, second.sql);
        Ok(Typed::new(if not { format!("(NOT {sql})") } else { sql }, Type::Bool)
            .nullable(first.nullable || second.nullable)
            .at(at)
            .total(&[&first, &second]))
    }

    pub(super) fn in_set(&mut self, expr: &Expr, set: &InSet, not: bool, at: &Range<usize>) -> Res<Typed> {
        let x = self.expr(expr)?;
        let found = match set {
            InSet::List(items) => self.in_list(x, items, at)?,
            InSet::Unnest(array) => self.in_array(x, array, at)?,
            InSet::Query(query) => {
                let mut rel = self.subquery(query)?;
                if rel.items.len() != 1 {
                    return Err(SqlError::invalid("a subquery after IN must have one column", at));
                }
                let item = rel.items[0].expr.clone();
                let (both, ty) = self.unify(vec![x, item], "IN", at)?;
                rel.items[0].expr = both[1].clone();
                if plain(&ty) && super::order::groupable(&ty) {
                    Typed::new(format!("({} IN ({}))", both[0].sql, rel.sql()), Type::Bool)
                } else {
                    let value = Typed::new("gs_s.\"c1\"", ty.clone());
                    let eq = self.compare_sql(Binary::Eq, &both[0], &value, &ty, at)?;
                    Typed::new(any_of(&eq, &format!("({}) AS gs_s", rel.sql())), Type::Bool)
                }
            }
        };
        let sql = if not { format!("(NOT {})", found.sql) } else { found.sql };
        let mut out = Typed::new(sql, Type::Bool).nullable(found.nullable).at(at);
        out.fails = found.fails;
        Ok(out)
    }

    fn in_list(&mut self, x: Typed, items: &[Expr], at: &Range<usize>) -> Res<Typed> {
        let mut all = vec![x];
        for item in items {
            all.push(self.expr(item)?);
        }
        let same_numeric = all.iter().all(|t| t.ty == Type::Numeric && !t.is_null_literal());
        let ty;
        if same_numeric {
            ty = Type::Numeric;
        } else {
            (all, ty) = self.unify(all, "IN", at)?;
        }
        let refs: Vec<&Typed> = all.iter().collect();
        let nullable = all.iter().any(|t| t.nullable);
        if plain(&ty) && super::order::groupable(&ty) {
            let list: Vec<&str> = all[1..].iter().map(|t| t.sql.as_str()).collect();
            let sql = format!("({} IN ({}))", all[0].sql, list.join(", "));
            return Ok(Typed::new(sql, Type::Bool).nullable(nullable).total(&refs));
        }
        let mut any = Vec::new();
        for item in &all[1..] {
            any.push(format!("({})", self.compare_sql(Binary::Eq, &all[0], item, &ty, at)?));
        }
        Ok(Typed::new(format!("({})", any.join(" OR ")), Type::Bool).nullable(nullable).total(&refs))
    }

    fn in_array(&mut self, x: Typed, array: &Expr, at: &Range<usize>) -> Res<Typed> {
        let array = self.expr(array)?;
        if array.is_null_literal() {
            return Ok(Typed::new("false", Type::Bool).nullable(false));
        }
        let Type::Array(item) = array.ty.clone() else {
            return Err(SqlError::invalid("UNNEST needs an array", &array.at));
        };
        // A literal array takes the type of what is looked for.
        let element = if array.lit == Lit::Composite && !array.parts.is_empty() {
            let mut all: Vec<&Typed> = array.parts.iter().collect();
            all.push(&x);
            super::coerce::supertype(&all)
        } else if array.lit == Lit::Composite {
            Some(x.ty.clone())
        } else {
            super::coerce::supertype(&[&Typed::new("", (*item).clone()), &x])
        };
        let ty = element.ok_or_else(|| SqlError::invalid("IN UNNEST compares different types", at))?;
        let array = self.coerce(array, &Type::Array(Box::new(ty.clone())))?;
        let x = self.coerce(x, &ty)?;
        let value = Typed::new("gs_s.v", ty.clone());
        let eq = self.compare_sql(Binary::Eq, &x, &value, &ty, at)?;
        let sql = if plain(&ty)
            && super::order::groupable(&ty)
            && matches!(array.lit, Lit::Param | Lit::Composite)
            && !array.fails
        {
            format!("({} IN (SELECT unnest({})))", x.sql, array.sql)
        } else if plain(&ty) && super::order::groupable(&ty) {
            format!(
                "CASE WHEN coalesce(len({0}), 0) = 0 THEN false WHEN ({1}) IS NULL THEN NULL \
                 WHEN list_contains({0}, {1}) THEN true \
                 WHEN len(list_filter({0}, lambda gs_e: gs_e IS NULL)) > 0 THEN NULL ELSE false END",
                array.sql, x.sql
            )
        } else {
            any_of(&eq, &format!("(SELECT unnest({}) AS v) AS gs_s", array.sql))
        };
        Ok(Typed::new(sql, Type::Bool).total(&[&x, &array]))
    }

    pub(super) fn like(
        &mut self,
        expr: &Expr,
        patterns: &InSet,
        quantifier: Option<Quantifier>,
        not: bool,
        at: &Range<usize>,
    ) -> Res<Typed> {
        let x = self.expr(expr)?;
        let InSet::List(items) = patterns else {
            return Err(SqlError::unsupported("LIKE ANY or ALL over a subquery or an array", at));
        };
        let mut all = vec![x];
        for item in items {
            all.push(self.expr(item)?);
        }
        let (all, ty) = self.unify(all, "LIKE", at)?;
        if ty != Type::String {
            return Err(SqlError::unsupported(format!("LIKE of a {ty}"), at));
        }
        let each: Vec<String> = all[1..].iter().map(|p| like_sql(&all[0].sql, p)).collect();
        // `NOT LIKE ANY (a, b)` is true where it is unlike any of them.
        let each: Vec<String> = each.into_iter().map(|s| if not { format!("(NOT {s})") } else { s }).collect();
        let word = if quantifier == Some(Quantifier::All) { " AND " } else { " OR " };
        Ok(Typed::new(format!("({})", each.join(word)), Type::Bool).nullable(all.iter().any(|t| t.nullable)).at(at))
    }
}

fn like_sql(x: &str, pattern: &Typed) -> String {
    match &pattern.lit {
        Lit::Str(p) if !p.contains('\\') => format!("({x} LIKE {})", text(p)),
        _ => format!("({x} LIKE {} ESCAPE '\\')", pattern.sql),
    }
}

/// TRUE if any row's `eq` is; else NULL if any is NULL; else FALSE.
fn any_of(eq: &str, rows: &str) -> String {
    format!(
        "(SELECT CASE WHEN coalesce(bool_or(gs_q.e), false) THEN true WHEN count(*) > count(gs_q.e) THEN NULL \
         ELSE false END FROM (SELECT {eq} AS e FROM {rows}) AS gs_q)"
    )
}

/// Whether a FLOAT64 is a literal number.
fn number(t: &Typed) -> bool {
    t.sql.starts_with("CAST('") && !t.sql.contains("nan") && !t.sql[6..].contains("CAST")
}

/// DuckDB orders NaN above all and equal to itself; GoogleSQL makes every comparison with it false.
fn float_compare(op: Binary, a: &Typed, b: &Typed) -> String {
    let sign = symbol(op);
    let plain = format!("({} {sign} {})", a.sql, b.sql);
    let unequal = if op == Binary::Ne { "true" } else { "false" };
    // Against a number NaN gives DuckDB's answer for "greater than everything".
    let (right_number, left_number) = (number(b), number(a));
    let agrees = match op {
        Binary::Eq | Binary::Ne => right_number || left_number,
        Binary::Lt | Binary::Le => right_number,
        _ => left_number,
    };
    if agrees {
        return plain;
    }
    if a.sql.len() + b.sql.len() > super::typed::LONG {
        return format!("gs_float_compare({}, {}, '{sign}')", a.sql, b.sql);
    }
    let mut whens = String::new();
    if !left_number {
        whens.push_str(&format!(
            "WHEN isnan({0}) THEN CASE WHEN {1} IS NULL THEN NULL ELSE {unequal} END ",
            a.sql, b.sql
        ));
    }
    if !right_number {
        whens.push_str(&format!(
            "WHEN isnan({0}) THEN CASE WHEN {1} IS NULL THEN NULL ELSE {unequal} END ",
            b.sql, a.sql
        ));
    }
    format!("(CASE {whens}ELSE {plain} END)")
}
