//! One object's way into the store: the compare-and-set loop.
//!
//! ```text
//! loop: stat the object
//!   written by this run            -> done (this is also the answer to a lost reply)
//!   watermark newer than mine      -> superseded (not an error)
//!   same content and headers       -> unchanged: not rewritten; its watermark moves up to mine
//!   put with if-version-match      -> precondition failed: loop; transient: back off, loop
//! ```
//!
//! Why an unchanged object's watermark moves: it says up to which date and query the public content is known to be
//! right. If it stayed, a late run between the old watermark and the new one would find it older than its own and replace
//! the content that a newer run had confirmed. It moves by `touch`, whose metageneration is part of every
//! precondition: a writer who looked before it moved fails, looks again, and sees that it is superseded.

use super::look_ahead::Known;
use super::watermark::Watermark;
use crate::ports::store::{Body, Condition, ObjectInfo, ObjectStore, PutOptions, StoreError, StoreErrorKind, Version};
use jiff::Timestamp;
use jiff::civil::Date;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// Metadata keys of a published object.
pub mod keys {
    /// The run that wrote the content.
    pub const RUN_ID: &str = "phase6-run-id";
    /// See `Watermark`; moves up when a later run confirms the content.
    pub const WATERMARK: &str = "phase6-watermark";
    /// Hex SHA-256 of the content, for stores that do not keep one themselves.
    pub const SHA256: &str = "phase6-sha256";
    pub const SCHEMA: &str = "phase6-schema";
    pub const CONFIG: &str = "phase6-config";
    /// `true` where the watermark was overruled (`--force`).
    pub const FORCED: &str = "phase6-forced";
    /// `true` where the content may lie compressed.
    pub const GZIP: &str = "phase6-gzip";
}

/// A finished document and where it goes. It has passed its schema and guards.
#[derive(Debug, Clone)]
pub struct Artifact {
    pub path: String,
    pub body: Body,
    /// Hex SHA-256 of the body.
    pub sha256: String,
    pub size: u64,
    pub content_type: String,
    pub cache_control: Option<String>,
    pub kind: ArtifactKind,
    /// The path names the target date, so only runs of that date write it.
    pub dated: bool,
    /// Written once and never replaced (a frozen copy).
    pub once: bool,
    /// May lie compressed.
    pub gzip: bool,
    /// The document's name in the export file.
    pub document: String,
    /// Version of the schema that it passed.
    pub schema: Option<String>,
    /// Counts by place (`games[]`), for the guards of the next release.
    pub counts: BTreeMap<String, u64>,
}

/// The order of publication: what others point to comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArtifactKind {
    Dated,
    Entity,
    Index,
    Alias,
}

impl ArtifactKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dated => "dated",
            Self::Entity => "entity",
            Self::Index => "index",
            Self::Alias => "alias",
        }
    }

    /// The kind that a release record names; an unknown one is published last, with the aliases.
    pub fn of_name(name: &str) -> Self {
        let kinds = [Self::Dated, Self::Entity, Self::Index];
        kinds.into_iter().find(|k| k.as_str() == name).unwrap_or(Self::Alias)
    }
}

/// Who publishes: the same for all objects of a run.
#[derive(Debug, Clone)]
pub struct Intent {
    /// Sorts by time; the same again after a crash of the same run.
    pub run_id: String,
    pub target_date: Date,
    /// When the query started at the warehouse.
    pub as_of: Timestamp,
    pub config_hash: String,
    /// Replaces newer objects too.
    pub force: bool,
}

impl Intent {
    /// The watermark of an artifact of this run.
    pub fn watermark(&self, artifact: &Artifact) -> Watermark {
        let target_date = (!artifact.dated).then_some(self.target_date);
        Watermark { target_date, as_of: self.as_of, run_id: self.run_id.clone() }
    }

    fn metadata(&self, artifact: &Artifact) -> BTreeMap<String, String> {
        let mut metadata = BTreeMap::from([
            (keys::RUN_ID.to_owned(), self.run_id.clone()),
            (keys::WATERMARK.to_owned(), self.watermark(artifact).to_string()),
            (keys::SHA256.to_owned(), artifact.sha256.clone()),
            (keys::CONFIG.to_owned(), self.config_hash.clone()),
        ]);
        metadata.extend(artifact.schema.iter().map(|s| (keys::SCHEMA.to_owned(), s.clone())));
        if artifact.gzip {
            metadata.insert(keys::GZIP.to_owned(), "true".to_owned());
        }
        if self.force {
            metadata.insert(keys::FORCED.to_owned(), "true".to_owned());
        }
        metadata
    }
}

/// What became of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Written {
        generation: u64,
    },
    /// The same content was there already.
    Unchanged {
        generation: u64,
    },
    /// A newer run's document is there.
    Superseded {
        generation: u64,
        by: Watermark,
    },
    /// It is written once, and was.
    Kept {
        generation: u64,
    },
}

impl Outcome {
    /// The generation of the live object.
    pub fn generation(&self) -> u64 {
        match self {
            Self::Written { generation }
            | Self::Unchanged { generation }
            | Self::Superseded { generation, .. }
            | Self::Kept { generation } => *generation,
        }
    }

    /// Whether the live object has this artifact's content.
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Written { .. } | Self::Unchanged { .. })
    }
}

/// How long to go on trying.
#[derive(Debug, Clone)]
pub struct Retry {
    /// Transient failures of one object before giving up.
    pub attempts: u32,
    /// The first pause; each is twice the one before. Zero gives way to other tasks without a timer.
    pub base: Duration,
    pub cap: Duration,
    /// No pause reaches beyond this.
    pub deadline: Option<Instant>,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 8, base: Duration::from_millis(50), cap: Duration::from_secs(5), deadline: None }
    }
}

/// Other writers of one object that may come in between before we say that something is wrong.
const MAX_CONTENTION: u32 = 100;

/// Why an object was not published. The object is as it was, unless the store's error is transient.
#[derive(Debug, Clone)]
pub enum PublishError {
    /// The store refused, or did not answer often enough.
    Store(StoreError),
    /// The object's watermark cannot be read, so nobody knows what would be replaced.
    Watermark { path: String, reason: String },
    /// Others wrote the same object all the time.
    Contention { path: String },
}

impl PublishError {
    /// Trying again later may help.
    pub fn is_transient(&self) -> bool {
        match self {
            // Somebody has to free space; nobody has to change what was asked.
            Self::Store(error) => matches!(error.kind, StoreErrorKind::Transient | StoreErrorKind::Full),
            Self::Watermark { .. } => false,
            Self::Contention { .. } => true,
        }
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Watermark { path, reason } => write!(f, "could not publish `{path}`: {reason} (publish with force)"),
            Self::Contention { path } => {
                write!(f, "could not publish `{path}`: others wrote it {MAX_CONTENTION} times in between (try again)")
            }
        }
    }
}

impl std::error::Error for PublishError {}

impl From<StoreError> for PublishError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What the loop does next, decided from what is there. Pure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Done(Outcome),
    /// The content is right; move its watermark.
    Advance(Version),
    Write(Condition),
}

/// Decides the next step.
pub fn decide(seen: Option<&ObjectInfo>, artifact: &Artifact, intent: &Intent) -> Result<Step, PublishError> {
    let Some(seen) = seen else { return Ok(Step::Write(Condition::Absent)) };
    let generation = seen.generation;
    let hash = seen.sha256.as_ref().or_else(|| seen.metadata.get(keys::SHA256));
    let same_content = hash == Some(&artifact.sha256);
    let same_run = seen.metadata.get(keys::RUN_ID) == Some(&intent.run_id);
    if artifact.once {
        return Ok(Step::Done(match (same_content, same_run) {
            (true, true) => Outcome::Written { generation },
            (true, false) => Outcome::Unchanged { generation },
            (false, _) => Outcome::Kept { generation },
        }));
    }
    let mine = intent.watermark(artifact);
    let theirs = match watermark_of(seen) {
        Ok(theirs) => theirs,
        Err(_) if intent.force => None,
        Err(reason) => return Err(PublishError::Watermark { path: seen.path.clone(), reason }),
    };
    let ahead = theirs.as_ref().is_some_and(|theirs| !mine.is_newer_than(theirs));
    // A run that was cut off and asked the warehouse again is newer than what it wrote the first time.
    if same_content && same_run && ahead {
        return Ok(Step::Done(Outcome::Written { generation }));
    }
    if let Some(by) = theirs.filter(|theirs| !intent.force && theirs.is_newer_than(&mine)) {
        return Ok(Step::Done(Outcome::Superseded { generation, by }));
    }
    let same_headers = seen.cache_control == artifact.cache_control
        && seen.metadata.contains_key(keys::GZIP) == artifact.gzip
        && seen.content_type.as_ref().is_none_or(|t| *t == artifact.content_type);
    if same_content && same_headers {
        let unchanged = Step::Done(Outcome::Unchanged { generation });
        return Ok(if ahead { unchanged } else { Step::Advance(seen.version()) });
    }
    Ok(Step::Write(Condition::Match(seen.version())))
}

/// The watermark of a live object; `None` for one that phase6 did not write.
pub fn watermark_of(info: &ObjectInfo) -> Result<Option<Watermark>, String> {
    info.metadata.get(keys::WATERMARK).map(|text| text.parse()).transpose()
}

/// Publishes one artifact.
pub async fn publish_object(
    store: &dyn ObjectStore,
    artifact: &Artifact,
    intent: &Intent,
    retry: &Retry,
) -> Result<Outcome, PublishError> {
    publish_seen(store, artifact, Known::Nothing, intent, retry).await
}

/// Publishes one artifact of which somebody may have looked already what is there.
pub async fn publish_seen(
    store: &dyn ObjectStore,
    artifact: &Artifact,
    mut known: Known,
    intent: &Intent,
    retry: &Retry,
) -> Result<Outcome, PublishError> {
    let mut patience = Patience::new(retry, &artifact.path);
    loop {
        let error = match attempt(store, artifact, std::mem::take(&mut known), intent).await {
            Err(PublishError::Store(error)) => error,
            decided => return decided,
        };
        patience.spend(error).await?;
    }
}

async fn attempt(
    store: &dyn ObjectStore,
    artifact: &Artifact,
    known: Known,
    intent: &Intent,
) -> Result<Outcome, PublishError> {
    let path = &artifact.path;
    let seen = match known {
        Known::Seen(seen) => seen.map(|info| *info),
        Known::Nothing => store.stat(path).await?,
    };
    match decide(seen.as_ref(), artifact, intent)? {
        Step::Done(outcome) => Ok(outcome),
        Step::Advance(version) => {
            let mut metadata = seen.map_or_else(BTreeMap::new, |s| s.metadata);
            metadata.insert(keys::WATERMARK.to_owned(), intent.watermark(artifact).to_string());
            let touched = store.touch(path, version, &metadata).await?;
            Ok(Outcome::Unchanged { generation: touched.generation })
        }
        Step::Write(condition) => {
            let options = PutOptions {
                condition,
                content_type: Some(artifact.content_type.clone()),
                cache_control: artifact.cache_control.clone(),
                metadata: intent.metadata(artifact),
                sha256: Some(artifact.sha256.clone()),
                gzip: artifact.gzip,
            };
            let written = store.put(path, &artifact.body, &options).await?;
            Ok(Outcome::Written { generation: written.generation })
        }
    }
}

/// Counts failures and pauses between attempts.
pub struct Patience<'a> {
    retry: &'a Retry,
    path: &'a str,
    failures: u32,
    contention: u32,
}

impl<'a> Patience<'a> {
    pub fn new(retry: &'a Retry, path: &'a str) -> Self {
        Self { retry, path, failures: 0, contention: 0 }
    }

    /// Returns when it is time for the next attempt; gives the error back when there is none.
    pub async fn spend(&mut self, error: StoreError) -> Result<(), PublishError> {
        match error.kind {
            StoreErrorKind::PreconditionFailed => {
                self.contention += 1;
                if self.contention > MAX_CONTENTION {
                    return Err(PublishError::Contention { path: self.path.to_owned() });
                }
                self.pause(self.contention.saturating_sub(1).min(4), error).await
            }
            StoreErrorKind::Transient => {
                self.failures += 1;
                if self.failures >= self.retry.attempts {
                    return Err(error.into());
                }
                self.pause(self.failures, error).await
            }
            _ => Err(error.into()),
        }
    }

    async fn pause(&self, doublings: u32, error: StoreError) -> Result<(), PublishError> {
        let longest = self.retry.base.saturating_mul(1 << doublings.min(16)).min(self.retry.cap);
        // Between half and all of it, by the path, so that many objects do not come back at once.
        let spread = self.path.bytes().fold(doublings, |h, b| h.wrapping_mul(31).wrapping_add(u32::from(b))) % 512;
        let pause = longest / 2 + longest / 1024 * spread;
        if self.retry.deadline.is_some_and(|deadline| Instant::now() + pause > deadline) {
            return Err(error.into());
        }
        if pause.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::faulty::{Faults, Faulty};
    use crate::adapters::memory::MemoryStore;
    use std::sync::Arc;

    fn artifact(text: &str) -> Artifact {
        Artifact {
            path: "results/latest.json".into(),
            body: Body::from(text.as_bytes().to_vec()),
            sha256: crate::adapters::hex_sha256(text.as_bytes()),
            size: text.len() as u64,
            content_type: "application/json".into(),
            cache_control: Some("public, max-age=300".into()),
            kind: ArtifactKind::Alias,
            dated: false,
            once: false,
            gzip: false,
            document: "results".into(),
            schema: None,
            counts: BTreeMap::new(),
        }
    }

    fn intent(run: &str, date: &str) -> Intent {
        Intent {
            run_id: run.into(),
            target_date: date.parse().unwrap(),
            as_of: "2025-12-12T18:00:00Z".parse().unwrap(),
            config_hash: "c".into(),
            force: false,
        }
    }

    fn at_once() -> Retry {
        Retry { base: Duration::ZERO, ..Retry::default() }
    }

    async fn publish(store: &dyn ObjectStore, artifact: &Artifact, intent: &Intent) -> Outcome {
        publish_object(store, artifact, intent, &at_once()).await.unwrap()
    }

    async fn live(store: &dyn ObjectStore) -> String {
        String::from_utf8(store.get("results/latest.json", None).await.unwrap().bytes).unwrap()
    }

    #[tokio::test]
    async fn an_older_date_never_replaces_a_newer_one() {
        let store = MemoryStore::new();
        publish(&store, &artifact("12"), &intent("r1", "2025-12-12")).await;
        let outcome = publish(&store, &artifact("11"), &intent("r2", "2025-12-11")).await;
        assert!(matches!(outcome, Outcome::Superseded { generation: 1, .. }));
        assert_eq!(live(&store).await, "12");
        let forced = Intent { force: true, ..intent("r3", "2025-12-11") };
        assert_eq!(publish(&store, &artifact("11"), &forced).await, Outcome::Written { generation: 2 });
        assert_eq!(publish(&store, &artifact("13"), &intent("r4", "2025-12-13")).await.generation(), 3);
    }

    #[tokio::test]
    async fn a_dated_path_takes_the_fresher_answer() {
        let store = MemoryStore::new();
        let dated = |text| Artifact { dated: true, ..artifact(text) };
        let later = Intent { as_of: "2025-12-12T19:00:00Z".parse().unwrap(), ..intent("a", "2025-12-01") };
        publish(&store, &dated("fresh"), &later).await;
        let outcome = publish(&store, &dated("stale"), &intent("z", "2025-12-01")).await;
        assert!(matches!(outcome, Outcome::Superseded { .. }));
    }

    #[tokio::test]
    async fn unchanged_content_stays_but_its_watermark_moves() {
        let store = MemoryStore::new();
        publish(&store, &artifact("same"), &intent("r1", "2025-12-10")).await;
        let again = publish(&store, &artifact("same"), &intent("r2", "2025-12-12")).await;
        assert_eq!(again, Outcome::Unchanged { generation: 1 });
        let late = publish(&store, &artifact("between"), &intent("r3", "2025-12-11")).await;
        assert!(matches!(late, Outcome::Superseded { .. }), "{late:?}");
        assert_eq!(store.versions("results/latest.json").await.unwrap().len(), 1);
        // The same run once more has nothing to do at all.
        let before = store.stat("results/latest.json").await.unwrap();
        publish(&store, &artifact("same"), &intent("r2", "2025-12-12")).await;
        assert_eq!(store.stat("results/latest.json").await.unwrap(), before);
    }

    #[tokio::test]
    async fn other_headers_are_a_change() {
        let store = MemoryStore::new();
        publish(&store, &artifact("same"), &intent("r1", "2025-12-12")).await;
        let finals = Artifact { cache_control: Some("public, max-age=86400".into()), ..artifact("same") };
        assert_eq!(publish(&store, &finals, &intent("r2", "2025-12-12")).await, Outcome::Written { generation: 2 });
    }

    #[tokio::test]
    async fn once_is_once() {
        let store = MemoryStore::new();
        let frozen = |text| Artifact { once: true, ..artifact(text) };
        assert_eq!(
            publish(&store, &frozen("a"), &intent("r1", "2025-12-12")).await,
            Outcome::Written { generation: 1 }
        );
        assert_eq!(
            publish(&store, &frozen("a"), &intent("r2", "2025-12-13")).await,
            Outcome::Unchanged { generation: 1 }
        );
        assert_eq!(publish(&store, &frozen("b"), &intent("r3", "2025-12-14")).await, Outcome::Kept { generation: 1 });
        assert_eq!(live(&store).await, "a");
    }

    #[tokio::test]
    async fn a_lost_reply_is_recognised() {
        let inner = Arc::new(MemoryStore::new());
        for seed in 0..200 {
            let faulty = Faulty::new(inner.clone(), Faults { error_after: 400, ..Faults::default() }, seed);
            let run = format!("r{seed:03}");
            let retry = Retry { attempts: 100, ..at_once() };
            let outcome = publish_object(&faulty, &artifact(&run), &intent(&run, "2025-12-12"), &retry).await;
            assert_eq!(outcome.unwrap(), Outcome::Written { generation: seed + 1 });
        }
    }

    #[tokio::test]
    async fn a_store_that_stays_away_is_an_error_in_time() {
        let faulty = Faulty::new(Arc::new(MemoryStore::new()), Faults { error_before: 1000, ..Faults::default() }, 1);
        let error = publish_object(&faulty, &artifact("x"), &intent("r", "2025-12-12"), &at_once()).await.unwrap_err();
        assert!(error.is_transient());
        let started = Instant::now();
        let retry = Retry { deadline: Some(started + Duration::from_millis(30)), ..Retry::default() };
        publish_object(&faulty, &artifact("x"), &intent("r", "2025-12-12"), &retry).await.unwrap_err();
        assert!(started.elapsed() < Duration::from_millis(500));
    }

    #[tokio::test]
    async fn an_unreadable_watermark_is_not_overwritten_by_guess() {
        let store = MemoryStore::new();
        let options =
            PutOptions { metadata: [(keys::WATERMARK.to_owned(), "v9".to_owned())].into(), ..PutOptions::default() };
        store.put("results/latest.json", &Body::from(b"x".to_vec()), &options).await.unwrap();
        let plain = intent("r", "2025-12-12");
        let error = publish_object(&store, &artifact("y"), &plain, &at_once()).await.unwrap_err();
        assert!(error.to_string().contains("force"), "{error}");
        let forced = Intent { force: true, ..plain };
        assert_eq!(publish(&store, &artifact("y"), &forced).await, Outcome::Written { generation: 2 });
    }
}
