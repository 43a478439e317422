//! Who may do what at the door.

use super::Door;
use super::oidc::Refusal;
use super::problem::Problem;
use axum::http::{HeaderMap, StatusCode, header};
use sha2::{Digest, Sha256};
use std::fmt;

/// The token of `PHASE6_TOKEN`: compared, never shown.
#[derive(Clone)]
pub struct Token([u8; 32]);

impl Token {
    /// `None` for an empty text, which protects nothing.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(Sha256::digest(text.as_bytes()).into()))
    }

    /// Takes the same time wherever the texts differ, because hashes are compared, all of their bytes.
    pub fn is(&self, text: &str) -> bool {
        let other: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        self.0.iter().zip(other).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, detail)
}

/// For what changes something: the token, always.
pub fn operator(door: &Door, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(token) = &door.token else {
        return Err(Problem::new(StatusCode::FORBIDDEN, "no token is configured: set PHASE6_TOKEN for the service"));
    };
    match bearer(headers) {
        Some(given) if token.is(given) => Ok(()),
        Some(_) => Err(unauthorized("the token is another")),
        None => Err(unauthorized("send `Authorization: Bearer TOKEN`")),
    }
}

/// For events: an OIDC token where `service.push` is declared, else the token, else nothing, but only on this machine.
pub async fn pusher(door: &Door, headers: &HeaderMap) -> Result<(), Problem> {
    if let Some(verifier) = &door.verifier {
        let token = bearer(headers).ok_or_else(|| unauthorized("send an OIDC token: `Authorization: Bearer …`"))?;
        return match verifier.verify(token).await {
            Ok(_) => Ok(()),
            Err(Refusal::Invalid(reason)) => Err(unauthorized(&reason)),
            Err(Refusal::Forbidden(reason)) => Err(Problem::new(StatusCode::FORBIDDEN, reason)),
            Err(Refusal::Unavailable(reason)) => Err(Problem::unavailable(reason)),
        };
    }
    if door.token.is_some() {
        return operator(door, headers);
    }
    if !door.is_local() {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "events are taken without a token only on a loopback address: declare `service.push`, or set PHASE6_TOKEN",
        ));
    }
    // A page in a browser of this machine could send events too; every browser says so.
    if headers.contains_key(header::ORIGIN) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "events from web pages are not taken"));
    }
    Ok(())
}
