//! What a compiled schema says about values, by the kind of value.

use regex::Regex;
use std::collections::{HashMap, HashSet};

/// Kinds of values as JSON Schema sees them; a number without a fraction is an integer, however it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Null,
    Bool,
    Integer,
    Number,
    Str,
    Array,
    Object,
}

pub const KINDS: [Kind; 7] =
    [Kind::Null, Kind::Bool, Kind::Integer, Kind::Number, Kind::Str, Kind::Array, Kind::Object];

impl Kind {
    pub fn name(self) -> &'static str {
        ["null", "boolean", "integer", "number", "string", "array", "object"][self as usize]
    }
}

/// What happens to a value of some kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Anything goes, also inside.
    Accept,
    /// Its type is not allowed.
    Reject,
    /// No member of `enum` or `const` is of its type.
    NotListed,
    /// See the rules of its kind.
    Check(u32),
}

/// One schema, as a decision for each kind of value.
#[derive(Debug, Clone)]
pub struct Node {
    pub acts: [Act; 7],
    /// The subtree has to be collected for this validator.
    pub whole: Option<u32>,
    /// What `false` booleans and friends may be, said once for messages.
    pub listed: Option<Box<Listed>>,
}

/// The node that takes everything, and the one that takes nothing.
pub const ANY: u32 = 0;
pub const NEVER: u32 = 1;

/// `enum` or `const` over scalars.
#[derive(Debug, Clone, Default)]
pub struct Listed {
    pub rule: &'static str,
    pub null: bool,
    pub bools: [bool; 2],
    /// In their canonical text.
    pub numbers: Vec<String>,
    /// As the schema says it, for messages.
    pub text: String,
}

#[derive(Debug, Default)]
pub struct NumberRules {
    pub min: Option<f64>,
    pub max: Option<f64>,
    pub above: Option<f64>,
    pub below: Option<f64>,
    pub multiple_of: Option<f64>,
    pub listed: Option<Listed>,
}

impl NumberRules {
    pub fn is_empty(&self) -> bool {
        self.min.or(self.max).or(self.above).or(self.below).or(self.multiple_of).is_none() && self.listed.is_none()
    }

    /// The rule that the number breaks, and its bound.
    #[inline]
    pub fn check(&self, value: f64, canonical: impl FnOnce() -> String) -> Option<(&'static str, String)> {
        let fails = |bound: Option<f64>, bad: fn(f64, f64) -> bool| bound.filter(|b| bad(value, *b));
        let broken = |bound: f64, rule, says: &str| Some((rule, format!("{says} {bound}")));
        if let Some(b) = fails(self.min, |v, b| v < b) {
            return broken(b, "minimum", "is less than");
        }
        if let Some(b) = fails(self.max, |v, b| v > b) {
            return broken(b, "maximum", "is greater than");
        }
        if let Some(b) = fails(self.above, |v, b| v <= b) {
            return broken(b, "exclusiveMinimum", "is not greater than");
        }
        if let Some(b) = fails(self.below, |v, b| v >= b) {
            return broken(b, "exclusiveMaximum", "is not less than");
        }
        if let Some(b) = fails(self.multiple_of, |v, b| !is_multiple(v, b)) {
            return broken(b, "multipleOf", "is not a multiple of");
        }
        let listed = self.listed.as_ref()?;
        let text = canonical();
        (!listed.numbers.contains(&text)).then(|| (listed.rule, format!("is not {}", listed.text)))
    }
}

/// Decides by the decimal texts of both, so that 0.3 is a multiple of 0.1.
fn is_multiple(value: f64, of: f64) -> bool {
    match (decimal(value), decimal(of)) {
        (Some((v, vs)), Some((o, os))) => {
            let scale = vs.max(os);
            let widen = |x: i128, s: u32| 10_i128.checked_pow(scale - s).and_then(|p| x.checked_mul(p));
            match (widen(v, vs), widen(o, os)) {
                (Some(v), Some(o)) if o != 0 => v % o == 0,
                _ => value % of == 0.0,
            }
        }
        _ => value % of == 0.0,
    }
}

fn decimal(value: f64) -> Option<(i128, u32)> {
    let text = format!("{value}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    Some((digits, fraction.len() as u32))
}

#[derive(Debug, Default)]
pub struct StringRules {
    pub min: usize,
    pub max: Option<usize>,
    pub pattern: Option<(Regex, String)>,
    pub format: Option<super::formats::Format>,
    pub listed: Option<StringList>,
}

/// The texts of an `enum` or `const`.
#[derive(Debug)]
pub struct StringList {
    pub rule: &'static str,
    pub few: Vec<Box<str>>,
    pub many: HashSet<Box<str>>,
    pub text: String,
}

impl StringList {
    pub fn new(rule: &'static str, texts: Vec<Box<str>>, text: String) -> Self {
        if texts.len() <= 8 {
            return Self { rule, few: texts, many: HashSet::new(), text };
        }
        Self { rule, few: Vec::new(), many: texts.into_iter().collect(), text }
    }

    fn contains(&self, text: &str) -> bool {
        self.few.iter().any(|t| **t == *text) || self.many.contains(text)
    }
}

impl StringRules {
    pub fn is_empty(&self) -> bool {
        self.min == 0 && self.max.is_none() && self.pattern.is_none() && self.format.is_none() && self.listed.is_none()
    }

    /// The rule that the text breaks, and what to say of it.
    #[inline]
    pub fn check(&self, text: &str) -> Option<(&'static str, String)> {
        if text.len() < self.min.saturating_mul(4) && text.chars().count() < self.min {
            return Some(("minLength", format!("is shorter than {} characters", self.min)));
        }
        if let Some(max) = self.max
            && text.len() > max
            && text.chars().count() > max
        {
            return Some(("maxLength", format!("is longer than {max} characters")));
        }
        if let Some(listed) = &self.listed
            && !listed.contains(text)
        {
            return Some((listed.rule, format!("is not {}", listed.text)));
        }
        if let Some(format) = &self.format
            && !format.holds(text)
        {
            return Some(("format", format!("is not a `{}`", format.name())));
        }
        match &self.pattern {
            Some((pattern, written)) if !pattern.is_match(text) => {
                Some(("pattern", format!("does not match `{written}`")))
            }
            _ => None,
        }
    }
}

#[derive(Debug, Default)]
pub struct ArrayRules {
    pub prefix: Vec<u32>,
    pub items: u32,
    pub min: u64,
    pub max: Option<u64>,
    pub unique: bool,
}

/// A property that the schema names.
#[derive(Debug)]
pub struct Property {
    pub name: Box<str>,
    pub node: u32,
}

#[derive(Debug, Default)]
pub struct ObjectRules {
    /// In the order of the schema, which is most often that of the document.
    pub properties: Vec<Property>,
    pub index: HashMap<Box<str>, u32>,
    /// One bit for each of `properties`.
    pub required: Vec<u64>,
    pub pattern: Option<(Regex, u32)>,
    pub additional: u32,
    /// Rules of `propertyNames`.
    pub names: Option<u32>,
    pub min: u64,
    pub max: Option<u64>,
}
