//! What a project needs on Google Cloud, compared with what is there, and made.
//!
//! ```text
//! project + target ─plan─► Plan ─┬─► gcloud, terraform: files, without credentials
//!                                └─resources─► [Resource] ─compare with read─► [Step] ─apply─► Applied
//! ```
//!
//! `plan`, `access`, `monitoring` say what is to be there, `resources` in the services' own words; `compare` and `rights` decide and are pure;
//! `read` and `apply` call through the port `ports::cloud`. `permissions` is the table of calls and the rights that they need.

pub mod access;
pub mod apply;
pub mod compare;
pub mod gcloud;
pub mod monitoring;
pub mod permissions;
pub mod plan;
pub mod read;
pub mod resources;
pub mod rights;
pub mod show;
pub mod terraform;
pub mod words;

pub use plan::{Options, Plan, plan};
pub use read::Part;
