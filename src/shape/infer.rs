//! What an expression can be, before anything runs: from the columns' types, constants and filters.
//!
//! Only what is certain is said; everything else is [`Base::Unknown`] and fits everything.

use super::compile::{Base as From, LetKind, Source};
use super::expr::Expr;
use super::filters::Filter;
use super::parse::Op;
use super::value::Val;
use crate::model::{Field, Type};
use std::sync::Arc;

/// The type of a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Ty {
    pub base: Base,
    pub null: Null,
}

/// What a value is when it is not null.
#[derive(Debug, Clone, PartialEq)]
pub enum Base {
    Unknown,
    /// Null and nothing else.
    Nothing,
    Bool,
    Int,
    Number,
    Text(Form),
    /// A list; whether it surely has an element.
    List(Box<Ty>, bool),
    Struct(Vec<(String, Ty)>),
    Dict,
    Row(usize),
    Rows(usize),
}

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Any,
    Date,
    Time,
    DateTime,
    Timestamp,
}

/// Whether a value can be null; later ones are stronger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Null {
    Never,
    /// Nothing is known.
    Unknown,
    /// A column may hold NULL, as far as its query tells.
    Column,
    /// The shape itself makes it null under some condition.
    Possible,
    Always,
}

impl Ty {
    pub fn new(base: Base, null: Null) -> Self {
        Self { base, null }
    }

    pub fn unknown() -> Self {
        Self::new(Base::Unknown, Null::Unknown)
    }

    pub fn text() -> Self {
        Self::new(Base::Text(Form::Any), Null::Never)
    }

    /// A column's.
    pub fn column(field: &Field) -> Self {
        // BigQuery answers with an empty list where an ARRAY is NULL.
        let null = match field.ty {
            _ if !field.nullable => Null::Never,
            Type::Array(_) | Type::Json => Null::Unknown,
            _ => Null::Column,
        };
        Self::new(base(&field.ty), null)
    }

    /// One or the other.
    pub fn or(self, other: Ty) -> Ty {
        let null = match (self.null, other.null) {
            (Null::Always, Null::Always) => Null::Always,
            (Null::Always, _) | (_, Null::Always) => Null::Possible,
            (a, b) => a.max(b),
        };
        let base = match (self.base, other.base) {
            (Base::Nothing, base) | (base, Base::Nothing) => base,
            (a, b) if a == b => a,
            (Base::Int | Base::Number, Base::Int | Base::Number) => Base::Number,
            (Base::Text(_), Base::Text(_)) => Base::Text(Form::Any),
            _ => Base::Unknown,
        };
        Ty { base, null }
    }
}

fn base(ty: &Type) -> Base {
    match ty {
        Type::Bool => Base::Bool,
        Type::Int64 => Base::Int,
        Type::Float64 | Type::Numeric | Type::BigNumeric => Base::Number,
        Type::String | Type::Bytes | Type::Geography => Base::Text(Form::Any),
        Type::Date => Base::Text(Form::Date),
        Type::Time => Base::Text(Form::Time),
        Type::DateTime => Base::Text(Form::DateTime),
        Type::Timestamp => Base::Text(Form::Timestamp),
        Type::Interval | Type::Json | Type::Range(_) => Base::Unknown,
        Type::Array(item) => Base::List(Box::new(Ty::new(base(item), Null::Unknown)), false),
        Type::Struct(fields) => {
            Base::Struct(fields.iter().map(|f| (f.name.clone(), Ty::new(base(&f.ty), Null::Unknown))).collect())
        }
    }
}

/// What is bound at a place of the shape, by slot.
#[derive(Debug, Default)]
pub struct Types<'s> {
    queries: &'s [(String, Arc<[Field]>)],
    rows: Vec<Option<usize>>,
    values: Vec<Option<Ty>>,
    sets: Vec<Option<usize>>,
}

impl<'s> Types<'s> {
    /// `each` is the fan-out's query and key column.
    pub fn new(queries: &'s [(String, Arc<[Field]>)], each: Option<(usize, usize)>) -> Self {
        let mut types = Self { queries, ..Self::default() };
        if let Some((table, column)) = each {
            set(&mut types.rows, 0, table);
            set(&mut types.sets, 0, table);
            if let Some(field) = types.field(table, column) {
                // A key that is null has no path, and so no document.
                let key = Ty { null: Null::Never, ..Ty::column(field) };
                set(&mut types.values, 0, key);
            }
        }
        types
    }

    fn field(&self, table: usize, column: usize) -> Option<&'s Field> {
        self.queries.get(table)?.1.get(column)
    }

    /// The type of a column of the row in a slot.
    pub fn cell(&self, slot: usize, column: usize) -> Ty {
        let table = self.rows.get(slot).copied().flatten();
        table.and_then(|table| self.field(table, column)).map_or_else(Ty::unknown, Ty::column)
    }

    /// Binds the names of `$let`.
    pub fn bind_lets(&mut self, lets: &[(usize, LetKind)]) {
        for (slot, kind) in lets {
            match kind {
                LetKind::Value(expr) => {
                    let ty = self.of(expr);
                    set(&mut self.values, *slot, ty);
                }
                LetKind::Rows(source) => set(&mut self.sets, *slot, source.table),
            }
        }
    }

    /// Binds what a source gives to each element.
    pub fn bind_source(&mut self, source: &Source) {
        if let From::Items(expr) = &source.base {
            let item = match self.of(expr).base {
                Base::List(item, _) => *item,
                Base::Rows(table) => Ty::new(Base::Row(table), Null::Never),
                _ => Ty::unknown(),
            };
            set(&mut self.values, source.value_slot, item);
            return;
        }
        set(&mut self.rows, source.row_slot, source.table);
        set(&mut self.sets, source.set_slot, source.table);
        let key = match source.group.as_slice() {
            [column] => self.field(source.table, *column).map_or_else(Ty::unknown, Ty::column),
            _ => Ty::unknown(),
        };
        set(&mut self.values, source.value_slot, key);
    }

    /// What an expression can be.
    pub fn of(&self, expr: &Expr) -> Ty {
        let never = |base| Ty::new(base, Null::Never);
        match expr {
            Expr::Const(value) => constant(value),
            Expr::Cell { slot, column } => self.cell(*slot, *column),
            Expr::Row(slot) => match self.rows.get(*slot).copied().flatten() {
                Some(table) => never(Base::Row(table)),
                None => Ty::unknown(),
            },
            Expr::Value(slot) => self.values.get(*slot).cloned().flatten().unwrap_or_else(Ty::unknown),
            Expr::Set(slot) => match self.sets.get(*slot).copied().flatten() {
                Some(table) => never(Base::Rows(table)),
                None => Ty::unknown(),
            },
            Expr::Query(table) => never(Base::Rows(*table)),
            Expr::LoopIndex(_) | Expr::Count(_) => never(Base::Int),
            Expr::LoopFirst(_) | Expr::LoopLast(_) | Expr::Not(_) | Expr::Test(..) => never(Base::Bool),
            Expr::Doc(_) => Ty::unknown(),
            Expr::Attr(of, name) => self.attribute(of, name),
            Expr::Item(of, _) => match self.of(of).base {
                Base::List(item, _) => Ty::new(item.base, Null::Unknown),
                Base::Rows(table) => Ty::new(Base::Row(table), Null::Unknown),
                _ => Ty::unknown(),
            },
            Expr::Neg(of) => self.of(of),
            Expr::Binary(op, a, b) => self.binary(*op, a, b),
            // What the condition says about the values is not followed.
            Expr::If(_, then, otherwise) => weak(self.of(then)).or(weak(self.of(otherwise))),
            Expr::Filter(filter, of, args) => self.filter(*filter, of, args),
            Expr::List(items) => {
                let item = items.iter().map(|i| self.of(i)).reduce(Ty::or).unwrap_or_else(Ty::unknown);
                never(Base::List(Box::new(item), !items.is_empty()))
            }
            Expr::Dict(_) => never(Base::Dict),
        }
    }

    fn attribute(&self, of: &Expr, name: &str) -> Ty {
        let of = self.of(of);
        let found = match &of.base {
            Base::Row(table) => {
                let fields = self.queries.get(*table).map_or(&[][..], |(_, fields)| fields);
                fields.iter().find(|f| f.name.eq_ignore_ascii_case(name)).map(Ty::column)
            }
            Base::Struct(fields) => fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, ty)| ty.clone()),
            _ => None,
        };
        let mut found = found.unwrap_or_else(Ty::unknown);
        // No row has no column.
        if of.null != Null::Never {
            found.null = found.null.max(Null::Unknown);
        }
        found
    }

    fn binary(&self, op: Op, a: &Expr, b: &Expr) -> Ty {
        let (a, b) = (self.of(a), self.of(b));
        let null = a.null.max(b.null);
        match op {
            Op::And | Op::Or => {
                let either = weak(a).or(weak(b));
                Ty { null: either.null.min(Null::Unknown), ..either }
            }
            Op::Eq | Op::Ne | Op::Lt | Op::Le | Op::Gt | Op::Ge | Op::In | Op::NotIn => {
                Ty::new(Base::Bool, Null::Never)
            }
            Op::Concat => Ty::new(Base::Text(Form::Any), null),
            _ => {
                let base = match (op, a.base, b.base) {
                    (_, Base::Nothing, _) | (_, _, Base::Nothing) => Base::Nothing,
                    (Op::Add, Base::Text(_), Base::Text(_)) => Base::Text(Form::Any),
                    (Op::Add | Op::Sub | Op::Mul | Op::FloorDiv | Op::Rem, Base::Int, Base::Int) => Base::Int,
                    (_, Base::Int | Base::Number, Base::Int | Base::Number) => Base::Number,
                    _ => Base::Unknown,
                };
                Ty::new(base, null)
            }
        }
    }

    fn filter(&self, filter: Filter, of: &Expr, args: &[Expr]) -> Ty {
        let value = self.of(of);
        let null = value.null;
        let text = |null| Ty::new(Base::Text(Form::Any), null);
        match filter {
            Filter::Default | Filter::Default2 => {
                let otherwise = args.first().map_or_else(Ty::unknown, |a| self.of(a));
                Ty { null: Null::Never, ..value }.or(otherwise)
            }
            Filter::Length | Filter::Count => Ty::new(Base::Int, Null::Never),
            Filter::Sum => Ty::new(Base::Number, Null::Never),
            Filter::Avg => Ty::new(Base::Number, Null::Possible),
            Filter::Min | Filter::Max => Ty { null: Null::Possible, ..self.column(&value, args) },
            Filter::Map => Ty::new(Base::List(Box::new(self.column(&value, args)), false), Null::Never),
            Filter::First | Filter::Last => match value.base {
                Base::List(item, true) => Ty { null: item.null.max(null), ..*item },
                Base::List(item, false) => Ty { null: Null::Possible, ..*item },
                Base::Rows(table) => Ty::new(Base::Row(table), Null::Possible),
                _ => Ty::unknown(),
            },
            Filter::SelectAttr | Filter::RejectAttr => match value.base {
                Base::List(item, _) => Ty::new(Base::List(item, false), Null::Never),
                Base::Rows(table) => Ty::new(Base::Rows(table), Null::Never),
                _ => Ty::unknown(),
            },
            Filter::List | Filter::Reverse | Filter::Sort | Filter::Unique => match value.base {
                Base::List(item, some) => Ty::new(Base::List(item, some), Null::Never),
                Base::Rows(table) => Ty::new(Base::Rows(table), Null::Never),
                _ => Ty::unknown(),
            },
            Filter::Join => text(Null::Never),
            Filter::Json => Ty::unknown(),
            Filter::Abs | Filter::Round => match value.base {
                Base::Int => Ty::new(Base::Int, null),
                _ => Ty::new(Base::Number, null),
            },
            Filter::Int => Ty::new(Base::Int, null),
            Filter::Float | Filter::Number => Ty::new(Base::Number, null),
            Filter::Split => Ty::new(Base::List(Box::new(text(Null::Never)), !args.is_empty()), null),
            Filter::String
            | Filter::Upper
            | Filter::Lower
            | Filter::Capitalize
            | Filter::Title
            | Filter::Trim
            | Filter::Replace
            | Filter::Signed
            | Filter::Fixed
            | Filter::Percent
            | Filter::Plural
            | Filter::Date
            | Filter::Slug => text(null),
        }
    }

    /// The column that a filter's first argument names, or the items themselves.
    fn column(&self, of: &Ty, args: &[Expr]) -> Ty {
        let name = match args.first() {
            None => None,
            Some(Expr::Const(Val::Str(name))) => Some(name),
            Some(_) => return Ty::unknown(),
        };
        match (&of.base, name) {
            (Base::List(item, _), None) => (**item).clone(),
            (Base::Rows(table), Some(name)) => {
                let fields = self.queries.get(*table).map_or(&[][..], |(_, fields)| fields);
                fields.iter().find(|f| f.name.eq_ignore_ascii_case(name)).map_or_else(Ty::unknown, Ty::column)
            }
            _ => Ty::unknown(),
        }
    }
}

/// A value that stands under a condition: whether its column is null there is not known.
fn weak(ty: Ty) -> Ty {
    match ty.null {
        Null::Column => Ty { null: Null::Unknown, ..ty },
        _ => ty,
    }
}

fn constant(value: &Val<'_>) -> Ty {
    let base = match value {
        Val::Null => return Ty::new(Base::Nothing, Null::Always),
        Val::Bool(_) => Base::Bool,
        Val::Int(_) => Base::Int,
        Val::Float(_) | Val::Dec(..) => Base::Number,
        Val::Str(_) => Base::Text(Form::Any),
        Val::Date(_) => Base::Text(Form::Date),
        Val::Time(_) => Base::Text(Form::Time),
        Val::DateTime(_) => Base::Text(Form::DateTime),
        Val::Timestamp(_) => Base::Text(Form::Timestamp),
        Val::List(items) => {
            let item = items.iter().map(constant).reduce(Ty::or).unwrap_or_else(Ty::unknown);
            Base::List(Box::new(item), !items.is_empty())
        }
        Val::Dict(_) => Base::Dict,
        _ => return Ty::unknown(),
    };
    Ty::new(base, Null::Never)
}

fn set<T>(slots: &mut Vec<Option<T>>, slot: usize, value: T) {
    if slots.len() <= slot {
        slots.resize_with(slot + 1, || None);
    }
    slots[slot] = Some(value);
}
