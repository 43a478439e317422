//! One writer at a time for each object, across threads and processes. A killed process lets go of its locks.

use super::tree::Call;
use crate::ports::store::{StoreError, StoreErrorKind};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Objects share this many lock files: few enough to keep open, many enough that writers seldom meet.
const SHARDS: usize = 64;

/// A holder keeps a lock for a few system calls, so whoever waits this long met a stopped process.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Locks {
    folder: PathBuf,
    shards: Vec<Mutex<Option<File>>>,
}

/// Held until dropped.
pub struct Held<'a>(MutexGuard<'a, Option<File>>);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(file) = self.0.as_ref() {
            // A lock that cannot be released must not be kept: closing the file releases it.
            if file.unlock().is_err() {
                *self.0 = None;
            }
        }
    }
}

impl Locks {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, shards: (0..SHARDS).map(|_| Mutex::new(None)).collect() }
    }

    pub fn lock(&self, call: Call<'_>) -> Result<Held<'_>, StoreError> {
        let shard = shard_of(call.path);
        let mut slot = self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if slot.is_none() {
                let path = self.folder.join(format!("{shard:02}"));
                *slot = Some(open_lock(&path).map_err(|e| call.io_at(e, &path))?);
            }
            let Some(file) = slot.as_ref() else { continue };
            wait_for(file, call)?;
            // Somebody may have removed the folder: then others lock another file.
            match rustix::fs::fstat(file) {
                Ok(stat) if stat.st_nlink > 0 => return Ok(Held(slot)),
                _ => *slot = None,
            }
        }
    }
}

/// Opens a lock file, with its folder where that is missing.
pub fn open_lock(path: &Path) -> std::io::Result<File> {
    let open = || File::options().read(true).write(true).create(true).truncate(false).open(path);
    match open() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            open()
        }
        other => other,
    }
}

/// Takes the lock, but not for ever.
pub fn wait_for(file: &File, call: Call<'_>) -> Result<(), StoreError> {
    let started = Instant::now();
    let mut pause = Duration::from_micros(100);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if started.elapsed() < PATIENCE => std::thread::sleep(pause),
            Err(TryLockError::WouldBlock) => {
                return Err(call.error(StoreErrorKind::Transient, "another process holds the object's lock"));
            }
            Err(TryLockError::Error(e)) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(e)) => return Err(call.io(e)),
        }
        pause = (pause * 2).min(Duration::from_millis(5));
    }
}

/// FNV-1a: the same in every build, since other processes must agree.
fn shard_of(path: &str) -> usize {
    let hash = path.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    usize::try_from((hash ^ (hash >> 32)) % SHARDS as u64).unwrap_or(0)
}
