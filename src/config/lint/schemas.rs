//! Each document has a JSON Schema, and the schema is one that is fully enforced: 2020-12, no keyword or format that a
//! validator would skip in silence, no reference that leaves the file.

use crate::config::{Node, NodeValue, Project, yaml};
use crate::diagnostics::{Diagnostic, FileId, Sources, Span, nearest};
use std::collections::BTreeSet;

/// Checks the schema files of documents and messages.
pub fn check(project: &Project, sources: &mut Sources) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for document in project.exports.iter().flat_map(|e| &e.documents) {
        match &document.schema {
            Some(schema) if seen.insert(&schema.value) => {
                findings.extend(file(project, &schema.value, schema.span, sources));
            }
            Some(_) => {}
            None => findings.push(
                Diagnostic::warning(
                    "no-schema",
                    format!("nothing says what the document `{}` has to be", document.name),
                    document.shape.span,
                )
                .help("write `schema: schemas/NAME.schema.json`: the contract with those who read the document"),
            ),
        }
    }
    for node in project.triggers.iter().filter_map(|t| t.get("schema")) {
        if let Some(path) = node.as_str() {
            findings.extend(file(project, path, node.span, sources));
        }
    }
    findings
}

fn file(project: &Project, path: &str, span: Span, sources: &mut Sources) -> Vec<Diagnostic> {
    let inside = !path.is_empty() && path.split('/').all(|s| !s.is_empty() && !s.starts_with('.'));
    let text = inside.then(|| std::fs::read_to_string(project.root.join(path)));
    let Some(Ok(text)) = text else {
        let found = Diagnostic::error("missing-file", format!("there is no file {path} that can be read"), span)
            .help("`schema` is a path below the project's folder, such as schemas/games.schema.json");
        return vec![found];
    };
    let id = sources.add(path, text.clone());
    findings_of(id, &text)
}

/// What is wrong with a schema's text.
pub fn findings_of(file: FileId, text: &str) -> Vec<Diagnostic> {
    let value: serde_json::Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => {
            let start = text.lines().take(error.line().saturating_sub(1)).map(|l| l.len() + 1).sum::<usize>();
            let start = (start + error.column().saturating_sub(1)).min(text.len()) as u32;
            let found =
                Diagnostic::error("bad-schema", format!("this is no JSON: {error}"), Span { file, start, end: start });
            return vec![found.help("a schema is one JSON object")];
        }
    };
    // JSON is YAML, and the YAML parser knows places (and finds keys that stand twice).
    let (node, mut findings) = yaml::parse(file, text);
    let Some(node) = node else { return findings };
    walk(&node, &mut findings);
    if let Err(error) = jsonschema::draft202012::meta::validate(&value) {
        let span = node.at_pointer(error.instance_path().as_str()).span;
        findings.push(
            Diagnostic::error(
                "bad-schema",
                format!("not a JSON Schema of 2020-12: {}", short(&error.to_string())),
                span,
            )
            .help("see https://json-schema.org/draft/2020-12"),
        );
    } else if findings.is_empty()
        && let Err(error) = jsonschema::draft202012::options()
            .should_validate_formats(true)
            .with_pattern_options(jsonschema::PatternOptions::regex())
            .build(&value)
    {
        let span = node.at_pointer(error.instance_path().as_str()).span;
        findings.push(
            Diagnostic::error("bad-schema", format!("the schema cannot be used: {}", short(&error.to_string())), span)
                .help("patterns must work without look-around and back-references, `$ref` stays in the file"),
        );
    }
    findings
}

fn short(text: &str) -> String {
    if text.chars().count() <= 200 { text.to_owned() } else { text.chars().take(200).chain("…".chars()).collect() }
}

const ONE: &[&str] = &[
    "items",
    "additionalProperties",
    "not",
    "if",
    "then",
    "else",
    "contains",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contentSchema",
];
const LISTS: &[&str] = &["allOf", "anyOf", "oneOf", "prefixItems"];
const MAPS: &[&str] = &["properties", "patternProperties", "$defs", "dependentSchemas"];
const PLAIN: &[&str] = &[
    "$schema",
    "$id",
    "$ref",
    "$anchor",
    "$dynamicRef",
    "$dynamicAnchor",
    "$vocabulary",
    "$comment",
    "type",
    "enum",
    "const",
    "multipleOf",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "maxContains",
    "minContains",
    "maxProperties",
    "minProperties",
    "required",
    "dependentRequired",
    "title",
    "description",
    "default",
    "deprecated",
    "readOnly",
    "writeOnly",
    "examples",
    "format",
    "contentEncoding",
    "contentMediaType",
];
const FORMATS: &[&str] = &[
    "date",
    "time",
    "date-time",
    "duration",
    "email",
    "idn-email",
    "hostname",
    "idn-hostname",
    "ipv4",
    "ipv6",
    "uri",
    "uri-reference",
    "iri",
    "iri-reference",
    "uuid",
    "uri-template",
    "json-pointer",
    "relative-json-pointer",
    "regex",
];

/// Unknown keywords and formats, which a validator would skip in silence.
fn walk(schema: &Node, findings: &mut Vec<Diagnostic>) {
    let NodeValue::Map(entries) = &schema.value else { return };
    for (key, value) in entries {
        let name = key.value.as_str();
        if ONE.contains(&name) {
            walk(value, findings);
        } else if LISTS.contains(&name) {
            crate::config::decode::items(Some(value)).iter().for_each(|s| walk(s, findings));
        } else if MAPS.contains(&name) {
            crate::config::decode::entries(value).iter().for_each(|(_, s)| walk(s, findings));
        } else if name == "format" {
            if let Some(format) = value.as_str().filter(|f| !FORMATS.contains(f)) {
                findings.push(unknown("format", format, value.span, FORMATS.iter().copied()));
            }
        } else if !PLAIN.contains(&name) && !name.starts_with("x-") {
            let known = [ONE, LISTS, MAPS, PLAIN].concat();
            findings.push(unknown("keyword", name, key.span, known.into_iter()));
        }
    }
}

fn unknown(what: &str, name: &str, span: Span, known: impl Iterator<Item = &'static str>) -> Diagnostic {
    let found = Diagnostic::error("unknown-schema-word", format!("JSON Schema has no {what} `{name}`"), span);
    match nearest(name, known) {
        Some(near) => found.help(format!("did you mean `{near}`?")),
        None => found.help("a validator would skip it in silence; notes may be keys that begin with `x-`"),
    }
}
