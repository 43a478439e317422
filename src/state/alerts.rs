//! Alerts: each one's state and the notices that have not reached everybody yet, in one record that several copies of the
//! service change by compare-and-set. So a copy that dies between deciding and telling loses no notice, and of several copies
//! one tells.

use super::{State, StateError, segment};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An alert's record.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AlertRecord {
    pub state: AlertState,
    /// Decided and not told to everybody; oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outbox: Vec<Pending>,
    /// Who decided the last change, and when: of several copies that see it at once, one speaks of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<(String, Timestamp)>,
}

/// How an alert stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AlertState {
    pub phase: Phase,
    /// Since when its condition holds; of a quiet alert, nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// What it said when it last fired.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub summary: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    #[default]
    Quiet,
    /// The condition holds, but not for long enough.
    Pending,
    Firing,
}

/// A notice on its way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    pub firing: bool,
    pub summary: String,
    pub since: Timestamp,
    pub at: Timestamp,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Receivers that have not been told, by their place in `to`.
    pub left: Vec<usize>,
    /// Attempts so far.
    pub attempts: u32,
    /// Who is telling, and until when nobody else does.
    pub owner: String,
    pub until: Timestamp,
}

impl State {
    pub async fn alert(&self, name: &str) -> Result<Option<AlertRecord>, StateError> {
        Ok(self.read(&path(name)).await?.map(|(record, _)| record))
    }

    /// Changes an alert's record; `change` may be called again, and gives `None` to leave it.
    pub async fn update_alert(
        &self,
        name: &str,
        change: impl FnMut(Option<AlertRecord>) -> Option<AlertRecord> + Send,
    ) -> Result<(), StateError> {
        self.update(&path(name), change).await
    }

    /// When the first monitor of this state began: nothing from before is a missed run.
    pub async fn watching_since(&self, now: Timestamp) -> Result<Timestamp, StateError> {
        let mut since = now;
        self.update("alerts-since.json", |there: Option<Timestamp>| match there {
            Some(first) => {
                since = first;
                None
            }
            None => Some(now),
        })
        .await?;
        Ok(since)
    }

    /// How many dead letters wait, without reading them.
    pub async fn dead_letter_count(&self) -> Result<u64, StateError> {
        Ok(self.list("dead-letters/").await?.len() as u64)
    }
}

fn path(name: &str) -> String {
    format!("alerts/{}.json", segment(name))
}
