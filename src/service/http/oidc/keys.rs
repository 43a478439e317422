//! The issuer's public keys: fetched when one is needed, by one caller for all, and kept through an outage.

use super::Refusal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Between two fetches, also failed ones: tokens with made-up key ids must not become requests to the issuer.
const PAUSE: Duration = Duration::from_secs(30);

/// Older keys are fetched anew while they are still used.
const REFRESH_AFTER: Duration = Duration::from_secs(3600);

/// Keys that could not be renewed for so long are no longer believed: the issuer may have withdrawn them.
const FORGET_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Where the keys come from.
pub trait KeySource: Send + Sync {
    /// The JWK set's text. Blocking; called on a thread for such work.
    fn fetch(&self) -> Result<Vec<u8>, String>;
}

/// An RSA public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    n: Vec<u8>,
    e: Vec<u8>,
}

impl Key {
    /// Whether the key's owner signed the message, by RS256.
    pub fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = RsaPublicKeyComponents { n: &self.n, e: &self.e };
        key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
    }
}

#[derive(Default)]
struct Held {
    keys: HashMap<String, Key>,
    fetched: Option<Instant>,
}

impl Held {
    fn older_than(&self, age: Duration) -> bool {
        self.fetched.is_none_or(|at| at.elapsed() > age)
    }
}

/// The keys and the rule when they are fetched.
pub struct KeyCache(Arc<Inner>);

struct Inner {
    source: Arc<dyn KeySource>,
    held: RwLock<Arc<Held>>,
    /// Held while somebody fetches: when the last fetch began, and why it failed.
    fetching: Mutex<Option<(Instant, Option<String>)>>,
}

impl KeyCache {
    pub fn new(source: Arc<dyn KeySource>) -> Self {
        Self(Arc::new(Inner { source, held: RwLock::default(), fetching: Mutex::new(None) }))
    }

    /// The key of that id.
    pub async fn get(&self, kid: &str) -> Result<Key, Refusal> {
        let held = self.0.held();
        let known = held.keys.get(kid).filter(|_| !held.older_than(FORGET_AFTER));
        if let Some(key) = known {
            if held.older_than(REFRESH_AFTER) {
                // The key is good enough for this caller; the next ones get new ones.
                tokio::spawn(self.0.clone().refresh(None));
            }
            return Ok(key.clone());
        }
        // In a task of its own: a caller who goes away must not leave the others with a fetch half done.
        let fetch = tokio::spawn(self.0.clone().refresh(Some(kid.to_owned())));
        let failed = fetch.await.unwrap_or_else(|_| Some("the fetch was cut off".into()));
        let held = self.0.held();
        match held.keys.get(kid).filter(|_| !held.older_than(FORGET_AFTER)) {
            Some(key) => Ok(key.clone()),
            None => match failed {
                Some(reason) => Err(Refusal::Unavailable(format!("the issuer's keys could not be had: {reason}"))),
                None => Err(Refusal::Invalid("the issuer has no such key".into())),
            },
        }
    }
}

impl Inner {
    fn held(&self) -> Arc<Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fetches the keys unless another did while this one waited, or one tried a moment ago; says why the last fetch failed.
    async fn refresh(self: Arc<Self>, wanted: Option<String>) -> Option<String> {
        let mut last = match &wanted {
            Some(_) => self.fetching.lock().await,
            None => self.fetching.try_lock().ok()?,
        };
        let there = match &wanted {
            Some(kid) => self.held().keys.contains_key(kid) && !self.held().older_than(FORGET_AFTER),
            None => !self.held().older_than(REFRESH_AFTER),
        };
        if there {
            return None;
        }
        if let Some((at, failed)) = last.as_ref()
            && at.elapsed() < PAUSE
        {
            return failed.clone();
        }
        let begun = Instant::now();
        let source = self.source.clone();
        let fetched = tokio::task::spawn_blocking(move || source.fetch()).await;
        let keys = fetched.unwrap_or_else(|_| Err("the fetch broke".into())).and_then(|text| read(&text));
        let failed = match keys {
            Ok(keys) => {
                let held = Held { keys, fetched: Some(Instant::now()) };
                *self.held.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(held);
                None
            }
            Err(reason) => Some(reason),
        };
        *last = Some((begun, failed.clone()));
        failed
    }
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: String,
    n: String,
    e: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
}

/// The RS256 keys of a JWK set; keys of other kinds are passed over, a set without any is an error.
fn read(text: &[u8]) -> Result<HashMap<String, Key>, String> {
    let set: JwkSet = serde_json::from_slice(text).map_err(|e| format!("the answer is no JWK set: {e}"))?;
    let mut keys = HashMap::new();
    for value in set.keys {
        let Ok(jwk) = serde_json::from_value::<Jwk>(value) else { continue };
        let ours = jwk.kty == "RSA"
            && jwk.usage.is_none_or(|usage| usage == "sig")
            && jwk.alg.is_none_or(|alg| alg == "RS256");
        let (Ok(n), Ok(e)) = (URL_SAFE_NO_PAD.decode(&jwk.n), URL_SAFE_NO_PAD.decode(&jwk.e)) else { continue };
        if ours {
            keys.insert(jwk.kid, Key { n, e });
        }
    }
    if keys.is_empty() { Err("the answer holds no RS256 key".into()) } else { Ok(keys) }
}

/// Fetches from an address.
pub struct UrlKeys {
    pub url: String,
}

impl KeySource for UrlKeys {
    fn fetch(&self) -> Result<Vec<u8>, String> {
        let config =
            ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10))).max_redirects(0).build();
        let mut response = ureq::Agent::from(config).get(&self.url).call().map_err(|e| e.to_string())?;
        response.body_mut().with_config().limit(256 * 1024).read_to_vec().map_err(|e| e.to_string())
    }
}
