//! A store that fails on purpose: lost replies, errors, delays and crashes, from a seed.
//!
//! A crash is a future that never completes, before or after the inner store did its work: whoever drives it (a
//! simulation) drops the task, as a killed process would.

use crate::ports::store::{
    Body, Condition, Object, ObjectInfo, ObjectStore, PutOptions, StoreError, StoreErrorKind, Traffic, Version,
};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How often each fault happens, in calls of a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// An error, and nothing was done.
    pub error_before: u32,
    /// An error, but it was done: the reply was lost.
    pub error_after: u32,
    /// The call gives way to others a few times.
    pub delay: u32,
    /// The caller dies, before or after the work.
    pub crash: u32,
}

/// Wraps a store with faults.
pub struct Faulty {
    inner: Arc<dyn ObjectStore>,
    faults: Faults,
    random: Random,
    crashed: AtomicBool,
}

impl Faulty {
    /// The same seed and the same order of calls give the same faults. `Faults::default()` has none.
    pub fn new(inner: Arc<dyn ObjectStore>, faults: Faults, seed: u64) -> Self {
        Self { inner, faults, random: Random::new(seed), crashed: AtomicBool::new(false) }
    }

    /// Whether the caller has died: nothing that it began will ever end.
    pub fn has_crashed(&self) -> bool {
        self.crashed.load(Ordering::Relaxed)
    }

    async fn die(&self) {
        self.crashed.store(true, Ordering::Relaxed);
        std::future::pending::<()>().await;
    }

    async fn around<T>(
        &self,
        operation: &'static str,
        path: &str,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if self.random.chance(self.faults.delay) {
            for _ in 0..=self.random.below(4) {
                yield_once().await;
            }
        }
        let crash = self.random.chance(self.faults.crash);
        // A dead process does not call, whichever of its tasks it was that died.
        if self.has_crashed() || crash && self.random.chance(500) {
            self.die().await;
        }
        if self.random.chance(self.faults.error_before) {
            return Err(self.fault(operation, path, "injected fault before the work"));
        }
        let result = work.await;
        if crash {
            self.die().await;
        }
        if self.random.chance(self.faults.error_after) {
            return Err(self.fault(operation, path, "injected fault after the work"));
        }
        result
    }

    fn fault(&self, operation: &'static str, path: &str, reason: &str) -> StoreError {
        StoreError::new(StoreErrorKind::Transient, operation, path, self.inner.describe(), reason)
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn spool_dir(&self) -> Result<PathBuf, StoreError> {
        self.inner.spool_dir()
    }

    fn traffic(&self) -> Traffic {
        self.inner.traffic()
    }

    async fn stat(&self, path: &str) -> Result<Option<ObjectInfo>, StoreError> {
        self.around("stat", path, self.inner.stat(path)).await
    }

    async fn get(&self, path: &str, generation: Option<u64>) -> Result<Object, StoreError> {
        self.around("get", path, self.inner.get(path, generation)).await
    }

    async fn put(&self, path: &str, body: &Body, options: &PutOptions) -> Result<ObjectInfo, StoreError> {
        self.around("put", path, self.inner.put(path, body, options)).await
    }

    async fn touch(
        &self,
        path: &str,
        version: Version,
        metadata: &BTreeMap<String, String>,
    ) -> Result<ObjectInfo, StoreError> {
        self.around("touch", path, self.inner.touch(path, version, metadata)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.around("list", prefix, self.inner.list(prefix)).await
    }

    async fn delete(&self, path: &str, condition: Condition) -> Result<(), StoreError> {
        self.around("delete", path, self.inner.delete(path, condition)).await
    }

    async fn forget(&self, path: &str) -> Result<(), StoreError> {
        self.around("forget", path, self.inner.forget(path)).await
    }

    async fn versions(&self, path: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.around("versions", path, self.inner.versions(path)).await
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.around("flush", "", self.inner.flush()).await
    }
}

/// Lets the other futures go first, once; needs no runtime.
pub async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

/// A small seeded generator (splitmix64), shareable between tasks.
pub struct Random(AtomicU64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    pub fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `n - 1`; 0 when `n` is 0.
    pub fn below(&self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// True `per_mille` times of a thousand.
    pub fn chance(&self, per_mille: u32) -> bool {
        self.below(1000) < u64::from(per_mille)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::{conformance, memory::MemoryStore};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn without_faults_it_conforms() {
        let faulty = Faulty::new(Arc::new(MemoryStore::new()), Faults::default(), 1);
        conformance::run(Arc::new(faulty)).await;
    }

    #[tokio::test]
    async fn a_lost_reply_has_done_its_work() {
        let inner = Arc::new(MemoryStore::new());
        let faulty = Faulty::new(inner.clone(), Faults { error_after: 1000, ..Faults::default() }, 1);
        let body = Body::from(b"x".to_vec());
        let error = faulty.put("a", &body, &PutOptions::default()).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Transient);
        assert!(inner.stat("a").await.unwrap().is_some());
    }
}
