//! Failures on demand and by chance.

use super::wire::Incoming;
use std::time::Duration;

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This status with this reason; nothing was done.
    Answer(u16, &'static str),
    /// The connection is closed; nothing was done.
    CloseBefore,
    /// It was done, and the connection is closed without an answer.
    LoseReply,
    /// It was done, and the connection is closed in the middle of the answer.
    HalfReply,
    /// The answer's second half comes this much later.
    SlowBody(Duration),
    /// The call is worked this much later.
    Delay(Duration),
}

/// How often calls fail by chance, in a thousand. The same seed and the same order of calls give the same faults.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chaos {
    pub seed: u64,
    pub unavailable: u32,
    pub too_many: u32,
    pub close_before: u32,
    pub lose_reply: u32,
    pub half_reply: u32,
    pub delay: u32,
}

#[derive(Default)]
pub struct Faults {
    ordered: Vec<Ordered>,
    chaos: Chaos,
    drawn: u64,
}

struct Ordered {
    left: u32,
    method: String,
    part: String,
    fault: Fault,
}

impl Faults {
    pub fn add(&mut self, times: u32, method: &str, part: &str, fault: Fault) {
        self.ordered.push(Ordered { left: times, method: method.to_owned(), part: part.to_owned(), fault });
    }

    pub fn chaos(&mut self, chaos: Chaos) {
        self.chaos = chaos;
        self.drawn = 0;
    }

    pub fn choose(&mut self, incoming: &Incoming) -> Option<Fault> {
        let fits = |o: &&mut Ordered| o.left > 0 && o.method == incoming.method && incoming.uri.contains(&o.part);
        if let Some(ordered) = self.ordered.iter_mut().find(fits) {
            ordered.left -= 1;
            return Some(ordered.fault);
        }
        let kinds = [
            (self.chaos.unavailable, Fault::Answer(503, "backendError")),
            (self.chaos.too_many, Fault::Answer(429, "rateLimitExceeded")),
            (self.chaos.close_before, Fault::CloseBefore),
            (self.chaos.lose_reply, Fault::LoseReply),
            (self.chaos.half_reply, Fault::HalfReply),
            (self.chaos.delay, Fault::Delay(Duration::from_millis(3))),
        ];
        let mut point = self.random() % 1000;
        kinds.into_iter().find_map(|(often, fault)| match point.checked_sub(u64::from(often)) {
            None => Some(fault),
            Some(rest) => {
                point = rest;
                None
            }
        })
    }

    /// splitmix64.
    fn random(&mut self) -> u64 {
        self.drawn = self.drawn.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.chaos.seed.wrapping_add(self.drawn);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
