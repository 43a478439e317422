//! Plain values: types, rows, statements. No I/O, no async.

pub mod completion;
pub mod dates;
pub mod facts;
pub mod hex;
pub mod message;
pub mod percent;
pub mod report;
pub mod request;
pub mod rows;
pub mod schedule;
pub mod sink;
pub mod slug;
pub mod statement;
pub mod types;

pub use facts::Facts;
pub use rows::{Batch, Column, Data, StrColumn};
pub use statement::{Param, Purpose, Statement, Value};
pub use types::{Field, Type};
