use super::*;

fn python(port: u16) -> Command {
    let mut command = Command::new("python3");
    command.args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string()]);
    command
}

#[test]
fn a_server_is_waited_for_and_killed_on_drop() {
    let Ok(server) = Running::start("http.server", python, |port| answers(port, "/"), Duration::from_secs(20)) else {
        return skip("a_server_is_waited_for_and_killed_on_drop", "python3 does not start");
    };
    let port = server.port();
    assert!(answers(port, "/") && !answers(port, "/missing/file"));
    assert!(server.log().contains("GET / "), "{}", server.log());
    drop(server);
    assert!(!answers(port, "/"), "it is gone");
}

#[test]
fn what_may_be_skipped_is_named() {
    assert!(may_skip("chromium", "", "") && may_skip("chromium", "1", "large sample, chromium"));
    assert!(!may_skip("pubsub", "1", "large sample,chromium") && !may_skip("chromium", "1", ""));
}

#[test]
fn a_server_that_ends_at_once_is_told_with_its_log() {
    let mistaken = |_| {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such option >&2; exit 3"]);
        command
    };
    let error = Running::start("mistaken", mistaken, |_| false, Duration::from_secs(20)).unwrap_err();
    assert!(error.contains("exit status: 3") && error.contains("no such option"), "{error}");
    let absent = Running::start("absent", |_| Command::new("/no/such/program"), |_| false, Duration::from_secs(1));
    assert!(absent.unwrap_err().contains("does not start"));
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let idle = |_| {
        let mut command = Command::new("sleep");
        command.arg("60");
        command
    };
    let error = Running::start("idle", idle, |_| false, Duration::from_millis(200)).unwrap_err();
    assert!(error.contains("not ready after 200ms"), "{error}");
}

#[test]
fn what_is_not_installed_is_a_reason() {
    let reason = find("PHASE6_NO_SUCH_EMULATOR").unwrap_err();
    assert!(reason.contains("bin/emulators"), "{reason}");
}

/// The child of the test below: starts a process, says its number, and dies at once.
#[test]
#[ignore = "run by the test below, as a process of its own"]
fn dies_with_a_child() {
    let mut sleep = Command::new("sleep");
    sleep.arg("60").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = spawn(sleep).unwrap();
    println!("started={}", child.id());
    std::process::abort();
}

#[test]
#[cfg(target_os = "linux")]
fn a_process_dies_with_the_test_that_started_it() {
    let mut this = Command::new(std::env::current_exe().unwrap());
    this.args(["--exact", "emulators::tests::dies_with_a_child", "--ignored", "--nocapture"]);
    let said = this.output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let pid = said.split("started=").nth(1).and_then(|rest| rest.lines().next()).unwrap_or_else(|| panic!("{said}"));
    let begun = Instant::now();
    // A zombie that nobody reaps has no command line.
    let lives = || std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty());
    while lives() {
        assert!(begun.elapsed() < Duration::from_secs(10), "process {pid} outlived the one that started it");
        std::thread::sleep(Duration::from_millis(20));
    }
}
