//! Messages that cannot be worked: set aside whole, with the reason, until an operator replays or drops them.

use super::{State, StateError, name_of, segment};
use crate::ports::store::{Body, Condition, PutOptions, StoreErrorKind};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A dead letter without its body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    pub id: String,
    /// The topic on which it was published, and to which a replay goes.
    pub topic: String,
    pub subscription: String,
    pub message_id: String,
    pub published_at: Timestamp,
    pub attributes: BTreeMap<String, String>,
    /// Bytes of the body.
    pub size: u64,
    /// Why, in one sentence.
    pub reason: String,
    pub attempts: u32,
    pub dead_at: Timestamp,
    /// The run that failed over it, where one did.
    pub run_id: Option<String>,
}

impl State {
    /// Sets the message aside: body first, so that a record always has its body.
    pub async fn bury(&self, letter: &DeadLetter, body: &[u8]) -> Result<(), StateError> {
        let bytes = Body::from(body.to_vec());
        let mut attempts = super::Attempts::new(self.pause);
        while let Err(error) = self.store.put(&body_path(&letter.id), &bytes, &PutOptions::default()).await {
            attempts.spend(error).await?;
        }
        self.write(&letter_path(&letter.id), letter).await
    }

    pub async fn dead_letter(&self, id: &str) -> Result<Option<DeadLetter>, StateError> {
        Ok(self.read(&letter_path(id)).await?.map(|(record, _)| record))
    }

    pub async fn dead_letter_body(&self, id: &str) -> Result<Vec<u8>, StateError> {
        let mut attempts = super::Attempts::new(self.pause);
        loop {
            match self.store.get(&body_path(id), None).await {
                Ok(object) => return Ok(object.bytes),
                Err(error) => attempts.spend(error).await?,
            }
        }
    }

    /// All dead letters, newest first.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>, StateError> {
        let mut letters = Vec::new();
        for path in self.list("dead-letters/").await?.iter().rev() {
            if let Some(id) = path.strip_prefix("dead-letters/").and_then(|p| p.strip_suffix(".json")) {
                letters.extend(self.dead_letter(&name_of(id)).await?);
            }
        }
        Ok(letters)
    }

    /// Forgets a dead letter: record first, so that no record is without its body.
    pub async fn drop_dead_letter(&self, id: &str) -> Result<(), StateError> {
        for path in [letter_path(id), body_path(id)] {
            let mut attempts = super::Attempts::new(self.pause);
            loop {
                match self.store.delete(&path, Condition::Any).await {
                    Ok(()) => break,
                    Err(error) if error.kind == StoreErrorKind::NotFound => break,
                    Err(error) => attempts.spend(error).await?,
                }
            }
        }
        Ok(())
    }
}

fn letter_path(id: &str) -> String {
    format!("dead-letters/{}.json", segment(id))
}

fn body_path(id: &str) -> String {
    format!("dead-letter-bodies/{}", segment(id))
}
