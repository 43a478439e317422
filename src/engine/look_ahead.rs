//! What is there before a large fan-out is published: one listing of each folder instead of a description of each object.
//!
//! It only replaces the first look of the compare-and-set loop (`publish`): what was seen here is as old as the listing, and a
//! write that somebody else's came before fails its precondition and looks again, as it does after any look. Which stores are
//! asked so, and from how many objects on, is theirs to say (`Traffic::list_from`).

use super::publish::Artifact;
use crate::ports::store::{ObjectInfo, ObjectStore};
use std::collections::{BTreeMap, HashMap};

/// What some listings have shown.
#[derive(Debug, Default)]
pub struct Seen {
    /// The prefixes that were listed.
    listed: Vec<String>,
    found: HashMap<String, ObjectInfo>,
}

/// What is known of one path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Known {
    /// Nobody looked.
    #[default]
    Nothing,
    /// This is there; `None`: nothing is.
    Seen(Option<Box<ObjectInfo>>),
}

impl Seen {
    /// Looks at the folders that have enough of the artifacts. A listing that fails is as good as none.
    pub async fn look(store: &dyn ObjectStore, artifacts: impl Iterator<Item = &Artifact>) -> Self {
        let Some(enough) = store.traffic().list_from else { return Self::default() };
        let mut folders: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for artifact in artifacts {
            let folder = artifact.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            folders.entry(folder).or_default().push(&artifact.path);
        }
        let mut seen = Self::default();
        for paths in folders.into_values().filter(|paths| paths.len() >= enough.max(1)) {
            let prefix = common_prefix(&paths);
            if let Ok(found) = store.list(prefix).await {
                seen.listed.push(prefix.to_owned());
                seen.found.extend(found.into_iter().map(|info| (info.path.clone(), info)));
            }
        }
        seen
    }

    /// What is known of a path.
    pub fn of(&self, path: &str) -> Known {
        match self.found.get(path) {
            Some(info) => Known::Seen(Some(Box::new(info.clone()))),
            None if self.listed.iter().any(|prefix| path.starts_with(prefix)) => Known::Seen(None),
            None => Known::Nothing,
        }
    }
}

fn common_prefix<'a>(paths: &[&'a str]) -> &'a str {
    let first = paths.first().copied().unwrap_or_default();
    let common = |other: &&str| first.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    let length = paths.iter().map(common).min().unwrap_or(0);
    &first[..first.floor_char_boundary(length)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_common_and_whole_characters() {
        assert_eq!(common_prefix(&["e/p/12.json", "e/p/1.json"]), "e/p/1");
        assert_eq!(common_prefix(&["e/é.json", "e/è.json"]), "e/");
        assert_eq!(common_prefix(&["e/p.json"]), "e/p.json");
    }
}
