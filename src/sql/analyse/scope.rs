//! Which names mean what: range variables, columns, names of WITH.

use super::typed::{Lit, Typed, field_names, quoted};
use super::{Analyser, Res};
use crate::diagnostics::nearest;
use crate::model::Type;
use crate::model::types::StructField;
use crate::sql::ast::{Ident, Query};
use crate::sql::error::SqlError;

/// A column that can be read.
#[derive(Debug, Clone)]
pub(super) struct Col {
    pub name: String,
    pub expr: Typed,
}

/// A range variable: a table's alias and its columns.
#[derive(Debug, Clone)]
pub(super) struct Var {
    pub name: String,
    pub cols: Vec<Col>,
    /// The row itself, if the table is a value table (UNNEST).
    pub value: Option<Typed>,
    /// Columns that USING has merged: no longer found without the variable's name.
    pub merged: Vec<String>,
    /// Columns found by name but not by a star.
    pub hidden: Vec<String>,
}

/// The names of one FROM clause.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    pub vars: Vec<Var>,
    /// The columns of USING, in front of a star.
    pub using: Vec<Col>,
    /// Names that stand for expressions (aliases of the select list, WITH expressions): looked at first.
    pub names: Vec<Col>,
}

/// A WITH query.
#[derive(Debug, Clone)]
pub(super) struct Cte {
    pub name: String,
    /// What it is called in DuckDB.
    pub sql_name: String,
    pub cols: Vec<Col>,
    pub value: bool,
}

impl Scope {
    /// The columns of `*`.
    pub fn star(&self) -> Vec<Col> {
        let mut out = self.using.clone();
        for var in &self.vars {
            out.extend(var.cols.iter().filter(|c| !has(&var.merged, &c.name) && !has(&var.hidden, &c.name)).cloned());
        }
        out
    }

    fn columns(&self) -> impl Iterator<Item = &Col> {
        self.using.iter().chain(self.vars.iter().flat_map(|v| v.cols.iter().filter(|c| !has(&v.merged, &c.name))))
    }

    /// The names that could have been meant.
    pub fn known(&self) -> Vec<&str> {
        let vars = self.vars.iter().map(|v| v.name.as_str());
        self.names.iter().map(|c| c.name.as_str()).chain(self.columns().map(|c| c.name.as_str())).chain(vars).collect()
    }

    pub fn var(&self, name: &str) -> Option<&Var> {
        self.vars.iter().find(|v| v.name.eq_ignore_ascii_case(name))
    }

    /// A column, or a whole row, by its bare name.
    pub fn find(&self, name: &Ident) -> Res<Option<Typed>> {
        if let Some(col) = self.names.iter().find(|c| c.name.eq_ignore_ascii_case(&name.name)) {
            if self.names.iter().filter(|c| c.name.eq_ignore_ascii_case(&name.name)).count() > 1 {
                return Err(ambiguous(name));
            }
            return Ok(Some(col.expr.clone()));
        }
        let found: Vec<&Col> = self.columns().filter(|c| c.name.eq_ignore_ascii_case(&name.name)).collect();
        let var = self.var(&name.name);
        match (found.as_slice(), var) {
            ([], None) => Ok(None),
            ([col], None) => Ok(Some(col.expr.clone())),
            ([], Some(var)) => Ok(Some(var.row(name)?)),
            // `UNNEST(a) AS x`: the variable and its column are one.
            ([col], Some(var)) if var.value.as_ref().is_some_and(|v| v.sql == col.expr.sql) => {
                Ok(Some(col.expr.clone()))
            }
            ([_], Some(_)) => Err(SqlError::unsupported(
                format!("`{}` is a column and a table's alias at the same time", name.name),
                &name.at,
            )),
            _ => Err(ambiguous(name)),
        }
    }
}

fn ambiguous(name: &Ident) -> SqlError {
    SqlError::invalid(format!("`{}` is ambiguous", name.name), &name.at)
}

pub(super) fn has(names: &[String], name: &str) -> bool {
    names.iter().any(|n| n.eq_ignore_ascii_case(name))
}

impl Var {
    pub fn col(&self, name: &str) -> Option<&Col> {
        self.cols.iter().find(|c| c.name.eq_ignore_ascii_case(name))
    }

    /// The row as a value.
    pub fn row(&self, name: &Ident) -> Res<Typed> {
        if let Some(value) = &self.value {
            return Ok(value.clone());
        }
        let fields: Vec<StructField> =
            self.cols.iter().map(|c| StructField { name: c.name.clone(), ty: c.expr.ty.clone() }).collect();
        let parts: Vec<String> = field_names(&fields)
            .iter()
            .zip(&self.cols)
            .map(|(n, c)| format!("{} := {}", quoted(n), c.expr.strict_sql()))
            .collect();
        let mut row = Typed::new(format!("struct_pack({})", parts.join(", ")), Type::Struct(fields)).at(&name.at);
        row.fails = false;
        Ok(row)
    }
}

impl Typed {
    /// The text with a full DECIMAL(38, 9) where a NUMERIC may be narrower.
    pub fn strict_sql(&self) -> String {
        if self.loose { format!("CAST({} AS DECIMAL(38,9))", self.sql) } else { self.sql.clone() }
    }

    pub fn strict(mut self) -> Self {
        self.sql = self.strict_sql();
        self.loose = false;
        self
    }
}

impl Analyser<'_> {
    /// What a bare name means.
    pub(super) fn name(&mut self, name: &Ident) -> Res<Typed> {
        for scope in self.scopes.iter().rev() {
            if let Some(found) = scope.find(name)? {
                return Ok(found.at(&name.at));
            }
        }
        let known: Vec<&str> = self.scopes.iter().rev().flat_map(Scope::known).collect();
        let help = nearest(&name.name, known).map(|n| format!("did you mean `{n}`?"));
        Err(SqlError::invalid(format!("unknown column `{}`", name.name), &name.at).help(help))
    }

    /// What `base.field` means where `base` may be a range variable.
    pub(super) fn qualified(&mut self, base: &Ident, field: &Ident) -> Res<Option<Typed>> {
        for scope in self.scopes.iter().rev() {
            let column = scope.columns().any(|c| c.name.eq_ignore_ascii_case(&base.name));
            let named = scope.names.iter().any(|c| c.name.eq_ignore_ascii_case(&base.name));
            if let Some(var) = scope.var(&base.name)
                && !named
            {
                if let Some(col) = var.col(&field.name) {
                    if var.cols.iter().filter(|c| c.name.eq_ignore_ascii_case(&field.name)).count() > 1 {
                        return Err(ambiguous(field));
                    }
                    if column && var.value.is_none() {
                        return Err(SqlError::unsupported(
                            format!("`{}` is a column and a table's alias at the same time", base.name),
                            &base.at,
                        ));
                    }
                    let scalar = var.value.as_ref().is_some_and(|v| !matches!(v.ty, Type::Struct(_)));
                    if !scalar {
                        return Ok(Some(col.expr.clone()));
                    }
                }
                if var.value.is_none() && !column {
                    let known = var.cols.iter().map(|c| c.name.as_str());
                    let help = nearest(&field.name, known).map(|n| format!("did you mean `{n}`?"));
                    return Err(SqlError::invalid(
                        format!("unknown column `{}.{}`", base.name, field.name),
                        &(base.at.start..field.at.end),
                    )
                    .help(help));
                }
            }
            if column || named {
                return Ok(None);
            }
            if scope.var(&base.name).is_some() {
                return Ok(None);
            }
        }
        Ok(None)
    }

    pub(super) fn cte(&self, name: &str) -> Option<Cte> {
        self.ctes.iter().rev().find(|c| c.name.eq_ignore_ascii_case(name)).cloned()
    }

    /// Makes the WITH queries of a query known; gives DuckDB's WITH clause (with a trailing blank) or nothing.
    pub(super) fn with(&mut self, query: &Query) -> Res<String> {
        let mut parts = Vec::new();
        let mut recursive = false;
        for (i, (name, inner)) in query.with.iter().enumerate() {
            if query.with[..i].iter().any(|(n, _)| n.name.eq_ignore_ascii_case(&name.name)) {
                return Err(SqlError::invalid(format!("`{}` is defined twice", name.name), &name.at));
            }
            let sql_name = self.fresh("q");
            let (rel, is_recursive) =
                if query.recursive { self.recursive(name, inner, &sql_name)? } else { (self.isolated(inner)?, false) };
            recursive |= is_recursive;
            parts.push(format!("{sql_name} AS ({})", rel.sql()));
            let cols = rel.items.iter().map(|i| Col { name: i.name.clone(), expr: i.expr.clone() }).collect();
            self.ctes.push(Cte { name: name.name.clone(), sql_name, cols, value: rel.value });
        }
        if parts.is_empty() {
            return Ok(String::new());
        }
        Ok(format!("WITH {}{} ", if recursive { "RECURSIVE " } else { "" }, parts.join(", ")))
    }

    /// A query that sees no columns around it. (A WITH query of a correlated subquery may not see its columns either.)
    fn isolated(&mut self, query: &Query) -> Res<super::Rel> {
        self.query(query)
    }
}

/// A column of a relation that is read under an alias.
pub(super) fn column_of(alias: &str, index: usize, col: &Col) -> Col {
    let mut expr = Typed::new(format!("{alias}.\"c{}\"", index + 1), col.expr.ty.clone());
    expr.nullable = col.expr.nullable;
    expr.loose = col.expr.ty == Type::Numeric;
    expr.fails = false;
    expr.lit = Lit::No;
    Col { name: col.name.clone(), expr }
}
