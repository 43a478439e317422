//! Google Cloud: what its three adapters share, which is who we are, where the services answer, and one HTTP client.
//!
//! Credentials are Application Default Credentials (workload identity on Cloud Run and GKE, `gcloud auth application-default
//! login` on a laptop); no key ever stands in the project. A service that an emulator stands in for is asked without any.

pub mod bigquery;
mod identity;
pub mod pubsub;
pub mod rest;
pub mod storage;

pub use crate::ports::cloud::Api;

use google_cloud_auth::credentials::{self, CacheableResource, Credentials};
use google_cloud_auth::errors::CredentialsError;
use identity::Identity;
use std::collections::BTreeMap;
use std::fmt;
#[cfg(test)]
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

/// Credentials, endpoints and the HTTP client of one process.
pub struct Google {
    emulators: BTreeMap<Api, String>,
    http: reqwest::Client,
    ours: OnceLock<Credentials>,
}

impl Google {
    /// Reads the emulators' variables; nothing is called and no credentials are looked for yet.
    pub fn new(env: &dyn Fn(&str) -> Option<String>) -> Result<Self, CloudError> {
        // Google's crates and reqwest take the process's provider of cryptography; a second installation changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let given = |api: Api| env(api.emulator_variable()).filter(|v| !v.is_empty()).map(|v| (api, endpoint(&v)));
        let http = reqwest::Client::builder()
            .user_agent(concat!("phase6/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            // Calls go to addresses that the program itself made: an answer that sends it elsewhere is not followed.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| CloudError(format!("the HTTP client cannot be made: {e}")))?;
        Ok(Self { emulators: Api::ALL.into_iter().filter_map(given).collect(), http, ours: OnceLock::new() })
    }

    /// With one server in the place of one service.
    #[cfg(test)]
    pub fn at(api: Api, url: &str) -> Arc<Self> {
        Arc::new(Self::new(&|name| (name == api.emulator_variable()).then(|| url.to_owned())).expect("a client"))
    }

    /// Where the service answers, without a slash at the end.
    pub fn endpoint(&self, api: Api) -> &str {
        self.emulators.get(&api).map_or(api.public_endpoint(), String::as_str)
    }

    /// Whether an emulator stands in for the service.
    pub fn is_emulated(&self, api: Api) -> bool {
        self.emulators.contains_key(&api)
    }

    /// Who we are to the service: nobody to an emulator, the default credentials to Google. They are looked for at the first call.
    pub fn credentials(&self, api: Api) -> Credentials {
        if self.is_emulated(api) {
            return credentials::anonymous::Builder::new().build();
        }
        let look = || credentials::Builder::default().build().map_err(|e| CredentialsError::from_source(false, e));
        self.ours.get_or_init(|| Identity::new(look).into()).clone()
    }

    /// The client, for requests to [`Self::endpoint`] with [`Self::authorization`].
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// The headers that say who we are; cached and renewed by the credentials themselves.
    async fn authorization(&self, api: Api) -> Result<http::HeaderMap, Unanswered> {
        match self.credentials(api).headers(http::Extensions::new()).await {
            Ok(CacheableResource::New { data, .. }) => Ok(data),
            Ok(CacheableResource::NotModified) => Ok(http::HeaderMap::new()),
            Err(e) => Err(Unanswered::Credentials { reason: no_credentials(&e), for_now: e.is_transient() }),
        }
    }

    /// Sends a request of [`Self::http`] as who we are, and reads the answer, whatever it says, within `patience` and `most` bytes.
    pub async fn ask(
        &self,
        api: Api,
        request: reqwest::RequestBuilder,
        patience: Duration,
        most: usize,
    ) -> Result<Answer, Unanswered> {
        let who = self.authorization(api).await?;
        // An address may hold what nobody else should know, and every caller names what it asked for.
        let lost = |e: reqwest::Error| Unanswered::Lost(causes(&e.without_url()));
        let mut response = request.headers(who).timeout(patience).send().await.map_err(lost)?;
        let status = response.status().as_u16();
        let mut body = Vec::with_capacity(response.content_length().unwrap_or(0).min(RESERVED) as usize);
        while let Some(part) = response.chunk().await.map_err(lost)? {
            if body.len() + part.len() > most {
                return Err(Unanswered::TooLong(most));
            }
            body.extend_from_slice(&part);
        }
        Ok(Answer { status, body })
    }
}

/// The most memory, in bytes, that is taken for an answer because its header says so.
const RESERVED: u64 = 64 << 20;

/// The answer to a request, which may be a refusal.
#[derive(Debug)]
pub struct Answer {
    /// Of HTTP.
    pub status: u16,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unanswered {
    /// There are no credentials, perhaps only for now: nothing was sent.
    Credentials { reason: String, for_now: bool },
    /// The way there or back failed or took too long: the request may have been carried out.
    Lost(String),
    /// The answer has more than so many bytes.
    TooLong(usize),
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credentials { reason, .. } | Self::Lost(reason) => f.write_str(reason),
            Self::TooLong(most) => write!(f, "the answer has more than {most} bytes"),
        }
    }
}

/// Why there are none, and what to do.
fn no_credentials(error: &CredentialsError) -> String {
    format!(
        "Google gave no access token: {} (on a laptop run `gcloud auth application-default login`; on Google Cloud give the \
         service a service account)",
        causes(error)
    )
}

/// `localhost:8085` and `http://localhost:8085/` name the same emulator.
fn endpoint(value: &str) -> String {
    let value = value.trim_end_matches('/');
    if value.contains("://") { value.to_owned() } else { format!("http://{value}") }
}

/// An error with what lies below it, each told once: HTTP clients say in their first sentence only that something failed.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(below) = next {
        let more = below.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = below.source();
    }
    text
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

    #[tokio::test]
    async fn no_emulator_is_told_who_we_are_and_nobody_else_is_called_without_tls() {
        let google = Google::new(&|_| Some("https://localhost:1/".to_owned())).unwrap();
        let real = Google::new(&|_| None).unwrap();
        for api in Api::ALL {
            assert!(google.is_emulated(api) && google.authorization(api).await.unwrap().is_empty(), "{api:?}");
            assert!(real.endpoint(api).starts_with("https://") && real.endpoint(api).ends_with(".googleapis.com"));
        }
        // An empty variable names nobody.
        let empty = Google::new(&|_| Some(String::new())).unwrap();
        assert!(Api::ALL.into_iter().all(|api| !empty.is_emulated(api)));
    }
}
