//! GoogleSQL's SELECT, parsed by hand: every literal, type and place is kept as the language has it, and what is not known is
//! refused instead of being read as something else.

mod expr;
pub mod lexer;
mod query;
mod types;

use super::ast::{Ident, Query};
use super::error::SqlError;
use lexer::{Tok, Token};
use std::ops::Range;

/// How deep a statement may nest.
const DEPTH: usize = 160;

/// How many operators, joins and suffixes in a row a statement may have: each makes its tree one level deeper.
const LINKS: usize = 4_000;

/// Words that are no names unless quoted.
const RESERVED: &[&str] = &[
    "ALL",
    "AND",
    "ANY",
    "ARRAY",
    "AS",
    "ASC",
    "ASSERT_ROWS_MODIFIED",
    "AT",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "COLLATE",
    "CONTAINS",
    "CREATE",
    "CROSS",
    "CUBE",
    "CURRENT",
    "DEFAULT",
    "DEFINE",
    "DESC",
    "DISTINCT",
    "ELSE",
    "END",
    "ENUM",
    "ESCAPE",
    "EXCEPT",
    "EXCLUDE",
    "EXISTS",
    "EXTRACT",
    "FALSE",
    "FETCH",
    "FOLLOWING",
    "FOR",
    "FROM",
    "FULL",
    "GROUP",
    "GROUPING",
    "GROUPS",
    "HASH",
    "HAVING",
    "IF",
    "IGNORE",
    "IN",
    "INNER",
    "INTERSECT",
    "INTERVAL",
    "INTO",
    "IS",
    "JOIN",
    "LATERAL",
    "LEFT",
    "LIKE",
    "LIMIT",
    "LOOKUP",
    "MERGE",
    "NATURAL",
    "NEW",
    "NO",
    "NOT",
    "NULL",
    "NULLS",
    "OF",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "PRECEDING",
    "PROTO",
    "QUALIFY",
    "RANGE",
    "RECURSIVE",
    "RESPECT",
    "RIGHT",
    "ROLLUP",
    "ROWS",
    "SELECT",
    "SET",
    "SOME",
    "STRUCT",
    "TABLESAMPLE",
    "THEN",
    "TO",
    "TREAT",
    "TRUE",
    "UNBOUNDED",
    "UNION",
    "UNNEST",
    "USING",
    "WHEN",
    "WHERE",
    "WINDOW",
    "WITH",
    "WITHIN",
];

/// Parses one statement: a SELECT or WITH query, with an optional semicolon.
pub fn parse(sql: &str) -> Result<Query, SqlError> {
    let tokens = lexer::lex(sql)?;
    // Trying a parenthesis twice must not become trying it 2^n times.
    let steps = 1_000 + tokens.len() * 16;
    let mut parser = Parser { tokens, pos: 0, depth: 0, links: 0, steps };
    let first = parser.peek_word().unwrap_or_default();
    if !matches!(first.as_str(), "SELECT" | "WITH") && !parser.is_sym("(") {
        let at = parser.at();
        return Err(match first.as_str() {
            "FROM" => SqlError::unsupported("a query that begins with FROM", &at),
            _ => SqlError::invalid("a statement must be a SELECT or WITH query", &at),
        });
    }
    let query = parser.query()?;
    if parser.eat_sym(";") && parser.peek().tok != Tok::End {
        return Err(SqlError::invalid("only one statement is allowed", &parser.at()));
    }
    if parser.is_sym("|>") {
        return Err(SqlError::unsupported("pipe syntax", &parser.at()));
    }
    match parser.peek().tok {
        Tok::End => Ok(query),
        _ => Err(parser.unexpected("the end of the statement")),
    }
}

pub(super) struct Parser {
    tokens: Vec<Token>,
    pos: usize,
    depth: usize,
    links: usize,
    /// How many rules may still be tried.
    steps: usize,
}

type PResult<T> = Result<T, SqlError>;

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.pos.min(self.tokens.len() - 1)]
    }

    fn peek_at(&self, n: usize) -> &Tok {
        &self.tokens[(self.pos + n).min(self.tokens.len() - 1)].tok
    }

    fn at(&self) -> Range<usize> {
        self.peek().at.clone()
    }

    /// From `start` to the last token read.
    fn since(&self, start: usize) -> Range<usize> {
        start..self.tokens[self.pos.saturating_sub(1)].at.end.max(start)
    }

    fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        self.pos += 1;
        token
    }

    fn is_sym(&self, symbol: &str) -> bool {
        matches!(self.peek().tok, Tok::Sym(s) if s == symbol)
    }

    fn eat_sym(&mut self, symbol: &str) -> bool {
        let found = self.is_sym(symbol);
        self.pos += usize::from(found);
        found
    }

    fn expect_sym(&mut self, symbol: &str) -> PResult<()> {
        if self.eat_sym(symbol) { Ok(()) } else { Err(self.unexpected(&format!("`{symbol}`"))) }
    }

    /// The unquoted word that comes next, in upper case.
    fn peek_word(&self) -> Option<String> {
        self.word_at(0)
    }

    fn word_at(&self, n: usize) -> Option<String> {
        match self.peek_at(n) {
            Tok::Word(word, false) => Some(word.to_ascii_uppercase()),
            _ => None,
        }
    }

    fn is_word_at(&self, n: usize, word: &str) -> bool {
        matches!(self.peek_at(n), Tok::Word(w, false) if w.eq_ignore_ascii_case(word))
    }

    fn is_word(&self, word: &str) -> bool {
        self.is_word_at(0, word)
    }

    fn is_words(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(i, w)| self.is_word_at(i, w))
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.pos += usize::from(found);
        found
    }

    fn eat_words(&mut self, words: &[&str]) -> bool {
        let found = self.is_words(words);
        if found {
            self.pos += words.len();
        }
        found
    }

    fn expect_word(&mut self, word: &str) -> PResult<()> {
        if self.eat_word(word) { Ok(()) } else { Err(self.unexpected(word)) }
    }

    fn unexpected(&self, wanted: &str) -> SqlError {
        let token = self.peek();
        let found = match &token.tok {
            Tok::Word(w, _) => format!("`{w}`"),
            Tok::Sym(s) => format!("`{s}`"),
            Tok::End => "the end".to_owned(),
            Tok::Param(p) => format!("`@{p}`"),
            _ => "a literal".to_owned(),
        };
        SqlError::invalid(format!("expected {wanted}, found {found}"), &token.at)
    }

    fn is_ident(&self) -> bool {
        match &self.peek().tok {
            Tok::Word(_, true) => true,
            Tok::Word(word, false) => !is_reserved(word),
            _ => false,
        }
    }

    /// A name.
    fn ident(&mut self) -> PResult<Ident> {
        if self.is_ident() { self.any_word() } else { Err(self.unexpected("a name")) }
    }

    /// A name where keywords are names too (after a dot).
    fn any_word(&mut self) -> PResult<Ident> {
        match self.peek().tok.clone() {
            Tok::Word(name, _) => {
                let at = self.advance().at;
                Ok(Ident { name, at })
            }
            _ => Err(self.unexpected("a name")),
        }
    }

    /// Counts one more link of a chain.
    fn link(&mut self) -> PResult<()> {
        self.links += 1;
        if self.links > LINKS {
            return Err(SqlError::unsupported("a statement with this many operators", &self.at()));
        }
        Ok(())
    }

    /// Runs a rule one level deeper.
    fn nested<T>(&mut self, rule: impl FnOnce(&mut Self) -> PResult<T>) -> PResult<T> {
        self.depth += 1;
        self.steps = self.steps.saturating_sub(1);
        if self.depth > DEPTH || self.steps == 0 {
            return Err(SqlError::unsupported("a statement that nests this deep", &self.at()));
        }
        let out = rule(self);
        self.depth -= 1;
        out
    }

    fn comma_list<T>(&mut self, mut rule: impl FnMut(&mut Self) -> PResult<T>) -> PResult<Vec<T>> {
        let mut out = vec![rule(self)?];
        while self.eat_sym(",") {
            out.push(rule(self)?);
        }
        Ok(out)
    }
}

fn is_reserved(word: &str) -> bool {
    RESERVED.iter().any(|r| r.eq_ignore_ascii_case(word))
}
