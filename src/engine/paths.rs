//! Where a document's copies go, with their headers.

use super::documents::{Maker, Rejected};
use super::facts::path_text;
use super::publish::ArtifactKind;
use crate::config::path::PathTemplate;
use crate::config::{CacheControl, FileDecl};
use crate::shape::Ctx;

/// One copy of a document.
#[derive(Debug, Clone)]
pub struct File {
    pub path: String,
    pub cache_control: String,
    pub kind: ArtifactKind,
    pub dated: bool,
    pub once: bool,
    pub gzip: bool,
    /// The key of the fan-out, or the document's name: what is said when two meet at one path.
    pub key: String,
}

/// The compiled paths of a document; only those that take part in this run.
pub struct Paths {
    files: Vec<(PathTemplate, File)>,
}

impl Paths {
    /// Undated copies take part when the request updates `latest`; aliases of an empty document only when they say so.
    pub fn compile(maker: &Maker<'_>) -> Result<Self, Rejected> {
        let document = maker.document();
        let mut files = Vec::new();
        for file in &document.files {
            let template = compile(&file.path, maker)?;
            let main = main_file(maker, &template, file)?;
            if main.dated || maker.request.update_latest {
                files.push((template, main));
            }
            for alias in &file.aliases {
                if !maker.request.update_latest || (maker.empty && !alias.write_when_empty) {
                    continue;
                }
                let template = compile(&alias.path, maker)?;
                let dated = template.is_dated();
                let cache_control = header(&alias.cache_control, maker)?;
                files.push((
                    template,
                    File { kind: ArtifactKind::Alias, dated, gzip: file.gzip, cache_control, ..File::none() },
                ));
            }
        }
        Ok(Self { files })
    }

    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The copies of one document; `key` is the fan-out's key as text.
    pub fn render(&self, maker: &Maker<'_>, key: Option<&str>) -> Result<Vec<File>, String> {
        let value = |name: &str| match (name, key) {
            ("key", Some(key)) => Some(key.to_owned()),
            _ => path_text(maker.facts, name),
        };
        let owner = key.unwrap_or(&maker.document().name).to_owned();
        self.files
            .iter()
            .map(|(template, file)| Ok(File { path: template.render(&value)?, key: owner.clone(), ..file.clone() }))
            .collect()
    }
}

impl File {
    fn none() -> Self {
        Self {
            path: String::new(),
            cache_control: String::new(),
            kind: ArtifactKind::Dated,
            dated: false,
            once: false,
            gzip: false,
            key: String::new(),
        }
    }
}

fn compile(path: &crate::diagnostics::Spanned<String>, maker: &Maker<'_>) -> Result<PathTemplate, Rejected> {
    PathTemplate::compile(path).map_err(|found| Rejected::of_finding(&found, &maker.engine.sources))
}

fn main_file(maker: &Maker<'_>, template: &PathTemplate, file: &FileDecl) -> Result<File, Rejected> {
    let document = maker.document();
    let dated = template.is_dated();
    let kind = if document.index_of.is_some() {
        ArtifactKind::Index
    } else if document.each.is_some() {
        ArtifactKind::Entity
    } else {
        ArtifactKind::Dated
    };
    let cache_control = header(&file.cache_control, maker)?;
    Ok(File { kind, dated, once: file.once, gzip: file.gzip, cache_control, ..File::none() })
}

/// The Cache-Control header: fixed, or by whether the document is final.
fn header(declared: &CacheControl, maker: &Maker<'_>) -> Result<String, Rejected> {
    Ok(match declared {
        CacheControl::Fixed(text) => text.clone(),
        CacheControl::ByState { when, last, otherwise } => {
            let is_final = match when {
                None => maker.request.target_date < maker.request.today,
                Some(node) => {
                    let (expr, found) = crate::shape::compile_expression(node, &maker.prepared.scope);
                    if let Some(first) = found.first() {
                        return Err(Rejected::of_finding(first, &maker.engine.sources));
                    }
                    crate::shape::run::evaluate(&expr, &Ctx::new(&maker.prepared.inputs, &[]))
                        .map_err(|reason| Rejected::plain(format!("`cache_control.when`: {reason}")))?
                        .truthy()
                }
            };
            if is_final { last.clone() } else { otherwise.clone() }
        }
    })
}
