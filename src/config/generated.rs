//! The files of `schemas/phase6/` that phase6 writes itself; they are committed, and CI fails when they differ.

use super::lint::path_lock;
use super::{Project, grammar};
use std::io;
use std::path::Path;

/// Each file's path below the project's root and its text.
pub fn files(project: &Project) -> Vec<(&'static str, String)> {
    let mut files = grammar::generated_schemas();
    files.push((path_lock::FILE, path_lock::file_text(project)));
    files
}

/// Writes the files that differ; returns their paths.
pub fn write(project: &Project) -> io::Result<Vec<&'static str>> {
    let mut written = Vec::new();
    for (path, text) in stale(&project.root, files(project)) {
        let full = project.root.join(path);
        if let Some(folder) = full.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(full, text)?;
        written.push(path);
    }
    Ok(written)
}

/// The files whose text on disk is another one.
pub fn stale(root: &Path, files: Vec<(&'static str, String)>) -> Vec<(&'static str, String)> {
    files
        .into_iter()
        .filter(|(path, text)| std::fs::read_to_string(root.join(path)).ok().as_ref() != Some(text))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `PHASE6_WRITE_GENERATED=1 cargo test generated` writes them.
    #[test]
    fn the_committed_files_are_the_generated_ones() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let project = crate::config::load(root, &|_| Some("x".into())).project;
        if std::env::var_os("PHASE6_WRITE_GENERATED").is_some() {
            write(&project).unwrap();
        }
        let stale: Vec<_> = stale(root, files(&project)).into_iter().map(|(path, _)| path).collect();
        assert_eq!(stale, [""; 0], "run `phase6 schema --write`");
    }

    #[test]
    fn generated_schemas_are_schemas() {
        for (path, text) in grammar::generated_schemas() {
            let found = crate::config::lint::schemas::findings_of(crate::diagnostics::FileId(0), &text);
            assert!(found.is_empty(), "{path}: {found:?}");
        }
    }
}
