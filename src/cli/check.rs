//! `phase6 check`: CI's door. Everything that can be known without a warehouse.

use super::args::Format;
use super::exit::Exit;
use crate::config::lint::sql::Analyse;
use crate::config::{Loaded, lint};
use crate::diagnostics::render;
use std::path::Path;

/// Loads a project and runs every check on it; the findings are in the order of the files. `analyse` looks
/// into SQL.
pub fn load_and_check(root: &Path, analyse: Option<Analyse<'_>>) -> Loaded {
    let mut loaded = crate::config::load(root, &|name| std::env::var(name).ok());
    lint::run(&mut loaded, analyse);
    render::sort(&mut loaded.findings, &loaded.sources);
    loaded
}

/// The findings in a format, and how the command ends.
pub fn report(loaded: &Loaded, format: Format, color: bool) -> (String, Exit) {
    let Loaded { findings, sources, .. } = loaded;
    let objects = || findings.iter().map(|f| render::json(f, sources));
    let text = match format {
        Format::Json => format!("{:#}\n", serde_json::Value::Array(objects().collect())),
        Format::Jsonl => objects().map(|o| format!("{o}\n")).collect(),
        Format::Github => render::github(findings, sources),
        Format::Sarif => format!("{:#}\n", render::sarif(findings, sources)),
        Format::Human | Format::Table | Format::Csv if findings.is_empty() => {
            let exports = loaded.project.exports.len();
            format!("no findings in {exports} export{}\n", if exports == 1 { "" } else { "s" })
        }
        Format::Human | Format::Table | Format::Csv => {
            format!("{}{}\n", render::human(findings, sources, color), render::summary(findings))
        }
    };
    (text, if loaded.has_errors() { Exit::Failed } else { Exit::Ok })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_project_passes_in_every_format_and_in_time() {
        let begin = std::time::Instant::now();
        let loaded = load_and_check(Path::new(env!("CARGO_MANIFEST_DIR")), None);
        // A debug build on a busy machine; the release build has a fifth of this.
        assert!(begin.elapsed().as_millis() < 2_000, "{:?}", begin.elapsed());
        for format in [Format::Human, Format::Json, Format::Jsonl, Format::Github, Format::Sarif] {
            let (text, exit) = report(&loaded, format, false);
            assert_eq!(exit, Exit::Ok, "{text}");
        }
    }

    #[test]
    fn a_folder_without_a_project_is_a_finding() {
        let dir = tempfile::tempdir().unwrap();
        let (text, exit) = report(&load_and_check(dir.path(), None), Format::Human, false);
        assert_eq!(exit, Exit::Failed);
        assert!(text.contains("phase6_publishing.yaml"), "{text}");
    }
}
