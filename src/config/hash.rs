//! What a document is made from, as one hash: the export's file, its SQL, what that includes, and the contracts.

use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::Path;

/// Collects files into a hash; each file counts once, by its path.
pub struct ConfigHash<'a> {
    root: &'a Path,
    hash: Sha256,
    seen: BTreeSet<String>,
}

impl<'a> ConfigHash<'a> {
    pub fn new(root: &'a Path) -> Self {
        Self { root, hash: Sha256::new(), seen: BTreeSet::new() }
    }

    /// Adds a text that was read already.
    pub fn add(&mut self, path: &str, text: &str) {
        if self.seen.insert(path.to_owned()) {
            // With their lengths, so that text cannot wander from one file into the next unseen.
            for part in [path, text] {
                self.hash.update((part.len() as u64).to_le_bytes());
                self.hash.update(part.as_bytes());
            }
        }
    }

    /// Adds a file below the root; one that cannot be read counts as absent, which is another hash.
    pub fn add_file(&mut self, path: &str) {
        match std::fs::read_to_string(self.root.join(path)) {
            Ok(text) => self.add(path, &text),
            Err(_) => self.add(path, ""),
        }
    }

    /// Adds what a SQL template includes or imports, and what that does in turn. A name that is computed when the template
    /// runs is not seen; a text in the same tag that names a file is.
    pub fn add_included(&mut self, template: &str) {
        for name in included(template) {
            let path = format!("exports/{name}");
            let plain = name.split('/').all(|s| !s.is_empty() && !s.starts_with('.') && !s.contains('\\'));
            if !plain || self.seen.contains(&path) {
                continue;
            }
            if let Ok(text) = std::fs::read_to_string(self.root.join(&path)) {
                self.add(&path, &text);
                self.add_included(&text);
            }
        }
    }

    pub fn hex(self) -> String {
        crate::model::hex::hex(&self.hash.finalize())
    }
}

/// The quoted texts in tags that load another template.
fn included(template: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = template;
    while let Some(start) = rest.find("{%") {
        let tag = &rest[start + 2..];
        let end = tag.find("%}").unwrap_or(tag.len());
        let (tag, after) = tag.split_at(end);
        let word = tag.trim_start_matches(['-', '+']).trim_start();
        if ["include", "import", "from", "extends"].iter().any(|w| word.strip_prefix(w).is_some_and(starts_other)) {
            names.extend(quoted(tag));
        }
        rest = after;
    }
    names
}

fn starts_other(rest: &str) -> bool {
    !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')
}

fn quoted(tag: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let mut rest = tag;
    while let Some(start) = rest.find(['"', '\'']) {
        let quote = &rest[start..=start];
        let inner = &rest[start + 1..];
        let Some(end) = inner.find(quote) else { break };
        texts.push(inner[..end].to_owned());
        rest = &inner[end + 1..];
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_that_load_are_found() {
        let template = "{% set x = \"no.sql\" %}{%- include 'a.sql' -%} {% import \"b.sql\" as m %}\n{% from \"c.sql\" import d %}\
             {% include [\"e.sql\", 'f.sql'] ignore missing %} {% fromage \"no.sql\" %} {{ \"no.sql\" }} {% include \"open";
        assert_eq!(included(template), ["a.sql", "b.sql", "c.sql", "e.sql", "f.sql"]);
    }
}
