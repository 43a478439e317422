//! The statement as a tree: GoogleSQL's SELECT, and nothing that it does not have. Every node knows its byte range.

use std::ops::Range;

/// A name as written.
#[derive(Debug, Clone, PartialEq)]
pub struct Ident {
    pub name: String,
    pub at: Range<usize>,
}

/// An expression with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    pub kind: ExprKind,
    pub at: Range<usize>,
}

/// A type as written.
#[derive(Debug, Clone, PartialEq)]
pub struct TypeName {
    pub kind: TypeKind,
    pub at: Range<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum TypeKind {
    /// A simple type and its parameters: `NUMERIC(10, 2)`.
    Simple(String, Vec<i64>),
    Array(Box<TypeName>),
    Struct(Vec<(Option<Ident>, TypeName)>),
    Range(Box<TypeName>),
}

#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    Null,
    Bool(bool),
    /// Decimal digits with an optional sign.
    Int(String),
    Float(String),
    Str(String),
    Bytes(Vec<u8>),
    /// `DATE '…'`: the type's name in upper case and the text.
    Typed(String, String),
    Interval {
        value: Box<Expr>,
        from: Ident,
        to: Option<Ident>,
    },
    Param(String),
    Name(Ident),
    Field(Box<Expr>, Ident),
    Index(Box<Expr>, Index, Box<Expr>),
    Unary(Unary, Box<Expr>),
    Binary(Binary, Box<Expr>, Box<Expr>),
    Is {
        expr: Box<Expr>,
        what: Is,
        not: bool,
    },
    DistinctFrom {
        left: Box<Expr>,
        right: Box<Expr>,
        not: bool,
    },
    Between {
        expr: Box<Expr>,
        low: Box<Expr>,
        high: Box<Expr>,
        not: bool,
    },
    In {
        expr: Box<Expr>,
        set: InSet,
        not: bool,
    },
    Like {
        expr: Box<Expr>,
        patterns: InSet,
        quantifier: Option<Quantifier>,
        not: bool,
    },
    Case {
        operand: Option<Box<Expr>>,
        whens: Vec<(Expr, Expr)>,
        otherwise: Option<Box<Expr>>,
    },
    Cast {
        safe: bool,
        expr: Box<Expr>,
        ty: TypeName,
        format: Option<Box<Expr>>,
        zone: Option<Box<Expr>>,
    },
    Extract {
        part: Box<Expr>,
        expr: Box<Expr>,
        zone: Option<Box<Expr>>,
    },
    Call(Box<Call>),
    Array {
        ty: Option<TypeName>,
        items: Vec<Expr>,
    },
    ArrayQuery(Box<Query>),
    Struct {
        ty: Option<TypeName>,
        items: Vec<(Expr, Option<Ident>)>,
    },
    Subquery(Box<Query>),
    Exists(Box<Query>),
    With {
        names: Vec<(Ident, Expr)>,
        body: Box<Expr>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Index {
    Plain,
    Offset,
    Ordinal,
    SafeOffset,
    SafeOrdinal,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unary {
    Not,
    Minus,
    BitNot,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Binary {
    Or,
    And,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    BitOr,
    BitXor,
    BitAnd,
    ShiftLeft,
    ShiftRight,
    Add,
    Sub,
    Mul,
    Div,
    Concat,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Is {
    Null,
    True,
    False,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Quantifier {
    Any,
    All,
}

#[derive(Debug, Clone, PartialEq)]
pub enum InSet {
    List(Vec<Expr>),
    Query(Box<Query>),
    Unnest(Box<Expr>),
}

/// A function's call with everything that aggregates and windows may add.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Upper case, without a SAFE prefix: `NET.HOST`.
    pub name: String,
    pub name_at: Range<usize>,
    pub safe: bool,
    pub star: bool,
    pub distinct: bool,
    pub args: Vec<(Option<Ident>, Expr)>,
    /// `true` = IGNORE NULLS.
    pub ignore_nulls: Option<bool>,
    /// HAVING MAX (`true`) or MIN.
    pub having: Option<(bool, Expr)>,
    pub order_by: Vec<OrderItem>,
    pub limit: Option<Expr>,
    pub over: Option<Over>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Over {
    Named(Ident),
    Spec(WindowSpec),
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct WindowSpec {
    pub base: Option<Ident>,
    pub partition_by: Vec<Expr>,
    pub order_by: Vec<OrderItem>,
    pub frame: Option<Frame>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    pub rows: bool,
    pub start: Bound,
    pub end: Bound,
    pub at: Range<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Bound {
    UnboundedPreceding,
    Preceding(Box<Expr>),
    CurrentRow,
    Following(Box<Expr>),
    UnboundedFollowing,
}

#[derive(Debug, Clone, PartialEq)]
pub struct OrderItem {
    pub expr: Expr,
    pub desc: bool,
    pub nulls_first: Option<bool>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    pub recursive: bool,
    pub with: Vec<(Ident, Query)>,
    pub body: SetExpr,
    pub order_by: Vec<OrderItem>,
    pub limit: Option<Expr>,
    pub offset: Option<Expr>,
    pub at: Range<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum SetExpr {
    Select(Box<Select>),
    Query(Box<Query>),
    Op { op: SetOp, all: bool, items: Vec<SetExpr>, at: Range<usize> },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SetOp {
    Union,
    Intersect,
    Except,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SelectAs {
    Columns,
    Struct,
    Value,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Select {
    pub distinct: bool,
    pub select_as: SelectAs,
    pub items: Vec<SelectItem>,
    pub from: Option<TableExpr>,
    pub filter: Option<Expr>,
    pub group_by: Option<GroupBy>,
    pub having: Option<Expr>,
    pub qualify: Option<Expr>,
    pub windows: Vec<(Ident, Over)>,
    pub at: Range<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum SelectItem {
    Expr {
        expr: Expr,
        alias: Option<Ident>,
    },
    /// `*` (no base) or `base.*`.
    Star {
        base: Option<Expr>,
        except: Vec<Ident>,
        replace: Vec<(Expr, Ident)>,
        at: Range<usize>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub enum GroupBy {
    All,
    Items(Vec<GroupItem>),
}

#[derive(Debug, Clone, PartialEq)]
pub enum GroupItem {
    Expr(Expr),
    /// Sets of expressions: `ROLLUP (a, (b, c))`.
    Rollup(Vec<Vec<Expr>>),
    Cube(Vec<Vec<Expr>>),
    Sets(Vec<GroupSet>),
}

#[derive(Debug, Clone, PartialEq)]
pub enum GroupSet {
    Exprs(Vec<Expr>),
    Rollup(Vec<Vec<Expr>>),
    Cube(Vec<Vec<Expr>>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum JoinKind {
    Cross,
    Inner,
    Left,
    Right,
    Full,
}

#[derive(Debug, Clone, PartialEq)]
pub enum JoinOn {
    None,
    On(Expr),
    Using(Vec<Ident>),
}

#[derive(Debug, Clone, PartialEq)]
pub enum TableExpr {
    Table { path: Vec<Ident>, alias: Option<Ident>, at: Range<usize> },
    Unnest { expr: Expr, alias: Option<Ident>, offset: Option<Option<Ident>>, at: Range<usize> },
    Sub { query: Box<Query>, alias: Option<Ident> },
    Join { kind: JoinKind, left: Box<TableExpr>, right: Box<TableExpr>, on: JoinOn, at: Range<usize> },
    Pivot { input: Box<TableExpr>, pivot: Box<Pivot>, alias: Option<Ident>, at: Range<usize> },
    Unpivot { input: Box<TableExpr>, unpivot: Box<Unpivot>, alias: Option<Ident>, at: Range<usize> },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Pivot {
    pub aggregates: Vec<(Expr, Option<Ident>)>,
    pub input: Expr,
    pub values: Vec<(Expr, Option<Ident>)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Unpivot {
    pub include_nulls: bool,
    pub values: Vec<Ident>,
    pub name: Ident,
    /// The columns of one output row, and the label (an expression of a literal) if written.
    pub groups: Vec<(Vec<Ident>, Option<Expr>)>,
}
