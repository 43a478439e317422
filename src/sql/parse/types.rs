//! Types as they are written: `ARRAY<STRUCT<a INT64, b NUMERIC(10, 2)>>`.

use super::lexer::Tok;
use super::{PResult, Parser};
use crate::sql::ast::{TypeKind, TypeName};
use crate::sql::error::SqlError;

impl Parser {
    pub(super) fn type_name(&mut self) -> PResult<TypeName> {
        let start = self.at().start;
        let kind = self.nested(Self::type_kind)?;
        Ok(TypeName { kind, at: self.since(start) })
    }

    fn type_kind(&mut self) -> PResult<TypeKind> {
        let word = self.any_word()?;
        let name = word.name.to_ascii_uppercase();
        match name.as_str() {
            "ARRAY" | "RANGE" => {
                self.expect_sym("<")?;
                let item = Box::new(self.type_name()?);
                self.close_angle()?;
                Ok(if name == "ARRAY" { TypeKind::Array(item) } else { TypeKind::Range(item) })
            }
            "STRUCT" => {
                if self.eat_sym("<>") {
                    return Ok(TypeKind::Struct(Vec::new()));
                }
                self.expect_sym("<")?;
                if self.eat_sym(">") {
                    return Ok(TypeKind::Struct(Vec::new()));
                }
                let fields = self.comma_list(|p| {
                    // A name is there if a type follows it.
                    let named = matches!(p.peek_at(0), Tok::Word(..)) && matches!(p.peek_at(1), Tok::Word(..));
                    let name = if named { Some(p.any_word()?) } else { None };
                    Ok((name, p.type_name()?))
                })?;
                self.close_angle()?;
                Ok(TypeKind::Struct(fields))
            }
            _ => {
                let mut params = Vec::new();
                if self.eat_sym("(") {
                    params = self.comma_list(|p| match p.advance().tok {
                        Tok::Int(text) => {
                            text.parse().map_err(|_| SqlError::invalid("this is no type parameter", &p.at()))
                        }
                        _ => {
                            p.pos -= 1;
                            Err(p.unexpected("a number"))
                        }
                    })?;
                    self.expect_sym(")")?;
                }
                if self.is_word("COLLATE") {
                    return Err(SqlError::unsupported("COLLATE", &self.at()));
                }
                Ok(TypeKind::Simple(name, params))
            }
        }
    }

    /// `>`; a `>>` is taken apart.
    fn close_angle(&mut self) -> PResult<()> {
        if self.is_sym(">>") {
            let pos = self.pos;
            self.tokens[pos].tok = Tok::Sym(">");
            self.tokens[pos].at.start += 1;
            return Ok(());
        }
        self.expect_sym(">")
    }
}
