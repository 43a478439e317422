//! Google's Pub/Sub emulator. It knows no projects in advance, so that one serves many tests that use project names of their
//! own. What it ignores: filters, seeking by time, signed push, IAM.

use super::{PUBSUB_EMULATOR_JAR, Running, answers, find};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// Where the packages of Google's command line tools put it.
const FOLDERS: [&str; 3] = [
    "/usr/lib/google-cloud-sdk/platform/pubsub-emulator/lib",
    "/usr/share/google-cloud-sdk/platform/pubsub-emulator/lib",
    "/opt/google-cloud-sdk/platform/pubsub-emulator/lib",
];

/// Starts an emulator of its own and waits until it answers. Blocks. The error is the reason for a skip.
pub fn start() -> Result<Running, String> {
    let jar = jar()?;
    let command = |port: u16| {
        let mut command = Command::new("java");
        // It compiles less and keeps less memory: many tests share the machine.
        command.args(["-XX:TieredStopAtLevel=1", "-Xmx512m", "-jar"]).arg(&jar);
        command.args(["--host=127.0.0.1", &format!("--port={port}")]);
        command
    };
    Running::start("pubsub-emulator", command, |port| answers(port, "/"), Duration::from_secs(60))
}

/// The emulator that the tests of one process share: started for the first, ended after the last that holds it.
pub fn shared() -> Result<Arc<Running>, String> {
    static SHARED: Mutex<Weak<Running>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(running) = shared.upgrade() {
        return Ok(running);
    }
    let running = Arc::new(start()?);
    *shared = Arc::downgrade(&running);
    Ok(running)
}

/// As told by the environment or `bin/emulators`, else from the folders of Google's command line tools.
fn jar() -> Result<PathBuf, String> {
    let reason = match find(PUBSUB_EMULATOR_JAR) {
        Ok(jar) => return Ok(jar),
        Err(reason) => reason,
    };
    let found = FOLDERS.iter().find_map(|folder| in_folder(Path::new(folder)));
    found.ok_or_else(|| format!("the Pub/Sub emulator's jar is in none of its usual folders, and {reason}"))
}

fn in_folder(folder: &Path) -> Option<PathBuf> {
    let mut jars: Vec<PathBuf> = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    jars.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("cloud-pubsub-emulator") && name.ends_with(".jar")
    });
    jars.sort();
    jars.pop()
}
