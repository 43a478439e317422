//! The warehouse port over the embedded engine: GoogleSQL is lowered, then run.

use super::{DuckDb, DuckRows};
use crate::model::{Field, Statement, Type};
use crate::ports::cancel::Cancel;
use crate::ports::warehouse::{RowStream, Warehouse, WarehouseError, WarehouseErrorKind as Kind};
use crate::sql::{Catalog, Lowered, SqlError, SqlErrorKind, TableInfo, lower};
use async_trait::async_trait;

impl Catalog for DuckDb {
    fn table(&self, name: &str) -> Option<TableInfo> {
        if let Some(table) = self.tables.get(&name.to_lowercase()) {
            return Some(TableInfo {
                name: table.name.clone(),
                fields: table.fields.clone(),
                partition_by: table.partition_by.clone(),
            });
        }
        let fields = self.table_fields(name).ok()?;
        Some(TableInfo { name: name.to_owned(), fields, partition_by: None })
    }

    fn names(&self) -> Vec<String> {
        self.tables.values().map(|t| t.name.clone()).collect()
    }
}

impl DuckDb {
    /// The statement in DuckDB's SQL.
    pub fn lowered(&self, statement: &Statement) -> Result<Lowered, WarehouseError> {
        let params: Vec<(String, Type)> = statement.params.iter().map(|p| (p.name.clone(), p.ty.clone())).collect();
        lower(&statement.sql, &params, self).map_err(|error| sql_error(&statement.sql, error))
    }

    fn rows(&self, statement: &Statement, cancel: &Cancel) -> Result<DuckRows, WarehouseError> {
        let lowered = self.lowered(statement)?;
        self.start(&lowered.sql, Some(lowered.fields), &lowered.tables, &statement.params, cancel)
    }
}

/// An error of the lowering with its line and column in the statement.
fn sql_error(sql: &str, error: SqlError) -> WarehouseError {
    let kind = match error.kind {
        SqlErrorKind::Unsupported => Kind::Unsupported,
        SqlErrorKind::Invalid => Kind::Invalid,
    };
    let place = error.at.as_ref().map_or_else(String::new, |at| {
        let before = &sql[..at.start.min(sql.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        format!(" (line {line}, column {column} of the statement)")
    });
    let help = error.help.map_or_else(String::new, |help| format!("; {help}"));
    WarehouseError { kind, message: format!("{}{place}{help}", error.message), at: error.at }
}

#[async_trait]
impl Warehouse for DuckDb {
    fn describe(&self) -> String {
        match self.data() {
            Some(data) => format!("duckdb ({})", data.display()),
            None => "duckdb (no tables)".to_owned(),
        }
    }

    async fn columns(&self, statement: &Statement) -> Result<Vec<Field>, WarehouseError> {
        Ok(self.lowered(statement)?.fields)
    }

    async fn query(&self, statement: &Statement, cancel: &Cancel) -> Result<Box<dyn RowStream>, WarehouseError> {
        Ok(Box::new(self.rows(statement, cancel)?))
    }
}
