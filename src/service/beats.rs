//! Signs of life of the loops, for `/live`: a loop that has not gone round within its limit hangs.

use super::http::Heartbeat;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// When each loop last went round.
#[derive(Clone, Default)]
pub struct Beats(Arc<Mutex<BTreeMap<String, (Instant, Duration)>>>);

impl Beats {
    /// The loop goes round; beyond `limit` without another beat it hangs.
    pub fn beat(&self, name: &str, limit: Duration) {
        let mut beats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match beats.get_mut(name) {
            Some(last) => *last = (Instant::now(), limit),
            None => drop(beats.insert(name.to_owned(), (Instant::now(), limit))),
        }
    }

    pub fn all(&self) -> Vec<Heartbeat> {
        let beats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let beat = |(name, (at, limit)): (&String, &(Instant, Duration))| Heartbeat {
            name: name.clone(),
            age: at.elapsed(),
            limit: *limit,
        };
        beats.iter().map(beat).collect()
    }
}
