//! Names, scopes and types of a statement, and DuckDB's text for it, in one walk over the tree.

mod aggregate;
mod cast;
mod coerce;
mod compare;
mod expr;
mod from;
mod functions;
mod order;
mod percentile;
mod pivot;
mod query;
mod scope;
mod select;
mod statistics;
pub(crate) mod typed;
mod window;

use super::ast::*;
use super::catalog::Catalog;
use super::error::SqlError;
use super::parse;
use crate::model::{Field, Type};
use scope::{Cte, Scope};
use std::ops::Range;
use typed::Typed;

/// A statement in DuckDB's SQL.
#[derive(Debug, Clone, PartialEq)]
pub struct Lowered {
    /// Its parameters are `$name`.
    pub sql: String,
    pub fields: Vec<Field>,
    /// The tables that it reads, `dataset.table` as declared, each once.
    pub tables: Vec<String>,
    /// The parameters that it uses, each once.
    pub params: Vec<String>,
    /// Calls that ask the clock.
    pub clocks: Vec<Clock>,
    /// Every place that reads a table with a partition column.
    pub readings: Vec<Reading>,
}

/// `CURRENT_DATE()` and its kin: their answer hangs on when the statement runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    pub function: String,
    pub at: Range<usize>,
}

/// A partitioned table that is read, and whether the SELECT that reads it bounds its partition column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    pub table: String,
    pub partition_by: String,
    pub bounded: bool,
    pub at: Range<usize>,
}

/// A reading and the text of its partition column.
struct Bound {
    reading: Reading,
    column: String,
}

/// The stack for one statement: its tree is walked by functions that call themselves, as deep as the parser lets it be.
const STACK: usize = 128 << 20;

/// The longest text of one expression, and of all that were made on the way, in bytes. An expression that stands several times in
/// the text of another would else double at every level.
const LONGEST: usize = 1 << 20;
const BUDGET: usize = 32 << 20;

/// Lowers one SELECT or WITH statement.
pub fn lower(sql: &str, params: &[(String, Type)], catalog: &dyn Catalog) -> Result<Lowered, SqlError> {
    std::thread::scope(|scope| {
        let walk = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || walk(sql, params, catalog));
        match walk.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(lowered)) => lowered,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(error) => Err(SqlError::unsupported(format!("no thread for the statement: {error}"), &(0..0))),
        }
    })
}

fn walk(sql: &str, params: &[(String, Type)], catalog: &dyn Catalog) -> Result<Lowered, SqlError> {
    let query = parse::parse(sql)?;
    let mut analyser = Analyser {
        catalog,
        params,
        tables: Vec::new(),
        used: Vec::new(),
        clocks: Vec::new(),
        readings: Vec::new(),
        next: 0,
        scopes: Vec::new(),
        ctes: Vec::new(),
        windows: Vec::new(),
        in_aggregate: false,
        aggregates: 0,
        spent: 0,
        noting: false,
    };
    let (sql, fields) = analyser.statement(&query)?;
    Ok(Lowered {
        sql,
        fields,
        tables: analyser.tables,
        params: analyser.used,
        clocks: analyser.clocks,
        readings: analyser.readings.into_iter().map(|b| b.reading).collect(),
    })
}

type Res<T> = Result<T, SqlError>;

struct Analyser<'a> {
    catalog: &'a dyn Catalog,
    params: &'a [(String, Type)],
    tables: Vec<String>,
    used: Vec<String>,
    clocks: Vec<Clock>,
    readings: Vec<Bound>,
    next: usize,
    /// Innermost last.
    scopes: Vec<Scope>,
    /// Innermost last.
    ctes: Vec<Cte>,
    /// The named windows of the SELECTs around, innermost last.
    windows: Vec<Vec<(String, Over)>>,
    in_aggregate: bool,
    /// How many aggregates and window functions were seen.
    aggregates: usize,
    /// How much text was made.
    spent: usize,
    /// While a filter's bounds are looked for.
    noting: bool,
}

impl Analyser<'_> {
    /// A name that nothing else has.
    fn fresh(&mut self, prefix: &str) -> String {
        self.next += 1;
        format!("{prefix}{}", self.next)
    }

    /// Counts a text that was made.
    fn spend(&mut self, len: usize, at: &Range<usize>) -> Res<()> {
        self.spent += len + 64;
        if len > LONGEST || self.spent > BUDGET {
            return Err(SqlError::unsupported("a statement as large as this becomes", at));
        }
        Ok(())
    }

    fn statement(&mut self, query: &Query) -> Res<(String, Vec<Field>)> {
        let rel = self.query(query)?;
        // The outermost value table of structs is a result of columns.
        if rel.value
            && let [item] = rel.items.as_slice()
            && let Type::Struct(fields) = &item.expr.ty
        {
            let names = typed::field_names(fields);
            let columns: Vec<String> = names
                .iter()
                .enumerate()
                .map(|(i, n)| format!("(v.\"c1\").{} AS \"c{}\"", typed::quoted(n), i + 1))
                .collect();
            let sql = format!("SELECT {} FROM ({}) AS v", columns.join(", "), rel.sql());
            let fields =
                fields.iter().map(|f| Field { name: f.name.clone(), ty: f.ty.clone(), nullable: true }).collect();
            return Ok((sql, anonymous(fields)));
        }
        let fields = rel
            .items
            .iter()
            .map(|i| Field { name: i.name.clone(), ty: i.expr.ty.clone(), nullable: i.expr.nullable })
            .collect();
        Ok((rel.sql(), anonymous(fields)))
    }
}

/// Columns without a name are called `f0_`, `f1_`, … as in BigQuery.
fn anonymous(mut fields: Vec<Field>) -> Vec<Field> {
    let mut count = 0;
    for field in &mut fields {
        if field.name.is_empty() {
            field.name = format!("f{count}_");
            count += 1;
        }
    }
    fields
}

/// A column of a query's result.
#[derive(Debug, Clone)]
struct Item {
    /// Empty if it has none.
    name: String,
    expr: Typed,
}

/// A query in DuckDB's SQL, kept in pieces so that a set operation can still coerce the items.
#[derive(Debug, Clone, Default)]
struct Rel {
    /// Up to the select list.
    prefix: String,
    items: Vec<Item>,
    /// From FROM to QUALIFY.
    suffix: String,
    /// A value table: its single column is the row.
    value: bool,
    order: Vec<order::Key>,
    limit: String,
    /// The whole text, where it is not made of the pieces.
    raw: Option<String>,
}

impl Rel {
    /// The whole query.
    fn sql(&self) -> String {
        self.compose(true, false)
    }

    /// Without an ORDER BY that changes nothing.
    fn unordered(&self) -> String {
        self.compose(!self.limit.is_empty(), false)
    }

    /// With the ORDER BY keys as further columns `"k1"`, …
    fn with_keys(&self) -> String {
        self.compose(!self.limit.is_empty(), true)
    }

    fn compose(&self, ordered: bool, keys: bool) -> String {
        if let Some(raw) = &self.raw {
            return raw.clone();
        }
        let mut columns: Vec<String> =
            self.items.iter().enumerate().map(|(i, item)| format!("{} AS \"c{}\"", item.expr.sql, i + 1)).collect();
        if keys {
            columns.extend(self.order.iter().enumerate().map(|(i, key)| format!("{} AS \"k{}\"", key.sql, i + 1)));
        }
        let mut out = format!("{}{}{}", self.prefix, columns.join(", "), self.suffix);
        if ordered && !self.order.is_empty() {
            let order: Vec<String> = self.order.iter().map(order::Key::text).collect();
            out.push_str(&format!(" ORDER BY {}", order.join(", ")));
        }
        out.push_str(&self.limit);
        out
    }
}
