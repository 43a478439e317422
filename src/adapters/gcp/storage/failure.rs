//! What Cloud Storage's refusals mean: by HTTP status and the documented `reason`, never by the text of a message.

use crate::adapters::gcp::{Unanswered, causes};
use crate::ports::store::{StoreError, StoreErrorKind};
use google_cloud_gax::error::rpc::StatusDetails;
use serde::Deserialize;

/// An operation on an object, for the error messages.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub operation: &'static str,
    pub path: &'a str,
    pub bucket: &'a str,
}

impl Call<'_> {
    pub fn error(self, kind: StoreErrorKind, reason: impl Into<String>) -> StoreError {
        StoreError::new(kind, self.operation, self.path, describe(self.bucket), reason)
    }

    /// The store's error for a failed request.
    pub fn failed(self, failure: Failure) -> StoreError {
        let kind = failure.kind();
        let error = self.error(kind, failure.to_string());
        match (kind, failure.status) {
            // The reason says what to do.
            (StoreErrorKind::Denied, None) => error,
            (StoreErrorKind::Denied, Some(401)) => error.help(
                "the credentials are missing or no longer valid: `gcloud auth application-default login`, or give the service a \
                 service account",
            ),
            (StoreErrorKind::Denied, _) => error.help(format!(
                "the caller needs roles/storage.objectUser on the bucket: `gcloud storage buckets add-iam-policy-binding gs://{} \
                 --member=… --role=roles/storage.objectUser`",
                self.bucket
            )),
            // A write is never told that its object is missing, only that its bucket is.
            (StoreErrorKind::NotFound, _) if matches!(self.operation, "put" | "list") => {
                error.help("does the bucket exist? `phase6 deploy --dry-run` shows what is missing")
            }
            _ => error,
        }
    }
}

/// What a store on this bucket is called.
pub fn describe(bucket: &str) -> String {
    format!("bucket `{bucket}`")
}

/// A request that was not answered as hoped.
#[derive(Debug, Clone)]
pub struct Failure {
    /// `None`: no answer came, or not all of it.
    pub status: Option<u16>,
    /// The documented word for it (`conditionNotMet`, `rateLimitExceeded`).
    pub reason: Option<String>,
    pub message: String,
    /// What came is not what lies there, by its checksum.
    pub corrupt: bool,
}

/// The documented body of an error.
#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorDetail,
}

#[derive(Deserialize)]
struct ErrorDetail {
    #[serde(default)]
    message: String,
    #[serde(default)]
    errors: Vec<ErrorItem>,
}

#[derive(Deserialize)]
struct ErrorItem {
    #[serde(default)]
    reason: Option<String>,
}

/// Our own reason where nothing was asked, as we are nobody.
const NO_CREDENTIALS: &str = "noCredentials";

impl Failure {
    /// No answer.
    pub fn transport(error: &dyn std::error::Error) -> Self {
        Self { status: None, reason: None, message: chain(error), corrupt: false }
    }

    /// No answer to a request of our own.
    pub fn unanswered(why: &Unanswered) -> Self {
        let nobody = matches!(why, Unanswered::Credentials { for_now: false, .. });
        let reason = nobody.then(|| NO_CREDENTIALS.to_owned());
        Self { status: None, reason, message: without_sessions(&why.to_string()), corrupt: false }
    }

    /// No answer in time.
    pub fn late(limit: std::time::Duration) -> Self {
        let message = format!("no answer within {} s", limit.as_secs());
        Self { status: None, reason: None, message, corrupt: false }
    }

    /// An answer that is an error.
    pub fn answer(status: u16, body: &[u8]) -> Self {
        match serde_json::from_slice::<ErrorBody>(body) {
            Ok(ErrorBody { error }) => {
                let reason = error.errors.into_iter().find_map(|e| e.reason);
                Self { status: Some(status), reason, message: error.message, corrupt: false }
            }
            // Media downloads and front ends answer in plain text.
            Err(_) => {
                let text = String::from_utf8_lossy(body).chars().take(200).collect();
                Self { status: Some(status), reason: None, message: text, corrupt: false }
            }
        }
    }

    /// What the crate says.
    pub fn of_crate(error: &google_cloud_storage::Error) -> Self {
        // A resumable session's errors are wrapped once more.
        let mut inner = error;
        while let Some(source) = std::error::Error::source(inner).and_then(|s| s.downcast_ref()) {
            inner = source;
        }
        let corrupt = std::error::Error::source(error).is_some_and(|source| {
            use google_cloud_storage::error::{ReadError, WriteError};
            matches!(source.downcast_ref(), Some(ReadError::ChecksumMismatch(_)))
                || matches!(source.downcast_ref(), Some(WriteError::ChecksumMismatch { .. }))
        });
        let status = inner.http_status_code();
        if let (Some(status), Some(payload)) = (status, inner.http_payload()) {
            return Self { corrupt, ..Self::answer(status, payload) };
        }
        let reason = inner.status().and_then(|s| s.details.iter().find_map(reason_of));
        let message = inner.status().map_or_else(|| chain(inner), |s| s.message.clone());
        Self { status, reason, message, corrupt }
    }

    /// What it means.
    pub fn kind(&self) -> StoreErrorKind {
        use StoreErrorKind as Kind;
        if self.corrupt {
            return Kind::Corrupt;
        }
        match (self.status, self.reason.as_deref()) {
            (None, Some(NO_CREDENTIALS)) => Kind::Denied,
            (None, _) => Kind::Transient,
            (Some(404), _) => Kind::NotFound,
            // 304 is the answer to a read whose `…NotMatch` did not hold; nothing here asks for that.
            (Some(412), _) => Kind::PreconditionFailed,
            (Some(403), Some("rateLimitExceeded" | "userRateLimitExceeded")) => Kind::Transient,
            (Some(403), Some("quotaExceeded")) => Kind::Full,
            (Some(401 | 403), _) => Kind::Denied,
            (Some(408 | 429 | 500..=599), _) => Kind::Transient,
            _ => Kind::Failed,
        }
    }

    /// Too many requests: nothing was done, and the next one should come later.
    pub fn is_rate_limit(&self) -> bool {
        self.status == Some(429) || self.status == Some(403) && self.kind() == StoreErrorKind::Transient
    }

    /// Whether the request may have been carried out all the same.
    pub fn is_ambiguous(&self) -> bool {
        self.kind() == StoreErrorKind::Transient && !self.is_rate_limit()
    }
}

fn reason_of(detail: &StatusDetails) -> Option<String> {
    match detail {
        StatusDetails::ErrorInfo(info) if !info.reason.is_empty() => Some(info.reason.clone()),
        _ => None,
    }
}

/// An error and what it came from, without what must not be written down.
fn chain(error: &dyn std::error::Error) -> String {
    without_sessions(&causes(error))
}

/// Hides the ids of resumable sessions, which stand in the addresses that errors name: whoever has one may write the object
/// without any credentials for a week.
fn without_sessions(text: &str) -> String {
    const KEY: &str = "upload_id=";
    let mut parts = text.split(KEY);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.%~".contains(c))).unwrap_or(part.len());
        out.push_str(KEY);
        out.push('…');
        out.push_str(&part[end..]);
    }
    out
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.status, &self.reason) {
            (Some(status), Some(reason)) => write!(f, "{status} {reason}: {}", self.message),
            (Some(status), None) => write!(f, "{status}: {}", self.message),
            (None, _) => f.write_str(&self.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sessions_id_is_not_written_down() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Nobody listens on port 1: the real error of the real client.
        let url = "http://127.0.0.1:1/upload/storage/v1/b/b/o?uploadType=resumable&upload_id=AD-8ljQ_s3cret%2B&name=x";
        let error = reqwest::Client::new().put(url).send().await.unwrap_err();
        assert!(error.to_string().contains("s3cret"), "the client names addresses: {error}");
        let message = Failure::transport(&error).message;
        assert!(message.contains("upload_id=…&name=x") && !message.contains("s3cret"), "{message}");
        assert_eq!(without_sessions("a upload_id=x1 b upload_id=y"), "a upload_id=… b upload_id=…");
        assert_eq!(without_sessions("nothing"), "nothing");
    }
}
