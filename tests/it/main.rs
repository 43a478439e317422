//! The one integration test binary: it drives the real program in a scrubbed environment.

mod cases;
mod harness;
mod tidy;
