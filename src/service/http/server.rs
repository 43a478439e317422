//! Takes connections and answers them, within limits: nobody holds a connection by being slow, and a stopping service answers
//! what it has begun.

use super::problem::Problem;
use super::{Door, api, health, pages};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// Between the end of a connection's life and its being cut.
const LAST_CHANCE: Duration = Duration::from_secs(30);

/// Answers until `shutdown` is true (or its sender is gone), then finishes what is begun within the grace period.
pub async fn serve(listener: TcpListener, door: Arc<Door>, mut shutdown: watch::Receiver<bool>) -> io::Result<()> {
    // Served once, a door keeps its address; a second listener would only be judged by the first one's.
    let _ = door.status.address.set(listener.local_addr()?);
    let router = router(door.clone());
    let limits = door.limits;
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut shutdown) => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        let Ok((stream, place)) = accepted else {
            // No file descriptor is left, or the peer was gone already: neither ends the service.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (router, shutdown) = (router.clone(), shutdown.clone());
        connections.spawn(async move {
            connection(stream, router, limits, shutdown).await;
            drop(place);
        });
    }
    door.status.draining.store(true, Ordering::Relaxed);
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.grace, all).await.is_err() {
        connections.abort_all();
    }
    Ok(())
}

/// A connection is taken only when there is a place for it: until then it waits in the system's queue.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // An error says that the sender is gone: nobody could say "stop" any more, so it is said now.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

async fn connection(stream: TcpStream, router: Router, limits: super::Limits, mut shutdown: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head).max_headers(100).max_buf_size(64 * 1024);
    let mut conversation = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    tokio::select! {
        // How a connection ended is between the peer and its network.
        _ = conversation.as_mut() => return,
        () = stopped(&mut shutdown) => {}
        () = tokio::time::sleep(limits.connection) => {}
    }
    conversation.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(LAST_CHANCE, conversation).await;
}

fn router(door: Arc<Door>) -> Router {
    Router::new()
        .route("/v1/events/{topic}", post(api::event))
        .route("/v1/runs", post(api::ask))
        .route("/v1/runs/{id}", get(api::run))
        .route("/live", get(health::live))
        .route("/ready", get(health::ready))
        // The usual names, for probes. Cloud Run keeps some paths that end in `z` for itself, so that from outside they may
        // never arrive (<https://cloud.google.com/run/docs/known-issues>).
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .merge(pages::router())
        .fallback(async || Problem::not_found("there is nothing here"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this address takes another method")
        })
        .layer(middleware::from_fn_with_state(door.clone(), within_limits))
        .with_state(door)
}

async fn within_limits(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(door.limits.request, next.run(request)).await;
    let mut response = answer.unwrap_or_else(|_| {
        Problem::new(StatusCode::REQUEST_TIMEOUT, "the request was not finished in time").into_response()
    });
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static("default-src 'none'"));
    response
}
