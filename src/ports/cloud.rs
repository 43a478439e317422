//! The REST services of a cloud, as `deploy` calls them: one call, one answer in JSON, errors by kind.
//!
//! Deliberately not here: what a call means (`deploy`), and who we are to the service (the adapter).

use async_trait::async_trait;
use serde_json::Value;
use std::fmt;

/// A service of Google Cloud that phase6 calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Api {
    BigQuery,
    Storage,
    PubSub,
    Monitoring,
    Logging,
    Scheduler,
    Run,
    Iam,
    ResourceManager,
    ServiceUsage,
    SecretManager,
}

impl Api {
    /// Where the service answers for everybody.
    pub const fn public_endpoint(self) -> &'static str {
        match self {
            Self::BigQuery => "https://bigquery.googleapis.com",
            Self::Storage => "https://storage.googleapis.com",
            Self::PubSub => "https://pubsub.googleapis.com",
            Self::Monitoring => "https://monitoring.googleapis.com",
            Self::Logging => "https://logging.googleapis.com",
            Self::Scheduler => "https://cloudscheduler.googleapis.com",
            Self::Run => "https://run.googleapis.com",
            Self::Iam => "https://iam.googleapis.com",
            Self::ResourceManager => "https://cloudresourcemanager.googleapis.com",
            Self::ServiceUsage => "https://serviceusage.googleapis.com",
            Self::SecretManager => "https://secretmanager.googleapis.com",
        }
    }

    /// The variable that names an emulator; those of the first three are the ones that Google's own tools read.
    pub const fn emulator_variable(self) -> &'static str {
        match self {
            Self::BigQuery => "BIGQUERY_EMULATOR_HOST",
            Self::Storage => "STORAGE_EMULATOR_HOST",
            Self::PubSub => "PUBSUB_EMULATOR_HOST",
            Self::Monitoring => "MONITORING_EMULATOR_HOST",
            Self::Logging => "LOGGING_EMULATOR_HOST",
            Self::Scheduler => "CLOUD_SCHEDULER_EMULATOR_HOST",
            Self::Run => "CLOUD_RUN_EMULATOR_HOST",
            Self::Iam => "IAM_EMULATOR_HOST",
            Self::ResourceManager => "RESOURCE_MANAGER_EMULATOR_HOST",
            Self::ServiceUsage => "SERVICE_USAGE_EMULATOR_HOST",
            Self::SecretManager => "SECRET_MANAGER_EMULATOR_HOST",
        }
    }

    /// The service's name in the list of a project's services.
    pub fn service_name(self) -> &'static str {
        self.public_endpoint().trim_start_matches("https://")
    }

    pub const ALL: [Self; 11] = [
        Self::BigQuery,
        Self::Storage,
        Self::PubSub,
        Self::Monitoring,
        Self::Logging,
        Self::Scheduler,
        Self::Run,
        Self::Iam,
        Self::ResourceManager,
        Self::ServiceUsage,
        Self::SecretManager,
    ];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// A call: the path with its query, already encoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub api: Api,
    pub method: Method,
    pub path: String,
    pub body: Option<Value>,
    /// Made twice it would make two things: it is not tried again by the adapter.
    pub once: bool,
}

impl Call {
    pub fn get(api: Api, path: impl Into<String>) -> Self {
        Self { api, method: Method::Get, path: path.into(), body: None, once: false }
    }

    pub fn with(api: Api, method: Method, path: impl Into<String>, body: Value) -> Self {
        Self { api, method, path: path.into(), body: Some(body), once: false }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.api.service_name();
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{} {host}{path}", self.method.as_str())
    }
}

/// The services of a cloud.
///
/// - An answer with a 2xx status is its JSON; an empty body is `null`.
/// - What fails for a while (429, 5xx, a lost connection) is tried again by the adapter, a few times with growing pauses,
///   before it is an error of kind [`CloudErrorKind::Transient`]. So a call may have been made more than once: a create that
///   answers [`CloudErrorKind::Exists`] may have been our own.
#[async_trait]
pub trait Cloud: Send + Sync {
    async fn call(&self, call: &Call) -> Result<Value, CloudError>;
}

/// What kind of refusal it was, by HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloudErrorKind {
    /// 404: it is not there.
    NotFound,
    /// 409: it is there already, or was changed at the same time.
    Exists,
    /// 412: it was changed since it was read.
    Changed,
    /// 401 and 403: we may not.
    Denied,
    /// 403 `SERVICE_DISABLED`: the service is not enabled, or was a moment ago and is not everywhere yet.
    Disabled,
    /// Other 4xx: the call is wrong.
    Invalid,
    /// Tried often enough; later it may work.
    Transient,
    /// No credentials, or none that work.
    NoCredentials,
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudError {
    pub kind: CloudErrorKind,
    /// The service's own sentence.
    pub message: String,
}

impl fmt::Display for CloudError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CloudError {}
