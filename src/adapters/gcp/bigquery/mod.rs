//! The warehouse port on BigQuery, by its REST API.
//!
//! Google's own crate (`google-cloud-bigquery-v2`) was tried and stands in the way: it gives a result as
//! `Vec<wkt::Struct>`, a map with a JSON value for each cell, which alone costs more than reading the bytes straight into columns
//! (`benches/README.md`); and a repeated insert that finds its own job is an error to it. So the five calls that are needed
//! are made over the HTTP client and the credentials that all Google adapters share, with retries by the error's reason.
//!
//! - A statement is a job under our own id; `calls` says which failures are tried again, `errors` by what they are told apart.
//! - Each job carries `maximumBytesBilled`: BigQuery itself refuses, before it reads, what would be billed more.
//! - Results are paged and read in one pass (`page`, `columns`), the next page on its way meanwhile (`rows`).

mod calls;
mod columns;
#[cfg(test)]
mod conformance;
mod errors;
mod job;
mod page;
mod rows;
#[cfg(test)]
mod tests;
mod wire;

pub use calls::Backoff;

use super::{Api, Google};
use crate::config::tables::{json_fields, named_type};
use crate::model::report::JobReport;
use crate::model::{Field, Statement, Type};
use crate::ports::cancel::Cancel;
use crate::ports::warehouse::{Cost, DryRun, RowStream, Warehouse, WarehouseError, WarehouseErrorKind as Kind};
use async_trait::async_trait;
use calls::{Call, Calls};
use errors::{Fault, Origin, Phase};
use job::Job;
use page::Page;
use rows::Rows;
use serde_json::Value as Json;
use std::sync::Arc;
use std::time::Duration;
use wire::Limits;

/// How often a job that BigQuery gave up on is begun anew, with a new id.
const JOBS: u32 = 3;

/// What a statement is billed at the least, for each table that it reads, and the unit to which it is rounded up
/// (BigQuery's pricing page, "On-demand compute pricing").
const LEAST_BILLED: u64 = 10 << 20;
const BILLING_UNIT: u64 = 1 << 20;

/// BigQuery, as one project sees it.
pub struct BigQuery {
    calls: Arc<Calls>,
    location: Option<String>,
    /// What a job may be billed at the most, in bytes.
    cap: u64,
}

impl BigQuery {
    /// `cap` is what any job may be billed at the most, in bytes. Nothing is called yet.
    pub fn new(google: Arc<Google>, project: String, location: Option<String>, cap: u64) -> Self {
        Self { calls: Arc::new(Calls { google, project, backoff: Backoff::default() }), location, cap }
    }

    /// With other pauses between attempts, for tests.
    pub fn with_backoff(self, backoff: Backoff) -> Self {
        let Calls { google, project, .. } = self.calls.as_ref();
        let calls = Calls { google: google.clone(), project: project.clone(), backoff };
        Self { calls: Arc::new(calls), ..self }
    }

    fn limits(&self, statement: &Statement) -> Limits<'_> {
        let cap = statement.purpose.max_bytes_billed.map_or(self.cap, |own| own.min(self.cap));
        Limits { project: &self.calls.project, location: self.location.as_deref(), cap }
    }

    /// A job of the statement, run to its end, and its first page. Begins anew what failed for a while.
    async fn run(&self, statement: &Statement) -> Result<Ended, WarehouseError> {
        let mut attempt = 1;
        loop {
            let (fault, phase, id) = match Job::insert(&self.calls, statement, &self.limits(statement), attempt).await {
                Ok(mut job) => match job.first_page().await {
                    Ok(page) => {
                        let failed = |fault: Fault| fault.error(&statement.sql, Phase::Job, Some(&job.id));
                        let report = job.report().await.map_err(failed)?;
                        return Ok(Ended { job, page, report });
                    }
                    Err(fault) => (fault, Phase::Job, Some(job.id.clone())),
                },
                Err(fault) if fault.origin == Origin::Job => (fault, Phase::Job, None),
                Err(fault) => (fault, Phase::Insert, None),
            };
            // A call that nobody answered has been tried often enough below.
            if !(fault.again() && fault.origin == Origin::Job && attempt < JOBS) {
                return Err(fault.error(&statement.sql, phase, id.as_deref()));
            }
            tokio::time::sleep(self.calls.backoff.pause(attempt)).await;
            attempt += 1;
        }
    }

    async fn ask(&self, statement: &Statement) -> Result<Json, WarehouseError> {
        let limits = self.limits(statement);
        let body = wire::dry_run(statement, &limits);
        let call =
            Call { path: &["jobs"], query: &[], body: Some(&body), post: true, patience: Duration::from_secs(60) };
        let failed = |fault: Fault| fault.error(&statement.sql, Phase::Insert, None);
        let told = self.calls.send(&call).await.map_err(failed)?;
        let told: Json = serde_json::from_slice(&told).unwrap_or_default();
        match told["status"].get("errorResult").and_then(Fault::of_proto) {
            Some(fault) => Err(failed(fault)),
            None => Ok(told),
        }
    }
}

/// An ended job and its first page.
struct Ended {
    job: Job,
    page: Page,
    report: JobReport,
}

/// What a dry run says.
fn told(job: &Json, cap: u64) -> Result<DryRun, String> {
    let query = &job["statistics"]["query"];
    let fields = query["schema"].get("fields").map_or(Ok(Vec::new()), json_fields)?;
    let bytes =
        job::number(&query["totalBytesProcessed"]).or_else(|| job::number(&job["statistics"]["totalBytesProcessed"]));
    let tables = query["referencedTables"].as_array().map_or(0, Vec::len) as u64;
    let undeclared = query["undeclaredQueryParameters"].as_array().into_iter().flatten();
    Ok(DryRun {
        fields,
        cost: bytes.map(|bytes| Cost { bytes, billed: billed(bytes, tables), cap }),
        undeclared: undeclared.map(undeclared_parameter).collect(),
    })
}

/// What reading these bytes of so many tables is billed.
fn billed(bytes: u64, tables: u64) -> u64 {
    if bytes == 0 { 0 } else { bytes.next_multiple_of(BILLING_UNIT).max(LEAST_BILLED.saturating_mul(tables.max(1))) }
}

fn undeclared_parameter(param: &Json) -> (String, Type) {
    let name = param["name"].as_str().unwrap_or("?").to_owned();
    let ty = &param["parameterType"];
    let scalar = |ty: &Json| ty["type"].as_str().and_then(named_type).unwrap_or(Type::String);
    let ty = match ty["type"].as_str() {
        Some("ARRAY") => Type::Array(Box::new(scalar(&ty["arrayType"]))),
        _ => scalar(ty),
    };
    (name, ty)
}

#[async_trait]
impl Warehouse for BigQuery {
    fn describe(&self) -> String {
        let place = self.location.as_ref().map_or_else(String::new, |location| format!(", {location}"));
        let emulated = match self.calls.google.is_emulated(Api::BigQuery) {
            true => format!(" at {}", self.calls.google.endpoint(Api::BigQuery)),
            false => String::new(),
        };
        format!("bigquery ({}{place}){emulated}", self.calls.project)
    }

    fn bills(&self) -> bool {
        true
    }

    async fn columns(&self, statement: &Statement) -> Result<Vec<Field>, WarehouseError> {
        Ok(self.dry_run(statement).await?.fields)
    }

    async fn dry_run(&self, statement: &Statement) -> Result<DryRun, WarehouseError> {
        let answer = self.ask(statement).await?;
        told(&answer, self.limits(statement).cap).map_err(|reason| WarehouseError::new(Kind::Unsupported, reason))
    }

    async fn query(&self, statement: &Statement, cancel: &Cancel) -> Result<Box<dyn RowStream>, WarehouseError> {
        let asked = async { if cancel.is_cancelled() { None } else { cancel.or(self.run(statement)).await } };
        let Some(outcome) = asked.await else { return Err(rows::cancelled(cancel)) };
        let Ended { job, mut page, report } = outcome?;
        let fields = page.fields.take().ok_or_else(|| {
            WarehouseError::new(Kind::Unsupported, format!("the statement gave no columns (job {})", job.id))
        })?;
        Ok(Box::new(Rows::new(job, &statement.sql, page, fields, report, cancel)))
    }
}
