//! Several changes of one record that come at once are one write.
//!
//! Cloud Storage takes about one write a second of one name, and an export's release index is changed by each of its runs. Of
//! those in one process who want to change a record, one does it for all that wait; what comes meanwhile waits for the next.

use super::{State, StateError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// A change of a record (an `Option<T>`); says whether it changed anything. It may be made again after a lost reply.
type Change = Arc<Mutex<dyn FnMut(&mut dyn Any) -> bool + Send>>;

type Answer = Result<(), StateError>;

/// Who waits to change what.
#[derive(Default)]
pub struct Lines(Mutex<HashMap<String, Arc<Line>>>);

#[derive(Default)]
struct Line {
    /// Whoever holds it writes.
    gate: tokio::sync::Mutex<()>,
    waiting: Mutex<Vec<(Change, oneshot::Sender<Answer>)>>,
}

fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lines {
    fn of(&self, path: &str) -> Arc<Line> {
        locked(&self.0).entry(path.to_owned()).or_default().clone()
    }
}

impl State {
    /// Like `update`, for a record that many write. It remembers the path for as long as the process lives.
    pub(super) async fn update_together<T>(
        &self,
        path: &str,
        mut change: impl FnMut(Option<T>) -> Option<T> + Send + 'static,
    ) -> Result<(), StateError>
    where
        T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    {
        let change: Change = Arc::new(Mutex::new(move |record: &mut dyn Any| {
            let record = record.downcast_mut::<Option<T>>().expect("one path has one kind of record");
            let next = change(record.clone());
            let changed = next.is_some();
            *record = next.or(record.take());
            changed
        }));
        let line = self.lines.of(path);
        loop {
            let (tell, mut told) = oneshot::channel();
            locked(&line.waiting).push((change.clone(), tell));
            let turn = tokio::select! {
                biased;
                answer = &mut told => match answer {
                    Ok(answer) => return answer,
                    // Whoever did it for us was cut off: again.
                    Err(_) => continue,
                },
                turn = line.gate.lock() => turn,
            };
            match told.try_recv() {
                Ok(answer) => return answer,
                Err(oneshot::error::TryRecvError::Closed) => continue,
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
            let all = std::mem::take(&mut *locked(&line.waiting));
            let answer = self
                .update(path, |there: Option<T>| {
                    let mut record = there;
                    let mut changed = false;
                    for (change, _) in &all {
                        changed |= (*locked(change))(&mut record);
                    }
                    record.filter(|_| changed)
                })
                .await;
            drop(turn);
            for (_, tell) in all {
                let _ = tell.send(answer.clone());
            }
            return answer;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::faulty::{Faults, Faulty};
    use crate::adapters::memory::MemoryStore;
    use crate::ports::store::ObjectStore;
    use std::time::Duration;

    fn adds(number: u64) -> impl FnMut(Option<Vec<u64>>) -> Option<Vec<u64>> {
        move |there| {
            let mut all = there.unwrap_or_default();
            (!all.contains(&number)).then(|| {
                all.push(number);
                all
            })
        }
    }

    #[tokio::test]
    async fn who_comes_at_once_is_one_write() {
        let store = Arc::new(MemoryStore::new());
        let slow = Faulty::new(store.clone(), Faults { delay: 1000, ..Faults::default() }, 1);
        let state = State::new(Arc::new(slow)).without_pauses();
        let changes = (0..100).map(|n| {
            let state = state.clone();
            async move { state.update_together("a", adds(n)).await }
        });
        let mut tasks = changes.collect::<tokio::task::JoinSet<_>>();
        while let Some(done) = tasks.join_next().await {
            done.unwrap().unwrap();
        }
        let (all, _) = state.read::<Vec<u64>>("a").await.unwrap().unwrap();
        assert_eq!(all.len(), 100);
        let writes = store.versions("a").await.unwrap().len();
        assert!(writes <= 3, "{writes} writes");
    }

    #[tokio::test]
    async fn who_is_cut_off_takes_nobody_along() {
        let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
        for seed in 0..200 {
            let name = format!("r{seed}");
            let faults = Faults { delay: 700, error_before: 100, error_after: 100, ..Faults::default() };
            let state = State::new(Arc::new(Faulty::new(store.clone(), faults, seed))).without_pauses();
            let mut tasks = tokio::task::JoinSet::new();
            for n in 0..12_u64 {
                let (state, name) = (state.clone(), name.clone());
                let change = async move { state.update_together(&name, adds(n)).await };
                // Every third gives up soon: at once, or after some of the others' steps.
                let patience = if n % 3 == 0 { Duration::from_micros(seed * 3 * n) } else { Duration::from_secs(60) };
                tasks.spawn(async move { (n, tokio::time::timeout(patience, change).await.is_ok_and(|r| r.is_ok())) });
            }
            let done =
                tokio::time::timeout(Duration::from_secs(60), tasks.join_all()).await.expect("nobody waits for ever");
            let (all, _) = State::new(store.clone()).read::<Vec<u64>>(&name).await.unwrap().unwrap();
            for (n, told) in done {
                assert!(told || n % 3 == 0, "{n} of {seed}");
                assert!(!told || all.contains(&n), "{n} of {seed} was told so: {all:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_failure_is_told_to_all() {
        let broken = Faulty::new(Arc::new(MemoryStore::new()), Faults { error_before: 1000, ..Faults::default() }, 1);
        let state = State::new(Arc::new(broken)).without_pauses();
        let (a, b) = tokio::join!(state.update_together("a", adds(1)), state.update_together("a", adds(2)));
        assert!(a.unwrap_err().is_transient() && b.unwrap_err().is_transient());
    }
}
