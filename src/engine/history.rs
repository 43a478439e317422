//! The releases of an export, newest first, and which of them the public sees.

use crate::model::report::ObjectCounts;
use crate::state::releases::{Release, ReleaseHead, ReleasedOutcome, Rollback};
use crate::state::{State, StateError};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;
use std::collections::BTreeSet;

/// One release.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    pub run_id: String,
    /// When its queries started, or when the rollback was asked for.
    pub time: Timestamp,
    pub target_date: Date,
    pub standing: Standing,
    #[serde(flatten)]
    pub rollback: Option<Rollback>,
    pub objects: ObjectCounts,
}

/// What a release is to the public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// The last one that wrote undated objects (`latest`, entities).
    Current,
    /// A rollback went behind it.
    RolledBack,
    Past,
}

/// Releases with their places in the history; records are read when they are asked for.
pub struct Releases<'a> {
    state: &'a State,
    export: &'a str,
    pub heads: Vec<ReleaseHead>,
}

impl<'a> Releases<'a> {
    pub async fn read(state: &'a State, export: &'a str) -> Result<Self, StateError> {
        Ok(Self { state, export, heads: state.release_history(export).await? })
    }

    /// The record at a place, if it is still there.
    pub async fn record(&self, at: usize) -> Result<Option<Release>, StateError> {
        self.state.release(self.export, &self.heads[at]).await
    }

    pub fn place(&self, run_id: &str) -> Option<usize> {
        self.heads.iter().position(|h| h.run_id == run_id)
    }

    /// The newest release from a place on that published undated objects; where no release has any, the newest one.
    pub async fn newest(&self, from: usize) -> Result<Option<(usize, Release)>, StateError> {
        let mut first = None;
        for at in from..self.heads.len() {
            let Some(release) = self.record(at).await? else { continue };
            if shows_undated(&release) {
                return Ok(Some((at, release)));
            }
            first.get_or_insert((at, release));
        }
        Ok(first)
    }
}

/// Whether the release put content at a path that later dates write too.
pub fn shows_undated(release: &Release) -> bool {
    release.objects.iter().any(|o| o.outcome.is_live() && !o.is_dated())
}

/// The newest releases, at most `limit`.
pub async fn entries(state: &State, export: &str, limit: usize) -> Result<Vec<Entry>, StateError> {
    let releases = Releases::read(state, export).await?;
    let current = releases.newest(0).await?.map(|(at, _)| at);
    let undone: BTreeSet<&String> =
        releases.heads.iter().filter_map(|h| h.rollback.as_ref()).flat_map(|r| &r.undoes).collect();
    let mut entries = Vec::new();
    for (at, head) in releases.heads.iter().enumerate().take(limit) {
        let Some(release) = releases.record(at).await? else { continue };
        let count = |outcome: &[ReleasedOutcome]| {
            release.objects.iter().filter(|o| outcome.contains(&o.outcome)).count() as u64
        };
        entries.push(Entry {
            run_id: head.run_id.clone(),
            time: head.as_of,
            target_date: head.target_date,
            standing: match () {
                () if Some(at) == current => Standing::Current,
                () if undone.contains(&head.run_id) => Standing::RolledBack,
                () => Standing::Past,
            },
            rollback: head.rollback.clone(),
            objects: ObjectCounts {
                written: count(&[ReleasedOutcome::Written]),
                unchanged: count(&[ReleasedOutcome::Unchanged, ReleasedOutcome::Kept]),
                superseded: count(&[ReleasedOutcome::Superseded]),
                deleted: count(&[ReleasedOutcome::Deleted]),
            },
        });
    }
    Ok(entries)
}
