//! HTTP/1, request by request.

use super::dice::{Dice, Fate};
use super::{Shared, count, reset};
use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// No head of an honest message is longer.
const LONGEST_HEAD: usize = 256 * 1024;

pub async fn serve(client: TcpStream, mut dice: Dice, shared: Arc<Shared>) {
    let mut client = BufReader::new(client);
    let mut server = None;
    loop {
        // Its end, or nonsense: what went wrong is for the client to say.
        let Ok(Some(request)) = read_message(&mut client, Kind::Request).await else { return };
        match exchange(&mut client, &mut server, &request, &mut dice, &shared).await {
            Ok(Next::Another) => {}
            Ok(Next::Close) => return,
            Ok(Next::Reset) | Err(_) => return reset(client.into_inner()),
        }
    }
}

/// What becomes of the client's connection.
enum Next {
    Another,
    Close,
    Reset,
}

async fn exchange(
    client: &mut BufReader<TcpStream>,
    server: &mut Option<BufReader<TcpStream>>,
    request: &Message,
    dice: &mut Dice,
    shared: &Arc<Shared>,
) -> Result<Next> {
    let done = &shared.done;
    count(&done.passed);
    let fate = if shared.is_healed() { Fate::Pass } else { dice.fate(&shared.faults) };
    match fate {
        Fate::Delay => {
            count(&done.delayed);
            shared.pause(dice).await;
        }
        Fate::Drop => {
            count(&done.dropped);
            // Whether the server has heard of it is as open as it is in life.
            if dice.below(2) == 0 {
                ask(server, request, shared).await?;
            }
            shared.silence().await;
            return Ok(Next::Close);
        }
        Fate::Reset => {
            count(&done.reset);
            return Ok(Next::Reset);
        }
        Fate::Pass | Fate::Cut | Fate::RepeatRequest | Fate::RepeatReply => {}
    }
    let mut reply = ask(server, request, shared).await?;
    let mut out = client.get_mut();
    match fate {
        Fate::Cut => {
            count(&done.cut);
            out.write_all(&reply.bytes[..dice.below(reply.bytes.len())]).await?;
            return Ok(if dice.below(2) == 0 { Next::Close } else { Next::Reset });
        }
        Fate::RepeatRequest => {
            count(&done.repeated_requests);
            match dice.below(3) {
                0 => drop(ask(server, request, shared).await?),
                1 => reply = ask(server, request, shared).await?,
                _ => late(request.clone(), dice.clone(), Arc::clone(shared)),
            }
        }
        Fate::RepeatReply => {
            count(&done.repeated_replies);
            let twice = reply.bytes.repeat(2);
            out.write_all(&twice).await?;
            return Ok(Next::Close);
        }
        Fate::Pass | Fate::Delay | Fate::Drop | Fate::Reset => {}
    }
    out = client.get_mut();
    out.write_all(&reply.bytes).await?;
    Ok(if reply.last || request.last { Next::Close } else { Next::Another })
}

/// The request once more, when its client has its reply and may have done other things since.
fn late(request: Message, mut dice: Dice, shared: Arc<Shared>) {
    tokio::spawn(async move {
        shared.pause(&mut dice).await;
        let _ = ask(&mut None, &request, &shared).await;
    });
}

/// The server's reply, on a new connection where there is none or the old one has ended.
async fn ask(server: &mut Option<BufReader<TcpStream>>, request: &Message, shared: &Shared) -> Result<Message> {
    let used = server.is_some();
    let answer = ask_once(server, request, shared).await;
    let answer = match answer {
        // The server closed an idle connection before it heard of the request.
        Err(e) if used && e.kind() == ErrorKind::UnexpectedEof => {
            *server = None;
            ask_once(server, request, shared).await
        }
        other => other,
    };
    if answer.as_ref().map_or(true, |reply| reply.last) {
        *server = None;
    }
    answer
}

async fn ask_once(server: &mut Option<BufReader<TcpStream>>, request: &Message, shared: &Shared) -> Result<Message> {
    let stream = match server.take() {
        Some(stream) => stream,
        None => BufReader::new(shared.upstream().await?),
    };
    let stream = server.insert(stream);
    stream.get_mut().write_all(&request.bytes).await?;
    let kind = Kind::Reply { to_head: request.bytes.starts_with(b"HEAD ") };
    read_message(stream, kind).await?.ok_or_else(|| ErrorKind::UnexpectedEof.into())
}

/// A request or reply as it went over the wire.
#[derive(Clone)]
struct Message {
    bytes: Vec<u8>,
    /// Whether the connection ends with it.
    last: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Request,
    Reply { to_head: bool },
}

/// How long a message's body is.
enum Body {
    None,
    Length(usize),
    Chunked,
    /// To the end of the connection.
    Rest,
}

/// The next whole message; `None` at the connection's end.
async fn read_message(stream: &mut BufReader<TcpStream>, kind: Kind) -> Result<Option<Message>> {
    let mut bytes = Vec::new();
    loop {
        let begin = bytes.len();
        if !read_head(stream, &mut bytes).await? {
            return if begin == 0 { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
        }
        let head = String::from_utf8_lossy(&bytes[begin..]).to_ascii_lowercase();
        // `100 Continue` and the like come before the reply itself.
        if kind != Kind::Request && status(&head).is_some_and(|s| (100..200).contains(&s)) {
            continue;
        }
        let body = body(&head, kind)?;
        let last = matches!(body, Body::Rest) || header(&head, "connection").is_some_and(|v| v.contains("close"));
        match body {
            Body::None => {}
            Body::Length(n) => read_exactly(stream, &mut bytes, n).await?,
            Body::Chunked => read_chunks(stream, &mut bytes).await?,
            Body::Rest => drop(stream.read_to_end(&mut bytes).await?),
        }
        return Ok(Some(Message { bytes, last }));
    }
}

/// To the blank line; `false` when the connection ended before the first byte.
async fn read_head(stream: &mut BufReader<TcpStream>, bytes: &mut Vec<u8>) -> Result<bool> {
    let begin = bytes.len();
    loop {
        let line = stream.read_until(b'\n', bytes).await?;
        if line == 0 && bytes.len() == begin {
            return Ok(false);
        }
        if line == 0 || bytes.len() - begin > LONGEST_HEAD {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if bytes.ends_with(b"\r\n\r\n") || bytes[begin..] == *b"\r\n" {
            return Ok(true);
        }
    }
}

async fn read_exactly(stream: &mut BufReader<TcpStream>, bytes: &mut Vec<u8>, n: usize) -> Result<()> {
    let begin = bytes.len();
    bytes.resize(begin + n, 0);
    stream.read_exact(&mut bytes[begin..]).await.map(drop)
}

async fn read_chunks(stream: &mut BufReader<TcpStream>, bytes: &mut Vec<u8>) -> Result<()> {
    loop {
        let begin = bytes.len();
        stream.read_until(b'\n', bytes).await?;
        let line = String::from_utf8_lossy(&bytes[begin..]).into_owned();
        let size = line.trim().split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).map_err(|e| Error::new(ErrorKind::InvalidData, e))?;
        if size == 0 {
            // Trailers, to the blank line.
            return if read_head(stream, bytes).await? { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) };
        }
        read_exactly(stream, bytes, size + 2).await?;
    }
}

fn body(head: &str, kind: Kind) -> Result<Body> {
    let silent = |status: u16| status == 204 || status == 304;
    if kind == (Kind::Reply { to_head: true }) || (kind != Kind::Request && status(head).is_some_and(silent)) {
        return Ok(Body::None);
    }
    if header(head, "transfer-encoding").is_some_and(|v| v.contains("chunked")) {
        return Ok(Body::Chunked);
    }
    match header(head, "content-length") {
        Some(n) => n.parse().map(Body::Length).map_err(|e| Error::new(ErrorKind::InvalidData, e)),
        None if kind == Kind::Request => Ok(Body::None),
        None => Ok(Body::Rest),
    }
}

fn status(head: &str) -> Option<u16> {
    head.split(' ').nth(1)?.parse().ok()
}

/// The value of a header, of a head in small letters.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}
