//! The date of an export's data, where `freshness.data_date` says how to see it: a document may be minutes old and its data
//! a week (incident I-12).

use super::export::{Failure, Prepared};
use crate::config::{Export, Node};
use crate::shape::{Ctx, Val};
use jiff::civil::Date;

fn expression(export: &Export) -> Option<&Node> {
    export.freshness.as_ref()?.data_date.as_ref()
}

/// The data's date; `target_date` where nothing is declared, `None` where the rows have none.
pub fn data_date(export: &Export, prepared: &Prepared, target_date: Date) -> Result<Option<Date>, Failure> {
    let Some(node) = expression(export) else { return Ok(Some(target_date)) };
    let wrong = |reason: String| Failure::permanent(format!("`freshness.data_date`: {reason}"));
    let (expr, found) = crate::shape::compile_expression(node, &prepared.scope);
    if let Some(first) = found.first() {
        return Err(wrong(first.message.clone()));
    }
    let value = crate::shape::run::evaluate(&expr, &Ctx::new(&prepared.inputs, &[])).map_err(wrong)?;
    match value {
        Val::Null => Ok(None),
        value => {
            let text = value.text().into_owned();
            // Of a timestamp, its day.
            let day = text.get(..10).unwrap_or(&text);
            day.parse().map(Some).map_err(|_| wrong(format!("`{text}` is no date")))
        }
    }
}

/// Whether the expression reads a query, whose rows then have to be kept until the end.
pub fn reads(export: &Export, query: &str) -> bool {
    let Some(text) = expression(export).and_then(Node::as_str) else { return false };
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == query)
}
