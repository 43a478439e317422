//! Holds a shape against its JSON Schema before anything runs.
//!
//! Said is what is certain: a required key that is never written, a key that is not allowed, a type that can never fit, a null
//! where none may be. Where the schema has alternatives, one of them has to fit. Conditions are not followed: below one, a
//! column's NULL is not spoken of.

mod schema;
#[cfg(test)]
mod tests;

use crate::diagnostics::{Diagnostic, Span};
use crate::model::Field;
use crate::shape::compile::{CompiledShape, Entry, Node, Part, Shape};
use crate::shape::expr::Expr;
use crate::shape::infer::{Base, Form, Null, Ty, Types};
use crate::shape::value::Val;
pub use schema::Schema;
use schema::{ALL, ARRAY, BOOL, KINDS, NULL, NUMBER, OBJECT, Place, TEXT};
use serde_json::Value;
use std::sync::Arc;

/// The code of warnings that are no more than likely: the SQL's conditions (WHERE, CASE) are not followed, so that a column
/// which they keep from being NULL still counts as one that may be.
pub const MAYBE_NULL: &str = "schema-null-column";

/// What the shape writes that the schema refuses. `each` is the fan-out's query and key column.
pub fn check(
    shape: &CompiledShape,
    queries: &[(String, Arc<[Field]>)],
    each: Option<(usize, usize)>,
    schema: &Schema<'_>,
) -> Vec<Diagnostic> {
    let types = Types::new(queries, each);
    let mut walk = Walk { schema, shape, types, findings: Vec::new(), conditions: 0, budget: 100_000 };
    walk.shape(&shape.root, &schema.all());
    walk.findings
}

/// A key of an object and what is written under it.
struct Written<'n> {
    key: &'n str,
    what: What<'n>,
    span: Span,
    /// Whether it is absent under some condition of its own.
    sometimes: bool,
}

enum What<'n> {
    Shape(&'n Shape),
    Ty(Ty),
}

struct Walk<'a, 's> {
    schema: &'a Schema<'a>,
    shape: &'s CompiledShape,
    types: Types<'s>,
    findings: Vec<Diagnostic>,
    /// How many conditions are around.
    conditions: usize,
    /// How many nodes may still be looked at: alternatives within alternatives multiply.
    budget: usize,
}

/// Looks into a value by one part of its schema.
type Look<'l, 'a, 's> = &'l mut dyn FnMut(&mut Walk<'a, 's>, &Place<'a>);

impl<'a, 's> Walk<'a, 's> {
    fn span(&self, shape: &Shape) -> Span {
        self.shape.spans[shape.at.0 as usize]
    }

    fn shape(&mut self, shape: &'s Shape, place: &Place<'a>) {
        let Some(left) = self.budget.checked_sub(1) else { return };
        self.budget = left;
        let span = self.span(shape);
        let conditional = usize::from(shape.when.is_some());
        self.conditions += conditional;
        self.node(&shape.node, span, place);
        self.conditions -= conditional;
    }

    fn node(&mut self, node: &'s Node, span: Span, place: &Place<'a>) {
        match node {
            Node::If(_, then, otherwise) => self.branches(&[&**then, &**otherwise], place),
            Node::Switch(_, cases, otherwise) => {
                let branches: Vec<&'s Shape> = cases.iter().map(|(_, s)| s).collect();
                self.branches(&branches, place);
                self.otherwise(otherwise, span, place);
            }
            Node::First { source, body, otherwise } => {
                self.types.bind_source(source);
                let filtered = usize::from(source.filter.is_some());
                self.conditions += filtered;
                self.shape(body, place);
                self.conditions -= filtered;
                self.otherwise(otherwise, span, place);
            }
            Node::Value(expr) => {
                let ty = self.types.of(expr);
                self.value(&ty, Some(expr), span, place);
            }
            Node::Text(parts) => {
                // A text with a hole is no text: null.
                let holes = parts.iter().filter_map(|part| match part {
                    Part::Expr(expr) => Some(self.types.of(expr).null),
                    Part::Text(_) => None,
                });
                let null = holes.max().unwrap_or(Null::Never);
                self.value(&Ty { null, ..Ty::text() }, None, span, place);
            }
            Node::Object { lets, entries } => {
                self.types.bind_lets(lets);
                self.wanted(OBJECT, "an object", span, place);
                let mut written = Vec::new();
                let open = self.written(entries, false, &mut written);
                self.structure(OBJECT, place, &mut |walk, part| walk.object(&written, open, span, part));
            }
            Node::Map { source, body, .. } => {
                self.types.bind_source(source);
                self.wanted(OBJECT, "an object", span, place);
                self.structure(OBJECT, place, &mut |walk, part| walk.keyed(body, span, part));
            }
            Node::List { items, .. } => {
                self.wanted(ARRAY, "a list", span, place);
                self.structure(ARRAY, place, &mut |walk, part| {
                    if let (Some(inner), None) = (part.below("items"), part.value.get("prefixItems")) {
                        items.iter().for_each(|item| walk.shape(item, &inner));
                    }
                });
            }
            Node::Each { source, body } => {
                self.types.bind_source(source);
                self.wanted(ARRAY, "a list", span, place);
                let filtered = usize::from(source.filter.is_some());
                self.structure(ARRAY, place, &mut |walk, part| {
                    if let (Some(inner), None) = (part.below("items"), part.value.get("prefixItems")) {
                        walk.conditions += filtered;
                        walk.shape(body, &inner);
                        walk.conditions -= filtered;
                    }
                });
            }
        }
    }

    fn branches(&mut self, branches: &[&'s Shape], place: &Place<'a>) {
        self.conditions += 1;
        branches.iter().for_each(|shape| self.shape(shape, place));
        self.conditions -= 1;
    }

    /// `$else` where somebody wrote it: without it, there may always be a row, and the cases may be all there are.
    fn otherwise(&mut self, otherwise: &'s Shape, span: Span, place: &Place<'a>) {
        if self.span(otherwise) != span {
            self.branches(&[otherwise], place);
        }
    }

    /// Says that a kind of value does not fit, where it can never.
    fn wanted(&mut self, kinds: u8, what: &str, span: Span, place: &Place<'a>) {
        let allowed = self.schema.kinds(place);
        if allowed & kinds != 0 {
            return;
        }
        let names: Vec<&str> =
            KINDS.iter().enumerate().filter(|(i, _)| allowed & (1 << i) != 0).map(|(_, n)| *n).collect();
        let wants = if names.is_empty() { "nothing at all".to_owned() } else { names.join(" or ") };
        let message = format!("this is {what}, and {} takes {wants}", self.schema.name(place));
        self.findings.push(
            Diagnostic::error("schema-type", message, head(span))
                .help("every document would be rejected: change the shape, or the contract"),
        );
    }

    /// Looks at each part of the schema that speaks of the inside; of alternatives one has to fit.
    fn structure(&mut self, kind: u8, place: &Place<'a>, look: Look<'_, 'a, 's>) {
        self.parts_of(kind, place, &mut Vec::new(), look);
    }

    /// `seen` are the parts that were looked at for the same value: schemas may refer to themselves.
    fn parts_of(&mut self, kind: u8, place: &Place<'a>, seen: &mut Vec<String>, look: Look<'_, 'a, 's>) {
        for part in self.schema.parts(place) {
            if seen.contains(&part.pointer) {
                continue;
            }
            seen.push(part.pointer.clone());
            look(self, &part);
            for word in ["anyOf", "oneOf"] {
                let alternatives = part.list(word).into_iter().filter(|a| self.schema.kinds(a) & kind != 0).collect();
                self.alternatives(kind, alternatives, seen, look);
            }
        }
    }

    fn alternatives(&mut self, kind: u8, places: Vec<Place<'a>>, seen: &mut Vec<String>, look: Look<'_, 'a, 's>) {
        let mut least: Option<Vec<Diagnostic>> = None;
        for place in places {
            let before = std::mem::take(&mut self.findings);
            self.parts_of(kind, &place, seen, look);
            let found = std::mem::replace(&mut self.findings, before);
            if least.as_ref().is_none_or(|l| found.len() < l.len()) {
                least = Some(found);
            }
        }
        self.findings.extend(least.unwrap_or_default());
    }

    /// The keys of an object. `true`: there may be others.
    fn written(&mut self, entries: &'s [Entry], sometimes: bool, out: &mut Vec<Written<'s>>) -> bool {
        let mut open = false;
        for entry in entries {
            match entry {
                Entry::Key(key, shape) => out.push(Written {
                    key: key.text(),
                    what: What::Shape(shape),
                    span: self.span(shape),
                    sometimes: sometimes || shape.when.is_some(),
                }),
                Entry::Fields { slot, fields, places, .. } => {
                    for ((key, column), span) in fields.iter().zip(places) {
                        let ty = self.types.cell(*slot, *column);
                        out.push(Written { key: key.text(), what: What::Ty(ty), span: *span, sometimes });
                    }
                }
                Entry::Merge(shape) => open |= self.merged(shape, out),
            }
        }
        open
    }

    /// The keys that `$merge` adds, as far as they are known.
    fn merged(&mut self, shape: &'s Shape, out: &mut Vec<Written<'s>>) -> bool {
        match &shape.node {
            Node::Object { lets, entries } => {
                self.types.bind_lets(lets);
                self.written(entries, shape.when.is_some(), out)
            }
            Node::Value(Expr::Const(Val::Null)) => false,
            // Which keys there are hangs on a condition or on the data.
            _ => true,
        }
    }

    fn object(&mut self, written: &[Written<'s>], open: bool, span: Span, part: &Place<'a>) {
        for entry in written {
            for inner in self.property(entry, part) {
                match &entry.what {
                    What::Shape(shape) => self.shape(shape, &inner),
                    What::Ty(ty) => self.value(&ty.clone(), None, entry.span, &inner),
                }
            }
        }
        let required = part.value.get("required").and_then(Value::as_array).into_iter().flatten();
        for key in required.filter_map(Value::as_str) {
            let mut found = written.iter().filter(|w| w.key == key);
            let help = format!("write `{key}`, or do not require it");
            match found.next() {
                None if open => {}
                None => {
                    let message =
                        format!("{} requires the key `{key}`, which is never written here", self.schema.name(part));
                    self.findings.push(Diagnostic::error("schema-required", message, head(span)).help(help));
                }
                Some(entry) if entry.sometimes && !open && found.next().is_none() => {
                    let message = format!(
                        "{} requires the key `{key}`, which is absent under a condition",
                        self.schema.name(part)
                    );
                    self.findings.push(Diagnostic::warning("schema-required", message, head(entry.span)).help(help));
                }
                Some(_) => {}
            }
        }
    }

    /// The schemas of a key; a key that is not allowed is said.
    fn property(&mut self, entry: &Written<'_>, part: &Place<'a>) -> Vec<Place<'a>> {
        let mut found: Vec<Place<'a>> = Vec::new();
        let properties = part.below("properties");
        found.extend(properties.as_ref().and_then(|p| p.below(entry.key)));
        if let Some(patterns) = part.below("patternProperties") {
            for pattern in patterns.value.as_object().into_iter().flat_map(|o| o.keys()) {
                // A pattern that cannot be read is the schema's own finding.
                if regex::Regex::new(pattern).map_or(true, |r| r.is_match(entry.key)) {
                    found.extend(patterns.below(pattern));
                }
            }
        }
        if !found.is_empty() {
            return found;
        }
        match part.below("additionalProperties") {
            Some(inner) if inner.value.as_bool() == Some(false) => {
                let message = format!("{} allows no key `{}`", self.schema.name(part), entry.key);
                let known = properties.as_ref().and_then(|p| p.value.as_object()).into_iter().flatten();
                let near = crate::diagnostics::nearest(entry.key, known.map(|(k, _)| k.as_str()));
                let finding = Diagnostic::error("schema-key", message, head(entry.span));
                self.findings.push(match near {
                    Some(near) => finding.help(format!("did you mean `{near}`?")),
                    None => finding.help("add it to the schema, or do not publish it"),
                });
                Vec::new()
            }
            inner => inner.into_iter().collect(),
        }
    }

    /// An object whose keys are data.
    fn keyed(&mut self, body: &'s Shape, span: Span, part: &Place<'a>) {
        let has = |word: &str| part.value.get(word).and_then(Value::as_object).map_or(0, |o| o.len());
        let Some(inner) = part.below("additionalProperties") else { return };
        match (inner.value.as_bool(), has("properties"), has("patternProperties")) {
            (Some(false), 0, 0) => {
                let message = format!("{} allows no keys at all", self.schema.name(part));
                self.findings.push(Diagnostic::error("schema-key", message, head(span)));
            }
            (None, 0, 0) => self.shape(body, &inner),
            (Some(false), 0, 1) => {
                let patterns = part.below("patternProperties");
                let only = patterns.and_then(|p| p.below(p.value.as_object()?.keys().next()?));
                if let Some(only) = only {
                    self.shape(body, &only);
                }
            }
            _ => {}
        }
    }

    /// A value that is not made of nodes.
    fn value(&mut self, ty: &Ty, expr: Option<&Expr>, span: Span, place: &Place<'a>) {
        let (kinds, what) = match &ty.base {
            Base::Unknown | Base::Rows(_) => (ALL, "a value"),
            Base::Nothing => (NULL, "null"),
            Base::Bool => (BOOL, "a boolean"),
            Base::Int | Base::Number => (NUMBER, "a number"),
            Base::Text(Form::Any) => (TEXT, "a text"),
            Base::Text(Form::Date) => (TEXT, "a date"),
            Base::Text(_) => (TEXT, "a time"),
            Base::List(..) => (ARRAY, "a list"),
            Base::Struct(_) | Base::Dict | Base::Row(_) => (OBJECT, "an object"),
        };
        let allowed = self.schema.kinds(place);
        if allowed & kinds == 0 && ty.base != Base::Nothing {
            self.wanted(kinds, what, span, place);
            return;
        }
        if allowed & NULL == 0 {
            self.null(ty.null, span, place);
        }
        match &ty.base {
            Base::Text(form) => self.text(*form, expr, span, place),
            Base::List(item, _) => {
                let item = Ty { null: Null::Unknown, ..(**item).clone() };
                self.structure(ARRAY, place, &mut |walk, part| {
                    if let (Some(inner), None) = (part.below("items"), part.value.get("prefixItems")) {
                        walk.value(&item, None, span, &inner);
                    }
                });
            }
            Base::Struct(fields) => {
                let written: Vec<Written<'_>> = fields
                    .iter()
                    .map(|(key, ty)| Written { key, what: What::Ty(ty.clone()), span, sometimes: false })
                    .collect();
                self.structure(OBJECT, place, &mut |walk, part| walk.fields(&written, span, part));
            }
            _ => {}
        }
    }

    /// The fields of a STRUCT column.
    fn fields(&mut self, written: &[Written<'_>], span: Span, part: &Place<'a>) {
        for entry in written {
            for inner in self.property(entry, part) {
                if let What::Ty(ty) = &entry.what {
                    self.value(&ty.clone(), None, span, &inner);
                }
            }
        }
    }

    fn null(&mut self, null: Null, span: Span, place: &Place<'a>) {
        let name = self.schema.name(place);
        match null {
            Null::Always if self.conditions == 0 => self.findings.push(
                Diagnostic::error("schema-null", format!("this is always null, and {name} takes no null"), head(span))
                    .help("every document would be rejected: change the shape, or the contract"),
            ),
            Null::Possible | Null::Always => self.findings.push(
                Diagnostic::warning("schema-null", format!("this can be null, and {name} takes no null"), head(span))
                    .help("say what stands there then: `| default(…)`, or let the contract take null"),
            ),
            Null::Column if self.conditions == 0 => self.findings.push(
                Diagnostic::warning(
                    MAYBE_NULL,
                    format!("this column can be NULL, as far as its query tells, and {name} takes no null"),
                    head(span),
                )
                .help("COALESCE it in the query, declare the table's column NOT NULL, or let the contract take null"),
            ),
            _ => {}
        }
    }

    /// A text's form, and constants that no enumeration has.
    fn text(&mut self, form: Form, expr: Option<&Expr>, span: Span, place: &Place<'a>) {
        for part in self.schema.parts(place) {
            let format = part.value.get("format").and_then(Value::as_str);
            let wrong = matches!(
                (format, form),
                (Some("date"), Form::Time | Form::DateTime | Form::Timestamp)
                    | (Some("date-time"), Form::Date | Form::Time | Form::DateTime)
                    | (Some("time"), Form::Date | Form::DateTime | Form::Timestamp)
            );
            if let (true, Some(format)) = (wrong, format) {
                let what = match form {
                    Form::Date => "a date",
                    Form::Time => "a time of day",
                    Form::DateTime => "a time without a zone",
                    _ => "an instant",
                };
                let message = format!("this is {what}, which is no `{format}` of {}", self.schema.name(&part));
                self.findings.push(Diagnostic::error("schema-type", message, head(span)));
            }
            if let (Some(Expr::Const(Val::Str(text))), Some(values)) =
                (expr, part.value.get("enum").and_then(Value::as_array))
                && !values.iter().any(|v| v.as_str() == Some(text.as_ref()))
            {
                let message = format!("`{text}` is none of the values of {}", self.schema.name(&part));
                self.findings.push(Diagnostic::error("schema-type", message, head(span)));
            }
        }
    }
}

/// The first line of a span is shown; a long one is cut.
fn head(span: Span) -> Span {
    Span { end: span.end.min(span.start + 60), ..span }
}
