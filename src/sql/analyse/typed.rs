//! An expression whose type is known, with the DuckDB text that computes it.

use crate::model::Type;
use crate::model::types::StructField;
use std::ops::Range;

/// What is known of an expression's value while lowering.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Lit {
    No,
    /// NULL without a type of its own.
    Null,
    Int(i128),
    /// A FLOAT64 literal's text.
    Float(String),
    Str(String),
    /// A parameter: it coerces like a literal.
    Param,
    /// An array or struct made of `parts`.
    Composite,
    /// ERROR(…): stands where any type is wanted; its part is the message.
    Error,
}

/// A lowered expression.
#[derive(Debug, Clone)]
pub(crate) struct Typed {
    pub sql: String,
    pub ty: Type,
    pub nullable: bool,
    pub lit: Lit,
    pub parts: Vec<Typed>,
    /// A NUMERIC whose DECIMAL may be narrower than (38, 9).
    pub loose: bool,
    /// Whether computing it can fail.
    pub fails: bool,
    pub at: Range<usize>,
}

impl Typed {
    pub fn new(sql: impl Into<String>, ty: Type) -> Self {
        Self {
            sql: sql.into(),
            ty,
            nullable: true,
            lit: Lit::No,
            parts: Vec::new(),
            loose: false,
            fails: true,
            at: 0..0,
        }
    }

    pub fn at(mut self, at: &Range<usize>) -> Self {
        self.at = at.clone();
        self
    }

    pub fn nullable(mut self, nullable: bool) -> Self {
        self.nullable = nullable;
        self
    }

    /// Marks an expression that cannot fail where its arguments did not.
    pub fn total(mut self, args: &[&Typed]) -> Self {
        self.fails = args.iter().any(|a| a.fails);
        self
    }

    pub fn is_null_literal(&self) -> bool {
        matches!(self.lit, Lit::Null | Lit::Error)
    }

    pub fn is_literal(&self) -> bool {
        !matches!(self.lit, Lit::No | Lit::Param | Lit::Composite)
    }
}

/// Texts longer than this are not written twice where a function of our own saves it.
pub(crate) const LONG: usize = 400;

/// The DuckDB type that holds a GoogleSQL type.
pub(crate) fn phys(ty: &Type) -> String {
    match ty {
        Type::Bool => "BOOLEAN".into(),
        Type::Int64 => "BIGINT".into(),
        Type::Float64 => "DOUBLE".into(),
        Type::Numeric => "DECIMAL(38,9)".into(),
        // `sql::big` says how a BIGNUMERIC lies in a BLOB.
        Type::Bytes | Type::BigNumeric => "BLOB".into(),
        Type::Date => "DATE".into(),
        Type::Time => "TIME".into(),
        Type::DateTime => "TIMESTAMP".into(),
        Type::Timestamp => "TIMESTAMPTZ".into(),
        Type::Interval => "INTERVAL".into(),
        Type::String | Type::Json | Type::Geography | Type::Range(_) => "VARCHAR".into(),
        Type::Array(item) => format!("{}[]", phys(item)),
        Type::Struct(fields) => {
            let names = field_names(fields);
            let fields: Vec<String> =
                fields.iter().zip(names).map(|(f, n)| format!("{} {}", quoted(&n), phys(&f.ty))).collect();
            format!("STRUCT({})", fields.join(", "))
        }
    }
}

/// Whether BIGNUMERIC stands within an array or a struct: from outside it comes as text, which is turned into what `phys` says
/// only where it stands alone.
pub(crate) fn nests_big(ty: &Type) -> bool {
    let within = |ty: &Type| *ty == Type::BigNumeric || nests_big(ty);
    match ty {
        Type::Array(item) => within(item),
        Type::Struct(fields) => fields.iter().any(|f| within(&f.ty)),
        _ => false,
    }
}

/// The names that a struct's fields have in DuckDB, where every field needs its own.
pub(crate) fn field_names(fields: &[StructField]) -> Vec<String> {
    let mut out: Vec<String> = Vec::with_capacity(fields.len());
    for (i, field) in fields.iter().enumerate() {
        let taken = out.iter().any(|n| n.eq_ignore_ascii_case(&field.name));
        out.push(if field.name.is_empty() || taken { format!("_f{}", i + 1) } else { field.name.clone() });
    }
    out
}

/// A quoted identifier.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A quoted text.
pub(crate) fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// `CAST(NULL AS t)`.
pub(crate) fn null_of(ty: &Type) -> String {
    format!("CAST(NULL AS {})", phys(ty))
}

/// Text that fails with a message when it is computed.
pub(crate) fn fail(message: &str, ty: &Type) -> String {
    // DuckDB's own `error` is volatile: it is never computed early for two places at once.
    format!("CAST(error({}) AS {})", text(message), phys(ty))
}
