//! Claims: who may work on something, and until when. A claim is a lease: its holder's death frees it within its term.

use super::{State, StateError};
use crate::ports::store::{Condition, StoreErrorKind, Version};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// A lease held by us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub name: String,
    pub owner: String,
    pub until: Timestamp,
    version: Version,
}

/// The answer to a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    Taken(Lease),
    /// Another holds it.
    Held {
        owner: String,
        until: Timestamp,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct ClaimRecord {
    owner: String,
    until: Timestamp,
}

impl State {
    /// Takes the claim if nobody holds it, or if its term is over. `owner` is one attempt's own name (a run id): two that
    /// share it would share the lease. Whoever takes over an expired claim must not rely on the former holder having
    /// stopped: the writes themselves are compare-and-set.
    pub async fn claim(
        &self,
        name: &str,
        owner: &str,
        now: Timestamp,
        term: SignedDuration,
    ) -> Result<Claim, StateError> {
        let path = claim_path(name);
        let mut attempts = super::Attempts::new(self.pause);
        loop {
            let condition = match self.read::<ClaimRecord>(&path).await? {
                None => Condition::Absent,
                Some((there, _)) if there.owner != owner && there.until > now => {
                    return Ok(Claim::Held { owner: there.owner, until: there.until });
                }
                Some((_, version)) => Condition::Match(version),
            };
            let record = ClaimRecord { owner: owner.to_owned(), until: after(now, term) };
            match self.put(&path, &record, condition).await {
                Ok(version) => {
                    let lease = Lease { name: name.to_owned(), owner: record.owner, until: record.until, version };
                    return Ok(Claim::Taken(lease));
                }
                Err(e) => attempts.spend(e).await?,
            }
        }
    }

    /// Extends a lease; `Held` says that it was lost to somebody else.
    pub async fn renew(&self, lease: &Lease, now: Timestamp, term: SignedDuration) -> Result<Claim, StateError> {
        self.claim(&lease.name, &lease.owner, now, term).await
    }

    /// Gives the claim back. A lease that was lost in the meantime is left alone.
    pub async fn give_back(&self, lease: Lease) -> Result<(), StateError> {
        let path = claim_path(&lease.name);
        let mut attempts = super::Attempts::new(self.pause);
        loop {
            match self.store.delete(&path, Condition::Match(lease.version)).await {
                Ok(()) => return Ok(()),
                Err(e) if matches!(e.kind, StoreErrorKind::NotFound | StoreErrorKind::PreconditionFailed) => {
                    return Ok(());
                }
                Err(e) => attempts.spend(e).await?,
            }
        }
    }
}

fn after(now: Timestamp, term: SignedDuration) -> Timestamp {
    now.saturating_add(term).unwrap_or(Timestamp::MAX)
}

fn claim_path(name: &str) -> String {
    format!("claims/{}.json", super::segment(name))
}
