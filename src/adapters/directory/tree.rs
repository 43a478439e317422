//! The public folder: reached segment by segment from its root, never through a symbolic link, so that nothing outside
//! it is read or written whatever somebody puts into it.

use crate::ports::store::{StoreError, StoreErrorKind, check_path};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, mkdirat, open, openat, statat};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Who asks for what; makes the errors.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub operation: &'static str,
    pub path: &'a str,
    pub store: &'a str,
}

impl Call<'_> {
    pub fn error(self, kind: StoreErrorKind, reason: impl Into<String>) -> StoreError {
        StoreError::new(kind, self.operation, self.path, self.store, reason)
    }

    pub fn io(self, error: impl Into<std::io::Error>) -> StoreError {
        StoreError::from_io(&error.into(), self.operation, self.path, self.store)
    }

    /// An error about a file of the store's own.
    pub fn io_at(self, error: impl Into<std::io::Error>, file: &Path) -> StoreError {
        let mut error = self.io(error);
        error.reason = format!("`{}`: {}", file.display(), error.reason);
        error
    }

    fn in_the_way(self, what: &str, name: &str) -> StoreError {
        let kind = if what == "a symbolic link" { StoreErrorKind::Denied } else { StoreErrorKind::InvalidPath };
        self.error(kind, format!("`{name}` is {what}")).help("move it away, then run again")
    }
}

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);

/// The public folder.
pub struct Tree {
    pub root: PathBuf,
}

/// The folder that holds an object, and the object's name in it.
pub struct Place<'a> {
    pub folder: OwnedFd,
    pub name: &'a str,
}

impl Tree {
    /// Where the object is or would be; `None` if its folder is missing (and is not to be made).
    pub fn place<'a>(&self, call: Call<'a>, create: bool) -> Result<Option<Place<'a>>, StoreError> {
        let (parents, name) = call.path.rsplit_once('/').unwrap_or(("", call.path));
        Ok(self.folder(call, parents, create)?.map(|folder| Place { folder, name }))
    }

    fn folder(&self, call: Call<'_>, parents: &str, create: bool) -> Result<Option<OwnedFd>, StoreError> {
        let mut folder = match open(&self.root, DIRECTORY, Mode::empty()) {
            Ok(folder) => folder,
            Err(Errno::NOENT) if !create => return Ok(None),
            Err(Errno::NOENT) => {
                std::fs::create_dir_all(&self.root).map_err(|e| call.io_at(e, &self.root))?;
                open(&self.root, DIRECTORY, Mode::empty()).map_err(|e| call.io_at(e, &self.root))?
            }
            Err(e) => return Err(call.io_at(e, &self.root)),
        };
        for segment in parents.split('/').filter(|s| !s.is_empty()) {
            folder = match enter(&folder, segment) {
                Err(Errno::NOENT) if !create => return Ok(None),
                Err(Errno::NOENT) => {
                    match mkdirat(&folder, segment, Mode::from_raw_mode(0o777)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(e) => return Err(call.io(e)),
                    }
                    enter(&folder, segment)
                }
                other => other,
            }
            .map_err(|e| not_a_folder(call, &folder, segment, e))?;
        }
        Ok(Some(folder))
    }

    /// The paths of all files that start with `prefix`, sorted. Links, hidden and odd names are not objects.
    pub fn list(&self, call: Call<'_>, prefix: &str) -> Result<Vec<String>, StoreError> {
        let parents = prefix.rsplit_once('/').map_or("", |(parents, _)| parents);
        if !parents.is_empty() && check_path(parents).is_err() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        if let Some(folder) = self.folder(call, parents, false)? {
            let base = if parents.is_empty() { String::new() } else { format!("{parents}/") };
            walk(call, &folder, &base, prefix, &mut found)?;
        }
        found.sort_unstable();
        Ok(found)
    }
}

fn enter(folder: &OwnedFd, segment: &str) -> Result<OwnedFd, Errno> {
    openat(folder, segment, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
}

fn not_a_folder(call: Call<'_>, folder: &OwnedFd, segment: &str, error: Errno) -> StoreError {
    if !matches!(error, Errno::NOTDIR | Errno::LOOP) {
        return call.io(error);
    }
    match statat(folder, segment, AtFlags::SYMLINK_NOFOLLOW).map(|s| FileType::from_raw_mode(s.st_mode)) {
        Ok(FileType::Symlink) => call.in_the_way("a symbolic link", segment),
        _ => call.in_the_way("a file where a folder is needed", segment),
    }
}

fn walk(call: Call<'_>, folder: &OwnedFd, base: &str, prefix: &str, found: &mut Vec<String>) -> Result<(), StoreError> {
    for entry in Dir::read_from(folder).map_err(|e| call.io(e))? {
        let entry = entry.map_err(|e| call.io(e))?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        let path = format!("{base}{name}");
        if check_path(&path).is_err() || !(path.starts_with(prefix) || prefix.starts_with(&format!("{path}/"))) {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(_) => continue,
            },
            kind => kind,
        };
        match kind {
            FileType::RegularFile => found.push(path),
            // It may have gone since; then there is nothing in it.
            FileType::Directory => {
                if let Ok(inner) = enter(folder, name) {
                    walk(call, &inner, &format!("{path}/"), prefix, found)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

impl Place<'_> {
    /// The file in place, if there is one.
    pub fn stat(&self, call: Call<'_>) -> Result<Option<Stat>, StoreError> {
        let stat = match statat(&self.folder, self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(call.io(e)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Some(stat)),
            FileType::Symlink => Err(call.in_the_way("a symbolic link", self.name)),
            FileType::Directory => Err(call.in_the_way("a folder", self.name)),
            _ => Err(call.in_the_way("not a regular file", self.name)),
        }
    }

    /// Opens the file in place; its `Stat` is of exactly the file opened.
    pub fn open(&self, call: Call<'_>) -> Result<Option<(File, Stat)>, StoreError> {
        if self.stat(call)?.is_none() {
            return Ok(None);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match openat(self.folder.as_fd(), self.name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(call.io(e)),
        };
        let stat = rustix::fs::fstat(&file).map_err(|e| call.io(e))?;
        Ok(Some((File::from(file), stat)))
    }
}
