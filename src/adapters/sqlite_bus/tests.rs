//! What is the embedded bus's own; the port's contract is in `adapters::bus_conformance`.

use super::*;
use crate::adapters::bus_conformance::{self, Bench, HandClock};
use jiff::Timestamp;

/// Two connections to one bus, as two processes would have them.
struct Embedded {
    clock: Arc<HandClock>,
    bus: Arc<SqliteBus>,
    other: Arc<SqliteBus>,
}

#[async_trait]
impl Bench for Embedded {
    fn bus(&self) -> Arc<dyn Bus> {
        self.bus.clone()
    }

    fn other(&self) -> Arc<dyn Bus> {
        self.other.clone()
    }

    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(HandClock::new("2025-12-12T18:00:00Z"));
    let open = || Arc::new(SqliteBus::open(folder.path(), clock.clone()).unwrap());
    bus_conformance::run(&Embedded { clock: clock.clone(), bus: open(), other: open() }).await;
}
