//! How fast it is against the emulator: numbers to read, not limits. `cargo test --release … -- --ignored --nocapture speed`.

use super::{SOON, bus, emulator, message, subscription};
use crate::ports::bus::Bus;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const MESSAGES: usize = 2000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn speed() {
    let Some(emulator) = emulator("speed").await else { return };
    let bus = Arc::new(bus(&emulator, "speed"));
    bus.ensure(&subscription()).await.unwrap();
    let begun = Instant::now();
    for n in 0..200 {
        bus.publish("topic", &message(&n.to_string())).await.unwrap();
    }
    println!("one after the other: {:.1} ms for each publish", begun.elapsed().as_secs_f64() * 1000.0 / 200.0);
    let begun = Instant::now();
    let all: Vec<_> = (200..MESSAGES)
        .map(|n| {
            let bus = bus.clone();
            tokio::spawn(async move { bus.publish("topic", &message(&n.to_string())).await.unwrap() })
        })
        .collect();
    for one in all {
        one.await.unwrap();
    }
    println!("side by side: {:.0} publishes a second", (MESSAGES - 200) as f64 / begun.elapsed().as_secs_f64());
    let (begun, mut done) = (Instant::now(), 0);
    while done < MESSAGES {
        let pulled = bus.pull("sub", 4, SOON).await.unwrap();
        assert!(!pulled.is_empty());
        for delivery in pulled {
            bus.ack(&delivery.lease).await.unwrap();
            done += 1;
        }
    }
    println!("four hands: {:.0} pulled and acknowledged a second", done as f64 / begun.elapsed().as_secs_f64());
    let (before, begun) = (used(), Instant::now());
    while begun.elapsed() < 4 * SOON {
        bus.pull("sub", 4, Duration::from_millis(500)).await.unwrap();
    }
    let share = (used() - before) / begun.elapsed().as_secs_f64();
    println!("a waiting subscription: {:.2} % of one CPU", share * 100.0);
}

/// Seconds of processor time of this process: Linux counts them in hundredths.
fn used() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    let ticks = |n: usize| after_name.split(' ').nth(n).unwrap().parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}
