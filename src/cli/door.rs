//! Opens the service's HTTP door where one is asked for.

use super::context;
use super::exit::Exit;
use crate::config::Project;
use crate::engine::export::Engine;
use crate::service::http::oidc::{Verifier, keys::UrlKeys};
use crate::service::http::{Door, DoorStatus, Limits, Token};
use crate::service::page_facts::{Facts, Latest};
use crate::service::settings::subscriptions;
use crate::service::{Service, Setup};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// The token of operators and of those who may push without OIDC; never printed.
const TOKEN: &str = "PHASE6_TOKEN";

/// Where to listen: `--listen`, else `service.listen`; nowhere when neither is written.
pub fn address(project: &Project, asked: Option<SocketAddr>) -> Option<SocketAddr> {
    asked.or(project.service.listen)
}

/// Whether this process's environment has the token.
pub fn has_token() -> bool {
    std::env::var(TOKEN).is_ok_and(|text| Token::new(&text).is_some())
}

/// Binds the address.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Exit> {
    let failed = |e| context::fail(Exit::Unavailable, format!("cannot listen on {address}: {e}"));
    TcpListener::bind(address).await.map_err(failed)
}

/// The door of a service. Who may push is taken from the configuration at the start; a reload does not change it.
pub fn door(service: &Service, setup: &Setup, engine: &Engine, report: Latest) -> Door {
    let declared = &setup.project.service;
    let (live, telemetry, beats) = (service.live.clone(), service.telemetry.clone(), service.beats.clone());
    let verifier = declared.push.clone().map(|push| {
        let keys = UrlKeys { url: push.value.keys_url.clone() };
        Verifier::new(push.value, Arc::new(keys), service.clock.clone())
    });
    Door {
        bus: service.bus.clone(),
        state: service.state.clone(),
        store: engine.store.clone(),
        project: Arc::new(move || live.now().project.clone()),
        target: setup.target.clone(),
        clock: service.clock.clone(),
        token: std::env::var(TOKEN).ok().and_then(|text| Token::new(&text)),
        verifier,
        subscriptions: subscriptions(&setup.project, &setup.settings).into_iter().map(|s| s.name).collect(),
        heartbeats: Arc::new(move || beats.all()),
        metrics: Arc::new(move || telemetry.metrics_text()),
        facts: Arc::new(Facts { live: service.live.clone(), clock: service.clock.clone(), report }),
        telemetry: service.telemetry.clone(),
        limits: Limits { grace: declared.grace, ..Limits::default() },
        status: DoorStatus::default(),
    }
}
