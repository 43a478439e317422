//! The one integration test binary: it drives the real program in a scrubbed environment.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod browser;
mod cases;
mod exit_codes;
mod harness;
mod killed;
mod outside;
mod shipped;
mod tidy;
