//! Scalar functions of our own inside DuckDB: where GoogleSQL's meaning cannot be had from DuckDB's expressions.
//!
//! To add one: a line in [`super::functions`]. A function sees one row's arguments and answers a value or a sentence
//! why it cannot; the sentence becomes a runtime error of the statement.

use super::raw::{Connection, LogicalType, c_string};
use super::vectors::string;
use crate::ports::warehouse::{WarehouseError, WarehouseErrorKind as Kind};
use libduckdb_sys as ffi;
use std::ffi::{CString, c_void};

/// The physical type of an argument or a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phys {
    Bool,
    I64,
    F64,
    /// DECIMAL(38, 9): an integer of billionths.
    Numeric,
    Str,
    Blob,
    /// Days since 1970-01-01.
    Date,
    /// Microseconds since midnight.
    Time,
    /// Microseconds since 1970-01-01, civil.
    DateTime,
    /// Microseconds since 1970-01-01 UTC.
    Timestamp,
    StrList,
    I64List,
    F64List,
    NumericList,
    BlobList,
}

impl Phys {
    fn is_list(self) -> bool {
        matches!(self, Phys::StrList | Phys::I64List | Phys::F64List | Phys::NumericList | Phys::BlobList)
    }
}

/// An argument's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Arg<'a> {
    Null,
    Bool(bool),
    I64(i64),
    F64(f64),
    Numeric(i128),
    Str(&'a str),
    Blob(&'a [u8]),
    Date(i32),
    Micros(i64),
    StrList(Vec<Option<&'a str>>),
    I64List(Vec<Option<i64>>),
    F64List(Vec<Option<f64>>),
    NumericList(Vec<Option<i128>>),
    BlobList(Vec<Option<&'a [u8]>>),
}

/// A result's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Out {
    Null,
    Bool(bool),
    I64(i64),
    F64(f64),
    Numeric(i128),
    Str(String),
    Blob(Vec<u8>),
    Date(i32),
    Micros(i64),
    StrList(Vec<Option<String>>),
    I64List(Vec<Option<i64>>),
}

/// A scalar function.
pub struct ScalarFunction {
    pub name: &'static str,
    pub params: &'static [Phys],
    pub returns: Phys,
    /// Whether NULL arguments reach `call`; otherwise any NULL argument makes the result NULL.
    pub sees_null: bool,
    pub call: fn(&[Arg<'_>]) -> Result<Out, String>,
}

/// Makes the function known to the connection's database.
///
/// A function `gs_x` gets a twin `gs_try_x` that answers NULL where `gs_x` fails.
pub fn register(connection: &Connection, function: &'static ScalarFunction) -> Result<(), WarehouseError> {
    register_as(connection, function, function.name, run)?;
    match function.name.strip_prefix("gs_") {
        Some(rest) => register_as(connection, function, &format!("gs_try_{rest}"), run_try),
        None => Ok(()),
    }
}

fn register_as(
    connection: &Connection,
    function: &'static ScalarFunction,
    name: &str,
    callback: unsafe extern "C" fn(ffi::duckdb_function_info, ffi::duckdb_data_chunk, ffi::duckdb_vector),
) -> Result<(), WarehouseError> {
    let name = c_string(name)?;
    // SAFETY: the handles live until they are destroyed below; `function` is static.
    let state = unsafe {
        let mut handle = ffi::duckdb_create_scalar_function();
        ffi::duckdb_scalar_function_set_name(handle, name.as_ptr());
        for param in function.params {
            ffi::duckdb_scalar_function_add_parameter(handle, logical(*param).0);
        }
        ffi::duckdb_scalar_function_set_return_type(handle, logical(function.returns).0);
        ffi::duckdb_scalar_function_set_special_handling(handle);
        ffi::duckdb_scalar_function_set_extra_info(
            handle,
            std::ptr::from_ref(function).cast_mut().cast::<c_void>(),
            None,
        );
        ffi::duckdb_scalar_function_set_function(handle, Some(callback));
        let state = ffi::duckdb_register_scalar_function(connection.handle(), handle);
        ffi::duckdb_destroy_scalar_function(&mut handle);
        state
    };
    if state == ffi::DuckDBSuccess {
        Ok(())
    } else {
        Err(WarehouseError::new(Kind::Transient, format!("cannot register the function `{}`", function.name)))
    }
}

fn logical(phys: Phys) -> LogicalType {
    use crate::model::Type;
    LogicalType::of(&match phys {
        Phys::Bool => Type::Bool,
        Phys::I64 => Type::Int64,
        Phys::F64 => Type::Float64,
        Phys::Numeric => Type::Numeric,
        Phys::Str => Type::String,
        Phys::Blob => Type::Bytes,
        Phys::Date => Type::Date,
        Phys::Time => Type::Time,
        Phys::DateTime => Type::DateTime,
        Phys::Timestamp => Type::Timestamp,
        Phys::StrList => Type::Array(Box::new(Type::String)),
        Phys::I64List => Type::Array(Box::new(Type::Int64)),
        Phys::F64List => Type::Array(Box::new(Type::Float64)),
        Phys::NumericList => Type::Array(Box::new(Type::Numeric)),
        Phys::BlobList => Type::Array(Box::new(Type::Bytes)),
    })
}

/// DuckDB's callback: a chunk of arguments, a vector for the results.
unsafe extern "C" fn run(info: ffi::duckdb_function_info, input: ffi::duckdb_data_chunk, output: ffi::duckdb_vector) {
    // SAFETY: as DuckDB calls it.
    unsafe { run_rows(info, input, output, false) }
}

/// As [`run`]; a failure is NULL.
unsafe extern "C" fn run_try(
    info: ffi::duckdb_function_info,
    input: ffi::duckdb_data_chunk,
    output: ffi::duckdb_vector,
) {
    // SAFETY: as DuckDB calls it.
    unsafe { run_rows(info, input, output, true) }
}

unsafe fn run_rows(
    info: ffi::duckdb_function_info,
    input: ffi::duckdb_data_chunk,
    output: ffi::duckdb_vector,
    failure_is_null: bool,
) {
    // SAFETY: extra info is the `&'static ScalarFunction` of `register`; vectors have the registered types.
    unsafe {
        let function = &*ffi::duckdb_scalar_function_get_extra_info(info).cast::<ScalarFunction>();
        let rows = ffi::duckdb_data_chunk_get_size(input) as usize;
        let vectors: Vec<Input> = function
            .params
            .iter()
            .enumerate()
            .map(|(i, phys)| Input::new(ffi::duckdb_data_chunk_get_vector(input, i as u64), *phys))
            .collect();
        let mut writer = Output { vector: output, phys: function.returns };
        let mut args = Vec::with_capacity(vectors.len());
        let lists = vectors.iter().any(|v| v.phys.is_list());
        let mut last: Option<Out> = None;
        for row in 0..rows {
            // A list over a whole partition comes again in each of its rows: it is computed once.
            if lists
                && row > 0
                && vectors.iter().all(|v| v.same(row - 1, row))
                && let Some(out) = last.clone()
                && writer.put(row, out).is_ok()
            {
                continue;
            }
            args.clear();
            args.extend(vectors.iter().map(|v| v.get(row)));
            let out = if !function.sees_null && args.contains(&Arg::Null) {
                Ok(Out::Null)
            } else {
                // A panic must not cross into C++.
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (function.call)(&args)))
                    .unwrap_or_else(|_| Err(format!("internal error in `{}`", function.name)))
            };
            let out = if failure_is_null { out.or(Ok(Out::Null)) } else { out };
            last = if lists { out.clone().ok() } else { None };
            match out.and_then(|out| {
                writer.put(row, out).map_err(|()| format!("internal type error in `{}`", function.name))
            }) {
                Ok(()) => {}
                Err(message) => {
                    let message = CString::new(message.replace('\0', "\\0")).unwrap_or_default();
                    ffi::duckdb_scalar_function_set_error(info, message.as_ptr());
                    return;
                }
            }
        }
    }
}

struct Input {
    data: *mut c_void,
    validity: *mut u64,
    vector: ffi::duckdb_vector,
    phys: Phys,
}

impl Input {
    unsafe fn new(vector: ffi::duckdb_vector, phys: Phys) -> Self {
        // SAFETY: the vector is alive during the callback.
        unsafe {
            Self {
                data: ffi::duckdb_vector_get_data(vector),
                validity: ffi::duckdb_vector_get_validity(vector),
                vector,
                phys,
            }
        }
    }

    /// Whether two rows surely hold the same value; of lists the places are compared.
    unsafe fn same(&self, a: usize, b: usize) -> bool {
        // SAFETY: as for [`Input::get`].
        unsafe {
            if self.phys.is_list() {
                let valid =
                    |row| self.validity.is_null() || ffi::duckdb_validity_row_is_valid(self.validity, row as u64);
                let (x, y) = (self.list(a), self.list(b));
                valid(a) && valid(b) && x.1 == y.1
            } else {
                self.get(a) == self.get(b)
            }
        }
    }

    unsafe fn get<'a>(&self, row: usize) -> Arg<'a> {
        // SAFETY: `row` is below the chunk's size; the data has the type that was registered.
        unsafe {
            if !self.validity.is_null() && !ffi::duckdb_validity_row_is_valid(self.validity, row as u64) {
                return Arg::Null;
            }
            match self.phys {
                Phys::Bool => Arg::Bool(*self.data.cast::<u8>().add(row) != 0),
                Phys::I64 => Arg::I64(*self.data.cast::<i64>().add(row)),
                Phys::F64 => Arg::F64(*self.data.cast::<f64>().add(row)),
                Phys::Numeric => {
                    let v = &*self.data.cast::<ffi::duckdb_hugeint>().add(row);
                    Arg::Numeric((i128::from(v.upper) << 64) | i128::from(v.lower))
                }
                Phys::Str => Arg::Str(self.text(row)),
                Phys::Blob => Arg::Blob(string(&*self.data.cast::<ffi::duckdb_string_t>().add(row))),
                Phys::Date => Arg::Date(*self.data.cast::<i32>().add(row)),
                Phys::Time | Phys::DateTime | Phys::Timestamp => Arg::Micros(*self.data.cast::<i64>().add(row)),
                Phys::StrList => Arg::StrList(self.items(row, Phys::Str, |item| match item {
                    Arg::Str(text) => Some(text),
                    _ => None,
                })),
                Phys::I64List => Arg::I64List(self.items(row, Phys::I64, |item| match item {
                    Arg::I64(v) => Some(v),
                    _ => None,
                })),
                Phys::F64List => Arg::F64List(self.items(row, Phys::F64, |item| match item {
                    Arg::F64(v) => Some(v),
                    _ => None,
                })),
                Phys::NumericList => Arg::NumericList(self.items(row, Phys::Numeric, |item| match item {
                    Arg::Numeric(v) => Some(v),
                    _ => None,
                })),
                Phys::BlobList => Arg::BlobList(self.items(row, Phys::Blob, |item| match item {
                    Arg::Blob(v) => Some(v),
                    _ => None,
                })),
            }
        }
    }

    unsafe fn text<'a>(&self, row: usize) -> &'a str {
        // SAFETY: DuckDB's VARCHAR is UTF-8; checked all the same, because a broken file could say otherwise.
        unsafe {
            std::str::from_utf8(string(&*self.data.cast::<ffi::duckdb_string_t>().add(row))).unwrap_or("\u{fffd}")
        }
    }

    /// The elements of a list; `None` is NULL.
    unsafe fn items<'a, T>(&self, row: usize, phys: Phys, pick: fn(Arg<'a>) -> Option<T>) -> Vec<Option<T>> {
        // SAFETY: as for [`Input::get`].
        unsafe {
            let (child, range) = self.list(row);
            let child = Input::new(child, phys);
            range.map(|i| pick(child.get(i))).collect()
        }
    }

    unsafe fn list(&self, row: usize) -> (ffi::duckdb_vector, std::ops::Range<usize>) {
        // SAFETY: a list vector's entries point into its child.
        unsafe {
            let entry = &*self.data.cast::<ffi::duckdb_list_entry>().add(row);
            let start = entry.offset as usize;
            (ffi::duckdb_list_vector_get_child(self.vector), start..start + entry.length as usize)
        }
    }
}

struct Output {
    vector: ffi::duckdb_vector,
    phys: Phys,
}

impl Output {
    unsafe fn put(&mut self, row: usize, out: Out) -> Result<(), ()> {
        // SAFETY: `row` is below the vector's size and the value's type is checked against the registered one.
        unsafe {
            let data = ffi::duckdb_vector_get_data(self.vector);
            match (self.phys, out) {
                (_, Out::Null) => {
                    ffi::duckdb_vector_ensure_validity_writable(self.vector);
                    ffi::duckdb_validity_set_row_invalid(ffi::duckdb_vector_get_validity(self.vector), row as u64);
                }
                (Phys::Bool, Out::Bool(v)) => *data.cast::<u8>().add(row) = u8::from(v),
                (Phys::I64, Out::I64(v)) => *data.cast::<i64>().add(row) = v,
                (Phys::F64, Out::F64(v)) => *data.cast::<f64>().add(row) = v,
                (Phys::Numeric, Out::Numeric(v)) => {
                    *data.cast::<ffi::duckdb_hugeint>().add(row) =
                        ffi::duckdb_hugeint { lower: v as u64, upper: (v >> 64) as i64 };
                }
                (Phys::Str, Out::Str(v)) => self.bytes(row, v.as_bytes()),
                (Phys::Blob, Out::Blob(v)) => self.bytes(row, &v),
                (Phys::Date, Out::Date(v)) => *data.cast::<i32>().add(row) = v,
                (Phys::Time | Phys::DateTime | Phys::Timestamp, Out::Micros(v)) => *data.cast::<i64>().add(row) = v,
                (Phys::StrList, Out::StrList(items)) => {
                    let items = items.into_iter().map(|v| v.map_or(Out::Null, Out::Str)).collect();
                    self.list(row, items, Phys::Str)?;
                }
                (Phys::I64List, Out::I64List(items)) => {
                    let items = items.into_iter().map(|v| v.map_or(Out::Null, Out::I64)).collect();
                    self.list(row, items, Phys::I64)?;
                }
                _ => return Err(()),
            }
        }
        Ok(())
    }

    unsafe fn bytes(&self, row: usize, bytes: &[u8]) {
        // SAFETY: the bytes are copied into the vector's heap.
        unsafe {
            ffi::duckdb_vector_assign_string_element_len(
                self.vector,
                row as u64,
                bytes.as_ptr().cast::<std::ffi::c_char>(),
                bytes.len() as u64,
            );
        }
    }

    unsafe fn list(&mut self, row: usize, items: Vec<Out>, phys: Phys) -> Result<(), ()> {
        // SAFETY: the child is grown before it is written.
        unsafe {
            let start = ffi::duckdb_list_vector_get_size(self.vector);
            let size = start + items.len() as u64;
            if ffi::duckdb_list_vector_reserve(self.vector, size) != ffi::DuckDBSuccess
                || ffi::duckdb_list_vector_set_size(self.vector, size) != ffi::DuckDBSuccess
            {
                return Err(());
            }
            *ffi::duckdb_vector_get_data(self.vector).cast::<ffi::duckdb_list_entry>().add(row) =
                ffi::duckdb_list_entry { offset: start, length: items.len() as u64 };
            let mut child = Output { vector: ffi::duckdb_list_vector_get_child(self.vector), phys };
            for (i, item) in items.into_iter().enumerate() {
                child.put(start as usize + i, item)?;
            }
        }
        Ok(())
    }
}
