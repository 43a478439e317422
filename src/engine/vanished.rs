//! Objects of entities that are no more: what a fan-out's last release had and this one has not (`vanished: delete`).
//!
//! They are deleted after everything else was published, each only as it was seen (compare-and-set), and only if no newer
//! run wrote it. Nothing is deleted when a part of the fan-out failed, or when it made no document at all: then what is
//! missing is no sign that it is gone. The store keeps the content, so that a rollback brings it back.

use super::fan_out::fan_out;
use super::publish::{Artifact, ArtifactKind, Intent, Patience, PublishError, Retry, watermark_of};
use super::watermark::Watermark;
use crate::config::DocumentDecl;
use crate::ports::store::{Condition, ObjectStore, StoreErrorKind};
use crate::state::releases::{ReleasedObject, ReleasedOutcome};
use crate::state::{State, StateError};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a fan-out had before and has not now.
#[derive(Debug, Clone, Default)]
pub struct Vanished {
    /// To be deleted.
    pub gone: Vec<ReleasedObject>,
    /// Nobody knows, since a part of the fan-out failed: they stay, and the release remembers them for the next run.
    pub unsure: Vec<ReleasedObject>,
}

/// Looks what has vanished. `complete` says of a document whether every key got its document.
pub async fn find(
    state: &State,
    export: &str,
    documents: &[DocumentDecl],
    artifacts: &[Artifact],
    complete: impl Fn(&str) -> bool,
) -> Result<Vanished, StateError> {
    let made: BTreeSet<&str> = artifacts.iter().map(|a| a.path.as_str()).collect();
    let mut vanished = Vanished::default();
    for document in documents.iter().filter(|d| d.delete_vanished) {
        let own = |a: &&Artifact| a.document == document.name && a.kind == ArtifactKind::Entity && !a.dated;
        if artifacts.iter().any(|a| own(&a)) {
            let before = state.last_entities(export, &document.name).await?;
            let missing = before.into_iter().filter(|o| !made.contains(o.path.as_str()));
            if complete(&document.name) {
                vanished.gone.extend(missing);
            } else {
                vanished.unsure.extend(missing.map(|o| ReleasedObject { outcome: ReleasedOutcome::Kept, ..o }));
            }
        }
    }
    Ok(vanished)
}

/// Deletes them; gives what became of each.
pub async fn delete_all(
    store: &Arc<dyn ObjectStore>,
    vanished: &[ReleasedObject],
    intent: &Intent,
    retry: &Retry,
) -> Result<Vec<ReleasedObject>, PublishError> {
    let parallel = store.traffic().at_once;
    let shared = Arc::new((store.clone(), vanished.to_vec(), intent.clone(), retry.clone()));
    let work = move |n: usize| {
        let shared = shared.clone();
        async move {
            let (store, objects, intent, retry) = &*shared;
            let outcome = delete(store.as_ref(), &objects[n], intent, retry).await?;
            Ok(ReleasedObject { outcome, ..objects[n].clone() })
        }
    };
    // Nothing is left out without a failure.
    fan_out(vanished.len(), parallel, work).await.into_iter().flatten().collect()
}

async fn delete(
    store: &dyn ObjectStore,
    object: &ReleasedObject,
    intent: &Intent,
    retry: &Retry,
) -> Result<ReleasedOutcome, PublishError> {
    let path = &object.path;
    let mine = Watermark { target_date: Some(intent.target_date), as_of: intent.as_of, run_id: intent.run_id.clone() };
    let mut patience = Patience::new(retry, path);
    loop {
        let error = match store.stat(path).await {
            Ok(None) => return Ok(ReleasedOutcome::Deleted),
            Ok(Some(live)) => {
                let theirs = watermark_of(&live);
                match theirs.map_err(|reason| PublishError::Watermark { path: path.clone(), reason })? {
                    // Somebody else's object: not ours to delete.
                    None => return Ok(ReleasedOutcome::Kept),
                    Some(theirs) if !intent.force && theirs.is_newer_than(&mine) => {
                        return Ok(ReleasedOutcome::Superseded);
                    }
                    Some(_) => {}
                }
                match store.delete(path, Condition::Match(live.version())).await {
                    Ok(()) => return Ok(ReleasedOutcome::Deleted),
                    Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(ReleasedOutcome::Deleted),
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        patience.spend(error).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::faulty::{Faults, Faulty};
    use crate::adapters::memory::MemoryStore;
    use crate::engine::publish::keys;
    use crate::ports::store::{Body, PutOptions};
    use std::time::Duration;

    fn intent(date: &str) -> Intent {
        Intent {
            run_id: "run".into(),
            target_date: date.parse().unwrap(),
            as_of: "2025-12-12T18:00:00Z".parse().unwrap(),
            config_hash: "c".into(),
            force: false,
        }
    }

    fn object(path: &str) -> ReleasedObject {
        ReleasedObject {
            path: path.into(),
            document: "card".into(),
            kind: "entity".into(),
            dated: Some(false),
            outcome: ReleasedOutcome::Written,
            generation: 1,
            sha256: "s".into(),
            size: 1,
            schema: None,
            counts: Default::default(),
        }
    }

    async fn put(store: &MemoryStore, path: &str, watermark: Option<&str>) {
        let metadata = watermark.map(|w| (keys::WATERMARK.to_owned(), w.to_owned())).into_iter().collect();
        let options = PutOptions { metadata, ..PutOptions::default() };
        store.put(path, &Body::from(b"x".to_vec()), &options).await.unwrap();
    }

    #[tokio::test]
    async fn only_what_is_ours_and_older_goes_also_over_a_bad_line() {
        let inner = Arc::new(MemoryStore::new());
        put(&inner, "older.json", Some("2025-12-11 2025-12-11T18:00:00Z a")).await;
        put(&inner, "newer.json", Some("2025-12-13 2025-12-13T18:00:00Z b")).await;
        put(&inner, "foreign.json", None).await;
        let objects: Vec<_> = ["older.json", "newer.json", "foreign.json", "gone.json"].map(object).into();
        let faults = Faults { error_before: 300, error_after: 300, ..Faults::default() };
        let store: Arc<dyn ObjectStore> = Arc::new(Faulty::new(inner.clone(), faults, 5));
        let retry = Retry { attempts: 100, base: Duration::ZERO, ..Retry::default() };
        let done = delete_all(&store, &objects, &intent("2025-12-12"), &retry).await.unwrap();
        use ReleasedOutcome::{Deleted, Kept, Superseded};
        assert_eq!(done.iter().map(|o| o.outcome).collect::<Vec<_>>(), [Deleted, Superseded, Kept, Deleted]);
        let left: Vec<String> = inner.list("").await.unwrap().into_iter().map(|i| i.path).collect();
        assert_eq!(left, ["foreign.json", "newer.json"]);
        assert_eq!(inner.get("older.json", Some(1)).await.unwrap().bytes, b"x", "a rollback finds it");
    }
}
