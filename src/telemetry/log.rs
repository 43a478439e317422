//! Log lines: one JSON object a line with the keys that Cloud Logging reads, or a line for people.

use super::trace::TraceContext;
use clap::ValueEnum;
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::fmt::Write;
use std::io::IsTerminal;

/// How much it matters; the names are Cloud Logging's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Debug,
    Info,
    /// Normal, but worth a look: a start, a stop, a gate that stays closed.
    Notice,
    Warning,
    Error,
    /// Somebody has to act now.
    Critical,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Notice => "NOTICE",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
        }
    }
}

/// How lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people on a terminal, JSON otherwise
    #[default]
    Auto,
    /// One JSON object a line
    Json,
    /// One line of text
    Text,
}

impl LogFormat {
    pub(super) fn is_json(self) -> bool {
        match self {
            Self::Auto => !std::io::stderr().is_terminal(),
            Self::Json => true,
            Self::Text => false,
        }
    }
}

/// What a line holds besides its message.
#[derive(Debug, Default)]
pub struct Fields {
    labels: Vec<(&'static str, String)>,
    fields: Vec<(&'static str, Value)>,
    trace: Option<TraceContext>,
}

/// The longest text of a field, in characters: a reason that quotes its input must not fill the disk.
const LONGEST: usize = 2_000;

impl Fields {
    /// An indexed text, by which lines are found: `run_id`, `export`.
    pub fn label(&mut self, name: &'static str, value: &str) {
        self.labels.push((name, shortened(value)));
    }

    pub fn field(&mut self, name: &'static str, value: impl Into<Value>) {
        let value = match value.into() {
            Value::String(text) => Value::String(shortened(&text)),
            value => value,
        };
        self.fields.push((name, value));
    }

    /// The field, if there is a value.
    pub fn maybe(&mut self, name: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.field(name, value);
        }
    }

    pub fn trace(&mut self, trace: Option<&TraceContext>) {
        self.trace = trace.cloned();
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The line for machines, with its newline.
pub(super) fn json_line(
    now: Timestamp,
    severity: Severity,
    message: &str,
    fields: &Fields,
    trace_project: Option<&str>,
) -> String {
    let mut line = Map::new();
    let mut set = |name: &str, value: Value| line.insert(name.to_owned(), value);
    set("severity", severity.as_str().into());
    set("message", shortened(message).into());
    set("time", now.to_string().into());
    if let Some(trace) = &fields.trace {
        let name = match trace_project {
            Some(project) => format!("projects/{project}/traces/{}", trace.trace_id),
            None => trace.trace_id.clone(),
        };
        set("logging.googleapis.com/trace", name.into());
        set("logging.googleapis.com/spanId", trace.span_id.clone().into());
        set("logging.googleapis.com/trace_sampled", trace.sampled.into());
    }
    if !fields.labels.is_empty() {
        let labels: Map<String, Value> =
            fields.labels.iter().map(|(k, v)| ((*k).to_owned(), v.clone().into())).collect();
        set("logging.googleapis.com/labels", labels.into());
    }
    for (name, value) in &fields.fields {
        set(name, value.clone());
    }
    format!("{}\n", Value::Object(line))
}

/// The line for people, with its newline.
pub(super) fn text_line(now: Timestamp, severity: Severity, message: &str, fields: &Fields) -> String {
    let time = now.strftime("%H:%M:%S%.3f");
    let mut line = format!("{time} {:8} {}", severity.as_str(), one_line(message));
    for (name, text) in &fields.labels {
        let _ = write!(line, " {name}={}", one_line(text));
    }
    for (name, value) in &fields.fields {
        let _ = match value {
            Value::String(text) => write!(line, " {name}={:?}", text),
            value => write!(line, " {name}={value}"),
        };
    }
    line.push('\n');
    line
}

/// Control characters would let a message write lines of its own, or colours, on an operator's terminal.
fn one_line(text: &str) -> String {
    shortened(text).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
