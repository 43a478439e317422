//! The object store on a bucket of Cloud Storage, for published documents and for the state alike.
//!
//! **Two doors.** Content goes and comes by Google's crate (`content`). Its other half, `StorageControl` (describe, list, delete,
//! change metadata), speaks gRPC alone, which no stand-in for Cloud Storage that runs here understands; those calls go over the
//! JSON API (`api`), whose requests the tests hold against the public reference.
//!
//! **Every write is conditional where the caller's is**: `Absent` is `ifGenerationMatch=0`, `Match` is generation and
//! metageneration. Only such writes are tried again here, a few times, and only when the answer was an error of the server's. An
//! answer that was lost is [`StoreErrorKind::Transient`], also when a later attempt then failed its precondition (perhaps on what
//! the earlier one wrote): the caller looks what is there and decides anew (`engine::publish`).
//!
//! **Metadata**: the SHA-256 of the plain content, and its size where it is compressed, are kept beside the caller's entries and
//! are not shown among them. An object without a content type is one with `application/octet-stream`, which is what Cloud
//! Storage serves it as.
//!
//! **The bucket** needs object versioning for published documents (old generations, rollback) and none for the state. Writes are
//! paced (`pace`).

mod api;
mod content;
mod failure;
mod gzip;
mod pace;
mod resource;
#[cfg(test)]
mod tests;

pub use pace::Limits;

use super::{Api, Google};
use crate::adapters::directory::{Scratch, scratch};
use crate::ports::chance::jittered;
use crate::ports::store::{
    Body, Condition, Object, ObjectInfo, ObjectStore, PutOptions, StoreError, StoreErrorKind, Traffic, Version,
    check_path,
};
use api::{JsonApi, Listing, Request, at_version, parse};
use async_trait::async_trait;
use bytes::Bytes;
use content::{Content, Contents, RESUMABLE_FROM, Upload};
use failure::{Call, Failure};
use pace::Pace;
use reqwest::Method;
use resource::{FIELDS, Resource, metadata_patch, stored_metadata};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A bucket.
pub struct BucketStore {
    api: JsonApi,
    contents: Contents,
    pace: Pace,
    seen: Seen,
    /// Where documents wait to be sent; made at the first use.
    spool: Mutex<Option<Scratch>>,
}

impl BucketStore {
    /// The store on a bucket; nothing is called yet. Where an emulator stands in for Cloud Storage, writes are not paced.
    pub fn new(google: Arc<Google>, bucket: &str) -> Self {
        let limits = if google.is_emulated(Api::Storage) { Limits::NONE } else { Limits::CLOUD_STORAGE };
        Self {
            contents: Contents::new(google.clone(), bucket),
            api: JsonApi { google, bucket: bucket.to_owned() },
            pace: Pace::new(limits),
            seen: Seen::default(),
            spool: Mutex::default(),
        }
    }

    /// With other limits.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.pace = Pace::new(limits);
        self
    }

    fn call<'a>(&'a self, operation: &'static str, path: &'a str) -> Result<Call<'a>, StoreError> {
        let call = Call { operation, path, bucket: &self.api.bucket };
        match check_path(path) {
            Ok(()) => Ok(call),
            Err(reason) => Err(call.error(StoreErrorKind::InvalidPath, reason)),
        }
    }

    fn info(&self, resource: Resource) -> ObjectInfo {
        self.seen.note(&resource);
        resource.into_info()
    }

    /// Makes attempts of a conditional write until one is answered for good. Each waits for its turn.
    async fn write<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        call: Call<'_>,
        conditional: bool,
        ambiguous: &AtomicBool,
        attempt: impl Fn() -> F,
    ) -> Result<T, StoreError> {
        let mut tries = Tries::new();
        loop {
            let turn = self.pace.turn(call.path).await;
            let failure = match attempt().await {
                Ok(done) => {
                    turn.written();
                    return Ok(done);
                }
                Err(failure) => failure,
            };
            if failure.is_rate_limit() {
                turn.refused();
            } else if failure.is_ambiguous() {
                turn.written();
            }
            if failure.kind() == StoreErrorKind::PreconditionFailed && ambiguous.load(Ordering::Relaxed) {
                return Err(call.error(
                    StoreErrorKind::Transient,
                    "an earlier attempt was not answered, and the object has changed since; it may have been that attempt",
                ));
            }
            // No answer at all: the caller looks what became of it.
            let answered = failure.status.is_some();
            if !(conditional && answered && tries.again(&failure).await) {
                return Err(call.failed(failure));
            }
            if failure.is_ambiguous() {
                ambiguous.store(true, Ordering::Relaxed);
            }
        }
    }

    /// What is sent of a body: the content, its hash, and the plain size where it is compressed.
    fn content(
        &self,
        call: Call<'_>,
        body: &Body,
        options: &PutOptions,
    ) -> Result<(Content, String, Option<u64>), StoreError> {
        let io = |e: std::io::Error| StoreError::from_io(&e, call.operation, call.path, call.bucket);
        if let (Body::File(file), Some(sha256), false) = (body, &options.sha256, options.gzip) {
            let size = std::fs::metadata(file.path()).map_err(io)?.len();
            if size >= RESUMABLE_FROM {
                return Ok((Content::File { path: file.path().to_owned(), size }, sha256.clone(), None));
            }
        }
        let plain = body.read().map_err(io)?;
        let sha256 = options.sha256.clone().unwrap_or_else(|| crate::adapters::hex_sha256(&plain));
        if options.gzip {
            let packed = gzip::pack(&plain).map_err(io)?;
            return Ok((Content::Memory(packed.into()), sha256, Some(plain.len() as u64)));
        }
        Ok((Content::Memory(Bytes::from_owner(Shared(plain))), sha256, None))
    }

    /// The content of what is described, if it is still there.
    async fn read(&self, call: Call<'_>, resource: Resource) -> Result<Object, StoreError> {
        let (stored, _) = self
            .contents
            .read(call.path, Some(resource.generation), resource.size)
            .await
            .map_err(|failure| call.failed(failure))?;
        self.object(call, resource, stored)
    }

    fn object(&self, call: Call<'_>, resource: Resource, stored: Vec<u8>) -> Result<Object, StoreError> {
        let bytes = if resource.is_gzip() {
            gzip::unpack(stored)
                .map_err(|e| call.error(StoreErrorKind::Corrupt, format!("it is no whole gzip: {e}")))?
        } else {
            stored
        };
        let info = self.info(resource);
        let hash = crate::adapters::hex_sha256(&bytes);
        if info.sha256.as_ref().is_some_and(|noted| *noted != hash) {
            return Err(call.error(StoreErrorKind::Corrupt, "the content has not the hash that it was written with"));
        }
        Ok(Object { info: ObjectInfo { sha256: Some(hash), size: bytes.len() as u64, ..info }, bytes })
    }

    /// The live object: description and content are asked for together, and belong together if no write came in between.
    async fn get_live(&self, call: Call<'_>) -> Result<Object, StoreError> {
        for _ in 0..GET_ATTEMPTS {
            let (described, read) = tokio::join!(self.api.describe(call, None), self.contents.read(call.path, None, 0));
            let Some(resource) = described? else { break };
            match read {
                Ok((stored, generation)) if generation == resource.generation => {
                    return self.object(call, resource, stored);
                }
                Err(failure) if failure.kind() != StoreErrorKind::NotFound => return Err(call.failed(failure)),
                // Of a bucket without versions the replaced generation is gone: look again.
                _ => match self.read(call, resource).await {
                    Err(error) if error.kind == StoreErrorKind::NotFound => {}
                    other => return other,
                },
            }
        }
        Err(call.error(StoreErrorKind::NotFound, "no such object"))
    }

    async fn all_versions(&self, call: Call<'_>) -> Result<Vec<Resource>, StoreError> {
        let listing = Listing { prefix: call.path, versions: true, only: Some(call.path) };
        let mut found = self.api.list(call, &listing).await?;
        found.sort_by_key(|resource| std::cmp::Reverse(resource.generation));
        Ok(found)
    }
}

/// Times that a replaced object is looked for again.
const GET_ATTEMPTS: u32 = 8;

struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[async_trait]
impl ObjectStore for BucketStore {
    fn describe(&self) -> String {
        failure::describe(&self.api.bucket)
    }

    fn spool_dir(&self) -> Result<PathBuf, StoreError> {
        let mut spool = self.spool.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scratch) = spool.as_ref().filter(|scratch| scratch.folder.is_dir()) {
            return Ok(scratch.folder.clone());
        }
        // One for each user: the folder of another's could not be written.
        let base = std::env::temp_dir().join(format!("phase6-spool-{}", rustix::process::getuid().as_raw()));
        Ok(spool.insert(scratch(&base, &self.describe())?).folder.clone())
    }

    fn traffic(&self) -> Traffic {
        Traffic { at_once: 48, list_from: Some(24) }
    }

    async fn stat(&self, path: &str) -> Result<Option<ObjectInfo>, StoreError> {
        let found = self.api.describe(self.call("stat", path)?, None).await?;
        Ok(found.map(|resource| self.info(resource)))
    }

    async fn get(&self, path: &str, generation: Option<u64>) -> Result<Object, StoreError> {
        let call = self.call("get", path)?;
        match generation {
            None => self.get_live(call).await,
            Some(_) => match self.api.describe(call, generation).await? {
                Some(resource) => self.read(call, resource).await,
                None => Err(call.error(StoreErrorKind::NotFound, "no such generation")),
            },
        }
    }

    async fn put(&self, path: &str, body: &Body, options: &PutOptions) -> Result<ObjectInfo, StoreError> {
        let call = self.call("put", path)?;
        let (content, sha256, plain_size) = self.content(call, body, options)?;
        let upload = Upload {
            path,
            content,
            condition: options.condition,
            content_type: options.content_type.as_deref(),
            cache_control: options.cache_control.as_deref(),
            gzip: options.gzip,
            metadata: stored_metadata(&options.metadata, &sha256, plain_size),
        };
        let ambiguous = Arc::new(AtomicBool::new(false));
        let conditional = options.condition != Condition::Any;
        let written = self.write(call, conditional, &ambiguous, || self.contents.write(&upload, &ambiguous)).await?;
        Ok(self.info(written))
    }

    async fn touch(
        &self,
        path: &str,
        version: Version,
        metadata: &BTreeMap<String, String>,
    ) -> Result<ObjectInfo, StoreError> {
        let call = self.call("touch", path)?;
        let moved = || call.error(StoreErrorKind::PreconditionFailed, "it is no longer as it was seen");
        let keys = match self.seen.keys(path, version) {
            Some(keys) => keys,
            None => match self.api.describe(call, None).await? {
                Some(there) if there.version() == version => there.metadata.into_keys().collect(),
                _ => return Err(moved()),
            },
        };
        let mut query = at_version(version);
        query.push(("fields", FIELDS.to_owned()));
        let body = Some(metadata_patch(keys.iter().map(String::as_str), metadata));
        let request = Request { method: Method::PATCH, object: Some(path), query, body };
        let patched = self.write(call, true, &AtomicBool::new(false), || self.api.attempt(&request)).await;
        match patched {
            Ok(body) => Ok(self.info(parse(call, &body)?)),
            Err(error) if error.kind == StoreErrorKind::NotFound => Err(moved()),
            Err(error) => Err(error),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let call = Call { operation: "list", path: prefix, bucket: &self.api.bucket };
        let found = self.api.list(call, &Listing { prefix, versions: false, only: None }).await?;
        let ours = found.into_iter().filter(|resource| check_path(&resource.name).is_ok());
        let mut infos: Vec<ObjectInfo> = ours.map(|resource| self.info(resource)).collect();
        infos.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(infos)
    }

    async fn delete(&self, path: &str, condition: Condition) -> Result<(), StoreError> {
        let call = self.call("delete", path)?;
        let query = match condition {
            Condition::Any => Vec::new(),
            Condition::Match(version) => at_version(version),
            // Nothing can be deleted that must not be there.
            Condition::Absent => {
                let there = self.api.describe(call, None).await?.is_some();
                let kind = if there { StoreErrorKind::PreconditionFailed } else { StoreErrorKind::NotFound };
                return Err(call.error(kind, if there { "an object is there" } else { "no such object" }));
            }
        };
        let conditional = condition != Condition::Any;
        let request = Request { method: Method::DELETE, object: Some(path), query, body: None };
        self.write(call, conditional, &AtomicBool::new(false), || self.api.attempt(&request)).await?;
        Ok(())
    }

    async fn forget(&self, path: &str) -> Result<(), StoreError> {
        let call = self.call("forget", path)?;
        for resource in self.all_versions(call).await? {
            let query = vec![("generation", resource.generation.to_string())];
            let request = Request { method: Method::DELETE, object: Some(path), query, body: None };
            // A generation is deleted once, however often it is asked for.
            match self.api.read(call, &request).await {
                Err(error) if error.kind != StoreErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    async fn versions(&self, path: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let found = self.all_versions(self.call("versions", path)?).await?;
        Ok(found.into_iter().map(|resource| resource.into_info()).collect())
    }
}

/// Attempts of one call.
const ATTEMPTS: u32 = 5;

/// The first pause between them; each is twice the one before.
const PAUSE: Duration = Duration::from_millis(100);

/// Counts attempts, and pauses between them.
struct Tries {
    failed: u32,
}

impl Tries {
    fn new() -> Self {
        Self { failed: 0 }
    }

    /// Whether another attempt is worth it; returns when it is time for it.
    async fn again(&mut self, failure: &Failure) -> bool {
        self.failed += 1;
        if failure.kind() != StoreErrorKind::Transient || self.failed >= ATTEMPTS {
            return false;
        }
        tokio::time::sleep(jittered(PAUSE * (1 << self.failed))).await;
        true
    }
}

/// The metadata keys of objects as they were last seen, so that a change of metadata, which has to name those that go, need not
/// ask for them first. What is forgotten here is asked for.
#[derive(Default)]
struct Seen(Mutex<HashMap<String, (Version, Vec<String>)>>);

/// Objects that are remembered.
const MANY: usize = 20_000;

impl Seen {
    fn note(&self, resource: &Resource) {
        let keys = resource.metadata.keys().cloned().collect();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MANY {
            all.clear();
        }
        all.insert(resource.name.clone(), (resource.version(), keys));
    }

    fn keys(&self, path: &str, version: Version) -> Option<Vec<String>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(path).filter(|(seen, _)| *seen == version).map(|(_, keys)| keys.clone())
    }
}
