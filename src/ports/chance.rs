//! The only source of chance outside of tests' seeds: names that no other process has, and pauses that do not end together.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// A number that no other process has. (Process ids are none: in containers every copy is process 1, and on Cloud Run every
/// host is called `localhost`.)
pub fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Between half of it and all of it, so that those who wait, or who met, do not come back at once.
pub fn jittered(longest: Duration) -> Duration {
    let random = u32::try_from(chance() % 512).unwrap_or(0);
    longest / 2 + longest / 1024 * random
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_between_half_of_it_and_all_of_it_and_not_always_the_same() {
        let longest = Duration::from_secs(1024);
        let pauses: Vec<Duration> = (0..64).map(|_| jittered(longest)).collect();
        assert!(pauses.iter().all(|pause| (longest / 2..longest).contains(pause)), "{pauses:?}");
        assert!(pauses.iter().any(|pause| *pause != pauses[0]));
    }
}
