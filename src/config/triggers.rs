//! A trigger's declaration, read from its checked node.

use super::decode::items;
use super::node::Node;
use super::{Project, TriggerDecl};
use crate::diagnostics::Spanned;

impl Project {
    /// The triggers as declared; what is missing in one was a finding already.
    pub fn trigger_decls(&self) -> Vec<TriggerDecl> {
        self.triggers.iter().filter_map(trigger).collect()
    }

    /// A topic's full name: what `topics:` gives the key, or the name itself where it is a topic's name already.
    pub fn topic(&self, name: &str) -> Option<&str> {
        match self.topics.get(name) {
            Some(full) => Some(full),
            None => self.topics.values().find(|full| *full == name).map(String::as_str),
        }
    }
}

fn trigger(node: &Node) -> Option<TriggerDecl> {
    let text = |node: &Node, key: &str| {
        let value = node.get(key)?;
        Some(Spanned { value: value.as_str()?.to_owned(), span: value.span })
    };
    let publish = node.get("publish")?;
    let when = items(node.get("when")).iter();
    Some(TriggerDecl {
        name: text(node, "name")?,
        topic: text(node, "topic")?,
        schema: text(node, "schema"),
        dedupe_by: node.get("dedupe_by").cloned(),
        when: when.filter_map(|rule| Some((rule.get("if")?.clone(), text(rule, "else")?.value))).collect(),
        publish_topic: text(publish, "topic")?,
        message: publish.get("message")?.clone(),
    })
}
