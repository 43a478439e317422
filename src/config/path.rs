//! Paths of objects: `results/{{ target_date }}.json`, compiled once and kept to safe segments whatever the values hold.

use crate::diagnostics::{Diagnostic, Spanned};
use crate::model::slug::slug;

/// The longest path, in bytes.
const MAX_BYTES: usize = 1024;

/// A path with holes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTemplate {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Hole { name: String, slug: bool },
}

impl PathTemplate {
    /// Reads a template; `Err` points to the path as written.
    pub fn compile(written: &Spanned<String>) -> Result<PathTemplate, Diagnostic> {
        let fail = |reason: String| {
            Diagnostic::error("bad-path", reason, written.span).help(
                "a path such as `results/{{ target_date }}.json`, in which `{{ }}` holds a name, or `name | slug`",
            )
        };
        let parts = parts(&written.value).map_err(fail)?;
        let template = PathTemplate { parts };
        // With the plainest value in every hole, only what was written can break a rule.
        template.render(&|_| Some("x".to_owned())).map_err(fail)?;
        Ok(template)
    }

    /// The path for these values.
    pub fn render(&self, value: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
        let mut path = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => path.push_str(text),
                Part::Hole { name, slug: wanted } => {
                    let text = value(name).ok_or_else(|| format!("`{name}` has no value"))?;
                    let text = if *wanted { slug(&text) } else { text };
                    if text.is_empty() {
                        return Err(format!("`{name}` is empty, so it cannot be a part of a path"));
                    }
                    if let Some(bad) = text.chars().find(|c| !allowed_in_value(*c)) {
                        return Err(format!("`{name}` holds {bad:?}, which cannot be a part of a path"));
                    }
                    path.push_str(&text);
                }
            }
        }
        check(&path)?;
        Ok(path)
    }

    /// The names in the holes, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Hole { name, .. } => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// Whether each date has its own path.
    pub fn is_dated(&self) -> bool {
        self.names().any(|name| name == "target_date")
    }

    /// The text with `{name}` holes.
    pub fn pattern(&self) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Hole { name, .. } => format!("{{{name}}}"),
        };
        self.parts.iter().map(text).collect()
    }

    /// Whether two templates can yield one path. A date's hole meets only texts that look like dates.
    pub fn may_meet(&self, other: &PathTemplate) -> bool {
        let (a, b) = (self.tokens(), other.tokens());
        // below[j]: whether what is left of `a` and what is left of `b` from j can be equal; filled from the end.
        let mut below = vec![false; b.len() + 1];
        below[b.len()] = true;
        for i in (0..a.len()).rev() {
            let mut here = vec![false; b.len() + 1];
            for j in (0..b.len()).rev() {
                here[j] = match (a[i], b[j]) {
                    (Token::Char(x), Token::Char(y)) => x == y && below[j + 1],
                    (Token::Any, Token::Any) => below[j + 1] || here[j + 1] || below[j],
                    (Token::Any, Token::Char(y)) => allowed_in_value(y) && (below[j + 1] || here[j + 1]),
                    (Token::Char(x), Token::Any) => allowed_in_value(x) && (below[j + 1] || below[j]),
                    (Token::Digit, Token::Digit) => below[j + 1],
                    (Token::Digit, Token::Char(y)) => y.is_ascii_digit() && below[j + 1],
                    (Token::Char(x), Token::Digit) => x.is_ascii_digit() && below[j + 1],
                    (Token::Any, Token::Digit) => below[j + 1] || here[j + 1],
                    (Token::Digit, Token::Any) => below[j + 1] || below[j],
                };
            }
            below = here;
        }
        below[0]
    }

    fn tokens(&self) -> Vec<Token> {
        let mut out = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend(text.chars().map(Token::Char)),
                Part::Hole { name, .. } if name == "target_date" || name == "today" => {
                    out.extend("dddd-dd-dd".chars().map(|c| if c == 'd' { Token::Digit } else { Token::Char(c) }));
                }
                Part::Hole { .. } => out.push(Token::Any),
            }
        }
        out
    }
}

#[derive(Debug, Clone, Copy)]
enum Token {
    Char(char),
    Digit,
    /// One or more characters of a value.
    Any,
}

fn parts(text: &str) -> Result<Vec<Part>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        if start > 0 {
            out.push(Part::Text(rest[..start].to_owned()));
        }
        let end = rest[start..].find("}}").ok_or("`{{` is not closed")? + start;
        out.push(hole(rest[start + 2..end].trim())?);
        rest = &rest[end + 2..];
    }
    if !rest.is_empty() {
        out.push(Part::Text(rest.to_owned()));
    }
    Ok(out)
}

fn hole(text: &str) -> Result<Part, String> {
    let (name, slug) = match text.split_once('|') {
        Some((name, filter)) if filter.trim() == "slug" => (name.trim(), true),
        Some((_, filter)) => return Err(format!("a path has no filter `{}`", filter.trim())),
        None => (text, false),
    };
    let plain = name.strip_prefix("vars.").unwrap_or(name);
    let good = plain.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && plain.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if good { Ok(Part::Hole { name: name.to_owned(), slug }) } else { Err(format!("`{text}` is no name of a value")) }
}

fn allowed_in_value(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '~' | '-')
}

/// The rules of a whole path.
fn check(path: &str) -> Result<(), String> {
    if path.len() > MAX_BYTES {
        return Err(format!("the path has more than {MAX_BYTES} bytes"));
    }
    for segment in path.split('/') {
        if segment.is_empty() {
            return Err(format!("the path `{path}` has an empty segment"));
        }
        if segment.starts_with('.') {
            return Err(format!("a segment of the path `{path}` begins with a dot"));
        }
        if segment.chars().any(|c| c.is_control() || matches!(c, '\\' | '{' | '}' | '?' | '#' | '*' | '[' | ']')) {
            return Err(format!("the path {path:?} holds a character that a path cannot hold"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostics::{FileId, Span};

    fn compile(text: &str) -> Result<PathTemplate, Diagnostic> {
        let span = Span { file: FileId(0), start: 0, end: text.len() as u32 };
        PathTemplate::compile(&Spanned { value: text.into(), span })
    }

    fn render(text: &str, value: &str) -> Result<String, String> {
        compile(text).unwrap().render(&|_| Some(value.to_owned()))
    }

    #[test]
    fn values_fill_the_holes() {
        assert_eq!(render("results/{{ target_date }}.json", "2025-12-12").unwrap(), "results/2025-12-12.json");
        assert_eq!(render("p/{{ key | slug }}.json", "Luka Dončić Jr.").unwrap(), "p/luka-doncic-jr.json");
        assert_eq!(render("p/{{ key | slug }}.json", "De’Aaron  Fox").unwrap(), "p/deaaron-fox.json");
        let dated = compile("a/{{target_date}}/{{ vars.x }}").unwrap();
        assert!(dated.is_dated());
        assert_eq!(dated.pattern(), "a/{target_date}/{vars.x}");
        assert!(compile("a").unwrap().render(&|_| None).is_ok());
    }

    #[test]
    fn values_that_would_leave_their_segment_are_refused() {
        for value in ["", "a/b", "..", ".hidden", "a b", "é", "a\n", "%2e"] {
            assert!(render("p/{{ key }}", value).is_err(), "{value}");
        }
        assert!(render("p/{{ key }}", &"x".repeat(1023)).is_err());
        assert!(render("p/{{ key | slug }}", "…").is_err());
    }

    #[test]
    fn paths_that_cannot_be_right_are_findings() {
        for text in [
            "",
            "/a",
            "a/",
            "a//b",
            "../a",
            ".a",
            "{{ a",
            "{{ a b }}",
            "{{ a | upper }}",
            "{{ }}",
            "a\\b",
            "a{b}",
            "{{ row.x }}",
        ] {
            assert_eq!(compile(text).unwrap_err().code, "bad-path", "{text}");
        }
    }

    #[test]
    fn templates_that_can_yield_one_path_meet() {
        let meet = |a: &str, b: &str| {
            let (a, b) = (compile(a).unwrap(), compile(b).unwrap());
            assert_eq!(a.may_meet(&b), b.may_meet(&a));
            a.may_meet(&b)
        };
        assert!(meet("r/{{ target_date }}.json", "r/{{ today }}.json"));
        assert!(!meet("r/{{ target_date }}.json", "r/latest.json"));
        assert!(meet("p/{{ key }}.json", "p/index.json"));
        assert!(meet("p/{{ key }}.json", "p/{{ target_date }}.json"));
        assert!(!meet("p/{{ key }}.json", "p/a/index.json"));
        assert!(!meet("a.json", "b.json"));
    }

    proptest::proptest! {
        #[test]
        fn a_path_never_leaves_the_rules(text in "[a-z/.{} |]{0,12}(\\{\\{ key( \\| slug)? \\}\\})?[a-z/.]{0,6}", value in ".{0,12}|[./a]{0,6}") {
            let Ok(template) = compile(&text) else { return Ok(()) };
            let Ok(path) = template.render(&|_| Some(value.clone())) else { return Ok(()) };
            proptest::prop_assert!(path.split('/').all(|s| !s.is_empty() && !s.starts_with('.')));
            proptest::prop_assert!(!path.chars().any(char::is_control));
            proptest::prop_assert!(path.len() <= MAX_BYTES);
        }
    }
}
