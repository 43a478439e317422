//! Cloud Storage's description of an object, and what of it the store port knows.

use crate::ports::store::{ObjectInfo, Version};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Hex SHA-256 of the plain content. Cloud Storage keeps CRC32C and MD5 only.
const SHA256: &str = "phase6-store-sha256";
/// Bytes of the plain content, where it lies compressed.
const PLAIN_SIZE: &str = "phase6-store-plain-size";

/// The fields of an object that we read; the others are not sent.
pub const FIELDS: &str = "name,generation,metageneration,size,contentType,contentEncoding,cacheControl,metadata";

/// What Cloud Storage serves an object as that has no content type; it therefore means "none was said".
pub const NO_CONTENT_TYPE: &str = "application/octet-stream";

/// An object's description (<https://cloud.google.com/storage/docs/json_api/v1/objects#resource>).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    pub name: String,
    #[serde(deserialize_with = "number")]
    pub generation: u64,
    /// Emulators leave it out while it is 1.
    #[serde(default = "one", deserialize_with = "number")]
    pub metageneration: u64,
    #[serde(default, deserialize_with = "number")]
    pub size: u64,
    #[serde(default)]
    pub content_type: String,
    #[serde(default)]
    pub content_encoding: String,
    #[serde(default)]
    pub cache_control: String,
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

fn one() -> u64 {
    1
}

/// 64-bit numbers are texts in Google's JSON.
fn number<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Text(String),
        Plain(u64),
    }
    match Number::deserialize(from)? {
        Number::Text(text) => text.parse().map_err(serde::de::Error::custom),
        Number::Plain(number) => Ok(number),
    }
}

impl From<google_cloud_storage::model::Object> for Resource {
    fn from(object: google_cloud_storage::model::Object) -> Self {
        let unsigned = |n: i64| u64::try_from(n).unwrap_or(0);
        Self {
            generation: unsigned(object.generation),
            metageneration: unsigned(object.metageneration).max(1),
            size: unsigned(object.size),
            content_type: object.content_type,
            content_encoding: object.content_encoding,
            cache_control: object.cache_control,
            metadata: object.metadata.into_iter().collect(),
            name: object.name,
        }
    }
}

impl Resource {
    pub fn version(&self) -> Version {
        Version { generation: self.generation, metageneration: self.metageneration }
    }

    /// Whether the content lies compressed.
    pub fn is_gzip(&self) -> bool {
        self.content_encoding == "gzip"
    }

    /// What the port knows; our own entries of the metadata are not shown.
    pub fn into_info(mut self) -> ObjectInfo {
        let given = |text: String| (!text.is_empty()).then_some(text);
        let plain_size = self.metadata.remove(PLAIN_SIZE).and_then(|text| text.parse().ok());
        let size = plain_size.filter(|_| self.is_gzip()).unwrap_or(self.size);
        ObjectInfo {
            generation: self.generation,
            metageneration: self.metageneration,
            size,
            sha256: self.metadata.remove(SHA256),
            content_type: given(self.content_type).filter(|t| t != NO_CONTENT_TYPE),
            cache_control: given(self.cache_control),
            metadata: self.metadata,
            path: self.name,
        }
    }
}

/// The metadata of an object as Cloud Storage keeps it: what the caller says, and what we note beside it.
pub fn stored_metadata(
    metadata: &BTreeMap<String, String>,
    sha256: &str,
    plain_size: Option<u64>,
) -> BTreeMap<String, String> {
    let mut all = metadata.clone();
    all.insert(SHA256.to_owned(), sha256.to_owned());
    all.extend(plain_size.map(|size| (PLAIN_SIZE.to_owned(), size.to_string())));
    all
}

/// The patch of an object's metadata: an entry that is not mentioned would stay, so each that goes is named.
pub fn metadata_patch<'a>(
    there: impl Iterator<Item = &'a str>,
    metadata: &BTreeMap<String, String>,
) -> serde_json::Value {
    let mut patch = serde_json::Map::new();
    for key in there.filter(|key| !is_own(key)) {
        patch.insert(key.to_owned(), serde_json::Value::Null);
    }
    for (key, value) in metadata {
        patch.insert(key.clone(), value.as_str().into());
    }
    serde_json::json!({ "metadata": patch })
}

fn is_own(key: &str) -> bool {
    matches!(key, SHA256 | PLAIN_SIZE)
}
