//! What a project needs on Google Cloud, as a pure plan, and the files that make it: a bash script that drives `gcloud`, and
//! Terraform's HCL. Nothing here talks to anybody: no credentials, no network. Deliberately not here: comparing with what
//! exists, and applying.

pub mod access;
pub mod gcloud;
pub mod plan;
pub mod terraform;
pub mod words;

pub use plan::{Options, Plan, plan};
