//! YAML text to a [`Node`] tree with places; everything wrong is a finding, nothing panics or grows without bound.

use super::node::{Node, NodeValue};
use crate::diagnostics::{Diagnostic, FileId, Span, Spanned};
use granit_parser::{Event, Parser, ScalarStyle, Span as YamlSpan};
use std::collections::HashMap;

/// The largest file that is read, in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// How deep values may nest.
const MAX_DEPTH: usize = 64;
/// How many values a file may hold after its aliases are followed: an alias bomb ends here.
const MAX_NODES: usize = 100_000;

/// Parses one document. `None` when there is nothing to go on with.
pub fn parse(file: FileId, text: &str) -> (Option<Node>, Vec<Diagnostic>) {
    let whole = Span { file, start: 0, end: text.len().min(u32::MAX as usize) as u32 };
    if text.len() > MAX_BYTES {
        let found =
            Diagnostic::error("file-too-large", format!("the file has {} bytes", text.len()), first_line(whole, text))
                .help(format!("a configuration file may have {MAX_BYTES} bytes; move long SQL to `sql_file`"));
        return (None, vec![found]);
    }
    let mut builder = Builder {
        text,
        file,
        chars: None,
        nodes: 0,
        anchors: HashMap::new(),
        findings: Vec::new(),
        stack: Vec::new(),
        root: None,
        documents: 0,
    };
    for next in Parser::new_from_str(text) {
        match next {
            Ok((event, span)) => {
                if builder.event(event, span).is_err() {
                    return (None, builder.findings);
                }
            }
            Err(error) => {
                let at = builder.span_at(error.marker());
                builder.findings.push(syntax(&error.to_string(), at, text));
                return (None, builder.findings);
            }
        }
    }
    let root = builder.root.take();
    if root.is_none() && builder.findings.is_empty() {
        builder.findings.push(Diagnostic::error("empty-file", "the file is empty", first_line(whole, text)));
    }
    (root, builder.findings)
}

fn first_line(whole: Span, text: &str) -> Span {
    Span { end: text.find('\n').unwrap_or(text.len()).min(200) as u32, ..whole }
}

fn syntax(error: &str, at: Span, text: &str) -> Diagnostic {
    let line_start = text[..at.start as usize].rfind('\n').map_or(0, |i| i + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let indent: String = line.chars().take_while(|c| c.is_whitespace()).collect();
    // The parser repeats the place, which the finding shows anyway.
    let message = error.split(" at byte ").next().unwrap_or(error).split(" at line ").next().unwrap_or(error);
    let found = Diagnostic::error("yaml-syntax", format!("this is no YAML: {message}"), at);
    if line.contains("*/") || line.contains(": *") {
        found.help("quote the schedule: an unquoted `*` begins a YAML alias")
    } else if line.contains("[]") && line.contains('{') {
        found.help("quote the path: within `{ }` an unquoted `[` begins a list, so write `\"games[]\"`")
    } else if indent.contains('\t') || line.contains(":\t") {
        found.help("indent with blanks: YAML does not allow tabs there")
    } else {
        found.help("check the indentation and the quotes of this line and the one before")
    }
}

/// A collection that is still open.
struct Open {
    start: u32,
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    Seq(Vec<Node>),
    Map { entries: Vec<(Spanned<String>, Node)>, key: Option<Spanned<String>>, skip: bool },
}

struct Builder<'t> {
    text: &'t str,
    file: FileId,
    /// Byte offset of each character, made when a marker has none.
    chars: Option<Vec<u32>>,
    nodes: usize,
    anchors: HashMap<usize, Node>,
    findings: Vec<Diagnostic>,
    stack: Vec<Open>,
    root: Option<Node>,
    documents: usize,
}

/// Parsing cannot go on; the reason is among the findings.
struct Stop;

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: YamlSpan) -> Result<(), Stop> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    let at = self.span(span);
                    self.findings.push(
                        Diagnostic::error("several-documents", "a second YAML document begins here", at)
                            .help("a file holds one document: remove the `---`"),
                    );
                    return Err(Stop);
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let at = self.span(span);
                if tag.is_some() {
                    self.findings
                        .push(Diagnostic::error("yaml-tag", "tags are not used here", at).help("remove the `!…`"));
                }
                let value = scalar(&text, style, self.text, at);
                self.value(Node { value, span: at }, anchor)?;
            }
            Event::SequenceStart(_, anchor, _) => self.open(span, anchor, OpenKind::Seq(Vec::new()))?,
            Event::MappingStart(_, anchor, _) => {
                self.open(span, anchor, OpenKind::Map { entries: Vec::new(), key: None, skip: false })?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span)?,
            Event::Alias(id) => {
                let at = self.span(span);
                match self.anchors.get(&id).cloned() {
                    Some(node) => {
                        self.nodes += count(&node);
                        self.value(node, 0)?;
                    }
                    None => {
                        self.findings.push(
                            Diagnostic::error("yaml-alias", "this alias points to a value that is not finished", at)
                                .help("quote the text if it was not meant as an alias"),
                        );
                        return Err(Stop);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, span: YamlSpan, anchor: usize, kind: OpenKind) -> Result<(), Stop> {
        let at = self.span(span);
        if self.stack.len() >= MAX_DEPTH {
            self.findings.push(
                Diagnostic::error("too-deep", format!("values nest deeper than {MAX_DEPTH} levels"), at)
                    .help("flatten the structure"),
            );
            return Err(Stop);
        }
        self.stack.push(Open { start: at.start, anchor, kind });
        Ok(())
    }

    fn close(&mut self, span: YamlSpan) -> Result<(), Stop> {
        let Some(open) = self.stack.pop() else { return Ok(()) };
        let end = self.span(span).end.max(open.start);
        let value = match open.kind {
            OpenKind::Seq(items) => NodeValue::Seq(items),
            OpenKind::Map { entries, .. } => NodeValue::Map(entries),
        };
        // The end of a block collection is reported where the next token begins: blanks before it do not belong to it.
        let body = self.text.get(open.start as usize..end as usize).unwrap_or_default();
        let end = open.start + body.trim_end().len() as u32;
        self.value(Node { value, span: Span { file: self.file, start: open.start, end } }, open.anchor)
    }

    fn value(&mut self, node: Node, anchor: usize) -> Result<(), Stop> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            self.findings.push(
                Diagnostic::error("too-many-values", format!("the file holds more than {MAX_NODES} values"), node.span)
                    .help("aliases multiply what they point to: write less, or split the file"),
            );
            return Err(Stop);
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.kind {
            OpenKind::Seq(items) => items.push(node),
            OpenKind::Map { entries, key, skip } => match key.take() {
                Some(_) if *skip => *skip = false,
                Some(key) => entries.push((key, node)),
                None => {
                    let name = match key_text(&node) {
                        Some(name) => name,
                        None => {
                            self.findings.push(
                                Diagnostic::error("key-not-text", "a key has to be a text", node.span)
                                    .help("quote it, or use a list"),
                            );
                            *skip = true;
                            String::new()
                        }
                    };
                    if !*skip && let Some((first, _)) = entries.iter().find(|(k, _)| k.value == name) {
                        self.findings.push(
                            Diagnostic::error(
                                "duplicate-key",
                                format!("the key `{name}` stands here twice"),
                                node.span,
                            )
                            .also(first.span, "first here")
                            .help("remove one of them; which one was meant cannot be told"),
                        );
                        *skip = true;
                    }
                    *key = Some(Spanned { value: name, span: node.span });
                }
            },
        }
        Ok(())
    }

    fn span(&mut self, span: YamlSpan) -> Span {
        let start = self.offset(&span.start);
        let end = self.offset(&span.end).max(start);
        Span { file: self.file, start, end }
    }

    fn span_at(&mut self, marker: &granit_parser::Marker) -> Span {
        let start = self.offset(marker);
        let rest = &self.text[start as usize..];
        let len = rest.chars().next().map_or(0, |c| if c == '\n' { 0 } else { c.len_utf8() });
        Span { file: self.file, start, end: start + len as u32 }
    }

    fn offset(&mut self, marker: &granit_parser::Marker) -> u32 {
        if let Some(bytes) = marker.byte_offset() {
            return bytes.min(self.text.len()) as u32;
        }
        let text = self.text;
        let chars = self.chars.get_or_insert_with(|| text.char_indices().map(|(i, _)| i as u32).collect());
        chars.get(marker.index()).copied().unwrap_or(text.len() as u32)
    }
}

fn count(node: &Node) -> usize {
    1 + match &node.value {
        NodeValue::Seq(items) => items.iter().map(count).sum::<usize>(),
        NodeValue::Map(entries) => entries.iter().map(|(_, v)| count(v)).sum(),
        _ => 0,
    }
}

fn key_text(node: &Node) -> Option<String> {
    match &node.value {
        NodeValue::Str { text, .. } => Some(text.clone()),
        NodeValue::Bool(v) => Some(v.to_string()),
        NodeValue::Int(v) => Some(v.to_string()),
        NodeValue::Null => Some("null".into()),
        _ => None,
    }
}

/// Resolves a plain scalar by the core schema of YAML 1.2; quoted and block scalars are text.
fn scalar(text: &str, style: ScalarStyle, source: &str, at: Span) -> NodeValue {
    if style != ScalarStyle::Plain {
        return NodeValue::Str { text: text.to_owned(), plain: false };
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return NodeValue::Null,
        "true" | "True" | "TRUE" => return NodeValue::Bool(true),
        "false" | "False" | "FALSE" => return NodeValue::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        if let Ok(value) = text.parse() {
            return NodeValue::Int(value);
        }
    } else if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.bytes().any(|b| b.is_ascii_digit())
        && digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'-' | b'+'))
        && let Ok(value) = text.parse::<f64>()
        && value.is_finite()
    {
        return NodeValue::Float(value);
    }
    // A plain scalar over several lines is folded: its offsets are not the file's any more.
    let plain = source.get(at.range()) == Some(text);
    NodeValue::Str { text: text.to_owned(), plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &str) -> Vec<&'static str> {
        parse(FileId(0), text).1.into_iter().map(|d| d.code).collect()
    }

    #[test]
    fn scalars_follow_yaml_1_2() {
        let text = "a: no\nb: 1\nc: 1.5\nd: ~\ne: 2025-12-12\nf: '1'\ng: true\nh: =row.x\n";
        let (node, findings) = parse(FileId(0), text);
        assert!(findings.is_empty(), "{findings:?}");
        let node = node.unwrap();
        assert_eq!(node.get("a").unwrap().as_str(), Some("no"));
        assert_eq!(node.get("b").unwrap().value, NodeValue::Int(1));
        assert_eq!(node.get("c").unwrap().value, NodeValue::Float(1.5));
        assert_eq!(node.get("d").unwrap().value, NodeValue::Null);
        assert_eq!(node.get("e").unwrap().as_str(), Some("2025-12-12"));
        assert_eq!(node.get("f").unwrap().as_str(), Some("1"));
        assert_eq!(node.get("g").unwrap().value, NodeValue::Bool(true));
        let h = node.get("h").unwrap();
        assert_eq!(&text[h.span.range()], "=row.x");
    }

    #[test]
    fn what_is_wrong_is_a_finding() {
        assert_eq!(codes("a: 1\na: 2\n"), ["duplicate-key"]);
        assert_eq!(codes("a: [1, 2\n"), ["yaml-syntax"]);
        assert_eq!(codes("a:\n\t- 1\n"), ["yaml-syntax"]);
        assert_eq!(codes("a: 1\n---\nb: 2\n"), ["several-documents"]);
        assert_eq!(codes(""), ["empty-file"]);
        assert_eq!(codes("schedule: */3 * * * *\n"), ["yaml-syntax"]);
        assert_eq!(codes(&("[".repeat(100) + &"]".repeat(100))), ["too-deep"]);
        assert_eq!(codes(&format!("a: {}", "x".repeat(MAX_BYTES))), ["file-too-large"]);
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
                    d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e]\n";
        assert_eq!(codes(bomb), ["too-many-values"]);
    }

    #[test]
    fn a_schedule_without_quotes_says_so() {
        let (_, findings) = parse(FileId(0), "schedule: */3 * * * *\n");
        assert!(findings[0].help.as_ref().unwrap().contains("quote the schedule"));
    }

    #[test]
    fn a_path_without_quotes_says_so() {
        for text in
            ["guards:\n  - {unique: games[].id}\n", "guards:\n  - {max_shrink_pct: 50, of: games[].players[]}\n"]
        {
            let (node, findings) = parse(FileId(0), text);
            assert!(
                findings.iter().any(|f| f.help.as_ref().is_some_and(|h| h.contains("quote the path"))),
                "{node:?} {findings:?}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "[a-z:\\-\\[\\]{}&*!|>'\"#%@`\n\t ,0-9é]{0,60}") {
            let _ = parse(FileId(0), &text);
        }
    }
}
