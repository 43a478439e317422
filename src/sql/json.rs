//! JSON texts as GoogleSQL writes them.

use serde_json::Value;

/// The compact text of a value.
pub fn text(value: &Value) -> String {
    value.to_string()
}
