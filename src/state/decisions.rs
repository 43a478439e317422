//! What gates decided: each upstream message's verdict with its reason, and which causes were accepted before.

use super::{State, StateError, name_of, segment};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A gate's verdict on one upstream message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It became a request.
    Accept,
    /// A rule says that nothing is to be done.
    Skip,
    /// The message is not what it has to be; it is in the dead letters.
    Reject,
    /// The same cause was accepted before.
    Duplicate,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Skip => "skip",
            Self::Reject => "reject",
            Self::Duplicate => "duplicate",
        }
    }
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    pub id: String,
    pub trigger: String,
    pub verdict: Verdict,
    /// In one sentence.
    pub reason: String,
    pub message_id: String,
    pub topic: String,
    pub published_at: Timestamp,
    pub decided_at: Timestamp,
    /// The dedupe key.
    pub cause_id: String,
    /// The message as it came; null where it was no JSON.
    pub message: serde_json::Value,
    /// The target date that was asked for, where one was.
    pub target_date: Option<String>,
    /// The published trigger message's id.
    pub output_message: Option<String>,
    /// The decision that accepted the same cause.
    pub duplicate_of: Option<String>,
    /// Whether an operator let it pass although a rule said no.
    pub forced: bool,
}

impl State {
    pub async fn record_decision(&self, decision: &Decision) -> Result<(), StateError> {
        self.write(&decision_path(&decision.id), decision).await
    }

    pub async fn decision(&self, id: &str) -> Result<Option<Decision>, StateError> {
        Ok(self.read(&decision_path(id)).await?.map(|(record, _)| record))
    }

    /// The newest decisions, at most `limit`.
    pub async fn decisions(&self, limit: usize) -> Result<Vec<Decision>, StateError> {
        let mut decisions = Vec::new();
        for path in self.list("decisions/").await?.iter().rev().take(limit) {
            if let Some(id) = path.strip_prefix("decisions/").and_then(|p| p.strip_suffix(".json")) {
                decisions.extend(self.decision(&name_of(id)).await?);
            }
        }
        Ok(decisions)
    }

    /// The decision that accepted this cause of a trigger, if one did.
    pub async fn accepted(&self, trigger: &str, cause_id: &str) -> Result<Option<String>, StateError> {
        Ok(self.read::<String>(&accepted_path(trigger, cause_id)).await?.map(|(id, _)| id))
    }

    /// Remembers that the decision accepted the cause. Written after its message is published, never before: a crash in
    /// between publishes twice, and the run key makes one run of it.
    pub async fn accept(&self, trigger: &str, cause_id: &str, decision: &str) -> Result<(), StateError> {
        self.write(&accepted_path(trigger, cause_id), &decision).await
    }
}

pub(super) fn decision_path(id: &str) -> String {
    format!("decisions/{}.json", segment(id))
}

pub(super) fn accepted_path(trigger: &str, cause_id: &str) -> String {
    format!("accepted/{}/{}.json", segment(trigger), segment(cause_id))
}
