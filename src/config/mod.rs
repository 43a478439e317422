//! What analysts and operators wrote, checked: `load(dir) -> (Project, Diagnostics)`, never stopping at the first problem.

pub mod model;
pub mod node;

pub use model::*;
pub use node::{Node, NodeValue};
