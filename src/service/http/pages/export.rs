//! An export's page with its releases, and a document's page with its generations.

use super::Page;
use super::overview::summary;
use crate::engine::publish::keys;
use crate::engine::watermark::Watermark;
use crate::ports::store::{ObjectInfo, StoreError, StoreErrorKind};
use crate::service::http::Door;
use crate::service::http::problem::Problem;
use minijinja::value::Serde;
use minijinja::{Value, context};

const SHOWN_RELEASES: usize = 20;
const SHOWN_OBJECTS: usize = 50;
const LOOK_BACK: usize = 50;

pub async fn page(door: &Door, name: &str) -> Page {
    let project = (door.project)();
    let export = project.exports.iter().find(|e| e.name.value == name);
    let export = export.ok_or_else(|| Problem::not_found("There is no such export."))?;
    let facts = door.facts.freshness().await;
    let summary = summary(door, export, &facts, &door.state.requests(LOOK_BACK).await?).await?;
    let mut releases = Vec::new();
    let (mut objects, mut omitted) = (Vec::new(), 0);
    for (i, head) in door.state.release_history(name).await?.iter().take(SHOWN_RELEASES).enumerate() {
        let Some(release) = door.state.release(name, head).await? else { continue };
        releases.push(context! {
            run_id => release.run_id, target_date => release.target_date.to_string(), as_of => release.as_of.to_string(),
            objects => release.objects.len(), size => release.objects.iter().map(|o| o.size).sum::<u64>(),
        });
        if i == 0 {
            omitted = release.objects.len().saturating_sub(SHOWN_OBJECTS);
            objects = release.objects;
            objects.truncate(SHOWN_OBJECTS);
        }
    }
    let files = export.documents.iter().flat_map(|d| &d.files);
    let paths = files.flat_map(|f| std::iter::once(&f.path.value).chain(f.aliases.iter().map(|a| &a.path.value)));
    Ok(context! {
        export => Serde(summary), description => &export.description,
        file => export.file.display().to_string(), paths => paths.cloned().collect::<Vec<_>>(), releases,
        objects => Serde(objects), omitted,
    })
}

pub async fn document(door: &Door, path: &str) -> Page {
    let versions = door.store.versions(path).await.map_err(refused)?;
    let live = door.store.stat(path).await.map_err(refused)?;
    if versions.is_empty() && live.is_none() {
        return Err(Problem::not_found("There is no such document, and there was none."));
    }
    let versions: Vec<Value> = versions.iter().map(version).collect();
    Ok(context! { path, live => live.as_ref().map(version), versions })
}

fn version(info: &ObjectInfo) -> Value {
    let mark = info.metadata.get(keys::WATERMARK).and_then(|text| text.parse::<Watermark>().ok());
    context! {
        run_id => info.metadata.get(keys::RUN_ID).map(String::as_str), as_of => mark.map(|m| m.as_of.to_string()),
        generation => info.generation, size => info.size, sha256 => info.sha256.as_deref(),
        content_type => info.content_type.as_deref(),
        cache_control => info.cache_control.as_deref(), metadata => Serde(&info.metadata),
    }
}

fn refused(error: StoreError) -> Problem {
    match error.kind {
        StoreErrorKind::InvalidPath | StoreErrorKind::NotFound => Problem::not_found("There is no such document."),
        _ => Problem::unavailable(error.to_string()),
    }
}
