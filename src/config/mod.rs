//! What analysts and operators wrote, checked: `load(dir) -> Loaded`, never stopping at the first problem.

pub mod decode;
pub mod example;
pub mod forms;
pub mod generated;
pub mod grammar;
pub mod hash;
pub mod lint;
pub mod load;
pub mod model;
pub mod monitoring;
pub mod node;
pub mod path;
pub mod spec;
pub mod tables;
pub mod triggers;
pub mod yaml;

pub use load::{Loaded, load};

pub use model::*;
pub use monitoring::{Alert, AlertKind, DueTime, Freshness, Receiver};
pub use node::{Node, NodeValue};
