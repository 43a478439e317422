//! One pass: the encoder, the contract and the guards hear the same events.

pub use super::contract::Finding;
use super::contract::{Contract, Validator};
use super::guards::{GuardRun, Guards};
use super::json::Encoder;
use super::spool::Spooled;
use crate::model::sink::{At, Key, Sink, SinkError};
use serde_json::Value;
use std::collections::BTreeMap;

/// A document in the making.
pub struct CheckSink<'c> {
    encoder: Encoder,
    validator: Option<Validator<'c>>,
    guards: GuardRun<'c>,
}

/// A finished document and what was found.
pub struct Checked {
    pub spooled: Spooled,
    pub findings: Vec<Finding>,
    /// Items by path, for guards now and in the next release.
    pub counts: BTreeMap<String, u64>,
    /// Scalars outside of lists.
    pub doc: Value,
}

impl<'c> CheckSink<'c> {
    pub fn new(encoder: Encoder, contract: Option<&'c Contract>, guards: &'c Guards) -> Self {
        Self { encoder, validator: contract.map(Contract::validator), guards: GuardRun::new(guards) }
    }

    pub fn finish(self) -> Result<Checked, SinkError> {
        let spooled = self.encoder.finish()?;
        let mut findings = Vec::new();
        if let Some(validator) = self.validator {
            let found = validator.finish();
            let more = (found.total as usize).saturating_sub(found.kept.len());
            findings.extend(found.kept);
            if more > 0
                && let Some(last) = findings.last_mut()
            {
                last.message.push_str(&format!(" (and {more} more findings)"));
            }
        }
        let (found, counts, doc) = self.guards.finish();
        findings.extend(found);
        Ok(Checked { spooled, findings, counts, doc })
    }
}

type Done = Result<(), SinkError>;

macro_rules! tee {
    ($self:ident, $call:ident ( $($arg:expr),* )) => {{
        $self.encoder.$call($($arg),*)?;
        if let Some(validator) = &mut $self.validator {
            validator.$call($($arg),*)?;
        }
        $self.guards.$call($($arg),*)
    }};
}

impl Sink for CheckSink<'_> {
    fn begin_object(&mut self, at: At) -> Done {
        tee!(self, begin_object(at))
    }
    fn key(&mut self, key: &Key) -> Done {
        tee!(self, key(key))
    }
    fn end_object(&mut self) -> Done {
        tee!(self, end_object())
    }
    fn begin_array(&mut self, at: At) -> Done {
        tee!(self, begin_array(at))
    }
    fn end_array(&mut self) -> Done {
        tee!(self, end_array())
    }
    fn null(&mut self, at: At) -> Done {
        tee!(self, null(at))
    }
    fn bool(&mut self, value: bool, at: At) -> Done {
        tee!(self, bool(value, at))
    }
    fn int(&mut self, value: i64, at: At) -> Done {
        tee!(self, int(value, at))
    }
    fn float(&mut self, value: f64, at: At) -> Done {
        tee!(self, float(value, at))
    }
    fn decimal(&mut self, value: i128, scale: u8, at: At) -> Done {
        tee!(self, decimal(value, scale, at))
    }
    fn str(&mut self, value: &str, at: At) -> Done {
        tee!(self, str(value, at))
    }
}
