//! `phase6 health` beside the real service.

use super::desk::{Desk, text};
use crate::harness::Sandbox;
use std::io::{Read, Write};
use std::net::TcpListener;

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
    assert_eq!(well.stdout, format!("ok  {url}/live\n"));
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
fn who_is_not_let_in_learns_nothing_of_the_service_and_how_to_get_in() {
    let before = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", before.local_addr().unwrap());
    let door = std::thread::spawn(move || {
        for status in ["401 Unauthorized", "403 Forbidden"] {
            let (mut stream, _) = before.accept().unwrap();
            let asked = stream.read(&mut [0; 1024]).unwrap();
            assert!(asked > 0);
            // As the front of Cloud Run answers, and not in the service's JSON.
            let body = "<html>Your client does not have permission</html>";
            let length = body.len();
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}").unwrap();
        }
    });
    let sandbox = Sandbox::shipped();
    for status in [401, 403] {
        let ran = sandbox.run(&format!("health --ready --url {url}")).expect(5);
        assert_eq!(ran.stdout, "", "nothing is known of the service");
        let said = format!("not let in to {url}/ready (HTTP {status})");
        assert!(ran.stderr.contains(&said) && ran.stderr.contains("gcloud run services proxy"), "{}", ran.stderr);
    }
    door.join().unwrap();
}

#[test]
fn without_an_address_it_says_how_to_name_one() {
    let ran = Sandbox::shipped().run("health").expect(2);
    assert!(ran.stderr.contains("--listen"), "{}", ran.stderr);
    let ran = Sandbox::shipped().run("health --listen '0.0.0.0:${NO_SUCH_PORT}'").expect(2);
    assert!(ran.stderr.contains("the environment has no `NO_SUCH_PORT`"), "{}", ran.stderr);
}
