//! The way of one request: `plan` (what, for which day), then for each export `export::run`: render, query, shape, check, publish.

pub mod budget;
pub mod checks;
pub mod data_date;
pub mod defaults;
pub mod documents;
pub mod export;
pub mod facts;
pub mod fan_out;
pub mod history;
pub mod inputs;
pub mod invariants;
pub mod look_ahead;
pub mod paths;
pub mod publish;
pub mod ready;
pub mod release;
pub mod request;
pub mod rollback;
pub mod vanished;
pub mod watermark;

pub use request::run;

#[cfg(test)]
#[cfg(feature = "gcp")]
mod bucket;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod speed;
#[cfg(test)]
mod stopping;
