//! Telling a web address: one POST with the notice as JSON.
//!
//! The address is the operator's, but what answers there is not: redirects are not followed, and an address that leads into
//! the private network (also by its name, when it is looked up) is refused unless the alert allows it; a cloud's metadata
//! server, which gives access tokens to whoever asks, is refused always. Messages name the host alone, since paths of
//! webhooks are secrets.

use crate::config::forms::filled;
use crate::ports::notifier::{Notice, Notifier, NotifyError};
use async_trait::async_trait;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
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
        Self::with_names(url, allow_private, env, DefaultResolver::default())
    }

    /// With somebody else who looks names up.
    fn with_names(
        url: &str,
        allow_private: bool,
        env: &dyn Fn(&str) -> Option<String>,
        names: impl Resolver,
    ) -> Result<Self, String> {
        let url = filled(url, env).map_err(|e| format!("a webhook's address: {e}"))?;
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
        let allow_private = allow_private || (local && uri.scheme_str() == Some("http"));
        let careful = CarefulResolver { names, allow_private };
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

fn is_localhost(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

/// Looks names up and keeps the addresses that may be called. The call goes to one of these addresses and asks for no name
/// again, so that a name cannot lead elsewhere after it was looked at.
#[derive(Debug)]
struct CarefulResolver<R> {
    names: R,
    allow_private: bool,
}

impl<R: Resolver> Resolver for CarefulResolver<R> {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.names.resolve(uri, config, timeout)?;
        let reaches = || found.iter().map(|address| reach(address.ip()));
        let mut allowed = self.empty();
        for (address, reach) in found.iter().zip(reaches()) {
            if reach == Reach::Public || (reach == Reach::Private && self.allow_private) {
                allowed.push(*address);
            }
        }
        if allowed.is_empty() {
            let reason = if reaches().any(|reach| reach == Reach::Private) {
                "it leads into a private network (`allow_private: true` allows it)"
            } else {
                "it leads to an address that no webhook may have (link-local, a metadata server, a group)"
            };
            return Err(std::io::Error::new(std::io::ErrorKind::PermissionDenied, reason).into());
        }
        Ok(allowed)
    }
}

/// Whom an address reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// The open Internet.
    Public,
    /// This machine or its network: for who allows it.
    Private,
    /// Nothing that a webhook could be: link-local addresses, where clouds have their metadata servers, and groups.
    Never,
}

/// The metadata servers that are not link-local: Google's and Amazon's over IPv6, Alibaba's.
const METADATA: [IpAddr; 3] = [
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
];

fn reach(ip: IpAddr) -> Reach {
    if METADATA.contains(&ip) {
        return Reach::Never;
    }
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            if v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() {
                return Reach::Never;
            }
            let shared = a == 100 && (64..128).contains(&b);
            let special = a == 0 || a >= 240 || (a == 198 && (b & 0xfe) == 18) || (a == 192 && b == 0 && c == 0);
            let private = v4.is_private() || v4.is_loopback() || v4.is_documentation() || shared || special;
            if private { Reach::Private } else { Reach::Public }
        }
        IpAddr::V6(v6) => {
            let segments = v6.segments();
            // Addresses that carry a version 4 one inside: mapped, compatible, 6to4, NAT64.
            let v4 = |parts: [u16; 2]| {
                let [a, b] = parts.map(u16::to_be_bytes);
                reach(IpAddr::from([a[0], a[1], b[0], b[1]]))
            };
            match segments {
                [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Reach::Private,
                [0, 0, 0, 0, 0, 0 | 0xffff, a, b] | [0x64, 0xff9b, 0, 0, 0, 0, a, b] | [0x2002, a, b, ..] => v4([a, b]),
                [first, ..] if (first & 0xffc0) == 0xfe80 || (first & 0xff00) == 0xff00 => Reach::Never,
                // Global unicast, without documentation and Teredo.
                [first, second, ..]
                    if (first & 0xe000) == 0x2000 && !(first == 0x2001 && matches!(second, 0 | 0xdb8)) =>
                {
                    Reach::Public
                }
                _ => Reach::Private,
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
    use std::net::{SocketAddr, TcpListener};

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

    /// Answers each look-up with the next list, and counts.
    #[derive(Debug, Clone, Default)]
    struct Names(std::sync::Arc<std::sync::Mutex<(usize, Vec<Vec<SocketAddr>>)>>);

    impl Names {
        fn of(answers: &[&[SocketAddr]]) -> Self {
            let names = Self::default();
            names.0.lock().unwrap().1 = answers.iter().map(|a| a.to_vec()).collect();
            names
        }

        fn asked(&self) -> usize {
            self.0.lock().unwrap().0
        }
    }

    impl Resolver for Names {
        fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
            let mut state = self.0.lock().unwrap();
            let mut found = self.empty();
            state.1[state.0].iter().for_each(|a| found.push(*a));
            state.0 += 1;
            Ok(found)
        }
    }

    fn metadata() -> SocketAddr {
        "169.254.169.254:80".parse().unwrap()
    }

    #[tokio::test]
    async fn a_name_is_looked_up_once_and_the_call_goes_where_it_led() {
        let (port, thread) = server("HTTP/1.1 204 No Content\r\n\r\n");
        let here: SocketAddr = ([127, 0, 0, 1], port).into();
        // The name's first answer holds an address that is passed over; its second would lead elsewhere.
        let names = Names::of(&[&[metadata(), here], &[metadata()]]);
        let webhook = Webhook::with_names("http://localhost/x", true, &|_| None, names.clone()).unwrap();
        webhook.notify(&notice()).await.unwrap();
        assert!(thread.join().unwrap().starts_with("POST /x"));
        assert_eq!(names.asked(), 1);
        // Looked up anew for the next notice, and judged anew.
        let error = webhook.notify(&notice()).await.unwrap_err();
        assert!(!error.transient && error.message.contains("no webhook may have"), "{error}");
    }

    #[tokio::test]
    async fn the_metadata_server_is_refused_whatever_is_allowed() {
        for url in
            ["https://169.254.169.254/x", "https://2852039166/x", "https://[fd20:ce::254]/x", "https://[fe80::1]/"]
        {
            let error = Webhook::new(url, true, &|_| None).unwrap().notify(&notice()).await.unwrap_err();
            assert!(!error.transient && error.message.contains("no webhook may have"), "{url}: {error}");
        }
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = elsewhere.local_addr().unwrap();
        let answer = format!("HTTP/1.1 307 Go\r\nlocation: http://{to}/\r\ncontent-length: 0\r\n\r\n");
        let (result, _) = told(answer.leak()).await;
        assert!(result.unwrap_err().message.contains("not followed"));
        elsewhere.set_nonblocking(true).unwrap();
        assert!(elsewhere.accept().is_err(), "nobody called");
    }

    #[test]
    fn whom_an_address_reaches() {
        for ip in ["8.8.8.8", "2600:1901::1", "::ffff:8.8.8.8", "64:ff9b::808:808"] {
            assert_eq!(reach(ip.parse().unwrap()), Reach::Public, "{ip}");
        }
        for ip in [
            "10.0.0.1",
            "127.0.0.1",
            "192.168.1.1",
            "172.16.0.1",
            "100.64.0.1",
            "0.0.0.0",
            "192.0.0.8",
            "::1",
            "::",
            "fd00::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::808:808",
            "2002:7f00:1::",
            "::7f00:1",
            "2001:db8::1",
        ] {
            assert_eq!(reach(ip.parse().unwrap()), Reach::Private, "{ip}");
        }
        for ip in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::",
            "fd20:ce::254",
            "100.100.100.200",
            "224.0.0.1",
            "255.255.255.255",
            "fe80::1",
            "ff02::1",
        ] {
            assert_eq!(reach(ip.parse().unwrap()), Reach::Never, "{ip}");
        }
    }
}
