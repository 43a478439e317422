//! A small HTTP/1.1 server over bare sockets: what a framework hides, such as an answer that stops in the middle, is a
//! line here.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// One request, whole.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// Without the query, as sent.
    pub path: String,
    /// Decoded, in the order sent.
    pub query: Vec<(String, String)>,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// What is sent back.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub body: Vec<u8>,
    pub manner: Manner,
}

/// How it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Whole,
    /// The connection is closed without a byte.
    Nothing,
    /// The head and half of the body, then the connection is closed.
    Half,
    /// In pieces with pauses, as long as this all in all.
    Slow(Duration),
}

/// A running server; it ends with its last owner.
pub struct Listening {
    pub url: String,
    task: JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves on a free port of this machine.
pub async fn serve<F, R>(handler: F) -> Listening
where
    F: Fn(Request) -> R + Send + Sync + 'static,
    R: Future<Output = Reply> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    let handler = Arc::new(handler);
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((socket, _)) = listener.accept().await {
            let handler = handler.clone();
            connections.spawn(async move {
                let _ = connection(socket, handler.as_ref()).await;
            });
        }
    });
    Listening { url, task }
}

async fn connection<F, R>(mut socket: TcpStream, handler: &F) -> std::io::Result<()>
where
    F: Fn(Request) -> R,
    R: Future<Output = Reply>,
{
    let mut buffer = Vec::new();
    while let Some(request) = read(&mut socket, &mut buffer).await? {
        let Reply { status, body, manner } = handler(request).await;
        let head =
            format!("HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        match manner {
            Manner::Nothing => return Ok(()),
            Manner::Half => {
                socket.write_all(head.as_bytes()).await?;
                socket.write_all(&body[..body.len() / 2]).await?;
                return socket.flush().await;
            }
            Manner::Whole => {
                socket.write_all(head.as_bytes()).await?;
                socket.write_all(&body).await?;
            }
            Manner::Slow(time) => {
                socket.write_all(head.as_bytes()).await?;
                for piece in body.chunks(body.len().div_ceil(10).max(1)) {
                    tokio::time::sleep(time / 10).await;
                    socket.write_all(piece).await?;
                    socket.flush().await?;
                }
            }
        }
        socket.flush().await?;
    }
    Ok(())
}

/// The next request of a connection; `None` at its end.
async fn read(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<Request>> {
    let bad = |what: &str| std::io::Error::other(what.to_owned());
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        if socket.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8(buffer[..end].to_vec()).map_err(|_| bad("the head is no text"))?;
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (first.next().unwrap_or_default().to_owned(), first.next().unwrap_or_default());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(n, _)| n == "content-length").and_then(|(_, v)| v.parse().ok()).unwrap_or(0);
    while buffer.len() < end + 4 + length {
        if socket.read_buf(buffer).await? == 0 {
            return Err(bad("the body ended early"));
        }
    }
    let body = buffer[end + 4..end + 4 + length].to_vec();
    buffer.drain(..end + 4 + length);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    });
    Ok(Some(Request { method, path: path.to_owned(), query: query.collect(), headers, body }))
}

/// Percent-encoded text, `+` being a blank.
pub fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex =
            std::str::from_utf8(after.get(..2).unwrap_or_default()).ok().and_then(|h| u8::from_str_radix(h, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = after;
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
