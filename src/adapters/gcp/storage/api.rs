//! The JSON API of Cloud Storage, as far as the `google-cloud-storage` crate does not speak it: descriptions, listings, deletes,
//! changes of metadata (<https://cloud.google.com/storage/docs/json_api/v1>).

use super::failure::{Call, Failure};
use super::resource::{FIELDS, Resource};
use crate::adapters::gcp::{Api, Google};
use crate::model::percent::segment;
use crate::ports::store::{StoreError, StoreErrorKind, Version};
use reqwest::Method;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

/// The longest that a description, a page or a patch may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// The longest answer that is read, in bytes: a page of a thousand objects with their metadata has about two million.
const MOST_BYTES: usize = 64 << 20;

/// Entries of a page; more are not given.
const PAGE: &str = "1000";

/// Calls of one bucket.
pub struct JsonApi {
    pub google: Arc<Google>,
    pub bucket: String,
}

/// A request: everything that is not the same for all.
pub struct Request<'a> {
    pub method: Method,
    /// `None`: the bucket's list of objects.
    pub object: Option<&'a str>,
    pub query: Vec<(&'static str, String)>,
    pub body: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    items: Vec<Resource>,
    #[serde(default)]
    next_page_token: Option<String>,
}

/// What a listing asks for.
pub struct Listing<'a> {
    pub prefix: &'a str,
    /// All generations and not only the live objects.
    pub versions: bool,
    /// Only objects of exactly this name; the listing then ends where the names do.
    pub only: Option<&'a str>,
}

impl JsonApi {
    /// One attempt. The answer's body, or why there is none.
    pub async fn attempt(&self, request: &Request<'_>) -> Result<Vec<u8>, Failure> {
        let mut builder = self.google.http().request(request.method.clone(), self.url(request));
        if let Some(body) = &request.body {
            builder = builder.header("content-type", "application/json").body(body.to_string());
        }
        let answer = self.google.ask(Api::Storage, builder, ANSWER_LIMIT, MOST_BYTES).await;
        let answer = answer.map_err(|e| Failure::unanswered(&e))?;
        if answer.is_success() { Ok(answer.body) } else { Err(Failure::answer(answer.status, &answer.body)) }
    }

    fn url(&self, request: &Request<'_>) -> String {
        let mut url = format!("{}/storage/v1/b/{}/o", self.google.endpoint(Api::Storage), segment(&self.bucket));
        if let Some(object) = request.object {
            url.push('/');
            url.push_str(&segment(object));
        }
        for (i, (name, value)) in request.query.iter().enumerate() {
            url.push(if i == 0 { '?' } else { '&' });
            url.push_str(name);
            url.push('=');
            url.push_str(&segment(value));
        }
        url
    }

    /// A request that changes nothing, so that it may be tried again.
    pub async fn read(&self, call: Call<'_>, request: &Request<'_>) -> Result<Vec<u8>, StoreError> {
        let mut tries = super::Tries::new();
        loop {
            match self.attempt(request).await {
                Ok(body) => return Ok(body),
                Err(failure) if tries.again(&failure).await => {}
                Err(failure) => return Err(call.failed(failure)),
            }
        }
    }

    /// An object's description; `None` when there is none.
    pub async fn describe(&self, call: Call<'_>, generation: Option<u64>) -> Result<Option<Resource>, StoreError> {
        let mut query = vec![("fields", FIELDS.to_owned())];
        query.extend(generation.map(|g| ("generation", g.to_string())));
        let request = Request { method: Method::GET, object: Some(call.path), query, body: None };
        match self.read(call, &request).await {
            Ok(body) => parse(call, &body).map(Some),
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All that a listing gives, page by page.
    pub async fn list(&self, call: Call<'_>, listing: &Listing<'_>) -> Result<Vec<Resource>, StoreError> {
        let mut found = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut query = vec![
                ("prefix", listing.prefix.to_owned()),
                ("maxResults", PAGE.to_owned()),
                ("fields", format!("nextPageToken,items({FIELDS})")),
            ];
            if listing.versions {
                query.push(("versions", "true".to_owned()));
            }
            query.extend(token.take().map(|token| ("pageToken", token)));
            let request = Request { method: Method::GET, object: None, query, body: None };
            let page: Page = parse(call, &self.read(call, &request).await?)?;
            let over = listing.only.is_some_and(|name| page.items.iter().any(|item| item.name != name));
            found.extend(page.items.into_iter().filter(|item| listing.only.is_none_or(|name| item.name == name)));
            match page.next_page_token {
                // Names come in order, and the one that is its own prefix is the first.
                Some(next) if !over && !next.is_empty() => token = Some(next),
                _ => return Ok(found),
            }
        }
    }
}

/// The preconditions that say: only if the object is still at this version.
pub fn at_version(version: Version) -> Vec<(&'static str, String)> {
    vec![
        ("ifGenerationMatch", version.generation.to_string()),
        ("ifMetagenerationMatch", version.metageneration.to_string()),
    ]
}

/// An answer's JSON.
pub fn parse<T: serde::de::DeserializeOwned>(call: Call<'_>, body: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(body)
        .map_err(|e| call.error(StoreErrorKind::Failed, format!("the answer is not what Cloud Storage documents: {e}")))
}
