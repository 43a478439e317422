//! One subscription of this process: what its one request fetches, and which leases are in hand.
//!
//! ```text
//!  pulls that wait ─► how many messages ─► one request at a time ─► ready ─► in hand ─► acknowledged or handed back
//! ```
//!
//! A request asks for as many messages as the pulls that wait for them, and there is one request at a time: what is in flight
//! is never more than what the service has free. The request outlives the pull that began it, so that giving up waiting, or
//! dropping the future, loses nothing: what it brings is the next pull's, and is handed back when nobody pulls any more.

use super::rest::{Received, Rest};
use crate::ports::bus::{BusError, Delivery, LeaseId, Message};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// When nobody has pulled for so long, the request is given up and what it brought is handed back.
const IDLE: Duration = Duration::from_secs(2);

/// How long a pull that does not wait gives a question and its answer.
const ANSWER: Duration = Duration::from_secs(2);

/// The pauses of requests that come back empty at once: an emulator is asked so, since it does not notice that a waiting
/// request was given up and gives it messages all the same.
const POLL: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));

/// A lease that was neither answered nor extended for so long is forgotten here; the server has long ended it.
const FORGET: Duration = Duration::from_secs(3600);

/// A subscription's desk.
pub struct Desk {
    rest: Rest,
    /// Whether the server is asked to answer at once.
    at_once: bool,
    kept: Mutex<Kept>,
    /// Something came, failed, or was asked for.
    changed: Notify,
}

struct Kept {
    topic: String,
    /// Set where the subscription's own term is another or not known: each message's lease is set to this when it has come.
    own_term: Option<Duration>,
    ready: VecDeque<Delivery>,
    /// What the waiting pulls ask for.
    wanted: usize,
    last_wanted: Instant,
    fetching: Option<AbortHandle>,
    failure: Option<BusError>,
    /// By message id: the number of its newest delivery, while that is not answered, and when it was last heard of.
    in_hand: BTreeMap<String, (u64, Instant)>,
    count: u64,
}

/// A lease's token: the delivery's number here, the message's id, and Pub/Sub's own name of the lease.
struct Token<'a> {
    number: u64,
    message: &'a str,
    ack_id: &'a str,
}

impl<'a> Token<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (number, rest) = text.split_once('/')?;
        let (message, ack_id) = rest.split_once('/')?;
        Some(Self { number: number.parse().ok()?, message, ack_id })
    }
}

impl Desk {
    pub fn new(rest: Rest, at_once: bool, topic: String, own_term: Option<Duration>) -> Self {
        let kept = Kept {
            topic,
            own_term,
            ready: VecDeque::new(),
            wanted: 0,
            last_wanted: Instant::now(),
            fetching: None,
            failure: None,
            in_hand: BTreeMap::new(),
            count: 0,
        };
        Self { rest, at_once, kept: Mutex::new(kept), changed: Notify::new() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is there, at most `max`; waits up to `wait` for the first.
    pub async fn pull(self: &Arc<Self>, max: usize, wait: Duration) -> Result<Vec<Delivery>, BusError> {
        let deadline = Instant::now() + if wait.is_zero() { ANSWER } else { wait };
        let _asking = Asking::new(self, max);
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let mut kept = self.kept();
                if let Some(failure) = kept.failure.take() {
                    return Err(failure);
                }
                let count = kept.ready.len().min(max);
                if count > 0 {
                    return Ok(kept.ready.drain(..count).collect());
                }
                if kept.fetching.is_none() {
                    kept.fetching = Some(tokio::spawn(fetch(self.clone())).abort_handle());
                }
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(deadline) => return Ok(Vec::new()),
            }
        }
    }

    /// How many messages wait to be taken.
    #[cfg(test)]
    pub fn ready(&self) -> usize {
        self.kept().ready.len()
    }

    /// How many messages may come; none when nobody has pulled for a while.
    fn may_come(&self) -> Option<usize> {
        let kept = self.kept();
        let idle = kept.wanted == 0 && kept.last_wanted.elapsed() >= IDLE;
        (!idle).then(|| kept.wanted.saturating_sub(kept.ready.len()))
    }

    /// Ready to be taken.
    async fn arrived(&self, received: Vec<Received>) -> Result<(), BusError> {
        let own_term = self.kept().own_term;
        if let (Some(term), false) = (own_term, received.is_empty()) {
            let ids: Vec<&str> = received.iter().map(|r| r.ack_id.as_str()).collect();
            self.rest.set_deadline(&ids, seconds(term)).await?;
        }
        let now = Instant::now();
        let mut kept = self.kept();
        kept.in_hand.retain(|_, (_, heard)| now.duration_since(*heard) < FORGET);
        for received in received {
            kept.count += 1;
            let number = kept.count;
            let id = received.message.message_id;
            kept.in_hand.insert(id.clone(), (number, now));
            let token = format!("{number}/{id}/{}", received.ack_id);
            let message = Message {
                id,
                topic: kept.topic.clone(),
                published_at: received.message.publish_time,
                attributes: received.message.attributes,
                body: received.message.data,
            };
            let lease = LeaseId { subscription: self.rest.name.clone(), token };
            kept.ready.push_back(Delivery { message, lease, attempt: received.delivery_attempt.unwrap_or(1).max(1) });
        }
        drop(kept);
        self.changed.notify_waiters();
        Ok(())
    }

    /// Whether the lease is its message's newest and was not answered; its answer is only known afterwards.
    fn holds(&self, token: &Token<'_>, answered: bool) -> bool {
        let mut kept = self.kept();
        let held = kept.in_hand.get_mut(token.message).filter(|(number, _)| *number == token.number);
        let Some((_, heard)) = held else { return false };
        *heard = Instant::now();
        if answered {
            kept.in_hand.remove(token.message);
        }
        true
    }

    pub async fn ack(&self, token: &str) -> Result<(), BusError> {
        match Token::parse(token) {
            Some(token) if self.holds(&token, true) => self.rest.acknowledge(&[token.ack_id]).await,
            _ => Ok(()),
        }
    }

    pub async fn hand_back(&self, token: &str, delay: Duration) -> Result<(), BusError> {
        match Token::parse(token) {
            Some(token) if self.holds(&token, true) => self.rest.set_deadline(&[token.ack_id], seconds(delay)).await,
            _ => Ok(()),
        }
    }

    pub async fn extend(&self, token: &str, term: Duration) -> Result<bool, BusError> {
        match Token::parse(token) {
            Some(token) if self.holds(&token, false) => {
                self.rest.set_deadline(&[token.ack_id], seconds(term)).await?;
                // It may have been delivered anew meanwhile.
                Ok(self.holds(&token, false))
            }
            _ => Ok(false),
        }
    }

    /// Gives up the request, and hands back what nobody has taken.
    pub async fn close(&self) {
        let fetching = self.kept().fetching.take();
        if let Some(fetching) = fetching {
            fetching.abort();
        }
        self.hand_back_ready().await;
    }

    async fn hand_back_ready(&self) {
        let ready = std::mem::take(&mut self.kept().ready);
        for delivery in ready {
            // What the server does not hear comes again when its lease ends.
            let _ = self.hand_back(&delivery.lease.token, Duration::ZERO).await;
        }
    }
}

/// A waiting pull.
struct Asking<'a> {
    desk: &'a Desk,
    max: usize,
}

impl<'a> Asking<'a> {
    fn new(desk: &'a Desk, max: usize) -> Self {
        desk.kept().wanted += max;
        desk.changed.notify_waiters();
        Self { desk, max }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut kept = self.desk.kept();
        kept.wanted -= self.max;
        kept.last_wanted = Instant::now();
    }
}

/// Requests, one after the other, as long as somebody pulls.
async fn fetch(desk: Arc<Desk>) {
    let mut pause = POLL.0;
    let result = loop {
        let Some(count) = desk.may_come() else { break Ok(()) };
        if count == 0 {
            // Between two pulls; or all that was asked for waits to be taken.
            let asked = desk.changed.notified();
            let _ = tokio::time::timeout(IDLE / 8, asked).await;
            continue;
        }
        let Some(answer) = while_wanted(&desk, desk.rest.pull(count, desk.at_once)).await else { break Ok(()) };
        let received = match answer {
            Ok(received) => received,
            Err(error) => break Err(error),
        };
        pause = if received.is_empty() { (pause * 2).min(POLL.1) } else { POLL.0 };
        let empty = received.is_empty();
        if let Err(error) = desk.arrived(received).await {
            break Err(error);
        }
        if empty {
            tokio::time::sleep(pause).await;
        }
    };
    desk.hand_back_ready().await;
    let mut kept = desk.kept();
    kept.fetching = None;
    kept.failure = result.err();
    drop(kept);
    desk.changed.notify_waiters();
}

/// The request's answer; none when nobody pulls any more.
async fn while_wanted<T>(desk: &Desk, request: impl Future<Output = T>) -> Option<T> {
    let mut request = std::pin::pin!(request);
    loop {
        tokio::select! {
            answer = &mut request => return Some(answer),
            () = tokio::time::sleep(IDLE / 2) => {
                desk.may_come()?;
            }
        }
    }
}

/// Whole seconds, as Pub/Sub counts: a part of one counts as a whole.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
