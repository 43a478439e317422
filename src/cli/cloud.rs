//! The adapters of Google Cloud for a target; a build without them (the cargo feature `gcp`) says so in one place.

use super::context::fail;
use super::exit::Exit;
use crate::config::Target;
use crate::ports::bus::Bus;
use crate::ports::clock::Clock;
use crate::ports::store::ObjectStore;
use crate::ports::warehouse::Warehouse;
use std::sync::Arc;
#[cfg(feature = "gcp")]
use {crate::adapters::gcp::Google, std::sync::OnceLock};

/// The target's BigQuery, which bills no query more than the cap in bytes.
#[cfg(feature = "gcp")]
pub fn warehouse(
    _target: &Target,
    project: &str,
    location: Option<&str>,
    cap: u64,
) -> Result<Arc<dyn Warehouse>, Exit> {
    use crate::adapters::gcp::bigquery::BigQuery;
    Ok(Arc::new(BigQuery::new(google()?, project.to_owned(), location.map(str::to_owned), cap)))
}

/// The target's BigQuery.
#[cfg(not(feature = "gcp"))]
pub fn warehouse(
    target: &Target,
    _project: &str,
    _location: Option<&str>,
    _cap: u64,
) -> Result<Arc<dyn Warehouse>, Exit> {
    Err(absent(target, "BigQuery", "a target with a duckdb warehouse"))
}

/// A bucket.
#[cfg(feature = "gcp")]
pub fn store(_target: &Target, bucket: &str) -> Result<Arc<dyn ObjectStore>, Exit> {
    Ok(Arc::new(crate::adapters::gcp::storage::BucketStore::new(google()?, bucket)))
}

/// A bucket.
#[cfg(not(feature = "gcp"))]
pub fn store(target: &Target, _bucket: &str) -> Result<Arc<dyn ObjectStore>, Exit> {
    Err(absent(target, "Cloud Storage", "--out DIR"))
}

/// Who we are to Google and where it answers: the same for all adapters of the process.
#[cfg(feature = "gcp")]
fn google() -> Result<Arc<Google>, Exit> {
    static GOOGLE: OnceLock<Arc<Google>> = OnceLock::new();
    if let Some(google) = GOOGLE.get() {
        return Ok(google.clone());
    }
    let made = Google::new(&|name| std::env::var(name).ok()).map_err(|e| fail(Exit::Unavailable, e))?;
    Ok(GOOGLE.get_or_init(|| Arc::new(made)).clone())
}

/// The target's Pub/Sub.
#[cfg(feature = "gcp")]
pub fn bus(_target: &Target, project: &str, clock: Arc<dyn Clock>) -> Result<Arc<dyn Bus>, Exit> {
    Ok(Arc::new(crate::adapters::gcp::pubsub::PubSub::new(google()?, project, clock)))
}

/// The target's Pub/Sub.
#[cfg(not(feature = "gcp"))]
pub fn bus(target: &Target, _project: &str, _clock: Arc<dyn Clock>) -> Result<Arc<dyn Bus>, Exit> {
    Err(absent(target, "Pub/Sub", "--bus DIR"))
}

#[cfg(not(feature = "gcp"))]
fn absent(target: &Target, what: &str, instead: &str) -> Exit {
    let name = &target.name.value;
    fail(
        Exit::Usage,
        format!("target `{name}`: this build has no {what} adapter (cargo build --features gcp has it); use {instead}"),
    )
}

/// Google's REST services, of which these are to be called.
#[cfg(feature = "gcp")]
pub fn rest(apis: &[crate::ports::cloud::Api]) -> Result<Arc<dyn crate::ports::cloud::Cloud>, Exit> {
    let rest = crate::adapters::gcp::rest::Rest(google()?);
    if rest.is_mixed(apis) {
        let reason = "an emulator stands in for some of the services and not for all: a test would change the real \
                      cloud; choose parts with --only, or unset the emulators' variables";
        return Err(fail(Exit::Usage, reason));
    }
    Ok(Arc::new(rest))
}

#[cfg(not(feature = "gcp"))]
pub fn rest(_apis: &[crate::ports::cloud::Api]) -> Result<Arc<dyn crate::ports::cloud::Cloud>, Exit> {
    let reason = "this build cannot talk to Google Cloud (cargo build --features gcp can); it writes files: --emit \
                  gcloud or --emit terraform";
    Err(fail(Exit::Usage, reason))
}
