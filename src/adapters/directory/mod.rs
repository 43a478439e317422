//! A folder as an object store: the public folder holds the documents and nothing else; generations, metadata, old
//! versions, locks and unfinished files lie in a control folder beside it (`out` and `out.store`).
//!
//! ```text
//! out/results/latest.json                         the document
//! out.store/objects/results.d/latest.json.meta    its generations and their metadata (`record`)
//! out.store/objects/results.d/latest.json.versions/7   content of an older generation
//! out.store/locks/00..63                          one writer at a time (`locks`)
//! out.store/staging/<process>/                    content before it is renamed into place (`staging`)
//! ```
//!
//! A write: stage and sync the content; lock; look at what is there; link the old content among the versions; write the
//! record, naming both the old and the new file; rename the content into place. A kill at any step leaves the old or the
//! new object, each with its own metadata (see `record`). Readers take no lock.
//!
//! Content and record are synced before they are renamed. Folders are synced by `flush`, once for many objects; until
//! then a power cut can undo a rename, but not tear a document.

mod locks;
mod record;
mod staging;
mod tree;

use crate::ports::store::{
    Body, Condition, Object, ObjectInfo, ObjectStore, PutOptions, StoreError, StoreErrorKind, Version, check_path,
};
use async_trait::async_trait;
use locks::Locks;
use record::{Entry, Live, RECORD_VERSION, Record};
use rustix::fs::{AtFlags, CWD, Stat, fdatasync, linkat, renameat, unlinkat};
use rustix::io::Errno;
#[cfg(feature = "gcp")]
pub(in crate::adapters) use staging::Session as Scratch;
use staging::{Session, Staged, hash_file, link_or_copy, stage};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tree::{Call, Place, Tree};

/// How many replaced contents of an object stay readable.
pub const DEFAULT_KEEP: usize = 20;

/// A folder of this process below `base`, for stores that have no place of their own. It goes when it is dropped, and those of
/// processes that were killed go when the next one is made.
#[cfg(feature = "gcp")]
pub(in crate::adapters) fn scratch(base: &Path, store: &str) -> Result<Scratch, StoreError> {
    Session::begin(base, Call { operation: "spool", path: "", store })
}

/// The directory store.
pub struct DirectoryStore {
    tree: Tree,
    control: PathBuf,
    name: String,
    keep: usize,
    locks: Locks,
    session: Mutex<Option<Arc<Session>>>,
    /// Folders with renames that are not yet synced.
    dirty: Mutex<BTreeSet<PathBuf>>,
}

/// What is there, as seen in one moment.
struct Seen {
    record: Record,
    live: Option<Live>,
    /// The live file, where it had to be opened.
    file: Option<File>,
}

impl DirectoryStore {
    /// A store whose control folder is `<root>.store`. Nothing is made before the first write.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        let mut control = root.as_os_str().to_owned();
        // `out/` and `out` are the same folder.
        while control.len() > 1 && control.as_encoded_bytes().ends_with(b"/") {
            control = Path::new(&control).components().collect::<PathBuf>().into_os_string();
        }
        control.push(".store");
        Self::with_control(root, PathBuf::from(control))
    }

    /// A store with its control folder elsewhere, on the same file system as `root` and outside of it.
    pub fn with_control(root: impl Into<PathBuf>, control: impl Into<PathBuf>) -> Self {
        let (root, control) = (root.into(), control.into());
        Self {
            name: format!("directory `{}`", root.display()),
            locks: Locks::new(control.join("locks")),
            tree: Tree { root },
            control,
            keep: DEFAULT_KEEP,
            session: Mutex::new(None),
            dirty: Mutex::new(BTreeSet::new()),
        }
    }

    /// How many replaced contents to keep for each object.
    pub fn keep_versions(mut self, keep: usize) -> Self {
        self.keep = keep;
        self
    }

    fn call<'a>(&'a self, operation: &'static str, path: &'a str) -> Result<Call<'a>, StoreError> {
        let call = Call { operation, path, store: &self.name };
        check_path(path).map_err(|reason| call.error(StoreErrorKind::InvalidPath, reason))?;
        Ok(call)
    }

    fn session(&self, call: Call<'_>) -> Result<Arc<Session>, StoreError> {
        let mut slot = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = slot.as_ref() {
            return Ok(session.clone());
        }
        let session = Arc::new(Session::begin(&self.control.join("staging"), call)?);
        *slot = Some(session.clone());
        Ok(session)
    }

    fn stage(&self, call: Call<'_>, body: &Body, sha256: Option<&str>) -> Result<Staged, StoreError> {
        let session = self.session(call)?;
        match stage(&session, body, sha256) {
            // Somebody removed the control folder: begin again.
            Err(e) if e.kind() == ErrorKind::NotFound && !session.folder.is_dir() => {
                *self.session.lock().unwrap_or_else(PoisonError::into_inner) = None;
                stage(&*self.session(call)?, body, sha256)
            }
            other => other,
        }
        .map_err(|e| call.io(e))
        .map_err(|e| if e.kind == StoreErrorKind::NotFound { missing_body(e) } else { e })
    }

    /// `<control>/objects/results.d/latest.json` + `suffix`. The suffixes keep files and folders of one name apart.
    fn beside(&self, path: &str, suffix: &str) -> PathBuf {
        let mut file = self.control.join("objects").into_os_string();
        let mut segments = path.split('/').peekable();
        while let Some(segment) = segments.next() {
            file.push("/");
            file.push(segment);
            file.push(if segments.peek().is_some() { ".d" } else { suffix });
        }
        PathBuf::from(file)
    }

    fn version_file(&self, path: &str, generation: u64) -> PathBuf {
        self.beside(path, ".versions").join(generation.to_string())
    }

    fn read_record(&self, call: Call<'_>) -> Result<Record, StoreError> {
        let file = self.beside(call.path, ".meta");
        let bytes = match std::fs::read(&file) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Record::default()),
            Err(e) => return Err(call.io_at(e, &file)),
        };
        let broken = |reason: String| {
            call.error(StoreErrorKind::Corrupt, format!("`{}`: {reason}", file.display()))
                .help("remove that file to forget the object's history and watermark, then publish again")
        };
        let record: Record = serde_json::from_slice(&bytes).map_err(|e| broken(e.to_string()))?;
        if record.record_version != RECORD_VERSION {
            return Err(broken(format!("written by another phase6 (format {})", record.record_version)));
        }
        Ok(record)
    }

    fn write_record(&self, call: Call<'_>, record: &Record) -> Result<(), StoreError> {
        let target = self.beside(call.path, ".meta");
        let bytes = serde_json::to_vec(record).map_err(|e| call.error(StoreErrorKind::Failed, e.to_string()))?;
        let temporary = self.session(call)?.fresh();
        let result = write_synced(&temporary, &bytes).and_then(|()| rename_into(&temporary, &target));
        if result.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        self.soil(target.parent());
        result.map_err(|e| call.io_at(e, &target))
    }

    fn soil(&self, folder: Option<&Path>) {
        let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = folder.filter(|f| !dirty.contains(*f)) {
            dirty.insert(folder.to_owned());
        }
    }

    fn soil_public(&self, path: &str) {
        self.soil(self.tree.root.join(path).parent());
    }

    /// Looks at record and file until they belong together. No lock: a writer writes the record before the file, so a
    /// file that an unchanged record does not know was put there by somebody else.
    fn see(&self, call: Call<'_>, place: Option<&Place<'_>>, open: bool) -> Result<Seen, StoreError> {
        let mut record = self.read_record(call)?;
        loop {
            let Some(place) = place else { return Ok(Seen { record, live: None, file: None }) };
            if !open {
                let Some(stat) = place.stat(call)? else { return Ok(Seen { record, live: None, file: None }) };
                if let Some(live) = record.recognise(&stat) {
                    return Ok(Seen { record, live: Some(live), file: None });
                }
            }
            let Some((mut file, stat)) = place.open(call)? else {
                return Ok(Seen { record, live: None, file: None });
            };
            if let Some(live) = record.recognise(&stat) {
                return Ok(Seen { record, live: Some(live), file: Some(file) });
            }
            let again = self.read_record(call)?;
            if again == record {
                let live = self.judge(call, &record, &mut file, &stat)?;
                return Ok(Seen { record, live: Some(live), file: Some(file) });
            }
            record = again;
        }
    }

    fn judge(&self, call: Call<'_>, record: &Record, file: &mut File, stat: &Stat) -> Result<Live, StoreError> {
        let sha256 = hash_file(file).map_err(|e| call.io(e))?;
        std::io::Seek::rewind(file).map_err(|e| call.io(e))?;
        Ok(record.judge(stat, sha256))
    }

    fn require(&self, call: Call<'_>, condition: Condition, live: Option<&Live>) -> Result<(), StoreError> {
        if condition.holds(live.map(|l| l.entry.version())) {
            return Ok(());
        }
        let found = live.map_or("nothing is there".to_owned(), |l| {
            format!("generation {}.{} is there", l.entry.generation, l.entry.metageneration)
        });
        Err(call.error(StoreErrorKind::PreconditionFailed, format!("expected {condition}, but {found}")))
    }

    /// Gives the live content a second name, by which it stays readable when it is replaced.
    fn keep_version(&self, call: Call<'_>, place: &Place<'_>, generation: u64) -> Result<(), StoreError> {
        let target = self.version_file(call.path, generation);
        let link = || linkat(&place.folder, place.name, CWD, &target, AtFlags::empty());
        let mut result = link();
        if result == Err(Errno::NOENT) {
            target.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(|e| call.io_at(e, &target))?;
            result = link();
        }
        if result == Err(Errno::EXIST) {
            // Left by a write that was cut off; it may be of other content.
            std::fs::remove_file(&target).map_err(|e| call.io_at(e, &target))?;
            result = link();
        }
        match result {
            Ok(()) => Ok(()),
            Err(Errno::NOSPC | Errno::DQUOT | Errno::ROFS) => result.map_err(|e| call.io_at(e, &target)),
            // No hard links on this file system.
            Err(_) => link_or_copy(&self.tree.root.join(call.path), &target).map_err(|e| call.io_at(e, &target)),
        }
    }

    fn put_now(&self, path: &str, body: &Body, options: &PutOptions) -> Result<ObjectInfo, StoreError> {
        let call = self.call("put", path)?;
        let mut staged = self.stage(call, body, options.sha256.as_deref())?;
        let _held = self.locks.lock(call)?;
        let place = self.tree.place(call, true)?.expect("the folder is made where it is missing");
        let Seen { record, live, .. } = self.see(call, Some(&place), false)?;
        self.require(call, options.condition, live.as_ref())?;
        let seen = live.as_ref().map_or(0, |l| l.entry.generation);
        let entry = Entry {
            generation: record.last_generation.max(seen) + 1,
            metageneration: 1,
            size: staged.size,
            sha256: staged.sha256.clone(),
            content_type: options.content_type.clone(),
            cache_control: options.cache_control.clone(),
            metadata: options.metadata.clone(),
            file: staged.file,
            kept: false,
        };
        let info = entry.info(path);
        if self.keep > 0 && live.is_some() {
            self.keep_version(call, &place, seen)?;
        }
        let (next, dropped) = record.advance(live.as_ref(), Some(entry), self.keep);
        self.write_record(call, &next)?;
        renameat(CWD, &staged.path, &place.folder, place.name).map_err(|e| match e {
            Errno::NOENT => call.error(StoreErrorKind::Transient, "its folder was removed meanwhile"),
            e => call.io(e),
        })?;
        staged.moved(matches!(body, Body::File(_)));
        self.soil_public(path);
        self.prune(path, &dropped);
        Ok(info)
    }

    /// Only tidying: what cannot be removed stays.
    fn prune(&self, path: &str, generations: &[u64]) {
        for generation in generations {
            let _ = std::fs::remove_file(self.version_file(path, *generation));
        }
    }

    fn touch_now(
        &self,
        path: &str,
        version: Version,
        metadata: &BTreeMap<String, String>,
    ) -> Result<ObjectInfo, StoreError> {
        let call = self.call("touch", path)?;
        let _held = self.locks.lock(call)?;
        let place = self.tree.place(call, false)?;
        let Seen { record, live, .. } = self.see(call, place.as_ref(), false)?;
        self.require(call, Condition::Match(version), live.as_ref())?;
        let live = live.expect("the condition found it");
        let metageneration = live.entry.metageneration + 1;
        let amended = Entry { metageneration, metadata: metadata.clone(), ..live.entry.clone() };
        let info = amended.info(path);
        self.write_record(call, &record.amend(&live, amended))?;
        Ok(info)
    }

    fn delete_now(&self, path: &str, condition: Condition) -> Result<(), StoreError> {
        let call = self.call("delete", path)?;
        let _held = self.locks.lock(call)?;
        let place = self.tree.place(call, false)?;
        let Seen { record, live, .. } = self.see(call, place.as_ref(), false)?;
        self.require(call, condition, live.as_ref())?;
        let (Some(place), Some(live)) = (place, live) else {
            return Err(call.error(StoreErrorKind::NotFound, "no such object"));
        };
        self.keep_version(call, &place, live.entry.generation)?;
        let (next, dropped) = record.advance(Some(&live), None, self.keep.max(1));
        self.write_record(call, &next)?;
        unlinkat(&place.folder, place.name, AtFlags::empty()).map_err(|e| call.io(e))?;
        self.soil_public(path);
        self.prune(path, &dropped);
        Ok(())
    }

    /// Removes the file, then the versions, then the record: a kill in between leaves an object that is absent.
    fn forget_now(&self, path: &str) -> Result<(), StoreError> {
        let call = self.call("forget", path)?;
        let _held = self.locks.lock(call)?;
        let (live, meta) = (self.tree.root.join(path), self.beside(path, ".meta"));
        if let Some(place) = self.tree.place(call, false)? {
            match unlinkat(&place.folder, place.name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(e) => return Err(call.io(e)),
            }
        }
        let versions = self.beside(path, ".versions");
        for result in [std::fs::remove_dir_all(&versions), std::fs::remove_file(&meta)] {
            match result {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(call.io_at(e, &meta)),
                _ => {}
            }
        }
        remove_empty_folders(&live, &self.tree.root);
        remove_empty_folders(&meta, &self.control);
        Ok(())
    }

    fn get_now(&self, path: &str, generation: Option<u64>) -> Result<Object, StoreError> {
        let call = self.call("get", path)?;
        let place = self.tree.place(call, false)?;
        let seen = self.see(call, place.as_ref(), true)?;
        let live = seen.live.filter(|l| generation.is_none_or(|g| g == l.entry.generation));
        let (entry, mut file) = match (live, seen.file, generation) {
            (Some(live), Some(file), _) => (live.entry, file),
            (_, _, Some(g)) => self.open_version(call, &seen.record, g)?,
            _ => return Err(call.error(StoreErrorKind::NotFound, "no such object")),
        };
        let mut bytes = Vec::with_capacity(usize::try_from(entry.size).unwrap_or(0));
        file.read_to_end(&mut bytes).map_err(|e| call.io(e))?;
        if super::hex_sha256(&bytes) != entry.sha256 {
            let reason = format!("the content of generation {} is not what was written", entry.generation);
            return Err(call.error(StoreErrorKind::Corrupt, reason));
        }
        Ok(Object { info: entry.info(path), bytes })
    }

    fn open_version(&self, call: Call<'_>, record: &Record, generation: u64) -> Result<(Entry, File), StoreError> {
        let missing = || call.error(StoreErrorKind::NotFound, format!("generation {generation} is not kept"));
        let entry = record.entries.iter().find(|e| e.generation == generation && e.kept).ok_or_else(missing)?;
        let file = self.version_file(call.path, generation);
        match File::open(&file) {
            Ok(opened) => Ok((entry.clone(), opened)),
            Err(e) if e.kind() == ErrorKind::NotFound => Err(missing()),
            Err(e) => Err(call.io_at(e, &file)),
        }
    }

    fn stat_now(&self, operation: &'static str, path: &str) -> Result<Option<ObjectInfo>, StoreError> {
        let call = self.call(operation, path)?;
        let place = self.tree.place(call, false)?;
        Ok(self.see(call, place.as_ref(), false)?.live.map(|l| l.entry.info(path)))
    }

    fn versions_now(&self, path: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let call = self.call("versions", path)?;
        let place = self.tree.place(call, false)?;
        let Seen { record, live, .. } = self.see(call, place.as_ref(), false)?;
        let current = live.as_ref().map_or(0, |l| l.entry.generation);
        let kept = record.entries.iter().filter(|e| e.kept && e.generation != current);
        Ok(live.iter().map(|l| &l.entry).chain(kept).map(|e| e.info(path)).collect())
    }

    fn list_now(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let call = Call { operation: "list", path: prefix, store: &self.name };
        let mut found = Vec::new();
        for path in self.tree.list(call, prefix)? {
            // It may have gone since.
            found.extend(self.stat_now("list", &path)?);
        }
        Ok(found)
    }

    fn flush_now(&self) -> Result<(), StoreError> {
        let dirty = std::mem::take(&mut *self.dirty.lock().unwrap_or_else(PoisonError::into_inner));
        let call = Call { operation: "flush", path: "", store: &self.name };
        for folder in dirty {
            match File::open(&folder).and_then(|f| f.sync_all()) {
                Ok(()) => {}
                // Removed since, with all that was in it.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(call.io_at(e, &folder)),
            }
        }
        Ok(())
    }
}

#[async_trait]
impl ObjectStore for DirectoryStore {
    fn describe(&self) -> String {
        self.name.clone()
    }

    fn spool_dir(&self) -> Result<PathBuf, StoreError> {
        let call = Call { operation: "spool", path: "", store: &self.name };
        // Said before anything is made: nothing could be written here.
        if self.tree.root.metadata().is_ok_and(|there| !there.is_dir()) {
            let error = call.error(StoreErrorKind::Denied, format!("`{}` is no folder", self.tree.root.display()));
            return Err(error.help("move it away, or name another folder"));
        }
        Ok(self.session(call)?.folder.clone())
    }

    async fn stat(&self, path: &str) -> Result<Option<ObjectInfo>, StoreError> {
        self.stat_now("stat", path)
    }

    async fn get(&self, path: &str, generation: Option<u64>) -> Result<Object, StoreError> {
        self.get_now(path, generation)
    }

    async fn put(&self, path: &str, body: &Body, options: &PutOptions) -> Result<ObjectInfo, StoreError> {
        self.put_now(path, body, options)
    }

    async fn touch(
        &self,
        path: &str,
        version: Version,
        metadata: &BTreeMap<String, String>,
    ) -> Result<ObjectInfo, StoreError> {
        self.touch_now(path, version, metadata)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.list_now(prefix)
    }

    async fn delete(&self, path: &str, condition: Condition) -> Result<(), StoreError> {
        self.delete_now(path, condition)
    }

    async fn forget(&self, path: &str) -> Result<(), StoreError> {
        self.forget_now(path)
    }

    async fn versions(&self, path: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.versions_now(path)
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.flush_now()
    }
}

/// Removes the folders above a file that became empty, up to a root. Only tidying.
fn remove_empty_folders(file: &Path, root: &Path) {
    let above = file.ancestors().skip(1).take_while(|folder| *folder != root && folder.starts_with(root));
    for folder in above {
        if std::fs::remove_dir(folder).is_err() {
            return;
        }
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    Ok(fdatasync(&file)?)
}

/// Renames, making the target's folder where it is missing.
fn rename_into(from: &Path, to: &Path) -> std::io::Result<()> {
    match std::fs::rename(from, to) {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            to.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::rename(from, to)
        }
        other => other,
    }
}

fn missing_body(error: StoreError) -> StoreError {
    StoreError { kind: StoreErrorKind::Failed, ..error }.help("the spooled document is gone; run again")
}

#[cfg(test)]
mod tests;
