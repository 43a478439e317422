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

/// The target's BigQuery.
pub fn warehouse(target: &Target) -> Result<Arc<dyn Warehouse>, Exit> {
    Err(absent(target, "BigQuery", "a target with a duckdb warehouse"))
}

/// A bucket.
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

fn absent(target: &Target, what: &str, instead: &str) -> Exit {
    let name = &target.name.value;
    fail(
        Exit::Usage,
        format!("target `{name}`: this build has no {what} adapter (cargo build --features gcp has it); use {instead}"),
    )
}
