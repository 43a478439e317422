//! What stands for the engine: a warehouse whose rows change with time, slow, wrong or down by the seed's word; documents that
//! go through the real publication into the real release records.

use super::faults::SimClock;
use async_trait::async_trait;
use phase6::adapters::faulty::Random;
use phase6::engine::export::empty_report;
use phase6::engine::publish::{Artifact, ArtifactKind, Intent, Outcome};
use phase6::engine::release::{PublishOptions, ReleaseInfo, publish_release};
use phase6::model::report::{ExportReport, FailureClass, ObjectReport, Status};
use phase6::model::request::ExportRequest;
use phase6::ports::cancel::Cancel;
use phase6::ports::clock::Clock;
use phase6::ports::store::{Body, ObjectStore, PutOptions};
use phase6::service::Exporter;
use phase6::state::State;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub struct SimExporter {
    pub store: Arc<dyn ObjectStore>,
    pub state: State,
    pub clock: Arc<SimClock>,
    pub random: Arc<Random>,
    /// Whether the warehouse fails at all.
    pub troubled: Arc<AtomicBool>,
    /// The broken variant that looks and then writes without a condition.
    pub check_then_write: bool,
}

#[async_trait]
impl Exporter for SimExporter {
    async fn export(&self, request: &ExportRequest, export: &str, cancel: &Cancel) -> ExportReport {
        let as_of = self.clock.now();
        let slow = Duration::from_millis(50 + self.random.below(4_000));
        if cancel.or(tokio::time::sleep(slow)).await.is_none() {
            return ExportReport { reason: cancel.reason(), ..empty_report(export) };
        }
        if self.troubled.load(Ordering::Relaxed)
            && let Some(report) = self.trouble(export)
        {
            return report;
        }
        let intent = Intent {
            run_id: request.run_id.clone(),
            target_date: request.target_date,
            as_of,
            config_hash: "c".into(),
            force: false,
        };
        // The rows change every two seconds.
        let version = as_of.as_second() / 2;
        let text = format!("{{\"export\":\"{export}\",\"date\":\"{}\",\"version\":{version}}}", request.target_date);
        let mut artifacts =
            vec![artifact(&format!("{export}/{}.json", request.target_date), &text, ArtifactKind::Dated)];
        if request.update_latest {
            artifacts.push(artifact(&format!("{export}/latest.json"), &text, ArtifactKind::Alias));
        }
        if self.check_then_write {
            return self.broken(export, &artifacts, &intent).await;
        }
        let info = ReleaseInfo {
            export: export.into(),
            run_key: Some(request.run_key(export)),
            data_date: Some(request.target_date),
            ..ReleaseInfo::default()
        };
        let options = PublishOptions::default();
        match publish_release(&self.store, &self.state, artifacts, &intent, &info, &options).await {
            Ok(published) => {
                let mut report = empty_report(export);
                for object in &published.release.objects {
                    report.paths.push(ObjectReport {
                        path: object.path.clone(),
                        outcome: "written".into(),
                        generation: Some(object.generation),
                        sha256: object.sha256.clone(),
                        bytes: object.size,
                    });
                    report.bytes += object.size;
                }
                report.objects.written = published.count(|o| matches!(o, Outcome::Written { .. })) as u64;
                report.objects.superseded = published.count(|o| matches!(o, Outcome::Superseded { .. })) as u64;
                report.status = if report.objects.written > 0 { Status::Published } else { Status::Superseded };
                report
            }
            Err(error) => failed(export, error.is_transient(), &error.to_string()),
        }
    }
}

impl SimExporter {
    fn trouble(&self, export: &str) -> Option<ExportReport> {
        match self.random.below(100) {
            0..6 => Some(failed(export, true, "the warehouse is down")),
            6..9 => Some(failed(export, false, "the SQL is wrong")),
            9..12 => Some(ExportReport {
                status: Status::NotReady,
                class: Some(FailureClass::NotReady),
                retry_after_ms: Some(7_000),
                give_up_after_ms: Some(40_000),
                reason: Some("fewer than 50 rows".into()),
                ..empty_report(export)
            }),
            _ => None,
        }
    }

    /// Looks at the date that is there, then writes whatever is there by then.
    async fn broken(&self, export: &str, artifacts: &[Artifact], intent: &Intent) -> ExportReport {
        for artifact in artifacts {
            let seen = self.store.stat(&artifact.path).await.ok().flatten();
            let newer = seen.and_then(|info| phase6::engine::publish::watermark_of(&info).ok().flatten());
            let mine = intent.watermark(artifact);
            if newer.is_some_and(|newer| newer.target_date > mine.target_date) {
                continue;
            }
            tokio::time::sleep(Duration::from_millis(self.random.below(400))).await;
            let metadata = BTreeMap::from([
                (phase6::engine::publish::keys::RUN_ID.to_owned(), intent.run_id.clone()),
                (phase6::engine::publish::keys::WATERMARK.to_owned(), mine.to_string()),
            ]);
            let options = PutOptions { metadata, ..PutOptions::default() };
            if let Err(error) = self.store.put(&artifact.path, &artifact.body, &options).await {
                return failed(export, true, &error.to_string());
            }
        }
        ExportReport { status: Status::Published, ..empty_report(export) }
    }
}

fn failed(export: &str, transient: bool, reason: &str) -> ExportReport {
    ExportReport {
        status: Status::Failed,
        class: Some(if transient { FailureClass::Transient } else { FailureClass::Permanent }),
        reason: Some(reason.to_owned()),
        ..empty_report(export)
    }
}

fn artifact(path: &str, text: &str, kind: ArtifactKind) -> Artifact {
    use sha2::Digest;
    let sha256 = sha2::Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
    Artifact {
        path: path.into(),
        body: Body::from(text.as_bytes().to_vec()),
        sha256,
        size: text.len() as u64,
        content_type: "application/json".into(),
        cache_control: None,
        kind,
        dated: kind == ArtifactKind::Dated,
        once: false,
        gzip: false,
        document: "d".into(),
        schema: None,
        counts: BTreeMap::new(),
    }
}
