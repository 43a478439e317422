//! Reads a project's folder as a whole: all problems of all files in one pass.

use super::hash::ConfigHash;
use super::model::{Project, Table};
use super::node::Node;
use super::{decode, grammar, spec, tables, yaml};
use crate::diagnostics::{Diagnostic, FileId, Severity, Sources, Span, Spanned};
use std::path::{Path, PathBuf};

/// The name of the project's main file.
pub const PUBLISHING_FILE: &str = "phase6_publishing.yaml";

/// What was read. The project holds whatever could be understood; it may be run only when no finding is an error.
pub struct Loaded {
    pub project: Project,
    pub sources: Sources,
    pub findings: Vec<Diagnostic>,
}

impl Loaded {
    /// Whether a finding forbids running.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|f| f.severity == Severity::Error)
    }
}

/// Loads `phase6_publishing.yaml`, `exports/*.yaml`, their SQL and `schemas/tables/*` below `root`.
pub fn load(root: &Path, env: decode::Env<'_>) -> Loaded {
    let mut loader = Loader {
        root,
        loaded: Loaded { project: decode::empty_project(root), sources: Sources::default(), findings: Vec::new() },
    };
    if let Some(node) = loader.yaml(Path::new(PUBLISHING_FILE), &grammar::PUBLISHING, "phase6_publishing.yaml") {
        let Loaded { project, findings, .. } = &mut loader.loaded;
        decode::publishing(&node, env, project, findings);
    }
    for path in loader.files("schemas/tables", &["sql", "json"]) {
        loader.table_file(&path);
    }
    for path in loader.files("exports", &["yaml", "yml"]) {
        loader.export_file(&path);
    }
    loader.loaded
}

struct Loader<'a> {
    root: &'a Path,
    loaded: Loaded,
}

impl Loader<'_> {
    /// A file's text; what cannot be read is a finding.
    fn read(&mut self, path: &Path) -> Option<(FileId, String)> {
        let Loaded { sources, findings, .. } = &mut self.loaded;
        read(self.root, path, sources, findings)
    }

    fn yaml(&mut self, path: &Path, object: &'static spec::Object, place: &str) -> Option<Node> {
        let (file, text) = self.read(path)?;
        let (node, findings) = yaml::parse(file, &text);
        self.loaded.findings.extend(findings);
        let node = node?;
        spec::check(&node, &spec::Kind::Object(object), place, &mut self.loaded.findings);
        Some(node)
    }

    /// The files of a folder with one of these endings, in the order of their names. No folder is no file.
    fn files(&mut self, folder: &str, endings: &[&str]) -> Vec<PathBuf> {
        let Ok(dir) = std::fs::read_dir(self.root.join(folder)) else { return Vec::new() };
        let mut found: Vec<PathBuf> = dir
            .flatten()
            .map(|e| Path::new(folder).join(e.file_name()))
            .filter(|p| p.extension().and_then(|e| e.to_str()).is_some_and(|e| endings.contains(&e)))
            .filter(|p| !p.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.')))
            .collect();
        found.sort();
        found
    }

    fn table_file(&mut self, path: &Path) {
        let Some((file, text)) = self.read(path) else { return };
        let findings = &mut self.loaded.findings;
        let found = if path.extension().is_some_and(|e| e == "sql") {
            tables::from_ddl(file, &text, findings)
        } else {
            let name = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            tables::from_json(file, &name, &text, findings).into_iter().collect()
        };
        for table in found {
            self.add_table(table, file);
        }
    }

    fn add_table(&mut self, table: Table, file: FileId) {
        let key = table.name.to_lowercase();
        let span = table.span.unwrap_or(Span { file, start: 0, end: 0 });
        if let Some(first) = self.loaded.project.tables.get(&key) {
            let mut found = Diagnostic::error("duplicate-table", format!("`{}` is declared twice", table.name), span)
                .help("keep one of the declarations");
            if let Some(first) = first.span {
                found = found.also(first, "first here");
            }
            self.loaded.findings.push(found);
            return;
        }
        self.loaded.project.tables.insert(key, table);
    }

    fn export_file(&mut self, path: &Path) {
        let Some(node) = self.yaml(path, &grammar::EXPORT, "an export") else { return };
        let mut hash = ConfigHash::new(self.root);
        hash.add(&path.to_string_lossy(), &self.loaded.sources.get(node.span.file).text);
        let root = self.root;
        let Loaded { project, sources, findings } = &mut self.loaded;
        let mut read_sql = |path: &Spanned<String>, findings: &mut Vec<Diagnostic>| {
            let (file, text) = read_named(root, path, sources, findings)?;
            hash.add(&format!("exports/{}", path.value), &text);
            let span = Span { file, start: 0, end: text.len() as u32 };
            Some((text, span))
        };
        let Some(mut export) = decode::export(&node, path, &mut read_sql, findings) else { return };
        for query in &export.queries {
            hash.add_included(&query.sql);
        }
        for schema in export.documents.iter().filter_map(|d| d.schema.as_ref()) {
            hash.add_file(&schema.value);
        }
        export.config_hash = hash.hex();
        if let Some(first) = project.exports.iter().find(|e| e.name.value == export.name.value) {
            findings.push(
                Diagnostic::error(
                    "duplicate-export",
                    format!("there are two exports `{}`", export.name.value),
                    export.name.span,
                )
                .also(first.name.span, "first here"),
            );
            return;
        }
        project.exports.push(export);
    }
}

/// The file that `sql_file:` names, below `exports/`.
fn read_named(
    root: &Path,
    path: &Spanned<String>,
    sources: &mut Sources,
    findings: &mut Vec<Diagnostic>,
) -> Option<(FileId, String)> {
    let good = !path.value.is_empty() && path.value.split('/').all(|s| !s.is_empty() && !s.starts_with('.'));
    let full = Path::new("exports").join(&path.value);
    if !good || !root.join(&full).is_file() {
        findings.push(
            Diagnostic::error("missing-file", format!("there is no file exports/{}", path.value), path.span)
                .help("`sql_file` is a path below exports/, such as sql/games.sql"),
        );
        return None;
    }
    read(root, &full, sources, findings)
}

fn read(root: &Path, path: &Path, sources: &mut Sources, findings: &mut Vec<Diagnostic>) -> Option<(FileId, String)> {
    let bytes = match std::fs::read(root.join(path)) {
        Ok(bytes) => bytes,
        Err(error) => {
            let file = sources.add(path, "");
            findings.push(
                Diagnostic::error(
                    "unreadable-file",
                    format!("{} cannot be read: {error}", path.display()),
                    Span { file, start: 0, end: 0 },
                )
                .help("a project's folder holds phase6_publishing.yaml, exports/ and schemas/; name it with --config"),
            );
            return None;
        }
    };
    match String::from_utf8(bytes) {
        Ok(text) => Some((sources.add(path, text.clone()), text)),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(&error.as_bytes()[..at]).into_owned();
            let start = text.len() as u32;
            let file = sources.add(path, text);
            findings.push(
                Diagnostic::error("not-utf-8", "the file is not UTF-8 from here on", Span { file, start, end: start })
                    .help("save it as UTF-8"),
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A project whose export includes a file, which imports another, and has a contract.
    fn project() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in [
            (PUBLISHING_FILE, "version: 1\ntargets: {}\n"),
            (
                "exports/e.yaml",
                "export: e\ndescription: x\nsql: \"{% include 'sql/a.sql' %}\"\nshape: {}\nfiles: [{path: e.json}]\nschema: s.json\n",
            ),
            ("exports/sql/a.sql", "{% import 'sql/b.sql' as b %}SELECT 1"),
            ("exports/sql/b.sql", "{% macro m() %}{% endmacro %}"),
            ("exports/sql/other.sql", "SELECT 2"),
            ("s.json", "{}"),
        ] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn the_hash_covers_what_is_included_and_the_contract() {
        let dir = project();
        let hash = || load(dir.path(), &|_| None).project.exports[0].config_hash.clone();
        let mut before = hash();
        assert_eq!(hash(), before);
        for path in ["exports/e.yaml", "exports/sql/a.sql", "exports/sql/b.sql", "s.json"] {
            let full = dir.path().join(path);
            let text = std::fs::read_to_string(&full).unwrap();
            std::fs::write(&full, text + "\n").unwrap();
            assert_ne!(hash(), before, "{path} counts");
            before = hash();
        }
        std::fs::write(dir.path().join("exports/sql/other.sql"), "SELECT 3").unwrap();
        assert_eq!(hash(), before, "what is not read does not count");
    }
}
