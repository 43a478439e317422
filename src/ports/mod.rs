//! What phase6 asks of the outside. Each sentence of a contract here is a test in the conformance suite.

pub mod bus;
pub mod cancel;
pub mod chance;
pub mod clock;
pub mod cloud;
pub mod notifier;
pub mod store;
pub mod warehouse;
