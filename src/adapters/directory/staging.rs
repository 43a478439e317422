//! Where content waits before it is renamed into place: one folder for each running process, on the same file system.
//!
//! The folder is held by a lock while the process lives, so that whoever comes next can tell a killed one's leftovers and
//! remove them.

use super::locks::{open_lock, wait_for};
use super::record::{Identity, size_of};
use super::tree::Call;
use crate::model::hex::hex;
use crate::ports::store::{Body, StoreError};
use rustix::fs::{Stat, fdatasync, fstat};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const LOCK_NAME: &str = "lock";

/// This process's folder.
pub struct Session {
    pub folder: PathBuf,
    lock: File,
    next: AtomicU64,
}

impl Drop for Session {
    fn drop(&mut self) {
        // If somebody removed the folder, another may bear its name by now.
        if fstat(&self.lock).is_ok_and(|stat| stat.st_nlink > 0) {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

impl Session {
    /// Makes the folder below `base`, and removes those of dead processes.
    pub fn begin(base: &Path, call: Call<'_>) -> Result<Self, StoreError> {
        let gate_path = base.join(LOCK_NAME);
        let gate = open_lock(&gate_path).map_err(|e| call.io_at(e, &gate_path))?;
        wait_for(&gate, call)?;
        sweep(base);
        let pid = std::process::id();
        let folder = (0..u64::MAX)
            .map(|n| base.join(format!("{pid}-{n}")))
            .find_map(|folder| match std::fs::create_dir(&folder) {
                Ok(()) => Some(Ok(folder)),
                Err(e) if e.kind() == ErrorKind::AlreadyExists => None,
                Err(e) => Some(Err(call.io_at(e, &folder))),
            })
            .expect("a free number is found long before the end")?;
        let lock = open_lock(&folder.join(LOCK_NAME)).map_err(|e| call.io_at(e, &folder))?;
        wait_for(&lock, call)?;
        Ok(Self { folder, lock, next: AtomicU64::new(0) })
    }

    /// A name that nobody uses.
    pub fn fresh(&self) -> PathBuf {
        self.folder.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }
}

/// Removes the folders whose lock nobody holds. Only tidying: what cannot be removed stays.
fn sweep(base: &Path) {
    let Ok(entries) = std::fs::read_dir(base) else { return };
    for folder in entries.flatten().map(|e| e.path()).filter(|p| p.is_dir()) {
        let dead = match File::options().read(true).write(true).open(folder.join(LOCK_NAME)) {
            Ok(lock) => lock.try_lock().is_ok(),
            Err(e) => e.kind() == ErrorKind::NotFound,
        };
        if dead {
            let _ = std::fs::remove_dir_all(&folder);
        }
    }
}

/// Content on disk, ready to be renamed into place.
pub struct Staged {
    pub path: PathBuf,
    pub size: u64,
    pub sha256: String,
    pub file: Identity,
    /// Its name is still there: it was not moved, or is a second link to a spooled file.
    leftover: bool,
}

impl Staged {
    pub fn moved(&mut self, linked: bool) {
        self.leftover = linked;
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.leftover {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Brings the body to disk: bytes are written, a spooled file gets a second link (or is copied, from elsewhere).
pub fn stage(session: &Session, body: &Body, sha256: Option<&str>) -> std::io::Result<Staged> {
    let path = session.fresh();
    // From here on `staged` removes the file, whatever fails.
    let mut staged = Staged {
        path,
        size: 0,
        sha256: String::new(),
        file: Identity { inode: 0, seconds: 0, nanos: 0 },
        leftover: true,
    };
    let file = match body {
        Body::Bytes(bytes) => {
            let mut file = File::create_new(&staged.path)?;
            file.write_all(bytes)?;
            staged.sha256 = sha256.map_or_else(|| crate::adapters::hex_sha256(bytes), str::to_owned);
            file
        }
        Body::File(spooled) => {
            link_or_copy(spooled.path(), &staged.path)?;
            let mut file = File::open(&staged.path)?;
            staged.sha256 = sha256.map_or_else(|| hash_file(&mut file), |s| Ok(s.to_owned()))?;
            file
        }
    };
    fdatasync(&file)?;
    let stat: Stat = fstat(&file)?;
    staged.size = size_of(&stat);
    staged.file = Identity::of(&stat);
    Ok(staged)
}

/// A second name for the file; a copy where the file system has no such thing or is another one.
pub fn link_or_copy(from: &Path, to: &Path) -> std::io::Result<()> {
    match std::fs::hard_link(from, to) {
        Err(e) if !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists | ErrorKind::StorageFull) => {
            std::fs::copy(from, to).map(|_| ())
        }
        other => other,
    }
}

/// Hex SHA-256 of the rest of a file, in constant memory.
pub fn hash_file(file: &mut File) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hex(&hasher.finalize())),
            Ok(n) => hasher.update(&buffer[..n]),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
