//! A page of a result (`jobs.getQueryResults`), read in one pass over its bytes: the envelope's few values, and the rows
//! straight into columns.
//!
//! BigQuery writes schema and page token before the rows, so that the next page can be asked for while this one's rows are
//! still read. JSON promises no order: rows that come before their schema are read in a second pass.

use super::columns::{Builder, Row};
use super::errors::Fault;
use crate::config::tables::json_fields;
use crate::model::{Batch, Field};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;
use std::fmt;
use std::sync::Arc;

/// What an answer of `getQueryResults` says.
#[derive(Debug, Default)]
pub struct Page {
    /// Whether the job has ended; while it has not there is nothing else to see.
    pub complete: bool,
    pub fields: Option<Arc<[Field]>>,
    pub rows: Option<Batch>,
    pub token: Option<String>,
    /// Errors *and warnings*: a job that has a schema has succeeded in spite of them.
    pub errors: Vec<Fault>,
    /// Where the job runs.
    pub location: Option<String>,
    /// Rows were met before their schema.
    rows_were_early: bool,
}

impl Page {
    /// Reads a page. `fields` are the columns where an earlier page told them. `token` hears of the next page's token as soon
    /// as it is met. `Err` says why the bytes are no page.
    pub fn read(bytes: &[u8], fields: Option<&Arc<[Field]>>, token: &mut dyn FnMut(&str)) -> Result<Page, String> {
        let mut page = pass(bytes, fields.cloned(), token)?;
        if page.rows_were_early {
            let told = page.fields.clone().ok_or("it has rows and no schema")?;
            page.rows = pass(bytes, Some(told), &mut |_| {})?.rows;
        }
        Ok(page)
    }
}

fn pass(bytes: &[u8], fields: Option<Arc<[Field]>>, token: &mut dyn FnMut(&str)) -> Result<Page, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let page = Envelope { fields, token }.deserialize(&mut deserializer).map_err(|e| e.to_string())?;
    deserializer.end().map_err(|e| e.to_string())?;
    Ok(page)
}

struct Envelope<'a> {
    fields: Option<Arc<[Field]>>,
    token: &'a mut dyn FnMut(&str),
}

impl<'de> DeserializeSeed<'de> for Envelope<'_> {
    type Value = Page;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Page, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Envelope<'_> {
    type Value = Page;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a page of a result")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Page, A::Error> {
        let mut page = Page { fields: self.fields, ..Page::default() };
        let known = page.fields.is_some();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "jobComplete" => page.complete = map.next_value()?,
                "schema" if !known => {
                    let schema: Json = map.next_value()?;
                    // A statement without columns has a schema without fields.
                    let fields = schema.get("fields").map_or(Ok(Vec::new()), json_fields).map_err(A::Error::custom)?;
                    page.fields = Some(fields.into());
                }
                "jobReference" => {
                    let reference: Json = map.next_value()?;
                    page.location = reference["location"].as_str().map(str::to_owned);
                }
                "pageToken" => {
                    page.token = map.next_value::<Option<String>>()?.filter(|token| !token.is_empty());
                    if let Some(token) = &page.token {
                        (self.token)(token);
                    }
                }
                "rows" => match &page.fields {
                    Some(fields) => page.rows = map.next_value_seed(Rows(fields))?,
                    None => {
                        map.next_value::<IgnoredAny>()?;
                        page.rows_were_early = true;
                    }
                },
                "errors" => {
                    let errors: Vec<Json> = map.next_value::<Option<_>>()?.unwrap_or_default();
                    page.errors = errors.iter().filter_map(Fault::of_proto).collect();
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(page)
    }
}

/// The rows of a page; `None` for none at all.
struct Rows<'a>(&'a Arc<[Field]>);

impl<'de> DeserializeSeed<'de> for Rows<'_> {
    type Value = Option<Batch>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Rows<'_> {
    type Value = Option<Batch>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of rows")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<Self::Value, A::Error> {
        let mut builders: Vec<Builder> = self.0.iter().map(Builder::new).collect();
        let mut len = 0;
        while rows.next_element_seed(Row(&mut builders))?.is_some() {
            len += 1;
        }
        let columns = builders.into_iter().map(Builder::finish).collect();
        Ok((len > 0).then(|| Batch { fields: self.0.clone(), columns, len }))
    }
}
