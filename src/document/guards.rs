//! Guards: what must hold besides the schema. Counts, keys and values are watched while the document is written; what needs
//! rows, the last release or an expression is told at the end.

use super::contract::Finding;
use crate::config::{Forbid, Node, NodeValue, forms};
use crate::diagnostics::{Diagnostic, Span, Spanned, nearest};
use crate::model::sink::{At, Key, Sink, SinkError};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};

/// How many findings are kept; the others are counted.
const MAX_FINDINGS: usize = 20;

/// A guard that is decided when the document is finished.
#[derive(Debug, Clone)]
pub enum Final {
    MinItems {
        path: String,
        least: u64,
        span: Span,
    },
    MaxItems {
        path: String,
        most: u64,
        span: Span,
    },
    MaxShrink {
        path: String,
        percent: f64,
        span: Span,
    },
    MinRows {
        query: Spanned<String>,
        least: u64,
    },
    /// Every row of `rows` has its row in `of`.
    NoOrphans {
        rows: Spanned<String>,
        of: Spanned<String>,
        by: Vec<(String, String)>,
        span: Span,
    },
    Assert {
        expression: Node,
        message: String,
        span: Span,
    },
    MaxBytes {
        most: u64,
        span: Span,
    },
}

/// Compiled guards of a document.
#[derive(Debug, Default)]
pub struct Guards {
    pub finals: Vec<Final>,
    trie: Vec<Trie>,
    /// Paths whose items are counted.
    counted: Vec<String>,
    uniques: Vec<Unique>,
    forbidden_keys: Vec<String>,
    forbidden_values: Vec<String>,
}

#[derive(Debug, Default)]
struct Trie {
    keys: Vec<(String, usize)>,
    each: Option<usize>,
    actions: Vec<Action>,
}

#[derive(Debug, Clone, Copy)]
enum Action {
    Count(usize),
    Unique(usize),
    Reset(usize),
}

#[derive(Debug)]
struct Unique {
    path: String,
}

const KINDS: [&str; 9] = [
    "min_items",
    "max_items",
    "unique",
    "max_shrink_pct",
    "min_rows",
    "no_orphans",
    "assert",
    "max_bytes",
    "forbid_keys",
];

/// Whether a guard looks at a query's rows.
pub fn mentions_query(guard: &Node, query: &str) -> bool {
    let NodeValue::Map(entries) = &guard.value else { return false };
    entries.iter().any(|(key, value)| match (key.value.as_str(), value.as_str()) {
        ("min_rows" | "no_orphans" | "in", Some(text)) => text == query,
        ("assert", Some(text)) => text.contains(query),
        _ => false,
    })
}

impl Guards {
    /// Compiles a document's guards and the project's forbidden keys and values.
    pub fn compile(nodes: &[Node], forbid: &Forbid) -> (Guards, Vec<Diagnostic>) {
        let mut guards = Guards {
            trie: vec![Trie::default()],
            forbidden_keys: forbid.keys.clone(),
            forbidden_values: forbid.values.clone(),
            ..Guards::default()
        };
        let mut findings = Vec::new();
        for node in nodes {
            guards.add(node, &mut findings);
        }
        (guards, findings)
    }

    fn add(&mut self, node: &Node, findings: &mut Vec<Diagnostic>) {
        let NodeValue::Map(entries) = &node.value else {
            findings.push(
                Diagnostic::error("bad-guard", "a guard is a map", node.span)
                    .help("such as {unique: \"games[].game_id\"}"),
            );
            return;
        };
        let Some((kind, value)) =
            entries.iter().find(|(k, _)| KINDS.contains(&k.value.as_str()) || k.value == "forbid_values")
        else {
            let written = entries.first().map_or("", |(k, _)| k.value.as_str());
            let found = Diagnostic::error("unknown-guard", format!("there is no guard `{written}`"), node.span);
            findings.push(match nearest(written, KINDS) {
                Some(near) => found.help(format!("did you mean `{near}`?")),
                None => found.help(format!("one of {}", KINDS.join(", "))),
            });
            return;
        };
        let span = node.span;
        let number = |name: &str| match node.get(name).map(|n| &n.value) {
            Some(NodeValue::Int(v)) => u64::try_from(*v).ok(),
            _ => None,
        };
        let text =
            |name: &str| node.get(name).and_then(|n| Some(Spanned { value: n.as_str()?.to_owned(), span: n.span }));
        let items = |path: &str| if path.ends_with("[]") { path.to_owned() } else { format!("{path}[]") };
        let written = value.as_str().unwrap_or_default().to_owned();
        let made = match kind.value.as_str() {
            "min_items" => number("at_least").map(|least| Final::MinItems { path: items(&written), least, span }),
            "max_items" => number("at_most").map(|most| Final::MaxItems { path: items(&written), most, span }),
            "max_shrink_pct" => {
                let percent = match &value.value {
                    NodeValue::Int(v) => Some(*v as f64),
                    NodeValue::Float(v) => Some(*v),
                    _ => None,
                };
                text("of").zip(percent).map(|(of, percent)| Final::MaxShrink { path: items(&of.value), percent, span })
            }
            "min_rows" => {
                number("at_least").zip(text("min_rows")).map(|(least, query)| Final::MinRows { query, least })
            }
            "no_orphans" => text("no_orphans").zip(text("in")).map(|(rows, of)| Final::NoOrphans {
                rows,
                of,
                by: columns(node.get("by")),
                span,
            }),
            "assert" => {
                let message = text("message").map_or_else(|| written.clone(), |m| m.value);
                for path in counted_paths(&written) {
                    self.count(&path);
                }
                Some(Final::Assert { expression: value.clone(), message, span })
            }
            "max_bytes" => match forms::size(&written) {
                Ok(most) => Some(Final::MaxBytes { most, span }),
                Err(reason) => {
                    findings.push(Diagnostic::error("bad-guard", reason, value.span).help("such as 5MB"));
                    return;
                }
            },
            "unique" => {
                let within = text("within").map(|w| w.value);
                self.unique(&written, within.as_deref());
                return;
            }
            "forbid_keys" => {
                self.forbidden_keys.extend(list(value));
                return;
            }
            _ => {
                self.forbidden_values.extend(list(value));
                return;
            }
        };
        match made {
            Some(made) => {
                match &made {
                    Final::MinItems { path, .. } | Final::MaxItems { path, .. } | Final::MaxShrink { path, .. } => {
                        self.count(&path.clone());
                    }
                    _ => {}
                }
                self.finals.push(made);
            }
            None => findings.push(
                Diagnostic::error("bad-guard", format!("this `{}` is not complete", kind.value), span).help(match kind
                    .value
                    .as_str()
                {
                    "min_items" => "such as {min_items: \"games[]\", at_least: 1}",
                    "max_items" => "such as {max_items: \"games[]\", at_most: 20}",
                    "max_shrink_pct" => "such as {max_shrink_pct: 50, of: \"games[]\"}",
                    "min_rows" => "such as {min_rows: games, at_least: 1}",
                    _ => "such as {no_orphans: players, in: games, by: game_id}",
                }),
            ),
        }
    }

    fn count(&mut self, path: &str) {
        if !self.counted.iter().any(|p| p == path) {
            let place = self.place(path);
            self.trie[place].actions.push(Action::Count(self.counted.len()));
            self.counted.push(path.to_owned());
        }
    }

    fn unique(&mut self, path: &str, within: Option<&str>) {
        let number = self.uniques.len();
        self.uniques.push(Unique { path: path.to_owned() });
        let place = self.place(path);
        self.trie[place].actions.push(Action::Unique(number));
        if let Some(within) = within {
            let place = self.place(within);
            self.trie[place].actions.push(Action::Reset(number));
        }
    }

    /// The place of a path's values in the trie: `games[].players[]` is key, each, key, each.
    fn place(&mut self, path: &str) -> usize {
        let mut at = 0;
        for part in path.split('.') {
            let name = part.trim_end_matches("[]");
            if !name.is_empty() {
                at = match self.trie[at].keys.iter().find(|(k, _)| k == name) {
                    Some((_, next)) => *next,
                    None => {
                        let next = self.grow();
                        self.trie[at].keys.push((name.to_owned(), next));
                        next
                    }
                };
            }
            for _ in 0..part.matches("[]").count() {
                at = match self.trie[at].each {
                    Some(next) => next,
                    None => {
                        let next = self.grow();
                        self.trie[at].each = Some(next);
                        next
                    }
                };
            }
        }
        at
    }

    fn grow(&mut self) -> usize {
        self.trie.push(Trie::default());
        self.trie.len() - 1
    }
}

fn list(node: &Node) -> Vec<String> {
    match &node.value {
        NodeValue::Seq(items) => items.iter().filter_map(|i| i.as_str().map(str::to_owned)).collect(),
        _ => node.as_str().map(str::to_owned).into_iter().collect(),
    }
}

/// `by: game_id`, a list of columns, or `{column here: column there}`.
fn columns(node: Option<&Node>) -> Vec<(String, String)> {
    match node.map(|n| &n.value) {
        Some(NodeValue::Str { text, .. }) => vec![(text.clone(), text.clone())],
        Some(NodeValue::Seq(items)) => {
            items.iter().filter_map(Node::as_str).map(|c| (c.to_owned(), c.to_owned())).collect()
        }
        Some(NodeValue::Map(entries)) => {
            entries.iter().filter_map(|(here, there)| Some((here.value.clone(), there.as_str()?.to_owned()))).collect()
        }
        _ => Vec::new(),
    }
}

/// The paths in the `count("…")` calls of an expression.
fn counted_paths(text: &str) -> Vec<String> {
    text.split("count(")
        .skip(1)
        .filter_map(|rest| {
            let quote = rest.trim_start().chars().next().filter(|c| matches!(c, '"' | '\''))?;
            rest.trim_start()[1..].split(quote).next().map(str::to_owned)
        })
        .collect()
}

/// Watches a document while it is written.
pub struct GuardRun<'g> {
    guards: &'g Guards,
    stack: Vec<Level>,
    next: Option<usize>,
    counts: Vec<u64>,
    seen: Vec<HashSet<String>>,
    pub findings: Vec<Finding>,
    pub total: usize,
    /// Scalars outside of lists, for asserts.
    doc: Value,
    lists: usize,
    keys: Vec<String>,
}

struct Level {
    trie: Option<usize>,
    is_object: bool,
    count: u64,
}

impl<'g> GuardRun<'g> {
    pub fn new(guards: &'g Guards) -> Self {
        Self {
            guards,
            stack: Vec::new(),
            next: Some(0),
            counts: vec![0; guards.counted.len()],
            seen: guards.uniques.iter().map(|_| HashSet::new()).collect(),
            findings: Vec::new(),
            total: 0,
            doc: Value::Object(Default::default()),
            lists: 0,
            keys: Vec::new(),
        }
    }

    /// Counts by path, and the document's scalars outside of lists.
    pub fn finish(self) -> (Vec<Finding>, BTreeMap<String, u64>, Value) {
        let counts = self.guards.counted.iter().cloned().zip(self.counts).collect();
        (self.findings, counts, self.doc)
    }

    #[cold]
    fn find(&mut self, rule: &'static str, message: String, value: Option<String>, at: At) {
        self.total += 1;
        if self.findings.len() >= MAX_FINDINGS {
            return;
        }
        let mut pointer = String::new();
        let mut keys = self.keys.iter();
        for level in &self.stack {
            pointer.push('/');
            if level.is_object {
                pointer.push_str(keys.next().map_or("", String::as_str));
            } else {
                pointer.push_str(&level.count.saturating_sub(1).to_string());
            }
        }
        self.findings.push(Finding { rule, pointer, message, value: value.unwrap_or_default(), at });
    }

    #[inline]
    fn begins(&mut self) -> Option<usize> {
        let place = match self.stack.last_mut() {
            Some(level) if !level.is_object => {
                level.count += 1;
                level.trie.and_then(|t| self.guards.trie[t].each)
            }
            _ => self.next.take(),
        }?;
        let guards = self.guards;
        for action in &guards.trie[place].actions {
            match action {
                Action::Count(i) => self.counts[*i] += 1,
                Action::Reset(i) => self.seen[*i].clear(),
                Action::Unique(_) => {}
            }
        }
        Some(place)
    }

    fn scalar(&mut self, at: At, text: impl Fn() -> String, json: impl Fn() -> Value) {
        if self.lists == 0 {
            self.remember(json());
        }
        let Some(place) = self.begins() else { return };
        let guards = self.guards;
        for action in &guards.trie[place].actions {
            if let Action::Unique(i) = action {
                let value = text();
                if self.seen[*i].contains(&value) {
                    let path = &guards.uniques[*i].path;
                    self.find("unique", format!("`{value}` stands twice at `{path}`"), Some(value), at);
                } else {
                    self.seen[*i].insert(value);
                }
            }
        }
    }

    fn remember(&mut self, value: Value) {
        let mut target = &mut self.doc;
        for key in &self.keys {
            let Value::Object(map) = target else { return };
            target = map.entry(key.clone()).or_insert_with(|| Value::Object(Default::default()));
        }
        *target = value;
    }

    fn open(&mut self, is_object: bool) {
        let guards = self.guards;
        // Below a place that nothing looks into, nothing is watched.
        let trie = self.begins().filter(|t| !guards.trie[*t].keys.is_empty() || guards.trie[*t].each.is_some());
        self.stack.push(Level { trie, is_object, count: 0 });
        if is_object {
            self.keys.push(String::new());
        } else {
            self.lists += 1;
        }
    }

    fn close(&mut self) {
        if let Some(level) = self.stack.pop() {
            if level.is_object {
                self.keys.pop();
            } else {
                self.lists -= 1;
            }
        }
    }
}

type Done = Result<(), SinkError>;

impl Sink for GuardRun<'_> {
    fn begin_object(&mut self, _: At) -> Done {
        self.open(true);
        Ok(())
    }

    #[inline]
    fn key(&mut self, key: &Key) -> Done {
        let guards = self.guards;
        let watched = self.stack.last().is_some_and(|l| l.trie.is_some());
        if !watched && self.lists > 0 && guards.forbidden_keys.is_empty() && guards.forbidden_values.is_empty() {
            self.next = None;
            return Ok(());
        }
        if let Some(name) = self.keys.last_mut() {
            name.clear();
            name.push_str(key.text());
        }
        self.next = self
            .stack
            .last()
            .and_then(|l| l.trie)
            .and_then(|t| guards.trie[t].keys.iter().find(|(k, _)| k == key.text()).map(|(_, next)| *next));
        if !guards.forbidden_keys.is_empty() && guards.forbidden_keys.iter().any(|k| k == key.text()) {
            self.find("forbid_keys", format!("the key `{}` must not be published", key.text()), None, At::default());
        }
        Ok(())
    }

    fn end_object(&mut self) -> Done {
        self.close();
        Ok(())
    }

    fn begin_array(&mut self, _: At) -> Done {
        self.open(false);
        Ok(())
    }

    fn end_array(&mut self) -> Done {
        self.close();
        Ok(())
    }

    fn null(&mut self, at: At) -> Done {
        // NULLs are not compared: several unknown values are not one value.
        let _ = at;
        if self.lists == 0 {
            self.remember(Value::Null);
        }
        self.begins();
        Ok(())
    }

    fn bool(&mut self, value: bool, at: At) -> Done {
        self.scalar(at, || value.to_string(), || Value::Bool(value));
        Ok(())
    }

    fn int(&mut self, value: i64, at: At) -> Done {
        self.scalar(at, || value.to_string(), || Value::from(value));
        Ok(())
    }

    fn float(&mut self, value: f64, at: At) -> Done {
        self.scalar(at, || value.to_string(), || Value::from(value));
        Ok(())
    }

    fn decimal(&mut self, value: i128, scale: u8, at: At) -> Done {
        self.scalar(
            at,
            || crate::shape::value::dec_text(value, scale),
            || Value::from(crate::shape::value::dec_to_f64(value, scale)),
        );
        Ok(())
    }

    fn str(&mut self, value: &str, at: At) -> Done {
        let guards = self.guards;
        if let Some(bad) = guards.forbidden_values.iter().find(|f| value.contains(f.as_str())) {
            self.find(
                "forbid_values",
                format!("the text `{bad}` must not be published"),
                Some(value.chars().take(80).collect()),
                at,
            );
        }
        self.scalar(at, || value.to_owned(), || Value::from(value));
        Ok(())
    }
}
