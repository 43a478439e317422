//! How fast Cloud Storage may be written to: about one write a second to one object name, and about a thousand writes a second
//! to a bucket, which doubles every 20 minutes of steady use
//! (<https://cloud.google.com/storage/docs/request-rate>, <https://cloud.google.com/storage/quotas#objects>).
//!
//! What is asked too fast is answered with 429, and asking again costs more than having waited. So writes take turns here, each
//! name for itself, and all of them together. The limits count for this process; other copies of the service have their own,
//! and what they exceed together is met as 429, which makes the name's turns longer for a while.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
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
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    names: HashMap<String, Turn>,
    /// When the next write to any name may begin.
    next: Option<Instant>,
    /// Since when there has been steady use.
    busy_since: Option<Instant>,
}

struct Turn {
    next: Instant,
    /// How often in a row the name was refused.
    refused: u32,
}

impl Pace {
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: Mutex::default() }
    }

    /// Returns when it is the writer's turn.
    pub async fn turn(&self, name: &str) {
        let now = Instant::now();
        let at = self.reserve(name, now);
        if at > now {
            tokio::time::sleep_until(at).await;
        }
    }

    /// When a write that was asked for at `now` may begin; the place in the line is taken.
    fn reserve(&self, name: &str, now: Instant) -> Instant {
        let mut state = self.state();
        if state.names.len() > MANY {
            state.names.retain(|_, turn| turn.next > now);
        }
        let mut at = now;
        if !self.limits.per_name.is_zero() || state.names.contains_key(name) {
            let turn = state.names.entry(name.to_owned()).or_insert(Turn { next: now, refused: 0 });
            at = turn.next.max(now);
            turn.next = at + self.limits.per_name;
        }
        if let Some(rate) = self.limits.per_second {
            let idle = state.next.is_none_or(|next| now.saturating_duration_since(next) > RAMP);
            let since = *state.busy_since.get_or_insert(now);
            if idle {
                state.busy_since = Some(now);
            }
            let rate = rate << doublings(if idle { Duration::ZERO } else { now - since });
            // A write that waits for its name takes its place in the common line at once: a few may then be late, none too early.
            let next = state.next.unwrap_or(now).max(now);
            state.next = Some(next + Duration::from_secs(1) / rate.max(1));
            at = at.max(next);
        }
        at
    }

    /// The server said that this was too fast: the name's next turn is later, and later again if it says so again.
    pub fn refused(&self, name: &str) {
        let now = Instant::now();
        let mut state = self.state();
        let turn = state.names.entry(name.to_owned()).or_insert(Turn { next: now, refused: 0 });
        turn.refused = (turn.refused + 1).min(6);
        let longest = (self.limits.per_name.max(Duration::from_millis(250)) * (1 << turn.refused)).min(LONGEST);
        turn.next = turn.next.max(now + jittered(longest));
    }

    /// A write went well.
    pub fn accepted(&self, name: &str) {
        let mut state = self.state();
        if let Some(turn) = state.names.get_mut(name) {
            turn.refused = 0;
            if self.limits.per_name.is_zero() {
                state.names.remove(name);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn doublings(busy: Duration) -> u32 {
    u32::try_from(busy.as_secs() / RAMP.as_secs()).unwrap_or(u32::MAX).min(MAX_DOUBLINGS)
}

/// Between half of it and all of it, so that those who wait do not come back at once.
pub fn jittered(longest: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() % 512;
    longest / 2 + longest / 1024 * u32::try_from(random).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(pace: &Pace, name: &str, start: Instant, asked: f64) -> f64 {
        let at = pace.reserve(name, start + Duration::from_secs_f64(asked));
        (at - start).as_secs_f64()
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_write_to_a_name_waits_and_others_do_not() {
        let pace = Pace::new(Limits { per_name: Duration::from_secs(1), per_second: None });
        let start = Instant::now();
        assert_eq!(seconds(&pace, "a", start, 0.0), 0.0);
        assert_eq!(seconds(&pace, "a", start, 0.2), 1.0);
        assert_eq!(seconds(&pace, "a", start, 0.3), 2.0);
        assert_eq!(seconds(&pace, "b", start, 0.3), 0.3);
        assert_eq!(seconds(&pace, "a", start, 9.0), 9.0);
        pace.turn("b").await;
        assert_eq!(start.elapsed(), Duration::from_millis(1300));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_makes_the_turns_longer_and_a_success_ends_that() {
        let pace = Pace::new(Limits { per_name: Duration::from_secs(1), per_second: None });
        let wait = |pace: &Pace| pace.reserve("a", Instant::now()) - Instant::now();
        pace.refused("a");
        assert!((1.0..=2.0).contains(&wait(&pace).as_secs_f64()));
        tokio::time::advance(Duration::from_secs(60)).await;
        pace.refused("a");
        assert!((2.0..=4.0).contains(&wait(&pace).as_secs_f64()));
        pace.accepted("a");
        tokio::time::advance(Duration::from_secs(60)).await;
        pace.refused("a");
        assert!((1.0..=2.0).contains(&wait(&pace).as_secs_f64()));
        // Also where nothing is limited beforehand.
        let free = Pace::new(Limits::NONE);
        assert_eq!(wait(&free), Duration::ZERO);
        free.refused("a");
        assert!(wait(&free) >= Duration::from_millis(250));
    }

    #[tokio::test(start_paused = true)]
    async fn all_names_together_keep_a_rate_that_grows_with_steady_use() {
        let pace = Pace::new(Limits { per_name: Duration::ZERO, per_second: Some(100) });
        let start = Instant::now();
        let last = (0..=100).map(|i| seconds(&pace, &i.to_string(), start, 0.0)).last().unwrap();
        assert!((last - 1.0).abs() < 0.001, "{last}");
        for minute in 1..=21 {
            seconds(&pace, "x", start, f64::from(minute) * 60.0);
        }
        let later = 22.0 * 60.0;
        let last = (0..=200).map(|i| seconds(&pace, &i.to_string(), start, later)).last().unwrap();
        assert!((last - later - 1.0).abs() < 0.001, "{last}");
        // After a long pause it begins again.
        let later = 90.0 * 60.0;
        let last = (0..=100).map(|i| seconds(&pace, &i.to_string(), start, later)).last().unwrap();
        assert!((last - later - 1.0).abs() < 0.001, "{last}");
    }
}
