//! Queries: WITH, set operations, SELECT and its clauses, FROM.

use super::lexer::Tok;
use super::{PResult, Parser};
use crate::sql::ast::*;
use crate::sql::error::SqlError;

impl Parser {
    pub(super) fn query(&mut self) -> PResult<Query> {
        self.nested(Self::query_inner)
    }

    fn query_inner(&mut self) -> PResult<Query> {
        let start = self.at().start;
        let mut with = Vec::new();
        let mut recursive = false;
        if self.eat_word("WITH") {
            recursive = self.eat_word("RECURSIVE");
            with = self.comma_list(|p| {
                let name = p.ident()?;
                if p.is_sym("(") {
                    return Err(SqlError::unsupported("a column list of a WITH query", &p.at()));
                }
                p.expect_word("AS")?;
                p.expect_sym("(")?;
                let query = p.query()?;
                p.expect_sym(")")?;
                if p.is_words(&["WITH", "DEPTH"]) {
                    return Err(SqlError::unsupported("WITH DEPTH", &p.at()));
                }
                Ok((name, query))
            })?;
        }
        let body = self.set_expr()?;
        let mut order_by = Vec::new();
        if self.eat_words(&["ORDER", "BY"]) {
            order_by = self.comma_list(Self::order_item)?;
        }
        let (mut limit, mut offset) = (None, None);
        if self.eat_word("LIMIT") {
            limit = Some(self.expr()?);
            if self.eat_word("OFFSET") {
                offset = Some(self.expr()?);
            }
        }
        if self.is_sym("|>") {
            return Err(SqlError::unsupported("pipe syntax", &self.at()));
        }
        Ok(Query { recursive, with, body, order_by, limit, offset, at: self.since(start) })
    }

    fn set_expr(&mut self) -> PResult<SetExpr> {
        let start = self.at().start;
        let first = self.set_primary()?;
        let mut found: Option<(SetOp, bool)> = None;
        let mut items = vec![first];
        loop {
            let op = match self.peek_word().as_deref() {
                Some("UNION") => SetOp::Union,
                Some("INTERSECT") => SetOp::Intersect,
                Some("EXCEPT") => SetOp::Except,
                Some("FULL" | "LEFT" | "INNER" | "OUTER") if items.len() > 1 || self.by_name_follows() => {
                    return Err(SqlError::unsupported("a set operation by name", &self.at()));
                }
                _ => break,
            };
            let at = self.at();
            self.pos += 1;
            let all = self.is_word("ALL");
            if !all && !self.is_word("DISTINCT") {
                return Err(self.unexpected("ALL or DISTINCT"));
            }
            self.pos += 1;
            if self.is_words(&["BY", "NAME"]) || self.is_word("CORRESPONDING") || self.is_word("STRICT") {
                return Err(SqlError::unsupported("a set operation by name", &self.at()));
            }
            if found.is_some_and(|f| f != (op, all)) {
                return Err(SqlError::invalid("different set operations need parentheses", &at));
            }
            found = Some((op, all));
            items.push(self.set_primary()?);
        }
        match found {
            None => Ok(items.remove(0)),
            Some((op, all)) => Ok(SetExpr::Op { op, all, items, at: self.since(start) }),
        }
    }

    fn by_name_follows(&self) -> bool {
        (1..4).any(|n| matches!(self.word_at(n).as_deref(), Some("UNION" | "INTERSECT" | "EXCEPT")))
    }

    fn set_primary(&mut self) -> PResult<SetExpr> {
        if self.eat_sym("(") {
            let query = self.query()?;
            self.expect_sym(")")?;
            return Ok(SetExpr::Query(Box::new(query)));
        }
        Ok(SetExpr::Select(Box::new(self.select()?)))
    }

    fn select(&mut self) -> PResult<Select> {
        let start = self.at().start;
        self.expect_word("SELECT")?;
        if self.is_sym("@") {
            return Err(SqlError::unsupported("a hint", &self.at()));
        }
        let distinct = self.eat_word("DISTINCT");
        if !distinct {
            self.eat_word("ALL");
        }
        let mut select_as = SelectAs::Columns;
        if self.is_words(&["AS", "STRUCT"]) {
            self.pos += 2;
            select_as = SelectAs::Struct;
        } else if self.is_words(&["AS", "VALUE"]) {
            self.pos += 2;
            select_as = SelectAs::Value;
        } else if self.is_word("AS") {
            return Err(SqlError::unsupported("SELECT AS a type", &self.at()));
        }
        let mut items = vec![self.select_item()?];
        while self.eat_sym(",") {
            // A comma may end the list.
            let ends = ["FROM", "WHERE", "UNION", "INTERSECT", "EXCEPT", "ORDER", "LIMIT", "GROUP"];
            if ends.iter().any(|w| self.is_word(w)) || self.is_sym(")") || self.peek().tok == Tok::End {
                break;
            }
            items.push(self.select_item()?);
        }
        let from = if self.eat_word("FROM") { Some(self.from()?) } else { None };
        let filter = if self.eat_word("WHERE") { Some(self.expr()?) } else { None };
        let group_by = if self.eat_word("GROUP") { Some(self.group_by()?) } else { None };
        let having = if self.eat_word("HAVING") { Some(self.expr()?) } else { None };
        let qualify = if self.eat_word("QUALIFY") { Some(self.expr()?) } else { None };
        let mut windows = Vec::new();
        if self.eat_word("WINDOW") {
            windows = self.comma_list(|p| {
                let name = p.ident()?;
                p.expect_word("AS")?;
                let over = if p.is_sym("(") { Over::Spec(p.window_spec()?) } else { Over::Named(p.ident()?) };
                Ok((name, over))
            })?;
        }
        Ok(Select {
            distinct,
            select_as,
            items,
            from,
            filter,
            group_by,
            having,
            qualify,
            windows,
            at: self.since(start),
        })
    }

    fn select_item(&mut self) -> PResult<SelectItem> {
        let start = self.at().start;
        if self.eat_sym("*") {
            return self.star(None, start);
        }
        let expr = self.expr()?;
        if self.is_sym(".") && matches!(self.peek_at(1), Tok::Sym("*")) {
            self.pos += 2;
            return self.star(Some(expr), start);
        }
        let alias = if self.eat_word("AS") || self.is_ident() { Some(self.ident()?) } else { None };
        Ok(SelectItem::Expr { expr, alias })
    }

    fn star(&mut self, base: Option<Expr>, start: usize) -> PResult<SelectItem> {
        let mut except = Vec::new();
        let mut replace = Vec::new();
        if self.is_word("EXCEPT") && matches!(self.peek_at(1), Tok::Sym("(")) {
            self.pos += 2;
            except = self.comma_list(Self::ident)?;
            self.expect_sym(")")?;
        }
        if self.is_word("REPLACE") && matches!(self.peek_at(1), Tok::Sym("(")) {
            self.pos += 2;
            replace = self.comma_list(|p| {
                let expr = p.expr()?;
                p.expect_word("AS")?;
                Ok((expr, p.ident()?))
            })?;
            self.expect_sym(")")?;
        }
        Ok(SelectItem::Star { base, except, replace, at: self.since(start) })
    }

    fn group_by(&mut self) -> PResult<GroupBy> {
        self.expect_word("BY")?;
        if self.eat_word("ALL") {
            return Ok(GroupBy::All);
        }
        Ok(GroupBy::Items(self.comma_list(|p| {
            if p.is_words(&["GROUPING", "SETS"]) {
                p.pos += 2;
                p.expect_sym("(")?;
                let sets = p.comma_list(|p| {
                    Ok(match p.grouping_list()? {
                        Some((true, sets)) => GroupSet::Rollup(sets),
                        Some((false, sets)) => GroupSet::Cube(sets),
                        None => GroupSet::Exprs(p.group_set()?),
                    })
                })?;
                p.expect_sym(")")?;
                return Ok(GroupItem::Sets(sets));
            }
            Ok(match p.grouping_list()? {
                Some((true, sets)) => GroupItem::Rollup(sets),
                Some((false, sets)) => GroupItem::Cube(sets),
                None if p.is_sym("(") && matches!(p.peek_at(1), Tok::Sym(")")) => {
                    p.pos += 2;
                    GroupItem::Sets(vec![GroupSet::Exprs(Vec::new())])
                }
                None => GroupItem::Expr(p.expr()?),
            })
        })?))
    }

    /// `ROLLUP (…)` (`true`) or `CUBE (…)`.
    fn grouping_list(&mut self) -> PResult<Option<(bool, Vec<Vec<Expr>>)>> {
        let rollup = self.is_word("ROLLUP");
        if !rollup && !self.is_word("CUBE") {
            return Ok(None);
        }
        self.pos += 1;
        self.expect_sym("(")?;
        let sets = self.comma_list(Self::group_set)?;
        self.expect_sym(")")?;
        Ok(Some((rollup, sets)))
    }

    /// `()`, `a` or `(a, b)`.
    fn group_set(&mut self) -> PResult<Vec<Expr>> {
        if self.is_sym("(") && matches!(self.peek_at(1), Tok::Sym(")")) {
            self.pos += 2;
            return Ok(Vec::new());
        }
        let expr = self.expr()?;
        match expr.kind {
            ExprKind::Struct { ty: None, ref items } if items.iter().all(|(_, a)| a.is_none()) => {
                Ok(items.iter().map(|(e, _)| e.clone()).collect())
            }
            _ => Ok(vec![expr]),
        }
    }

    fn from(&mut self) -> PResult<TableExpr> {
        let start = self.at().start;
        let mut left = self.joins()?;
        while self.eat_sym(",") {
            let right = self.table_primary()?;
            left = self.join_node(JoinKind::Cross, left, right, JoinOn::None, start);
            left = self.join_rest(left, start)?;
        }
        Ok(left)
    }

    fn join_node(&self, kind: JoinKind, left: TableExpr, right: TableExpr, on: JoinOn, start: usize) -> TableExpr {
        TableExpr::Join { kind, left: Box::new(left), right: Box::new(right), on, at: self.since(start) }
    }

    fn joins(&mut self) -> PResult<TableExpr> {
        let start = self.at().start;
        let left = self.table_primary()?;
        self.join_rest(left, start)
    }

    fn join_kind(&mut self) -> PResult<Option<JoinKind>> {
        let kind = match self.peek_word().as_deref() {
            Some("JOIN") => JoinKind::Inner,
            Some("INNER") => JoinKind::Inner,
            Some("CROSS") => JoinKind::Cross,
            Some("LEFT") => JoinKind::Left,
            Some("RIGHT") => JoinKind::Right,
            Some("FULL") => JoinKind::Full,
            Some("NATURAL" | "LATERAL") => return Err(SqlError::unsupported("this form of join", &self.at())),
            _ => return Ok(None),
        };
        // `LEFT UNION ALL`: the set operation's words.
        let plain = self.is_word("JOIN")
            || self.is_word_at(1, "JOIN")
            || self.is_word_at(1, "OUTER") && self.is_word_at(2, "JOIN")
            || matches!(self.word_at(1).as_deref(), Some("HASH" | "EACH"));
        if !plain {
            return Ok(None);
        }
        if !self.is_word("JOIN") {
            self.pos += 1;
        }
        self.eat_word("OUTER");
        self.expect_word("JOIN")?;
        Ok(Some(kind))
    }

    fn join_rest(&mut self, mut left: TableExpr, start: usize) -> PResult<TableExpr> {
        while let Some(kind) = self.join_kind()? {
            self.link()?;
            let right_start = self.at().start;
            let mut right = self.table_primary()?;
            // `a JOIN b JOIN c ON … ON …`: the inner join comes first.
            if kind != JoinKind::Cross && !self.is_word("ON") && !self.is_word("USING") {
                let pos = self.pos;
                let nested = self.join_kind()?.is_some();
                self.pos = pos;
                if nested && kind != JoinKind::Inner {
                    right = self.nested_join(right, right_start)?;
                } else if nested {
                    let tried = self.nested_join(right.clone(), right_start)?;
                    if self.is_word("ON") || self.is_word("USING") {
                        right = tried;
                    } else {
                        self.pos = pos;
                    }
                }
            }
            let on = self.join_on()?;
            if on == JoinOn::None
                && !matches!(kind, JoinKind::Cross | JoinKind::Inner)
                && !matches!(right, TableExpr::Unnest { .. } | TableExpr::Table { .. })
            {
                return Err(self.unexpected("ON or USING"));
            }
            if on != JoinOn::None && kind == JoinKind::Cross {
                return Err(SqlError::invalid("CROSS JOIN takes no condition", &self.at()));
            }
            left = self.join_node(kind, left, right, on, start);
        }
        Ok(left)
    }

    fn nested_join(&mut self, left: TableExpr, start: usize) -> PResult<TableExpr> {
        let Some(kind) = self.join_kind()? else { return Ok(left) };
        let right = self.table_primary()?;
        let on = self.join_on()?;
        Ok(self.join_node(kind, left, right, on, start))
    }

    fn join_on(&mut self) -> PResult<JoinOn> {
        if self.eat_word("ON") {
            return Ok(JoinOn::On(self.expr()?));
        }
        if self.eat_word("USING") {
            self.expect_sym("(")?;
            let names = self.comma_list(Self::ident)?;
            self.expect_sym(")")?;
            return Ok(JoinOn::Using(names));
        }
        Ok(JoinOn::None)
    }

    fn table_primary(&mut self) -> PResult<TableExpr> {
        let start = self.at().start;
        let table = self.nested(|p| p.table_inner(start))?;
        self.table_suffix(table, start)
    }

    fn table_inner(&mut self, start: usize) -> PResult<TableExpr> {
        if self.is_sym("(") {
            if self.starts_query(1) && !matches!(self.peek_at(1), Tok::Sym("(")) {
                return self.derived();
            }
            // `((SELECT …) AS t JOIN …)` or `((SELECT …) UNION ALL …)`.
            if self.starts_query(1) {
                let (pos, depth) = (self.pos, self.depth);
                if let Ok(table) = self.derived() {
                    return Ok(table);
                }
                (self.pos, self.depth) = (pos, depth);
            }
            self.pos += 1;
            let inner = self.joins()?;
            self.expect_sym(")")?;
            return Ok(inner);
        }
        if self.eat_word("UNNEST") {
            self.expect_sym("(")?;
            let expr = self.expr()?;
            if self.is_sym(",") {
                return Err(SqlError::unsupported("UNNEST of several arrays", &self.at()));
            }
            self.expect_sym(")")?;
            let alias = self.alias()?;
            let offset = self.with_offset()?;
            return Ok(TableExpr::Unnest { expr, alias, offset, at: self.since(start) });
        }
        let path = self.table_path()?;
        if self.is_sym("(") {
            return Err(SqlError::unsupported("a table function", &self.since(start)));
        }
        let alias = self.alias()?;
        if self.is_words(&["WITH", "OFFSET"]) {
            // Only an array's path can have it.
            let mut expr: Option<Expr> = None;
            for name in path {
                let at = name.at.clone();
                let kind = match expr {
                    None => ExprKind::Name(name),
                    Some(base) => ExprKind::Field(Box::new(base), name),
                };
                expr = Some(Expr { kind, at });
            }
            let offset = self.with_offset()?;
            let expr = expr.ok_or_else(|| self.unexpected("a name"))?;
            return Ok(TableExpr::Unnest { expr, alias, offset, at: self.since(start) });
        }
        if self.is_words(&["FOR", "SYSTEM_TIME"]) || self.is_words(&["FOR", "SYSTEM"]) {
            return Err(SqlError::unsupported("FOR SYSTEM_TIME AS OF", &self.at()));
        }
        Ok(TableExpr::Table { path, alias, at: self.since(start) })
    }

    fn derived(&mut self) -> PResult<TableExpr> {
        self.expect_sym("(")?;
        let query = Box::new(self.query()?);
        self.expect_sym(")")?;
        let alias = self.alias()?;
        Ok(TableExpr::Sub { query, alias })
    }

    /// `a.b.c`, `` `a.b`.c ``, `project-id.a.b`.
    fn table_path(&mut self) -> PResult<Vec<Ident>> {
        let mut path = Vec::new();
        let mut first = true;
        loop {
            let quoted = matches!(self.peek().tok, Tok::Word(_, true));
            let mut part = if first { self.ident()? } else { self.any_word()? };
            while self.is_sym("-") && self.at().start == part.at.end {
                self.pos += 1;
                let more = self.any_word()?;
                part.name = format!("{}-{}", part.name, more.name);
                part.at.end = more.at.end;
            }
            if quoted && part.name.contains('.') {
                for piece in part.name.split('.') {
                    path.push(Ident { name: piece.to_owned(), at: part.at.clone() });
                }
            } else {
                path.push(part);
            }
            first = false;
            if !self.eat_sym(".") {
                return Ok(path);
            }
        }
    }

    fn alias(&mut self) -> PResult<Option<Ident>> {
        if self.eat_word("AS") {
            return self.ident().map(Some);
        }
        let word = self.peek_word().unwrap_or_default();
        let clause = matches!(word.as_str(), "PIVOT" | "UNPIVOT") && self.pivot_follows();
        if self.is_ident() && !clause { self.ident().map(Some) } else { Ok(None) }
    }

    fn pivot_follows(&self) -> bool {
        matches!(self.peek_at(1), Tok::Sym("(")) || self.is_word_at(1, "INCLUDE") || self.is_word_at(1, "EXCLUDE")
    }

    fn with_offset(&mut self) -> PResult<Option<Option<Ident>>> {
        if !self.eat_words(&["WITH", "OFFSET"]) {
            return Ok(None);
        }
        Ok(Some(self.alias()?))
    }

    fn table_suffix(&mut self, mut table: TableExpr, start: usize) -> PResult<TableExpr> {
        loop {
            self.link()?;
            if self.is_word("TABLESAMPLE") {
                return Err(SqlError::unsupported("TABLESAMPLE", &self.at()));
            }
            if self.is_word("PIVOT") && self.pivot_follows() {
                let pivot = Box::new(self.pivot()?);
                let alias = self.alias()?;
                table = TableExpr::Pivot { input: Box::new(table), pivot, alias, at: self.since(start) };
            } else if self.is_word("UNPIVOT") && self.pivot_follows() {
                let unpivot = Box::new(self.unpivot()?);
                let alias = self.alias()?;
                table = TableExpr::Unpivot { input: Box::new(table), unpivot, alias, at: self.since(start) };
            } else {
                return Ok(table);
            }
        }
    }

    fn aliased(&mut self) -> PResult<(Expr, Option<Ident>)> {
        let expr = self.expr()?;
        let alias = if self.eat_word("AS") || self.is_ident() { Some(self.ident()?) } else { None };
        Ok((expr, alias))
    }

    fn pivot(&mut self) -> PResult<Pivot> {
        self.pos += 1;
        self.expect_sym("(")?;
        let aggregates = self.comma_list(Self::aliased)?;
        self.expect_word("FOR")?;
        // The input is no comparison: IN belongs to PIVOT.
        let input = self.pivot_input()?;
        self.expect_word("IN")?;
        self.expect_sym("(")?;
        let values = self.comma_list(Self::aliased)?;
        self.expect_sym(")")?;
        self.expect_sym(")")?;
        Ok(Pivot { aggregates, input, values })
    }

    fn unpivot(&mut self) -> PResult<Unpivot> {
        self.pos += 1;
        let include_nulls = self.eat_words(&["INCLUDE", "NULLS"]);
        self.eat_words(&["EXCLUDE", "NULLS"]);
        self.expect_sym("(")?;
        let values = self.name_set()?;
        self.expect_word("FOR")?;
        let name = self.ident()?;
        self.expect_word("IN")?;
        self.expect_sym("(")?;
        let groups = self.comma_list(|p| {
            let names = p.name_set()?;
            let literal = matches!(p.peek().tok, Tok::Str(_) | Tok::Int(_));
            let label = if p.eat_word("AS") || literal { Some(p.expr()?) } else { None };
            Ok((names, label))
        })?;
        self.expect_sym(")")?;
        self.expect_sym(")")?;
        Ok(Unpivot { include_nulls, values, name, groups })
    }

    fn name_set(&mut self) -> PResult<Vec<Ident>> {
        if self.eat_sym("(") {
            let names = self.comma_list(Self::ident)?;
            self.expect_sym(")")?;
            return Ok(names);
        }
        Ok(vec![self.ident()?])
    }
}
