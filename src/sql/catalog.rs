//! What is known of the tables that a statement may read.

use crate::model::Field;
use std::collections::BTreeMap;

/// A table's columns and the one it is partitioned by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableInfo {
    /// `dataset.table`, as declared.
    pub name: String,
    pub fields: Vec<Field>,
    pub partition_by: Option<String>,
}

/// Finds tables by name, case aside.
pub trait Catalog: Sync {
    /// The table called `dataset.table`.
    fn table(&self, name: &str) -> Option<TableInfo>;

    /// All names, for "did you mean".
    fn names(&self) -> Vec<String>;
}

/// A catalog that was made beforehand.
#[derive(Debug, Clone, Default)]
pub struct MapCatalog {
    tables: BTreeMap<String, TableInfo>,
}

impl MapCatalog {
    pub fn add(&mut self, table: TableInfo) {
        self.tables.insert(table.name.to_lowercase(), table);
    }
}

impl FromIterator<TableInfo> for MapCatalog {
    fn from_iter<I: IntoIterator<Item = TableInfo>>(tables: I) -> Self {
        let mut out = Self::default();
        tables.into_iter().for_each(|t| out.add(t));
        out
    }
}

impl Catalog for MapCatalog {
    fn table(&self, name: &str) -> Option<TableInfo> {
        self.tables.get(&name.to_lowercase()).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.tables.values().map(|t| t.name.clone()).collect()
    }
}
