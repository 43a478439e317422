//! The thread that holds the connection: gathers the calls that wait, runs them in one transaction, answers them after the
//! commit; looks for what other processes changed while somebody waits; sweeps old messages.

use super::errors::{Failure, bus_error};
use super::operations::Operations;
use crate::ports::bus::{BusError, BusErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How soon a waiting pull hears of another process.
pub const POLL: Duration = Duration::from_millis(25);
/// How often the database's file is looked for.
const CHECK: Duration = Duration::from_millis(200);
/// How often old messages are looked for.
const SWEEP: Duration = Duration::from_secs(600);
/// The pause between two batches of a sweep, so that it is not in the way.
const SWEEP_ON: Duration = Duration::from_millis(200);
/// Calls in one transaction: enough to make the sync cheap for each, few enough that none waits long.
const BATCH: usize = 256;

/// What a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// Nothing is written.
    Read,
    /// Written, and safe from the death of the process.
    Write,
    /// Written, and safe from a power cut.
    Synced,
}

/// Answers the caller, once it is known how the transaction ended.
type Answer = Box<dyn FnOnce(Result<(), BusError>) + Send>;
/// Runs a call, or tells it why it cannot run.
type Run = Box<dyn FnOnce(Result<&Operations, BusError>) -> Outcome + Send>;

/// What a call came to inside the transaction.
struct Outcome {
    answer: Answer,
    /// SQLite's error, which loses the transaction.
    failed: Option<rusqlite::Error>,
}

/// A call on its way to the thread.
pub struct Job {
    effort: Effort,
    run: Run,
}

/// The way to the thread.
pub type Jobs = Sender<Job>;

/// A job that runs `operation` and gives `reply` its result when that is sure.
pub fn job<T: Send + 'static>(
    effort: Effort,
    operation: impl FnOnce(&Operations) -> Result<T, Failure> + Send + 'static,
    reply: impl FnOnce(Result<T, BusError>) + Send + 'static,
) -> Job {
    let run = move |ops: Result<&Operations, BusError>| match ops.map_err(Failure::Refused).and_then(operation) {
        Ok(value) => Outcome { answer: Box::new(move |end| reply(end.map(|()| value))), failed: None },
        Err(Failure::Refused(error)) => Outcome { answer: Box::new(move |_| reply(Err(error))), failed: None },
        Err(Failure::Sqlite(error)) => {
            let lost = || BusError::new(BusErrorKind::Fatal, "the bus has lost a transaction");
            let answer: Answer = Box::new(move |end| reply(Err(end.err().unwrap_or_else(lost))));
            Outcome { answer, failed: Some(error) }
        }
    };
    Job { effort, run: Box::new(run) }
}

/// What the thread and the callers share.
#[derive(Default)]
struct Shared {
    changed: Notify,
    waiting: AtomicUsize,
}

/// The thread's owner; dropping it ends the thread when its calls are done.
pub struct Worker {
    jobs: Option<Jobs>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Counts as a waiting pull until it is dropped.
pub struct Waiting<'w>(&'w AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Worker {
    pub fn start(ops: Operations) -> Result<Self, BusError> {
        let (jobs, inbox) = std::sync::mpsc::channel();
        let shared = Arc::new(Shared::default());
        let now = Instant::now();
        let mut desk = Desk { ops, inbox, shared: shared.clone(), seen: 0, polled: now, checked: now };
        let thread = std::thread::Builder::new().name("bus".into()).spawn(move || desk.work());
        let thread = thread
            .map_err(|e| BusError::new(BusErrorKind::Transient, format!("the bus's thread cannot be started: {e}")))?;
        Ok(Self { jobs: Some(jobs), shared, thread: Some(thread) })
    }

    pub fn send(&self, job: Job) -> Result<(), ()> {
        self.jobs.as_ref().ok_or(())?.send(job).map_err(|_| ())
    }

    pub fn jobs(&self) -> Jobs {
        self.jobs.clone().expect("the way is closed only when the worker is dropped")
    }

    /// Told when something may have fallen due.
    pub fn changed(&self) -> &Notify {
        &self.shared.changed
    }

    /// While this lives, the thread looks for what other processes do.
    pub fn waiting(&self) -> Waiting<'_> {
        self.shared.waiting.fetch_add(1, Ordering::SeqCst);
        Waiting(&self.shared.waiting)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It panicked: every caller has been told.
            drop(thread.join());
        }
    }
}

/// The thread's side.
struct Desk {
    ops: Operations,
    inbox: Receiver<Job>,
    shared: Arc<Shared>,
    /// SQLite's count of other connections' commits.
    seen: i64,
    polled: Instant,
    /// When the database's file was last seen in its place.
    checked: Instant,
}

impl Desk {
    fn work(&mut self) {
        let mut sweep_at = Instant::now();
        loop {
            let until_sweep = sweep_at.saturating_duration_since(Instant::now());
            let waited_for = self.shared.waiting.load(Ordering::SeqCst) > 0;
            let patience = if waited_for { until_sweep.min(POLL) } else { until_sweep };
            match self.inbox.recv_timeout(patience) {
                Ok(job) => {
                    let batch = self.gather(job);
                    self.run(batch);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if waited_for && self.polled.elapsed() >= POLL {
                self.look_for_others();
            }
            if Instant::now() >= sweep_at {
                // What cannot be swept now can be swept later.
                let more = self.ops.sweep().unwrap_or(false);
                sweep_at = Instant::now() + if more { SWEEP_ON } else { SWEEP };
            }
        }
    }

    fn gather(&self, first: Job) -> Vec<Job> {
        let mut batch = vec![first];
        while batch.len() < BATCH {
            match self.inbox.try_recv() {
                Ok(job) => batch.push(job),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        batch
    }

    /// Runs the batch in one transaction; when SQLite fails, all of it has failed.
    fn run(&mut self, batch: Vec<Job>) {
        let effort = batch.iter().map(|job| job.effort).max().unwrap_or(Effort::Read);
        let in_place = self.check_file();
        let error = |e: rusqlite::Error| bus_error(self.ops.bus(), &e);
        let mut end = in_place.and_then(|()| self.ops.begin(effort).map_err(error));
        let mut answers = Vec::with_capacity(batch.len());
        for job in batch {
            let Outcome { answer, failed } = (job.run)(end.clone().map(|()| &self.ops));
            answers.push(answer);
            if let Some(failed) = failed {
                end = Err(error(failed));
            }
        }
        let end = end.and_then(|()| self.ops.commit(effort).map_err(error));
        let woke = self.ops.take_wakes();
        if end.is_err() {
            self.ops.roll_back();
        } else if woke {
            self.shared.changed.notify_waiters();
        }
        for answer in answers {
            answer(end.clone());
        }
    }

    /// Now and then: a look at the folder is cheap, but not for nothing.
    fn check_file(&mut self) -> Result<(), BusError> {
        if self.checked.elapsed() >= CHECK {
            self.ops.check_file()?;
            self.checked = Instant::now();
        }
        Ok(())
    }

    fn look_for_others(&mut self) {
        self.polled = Instant::now();
        // A failure shows itself in the next call.
        if let Ok(count) = self.ops.commits_of_others()
            && count != self.seen
        {
            self.seen = count;
            self.shared.changed.notify_waiters();
        }
    }
}
