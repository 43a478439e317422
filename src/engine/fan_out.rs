//! Many pieces of work with bounded parallelism, stopping at the first failure.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

type Worker = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs `work(0)` to `work(count - 1)`, up to `parallel` at once. After the first failure nothing new is begun; what was
/// begun is finished. Gives the results in order, `None` for what was not begun.
///
/// On a multi-threaded runtime the workers are tasks, so that blocking file I/O runs in parallel; elsewhere (simulations)
/// they take turns within the caller. Dropping the future stops everything at its next pause.
pub async fn fan_out<T, E, F, W>(count: usize, parallel: usize, work: W) -> Vec<Option<Result<T, E>>>
where
    T: Send + 'static,
    E: Send + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
    W: Fn(usize) -> F + Send + Sync + 'static,
{
    let shared = Arc::new(Shared {
        next: AtomicUsize::new(0),
        failed: AtomicBool::new(false),
        results: Mutex::new((0..count).map(|_| None).collect()),
        work,
    });
    let workers = (0..parallel.clamp(1, count.max(1))).map(|_| Box::pin(run_worker(shared.clone(), count)) as Worker);
    if is_multi_threaded() {
        let mut tasks = workers.collect::<tokio::task::JoinSet<()>>();
        while let Some(joined) = tasks.join_next().await {
            if let Err(error) = joined
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    } else {
        take_turns(workers.collect()).await;
    }
    std::mem::take(&mut *shared.results.lock().unwrap_or_else(PoisonError::into_inner))
}

struct Shared<T, E, W> {
    next: AtomicUsize,
    failed: AtomicBool,
    results: Mutex<Vec<Option<Result<T, E>>>>,
    work: W,
}

async fn run_worker<T, E, F, W>(shared: Arc<Shared<T, E, W>>, count: usize)
where
    F: Future<Output = Result<T, E>>,
    W: Fn(usize) -> F,
{
    while !shared.failed.load(Ordering::Relaxed) {
        let index = shared.next.fetch_add(1, Ordering::Relaxed);
        if index >= count {
            return;
        }
        let result = (shared.work)(index).await;
        if result.is_err() {
            shared.failed.store(true, Ordering::Relaxed);
        }
        shared.results.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(result);
    }
}

fn is_multi_threaded() -> bool {
    tokio::runtime::Handle::try_current()
        .is_ok_and(|h| h.runtime_flavor() == tokio::runtime::RuntimeFlavor::MultiThread)
}

async fn take_turns(mut workers: Vec<Worker>) {
    std::future::poll_fn(|cx| {
        workers.retain_mut(|w| w.as_mut().poll(cx).is_pending());
        if workers.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn work(index: usize, fails: bool) -> Result<usize, String> {
        tokio::task::yield_now().await;
        if fails { Err(format!("no {index}")) } else { Ok(index * 2) }
    }

    async fn check() {
        let all = fan_out(100, 7, |i| work(i, false)).await;
        assert!(all.iter().enumerate().all(|(i, r)| *r == Some(Ok(i * 2))));
        let some = fan_out(1000, 4, |i| work(i, i == 5)).await;
        assert_eq!(some[5], Some(Err("no 5".into())));
        assert!(some.iter().filter(|r| r.is_some()).count() < 50, "stops soon");
        assert!(fan_out(0, 4, |i| work(i, false)).await.is_empty());
    }

    #[tokio::test]
    async fn results_are_in_order_and_failure_stops_alone() {
        check().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn also_on_several_threads() {
        check().await;
    }
}
