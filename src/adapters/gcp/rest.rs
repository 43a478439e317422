//! Plain REST calls with our credentials, for what has no adapter of its own: `deploy` and its comparisons.

use super::{Answer, Api, Google, Unanswered};
use crate::ports::cloud::{Call, Cloud, CloudError, CloudErrorKind, Method};
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// How often a call is made that fails for a while.
const ATTEMPTS: u32 = 5;

/// The first pause; doubled with each attempt.
const PAUSE: Duration = Duration::from_millis(200);

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The largest answer that is read, in bytes: a page of a listing has some hundred kilobytes.
const MAX_ANSWER: usize = 32 << 20;

/// Google's REST services.
pub struct Rest(pub Arc<Google>);

#[async_trait]
impl Cloud for Rest {
    async fn call(&self, call: &Call) -> Result<Value, CloudError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.once(call).await {
                Err(error) if error.kind == CloudErrorKind::Transient && attempt < ATTEMPTS && !call.once => {
                    tokio::time::sleep(PAUSE * 2u32.pow(attempt - 1)).await;
                }
                answer => return answer,
            }
        }
    }
}

impl Rest {
    async fn once(&self, call: &Call) -> Result<Value, CloudError> {
        let google = &self.0;
        let failed = |kind, message: String| CloudError { kind, message: format!("{call}: {message}") };
        let url = format!("{}{}", google.endpoint(call.api), call.path);
        let mut request =
            google.http().request(method(call.method), url).header(http::header::ACCEPT, "application/json");
        if let Some(body) = &call.body {
            request = request.header(http::header::CONTENT_TYPE, "application/json").body(body.to_string());
        } else if call.method == Method::Post {
            request = request.header(http::header::CONTENT_LENGTH, "0");
        }
        let answer = google.ask(call.api, request, TIMEOUT, MAX_ANSWER).await;
        let Answer { status, body } = answer.map_err(|e| {
            let kind = match e {
                Unanswered::Credentials { .. } => CloudErrorKind::NoCredentials,
                Unanswered::Lost(_) => CloudErrorKind::Transient,
                Unanswered::TooLong(_) => CloudErrorKind::Invalid,
            };
            failed(kind, e.to_string())
        })?;
        let json = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice::<Value>(&body) };
        match (kind(status), json) {
            (None, Ok(json)) => Ok(json),
            (None, Err(e)) => Err(failed(CloudErrorKind::Invalid, format!("the answer is no JSON: {e}"))),
            (Some(kind), json) => {
                let error = json.map(|mut answer| answer["error"].take()).unwrap_or_default();
                let kind =
                    if kind == CloudErrorKind::Denied && is_disabled(&error) { CloudErrorKind::Disabled } else { kind };
                let said = error["message"].as_str().map(str::to_owned);
                Err(failed(kind, format!("{status}: {}", said.unwrap_or_else(|| "no reason given".into()))))
            }
        }
    }
}

fn method(method: Method) -> reqwest::Method {
    match method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
        Method::Put => reqwest::Method::PUT,
        Method::Patch => reqwest::Method::PATCH,
        Method::Delete => reqwest::Method::DELETE,
    }
}

/// Whether a refusal says that its service is not enabled: by the reason of its details, in the older APIs of its errors
/// (<https://cloud.google.com/apis/design/errors#error_info>).
fn is_disabled(error: &Value) -> bool {
    let says = |list: &str, reason: &str| {
        error[list].as_array().is_some_and(|all| all.iter().any(|item| item["reason"] == reason))
    };
    says("details", "SERVICE_DISABLED") || says("errors", "accessNotConfigured")
}

/// What a status says; `None` is success.
fn kind(status: u16) -> Option<CloudErrorKind> {
    Some(match status {
        200..=299 => return None,
        401 | 403 => CloudErrorKind::Denied,
        404 => CloudErrorKind::NotFound,
        409 => CloudErrorKind::Exists,
        412 => CloudErrorKind::Changed,
        408 | 429 | 500..=599 => CloudErrorKind::Transient,
        _ => CloudErrorKind::Invalid,
    })
}

impl Rest {
    /// Whether every one of the services is an emulator, or none is: a plan must not mix a test with the real cloud.
    pub fn is_mixed(&self, apis: &[Api]) -> bool {
        let emulated = apis.iter().filter(|api| self.0.is_emulated(**api)).count();
        emulated > 0 && emulated < apis.len()
    }
}
