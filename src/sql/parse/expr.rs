//! Expressions, by precedence.

use super::lexer::Tok;
use super::{PResult, Parser};
use crate::sql::ast::*;
use crate::sql::error::SqlError;

/// The types that may stand before a text as a literal.
const TYPED: &[&str] =
    &["DATE", "TIME", "DATETIME", "TIMESTAMP", "NUMERIC", "DECIMAL", "BIGNUMERIC", "BIGDECIMAL", "JSON"];

impl Parser {
    pub(super) fn expr(&mut self) -> PResult<Expr> {
        self.nested(Self::or)
    }

    fn node(&self, start: usize, kind: ExprKind) -> Expr {
        Expr { kind, at: self.since(start) }
    }

    fn binary(&mut self, ops: &[(&str, Binary)], next: fn(&mut Self) -> PResult<Expr>) -> PResult<Expr> {
        let start = self.at().start;
        let mut left = next(self)?;
        'more: loop {
            for (symbol, op) in ops {
                if self.eat_sym(symbol) {
                    self.link()?;
                    let right = next(self)?;
                    left = self.node(start, ExprKind::Binary(*op, Box::new(left), Box::new(right)));
                    continue 'more;
                }
            }
            return Ok(left);
        }
    }

    fn or(&mut self) -> PResult<Expr> {
        let start = self.at().start;
        let mut left = self.and()?;
        while self.eat_word("OR") {
            self.link()?;
            let right = self.and()?;
            left = self.node(start, ExprKind::Binary(Binary::Or, Box::new(left), Box::new(right)));
        }
        Ok(left)
    }

    fn and(&mut self) -> PResult<Expr> {
        let start = self.at().start;
        let mut left = self.not()?;
        while self.eat_word("AND") {
            self.link()?;
            let right = self.not()?;
            left = self.node(start, ExprKind::Binary(Binary::And, Box::new(left), Box::new(right)));
        }
        Ok(left)
    }

    fn not(&mut self) -> PResult<Expr> {
        let start = self.at().start;
        if self.eat_word("NOT") {
            let inner = self.nested(Self::not)?;
            return Ok(self.node(start, ExprKind::Unary(Unary::Not, Box::new(inner))));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> PResult<Expr> {
        let start = self.at().start;
        let mut left = self.bit_or()?;
        let mut count = 0;
        loop {
            let kind = if let Some(op) = self.comparison_op() {
                let right = self.bit_or()?;
                if count > 0 {
                    return Err(SqlError::invalid("comparisons in a row need parentheses", &self.since(start)));
                }
                ExprKind::Binary(op, Box::new(left), Box::new(right))
            } else if self.is_word("IS") {
                self.is_suffix(left)?
            } else {
                let not = self.is_word("NOT")
                    && (self.is_word_at(1, "IN") || self.is_word_at(1, "LIKE") || self.is_word_at(1, "BETWEEN"));
                if not {
                    self.pos += 1;
                }
                if self.eat_word("BETWEEN") {
                    let low = Box::new(self.bit_or()?);
                    self.expect_word("AND")?;
                    let high = Box::new(self.bit_or()?);
                    ExprKind::Between { expr: Box::new(left), low, high, not }
                } else if self.eat_word("IN") {
                    ExprKind::In { expr: Box::new(left), set: self.in_set()?, not }
                } else if self.eat_word("LIKE") {
                    self.like(left, not)?
                } else {
                    return Ok(left);
                }
            };
            count += 1;
            self.link()?;
            left = self.node(start, kind);
        }
    }

    fn comparison_op(&mut self) -> Option<Binary> {
        let ops = [
            ("=", Binary::Eq),
            ("<>", Binary::Ne),
            ("!=", Binary::Ne),
            ("<=", Binary::Le),
            (">=", Binary::Ge),
            ("<", Binary::Lt),
            (">", Binary::Gt),
        ];
        ops.into_iter().find(|(symbol, _)| self.eat_sym(symbol)).map(|(_, op)| op)
    }

    fn is_suffix(&mut self, left: Expr) -> PResult<ExprKind> {
        self.expect_word("IS")?;
        let not = self.eat_word("NOT");
        if self.eat_words(&["DISTINCT", "FROM"]) {
            let right = self.bit_or()?;
            return Ok(ExprKind::DistinctFrom { left: Box::new(left), right: Box::new(right), not });
        }
        let what = match self.peek_word().as_deref() {
            Some("NULL" | "UNKNOWN") => Is::Null,
            Some("TRUE") => Is::True,
            Some("FALSE") => Is::False,
            _ => return Err(self.unexpected("NULL, TRUE or FALSE")),
        };
        self.pos += 1;
        Ok(ExprKind::Is { expr: Box::new(left), what, not })
    }

    fn in_set(&mut self) -> PResult<InSet> {
        if self.eat_word("UNNEST") {
            self.expect_sym("(")?;
            let expr = self.expr()?;
            self.expect_sym(")")?;
            return Ok(InSet::Unnest(Box::new(expr)));
        }
        self.expect_sym("(")?;
        let set = if self.starts_query(0) {
            InSet::Query(Box::new(self.query()?))
        } else {
            InSet::List(self.comma_list(Self::expr)?)
        };
        self.expect_sym(")")?;
        Ok(set)
    }

    fn like(&mut self, left: Expr, not: bool) -> PResult<ExprKind> {
        let quantifier = match self.peek_word().as_deref() {
            Some("ANY" | "SOME") => Some(Quantifier::Any),
            Some("ALL") => Some(Quantifier::All),
            _ => None,
        };
        let patterns = if quantifier.is_some() {
            self.pos += 1;
            self.in_set()?
        } else {
            InSet::List(vec![self.bit_or()?])
        };
        if self.is_word("ESCAPE") {
            return Err(SqlError::unsupported("LIKE … ESCAPE", &self.at()));
        }
        Ok(ExprKind::Like { expr: Box::new(left), patterns, quantifier, not })
    }

    /// The input of PIVOT: an expression without IN.
    pub(super) fn pivot_input(&mut self) -> PResult<Expr> {
        self.bit_or()
    }

    fn bit_or(&mut self) -> PResult<Expr> {
        self.binary(&[("|", Binary::BitOr)], Self::bit_xor)
    }

    fn bit_xor(&mut self) -> PResult<Expr> {
        self.binary(&[("^", Binary::BitXor)], Self::bit_and)
    }

    fn bit_and(&mut self) -> PResult<Expr> {
        self.binary(&[("&", Binary::BitAnd)], Self::shift)
    }

    fn shift(&mut self) -> PResult<Expr> {
        self.binary(&[("<<", Binary::ShiftLeft), (">>", Binary::ShiftRight)], Self::add)
    }

    fn add(&mut self) -> PResult<Expr> {
        self.binary(&[("+", Binary::Add), ("-", Binary::Sub)], Self::mul)
    }

    fn mul(&mut self) -> PResult<Expr> {
        self.binary(&[("*", Binary::Mul), ("/", Binary::Div), ("||", Binary::Concat)], Self::unary)
    }

    fn unary(&mut self) -> PResult<Expr> {
        let start = self.at().start;
        if self.eat_sym("-") {
            // A sign before digits belongs to the literal: -9223372036854775808 has no positive twin.
            let literal = match self.peek().tok.clone() {
                Tok::Int(text) if !text.starts_with('-') => Some(ExprKind::Int(format!("-{text}"))),
                Tok::Float(text) => Some(ExprKind::Float(format!("-{text}"))),
                _ => None,
            };
            if let Some(kind) = literal
                && !matches!(self.peek_at(1), Tok::Sym("." | "["))
            {
                self.pos += 1;
                return Ok(self.node(start, kind));
            }
            let inner = self.nested(Self::unary)?;
            return Ok(self.node(start, ExprKind::Unary(Unary::Minus, Box::new(inner))));
        }
        if self.eat_sym("~") {
            let inner = self.nested(Self::unary)?;
            return Ok(self.node(start, ExprKind::Unary(Unary::BitNot, Box::new(inner))));
        }
        if self.eat_sym("+") {
            return self.nested(Self::unary);
        }
        self.postfix()
    }

    fn postfix(&mut self) -> PResult<Expr> {
        let start = self.at().start;
        let mut left = self.primary()?;
        loop {
            if matches!(self.peek().tok, Tok::Sym("." | "[")) {
                self.link()?;
            }
            if self.eat_sym(".") {
                if self.is_sym("*") || self.is_sym("(") {
                    // `t.*` is read by the select list.
                    self.pos -= 1;
                    return Ok(left);
                }
                let name = self.any_word()?;
                left = self.node(start, ExprKind::Field(Box::new(left), name));
                if self.is_sym("(") {
                    left = self.dotted_call(left, start)?;
                }
            } else if self.eat_sym("[") {
                let kind = match self.peek_word().as_deref() {
                    Some("OFFSET") => Index::Offset,
                    Some("ORDINAL") => Index::Ordinal,
                    Some("SAFE_OFFSET") => Index::SafeOffset,
                    Some("SAFE_ORDINAL") => Index::SafeOrdinal,
                    _ => Index::Plain,
                };
                let named = kind != Index::Plain && matches!(self.peek_at(1), Tok::Sym("("));
                let index = if named {
                    self.pos += 2;
                    let index = self.expr()?;
                    self.expect_sym(")")?;
                    index
                } else {
                    self.expr()?
                };
                let kind = if named { kind } else { Index::Plain };
                self.expect_sym("]")?;
                left = self.node(start, ExprKind::Index(Box::new(left), kind, Box::new(index)));
            } else {
                return Ok(left);
            }
        }
    }

    /// `SAFE.f(…)`, `NET.HOST(…)`: the path before the parenthesis is the function's name.
    fn dotted_call(&mut self, path: Expr, start: usize) -> PResult<Expr> {
        let mut parts = Vec::new();
        let mut rest = &path;
        loop {
            match &rest.kind {
                ExprKind::Field(base, name) => {
                    parts.push(name.name.to_ascii_uppercase());
                    rest = base;
                }
                ExprKind::Name(name) => {
                    parts.push(name.name.to_ascii_uppercase());
                    break;
                }
                _ => return Err(SqlError::unsupported("a chained function call", &path.at)),
            }
        }
        parts.reverse();
        let safe = parts[0] == "SAFE" && parts.len() > 1;
        let name = parts[usize::from(safe)..].join(".");
        self.call(name, safe, path.at, start)
    }

    fn primary(&mut self) -> PResult<Expr> {
        let start = self.at().start;
        match self.peek().tok.clone() {
            Tok::Int(text) => {
                self.pos += 1;
                Ok(self.node(start, ExprKind::Int(text)))
            }
            Tok::Float(text) => {
                self.pos += 1;
                Ok(self.node(start, ExprKind::Float(text)))
            }
            Tok::Str(mut text) => {
                self.pos += 1;
                // Literals side by side are one.
                while let Tok::Str(more) = self.peek().tok.clone() {
                    text.push_str(&more);
                    self.pos += 1;
                }
                Ok(self.node(start, ExprKind::Str(text)))
            }
            Tok::Bytes(bytes) => {
                self.pos += 1;
                Ok(self.node(start, ExprKind::Bytes(bytes)))
            }
            Tok::Param(name) => {
                self.pos += 1;
                Ok(self.node(start, ExprKind::Param(name)))
            }
            Tok::Sym("(") => self.parenthesis(start),
            Tok::Sym("[") => self.array(None, start),
            Tok::Word(_, true) => {
                let name = self.any_word()?;
                if self.is_sym("(") {
                    return self.call(name.name.to_ascii_uppercase(), false, name.at, start);
                }
                Ok(self.node(start, ExprKind::Name(name)))
            }
            Tok::Word(word, false) => self.word_expr(&word.to_ascii_uppercase(), start),
            _ => Err(self.unexpected("an expression")),
        }
    }

    /// Whether a query starts `n` tokens ahead, perhaps behind parentheses.
    pub(super) fn starts_query(&self, mut n: usize) -> bool {
        while matches!(self.peek_at(n), Tok::Sym("(")) {
            n += 1;
        }
        self.is_word_at(n, "SELECT") || self.is_word_at(n, "WITH") && !matches!(self.peek_at(n + 1), Tok::Sym("("))
    }

    fn parenthesis(&mut self, start: usize) -> PResult<Expr> {
        if self.starts_query(1) {
            // `((SELECT 1) + 1)` begins like `((SELECT 1))`: try the query first.
            let (pos, depth) = (self.pos, self.depth);
            let outer = |p: &mut Self| {
                p.expect_sym("(")?;
                let query = p.query()?;
                p.expect_sym(")")?;
                Ok(query)
            };
            let tried = outer(self);
            match tried {
                Ok(query) => return Ok(self.node(start, ExprKind::Subquery(Box::new(query)))),
                Err(error) if !matches!(self.tokens[pos + 1].tok, Tok::Sym("(")) => return Err(error),
                Err(_) => {
                    self.pos = pos;
                    self.depth = depth;
                }
            }
        }
        self.expect_sym("(")?;
        let first = self.expr()?;
        if self.is_sym(",") {
            let mut items = vec![(first, None)];
            while self.eat_sym(",") {
                items.push((self.expr()?, None));
            }
            self.expect_sym(")")?;
            return Ok(self.node(start, ExprKind::Struct { ty: None, items }));
        }
        self.expect_sym(")")?;
        Ok(Expr { kind: first.kind, at: self.since(start) })
    }

    fn array(&mut self, ty: Option<TypeName>, start: usize) -> PResult<Expr> {
        self.expect_sym("[")?;
        let items = if self.is_sym("]") { Vec::new() } else { self.comma_list(Self::expr)? };
        self.expect_sym("]")?;
        Ok(self.node(start, ExprKind::Array { ty, items }))
    }

    fn word_expr(&mut self, word: &str, start: usize) -> PResult<Expr> {
        let call_follows = matches!(self.peek_at(1), Tok::Sym("("));
        match word {
            "NULL" => {
                self.pos += 1;
                Ok(self.node(start, ExprKind::Null))
            }
            "TRUE" | "FALSE" => {
                self.pos += 1;
                Ok(self.node(start, ExprKind::Bool(word == "TRUE")))
            }
            "CASE" => self.case(start),
            "CAST" | "SAFE_CAST" if call_follows => self.cast(word == "SAFE_CAST", start),
            "EXTRACT" if call_follows => self.extract(start),
            "EXISTS" if call_follows => {
                self.pos += 2;
                let query = self.query()?;
                self.expect_sym(")")?;
                Ok(self.node(start, ExprKind::Exists(Box::new(query))))
            }
            "INTERVAL" => self.interval(start),
            "ARRAY" => self.array_word(start),
            "STRUCT" => self.struct_word(start),
            "WITH" if call_follows => self.with_expr(start),
            _ if TYPED.contains(&word) && matches!(self.peek_at(1), Tok::Str(_)) => {
                self.pos += 1;
                let Tok::Str(text) = self.advance().tok else { return Err(self.unexpected("a text")) };
                Ok(self.node(start, ExprKind::Typed(word.to_owned(), text)))
            }
            "RANGE" => Err(SqlError::unsupported("RANGE", &self.at())),
            _ if call_follows
                && (!super::is_reserved(word) || matches!(word, "IF" | "LEFT" | "RIGHT" | "GROUPING" | "COLLATE")) =>
            {
                let at = self.advance().at;
                self.call(word.to_owned(), false, at, start)
            }
            _ => {
                let name = self.ident().map_err(|mut e| {
                    e.message = format!("expected an expression, found `{word}`");
                    e
                })?;
                Ok(self.node(start, ExprKind::Name(name)))
            }
        }
    }

    fn with_expr(&mut self, start: usize) -> PResult<Expr> {
        self.pos += 2;
        let mut names = Vec::new();
        while self.is_ident() && self.is_word_at(1, "AS") {
            let name = self.ident()?;
            self.expect_word("AS")?;
            names.push((name, self.expr()?));
            self.expect_sym(",")?;
        }
        let body = Box::new(self.expr()?);
        self.expect_sym(")")?;
        Ok(self.node(start, ExprKind::With { names, body }))
    }

    fn array_word(&mut self, start: usize) -> PResult<Expr> {
        match self.peek_at(1) {
            Tok::Sym("(") => {
                self.pos += 2;
                let query = self.query()?;
                self.expect_sym(")")?;
                Ok(self.node(start, ExprKind::ArrayQuery(Box::new(query))))
            }
            Tok::Sym("[") => {
                self.pos += 1;
                self.array(None, start)
            }
            _ => {
                let ty = self.type_name()?;
                self.array(Some(ty), start)
            }
        }
    }

    fn struct_word(&mut self, start: usize) -> PResult<Expr> {
        let ty = if matches!(self.peek_at(1), Tok::Sym("(")) {
            self.pos += 1;
            None
        } else {
            Some(self.type_name()?)
        };
        self.expect_sym("(")?;
        let mut items = Vec::new();
        if !self.is_sym(")") {
            items = self.comma_list(|p| {
                let expr = p.expr()?;
                let alias = if p.eat_word("AS") { Some(p.ident()?) } else { None };
                Ok((expr, alias))
            })?;
        }
        self.expect_sym(")")?;
        Ok(self.node(start, ExprKind::Struct { ty, items }))
    }

    fn case(&mut self, start: usize) -> PResult<Expr> {
        self.pos += 1;
        let operand = if self.is_word("WHEN") { None } else { Some(Box::new(self.expr()?)) };
        let mut whens = Vec::new();
        while self.eat_word("WHEN") {
            let when = self.expr()?;
            self.expect_word("THEN")?;
            whens.push((when, self.expr()?));
        }
        if whens.is_empty() {
            return Err(self.unexpected("WHEN"));
        }
        let otherwise = if self.eat_word("ELSE") { Some(Box::new(self.expr()?)) } else { None };
        self.expect_word("END")?;
        Ok(self.node(start, ExprKind::Case { operand, whens, otherwise }))
    }

    fn cast(&mut self, safe: bool, start: usize) -> PResult<Expr> {
        self.pos += 2;
        let expr = Box::new(self.expr()?);
        self.expect_word("AS")?;
        let ty = self.type_name()?;
        let mut format = None;
        let mut zone = None;
        if self.eat_word("FORMAT") {
            format = Some(Box::new(self.expr()?));
        }
        if self.eat_words(&["AT", "TIME", "ZONE"]) {
            zone = Some(Box::new(self.expr()?));
        }
        self.expect_sym(")")?;
        Ok(self.node(start, ExprKind::Cast { safe, expr, ty, format, zone }))
    }

    fn extract(&mut self, start: usize) -> PResult<Expr> {
        self.pos += 2;
        let part = Box::new(self.expr()?);
        self.expect_word("FROM")?;
        let expr = Box::new(self.expr()?);
        let zone = if self.eat_words(&["AT", "TIME", "ZONE"]) { Some(Box::new(self.expr()?)) } else { None };
        self.expect_sym(")")?;
        Ok(self.node(start, ExprKind::Extract { part, expr, zone }))
    }

    fn interval(&mut self, start: usize) -> PResult<Expr> {
        self.expect_word("INTERVAL")?;
        let value = Box::new(self.expr()?);
        let from = self.any_word()?;
        let to = if self.eat_word("TO") { Some(self.any_word()?) } else { None };
        Ok(self.node(start, ExprKind::Interval { value, from, to }))
    }

    /// The rest of a call, from its opening parenthesis.
    fn call(&mut self, name: String, safe: bool, name_at: std::ops::Range<usize>, start: usize) -> PResult<Expr> {
        self.expect_sym("(")?;
        let mut call = Call {
            name,
            name_at,
            safe,
            star: false,
            distinct: false,
            args: Vec::new(),
            ignore_nulls: None,
            having: None,
            order_by: Vec::new(),
            limit: None,
            over: None,
        };
        call.distinct = self.eat_word("DISTINCT");
        if self.is_sym("*") {
            self.pos += 1;
            call.star = true;
        } else if !self.is_sym(")") && !self.is_word("ORDER") {
            call.args = self.comma_list(Self::argument)?;
        }
        if self.is_word("IGNORE") || self.is_word("RESPECT") {
            call.ignore_nulls = Some(self.is_word("IGNORE"));
            self.pos += 1;
            self.expect_word("NULLS")?;
        }
        if self.is_word("WHERE") {
            return Err(SqlError::unsupported("WHERE in an aggregate", &self.at()));
        }
        if self.eat_word("HAVING") {
            let max = self.is_word("MAX");
            if !max && !self.is_word("MIN") {
                return Err(self.unexpected("MAX or MIN"));
            }
            self.pos += 1;
            call.having = Some((max, self.expr()?));
        }
        if self.is_word("GROUP") {
            return Err(SqlError::unsupported("GROUP BY in an aggregate", &self.at()));
        }
        if self.eat_words(&["ORDER", "BY"]) {
            call.order_by = self.comma_list(Self::order_item)?;
        }
        if self.eat_word("LIMIT") {
            call.limit = Some(self.expr()?);
        }
        self.expect_sym(")")?;
        if self.eat_word("OVER") {
            call.over =
                Some(if self.is_sym("(") { Over::Spec(self.window_spec()?) } else { Over::Named(self.ident()?) });
        }
        Ok(self.node(start, ExprKind::Call(Box::new(call))))
    }

    fn argument(&mut self) -> PResult<(Option<Ident>, Expr)> {
        if matches!(self.peek_at(1), Tok::Sym("=>")) {
            let name = self.ident()?;
            self.pos += 1;
            return Ok((Some(name), self.expr()?));
        }
        if self.starts_query(0) && !self.is_sym("(") {
            return Err(SqlError::invalid("a subquery needs parentheses", &self.at()));
        }
        let expr = self.expr()?;
        if self.is_word("AS") {
            return Err(SqlError::unsupported("an alias of an argument", &self.at()));
        }
        Ok((None, expr))
    }

    pub(super) fn order_item(&mut self) -> PResult<OrderItem> {
        let expr = self.expr()?;
        if self.is_word("COLLATE") {
            return Err(SqlError::unsupported("COLLATE", &self.at()));
        }
        let desc = self.eat_word("DESC");
        if !desc {
            self.eat_word("ASC");
        }
        let nulls_first = if self.eat_words(&["NULLS", "FIRST"]) {
            Some(true)
        } else if self.eat_words(&["NULLS", "LAST"]) {
            Some(false)
        } else {
            None
        };
        Ok(OrderItem { expr, desc, nulls_first })
    }

    pub(super) fn window_spec(&mut self) -> PResult<WindowSpec> {
        self.expect_sym("(")?;
        let mut spec = WindowSpec::default();
        if self.is_ident() && !self.is_word("PARTITION") {
            spec.base = Some(self.ident()?);
        }
        if self.eat_words(&["PARTITION", "BY"]) {
            spec.partition_by = self.comma_list(Self::expr)?;
        }
        if self.eat_words(&["ORDER", "BY"]) {
            spec.order_by = self.comma_list(Self::order_item)?;
        }
        if self.is_word("ROWS") || self.is_word("RANGE") {
            spec.frame = Some(self.frame()?);
        }
        self.expect_sym(")")?;
        Ok(spec)
    }

    fn frame(&mut self) -> PResult<Frame> {
        let start_at = self.at().start;
        let rows = self.is_word("ROWS");
        self.pos += 1;
        let (start, end) = if self.eat_word("BETWEEN") {
            let start = self.bound()?;
            self.expect_word("AND")?;
            (start, self.bound()?)
        } else {
            (self.bound()?, Bound::CurrentRow)
        };
        Ok(Frame { rows, start, end, at: self.since(start_at) })
    }

    fn bound(&mut self) -> PResult<Bound> {
        if self.eat_words(&["UNBOUNDED", "PRECEDING"]) {
            return Ok(Bound::UnboundedPreceding);
        }
        if self.eat_words(&["UNBOUNDED", "FOLLOWING"]) {
            return Ok(Bound::UnboundedFollowing);
        }
        if self.eat_words(&["CURRENT", "ROW"]) {
            return Ok(Bound::CurrentRow);
        }
        let expr = Box::new(self.expr()?);
        if self.eat_word("PRECEDING") {
            return Ok(Bound::Preceding(expr));
        }
        self.expect_word("FOLLOWING")?;
        Ok(Bound::Following(expr))
    }
}
