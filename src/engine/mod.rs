//! (in the making)

pub mod publish;
pub mod watermark;
