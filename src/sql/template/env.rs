//! The template engine's side: facts go in as values that can be told apart, marks come out.

use super::{Problem, suggestion};
use crate::config::Query;
use crate::model::{Facts, Type, Value as Plain};
use minijinja::value::{Enumerator, Object, ObjectRepr, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, OutputSpan, UndefinedBehavior};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Around a mark's number.
pub const OPEN: char = '\u{e000}';
pub const CLOSE: char = '\u{e001}';

/// The query's own name as a template; no file can be called so.
pub const MAIN: &str = "<query>";

/// What a template may do: work, and depth of includes and macros.
const FUEL: u64 = 2_000_000;
const RECURSION: usize = 120;
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A value that the text uses.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// `target_date`, `vars.x`: set when the value is surely that fact.
    pub fact: Option<String>,
    /// None = a NULL of no known type.
    pub ty: Option<Type>,
    pub value: Plain,
}

/// A template that ran.
pub struct Run {
    pub text: String,
    pub spans: Vec<OutputSpan>,
    pub bound: Vec<Bound>,
    /// Texts of all templates by name.
    pub files: BTreeMap<String, String>,
}

impl Run {
    /// The output span that holds an offset of the text.
    pub fn span_at(&self, at: usize) -> Option<&OutputSpan> {
        let i = self.spans.partition_point(|s| s.output_range().end <= at);
        self.spans.get(i).filter(|s| s.output_range().start <= at)
    }
}

/// Texts that are facts. Strings are shared, so that a fact is known by its address even after it went through a macro.
#[derive(Default)]
struct Registry {
    texts: Vec<(Arc<str>, Option<String>, Type)>,
}

impl Registry {
    fn value(&mut self, name: Option<&str>, ty: &Type, value: &Plain) -> Value {
        match (ty, value) {
            (_, Plain::Null) => Value::from(()),
            (Type::Float64, Plain::Int64(v)) => Value::from(*v as f64),
            (Type::Numeric | Type::BigNumeric, Plain::Int64(v)) => self.text(name, ty, v.to_string()),
            (Type::Numeric | Type::BigNumeric, Plain::Float64(v)) => self.text(name, ty, v.to_string()),
            (_, Plain::Bool(v)) => Value::from(*v),
            (_, Plain::Int64(v)) => Value::from(*v),
            (_, Plain::Float64(v)) => Value::from(*v),
            (_, Plain::Text(text)) => self.text(name, ty, text.clone()),
            (_, Plain::Array(items)) => {
                let item = match ty {
                    Type::Array(item) => (**item).clone(),
                    other => other.clone(),
                };
                let values = items.iter().map(|v| self.value(None, &item, v)).collect();
                let name = name.unwrap_or_default().to_owned();
                Value::from_object(FactList { name, ty: ty.clone(), plain: value.clone(), values })
            }
        }
    }

    fn text(&mut self, name: Option<&str>, ty: &Type, text: String) -> Value {
        let shared: Arc<str> = Arc::from(text);
        self.texts.push((shared.clone(), name.map(str::to_owned), ty.clone()));
        Value::from(shared)
    }

    fn find(&self, text: &str) -> Option<&(Arc<str>, Option<String>, Type)> {
        self.texts.iter().find(|(known, ..)| std::ptr::eq(known.as_ptr(), text.as_ptr()) && known.len() == text.len())
    }
}

/// A fact that is a list: it knows its type when empty too.
#[derive(Debug)]
struct FactList {
    name: String,
    ty: Type,
    plain: Plain,
    values: Vec<Value>,
}

impl Object for FactList {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.values.get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.values.len())
    }
}

/// What a printed value is.
fn bound(value: &Value, registry: &Registry) -> Result<Bound, String> {
    if let Some(list) = value.downcast_object_ref::<FactList>() {
        let fact = Some(list.name.clone()).filter(|n| !n.is_empty());
        return Ok(Bound { fact, ty: Some(list.ty.clone()), value: list.plain.clone() });
    }
    let of = |ty, value| Ok(Bound { fact: None, ty: Some(ty), value });
    match value.kind() {
        ValueKind::None => Ok(Bound { fact: None, ty: None, value: Plain::Null }),
        ValueKind::Bool => of(Type::Bool, Plain::Bool(value.is_true())),
        ValueKind::Number if value.is_integer() => match i64::try_from(value.clone()) {
            Ok(number) => of(Type::Int64, Plain::Int64(number)),
            Err(_) => Err("this number does not fit INT64".into()),
        },
        ValueKind::Number => match f64::try_from(value.clone()) {
            Ok(number) => of(Type::Float64, Plain::Float64(number)),
            Err(_) => Err("this number does not fit FLOAT64".into()),
        },
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            if text.contains([OPEN, CLOSE]) {
                return Err("SQL text cannot be used as a value".into());
            }
            let plain = Plain::Text(text.to_owned());
            match registry.find(text) {
                Some((_, fact, ty)) => Ok(Bound { fact: fact.clone(), ty: Some(ty.clone()), value: plain }),
                None => of(Type::String, plain),
            }
        }
        ValueKind::Seq | ValueKind::Iterable => list(value, registry),
        other => Err(format!("a {other} cannot be a value of a query")),
    }
}

fn list(value: &Value, registry: &Registry) -> Result<Bound, String> {
    let mut items = Vec::new();
    let mut types: Vec<Type> = Vec::new();
    for item in value.try_iter().map_err(|e| e.to_string())? {
        let item = bound(&item, registry)?;
        match item.ty {
            None => return Err("a list of values cannot hold none".into()),
            Some(Type::Array(_)) => return Err("a list of values cannot hold lists".into()),
            Some(ty) if !types.contains(&ty) => types.push(ty),
            Some(_) => {}
        }
        items.push(item.value);
    }
    let ty = match types.as_slice() {
        [] => return Err("an empty list has no type".into()),
        [one] => one.clone(),
        [Type::Int64, Type::Float64] | [Type::Float64, Type::Int64] => {
            for item in &mut items {
                if let Plain::Int64(v) = item {
                    *item = Plain::Float64(*v as f64);
                }
            }
            Type::Float64
        }
        _ => return Err("the values of a list have different types".into()),
    };
    Ok(Bound { fact: None, ty: Some(Type::Array(Box::new(ty))), value: Plain::Array(items) })
}

/// A file that a template includes: below `exports/`, by a plain path.
fn load(root: &Path, name: &str) -> Result<Option<String>, Error> {
    let good = name.split('/').all(|s| !s.is_empty() && !s.starts_with('.') && !s.contains(['\\', ':', '\0']));
    let path = root.join("exports").join(name);
    if !good || !path.metadata().is_ok_and(|m| m.is_file() && m.len() <= MAX_FILE_BYTES) {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path)
        .map_err(|e| Error::new(ErrorKind::InvalidOperation, format!("exports/{name} cannot be read: {e}")))?;
    allowed(&text).map_err(|reason| Error::new(ErrorKind::InvalidOperation, reason))?;
    Ok(Some(text))
}

/// Marks must be ours, and texts made by macros must stay apart from values.
fn allowed(text: &str) -> Result<(), String> {
    if text.contains([OPEN, CLOSE]) {
        return Err("the characters U+E000 and U+E001 cannot be used in SQL".into());
    }
    if text.contains("autoescape") {
        return Err("`autoescape` cannot be used in SQL".into());
    }
    Ok(())
}

/// Runs the template of a query.
pub fn run(query: &Query, facts: &Facts, root: &Path) -> Result<Run, Problem> {
    let whole = 0..query.sql.len();
    let plain = |message: String| Problem { code: "sql-template", message, file: None, at: whole.clone(), help: None };
    allowed(&query.sql).map_err(plain)?;
    let mut registry = Registry::default();
    let context = context(facts, &mut registry);
    let marks: Arc<Mutex<Vec<Bound>>> = Arc::default();
    let files = Arc::new(Mutex::new(BTreeMap::from([(MAIN.to_owned(), query.sql.clone())])));
    let env = environment(root, registry, marks.clone(), files.clone());
    let outcome =
        env.template_from_named_str(MAIN, &query.sql).and_then(|template| template.render_with_spans(context));
    let files = files.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (text, spans) = outcome.map_err(|error| problem(&error, &files, facts))?;
    let bound = marks.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(Run { text, spans, bound, files })
}

fn context(facts: &Facts, registry: &mut Registry) -> Value {
    let mut all = BTreeMap::new();
    let mut vars = BTreeMap::new();
    for (name, (ty, value)) in &facts.vars {
        vars.insert(name.clone(), registry.value(Some(&format!("vars.{name}")), ty, value));
    }
    for (name, (ty, value)) in &facts.values {
        all.insert(name.clone(), registry.value(Some(name), ty, value));
    }
    all.insert("vars".to_owned(), Value::from(vars));
    Value::from(all)
}

fn environment(
    root: &Path,
    registry: Registry,
    marks: Arc<Mutex<Vec<Bound>>>,
    files: Arc<Mutex<BTreeMap<String, String>>>,
) -> Environment<'static> {
    let mut env = Environment::new();
    env.set_debug(true);
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(RECURSION);
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    // With an escape mode of our own, what macros and captures yield is known from texts that are values.
    env.set_auto_escape_callback(|_| AutoEscape::Custom("sql".into()));
    for filter in ["safe", "escape", "e", "tojson", "urlencode"] {
        env.remove_filter(filter);
    }
    let root = root.to_owned();
    env.set_loader(move |name| {
        let text = load(&root, name)?;
        if let Some(text) = &text {
            files.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), text.clone());
        }
        Ok(text)
    });
    env.set_formatter(move |out, _, value| {
        if value.is_safe() {
            return out.write_str(value.as_str().unwrap_or_default()).map_err(Error::from);
        }
        if value.is_undefined() {
            return Err(Error::from(ErrorKind::UndefinedError));
        }
        let bound = bound(value, &registry).map_err(|reason| Error::new(ErrorKind::InvalidOperation, reason))?;
        let mut marks = marks.lock().unwrap_or_else(PoisonError::into_inner);
        marks.push(bound);
        write!(out, "{OPEN}{}{CLOSE}", marks.len() - 1).map_err(Error::from)
    });
    env
}

/// A template error as a problem: the innermost error knows the place best.
fn problem(error: &Error, files: &BTreeMap<String, String>, facts: &Facts) -> Problem {
    let mut inner = error;
    while let Some(source) = std::error::Error::source(inner).and_then(|s| s.downcast_ref::<Error>()) {
        inner = source;
    }
    let name = inner.name().or(error.name()).unwrap_or(MAIN);
    let text = files.get(name).map(String::as_str).unwrap_or_default();
    let at = inner.range().filter(|r| text.get(r.clone()).is_some()).unwrap_or_else(|| line(text, inner.line()));
    let file = (name != MAIN).then(|| name.to_owned());
    let written = text.get(at.clone()).unwrap_or_default().trim();
    let detail = || inner.detail().map_or_else(|| inner.kind().to_string(), str::to_owned);
    // The engine names the value that was missing in an operation: "(`x` is undefined)".
    let detailed = detail();
    let missing = detailed.strip_suffix("` is undefined)").and_then(|t| t.rsplit_once('`')).map(|(_, name)| name);
    let (code, message, help) = match inner.kind() {
        _ if missing.is_some() => {
            let name = missing.unwrap_or_default();
            ("unknown-name", format!("there is no value `{name}`"), Some(suggestion(name, facts)))
        }
        ErrorKind::UndefinedError => {
            ("unknown-name", format!("there is no value `{written}`"), Some(suggestion(written, facts)))
        }
        ErrorKind::OutOfFuel => ("sql-template", "the template does too much".to_owned(), None),
        ErrorKind::TemplateNotFound => {
            ("missing-file", detail(), Some("a path below exports/, such as sql/games.sql".to_owned()))
        }
        ErrorKind::SyntaxError => ("sql-template", format!("the template cannot be read: {}", detail()), None),
        _ => ("sql-template", detail(), None),
    };
    Problem { code, message, file, at, help }
}

fn line(text: &str, line: Option<usize>) -> std::ops::Range<usize> {
    let before = line.unwrap_or(1).saturating_sub(1);
    let start = text.split_inclusive('\n').take(before).map(str::len).sum::<usize>();
    let end = text[start..].find('\n').map_or(text.len(), |i| start + i);
    start..end
}

/// The fact that an expression's text names, if the printed value is that fact's.
pub fn named(written: &str, value: &Bound, facts: &Facts) -> Option<Bound> {
    let path = written.trim();
    let (ty, fact) = facts.get(path)?;
    let same = match (&value.value, fact) {
        (Plain::Float64(a), Plain::Int64(b)) => *a == *b as f64,
        (a, b) => a == b,
    };
    same.then(|| Bound { fact: Some(path.to_owned()), ty: Some(ty.clone()), value: value.value.clone() })
}
