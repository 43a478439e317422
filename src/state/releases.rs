//! Releases: what a run published, object by object. History, rollback and the shrink guards read them.

use super::{State, StateError, segment};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What one run published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    pub run_id: String,
    pub run_key: Option<String>,
    pub export: String,
    pub target_date: Date,
    /// When the query started.
    pub as_of: Timestamp,
    /// How fresh the data itself was, where the export says so.
    pub data_date: Option<Date>,
    pub config_hash: String,
    pub objects: Vec<ReleasedObject>,
    /// A release that was made by going back.
    #[serde(flatten)]
    pub rollback: Option<Rollback>,
}

impl Release {
    /// Whether its record stays when this one of the same run key comes.
    fn outlasts(&self, other: &Self) -> bool {
        self == other || self.run_id != other.run_id || self.as_of > other.as_of
    }
}

/// Where a rollback came from, and where it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// The run whose release was current before.
    pub rollback_of: String,
    /// The run whose objects are public again.
    pub restores: String,
    /// Runs whose releases no longer count: nothing is compared with them. None when only some paths went back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undoes: Vec<String>,
}

/// One object of a release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleasedObject {
    pub path: String,
    /// The document's name in the export.
    pub document: String,
    /// `dated`, `entity`, `index`, `alias`.
    pub kind: String,
    /// Whether the path names the target date; older records do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dated: Option<bool>,
    pub outcome: ReleasedOutcome,
    /// The generation that holds this release's content; of a superseded object, the newer one's.
    pub generation: u64,
    pub sha256: String,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Items by place (`games[]`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u64>,
}

impl ReleasedObject {
    /// Whether the path names the target date, so that only runs of that date write it.
    pub fn is_dated(&self) -> bool {
        self.dated.unwrap_or(self.kind == "dated")
    }
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleasedOutcome {
    Written,
    Unchanged,
    /// A newer run's document was there; this release has no content at this path.
    Superseded,
    /// Written once, by an earlier run.
    Kept,
    /// It belonged to an entity that is no more (`vanished: delete`).
    Deleted,
}

impl ReleasedOutcome {
    /// The generation holds this release's content.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Written | Self::Unchanged)
    }
}

/// Whose release counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    Now,
    /// Another run with the same run key was first.
    Before {
        run_id: String,
    },
}

/// A release in the index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseHead {
    pub run_id: String,
    /// Where its record is: by run key, so that one key has one release; by run id for runs without a key.
    record: String,
    pub target_date: Date,
    pub as_of: Timestamp,
    #[serde(flatten)]
    pub rollback: Option<Rollback>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct ReleaseIndex {
    /// In the order of their commits, newest first.
    heads: Vec<ReleaseHead>,
}

/// Releases that the index remembers; the records of older ones stay.
const INDEX_LENGTH: usize = 500;

/// How many releases a search for one object reads.
const LOOK_BACK: usize = 20;

impl State {
    /// Commits a release: first its record, then its place in the index. Again with the same run is as good as once; of
    /// several runs with one run key the first commits, and the others learn which that was. Of several attempts of one run (two
    /// copies of the service may be at it) the one that asked the warehouse last counts, as it does for each object.
    pub async fn record_release(&self, release: &Release) -> Result<Committed, StateError> {
        let record = record_name(release);
        let path = release_path(&release.export, &record);
        let mut committed = None;
        self.update(&path, |there: Option<Release>| {
            committed = there.filter(|there| there.outlasts(release));
            committed.is_none().then(|| release.clone())
        })
        .await?;
        // The first may have been cut off between its record and the index: whoever finds the record completes it.
        let committed_release = committed.as_ref().unwrap_or(release);
        self.index(committed_release, record).await?;
        let another = committed.filter(|first| first.run_id != release.run_id);
        Ok(another.map_or(Committed::Now, |first| Committed::Before { run_id: first.run_id }))
    }

    async fn index(&self, release: &Release, record: String) -> Result<(), StateError> {
        let (run_id, target_date, as_of) = (release.run_id.clone(), release.target_date, release.as_of);
        let head = ReleaseHead { run_id, record, target_date, as_of, rollback: release.rollback.clone() };
        self.update_together(&index_path(&release.export), move |index: Option<ReleaseIndex>| {
            let mut index = index.unwrap_or_default();
            if index.heads.iter().any(|h| h.run_id == head.run_id && h.as_of >= head.as_of) {
                return None;
            }
            index.heads.retain(|h| h.run_id != head.run_id);
            index.heads.insert(0, head.clone());
            index.heads.truncate(INDEX_LENGTH);
            Some(index)
        })
        .await
    }

    /// The releases of an export, the last committed first.
    pub async fn release_history(&self, export: &str) -> Result<Vec<ReleaseHead>, StateError> {
        Ok(self.read::<ReleaseIndex>(&index_path(export)).await?.map_or_else(Vec::new, |(index, _)| index.heads))
    }

    /// One release of the history.
    pub async fn release(&self, export: &str, head: &ReleaseHead) -> Result<Option<Release>, StateError> {
        Ok(self.read(&release_path(export, &head.record)).await?.map(|(release, _)| release))
    }

    /// The release that a run committed, if the index still knows it.
    pub async fn release_of_run(&self, export: &str, run_id: &str) -> Result<Option<Release>, StateError> {
        match self.release_history(export).await?.iter().find(|head| head.run_id == run_id) {
            Some(head) => self.release(export, head).await,
            None => Ok(None),
        }
    }

    /// What a release of `target_date` is compared with: the newest one (by date, then by query) that is not of a later
    /// date and was not rolled back. So a backfill of an old day is held against its neighbours and not against today.
    pub async fn last_release(&self, export: &str, target_date: Date) -> Result<Option<Release>, StateError> {
        match self.heads_up_to(export, target_date).await?.first() {
            Some(head) => self.release(export, head).await,
            None => Ok(None),
        }
    }

    /// The last published object of a document (by its name in the export), or of one path of it: the baseline of the
    /// shrink guards. Looks through the last releases up to `target_date`.
    pub async fn last_object(
        &self,
        export: &str,
        target_date: Date,
        document: &str,
        path: Option<&str>,
    ) -> Result<Option<ReleasedObject>, StateError> {
        for head in self.heads_up_to(export, target_date).await?.iter().take(LOOK_BACK) {
            let Some(release) = self.release(export, head).await? else { continue };
            let found = release
                .objects
                .into_iter()
                .find(|o| o.document == document && o.outcome.is_live() && path.is_none_or(|path| o.path == path));
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The undated objects of a fan-out in the last release that had any, as committed and not rolled back.
    pub async fn last_entities(&self, export: &str, document: &str) -> Result<Vec<ReleasedObject>, StateError> {
        for head in self.standing_heads(export).await?.iter().take(LOOK_BACK) {
            let Some(release) = self.release(export, head).await? else { continue };
            let own = |o: &ReleasedObject| o.document == document && o.kind == "entity" && o.dated == Some(false);
            let left = |o: &ReleasedObject| own(o) && o.outcome != ReleasedOutcome::Deleted;
            let objects: Vec<ReleasedObject> = release.objects.into_iter().filter(left).collect();
            if !objects.is_empty() {
                return Ok(objects);
            }
        }
        Ok(Vec::new())
    }

    /// The history without what was rolled back.
    async fn standing_heads(&self, export: &str) -> Result<Vec<ReleaseHead>, StateError> {
        let mut heads = self.release_history(export).await?;
        let undone: BTreeSet<String> =
            heads.iter().filter_map(|h| h.rollback.as_ref()).flat_map(|r| r.undoes.iter().cloned()).collect();
        heads.retain(|h| !undone.contains(&h.run_id));
        Ok(heads)
    }

    async fn heads_up_to(&self, export: &str, target_date: Date) -> Result<Vec<ReleaseHead>, StateError> {
        let mut heads = self.standing_heads(export).await?;
        heads.retain(|h| h.target_date <= target_date);
        heads.sort_by_key(|h| std::cmp::Reverse((h.target_date, h.as_of)));
        Ok(heads)
    }

    /// Every release record of an export, also of releases that the index has forgotten or never got.
    pub async fn all_releases(&self, export: &str) -> Result<Vec<Release>, StateError> {
        let index = index_path(export);
        let mut releases = Vec::new();
        for path in self.list(&format!("releases/{}/", segment(export))).await? {
            if path != index {
                releases.extend(self.read(&path).await?.map(|(release, _): (Release, _)| release));
            }
        }
        Ok(releases)
    }
}

fn record_name(release: &Release) -> String {
    match &release.run_key {
        Some(key) => format!("key-{}", segment(key)),
        None => format!("run-{}", segment(&release.run_id)),
    }
}

fn release_path(export: &str, record: &str) -> String {
    format!("releases/{}/{record}.json", segment(export))
}

fn index_path(export: &str) -> String {
    format!("releases/{}/index.json", segment(export))
}
