//! What an expression can name: queries, facts, variables, and what the surrounding nodes bind.

use super::value::Val;
use crate::model::Field;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The names of a whole export.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// Queries in the order of their tables.
    pub queries: Vec<(String, Arc<[Field]>)>,
    /// Parameters and run facts.
    pub facts: BTreeMap<String, Val<'static>>,
    /// `vars.name`
    pub vars: BTreeMap<String, Val<'static>>,
    /// Whether `doc.name` and `count("path")` mean something (asserts).
    pub document: bool,
}

/// What a name is bound to.
#[derive(Debug, Clone)]
pub enum Binding {
    /// A row of a table, in a slot of the frame.
    Row { slot: usize, table: usize },
    /// A value in a slot of the frame.
    Value { slot: usize },
    /// Rows of a table, in a slot of the frame.
    Set { slot: usize, table: usize },
    /// Counters of a loop, in a slot of the frame.
    Loop { slot: usize },
}

/// Names that are in force at a place of the shape, the innermost last.
#[derive(Debug, Clone, Default)]
pub struct Locals {
    names: Vec<(String, Binding)>,
}

impl Locals {
    pub fn bind(&mut self, name: &str, binding: Binding) {
        self.names.push((name.to_owned(), binding));
    }

    pub fn get(&self, name: &str) -> Option<&Binding> {
        self.names.iter().rev().find(|(n, _)| n == name).map(|(_, b)| b)
    }

    pub fn mark(&self) -> usize {
        self.names.len()
    }

    pub fn reset(&mut self, mark: usize) {
        self.names.truncate(mark);
    }

    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|(n, _)| n.as_str())
    }
}

/// Slots handed out while compiling: each binding site has its own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Slots {
    pub rows: usize,
    pub values: usize,
    pub sets: usize,
    pub loops: usize,
}
