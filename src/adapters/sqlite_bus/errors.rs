//! What SQLite says, as the bus's errors.

use crate::ports::bus::{BusError, BusErrorKind};
use rusqlite::ErrorCode;

/// Why an operation did not happen.
#[derive(Debug)]
pub enum Failure {
    /// Refused before anything was written: the rest of the transaction goes on.
    Refused(BusError),
    /// SQLite failed: the transaction is lost.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<BusError> for Failure {
    fn from(error: BusError) -> Self {
        Self::Refused(error)
    }
}

/// SQLite's error in a sentence, with the kind that says whose it is. A full disk is worth another attempt: nothing is
/// broken, and a service that waits goes on as soon as there is room.
pub fn bus_error(bus: &str, error: &rusqlite::Error) -> BusError {
    use BusErrorKind::{Fatal, Transient};
    let (kind, reason) = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (Transient, "is busy: another process holds its lock")
        }
        Some(ErrorCode::DiskFull) => (Transient, "cannot be written: the disk is full"),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            (Fatal, "cannot be written: its folder or files are read-only")
        }
        Some(ErrorCode::CannotOpen) => (Fatal, "cannot be opened: its folder is not readable and writable"),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            (Fatal, "is damaged: restore its files, or move them away to begin an empty one")
        }
        _ => (Fatal, "failed"),
    };
    BusError::new(kind, format!("the {bus} {reason} ({error})"))
}
