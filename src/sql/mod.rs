//! (in the making)
pub mod template;
