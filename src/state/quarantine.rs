//! Quarantine: documents that did not pass, set aside with the reasons, for whoever has to find out why.

use super::{State, StateError, name_of, segment};
use crate::ports::store::{Body, PutOptions};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Why a document was set aside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rejection {
    pub export: String,
    pub run_id: String,
    /// Where it would have gone.
    pub path: String,
    pub at: Timestamp,
    pub size: u64,
    /// What `--format json` says of each finding.
    pub findings: Vec<serde_json::Value>,
}

impl State {
    /// Sets a document aside. The reasons are written last: a record never points to a document that is not there.
    pub async fn quarantine(&self, rejection: &Rejection, document: &Body) -> Result<(), StateError> {
        let base = base_path(&rejection.export, &rejection.run_id, &rejection.path);
        let options = PutOptions { content_type: Some("application/json".to_owned()), ..PutOptions::default() };
        let mut attempts = super::Attempts::new(self.pause);
        while let Err(e) = self.store.put(&format!("{base}/document"), document, &options).await {
            attempts.spend(e).await?;
        }
        self.write(&format!("{base}/reasons.json"), rejection).await
    }

    /// What was set aside, newest run first: (run, path).
    pub async fn quarantined(&self, export: &str) -> Result<Vec<(String, String)>, StateError> {
        let prefix = format!("quarantine/{}/", segment(export));
        let paths = self.list(&prefix).await?;
        let mut found: Vec<(String, String)> = paths
            .iter()
            .filter_map(|p| p.strip_prefix(&prefix)?.strip_suffix("/reasons.json")?.split_once('/'))
            .map(|(run, path)| (name_of(run), name_of(path)))
            .collect();
        found.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        Ok(found)
    }

    /// The reasons for one document.
    pub async fn rejection(&self, export: &str, run_id: &str, path: &str) -> Result<Option<Rejection>, StateError> {
        let base = base_path(export, run_id, path);
        Ok(self.read(&format!("{base}/reasons.json")).await?.map(|(rejection, _)| rejection))
    }

    /// The document itself.
    pub async fn rejected_document(&self, export: &str, run_id: &str, path: &str) -> Result<Vec<u8>, StateError> {
        Ok(self.store.get(&format!("{}/document", base_path(export, run_id, path)), None).await?.bytes)
    }
}

fn base_path(export: &str, run_id: &str, path: &str) -> String {
    format!("quarantine/{}/{}/{}", segment(export), segment(run_id), segment(path))
}
