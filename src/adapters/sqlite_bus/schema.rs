//! The database: its tables, its version, and how it is opened.

use super::errors::bus_error;
use crate::ports::bus::{BusError, BusErrorKind};
use rusqlite::{Connection, OpenFlags};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The database's file in the bus's folder.
pub const FILE: &str = "bus.sqlite3";
/// "ph6b": says that this SQLite file is a bus.
const APPLICATION_ID: i64 = 0x7068_3662;
/// The tables' version. A newer one is refused, an older one would be migrated here.
const VERSION: i64 = 1;
/// How long a call waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(10);

/// Times are microseconds since 1970. `waiting` holds what a subscription has not acknowledged: it may be delivered (again)
/// when `due` has come; `leased_until` is 0 unless delivery `attempt` holds it. Message numbers are never used twice.
const TABLES: &str = "
    CREATE TABLE topic(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE message(
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        topic INTEGER NOT NULL REFERENCES topic(id),
        published INTEGER NOT NULL,
        attributes TEXT NOT NULL,
        body BLOB NOT NULL
    );
    CREATE INDEX message_topic ON message(topic);
    CREATE INDEX message_published ON message(published);
    CREATE TABLE subscription(
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        topic INTEGER NOT NULL REFERENCES topic(id),
        lease INTEGER NOT NULL,
        backoff_min INTEGER NOT NULL,
        backoff_max INTEGER NOT NULL,
        max_attempts INTEGER NOT NULL,
        dead_letter_topic TEXT,
        from_earliest INTEGER NOT NULL
    );
    CREATE INDEX subscription_topic ON subscription(topic);
    CREATE TABLE waiting(
        subscription INTEGER NOT NULL REFERENCES subscription(id),
        message INTEGER NOT NULL REFERENCES message(id),
        due INTEGER NOT NULL,
        leased_until INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        PRIMARY KEY(subscription, message)
    ) WITHOUT ROWID;
    CREATE INDEX waiting_due ON waiting(subscription, due, message);
    CREATE INDEX waiting_message ON waiting(message);
";

/// Opens the database of `folder`, and makes both where they are absent.
pub fn open(folder: &Path, bus: &str) -> Result<Opened, BusError> {
    let no_folder = |e: std::io::Error| {
        let reason = format!("the {bus} cannot be opened: its folder is not readable and writable ({e})");
        BusError::new(BusErrorKind::Fatal, reason)
    };
    std::fs::create_dir_all(folder).map_err(no_folder)?;
    // Two processes that switch a new file to WAL at once would find it locked.
    let lock = File::options().create(true).truncate(false).write(true).open(folder.join("opening.lock"));
    let lock = lock.map_err(no_folder)?;
    lock.lock().map_err(no_folder)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(folder.join(FILE), flags).map_err(|e| bus_error(bus, &e))?;
    configure(&connection).map_err(|e| bus_error(bus, &e))?;
    set_up(&connection, bus)?;
    Ok(Opened { connection, file: Identity::of(folder.join(FILE)) })
}

/// An open database.
pub struct Opened {
    pub connection: Connection,
    pub file: Identity,
}

/// Which file a path led to.
pub struct Identity {
    path: PathBuf,
    numbers: Option<(u64, u64)>,
}

impl Identity {
    fn of(path: PathBuf) -> Self {
        let numbers = numbers(&path);
        Self { path, numbers }
    }

    /// Whether the path still leads to the same file.
    pub fn is_in_place(&self) -> bool {
        numbers(&self.path) == self.numbers
    }
}

fn numbers(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()))
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // After a peak the log shrinks again.
    connection.pragma_update(None, "journal_size_limit", 32_000_000)
}

fn number(connection: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, pragma, |row| row.get(0))
}

fn set_up(connection: &Connection, bus: &str) -> Result<(), BusError> {
    let failed = |e: rusqlite::Error| bus_error(bus, &e);
    let foreign = |reason: String| BusError::new(BusErrorKind::Fatal, format!("the {bus} {reason}"));
    let application = number(connection, "application_id").map_err(failed)?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    if application == 0 && tables == 0 {
        return create(connection).map_err(failed);
    }
    if application != APPLICATION_ID {
        return Err(foreign(format!("cannot be opened: its `{FILE}` is a database of another program")));
    }
    let version = number(connection, "user_version").map_err(failed)?;
    if version > VERSION {
        return Err(foreign(format!(
            "was made by a newer phase6: its version is {version}, this phase6 knows {VERSION}"
        )));
    }
    Ok(())
}

/// Message numbers begin at a random one of 16 digits: the ids of a bus that was deleted and begun anew would otherwise
/// look like duplicates of the old ones.
fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE; {TABLES}
         INSERT INTO sqlite_sequence(name, seq)
             VALUES('message', 1000000000000000 + abs(random() % 8000000000000000));
         PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT;"
    ))
}
