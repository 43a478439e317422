//! One pass over a document's events: encode it, hold it to its contract, run its guards.

pub mod check;
pub mod compare;
pub mod contract;
pub mod covers;
pub mod guards;
pub mod json;
pub mod spool;
