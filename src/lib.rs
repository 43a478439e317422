//! phase6: declarative exports. Each export type is one YAML file; one engine renders its SQL, runs it, shapes the rows
//! into documents, validates them and publishes them.
//!
//! The rooms, in the order in which the data passes them:
//!
//! ```text
//!  command ─► ExportRequest ─plan─► Plan[Task] ─render─► Statement ─query─► Rows ─shape─► Document
//!                 RunReport ◄─record─ Outcome ◄─publish─ Artifact ◄─validate─ Schema + guards ◄─┘
//! ```
//!
//! Imports go one way: `model` and `diagnostics` know nobody; `config`, `sql`, `shape`, `document` are pure; `ports` says what
//! the outside must do, `adapters` do it, `state` and `engine` use the ports, `service` has
//! the loops that turn messages and clock ticks into requests, `telemetry` says what happens there, `deploy` plans what the cloud has to
//! have, `cli` joins everything.

pub mod adapters;
pub mod cli;
pub mod config;
pub mod deploy;
pub mod diagnostics;
pub mod document;
pub mod engine;
pub mod model;
pub mod ports;
pub mod service;
pub mod shape;
pub mod sql;
pub mod state;
pub mod telemetry;
