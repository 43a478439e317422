//! The tests that an export's file brings along: rows in, document out. Read into types here; `phase6 test` runs them.

use super::decode::{entries, items, value};
use super::model::{Export, Project, Table};
use super::node::{Node, NodeValue};
use crate::diagnostics::{Diagnostic, Span, Spanned, nearest};
use crate::model::{Type, Value};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;

/// One entry of `tests:`.
#[derive(Debug)]
pub struct Example {
    pub name: Spanned<String>,
    pub target_date: jiff::civil::Date,
    pub now: jiff::Timestamp,
    /// Parameters other than the target date.
    pub params: BTreeMap<String, Value>,
    pub vars: BTreeMap<String, Value>,
    /// By `dataset.table` in lower case; tables that are not named are empty.
    pub tables: BTreeMap<String, Vec<Map<String, Json>>>,
    pub expects: Vec<Expect>,
}

/// What is expected of one document, or of the whole export.
#[derive(Debug)]
pub struct Expect {
    /// Which of several documents.
    pub path: Option<Spanned<String>>,
    pub what: Expected,
    pub span: Span,
}

#[derive(Debug)]
pub enum Expected {
    /// The given keys, at any depth; lists whole.
    Contains(Node),
    /// The whole document.
    Document(Node),
    /// Nothing is published, and the reason has this text.
    Rejected(String),
    /// Nothing is published since there is nothing to say.
    Kept,
}

/// Reads all tests of an export; what is wrong with them are findings.
pub fn examples(project: &Project, export: &Export) -> (Vec<Example>, Vec<Diagnostic>) {
    let mut findings = Vec::new();
    let mut all: Vec<Example> = Vec::new();
    for node in &export.tests {
        let before = findings.len();
        let Some(example) = (Reader { project, export, findings: &mut findings }).example(node) else { continue };
        if let Some(first) = all.iter().find(|e| e.name.value == example.name.value) {
            let message = format!("there are two tests `{}`", example.name.value);
            findings.push(
                Diagnostic::error("duplicate-name", message, example.name.span).also(first.name.span, "first here"),
            );
        }
        if findings.len() == before {
            all.push(example);
        }
    }
    (all, findings)
}

struct Reader<'a> {
    project: &'a Project,
    export: &'a Export,
    findings: &'a mut Vec<Diagnostic>,
}

impl Reader<'_> {
    fn error(&mut self, code: &'static str, message: String, span: Span, help: impl Into<String>) {
        self.findings.push(Diagnostic::error(code, message, span).help(help));
    }

    fn unknown<'n>(&mut self, message: String, span: Span, name: &str, known: impl Iterator<Item = &'n str> + Clone) {
        let help = match nearest(name, known.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", known.collect::<Vec<_>>().join(", ")),
        };
        self.error("unknown-name", message, span, help);
    }

    fn example(&mut self, node: &Node) -> Option<Example> {
        let name = node.get("name")?;
        let name = Spanned { value: name.as_str()?.to_owned(), span: name.span };
        let given = node.get("given")?;
        let mut params = self.params(given);
        let date = params.remove("target_date");
        let (target_date, now) = self.times(given, date)?;
        let vars = self.vars(given);
        let mut tables = BTreeMap::new();
        for (table, rows) in given.get("tables").map(entries).unwrap_or_default() {
            tables.extend(self.table(table, rows));
        }
        let expects = self.expects(node.get("expect")?);
        Some(Example { name, target_date, now, params, vars, tables, expects })
    }

    fn params(&mut self, given: &Node) -> BTreeMap<String, Value> {
        let export = self.export;
        let mut params = BTreeMap::new();
        for (name, node) in given.get("params").map(entries).unwrap_or_default() {
            let declared = export.params.iter().map(|p| p.name.value.as_str());
            if name.value != "target_date" && !declared.clone().any(|d| d == name.value) {
                let message = format!("the export has no parameter `{}`", name.value);
                self.unknown(message, name.span, &name.value, declared);
                continue;
            }
            params.insert(name.value.clone(), value(node));
        }
        params
    }

    /// The target date and the cause's time; either may stand for the other.
    fn times(&mut self, given: &Node, date: Option<Value>) -> Option<(jiff::civil::Date, jiff::Timestamp)> {
        let date = match date {
            None => None,
            Some(Value::Text(text)) if text.parse::<jiff::civil::Date>().is_ok() => text.parse().ok(),
            Some(_) => {
                let span = given.get("params").and_then(|p| p.get("target_date")).map_or(given.span, |n| n.span);
                self.error("bad-value", "the target date is no date".into(), span, "write it as 2025-12-12");
                return None;
            }
        };
        let now = match given.get("now") {
            None => None,
            Some(node) => match node.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok()) {
                Some(now) => Some(now),
                None => {
                    self.error(
                        "bad-value",
                        "`now` is no instant".into(),
                        node.span,
                        "write it as 2025-12-12T18:00:00Z",
                    );
                    return None;
                }
            },
        };
        // In the afternoon of the target date, unless it is said.
        let evening =
            |d: jiff::civil::Date| jiff::tz::TimeZone::UTC.to_timestamp(d.at(18, 0, 0, 0)).unwrap_or_default();
        match (date, now) {
            (Some(date), now) => Some((date, now.unwrap_or_else(|| evening(date)))),
            (None, Some(now)) => Some((jiff::tz::TimeZone::UTC.to_datetime(now).date(), now)),
            (None, None) => {
                self.error(
                    "missing-key",
                    "this test has no day".into(),
                    head(given.span),
                    "write `params: {target_date: 2025-12-12}` or `now`: a test must not depend on the day it runs",
                );
                None
            }
        }
    }

    fn vars(&mut self, given: &Node) -> BTreeMap<String, Value> {
        let project = self.project;
        let mut vars = BTreeMap::new();
        for (name, node) in given.get("vars").map(entries).unwrap_or_default() {
            let value = value(node);
            match project.vars.get(&name.value) {
                None => {
                    let message = format!("`vars:` has no `{}`", name.value);
                    self.unknown(message, name.span, &name.value, project.vars.keys().map(String::as_str));
                }
                Some(old) if std::mem::discriminant(old) != std::mem::discriminant(&value) => {
                    let message = format!("`{}` is not of the type that `vars:` gives it", name.value);
                    self.error("wrong-type", message, node.span, "a test changes the value, not the type");
                }
                Some(_) => {
                    vars.insert(name.value.clone(), value);
                }
            }
        }
        vars
    }

    fn table(&mut self, name: &Spanned<String>, rows: &Node) -> Option<(String, Vec<Map<String, Json>>)> {
        let project = self.project;
        let key = name.value.to_lowercase();
        let Some(table) = project.tables.get(&key) else {
            let message = format!("the table `{}` is not declared", name.value);
            let known = project.tables.values().map(|t| t.name.as_str());
            match nearest(&name.value, known) {
                Some(near) => self.error("unknown-table", message, name.span, format!("did you mean `{near}`?")),
                None => self.error(
                    "unknown-table",
                    message,
                    name.span,
                    "declare it in schemas/tables: a test's rows have its types",
                ),
            }
            return None;
        };
        let rows: Vec<_> = items(Some(rows)).iter().map(|row| self.row(table, row)).collect();
        let queries = &self.export.queries;
        let known = queries.iter().all(|q| q.columns.is_some());
        if known && !rows.is_empty() && !queries.iter().any(|q| q.tables.iter().any(|t| t.eq_ignore_ascii_case(&key))) {
            let message = format!("no query of this export reads `{}`", table.name);
            let found = Diagnostic::warning("unused-table", message, name.span);
            self.findings.push(found.help("the rows change nothing: leave them out"));
        }
        Some((key, rows))
    }

    fn row(&mut self, table: &Table, row: &Node) -> Map<String, Json> {
        // BigQuery stores no NULL arrays: a REPEATED column without values is empty.
        let arrays = table.fields.iter().filter(|f| matches!(f.ty, Type::Array(_)));
        let mut cells: Map<String, Json> = arrays.map(|f| (f.name.clone(), Json::Array(Vec::new()))).collect();
        for (column, node) in entries(row) {
            let Some(field) = table.fields.iter().find(|f| f.name.eq_ignore_ascii_case(&column.value)) else {
                let message = format!("the table `{}` has no column `{}`", table.name, column.value);
                let known = table.fields.iter().map(|f| f.name.as_str());
                let found = Diagnostic::error("unknown-column", message, column.span);
                self.findings.push(match nearest(&column.value, known) {
                    Some(near) => found.help(format!("did you mean `{near}`?")),
                    None => found,
                });
                continue;
            };
            if node.value == NodeValue::Null && !field.nullable {
                let message = format!("the column `{}` of `{}` is NOT NULL", field.name, table.name);
                self.error("wrong-type", message, node.span, "leave the column out if its value does not matter");
                continue;
            }
            match cell(&field.ty, node) {
                Ok(value) => {
                    cells.insert(field.name.clone(), value);
                }
                Err((span, why)) => {
                    let message = format!("the column `{}` of `{}` is {}: {why}", field.name, table.name, field.ty);
                    let text = matches!(field.ty, Type::String) && matches!(node.value, NodeValue::Int(_));
                    let found = Diagnostic::error("wrong-type", message, span);
                    self.findings.push(if text { found.help("put the value into quotes") } else { found });
                }
            }
        }
        cells
    }

    fn expects(&mut self, node: &Node) -> Vec<Expect> {
        match &node.value {
            NodeValue::Seq(nodes) => nodes.iter().filter_map(|n| self.expect(n)).collect(),
            _ => self.expect(node).into_iter().collect(),
        }
    }

    fn expect(&mut self, node: &Node) -> Option<Expect> {
        let path = node.get("path").and_then(|p| Some(Spanned { value: p.as_str()?.to_owned(), span: p.span }));
        let mut whats = Vec::new();
        whats.extend(node.get("contains").map(|n| Expected::Contains(n.clone())));
        whats.extend(node.get("document").map(|n| Expected::Document(n.clone())));
        whats.extend(node.get("rejected").and_then(|n| Some(Expected::Rejected(n.as_str()?.to_owned()))));
        whats.extend(node.get("kept").is_some_and(|n| n.value == NodeValue::Bool(true)).then_some(Expected::Kept));
        if whats.len() != 1 {
            self.error(
                "bad-value",
                "an expectation is one of `contains`, `document`, `rejected` and `kept: true`".into(),
                head(node.span),
                "several documents are a list: `expect: [{path: …, contains: …}, …]`",
            );
            return None;
        }
        Some(Expect { path, what: whats.pop()?, span: node.span })
    }
}

fn head(span: Span) -> Span {
    Span { end: span.end.min(span.start + 40).max(span.start), ..span }
}

type Wrong = (Span, String);

/// A cell as a line of JSON holds it; the warehouse reads it in its declared type.
fn cell(ty: &Type, node: &Node) -> Result<Json, Wrong> {
    let wrong = |why: &str| Err((node.span, why.to_owned()));
    let described = || Err((node.span, format!("{} is none", super::spec::described(node))));
    let parsed = |text: &str, good: bool| if good { Ok(Json::from(text)) } else { described() };
    match (ty, &node.value) {
        (Type::Json, NodeValue::Str { text, .. }) => match serde_json::from_str(text) {
            Ok(json) => Ok(json),
            Err(_) => wrong("the text is no JSON; a text within JSON has quotes of its own: '\"text\"'"),
        },
        (Type::Json, _) => Ok(json(node)),
        (_, NodeValue::Null) => Ok(Json::Null),
        (Type::Bool, NodeValue::Bool(v)) => Ok(Json::from(*v)),
        (Type::Int64, NodeValue::Int(v)) => Ok(Json::from(*v)),
        (Type::Float64 | Type::Numeric | Type::BigNumeric, NodeValue::Int(v)) => Ok(Json::from(*v)),
        (Type::Float64, NodeValue::Float(v)) => Ok(Json::from(v.to_string())),
        (Type::Numeric | Type::BigNumeric, NodeValue::Float(v)) if v.is_finite() => Ok(Json::from(v.to_string())),
        (Type::Numeric | Type::BigNumeric, NodeValue::Str { text, .. }) => {
            parsed(text, crate::shape::value::parse_decimal(text).is_some())
        }
        (Type::String, NodeValue::Str { text, .. }) => Ok(Json::from(text.as_str())),
        (Type::Date, NodeValue::Str { text, .. }) => parsed(text, text.parse::<jiff::civil::Date>().is_ok()),
        (Type::Time, NodeValue::Str { text, .. }) => parsed(text, text.parse::<jiff::civil::Time>().is_ok()),
        (Type::DateTime, NodeValue::Str { text, .. }) => {
            parsed(text, text.parse::<jiff::civil::DateTime>().is_ok() && !text.ends_with(['Z', 'z']))
        }
        (Type::Timestamp, NodeValue::Str { text, .. }) => match text.parse::<jiff::Timestamp>() {
            Ok(instant) => Ok(Json::from(instant.to_string())),
            Err(_) => wrong("write an instant such as \"2025-12-12T18:00:00Z\""),
        },
        (Type::Bytes, NodeValue::Str { text, .. }) => {
            use base64::Engine;
            match base64::engine::general_purpose::STANDARD.decode(text) {
                Ok(bytes) => Ok(Json::from(bytes.iter().map(|b| format!("\\x{b:02X}")).collect::<String>())),
                Err(_) => wrong("write it in base64"),
            }
        }
        (Type::Array(item), NodeValue::Seq(nodes)) => nodes.iter().map(|n| cell(item, n)).collect(),
        (Type::Struct(fields), NodeValue::Map(entries)) => {
            let mut cells = Map::new();
            for (name, node) in entries {
                match fields.iter().find(|f| f.name.eq_ignore_ascii_case(&name.value)) {
                    Some(field) => cells.insert(field.name.clone(), cell(&field.ty, node)?),
                    None => return Err((name.span, format!("it has no field `{}`", name.value))),
                };
            }
            Ok(Json::Object(cells))
        }
        (Type::Interval | Type::Geography | Type::Range(_), _) => wrong("a test cannot give values of this type"),
        _ => described(),
    }
}

/// YAML as JSON.
pub fn json(node: &Node) -> Json {
    match &node.value {
        NodeValue::Null => Json::Null,
        NodeValue::Bool(v) => Json::from(*v),
        NodeValue::Int(v) => Json::from(*v),
        NodeValue::Float(v) => Json::from(*v),
        NodeValue::Str { text, .. } => Json::from(text.as_str()),
        NodeValue::Seq(nodes) => nodes.iter().map(json).collect(),
        NodeValue::Map(entries) => Json::Object(entries.iter().map(|(k, v)| (k.value.clone(), json(v))).collect()),
    }
}
