//! Regular expressions: RE2's syntax on the `regex` crate. Classes such as `\d` are ASCII, as in RE2.

use super::{Outcome, int, strict, text};
use crate::adapters::duckdb::scalar::{Arg, Out, Phys, ScalarFunction};
use regex::Regex;
use std::cell::RefCell;
use std::rc::Rc;

const SS: &[Phys] = &[Phys::Str, Phys::Str];

pub static FUNCTIONS: &[ScalarFunction] = &[
    strict("gs_re_contains", SS, Phys::Bool, |a| Ok(Out::Bool(compiled(text(a, 1))?.is_match(text(a, 0))))),
    strict("gs_re_extract", &[Phys::Str, Phys::Str, Phys::I64, Phys::I64], Phys::Str, extract),
    strict("gs_re_extract_all", SS, Phys::StrList, |a| {
        let re = compiled(text(a, 1))?;
        one_group(&re)?;
        Ok(Out::StrList(
            re.captures_iter(text(a, 0))
                .map(|c| Some(c.get(re.captures_len() - 1).map_or(String::new(), |m| m.as_str().to_owned())))
                .collect(),
        ))
    }),
    strict("gs_re_replace", &[Phys::Str, Phys::Str, Phys::Str], Phys::Str, replace),
    strict("gs_re_instr", &[Phys::Str, Phys::Str, Phys::I64, Phys::I64, Phys::I64], Phys::I64, |a| {
        let re = compiled(text(a, 1))?;
        one_group(&re)?;
        let (position, occurrence, end) = (int(a, 2), int(a, 3), int(a, 4));
        if position < 1 || occurrence < 1 || !(0..=1).contains(&end) {
            return Err("these arguments of REGEXP_INSTR are out of range".into());
        }
        let s = text(a, 0);
        let Some(start) = byte_of(s, position) else { return Ok(Out::I64(0)) };
        if text(a, 1).is_empty() {
            return Ok(Out::I64(0));
        }
        let found = re
            .captures_iter(&s[start..])
            .nth(occurrence as usize - 1)
            .and_then(|c| c.get(re.captures_len() - 1).map(|m| (m.start(), m.end())));
        let place = found.map_or(0, |(f, t)| s[..start + if end == 1 { t } else { f }].chars().count() as i64 + 1);
        Ok(Out::I64(place))
    }),
];

thread_local! {
    static CACHE: RefCell<Vec<(String, Rc<Regex>)>> = const { RefCell::new(Vec::new()) };
}

fn compiled(pattern: &str) -> Result<Rc<Regex>, String> {
    CACHE.with_borrow_mut(|cache| {
        if let Some(i) = cache.iter().position(|(p, _)| p == pattern) {
            return Ok(cache[i].1.clone());
        }
        let re = Regex::new(&translated(pattern)?).map_err(|e| format!("bad regular expression {pattern:?}: {e}"))?;
        let re = Rc::new(re);
        if cache.len() >= 16 {
            cache.remove(0);
        }
        cache.push((pattern.to_owned(), re.clone()));
        Ok(re)
    })
}

/// RE2's pattern in the crate's syntax.
fn translated(pattern: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = pattern.chars().peekable();
    let mut class = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                let Some(e) = chars.next() else { return Err(format!("bad regular expression {pattern:?}")) };
                match (e, class) {
                    ('d', false) => out.push_str("[0-9]"),
                    ('D', false) => out.push_str("[^0-9]"),
                    ('w', false) => out.push_str("[0-9A-Za-z_]"),
                    ('W', false) => out.push_str("[^0-9A-Za-z_]"),
                    ('s', false) => out.push_str("[\\t\\n\\f\\r ]"),
                    ('S', false) => out.push_str("[^\\t\\n\\f\\r ]"),
                    ('b', false) => out.push_str("(?-u:\\b)"),
                    ('d', true) => out.push_str("0-9"),
                    ('w', true) => out.push_str("0-9A-Za-z_"),
                    ('s', true) => out.push_str("\\t\\n\\f\\r "),
                    ('D' | 'W' | 'S', true) | ('B' | 'C' | 'Q' | 'E', _) => {
                        return Err(format!("the regular expression {pattern:?} uses \\{e}, which is not supported"));
                    }
                    _ => {
                        out.push('\\');
                        out.push(e);
                    }
                }
            }
            '[' if class && chars.peek() != Some(&':') => out.push_str("\\["),
            '[' if !class => {
                class = true;
                out.push('[');
                if chars.peek() == Some(&'^') {
                    out.push('^');
                    chars.next();
                }
                if chars.peek() == Some(&']') {
                    out.push_str("\\]");
                    chars.next();
                }
            }
            '[' => {
                // A POSIX class.
                out.push('[');
                for c in chars.by_ref() {
                    out.push(c);
                    if c == ']' {
                        break;
                    }
                }
            }
            ']' => {
                class = false;
                out.push(']');
            }
            '&' | '~' | '-' if class && chars.peek() == Some(&c) => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    Ok(out)
}

fn one_group(re: &Regex) -> Result<(), String> {
    if re.captures_len() > 2 { Err("the regular expression has more than one group".into()) } else { Ok(()) }
}

/// The byte where character `position` (from 1) begins; the end of the text counts.
fn byte_of(s: &str, position: i64) -> Option<usize> {
    let n = usize::try_from(position).ok()?.checked_sub(1)?;
    s.char_indices().map(|(i, _)| i).chain([s.len()]).nth(n)
}

fn extract(a: &[Arg<'_>]) -> Outcome {
    let re = compiled(text(a, 1))?;
    one_group(&re)?;
    let (position, occurrence) = (int(a, 2), int(a, 3));
    if position < 1 || occurrence < 1 {
        return Err("the position and the occurrence must be positive".into());
    }
    let s = text(a, 0);
    let Some(start) = byte_of(s, position) else { return Ok(Out::Null) };
    let found = re.captures_iter(&s[start..]).nth(occurrence as usize - 1);
    // A group that took no part gives NULL.
    Ok(found.and_then(|c| c.get(re.captures_len() - 1).map(|m| Out::Str(m.as_str().to_owned()))).unwrap_or(Out::Null))
}

/// `\1` in the replacement is the first group, `\\` a backslash.
fn replace(a: &[Arg<'_>]) -> Outcome {
    let re = compiled(text(a, 1))?;
    let mut pieces: Vec<Result<usize, char>> = Vec::new();
    let mut chars = text(a, 2).chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            pieces.push(Err(c));
            continue;
        }
        match chars.next() {
            Some('\\') => pieces.push(Err('\\')),
            Some(d) if d.is_ascii_digit() && (d as usize - 48) < re.captures_len() => pieces.push(Ok(d as usize - 48)),
            _ => return Err("bad replacement in REGEXP_REPLACE".into()),
        }
    }
    let out = re.replace_all(text(a, 0), |c: &regex::Captures<'_>| {
        let mut made = String::new();
        for piece in &pieces {
            match piece {
                Ok(group) => made.push_str(c.get(*group).map_or("", |m| m.as_str())),
                Err(c) => made.push(*c),
            }
        }
        made
    });
    Ok(Out::Str(out.into_owned()))
}
