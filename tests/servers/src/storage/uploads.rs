//! `objects.insert`: media, multipart and resumable.

use super::wire::{Incoming, Reply, crc32c, json_object};
use super::world::{CONDITIONS, Conditions, World, check_fields, resource};
use hyper::body::Bytes;
use serde_json::{Map, Value};

/// A resumable upload on its way.
pub struct Session {
    bucket: String,
    name: String,
    fields: Map<String, Value>,
    conditions: Conditions,
    content: Vec<u8>,
    /// The resource, once it is finished.
    done: Option<Value>,
}

/// Parts of a resumable upload but the last are multiples of this.
const QUANTUM: usize = 256 * 1024;

/// Takes content.
pub fn upload(world: &mut World, url: &str, incoming: &Incoming, bucket: &str) -> Result<Reply, Reply> {
    let own = ["uploadType", "upload_id", "name", "contentEncoding", "kmsKeyName", "predefinedAcl", "projection"];
    incoming.allow(&[&own[..], &CONDITIONS].concat())?;
    world.bucket(bucket)?;
    match (incoming.method.as_str(), incoming.param("uploadType")) {
        ("POST", Some("media")) => {
            let mut fields = Map::new();
            set(&mut fields, "contentType", incoming.header("content-type"));
            insert(world, incoming, bucket, fields, incoming.body.clone())
        }
        ("POST", Some("multipart")) => {
            let (mut fields, media_type, content) = parts(incoming)?;
            if !fields.contains_key("contentType") {
                set(&mut fields, "contentType", media_type.as_deref());
            }
            insert(world, incoming, bucket, fields, content)
        }
        ("POST", Some("resumable")) => start(world, url, incoming, bucket),
        ("PUT", Some("resumable")) => part(world, incoming),
        _ => Err(Reply::error(400, "invalidParameter", "Invalid value for parameter uploadType")),
    }
}

fn set(fields: &mut Map<String, Value>, name: &str, value: Option<&str>) {
    fields.extend(value.map(|value| (name.to_owned(), value.into())));
}

fn name_of(incoming: &Incoming, fields: &Map<String, Value>) -> Result<String, Reply> {
    let name = fields.get("name").and_then(Value::as_str).or(incoming.param("name"));
    name.map(str::to_owned).ok_or_else(|| Reply::error(400, "required", "Required parameter: name"))
}

fn insert(
    world: &mut World,
    incoming: &Incoming,
    bucket: &str,
    mut fields: Map<String, Value>,
    content: Bytes,
) -> Result<Reply, Reply> {
    check_fields(&fields, false)?;
    let name = name_of(incoming, &fields)?;
    if let Some(encoding) = incoming.param("contentEncoding") {
        set(&mut fields, "contentEncoding", Some(encoding));
    }
    check_hash(incoming, &content)?;
    let written = world.insert(bucket, &name, fields, content, &Conditions::of(incoming)?)?;
    incoming.answer(resource(bucket, &name, &written))
}

/// The header `x-goog-hash: crc32c=…`.
fn check_hash(incoming: &Incoming, content: &[u8]) -> Result<(), Reply> {
    let said = incoming.header("x-goog-hash").and_then(|hash| hash.split(',').find_map(|h| h.strip_prefix("crc32c=")));
    match said {
        Some(said) if said != crc32c(content) => {
            Err(Reply::error(400, "invalid", "Provided CRC32C doesn't match calculated CRC32C."))
        }
        _ => Ok(()),
    }
}

/// An object's fields, and its content with the type that it came with.
type Parts = (Map<String, Value>, Option<String>, Bytes);

/// The two parts of a multipart upload.
fn parts(incoming: &Incoming) -> Result<Parts, Reply> {
    let bad = |why: &str| Reply::error(400, "badContent", &format!("Malformed multipart body: {why}"));
    let kind = incoming.header("content-type").unwrap_or_default();
    let boundary = kind
        .strip_prefix("multipart/related")
        .and_then(|rest| rest.split(';').find_map(|p| p.trim().strip_prefix("boundary=")))
        .ok_or_else(|| bad("the content type is not multipart/related with a boundary"))?;
    let boundary = boundary.trim_matches(['"', '\'']);
    let (first, between) = (format!("--{boundary}"), format!("\r\n--{boundary}"));
    let start = find(&incoming.body, first.as_bytes()).ok_or_else(|| bad("no boundary"))?;
    let mut rest = incoming.body.slice(start + first.len()..);
    let mut found = Vec::new();
    while !rest.starts_with(b"--") {
        let line = find(&rest, b"\r\n").ok_or_else(|| bad("a boundary without a line's end"))?;
        let after = rest.slice(line + 2..);
        let end = find(&after, between.as_bytes()).ok_or_else(|| bad("the last boundary is missing"))?;
        found.push(after.slice(..end));
        rest = after.slice(end + between.len()..);
    }
    let [fields, media] = found.as_slice() else {
        return Err(bad(&format!("{} parts instead of metadata and media", found.len())));
    };
    let (fields_type, fields) = split(fields).ok_or_else(|| bad("a part without an empty line"))?;
    if !fields_type.is_some_and(|kind| kind.starts_with("application/json")) {
        return Err(bad("the first part is not application/json"));
    }
    let (media_type, content) = split(media).ok_or_else(|| bad("a part without an empty line"))?;
    Ok((json_object(&fields)?, media_type, content))
}

/// A part's content type, and what follows its headers.
fn split(part: &Bytes) -> Option<(Option<String>, Bytes)> {
    // A part without headers begins with the empty line.
    let (headers, body) = match part.strip_prefix(b"\r\n") {
        Some(_) => (&[][..], part.slice(2..)),
        None => {
            let end = find(part, b"\r\n\r\n")?;
            (&part[..end], part.slice(end + 4..))
        }
    };
    let headers = std::str::from_utf8(headers).ok()?;
    let kind = headers
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find_map(|(name, value)| name.trim().eq_ignore_ascii_case("content-type").then(|| value.trim().to_owned()));
    Some((kind, body))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    let first = *what.first()?;
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|b| *b == first) {
        if bytes[from + at..].starts_with(what) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

fn start(world: &mut World, url: &str, incoming: &Incoming, bucket: &str) -> Result<Reply, Reply> {
    let mut fields = if incoming.body.is_empty() { Map::new() } else { json_object(&incoming.body)? };
    check_fields(&fields, false)?;
    if !fields.contains_key("contentType") {
        set(&mut fields, "contentType", incoming.header("x-upload-content-type"));
    }
    let name = name_of(incoming, &fields)?;
    let conditions = Conditions::of(incoming)?;
    conditions.check(world.find(bucket, &name, None)?, false)?;
    let id = format!("session-{}", world.sessions.len() + 1);
    let location = format!("{url}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={id}");
    let bucket = bucket.to_owned();
    world.sessions.insert(id.clone(), Session { bucket, name, fields, conditions, content: Vec::new(), done: None });
    Ok(Reply::empty(200).header("location", location).header("x-guploader-uploadid", id))
}

fn part(world: &mut World, incoming: &Incoming) -> Result<Reply, Reply> {
    let id = incoming.param("upload_id").unwrap_or_default().to_owned();
    let Some(session) = world.sessions.get_mut(&id) else {
        return Err(Reply::error(404, "notFound", "The upload session does not exist."));
    };
    if let Some(done) = &session.done {
        return Ok(Reply::json(200, done));
    }
    let range = incoming.header("content-range").unwrap_or("bytes 0-");
    let (span, total) = content_range(range, incoming.body.len())?;
    if let Some(from) = span {
        // Bytes that are here already may come again; a gap may not.
        let Some(known) = session.content.len().checked_sub(from) else {
            return Err(Reply::error(400, "invalid", "The part does not begin where the last one ended."));
        };
        session.content.extend_from_slice(incoming.body.get(known..).unwrap_or_default());
    }
    if total != Some(session.content.len()) {
        if span.is_some() && !incoming.body.len().is_multiple_of(QUANTUM) {
            return Err(Reply::error(400, "invalid", "A part but the last must be a multiple of 256 KiB."));
        }
        let reply = Reply::empty(308);
        let persisted = session.content.len();
        return Ok(if persisted == 0 { reply } else { reply.header("range", format!("bytes=0-{}", persisted - 1)) });
    }
    let content = Bytes::from(session.content.clone());
    check_hash(incoming, &content)?;
    let (bucket, name) = (session.bucket.clone(), session.name.clone());
    let (fields, conditions) = (session.fields.clone(), session.conditions.clone());
    let written = world.insert(&bucket, &name, fields, content, &conditions)?;
    let made = resource(&bucket, &name, &written);
    if let Some(session) = world.sessions.get_mut(&id) {
        session.done = Some(made.clone());
        session.content = Vec::new();
    }
    Ok(Reply::json(200, &made))
}

/// `bytes 0-9/10`, `bytes 0-9/*`, `bytes */10`, `bytes */*`: where the part begins (`None`: it only asks), and the whole size.
fn content_range(text: &str, length: usize) -> Result<(Option<usize>, Option<usize>), Reply> {
    let bad = || Reply::error(400, "invalid", &format!("Invalid Content-Range: {text}"));
    if text == "bytes 0-" {
        return Ok((Some(0), Some(length)));
    }
    let (span, total) = text.strip_prefix("bytes ").and_then(|rest| rest.split_once('/')).ok_or_else(bad)?;
    let total = if total == "*" { None } else { Some(total.parse().map_err(|_| bad())?) };
    if span == "*" {
        return Ok((None, total));
    }
    let (from, to) = span.split_once('-').ok_or_else(bad)?;
    let (from, to): (usize, usize) = (from.parse().map_err(|_| bad())?, to.parse().map_err(|_| bad())?);
    if to + 1 != from + length {
        return Err(bad());
    }
    Ok((Some(from), total))
}
