//! A proxy that breaks connections, between a client and any server: late, lost, torn and repeated traffic, by a seed.
//!
//! Its chances are per mille: of each request where it reads HTTP/1 ([`Traffic::Http1`]), of each piece of bytes where it does not
//! ([`Traffic::Bytes`], for HTTP/2 and anything else). One seed gives the n-th connection the same fate each time, as far as the
//! client does the same; what the operating system makes one piece is its own affair.

mod bytes;
mod dice;
mod http;

use dice::Dice;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// What the proxy understands of what goes through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    Bytes,
    Http1,
}

/// How often what goes wrong: chances per mille, their sum at most 1,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    pub seed: u64,
    /// It goes on after a while, at most [`Self::longest_delay`].
    pub delay: u32,
    pub longest_delay: Duration,
    /// Nothing goes on any more; after [`Self::silence`] the connection is closed.
    pub drop: u32,
    pub silence: Duration,
    /// The connection is reset (RST). HTTP/1: before the server has heard of the request.
    pub reset: u32,
    /// A lost reply: the server did what it was asked, but of its reply only some of the first bytes come, then the
    /// connection ends. HTTP/1 only from 0 bytes on; of bytes, any piece on its way back.
    pub cut: u32,
    /// HTTP/1: the server gets the request twice, the second time perhaps when the client has gone on; one reply is given back.
    pub repeat_request: u32,
    /// HTTP/1: the client gets the reply twice, then the connection is closed.
    pub repeat_reply: u32,
}

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Self = Self {
        seed: 0,
        delay: 0,
        longest_delay: Duration::ZERO,
        drop: 0,
        silence: Duration::ZERO,
        reset: 0,
        cut: 0,
        repeat_request: 0,
        repeat_reply: 0,
    };
}

/// What the proxy did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    pub connections: u64,
    /// HTTP/1 requests, or pieces of bytes.
    pub passed: u64,
    pub delayed: u64,
    pub dropped: u64,
    pub reset: u64,
    pub cut: u64,
    pub repeated_requests: u64,
    pub repeated_replies: u64,
    /// The server could not be reached.
    pub unreachable: u64,
}

impl Done {
    /// All that went wrong, delays aside.
    pub fn faults(&self) -> u64 {
        self.dropped + self.reset + self.cut + self.repeated_requests + self.repeated_replies
    }
}

impl std::iter::Sum for Done {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |a, b| Self {
            connections: a.connections + b.connections,
            passed: a.passed + b.passed,
            delayed: a.delayed + b.delayed,
            dropped: a.dropped + b.dropped,
            reset: a.reset + b.reset,
            cut: a.cut + b.cut,
            repeated_requests: a.repeated_requests + b.repeated_requests,
            repeated_replies: a.repeated_replies + b.repeated_replies,
            unreachable: a.unreachable + b.unreachable,
        })
    }
}

/// A running proxy, on threads of its own. Dropping it ends it and all its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    faults: Faults,
    /// Whether nothing goes wrong any more.
    healed: watch::Sender<bool>,
    done: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    connections: AtomicU64,
    passed: AtomicU64,
    delayed: AtomicU64,
    dropped: AtomicU64,
    reset: AtomicU64,
    cut: AtomicU64,
    repeated_requests: AtomicU64,
    repeated_replies: AtomicU64,
    unreachable: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Proxy {
    /// Starts it before the server at `upstream`, on a free port of the loopback address.
    pub fn start(upstream: SocketAddr, traffic: Traffic, faults: Faults) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (healed, _) = watch::channel(false);
        let shared = Arc::new(Shared { upstream, faults, healed, done: Counters::default() });
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener)?
        };
        runtime.spawn(accept(listener, traffic, Arc::clone(&shared)));
        Ok(Self { address, shared, runtime: Some(runtime) })
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on nothing goes wrong; connections in silence are closed at once.
    pub fn heal(&self) {
        self.shared.healed.send_replace(true);
    }

    /// From now on things go wrong again.
    pub fn sicken(&self) {
        self.shared.healed.send_replace(false);
    }

    /// What it did so far.
    pub fn done(&self) -> Done {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let done = &self.shared.done;
        Done {
            connections: of(&done.connections),
            passed: of(&done.passed),
            delayed: of(&done.delayed),
            dropped: of(&done.dropped),
            reset: of(&done.reset),
            cut: of(&done.cut),
            repeated_requests: of(&done.repeated_requests),
            repeated_replies: of(&done.repeated_replies),
            unreachable: of(&done.unreachable),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Not waited for: this may be inside another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: TcpListener, traffic: Traffic, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // Out of descriptors, say: the next may do.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = client.set_nodelay(true);
        let number = shared.done.connections.fetch_add(1, Ordering::Relaxed);
        let dice = Dice::new(shared.faults.seed.wrapping_mul(1_000_003).wrapping_add(number));
        let shared = Arc::clone(&shared);
        match traffic {
            Traffic::Bytes => tokio::spawn(bytes::serve(client, dice, shared)),
            Traffic::Http1 => tokio::spawn(http::serve(client, dice, shared)),
        };
    }
}

impl Shared {
    fn is_healed(&self) -> bool {
        *self.healed.borrow()
    }

    async fn upstream(&self) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect(self.upstream).await.inspect_err(|_| count(&self.done.unreachable))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Says nothing for as long as the faults say, or until the proxy is healed.
    async fn silence(&self) {
        let mut healed = self.healed.subscribe();
        let _ = tokio::time::timeout(self.faults.silence, healed.wait_for(|healed| *healed)).await;
    }

    async fn pause(&self, dice: &mut Dice) {
        tokio::time::sleep(dice.up_to(self.faults.longest_delay)).await;
    }
}

/// Closes so that the other side sees a reset (RST) and no end.
fn reset(stream: TcpStream) {
    let _ = stream.set_zero_linger();
}

#[cfg(test)]
mod tests;
