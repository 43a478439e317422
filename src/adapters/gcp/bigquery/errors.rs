//! BigQuery's errors by their *reason* (its "Error messages" page), never by HTTP status or text: 403 is said of a missing right
//! and of a rate limit alike.

use crate::adapters::gcp::Unanswered;
use crate::ports::warehouse::{WarehouseError, WarehouseErrorKind as Kind};
use serde_json::Value as Json;
use std::ops::Range;

/// An error as BigQuery tells it: in the body of a failed call, in a job's `status.errorResult`, or in `errors` beside a 200.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub reason: String,
    pub message: String,
    pub origin: Origin,
}

/// Who told of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// An answer with this HTTP status.
    Status(u16),
    /// A job, or the body of an answer that was well.
    Job,
    /// Nobody: there was no whole answer.
    Transport,
    /// Our credentials, before anything was asked.
    Credentials,
}

/// Where a fault came up; the same reason is said of a statement that cannot be read and of one that failed on its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The job was not taken: nothing has run.
    Insert,
    /// The job was taken and failed.
    Job,
}

struct Rule {
    reason: &'static str,
    kind: Kind,
    /// Whether the same call, or a new job, is worth trying at once.
    again: bool,
    help: &'static str,
}

const fn rule(reason: &'static str, kind: Kind, again: bool, help: &'static str) -> Rule {
    Rule { reason, kind, again, help }
}

const RIGHTS: &str =
    "give the service account roles/bigquery.jobUser on the project and roles/bigquery.dataViewer on the dataset";
const QUOTA: &str =
    "the project's quota is used up: trying at once only uses more of it; see its quotas in the console";
const COSTLY: &str =
    "raise `max_bytes_billed` of the query, the export or the target, or read less; `phase6 plan` shows the bytes";

const RULES: &[Rule] = &[
    rule("backendError", Kind::Transient, true, ""),
    rule("internalError", Kind::Transient, true, ""),
    rule("jobBackendError", Kind::Transient, true, ""),
    rule("jobInternalError", Kind::Transient, true, ""),
    rule("jobRateLimitExceeded", Kind::Transient, true, ""),
    rule("rateLimitExceeded", Kind::Transient, true, ""),
    rule("tableUnavailable", Kind::Transient, true, ""),
    rule("quotaExceeded", Kind::Transient, false, QUOTA),
    rule("accessDenied", Kind::Refused, false, RIGHTS),
    rule("billingNotEnabled", Kind::Refused, false, "enable billing for the project"),
    rule("billingTierLimitExceeded", Kind::Refused, false, ""),
    rule("blocked", Kind::Refused, false, "BigQuery has shut the project out for a while; its support knows why"),
    rule("bytesBilledLimitExceeded", Kind::Refused, false, COSTLY),
    rule("invalidUser", Kind::Refused, false, RIGHTS),
    rule(NOT_FOUND, Kind::Data, false, "is the table there, and in the location of the target?"),
    rule("resourceInUse", Kind::Transient, true, ""),
    rule("resourcesExceeded", Kind::Runtime, false, "the statement needs more memory than BigQuery gives one job"),
    rule(
        "responseTooLarge",
        Kind::Runtime,
        false,
        "the result is too large to be returned: aggregate it or select less",
    ),
    rule("notImplemented", Kind::Unsupported, false, ""),
    rule("stopped", Kind::Cancelled, false, ""),
    rule("timeout", Kind::Cancelled, false, ""),
];

/// The reason that BigQuery gives for whatever is wrong with a statement, at any time.
const INVALID_QUERY: &str = "invalidQuery";

/// The reason of a job whose id is there already.
pub const DUPLICATE: &str = "duplicate";

/// The reason of a table, a dataset or a job that is not there.
const NOT_FOUND: &str = "notFound";

impl Fault {
    /// No whole answer came.
    pub fn unanswered(why: Unanswered) -> Self {
        let (reason, origin) = match why {
            Unanswered::Credentials { .. } => ("", Origin::Credentials),
            Unanswered::Lost(_) => ("", Origin::Transport),
            Unanswered::TooLong(_) => ("responseTooLarge", Origin::Job),
        };
        Self { reason: reason.to_owned(), message: why.to_string(), origin }
    }

    /// Of an `ErrorProto` (`{"reason", "message", "location"}`).
    pub fn of_proto(proto: &Json) -> Option<Self> {
        let text = |key: &str| proto.get(key).and_then(Json::as_str).map(str::to_owned);
        let reason = text("reason").unwrap_or_default();
        Some(Self { message: text("message").unwrap_or_else(|| reason.clone()), reason, origin: Origin::Job })
    }

    /// Of the body of a failed call. A proxy's answer is no JSON at all; then the status is what is known.
    pub fn of_answer(status: u16, body: &[u8]) -> Self {
        let json: Json = serde_json::from_slice(body).unwrap_or_default();
        let error = &json["error"];
        let first = error["errors"].get(0).and_then(Self::of_proto);
        let reason = first.as_ref().map(|f| f.reason.clone()).unwrap_or_default();
        let told = error["message"].as_str().map(str::to_owned).or(first.map(|f| f.message));
        let message = told.unwrap_or_else(|| format!("HTTP {status}"));
        Self { reason, message, origin: Origin::Status(status) }
    }

    /// What asking for an adopted job's result came to. That the job is not found passes: BigQuery itself has said that it is
    /// there. (A table that is not found is known by the job's own record, which is asked first.)
    pub fn of_adopted(self, location: Option<&str>) -> Self {
        if self.reason != NOT_FOUND {
            return self;
        }
        let hint = match location {
            Some(_) => "",
            None => "; name the target's `location`, without which a job is found only in the US and the EU",
        };
        let message = format!(
            "{}, although it was taken: the answer to its insert was lost{hint}",
            self.message.trim_end_matches('.')
        );
        Self { reason: String::new(), message, origin: Origin::Transport }
    }

    fn rule(&self) -> Option<&'static Rule> {
        RULES.iter().find(|rule| rule.reason == self.reason)
    }

    /// Whether the same call, or a new job, may go better.
    pub fn again(&self) -> bool {
        match self.rule() {
            Some(rule) => rule.again,
            None => self.is_unavailable(),
        }
    }

    /// Whether it speaks of the server or the way to it, where no reason is given.
    fn is_unavailable(&self) -> bool {
        match self.origin {
            Origin::Status(status) => status >= 500 || matches!(status, 408 | 429),
            Origin::Transport => true,
            Origin::Job | Origin::Credentials => false,
        }
    }

    fn kind(&self, phase: Phase, at: Option<&Range<usize>>) -> Kind {
        match self.rule() {
            Some(rule) => rule.kind,
            None if self.reason == INVALID_QUERY && phase == Phase::Job && at.is_none() => Kind::Runtime,
            None if self.is_unavailable() => Kind::Transient,
            None => match self.origin {
                Origin::Status(401 | 403) => Kind::Refused,
                Origin::Status(404) => Kind::Data,
                // Without a token nothing was asked; the machine's metadata server may give one later.
                Origin::Credentials => Kind::Transient,
                _ => Kind::Invalid,
            },
        }
    }

    /// The port's error. `job` is the job's id, so that an operator finds it.
    pub fn error(&self, sql: &str, phase: Phase, job: Option<&str>) -> WarehouseError {
        let at = place(&self.message, sql);
        let kind = self.kind(phase, at.as_ref());
        let mut message = format!("BigQuery: {}", self.message.trim_end_matches('.'));
        let mut aside = Vec::new();
        if !self.reason.is_empty() {
            aside.push(self.reason.clone());
        }
        aside.extend(job.map(|id| format!("job {id}")));
        if !aside.is_empty() {
            message.push_str(&format!(" ({})", aside.join(", ")));
        }
        if let Some(rule) = self.rule().filter(|rule| !rule.help.is_empty()) {
            message.push_str(&format!("; {}", rule.help));
        }
        WarehouseError { kind, message, at }
    }
}

/// The bytes that a message's `[line:column]` names: the word that begins there. Columns count characters, and a tab goes to
/// the next multiple of eight, as in GoogleSQL's own parser.
pub fn place(message: &str, sql: &str) -> Option<Range<usize>> {
    let (line, column) = message.rmatch_indices('[').find_map(|(i, _)| {
        let (inside, _) = message[i + 1..].split_once(']')?;
        let (line, column) = inside.split_once(':')?;
        Some((line.parse::<usize>().ok()?, column.parse::<usize>().ok()?))
    })?;
    let text = sql.split_inclusive('\n').nth(line.checked_sub(1)?)?;
    let before: usize = sql.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let mut at = 1;
    let mut start = text.trim_end_matches(['\n', '\r']).len();
    for (offset, c) in text.char_indices() {
        if at >= column {
            start = start.min(offset);
            break;
        }
        at = if c == '\t' { (at - 1) / 8 * 8 + 9 } else { at + 1 };
    }
    let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '@');
    let rest = &text[start..];
    let len = match rest.chars().next() {
        Some(c) if word(c) => rest.find(|c| !word(c)).unwrap_or(rest.len()),
        Some('`') => rest[1..].find('`').map_or(1, |end| end + 2),
        Some('\n' | '\r') | None => 0,
        Some(c) => c.len_utf8(),
    };
    Some(before + start..before + start + len)
}
