//! Telling a web address: one POST with the notice as JSON.
//!
//! The address is the operator's, but what answers there is not: redirects are not followed, and an address that leads into
//! the private network (also by its name, when it is looked up) is refused unless the alert allows it. Messages name the
//! host alone, since paths of webhooks are secrets.

use crate::ports::notifier::{Notice, Notifier, NotifyError};
use async_trait::async_trait;
use std::net::IpAddr;
use std::time::Duration;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

/// How long one attempt may take, from the look-up to the last byte of the answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A webhook.
pub struct Webhook {
    url: String,
    host: String,
    agent: ureq::Agent,
}

impl Webhook {
    /// `url` as written: its `${NAME}`s are filled in here, and are in no message.
    pub fn new(url: &str, allow_private: bool, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let url = filled(url, env)?;
        let uri: Uri = url.parse().map_err(|_| "a webhook's address is no web address".to_owned())?;
        let host = uri.host().ok_or("a webhook's address has no host")?.to_owned();
        let local = is_localhost(&host);
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if local => {}
            _ => return Err(format!("webhook `{host}`: it has to be https; http is for localhost alone")),
        }
        let config = Config::builder()
            .timeout_global(Some(TIMEOUT))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .proxy(None)
            .user_agent(concat!("phase6/", env!("CARGO_PKG_VERSION")))
            .build();
        // `http://localhost` says itself that it is private.
        let careful = CarefulResolver { allow_private: allow_private || (local && uri.scheme_str() == Some("http")) };
        let agent = ureq::Agent::with_parts(config, DefaultConnector::default(), careful);
        Ok(Self { url, host, agent })
    }

    fn post(&self, body: &[u8]) -> Result<(), NotifyError> {
        let answer = self.agent.post(&self.url).header("content-type", "application/json").send(body);
        let failed = |transient, reason: String| {
            Err(NotifyError { transient, message: format!("webhook `{}`: {reason}", self.host) })
        };
        match answer.map(|a| a.status().as_u16()) {
            Ok(200..=299) => Ok(()),
            Ok(status @ (408 | 425 | 429 | 500..)) => failed(true, format!("it answered {status}")),
            Ok(status @ 300..=399) => failed(false, format!("it answered {status}; redirects are not followed")),
            Ok(status) => failed(false, format!("it answered {status}")),
            Err(error) => {
                let (transient, reason) = reason(&error);
                failed(transient, reason)
            }
        }
    }
}

/// Why a call failed, in words without the address: ureq's own texts may hold it.
fn reason(error: &ureq::Error) -> (bool, String) {
    match error {
        ureq::Error::HostNotFound => (true, "its name cannot be found".to_owned()),
        ureq::Error::Timeout(_) => (true, format!("it did not answer within {} s", TIMEOUT.as_secs())),
        ureq::Error::Io(e) if e.kind() == std::io::ErrorKind::PermissionDenied => (false, e.to_string()),
        ureq::Error::Io(e) => (true, e.kind().to_string()),
        ureq::Error::ConnectionFailed => (true, "it cannot be reached".to_owned()),
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => (false, "its certificate is not accepted".to_owned()),
        _ => (true, "the call failed".to_owned()),
    }
}

#[async_trait]
impl Notifier for Webhook {
    fn describe(&self) -> String {
        format!("webhook `{}`", self.host)
    }

    async fn notify(&self, notice: &Notice) -> Result<(), NotifyError> {
        let body = serde_json::to_vec(notice)
            .map_err(|e| NotifyError { transient: false, message: format!("the notice cannot be written: {e}") })?;
        let (url, host, agent) = (self.url.clone(), self.host.clone(), self.agent.clone());
        let call = tokio::task::spawn_blocking(move || Webhook { url, host, agent }.post(&body));
        call.await.unwrap_or_else(|_| Err(NotifyError { transient: true, message: "the call was cut off".to_owned() }))
    }
}

fn filled(url: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = url;
    while let Some(start) = rest.find("${") {
        let end = rest[start..].find('}').ok_or("a webhook's address: `${` is not closed")? + start;
        let name = &rest[start + 2..end];
        out.push_str(&rest[..start]);
        out.push_str(&env(name).ok_or_else(|| format!("a webhook's address: the environment has no `{name}`"))?);
        rest = &rest[end + 1..];
    }
    Ok(out + rest)
}

fn is_localhost(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

/// Looks names up and keeps the addresses that may be called: a name is checked by what it leads to, at the moment of the
/// call, so that it cannot lead elsewhere afterwards.
#[derive(Debug)]
struct CarefulResolver {
    allow_private: bool,
}

impl Resolver for CarefulResolver {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = DefaultResolver::default().resolve(uri, config, timeout)?;
        let mut allowed = self.empty();
        for address in found.iter().filter(|a| self.allow_private || is_public(a.ip())) {
            allowed.push(*address);
        }
        if allowed.is_empty() {
            let reason = "it leads into a private network (`allow_private: true` allows it)";
            return Err(std::io::Error::new(std::io::ErrorKind::PermissionDenied, reason).into());
        }
        Ok(allowed)
    }
}

/// Whether an address is one of the open Internet.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let special = a == 0 || a >= 240 || (a == 198 && (b & 0xfe) == 18) || (a == 192 && b == 0 && c == 0);
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_documentation()
                || shared
                || special)
        }
        IpAddr::V6(v6) => {
            let segments = v6.segments();
            // Addresses that carry a version 4 one inside: mapped, compatible, 6to4, NAT64.
            let low = [segments[6], segments[7]];
            let v4 = |parts: [u16; 2]| {
                let [a, b] = parts.map(u16::to_be_bytes);
                IpAddr::from([a[0], a[1], b[0], b[1]])
            };
            match segments {
                [0, 0, 0, 0, 0, 0 | 0xffff, ..] => !v6.is_loopback() && !v6.is_unspecified() && is_public(v4(low)),
                [0x2002, a, b, ..] => is_public(v4([a, b])),
                [0x64, 0xff9b, ..] => is_public(v4(low)),
                // Global unicast, without documentation and Teredo.
                [first, second, ..] => (first & 0xe000) == 0x2000 && !(first == 0x2001 && matches!(second, 0 | 0xdb8)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::notifier::NoticeState;
    use std::collections::BTreeMap;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    fn notice() -> Notice {
        Notice {
            alert: "stale".into(),
            state: NoticeState::Firing,
            summary: "2 documents".into(),
            since: "2025-12-12T18:00:00Z".parse().unwrap(),
            at: "2025-12-12T18:05:00Z".parse().unwrap(),
            labels: BTreeMap::from([("paths".into(), "a, b".into())]),
        }
    }

    /// A server that answers one request with `answer`; gives the address and, later, what it read.
    fn server(answer: &'static str) -> (u16, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
            while !read.ends_with(b"}}") {
                let n = stream.read(&mut buffer).unwrap();
                if n == 0 {
                    break;
                }
                read.extend_from_slice(&buffer[..n]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(read).unwrap()
        });
        (port, thread)
    }

    async fn told(answer: &'static str) -> (Result<(), NotifyError>, String) {
        let (port, thread) = server(answer);
        let env = |name: &str| (name == "HOOK").then(|| "s3cret".to_owned());
        let webhook = Webhook::new(&format!("http://127.0.0.1:{port}/hook/${{HOOK}}"), false, &env).unwrap();
        assert_eq!(webhook.describe(), "webhook `127.0.0.1`");
        (webhook.notify(&notice()).await, thread.join().unwrap())
    }

    #[tokio::test]
    async fn the_notice_is_posted_as_json() {
        let (result, request) = told("HTTP/1.1 204 No Content\r\n\r\n").await;
        result.unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /hook/s3cret HTTP/1.1\r\n"), "{head}");
        assert!(head.to_lowercase().contains("content-type: application/json"), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(
            body,
            serde_json::json!({"alert": "stale", "state": "firing", "summary": "2 documents",
                "since": "2025-12-12T18:00:00Z", "at": "2025-12-12T18:05:00Z", "labels": {"paths": "a, b"}})
        );
    }

    #[tokio::test]
    async fn answers_are_told_apart_and_no_message_holds_the_address() {
        for (answer, transient) in [
            ("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n", true),
            ("HTTP/1.1 429 Slow\r\ncontent-length: 0\r\n\r\n", true),
            ("HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n", false),
            ("HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n", false),
            ("nonsense\r\n\r\n", true),
        ] {
            let (result, _) = told(answer).await;
            let error = result.unwrap_err();
            assert_eq!(error.transient, transient, "{answer}: {error}");
            assert!(!error.message.contains("s3cret") && error.message.contains("127.0.0.1"), "{error}");
        }
    }

    #[tokio::test]
    async fn private_addresses_are_refused_also_behind_a_name() {
        let none = |_: &str| None;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let webhook = Webhook::new(&format!("https://localhost:{port}/x"), false, &none).unwrap();
        let error = webhook.notify(&notice()).await.unwrap_err();
        assert!(!error.transient && error.message.contains("private network"), "{error}");
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "nobody called");
        for bad in ["http://example.com/x", "ftp://localhost/x", "nonsense", "https://${NONE}/"] {
            assert!(Webhook::new(bad, true, &none).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_public() {
        for ip in ["8.8.8.8", "2600:1901::1", "::ffff:8.8.8.8", "64:ff9b::808:808"] {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
        for ip in [
            "10.0.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "192.168.1.1",
            "172.16.0.1",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.0.8",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "::7f00:1",
            "2001:db8::1",
        ] {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
    }
}
