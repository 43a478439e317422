//! What the pages show beyond the records in the state store. Others compute it (the monitor, the scheduler) and hand it in
//! through [`PageFacts`], so that the door depends on neither.

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::civil::Date;

/// Freshness, coming slots and firing alerts, as of now.
#[async_trait]
pub trait PageFacts: Send + Sync {
    /// One for each export that has a freshness promise.
    async fn freshness(&self) -> Vec<FreshnessFact>;
    /// The next slots of all jobs, soonest first, at most `count`.
    async fn slots(&self, count: usize) -> Vec<SlotFact>;
    /// The alerts that fire now.
    async fn alerts(&self) -> Vec<AlertFact>;
}

/// Knows nothing: for tests, and for a service without monitor.
pub struct NoFacts;

#[async_trait]
impl PageFacts for NoFacts {
    async fn freshness(&self) -> Vec<FreshnessFact> {
        Vec::new()
    }
    async fn slots(&self, _: usize) -> Vec<SlotFact> {
        Vec::new()
    }
    async fn alerts(&self) -> Vec<AlertFact> {
        Vec::new()
    }
}

/// How an export keeps its promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Freshness {
    Fresh,
    Stale,
    /// Nothing was ever published.
    Never,
}

/// One export's freshness.
#[derive(Debug, Clone)]
pub struct FreshnessFact {
    pub export: String,
    pub freshness: Freshness,
    /// The promise, as declared: `by 13:30 America/New_York`, `within 2h`.
    pub promise: String,
    /// The date of the data that is public.
    pub data_date: Option<Date>,
    /// When the promise was or will be broken.
    pub due: Option<Timestamp>,
    /// Why it is stale, in one sentence.
    pub reason: Option<String>,
}

/// A coming slot of a job.
#[derive(Debug, Clone, serde::Serialize)]
pub struct SlotFact {
    pub job: String,
    pub at: Timestamp,
    pub schedule: String,
    pub timezone: String,
    /// What it asks for, in words: names of exports and a date word.
    pub asks_for: String,
}

/// A firing alert.
#[derive(Debug, Clone, serde::Serialize)]
pub struct AlertFact {
    pub name: String,
    pub since: Timestamp,
    pub reason: String,
}

/// A loop's sign of life, for `/live`.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    pub name: String,
    /// Time since the loop last went round.
    pub age: std::time::Duration,
    /// Beyond this it hangs.
    pub limit: std::time::Duration,
}
