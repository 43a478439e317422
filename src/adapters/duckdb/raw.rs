//! DuckDB's C interface behind safe types: each handle is freed once, each error carries DuckDB's kind and text.

use crate::model::{Param, Type, Value};
use crate::ports::cancel::Cancel;
use crate::ports::warehouse::{WarehouseError, WarehouseErrorKind as Kind};
use libduckdb_sys as ffi;
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A C string of a text without NUL.
pub(super) fn c_string(text: &str) -> Result<CString, WarehouseError> {
    CString::new(text).map_err(|_| WarehouseError::new(Kind::Invalid, "the text holds a NUL character"))
}

/// # Safety
/// `text` is null or a NUL-terminated string that outlives the call.
unsafe fn owned_text(text: *const c_char) -> String {
    if text.is_null() { String::new() } else { unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned() }
}

/// An open database; connections keep it alive.
pub struct Database {
    handle: ffi::duckdb_database,
}

// SAFETY: DuckDB's database object may be used from any thread.
unsafe impl Send for Database {}
// SAFETY: as above; connecting is synchronised inside DuckDB.
unsafe impl Sync for Database {}

impl Database {
    /// Opens an in-memory database with the given settings.
    pub fn open(settings: &[(&str, &str)]) -> Result<Arc<Database>, WarehouseError> {
        let mut config = ptr::null_mut();
        let mut handle = ptr::null_mut();
        let mut error = ptr::null_mut();
        let settings = settings
            .iter()
            .map(|(name, value)| Ok((c_string(name)?, c_string(value)?)))
            .collect::<Result<Vec<_>, WarehouseError>>()?;
        // SAFETY: all pointers are valid for the calls; config is destroyed on every path.
        unsafe {
            ffi::duckdb_create_config(&mut config);
            for (name, value) in &settings {
                ffi::duckdb_set_config(config, name.as_ptr(), value.as_ptr());
            }
            let state = ffi::duckdb_open_ext(ptr::null(), &mut handle, config, &mut error);
            ffi::duckdb_destroy_config(&mut config);
            if state != ffi::DuckDBSuccess {
                let text = owned_text(error);
                ffi::duckdb_free(error.cast::<c_void>());
                return Err(WarehouseError::new(Kind::Transient, format!("cannot start the embedded engine: {text}")));
            }
        }
        Ok(Arc::new(Database { handle }))
    }

    pub fn connect(self: &Arc<Self>) -> Result<Connection, WarehouseError> {
        let mut handle = ptr::null_mut();
        // SAFETY: the database is open as long as `self` lives.
        if unsafe { ffi::duckdb_connect(self.handle, &mut handle) } != ffi::DuckDBSuccess {
            return Err(WarehouseError::new(Kind::Transient, "cannot connect to the embedded engine"));
        }
        let interrupt = Arc::new(Interrupt(Mutex::new(Some(Handle(handle)))));
        Ok(Connection { handle, interrupt, _database: self.clone() })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // SAFETY: closed once; no connection is left (each holds an Arc).
        unsafe { ffi::duckdb_close(&mut self.handle) }
    }
}

/// A connection: one statement at a time.
pub struct Connection {
    handle: ffi::duckdb_connection,
    interrupt: Arc<Interrupt>,
    _database: Arc<Database>,
}

// SAFETY: a connection may move between threads; it is used by one at a time.
unsafe impl Send for Connection {}

impl Connection {
    /// Runs statements that return nothing of interest.
    pub fn execute(&self, sql: &str) -> Result<(), WarehouseError> {
        let text = c_string(sql)?;
        // SAFETY: `result` is initialised by the call and destroyed on both paths.
        unsafe {
            let mut result = std::mem::zeroed();
            let state = ffi::duckdb_query(self.handle, text.as_ptr(), &mut result);
            let outcome = if state == ffi::DuckDBSuccess { Ok(()) } else { Err(result_error(&mut result)) };
            ffi::duckdb_destroy_result(&mut result);
            outcome
        }
    }

    pub fn prepare(&self, sql: &str) -> Result<Prepared<'_>, WarehouseError> {
        let text = c_string(sql)?;
        let mut handle = ptr::null_mut();
        // SAFETY: the handle is destroyed by `Prepared` on every path.
        unsafe {
            let state = ffi::duckdb_prepare(self.handle, text.as_ptr(), &mut handle);
            let prepared = Prepared { handle, connection: self };
            if state != ffi::DuckDBSuccess {
                return Err(error_of_text(&owned_text(ffi::duckdb_prepare_error(prepared.handle))));
            }
            Ok(prepared)
        }
    }

    pub(super) fn handle(&self) -> ffi::duckdb_connection {
        self.handle
    }

    /// Ends what the connection is doing, from any thread; it may outlive the connection.
    pub fn interrupt(&self) -> Arc<Interrupt> {
        self.interrupt.clone()
    }
}

/// A connection's bell.
pub struct Interrupt(Mutex<Option<Handle>>);

struct Handle(ffi::duckdb_connection);

// SAFETY: the handle is used for `duckdb_interrupt` alone, which may be called from any thread.
unsafe impl Send for Handle {}

impl Interrupt {
    pub fn ring(&self) {
        if let Some(Handle(handle)) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // SAFETY: the connection is open: its drop takes the handle out first, under the lock.
            unsafe { ffi::duckdb_interrupt(*handle) }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.interrupt.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        // SAFETY: disconnected once.
        unsafe { ffi::duckdb_disconnect(&mut self.handle) }
    }
}

/// A prepared statement.
pub struct Prepared<'c> {
    handle: ffi::duckdb_prepared_statement,
    connection: &'c Connection,
}

impl Prepared<'_> {
    /// Names and DuckDB types of the result's columns.
    pub fn columns(&self) -> Vec<(String, LogicalType)> {
        // SAFETY: indexes are below the count; names are freed after copying.
        unsafe {
            let count = ffi::duckdb_prepared_statement_column_count(self.handle);
            (0..count)
                .map(|i| {
                    let name = ffi::duckdb_prepared_statement_column_name(self.handle, i);
                    let text = owned_text(name);
                    ffi::duckdb_free(name.cast_mut().cast::<c_void>());
                    (text, LogicalType(ffi::duckdb_prepared_statement_column_logical_type(self.handle, i)))
                })
                .collect()
        }
    }

    /// Binds a named parameter; a parameter that the statement does not use is passed over.
    pub fn bind(&self, param: &Param) -> Result<(), WarehouseError> {
        let name = c_string(&param.name)?;
        let mut index = 0;
        // SAFETY: values are destroyed after binding, which copies them.
        unsafe {
            if ffi::duckdb_bind_parameter_index(self.handle, &mut index, name.as_ptr()) != ffi::DuckDBSuccess {
                return Ok(());
            }
            let mut value = duckdb_value(&param.ty, &param.value)?;
            let state = ffi::duckdb_bind_value(self.handle, index, value);
            ffi::duckdb_destroy_value(&mut value);
            if state != ffi::DuckDBSuccess {
                return Err(WarehouseError::new(Kind::Invalid, format!("cannot bind the parameter `@{}`", param.name)));
            }
        }
        Ok(())
    }

    /// Starts the statement; rows are made while they are fetched. It goes in steps, so that a cancellation is heard also
    /// when it came just before the engine began (which forgets earlier interrupts).
    pub fn stream(&self, cancel: &Cancel) -> Result<Rows, WarehouseError> {
        let mut pending = ptr::null_mut();
        // SAFETY: pending and result are destroyed on every path.
        unsafe {
            if ffi::duckdb_pending_prepared_streaming(self.handle, &mut pending) != ffi::DuckDBSuccess {
                let error = error_of_text(&owned_text(ffi::duckdb_pending_error(pending)));
                ffi::duckdb_destroy_pending(&mut pending);
                return Err(error);
            }
            loop {
                if cancel.is_cancelled() {
                    // Again: an interrupt before the engine began was forgotten, and its other threads, for which the
                    // destruction waits, may be busy for hours.
                    self.connection.interrupt.ring();
                    ffi::duckdb_destroy_pending(&mut pending);
                    return Err(cancelled());
                }
                let state = ffi::duckdb_pending_execute_task(pending);
                if state == ffi::duckdb_pending_state_DUCKDB_PENDING_ERROR {
                    let error = error_of_text(&owned_text(ffi::duckdb_pending_error(pending)));
                    ffi::duckdb_destroy_pending(&mut pending);
                    return Err(error);
                }
                if ffi::duckdb_pending_execution_is_finished(state) {
                    break;
                }
                if state == ffi::duckdb_pending_state_DUCKDB_PENDING_NO_TASKS_AVAILABLE {
                    std::thread::sleep(Duration::from_micros(100));
                }
            }
            let mut result = std::mem::zeroed();
            let state = ffi::duckdb_execute_pending(pending, &mut result);
            ffi::duckdb_destroy_pending(&mut pending);
            let mut rows = Rows { result };
            if state == ffi::DuckDBSuccess { Ok(rows) } else { Err(result_error(&mut rows.result)) }
        }
    }
}

impl Drop for Prepared<'_> {
    fn drop(&mut self) {
        // SAFETY: destroyed once.
        unsafe { ffi::duckdb_destroy_prepare(&mut self.handle) }
    }
}

/// What a cancelled statement says.
pub(super) fn cancelled() -> WarehouseError {
    WarehouseError::new(Kind::Cancelled, "it was cancelled")
}

/// A running statement's result.
pub struct Rows {
    result: ffi::duckdb_result,
}

// SAFETY: a result may move between threads; it is used by one at a time.
unsafe impl Send for Rows {}

impl Rows {
    /// Names and DuckDB types of the columns.
    pub fn columns(&mut self) -> Vec<(String, LogicalType)> {
        // SAFETY: indexes are below the count; names belong to the result.
        unsafe {
            let count = ffi::duckdb_column_count(&mut self.result);
            (0..count)
                .map(|i| {
                    (
                        owned_text(ffi::duckdb_column_name(&mut self.result, i)),
                        LogicalType(ffi::duckdb_column_logical_type(&mut self.result, i)),
                    )
                })
                .collect()
        }
    }

    /// The next rows; `None` at the end.
    pub fn fetch(&mut self) -> Result<Option<Chunk>, WarehouseError> {
        // SAFETY: the chunk is destroyed by `Chunk`.
        unsafe {
            let handle = ffi::duckdb_fetch_chunk(self.result);
            if !handle.is_null() {
                return Ok(Some(Chunk(handle)));
            }
            if ffi::duckdb_result_error(&mut self.result).is_null() {
                return Ok(None);
            }
            Err(result_error(&mut self.result))
        }
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        // SAFETY: destroyed once.
        unsafe { ffi::duckdb_destroy_result(&mut self.result) }
    }
}

/// Up to 2,048 rows in vectors.
pub struct Chunk(ffi::duckdb_data_chunk);

impl Chunk {
    pub fn rows(&self) -> usize {
        // SAFETY: the chunk is alive.
        unsafe { ffi::duckdb_data_chunk_get_size(self.0) as usize }
    }

    pub(super) fn vector(&self, column: usize) -> ffi::duckdb_vector {
        // SAFETY: the caller asks for columns that the result has.
        unsafe { ffi::duckdb_data_chunk_get_vector(self.0, column as u64) }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: destroyed once.
        unsafe { ffi::duckdb_destroy_data_chunk(&mut self.0) }
    }
}

/// A DuckDB type.
pub struct LogicalType(pub(super) ffi::duckdb_logical_type);

// SAFETY: a type is plain data behind a pointer.
unsafe impl Send for LogicalType {}

impl LogicalType {
    pub fn id(&self) -> ffi::DUCKDB_TYPE {
        // SAFETY: the handle is alive.
        unsafe { ffi::duckdb_get_type_id(self.0) }
    }

    /// Width, scale and the physical type of a DECIMAL.
    pub fn decimal(&self) -> (u8, u8, ffi::DUCKDB_TYPE) {
        // SAFETY: as above.
        unsafe {
            (
                ffi::duckdb_decimal_width(self.0),
                ffi::duckdb_decimal_scale(self.0),
                ffi::duckdb_decimal_internal_type(self.0),
            )
        }
    }

    pub fn list_item(&self) -> LogicalType {
        // SAFETY: as above.
        LogicalType(unsafe { ffi::duckdb_list_type_child_type(self.0) })
    }

    pub fn struct_fields(&self) -> Vec<(String, LogicalType)> {
        // SAFETY: indexes are below the count; names are freed after copying.
        unsafe {
            (0..ffi::duckdb_struct_type_child_count(self.0))
                .map(|i| {
                    let name = ffi::duckdb_struct_type_child_name(self.0, i);
                    let text = owned_text(name);
                    ffi::duckdb_free(name.cast::<c_void>());
                    (text, LogicalType(ffi::duckdb_struct_type_child_type(self.0, i)))
                })
                .collect()
        }
    }

    pub(super) fn alias(&self) -> Option<String> {
        // SAFETY: the text is freed after copying.
        unsafe {
            let alias = ffi::duckdb_logical_type_get_alias(self.0);
            if alias.is_null() {
                return None;
            }
            let text = owned_text(alias);
            ffi::duckdb_free(alias.cast::<c_void>());
            Some(text)
        }
    }

    pub(super) fn simple(id: ffi::DUCKDB_TYPE) -> LogicalType {
        // SAFETY: makes a new handle.
        LogicalType(unsafe { ffi::duckdb_create_logical_type(id) })
    }

    /// The DuckDB type that a GoogleSQL type is held in.
    pub fn of(ty: &Type) -> LogicalType {
        // SAFETY: makes new handles; children outlive the call that copies them.
        unsafe {
            match ty {
                Type::Bool => Self::simple(ffi::DUCKDB_TYPE_DUCKDB_TYPE_BOOLEAN),
                Type::Int64 => Self::simple(ffi::DUCKDB_TYPE_DUCKDB_TYPE_BIGINT),
                Type::Float64 => Self::simple(ffi::DUCKDB_TYPE_DUCKDB_TYPE_DOUBLE),
                Type::Numeric => LogicalType(ffi::duckdb_create_decimal_type(38, 9)),
                Type::Date => Self::simple(ffi::DUCKDB_TYPE_DUCKDB_TYPE_DATE),
                Type::Time => Self::simple(ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIME),
                Type::DateTime => Self::simple(ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP),
                Type::Timestamp => Self::simple(ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP_TZ),
                Type::Bytes => Self::simple(ffi::DUCKDB_TYPE_DUCKDB_TYPE_BLOB),
                Type::Interval => Self::simple(ffi::DUCKDB_TYPE_DUCKDB_TYPE_INTERVAL),
                Type::Array(item) => LogicalType(ffi::duckdb_create_list_type(Self::of(item).0)),
                Type::Struct(fields) => {
                    let types: Vec<LogicalType> = fields.iter().map(|f| Self::of(&f.ty)).collect();
                    let names: Vec<CString> =
                        fields.iter().map(|f| CString::new(f.name.as_str()).unwrap_or_default()).collect();
                    let mut raw: Vec<_> = types.iter().map(|t| t.0).collect();
                    let mut name_pointers: Vec<_> = names.iter().map(|n| n.as_ptr()).collect();
                    LogicalType(ffi::duckdb_create_struct_type(
                        raw.as_mut_ptr(),
                        name_pointers.as_mut_ptr(),
                        raw.len() as u64,
                    ))
                }
                Type::String | Type::Json | Type::BigNumeric | Type::Geography | Type::Range(_) => {
                    Self::simple(ffi::DUCKDB_TYPE_DUCKDB_TYPE_VARCHAR)
                }
            }
        }
    }
}

impl Drop for LogicalType {
    fn drop(&mut self) {
        // SAFETY: destroyed once.
        unsafe { ffi::duckdb_destroy_logical_type(&mut self.0) }
    }
}

/// A DuckDB value of a parameter. Dates, timestamps and numerics are parsed here, so that a bad text is the caller's error.
///
/// # Safety
/// The caller destroys the value.
unsafe fn duckdb_value(ty: &Type, value: &Value) -> Result<ffi::duckdb_value, WarehouseError> {
    let bad = |text: &str| WarehouseError::new(Kind::Invalid, format!("`{text}` is no {ty}"));
    unsafe {
        Ok(match (ty, value) {
            (_, Value::Null) => ffi::duckdb_create_null_value(),
            (Type::Array(item), Value::Array(values)) => {
                let mut made = Vec::with_capacity(values.len());
                for value in values {
                    made.push(duckdb_value(item, value)?);
                }
                let item = LogicalType::of(item);
                let list = ffi::duckdb_create_list_value(item.0, made.as_mut_ptr(), made.len() as u64);
                for mut value in made {
                    ffi::duckdb_destroy_value(&mut value);
                }
                list
            }
            (_, Value::Bool(v)) => ffi::duckdb_create_bool(*v),
            (_, Value::Int64(v)) => ffi::duckdb_create_int64(*v),
            (_, Value::Float64(v)) => ffi::duckdb_create_double(*v),
            (Type::Date, Value::Text(text)) => {
                let date: jiff::civil::Date = text.parse().map_err(|_| bad(text))?;
                let days = date.since(jiff::civil::date(1970, 1, 1)).map_err(|_| bad(text))?.get_days();
                ffi::duckdb_create_date(ffi::duckdb_date { days })
            }
            (Type::Timestamp, Value::Text(text)) => {
                let at: jiff::Timestamp = text.parse().map_err(|_| bad(text))?;
                ffi::duckdb_create_timestamp_tz(ffi::duckdb_timestamp { micros: at.as_microsecond() })
            }
            (Type::Numeric, Value::Text(text)) => {
                let value = exact_numeric(text).ok_or_else(|| bad(text))?;
                let value = ffi::duckdb_hugeint { lower: value as u64, upper: (value >> 64) as i64 };
                ffi::duckdb_create_decimal(ffi::duckdb_decimal { width: 38, scale: 9, value })
            }
            (_, Value::Text(text)) => {
                ffi::duckdb_create_varchar_length(text.as_ptr().cast::<c_char>(), text.len() as u64)
            }
            (_, Value::Array(_)) => return Err(bad("a list")),
        })
    }
}

/// A parameter's NUMERIC in billionths. A text with more digits than NUMERIC holds is refused: a parameter is not to be rounded.
fn exact_numeric(text: &str) -> Option<i128> {
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    let exact = fraction.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit() || b"-.".contains(&b));
    exact.then(|| crate::sql::values::parse_numeric(text)).flatten()
}

/// # Safety
/// `result` was filled by DuckDB.
unsafe fn result_error(result: &mut ffi::duckdb_result) -> WarehouseError {
    let (text, code) = unsafe { (owned_text(ffi::duckdb_result_error(result)), ffi::duckdb_result_error_type(result)) };
    let kind = match code {
        ffi::duckdb_error_type_DUCKDB_ERROR_OUT_OF_RANGE
        | ffi::duckdb_error_type_DUCKDB_ERROR_CONVERSION
        | ffi::duckdb_error_type_DUCKDB_ERROR_DIVIDE_BY_ZERO
        | ffi::duckdb_error_type_DUCKDB_ERROR_MISMATCH_TYPE
        | ffi::duckdb_error_type_DUCKDB_ERROR_DECIMAL
        | ffi::duckdb_error_type_DUCKDB_ERROR_OBJECT_SIZE
        | ffi::duckdb_error_type_DUCKDB_ERROR_INVALID_INPUT => Kind::Runtime,
        ffi::duckdb_error_type_DUCKDB_ERROR_IO | ffi::duckdb_error_type_DUCKDB_ERROR_PERMISSION => Kind::Data,
        ffi::duckdb_error_type_DUCKDB_ERROR_INTERRUPT => Kind::Cancelled,
        ffi::duckdb_error_type_DUCKDB_ERROR_OUT_OF_MEMORY => Kind::Transient,
        _ => return error_of_text(&text),
    };
    WarehouseError::new(kind, text)
}

/// DuckDB's prepare step gives a text alone, which begins with the kind.
fn error_of_text(text: &str) -> WarehouseError {
    let kind = match text.split_once(':').map(|(kind, _)| kind) {
        Some(
            "Conversion Error"
            | "Out of Range Error"
            | "Invalid Input Error"
            | "Mismatch Type Error"
            | "Divide by Zero Error"
            | "Decimal Error"
            | "Object Size Error",
        ) => Kind::Runtime,
        Some("IO Error" | "Permission Error") => Kind::Data,
        Some("INTERRUPT Error") => Kind::Cancelled,
        Some("Out of Memory Error") => Kind::Transient,
        _ => Kind::Unsupported,
    };
    WarehouseError::new(kind, text)
}
