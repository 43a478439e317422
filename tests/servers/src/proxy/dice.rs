//! Chance, by a seed.

use super::Faults;
use std::time::Duration;

/// SplitMix64 (Steele, Lea, Flood 2014): good enough for tests, and the same everywhere.
#[derive(Debug, Clone)]
pub struct Dice(u64);

/// What happens to a request or a piece of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Pass,
    Delay,
    Drop,
    Reset,
    Cut,
    RepeatRequest,
    RepeatReply,
}

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from 0 to below `n`; 0 where `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { (self.next() % n as u64) as usize }
    }

    pub fn up_to(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.below(1001) as f64 / 1000.0)
    }

    pub fn fate(&mut self, faults: &Faults) -> Fate {
        let mut left = self.below(1000) as u32;
        let chances = [
            (faults.delay, Fate::Delay),
            (faults.drop, Fate::Drop),
            (faults.reset, Fate::Reset),
            (faults.cut, Fate::Cut),
            (faults.repeat_request, Fate::RepeatRequest),
            (faults.repeat_reply, Fate::RepeatReply),
        ];
        for (chance, fate) in chances {
            if left < chance {
                return fate;
            }
            left -= chance;
        }
        Fate::Pass
    }
}
