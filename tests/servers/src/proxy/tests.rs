use super::*;
use axum::Router;
use axum::body::Bytes;
use axum::routing::any;
use std::io::{Error, ErrorKind, Result};
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Answers each request with its body, and remembers the bodies in order.
struct Echo {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

async fn echo() -> Echo {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = Arc::clone(&heard);
    let answer = move |body: Bytes| async move {
        ear.lock().unwrap().push(String::from_utf8_lossy(&body).into_owned());
        body
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(any(answer))).await });
    Echo { address, heard }
}

const RARELY: Faults =
    Faults { seed: 7, longest_delay: Duration::from_millis(40), silence: Duration::from_millis(80), ..Faults::NONE };

fn before(echo: &Echo, traffic: Traffic, faults: Faults) -> Proxy {
    Proxy::start(echo.address, traffic, faults).unwrap()
}

/// All that comes back for one request on a connection of its own.
async fn raw(proxy: &Proxy, text: &str) -> Result<String> {
    let mut stream = TcpStream::connect(proxy.address).await?;
    stream.write_all(text.as_bytes()).await?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await?;
    Ok(String::from_utf8_lossy(&all).into_owned())
}

/// The body of a whole and single reply.
async fn post(proxy: &Proxy, body: &str) -> Result<String> {
    let n = body.len();
    let text = format!("POST /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {n}\r\n\r\n{body}");
    let all = raw(proxy, &text).await?;
    match all.split_once("\r\n\r\n") {
        Some((head, rest)) if head.starts_with("HTTP/1.1 200") && rest.len() == n => Ok(rest.to_owned()),
        _ => Err(Error::new(ErrorKind::UnexpectedEof, all)),
    }
}

#[tokio::test]
async fn without_faults_everything_goes_through() {
    let echo = echo().await;
    let large = "x".repeat(1_900_000);
    for traffic in [Traffic::Bytes, Traffic::Http1] {
        let proxy = before(&echo, traffic, Faults::NONE);
        assert_eq!(post(&proxy, "hello").await.unwrap(), "hello");
        assert_eq!(post(&proxy, &large).await.unwrap(), large);
        assert_eq!(proxy.done().faults(), 0);
        assert_eq!(proxy.done().connections, 2);
    }
}

#[tokio::test]
async fn chunked_bodies_and_kept_connections_are_understood() {
    let echo = echo().await;
    let proxy = before(&echo, Traffic::Http1, Faults::NONE);
    let text = "POST /1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n\
                HEAD /2 HTTP/1.1\r\nhost: x\r\n\r\n\
                GET /3 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let all = raw(&proxy, text).await.unwrap();
    assert_eq!(all.matches("HTTP/1.1 200").count(), 3, "{all}");
    assert!(all.contains("abcdefg"), "{all}");
    assert_eq!((proxy.done().connections, proxy.done().passed), (1, 3));
}

#[tokio::test]
async fn a_cut_reply_is_of_a_request_that_took_effect() {
    let echo = echo().await;
    let proxy = before(&echo, Traffic::Http1, Faults { cut: 1000, ..RARELY });
    for n in 0..20 {
        assert!(post(&proxy, &format!("request {n}")).await.is_err());
    }
    assert_eq!(proxy.done().cut, 20);
    assert_eq!(echo.heard.lock().unwrap().len(), 20, "the server did all of them");
    proxy.heal();
    assert_eq!(post(&proxy, "well").await.unwrap(), "well");
    proxy.sicken();
    assert!(post(&proxy, "ill").await.is_err());
}

#[tokio::test]
async fn a_reset_request_is_never_heard_and_the_client_sees_a_reset() {
    let echo = echo().await;
    let proxy = before(&echo, Traffic::Http1, Faults { reset: 1000, ..RARELY });
    let error = post(&proxy, "lost").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    assert!(echo.heard.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_dropped_request_is_silence_and_then_an_end() {
    let echo = echo().await;
    for traffic in [Traffic::Bytes, Traffic::Http1] {
        let proxy = before(&echo, traffic, Faults { drop: 1000, ..RARELY });
        let begun = std::time::Instant::now();
        let error = post(&proxy, "lost").await.unwrap_err();
        assert_eq!(error.to_string(), "", "nothing came: {error}");
        assert!(begun.elapsed() >= RARELY.silence);
        assert_eq!(proxy.done().dropped, 1);
    }
}

#[tokio::test]
async fn healing_ends_a_silence() {
    let echo = echo().await;
    let long = Faults { drop: 1000, silence: Duration::from_secs(600), ..RARELY };
    let proxy = before(&echo, Traffic::Http1, long);
    let asked = post(&proxy, "waits");
    let heal = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        proxy.heal();
    };
    let (answer, ()) = tokio::join!(asked, heal);
    assert!(answer.is_err());
    assert!(post(&proxy, "well").await.is_ok());
}

#[tokio::test]
async fn a_repeated_request_arrives_twice_and_is_answered_once() {
    let echo = echo().await;
    let proxy = before(&echo, Traffic::Http1, Faults { repeat_request: 1000, ..RARELY });
    for n in 0..12 {
        let body = format!("request {n}");
        assert_eq!(post(&proxy, &body).await.unwrap(), body);
    }
    tokio::time::sleep(RARELY.longest_delay * 3).await;
    let heard = echo.heard.lock().unwrap().clone();
    assert_eq!(heard.len(), 24);
    let late = heard.windows(2).filter(|w| w[0] != w[1]).count();
    assert!(late > 11, "some came again after the next request: {heard:?}");
}

#[tokio::test]
async fn a_repeated_reply_comes_twice() {
    let echo = echo().await;
    let proxy = before(&echo, Traffic::Http1, Faults { repeat_reply: 1000, ..RARELY });
    let all = raw(&proxy, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_eq!(all.matches("HTTP/1.1 200").count(), 2, "{all}");
    assert_eq!(echo.heard.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn bytes_are_cut_and_reset_too_and_one_seed_is_one_fate() {
    let echo = echo().await;
    let mut lives = Vec::new();
    for _ in 0..2 {
        let proxy = before(&echo, Traffic::Bytes, Faults { cut: 200, reset: 100, delay: 200, ..RARELY });
        let mut good = Vec::new();
        for n in 0..40 {
            good.push(post(&proxy, &n.to_string()).await.is_ok());
        }
        let done = proxy.done();
        assert!(done.cut > 0 && done.reset > 0 && done.delayed > 0, "{done:?}");
        lives.push(good);
    }
    assert_eq!(lives[0], lives[1]);
}
