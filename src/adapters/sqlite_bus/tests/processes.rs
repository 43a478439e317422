//! Real processes on one bus: killed in the middle, and side by side. A child is this test binary again, told by the
//! environment what to do.

use super::*;
use crate::ports::clock::SystemClock;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

const ROLE: &str = "PHASE6_TEST_BUS_ROLE";
const FOLDER: &str = "PHASE6_TEST_BUS_FOLDER";

fn start(role: &str, folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "adapters::sqlite_bus::tests::processes::child", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The ids that the child said, until it ended.
fn said(child: &mut Child) -> Vec<String> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    lines.filter_map(|line| line.strip_prefix("id=").map(str::to_owned)).collect()
}

/// Not a test of its own: what a child process does. It says an id when the call for it has returned.
#[tokio::test]
async fn child() {
    let (Ok(role), Ok(folder)) = (std::env::var(ROLE), std::env::var(FOLDER)) else { return };
    let bus = Arc::new(SqliteBus::open(Path::new(&folder), Arc::new(SystemClock)).unwrap());
    let say = |id: &str| {
        // One write a line: a kill cuts between lines.
        std::io::stdout().write_all(format!("\nid={id}\n").as_bytes()).unwrap();
        std::io::stdout().flush().unwrap();
    };
    match role.as_str() {
        "publish" => {
            for n in 0.. {
                say(&bus.publish("topic", &message(&n.to_string())).await.unwrap());
            }
        }
        "publish 300" => {
            for n in 0..300 {
                say(&bus.publish("topic", &message(&n.to_string())).await.unwrap());
            }
        }
        "consume" => loop {
            for d in bus.pull("sub", 3, Duration::from_secs(1)).await.unwrap() {
                bus.ack(&d.lease).await.unwrap();
                say(&d.message.id);
            }
        },
        other => panic!("{other}"),
    }
}

fn kill_after(child: &mut Child, pause: Duration) {
    std::thread::sleep(pause);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_publishers_have_published_what_they_said() {
    let folder = tempfile::tempdir().unwrap();
    let bus = SqliteBus::open(folder.path(), Arc::new(SystemClock)).unwrap();
    bus.ensure(&subscription("sub", "topic")).await.unwrap();
    let (mut promised, mut kept) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..8u64 {
        let mut child = start("publish", folder.path());
        kill_after(&mut child, Duration::from_millis(60 + round * 37));
        promised.extend(said(&mut child));
        let begin = std::time::Instant::now();
        let again = SqliteBus::open(folder.path(), Arc::new(SystemClock)).unwrap();
        kept.extend(ids(&again, "sub").await);
        assert!(begin.elapsed() < Duration::from_secs(5));
        let lost: Vec<_> = promised.difference(&kept).collect();
        assert!(lost.is_empty(), "round {round}: {lost:?}");
    }
    assert!(promised.len() > 50, "the children came to work: {}", promised.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_consumers_lose_nothing_and_keep_their_acknowledgements() {
    let folder = tempfile::tempdir().unwrap();
    let clock = clock();
    let bus = SqliteBus::open(folder.path(), Arc::new(SystemClock)).unwrap();
    bus.ensure(&subscription("sub", "topic")).await.unwrap();
    let mut published = BTreeSet::new();
    for n in 0..3000 {
        if n % 500 == 0 {
            tokio::task::yield_now().await;
        }
        published.insert(bus.publish("topic", &message(&n.to_string())).await.unwrap());
    }
    let mut acknowledged = BTreeSet::new();
    for round in 0..5u64 {
        let mut child = start("consume", folder.path());
        kill_after(&mut child, Duration::from_millis(60 + round * 23));
        for id in said(&mut child) {
            assert!(acknowledged.insert(id.clone()), "{id} was acknowledged twice");
        }
    }
    assert!(!acknowledged.is_empty() && acknowledged.len() < 3000, "{}", acknowledged.len());
    // Long after, every lease has ended.
    clock.advance(Duration::from_secs(40 * 365 * 86400));
    let later = SqliteBus::open(folder.path(), clock).unwrap();
    let left: BTreeSet<String> = ids(&later, "sub").await.into_iter().collect();
    let lost: Vec<_> = published.iter().filter(|id| !left.contains(*id) && !acknowledged.contains(*id)).collect();
    // Each killed child may have acknowledged one message that it had not said yet.
    assert!(lost.len() <= 5, "{lost:?}");
    assert!(left.is_disjoint(&acknowledged));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_publishers_and_two_consumers_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let bus = SqliteBus::open(folder.path(), Arc::new(SystemClock)).unwrap();
    bus.ensure(&subscription("sub", "topic")).await.unwrap();
    let mut consumers = [start("consume", folder.path()), start("consume", folder.path())];
    let mut publishers = [start("publish 300", folder.path()), start("publish 300", folder.path())];
    let mut published = BTreeSet::new();
    for child in &mut publishers {
        published.extend(said(child));
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(published.len(), 600);
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while bus.backlog("sub").await.unwrap().messages > 0 {
        assert!(std::time::Instant::now() < deadline, "{:?}", bus.backlog("sub").await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut consumed = Vec::new();
    for child in &mut consumers {
        kill_after(child, Duration::ZERO);
        let ids = said(child);
        assert!(!ids.is_empty(), "both came to work");
        consumed.extend(ids);
    }
    assert_eq!(consumed.len(), 600, "each to one");
    assert_eq!(consumed.into_iter().collect::<BTreeSet<_>>(), published);
}
