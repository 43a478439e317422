//! Whether there is anything left to do: `serve --until-idle` ends when there is not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What the loops last found on the bus.
#[derive(Clone, Default)]
pub struct Idle(Arc<Mutex<Found>>);

#[derive(Default)]
struct Found {
    /// Messages that are worked now.
    worked: usize,
    /// Since when a subscription's pulls bring nothing. One that cannot be asked is not in it: nobody knows what waits there.
    empty: BTreeMap<String, Instant>,
}

/// A message is worked as long as this lives.
pub struct Working(Idle);

impl Idle {
    /// A pull of the subscription brought nothing.
    pub fn found_nothing(&self, subscription: &str) {
        self.locked().empty.entry(subscription.to_owned()).or_insert_with(Instant::now);
    }

    /// A pull of the subscription failed.
    pub fn cannot_tell(&self, subscription: &str) {
        self.locked().empty.remove(subscription);
    }

    /// A message is worked. What comes of it may come on any subscription, so that the waiting begins anew when it is done.
    pub fn work(&self) -> Working {
        self.locked().worked += 1;
        Working(self.clone())
    }

    /// Whether nothing is worked, and all of the subscriptions have brought nothing for so long.
    pub fn is_idle<'a>(&self, mut subscriptions: impl Iterator<Item = &'a String>, term: Duration) -> bool {
        let found = self.locked();
        let empty = |name: &String| found.empty.get(name).is_some_and(|since| since.elapsed() >= term);
        found.worked == 0 && subscriptions.all(empty)
    }

    fn locked(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let mut found = self.0.locked();
        found.worked -= 1;
        found.empty.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_idle_when_nothing_came_from_anywhere_for_a_while() {
        let (idle, term) = (Idle::default(), Duration::from_secs(30));
        let names = ["a".to_owned(), "b".to_owned()];
        let is = || idle.is_idle(names.iter(), term);
        let nothing = || names.iter().for_each(|name| idle.found_nothing(name));
        assert!(!is(), "nobody has looked yet");
        nothing();
        tokio::time::advance(term / 2).await;
        nothing();
        assert!(!is());
        tokio::time::advance(term / 2).await;
        assert!(is());
        let working = idle.work();
        assert!(!is());
        drop(working);
        assert!(!is(), "what was done may have led to more");
        nothing();
        tokio::time::advance(term).await;
        assert!(is());
        idle.cannot_tell("b");
        assert!(!is(), "nobody knows what waits there");
    }
}
