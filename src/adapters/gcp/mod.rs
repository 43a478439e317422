//! Google Cloud: what its three adapters share, which is who we are, where the services answer, and one HTTP client.
//!
//! Credentials are Application Default Credentials (workload identity on Cloud Run and GKE, `gcloud auth application-default
//! login` on a laptop); no key ever stands in the project. A service that an emulator stands in for is asked without any.

pub mod pubsub;

use google_cloud_auth::credentials::{self, CacheableResource, Credentials};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

/// A service of Google Cloud that phase6 calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Api {
    BigQuery,
    Storage,
    PubSub,
    Monitoring,
    Scheduler,
    Run,
    Iam,
    ResourceManager,
}

impl Api {
    /// Where the service answers for everybody.
    pub const fn public_endpoint(self) -> &'static str {
        match self {
            Self::BigQuery => "https://bigquery.googleapis.com",
            Self::Storage => "https://storage.googleapis.com",
            Self::PubSub => "https://pubsub.googleapis.com",
            Self::Monitoring => "https://monitoring.googleapis.com",
            Self::Scheduler => "https://cloudscheduler.googleapis.com",
            Self::Run => "https://run.googleapis.com",
            Self::Iam => "https://iam.googleapis.com",
            Self::ResourceManager => "https://cloudresourcemanager.googleapis.com",
        }
    }

    /// The variable that names an emulator; those of the first three are the ones that Google's own tools read.
    pub const fn emulator_variable(self) -> &'static str {
        match self {
            Self::BigQuery => "BIGQUERY_EMULATOR_HOST",
            Self::Storage => "STORAGE_EMULATOR_HOST",
            Self::PubSub => "PUBSUB_EMULATOR_HOST",
            Self::Monitoring => "MONITORING_EMULATOR_HOST",
            Self::Scheduler => "CLOUD_SCHEDULER_EMULATOR_HOST",
            Self::Run => "CLOUD_RUN_EMULATOR_HOST",
            Self::Iam => "IAM_EMULATOR_HOST",
            Self::ResourceManager => "RESOURCE_MANAGER_EMULATOR_HOST",
        }
    }

    const ALL: [Self; 8] = [
        Self::BigQuery,
        Self::Storage,
        Self::PubSub,
        Self::Monitoring,
        Self::Scheduler,
        Self::Run,
        Self::Iam,
        Self::ResourceManager,
    ];
}

/// Credentials, endpoints and the HTTP client of one process.
pub struct Google {
    emulators: BTreeMap<Api, String>,
    http: reqwest::Client,
    default: OnceLock<Result<Credentials, String>>,
}

impl Google {
    /// Reads the emulators' variables; nothing is called and no credentials are looked for yet.
    pub fn new(env: &dyn Fn(&str) -> Option<String>) -> Result<Self, CloudError> {
        // Google's crates and reqwest take the process's provider of cryptography; a second installation changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let given = |api: Api| env(api.emulator_variable()).filter(|v| !v.is_empty()).map(|v| (api, endpoint(&v)));
        let http = reqwest::Client::builder()
            .user_agent(concat!("phase6/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(std::time::Duration::from_secs(10))
            // Calls go to addresses that the program itself made: an answer that sends it elsewhere is not followed.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| CloudError(format!("the HTTP client cannot be made: {e}")))?;
        Ok(Self { emulators: Api::ALL.into_iter().filter_map(given).collect(), http, default: OnceLock::new() })
    }

    /// Where the service answers, without a slash at the end.
    pub fn endpoint(&self, api: Api) -> &str {
        self.emulators.get(&api).map_or(api.public_endpoint(), String::as_str)
    }

    /// Whether an emulator stands in for the service.
    pub fn is_emulated(&self, api: Api) -> bool {
        self.emulators.contains_key(&api)
    }

    /// Who we are to the service: nobody to an emulator, the default credentials to Google.
    pub fn credentials(&self, api: Api) -> Result<Credentials, CloudError> {
        if self.is_emulated(api) {
            return Ok(credentials::anonymous::Builder::new().build());
        }
        let found = self.default.get_or_init(|| credentials::Builder::default().build().map_err(|e| e.to_string()));
        found.clone().map_err(|reason| {
            CloudError(format!(
                "no Google credentials were found: {reason} (on a laptop run `gcloud auth application-default login`; on Google \
                 Cloud give the service a service account)"
            ))
        })
    }

    /// The client, for requests to [`Self::endpoint`] with [`Self::authorization`].
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// The headers that say who we are; cached and renewed by the credentials themselves.
    pub async fn authorization(&self, api: Api) -> Result<http::HeaderMap, CloudError> {
        match self.credentials(api)?.headers(http::Extensions::new()).await {
            Ok(CacheableResource::New { data, .. }) => Ok(data),
            Ok(CacheableResource::NotModified) => Ok(http::HeaderMap::new()),
            Err(e) => Err(CloudError(format!("Google gave no access token: {e}"))),
        }
    }
}

/// `localhost:8085` and `http://localhost:8085/` name the same emulator.
fn endpoint(value: &str) -> String {
    let value = value.trim_end_matches('/');
    if value.contains("://") { value.to_owned() } else { format!("http://{value}") }
}

/// Why Google Cloud cannot be used at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudError(pub String);

impl fmt::Display for CloudError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CloudError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_emulator_is_asked_without_credentials() {
        let google =
            Google::new(&|name| (name == "STORAGE_EMULATOR_HOST").then(|| "localhost:4443/".to_owned())).unwrap();
        assert_eq!(google.endpoint(Api::Storage), "http://localhost:4443");
        assert_eq!(google.endpoint(Api::PubSub), "https://pubsub.googleapis.com");
        assert!(google.authorization(Api::Storage).await.unwrap().is_empty());
    }
}
