//! Verifies the OIDC tokens of push subscriptions (`design/semantics.md` §2): RS256 alone, issuer, audience, times, and an
//! allow-listed e-mail that is verified.
//!
//! On `ring` directly and not through `jsonwebtoken`: that one reads the machine's clock where we ask the Clock port, wants a
//! crypto provider set for the whole process, and supports the dozen algorithms and key forms that must be refused here. What
//! is left is one signature check by `ring` and the comparisons below. Keys are in `keys`.

pub mod keys;

use crate::config::Push;
use crate::ports::clock::Clock;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keys::{KeyCache, KeySource};
use serde::Deserialize;
use std::sync::Arc;

/// The clocks of two machines may differ by so many seconds.
const LEEWAY: i64 = 60;

/// A real token has about 1 KB.
const MAX_TOKEN: usize = 8 * 1024;

/// What Cloud Run's own check puts in the place of a token's signature before the container sees it.
/// <https://cloud.google.com/run/docs/troubleshooting#signature-removed>
const SIGNATURE_REMOVED: &str = "SIGNATURE_REMOVED_BY_GOOGLE";

/// Checks tokens against the project's `service.push`.
pub struct Verifier {
    push: Push,
    keys: KeyCache,
    clock: Arc<dyn Clock>,
}

/// Why a token was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The token is not good: 401.
    Invalid(String),
    /// The token is good, its owner is not on the list: 403.
    Forbidden(String),
    /// The keys could not be had; the token may be good: 503.
    Unavailable(String),
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood; none is.
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    exp: i64,
    iat: i64,
    nbf: Option<i64>,
    email: Option<String>,
    email_verified: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Verifier {
    pub fn new(push: Push, source: Arc<dyn KeySource>, clock: Arc<dyn Clock>) -> Self {
        Self { push, keys: KeyCache::new(source), clock }
    }

    /// The e-mail of the token's owner.
    pub async fn verify(&self, token: &str) -> Result<String, Refusal> {
        let (signed, header, claims, signature) = split(token).map_err(Refusal::Invalid)?;
        let kid = key_id(header).map_err(Refusal::Invalid)?;
        let key = self.keys.get(&kid).await?;
        if !key.signed(signed.as_bytes(), &signature) {
            return Err(Refusal::Invalid("the token's signature is wrong".into()));
        }
        // Nothing of the claims is looked at before the signature is known to be good.
        let claims: Claims = decoded(claims, "claims").map_err(Refusal::Invalid)?;
        self.check(claims)
    }

    fn check(&self, claims: Claims) -> Result<String, Refusal> {
        let invalid = |reason: &str| Err(Refusal::Invalid(reason.to_owned()));
        let now = self.clock.now().as_second();
        // Google writes its issuer in both forms.
        let bare = self.push.issuer.strip_prefix("https://").unwrap_or(&self.push.issuer);
        if claims.iss.strip_prefix("https://").unwrap_or(&claims.iss) != bare {
            return invalid("the token's issuer is another");
        }
        let audience = match &claims.aud {
            Audience::One(audience) => *audience == self.push.audience,
            Audience::Many(audiences) => audiences.contains(&self.push.audience),
        };
        if !audience {
            return invalid("the token is for another audience");
        }
        if claims.exp.saturating_add(LEEWAY) <= now {
            return invalid("the token has expired");
        }
        if claims.iat > now.saturating_add(LEEWAY) || claims.nbf.is_some_and(|t| t > now.saturating_add(LEEWAY)) {
            return invalid("the token is from the future");
        }
        if claims.email_verified != Some(true) {
            return invalid("the token's e-mail is not verified");
        }
        match claims.email {
            Some(email) if self.push.service_accounts.contains(&email) => Ok(email),
            Some(_) => Err(Refusal::Forbidden("the token's account may not push: see `service.push`".into())),
            None => invalid("the token has no e-mail"),
        }
    }
}

/// What is signed, the header's and the claims' parts, and the signature.
fn split(token: &str) -> Result<(&str, &str, &str, Vec<u8>), String> {
    let wrong = || "the token is no JWT".to_owned();
    if token.len() > MAX_TOKEN {
        return Err("the token is too long".into());
    }
    let (signed, signature) = token.rsplit_once('.').ok_or_else(wrong)?;
    let (header, claims) = signed.split_once('.').ok_or_else(wrong)?;
    if claims.contains('.') {
        return Err(wrong());
    }
    if signature == SIGNATURE_REMOVED {
        // Anybody can write these words: that Google has checked such a token is not to be seen from it.
        return Err("Cloud Run has checked this token itself and removed its signature, so that nobody else can check it: \
                    let the service pull (`phase6 deploy` sets that up), or push to a service whose invoker check is off, \
                    where phase6 checks the token"
            .into());
    }
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| wrong())?;
    Ok((signed, header, claims, signature))
}

fn key_id(header: &str) -> Result<String, String> {
    let header: Header = decoded(header, "header")?;
    if header.alg != "RS256" {
        return Err("the token's algorithm is not RS256".into());
    }
    if header.crit.is_some() {
        return Err("the token has critical extensions".into());
    }
    header.kid.ok_or_else(|| "the token names no key".into())
}

fn decoded<T: serde::de::DeserializeOwned>(part: &str, what: &str) -> Result<T, String> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| format!("the token's {what} are no base64url"))?;
    // The reason of serde may quote the token; it is not passed on.
    serde_json::from_slice(&bytes).map_err(|_| format!("the token's {what} are not as they have to be"))
}

#[cfg(test)]
mod tests;
