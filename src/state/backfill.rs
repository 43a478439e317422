//! Backfill progress: which days of which export are done, so that an interrupted backfill goes on where it was.
//!
//! One small record for each finished day: many workers write at once without meeting.

use super::{State, StateError, name_of, segment};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A finished day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackfilledDay {
    pub export: String,
    pub target_date: Date,
    pub run_id: String,
    /// `published`, `unchanged` ...
    pub outcome: String,
}

impl State {
    /// Notes a day as done. Only days that need not be tried again are noted.
    pub async fn backfilled(&self, backfill: &str, day: &BackfilledDay) -> Result<(), StateError> {
        self.write(&format!("{}{}/{}.json", base(backfill), segment(&day.export), day.target_date), day).await
    }

    /// The (export, day) pairs that are done. `backfill` names the work: exports, range, parameters, configuration.
    pub async fn backfill_done(&self, backfill: &str) -> Result<BTreeSet<(String, Date)>, StateError> {
        let base = base(backfill);
        let paths = self.list(&base).await?;
        let day = |path: &String| {
            let (export, file) = path.strip_prefix(&base)?.split_once('/')?;
            Some((name_of(export), file.strip_suffix(".json")?.parse().ok()?))
        };
        Ok(paths.iter().filter_map(day).collect())
    }
}

fn base(backfill: &str) -> String {
    format!("backfills/{}/", segment(backfill))
}
