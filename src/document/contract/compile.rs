//! From a schema's JSON to the rules that its validator follows.

use super::Contract;
use super::formats::Format;
use super::rules::*;
use crate::diagnostics::nearest;
use crate::document::json::write_decimal;
use jsonschema::{Draft, PatternOptions};
use regex::Regex;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// Keywords that assert something.
const ASSERTIONS: [&str; 33] = [
    "type",
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "uniqueItems",
    "enum",
    "const",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "$ref",
    "anyOf",
    "oneOf",
    "allOf",
    "not",
    "if",
    "then",
    "else",
    "contains",
];

/// Keywords that assert something and are left to the `jsonschema` crate together with their subtree.
const WHOLE: [&str; 6] = [
    "minContains",
    "maxContains",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedProperties",
    "unevaluatedItems",
];

/// Keywords that assert nothing.
const ANNOTATIONS: [&str; 13] = [
    "title",
    "description",
    "examples",
    "default",
    "$comment",
    "deprecated",
    "readOnly",
    "writeOnly",
    "$schema",
    "$id",
    "$defs",
    "$anchor",
    "definitions",
];

pub fn compile(root: &Value) -> Result<Contract, Vec<String>> {
    let mut compiler = Compiler::new(root);
    let id = compiler.schema(root, "");
    compiler.contract.root = id;
    for (name, schema) in root.get("$defs").and_then(Value::as_object).into_iter().flatten() {
        compiler.pointer(&format!("/$defs/{}", escape(name)), schema);
    }
    if compiler.problems.is_empty() { Ok(compiler.contract) } else { Err(compiler.problems) }
}

struct Compiler<'a> {
    root: &'a Value,
    contract: Contract,
    /// Schemas that a `$ref` leads to are compiled once.
    by_pointer: HashMap<String, u32>,
    problems: Vec<String>,
}

type Object = Map<String, Value>;

impl<'a> Compiler<'a> {
    fn new(root: &'a Value) -> Self {
        let node = |act| Node { acts: [act; 7], whole: None, listed: None };
        let contract = Contract {
            root: ANY,
            nodes: vec![node(Act::Accept), node(Act::Reject)],
            objects: Vec::new(),
            arrays: Vec::new(),
            strings: Vec::new(),
            numbers: Vec::new(),
            whole: Vec::new(),
        };
        Self { root, contract, by_pointer: HashMap::new(), problems: Vec::new() }
    }

    fn problem(&mut self, pointer: &str, text: impl std::fmt::Display) {
        self.problems.push(format!("`#{pointer}`: {text}"));
    }

    fn schema(&mut self, schema: &Value, pointer: &str) -> u32 {
        match schema {
            Value::Bool(true) => ANY,
            Value::Bool(false) => NEVER,
            Value::Object(object) => self.object(object, schema, pointer),
            _ => {
                self.problem(pointer, "a schema is an object, `true` or `false`");
                ANY
            }
        }
    }

    /// The schema at a pointer of the root, compiled once; recursion finds the number that is kept for it.
    fn pointer(&mut self, pointer: &str, schema: &Value) -> u32 {
        if let Some(id) = self.by_pointer.get(pointer) {
            return *id;
        }
        let id = self.reserve();
        self.by_pointer.insert(pointer.to_owned(), id);
        let made = self.schema(schema, pointer);
        self.contract.nodes[id as usize] = self.contract.nodes[made as usize].clone();
        id
    }

    fn reserve(&mut self) -> u32 {
        self.contract.nodes.push(self.contract.nodes[ANY as usize].clone());
        self.contract.nodes.len() as u32 - 1
    }

    fn add(&mut self, node: Node) -> u32 {
        self.contract.nodes.push(node);
        self.contract.nodes.len() as u32 - 1
    }

    fn object(&mut self, object: &Object, schema: &Value, pointer: &str) -> u32 {
        self.known_keywords(object, pointer);
        let asserts: Vec<&str> = object.keys().map(String::as_str).filter(|k| !ANNOTATIONS.contains(k)).collect();
        if asserts == ["$ref"] {
            return self.reference(&object["$ref"], pointer);
        }
        if let [keyword @ ("anyOf" | "oneOf")] = asserts[..]
            && let Some(id) = self.alternatives(&object[keyword], &format!("{pointer}/{keyword}"))
        {
            return id;
        }
        if needs_whole(object) {
            return self.whole(object, schema, pointer);
        }
        let mut node = Node { acts: [Act::Accept; 7], whole: None, listed: None };
        self.listed(object, &mut node);
        self.object_rules(object, pointer, &mut node);
        self.array_rules(object, pointer, &mut node);
        self.string_rules(object, pointer, &mut node);
        self.number_rules(object, pointer, &mut node);
        self.types(object, pointer, &mut node);
        self.add(node)
    }

    fn known_keywords(&mut self, object: &Object, pointer: &str) {
        let known = || ASSERTIONS.into_iter().chain(WHOLE).chain(ANNOTATIONS);
        for key in object.keys().filter(|k| !known().any(|n| n == *k)) {
            let hint = nearest(key, known()).map(|n| format!("; did you mean `{n}`?")).unwrap_or_default();
            self.problem(pointer, format!("unknown keyword `{key}`{hint}"));
        }
        if let Some(format) = object.get("format").and_then(Value::as_str)
            && Format::new(format).is_none()
        {
            let hint = nearest(format, Format::known()).map(|n| format!("; did you mean `{n}`?")).unwrap_or_default();
            self.problem(pointer, format!("unknown format `{format}`{hint}"));
        }
    }

    fn reference(&mut self, target: &Value, pointer: &str) -> u32 {
        let Some(local) = target.as_str().and_then(|t| t.strip_prefix('#')) else {
            self.problem(pointer, "a `$ref` stays inside its file: `#/$defs/name`");
            return ANY;
        };
        let root = self.root;
        match root.pointer(local) {
            Some(schema) => self.pointer(local, schema),
            None => {
                let names = root.get("$defs").and_then(Value::as_object);
                let near = nearest(
                    local.trim_start_matches("/$defs/"),
                    names.into_iter().flat_map(Map::keys).map(String::as_str),
                );
                let hint = near.map(|n| format!("; did you mean `#/$defs/{n}`?")).unwrap_or_default();
                self.problem(pointer, format!("`$ref` leads to `#{local}`, which is not there{hint}"));
                ANY
            }
        }
    }

    /// Alternatives of which each kind of value fits at most one.
    fn alternatives(&mut self, list: &Value, pointer: &str) -> Option<u32> {
        let list = list.as_array()?;
        let kinds: Vec<[bool; 7]> = list.iter().map(|s| self.kinds_of(s, 0)).collect::<Option<_>>()?;
        if (0..7).any(|k| kinds.iter().filter(|a| a[k]).count() > 1) {
            return None;
        }
        let mut node = Node { acts: [Act::Reject; 7], whole: None, listed: None };
        let ids: Vec<u32> = list.iter().enumerate().map(|(i, s)| self.schema(s, &format!("{pointer}/{i}"))).collect();
        for (id, kinds) in ids.iter().zip(&kinds) {
            let part = &self.contract.nodes[*id as usize];
            if part.whole.is_some() || (part.listed.is_some() && node.listed.is_some()) {
                return None;
            }
            for k in (0..7).filter(|k| kinds[*k]) {
                node.acts[k] = part.acts[k];
            }
            node.listed = node.listed.or(part.listed.clone());
        }
        Some(self.add(node))
    }

    /// The kinds that a schema's own `type` allows; `None` when it has none or is not simple.
    fn kinds_of(&self, schema: &Value, depth: usize) -> Option<[bool; 7]> {
        if depth > 8 {
            return None;
        }
        if let Some(target) = schema.get("$ref") {
            let only = schema.as_object()?.keys().all(|k| k == "$ref" || ANNOTATIONS.contains(&k.as_str()));
            let target = self.root.pointer(target.as_str()?.strip_prefix('#')?)?;
            return if only { self.kinds_of(target, depth + 1) } else { None };
        }
        // A reference that is compiled right now is not known to be simple yet; only plain schemas are taken.
        (!needs_whole(schema.as_object()?)).then(|| allowed(schema.get("type")?)).flatten()
    }

    fn whole(&mut self, object: &Object, schema: &Value, pointer: &str) -> u32 {
        self.visit_parts(object, pointer);
        // References of the part are kept alive by putting the whole root beside it.
        let rooted = json!({"$defs": {"root": at_root(self.root)}, "allOf": [at_root(schema)]});
        let built = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .should_validate_formats(true)
            .with_pattern_options(PatternOptions::regex())
            .build(&rooted);
        match built {
            Ok(validator) => {
                self.contract.whole.push(validator);
                let whole = Some(self.contract.whole.len() as u32 - 1);
                self.add(Node { acts: [Act::Accept; 7], whole, listed: None })
            }
            Err(e) => {
                self.problem(pointer, e);
                ANY
            }
        }
    }

    /// Compiles the parts of a collected schema for their problems only.
    fn visit_parts(&mut self, object: &Object, pointer: &str) {
        for (keyword, value) in object {
            let here = format!("{pointer}/{keyword}");
            match (keyword.as_str(), value) {
                ("anyOf" | "oneOf" | "allOf" | "prefixItems", Value::Array(parts)) => {
                    for (i, part) in parts.iter().enumerate() {
                        self.schema(part, &format!("{here}/{i}"));
                    }
                }
                ("properties" | "patternProperties" | "dependentSchemas", Value::Object(parts)) => {
                    for (name, part) in parts {
                        self.schema(part, &format!("{here}/{}", escape(name)));
                    }
                }
                (
                    "not"
                    | "if"
                    | "then"
                    | "else"
                    | "items"
                    | "contains"
                    | "additionalProperties"
                    | "propertyNames"
                    | "unevaluatedProperties"
                    | "unevaluatedItems",
                    part,
                ) => {
                    self.schema(part, &here);
                }
                ("$ref", target) => {
                    self.reference(target, pointer);
                }
                _ => {}
            }
        }
    }

    fn types(&mut self, object: &Object, pointer: &str, node: &mut Node) {
        let Some(types) = object.get("type") else { return };
        match allowed(types) {
            Some(allowed) => {
                for k in (0..7).filter(|k| !allowed[*k]) {
                    node.acts[k] = Act::Reject;
                }
            }
            None => self.problem(pointer, format!("`type` is {types}, which is no type of JSON")),
        }
    }

    fn listed(&mut self, object: &Object, node: &mut Node) {
        let Some((rule, values)) = listed_values(object) else { return };
        let mut listed = Listed { rule, ..Listed::default() };
        listed.text = match values.as_slice() {
            [one] => one.to_string(),
            several => {
                let mut text: Vec<String> = several.iter().take(8).map(|v| v.to_string()).collect();
                if several.len() > 8 {
                    text.push("...".into());
                }
                format!("one of {}", text.join(", "))
            }
        };
        node.acts = [Act::NotListed; 7];
        for value in &values {
            match value {
                Value::Null => {
                    listed.null = true;
                    node.acts[Kind::Null as usize] = Act::Accept;
                }
                Value::Bool(b) => {
                    listed.bools[usize::from(*b)] = true;
                    node.acts[Kind::Bool as usize] =
                        if listed.bools == [true; 2] { Act::Accept } else { Act::Check(0) };
                }
                Value::Number(n) => listed.numbers.push(canonical(n)),
                _ => {}
            }
        }
        node.listed = Some(Box::new(listed));
    }

    fn number_rules(&mut self, object: &Object, pointer: &str, node: &mut Node) {
        let mut bound = |keyword: &str| {
            let value = object.get(keyword)?;
            if value.as_f64().is_none() {
                self.problem(pointer, format!("`{keyword}` is a number"));
            }
            value.as_f64()
        };
        let mut rules = NumberRules {
            min: bound("minimum"),
            max: bound("maximum"),
            above: bound("exclusiveMinimum"),
            below: bound("exclusiveMaximum"),
            multiple_of: bound("multipleOf"),
            listed: None,
        };
        if rules.multiple_of.is_some_and(|m| m <= 0.0) {
            self.problem(pointer, "`multipleOf` is greater than 0");
            rules.multiple_of = None;
        }
        if let Some(listed) = &node.listed {
            if listed.numbers.is_empty() {
                return;
            }
            rules.listed = Some((**listed).clone());
        }
        if !rules.is_empty() {
            self.contract.numbers.push(rules);
            let act = Act::Check(self.contract.numbers.len() as u32 - 1);
            node.acts[Kind::Integer as usize] = act;
            node.acts[Kind::Number as usize] = act;
        }
    }

    fn string_rules(&mut self, object: &Object, pointer: &str, node: &mut Node) {
        let mut rules = StringRules {
            min: self.count(object, "minLength", pointer).unwrap_or(0) as usize,
            max: self.count(object, "maxLength", pointer).map(|n| n as usize),
            pattern: None,
            format: object.get("format").and_then(Value::as_str).and_then(Format::new),
            listed: None,
        };
        if let Some(written) = object.get("pattern") {
            rules.pattern = self.regex(written, pointer).map(|r| (r, written.as_str().unwrap_or_default().to_owned()));
        }
        if let Some((rule, values)) = listed_values(object) {
            let texts: Vec<Box<str>> = values.iter().filter_map(Value::as_str).map(Into::into).collect();
            if texts.is_empty() {
                return;
            }
            let text = node.listed.as_ref().map(|l| l.text.clone()).unwrap_or_default();
            rules.listed = Some(StringList::new(rule, texts, text));
        }
        if !rules.is_empty() {
            self.contract.strings.push(rules);
            node.acts[Kind::Str as usize] = Act::Check(self.contract.strings.len() as u32 - 1);
        }
    }

    fn array_rules(&mut self, object: &Object, pointer: &str, node: &mut Node) {
        const KEYWORDS: [&str; 5] = ["items", "prefixItems", "minItems", "maxItems", "uniqueItems"];
        if object.contains_key("enum")
            || object.contains_key("const")
            || !KEYWORDS.iter().any(|k| object.contains_key(*k))
        {
            return;
        }
        let prefix = object.get("prefixItems").and_then(Value::as_array).cloned().unwrap_or_default();
        let here = format!("{pointer}/prefixItems");
        let rules = ArrayRules {
            prefix: prefix.iter().enumerate().map(|(i, s)| self.schema(s, &format!("{here}/{i}"))).collect(),
            items: object.get("items").map_or(ANY, |s| self.schema(s, &format!("{pointer}/items"))),
            min: self.count(object, "minItems", pointer).unwrap_or(0),
            max: self.count(object, "maxItems", pointer),
            unique: object.get("uniqueItems") == Some(&Value::Bool(true)),
        };
        self.contract.arrays.push(rules);
        node.acts[Kind::Array as usize] = Act::Check(self.contract.arrays.len() as u32 - 1);
    }

    fn object_rules(&mut self, object: &Object, pointer: &str, node: &mut Node) {
        const KEYWORDS: [&str; 7] = [
            "properties",
            "required",
            "additionalProperties",
            "patternProperties",
            "propertyNames",
            "minProperties",
            "maxProperties",
        ];
        if object.contains_key("enum")
            || object.contains_key("const")
            || !KEYWORDS.iter().any(|k| object.contains_key(*k))
        {
            return;
        }
        let mut rules = ObjectRules {
            additional: object
                .get("additionalProperties")
                .map_or(ANY, |s| self.schema(s, &format!("{pointer}/additionalProperties"))),
            min: self.count(object, "minProperties", pointer).unwrap_or(0),
            max: self.count(object, "maxProperties", pointer),
            names: object.get("propertyNames").map(|s| self.schema(s, &format!("{pointer}/propertyNames"))),
            ..ObjectRules::default()
        };
        for (pattern, schema) in object.get("patternProperties").and_then(Value::as_object).into_iter().flatten() {
            let id = self.schema(schema, &format!("{pointer}/patternProperties/{}", escape(pattern)));
            rules.pattern = self.regex(&Value::from(pattern.as_str()), pointer).map(|r| (r, id));
        }
        match object.get("properties") {
            None => {}
            Some(Value::Object(properties)) => {
                for (name, schema) in properties {
                    let id = self.schema(schema, &format!("{pointer}/properties/{}", escape(name)));
                    add_property(&mut rules, name, id);
                }
            }
            Some(_) => self.problem(pointer, "`properties` is an object"),
        }
        self.required(object, pointer, &mut rules);
        self.contract.objects.push(rules);
        node.acts[Kind::Object as usize] = Act::Check(self.contract.objects.len() as u32 - 1);
    }

    fn required(&mut self, object: &Object, pointer: &str, rules: &mut ObjectRules) {
        let Some(required) = object.get("required") else { return };
        let Some(names) = required.as_array().and_then(|l| l.iter().map(Value::as_str).collect::<Option<Vec<_>>>())
        else {
            return self.problem(pointer, "`required` is a list of names");
        };
        for name in names {
            let at = rules.index.get(name).copied().unwrap_or_else(|| {
                let by_pattern = rules.pattern.as_ref().filter(|(p, _)| p.is_match(name)).map(|(_, id)| *id);
                let id = by_pattern.unwrap_or(rules.additional);
                add_property(rules, name, id)
            });
            rules.required.resize(rules.properties.len().div_ceil(64), 0);
            rules.required[at as usize / 64] |= 1 << (at % 64);
        }
    }

    fn count(&mut self, object: &Object, keyword: &str, pointer: &str) -> Option<u64> {
        let value = object.get(keyword)?;
        let count =
            value.as_u64().or_else(|| value.as_f64().filter(|f| f.fract() == 0.0 && *f >= 0.0).map(|f| f as u64));
        if count.is_none() {
            self.problem(pointer, format!("`{keyword}` is a whole number from 0"));
        }
        count
    }

    fn regex(&mut self, written: &Value, pointer: &str) -> Option<Regex> {
        let Some(text) = written.as_str() else {
            self.problem(pointer, "a pattern is text");
            return None;
        };
        match Regex::new(&ecma(text)) {
            Ok(regex) => Some(regex),
            Err(e) => {
                let why = e.to_string();
                let why = why.lines().last().unwrap_or_default();
                self.problem(
                    pointer,
                    format!("pattern `{text}` cannot be used: {}", why.trim_start_matches("error: ")),
                );
                None
            }
        }
    }
}

fn add_property(rules: &mut ObjectRules, name: &str, node: u32) -> u32 {
    let at = rules.properties.len() as u32;
    rules.properties.push(Property { name: name.into(), node });
    rules.index.insert(name.into(), at);
    at
}

/// Whether a schema (but not its parts) can only be decided with the whole value at hand.
fn needs_whole(object: &Object) -> bool {
    const CONNECT: [&str; 9] = ["$ref", "anyOf", "oneOf", "allOf", "not", "if", "then", "else", "contains"];
    if CONNECT.iter().chain(&WHOLE).any(|k| object.contains_key(*k)) {
        return true;
    }
    let containers = |v: &Value| v.is_array() || v.is_object();
    if listed_values(object).is_some_and(|(_, values)| values.iter().any(containers))
        || (object.contains_key("enum") && object.contains_key("const"))
    {
        return true;
    }
    if object.get("uniqueItems") == Some(&Value::Bool(true)) {
        let scalars = |s: &Value| {
            let simple = s.as_object().is_some_and(|o| !needs_whole(o));
            simple
                && s.get("type")
                    .and_then(allowed)
                    .is_some_and(|a| !a[Kind::Array as usize] && !a[Kind::Object as usize])
        };
        if object.contains_key("prefixItems") || !object.get("items").is_some_and(scalars) {
            return true;
        }
    }
    let patterns = object.get("patternProperties").and_then(Value::as_object);
    patterns.is_some_and(|patterns| patterns.len() > 1 || overlaps(object, patterns))
}

/// Whether a named property is also spoken of by a pattern.
fn overlaps(object: &Object, patterns: &Object) -> bool {
    let named = object.get("properties").and_then(Value::as_object);
    let regexes: Vec<Regex> = patterns.keys().filter_map(|p| Regex::new(&ecma(p)).ok()).collect();
    named.is_some_and(|named| named.keys().any(|n| regexes.iter().any(|r| r.is_match(n))))
}

fn listed_values(object: &Object) -> Option<(&'static str, Vec<Value>)> {
    match (object.get("enum"), object.get("const")) {
        (Some(Value::Array(values)), _) => Some(("enum", values.clone())),
        (None, Some(value)) => Some(("const", vec![value.clone()])),
        _ => None,
    }
}

/// The kinds that a `type` allows.
fn allowed(types: &Value) -> Option<[bool; 7]> {
    let names: Vec<&str> = match types {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().map(Value::as_str).collect::<Option<_>>()?,
        _ => return None,
    };
    let mut allowed = [false; 7];
    for name in names {
        let kind = KINDS.into_iter().find(|k| k.name() == name)?;
        allowed[kind as usize] = true;
        allowed[Kind::Integer as usize] |= kind == Kind::Number;
    }
    Some(allowed)
}

/// The same schema with its local references led through the root's new place.
fn at_root(schema: &Value) -> Value {
    match schema {
        Value::Array(items) => items.iter().map(at_root).collect(),
        Value::Object(entries) => {
            let mut out = Map::new();
            for (key, value) in entries.iter().filter(|(k, _)| *k != "$id" && *k != "$schema") {
                let value = match (key.as_str(), value.as_str().and_then(|v| v.strip_prefix('#'))) {
                    ("$ref", Some(local)) => Value::from(format!("#/$defs/root{local}")),
                    _ => at_root(value),
                };
                out.insert(key.clone(), value);
            }
            Value::Object(out)
        }
        other => other.clone(),
    }
}

/// Says `\d` and `\w` as JavaScript means them: ASCII only.
fn ecma(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('d') => out.push_str("[0-9]"),
            Some('w') => out.push_str("[0-9A-Za-z_]"),
            Some('D') => out.push_str("[^0-9]"),
            Some('W') => out.push_str("[^0-9A-Za-z_]"),
            Some('/') => out.push('/'),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

/// A number's text such that equal numbers have the same.
fn canonical(number: &serde_json::Number) -> String {
    match (number.as_i64(), number.as_f64()) {
        (Some(i), _) => i.to_string(),
        (None, Some(f)) => canonical_float(f),
        _ => number.to_string(),
    }
}

/// See [`canonical`].
pub fn canonical_float(value: f64) -> String {
    if value == 0.0 { "0".into() } else { format!("{value}") }
}

/// See [`canonical`].
pub fn canonical_decimal(value: i128, scale: u8) -> String {
    let mut out = Vec::new();
    write_decimal(&mut out, value, scale);
    String::from_utf8(out).expect("digits")
}

fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The keyword's own name, for messages that outlive the schema.
pub fn keyword(name: &str) -> Option<&'static str> {
    ASSERTIONS.into_iter().chain(WHOLE).find(|k| *k == name)
}
