//! A store in memory with the full meaning of the port: for tests, simulation and `--dry-run`.

use crate::ports::store::{
    Body, Condition, Object, ObjectInfo, ObjectStore, PutOptions, StoreError, StoreErrorKind, Version, check_path,
};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Keeps every object and every version until it is dropped.
#[derive(Default)]
pub struct MemoryStore {
    slots: Mutex<BTreeMap<String, Slot>>,
}

#[derive(Default)]
struct Slot {
    /// Newest first; the first is live when `live`.
    versions: Vec<(ObjectInfo, Arc<Vec<u8>>)>,
    live: bool,
    last_generation: u64,
}

impl Slot {
    fn current(&self) -> Option<&ObjectInfo> {
        self.versions.first().filter(|_| self.live).map(|(info, _)| info)
    }
}

impl MemoryStore {
    pub fn new() -> Self {
        Self::default()
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<String, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, kind: StoreErrorKind, op: &'static str, path: &str, reason: impl Into<String>) -> StoreError {
        StoreError::new(kind, op, path, self.describe(), reason)
    }

    fn checked(&self, op: &'static str, path: &str) -> Result<(), StoreError> {
        check_path(path).map_err(|reason| self.error(StoreErrorKind::InvalidPath, op, path, reason))
    }

    fn require(
        &self,
        op: &'static str,
        path: &str,
        condition: Condition,
        current: Option<&ObjectInfo>,
    ) -> Result<(), StoreError> {
        if condition.holds(current.map(ObjectInfo::version)) {
            return Ok(());
        }
        let found = current.map_or("nothing is there".to_owned(), |i| {
            format!("generation {}.{} is there", i.generation, i.metageneration)
        });
        Err(self.error(StoreErrorKind::PreconditionFailed, op, path, format!("expected {condition}, but {found}")))
    }
}

#[async_trait]
impl ObjectStore for MemoryStore {
    fn describe(&self) -> String {
        "memory".into()
    }

    async fn stat(&self, path: &str) -> Result<Option<ObjectInfo>, StoreError> {
        self.checked("stat", path)?;
        Ok(self.slots().get(path).and_then(Slot::current).cloned())
    }

    async fn get(&self, path: &str, generation: Option<u64>) -> Result<Object, StoreError> {
        self.checked("get", path)?;
        let slots = self.slots();
        let slot = slots.get(path);
        let found = match generation {
            None => slot.filter(|s| s.live).and_then(|s| s.versions.first()),
            Some(g) => slot.and_then(|s| s.versions.iter().find(|(info, _)| info.generation == g)),
        };
        match found {
            Some((info, bytes)) => Ok(Object { info: info.clone(), bytes: bytes.as_ref().clone() }),
            None => Err(self.error(StoreErrorKind::NotFound, "get", path, "no such object")),
        }
    }

    async fn put(&self, path: &str, body: &Body, options: &PutOptions) -> Result<ObjectInfo, StoreError> {
        self.checked("put", path)?;
        let bytes = body.read().map_err(|e| StoreError::from_io(&e, "put", path, &self.describe()))?;
        let mut slots = self.slots();
        let current = slots.get(path).and_then(Slot::current);
        self.require("put", path, options.condition, current)?;
        let slot = slots.entry(path.to_owned()).or_default();
        slot.last_generation += 1;
        let info = ObjectInfo {
            path: path.to_owned(),
            generation: slot.last_generation,
            metageneration: 1,
            size: bytes.len() as u64,
            sha256: Some(options.sha256.clone().unwrap_or_else(|| super::hex_sha256(&bytes))),
            content_type: options.content_type.clone(),
            cache_control: options.cache_control.clone(),
            metadata: options.metadata.clone(),
        };
        slot.versions.insert(0, (info.clone(), bytes));
        slot.live = true;
        Ok(info)
    }

    async fn touch(
        &self,
        path: &str,
        version: Version,
        metadata: &BTreeMap<String, String>,
    ) -> Result<ObjectInfo, StoreError> {
        self.checked("touch", path)?;
        let mut slots = self.slots();
        self.require("touch", path, Condition::Match(version), slots.get(path).and_then(Slot::current))?;
        let info = &mut slots.get_mut(path).expect("the condition found it").versions[0].0;
        info.metadata = metadata.clone();
        info.metageneration += 1;
        Ok(info.clone())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let slots = self.slots();
        let from_prefix = slots.range(prefix.to_owned()..).take_while(|(path, _)| path.starts_with(prefix));
        Ok(from_prefix.filter_map(|(_, slot)| slot.current().cloned()).collect())
    }

    async fn delete(&self, path: &str, condition: Condition) -> Result<(), StoreError> {
        self.checked("delete", path)?;
        let mut slots = self.slots();
        let current = slots.get(path).and_then(Slot::current);
        self.require("delete", path, condition, current)?;
        match slots.get_mut(path).filter(|s| s.live) {
            Some(slot) => {
                slot.live = false;
                Ok(())
            }
            None => Err(self.error(StoreErrorKind::NotFound, "delete", path, "no such object")),
        }
    }

    async fn forget(&self, path: &str) -> Result<(), StoreError> {
        self.checked("forget", path)?;
        self.slots().remove(path);
        Ok(())
    }

    async fn versions(&self, path: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.checked("versions", path)?;
        Ok(self.slots().get(path).map_or_else(Vec::new, |s| s.versions.iter().map(|(i, _)| i.clone()).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::conformance;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn conforms() {
        conformance::run(Arc::new(MemoryStore::new())).await;
    }
}
