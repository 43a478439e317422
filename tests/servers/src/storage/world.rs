//! What is stored.

use super::wire::{Incoming, Reply, crc32c, md5};
use hyper::body::Bytes;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[derive(Default)]
pub struct World {
    pub buckets: BTreeMap<String, Bucket>,
    pub sessions: HashMap<String, super::uploads::Session>,
    /// The least time between two writes of one name.
    pub write_interval: Option<Duration>,
    /// Preconditions are not looked at.
    pub unconditional: bool,
    written: HashMap<(String, String), Instant>,
    last_generation: u64,
}

#[derive(Default)]
pub struct Bucket {
    pub versioning: bool,
    /// By name; each its generations, oldest first.
    pub objects: BTreeMap<String, Vec<Stored>>,
}

/// One generation of an object.
#[derive(Clone)]
pub struct Stored {
    pub generation: u64,
    pub metageneration: u64,
    pub live: bool,
    pub content: Bytes,
    pub crc32c: String,
    pub md5: String,
    /// The writable fields (`contentType`, `metadata` ...).
    pub fields: Map<String, Value>,
    pub created: u64,
    pub updated: u64,
    pub deleted: Option<u64>,
}

impl Stored {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(Value::as_str)
    }
}

/// Fields of an object that a writer may set.
pub const WRITABLE: &[&str] = &[
    "acl",
    "cacheControl",
    "contentDisposition",
    "contentEncoding",
    "contentLanguage",
    "contentType",
    "contexts",
    "customTime",
    "eventBasedHold",
    "metadata",
    "retention",
    "storageClass",
    "temporaryHold",
];

/// Fields that a body may have and that say nothing: they are the server's.
const READ_ONLY: &[&str] = &[
    "bucket",
    "componentCount",
    "etag",
    "generation",
    "id",
    "kind",
    "mediaLink",
    "metageneration",
    "name",
    "owner",
    "selfLink",
    "size",
    "timeCreated",
    "timeDeleted",
    "timeStorageClassUpdated",
    "updated",
];

/// Fields that are checked and not kept as they come.
const CHECKED: &[&str] = &["crc32c", "md5Hash"];

// The server's own clock, which is nobody else's business.
#[allow(clippy::disallowed_methods)]
fn micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX))
}

/// RFC 3339 of microseconds since 1970, by Howard Hinnant's days-from-civil the other way round.
fn rfc3339(micros: u64) -> String {
    let seconds = micros / 1_000_000;
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let mp = (5 * day_of_year + 2) / 153;
    let (day, month) = (day_of_year - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", micros / 1000 % 1000)
}

/// What a call says must be true.
#[derive(Debug, Default, Clone)]
pub struct Conditions {
    generation: Option<u64>,
    not_generation: Option<u64>,
    metageneration: Option<u64>,
    not_metageneration: Option<u64>,
}

/// The names of the preconditions, for the lists of parameters.
pub const CONDITIONS: [&str; 4] =
    ["ifGenerationMatch", "ifGenerationNotMatch", "ifMetagenerationMatch", "ifMetagenerationNotMatch"];

impl Conditions {
    pub fn of(incoming: &Incoming) -> Result<Self, Reply> {
        Self::named(incoming, CONDITIONS)
    }

    pub fn named(incoming: &Incoming, names: [&str; 4]) -> Result<Self, Reply> {
        Ok(Self {
            generation: incoming.number(names[0])?,
            not_generation: incoming.number(names[1])?,
            metageneration: incoming.number(names[2])?,
            not_metageneration: incoming.number(names[3])?,
        })
    }

    /// Holds them against what is there. `reading`: a `…NotMatch` that fails is 304.
    pub fn check(&self, there: Option<&Stored>, reading: bool) -> Result<(), Reply> {
        let generation = there.map_or(0, |s| s.generation);
        let metageneration = there.map_or(0, |s| s.metageneration);
        let differs = |wanted: Option<u64>, is: u64| wanted.is_some_and(|wanted| wanted != is);
        let same = |unwanted: Option<u64>, is: u64| unwanted == Some(is);
        if differs(self.generation, generation) || differs(self.metageneration, metageneration) {
            return Err(Self::failed());
        }
        if same(self.not_generation, generation) || same(self.not_metageneration, metageneration) {
            return Err(if reading { Reply::empty(304) } else { Self::failed() });
        }
        Ok(())
    }

    fn failed() -> Reply {
        let message = "At least one of the pre-conditions you specified did not hold.";
        Reply::error(412, "conditionNotMet", message)
    }
}

impl World {
    pub fn make_bucket(&mut self, name: &str, versioning: bool) {
        self.buckets.insert(name.to_owned(), Bucket { versioning, ..Bucket::default() });
    }

    pub fn corrupt(&mut self, bucket: &str, name: &str) {
        let versions = self.buckets.get_mut(bucket).and_then(|b| b.objects.get_mut(name)).expect("the object is there");
        let last = versions.last_mut().expect("an object has a generation");
        let mut bytes = last.content.to_vec();
        bytes[0] ^= 1;
        last.content = bytes.into();
        // Its checksums are those of what a reader gets, so that only the writer's own hash notices.
        (last.crc32c, last.md5) = (crc32c(&last.content), md5(&last.content));
    }

    pub fn bucket(&self, name: &str) -> Result<&Bucket, Reply> {
        let missing = || Reply::error(404, "notFound", "The specified bucket does not exist.");
        self.buckets.get(name).ok_or_else(missing)
    }

    /// The live object, or the given generation of it.
    pub fn find(&self, bucket: &str, name: &str, generation: Option<u64>) -> Result<Option<&Stored>, Reply> {
        let versions = self.bucket(bucket)?.objects.get(name).map_or(&[][..], Vec::as_slice);
        Ok(match generation {
            None => versions.iter().find(|s| s.live),
            Some(generation) => versions.iter().find(|s| s.generation == generation),
        })
    }

    pub fn find_mut(&mut self, bucket: &str, name: &str, generation: u64) -> Option<&mut Stored> {
        let versions = self.buckets.get_mut(bucket)?.objects.get_mut(name)?;
        versions.iter_mut().find(|s| s.generation == generation)
    }

    /// Takes note of a write of the name; too soon after the last one is 429.
    pub fn pace(&mut self, bucket: &str, name: &str) -> Result<(), Reply> {
        let Some(interval) = self.write_interval else { return Ok(()) };
        let (key, now) = ((bucket.to_owned(), name.to_owned()), Instant::now());
        if self.written.get(&key).is_some_and(|last| now - *last < interval) {
            let message = format!(
                "The object {bucket}/{name} exceeded the rate limit for object mutation operations (create, update, and delete). \
                 Please reduce your request rate."
            );
            return Err(Reply::error(429, "rateLimitExceeded", &message));
        }
        self.written.insert(key, now);
        Ok(())
    }

    /// Writes content with its fields, if the conditions hold and the checksums are right.
    pub fn insert(
        &mut self,
        bucket: &str,
        name: &str,
        mut fields: Map<String, Value>,
        content: Bytes,
        conditions: &Conditions,
    ) -> Result<Stored, Reply> {
        check_name(name)?;
        let (crc, md5) = (crc32c(&content), md5(&content));
        for (field, is) in [("crc32c", &crc), ("md5Hash", &md5)] {
            if fields.remove(field).is_some_and(|said| said != is.as_str()) {
                let message = format!("Provided {field} doesn't match calculated {field} {is}.");
                return Err(Reply::error(400, "invalid", &message));
            }
        }
        fields.retain(|field, _| WRITABLE.contains(&field.as_str()));
        conditions.check(self.find(bucket, name, None)?, false)?;
        self.pace(bucket, name)?;
        let now = micros();
        self.last_generation = now.max(self.last_generation + 1);
        let stored = Stored {
            generation: self.last_generation,
            metageneration: 1,
            live: true,
            content,
            crc32c: crc,
            md5,
            fields,
            created: now,
            updated: now,
            deleted: None,
        };
        self.retire(bucket, name);
        let bucket = self.buckets.get_mut(bucket).expect("it was found");
        bucket.objects.entry(name.to_owned()).or_default().push(stored.clone());
        Ok(stored)
    }

    /// The live generation is live no more: kept with versioning, gone without.
    pub fn retire(&mut self, bucket: &str, name: &str) {
        let Some(bucket) = self.buckets.get_mut(bucket) else { return };
        let Some(versions) = bucket.objects.get_mut(name) else { return };
        if bucket.versioning {
            for stored in versions.iter_mut().filter(|s| s.live) {
                (stored.live, stored.deleted) = (false, Some(micros()));
            }
        } else {
            versions.retain(|s| !s.live);
        }
        if versions.is_empty() {
            bucket.objects.remove(name);
        }
    }

    /// Changes the writable fields of a generation.
    pub fn change(&mut self, bucket: &str, name: &str, generation: u64, fields: Map<String, Value>) -> Stored {
        let stored = self.find_mut(bucket, name, generation).expect("it was found");
        stored.fields = fields;
        stored.metageneration += 1;
        stored.updated = micros();
        stored.clone()
    }
}

fn check_name(name: &str) -> Result<(), Reply> {
    let bad = name.is_empty() || name.len() > 1024 || name.contains(['\r', '\n']) || name == "." || name == "..";
    if bad { Err(Reply::error(400, "invalid", "Invalid object name")) } else { Ok(()) }
}

/// Refuses fields that an object has not, and values of the wrong type.
pub fn check_fields(fields: &Map<String, Value>, patch: bool) -> Result<(), Reply> {
    for (name, value) in fields {
        let known = [WRITABLE, READ_ONLY, CHECKED].iter().any(|list| list.contains(&name.as_str()));
        if !known {
            return Err(Reply::error(400, "invalid", &format!("Unknown name \"{name}\": Cannot find field.")));
        }
        let nothing = patch && value.is_null();
        let right = match name.as_str() {
            "metadata" => {
                value.as_object().is_some_and(|entries| entries.values().all(|v| v.is_string() || patch && v.is_null()))
            }
            "temporaryHold" | "eventBasedHold" => value.is_boolean(),
            "acl" | "contexts" | "retention" => value.is_array() || value.is_object(),
            _ => value.is_string(),
        };
        if !right && !nothing {
            return Err(Reply::error(400, "invalid", &format!("Invalid value for field {name}: {value}")));
        }
    }
    Ok(())
}

/// The resource as it is answered.
pub fn resource(url_bucket: &str, name: &str, stored: &Stored) -> Value {
    let generation = stored.generation.to_string();
    let mut value = json!({
        "kind": "storage#object",
        "id": format!("{url_bucket}/{name}/{generation}"),
        "name": name,
        "bucket": url_bucket,
        "generation": generation,
        "metageneration": stored.metageneration.to_string(),
        "size": stored.content.len().to_string(),
        "storageClass": "STANDARD",
        "crc32c": stored.crc32c,
        "md5Hash": stored.md5,
        "etag": format!("{generation}/{}", stored.metageneration),
        "timeCreated": rfc3339(stored.created),
        "updated": rfc3339(stored.updated),
    });
    let object = value.as_object_mut().expect("it is one");
    for (field, content) in &stored.fields {
        object.insert(field.clone(), content.clone());
    }
    if let Some(deleted) = stored.deleted {
        object.insert("timeDeleted".to_owned(), rfc3339(deleted).into());
    }
    value
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_written_as_documented() {
        assert_eq!(super::rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(super::rfc3339(1_709_209_845_123_456), "2024-02-29T12:30:45.123Z");
    }
}
