//! Who we are to Google: Application Default Credentials that outlive their troubles.
//!
//! Google's crate renews a token in a task of its own, asks for it without a limit of time, and ends that task for good at an
//! answer that it takes for final, one broken off among them (`google-cloud-auth` 1.18, `token_cache.rs`): the process would be
//! deaf until somebody starts it again. Here such credentials are made anew.

use google_cloud_auth::credentials::{CacheableResource, Credentials, CredentialsProvider};
use google_cloud_auth::errors::CredentialsError;
use http::{Extensions, HeaderMap};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How long one answer is waited for.
const ANSWER: Duration = Duration::from_secs(10);

/// How long a token is asked for that cannot be had for a while: the crate itself asks again after ten seconds.
const PATIENCE: Duration = Duration::from_secs(12);

const PAUSE: Duration = Duration::from_secs(1);

/// Credentials that fail for good are made anew when they are older than this: what never worked is no accident.
const RENEWED_AFTER: Duration = Duration::from_secs(30);

/// Looks for credentials, as the crate does.
type Make = Box<dyn Fn() -> Result<Credentials, CredentialsError> + Send + Sync>;

/// The credentials of the process.
pub struct Identity {
    make: Make,
    now: Mutex<Option<(Credentials, Instant)>>,
}

impl Identity {
    pub fn new(make: impl Fn() -> Result<Credentials, CredentialsError> + Send + Sync + 'static) -> Self {
        Self { make: Box::new(make), now: Mutex::new(None) }
    }

    /// The credentials in force, made at the first question.
    fn current(&self) -> Result<(Credentials, Instant), CredentialsError> {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        match &*now {
            Some(current) => Ok(current.clone()),
            None => Ok(now.insert(((self.make)()?, Instant::now())).clone()),
        }
    }

    /// Takes those away that were made then, if they are old enough, so that the next question makes others.
    fn renewed(&self, made: Instant) -> bool {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let old = made.elapsed() > RENEWED_AFTER;
        if old && now.as_ref().is_some_and(|(_, at)| *at == made) {
            *now = None;
        }
        old
    }
}

impl CredentialsProvider for Identity {
    async fn headers(&self, extensions: Extensions) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
        let begun = Instant::now();
        loop {
            let (credentials, made) = self.current()?;
            let error = match timeout(ANSWER, credentials.headers(extensions.clone())).await {
                Ok(Ok(headers)) => return Ok(headers),
                Ok(Err(error)) => error,
                Err(_) => {
                    CredentialsError::from_msg(true, format!("no access token came within {} s", ANSWER.as_secs()))
                }
            };
            let again = if error.is_transient() { begun.elapsed() < PATIENCE } else { self.renewed(made) };
            if !again {
                return Err(error);
            }
            sleep(PAUSE).await;
        }
    }

    async fn universe_domain(&self) -> Option<String> {
        self.current().ok()?.0.universe_domain().await
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use google_cloud_auth::credentials::EntityTag;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Credentials that answer by the number of the question, from 1.
    #[derive(Debug)]
    struct Scripted(fn(usize) -> Answer, AtomicUsize);

    enum Answer {
        Token,
        Later,
        Never,
        Silence,
    }

    impl CredentialsProvider for Scripted {
        async fn headers(&self, _: Extensions) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
            match self.0(self.1.fetch_add(1, Ordering::SeqCst) + 1) {
                Answer::Token => Ok(CacheableResource::New { entity_tag: EntityTag::new(), data: HeaderMap::new() }),
                Answer::Later => Err(CredentialsError::from_msg(true, "503")),
                Answer::Never => Err(CredentialsError::from_msg(false, "broken off")),
                Answer::Silence => std::future::pending().await,
            }
        }

        async fn universe_domain(&self) -> Option<String> {
            None
        }
    }

    /// An identity whose credentials follow the script, and how often they were made.
    fn scripted(script: fn(usize) -> Answer) -> (Identity, Arc<AtomicUsize>) {
        let made = Arc::new(AtomicUsize::new(0));
        let count = made.clone();
        let make = move || {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(Credentials::from(Scripted(script, AtomicUsize::new(0))))
        };
        (Identity::new(make), made)
    }

    async fn asked(identity: &Identity) -> Result<(), CredentialsError> {
        identity.headers(Extensions::new()).await.map(drop)
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_for_a_while_or_is_silent_is_asked_again() {
        for script in [
            |n| if n < 4 { Answer::Later } else { Answer::Token },
            |n| if n < 2 { Answer::Silence } else { Answer::Token },
        ] {
            let (identity, made) = scripted(script);
            asked(&identity).await.unwrap();
            assert_eq!(made.load(Ordering::SeqCst), 1);
        }
        let (identity, _) = scripted(|_| Answer::Silence);
        let begun = Instant::now();
        assert!(asked(&identity).await.unwrap_err().is_transient());
        assert!(begun.elapsed() <= 2 * ANSWER + PAUSE, "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_for_good_is_made_anew_and_what_never_worked_is_said_at_once() {
        let (identity, made) = scripted(|n| if n == 1 { Answer::Token } else { Answer::Never });
        asked(&identity).await.unwrap();
        let begun = Instant::now();
        assert!(!asked(&identity).await.unwrap_err().is_transient());
        assert!(begun.elapsed() < PAUSE);
        tokio::time::advance(RENEWED_AFTER * 2).await;
        asked(&identity).await.unwrap();
        assert_eq!(made.load(Ordering::SeqCst), 2);
    }
}
