//! One run's way into the store: all objects of an export, in an order in which nothing points to what is not there yet.
//!
//! Dated and per-entity objects, then the index, then aliases, then (when all of that survives a power cut) objects of
//! entities that are no more go, then the release record. A failed step stops the run there: what came before it in the order is new, what comes after it is as it was,
//! each object whole, and the content that the previous release names stays readable by its generations.

use super::fan_out::fan_out;
use super::look_ahead::Seen;
use super::publish::{Artifact, ArtifactKind, Intent, Outcome, Patience, PublishError, Retry, publish_seen};
use super::vanished::{self, Vanished};
use crate::ports::store::ObjectStore;
use crate::state::releases::{Committed, Release, ReleasedObject, ReleasedOutcome, Rollback};
use crate::state::{State, StateError};
use jiff::civil::Date;
use std::fmt;
use std::sync::Arc;

/// What belongs to the release besides its objects.
#[derive(Debug, Clone, Default)]
pub struct ReleaseInfo {
    pub export: String,
    pub run_key: Option<String>,
    pub data_date: Option<Date>,
    /// The release goes back to an earlier one.
    pub rollback: Option<Rollback>,
    /// Objects of entities that are no more, to be deleted when all else is published.
    pub vanished: Vanished,
}

/// How to go about it.
#[derive(Debug, Clone, Default)]
pub struct PublishOptions {
    /// Objects at once; as many as the store likes if absent.
    pub parallel: Option<usize>,
    pub retry: Retry,
}

/// What was published.
#[derive(Debug, Clone)]
pub struct Published {
    pub release: Release,
    /// In the order of the artifacts.
    pub outcomes: Vec<Outcome>,
    /// `Before`: another run answered the same run key first, and its release is the one that counts.
    pub committed: Committed,
}

impl Published {
    /// Objects of which `test` is true.
    pub fn count(&self, test: impl Fn(&Outcome) -> bool) -> usize {
        self.outcomes.iter().filter(|o| test(o)).count()
    }
}

/// A run that stopped on its way. Without a release record nothing counts as released; the same run again goes on.
#[derive(Debug)]
pub enum ReleaseError {
    /// An object could not be published; what was done before it, by the artifacts' order.
    Object {
        error: PublishError,
        done: Vec<Option<Outcome>>,
    },
    State(StateError),
}

impl ReleaseError {
    /// Trying again later may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Object { error, .. } => error.is_transient(),
            Self::State(error) => error.is_transient(),
        }
    }
}

impl fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object { error, done } => {
                let (published, all) = (done.iter().flatten().count(), done.len());
                write!(f, "{error}; {published} of {all} objects were published before, no release was recorded")
            }
            Self::State(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReleaseError {}

impl From<StateError> for ReleaseError {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

/// What is published together, in this order.
const STEPS: [&[ArtifactKind]; 3] =
    [&[ArtifactKind::Dated, ArtifactKind::Entity], &[ArtifactKind::Index], &[ArtifactKind::Alias]];

/// Publishes all artifacts of a run and commits the release.
pub async fn publish_release(
    store: &Arc<dyn ObjectStore>,
    state: &State,
    artifacts: Vec<Artifact>,
    intent: &Intent,
    info: &ReleaseInfo,
    options: &PublishOptions,
) -> Result<Published, ReleaseError> {
    let artifacts: Arc<[Artifact]> = artifacts.into();
    let mut outcomes: Vec<Option<Outcome>> = vec![None; artifacts.len()];
    for kinds in STEPS {
        publish_step(store, &artifacts, kinds, intent, options, &mut outcomes).await?;
    }
    if let Err(error) = flush(store.as_ref(), &options.retry).await {
        return Err(ReleaseError::Object { error, done: outcomes });
    }
    let deleted = match vanished::delete_all(store, &info.vanished.gone, intent, &options.retry).await {
        Ok(deleted) => deleted,
        Err(error) => return Err(ReleaseError::Object { error, done: outcomes }),
    };
    let outcomes: Vec<Outcome> = outcomes.into_iter().flatten().collect();
    let mut release = describe(&artifacts, &outcomes, intent, info);
    release.objects.extend(deleted);
    release.objects.extend(info.vanished.unsure.iter().cloned());
    let committed = state.record_release(&release).await?;
    state.flush().await?;
    Ok(Published { release, outcomes, committed })
}

async fn flush(store: &dyn ObjectStore, retry: &Retry) -> Result<(), PublishError> {
    let mut patience = Patience::new(retry, "");
    while let Err(error) = store.flush().await {
        patience.spend(error).await?;
    }
    Ok(())
}

async fn publish_step(
    store: &Arc<dyn ObjectStore>,
    artifacts: &Arc<[Artifact]>,
    kinds: &[ArtifactKind],
    intent: &Intent,
    options: &PublishOptions,
    outcomes: &mut Vec<Option<Outcome>>,
) -> Result<(), ReleaseError> {
    let chosen: Arc<[usize]> = (0..artifacts.len()).filter(|i| kinds.contains(&artifacts[*i].kind)).collect();
    let seen = Seen::look(store.as_ref(), chosen.iter().map(|index| &artifacts[*index])).await;
    let shared = Arc::new((store.clone(), intent.clone(), options.retry.clone(), seen));
    let parallel = options.parallel.unwrap_or_else(|| store.traffic().at_once);
    let (all, indexes) = (artifacts.clone(), chosen.clone());
    let results = fan_out(chosen.len(), parallel, move |n| {
        let (shared, all, index) = (shared.clone(), all.clone(), indexes[n]);
        async move {
            let (store, intent, retry, seen) = &*shared;
            let known = seen.of(&all[index].path);
            publish_seen(store.as_ref(), &all[index], known, intent, retry).await
        }
    })
    .await;
    let mut failed = None;
    for (index, result) in chosen.iter().zip(results) {
        match result {
            Some(Ok(outcome)) => outcomes[*index] = Some(outcome),
            // The first in the order of the artifacts, so that the message does not depend on who was faster.
            Some(Err(error)) if failed.is_none() => failed = Some(error),
            _ => {}
        }
    }
    match failed {
        Some(error) => Err(ReleaseError::Object { error, done: std::mem::take(outcomes) }),
        None => Ok(()),
    }
}

fn describe(artifacts: &[Artifact], outcomes: &[Outcome], intent: &Intent, info: &ReleaseInfo) -> Release {
    let objects = artifacts.iter().zip(outcomes).map(|(artifact, outcome)| ReleasedObject {
        path: artifact.path.clone(),
        document: artifact.document.clone(),
        kind: artifact.kind.as_str().to_owned(),
        dated: Some(artifact.dated),
        outcome: match outcome {
            Outcome::Written { .. } => ReleasedOutcome::Written,
            Outcome::Unchanged { .. } => ReleasedOutcome::Unchanged,
            Outcome::Superseded { .. } => ReleasedOutcome::Superseded,
            Outcome::Kept { .. } => ReleasedOutcome::Kept,
        },
        generation: outcome.generation(),
        sha256: artifact.sha256.clone(),
        size: artifact.size,
        schema: artifact.schema.clone(),
        counts: artifact.counts.clone(),
    });
    Release {
        run_id: intent.run_id.clone(),
        run_key: info.run_key.clone(),
        export: info.export.clone(),
        target_date: intent.target_date,
        as_of: intent.as_of,
        data_date: info.data_date,
        config_hash: intent.config_hash.clone(),
        objects: objects.collect(),
        rollback: info.rollback.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::directory::DirectoryStore;
    use crate::adapters::memory::MemoryStore;
    use crate::ports::store::Body;
    use std::collections::BTreeMap;

    fn artifact(path: &str, kind: ArtifactKind, text: &str) -> Artifact {
        Artifact {
            path: path.into(),
            body: Body::from(text.as_bytes().to_vec()),
            sha256: crate::adapters::hex_sha256(text.as_bytes()),
            size: text.len() as u64,
            content_type: "application/json".into(),
            cache_control: None,
            kind,
            dated: kind == ArtifactKind::Dated,
            once: false,
            gzip: false,
            document: "e".into(),
            schema: None,
            counts: BTreeMap::from([("games[]".to_owned(), 8)]),
        }
    }

    fn run(day: &str) -> (Intent, ReleaseInfo) {
        let intent = Intent {
            run_id: format!("run-{day}"),
            target_date: day.parse().unwrap(),
            as_of: format!("{day}T18:00:00Z").parse().unwrap(),
            config_hash: "c".into(),
            force: false,
        };
        (intent, ReleaseInfo { export: "e".into(), ..ReleaseInfo::default() })
    }

    fn documents(day: &str) -> Vec<Artifact> {
        saying(day, day)
    }

    fn saying(text: &str, day: &str) -> Vec<Artifact> {
        vec![
            artifact("e/latest.json", ArtifactKind::Alias, text),
            artifact("e/index.json", ArtifactKind::Index, text),
            artifact("e/p/1.json", ArtifactKind::Entity, text),
            artifact(&format!("e/{day}.json"), ArtifactKind::Dated, text),
        ]
    }

    async fn publish(
        store: &Arc<dyn ObjectStore>,
        state: &State,
        artifacts: Vec<Artifact>,
        day: &str,
    ) -> Result<Published, ReleaseError> {
        let (intent, info) = run(day);
        publish_release(store, state, artifacts, &intent, &info, &PublishOptions::default()).await
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_release_names_what_it_published() {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(DirectoryStore::new(dir.path().join("out")));
        let state = State::new(Arc::new(DirectoryStore::new(dir.path().join("state"))));
        let published = publish(&store, &state, documents("2025-12-12"), "2025-12-12").await.unwrap();
        assert_eq!(published.count(|o| matches!(o, Outcome::Written { .. })), 4);
        assert_eq!(published.committed, Committed::Now);
        let last = state.last_release("e", "2025-12-31".parse().unwrap()).await.unwrap();
        assert_eq!(last, Some(published.release));
        let older = publish(&store, &state, documents("2025-12-11"), "2025-12-11").await.unwrap();
        assert!(matches!(older.outcomes[0], Outcome::Superseded { .. }), "{:?}", older.outcomes);
        assert!(matches!(older.outcomes[3], Outcome::Written { .. }));
        assert_eq!(store.get("e/latest.json", None).await.unwrap().bytes, b"2025-12-12");
    }

    /// Another copy of the service took the run over, and the first one does not know.
    #[tokio::test]
    async fn a_late_copy_of_a_run_does_not_replace_its_release() {
        let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
        let state = State::new(Arc::new(MemoryStore::new()));
        let (intent, info) = run("2025-12-12");
        let early = Intent { as_of: intent.as_of - jiff::SignedDuration::from_secs(9), ..intent.clone() };
        let options = PublishOptions::default();
        let publish = async |intent: &Intent, text: &str| {
            let artifacts = saying(text, "2025-12-12");
            publish_release(&store, &state, artifacts, intent, &info, &options).await.unwrap()
        };
        let first = publish(&intent, "new").await;
        let late = publish(&early, "old").await;
        assert!(late.outcomes.iter().all(|o| matches!(o, Outcome::Superseded { .. })), "{:?}", late.outcomes);
        assert_eq!(state.release_of_run("e", &intent.run_id).await.unwrap(), Some(first.release));
        let baseline = state.last_object("e", intent.target_date, "e", None).await.unwrap();
        assert!(baseline.is_some(), "the guards still compare with what is public");
    }

    #[tokio::test]
    async fn a_failed_step_leaves_what_comes_after_it() {
        let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
        let state = State::new(Arc::new(MemoryStore::new()));
        let first = publish(&store, &state, documents("2025-12-11"), "2025-12-11").await.unwrap();
        let mut artifacts = documents("2025-12-12");
        artifacts.push(artifact("e/../p/2.json", ArtifactKind::Entity, "x"));
        let error = publish(&store, &state, artifacts, "2025-12-12").await.unwrap_err();
        assert!(!error.is_transient());
        assert!(error.to_string().contains("no release was recorded"), "{error}");
        for path in ["e/latest.json", "e/index.json"] {
            assert_eq!(store.get(path, None).await.unwrap().bytes, b"2025-12-11");
        }
        assert_eq!(state.release_history("e").await.unwrap().len(), 1);
        let unreadable = crate::engine::invariants::release_is_readable(store.as_ref(), &first.release).await;
        assert!(unreadable.is_empty(), "{unreadable:?}");
        // The same run again, repaired, goes on.
        let again = publish(&store, &state, documents("2025-12-12"), "2025-12-12").await.unwrap();
        assert!(again.outcomes.iter().all(Outcome::is_live));
    }
}
