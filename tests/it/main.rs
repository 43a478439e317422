//! The one integration test binary: it drives the real program in a scrubbed environment.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(feature = "gcp")]
mod bigquery;
mod browser;
mod bus;
mod cases;
mod corpus;
mod crashes;
mod deploy;
#[cfg(feature = "gcp")]
mod deploy_live;
mod examples;
mod exit_codes;
#[cfg(feature = "gcp")]
mod faults;
#[cfg(feature = "gcp")]
mod fleet;
mod harness;
mod incidents;
mod killed;
mod outside;
mod own_tests;
mod service;
mod shipped;
mod simulation;
mod stream;
mod tidy;
