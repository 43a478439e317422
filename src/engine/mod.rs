//! (in the making)

pub mod facts;
pub mod fan_out;
pub mod inputs;
pub mod invariants;
pub mod publish;
pub mod release;
pub mod watermark;

#[cfg(test)]
mod crash;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod speed;
