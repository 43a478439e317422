//! ORDER BY keys and LIMIT: where NULL and NaN stand.

use super::typed::Typed;
use super::{Analyser, Res};
use crate::model::Type;
use crate::sql::ast::{Expr, ExprKind};
use crate::sql::error::SqlError;

/// Whether values of a type can be ordered.
pub(super) fn orderable(ty: &Type) -> bool {
    !matches!(ty, Type::Array(_) | Type::Struct(_) | Type::Json | Type::Geography | Type::Interval | Type::Range(_))
}

/// Whether values of a type can be grouped and made distinct in DuckDB with GoogleSQL's meaning.
pub(super) fn groupable(ty: &Type) -> bool {
    match ty {
        Type::Json | Type::Geography | Type::Interval | Type::Range(_) => false,
        Type::Array(item) => groupable(item),
        Type::Struct(fields) => fields.iter().all(|f| groupable(&f.ty)),
        _ => true,
    }
}

/// One ORDER BY key.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub sql: String,
    /// `ASC NULLS FIRST`.
    pub direction: String,
}

impl Key {
    pub fn text(&self) -> String {
        format!("{} {}", self.sql, self.direction)
    }
}

/// Keys end to end.
pub(super) fn joined(keys: &[Key]) -> String {
    keys.iter().map(Key::text).collect::<Vec<_>>().join(", ")
}

/// The keys of one ORDER BY item. NULL is the least value, NaN the least number.
pub(super) fn keys(t: &Typed, desc: bool, nulls_first: Option<bool>) -> Res<Vec<Key>> {
    if !orderable(&t.ty) {
        let known = matches!(t.ty, Type::Interval | Type::Range(_));
        let message = format!("ordering by a {}", t.ty);
        return Err(if known { SqlError::unsupported(message, &t.at) } else { SqlError::invalid(message, &t.at) });
    }
    let nulls = if nulls_first.unwrap_or(!desc) { "FIRST" } else { "LAST" };
    let dir = if desc { "DESC" } else { "ASC" };
    let mut out = Vec::new();
    if t.ty == Type::Float64 {
        let nan_dir = if desc { "ASC" } else { "DESC" };
        out.push(Key { sql: format!("isnan({})", t.sql), direction: format!("{nan_dir} NULLS {nulls}") });
    }
    out.push(Key { sql: t.sql.clone(), direction: format!("{dir} NULLS {nulls}") });
    Ok(out)
}

impl Analyser<'_> {
    /// LIMIT and OFFSET: a literal or a parameter.
    pub(super) fn count_of(&mut self, expr: &Expr) -> Res<String> {
        match &expr.kind {
            ExprKind::Int(digits) if !digits.starts_with('-') => Ok(digits.clone()),
            ExprKind::Param(_) => {
                let t = self.expr(expr)?;
                if t.ty != Type::Int64 {
                    return Err(SqlError::invalid("LIMIT must be an INT64", &expr.at));
                }
                Ok(format!(
                    "CASE WHEN {0} >= 0 THEN {0} ELSE {1} END",
                    t.sql,
                    super::typed::fail("LIMIT must not be negative or NULL", &Type::Int64)
                ))
            }
            ExprKind::Cast { .. } => {
                let ExprKind::Cast { expr: inner, .. } = &expr.kind else { unreachable!() };
                match &inner.kind {
                    ExprKind::Int(_) | ExprKind::Cast { .. } | ExprKind::Param(_) => self.count_of(inner),
                    _ => Err(SqlError::unsupported("this count", &expr.at)),
                }
            }
            _ => Err(SqlError::invalid("LIMIT must be a literal or a parameter", &expr.at)),
        }
    }
}
