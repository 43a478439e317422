//! `phase6 health` beside the real service.

use super::desk::{Desk, text};
use crate::harness::Sandbox;

#[test]
fn health_is_asked_where_the_environment_says() {
    let mut desk = Desk::small();
    // As in the container: PHASE6_LISTEN names PORT, which whoever starts it sets.
    desk.start_with("", &[("PHASE6_LISTEN", "127.0.0.1:${PORT}"), ("PORT", "0")]);
    let address = text(&desk.logged("started on target"), "/listen").to_owned();
    let port = address.rsplit(':').next().unwrap().to_owned();
    assert!(address.starts_with("127.0.0.1:") && port != "0", "{address}");
    let url = format!("http://{address}");
    let well = desk.sandbox.run(&format!("health --url {url}")).expect(0);
    assert_eq!(well.stdout, format!("ok  {url}/livez\n"));
    let ready = desk.until("ready", || {
        let ran = desk.sandbox.run(&format!("health --listen 0.0.0.0:{port} --ready --format json"));
        (ran.code == 0).then_some(ran.stdout)
    });
    let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
    assert_eq!(ready["status"], "ok", "{ready:#}");
    assert_eq!(desk.sandbox.run(&format!("health --quiet --url {url}/")).expect(0).stdout, "");
    desk.stop();
    let gone = desk.sandbox.run(&format!("health --url {url}")).expect(5);
    assert!(gone.stderr.contains("does not answer"), "{}", gone.stderr);
}

#[test]
fn without_an_address_it_says_how_to_name_one() {
    let ran = Sandbox::shipped().run("health").expect(2);
    assert!(ran.stderr.contains("--listen"), "{}", ran.stderr);
    let ran = Sandbox::shipped().run("health --listen '0.0.0.0:${NO_SUCH_PORT}'").expect(2);
    assert!(ran.stderr.contains("the environment has no `NO_SUCH_PORT`"), "{}", ran.stderr);
}
