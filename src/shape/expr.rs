//! Expressions, compiled once: names are slots and columns, constants are folded, mistakes have places.

use super::filters::{self, Filter, Test};
use super::parse::{self, Ast, AstKind, Op};
use super::scope::{Binding, Locals, Scope};
use super::value::{Val, parse_decimal};
use crate::diagnostics::{Diagnostic, Span, nearest};
use std::borrow::Cow;
use std::ops::Range;
use std::rc::Rc;

/// A compiled expression.
#[derive(Debug, Clone)]
pub enum Expr {
    Const(Val<'static>),
    /// A column of a bound row.
    Cell {
        slot: usize,
        column: usize,
    },
    Row(usize),
    Value(usize),
    Set(usize),
    /// All rows of a query.
    Query(usize),
    LoopIndex(usize),
    LoopFirst(usize),
    LoopLast(usize),
    /// `doc.name`, in asserts.
    Doc(String),
    /// `count("path")`, in asserts.
    Count(String),
    Attr(Box<Expr>, String),
    Item(Box<Expr>, Box<Expr>),
    Neg(Box<Expr>),
    Not(Box<Expr>),
    Binary(Op, Box<Expr>, Box<Expr>),
    If(Box<Expr>, Box<Expr>, Box<Expr>),
    Filter(Filter, Box<Expr>, Vec<Expr>),
    Test(Test, Box<Expr>, Vec<Expr>, bool),
    List(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
}

/// Compiles the text of an expression that stands at `base`. `exact` says that offsets in the text are offsets in the file.
pub struct ExprCompiler<'s> {
    pub scope: &'s Scope,
    pub locals: &'s Locals,
    pub base: Span,
    /// Where the text begins in the file, when its offsets are the file's.
    pub exact: Option<u32>,
    pub findings: &'s mut Vec<Diagnostic>,
    /// Queries that the expression uses other than by their number of rows.
    pub uses: &'s mut Uses,
    /// Whether what has constants alone is evaluated.
    pub fold: bool,
}

/// How queries are used, to find out which can be streamed.
#[derive(Debug, Default, Clone)]
pub struct Uses {
    /// Tables whose rows an expression or a source reads.
    pub rows: Vec<usize>,
    /// Tables whose number of rows is asked for.
    pub lengths: Vec<usize>,
}

impl ExprCompiler<'_> {
    pub fn compile(&mut self, text: &str) -> Expr {
        match parse::parse(text) {
            Ok(ast) if self.fold => fold(self.expr(&ast)),
            Ok(ast) => self.expr(&ast),
            Err(error) => {
                let at = self.span(&error.at);
                self.findings.push(
                    Diagnostic::error("expression-syntax", error.message, at).help(
                        "expressions are written as in Jinja: row.points, a + b, x if y else z, value | round(1)",
                    ),
                );
                Expr::Const(Val::Null)
            }
        }
    }

    fn span(&self, at: &Range<usize>) -> Span {
        match self.exact {
            Some(start) => Span { start: start + at.start as u32, end: start + at.end as u32, ..self.base },
            None => self.base,
        }
    }

    fn unknown<'n>(
        &mut self,
        code: &'static str,
        message: String,
        at: &Range<usize>,
        name: &str,
        known: impl Iterator<Item = &'n str>,
    ) -> Expr {
        let known: Vec<&str> = known.collect();
        let found = Diagnostic::error(code, message, self.span(at));
        self.findings.push(match nearest(name, known.iter().copied()) {
            Some(near) => found.help(format!("did you mean `{near}`?")),
            None if known.is_empty() => found,
            None => {
                let shown: Vec<String> = known.iter().take(12).map(|k| format!("`{k}`")).collect();
                found.help(format!("there is {}{}", shown.join(", "), if known.len() > 12 { ", …" } else { "" }))
            }
        });
        Expr::Const(Val::Null)
    }

    fn boxed(&mut self, ast: &Ast) -> Box<Expr> {
        Box::new(self.expr(ast))
    }

    fn expr(&mut self, ast: &Ast) -> Expr {
        match &ast.kind {
            AstKind::Null => Expr::Const(Val::Null),
            AstKind::Bool(v) => Expr::Const(Val::Bool(*v)),
            AstKind::Int(v) => Expr::Const(Val::Int(*v)),
            AstKind::Number(text) => Expr::Const(match parse_decimal(text) {
                Some((v, scale)) => Val::Dec(v, scale),
                None => Val::Float(text.parse().unwrap_or(f64::NAN)),
            }),
            AstKind::Str(v) => Expr::Const(Val::Str(Cow::Owned(v.clone()))),
            AstKind::List(items) => Expr::List(items.iter().map(|i| self.expr(i)).collect()),
            AstKind::Dict(entries) => Expr::Dict(entries.iter().map(|(k, v)| (self.expr(k), self.expr(v))).collect()),
            AstKind::Name(name) => self.name(name, &ast.at),
            AstKind::Attr(of, name) => self.attribute(of, name, ast),
            AstKind::Item(of, index) => Expr::Item(self.boxed(of), self.boxed(index)),
            AstKind::Neg(of) => Expr::Neg(self.boxed(of)),
            AstKind::Not(of) => Expr::Not(self.boxed(of)),
            AstKind::Binary(op, a, b) => Expr::Binary(*op, self.boxed(a), self.boxed(b)),
            AstKind::If(condition, then, otherwise) => {
                let otherwise = otherwise.as_ref().map_or(Expr::Const(Val::Null), |o| self.expr(o));
                Expr::If(self.boxed(condition), self.boxed(then), Box::new(otherwise))
            }
            AstKind::Filter(of, name, args) => self.filter(of, name, args, ast),
            AstKind::Test(of, name, args, negated) => match filters::test(name) {
                Some(test) => Expr::Test(test, self.boxed(of), args.iter().map(|a| self.expr(a)).collect(), *negated),
                None => self.unknown(
                    "unknown-test",
                    format!("there is no test `{name}`"),
                    &ast.at,
                    name,
                    filters::test_names(),
                ),
            },
            AstKind::Call(name, args) => self.call(name, args, ast),
        }
    }

    fn call(&mut self, name: &str, args: &[Ast], ast: &Ast) -> Expr {
        if self.scope.document && name == "count" {
            if let [Ast { kind: AstKind::Str(path), .. }] = args {
                return Expr::Count(path.clone());
            }
            self.findings.push(
                Diagnostic::error("bad-call", "`count` takes one path in quotes", self.span(&ast.at))
                    .help("such as count(\"games[].players[]\")"),
            );
            return Expr::Const(Val::Null);
        }
        let known: &[&str] = if self.scope.document { &["count"] } else { &[] };
        self.unknown("unknown-function", format!("there is no function `{name}`"), &ast.at, name, known.iter().copied())
    }

    fn name(&mut self, name: &str, at: &Range<usize>) -> Expr {
        match self.locals.get(name) {
            Some(Binding::Row { slot, .. }) => return Expr::Row(*slot),
            Some(Binding::Value { slot }) => return Expr::Value(*slot),
            Some(Binding::Set { slot, .. }) => return Expr::Set(*slot),
            Some(Binding::Loop { .. }) => {
                self.findings.push(
                    Diagnostic::error("bad-name", "`loop` is no value", self.span(at))
                        .help("use loop.index, loop.first or loop.last"),
                );
                return Expr::Const(Val::Null);
            }
            None => {}
        }
        if let Some(value) = self.scope.facts.get(name) {
            return Expr::Const(value.clone());
        }
        if let Some(table) = self.scope.queries.iter().position(|(n, _)| n == name) {
            self.uses.rows.push(table);
            return Expr::Query(table);
        }
        let locals = self.locals.clone();
        let scope = self.scope;
        let known = locals
            .all()
            .chain(scope.facts.keys().map(String::as_str))
            .chain(scope.queries.iter().map(|(n, _)| n.as_str()))
            .chain(["vars"]);
        self.unknown("unknown-name", format!("nothing here is called `{name}`"), at, name, known)
    }

    fn attribute(&mut self, of: &Ast, name: &str, ast: &Ast) -> Expr {
        if let AstKind::Name(base) = &of.kind {
            match self.locals.get(base).cloned() {
                Some(Binding::Row { slot, table }) => return self.cell(base, slot, table, name, ast),
                Some(Binding::Loop { slot }) => {
                    return match name {
                        "index" => Expr::LoopIndex(slot),
                        "first" => Expr::LoopFirst(slot),
                        "last" => Expr::LoopLast(slot),
                        _ => self.unknown(
                            "unknown-name",
                            format!("`loop` has no `{name}`"),
                            &ast.at,
                            name,
                            ["index", "first", "last"].into_iter(),
                        ),
                    };
                }
                Some(_) => {}
                None if base == "vars" => {
                    return match self.scope.vars.get(name) {
                        Some(value) => Expr::Const(value.clone()),
                        None => {
                            let scope = self.scope;
                            self.unknown(
                                "unknown-var",
                                format!("phase6_publishing.yaml has no variable `{name}`"),
                                &ast.at,
                                name,
                                scope.vars.keys().map(String::as_str),
                            )
                        }
                    };
                }
                None if base == "doc" && self.scope.document => return Expr::Doc(name.to_owned()),
                None => {}
            }
        }
        Expr::Attr(self.boxed(of), name.to_owned())
    }

    fn cell(&mut self, base: &str, slot: usize, table: usize, name: &str, ast: &Ast) -> Expr {
        let scope = self.scope;
        // A source that does not exist was a finding.
        let Some((query, fields)) = scope.queries.get(table) else { return Expr::Const(Val::Null) };
        match fields.iter().position(|f| f.name.eq_ignore_ascii_case(name)) {
            Some(column) => Expr::Cell { slot, column },
            None => self.unknown(
                "unknown-column",
                format!("`{base}` is a row of the query `{query}`, which has no column `{name}`"),
                &ast.at,
                name,
                fields.iter().map(|f| f.name.as_str()),
            ),
        }
    }

    fn filter(&mut self, of: &Ast, name: &str, args: &[(Option<String>, Ast)], ast: &Ast) -> Expr {
        let Some(filter) = filters::filter(name) else {
            return self.unknown(
                "unknown-filter",
                format!("there is no filter `{name}`"),
                &ast.at,
                name,
                filters::filter_names(),
            );
        };
        // The number of rows does not need the rows.
        if filter == Filter::Length
            && let AstKind::Name(query) = &of.kind
            && self.locals.get(query).is_none()
            && let Some(table) = self.scope.queries.iter().position(|(n, _)| n == query)
        {
            self.uses.lengths.push(table);
            return Expr::Filter(Filter::Length, Box::new(Expr::Query(table)), Vec::new());
        }
        if let Some(column) =
            args.iter().find(|(n, _)| n.is_none() || n.as_deref() == Some("attribute")).map(|(_, a)| a)
            && filter.takes_column()
            && let AstKind::Str(column_name) = &column.kind
            && let Some(table) = self.table_of(of)
        {
            let scope = self.scope;
            if let Some((query, fields)) = scope.queries.get(table)
                && !fields.iter().any(|f| f.name.eq_ignore_ascii_case(column_name))
            {
                return self.unknown(
                    "unknown-column",
                    format!("the query `{query}` has no column `{column_name}`"),
                    &column.at,
                    column_name,
                    fields.iter().map(|f| f.name.as_str()),
                );
            }
        }
        let (least, most) = filter.arity();
        if args.len() < least || args.len() > most {
            let takes = if least == most { least.to_string() } else { format!("{least} to {most}") };
            self.findings.push(Diagnostic::error(
                "bad-call",
                format!("the filter `{name}` takes {takes} arguments, not {}", args.len()),
                self.span(&ast.at),
            ));
            return Expr::Const(Val::Null);
        }
        Expr::Filter(filter, self.boxed(of), args.iter().map(|(_, a)| self.expr(a)).collect())
    }

    /// The table whose rows an expression gives, where that can be told.
    fn table_of(&self, ast: &Ast) -> Option<usize> {
        match &ast.kind {
            AstKind::Name(name) => match self.locals.get(name) {
                Some(Binding::Set { table, .. }) => Some(*table),
                Some(_) => None,
                None => self.scope.queries.iter().position(|(n, _)| n == name),
            },
            AstKind::Filter(of, name, _)
                if matches!(name.as_str(), "selectattr" | "rejectattr" | "sort" | "unique") =>
            {
                self.table_of(of)
            }
            _ => None,
        }
    }
}

/// Evaluates what has constants alone.
fn fold(expr: Expr) -> Expr {
    fn constant(expr: &Expr) -> bool {
        match expr {
            Expr::Const(_) => true,
            Expr::Neg(a) | Expr::Not(a) | Expr::Attr(a, _) => constant(a),
            Expr::Binary(_, a, b) | Expr::Item(a, b) => constant(a) && constant(b),
            Expr::If(a, b, c) => constant(a) && constant(b) && constant(c),
            Expr::Filter(_, a, args) | Expr::Test(_, a, args, _) => constant(a) && args.iter().all(constant),
            Expr::List(items) => items.iter().all(constant),
            Expr::Dict(entries) => entries.iter().all(|(k, v)| constant(k) && constant(v)),
            _ => false,
        }
    }
    if !matches!(expr, Expr::Const(_)) && constant(&expr) {
        let ctx = super::run::Ctx::nothing();
        let frame = super::run::Frame::default();
        // What fails on constants fails again, with its place, when it runs.
        if let Ok(value) = expr.eval(&ctx, &frame)
            && let Some(value) = owned(&value)
        {
            return Expr::Const(value);
        }
    }
    expr
}

/// A value that borrows nothing.
pub fn owned(value: &Val<'_>) -> Option<Val<'static>> {
    Some(match value {
        Val::Null => Val::Null,
        Val::Bool(v) => Val::Bool(*v),
        Val::Int(v) => Val::Int(*v),
        Val::Float(v) => Val::Float(*v),
        Val::Dec(v, s) => Val::Dec(*v, *s),
        Val::Str(v) => Val::Str(Cow::Owned(v.clone().into_owned())),
        Val::Date(v) => Val::Date(*v),
        Val::Time(v) => Val::Time(*v),
        Val::DateTime(v) => Val::DateTime(*v),
        Val::Timestamp(v) => Val::Timestamp(*v),
        Val::Json(v) => Val::Json(v.clone()),
        Val::List(items) => Val::List(Rc::new(items.iter().map(owned).collect::<Option<_>>()?)),
        Val::Dict(entries) => {
            Val::Dict(Rc::new(entries.iter().map(|(k, v)| Some((owned(k)?, owned(v)?))).collect::<Option<_>>()?))
        }
        _ => return None,
    })
}
