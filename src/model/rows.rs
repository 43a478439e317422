//! Rows in columns: what a warehouse streams and what a shape reads.

use super::types::Field;
use std::sync::Arc;

/// Some rows of a result, column by column. All columns have `len` entries.
#[derive(Debug, Clone)]
pub struct Batch {
    pub fields: Arc<[Field]>,
    pub columns: Vec<Column>,
    pub len: usize,
}

/// One column's values; where `nulls` says so the entry of `data` is meaningless.
#[derive(Debug, Clone)]
pub struct Column {
    pub data: Data,
    /// `true` = NULL. `None` = no NULL in this column.
    pub nulls: Option<Vec<bool>>,
}

/// A column's values by physical type.
#[derive(Debug, Clone)]
pub enum Data {
    Bool(Vec<bool>),
    Int64(Vec<i64>),
    Float64(Vec<f64>),
    /// NUMERIC: value = entry / 10^scale.
    Decimal {
        scale: u8,
        values: Vec<i128>,
    },
    /// STRING, JSON text, BIGNUMERIC's decimal text, INTERVAL's and RANGE's canonical text, BYTES as base64.
    Str(StrColumn),
    /// Days since 1970-01-01.
    Date(Vec<i32>),
    /// Microseconds since midnight.
    Time(Vec<i64>),
    /// Microseconds since 1970-01-01 00:00:00, civil.
    DateTime(Vec<i64>),
    /// Microseconds since 1970-01-01 00:00:00 UTC.
    Timestamp(Vec<i64>),
    /// Entry i is `child[offsets[i]..offsets[i + 1]]`.
    List {
        offsets: Vec<u32>,
        child: Box<Column>,
    },
    Struct(Vec<Column>),
    /// Every entry is NULL.
    Null(usize),
}

/// Texts end to end: entry i is `bytes[offsets[i]..offsets[i + 1]]`, valid UTF-8.
#[derive(Debug, Clone)]
pub struct StrColumn {
    offsets: Vec<u32>,
    bytes: String,
}

impl Default for StrColumn {
    fn default() -> Self {
        Self { offsets: vec![0], bytes: String::new() }
    }
}

impl StrColumn {
    pub fn with_capacity(rows: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self { offsets, bytes: String::with_capacity(rows * 8) }
    }

    /// Appends a text. A single column holds at most 4 GiB of text; more is a caller's error (batches are far smaller).
    pub fn push(&mut self, text: &str) {
        self.bytes.push_str(text);
        self.offsets.push(u32::try_from(self.bytes.len()).expect("a column of a batch holds at most 4 GiB of text"));
    }

    #[inline]
    pub fn get(&self, row: usize) -> &str {
        &self.bytes[self.offsets[row] as usize..self.offsets[row + 1] as usize]
    }

    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn append(&mut self, other: &StrColumn) {
        let base = self.bytes.len();
        self.bytes.push_str(&other.bytes);
        assert!(self.bytes.len() <= u32::MAX as usize, "a column holds at most 4 GiB of text");
        self.offsets.extend(other.offsets[1..].iter().map(|o| *o + base as u32));
    }
}

impl Column {
    #[inline]
    pub fn is_null(&self, row: usize) -> bool {
        matches!(self.data, Data::Null(_)) || self.nulls.as_ref().is_some_and(|n| n[row])
    }

    pub fn len(&self) -> usize {
        match &self.data {
            Data::Bool(v) => v.len(),
            Data::Int64(v) | Data::Time(v) | Data::DateTime(v) | Data::Timestamp(v) => v.len(),
            Data::Float64(v) => v.len(),
            Data::Decimal { values, .. } => values.len(),
            Data::Str(v) => v.len(),
            Data::Date(v) => v.len(),
            Data::List { offsets, .. } => offsets.len() - 1,
            Data::Struct(columns) => columns.first().map_or(self.nulls.as_ref().map_or(0, Vec::len), Column::len),
            Data::Null(len) => *len,
        }
    }

    /// The picked rows, in the order of the picks.
    pub fn take(&self, picks: &[u32]) -> Column {
        macro_rules! picked {
            ($v:expr) => {
                picks.iter().map(|p| $v[*p as usize]).collect()
            };
        }
        let data = match &self.data {
            Data::Bool(v) => Data::Bool(picked!(v)),
            Data::Int64(v) => Data::Int64(picked!(v)),
            Data::Float64(v) => Data::Float64(picked!(v)),
            Data::Decimal { scale, values } => Data::Decimal { scale: *scale, values: picked!(values) },
            Data::Str(v) => {
                let mut texts = StrColumn::with_capacity(picks.len());
                for p in picks {
                    texts.push(v.get(*p as usize));
                }
                Data::Str(texts)
            }
            Data::Date(v) => Data::Date(picked!(v)),
            Data::Time(v) => Data::Time(picked!(v)),
            Data::DateTime(v) => Data::DateTime(picked!(v)),
            Data::Timestamp(v) => Data::Timestamp(picked!(v)),
            Data::List { offsets, child } => {
                let mut new_offsets = vec![0u32];
                let mut inner = Vec::new();
                for p in picks {
                    inner.extend(offsets[*p as usize]..offsets[*p as usize + 1]);
                    new_offsets.push(inner.len() as u32);
                }
                Data::List { offsets: new_offsets, child: Box::new(child.take(&inner)) }
            }
            Data::Struct(columns) => Data::Struct(columns.iter().map(|c| c.take(picks)).collect()),
            Data::Null(_) => Data::Null(picks.len()),
        };
        Column { data, nulls: self.nulls.as_ref().map(|n| picked!(n)) }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
