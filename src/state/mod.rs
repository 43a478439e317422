//! What phase6 remembers between runs, as JSON objects in a store of its own (never the public one): runs, releases,
//! quarantine, backfills. Built on the store port alone, so that the laptop and the cloud share it.
//!
//! ```text
//! runs/<export>/<run>.json            one run, from its start to its outcome
//! run-keys/<key>.json                 which run answered a cause (a redelivery finds it)
//! last-runs/<export>.json             how its runs ended last
//! alerts/<name>.json                  whether it fires, and whom it has still to tell
//! releases/<export>/key-<key>.json    what a run published: path, generation, hash, counts
//! releases/<export>/index.json        the releases in order, for history and guards
//! quarantine/<export>/<run>/<path>    a rejected document, and beside it why
//! backfills/<id>/<export>/<date>.json one finished day
//! requests/<run>.json                 what the service was asked for, and how far it came
//! causes/<cause>.json                 which requests answered a cause
//! schedules/<job>.json, slots/<job>/<slot>.json   what became of each slot of a job
//! backups/<trigger>/<date>.json       which events and backup ticks asked for a date
//! decisions/<id>.json                 a gate's verdict; accepted/<trigger>/<cause>.json finds the first
//! dead-letters/<id>.json              a message that cannot be worked; its body in dead-letter-bodies/<id>
//! ```
//!
//! In a bucket a name takes about one write a second (`adapters::gcp::storage`, `pace`). What that means for each record:
//!
//! | record | writes of one name | |
//! |---|---|---|
//! | `releases/<export>/index`, `last-runs/<export>` | one a run of the export, by every copy of the service | changes that come at once are one write (`together`); copies take turns by compare-and-set |
//! | `runs/…`, `requests/…` | two and three in a run's life | a run shorter than that waits with its last record for the rest of the second |
//! | `slots/<job>/<slot>` | three when it fires | so a tick is on its way up to two seconds later |
//! | `causes/<cause>`, `backups/<trigger>/<date>` | one a request of that cause, a trigger of that date | |
//! | `schedules/<job>`, `alerts/<name>` | one a slot, one a change of its state | never more than once a second |
//! | releases, run keys, decisions, accepted causes, dead letters, quarantine, backfills | one | |

pub mod alerts;
pub mod backfill;
pub mod backups;
pub mod dead_letters;
pub mod decisions;
pub mod last_runs;
pub mod quarantine;
pub mod releases;
pub mod requests;
pub mod retention;
pub mod runs;
pub mod schedules;
pub mod service_retention;
mod together;

use crate::ports::chance::jittered;
use crate::ports::store::{Body, Condition, ObjectStore, PutOptions, StoreError, StoreErrorKind, Version};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The format of every record here; a newer one is refused rather than guessed at.
const FORMAT: u32 = 1;

/// Times that a transient failure is met before giving up.
const ATTEMPTS: u32 = 12;

/// Other writers of one record that may come in between: with a write a second of a name, as in a bucket, and several copies of
/// the service, somebody has to wait for many of them.
const CONTENTION: u32 = 60;

/// The state store's records.
#[derive(Clone)]
pub struct State {
    store: Arc<dyn ObjectStore>,
    /// The first pause between attempts; each is twice the one before. Zero in simulations, which have no timer.
    pause: Duration,
    lines: Arc<together::Lines>,
}

/// Why a record could not be read or written.
#[derive(Debug, Clone)]
pub enum StateError {
    Store(StoreError),
    /// It is not what this version writes.
    Broken {
        path: String,
        reason: String,
    },
}

impl StateError {
    /// Trying again later may help.
    pub fn is_transient(&self) -> bool {
        use StoreErrorKind::{Full, PreconditionFailed, Transient};
        matches!(self, Self::Store(e) if matches!(e.kind, Transient | PreconditionFailed | Full))
    }
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => write!(f, "state store: {error}"),
            Self::Broken { path, reason } => {
                write!(
                    f,
                    "state store: record `{path}` cannot be read: {reason} (move it away, or use the phase6 that wrote it)"
                )
            }
        }
    }
}

impl std::error::Error for StateError {}

impl From<StoreError> for StateError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    format: u32,
    record: T,
}

impl State {
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, pause: Duration::from_millis(20), lines: Arc::default() }
    }

    /// Without pauses between attempts, for simulations.
    pub fn without_pauses(mut self) -> Self {
        self.pause = Duration::ZERO;
        self
    }

    /// The store below.
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<Option<(T, Version)>, StateError> {
        let mut attempts = Attempts::new(self.pause);
        let object = loop {
            match self.store.get(path, None).await {
                Ok(object) => break object,
                Err(e) if e.kind == StoreErrorKind::NotFound => return Ok(None),
                Err(e) => attempts.spend(e).await?,
            }
        };
        let broken = |reason: String| StateError::Broken { path: path.to_owned(), reason };
        let value: Envelope<serde_json::Value> =
            serde_json::from_slice(&object.bytes).map_err(|e| broken(e.to_string()))?;
        if value.format != FORMAT {
            return Err(broken(format!("format {} is not known", value.format)));
        }
        let record = serde_json::from_value(value.record).map_err(|e| broken(e.to_string()))?;
        Ok(Some((record, object.info.version())))
    }

    /// Writes whatever is there. For records that one run owns.
    async fn write<T: Serialize>(&self, path: &str, record: &T) -> Result<(), StateError> {
        let mut attempts = Attempts::new(self.pause);
        loop {
            match self.put(path, record, Condition::Any).await {
                Ok(_) => return Ok(()),
                Err(e) => attempts.spend(e).await?,
            }
        }
    }

    /// Changes a record that several write: `change` sees what is there and gives what shall be there, or `None` to leave
    /// it. It may be called again after a lost reply, so applying it twice must be as good as once.
    async fn update<T: Serialize + DeserializeOwned + Send + Sync>(
        &self,
        path: &str,
        mut change: impl FnMut(Option<T>) -> Option<T> + Send,
    ) -> Result<(), StateError> {
        let mut attempts = Attempts::new(self.pause);
        loop {
            let (there, condition) = match self.read::<T>(path).await? {
                Some((record, version)) => (Some(record), Condition::Match(version)),
                None => (None, Condition::Absent),
            };
            let Some(next) = change(there) else { return Ok(()) };
            match self.put(path, &next, condition).await {
                Ok(_) => return Ok(()),
                Err(e) => attempts.spend(e).await?,
            }
        }
    }

    async fn put<T: Serialize>(&self, path: &str, record: &T, condition: Condition) -> Result<Version, StoreError> {
        let envelope = Envelope { format: FORMAT, record };
        let bytes = serde_json::to_vec(&envelope)
            .map_err(|e| StoreError::new(StoreErrorKind::Failed, "put", path, self.store.describe(), e.to_string()))?;
        let options = PutOptions {
            condition,
            content_type: Some("application/json".to_owned()),
            cache_control: Some("no-store".to_owned()),
            ..PutOptions::default()
        };
        Ok(self.store.put(path, &Body::from(bytes), &options).await?.version())
    }

    /// When this returns, every record written before survives a power cut.
    pub async fn flush(&self) -> Result<(), StateError> {
        let mut attempts = Attempts::new(self.pause);
        while let Err(e) = self.store.flush().await {
            attempts.spend(e).await?;
        }
        Ok(())
    }

    async fn forget(&self, path: &str) -> Result<(), StateError> {
        let mut attempts = Attempts::new(self.pause);
        while let Err(e) = self.store.forget(path).await {
            attempts.spend(e).await?;
        }
        Ok(())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StateError> {
        let mut attempts = Attempts::new(self.pause);
        loop {
            match self.store.list(prefix).await {
                Ok(found) => return Ok(found.into_iter().map(|i| i.path).collect()),
                Err(e) => attempts.spend(e).await?,
            }
        }
    }
}

/// Counts failed attempts and pauses between them.
struct Attempts {
    left: u32,
    contention_left: u32,
    pause: Duration,
}

impl Attempts {
    fn new(pause: Duration) -> Self {
        Self { left: ATTEMPTS, contention_left: CONTENTION, pause }
    }

    async fn spend(&mut self, error: StoreError) -> Result<(), StateError> {
        let left = match error.kind {
            StoreErrorKind::Transient => &mut self.left,
            StoreErrorKind::PreconditionFailed => &mut self.contention_left,
            _ => return Err(error.into()),
        };
        *left -= 1;
        if *left == 0 {
            return Err(error.into());
        }
        if self.pause.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(jittered(self.pause)).await;
            self.pause = (self.pause * 2).min(Duration::from_secs(2));
        }
        Ok(())
    }
}

/// A name as one segment of a path: what is not plain is written `~xx`, so that two names never meet.
fn segment(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for (i, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || (byte == b'.' && i > 0) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("~{byte:02x}"));
        }
    }
    match out.len() {
        0 => "~".to_owned(),
        1..=200 => out,
        // Too long for a file's name: its beginning, and enough to tell it from others.
        _ => format!("{}~~{:016x}", &out[..out.floor_char_boundary(180)], fnv(name)),
    }
}

fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

/// The name that `segment` made.
fn name_of(segment: &str) -> String {
    let bytes = segment.as_bytes();
    let (mut out, mut i) = (Vec::with_capacity(bytes.len()), 0);
    while i < bytes.len() {
        let code = segment.get(i + 1..i + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[i], code) {
            (b'~', Some(byte)) => {
                out.push(byte);
                i += 3;
            }
            (byte, _) => {
                out.push(byte);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests;
