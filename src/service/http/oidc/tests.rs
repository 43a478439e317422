use super::keys::KeySource;
use super::*;
use crate::ports::clock::FixedClock;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Made by openssl for these tests; they open nothing.
const KEY: &[u8] = include_bytes!("test-only-key.der");
const OTHER_KEY: &[u8] = include_bytes!("test-only-other-key.der");
const NOW: i64 = 1_765_562_400;
const PUSHER: &str = "pusher@project.iam.gserviceaccount.com";

fn key(der: &[u8]) -> RsaKeyPair {
    RsaKeyPair::from_pkcs8(der).or_else(|_| RsaKeyPair::from_der(der)).unwrap()
}

fn jwk(kid: &str, der: &[u8]) -> Value {
    let pair = key(der);
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let public = PublicKeyComponents::<Vec<u8>>::from(pair.public());
    json!({"kty": "RSA", "alg": "RS256", "use": "sig", "kid": kid, "n": part(&public.n), "e": part(&public.e)})
}

fn token(header: &Value, claims: &Value, der: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let pair = key(der);
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn header() -> Value {
    json!({"alg": "RS256", "typ": "JWT", "kid": "k1"})
}

fn claims() -> Value {
    json!({"iss": "https://accounts.google.com", "aud": "https://phase6.example/v1", "sub": "1", "email": PUSHER,
        "email_verified": true, "iat": NOW - 10, "exp": NOW + 3590})
}

fn with(mut value: Value, change: impl FnOnce(&mut Value)) -> Value {
    change(&mut value);
    value
}

/// Keys that can be changed, be slow and fail; counts the fetches.
struct Keys {
    answer: Mutex<Result<Value, String>>,
    fetches: AtomicUsize,
}

impl Keys {
    fn new(keys: Value) -> Arc<Self> {
        Arc::new(Self { answer: Mutex::new(Ok(json!({"keys": keys}))), fetches: AtomicUsize::new(0) })
    }

    fn set(&self, answer: Result<Value, String>) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

impl KeySource for Keys {
    fn fetch(&self) -> Result<Vec<u8>, String> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).clone().map(|v| v.to_string().into_bytes())
    }
}

fn verifier(keys: &Arc<Keys>) -> Verifier {
    let push = Push {
        audience: "https://phase6.example/v1".into(),
        service_accounts: vec![PUSHER.into()],
        issuer: "https://accounts.google.com".into(),
        keys_url: String::new(),
    };
    Verifier::new(push, keys.clone(), Arc::new(FixedClock(jiff::Timestamp::from_second(NOW).unwrap())))
}

async fn verdict(header: &Value, claims: &Value, der: &[u8]) -> Result<String, Refusal> {
    verifier(&Keys::new(json!([jwk("k1", KEY)]))).verify(&token(header, claims, der)).await
}

#[tokio::test]
async fn a_good_token_names_its_owner() {
    assert_eq!(verdict(&header(), &claims(), KEY).await, Ok(PUSHER.to_owned()));
    for change in [
        |c: &mut Value| c["iss"] = json!("accounts.google.com"),
        |c: &mut Value| c["aud"] = json!(["x", "https://phase6.example/v1"]),
        |c: &mut Value| c["exp"] = json!(NOW - 59),
        |c: &mut Value| c["iat"] = json!(NOW + 59),
    ] {
        assert!(verdict(&header(), &with(claims(), change), KEY).await.is_ok());
    }
}

#[tokio::test]
async fn every_other_token_is_refused_with_its_reason() {
    type Change = fn(&mut Value);
    let bad_claims: [(Change, &str); 11] = [
        (|c| c["aud"] = json!("https://other"), "another audience"),
        (|c| c["aud"] = json!([]), "another audience"),
        (|c| c["iss"] = json!("https://evil.example"), "issuer"),
        (|c| c["exp"] = json!(NOW - 60), "expired"),
        (|c| c["exp"] = json!(i64::MIN), "expired"),
        (|c| c["iat"] = json!(NOW + 61), "future"),
        (|c| c["nbf"] = json!(i64::MAX), "future"),
        (|c| drop(c.as_object_mut().unwrap().remove("email_verified")), "not verified"),
        (|c| c["email_verified"] = json!(false), "not verified"),
        (|c| c["email_verified"] = json!("true"), "not as they have to be"),
        (|c| drop(c.as_object_mut().unwrap().remove("exp")), "not as they have to be"),
    ];
    for (change, reason) in bad_claims {
        match verdict(&header(), &with(claims(), change), KEY).await {
            Err(Refusal::Invalid(found)) => assert!(found.contains(reason), "{reason}: {found}"),
            other => panic!("{reason}: {other:?}"),
        }
    }
    let bad_headers: [(Change, &str); 5] = [
        (|h| h["alg"] = json!("none"), "not RS256"),
        (|h| h["alg"] = json!("HS256"), "not RS256"),
        (|h| h["kid"] = json!("k2"), "no such key"),
        (|h| drop(h.as_object_mut().unwrap().remove("kid")), "names no key"),
        (|h| h["crit"] = json!(["exp"]), "critical"),
    ];
    for (change, reason) in bad_headers {
        match verdict(&with(header(), change), &claims(), KEY).await {
            Err(Refusal::Invalid(found)) => assert!(found.contains(reason), "{reason}: {found}"),
            other => panic!("{reason}: {other:?}"),
        }
    }
    let stranger = verdict(&header(), &with(claims(), |c| c["email"] = json!("x@y")), KEY).await;
    assert!(matches!(stranger, Err(Refusal::Forbidden(_))));
}

#[tokio::test]
async fn signatures_are_checked() {
    let wrong = |found: Result<String, Refusal>| {
        assert_eq!(found, Err(Refusal::Invalid("the token's signature is wrong".into())));
    };
    wrong(verdict(&header(), &claims(), OTHER_KEY).await);
    let verifier = verifier(&Keys::new(json!([jwk("k1", KEY)])));
    let good = token(&header(), &claims(), KEY);
    let (signed, _) = good.rsplit_once('.').unwrap();
    wrong(verifier.verify(&format!("{signed}.")).await);
    let (head, _) = signed.split_once('.').unwrap();
    let forged = URL_SAFE_NO_PAD.encode(with(claims(), |c| c["email"] = json!("x@y")).to_string());
    let signature = good.rsplit_once('.').unwrap().1;
    wrong(verifier.verify(&format!("{head}.{forged}.{signature}")).await);
    for nonsense in ["", ".", "..", "a.b.c", "....", &"x".repeat(9000), "e30.e30.e30"] {
        assert!(matches!(verifier.verify(nonsense).await, Err(Refusal::Invalid(_))), "{nonsense}");
    }
}

#[tokio::test]
async fn a_token_whose_signature_cloud_run_removed_is_refused_with_what_to_do() {
    let keys = Keys::new(json!([jwk("k1", KEY)]));
    let good = token(&header(), &claims(), KEY);
    let (signed, _) = good.rsplit_once('.').unwrap();
    let found = verifier(&keys).verify(&format!("{signed}.SIGNATURE_REMOVED_BY_GOOGLE")).await;
    let Err(Refusal::Invalid(reason)) = found else { panic!("{found:?}") };
    assert!(reason.contains("Cloud Run") && reason.contains("let the service pull"), "{reason}");
    assert_eq!(keys.fetches(), 0, "there is nothing to check");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_callers_on_a_cold_cache_make_one_fetch() {
    let keys = Keys::new(json!([{"kty": "EC", "kid": "e"}, {"kty": "RSA"}, 7, jwk("k1", KEY)]));
    let verifier = Arc::new(verifier(&keys));
    let token = token(&header(), &claims(), KEY);
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (verifier, token) = (verifier.clone(), token.clone());
            tokio::spawn(async move { verifier.verify(&token).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), Ok(PUSHER.to_owned()));
    }
    assert_eq!(keys.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn unknown_keys_do_not_become_fetches() {
    let keys = Keys::new(json!([jwk("k1", KEY)]));
    let verifier = verifier(&keys);
    for n in 0..20 {
        let strange = with(header(), |h| h["kid"] = json!(format!("made-up-{n}")));
        let found = verifier.verify(&token(&strange, &claims(), KEY)).await;
        assert_eq!(found, Err(Refusal::Invalid("the issuer has no such key".into())));
    }
    assert_eq!(keys.fetches(), 1);
    // The issuer rotates: the new key is taken at the next fetch, 30 s after the last.
    keys.set(Ok(json!({"keys": [jwk("k2", OTHER_KEY)]})));
    let rotated = token(&with(header(), |h| h["kid"] = json!("k2")), &claims(), OTHER_KEY);
    assert!(verifier.verify(&rotated).await.is_err());
    tokio::time::advance(Duration::from_secs(31)).await;
    assert!(verifier.verify(&rotated).await.is_ok());
    assert_eq!(keys.fetches(), 2);
    assert!(verifier.verify(&token(&header(), &claims(), KEY)).await.is_err(), "a withdrawn key is no longer taken");
}

#[tokio::test(start_paused = true)]
async fn an_outage_leaves_the_keys_that_were_there() {
    let keys = Keys::new(json!([jwk("k1", KEY)]));
    let verifier = verifier(&keys);
    let good = token(&header(), &claims(), KEY);
    assert!(verifier.verify(&good).await.is_ok());
    keys.set(Err("no route to host".into()));
    tokio::time::advance(Duration::from_secs(3 * 3600)).await;
    assert!(verifier.verify(&good).await.is_ok());
    let strange = token(&with(header(), |h| h["kid"] = json!("new")), &claims(), KEY);
    assert!(
        matches!(verifier.verify(&strange).await, Err(Refusal::Unavailable(reason)) if reason.contains("no route"))
    );
    assert!(verifier.verify(&good).await.is_ok());
    // Withdrawn keys must not be believed for ever.
    tokio::time::advance(Duration::from_secs(22 * 3600)).await;
    assert!(matches!(verifier.verify(&good).await, Err(Refusal::Unavailable(_))));
    keys.set(Ok(json!({"keys": [jwk("k1", KEY)]})));
    tokio::time::advance(Duration::from_secs(31)).await;
    assert!(verifier.verify(&good).await.is_ok());
}

#[tokio::test]
async fn an_answer_that_is_no_key_set_is_an_outage() {
    for answer in [
        json!({"keys": []}),
        json!([]),
        json!("<html>"),
        json!({"keys": [{"kty": "RSA", "kid": "k1", "n": "%", "e": "AQAB"}]}),
    ] {
        let keys = Keys::new(json!([]));
        keys.set(Ok(answer));
        let found = verifier(&keys).verify(&token(&header(), &claims(), KEY)).await;
        assert!(matches!(found, Err(Refusal::Unavailable(_))), "{found:?}");
    }
}
