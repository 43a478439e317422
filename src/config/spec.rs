//! What the YAML files may hold, said once: the checker and the generated JSON Schemas both come from it.

use super::node::{Node, NodeValue};
use crate::diagnostics::{Diagnostic, nearest};
use serde_json::{Map, Value, json};

/// What a value may be.
#[derive(Debug)]
pub enum Kind {
    /// Any text.
    Text,
    /// Text of a form that a function checks: name in messages, example, pattern for editors.
    Form(&'static Form),
    Bool,
    Int,
    Number,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A list of such values.
    List(&'static Kind),
    /// A map from free keys to such values.
    Map(&'static Kind),
    Object(&'static Object),
    /// The first whose outer form (scalar, list, map) fits decides.
    Either(&'static [Kind]),
    /// Anything: another checker looks at it (shapes, guards, test rows).
    Any,
}

/// A text of a certain form.
#[derive(Debug)]
pub struct Form {
    /// `a duration`
    pub name: &'static str,
    /// `5m`
    pub example: &'static str,
    /// A regular expression for editors; the check is `check`.
    pub pattern: &'static str,
    /// Says what is wrong with the text.
    pub check: fn(&str) -> Result<(), String>,
}

/// A map with known keys.
#[derive(Debug)]
pub struct Object {
    pub doc: &'static str,
    pub fields: &'static [Field],
}

/// A known key.
#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    pub required: bool,
    pub doc: &'static str,
}

/// Appends everything that is wrong with the value.
pub fn check(node: &Node, kind: &Kind, place: &str, findings: &mut Vec<Diagnostic>) {
    let wrong = |wanted: &str| {
        Diagnostic::error("wrong-type", format!("{place} has to be {wanted}, not {}", described(node)), node.span)
    };
    match (kind, &node.value) {
        (Kind::Any, _)
        | (Kind::Text, NodeValue::Str { .. })
        | (Kind::Bool, NodeValue::Bool(_))
        | (Kind::Int, NodeValue::Int(_))
        | (Kind::Number, NodeValue::Int(_) | NodeValue::Float(_)) => {}
        (Kind::Form(form), NodeValue::Str { text, .. }) => {
            if let Err(reason) = (form.check)(text) {
                findings.push(
                    Diagnostic::error("bad-value", format!("{place}: {reason}"), node.span)
                        .help(format!("write {}, such as `{}`", form.name, form.example)),
                );
            }
        }
        (Kind::Form(form), _) => findings.push(wrong(form.name).help(format!("such as `{}`", form.example))),
        (Kind::OneOf(texts), NodeValue::Str { text, .. }) => {
            if !texts.contains(&text.as_str()) {
                let found = Diagnostic::error("bad-value", format!("`{text}` is no {place}"), node.span);
                findings.push(match nearest(text, texts.iter().copied()) {
                    Some(near) => found.help(format!("did you mean `{near}`?")),
                    None => found.help(format!("one of {}", list(texts))),
                });
            }
        }
        (Kind::OneOf(texts), _) => findings.push(wrong(&format!("one of {}", list(texts)))),
        (Kind::List(item), NodeValue::Seq(nodes)) => {
            for node in nodes {
                check(node, item, &format!("an entry of {place}"), findings);
            }
        }
        (Kind::Map(value), NodeValue::Map(entries)) => {
            for (key, node) in entries {
                check(node, value, &format!("`{}`", key.value), findings);
            }
        }
        (Kind::Object(object), NodeValue::Map(entries)) => check_object(node, object, entries, place, findings),
        (Kind::Either(kinds), _) => match kinds.iter().find(|k| outer_fits(k, &node.value)) {
            Some(kind) => check(node, kind, place, findings),
            None => {
                let wanted: Vec<&str> = kinds.iter().map(Kind::name).collect();
                findings.push(wrong(&wanted.join(" or ")));
            }
        },
        (kind, _) => findings.push(wrong(kind.name())),
    }
}

fn check_object(
    node: &Node,
    object: &Object,
    entries: &[(crate::diagnostics::Spanned<String>, Node)],
    place: &str,
    findings: &mut Vec<Diagnostic>,
) {
    for (key, value) in entries {
        match object.fields.iter().find(|f| f.name == key.value) {
            Some(field) => check(value, &field.kind, &format!("`{}`", field.name), findings),
            None => {
                let known = object.fields.iter().map(|f| f.name);
                let found = Diagnostic::error("unknown-key", format!("{place} has no key `{}`", key.value), key.span);
                findings.push(match nearest(&key.value, known.clone()) {
                    Some(near) => found.help(format!("did you mean `{near}`?")),
                    None => found.help(format!("it may have {}", list(&known.collect::<Vec<_>>()))),
                });
            }
        }
    }
    for field in object.fields.iter().filter(|f| f.required) {
        if !entries.iter().any(|(k, _)| k.value == field.name) {
            let mut span = node.span;
            span.end = span.start.max(span.end.min(span.start + 40));
            findings.push(
                Diagnostic::error("missing-key", format!("{place} lacks the key `{}`", field.name), span)
                    .help(field.doc),
            );
        }
    }
}

fn outer_fits(kind: &Kind, value: &NodeValue) -> bool {
    match kind {
        Kind::Any => true,
        Kind::Text | Kind::Form(_) | Kind::OneOf(_) => matches!(value, NodeValue::Str { .. }),
        Kind::Bool => matches!(value, NodeValue::Bool(_)),
        Kind::Int => matches!(value, NodeValue::Int(_)),
        Kind::Number => matches!(value, NodeValue::Int(_) | NodeValue::Float(_)),
        Kind::List(_) => matches!(value, NodeValue::Seq(_)),
        Kind::Map(_) | Kind::Object(_) => matches!(value, NodeValue::Map(_)),
        Kind::Either(kinds) => kinds.iter().any(|k| outer_fits(k, value)),
    }
}

/// What a value is, in an analyst's words.
pub fn described(node: &Node) -> String {
    match &node.value {
        NodeValue::Null => "empty".into(),
        NodeValue::Bool(v) => format!("`{v}`"),
        NodeValue::Int(v) => format!("the number {v}"),
        NodeValue::Float(v) => format!("the number {v}"),
        NodeValue::Str { text, .. } if text.len() <= 40 => format!("the text `{text}`"),
        NodeValue::Str { .. } => "a text".into(),
        NodeValue::Seq(_) => "a list".into(),
        NodeValue::Map(_) => "a map".into(),
    }
}

fn list(texts: &[&str]) -> String {
    texts.iter().map(|t| format!("`{t}`")).collect::<Vec<_>>().join(", ")
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Kind::Text => "a text",
            Kind::Form(form) => form.name,
            Kind::Bool => "true or false",
            Kind::Int => "a whole number",
            Kind::Number => "a number",
            Kind::OneOf(_) => "one of a few words",
            Kind::List(_) => "a list",
            Kind::Map(_) | Kind::Object(_) => "a map",
            Kind::Either(_) => "one of several forms",
            Kind::Any => "anything",
        }
    }

    /// The JSON Schema of such a value.
    pub fn schema(&self) -> Value {
        match self {
            Kind::Text => json!({"type": "string"}),
            Kind::Form(form) => json!({"type": "string", "pattern": form.pattern, "examples": [form.example]}),
            Kind::Bool => json!({"type": "boolean"}),
            Kind::Int => json!({"type": "integer"}),
            Kind::Number => json!({"type": "number"}),
            Kind::OneOf(texts) => json!({"enum": texts}),
            Kind::List(item) => json!({"type": "array", "items": item.schema()}),
            Kind::Map(value) => json!({"type": "object", "additionalProperties": value.schema()}),
            Kind::Object(object) => object.schema(),
            Kind::Either(kinds) => json!({"anyOf": kinds.iter().map(Kind::schema).collect::<Vec<_>>()}),
            Kind::Any => json!(true),
        }
    }
}

impl Object {
    fn schema(&self) -> Value {
        let mut properties = Map::new();
        for field in self.fields {
            let schema = match field.kind.schema() {
                Value::Object(mut schema) => {
                    schema.insert("description".into(), json!(field.doc));
                    Value::Object(schema)
                }
                _ => json!({"description": field.doc}),
            };
            properties.insert(field.name.into(), schema);
        }
        let required: Vec<&str> = self.fields.iter().filter(|f| f.required).map(|f| f.name).collect();
        let mut schema = json!({
            "description": self.doc,
            "type": "object",
            "additionalProperties": false,
            "properties": properties,
        });
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        schema
    }

    /// A whole document's schema.
    pub fn document_schema(&self, title: &str) -> Value {
        let mut schema = json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title});
        if let (Value::Object(target), Value::Object(body)) = (&mut schema, self.schema()) {
            target.extend(body);
        }
        schema
    }
}
