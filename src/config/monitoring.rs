//! What operators are promised and told, typed: `freshness:` of an export and the `alerts:` of the project.

use super::decode::items;
use super::forms;
use super::node::{Node, NodeValue};
use crate::diagnostics::{Span, Spanned};
use std::time::Duration;

/// How new an export's documents have to be, judged by the clock. At least one of `by` and `within`.
#[derive(Debug, Clone)]
pub struct Freshness {
    pub by: Option<DueTime>,
    /// The longest time since a document was last known to be right.
    pub within: Option<Duration>,
    /// The date of the data; the target date if absent.
    pub data_date: Option<Node>,
    pub span: Span,
}

/// A time of each calendar day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueTime {
    /// Minutes after midnight, civil time.
    pub minutes: u32,
    pub zone: String,
}

/// An alert.
#[derive(Debug, Clone)]
pub struct Alert {
    pub name: Spanned<String>,
    pub when: AlertKind,
    /// How long the condition has to last; `AlertKind` says what it means where that is not plain.
    pub hold: Duration,
    /// The number above which the condition holds.
    pub above: u64,
    /// The exports that it looks at; all if there is none.
    pub exports: Vec<Spanned<String>>,
    pub to: Vec<Receiver>,
}

/// What an alert watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertKind {
    /// More than `above` exports failed in the last run of theirs that ended.
    Failure,
    /// More than `above` documents break their promise.
    Stale,
    /// More than `above` messages wait in a subscription, and the oldest has waited for `for`.
    Backlog,
    /// `for` after a job's slot (15 minutes if absent), an export of it has not ended any run since the slot.
    MissedRun,
    /// More than `above` dead letters wait for an operator.
    DeadLetter,
}

impl AlertKind {
    pub const WORDS: &'static [&'static str] = &["failure", "stale", "backlog", "missed_run", "dead_letter"];

    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "failure" => Self::Failure,
            "stale" => Self::Stale,
            "backlog" => Self::Backlog,
            "missed_run" => Self::MissedRun,
            "dead_letter" => Self::DeadLetter,
            _ => return None,
        })
    }
}

/// A slot may be this late before it counts as missed, where the alert does not say.
const MISSED_AFTER: Duration = Duration::from_secs(15 * 60);

/// Who is told.
#[derive(Debug, Clone)]
pub enum Receiver {
    Log,
    Webhook {
        /// As written: `${NAME}` is filled in when the notice is sent, so that a secret is never in the project.
        url: Spanned<String>,
        /// Whether the address may be a private one.
        allow_private: bool,
    },
    /// A key of `topics`.
    Topic {
        topic: Spanned<String>,
    },
}

/// `13:30 America/New_York`.
pub fn due_time(text: &str) -> Result<DueTime, String> {
    let (time, zone) = text.split_once(' ').ok_or_else(|| format!("`{text}` is no time of day with its zone"))?;
    let minutes = forms::clock(time)?;
    let zone = zone.trim();
    jiff::tz::TimeZone::get(zone).map_err(|_| format!("there is no time zone `{zone}`"))?;
    Ok(DueTime { minutes, zone: zone.to_owned() })
}

/// The `freshness:` block.
pub fn freshness(node: &Node) -> Freshness {
    let text = |key: &str| node.get(key).and_then(Node::as_str);
    Freshness {
        by: text("by").and_then(|t| due_time(t).ok()),
        within: text("within").and_then(|t| forms::duration(t).ok()),
        data_date: node.get("data_date").cloned(),
        span: node.span,
    }
}

/// An entry of `alerts:`; `None` where a finding says what is missing.
pub fn alert(node: &Node) -> Option<Alert> {
    let when = AlertKind::of(node.get("when")?.as_str()?)?;
    let hold = node.get("for").and_then(Node::as_str).and_then(|t| forms::duration(t).ok());
    Some(Alert {
        name: spanned(node.get("name")?)?,
        when,
        hold: hold.unwrap_or(if when == AlertKind::MissedRun { MISSED_AFTER } else { Duration::ZERO }),
        above: match node.get("above").map(|n| &n.value) {
            Some(NodeValue::Int(number)) => u64::try_from(*number).unwrap_or(0),
            _ => 0,
        },
        exports: items(node.get("exports")).iter().filter_map(spanned).collect(),
        to: items(node.get("to")).iter().filter_map(receiver).collect(),
    })
}

fn receiver(node: &Node) -> Option<Receiver> {
    Some(match node.get("type")?.as_str()? {
        "log" => Receiver::Log,
        "webhook" => Receiver::Webhook {
            url: spanned(node.get("url")?)?,
            allow_private: node.get("allow_private").is_some_and(|n| n.value == NodeValue::Bool(true)),
        },
        _ => Receiver::Topic { topic: spanned(node.get("topic")?)? },
    })
}

fn spanned(node: &Node) -> Option<Spanned<String>> {
    Some(Spanned { value: node.as_str()?.to_owned(), span: node.span })
}
