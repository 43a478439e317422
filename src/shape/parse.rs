//! The text of an expression to a tree: minijinja's expression syntax, with the place of each part.

use std::ops::Range;

/// A part of an expression with its byte range in the expression's text.
#[derive(Debug, Clone, PartialEq)]
pub struct Ast {
    pub kind: AstKind,
    pub at: Range<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum AstKind {
    Null,
    Bool(bool),
    Int(i64),
    /// A number with a fraction, as written: exact until it meets a float.
    Number(String),
    Str(String),
    List(Vec<Ast>),
    Dict(Vec<(Ast, Ast)>),
    Name(String),
    Attr(Box<Ast>, String),
    Item(Box<Ast>, Box<Ast>),
    Neg(Box<Ast>),
    Not(Box<Ast>),
    Binary(Op, Box<Ast>, Box<Ast>),
    If(Box<Ast>, Box<Ast>, Option<Box<Ast>>),
    /// `value | name(args)`; arguments with their names where given.
    Filter(Box<Ast>, String, Vec<(Option<String>, Ast)>),
    /// `value is [not] name(args)`
    Test(Box<Ast>, String, Vec<Ast>, bool),
    Call(String, Vec<Ast>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Rem,
    Pow,
    Concat,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
    And,
    Or,
}

/// What is wrong with an expression's text, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct SyntaxError {
    pub message: String,
    pub at: Range<usize>,
}

/// How deep an expression may nest.
const MAX_DEPTH: usize = 64;

/// How many operators and filters an expression may have.
const MAX_LINKS: usize = 400;

/// Parses a whole expression.
pub fn parse(text: &str) -> Result<Ast, SyntaxError> {
    let tokens = lex(text)?;
    let mut parser = Parser { tokens, next: 0, depth: 0, links: 0, end: text.len() };
    let ast = parser.expression()?;
    match parser.peek() {
        None => Ok(ast),
        Some(token) => {
            Err(SyntaxError { message: format!("`{}` is not expected here", token.shown()), at: token.at.clone() })
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Token {
    kind: Tok,
    at: Range<usize>,
}

#[derive(Debug, Clone, PartialEq)]
enum Tok {
    Int(i64),
    Number(String),
    Str(String),
    Name(String),
    Sign(&'static str),
}

impl Token {
    fn shown(&self) -> String {
        match &self.kind {
            Tok::Int(v) => v.to_string(),
            Tok::Number(v) | Tok::Name(v) => v.clone(),
            Tok::Str(v) => format!("\"{v}\""),
            Tok::Sign(s) => (*s).to_owned(),
        }
    }
}

const SIGNS: [&str; 25] = [
    "//", "**", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "|", "(", ")", "[", "]", "{", "}", ",",
    ":", ".", "=",
];

fn lex(text: &str) -> Result<Vec<Token>, SyntaxError> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut i = 0;
    while i < bytes.len() {
        let start = i;
        let c = bytes[i];
        if c.is_ascii_whitespace() {
            i += 1;
            continue;
        }
        let kind = if c.is_ascii_digit() {
            i += bytes[i..].iter().take_while(|b| b.is_ascii_digit() || **b == b'_').count();
            let fraction = bytes.get(i) == Some(&b'.') && bytes.get(i + 1).is_some_and(u8::is_ascii_digit);
            if fraction {
                i += 1 + bytes[i + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
            }
            let digits = text[start..i].replace('_', "");
            if fraction {
                Tok::Number(digits)
            } else {
                Tok::Int(
                    digits
                        .parse()
                        .map_err(|_| SyntaxError { message: "this number is too large".into(), at: start..i })?,
                )
            }
        } else if c == b'"' || c == b'\'' {
            let (value, end) = string(text, start)?;
            i = end;
            Tok::Str(value)
        } else if c.is_ascii_alphabetic() || c == b'_' {
            i += bytes[i..].iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
            Tok::Name(text[start..i].to_owned())
        } else if let Some(sign) = SIGNS.iter().find(|s| text[start..].starts_with(**s)) {
            i += sign.len();
            Tok::Sign(sign)
        } else {
            let len = text[start..].chars().next().map_or(1, char::len_utf8);
            return Err(SyntaxError {
                message: format!("the character `{}` has no meaning here", &text[start..start + len]),
                at: start..start + len,
            });
        };
        tokens.push(Token { kind, at: start..i });
    }
    Ok(tokens)
}

fn string(text: &str, start: usize) -> Result<(String, usize), SyntaxError> {
    let quote = text.as_bytes()[start] as char;
    let mut value = String::new();
    let mut chars = text[start + 1..].char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            c if c == quote => return Ok((value, start + 1 + i + 1)),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, c @ ('\\' | '"' | '\''))) => value.push(c),
                _ => {
                    let at = start + 1 + i;
                    return Err(SyntaxError { message: "this escape is not known".into(), at: at..at + 1 });
                }
            },
            c => value.push(c),
        }
    }
    Err(SyntaxError { message: "this text is not closed".into(), at: start..text.len() })
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
    /// Operators and filters so far.
    links: usize,
    end: usize,
}

type Parsed = Result<Ast, SyntaxError>;

/// Arguments with their names, where given.
type Arguments = Vec<(Option<String>, Ast)>;

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn sign(&self) -> Option<&'static str> {
        match self.peek() {
            Some(Token { kind: Tok::Sign(sign), .. }) => Some(sign),
            _ => None,
        }
    }

    fn word(&self) -> Option<&str> {
        match self.peek() {
            Some(Token { kind: Tok::Name(name), .. }) => Some(name),
            _ => None,
        }
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let found = self.sign() == Some(sign);
        self.next += usize::from(found);
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.word() == Some(word);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Result<usize, SyntaxError> {
        let at = self.peek().map_or(self.end..self.end, |t| t.at.clone());
        if self.take_sign(sign) { Ok(at.end) } else { Err(SyntaxError { message: format!("`{sign}` is missing"), at }) }
    }

    fn name(&mut self) -> Result<(String, Range<usize>), SyntaxError> {
        match self.peek().cloned() {
            Some(Token { kind: Tok::Name(name), at }) => {
                self.next += 1;
                Ok((name, at))
            }
            other => {
                Err(SyntaxError { message: "a name is missing".into(), at: other.map_or(self.end..self.end, |t| t.at) })
            }
        }
    }

    /// Counts an operator or a filter: a chain of them is a tree as deep as the chain is long.
    fn link(&mut self) -> Result<(), SyntaxError> {
        self.links += 1;
        if self.links <= MAX_LINKS {
            return Ok(());
        }
        let at = self.peek().map_or(self.end..self.end, |t| t.at.clone());
        Err(SyntaxError { message: format!("this has more than {MAX_LINKS} operators and filters"), at })
    }

    fn expression(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(SyntaxError { message: format!("this nests deeper than {MAX_DEPTH} levels"), at: 0..self.end });
        }
        let value = self.or()?;
        let ast = if self.take_word("if") {
            let condition = self.or()?;
            let otherwise = if self.take_word("else") { Some(Box::new(self.expression()?)) } else { None };
            let at = value.at.start..otherwise.as_ref().map_or(condition.at.end, |o| o.at.end);
            Ast { kind: AstKind::If(Box::new(condition), Box::new(value), otherwise), at }
        } else {
            value
        };
        self.depth -= 1;
        Ok(ast)
    }

    fn or(&mut self) -> Parsed {
        let mut left = self.and()?;
        while self.take_word("or") {
            self.link()?;
            left = binary(Op::Or, left, self.and()?);
        }
        Ok(left)
    }

    fn and(&mut self) -> Parsed {
        let mut left = self.not()?;
        while self.take_word("and") {
            self.link()?;
            left = binary(Op::And, left, self.not()?);
        }
        Ok(left)
    }

    fn not(&mut self) -> Parsed {
        let start = self.peek().map_or(self.end, |t| t.at.start);
        let mut count = 0;
        while self.take_word("not") {
            self.link()?;
            count += 1;
        }
        let mut value = self.comparison()?;
        for _ in 0..count {
            let at = start..value.at.end;
            value = Ast { kind: AstKind::Not(Box::new(value)), at };
        }
        Ok(value)
    }

    fn comparison(&mut self) -> Parsed {
        let mut left = self.concat()?;
        loop {
            let op = match (self.sign(), self.word()) {
                (Some("=="), _) => Op::Eq,
                (Some("!="), _) => Op::Ne,
                (Some("<"), _) => Op::Lt,
                (Some("<="), _) => Op::Le,
                (Some(">"), _) => Op::Gt,
                (Some(">="), _) => Op::Ge,
                (_, Some("in")) => Op::In,
                (_, Some("not")) => {
                    self.next += 1;
                    if self.word() != Some("in") {
                        let at = self.peek().map_or(self.end..self.end, |t| t.at.clone());
                        return Err(SyntaxError { message: "`in` is missing after `not`".into(), at });
                    }
                    Op::NotIn
                }
                _ => return Ok(left),
            };
            self.next += 1;
            self.link()?;
            left = binary(op, left, self.concat()?);
        }
    }

    fn concat(&mut self) -> Parsed {
        let mut left = self.sum()?;
        while self.take_sign("~") {
            self.link()?;
            left = binary(Op::Concat, left, self.sum()?);
        }
        Ok(left)
    }

    fn sum(&mut self) -> Parsed {
        let mut left = self.product()?;
        loop {
            let op = match self.sign() {
                Some("+") => Op::Add,
                Some("-") => Op::Sub,
                _ => return Ok(left),
            };
            self.next += 1;
            self.link()?;
            left = binary(op, left, self.product()?);
        }
    }

    fn product(&mut self) -> Parsed {
        let mut left = self.unary()?;
        loop {
            let op = match self.sign() {
                Some("*") => Op::Mul,
                Some("/") => Op::Div,
                Some("//") => Op::FloorDiv,
                Some("%") => Op::Rem,
                _ => return Ok(left),
            };
            self.next += 1;
            self.link()?;
            left = binary(op, left, self.unary()?);
        }
    }

    fn unary(&mut self) -> Parsed {
        let start = self.peek().map_or(self.end, |t| t.at.start);
        if self.take_sign("-") {
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err(SyntaxError { message: "too many signs".into(), at: start..self.end });
            }
            let value = self.unary()?;
            self.depth -= 1;
            let at = start..value.at.end;
            return Ok(Ast { kind: AstKind::Neg(Box::new(value)), at });
        }
        let base = self.postfix()?;
        if self.take_sign("**") {
            self.link()?;
            let exponent = self.unary()?;
            return Ok(binary(Op::Pow, base, exponent));
        }
        Ok(base)
    }

    fn postfix(&mut self) -> Parsed {
        let mut value = self.primary()?;
        loop {
            if matches!(self.sign(), Some("." | "[" | "|")) || self.word() == Some("is") {
                self.link()?;
            }
            if self.take_sign(".") {
                let (name, at) = self.name()?;
                let at = value.at.start..at.end;
                value = Ast { kind: AstKind::Attr(Box::new(value), name), at };
            } else if self.take_sign("[") {
                let index = self.expression()?;
                let end = self.expect("]")?;
                let at = value.at.start..end;
                value = Ast { kind: AstKind::Item(Box::new(value), Box::new(index)), at };
            } else if self.take_sign("|") {
                let (name, at) = self.name()?;
                let mut end = at.end;
                let args = if self.take_sign("(") {
                    let (args, close) = self.arguments()?;
                    end = close;
                    args
                } else {
                    Vec::new()
                };
                let at = value.at.start..end;
                value = Ast { kind: AstKind::Filter(Box::new(value), name, args), at };
            } else if self.take_word("is") {
                let negated = self.take_word("not");
                let (name, at) = self.name()?;
                let mut end = at.end;
                let mut args = Vec::new();
                if self.take_sign("(") {
                    let (named, close) = self.arguments()?;
                    end = close;
                    args = named.into_iter().map(|(_, a)| a).collect();
                }
                let at = value.at.start..end;
                value = Ast { kind: AstKind::Test(Box::new(value), name, args, negated), at };
            } else {
                return Ok(value);
            }
        }
    }

    fn arguments(&mut self) -> Result<(Arguments, usize), SyntaxError> {
        let mut args = Vec::new();
        loop {
            if self.sign() == Some(")") {
                return Ok((args, self.expect(")")?));
            }
            let named = matches!(
                (self.tokens.get(self.next), self.tokens.get(self.next + 1)),
                (Some(Token { kind: Tok::Name(_), .. }), Some(Token { kind: Tok::Sign("="), .. }))
            );
            let name = if named {
                let (name, _) = self.name()?;
                self.next += 1;
                Some(name)
            } else {
                None
            };
            args.push((name, self.expression()?));
            if !self.take_sign(",") {
                return Ok((args, self.expect(")")?));
            }
        }
    }

    fn primary(&mut self) -> Parsed {
        let Some(token) = self.peek().cloned() else {
            return Err(SyntaxError { message: "the expression ends too early".into(), at: self.end..self.end });
        };
        self.next += 1;
        let at = token.at.clone();
        let kind = match token.kind {
            Tok::Int(v) => AstKind::Int(v),
            Tok::Number(v) => AstKind::Number(v),
            Tok::Str(v) => AstKind::Str(v),
            Tok::Name(name) => match name.as_str() {
                "none" | "None" | "null" => AstKind::Null,
                "true" | "True" => AstKind::Bool(true),
                "false" | "False" => AstKind::Bool(false),
                "if" | "else" | "and" | "or" | "in" | "is" | "not" => {
                    return Err(SyntaxError { message: format!("a value is missing before `{name}`"), at });
                }
                _ if self.take_sign("(") => {
                    let (args, end) = self.arguments()?;
                    let args = args.into_iter().map(|(_, a)| a).collect();
                    return Ok(Ast { kind: AstKind::Call(name, args), at: at.start..end });
                }
                _ => AstKind::Name(name),
            },
            Tok::Sign("(") => {
                let mut inner = self.expression()?;
                let end = self.expect(")")?;
                inner.at = at.start..end;
                return Ok(inner);
            }
            Tok::Sign("[") => {
                let mut items = Vec::new();
                while self.sign() != Some("]") {
                    items.push(self.expression()?);
                    if !self.take_sign(",") {
                        break;
                    }
                }
                let end = self.expect("]")?;
                return Ok(Ast { kind: AstKind::List(items), at: at.start..end });
            }
            Tok::Sign("{") => {
                let mut entries = Vec::new();
                while self.sign() != Some("}") {
                    let key = self.expression()?;
                    self.expect(":")?;
                    entries.push((key, self.expression()?));
                    if !self.take_sign(",") {
                        break;
                    }
                }
                let end = self.expect("}")?;
                return Ok(Ast { kind: AstKind::Dict(entries), at: at.start..end });
            }
            Tok::Sign(sign) => return Err(SyntaxError { message: format!("`{sign}` is not expected here"), at }),
        };
        Ok(Ast { kind, at })
    }
}

fn binary(op: Op, left: Ast, right: Ast) -> Ast {
    let at = left.at.start..right.at.end;
    Ast { kind: AstKind::Binary(op, Box::new(left), Box::new(right)), at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precedence_is_minijinjas() {
        let shown = |text: &str| format!("{:?}", parse(text).unwrap().kind);
        assert!(shown("1 + 2 * 3").contains("Add, Ast { kind: Int(1)"));
        assert!(shown("not a in b").starts_with("Not("));
        assert!(shown("a ~ 1 + 2").starts_with("Binary(Concat"));
        assert!(shown("x if a else y").starts_with("If("));
        assert!(shown("row.a | round(1) is none").starts_with("Test("));
        assert!(shown("-a | abs").starts_with("Neg("));
    }

    #[test]
    fn mistakes_have_a_place() {
        for (text, at) in [
            ("row.", 4..4),
            ("a +", 3..3),
            ("\"abc", 0..4),
            ("a $ b", 2..3),
            ("(a", 2..2),
            ("a b", 2..3),
            ("a not b", 6..7),
        ] {
            assert_eq!(parse(text).unwrap_err().at, at, "{text}");
        }
        assert!(parse(&"(".repeat(1000)).is_err());
        assert!(parse(&"-".repeat(1000)).is_err());
        assert!(parse(&format!("{}1", "not ".repeat(300))).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "[a-c0-9.+*/%~<>=|()\\[\\]{},:'\" \\\\é-]{0,40}") {
            let _ = parse(&text);
        }
    }
}
