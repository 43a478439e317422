//! Requests as they are read, and answers as they are written.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http_body_util::BodyExt;
use hyper::body::{Bytes, Frame};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// A call that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The method's name in the reference: `objects.insert`, `objects.list` ...
    pub kind: &'static str,
    pub method: String,
    /// The path with its query, as it came.
    pub uri: String,
    pub status: u16,
}

/// A request.
pub struct Incoming {
    pub method: String,
    pub uri: String,
    pub headers: hyper::HeaderMap,
    pub query: Vec<(String, String)>,
    pub body: Bytes,
    /// What it is about, or why nobody knows.
    pub target: Result<Target, Reply>,
}

/// What a path names.
pub enum Target {
    Buckets,
    Bucket(String),
    Objects(String),
    Object(String, String),
    Copy { from: (String, String), to: (String, String), rewrite: bool },
    Upload(String),
}

impl Target {
    /// The method's name in the reference.
    pub fn kind(&self, incoming: &Incoming) -> &'static str {
        match (self, incoming.method.as_str()) {
            (Self::Buckets, "POST") => "buckets.insert",
            (Self::Buckets, _) => "buckets.list",
            (Self::Bucket(_), "DELETE") => "buckets.delete",
            (Self::Bucket(_), _) => "buckets.get",
            (Self::Objects(_), _) => "objects.list",
            (Self::Object(..), "GET") if incoming.param("alt") == Some("media") => "objects.get media",
            (Self::Object(..), "GET") => "objects.get",
            (Self::Object(..), "PATCH") => "objects.patch",
            (Self::Object(..), "PUT") => "objects.update",
            (Self::Object(..), "DELETE") => "objects.delete",
            (Self::Object(..), _) => "refused",
            (Self::Copy { rewrite: true, .. }, _) => "objects.rewrite",
            (Self::Copy { .. }, _) => "objects.copy",
            (Self::Upload(_), "PUT") => "objects.insert part",
            (Self::Upload(_), _) if incoming.param("uploadType") == Some("resumable") => "objects.insert start",
            (Self::Upload(_), _) => "objects.insert",
        }
    }
}

impl Incoming {
    /// Reads it to its end.
    pub async fn read(request: hyper::Request<hyper::body::Incoming>) -> Result<Self, hyper::Error> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(&name.replace('+', " ")), decode(&value.replace('+', " ")))
        });
        Ok(Self {
            method: parts.method.to_string(),
            uri: parts.uri.to_string(),
            query: pairs.collect(),
            target: target(path),
            headers: parts.headers,
            body,
        })
    }

    pub fn into_call(self, kind: &'static str, status: u16) -> Call {
        Call { kind, method: self.method, uri: self.uri, status }
    }

    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// A parameter that is a number.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Reply> {
        let wrong = |_| Reply::error(400, "invalidParameter", &format!("Invalid value for parameter {name}"));
        self.param(name).map(|text| text.parse().map_err(wrong)).transpose()
    }

    /// Refuses parameters that the method does not have, and any that is said twice.
    pub fn allow(&self, parameters: &[&str]) -> Result<(), Reply> {
        const EVERYWHERE: &[&str] = &["alt", "fields", "key", "prettyPrint", "quotaUser", "userIp", "userProject"];
        for (i, (name, _)) in self.query.iter().enumerate() {
            if !parameters.contains(&name.as_str()) && !EVERYWHERE.contains(&name.as_str()) {
                return Err(Reply::error(400, "invalidParameter", &format!("Unknown query parameter {name}")));
            }
            if self.query[..i].iter().any(|(before, _)| before == name) {
                return Err(Reply::error(400, "invalidParameter", &format!("Query parameter {name} is given twice")));
            }
        }
        Ok(())
    }

    /// The body as a JSON object.
    pub fn json(&self) -> Result<serde_json::Map<String, Value>, Reply> {
        json_object(&self.body)
    }

    /// A resource as the answer, with what `fields` selects of it.
    pub fn answer(&self, value: Value) -> Result<Reply, Reply> {
        let value = match self.param("fields") {
            Some(text) => super::fields::select(value, text).map_err(|e| Reply::error(400, "invalidParameter", &e))?,
            None => value,
        };
        Ok(Reply::json(200, &value))
    }
}

/// Bytes as a JSON object.
pub fn json_object(bytes: &[u8]) -> Result<serde_json::Map<String, Value>, Reply> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Reply::error(400, "parseError", "The body is not a JSON object")),
        Err(e) => Err(Reply::error(400, "parseError", &format!("Parse Error: {e}"))),
    }
}

fn target(path: &str) -> Result<Target, Reply> {
    let segments: Vec<String> = path.split('/').skip(1).map(decode).collect();
    let names: Vec<&str> = segments.iter().map(String::as_str).collect();
    let own = |text: &&str| (*text).to_owned();
    match names.as_slice() {
        ["storage", "v1", "b"] => Ok(Target::Buckets),
        ["storage", "v1", "b", bucket] => Ok(Target::Bucket(own(bucket))),
        ["storage", "v1", "b", bucket, "o"] => Ok(Target::Objects(own(bucket))),
        ["storage" | "download", "v1", "b", bucket, "o", name]
        | ["download", "storage", "v1", "b", bucket, "o", name]
            if !name.is_empty() =>
        {
            Ok(Target::Object(own(bucket), own(name)))
        }
        ["storage", "v1", "b", bucket, "o", name, verb @ ("copyTo" | "rewriteTo"), "b", to_bucket, "o", to] => {
            Ok(Target::Copy {
                from: (own(bucket), own(name)),
                to: (own(to_bucket), own(to)),
                rewrite: *verb == "rewriteTo",
            })
        }
        ["upload", "storage", "v1", "b", bucket, "o"] => Ok(Target::Upload(own(bucket))),
        _ => Err(Reply::error(404, "notFound", &format!("The reference knows no {path}"))),
    }
}

/// Undoes percent-encoding.
pub fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, code) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// CRC32C as it is written: base64 of its four bytes, the highest first.
pub fn crc32c(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(crc32c::crc32c(bytes).to_be_bytes())
}

/// MD5 as it is written.
pub fn md5(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(md5::compute(bytes).0)
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Reply {
    pub fn json(status: u16, value: &Value) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json; charset=UTF-8".to_owned())];
        Self { status, headers, body: value.to_string().into() }
    }

    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    /// The documented form of an error.
    pub fn error(status: u16, reason: &str, message: &str) -> Self {
        let item = json!({"message": message, "domain": "global", "reason": reason});
        Self::json(status, &json!({"error": {"code": status, "message": message, "errors": [item]}}))
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    fn response(self, pieces: VecDeque<Piece>) -> hyper::Response<Body> {
        let mut builder = hyper::Response::builder().status(self.status).header("content-length", self.body.len());
        for (name, value) in &self.headers {
            builder = builder.header(name, value);
        }
        builder.body(Body { pieces, pause: None }).expect("the headers are ours")
    }

    pub fn whole(self) -> hyper::Response<Body> {
        let pieces = [Piece::Bytes(self.body.clone())].into();
        self.response(pieces)
    }

    /// The connection ends in the middle.
    pub fn half(self) -> hyper::Response<Body> {
        let first = self.body.slice(..self.body.len() / 2);
        // hyper sends what it has before it closes.
        let pieces = [Piece::Bytes(first), Piece::Pause(Duration::from_millis(5)), Piece::Close].into();
        self.response(pieces)
    }

    /// The second half comes later.
    pub fn slow(self, pause: Duration) -> hyper::Response<Body> {
        let middle = self.body.len() / 2;
        let (first, second) = (self.body.slice(..middle), self.body.slice(middle..));
        self.response([Piece::Bytes(first), Piece::Pause(pause), Piece::Bytes(second)].into())
    }
}

enum Piece {
    Bytes(Bytes),
    Pause(Duration),
    Close,
}

/// An answer's body in pieces.
pub struct Body {
    pieces: VecDeque<Piece>,
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        loop {
            if let Some(pause) = self.pause.as_mut() {
                std::task::ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match self.pieces.pop_front() {
                None => return Poll::Ready(None),
                Some(Piece::Bytes(bytes)) if bytes.is_empty() => {}
                Some(Piece::Bytes(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Some(Piece::Pause(pause)) => self.pause = Some(Box::pin(tokio::time::sleep(pause))),
                Some(Piece::Close) => return Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionReset.into()))),
            }
        }
    }
}
