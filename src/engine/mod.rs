//! (in the making)

pub mod fan_out;
pub mod publish;
pub mod release;
pub mod watermark;
