//! The service end to end: the real `phase6 serve`, messages by the real `phase6 publish`, and what comes out of it.

mod desk;
mod door;
mod failures;
mod gates;
mod health;
mod life;
#[cfg(feature = "gcp")]
mod pubsub;
mod refusals;
mod scenarios;
mod secrets;
#[cfg(feature = "gcp")]
mod seed_commands;
