//! What the directory store remembers of one object: a small JSON file beside the public folder.
//!
//! The record is written *before* the content is renamed into place, with an entry for the new content and one for the
//! old. Which of the two is live, the content itself decides: each entry carries the identity (inode, size, time) of its
//! file. So there is no moment at which a kill leaves the two in disagreement, and nothing to repair afterwards.

use crate::ports::store::{ObjectInfo, Version};
use rustix::fs::Stat;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The format of the file; a newer one is refused rather than guessed at.
pub const RECORD_VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub record_version: u32,
    /// The largest generation ever handed out, also to a write that was then cut off.
    pub last_generation: u64,
    /// Newest first. The first may be a write that was cut off before its content was in place.
    pub entries: Vec<Entry>,
}

impl Default for Record {
    fn default() -> Self {
        Self { record_version: RECORD_VERSION, last_generation: 0, entries: Vec::new() }
    }
}

/// One generation of the object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub generation: u64,
    pub metageneration: u64,
    pub size: u64,
    pub sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    pub file: Identity,
    /// The content has its own link among the kept versions.
    #[serde(default)]
    pub kept: bool,
}

/// Tells one file from another, and from itself after somebody wrote into it. It survives links and renames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub inode: u64,
    pub seconds: i64,
    pub nanos: i64,
}

impl Identity {
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "the fields' types differ between systems")]
    pub fn of(stat: &Stat) -> Self {
        Self { inode: stat.st_ino as u64, seconds: stat.st_mtime as i64, nanos: stat.st_mtime_nsec as i64 }
    }
}

/// The live object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    pub entry: Entry,
    /// Not in the record: written by hand, or before the record was there.
    pub foreign: bool,
}

impl Record {
    /// The live entry, where the file's identity alone tells it.
    pub fn recognise(&self, stat: &Stat) -> Option<Live> {
        let (identity, size) = (Identity::of(stat), size_of(stat));
        // The first two are all that a cut-off write leaves in question.
        let entry = self.entries.iter().take(2).find(|e| e.file == identity && e.size == size)?;
        Some(Live { entry: entry.clone(), foreign: false })
    }

    /// The live entry of a file with another identity: a faithful copy of the newest content counts as that content,
    /// everything else is a stranger's.
    pub fn judge(&self, stat: &Stat, sha256: String) -> Live {
        let (file, size) = (Identity::of(stat), size_of(stat));
        if let Some(newest) = self.entries.first().filter(|e| e.sha256 == sha256 && e.size == size) {
            return Live { entry: newest.clone(), foreign: false };
        }
        let entry = Entry {
            generation: self.last_generation + 1,
            metageneration: 1,
            size,
            sha256,
            content_type: None,
            cache_control: None,
            metadata: BTreeMap::new(),
            file,
            kept: false,
        };
        Live { entry, foreign: true }
    }

    /// The record after the live object was replaced by `next` (or removed), and the generations that no longer are kept.
    pub fn advance(&self, live: Option<&Live>, next: Option<Entry>, keep: usize) -> (Self, Vec<u64>) {
        let seen = live.map_or(0, |l| l.entry.generation);
        let last_generation = next.as_ref().map_or(0, |e| e.generation).max(self.last_generation).max(seen);
        let old = live.map(|l| Entry { kept: true, ..l.entry.clone() });
        let kept = self.entries.iter().filter(|e| e.kept && e.generation != seen).cloned();
        let mut history: Vec<Entry> = old.into_iter().chain(kept).collect();
        let dropped = history.drain(keep.min(history.len())..).map(|e| e.generation).collect();
        let entries = next.into_iter().chain(history).collect();
        (Self { record_version: RECORD_VERSION, last_generation, entries }, dropped)
    }

    /// The record after the live object's metadata changed.
    pub fn amend(&self, live: &Live, amended: Entry) -> Self {
        let last_generation = self.last_generation.max(amended.generation);
        let others = self.entries.iter().filter(|e| e.kept && e.generation != live.entry.generation).cloned();
        let entries = std::iter::once(amended).chain(others).collect();
        Self { record_version: RECORD_VERSION, last_generation, entries }
    }
}

impl Entry {
    pub fn version(&self) -> Version {
        Version { generation: self.generation, metageneration: self.metageneration }
    }

    pub fn info(&self, path: &str) -> ObjectInfo {
        ObjectInfo {
            path: path.to_owned(),
            generation: self.generation,
            metageneration: self.metageneration,
            size: self.size,
            sha256: Some(self.sha256.clone()),
            content_type: self.content_type.clone(),
            cache_control: self.cache_control.clone(),
            metadata: self.metadata.clone(),
        }
    }
}

#[allow(clippy::unnecessary_cast, reason = "the field's type differs between systems")]
pub fn size_of(stat: &Stat) -> u64 {
    stat.st_size as u64
}
