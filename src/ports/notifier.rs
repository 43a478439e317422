//! How somebody is told of an alert.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// What somebody is told; also the body of a webhook's request and of a topic's message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    pub alert: String,
    pub state: NoticeState,
    /// In one sentence.
    pub summary: String,
    /// When the condition began.
    pub since: Timestamp,
    /// When this was decided.
    pub at: Timestamp,
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeState {
    Firing,
    Resolved,
}

/// Tells one receiver.
///
/// An answer comes within seconds. A failed attempt may have reached the receiver all the same; the same notice twice has
/// the same `alert`, `state` and `since`.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// What the receiver is called in messages; holds no secret: ``webhook `hooks.example.com` ``.
    fn describe(&self) -> String;

    async fn notify(&self, notice: &Notice) -> Result<(), NotifyError>;
}

/// Why somebody could not be told. The message holds no secret.
#[derive(Debug, Clone)]
pub struct NotifyError {
    /// Whether trying again may help.
    pub transient: bool,
    pub message: String,
}

impl fmt::Display for NotifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for NotifyError {}
