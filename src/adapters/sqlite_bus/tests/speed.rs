//! What the bus costs: `cargo test --release --lib sqlite_bus::tests::speed -- --ignored --nocapture --test-threads=1`.

use super::*;
use crate::ports::clock::SystemClock;
use std::time::Instant;

fn cpu() -> Duration {
    let usage = |path: &str| std::fs::read_to_string(path).unwrap();
    let text = usage("/proc/self/stat");
    let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn bus() -> (tempfile::TempDir, Arc<SqliteBus>) {
    // Beside the build, on a real disk.
    let folder = tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
    let bus = Arc::new(SqliteBus::open(folder.path(), Arc::new(SystemClock)).unwrap());
    (folder, bus)
}

#[tokio::test]
#[ignore = "a measurement"]
async fn one_after_the_other() {
    let (_folder, bus) = bus();
    bus.ensure(&subscription("sub", "topic")).await.unwrap();
    let body = message(&"x".repeat(500));
    let begin = Instant::now();
    for _ in 0..5000 {
        bus.publish("topic", &body).await.unwrap();
    }
    println!("publish, one after the other: {:.0}/s", 5000.0 / begin.elapsed().as_secs_f64());
    let begin = Instant::now();
    for _ in 0..5000 {
        let got = bus.pull("sub", 1, Duration::from_secs(1)).await.unwrap();
        bus.ack(&got[0].lease).await.unwrap();
    }
    let took = begin.elapsed();
    println!("pull + ack, one after the other: {:.0}/s, {:?} each", 5000.0 / took.as_secs_f64(), took / 5000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn many_at_once() {
    let (_folder, bus) = bus();
    bus.ensure(&subscription("sub", "topic")).await.unwrap();
    let begin = Instant::now();
    let publishers: Vec<_> = (0..64)
        .map(|_| {
            let bus = bus.clone();
            tokio::spawn(async move {
                for _ in 0..1600 {
                    bus.publish("topic", &message(&"x".repeat(500))).await.unwrap();
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.await.unwrap();
    }
    println!("publish, 64 at once: {:.0}/s", 64.0 * 1600.0 / begin.elapsed().as_secs_f64());
    let begin = Instant::now();
    let backlog = bus.backlog("sub").await.unwrap();
    println!("backlog of {}: {:?}", backlog.messages, begin.elapsed());
    let begin = Instant::now();
    for _ in 0..1000 {
        let got = bus.pull("sub", 1, Duration::ZERO).await.unwrap();
        bus.ack(&got[0].lease).await.unwrap();
    }
    println!("pull + ack with 100,000 waiting: {:?} each", begin.elapsed() / 1000);
    let begin = Instant::now();
    let mut count = 0;
    loop {
        let got = bus.pull("sub", 16, Duration::ZERO).await.unwrap();
        if got.is_empty() {
            break;
        }
        let acks: Vec<_> = got
            .into_iter()
            .map(|d| {
                let bus = bus.clone();
                tokio::spawn(async move { bus.ack(&d.lease).await.unwrap() })
            })
            .collect();
        for ack in acks {
            ack.await.unwrap();
            count += 1;
        }
    }
    println!("pull 16 + ack them together: {:.0}/s", f64::from(count) / begin.elapsed().as_secs_f64());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn idle() {
    let (_folder, bus) = bus();
    for name in ["one", "two", "three"] {
        bus.ensure(&subscription(name, "topic")).await.unwrap();
        let bus = bus.clone();
        tokio::spawn(async move {
            loop {
                bus.pull(name, 1, Duration::from_secs(30)).await.unwrap();
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (before, begin) = (cpu(), Instant::now());
    tokio::time::sleep(Duration::from_secs(20)).await;
    println!(
        "idle, three waiting pulls: {:.2} % of a core",
        100.0 * (cpu() - before).as_secs_f64() / begin.elapsed().as_secs_f64()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn from_another_connection() {
    let (folder, bus) = bus();
    bus.ensure(&subscription("sub", "topic")).await.unwrap();
    let other = SqliteBus::open(folder.path(), Arc::new(SystemClock)).unwrap();
    let (mut total, mut worst) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..100 {
        let waiting = bus.clone();
        let pull = tokio::spawn(async move { waiting.pull("sub", 1, Duration::from_secs(5)).await.unwrap() });
        tokio::time::sleep(Duration::from_millis(30)).await;
        let begin = Instant::now();
        other.publish("topic", &message("x")).await.unwrap();
        let got = pull.await.unwrap();
        (total, worst) = (total + begin.elapsed(), worst.max(begin.elapsed()));
        bus.ack(&got[0].lease).await.unwrap();
    }
    println!("publish in one process to pull in another: {:?} on average, {worst:?} at worst", total / 100);
}
