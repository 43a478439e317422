//! A query's rows, collected in columns, and indexes over them.

use crate::model::{Batch, Column, Data, Field};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

/// All rows of a result.
#[derive(Debug, Clone)]
pub struct Table {
    pub fields: Arc<[Field]>,
    pub columns: Vec<Column>,
    pub len: usize,
}

impl Table {
    /// A table without rows.
    pub fn empty(fields: Arc<[Field]>) -> Self {
        let columns = fields.iter().map(|_| Column { data: Data::Null(0), nulls: None }).collect();
        Self { fields, columns, len: 0 }
    }

    /// Adds a batch's rows behind the others.
    pub fn append(&mut self, batch: Batch) {
        if self.len == 0 {
            self.columns = batch.columns;
        } else {
            for (column, more) in self.columns.iter_mut().zip(batch.columns) {
                append(column, more);
            }
        }
        self.len += batch.len;
    }

    /// The table without some rows.
    pub fn without(&self, rows: &[u32]) -> Self {
        let dropped: std::collections::HashSet<u32> = rows.iter().copied().collect();
        let kept: Vec<u32> = (0..self.len as u32).filter(|row| !dropped.contains(row)).collect();
        let columns = self.columns.iter().map(|column| column.take(&kept)).collect();
        Self { fields: self.fields.clone(), columns, len: kept.len() }
    }

    /// The column's place, compared without case, as SQL does.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|f| f.name.eq_ignore_ascii_case(name))
    }
}

impl From<Batch> for Table {
    fn from(batch: Batch) -> Self {
        Self { fields: batch.fields, columns: batch.columns, len: batch.len }
    }
}

fn append(column: &mut Column, more: Column) {
    let (old, new) = (column.len(), more.len());
    if column.nulls.is_some() || more.nulls.is_some() {
        let nulls = column.nulls.get_or_insert_with(|| vec![false; old]);
        match more.nulls {
            Some(more) => nulls.extend(more),
            None => nulls.extend(std::iter::repeat_n(false, new)),
        }
    }
    match (&mut column.data, more.data) {
        (Data::Bool(a), Data::Bool(b)) => a.extend(b),
        (Data::Int64(a), Data::Int64(b))
        | (Data::Time(a), Data::Time(b))
        | (Data::DateTime(a), Data::DateTime(b))
        | (Data::Timestamp(a), Data::Timestamp(b)) => a.extend(b),
        (Data::Float64(a), Data::Float64(b)) => a.extend(b),
        (Data::Decimal { values: a, .. }, Data::Decimal { values: b, .. }) => a.extend(b),
        (Data::Str(a), Data::Str(b)) => a.append(&b),
        (Data::Date(a), Data::Date(b)) => a.extend(b),
        (Data::List { offsets: a, child }, Data::List { offsets: b, child: more }) => {
            let base = a.last().copied().unwrap_or(0);
            a.extend(b[1..].iter().map(|o| o + base));
            append(child, *more);
        }
        (Data::Struct(a), Data::Struct(b)) => {
            for (column, more) in a.iter_mut().zip(b) {
                append(column, more);
            }
        }
        (Data::Null(a), Data::Null(b)) => *a += b,
        // A stream keeps its types from batch to batch.
        (_, _) => debug_assert!(false, "a column changed its type between two batches"),
    }
}

/// A cheap hash for keys that were hashed already, or are short.
#[derive(Default)]
pub struct Fx(u64);

impl Hasher for Fx {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.write_u64(u64::from_le_bytes(chunk.try_into().expect("a chunk of eight")));
        }
        let mut rest = [0u8; 8];
        rest[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
        self.write_u64(u64::from_le_bytes(rest) ^ ((bytes.len() as u64) << 56));
    }

    fn write_u64(&mut self, value: u64) {
        let mixed = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 29);
    }
}

type FxMap = HashMap<u64, u32, BuildHasherDefault<Fx>>;

/// The rows of a table by the values of some columns; the rows of a key keep their order.
#[derive(Debug)]
pub struct Index {
    pub columns: Vec<usize>,
    /// Hash of a key to its first group; groups of one hash are chained by `next`.
    heads: FxMap,
    next: Vec<u32>,
    starts: Vec<u32>,
    rows: Vec<u32>,
}

const NONE: u32 = u32::MAX;

impl Index {
    /// Reads each row once.
    pub fn build(table: &Table, columns: Vec<usize>) -> Self {
        let mut heads = FxMap::default();
        let mut next = Vec::new();
        let mut first_row: Vec<u32> = Vec::new();
        let mut group_of = Vec::with_capacity(table.len);
        for row in 0..table.len {
            let hash = hash_row(table, &columns, row);
            let mut group = heads.get(&hash).copied().unwrap_or(NONE);
            while group != NONE && !same(table, &columns, first_row[group as usize] as usize, row) {
                group = next[group as usize];
            }
            if group == NONE {
                group = first_row.len() as u32;
                first_row.push(row as u32);
                next.push(heads.insert(hash, group).unwrap_or(NONE));
            }
            group_of.push(group);
        }
        let (starts, rows) = grouped(&group_of, first_row.len());
        Self { columns, heads, next, starts, rows }
    }

    /// The rows whose key has this hash and satisfies `equals`, asked with one row of a group.
    pub fn find(&self, hash: u64, equals: impl Fn(usize) -> bool) -> &[u32] {
        let mut group = self.heads.get(&hash).copied().unwrap_or(NONE);
        while group != NONE {
            let rows = self.group(group as usize);
            if equals(rows[0] as usize) {
                return rows;
            }
            group = self.next[group as usize];
        }
        &[]
    }

    /// Whether a row of another table has its key here; `table` is the indexed one.
    pub fn has(&self, other: &Table, columns: &[usize], row: usize, table: &Table) -> bool {
        use super::value::Val;
        let hash = hash_row(other, columns, row);
        let equals = |mine: usize| {
            self.columns.iter().zip(columns).all(|(a, b)| {
                Val::cell(&table.columns[*a], None, mine).same_key(&Val::cell(&other.columns[*b], None, row))
            })
        };
        !self.find(hash, equals).is_empty()
    }

    /// How many keys there are.
    pub fn groups(&self) -> usize {
        self.starts.len() - 1
    }

    /// The rows of a key; keys are in the order of their first rows.
    pub fn group(&self, group: usize) -> &[u32] {
        &self.rows[self.starts[group] as usize..self.starts[group + 1] as usize]
    }
}

/// Rows by group, end to end.
fn grouped(group_of: &[u32], groups: usize) -> (Vec<u32>, Vec<u32>) {
    let mut starts = vec![0u32; groups + 1];
    for group in group_of {
        starts[*group as usize + 1] += 1;
    }
    for i in 0..groups {
        starts[i + 1] += starts[i];
    }
    let mut fill = starts.clone();
    let mut rows = vec![0u32; group_of.len()];
    for (row, group) in group_of.iter().enumerate() {
        let at = &mut fill[*group as usize];
        rows[*at as usize] = row as u32;
        *at += 1;
    }
    (starts, rows)
}

fn hash_row(table: &Table, columns: &[usize], row: usize) -> u64 {
    let mut hash = Fx::default();
    for column in columns {
        hash_cell(&table.columns[*column], row, &mut hash);
    }
    hash.finish()
}

/// Equal values of one column have equal hashes; numbers of different physical types too (see `value::hash`).
pub fn hash_cell(column: &Column, row: usize, hash: &mut Fx) {
    use super::value::{Val, hash_value};
    hash_value(&Val::cell(column, None, row), hash);
}

fn same(table: &Table, columns: &[usize], a: usize, b: usize) -> bool {
    use super::value::Val;
    columns.iter().all(|c| {
        let column = &table.columns[*c];
        Val::cell(column, None, a).same_key(&Val::cell(column, None, b))
    })
}
