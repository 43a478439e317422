//! What is always true, whatever failed when: named functions over the public store and the state, shared by the
//! simulation, the crash test and the emulator tests. The numbers are those of `design/semantics.md` §8; what they need
//! of messages and schedules comes with those.

use super::publish::{keys, watermark_of};
use super::watermark::Watermark;
use crate::ports::store::{ObjectStore, StoreErrorKind};
use crate::state::State;
use crate::state::releases::Release;
use std::collections::BTreeMap;
use std::fmt;

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its number in the list of invariants.
    pub invariant: u8,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {}: {}", self.invariant, self.what)
    }
}

fn violation(invariant: u8, what: impl Into<String>) -> Violation {
    Violation { invariant, what: what.into() }
}

/// What every publication of an export must have left behind: 1, 2, 4, 6, and 5 of each of its releases.
#[cfg(test)]
pub async fn of_publication(
    public: &dyn ObjectStore,
    state: &State,
    export: &str,
    passes: impl Fn(&str, &[u8]) -> Result<(), String>,
) -> Vec<Violation> {
    let mut found = only_valid_documents(public, passes).await;
    found.extend(no_path_goes_back(public).await);
    found.extend(one_release_for_each_run_key(state, export).await);
    found.extend(releases_name_what_exists(public, state, export).await);
    for head in state.release_history(export).await.unwrap() {
        let release = state.release(export, &head).await.unwrap().unwrap();
        found.extend(release_is_readable(public, &release).await);
    }
    found
}

/// 1. Only documents that pass (their schema and guards) are in the public store, live or kept.
pub async fn only_valid_documents(
    store: &dyn ObjectStore,
    passes: impl Fn(&str, &[u8]) -> Result<(), String>,
) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, generation) in everything(store, 1, &mut found).await {
        match store.get(&path, Some(generation)).await {
            Ok(object) => {
                if let Err(reason) = passes(&path, &object.bytes) {
                    found.push(violation(1, format!("`{path}`, generation {generation}: {reason}")));
                }
            }
            // Pruned since it was listed.
            Err(e) if e.kind == StoreErrorKind::NotFound => {}
            Err(e) => found.push(violation(1, e.to_string())),
        }
    }
    found
}

async fn everything(store: &dyn ObjectStore, invariant: u8, found: &mut Vec<Violation>) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    for info in store.list("").await.unwrap_or_else(|e| note(found, invariant, &e)) {
        let versions = store.versions(&info.path).await.unwrap_or_else(|e| note(found, invariant, &e));
        all.extend(versions.into_iter().map(|v| (v.path, v.generation)));
    }
    all
}

fn note<T: Default>(found: &mut Vec<Violation>, invariant: u8, error: &dyn fmt::Display) -> T {
    found.push(violation(invariant, error.to_string()));
    T::default()
}

/// 2. `latest` never shows an older target date than one it has shown, except by force: over the kept generations of every
///    undated path. (A history of all that was ever shown goes through [`never_goes_back`].)
pub async fn no_path_goes_back(store: &dyn ObjectStore) -> Vec<Violation> {
    let mut found = Vec::new();
    for info in store.list("").await.unwrap_or_else(|e| note(&mut found, 2, &e)) {
        let mut versions = store.versions(&info.path).await.unwrap_or_else(|e| note(&mut found, 2, &e));
        versions.sort_by_key(|v| v.generation);
        let mut shown = Vec::new();
        for version in &versions {
            if version.metadata.contains_key(keys::FORCED) {
                shown.clear();
            }
            match watermark_of(version) {
                Ok(watermark) => shown.extend(watermark),
                Err(reason) => found.push(violation(2, format!("`{}`: {reason}", info.path))),
            }
        }
        found.extend(never_goes_back(&info.path, &shown));
    }
    found
}

/// 2. The target dates that a path has shown, in order, never fall.
pub fn never_goes_back(path: &str, shown: &[Watermark]) -> Option<Violation> {
    let mut newest: Option<&Watermark> = None;
    for mark in shown {
        match newest {
            Some(before) if mark.target_date < before.target_date => {
                return Some(violation(2, format!("`{path}` went from `{before}` back to `{mark}`")));
            }
            _ => newest = Some(mark),
        }
    }
    None
}

/// 4. One run key, delivered any number of times, has one release, and the index knows each release once.
pub async fn one_release_for_each_run_key(state: &State, export: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut runs_of_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for release in state.all_releases(export).await.unwrap_or_else(|e| note(&mut found, 4, &e)) {
        if let Some(key) = release.run_key {
            runs_of_key.entry(key).or_default().push(release.run_id);
        }
    }
    for (key, runs) in runs_of_key.iter().filter(|(_, runs)| runs.len() > 1) {
        found.push(violation(4, format!("run key `{key}` was released by {runs:?}")));
    }
    let mut indexed: BTreeMap<String, u32> = BTreeMap::new();
    for head in state.release_history(export).await.unwrap_or_else(|e| note(&mut found, 4, &e)) {
        *indexed.entry(head.run_id).or_default() += 1;
    }
    let twice = indexed.iter().filter(|(_, n)| **n > 1);
    found.extend(twice.map(|(run, _)| violation(4, format!("the index has run `{run}` twice"))));
    found
}

/// 5. A failed step leaves the previous release readable, complete and unchanged: all that it names can be read by its
///    generation, with its hash.
pub async fn release_is_readable(store: &dyn ObjectStore, release: &Release) -> Vec<Violation> {
    unreadable(store, release, 5).await
}

/// 5. Nothing points ahead: where an index or alias shows a run's document, the objects that it stands for are of that
///    run or of a newer one. `pointees` gives the paths that a pointer at this watermark stands for.
pub async fn no_pointer_runs_ahead(
    store: &dyn ObjectStore,
    pointer: &str,
    pointees: impl Fn(&Watermark) -> Vec<String>,
) -> Vec<Violation> {
    let mut found = Vec::new();
    // The pointer is read first: what it stands for was there before it.
    let seen = store.stat(pointer).await.unwrap_or_else(|e| note(&mut found, 5, &e));
    let Some(mark) = seen.and_then(|info| watermark_of(&info).ok().flatten()) else { return found };
    for path in pointees(&mark) {
        let target = store.stat(&path).await.unwrap_or_else(|e| note(&mut found, 5, &e));
        let theirs = target.and_then(|info| watermark_of(&info).ok().flatten());
        let behind = theirs.as_ref().is_none_or(|theirs| {
            // An undated object of a later date is newer whatever its query's time; a dated one has no date here.
            let later = theirs.target_date.is_some_and(|date| Some(date) > mark.target_date);
            !later && theirs.as_of < mark.as_of
        });
        if behind {
            let shown = theirs.map_or("nothing".to_owned(), |t| format!("`{t}`"));
            found.push(violation(5, format!("`{pointer}` is at `{mark}`, but `{path}` shows {shown}")));
        }
    }
    found
}

/// 6. Whatever a release record names exists with that hash (unless it is older than what the store keeps).
pub async fn releases_name_what_exists(store: &dyn ObjectStore, state: &State, export: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    for release in state.all_releases(export).await.unwrap_or_else(|e| note(&mut found, 6, &e)) {
        found.extend(unreadable(store, &release, 6).await);
    }
    found
}

async fn unreadable(store: &dyn ObjectStore, release: &Release, invariant: u8) -> Vec<Violation> {
    let mut found = Vec::new();
    for object in release.objects.iter().filter(|o| o.outcome.is_live()) {
        let name = format!("run `{}`, `{}` generation {}", release.run_id, object.path, object.generation);
        match store.get(&object.path, Some(object.generation)).await {
            Ok(there) if there.info.sha256.as_ref() == Some(&object.sha256) => {}
            Ok(_) => found.push(violation(invariant, format!("{name}: another content"))),
            Err(e) if e.kind == StoreErrorKind::NotFound => {
                let kept = store.versions(&object.path).await.unwrap_or_default();
                let pruned = kept.iter().map(|v| v.generation).min().is_some_and(|oldest| object.generation < oldest);
                if !pruned {
                    found.push(violation(invariant, format!("{name}: not there")));
                }
            }
            Err(e) => found.push(violation(invariant, format!("{name}: {e}"))),
        }
    }
    found
}
