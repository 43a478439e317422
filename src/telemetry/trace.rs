//! The trace to which a message belongs: W3C trace context, as upstream services put it into a message's attributes.

use std::collections::BTreeMap;

/// The attribute's name; Pub/Sub's own client libraries write the second one.
const ATTRIBUTES: [&str; 2] = ["traceparent", "googclient_traceparent"];

/// A place in a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// 32 hex digits.
    pub trace_id: String,
    /// 16 hex digits.
    pub span_id: String,
    pub sampled: bool,
}

impl TraceContext {
    /// Reads `00-<trace>-<span>-<flags>`; anything else is no trace, since a wrong one would only mislead.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        // A later version may have more parts; version 00 has exactly four.
        let whole = hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
        let named = |text: &str| text.bytes().any(|b| b != b'0');
        if !(whole && hex(trace, 32) && hex(span, 16) && hex(flags, 2) && named(trace) && named(span)) {
            return None;
        }
        let sampled = u8::from_str_radix(flags, 16).is_ok_and(|f| f & 1 == 1);
        Some(Self { trace_id: trace.to_owned(), span_id: span.to_owned(), sampled })
    }

    /// The trace of a message.
    pub fn of(attributes: &BTreeMap<String, String>) -> Option<Self> {
        ATTRIBUTES.iter().find_map(|name| Self::parse(attributes.get(*name)?))
    }

    /// The text for the attribute `traceparent` of a message that belongs to the same trace.
    pub fn header(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}
