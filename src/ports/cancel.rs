//! A token that ends work under way: given to a run, checked between its steps, heard by the warehouse.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

type Hook = Arc<dyn Fn() + Send + Sync>;

/// Cheap to clone; all clones are one token. Once cancelled it stays so, with the first reason.
#[derive(Clone, Default)]
pub struct Cancel(Arc<Shared>);

#[derive(Default)]
struct Shared {
    cancelled: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    reason: Option<String>,
    hooks: Vec<(u64, Hook)>,
    next: u64,
}

impl Cancel {
    /// Ends the work. `reason` completes a sentence: "it was stopped: …".
    pub fn cancel(&self, reason: impl Into<String>) {
        let hooks = {
            let mut inner = self.inner();
            inner.reason.get_or_insert_with(|| reason.into());
            self.0.cancelled.store(true, Ordering::Release);
            std::mem::take(&mut inner.hooks)
        };
        for (_, hook) in hooks {
            hook();
        }
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }

    /// Why it was cancelled; `None` while it was not.
    pub fn reason(&self) -> Option<String> {
        self.is_cancelled().then(|| self.inner().reason.clone().unwrap_or_default())
    }

    /// Calls `hook` when the token is cancelled (at once, if it is already), unless the guard is dropped before. The hook
    /// must be quick and must not panic; it may run while the guard is being dropped.
    pub fn on_cancel(&self, hook: impl Fn() + Send + Sync + 'static) -> OnCancel {
        let hook: Hook = Arc::new(hook);
        let id = {
            let mut inner = self.inner();
            if !self.is_cancelled() {
                inner.next += 1;
                let id = inner.next;
                inner.hooks.push((id, hook));
                return OnCancel { token: self.clone(), id };
            }
            0
        };
        hook();
        OnCancel { token: self.clone(), id }
    }

    /// Ends when the token is cancelled.
    pub async fn cancelled(&self) {
        let mut _heard = None;
        std::future::poll_fn(|cx| {
            if self.is_cancelled() {
                return Poll::Ready(());
            }
            let waker = cx.waker().clone();
            _heard = Some(self.on_cancel(move || waker.wake_by_ref()));
            // It may have been cancelled between the look and the hook.
            if self.is_cancelled() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// The future's result, or `None` when the token was cancelled first; the future is dropped then.
    pub async fn or<F: Future>(&self, work: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.cancelled() => None,
        }
    }

    /// A token that is cancelled with this one, and can be cancelled alone.
    pub fn child(&self) -> (Cancel, OnCancel) {
        let child = Cancel::default();
        let (parent, passed_on) = (Arc::downgrade(&self.0), child.clone());
        let guard = self.on_cancel(move || {
            let reason = parent.upgrade().and_then(|shared| Cancel(shared).reason());
            passed_on.cancel(reason.unwrap_or_default());
        });
        (child, guard)
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a hook back when it is dropped.
#[must_use = "dropping it takes the hook back"]
pub struct OnCancel {
    token: Cancel,
    id: u64,
}

impl Drop for OnCancel {
    fn drop(&mut self) {
        // The hook is dropped outside of the lock: it may hold the last clone of something with a guard of its own.
        let taken: Vec<_> = {
            let mut inner = self.token.inner();
            let id = self.id;
            inner.hooks.extract_if(.., |(hook, _)| *hook == id).collect()
        };
        drop(taken);
    }
}

/// Cancels a token when a time is over, unless it is dropped before.
pub struct Watchdog {
    done: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watchdog {
    /// A thread of its own, so that it fires also while every other one is busy.
    pub fn start(token: Cancel, limit: Duration, reason: String) -> Watchdog {
        let done: Arc<(Mutex<bool>, Condvar)> = Arc::default();
        let seen = done.clone();
        let thread = std::thread::spawn(move || {
            let (lock, rung) = &*seen;
            let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
            let (ended, _) =
                rung.wait_timeout_while(guard, limit, |done| !*done).unwrap_or_else(PoisonError::into_inner);
            if !*ended {
                drop(ended);
                token.cancel(reason);
            }
        });
        Watchdog { done, thread: Some(thread) }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let (lock, rung) = &*self.done;
        *lock.lock().unwrap_or_else(PoisonError::into_inner) = true;
        rung.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn hooks_run_once_and_can_be_taken_back() {
        let token = Cancel::default();
        let rung = Arc::new(AtomicUsize::new(0));
        let ring = |n: usize| {
            let rung = rung.clone();
            move || {
                rung.fetch_add(n, Ordering::Relaxed);
            }
        };
        let kept = token.on_cancel(ring(1));
        drop(token.on_cancel(ring(10)));
        token.cancel("first");
        token.cancel("second");
        let late = token.on_cancel(ring(100));
        assert_eq!(rung.load(Ordering::Relaxed), 101);
        assert_eq!(token.reason().as_deref(), Some("first"));
        drop((kept, late));
    }

    #[test]
    fn a_child_ends_with_its_parent_and_not_the_other_way() {
        let parent = Cancel::default();
        let (alone, _guard) = parent.child();
        alone.cancel("alone");
        assert!(!parent.is_cancelled());
        let (child, _guard) = parent.child();
        parent.cancel("all");
        assert_eq!(child.reason().as_deref(), Some("all"));
        assert_eq!(alone.reason().as_deref(), Some("alone"));
    }

    #[tokio::test]
    async fn a_watchdog_ends_what_waits() {
        let token = Cancel::default();
        let _watchdog = Watchdog::start(token.clone(), Duration::from_millis(20), "late".into());
        assert_eq!(token.or(std::future::pending::<()>()).await, None);
        assert_eq!(token.reason().as_deref(), Some("late"));
        let other = Cancel::default();
        drop(Watchdog::start(other.clone(), Duration::from_secs(3600), "never".into()));
        assert_eq!(other.or(async { 7 }).await, Some(7));
        assert!(!other.is_cancelled());
    }
}
