//! The declared default rows of an optional query: a list of maps, held against the query's columns, into columns.

use crate::config::{Node, NodeValue};
use crate::diagnostics::{Diagnostic, nearest};
use crate::model::dates::days;
use crate::model::rows::StrColumn;
use crate::model::{Batch, Column, Data, Field, Type};
use crate::shape::value::{parse_decimal, rescale};
use std::sync::Arc;

/// NUMERIC's scale.
const SCALE: u8 = 9;

/// The rows, or everything that is wrong with them. A column that a row leaves out is NULL.
pub fn rows(node: &Node, fields: &Arc<[Field]>) -> Result<Batch, Vec<Diagnostic>> {
    let mut findings = Vec::new();
    let NodeValue::Seq(rows) = &node.value else {
        return Err(vec![
            Diagnostic::error("bad-default", "the default of a query is a list of rows", node.span)
                .help("write `[]`, or a list of maps with the query's columns"),
        ]);
    };
    for row in rows {
        check_names(row, fields, &mut findings);
    }
    let columns: Vec<Column> = fields
        .iter()
        .map(|field| {
            let cells: Vec<Option<&Node>> = rows.iter().map(|row| cell(row, &field.name)).collect();
            column(field, &cells, &mut findings)
        })
        .collect();
    match findings.is_empty() {
        true => Ok(Batch { fields: fields.clone(), columns, len: rows.len() }),
        false => Err(findings),
    }
}

fn check_names(row: &Node, fields: &[Field], findings: &mut Vec<Diagnostic>) {
    let NodeValue::Map(entries) = &row.value else {
        findings.push(Diagnostic::error("bad-default", "a row is a map of the query's columns", row.span));
        return;
    };
    for (key, _) in entries {
        if !fields.iter().any(|f| f.name.eq_ignore_ascii_case(&key.value)) {
            let found =
                Diagnostic::error("unknown-column", format!("the query has no column `{}`", key.value), key.span);
            let known = fields.iter().map(|f| f.name.as_str());
            findings.push(match nearest(&key.value, known.clone()) {
                Some(near) => found.help(format!("did you mean `{near}`?")),
                None => found.help(format!("it has {}", known.collect::<Vec<_>>().join(", "))),
            });
        }
    }
}

fn cell<'n>(row: &'n Node, name: &str) -> Option<&'n Node> {
    let NodeValue::Map(entries) = &row.value else { return None };
    let (_, node) = entries.iter().find(|(key, _)| key.value.eq_ignore_ascii_case(name))?;
    (node.value != NodeValue::Null).then_some(node)
}

/// One column's cells; what does not fit its type is a finding.
fn column(field: &Field, cells: &[Option<&Node>], findings: &mut Vec<Diagnostic>) -> Column {
    let nulls: Vec<bool> = cells.iter().map(Option::is_none).collect();
    let mut wrong = |node: &Node, ty: &Type| {
        let message = format!("`{}` is {ty}, and {} is none", field.name, described(node));
        findings.push(Diagnostic::error("bad-default", message, node.span).help(example(ty)));
    };
    let data = data(&field.ty, cells, &mut wrong);
    Column { data, nulls: nulls.contains(&true).then_some(nulls) }
}

fn data(ty: &Type, cells: &[Option<&Node>], wrong: &mut dyn FnMut(&Node, &Type)) -> Data {
    /// The cells by one rule; NULLs and what is wrong get the type's zero.
    fn each<T: Default>(
        ty: &Type,
        cells: &[Option<&Node>],
        wrong: &mut dyn FnMut(&Node, &Type),
        rule: impl Fn(&NodeValue) -> Option<T>,
    ) -> Vec<T> {
        cells
            .iter()
            .map(|cell| {
                let Some(node) = cell else { return T::default() };
                rule(&node.value).unwrap_or_else(|| {
                    wrong(node, ty);
                    T::default()
                })
            })
            .collect()
    }
    match ty {
        Type::Bool => Data::Bool(each(ty, cells, wrong, |v| match v {
            NodeValue::Bool(v) => Some(*v),
            _ => None,
        })),
        Type::Int64 => Data::Int64(each(ty, cells, wrong, |v| match v {
            NodeValue::Int(v) => Some(*v),
            _ => None,
        })),
        Type::Float64 => Data::Float64(each(ty, cells, wrong, |v| match v {
            NodeValue::Int(v) => Some(*v as f64),
            NodeValue::Float(v) => Some(*v),
            _ => None,
        })),
        Type::Numeric => Data::Decimal {
            scale: SCALE,
            values: each(ty, cells, wrong, |v| {
                let (value, scale) = parse_decimal(&plain(v)?)?;
                (scale <= SCALE).then(|| rescale(value, scale, SCALE)).flatten()
            }),
        },
        Type::Date => Data::Date(each(ty, cells, wrong, |v| Some(days(parsed(v)?)))),
        Type::Time => Data::Time(each(ty, cells, wrong, |v| {
            let time: jiff::civil::Time = parsed(v)?;
            i64::try_from(time.duration_since(jiff::civil::Time::midnight()).as_micros()).ok()
        })),
        Type::DateTime => Data::DateTime(each(ty, cells, wrong, |v| {
            let time: jiff::civil::DateTime = parsed(v)?;
            Some(jiff::tz::TimeZone::UTC.to_timestamp(time).ok()?.as_microsecond())
        })),
        Type::Timestamp => {
            Data::Timestamp(each(ty, cells, wrong, |v| Some(parsed::<jiff::Timestamp>(v)?.as_microsecond())))
        }
        Type::Array(item) => list(ty, item, cells, wrong),
        // What is text inside: STRING, BYTES (base64), BIGNUMERIC, JSON; and what a file cannot write otherwise.
        _ => {
            let texts = each(ty, cells, wrong, |v| text(ty, v));
            let mut column = StrColumn::with_capacity(texts.len());
            texts.iter().for_each(|t| column.push(t));
            Data::Str(column)
        }
    }
}

fn list(ty: &Type, item: &Type, cells: &[Option<&Node>], wrong: &mut dyn FnMut(&Node, &Type)) -> Data {
    let mut offsets = vec![0u32];
    let mut items: Vec<Option<&Node>> = Vec::new();
    for cell in cells {
        match cell.map(|node| (node, &node.value)) {
            Some((_, NodeValue::Seq(nodes))) => items.extend(nodes.iter().map(Some)),
            Some((node, _)) => wrong(node, ty),
            None => {}
        }
        offsets.push(items.len() as u32);
    }
    Data::List { offsets, child: Box::new(Column { data: data(item, &items, wrong), nulls: None }) }
}

/// A number or a text as it is written.
fn plain(value: &NodeValue) -> Option<String> {
    match value {
        NodeValue::Int(v) => Some(v.to_string()),
        NodeValue::Float(v) => Some(v.to_string()),
        NodeValue::Str { text, .. } => Some(text.clone()),
        _ => None,
    }
}

fn parsed<T: std::str::FromStr>(value: &NodeValue) -> Option<T> {
    match value {
        NodeValue::Str { text, .. } => text.parse().ok(),
        _ => None,
    }
}

fn text(ty: &Type, value: &NodeValue) -> Option<String> {
    match (ty, value) {
        (Type::Json, value) => serde_json::to_string(&json(value)).ok(),
        (Type::BigNumeric, value) => plain(value).filter(|t| parse_decimal(t).is_some()),
        (Type::String | Type::Bytes | Type::Interval | Type::Geography, NodeValue::Str { text, .. }) => {
            Some(text.clone())
        }
        _ => None,
    }
}

fn json(value: &NodeValue) -> serde_json::Value {
    use serde_json::Value;
    match value {
        NodeValue::Null => Value::Null,
        NodeValue::Bool(v) => Value::from(*v),
        NodeValue::Int(v) => Value::from(*v),
        NodeValue::Float(v) => Value::from(*v),
        NodeValue::Str { text, .. } => Value::from(text.as_str()),
        NodeValue::Seq(items) => items.iter().map(|i| json(&i.value)).collect(),
        NodeValue::Map(entries) => {
            Value::Object(entries.iter().map(|(key, node)| (key.value.clone(), json(&node.value))).collect())
        }
    }
}

fn described(node: &Node) -> String {
    crate::config::spec::described(node)
}

fn example(ty: &Type) -> String {
    let written = match ty {
        Type::Bool => "true",
        Type::Int64 => "12",
        Type::Float64 | Type::Numeric | Type::BigNumeric => "1.5",
        Type::Date => "\"2025-12-12\"",
        Type::Time => "\"18:00:00\"",
        Type::DateTime => "\"2025-12-12T18:00:00\"",
        Type::Timestamp => "\"2025-12-12T18:00:00Z\"",
        Type::Array(_) => "[…]",
        Type::Struct(_) => return "a default cannot hold structs; leave the column out".to_owned(),
        _ => "\"text\"",
    };
    format!("written as {written}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostics::FileId;
    use crate::shape::Val;

    fn of(text: &str, fields: &[(&str, Type)]) -> Result<Batch, Vec<Diagnostic>> {
        let (node, findings) = crate::config::yaml::parse(FileId(0), text);
        assert!(findings.is_empty(), "{findings:?}");
        let fields: Vec<Field> =
            fields.iter().map(|(n, t)| Field { name: (*n).into(), ty: t.clone(), nullable: true }).collect();
        rows(&node.unwrap(), &fields.into())
    }

    #[test]
    fn every_type_is_read_as_the_warehouse_would_give_it() {
        let fields = [
            ("b", Type::Bool),
            ("i", Type::Int64),
            ("f", Type::Float64),
            ("n", Type::Numeric),
            ("s", Type::String),
            ("d", Type::Date),
            ("t", Type::Timestamp),
            ("a", Type::Array(Box::new(Type::Int64))),
            ("j", Type::Json),
            ("gone", Type::String),
        ];
        let batch = of(
            "[{b: true, I: 1, f: 2, n: 1.50, s: x, d: \"2025-12-12\", t: \"2025-12-12T18:00:00Z\", a: [1, 2], j: {k: [1]}}, {}]",
            &fields,
        )
        .unwrap();
        let shown = |row: usize| {
            let cells = batch.columns.iter().zip(batch.fields.iter());
            cells.map(|(c, f)| Val::cell(c, Some(&f.ty), row).text().into_owned()).collect::<Vec<_>>().join("|")
        };
        assert_eq!(shown(0), "true|1|2.0|1.5|x|2025-12-12|2025-12-12T18:00:00Z|…|{\"k\":[1]}|");
        assert_eq!(shown(1), "|||||||||");
        assert!(matches!(&batch.columns[7].data, Data::List { offsets, .. } if *offsets == [0, 2, 2]));
    }

    #[test]
    fn mistakes_are_all_told() {
        let found = of("[{x: 1, n: many}, {n: 1.0}, 5]", &[("n", Type::Int64)]).unwrap_err();
        let messages: Vec<&str> = found.iter().map(|f| f.message.as_str()).collect();
        assert_eq!(messages.len(), 4, "{messages:?}");
        assert!(of("{n: 1}", &[("n", Type::Int64)]).is_err());
        assert_eq!(of("[]", &[("n", Type::Int64)]).unwrap().len, 0);
    }
}
