//! How fast Cloud Storage may be written to: about one write a second to one object name, and about a thousand writes a second
//! to a bucket, which doubles every 20 minutes of steady use
//! (<https://cloud.google.com/storage/docs/request-rate>, <https://cloud.google.com/storage/quotas#objects>).
//!
//! What is asked too fast is answered with 429, and asking again costs more than having waited. So writes take turns here, each
//! name for itself, and all of them together. The limits count for this process; other copies of the service have their own,
//! and what they exceed together is met as 429, which makes the name's turns longer for a while.

use crate::ports::chance::jittered;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How fast may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Between two writes to one name.
    pub per_name: Duration,
    /// Writes a second to all names together, at first; `None` is no limit.
    pub per_second: Option<u32>,
}

impl Limits {
    /// What Cloud Storage documents.
    pub const CLOUD_STORAGE: Self = Self { per_name: Duration::from_secs(1), per_second: Some(1000) };

    /// For servers that have no such limits.
    pub const NONE: Self = Self { per_name: Duration::ZERO, per_second: None };
}

/// After this long the allowed rate is twice as high.
const RAMP: Duration = Duration::from_secs(20 * 60);

/// Doublings: 32,000 a second is more than one process can write.
const MAX_DOUBLINGS: u32 = 5;

/// The longest pause that 429 leads to.
const LONGEST: Duration = Duration::from_secs(32);

/// Names that are remembered before the past ones are dropped.
const MANY: usize = 4096;

/// Gives writers their turns.
pub struct Pace {
    limits: Limits,
    names: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Name>>>>,
    all: Mutex<All>,
}

/// What is known of one name.
#[derive(Default)]
struct Name {
    /// When it may be written next; `None` is now.
    next: Option<Instant>,
    /// How often in a row it was refused.
    refused: u32,
}

/// The common line.
#[derive(Default)]
struct All {
    /// When the next write to any name may begin.
    next: Option<Instant>,
    /// Since when there has been steady use.
    busy_since: Option<Instant>,
}

/// A writer's turn: nobody else of this process writes the name until it is dropped.
pub struct Turn {
    limits: Limits,
    name: tokio::sync::OwnedMutexGuard<Name>,
}

impl Pace {
    pub fn new(limits: Limits) -> Self {
        Self { limits, names: Mutex::default(), all: Mutex::default() }
    }

    /// Returns when it is the writer's turn; in the order in which they asked.
    pub async fn turn(&self, name: &str) -> Turn {
        let name = self.name(name).lock_owned().await;
        if let Some(next) = name.next.filter(|next| *next > Instant::now()) {
            tokio::time::sleep_until(next).await;
        }
        let at = self.reserve(Instant::now());
        if at > Instant::now() {
            tokio::time::sleep_until(at).await;
        }
        Turn { limits: self.limits, name }
    }

    fn name(&self, name: &str) -> Arc<tokio::sync::Mutex<Name>> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() > MANY {
            let now = Instant::now();
            // Whom nobody waits for and nothing holds back is like new.
            let idle = |name: &Arc<tokio::sync::Mutex<Name>>| {
                Arc::strong_count(name) == 1
                    && name.try_lock().is_ok_and(|n| n.refused == 0 && n.next.is_none_or(|next| next <= now))
            };
            names.retain(|_, name| !idle(name));
        }
        names.entry(name.to_owned()).or_default().clone()
    }

    /// When a write that is ready at `now` may begin; its place in the common line is taken.
    fn reserve(&self, now: Instant) -> Instant {
        let Some(rate) = self.limits.per_second else { return now };
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.next.is_none_or(|next| now.saturating_duration_since(next) > RAMP) {
            all.busy_since = Some(now);
        }
        let rate = rate << doublings(now - all.busy_since.unwrap_or(now));
        let at = all.next.unwrap_or(now).max(now);
        all.next = Some(at + Duration::from_secs(1) / rate.max(1));
        at
    }
}

impl Turn {
    /// It was written, or may have been.
    pub fn written(mut self) {
        self.name.refused = 0;
        self.name.next = (!self.limits.per_name.is_zero()).then(|| Instant::now() + self.limits.per_name);
    }

    /// The server said that this was too fast: the name's next turn is later, and later again if it says so again.
    pub fn refused(mut self) {
        self.name.refused = (self.name.refused + 1).min(6);
        let first = self.limits.per_name.max(Duration::from_millis(250));
        let longest = (first * (1 << self.name.refused)).min(LONGEST);
        self.name.next = Some(Instant::now() + jittered(longest));
    }
}

fn doublings(busy: Duration) -> u32 {
    u32::try_from(busy.as_secs() / RAMP.as_secs()).unwrap_or(u32::MAX).min(MAX_DOUBLINGS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_second_write_to_a_name_waits_and_others_do_not() {
        let pace = Pace::new(Limits { per_name: Duration::from_secs(1), per_second: None });
        let start = Instant::now();
        pace.turn("a").await.written();
        pace.turn("b").await.written();
        assert_eq!(start.elapsed(), Duration::ZERO);
        pace.turn("a").await.written();
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        // A turn that wrote nothing costs nothing.
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(pace.turn("a").await);
        drop(pace.turn("a").await);
        assert_eq!(start.elapsed(), Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn one_writes_a_name_at_a_time() {
        let pace = Arc::new(Pace::new(Limits::NONE));
        let first = pace.turn("a").await;
        let second = tokio::spawn({
            let pace = pace.clone();
            async move { drop(pace.turn("a").await) }
        });
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!second.is_finished());
        first.written();
        second.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_makes_the_turns_longer_and_a_success_ends_that() {
        let pace = Pace::new(Limits::NONE);
        let waits = async |pace: &Pace| {
            let start = Instant::now();
            let turn = pace.turn("a").await;
            (turn, start.elapsed().as_secs_f64())
        };
        pace.turn("a").await.refused();
        let (turn, waited) = waits(&pace).await;
        assert!((0.25..=0.51).contains(&waited), "{waited}");
        turn.refused();
        let (turn, waited) = waits(&pace).await;
        assert!((0.5..=1.01).contains(&waited), "{waited}");
        turn.written();
        let (turn, waited) = waits(&pace).await;
        assert_eq!(waited, 0.0);
        turn.refused();
        let (_, waited) = waits(&pace).await;
        assert!((0.25..=0.51).contains(&waited), "{waited}");
    }

    #[tokio::test(start_paused = true)]
    async fn all_names_together_keep_a_rate_that_grows_with_steady_use() {
        let pace = Pace::new(Limits { per_name: Duration::ZERO, per_second: Some(100) });
        let start = Instant::now();
        let line = |count: u32, asked: Duration| {
            let last = (0..=count).map(|_| pace.reserve(start + asked)).last().unwrap();
            (last - start - asked).as_secs_f64()
        };
        assert!((line(100, Duration::ZERO) - 1.0).abs() < 0.001);
        for minute in 1..=21 {
            line(0, Duration::from_secs(minute * 60));
        }
        assert!((line(200, Duration::from_secs(22 * 60)) - 1.0).abs() < 0.001);
        // After a long pause it begins again.
        assert!((line(100, Duration::from_secs(90 * 60)) - 1.0).abs() < 0.001);
    }

    #[tokio::test(start_paused = true)]
    async fn names_that_nothing_holds_back_are_forgotten() {
        let pace = Pace::new(Limits { per_name: Duration::from_secs(1), per_second: None });
        for n in 0..3 * MANY {
            pace.turn(&n.to_string()).await.written();
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        assert!(pace.names.lock().unwrap().len() <= MANY + 1);
    }
}
