//! A shape's YAML to a [`CompiledShape`], once per export: names become slots, columns become numbers, mistakes become findings.

use super::expr::{Expr, ExprCompiler, Uses};
use super::scope::{Binding, Locals, Scope, Slots};
use super::value::Val;
use crate::config::{Node as Yaml, NodeValue};
use crate::diagnostics::{Diagnostic, Span, Spanned, nearest};
use crate::model::sink::{At, Key};
use std::borrow::Cow;

/// A shape, ready to run.
#[derive(Debug)]
pub struct CompiledShape {
    pub root: Shape,
    pub slots: Slots,
    /// The place of each node.
    pub spans: Vec<Span>,
    /// The indexes that `$where` needs: table, columns.
    pub indexes: Vec<(usize, Vec<usize>)>,
    uses: Uses,
    /// Tables read by exactly the top level of the document, plainly and once: they may be streamed.
    plain: Vec<usize>,
}

/// A node with its place and condition.
#[derive(Debug)]
pub struct Shape {
    pub at: At,
    pub when: Option<Expr>,
    pub node: Node,
}

#[derive(Debug)]
pub enum Node {
    Value(Expr),
    Text(Vec<Part>),
    Object { lets: Vec<(usize, LetKind)>, entries: Vec<Entry> },
    List { items: Vec<Shape>, limit: usize },
    If(Expr, Box<Shape>, Box<Shape>),
    Switch(Expr, Vec<(String, Shape)>, Box<Shape>),
    Each { source: Box<Source>, body: Box<Shape> },
    Map { source: Box<Source>, key: Expr, body: Box<Shape> },
    First { source: Box<Source>, body: Box<Shape>, otherwise: Box<Shape> },
}

#[derive(Debug)]
pub enum Part {
    Text(String),
    Expr(Expr),
}

#[derive(Debug)]
pub enum Entry {
    Key(Key, Shape),
    /// Columns taken as they are.
    Fields {
        slot: usize,
        fields: Vec<(Key, usize)>,
        /// Where each is named.
        places: Vec<Span>,
        at: At,
    },
    Merge(Shape),
}

#[derive(Debug)]
pub enum LetKind {
    Value(Expr),
    Rows(Box<Source>),
}

/// Where elements come from, and which.
#[derive(Debug)]
pub struct Source {
    pub base: Base,
    pub table: usize,
    pub wheres: Vec<(usize, Expr)>,
    pub index: Option<usize>,
    pub filter: Option<Expr>,
    pub distinct: Vec<usize>,
    pub group: Vec<usize>,
    pub sort: Vec<SortKey>,
    pub limit: usize,
    pub row_slot: usize,
    pub value_slot: usize,
    pub set_slot: usize,
    pub loop_slot: usize,
}

impl Source {
    /// Whether the rows are taken one by one as they come.
    pub fn is_plain(&self) -> bool {
        self.wheres.is_empty()
            && self.filter.is_none()
            && self.distinct.is_empty()
            && self.group.is_empty()
            && self.sort.is_empty()
    }
}

#[derive(Debug)]
pub enum Base {
    Query(usize),
    Set(usize),
    /// The items of a list.
    Items(Expr),
}

#[derive(Debug)]
pub struct SortKey {
    pub expr: Expr,
    pub descending: bool,
}

impl CompiledShape {
    /// Whether the query's rows may be read while they come: one plain `$each` at the top reads them, nothing else does.
    pub fn may_stream(&self, table: usize) -> bool {
        self.plain.contains(&table)
            && self.uses.rows.iter().filter(|t| **t == table).count() == 1
            && !self.indexes.iter().any(|(t, _)| *t == table)
    }

    /// Whether the shape reads the query at all.
    pub fn reads(&self, table: usize) -> bool {
        self.uses.rows.contains(&table) || self.uses.lengths.contains(&table)
    }
}

/// Compiles a document's shape. `each` is the fan-out's query and key column.
pub fn compile(shape: &Yaml, scope: &Scope, each: Option<(usize, usize)>) -> (CompiledShape, Vec<Diagnostic>) {
    Compiler::new(scope).document(shape, each)
}

/// Compiles a shape over stand-ins for the facts: nothing is decided from their values.
pub fn compile_plausible(
    shape: &Yaml,
    scope: &Scope,
    each: Option<(usize, usize)>,
) -> (CompiledShape, Vec<Diagnostic>) {
    Compiler { fold: false, ..Compiler::new(scope) }.document(shape, each)
}

/// Compiles an expression of its own: a scalar that begins with `=`.
pub fn compile_expression(node: &Yaml, scope: &Scope) -> (Expr, Vec<Diagnostic>) {
    let mut c = Compiler::new(scope);
    let expr = c.expression(node);
    (expr, c.findings)
}

/// Compiles an assert; in a fan-out `row`, `key` and `rows` are bound as in its shape.
pub fn compile_assert(node: &Yaml, scope: &Scope, each: Option<(usize, usize)>) -> (Expr, Vec<Diagnostic>) {
    let mut c = Compiler::new(scope);
    c.bind_fan_out(each);
    let expr = c.expression(node);
    (expr, c.findings)
}

/// Compiles a condition over one row (the first of a table), which it may call by any of the names.
pub fn compile_row_condition(node: &Yaml, scope: &Scope, table: usize, names: &[&str]) -> (Expr, Vec<Diagnostic>) {
    let mut c = Compiler::new(scope);
    c.slots.rows = 1;
    for name in names {
        c.locals.bind(name, Binding::Row { slot: 0, table });
    }
    let expr = c.expression(node);
    (expr, c.findings)
}

const DIRECTIVES: [&str; 26] = [
    "$let",
    "$when",
    "$fields",
    "$except",
    "$merge",
    "$if",
    "$then",
    "$else",
    "$switch",
    "$cases",
    "$each",
    "$map",
    "$row",
    "$rows",
    "$key",
    "$where",
    "$filter",
    "$distinct",
    "$sort",
    "$group",
    "$limit",
    "$as",
    "$value",
    "$list",
    "$from",
    "$default",
];

/// The table of a source whose elements are the items of a list, and of one that does not exist.
const ITEMS: usize = usize::MAX;
const UNKNOWN: usize = usize::MAX - 1;

/// How deep a shape may nest.
const MAX_DEPTH: usize = 48;

struct Compiler<'s> {
    scope: &'s Scope,
    locals: Locals,
    slots: Slots,
    spans: Vec<Span>,
    indexes: Vec<(usize, Vec<usize>)>,
    uses: Uses,
    plain: Vec<usize>,
    findings: Vec<Diagnostic>,
    /// How many loops are around.
    loops: usize,
    depth: usize,
    /// Whether what has constants alone is evaluated.
    fold: bool,
}

type Entries = [(Spanned<String>, Yaml)];

impl<'s> Compiler<'s> {
    fn new(scope: &'s Scope) -> Self {
        Self {
            scope,
            locals: Locals::default(),
            slots: Slots::default(),
            spans: Vec::new(),
            indexes: Vec::new(),
            uses: Uses::default(),
            plain: Vec::new(),
            findings: Vec::new(),
            loops: 0,
            depth: 0,
            fold: true,
        }
    }

    fn document(mut self, shape: &Yaml, each: Option<(usize, usize)>) -> (CompiledShape, Vec<Diagnostic>) {
        self.bind_fan_out(each);
        let root = self.shape(shape);
        let Compiler { slots, spans, indexes, uses, plain, findings, .. } = self;
        (CompiledShape { root, slots, spans, indexes, uses, plain }, findings)
    }

    fn bind_fan_out(&mut self, each: Option<(usize, usize)>) {
        let Some((table, _)) = each else { return };
        // The run binds a fan-out's key to the first slots (`run::CompiledShape::frame`).
        self.slots = Slots { rows: 1, values: 1, sets: 1, loops: 0 };
        self.locals.bind("row", Binding::Row { slot: 0, table });
        self.locals.bind("key", Binding::Value { slot: 0 });
        self.locals.bind("rows", Binding::Set { slot: 0, table });
        self.uses.rows.push(table);
    }

    fn at(&mut self, span: Span) -> At {
        self.spans.push(span);
        At(self.spans.len() as u32 - 1)
    }

    fn plain_shape(&mut self, span: Span, node: Node) -> Shape {
        Shape { at: self.at(span), when: None, node }
    }

    fn null(&mut self, span: Span) -> Shape {
        self.plain_shape(span, Node::Value(Expr::Const(Val::Null)))
    }

    fn shape(&mut self, yaml: &Yaml) -> Shape {
        self.depth += 1;
        let shape = if self.depth > MAX_DEPTH {
            self.findings.push(Diagnostic::error("too-deep", "the shape nests too deep", yaml.span));
            self.null(yaml.span)
        } else {
            match &yaml.value {
                NodeValue::Map(entries) => self.map(yaml, entries),
                NodeValue::Seq(items) => {
                    let items = items.iter().map(|i| self.shape(i)).collect();
                    self.plain_shape(yaml.span, Node::List { items, limit: usize::MAX })
                }
                _ => {
                    let node = self.scalar(yaml);
                    self.plain_shape(yaml.span, node)
                }
            }
        };
        self.depth -= 1;
        shape
    }

    fn scalar(&mut self, yaml: &Yaml) -> Node {
        let constant = |value| Node::Value(Expr::Const(value));
        match &yaml.value {
            NodeValue::Bool(v) => constant(Val::Bool(*v)),
            NodeValue::Int(v) => constant(Val::Int(*v)),
            NodeValue::Float(v) => constant(Val::Float(*v)),
            NodeValue::Str { text, plain } => {
                if text.starts_with('=') {
                    return Node::Value(self.expression(yaml));
                }
                let literal = text.strip_prefix("\\=").map(|rest| format!("={rest}"));
                let text = literal.as_deref().unwrap_or(text);
                if !text.contains("{{") {
                    return constant(Val::Str(Cow::Owned(text.to_owned())));
                }
                self.text(text, yaml.span, *plain && literal.is_none())
            }
            _ => constant(Val::Null),
        }
    }

    /// An expression: a scalar that begins with `=`.
    fn expression(&mut self, yaml: &Yaml) -> Expr {
        let NodeValue::Str { text, plain } = &yaml.value else {
            return match self.scalar(yaml) {
                Node::Value(expr) => expr,
                _ => Expr::Const(Val::Null),
            };
        };
        let Some(body) = text.strip_prefix('=') else {
            return Expr::Const(Val::Str(Cow::Owned(text.clone())));
        };
        self.compile_text(body, yaml.span, plain.then_some(yaml.span.start + 1))
    }

    fn compile_text(&mut self, text: &str, base: Span, exact: Option<u32>) -> Expr {
        ExprCompiler {
            scope: self.scope,
            locals: &self.locals,
            base,
            exact,
            findings: &mut self.findings,
            uses: &mut self.uses,
            fold: self.fold,
        }
        .compile(text)
    }

    fn text(&mut self, text: &str, span: Span, exact: bool) -> Node {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("{{") {
            if start > 0 {
                parts.push(Part::Text(rest[..start].to_owned()));
            }
            let Some(len) = rest[start..].find("}}") else {
                self.findings.push(
                    Diagnostic::error("expression-syntax", "`{{` is not closed", span).help("write `{{ value }}`"),
                );
                return Node::Value(Expr::Const(Val::Null));
            };
            let body = &rest[start + 2..start + len];
            let offset = body.as_ptr() as usize - text.as_ptr() as usize;
            parts.push(Part::Expr(self.compile_text(body, span, exact.then_some(span.start + offset as u32))));
            rest = &rest[start + len + 2..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Node::Text(parts)
    }

    fn map(&mut self, yaml: &Yaml, entries: &Entries) -> Shape {
        self.check_directives(entries);
        let get = |name: &str| entries.iter().find(|(k, _)| k.value == name).map(|(_, v)| v);
        let at = self.at(yaml.span);
        // A condition looks at what surrounds the node, except beside `$let`, whose names it may use in a plain object.
        let when = get("$when").map(|w| self.expression(w));
        let node = if let Some(source) = get("$each") {
            self.each(source, entries)
        } else if let Some(source) = get("$map") {
            self.keyed(source, entries, yaml.span)
        } else if let Some(source) = get("$row") {
            self.first(source, entries, yaml.span)
        } else if let Some(condition) = get("$if") {
            let condition = self.expression(condition);
            let then = match get("$then") {
                Some(then) => self.shape(then),
                None => self.missing("$then", yaml.span),
            };
            let otherwise = self.shape_or_null(get("$else"), yaml.span);
            Node::If(condition, Box::new(then), Box::new(otherwise))
        } else if let Some(of) = get("$switch") {
            let of = self.expression(of);
            let mut cases = Vec::new();
            match get("$cases").map(|c| &c.value) {
                Some(NodeValue::Map(found)) => {
                    for (name, shape) in found {
                        cases.push((name.value.clone(), self.shape(shape)));
                    }
                }
                _ => drop(self.missing("$cases", yaml.span)),
            }
            let otherwise = self.shape_or_null(get("$else"), yaml.span);
            Node::Switch(of, cases, Box::new(otherwise))
        } else if let Some(list) = get("$list") {
            let limit = self.limit(get("$limit"));
            match &list.value {
                NodeValue::Seq(items) => {
                    let mark = self.locals.mark();
                    let items = items.iter().map(|i| self.shape(i)).collect();
                    self.locals.reset(mark);
                    Node::List { items, limit }
                }
                _ => {
                    self.findings.push(Diagnostic::error("bad-directive", "`$list` has to be a list", list.span));
                    Node::Value(Expr::Const(Val::Null))
                }
            }
        } else if let Some(value) = get("$value") {
            let mark = self.locals.mark();
            let lets = get("$let").map(|l| self.lets(l)).unwrap_or_default();
            let inner = self.shape(value);
            self.locals.reset(mark);
            if lets.is_empty() && inner.when.is_none() {
                inner.node
            } else {
                self.findings.push(
                    Diagnostic::error("bad-directive", "`$let` beside `$value` has no effect", yaml.span)
                        .help("put `$let` into the object that surrounds it"),
                );
                inner.node
            }
        } else {
            return Shape { at, when, node: self.object(entries) };
        };
        Shape { at, when, node }
    }

    fn shape_or_null(&mut self, node: Option<&Yaml>, span: Span) -> Shape {
        match node {
            Some(node) => self.shape(node),
            None => self.null(span),
        }
    }

    fn missing(&mut self, name: &str, span: Span) -> Shape {
        self.findings.push(Diagnostic::error("missing-directive", format!("`{name}` is missing here"), head(span)));
        self.null(span)
    }

    fn check_directives(&mut self, entries: &Entries) {
        for (key, _) in entries {
            if key.value.starts_with('$') && !key.value.starts_with("$$") && !DIRECTIVES.contains(&key.value.as_str()) {
                let found =
                    Diagnostic::error("unknown-directive", format!("there is no directive `{}`", key.value), key.span);
                self.findings.push(match nearest(&key.value, DIRECTIVES) {
                    Some(near) => found.help(format!("did you mean `{near}`?")),
                    None => found.help("a key that is published and begins with `$` is written with `$$`"),
                });
            }
        }
    }

    /// An object of its keys; names of `$let` are in force inside.
    fn object(&mut self, entries: &Entries) -> Node {
        let mark = self.locals.mark();
        let mut lets = Vec::new();
        if let Some((_, node)) = entries.iter().find(|(k, _)| k.value == "$let") {
            lets = self.lets(node);
        }
        let mut made = Vec::new();
        for (key, value) in entries {
            match key.value.as_str() {
                "$fields" => made.extend(self.fields(value, entries)),
                "$merge" => {
                    let shape = self.shape(value);
                    if matches!(shape.node, Node::Text(_) | Node::List { .. } | Node::Each { .. }) {
                        self.findings.push(Diagnostic::error(
                            "bad-directive",
                            "`$merge` takes an object: its keys are spliced in here",
                            value.span,
                        ));
                    }
                    made.push(Entry::Merge(shape));
                }
                name if name.starts_with('$') && !name.starts_with("$$") => {}
                name => {
                    let name = name.strip_prefix('$').unwrap_or(name);
                    let shape = self.shape(value);
                    made.push(Entry::Key(Key::new(name), shape));
                }
            }
        }
        self.locals.reset(mark);
        self.check_keys(entries, &made);
        Node::Object { lets, entries: made }
    }

    /// Two entries of one key would make a document that readers understand in different ways.
    fn check_keys(&mut self, entries: &Entries, made: &[Entry]) {
        let mut seen: Vec<&str> = Vec::new();
        let keys = made.iter().flat_map(entry_keys);
        for key in keys {
            if seen.contains(&key) {
                let span = entries.iter().rev().find(|(k, _)| k.value == key).or(entries.first()).map(|(k, _)| k.span);
                if let Some(span) = span {
                    self.findings.push(Diagnostic::error(
                        "duplicate-key",
                        format!("the key `{key}` is published twice"),
                        span,
                    ));
                }
            }
            seen.push(key);
        }
    }

    fn lets(&mut self, node: &Yaml) -> Vec<(usize, LetKind)> {
        let NodeValue::Map(entries) = &node.value else {
            self.findings.push(Diagnostic::error("bad-directive", "`$let` has to be a map of names", node.span));
            return Vec::new();
        };
        let mut made = Vec::new();
        for (name, value) in entries {
            if let Some(source) = value.get("$rows") {
                let NodeValue::Map(entries) = &value.value else { continue };
                self.check_directives(entries);
                let mark = self.locals.mark();
                let source = self.source(source, entries);
                self.locals.reset(mark);
                let slot = self.slots.sets;
                self.slots.sets += 1;
                self.locals.bind(&name.value, Binding::Set { slot, table: source.table });
                made.push((slot, LetKind::Rows(Box::new(source))));
            } else {
                let expr = self.expression(value);
                let slot = self.slots.values;
                self.slots.values += 1;
                self.locals.bind(&name.value, Binding::Value { slot });
                made.push((slot, LetKind::Value(expr)));
            }
        }
        made
    }

    /// `$fields: "*"`, a list of columns and `{out: column}`s, or a map.
    fn fields(&mut self, node: &Yaml, entries: &Entries) -> Option<Entry> {
        let at = self.at(node.span);
        let Some(Binding::Row { slot, table }) = self.locals.get("row").cloned() else {
            self.findings.push(
                Diagnostic::error("bad-directive", "`$fields` needs a row", node.span)
                    .help("use it inside $each, $map, $row or a fan-out"),
            );
            return None;
        };
        let mut wanted: Vec<(String, String, Span)> = Vec::new();
        match &node.value {
            NodeValue::Str { text, .. } if text == "*" => {
                let except: Vec<&str> = match entries.iter().find(|(k, _)| k.value == "$except").map(|(_, v)| &v.value)
                {
                    Some(NodeValue::Seq(items)) => items.iter().filter_map(Yaml::as_str).collect(),
                    _ => Vec::new(),
                };
                let fields = self.scope.queries.get(table).map_or(&[][..], |(_, fields)| fields);
                for field in fields.iter().filter(|f| !except.contains(&f.name.as_str())) {
                    wanted.push((field.name.clone(), field.name.clone(), node.span));
                }
            }
            NodeValue::Seq(items) => {
                for item in items {
                    match &item.value {
                        NodeValue::Str { text, .. } => wanted.push((text.clone(), text.clone(), item.span)),
                        NodeValue::Map(renamed) => wanted.extend(renames(renamed)),
                        _ => self.findings.push(Diagnostic::error(
                            "bad-directive",
                            "a column's name is expected",
                            item.span,
                        )),
                    }
                }
            }
            NodeValue::Map(renamed) => wanted.extend(renames(renamed)),
            _ => self.findings.push(
                Diagnostic::error("bad-directive", "`$fields` has to be a list of columns", node.span)
                    .help("or \"*\" for all"),
            ),
        }
        let (mut fields, mut places) = (Vec::new(), Vec::new());
        for (out, column, span) in wanted {
            if let Some(column) = self.column(table, &column, span) {
                fields.push((Key::new(&out), column));
                places.push(span);
            }
        }
        Some(Entry::Fields { slot, fields, places, at })
    }

    fn column(&mut self, table: usize, name: &str, span: Span) -> Option<usize> {
        // A source that does not exist was a finding; the items of a list are one below.
        let Some((query, fields)) = self.scope.queries.get(table) else {
            if table == ITEMS {
                self.findings.push(Diagnostic::error("bad-directive", "the items of a list have no columns", span));
            }
            return None;
        };
        let found = fields.iter().position(|f| f.name.eq_ignore_ascii_case(name));
        if found.is_none() {
            let finding =
                Diagnostic::error("unknown-column", format!("the query `{query}` has no column `{name}`"), span);
            self.findings.push(match nearest(name, fields.iter().map(|f| f.name.as_str())) {
                Some(near) => finding.help(format!("did you mean `{near}`?")),
                None => finding.help(format!(
                    "it has {}",
                    fields.iter().map(|f| format!("`{}`", f.name)).collect::<Vec<_>>().join(", ")
                )),
            });
        }
        found
    }

    fn each(&mut self, source: &Yaml, entries: &Entries) -> Node {
        let mark = self.locals.mark();
        let source = self.source(source, entries);
        self.loops += 1;
        let body = self.body(entries);
        self.loops -= 1;
        self.locals.reset(mark);
        Node::Each { source: Box::new(source), body: Box::new(body) }
    }

    fn keyed(&mut self, source: &Yaml, entries: &Entries, span: Span) -> Node {
        let mark = self.locals.mark();
        let source = self.source(source, entries);
        self.loops += 1;
        let key = match entries.iter().find(|(k, _)| k.value == "$key") {
            Some((_, key)) => self.expression(key),
            None => {
                drop(self.missing("$key", span));
                Expr::Const(Val::Null)
            }
        };
        let body = self.body(entries);
        self.loops -= 1;
        self.locals.reset(mark);
        Node::Map { source: Box::new(source), key, body: Box::new(body) }
    }

    fn first(&mut self, source: &Yaml, entries: &Entries, span: Span) -> Node {
        let mark = self.locals.mark();
        let source = self.source(source, entries);
        self.loops += 1;
        let body = self.body(entries);
        self.loops -= 1;
        self.locals.reset(mark);
        let otherwise = entries.iter().find(|(k, _)| k.value == "$else").map(|(_, node)| node);
        let otherwise = self.shape_or_null(otherwise, span);
        Node::First { source: Box::new(source), body: Box::new(body), otherwise: Box::new(otherwise) }
    }

    /// What stands for each element: `$value`, or an object of the other keys.
    fn body(&mut self, entries: &Entries) -> Shape {
        let span =
            entries.first().map_or(Span { file: crate::diagnostics::FileId(0), start: 0, end: 0 }, |(k, _)| k.span);
        match entries.iter().find(|(k, _)| k.value == "$value") {
            Some((_, value)) => self.shape(value),
            None => {
                let node = self.object(entries);
                self.plain_shape(span, node)
            }
        }
    }

    /// A source with its modifiers. `$where` is compiled in the scope outside; then the element's names are bound.
    fn source(&mut self, node: &Yaml, entries: &Entries) -> Source {
        let get = |name: &str| entries.iter().find(|(k, _)| k.value == name).map(|(_, v)| v);
        let (base, table) = self.base(node);
        let mut wheres = Vec::new();
        if let Some(node) = get("$where") {
            match &node.value {
                NodeValue::Map(conditions) => {
                    for (column, value) in conditions {
                        let expr = self.expression(value);
                        if let Some(column) = self.column(table, &column.value, column.span) {
                            wheres.push((column, expr));
                        }
                    }
                }
                _ => self.findings.push(
                    Diagnostic::error("bad-directive", "`$where` has to be a map", node.span)
                        .help("column: =value, for each"),
                ),
            }
        }
        let index = match base {
            Base::Query(_) if !wheres.is_empty() => Some(self.index(table, wheres.iter().map(|(c, _)| *c).collect())),
            _ => None,
        };
        let Slots { rows: row_slot, values: value_slot, sets: set_slot, loops: loop_slot } = self.slots;
        self.slots = Slots { rows: row_slot + 1, values: value_slot + 1, sets: set_slot + 1, loops: loop_slot + 1 };
        let items = matches!(base, Base::Items(_));
        let group = get("$group").map(|g| self.columns(table, g)).unwrap_or_default();
        let bind_row = |c: &mut Self, name: &str| {
            let binding =
                if items { Binding::Value { slot: value_slot } } else { Binding::Row { slot: row_slot, table } };
            c.locals.bind(name, binding);
        };
        bind_row(self, "row");
        if let Some(name) = get("$as").and_then(Yaml::as_str) {
            bind_row(self, name);
        }
        self.locals.bind("loop", Binding::Loop { slot: loop_slot });
        let filter = get("$filter").map(|f| self.expression(f));
        let distinct = get("$distinct").map(|d| self.columns(table, d)).unwrap_or_default();
        if !group.is_empty() {
            self.locals.bind("key", Binding::Value { slot: value_slot });
            self.locals.bind("rows", Binding::Set { slot: set_slot, table });
        }
        let sort = get("$sort").map(|s| self.sort(table, row_slot, s)).unwrap_or_default();
        let limit = self.limit(get("$limit"));
        let source = Source {
            base,
            table,
            wheres,
            index,
            filter,
            distinct,
            group,
            sort,
            limit,
            row_slot,
            value_slot,
            set_slot,
            loop_slot,
        };
        if let Base::Query(table) = source.base {
            self.uses.rows.push(table);
            if self.loops == 0 && source.is_plain() && get("$each").is_some() {
                self.plain.push(table);
            }
        }
        source
    }

    fn base(&mut self, node: &Yaml) -> (Base, usize) {
        let Some(name) = node.as_str() else {
            self.findings.push(Diagnostic::error("bad-directive", "a query's name is expected", node.span));
            return (Base::Items(Expr::Const(Val::Null)), UNKNOWN);
        };
        if name.starts_with('=') {
            return (Base::Items(self.expression(node)), ITEMS);
        }
        if let Some(Binding::Set { slot, table }) = self.locals.get(name) {
            return (Base::Set(*slot), *table);
        }
        if let Some(table) = self.scope.queries.iter().position(|(n, _)| n == name) {
            return (Base::Query(table), table);
        }
        let known: Vec<&str> = self.scope.queries.iter().map(|(n, _)| n.as_str()).chain(self.locals.all()).collect();
        let found = Diagnostic::error("unknown-query", format!("there is no query `{name}`"), node.span);
        self.findings.push(match nearest(name, known.iter().copied()) {
            Some(near) => found.help(format!("did you mean `{near}`?")),
            None => found.help("a query of this export, `rows`, a `$let` of rows, or `=expression` of a list"),
        });
        (Base::Items(Expr::Const(Val::Null)), UNKNOWN)
    }

    fn index(&mut self, table: usize, columns: Vec<usize>) -> usize {
        match self.indexes.iter().position(|(t, c)| *t == table && *c == columns) {
            Some(index) => index,
            None => {
                self.indexes.push((table, columns));
                self.indexes.len() - 1
            }
        }
    }

    fn columns(&mut self, table: usize, node: &Yaml) -> Vec<usize> {
        let nodes = match &node.value {
            NodeValue::Seq(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        nodes.iter().filter_map(|n| self.column(table, n.as_str().unwrap_or_default(), n.span)).collect()
    }

    fn sort(&mut self, table: usize, row_slot: usize, node: &Yaml) -> Vec<SortKey> {
        let nodes = match &node.value {
            NodeValue::Seq(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let mut keys = Vec::new();
        for node in nodes {
            let Some(text) = node.as_str() else {
                self.findings.push(Diagnostic::error(
                    "bad-directive",
                    "a column or an expression is expected",
                    node.span,
                ));
                continue;
            };
            if text.starts_with('=') {
                keys.push(SortKey { expr: self.expression(node), descending: false });
            } else if let Some(column) = self.column(table, text.trim_start_matches('-'), node.span) {
                keys.push(SortKey { expr: Expr::Cell { slot: row_slot, column }, descending: text.starts_with('-') });
            }
        }
        keys
    }

    fn limit(&mut self, node: Option<&Yaml>) -> usize {
        match node.map(|n| (&n.value, n.span)) {
            None => usize::MAX,
            Some((NodeValue::Int(n), _)) if *n >= 0 => *n as usize,
            Some((_, span)) => {
                self.findings.push(Diagnostic::error("bad-directive", "`$limit` has to be a whole number", span));
                usize::MAX
            }
        }
    }
}

fn renames(entries: &Entries) -> Vec<(String, String, Span)> {
    entries
        .iter()
        .map(|(out, column)| (out.value.clone(), column.as_str().unwrap_or_default().to_owned(), column.span))
        .collect()
}

/// The keys that an entry publishes, as far as they are known.
fn entry_keys(entry: &Entry) -> Vec<&str> {
    match entry {
        Entry::Key(key, _) => vec![key.text()],
        Entry::Fields { fields, .. } => fields.iter().map(|(k, _)| k.text()).collect(),
        Entry::Merge(shape) => merged_keys(shape),
    }
}

/// The keys of a merged object; of branches, those of any.
fn merged_keys(shape: &Shape) -> Vec<&str> {
    let branches: Vec<&Shape> = match &shape.node {
        Node::Object { entries, .. } => return entries.iter().flat_map(entry_keys).collect(),
        Node::If(_, then, otherwise) => vec![then, otherwise],
        Node::Switch(_, cases, otherwise) => cases.iter().map(|(_, s)| s).chain([&**otherwise]).collect(),
        Node::First { body, otherwise, .. } => vec![body, otherwise],
        _ => Vec::new(),
    };
    let mut keys: Vec<&str> = branches.into_iter().flat_map(merged_keys).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// The beginning of a span, for findings about what is missing in it.
fn head(span: Span) -> Span {
    Span { end: span.end.min(span.start + 20), ..span }
}
