//! DuckDB's vectors as columns: one copy, typed by what GoogleSQL calls the column.

use super::raw::{Chunk, LogicalType};
use crate::model::{Column, Data, Field, StrColumn, Type};
use crate::ports::warehouse::{WarehouseError, WarehouseErrorKind as Kind};
use base64::Engine as _;
use libduckdb_sys as ffi;

/// Copies the columns of a chunk.
pub fn columns(chunk: &Chunk, fields: &[Field], types: &[LogicalType]) -> Result<Vec<Column>, WarehouseError> {
    let len = chunk.rows();
    fields
        .iter()
        .zip(types)
        .enumerate()
        .map(|(i, (field, ty))| {
            // SAFETY: the chunk is alive and its column i has the type `ty` and `len` entries.
            unsafe { column(chunk.vector(i), len, ty, &field.ty) }.map_err(|mut error| {
                error.message = format!("column `{}`: {}", field.name, error.message);
                error
            })
        })
        .collect()
}

/// # Safety
/// `vector` is alive, has `len` entries and the type `ty`.
unsafe fn column(
    vector: ffi::duckdb_vector,
    len: usize,
    ty: &LogicalType,
    wanted: &Type,
) -> Result<Column, WarehouseError> {
    let nulls = unsafe { nulls(vector, len) };
    let data = unsafe { data(vector, len, ty, wanted, nulls.as_deref()) }?;
    Ok(Column { data, nulls })
}

/// # Safety
/// As for [`column`].
unsafe fn nulls(vector: ffi::duckdb_vector, len: usize) -> Option<Vec<bool>> {
    let validity = unsafe { ffi::duckdb_vector_get_validity(vector) };
    if validity.is_null() {
        return None;
    }
    let words = unsafe { std::slice::from_raw_parts(validity, len.div_ceil(64)) };
    let full = len / 64;
    let rest = len % 64;
    if words[..full].iter().all(|w| *w == u64::MAX) && (rest == 0 || words[full] & ((1 << rest) - 1) == (1 << rest) - 1)
    {
        return None;
    }
    Some((0..len).map(|i| words[i / 64] >> (i % 64) & 1 == 0).collect())
}

/// # Safety
/// As for [`column`].
unsafe fn data(
    vector: ffi::duckdb_vector,
    len: usize,
    ty: &LogicalType,
    wanted: &Type,
    nulls: Option<&[bool]>,
) -> Result<Data, WarehouseError> {
    let id = ty.id();
    let is_null = |i: usize| nulls.is_some_and(|n| n[i]);
    let values = unsafe { ffi::duckdb_vector_get_data(vector) };
    macro_rules! slice {
        ($t:ty) => {
            // SAFETY: the vector holds `len` entries of this physical type.
            unsafe { std::slice::from_raw_parts(values.cast::<$t>(), len) }
        };
    }
    macro_rules! widened {
        ($t:ty) => {
            slice!($t).iter().map(|v| i64::from(*v)).collect::<Vec<i64>>()
        };
    }
    Ok(match id {
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_BOOLEAN => Data::Bool(slice!(u8).iter().map(|v| *v != 0).collect()),
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_TINYINT => Data::Int64(widened!(i8)),
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_SMALLINT => Data::Int64(widened!(i16)),
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_INTEGER => Data::Int64(widened!(i32)),
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_BIGINT => Data::Int64(slice!(i64).to_vec()),
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_UTINYINT => Data::Int64(widened!(u8)),
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_USMALLINT => Data::Int64(widened!(u16)),
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_UINTEGER => Data::Int64(widened!(u32)),
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_UBIGINT => int64(slice!(u64).iter().map(|v| i128::from(*v)), is_null)?,
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_HUGEINT => {
            let values = slice!(ffi::duckdb_hugeint).iter().map(hugeint);
            if *wanted == Type::Numeric {
                Data::Decimal { scale: 0, values: values.collect() }
            } else {
                int64(values, is_null)?
            }
        }
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_FLOAT => Data::Float64(slice!(f32).iter().map(|v| f64::from(*v)).collect()),
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_DOUBLE => Data::Float64(slice!(f64).to_vec()),
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_DECIMAL => {
            let (_, scale, physical) = ty.decimal();
            let values = match physical {
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_SMALLINT => slice!(i16).iter().map(|v| i128::from(*v)).collect(),
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_INTEGER => slice!(i32).iter().map(|v| i128::from(*v)).collect(),
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_BIGINT => slice!(i64).iter().map(|v| i128::from(*v)).collect(),
                _ => slice!(ffi::duckdb_hugeint).iter().map(hugeint).collect(),
            };
            Data::Decimal { scale, values }
        }
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_VARCHAR => {
            let mut texts = StrColumn::with_capacity(len);
            for (i, value) in slice!(ffi::duckdb_string_t).iter().enumerate() {
                let bytes = if is_null(i) { &[][..] } else { unsafe { string(value) } };
                let text = std::str::from_utf8(bytes)
                    .map_err(|_| WarehouseError::new(Kind::Data, format!("the text of row {i} is no valid UTF-8")))?;
                texts.push(text);
            }
            Data::Str(texts)
        }
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_BLOB => {
            let mut texts = StrColumn::with_capacity(len);
            for (i, value) in slice!(ffi::duckdb_string_t).iter().enumerate() {
                let bytes = if is_null(i) { &[][..] } else { unsafe { string(value) } };
                texts.push(&match wanted {
                    Type::BigNumeric => crate::sql::big::text(&crate::sql::big::decode(bytes)),
                    _ => base64::engine::general_purpose::STANDARD.encode(bytes),
                });
            }
            Data::Str(texts)
        }
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_DATE => Data::Date(slice!(i32).to_vec()),
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIME => Data::Time(slice!(i64).to_vec()),
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP => {
            let values = slice!(i64).to_vec();
            if *wanted == Type::Timestamp { Data::Timestamp(values) } else { Data::DateTime(values) }
        }
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP_S => {
            Data::DateTime(slice!(i64).iter().map(|v| v.saturating_mul(1_000_000)).collect())
        }
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP_MS => {
            Data::DateTime(slice!(i64).iter().map(|v| v.saturating_mul(1_000)).collect())
        }
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP_NS => {
            Data::DateTime(slice!(i64).iter().map(|v| v.div_euclid(1_000)).collect())
        }
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP_TZ => Data::Timestamp(slice!(i64).to_vec()),
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_INTERVAL => {
            let mut texts = StrColumn::with_capacity(len);
            for (i, value) in slice!(ffi::duckdb_interval).iter().enumerate() {
                texts.push(&if is_null(i) { String::new() } else { interval_text(value) });
            }
            Data::Str(texts)
        }
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_LIST => {
            let entries = slice!(ffi::duckdb_list_entry);
            unsafe { list(vector, entries, ty, wanted, &is_null) }?
        }
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_STRUCT => {
            let fields = ty.struct_fields();
            let wanted_fields = match wanted {
                Type::Struct(fields) => fields.as_slice(),
                _ => &[],
            };
            let mut children = Vec::with_capacity(fields.len());
            for (i, (_, child_type)) in fields.iter().enumerate() {
                let wanted = wanted_fields.get(i).map_or(&Type::String, |f| &f.ty);
                // SAFETY: child i has as many entries as its struct.
                children.push(unsafe {
                    column(ffi::duckdb_struct_vector_get_child(vector, i as u64), len, child_type, wanted)
                }?);
            }
            Data::Struct(children)
        }
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_SQLNULL => Data::Null(len),
        other => {
            let name = ty.alias().unwrap_or_else(|| format!("number {other}"));
            return Err(WarehouseError::new(
                Kind::Unsupported,
                format!("the engine's type {name} has no GoogleSQL type"),
            ));
        }
    })
}

/// # Safety
/// `vector` is a list vector whose entries are `entries`.
unsafe fn list(
    vector: ffi::duckdb_vector,
    entries: &[ffi::duckdb_list_entry],
    ty: &LogicalType,
    wanted: &Type,
    is_null: &dyn Fn(usize) -> bool,
) -> Result<Data, WarehouseError> {
    let item = match wanted {
        Type::Array(item) => item.as_ref(),
        _ => &Type::String,
    };
    let (child, size) =
        unsafe { (ffi::duckdb_list_vector_get_child(vector), ffi::duckdb_list_vector_get_size(vector) as usize) };
    let child = unsafe { column(child, size, &ty.list_item(), item) }?;
    // Entries may lie in any order and overlap: they are laid end to end.
    let mut offsets = Vec::with_capacity(entries.len() + 1);
    offsets.push(0u32);
    let mut picks: Vec<u32> = Vec::with_capacity(size);
    for (i, entry) in entries.iter().enumerate() {
        if !is_null(i) {
            picks.extend((entry.offset..entry.offset + entry.length).map(|o| o as u32));
        }
        offsets.push(picks.len() as u32);
    }
    let in_order = picks.len() == size && picks.iter().enumerate().all(|(i, p)| i as u32 == *p);
    let child = if in_order { child } else { child.take(&picks) };
    Ok(Data::List { offsets, child: Box::new(child) })
}

fn int64(values: impl Iterator<Item = i128>, is_null: impl Fn(usize) -> bool) -> Result<Data, WarehouseError> {
    let mut out = Vec::new();
    for (i, value) in values.enumerate() {
        match i64::try_from(value) {
            Ok(v) => out.push(v),
            Err(_) if is_null(i) => out.push(0),
            Err(_) => return Err(WarehouseError::new(Kind::Runtime, format!("INT64 overflow: {value}"))),
        }
    }
    Ok(Data::Int64(out))
}

fn hugeint(value: &ffi::duckdb_hugeint) -> i128 {
    (i128::from(value.upper) << 64) | i128::from(value.lower)
}

/// # Safety
/// `value` lies in a live vector and is not NULL.
pub(super) unsafe fn string(value: &ffi::duckdb_string_t) -> &[u8] {
    // SAFETY: up to 12 bytes lie in the value itself, longer texts behind its pointer.
    unsafe {
        let len = value.value.inlined.length as usize;
        if len <= 12 {
            std::slice::from_raw_parts(value.value.inlined.inlined.as_ptr().cast::<u8>(), len)
        } else {
            std::slice::from_raw_parts(value.value.pointer.ptr.cast::<u8>(), len)
        }
    }
}

/// An INTERVAL in BigQuery's canonical form `[-]Y-M [-]D [-]H:M:S[.F]`.
fn interval_text(value: &ffi::duckdb_interval) -> String {
    let months = value.months;
    let sign = if months < 0 { "-" } else { "" };
    let months = months.unsigned_abs();
    let micros = value.micros.unsigned_abs();
    let clock_sign = if value.micros < 0 { "-" } else { "" };
    let seconds = micros / 1_000_000;
    let mut text = format!(
        "{sign}{}-{} {} {clock_sign}{}:{}:{}",
        months / 12,
        months % 12,
        value.days,
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    if !micros.is_multiple_of(1_000_000) {
        let fraction = format!(".{:06}", micros % 1_000_000);
        text.push_str(fraction.trim_end_matches('0'));
    }
    text
}
