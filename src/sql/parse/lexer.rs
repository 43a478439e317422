//! Text to tokens. Literals are decoded here by GoogleSQL's rules.

use crate::sql::error::SqlError;
use std::ops::Range;

#[derive(Debug, Clone, PartialEq)]
pub enum Tok {
    /// A name or a keyword; `true` = in backquotes.
    Word(String, bool),
    Int(String),
    Float(String),
    Str(String),
    Bytes(Vec<u8>),
    Param(String),
    Sym(&'static str),
    End,
}

#[derive(Debug, Clone)]
pub struct Token {
    pub tok: Tok,
    pub at: Range<usize>,
}

/// Longest first.
const SYMBOLS: [&str; 31] = [
    "|>", "=>", "->", "<=", ">=", "<>", "!=", "||", "<<", ">>", "(", ")", "[", "]", "{", "}", ",", ";", ".", "=", "<",
    ">", "+", "-", "*", "/", "|", "&", "^", "~", "?",
];

/// All tokens of a statement and an end token.
pub fn lex(sql: &str) -> Result<Vec<Token>, SqlError> {
    let mut lexer = Lexer { sql, pos: 0 };
    let mut out = Vec::new();
    loop {
        lexer.skip_blanks()?;
        let start = lexer.pos;
        let tok = lexer.next()?;
        let end = tok == Tok::End;
        out.push(Token { tok, at: start..lexer.pos });
        if end {
            return Ok(out);
        }
    }
}

struct Lexer<'s> {
    sql: &'s str,
    pos: usize,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.sql[self.pos..]
    }

    fn peek(&self, n: usize) -> u8 {
        self.sql.as_bytes().get(self.pos + n).copied().unwrap_or(0)
    }

    fn skip_blanks(&mut self) -> Result<(), SqlError> {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start().len();
            if blank > 0 {
                self.pos += blank;
            } else if rest.starts_with('#') || rest.starts_with("--") {
                self.pos += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                match rest.find("*/") {
                    Some(end) => self.pos += end + 2,
                    None => {
                        return Err(SqlError::invalid("this comment has no end", &(self.pos..self.sql.len())));
                    }
                }
            } else {
                return Ok(());
            }
        }
    }

    fn next(&mut self) -> Result<Tok, SqlError> {
        let start = self.pos;
        let first = self.peek(0);
        if start >= self.sql.len() {
            return Ok(Tok::End);
        }
        if let Some(tok) = self.literal()? {
            return Ok(tok);
        }
        if first == b'`' {
            let Some(end) = self.rest()[1..].find('`') else {
                return Err(SqlError::invalid("this quoted name has no end", &(start..self.sql.len())));
            };
            let name = self.rest()[1..=end].to_owned();
            self.pos += end + 2;
            if name.is_empty() || name.contains('\\') {
                return Err(SqlError::unsupported("a quoted name with escapes", &(start..self.pos)));
            }
            return Ok(Tok::Word(name, true));
        }
        if first == b'@' && (self.peek(1).is_ascii_alphabetic() || self.peek(1) == b'_') {
            self.pos += 1;
            return Ok(Tok::Param(self.word()));
        }
        if first.is_ascii_alphabetic() || first == b'_' {
            return Ok(Tok::Word(self.word(), false));
        }
        if first.is_ascii_digit() || first == b'.' && self.peek(1).is_ascii_digit() {
            return self.number();
        }
        for symbol in SYMBOLS {
            if self.rest().starts_with(symbol) {
                self.pos += symbol.len();
                return Ok(Tok::Sym(symbol));
            }
        }
        let len = self.rest().chars().next().map_or(1, char::len_utf8);
        Err(SqlError::invalid(format!("`{}` is no SQL", &self.rest()[..len]), &(start..start + len)))
    }

    fn word(&mut self) -> String {
        let len = self.rest().bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        let word = self.rest()[..len].to_owned();
        self.pos += len;
        word
    }

    fn number(&mut self) -> Result<Tok, SqlError> {
        let start = self.pos;
        if self.peek(0) == b'0' && matches!(self.peek(1), b'x' | b'X') {
            self.pos += 2;
            let digits = self.word();
            return u64::from_str_radix(&digits, 16)
                .map(|v| Tok::Int((v as i64).to_string()))
                .map_err(|_| SqlError::invalid("this is no hexadecimal number", &(start..self.pos)));
        }
        let digits = |lexer: &mut Self| {
            while lexer.peek(0).is_ascii_digit() {
                lexer.pos += 1;
            }
        };
        digits(self);
        let mut float = false;
        if self.peek(0) == b'.' {
            float = true;
            self.pos += 1;
            digits(self);
        }
        if matches!(self.peek(0), b'e' | b'E') {
            let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
            if self.peek(1 + sign).is_ascii_digit() {
                float = true;
                self.pos += 1 + sign;
                digits(self);
            }
        }
        if self.peek(0).is_ascii_alphabetic() || self.peek(0) == b'_' {
            return Err(SqlError::invalid("a blank is missing after this number", &(start..self.pos)));
        }
        let text = self.sql[start..self.pos].to_owned();
        Ok(if float { Tok::Float(text) } else { Tok::Int(text) })
    }

    /// A string or bytes literal, if one starts here.
    fn literal(&mut self) -> Result<Option<Tok>, SqlError> {
        let start = self.pos;
        let mut prefix = 0;
        let (mut raw, mut bytes) = (false, false);
        while prefix < 2 {
            match self.peek(prefix) {
                b'r' | b'R' if !raw => raw = true,
                b'b' | b'B' if !bytes => bytes = true,
                _ => break,
            }
            prefix += 1;
        }
        let quote = self.peek(prefix);
        if quote != b'\'' && quote != b'"' {
            return Ok(None);
        }
        let triple = self.peek(prefix + 1) == quote && self.peek(prefix + 2) == quote;
        self.pos += prefix + if triple { 3 } else { 1 };
        let mut out: Vec<u8> = Vec::new();
        loop {
            let c = self.peek(0);
            if self.pos >= self.sql.len() || (c == b'\n' && !triple) {
                return Err(SqlError::invalid("this literal has no end", &(start..self.pos)));
            }
            if c == quote && (!triple || self.peek(1) == quote && self.peek(2) == quote) {
                self.pos += if triple { 3 } else { 1 };
                break;
            }
            if c != b'\\' {
                out.push(c);
                self.pos += 1;
            } else if raw {
                out.push(c);
                // A raw literal's backslash still shields the quote after it.
                let len = self.sql[self.pos + 1..].chars().next().map_or(0, char::len_utf8);
                out.extend_from_slice(&self.sql.as_bytes()[self.pos + 1..self.pos + 1 + len]);
                self.pos += 1 + len;
            } else {
                self.escape(&mut out, bytes)?;
            }
        }
        if bytes {
            return Ok(Some(Tok::Bytes(out)));
        }
        let text = String::from_utf8(out)
            .map_err(|_| SqlError::invalid("this literal is no valid UTF-8", &(start..self.pos)))?;
        Ok(Some(Tok::Str(text)))
    }

    fn escape(&mut self, out: &mut Vec<u8>, bytes: bool) -> Result<(), SqlError> {
        let start = self.pos;
        // The backslash and the character after it.
        let end = start + 1 + self.sql[start + 1..].chars().next().map_or(0, char::len_utf8);
        let bad = |end: usize| SqlError::invalid("this escape sequence is not known", &(start..end));
        let kind = self.peek(1);
        let simple = match kind {
            b'a' => 7,
            b'b' => 8,
            b'f' => 12,
            b'n' => 10,
            b'r' => 13,
            b't' => 9,
            b'v' => 11,
            b'\\' | b'?' | b'"' | b'\'' | b'`' => kind,
            _ => 0,
        };
        if simple != 0 {
            out.push(simple);
            self.pos += 2;
            return Ok(());
        }
        let (skip, len, radix) = match kind {
            b'x' | b'X' => (2, 2, 16),
            b'0'..=b'3' => (1, 3, 8),
            b'u' if !bytes => (2, 4, 16),
            b'U' if !bytes => (2, 8, 16),
            _ => return Err(bad(end)),
        };
        let digits = self.sql.get(start + skip..start + skip + len).ok_or_else(|| bad(end))?;
        let value = match u32::from_str_radix(digits, radix) {
            Ok(value) if !digits.starts_with('+') => value,
            _ => return Err(bad(end)),
        };
        self.pos += skip + len;
        if bytes {
            out.push(value as u8);
            return Ok(());
        }
        let c = char::from_u32(value).ok_or_else(|| bad(self.pos))?;
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }
}
