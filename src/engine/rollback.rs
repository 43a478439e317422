//! Going back: the objects of an earlier release become public again from their kept generations, without a query.
//!
//! A rollback is a release like any other, and its objects go the ordinary way (`publish`): compare-and-set, with a
//! watermark. The watermark's date is the newest that the paths have shown, its as-of is the moment of the rollback. So
//!
//! - what the bad run, or another that began before the rollback, still writes is superseded;
//! - a later run of the same date or a newer one publishes as usual;
//! - a run of an older date is superseded, as it was before the rollback;
//! - somebody who published a newer document in between is not overwritten: the rollback is superseded there.
//!
//! What goes back: every undated object of the earlier release (aliases, entities, the index). A dated one goes back only
//! when the release that is undone is of the same date, and so may have replaced it.
//!
//! The releases that were gone behind no longer count for the shrink guards; otherwise a corrected run would be measured
//! against the broken one.

use super::fan_out::fan_out;
use super::history::{Releases, shows_undated};
use super::publish::{Artifact, ArtifactKind, Intent, keys, watermark_of};
use super::release::{PublishOptions, Published, ReleaseError, ReleaseInfo, publish_release};
use crate::ports::store::{Body, ObjectInfo, ObjectStore, StoreError, StoreErrorKind};
use crate::state::releases::{Release, ReleasedObject, Rollback};
use crate::state::{State, StateError};
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use std::fmt;
use std::sync::Arc;

/// What a rollback would do.
#[derive(Debug)]
pub struct Plan {
    /// The release that is current.
    pub undone: Release,
    /// The release whose objects become public again.
    pub restored: Release,
    pub objects: Vec<Planned>,
    /// Live undated objects of the current release that the earlier one did not have; they stay.
    pub stay: Vec<String>,
    pub rollback: Rollback,
    target_date: Date,
    as_of: Timestamp,
}

/// One object on its way back.
#[derive(Debug)]
pub struct Planned {
    pub object: ReleasedObject,
    pub live: Option<ObjectInfo>,
}

impl Planned {
    /// The public sees this content already.
    pub fn is_live(&self) -> bool {
        self.live.as_ref().is_some_and(|l| l.sha256.as_ref() == Some(&self.object.sha256))
    }
}

/// Why there was no rollback; nothing was changed, unless it is [`RollbackError::Release`].
#[derive(Debug)]
pub enum RollbackError {
    /// There is no such release, or none before the current one.
    NoRelease(String),
    /// The content is no longer kept.
    Gone {
        path: String,
        generation: u64,
        oldest: Option<u64>,
    },
    Store(Box<StoreError>),
    State(Box<StateError>),
    Release(Box<ReleaseError>),
}

impl RollbackError {
    /// An outside system's fault.
    pub fn is_outside(&self) -> bool {
        matches!(self, Self::Store(_) | Self::State(_) | Self::Release(_))
    }
}

impl fmt::Display for RollbackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRelease(reason) => f.write_str(reason),
            Self::Gone { path, generation, oldest } => {
                write!(f, "generation {generation} of `{path}` is no longer kept")?;
                match oldest {
                    Some(oldest) => write!(f, " (the oldest is {oldest})")?,
                    None => f.write_str(" (nothing of it is)")?,
                }
                f.write_str("; choose a later release with --to, or other paths with --path")
            }
            Self::Store(error) => error.fmt(f),
            Self::State(error) => error.fmt(f),
            Self::Release(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RollbackError {}

impl From<StoreError> for RollbackError {
    fn from(error: StoreError) -> Self {
        Self::Store(Box::new(error))
    }
}

impl From<StateError> for RollbackError {
    fn from(error: StateError) -> Self {
        Self::State(Box::new(error))
    }
}

impl From<ReleaseError> for RollbackError {
    fn from(error: ReleaseError) -> Self {
        Self::Release(Box::new(error))
    }
}

fn none(reason: impl Into<String>) -> RollbackError {
    RollbackError::NoRelease(reason.into())
}

/// Looks what there is to go back to. `to` is a run id, `paths` are whole paths (all, when empty).
pub async fn plan(
    store: &dyn ObjectStore,
    state: &State,
    export: &str,
    to: Option<&str>,
    paths: &[String],
    now: Timestamp,
) -> Result<Plan, RollbackError> {
    let releases = Releases::read(state, export).await?;
    let Some((current, undone)) = releases.newest(0).await? else {
        return Err(none(format!("`{export}` has no release to go back to")));
    };
    let goal = match to {
        Some(run_id) => releases.place(run_id).ok_or_else(|| {
            none(format!("`{export}` has no release of the run `{run_id}` (see `phase6 history {export}`)"))
        })?,
        None => before(&releases, export, current, shows_undated(&undone)).await?,
    };
    let restored = releases
        .record(goal)
        .await?
        .ok_or_else(|| none(format!("the record of the run `{}` is gone", releases.heads[goal].run_id)))?;
    let chosen = chosen(&restored, &undone, paths)?;
    let mut objects = Vec::new();
    for object in chosen {
        let live = store.stat(&object.path).await?;
        is_kept(store, &object, live.as_ref()).await?;
        objects.push(Planned { object, live });
    }
    let undoes = if paths.is_empty() { undoes(&releases, goal, &restored).await? } else { Vec::new() };
    let stay = undone
        .objects
        .iter()
        .filter(|_| paths.is_empty())
        .filter(|o| o.outcome.is_live() && !o.is_dated() && !restored.objects.iter().any(|r| r.path == o.path))
        .map(|o| o.path.clone())
        .collect();
    let (target_date, as_of) = newest_mark(&objects, undone.target_date.max(restored.target_date), now);
    let rollback = Rollback { rollback_of: undone.run_id.clone(), restores: restored.run_id.clone(), undoes };
    Ok(Plan { undone, restored, objects, stay, rollback, target_date, as_of })
}

/// The release before the current one. A rollback stands for the release that it restored; one of a few paths, for the
/// release that it left.
async fn before(releases: &Releases<'_>, export: &str, current: usize, undated: bool) -> Result<usize, RollbackError> {
    let nothing = || none(format!("`{export}` has no release before the current one"));
    let stands_for = |mut at: usize| {
        while let Some(rollback) = &releases.heads[at].rollback {
            let run = if rollback.undoes.is_empty() { &rollback.rollback_of } else { &rollback.restores };
            at = releases.place(run).filter(|earlier| *earlier > at)?;
        }
        Some(at)
    };
    let current = stands_for(current).ok_or_else(nothing)?;
    let (earlier, release) = releases.newest(current + 1).await?.ok_or_else(nothing)?;
    if undated && !shows_undated(&release) {
        return Err(nothing());
    }
    stands_for(earlier).ok_or_else(nothing)
}

/// The objects that go back.
fn chosen(restored: &Release, undone: &Release, paths: &[String]) -> Result<Vec<ReleasedObject>, RollbackError> {
    let run = &restored.run_id;
    let live = || restored.objects.iter().filter(|o| o.outcome.is_live());
    if let Some(unknown) = paths.iter().find(|path| !live().any(|o| o.path == **path)) {
        return Err(none(format!("the release of the run `{run}` has no object `{unknown}`")));
    }
    let replaced = |o: &ReleasedObject| {
        restored.target_date == undone.target_date && undone.objects.iter().any(|u| u.path == o.path)
    };
    let wanted = |o: &&ReleasedObject| match paths.is_empty() {
        true => !o.is_dated() || replaced(o),
        false => paths.contains(&o.path),
    };
    let chosen: Vec<ReleasedObject> = live().filter(wanted).cloned().collect();
    if chosen.is_empty() {
        return Err(none(format!("the release of the run `{run}` has no undated object that could go back")));
    }
    Ok(chosen)
}

/// The content is readable by its generation. (What is live counts, whoever wrote it.)
async fn is_kept(
    store: &dyn ObjectStore,
    object: &ReleasedObject,
    live: Option<&ObjectInfo>,
) -> Result<(), RollbackError> {
    if live.is_some_and(|l| l.generation == object.generation && l.sha256.as_ref() == Some(&object.sha256)) {
        return Ok(());
    }
    let versions = store.versions(&object.path).await?;
    if versions.iter().any(|v| v.generation == object.generation) {
        return Ok(());
    }
    let oldest = versions.iter().map(|v| v.generation).min();
    Err(RollbackError::Gone { path: object.path.clone(), generation: object.generation, oldest })
}

/// The runs that are gone behind: everything newer in the history that wrote undated objects, of the same date or later.
async fn undoes(releases: &Releases<'_>, goal: usize, restored: &Release) -> Result<Vec<String>, RollbackError> {
    let mut undone = Vec::new();
    for at in 0..goal {
        if let Some(release) = releases.record(at).await?
            && release.target_date >= restored.target_date
            && shows_undated(&release)
        {
            undone.push(release.run_id);
        }
    }
    Ok(undone)
}

/// A date and an as-of that are newer than whatever is live now.
fn newest_mark(objects: &[Planned], date: Date, now: Timestamp) -> (Date, Timestamp) {
    let marks = objects.iter().filter_map(|o| watermark_of(o.live.as_ref()?).ok()?);
    marks.fold((date, now), |(date, as_of), mark| {
        let later = mark.as_of.saturating_add(SignedDuration::from_millis(1)).unwrap_or(Timestamp::MAX);
        (date.max(mark.target_date.unwrap_or(date)), as_of.max(later))
    })
}

/// Goes back.
pub async fn execute(
    store: &Arc<dyn ObjectStore>,
    state: &State,
    plan: &Plan,
    run_id: &str,
) -> Result<Published, RollbackError> {
    let shared =
        Arc::new((store.clone(), plan.objects.iter().map(|planned| planned.object.clone()).collect::<Vec<_>>()));
    let read = move |n: usize| {
        let shared = shared.clone();
        async move { artifact(shared.0.as_ref(), &shared.1[n]).await }
    };
    let kept = fan_out(plan.objects.len(), store.traffic().at_once, read).await;
    let artifacts = kept.into_iter().flatten().collect::<Result<Vec<_>, _>>()?;
    let intent = Intent {
        run_id: run_id.to_owned(),
        target_date: plan.target_date,
        as_of: plan.as_of,
        config_hash: plan.restored.config_hash.clone(),
        force: false,
    };
    let info = ReleaseInfo {
        export: plan.restored.export.clone(),
        data_date: plan.restored.data_date,
        rollback: Some(plan.rollback.clone()),
        ..ReleaseInfo::default()
    };
    Ok(publish_release(store, state, artifacts, &intent, &info, &PublishOptions::default()).await?)
}

/// The kept content with the headers that it had.
async fn artifact(store: &dyn ObjectStore, object: &ReleasedObject) -> Result<Artifact, RollbackError> {
    let kept = match store.get(&object.path, Some(object.generation)).await {
        Ok(kept) => kept,
        Err(error) if error.kind == StoreErrorKind::NotFound => {
            let (path, generation) = (object.path.clone(), object.generation);
            return Err(RollbackError::Gone { path, generation, oldest: None });
        }
        Err(error) => return Err(error.into()),
    };
    if kept.info.sha256.as_ref() != Some(&object.sha256) {
        let reason = format!("generation {} is not the content that the release recorded", object.generation);
        return Err(StoreError::new(StoreErrorKind::Corrupt, "get", &object.path, store.describe(), reason).into());
    }
    Ok(Artifact {
        path: object.path.clone(),
        body: Body::from(kept.bytes),
        sha256: object.sha256.clone(),
        size: object.size,
        content_type: kept.info.content_type.unwrap_or_else(|| "application/json".to_owned()),
        cache_control: kept.info.cache_control,
        kind: ArtifactKind::of_name(&object.kind),
        dated: object.is_dated(),
        once: false,
        gzip: kept.info.metadata.contains_key(keys::GZIP),
        document: object.document.clone(),
        schema: object.schema.clone(),
        counts: object.counts.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::memory::MemoryStore;
    use crate::engine::publish::Outcome;

    struct World {
        store: Arc<dyn ObjectStore>,
        state: State,
    }

    impl World {
        fn new() -> Self {
            let state = State::new(Arc::new(MemoryStore::new())).without_pauses();
            Self { store: Arc::new(MemoryStore::new()), state }
        }

        /// A run of a day, begun at a minute, that says `text`; gives what became of `latest`.
        async fn publish(&self, run: &str, day: u8, minute: u8, text: &str) -> Outcome {
            let artifact = |path: String, kind, dated| Artifact {
                path,
                body: Body::from(text.as_bytes().to_vec()),
                sha256: crate::adapters::hex_sha256(text.as_bytes()),
                size: text.len() as u64,
                content_type: "application/json".into(),
                cache_control: Some("public, max-age=300".into()),
                kind,
                dated,
                once: false,
                gzip: false,
                document: "e".into(),
                schema: None,
                counts: [("picks[]".to_owned(), text.len() as u64)].into(),
            };
            let artifacts = vec![
                artifact("e/latest.json".into(), ArtifactKind::Alias, false),
                artifact(format!("e/2025-12-{day}.json"), ArtifactKind::Dated, true),
            ];
            let intent = Intent {
                run_id: run.into(),
                target_date: format!("2025-12-{day}").parse().unwrap(),
                as_of: at(minute),
                config_hash: "c".into(),
                force: false,
            };
            let info = ReleaseInfo { export: "e".into(), ..ReleaseInfo::default() };
            let options = PublishOptions::default();
            let published =
                publish_release(&self.store, &self.state, artifacts, &intent, &info, &options).await.unwrap();
            published.outcomes[0].clone()
        }

        async fn plan(&self, to: Option<&str>, paths: &[&str], minute: u8) -> Result<Plan, RollbackError> {
            let paths: Vec<String> = paths.iter().map(|p| (*p).to_owned()).collect();
            plan(self.store.as_ref(), &self.state, "e", to, &paths, at(minute)).await
        }

        async fn back(&self, run: &str, to: Option<&str>, minute: u8) -> Plan {
            let plan = self.plan(to, &[], minute).await.unwrap();
            execute(&self.store, &self.state, &plan, run).await.unwrap();
            plan
        }

        async fn live(&self, path: &str) -> String {
            String::from_utf8(self.store.get(path, None).await.unwrap().bytes).unwrap()
        }
    }

    fn at(minute: u8) -> Timestamp {
        format!("2025-12-12T18:{minute:02}:00Z").parse().unwrap()
    }

    #[tokio::test]
    async fn what_comes_after_a_rollback() {
        let world = World::new();
        world.publish("good", 11, 0, "good").await;
        world.publish("bad", 12, 10, "bad").await;
        let plan = world.back("back", None, 20).await;
        assert_eq!((plan.rollback.rollback_of.as_str(), plan.rollback.restores.as_str()), ("bad", "good"));
        assert_eq!(world.live("e/latest.json").await, "good");
        // The bad day's own file is not the earlier release's, and stays.
        assert_eq!(world.live("e/2025-12-12.json").await, "bad");
        // Begun before the rollback, whatever its date: superseded. Older date: superseded.
        assert!(matches!(world.publish("bad-again", 12, 15, "bad").await, Outcome::Superseded { .. }));
        assert!(matches!(world.publish("older", 11, 30, "older").await, Outcome::Superseded { .. }));
        assert_eq!(world.live("e/latest.json").await, "good");
        assert!(matches!(world.publish("fixed", 12, 40, "fixed").await, Outcome::Written { .. }));
        assert!(matches!(world.publish("next", 13, 50, "next").await, Outcome::Written { .. }));
    }

    #[tokio::test]
    async fn the_same_days_file_goes_back_too() {
        let world = World::new();
        world.publish("good", 12, 0, "good").await;
        world.publish("bad", 12, 10, "bad").await;
        world.back("back", None, 20).await;
        for path in ["e/latest.json", "e/2025-12-12.json"] {
            assert_eq!(world.live(path).await, "good", "{path}");
        }
        // The shrink guards compare with what is public again.
        let date = "2025-12-12".parse().unwrap();
        let last = world.state.last_object("e", date, "e", Some("e/2025-12-12.json")).await.unwrap().unwrap();
        assert_eq!(last.counts["picks[]"], 4);
    }

    #[tokio::test]
    async fn again_and_again_goes_further_back() {
        let world = World::new();
        for (run, minute) in [("one", 0), ("two", 1), ("three", 2)] {
            world.publish(run, 12, minute, run).await;
        }
        assert_eq!(world.back("b1", None, 10).await.rollback.restores, "two");
        assert_eq!(world.back("b2", None, 11).await.rollback.restores, "one");
        assert_eq!(world.live("e/latest.json").await, "one");
        assert!(world.plan(None, &[], 12).await.unwrap_err().to_string().contains("no release before"));
        assert_eq!(world.back("b3", Some("three"), 13).await.rollback.rollback_of, "b2");
        assert_eq!(world.live("e/latest.json").await, "three");
        // After a new run the one before it is what the rollback had restored.
        world.publish("four", 12, 20, "four").await;
        assert_eq!(world.back("b4", None, 21).await.rollback.restores, "three");
    }

    #[tokio::test]
    async fn a_newer_run_in_between_is_not_overwritten() {
        let world = World::new();
        world.publish("good", 11, 0, "good").await;
        world.publish("bad", 12, 10, "bad").await;
        let plan = world.plan(None, &[], 20).await.unwrap();
        world.publish("newer", 12, 21, "newer").await;
        let published = execute(&world.store, &world.state, &plan, "back").await.unwrap();
        assert!(matches!(published.outcomes[0], Outcome::Superseded { .. }));
        assert_eq!(world.live("e/latest.json").await, "newer");
    }

    #[tokio::test]
    async fn one_path_alone_and_names_that_are_wrong() {
        let world = World::new();
        world.publish("good", 12, 0, "good").await;
        world.publish("bad", 12, 10, "bad").await;
        let plan = world.plan(None, &["e/latest.json"], 20).await.unwrap();
        execute(&world.store, &world.state, &plan, "back").await.unwrap();
        assert_eq!(world.live("e/latest.json").await, "good");
        assert_eq!(world.live("e/2025-12-12.json").await, "bad");
        for (to, paths, reason) in
            [(None, vec!["e/none.json"], "no object `e/none.json`"), (Some("nobody"), vec![], "the run `nobody`")]
        {
            let error = world.plan(to, &paths, 30).await.unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        }
        assert!(World::new().plan(None, &[], 0).await.unwrap_err().to_string().contains("no release to go back to"));
    }
}
