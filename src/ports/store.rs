//! The object store: named objects with a generation, metadata and compare-and-set writes. The published documents lie
//! in one; runs, releases and schedules lie in another.
//!
//! Every sentence of the contract below is a test in `adapters::conformance`, which each adapter runs. Deliberately not
//! here: what a watermark is and when a document may replace another (`engine::publish`).

use async_trait::async_trait;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Named objects, each a whole document, never a part of one.
///
/// - A path is a list of segments with `/` between them; [`check_path`] says which ones are allowed, and every method
///   refuses the others with [`StoreErrorKind::InvalidPath`] before it touches anything.
/// - Each successful `put` makes a new *generation*, larger than every earlier one of that path, also after a `delete`.
/// - A reader sees the object before a write or after it, never between.
/// - A failed write leaves the object as it was, unless the error is [`StoreErrorKind::Transient`]: then the write may
///   have happened (a lost reply), and only `stat` can tell.
/// - Of several writers with the same precondition at most one succeeds; the others get
///   [`StoreErrorKind::PreconditionFailed`]. This holds between threads, processes and machines.
///
/// An adapter for local files does blocking I/O inside its futures; run several on a multi-threaded runtime.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// What the store is called in messages: ``directory `out` ``.
    fn describe(&self) -> String;

    /// A folder for documents that are spooled while they are made: from here `put` can take the file without copying
    /// it, where the adapter is able to. It exists when this returns, and what is left in it by a killed process goes away.
    fn spool_dir(&self) -> Result<PathBuf, StoreError> {
        Ok(std::env::temp_dir())
    }

    /// How the store is best asked for much.
    fn traffic(&self) -> Traffic {
        Traffic::default()
    }

    /// The live object's description; `None` when there is none. An object that somebody removed without the store is
    /// absent; one that was changed without the store has another generation and no metadata.
    async fn stat(&self, path: &str) -> Result<Option<ObjectInfo>, StoreError>;

    /// The live object, or the given generation of it, as long as that is kept. The bytes always have the hash that the
    /// description names; if they no longer do, that is [`StoreErrorKind::Corrupt`].
    async fn get(&self, path: &str, generation: Option<u64>) -> Result<Object, StoreError>;

    /// Makes `body` the live object, if the condition holds: content, content type, Cache-Control and metadata at once.
    /// The replaced content stays readable by its generation. The body is not consumed: it can be put again, also elsewhere.
    async fn put(&self, path: &str, body: &Body, options: &PutOptions) -> Result<ObjectInfo, StoreError>;

    /// Replaces the metadata of the live object, if it is still at `version`; content and generation stay, the
    /// metageneration grows (so that a writer who saw the old metadata fails its precondition).
    async fn touch(
        &self,
        path: &str,
        version: Version,
        metadata: &BTreeMap<String, String>,
    ) -> Result<ObjectInfo, StoreError>;

    /// The live objects whose paths start with `prefix`, in the order of their paths. An empty prefix lists all.
    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError>;

    /// Removes the live object, if the condition holds. Its content stays readable by its generation. Nothing there is
    /// [`StoreErrorKind::NotFound`].
    async fn delete(&self, path: &str, condition: Condition) -> Result<(), StoreError>;

    /// Removes the object with all that is known of it: every generation's content, its metadata. Its generations may begin
    /// again. Nothing there is fine. For records that nobody names by their generation, never for published documents.
    async fn forget(&self, path: &str) -> Result<(), StoreError>;

    /// The readable generations, newest first; the live one, if there is one, is the first.
    async fn versions(&self, path: &str) -> Result<Vec<ObjectInfo>, StoreError>;

    /// When this returns, every write that succeeded before survives a power cut.
    async fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// How a store is best asked for much: advice, which changes nothing but the speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// Calls at once.
    pub at_once: usize,
    /// From this many objects of one folder on, one `list` costs less than a `stat` of each; `None` where it never does.
    pub list_from: Option<usize>,
}

impl Default for Traffic {
    fn default() -> Self {
        Self { at_once: 8, list_from: None }
    }
}

/// Which state of an object somebody saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Grows with each new content.
    pub generation: u64,
    /// Starts at 1 with each generation, grows with each change of its metadata.
    pub metageneration: u64,
}

/// What must be true for a write to happen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing: the last writer wins. Not for documents that several runs write.
    #[default]
    Any,
    /// There is no live object.
    Absent,
    /// The live object is exactly at this version.
    Match(Version),
}

impl Condition {
    /// Whether the condition holds for what is there.
    pub fn holds(self, current: Option<Version>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => current.is_none(),
            Self::Match(version) => current == Some(version),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("no condition"),
            Self::Absent => f.write_str("no object there"),
            Self::Match(v) => write!(f, "generation {}.{}", v.generation, v.metageneration),
        }
    }
}

/// What a `put` writes besides the body.
#[derive(Debug, Clone, Default)]
pub struct PutOptions {
    pub condition: Condition,
    pub content_type: Option<String>,
    pub cache_control: Option<String>,
    pub metadata: BTreeMap<String, String>,
    /// Hex SHA-256 of the body where the caller knows it; the store computes it otherwise.
    pub sha256: Option<String>,
    /// Whether the content may lie compressed, where the store can say so to whoever reads it. Size, hash and `get` always
    /// speak of the plain content.
    pub gzip: bool,
}

/// What a store knows of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    pub path: String,
    pub generation: u64,
    pub metageneration: u64,
    pub size: u64,
    /// Hex SHA-256 of the content; `None` when the store cannot know it without reading (written by others).
    pub sha256: Option<String>,
    pub content_type: Option<String>,
    pub cache_control: Option<String>,
    pub metadata: BTreeMap<String, String>,
}

impl ObjectInfo {
    /// The version to name in a [`Condition::Match`].
    pub fn version(&self) -> Version {
        Version { generation: self.generation, metageneration: self.metageneration }
    }
}

/// An object with its content.
#[derive(Debug, Clone)]
pub struct Object {
    pub info: ObjectInfo,
    pub bytes: Vec<u8>,
}

/// Content to be written. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Body {
    Bytes(Arc<Vec<u8>>),
    /// A finished file, best in the store's `spool_dir`; nobody writes to it any more.
    File(Arc<SpoolFile>),
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(Arc::new(bytes))
    }
}

impl Body {
    /// The whole content in memory.
    pub fn read(&self) -> std::io::Result<Arc<Vec<u8>>> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.clone()),
            Self::File(file) => std::fs::read(file.path()).map(Arc::new),
        }
    }
}

/// A file with a document in the making; it is removed when the last owner lets go.
#[derive(Debug)]
pub struct SpoolFile {
    path: PathBuf,
}

impl SpoolFile {
    /// Makes a new file in `dir` (the store's `spool_dir`), readable as a published document must be.
    pub fn create(dir: &Path) -> std::io::Result<(Self, std::fs::File)> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let name = format!("spool-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let path = dir.join(name);
            match std::fs::File::options().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => return Ok((Self { path }, file)),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What went wrong, by meaning: retries look at this and never at text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// No such object or generation.
    NotFound,
    /// Somebody else wrote in between, or the object is (not) there; look again and decide anew.
    PreconditionFailed,
    /// The store did not answer or was busy; the write may have happened. Worth trying again.
    Transient,
    /// Not allowed, read-only, or a symbolic link in the way (the operator's).
    Denied,
    /// No space or quota left (the operator's).
    Full,
    /// The path breaks the rules (the caller's).
    InvalidPath,
    /// What lies there is not what was written (disk, or somebody's hands).
    Corrupt,
    /// Anything else the operating system said; trying again does not help.
    Failed,
}

/// What was tried on what, why it failed, and what to do next.
#[derive(Debug, Clone)]
pub struct StoreError {
    pub kind: StoreErrorKind,
    /// `put`, `stat` ...
    pub operation: &'static str,
    pub path: String,
    /// The store's own description.
    pub store: String,
    pub reason: String,
    pub help: Option<String>,
}

impl StoreError {
    pub fn new(
        kind: StoreErrorKind,
        operation: &'static str,
        path: impl Into<String>,
        store: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        let help = match kind {
            StoreErrorKind::Full => Some("free space or raise the quota, then run again; the object is as it was"),
            StoreErrorKind::Denied => Some("see who owns the store and whether it may be written, then run again"),
            StoreErrorKind::Transient => Some("try again"),
            StoreErrorKind::Corrupt => Some("publish the document again, or restore a kept generation"),
            _ => None,
        };
        Self {
            kind,
            operation,
            path: path.into(),
            store: store.into(),
            reason: reason.into(),
            help: help.map(str::to_owned),
        }
    }

    /// The same with another hint.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// What an operating system's error means here.
    pub fn from_io(error: &std::io::Error, operation: &'static str, path: &str, store: &str) -> Self {
        use std::io::ErrorKind as E;
        let kind = match error.kind() {
            E::NotFound => StoreErrorKind::NotFound,
            E::PermissionDenied | E::ReadOnlyFilesystem => StoreErrorKind::Denied,
            E::StorageFull | E::QuotaExceeded | E::FileTooLarge => StoreErrorKind::Full,
            E::Interrupted | E::TimedOut | E::WouldBlock | E::StaleNetworkFileHandle | E::ResourceBusy => {
                StoreErrorKind::Transient
            }
            E::InvalidFilename | E::IsADirectory | E::NotADirectory => StoreErrorKind::InvalidPath,
            _ => StoreErrorKind::Failed,
        };
        Self::new(kind, operation, path, store, error.to_string())
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {} `{}` in {}: {}", self.operation, self.path, self.store, self.reason)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for StoreError {}

/// The longest path, in bytes; Google Cloud Storage has the same limit.
pub const MAX_PATH_BYTES: usize = 1024;

/// The longest segment, in bytes: file systems take 255, and the directory store needs some of them.
pub const MAX_SEGMENT_BYTES: usize = 240;

/// Says why a path cannot name an object.
pub fn check_path(path: &str) -> Result<(), String> {
    if path.is_empty() {
        return Err("the path is empty".into());
    }
    if path.len() > MAX_PATH_BYTES {
        return Err(format!("the path has {} bytes, the limit is {MAX_PATH_BYTES}", path.len()));
    }
    path.split('/').try_for_each(check_segment)
}

fn check_segment(segment: &str) -> Result<(), String> {
    if segment.is_empty() {
        return Err("the path has an empty segment (`//`, or `/` at an end)".into());
    }
    if segment.starts_with('.') {
        return Err(format!("segment `{segment}` starts with `.`"));
    }
    if segment.len() > MAX_SEGMENT_BYTES {
        return Err(format!("a segment has {} bytes, the limit is {MAX_SEGMENT_BYTES}", segment.len()));
    }
    match segment.chars().find(|c| c.is_control() || matches!(c, '\\' | '\u{2028}' | '\u{2029}')) {
        Some(c) => Err(format!("segment `{}` has the character {:?}", segment.escape_debug(), c)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_checked() {
        for good in ["a", "results/2025-12-12.json", "players/josé.json", "a b/c", "~x/-y"] {
            assert_eq!(check_path(good), Ok(()), "{good}");
        }
        let long = "a/".repeat(512) + "a";
        let wide = "a".repeat(241);
        for bad in ["", "/a", "a/", "a//b", ".", "..", "a/../b", ".a", "a/.b", "a\0", "a\nb", "a\\b", &long, &wide] {
            assert!(check_path(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn errors_say_what_where_why_and_what_next() {
        let io = std::io::Error::from_raw_os_error(28);
        let error = StoreError::from_io(&io, "put", "results/latest.json", "directory `out`");
        assert_eq!(error.kind, StoreErrorKind::Full);
        let text = error.to_string();
        assert!(text.starts_with("could not put `results/latest.json` in directory `out`: No space left"), "{text}");
        assert!(text.contains("free space"), "{text}");
    }
}
