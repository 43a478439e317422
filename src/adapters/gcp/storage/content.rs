//! Objects' content, by the crate `google-cloud-storage`: small ones in one request, large ones in a resumable session, CRC32C
//! checked at both ends.
//!
//! Its `send_buffered` computes the checksum first and puts it into the object's metadata. Its `send_unbuffered` would add it as a
//! third part of the upload, which servers that go by the public reference take for content.

use super::failure::Failure;
use super::resource::{NO_CONTENT_TYPE, Resource};
use crate::adapters::gcp::{Api, CloudError, Google};
use crate::ports::store::Condition;
use bytes::Bytes;
use google_cloud_gax::exponential_backoff::ExponentialBackoffBuilder;
use google_cloud_gax::retry_policy::{NeverRetry, RetryPolicy, RetryPolicyExt};
use google_cloud_gax::retry_result::RetryResult;
use google_cloud_gax::retry_state::RetryState;
use google_cloud_storage::client::Storage;
use google_cloud_storage::read_resume_policy::{ReadResumePolicyExt, Recommended};
use google_cloud_storage::retry_policy::RetryableErrors;
use google_cloud_storage::streaming_source::{Payload, Seek, StreamingSource};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Content of this size and more is sent in parts, each of which can be sent again.
pub const RESUMABLE_FROM: u64 = 8 << 20;

/// The longest that a request with content may take, besides what its size needs.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// What a slow line carries in a second.
const SLOW_LINE: u64 = 256 << 10;

/// Attempts of one read, or of one part of a large write.
const ATTEMPTS: u32 = 5;

/// What is sent.
#[derive(Clone)]
pub enum Content {
    Memory(Bytes),
    /// Read while it is sent.
    File {
        path: PathBuf,
        size: u64,
    },
}

impl Content {
    pub fn size(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { size, .. } => *size,
        }
    }
}

/// An object to be written.
pub struct Upload<'a> {
    pub path: &'a str,
    pub content: Content,
    pub condition: Condition,
    pub content_type: Option<&'a str>,
    pub cache_control: Option<&'a str>,
    pub gzip: bool,
    pub metadata: BTreeMap<String, String>,
}

/// The crate's client for one bucket; made at the first use, as making it waits.
pub struct Contents {
    google: Arc<Google>,
    /// `projects/_/buckets/NAME`.
    bucket: String,
    client: tokio::sync::OnceCell<Storage>,
}

impl Contents {
    pub fn new(google: Arc<Google>, bucket: &str) -> Self {
        Self { google, bucket: format!("projects/_/buckets/{bucket}"), client: tokio::sync::OnceCell::new() }
    }

    async fn client(&self) -> Result<&Storage, Failure> {
        let unmade = |e: CloudError| Failure { status: Some(400), reason: None, message: e.0, corrupt: false };
        let make = async || {
            let backoff = ExponentialBackoffBuilder::new()
                .with_initial_delay(Duration::from_millis(100))
                .with_maximum_delay(Duration::from_secs(5))
                .build()
                .map_err(|e| CloudError(e.to_string()))?;
            Storage::builder()
                .with_endpoint(self.google.endpoint(Api::Storage))
                .with_credentials(self.google.credentials(Api::Storage))
                .with_backoff_policy(backoff)
                .with_retry_policy(RetryableErrors.with_attempt_limit(ATTEMPTS))
                .with_read_resume_policy(Recommended.with_attempt_limit(ATTEMPTS))
                .with_resumable_upload_threshold(usize::try_from(RESUMABLE_FROM).unwrap_or(usize::MAX))
                .build()
                .await
                .map_err(|e| CloudError(format!("the Cloud Storage client cannot be made: {e}")))
        };
        self.client.get_or_try_init(make).await.map_err(unmade)
    }

    /// One attempt to write. A large object's parts are sent again where the server said that it could not take them;
    /// `ambiguous` then says so, as a failed precondition may be our own doing.
    pub async fn write(&self, upload: &Upload<'_>, ambiguous: &Arc<AtomicBool>) -> Result<Resource, Failure> {
        match &upload.content {
            Content::Memory(bytes) => self.write_payload(upload, Payload::from(bytes.clone()), ambiguous).await,
            Content::File { path, .. } => {
                let file = tokio::fs::File::open(path).await.map_err(|e| Failure::transport(&e))?;
                self.write_payload(upload, Payload::from(file), ambiguous).await
            }
        }
    }

    async fn write_payload<T>(
        &self,
        upload: &Upload<'_>,
        payload: Payload<T>,
        ambiguous: &Arc<AtomicBool>,
    ) -> Result<Resource, Failure>
    where
        T: StreamingSource + Seek + Send + Sync + 'static,
        <T as StreamingSource>::Error: std::error::Error + Send + Sync + 'static,
        <T as Seek>::Error: std::error::Error + Send + Sync + 'static,
    {
        let size = upload.content.size();
        let mut request = self
            .client()
            .await?
            .write_object::<_, _, _, T>(&self.bucket, upload.path, payload)
            .set_content_type(upload.content_type.unwrap_or(NO_CONTENT_TYPE))
            .set_metadata(&upload.metadata);
        request = match upload.condition {
            Condition::Any => request,
            Condition::Absent => request.set_if_generation_match(0),
            Condition::Match(version) => request
                .set_if_generation_match(signed(version.generation))
                .set_if_metageneration_match(signed(version.metageneration)),
        };
        if let Some(header) = upload.cache_control {
            request = request.set_cache_control(header);
        }
        if upload.gzip {
            request = request.set_content_encoding("gzip");
        }
        request = if size < RESUMABLE_FROM {
            request.with_retry_policy(NeverRetry)
        } else {
            request.with_retry_policy(Noting(ambiguous.clone()).with_attempt_limit(ATTEMPTS))
        };
        in_time(size, request.send_buffered()).await.map(Resource::from)
    }

    /// An object's content as it lies there, and its generation.
    pub async fn read(&self, path: &str, generation: Option<u64>, size: u64) -> Result<(Vec<u8>, u64), Failure> {
        let mut request = self.client().await?.read_object(&self.bucket, path);
        if let Some(generation) = generation {
            request = request.set_generation(signed(generation));
        }
        let whole = async {
            let mut response = request.send().await?;
            let generation = response.object().generation;
            let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
            while let Some(part) = response.next().await.transpose()? {
                content.extend_from_slice(&part);
            }
            Ok((content, u64::try_from(generation).unwrap_or(0)))
        };
        in_time(size, whole).await
    }
}

/// The crate's calls have no limit of their own, and a server that has stopped answering would hold us for ever.
async fn in_time<T>(
    size: u64,
    work: impl Future<Output = Result<T, google_cloud_storage::Error>>,
) -> Result<T, Failure> {
    let limit = ANSWER_LIMIT + Duration::from_secs(size / SLOW_LINE);
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done.map_err(|e| Failure::of_crate(&e)),
        Err(_) => Err(Failure::late(limit)),
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Goes on with a resumable session after an error of the server's, and notes that the attempt may have had its effect. A broken
/// connection ends the session: the crate (1.21) forgets the part that it was sending then and would go on with the next one
/// in its place, which the server refuses. The caller begins anew.
#[derive(Debug)]
struct Noting(Arc<AtomicBool>);

impl RetryPolicy for Noting {
    fn on_error(&self, state: &RetryState, error: google_cloud_storage::Error) -> RetryResult {
        let failure = Failure::of_crate(&error);
        if failure.status.is_none() {
            return RetryResult::Permanent(error);
        }
        if failure.is_ambiguous() {
            self.0.store(true, Ordering::Relaxed);
        }
        RetryableErrors.on_error(state, error)
    }
}
