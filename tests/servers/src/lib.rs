//! Servers for phase6's tests. Each follows the public reference of its service where the emulators do not, and refuses what
//! the reference does not know. They know nothing of phase6 and share no code with it.

pub mod bigquery;
pub mod cloud;
pub mod emulators;
pub mod http;
pub mod monitoring;
pub mod proxy;
pub mod storage;
