//! A Cloud Storage of our own that goes by the public reference of the JSON API, where the emulators do not: all four
//! preconditions on every method, metageneration, versions, checksums, paging, partial answers, resumable sessions, decompressive
//! transcoding, the rate for one name. What the reference does not know (a parameter, a field of a body, a third part of a
//! multipart upload) is refused with 400. It records every call, and fails on demand.
//!
//! <https://cloud.google.com/storage/docs/json_api/v1>

mod faults;
mod fields;
mod objects;
mod uploads;
mod wire;
mod world;

pub use faults::{Chaos, Fault};
pub use wire::Call;

use faults::Faults;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use wire::{Incoming, Reply};
use world::World;

/// A running server. It ends when this is dropped.
pub struct Server {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

struct Shared {
    url: String,
    world: Mutex<World>,
    faults: Mutex<Faults>,
    calls: Mutex<Vec<Call>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// Starts on a free port.
    pub async fn start() -> Self {
        Self::start_on(0).await.expect("a free port on the loopback interface")
    }

    /// Starts on the given port; 0 is a free one.
    pub async fn start_on(port: u16) -> std::io::Result<Self> {
        let listener = tokio::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared {
            url: url.clone(),
            world: Mutex::default(),
            faults: Mutex::default(),
            calls: Mutex::default(),
        });
        let serving = shared.clone();
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let _ = stream.set_nodelay(true);
                connections.spawn(serve(stream, serving.clone()));
            }
        });
        Ok(Self { url, shared, accepting })
    }

    /// Makes a bucket.
    pub fn bucket(&self, name: &str, versioning: bool) {
        locked(&self.shared.world).make_bucket(name, versioning);
    }

    /// From now on a name may be written once in this time; sooner is 429.
    pub fn write_rate(&self, interval: Option<Duration>) {
        locked(&self.shared.world).write_interval = interval;
    }

    /// From now on no precondition is looked at, as if nobody had sent one: what the checks of a test must then find is broken.
    pub fn forget_conditions(&self) {
        locked(&self.shared.world).unconditional = true;
    }

    /// The next `times` calls whose method is `method` and whose path (with its query) contains `part` fail so.
    pub fn fail(&self, times: u32, method: &str, part: &str, fault: Fault) {
        locked(&self.shared.faults).add(times, method, part, fault);
    }

    /// From now on calls fail by chance.
    pub fn chaos(&self, chaos: Chaos) {
        locked(&self.shared.faults).chaos(chaos);
    }

    /// All calls so far, oldest first.
    pub fn calls(&self) -> Vec<Call> {
        locked(&self.shared.calls).clone()
    }

    /// All calls so far, and from now on none.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut *locked(&self.shared.calls))
    }

    /// How many calls there were of each kind (`objects.insert`, `objects.list`), and from now on none.
    pub fn take_counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for call in self.take_calls() {
            *counts.entry(call.kind).or_default() += 1;
        }
        counts
    }

    /// Breaks what lies there, as a disk would: the content changes, its description does not.
    pub fn corrupt(&self, bucket: &str, name: &str) {
        locked(&self.shared.world).corrupt(bucket, name);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(stream: tokio::net::TcpStream, shared: Arc<Shared>) {
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { answer(&shared, request).await }
    });
    // An error here is a connection that was closed on purpose, or by the other side.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// The connection is closed without a word.
#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed on purpose")
    }
}

impl std::error::Error for Closed {}

async fn answer(
    shared: &Shared,
    request: hyper::Request<hyper::body::Incoming>,
) -> Result<hyper::Response<wire::Body>, Closed> {
    let Ok(mut incoming) = Incoming::read(request).await else { return Err(Closed) };
    if locked(&shared.world).unconditional {
        incoming.query.retain(|(name, _)| !world::CONDITIONS.contains(&name.as_str()));
    }
    let fault = locked(&shared.faults).choose(&incoming);
    match fault {
        Some(Fault::CloseBefore) => return Err(Closed),
        Some(Fault::Delay(pause)) => tokio::time::sleep(pause).await,
        _ => {}
    }
    let reply = match fault {
        Some(Fault::Answer(status, reason)) => Reply::error(status, reason, "failed on demand"),
        _ => match &incoming.target {
            Ok(target) => route(&mut locked(&shared.world), &shared.url, &incoming, target),
            Err(refused) => refused.clone(),
        },
    };
    let kind = incoming.target.as_ref().map_or("refused", |target| target.kind(&incoming));
    locked(&shared.calls).push(incoming.into_call(kind, reply.status));
    match fault {
        Some(Fault::LoseReply) => Err(Closed),
        Some(Fault::HalfReply) => Ok(reply.half()),
        Some(Fault::SlowBody(pause)) => Ok(reply.slow(pause)),
        _ => Ok(reply.whole()),
    }
}

fn route(world: &mut World, url: &str, incoming: &Incoming, target: &wire::Target) -> Reply {
    use wire::Target;
    let done = match target {
        Target::Buckets => objects::buckets(world, incoming),
        Target::Bucket(bucket) => objects::bucket(world, incoming, bucket),
        Target::Objects(bucket) => objects::list(world, incoming, bucket),
        Target::Object(bucket, name) => objects::object(world, incoming, bucket, name),
        Target::Copy { from, to, rewrite } => objects::copy(world, incoming, from, to, *rewrite),
        Target::Upload(bucket) => uploads::upload(world, url, incoming, bucket),
    };
    done.unwrap_or_else(|refused| refused)
}
