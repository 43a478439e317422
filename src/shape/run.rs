//! A compiled shape over rows: one pass, events into a sink, no allocation for plain columns.

use super::compile::{Base, CompiledShape, Entry, LetKind, Node, Part, Shape, SortKey, Source};
use super::eval::EvalError;
use super::expr::Expr;
use super::filters::{items, nulls_last};
use super::table::{Fx, Index, Table};
use super::value::{Val, date_text, datetime_text, hash_value, short_date, time_text};
use crate::model::sink::{At, Key, Sink, SinkError};
use crate::model::{Column, Data, Type};
use crate::ports::warehouse::{RowStream, WarehouseError};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::hash::Hasher;
use std::rc::Rc;

/// Why a document could not be made.
#[derive(Debug)]
pub enum RunError {
    /// JSON cannot hold a value, or the spool is full.
    Sink(SinkError),
    /// An expression has no value.
    Eval { message: String, at: At },
    /// Rows stopped coming.
    Warehouse(WarehouseError),
}

impl From<SinkError> for RunError {
    fn from(error: SinkError) -> Self {
        Self::Sink(error)
    }
}

/// Rows of a table, in an order.
#[derive(Debug, Clone)]
pub struct RowSet<'a> {
    pub table: usize,
    rows: Picked<'a>,
}

#[derive(Debug, Clone)]
enum Picked<'a> {
    All(u32),
    Slice(&'a [u32]),
    List(Rc<[u32]>),
}

impl<'a> RowSet<'a> {
    pub fn all(table: usize, len: u64) -> Self {
        Self { table, rows: Picked::All(len as u32) }
    }

    pub fn slice(table: usize, rows: &'a [u32]) -> Self {
        Self { table, rows: Picked::Slice(rows) }
    }

    fn list(table: usize, rows: Vec<u32>) -> Self {
        Self { table, rows: Picked::List(rows.into()) }
    }

    pub fn len(&self) -> usize {
        match &self.rows {
            Picked::All(len) => *len as usize,
            Picked::Slice(rows) => rows.len(),
            Picked::List(rows) => rows.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn row(&self, i: usize) -> u32 {
        match &self.rows {
            Picked::All(_) => i as u32,
            Picked::Slice(rows) => rows[i],
            Picked::List(rows) => rows[i],
        }
    }

    fn truncated(self, limit: usize) -> Self {
        if self.len() <= limit {
            return self;
        }
        let rows = match self.rows {
            Picked::All(_) => Picked::List((0..limit as u32).collect()),
            Picked::Slice(rows) => Picked::Slice(&rows[..limit]),
            Picked::List(rows) => Picked::List(rows[..limit].into()),
        };
        Self { table: self.table, rows }
    }
}

/// A stream that is read once, while its `$each` runs.
pub type Stream = RefCell<Option<Box<dyn RowStream>>>;

/// A query's rows: collected, or read while they come.
pub enum Input {
    Table(Table),
    Stream { stream: Stream, empty: Table, rows: Cell<u64> },
}

impl Input {
    /// Rows that are read while they come.
    pub fn stream(stream: Box<dyn RowStream>) -> Self {
        let empty = Table::empty(stream.fields());
        Input::Stream { stream: RefCell::new(Some(stream)), empty, rows: Cell::new(0) }
    }

    /// How many rows there are (so far, of a stream).
    pub fn rows(&self) -> u64 {
        match self {
            Input::Table(table) => table.len as u64,
            Input::Stream { rows, .. } => rows.get(),
        }
    }
}

/// What expressions can see besides the frame.
#[derive(Clone)]
pub struct Ctx<'a> {
    tables: Vec<&'a Table>,
    inputs: &'a [Input],
    indexes: &'a [Index],
    counts: Option<&'a BTreeMap<String, u64>>,
    doc: Option<&'a BTreeMap<String, Val<'static>>>,
}

impl<'a> Ctx<'a> {
    /// A context for constants alone.
    pub fn nothing() -> Ctx<'a> {
        Ctx { tables: Vec::new(), inputs: &[], indexes: &[], counts: None, doc: None }
    }

    pub fn new(inputs: &'a [Input], indexes: &'a [Index]) -> Ctx<'a> {
        let tables = inputs
            .iter()
            .map(|input| match input {
                Input::Table(table) => table,
                Input::Stream { empty, .. } => empty,
            })
            .collect();
        Ctx { tables, inputs, indexes, counts: None, doc: None }
    }

    /// With what asserts may ask of the finished document.
    pub fn with_document(mut self, counts: &'a BTreeMap<String, u64>, doc: &'a BTreeMap<String, Val<'static>>) -> Self {
        self.counts = Some(counts);
        self.doc = Some(doc);
        self
    }

    pub fn table(&self, table: usize) -> &'a Table {
        self.tables[table]
    }

    pub fn len(&self, table: usize) -> u64 {
        self.inputs[table].rows()
    }

    pub fn doc(&self, name: &str) -> Val<'a> {
        self.doc.and_then(|d| d.get(name)).cloned().unwrap_or(Val::Null)
    }

    pub fn count(&self, path: &str) -> i64 {
        self.counts.and_then(|c| c.get(path)).copied().unwrap_or(0) as i64
    }
}

/// What is bound at a moment.
#[derive(Clone, Default)]
pub struct Frame<'a> {
    pub rows: Vec<(u32, u32)>,
    pub values: Vec<Val<'a>>,
    pub sets: Vec<RowSet<'a>>,
    /// Place and number of elements of each loop.
    pub loops: Vec<(u32, u32)>,
}

/// One key of a fan-out: its rows.
#[derive(Clone, Copy)]
pub struct KeyRows<'a> {
    pub table: usize,
    pub column: usize,
    pub rows: &'a [u32],
}

impl CompiledShape {
    /// Indexes over collected tables, as the shape needs them; built once for all documents.
    pub fn build_indexes(&self, inputs: &[Input]) -> Vec<Index> {
        self.indexes
            .iter()
            .map(|(table, columns)| match &inputs[*table] {
                Input::Table(table) => Index::build(table, columns.clone()),
                Input::Stream { empty, .. } => Index::build(empty, columns.clone()),
            })
            .collect()
    }

    fn frame<'a>(&self, ctx: &Ctx<'a>, key: Option<KeyRows<'a>>) -> Frame<'a> {
        let mut frame = Frame {
            rows: vec![(0, 0); self.slots.rows],
            values: vec![Val::Null; self.slots.values],
            sets: vec![RowSet::all(0, 0); self.slots.sets],
            loops: vec![(0, 0); self.slots.loops],
        };
        if let Some(key) = key {
            // The compiler gave the fan-out's bindings the first slots.
            let table = ctx.table(key.table);
            frame.rows[0] = (key.table as u32, key.rows[0]);
            frame.values[0] =
                Val::cell(&table.columns[key.column], Some(&table.fields[key.column].ty), key.rows[0] as usize);
            frame.sets[0] = RowSet::slice(key.table, key.rows);
        }
        frame
    }

    /// Makes one document.
    pub fn run<S: Sink>(
        &self,
        inputs: &[Input],
        indexes: &[Index],
        key: Option<KeyRows<'_>>,
        sink: &mut S,
    ) -> Result<(), RunError> {
        let ctx = Ctx::new(inputs, indexes);
        let mut frame = self.frame(&ctx, key);
        Runner { sink }.shape(&self.root, &ctx, &mut frame)
    }
}

/// An expression of its own (guards, headers, conditions), evaluated over the inputs.
pub fn evaluate<'a>(expr: &Expr, ctx: &Ctx<'a>) -> Result<Val<'a>, EvalError> {
    expr.eval(ctx, &Frame::default())
}

/// An assert of a fan-out's document: `row`, `key` and `rows` are bound as in its shape.
pub fn evaluate_keyed<'a>(expr: &Expr, ctx: &Ctx<'a>, key: Option<KeyRows<'a>>) -> Result<Val<'a>, EvalError> {
    let mut frame = Frame::default();
    if let Some(key) = key {
        let table = ctx.table(key.table);
        let row = key.rows[0];
        frame.rows.push((key.table as u32, row));
        frame.values.push(Val::cell(&table.columns[key.column], Some(&table.fields[key.column].ty), row as usize));
        frame.sets.push(RowSet::slice(key.table, key.rows));
    }
    expr.eval(ctx, &frame)
}

struct Runner<'s, S> {
    sink: &'s mut S,
}

/// What is done for each element of a source.
type Body<'x, 's, S> = &'x mut dyn for<'b> FnMut(&mut Runner<'s, S>, &Ctx<'b>, &mut Frame<'b>) -> Done;

type Done = Result<(), RunError>;

fn eval<'a>(expr: &Expr, at: At, ctx: &Ctx<'a>, frame: &Frame<'a>) -> Result<Val<'a>, RunError> {
    expr.eval(ctx, frame).map_err(|message| RunError::Eval { message, at })
}

/// What is wrong with a `$merge` of something else.
const NO_OBJECT: &str = "`$merge` takes an object or null";

/// The case of `$switch` that a value has; null has none.
fn case<'c>(value: &Val<'_>, cases: &'c [(String, Shape)]) -> Option<&'c Shape> {
    if value.is_null() {
        return None;
    }
    let text = value.text();
    cases.iter().find(|(name, _)| *name == text).map(|(_, shape)| shape)
}

impl<'s, S: Sink> Runner<'s, S> {
    /// Whether the value is there at all.
    fn present<'a>(&self, shape: &Shape, ctx: &Ctx<'a>, frame: &Frame<'a>) -> Result<bool, RunError> {
        match &shape.when {
            None => Ok(true),
            Some(condition) => Ok(eval(condition, shape.at, ctx, frame)?.truthy()),
        }
    }

    fn shape<'a>(&mut self, shape: &Shape, ctx: &Ctx<'a>, frame: &mut Frame<'a>) -> Done {
        let at = shape.at;
        match &shape.node {
            Node::Value(Expr::Cell { slot, column }) => {
                let (table, row) = frame.rows[*slot];
                let table = ctx.table(table as usize);
                self.cell(&table.columns[*column], Some(&table.fields[*column].ty), row as usize, at)
            }
            Node::Value(expr) => {
                let value = eval(expr, at, ctx, frame)?;
                self.value(&value, at, ctx)
            }
            Node::Text(parts) => self.text(parts, at, ctx, frame),
            Node::Object { lets, entries } => {
                self.lets(lets, at, ctx, frame)?;
                self.sink.begin_object(at)?;
                self.entries(entries, ctx, frame)?;
                Ok(self.sink.end_object()?)
            }
            Node::List { items, limit } => {
                self.sink.begin_array(at)?;
                let mut left = *limit;
                for item in items {
                    if left == 0 {
                        break;
                    }
                    if self.present(item, ctx, frame)? {
                        self.shape(item, ctx, frame)?;
                        left -= 1;
                    }
                }
                Ok(self.sink.end_array()?)
            }
            Node::If(condition, then, otherwise) => {
                let branch = if eval(condition, at, ctx, frame)?.truthy() { then } else { otherwise };
                self.shape(branch, ctx, frame)
            }
            Node::Switch(of, cases, otherwise) => {
                let branch = case(&eval(of, at, ctx, frame)?, cases).unwrap_or(otherwise);
                self.shape(branch, ctx, frame)
            }
            Node::Each { source, body } => {
                self.sink.begin_array(at)?;
                self.each(source, at, ctx, frame, &mut |runner, ctx, frame| {
                    if runner.present(body, ctx, frame)? { runner.shape(body, ctx, frame) } else { Ok(()) }
                })?;
                Ok(self.sink.end_array()?)
            }
            Node::Map { source, key, body } => {
                self.sink.begin_object(at)?;
                self.keyed((source, key, body), at, ctx, frame)?;
                Ok(self.sink.end_object()?)
            }
            Node::First { source, body, otherwise } => {
                let set = match &source.base {
                    Base::Items(_) => None,
                    _ => Some(self.rows(source, at, ctx, frame)?),
                };
                match set {
                    Some(set) if !set.is_empty() => {
                        frame.rows[source.row_slot] = (source.table as u32, set.row(0));
                        self.shape(body, ctx, frame)
                    }
                    _ => self.shape(otherwise, ctx, frame),
                }
            }
        }
    }

    fn entries<'a>(&mut self, entries: &[Entry], ctx: &Ctx<'a>, frame: &mut Frame<'a>) -> Done {
        for entry in entries {
            match entry {
                Entry::Key(key, shape) => {
                    if self.present(shape, ctx, frame)? {
                        self.sink.key(key)?;
                        self.shape(shape, ctx, frame)?;
                    }
                }
                Entry::Fields { slot, fields, at, .. } => {
                    let (table, row) = frame.rows[*slot];
                    let table = ctx.table(table as usize);
                    for (key, column) in fields {
                        self.sink.key(key)?;
                        self.cell(&table.columns[*column], Some(&table.fields[*column].ty), row as usize, *at)?;
                    }
                }
                Entry::Merge(shape) => {
                    if self.present(shape, ctx, frame)? {
                        self.merge(shape, ctx, frame)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The entries of `$map`.
    fn keyed<'a>(
        &mut self,
        (source, key, body): (&Source, &Expr, &Shape),
        at: At,
        ctx: &Ctx<'a>,
        frame: &mut Frame<'a>,
    ) -> Done {
        let mut seen = std::collections::HashSet::new();
        self.each(source, at, ctx, frame, &mut |runner, ctx, frame| {
            if !runner.present(body, ctx, frame)? {
                return Ok(());
            }
            let name = eval(key, at, ctx, frame)?.text().into_owned();
            if seen.contains(&name) {
                return Err(RunError::Eval { message: format!("two elements have the key `{name}`"), at });
            }
            runner.sink.key(&Key::new(&name))?;
            seen.insert(name);
            runner.shape(body, ctx, frame)
        })
    }

    /// The entries of an object, without its braces; null has none.
    fn merge<'a>(&mut self, shape: &Shape, ctx: &Ctx<'a>, frame: &mut Frame<'a>) -> Done {
        let at = shape.at;
        match &shape.node {
            Node::Object { lets, entries } => {
                self.lets(lets, at, ctx, frame)?;
                self.entries(entries, ctx, frame)
            }
            Node::If(condition, then, otherwise) => {
                let branch = if eval(condition, at, ctx, frame)?.truthy() { then } else { otherwise };
                self.merge(branch, ctx, frame)
            }
            Node::Switch(of, cases, otherwise) => {
                let branch = case(&eval(of, at, ctx, frame)?, cases).unwrap_or(otherwise);
                self.merge(branch, ctx, frame)
            }
            Node::First { source, body, otherwise } => {
                let set = self.rows(source, at, ctx, frame)?;
                if set.is_empty() {
                    return self.merge(otherwise, ctx, frame);
                }
                frame.rows[source.row_slot] = (source.table as u32, set.row(0));
                self.merge(body, ctx, frame)
            }
            Node::Map { source, key, body } => self.keyed((source, key, body), at, ctx, frame),
            Node::Value(expr) => {
                let value = eval(expr, at, ctx, frame)?;
                self.spread(&value, at, ctx)
            }
            Node::Text(_) | Node::List { .. } | Node::Each { .. } => {
                Err(RunError::Eval { message: NO_OBJECT.to_owned(), at })
            }
        }
    }

    /// The entries of a value that is an object.
    fn spread<'a>(&mut self, value: &Val<'a>, at: At, ctx: &Ctx<'a>) -> Done {
        match value {
            Val::Null => Ok(()),
            Val::Json(json) => match json.as_object() {
                Some(entries) => entries.iter().try_for_each(|(key, value)| {
                    self.sink.key(&Key::new(key))?;
                    Ok(self.json(value, at)?)
                }),
                None if json.is_null() => Ok(()),
                None => Err(RunError::Eval { message: NO_OBJECT.to_owned(), at }),
            },
            Val::Dict(entries) => entries.iter().try_for_each(|(key, value)| {
                self.sink.key(&Key::new(&key.text()))?;
                self.value(value, at, ctx)
            }),
            _ => Err(RunError::Eval { message: NO_OBJECT.to_owned(), at }),
        }
    }

    fn lets<'a>(&mut self, lets: &[(usize, LetKind)], at: At, ctx: &Ctx<'a>, frame: &mut Frame<'a>) -> Done {
        for (slot, kind) in lets {
            match kind {
                LetKind::Value(expr) => frame.values[*slot] = eval(expr, at, ctx, frame)?,
                LetKind::Rows(source) => frame.sets[*slot] = self.rows(source, at, ctx, frame)?,
            }
        }
        Ok(())
    }

    fn text<'a>(&mut self, parts: &[Part], at: At, ctx: &Ctx<'a>, frame: &Frame<'a>) -> Done {
        let mut text = String::new();
        for part in parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Expr(expr) => {
                    let value = eval(expr, at, ctx, frame)?;
                    if value.is_null() {
                        // As in SQL's CONCAT: a text with a hole is no text.
                        return Ok(self.sink.null(at)?);
                    }
                    text.push_str(&value.text());
                }
            }
        }
        Ok(self.sink.str(&text, at)?)
    }

    /// Runs the body for each element of a source.
    fn each<'a>(
        &mut self,
        source: &Source,
        at: At,
        ctx: &Ctx<'a>,
        frame: &mut Frame<'a>,
        body: Body<'_, 's, S>,
    ) -> Done {
        match &source.base {
            Base::Items(expr) => {
                let value = eval(expr, at, ctx, frame)?;
                let mut found = items(&value).map_err(|message| RunError::Eval { message, at })?;
                found.truncate(source.limit);
                let len = found.len() as u32;
                for (i, item) in found.into_iter().enumerate() {
                    frame.values[source.value_slot] = item;
                    frame.loops[source.loop_slot] = (i as u32, len);
                    body(self, ctx, frame)?;
                }
                Ok(())
            }
            Base::Query(table) if source.is_plain() => match &ctx.inputs[*table] {
                Input::Stream { stream, rows, .. } => self.streamed(source, (stream, rows), ctx, frame, body),
                Input::Table(_) => self.collected(source, at, ctx, frame, body),
            },
            _ => self.collected(source, at, ctx, frame, body),
        }
    }

    fn collected<'a>(
        &mut self,
        source: &Source,
        at: At,
        ctx: &Ctx<'a>,
        frame: &mut Frame<'a>,
        body: Body<'_, 's, S>,
    ) -> Done {
        if !source.group.is_empty() {
            return self.grouped(source, at, ctx, frame, body);
        }
        let set = self.rows(source, at, ctx, frame)?;
        let len = set.len() as u32;
        for i in 0..len {
            frame.rows[source.row_slot] = (source.table as u32, set.row(i as usize));
            frame.loops[source.loop_slot] = (i, len);
            body(self, ctx, frame)?;
        }
        Ok(())
    }

    fn streamed<'a>(
        &mut self,
        source: &Source,
        (stream, rows): (&Stream, &Cell<u64>),
        ctx: &Ctx<'a>,
        frame: &mut Frame<'a>,
        body: Body<'_, 's, S>,
    ) -> Done {
        let table = source.table;
        let Some(mut stream) = stream.borrow_mut().take() else { return Ok(()) };
        while let Some(batch) = stream.next().map_err(RunError::Warehouse)? {
            let batch = Table::from(batch);
            // The batch is a table of its own for the time of its rows: a context that borrows it for so long.
            let mut short: Ctx<'_> = ctx.clone();
            short.tables[table] = &batch;
            let mut inner: Frame<'_> = frame.clone();
            for row in 0..batch.len {
                if rows.get() >= source.limit as u64 {
                    return Ok(());
                }
                inner.rows[source.row_slot] = (table as u32, row as u32);
                inner.loops[source.loop_slot] = (rows.get() as u32, u32::MAX);
                rows.set(rows.get() + 1);
                body(self, &short, &mut inner)?;
            }
        }
        Ok(())
    }

    fn grouped<'a>(
        &mut self,
        source: &Source,
        at: At,
        ctx: &Ctx<'a>,
        frame: &mut Frame<'a>,
        body: Body<'_, 's, S>,
    ) -> Done {
        let set = self.rows(source, at, ctx, frame)?;
        let table = ctx.table(source.table);
        let mut groups: Vec<Vec<u32>> = Vec::new();
        let mut by_hash: std::collections::HashMap<u64, Vec<usize>> = std::collections::HashMap::new();
        for i in 0..set.len() {
            let row = set.row(i);
            let candidates = by_hash.entry(hash_columns(table, &source.group, row)).or_default();
            match candidates.iter().find(|g| same_columns(table, &source.group, groups[**g][0], row)) {
                Some(group) => groups[*group].push(row),
                None => {
                    candidates.push(groups.len());
                    groups.push(vec![row]);
                }
            }
        }
        let mut order: Vec<usize> = (0..groups.len()).collect();
        if !source.sort.is_empty() {
            let mut keys = Vec::with_capacity(groups.len());
            for group in &groups {
                self.bind_group(source, group.clone(), ctx, frame);
                keys.push(sort_keys(&source.sort, at, ctx, frame)?);
            }
            order.sort_by(|a, b| compare_keys(&source.sort, &keys[*a], &keys[*b]));
        }
        order.truncate(source.limit);
        let len = order.len() as u32;
        for (i, group) in order.into_iter().enumerate() {
            self.bind_group(source, std::mem::take(&mut groups[group]), ctx, frame);
            frame.loops[source.loop_slot] = (i as u32, len);
            body(self, ctx, frame)?;
        }
        Ok(())
    }

    fn bind_group<'a>(&self, source: &Source, rows: Vec<u32>, ctx: &Ctx<'a>, frame: &mut Frame<'a>) {
        let table = ctx.table(source.table);
        let first = rows[0];
        let cell = |c: &usize| Val::cell(&table.columns[*c], Some(&table.fields[*c].ty), first as usize);
        frame.rows[source.row_slot] = (source.table as u32, first);
        frame.values[source.value_slot] = match source.group.as_slice() {
            [one] => cell(one),
            several => Val::List(Rc::new(several.iter().map(cell).collect())),
        };
        frame.sets[source.set_slot] = RowSet::list(source.table, rows);
    }

    /// The rows of a source: where, filter, distinct, then (without a group) sort and limit.
    fn rows<'a>(
        &mut self,
        source: &Source,
        at: At,
        ctx: &Ctx<'a>,
        frame: &mut Frame<'a>,
    ) -> Result<RowSet<'a>, RunError> {
        let mut set = match &source.base {
            Base::Query(table) => RowSet::all(*table, ctx.table(*table).len as u64),
            Base::Set(slot) => frame.sets[*slot].clone(),
            Base::Items(_) => return Err(RunError::Eval { message: "a list's items are no rows".into(), at }),
        };
        let table = ctx.table(source.table);
        if !source.wheres.is_empty() {
            let keys = source.wheres.iter().map(|(_, e)| eval(e, at, ctx, frame)).collect::<Result<Vec<_>, _>>()?;
            let matches = |row: usize| {
                source
                    .wheres
                    .iter()
                    .zip(&keys)
                    .all(|((c, _), key)| Val::cell(&table.columns[*c], None, row).same_key(key))
            };
            set = match source.index {
                Some(index) => {
                    let mut hash = Fx::default();
                    for key in &keys {
                        hash_value(key, &mut hash);
                    }
                    RowSet::slice(source.table, ctx.indexes[index].find(hash.finish(), matches))
                }
                None => picked(set, matches),
            };
        }
        if let Some(filter) = &source.filter {
            let mut kept = Vec::new();
            for i in 0..set.len() {
                frame.rows[source.row_slot] = (source.table as u32, set.row(i));
                if eval(filter, at, ctx, frame)?.truthy() {
                    kept.push(set.row(i));
                }
            }
            set = RowSet::list(source.table, kept);
        }
        if !source.distinct.is_empty() {
            let mut seen: std::collections::HashMap<u64, Vec<u32>> = std::collections::HashMap::new();
            set = picked(set, |row| {
                let same = seen.entry(hash_columns(table, &source.distinct, row as u32)).or_default();
                let new = !same.iter().any(|r| same_columns(table, &source.distinct, *r, row as u32));
                if new {
                    same.push(row as u32);
                }
                new
            });
        }
        if !source.group.is_empty() {
            return Ok(set);
        }
        if !source.sort.is_empty() {
            let mut keyed = Vec::with_capacity(set.len());
            for i in 0..set.len() {
                frame.rows[source.row_slot] = (source.table as u32, set.row(i));
                keyed.push((sort_keys(&source.sort, at, ctx, frame)?, set.row(i)));
            }
            keyed.sort_by(|a, b| compare_keys(&source.sort, &a.0, &b.0));
            set = RowSet::list(source.table, keyed.into_iter().map(|(_, row)| row).collect());
        }
        Ok(set.truncated(source.limit))
    }

    fn cell(&mut self, column: &Column, ty: Option<&Type>, row: usize, at: At) -> Done {
        if column.is_null(row) {
            return Ok(self.sink.null(at)?);
        }
        match &column.data {
            Data::Bool(v) => self.sink.bool(v[row], at)?,
            Data::Int64(v) => self.sink.int(v[row], at)?,
            Data::Float64(v) => self.sink.float(v[row], at)?,
            Data::Decimal { scale, values } => self.sink.decimal(values[row], *scale, at)?,
            Data::Str(v) if !matches!(ty, Some(Type::Json | Type::BigNumeric)) => self.sink.str(v.get(row), at)?,
            Data::Date(v) => {
                let mut buffer = [0u8; 10];
                match short_date(v[row], &mut buffer) {
                    Some(text) => self.sink.str(text, at)?,
                    None => self.sink.str(&date_text(v[row]), at)?,
                }
            }
            _ => {
                let value = Val::cell(column, ty, row);
                return self.value(&value, at, &Ctx::nothing());
            }
        }
        Ok(())
    }

    fn value<'a>(&mut self, value: &Val<'a>, at: At, ctx: &Ctx<'a>) -> Done {
        match value {
            Val::Null => self.sink.null(at)?,
            Val::Bool(v) => self.sink.bool(*v, at)?,
            Val::Int(v) => self.sink.int(*v, at)?,
            Val::Float(v) => self.sink.float(*v, at)?,
            Val::Dec(v, scale) => self.sink.decimal(*v, *scale, at)?,
            Val::Str(v) => self.sink.str(v, at)?,
            Val::Date(v) => self.sink.str(&date_text(*v), at)?,
            Val::Time(v) => self.sink.str(&time_text(*v), at)?,
            Val::DateTime(v) => self.sink.str(&datetime_text(*v), at)?,
            Val::Timestamp(v) => self.sink.str(&(datetime_text(*v) + "Z"), at)?,
            Val::Json(v) => self.json(v, at)?,
            Val::Slice { child, ty, start, end } => {
                self.sink.begin_array(at)?;
                for i in *start..*end {
                    self.cell(child, *ty, i as usize, at)?;
                }
                self.sink.end_array()?;
            }
            Val::Struct { columns, fields, row } => {
                self.sink.begin_object(at)?;
                for (i, column) in columns.iter().enumerate() {
                    let field = fields.and_then(|f| f.get(i));
                    self.sink.key(&Key::new(field.map_or("", |f| f.name.as_str())))?;
                    self.cell(column, field.map(|f| &f.ty), *row as usize, at)?;
                }
                self.sink.end_object()?;
            }
            Val::List(items) => {
                self.sink.begin_array(at)?;
                for item in items.iter() {
                    self.value(item, at, ctx)?;
                }
                self.sink.end_array()?;
            }
            Val::Dict(entries) => {
                self.sink.begin_object(at)?;
                for (key, value) in entries.iter() {
                    self.sink.key(&Key::new(&key.text()))?;
                    self.value(value, at, ctx)?;
                }
                self.sink.end_object()?;
            }
            Val::Row { table, row } => {
                let table = ctx.table(*table as usize);
                self.sink.begin_object(at)?;
                for (field, column) in table.fields.iter().zip(&table.columns) {
                    self.sink.key(&Key::new(&field.name))?;
                    self.cell(column, Some(&field.ty), *row as usize, at)?;
                }
                self.sink.end_object()?;
            }
            Val::Rows(rows) => {
                self.sink.begin_array(at)?;
                for i in 0..rows.len() {
                    self.value(&Val::Row { table: rows.table as u32, row: rows.row(i) }, at, ctx)?;
                }
                self.sink.end_array()?;
            }
        }
        Ok(())
    }

    fn json(&mut self, json: &serde_json::Value, at: At) -> Result<(), SinkError> {
        use serde_json::Value as J;
        match json {
            J::Null => self.sink.null(at),
            J::Bool(v) => self.sink.bool(*v, at),
            J::String(v) => self.sink.str(v, at),
            J::Number(n) => match n.as_i64() {
                Some(v) => self.sink.int(v, at),
                None => self.sink.float(n.as_f64().unwrap_or(f64::NAN), at),
            },
            J::Array(items) => {
                self.sink.begin_array(at)?;
                items.iter().try_for_each(|i| self.json(i, at))?;
                self.sink.end_array()
            }
            J::Object(entries) => {
                self.sink.begin_object(at)?;
                for (key, value) in entries {
                    self.sink.key(&Key::new(key))?;
                    self.json(value, at)?;
                }
                self.sink.end_object()
            }
        }
    }
}

fn picked<'a>(set: RowSet<'a>, mut keep: impl FnMut(usize) -> bool) -> RowSet<'a> {
    let rows = (0..set.len()).map(|i| set.row(i)).filter(|r| keep(*r as usize)).collect();
    RowSet::list(set.table, rows)
}

fn sort_keys<'a>(keys: &[SortKey], at: At, ctx: &Ctx<'a>, frame: &Frame<'a>) -> Result<Vec<Val<'a>>, RunError> {
    keys.iter().map(|k| eval(&k.expr, at, ctx, frame)).collect()
}

fn compare_keys(keys: &[SortKey], a: &[Val<'_>], b: &[Val<'_>]) -> std::cmp::Ordering {
    for (key, (x, y)) in keys.iter().zip(a.iter().zip(b)) {
        let order = nulls_last(x, y);
        let order = if key.descending && !x.is_null() && !y.is_null() { order.reverse() } else { order };
        if order.is_ne() {
            return order;
        }
    }
    std::cmp::Ordering::Equal
}

fn hash_columns(table: &Table, columns: &[usize], row: u32) -> u64 {
    let mut hash = Fx::default();
    for column in columns {
        super::table::hash_cell(&table.columns[*column], row as usize, &mut hash);
    }
    hash.finish()
}

fn same_columns(table: &Table, columns: &[usize], a: u32, b: u32) -> bool {
    columns.iter().all(|c| {
        let column = &table.columns[*c];
        Val::cell(column, None, a as usize).same_key(&Val::cell(column, None, b as usize))
    })
}
