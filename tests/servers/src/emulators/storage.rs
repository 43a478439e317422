//! fake-gcs-server, a Cloud Storage in Go by others.

use super::{FAKE_GCS_SERVER, Running, answers, find};
use std::process::Command;
use std::time::Duration;

/// Starts it with nothing in it; it keeps everything in memory. The error is the reason for a skip.
pub fn start() -> Result<Running, String> {
    let program = find(FAKE_GCS_SERVER)?;
    let command = |port: u16| {
        let (port, host) = (port.to_string(), format!("127.0.0.1:{port}"));
        let mut command = Command::new(&program);
        command.args([
            "-scheme",
            "http",
            "-host",
            "127.0.0.1",
            "-port",
            &port,
            "-backend",
            "memory",
            "-log-level",
            "warn",
        ]);
        command.args(["-external-url", &format!("http://{host}"), "-public-host", &host]);
        command
    };
    Running::start("fake-gcs-server", command, |port| answers(port, "/storage/v1/b?project=p"), Duration::from_secs(20))
}
