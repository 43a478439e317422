//! A document's contract: a JSON Schema (draft 2020-12), compiled once, then held against the document's events as they
//! pass, so that no document needs to be in memory to be checked.
//!
//! What can be decided event by event is; a part of a schema that cannot (`oneOf` over objects, `not`, `if` ...) collects
//! its subtree of the document and asks the `jsonschema` crate.

mod collect;
mod compile;
mod formats;
mod rules;
#[cfg(test)]
pub(super) mod tests;
mod validate;

pub use validate::Validator;

use crate::model::sink::At;
use rules::{ArrayRules, Node, NumberRules, ObjectRules, StringRules};

/// Findings kept of one document; the others are counted.
pub const KEPT: usize = 20;

/// A compiled schema.
#[derive(Debug)]
pub struct Contract {
    root: u32,
    nodes: Vec<Node>,
    objects: Vec<ObjectRules>,
    arrays: Vec<ArrayRules>,
    strings: Vec<StringRules>,
    numbers: Vec<NumberRules>,
    /// For the parts that need their whole subtree.
    whole: Vec<jsonschema::Validator>,
}

impl Contract {
    /// Compiles a schema; every problem of it is reported, with its JSON pointer.
    pub fn compile(schema: &serde_json::Value) -> Result<Self, Vec<String>> {
        compile::compile(schema)
    }

    /// A validator for one document.
    pub fn validator(&self) -> Validator<'_> {
        Validator::new(self)
    }
}

/// Where a document breaks its contract.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The schema's keyword: `required`, `type`, `format` ...
    pub rule: &'static str,
    /// JSON pointer into the document.
    pub pointer: String,
    pub message: String,
    /// The value, shortened; empty for a property that is not there.
    pub value: String,
    /// The node of the shape that made it.
    pub at: At,
}

/// What a check of one document found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Findings {
    /// The first [`KEPT`].
    pub kept: Vec<Finding>,
    pub total: u64,
}

impl Findings {
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    #[cold]
    fn add(&mut self, finding: impl FnOnce() -> Finding) {
        self.total += 1;
        if self.kept.len() < KEPT {
            self.kept.push(finding());
        }
    }
}
