//! Buckets, and objects that are there: described, read, listed, changed, copied, deleted.

use super::wire::{Incoming, Reply, json_object};
use super::world::{Conditions, Stored, WRITABLE, World, check_fields, resource};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use flate2::read::GzDecoder;
use hyper::body::Bytes;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::io::Read;

type Answer = Result<Reply, Reply>;

/// `buckets.insert` and `buckets.list`.
pub fn buckets(world: &mut World, incoming: &Incoming) -> Answer {
    incoming.allow(&["project", "projection", "maxResults", "prefix", "pageToken"])?;
    if incoming.param("project").is_none() {
        return Err(Reply::error(400, "required", "Required parameter: project"));
    }
    if incoming.method == "GET" {
        let items: Vec<Value> = world.buckets.iter().map(|(name, b)| bucket_resource(name, b.versioning)).collect();
        return incoming.answer(json!({"kind": "storage#buckets", "items": items}));
    }
    let body = incoming.json()?;
    let Some(name) = body.get("name").and_then(Value::as_str) else {
        return Err(Reply::error(400, "required", "Required field: name"));
    };
    if world.buckets.contains_key(name) {
        return Err(Reply::error(409, "conflict", "You already own this bucket. Please select another name."));
    }
    let versioning = body.get("versioning").and_then(|v| v.get("enabled")) == Some(&Value::Bool(true));
    world.make_bucket(name, versioning);
    incoming.answer(bucket_resource(name, versioning))
}

/// `buckets.get` and `buckets.delete`.
pub fn bucket(world: &mut World, incoming: &Incoming, name: &str) -> Answer {
    incoming.allow(&["projection", "ifMetagenerationMatch", "ifMetagenerationNotMatch"])?;
    let bucket = world.bucket(name)?;
    match incoming.method.as_str() {
        "GET" => incoming.answer(bucket_resource(name, bucket.versioning)),
        "DELETE" if bucket.objects.is_empty() => {
            world.buckets.remove(name);
            Ok(Reply::empty(204))
        }
        "DELETE" => Err(Reply::error(409, "conflict", "The bucket you tried to delete is not empty.")),
        method => Err(not_a_method(method)),
    }
}

fn bucket_resource(name: &str, versioning: bool) -> Value {
    json!({
        "kind": "storage#bucket", "id": name, "name": name, "location": "US", "storageClass": "STANDARD",
        "metageneration": "1", "etag": "1", "projectNumber": "1", "versioning": {"enabled": versioning},
    })
}

fn not_a_method(method: &str) -> Reply {
    Reply::error(405, "methodNotAllowed", &format!("{method} is not a method of this resource"))
}

fn no_object(bucket: &str, name: &str) -> Reply {
    Reply::error(404, "notFound", &format!("No such object: {bucket}/{name}"))
}

/// One object: get, patch, update, delete.
pub fn object(world: &mut World, incoming: &Incoming, bucket: &str, name: &str) -> Answer {
    const COMMON: &[&str] = &[
        "generation",
        "ifGenerationMatch",
        "ifGenerationNotMatch",
        "ifMetagenerationMatch",
        "ifMetagenerationNotMatch",
    ];
    let more: &[&str] = match incoming.method.as_str() {
        "GET" => &["projection", "softDeleted", "restoreToken"],
        "PATCH" | "PUT" => &["projection", "predefinedAcl", "overrideUnlockedRetention"],
        "DELETE" => &[],
        method => return Err(not_a_method(method)),
    };
    incoming.allow(&[COMMON, more].concat())?;
    let (generation, conditions) = (incoming.number("generation")?, Conditions::of(incoming)?);
    let found = world.find(bucket, name, generation)?.cloned();
    let Some(stored) = found else {
        return Err(no_object(bucket, name));
    };
    conditions.check(Some(&stored), incoming.method == "GET")?;
    match incoming.method.as_str() {
        "GET" if incoming.param("alt") == Some("media") => media(incoming, &stored),
        "GET" => incoming.answer(resource(bucket, name, &stored)),
        "DELETE" => {
            world.pace(bucket, name)?;
            match generation {
                None => world.retire(bucket, name),
                Some(generation) => remove(world, bucket, name, generation),
            }
            Ok(Reply::empty(204))
        }
        _ => {
            let body = incoming.json()?;
            let patch = incoming.method == "PATCH";
            check_fields(&body, patch)?;
            let fields = if patch { patched(stored.fields.clone(), body) } else { replaced(body) };
            world.pace(bucket, name)?;
            let changed = world.change(bucket, name, stored.generation, fields);
            incoming.answer(resource(bucket, name, &changed))
        }
    }
}

fn remove(world: &mut World, bucket: &str, name: &str, generation: u64) {
    let Some(bucket) = world.buckets.get_mut(bucket) else { return };
    let Some(versions) = bucket.objects.get_mut(name) else { return };
    versions.retain(|s| s.generation != generation);
    if versions.is_empty() {
        bucket.objects.remove(name);
    }
}

/// A patch: what is not named stays, `null` goes, the entries of `metadata` one by one.
fn patched(mut fields: Map<String, Value>, patch: Map<String, Value>) -> Map<String, Value> {
    for (name, value) in patch.into_iter().filter(|(name, _)| WRITABLE.contains(&name.as_str())) {
        match (fields.get_mut(&name).and_then(Value::as_object_mut), value) {
            (_, Value::Null) => {
                fields.remove(&name);
            }
            (Some(there), Value::Object(entries)) => *there = patched_entries(std::mem::take(there), entries),
            (None, Value::Object(entries)) => {
                fields.insert(name, Value::Object(patched_entries(Map::new(), entries)));
            }
            (_, value) => {
                fields.insert(name, value);
            }
        }
    }
    fields
}

fn patched_entries(mut there: Map<String, Value>, patch: Map<String, Value>) -> Map<String, Value> {
    for (key, value) in patch {
        if value.is_null() {
            there.remove(&key);
        } else {
            there.insert(key, value);
        }
    }
    there
}

/// An update: what is not named goes.
fn replaced(body: Map<String, Value>) -> Map<String, Value> {
    body.into_iter().filter(|(name, _)| WRITABLE.contains(&name.as_str())).collect()
}

/// The content, decompressed on the way for who does not take gzip.
fn media(incoming: &Incoming, stored: &Stored) -> Answer {
    let gzip = stored.field("contentEncoding") == Some("gzip");
    let takes_gzip = incoming.header("accept-encoding").is_some_and(|accepted| accepted.contains("gzip"));
    let mut content = stored.content.clone();
    if gzip && !takes_gzip {
        let mut plain = Vec::new();
        let unpacked = GzDecoder::new(content.as_ref()).read_to_end(&mut plain);
        unpacked.map_err(|e| Reply::error(503, "backendError", &format!("cannot decompress: {e}")))?;
        content = plain.into();
    }
    let mut reply = Reply { status: 200, headers: Vec::new(), body: content }
        .header("content-type", stored.field("contentType").unwrap_or("application/octet-stream"))
        .header("etag", format!("{}/{}", stored.generation, stored.metageneration))
        .header("x-goog-generation", stored.generation.to_string())
        .header("x-goog-metageneration", stored.metageneration.to_string())
        .header("x-goog-hash", format!("crc32c={},md5={}", stored.crc32c, stored.md5))
        .header("x-goog-storage-class", "STANDARD")
        .header("x-goog-stored-content-encoding", if gzip { "gzip" } else { "identity" })
        .header("x-goog-stored-content-length", stored.content.len().to_string());
    if gzip && takes_gzip {
        reply = reply.header("content-encoding", "gzip");
    }
    if let Some(cache_control) = stored.field("cacheControl") {
        reply = reply.header("cache-control", cache_control);
    }
    ranged(incoming, reply)
}

fn ranged(incoming: &Incoming, mut reply: Reply) -> Answer {
    let Some(range) = incoming.header("range").and_then(|text| text.strip_prefix("bytes=")) else { return Ok(reply) };
    let size = reply.body.len();
    let (from, to) = range.split_once('-').unwrap_or((range, ""));
    let last = to.parse::<usize>().map_or(size, |last| last.saturating_add(1).min(size));
    match from.parse::<usize>() {
        Ok(from) if from < last => {
            reply.status = 206;
            reply.body = reply.body.slice(from..last);
            Ok(reply.header("content-range", format!("bytes {from}-{}/{size}", last - 1)))
        }
        _ => Err(Reply::error(416, "requestedRangeNotSatisfiable", "The requested range cannot be satisfied.")),
    }
}

/// `objects.list`.
pub fn list(world: &mut World, incoming: &Incoming, bucket_name: &str) -> Answer {
    if incoming.method != "GET" {
        return Err(not_a_method(&incoming.method));
    }
    incoming.allow(&[
        "delimiter",
        "endOffset",
        "includeFoldersAsPrefixes",
        "includeTrailingDelimiter",
        "maxResults",
        "pageToken",
        "prefix",
        "projection",
        "softDeleted",
        "startOffset",
        "versions",
    ])?;
    let bucket = world.bucket(bucket_name)?;
    let prefix = incoming.param("prefix").unwrap_or_default();
    let delimiter = incoming.param("delimiter").filter(|d| !d.is_empty());
    let versions = incoming.param("versions") == Some("true");
    let limit = usize::try_from(incoming.number("maxResults")?.unwrap_or(1000)).unwrap_or(1000).clamp(1, 1000);
    let after = incoming.param("pageToken").map(page_token).transpose()?;
    let (start, end) = (incoming.param("startOffset").unwrap_or_default(), incoming.param("endOffset"));
    let mut items = Vec::new();
    let mut prefixes = BTreeSet::new();
    let mut next = None;
    for (name, stored) in bucket.objects.iter().flat_map(|(name, all)| all.iter().map(move |s| (name, s))) {
        let wanted = name.starts_with(prefix)
            && (versions || stored.live)
            && name.as_str() >= start
            && end.is_none_or(|end| name.as_str() < end);
        let key = (name.clone(), stored.generation);
        if !wanted || after.as_ref().is_some_and(|after| key <= *after) {
            continue;
        }
        let folder =
            delimiter.and_then(|d| name[prefix.len()..].find(d).map(|at| &name[..prefix.len() + at + d.len()]));
        if folder.is_some_and(|folder| prefixes.contains(folder)) {
            continue;
        }
        if items.len() + prefixes.len() == limit {
            next = items.last().map(|(key, _): &((String, u64), Value)| key.clone());
            break;
        }
        match folder {
            Some(folder) => {
                prefixes.insert(folder.to_owned());
            }
            None => items.push((key, resource(bucket_name, name, stored))),
        }
    }
    let mut answer = json!({"kind": "storage#objects"});
    if !items.is_empty() {
        answer["items"] = items.into_iter().map(|(_, item)| item).collect();
    }
    if !prefixes.is_empty() {
        answer["prefixes"] = prefixes.into_iter().collect();
    }
    if let Some(key) = next {
        answer["nextPageToken"] = BASE64_URL_SAFE_NO_PAD.encode(json!([key.0, key.1]).to_string()).into();
    }
    incoming.answer(answer)
}

fn page_token(text: &str) -> Result<(String, u64), Reply> {
    let bad = || Reply::error(400, "invalidParameter", "Invalid value for parameter pageToken");
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| bad())?;
    serde_json::from_slice(&bytes).map_err(|_| bad())
}

/// `objects.copy` and `objects.rewrite` (in one step).
pub fn copy(
    world: &mut World,
    incoming: &Incoming,
    from: &(String, String),
    to: &(String, String),
    rewrite: bool,
) -> Answer {
    const SOURCE: [&str; 4] = [
        "ifSourceGenerationMatch",
        "ifSourceGenerationNotMatch",
        "ifSourceMetagenerationMatch",
        "ifSourceMetagenerationNotMatch",
    ];
    let own =
        ["sourceGeneration", "destinationPredefinedAcl", "projection", "rewriteToken", "maxBytesRewrittenPerCall"];
    incoming.allow(&[&own[..], &SOURCE, &super::world::CONDITIONS].concat())?;
    if incoming.method != "POST" {
        return Err(not_a_method(&incoming.method));
    }
    let source = world.find(&from.0, &from.1, incoming.number("sourceGeneration")?)?.cloned();
    let source = source.ok_or_else(|| no_object(&from.0, &from.1))?;
    Conditions::named(incoming, SOURCE)?.check(Some(&source), false)?;
    let body = if incoming.body.is_empty() { Map::new() } else { json_object(&incoming.body)? };
    check_fields(&body, false)?;
    // With a body the copy has its fields, without one those of the source.
    let fields = if body.is_empty() { source.fields } else { body };
    let content: Bytes = source.content;
    let size = content.len().to_string();
    let written = world.insert(&to.0, &to.1, fields, content, &Conditions::of(incoming)?)?;
    let made = resource(&to.0, &to.1, &written);
    if !rewrite {
        return incoming.answer(made);
    }
    incoming.answer(json!({
        "kind": "storage#rewriteResponse", "totalBytesRewritten": size, "objectSize": size, "done": true, "resource": made,
    }))
}
