//! A YAML file as a tree that remembers where each value was written.

use crate::diagnostics::{Span, Spanned};

/// A YAML value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub value: NodeValue,
    pub span: Span,
}

/// A YAML value, resolved by the core schema of YAML 1.2 (so `no` is text).
#[derive(Debug, Clone, PartialEq)]
pub enum NodeValue {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// Text; `plain` = written without quotes and not as a block, so that offsets in `text` are offsets in the file.
    Str {
        text: String,
        plain: bool,
    },
    Seq(Vec<Node>),
    /// In the order written; keys are unique (a duplicate was a finding).
    Map(Vec<(Spanned<String>, Node)>),
}

impl Node {
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            NodeValue::Map(entries) => entries.iter().find(|(k, _)| k.value == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The place of a JSON pointer below this node, or its nearest ancestor that stands in the file.
    pub fn at_pointer(&self, pointer: &str) -> &Node {
        let mut here = self;
        for step in pointer.split('/').skip(1).map(|s| s.replace("~1", "/").replace("~0", "~")) {
            let next = match &here.value {
                NodeValue::Seq(items) => step.parse::<usize>().ok().and_then(|i| items.get(i)),
                _ => here.get(&step),
            };
            match next {
                Some(next) => here = next,
                None => break,
            }
        }
        here
    }

    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            NodeValue::Str { text, .. } => Some(text),
            _ => None,
        }
    }
}
