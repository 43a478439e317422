use super::*;
use crate::adapters::memory::MemoryStore;
use crate::config::load;
use crate::engine::publish::{Artifact, ArtifactKind, Intent};
use crate::engine::release::{PublishOptions, ReleaseInfo, publish_release};
use crate::ports::store::Body;
use crate::state::runs::{RunRecord, RunStatus};

/// A project with one export `e` that publishes `e/<date>.json` and `e/latest.json`.
pub fn project(extra: &str, freshness: &str) -> Project {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("exports")).unwrap();
    let publishing = "version: 1\ncalendar: {timezone: America/New_York, day_starts_at: '04:00'}\ntargets:\n  local: {warehouse: {type: duckdb, data: d}, store: {type: directory, path: p}, state: {type: directory, path: s}}\n";
    std::fs::write(dir.path().join("phase6_publishing.yaml"), format!("{publishing}{extra}")).unwrap();
    let export = "export: e\ndescription: x\nparams: {target_date: date}\nsql: SELECT 1 AS n\nshape: {n: 1}\nfiles: [{path: 'e/{{ target_date }}.json', aliases: [{path: e/latest.json}]}]\n";
    std::fs::write(dir.path().join("exports/e.yaml"), format!("{export}{freshness}")).unwrap();
    let loaded = load(dir.path(), &|_| None);
    assert!(loaded.findings.is_empty(), "{:?}", loaded.findings);
    loaded.project
}

const BY: &str = "freshness: {by: '05:30 America/New_York'}\n";
const MORNING: &str =
    "scheduler: {jobs: [{name: j, schedule: '0 10 * * *', export_types: [e], target_date: yesterday}]}\n";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn expected_date(extra: &str, freshness: &str, now: &str) -> String {
    let project = project(extra, freshness);
    expected(&project, &project.exports[0], at(now)).unwrap().date.to_string()
}

#[test]
fn the_expected_date_is_what_the_job_asked_for_at_its_last_slot_before_the_due_time() {
    // 10:00 UTC is 05:00 in New York in winter: due at 05:30, so the job of this morning asked for yesterday.
    assert_eq!(expected_date(MORNING, BY, "2025-12-12T10:30:00Z"), "2025-12-11");
    // A minute before, the promise of yesterday morning still stands.
    assert_eq!(expected_date(MORNING, BY, "2025-12-12T10:29:59Z"), "2025-12-10");
    // In summer the job comes at 06:00 in New York, after 05:30: what was due is the slot of the day before.
    assert_eq!(expected_date(MORNING, BY, "2025-07-12T12:00:00Z"), "2025-07-10");
}

#[test]
fn a_weekly_job_promises_its_week_and_no_job_the_day_itself() {
    let weekly = "scheduler: {jobs: [{name: j, schedule: '0 11 * * 0', export_types: [e]}]}\n";
    for now in ["2025-12-08T10:30:00Z", "2025-12-13T23:00:00Z", "2025-12-14T10:30:00Z"] {
        assert_eq!(expected_date(weekly, BY, now), "2025-12-07", "{now}");
    }
    assert_eq!(expected_date("", "freshness: {by: '13:30 America/New_York'}\n", "2025-12-12T18:30:00Z"), "2025-12-12");
    // Before 04:00 it is still the league's day before.
    assert_eq!(expected_date("", "freshness: {by: '03:00 America/New_York'}\n", "2025-12-12T09:00:00Z"), "2025-12-11");
}

#[test]
fn of_several_jobs_the_latest_date_counts() {
    let two = "scheduler: {jobs: [{name: a, schedule: '0 10 * * *', export_types: [e], target_date: yesterday}, {name: b, schedule: '0 9 * * *', export_types: [e], target_date: today}]}\n";
    assert_eq!(expected_date(two, BY, "2025-12-12T10:30:00Z"), "2025-12-12");
}

/// A store and a state with whatever a test publishes.
pub struct Stage {
    pub store: Arc<dyn ObjectStore>,
    pub state: State,
}

impl Stage {
    pub fn empty() -> Self {
        Self { store: Arc::new(MemoryStore::new()), state: State::new(Arc::new(MemoryStore::new())).without_pauses() }
    }

    pub async fn publish(&self, run_id: &str, date: &str, as_of: &str, data_date: Option<&str>) {
        let artifact = |path: String, kind, dated| Artifact {
            path,
            body: Body::from(b"{}".to_vec()),
            sha256: crate::adapters::hex_sha256(b"{}"),
            size: 2,
            content_type: "application/json".into(),
            cache_control: None,
            kind,
            dated,
            once: false,
            gzip: false,
            document: "e".into(),
            schema: None,
            counts: BTreeMap::new(),
        };
        let artifacts = vec![
            artifact(format!("v1/e/{date}.json"), ArtifactKind::Dated, true),
            artifact("v1/e/latest.json".into(), ArtifactKind::Alias, false),
        ];
        let intent = Intent {
            run_id: run_id.into(),
            target_date: date.parse().unwrap(),
            as_of: at(as_of),
            config_hash: "c".into(),
            force: false,
        };
        let data_date = data_date.map(|d| d.parse().unwrap());
        let info = ReleaseInfo { export: "e".into(), data_date, ..ReleaseInfo::default() };
        let options = PublishOptions::default();
        publish_release(&self.store, &self.state, artifacts, &intent, &info, &options).await.unwrap();
    }

    async fn kept_empty(&self, date: &str, finished: &str) {
        let run = RunRecord {
            run_id: format!("empty-{date}"),
            export: "e".into(),
            target_date: Some(date.parse().unwrap()),
            run_key: None,
            cause: "test".into(),
            cause_time: at(finished),
            started_at: at(finished),
            finished_at: Some(at(finished)),
            status: RunStatus::Skipped,
            reason: None,
            report: serde_json::json!({"status": "kept_empty", "empty": true}),
        };
        self.state.record_run(&run).await.unwrap();
    }

    async fn rows(&self, project: &Project, now: &str) -> Vec<Row> {
        let runs = last_runs(&self.state, project).await.unwrap();
        let mut reader = Reader::new(self.store.clone(), self.state.clone(), "v1/".into());
        reader.rows(project, &runs, at(now)).await.unwrap()
    }

    async fn latest(&self, project: &Project, now: &str) -> (Condition, String) {
        let rows = self.rows(project, now).await;
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert_eq!(rows[0].path, "v1/e/latest.json");
        (rows[0].state, rows[0].reason.clone())
    }
}

#[tokio::test]
async fn nothing_ever_ran_and_the_clock_says_so() {
    let rows = Stage::empty().rows(&project(MORNING, BY), "2025-12-12T10:30:00Z").await;
    assert_eq!(rows[0].state, Condition::Missing);
    assert_eq!(rows[0].broken_since, Some(at("2025-12-12T10:30:00Z")));
}

#[tokio::test]
async fn i11_a_writer_that_stopped_is_seen_although_nothing_failed() {
    let (stage, project) = (Stage::empty(), project(MORNING, BY));
    stage.publish("r1", "2025-12-11", "2025-12-12T10:00:00Z", Some("2025-12-11")).await;
    assert_eq!(stage.latest(&project, "2025-12-12T12:00:00Z").await.0, Condition::Fresh);
    assert_eq!(stage.latest(&project, "2025-12-13T10:29:59Z").await.0, Condition::Fresh);
    let (state, reason) = stage.latest(&project, "2025-12-13T10:30:00Z").await;
    assert_eq!(state, Condition::Stale);
    assert_eq!(reason, "its data is of 2025-12-11, 2025-12-12 was due 2025-12-13 05:30 EST");
}

#[tokio::test]
async fn i12_a_new_file_with_old_data_is_stale() {
    let (stage, project) = (Stage::empty(), project(MORNING, BY));
    stage.publish("r1", "2025-12-11", "2025-12-12T10:00:00Z", Some("2025-12-04")).await;
    assert_eq!(stage.latest(&project, "2025-12-12T12:00:00Z").await.0, Condition::Stale);
    stage.publish("r2", "2025-12-11", "2025-12-12T11:00:00Z", None).await;
    let (state, reason) = stage.latest(&project, "2025-12-12T12:00:00Z").await;
    assert_eq!((state, reason.as_str()), (Condition::Stale, "its rows had no date"));
}

#[tokio::test]
async fn unchanged_content_counts_as_confirmed() {
    let (stage, project) = (Stage::empty(), project("", "freshness: {within: 26h}\n"));
    stage.publish("r1", "2025-12-11", "2025-12-11T10:00:00Z", None).await;
    assert_eq!(stage.latest(&project, "2025-12-12T12:00:00Z").await.0, Condition::Fresh);
    assert_eq!(stage.latest(&project, "2025-12-12T12:00:01Z").await.0, Condition::Stale);
    // The same bytes a day later: the object stays, its watermark moves.
    stage.publish("r2", "2025-12-12", "2025-12-12T10:00:00Z", None).await;
    assert_eq!(stage.store.versions("v1/e/latest.json").await.unwrap().len(), 1);
    assert_eq!(stage.latest(&project, "2025-12-13T12:00:00Z").await.0, Condition::Fresh);
}

#[tokio::test]
async fn a_day_with_nothing_to_say_keeps_its_promise_for_that_day_alone() {
    let (stage, project) = (Stage::empty(), project(MORNING, BY));
    stage.publish("r1", "2025-12-10", "2025-12-11T10:00:00Z", Some("2025-12-10")).await;
    assert_eq!(stage.latest(&project, "2025-12-12T10:30:00Z").await.0, Condition::Stale);
    stage.kept_empty("2025-12-11", "2025-12-12T10:01:00Z").await;
    let (state, reason) = stage.latest(&project, "2025-12-12T10:30:00Z").await;
    assert_eq!(state, Condition::Fresh);
    assert!(reason.contains("nothing to say for 2025-12-11"), "{reason}");
    assert_eq!(stage.latest(&project, "2025-12-13T10:30:00Z").await.0, Condition::Stale);
}

#[tokio::test]
async fn an_export_without_fixed_paths_promises_the_dated_one() {
    let mut project = project(MORNING, BY);
    project.exports[0].documents[0].files[0].aliases.clear();
    let stage = Stage::empty();
    stage.publish("r1", "2025-12-10", "2025-12-11T10:00:00Z", Some("2025-12-10")).await;
    let rows = stage.rows(&project, "2025-12-12T10:30:00Z").await;
    assert_eq!((rows[0].path.as_str(), rows[0].state), ("v1/e/2025-12-11.json", Condition::Missing));
    stage.publish("r2", "2025-12-11", "2025-12-12T10:00:00Z", Some("2025-12-11")).await;
    assert_eq!(stage.rows(&project, "2025-12-12T10:30:00Z").await[0].state, Condition::Fresh);
}

#[tokio::test]
async fn a_fan_out_alone_is_judged_by_its_newest_release() {
    let mut project = project(MORNING, BY);
    let file = &mut project.exports[0].documents[0].files[0];
    file.aliases.clear();
    file.path.value = "e/{{ key }}.json".into();
    let stage = Stage::empty();
    let rows = stage.rows(&project, "2025-12-12T10:30:00Z").await;
    assert_eq!((rows[0].path.as_str(), rows[0].state), ("v1/e/{key}.json", Condition::Missing));
    stage.publish("r1", "2025-12-11", "2025-12-12T10:00:00Z", Some("2025-12-11")).await;
    // A backfill of an older day is committed later, and is not the newest.
    stage.publish("r2", "2025-12-01", "2025-12-12T10:10:00Z", Some("2025-12-01")).await;
    let rows = stage.rows(&project, "2025-12-12T10:30:00Z").await;
    assert_eq!((rows[0].state, rows[0].run_id.as_deref()), (Condition::Fresh, Some("r1")));
    assert_eq!(stage.rows(&project, "2025-12-13T10:30:00Z").await[0].state, Condition::Stale);
}

#[tokio::test]
async fn what_was_seen_is_remembered_until_the_object_changes() {
    let (stage, project) = (Stage::empty(), project(MORNING, BY));
    stage.publish("r1", "2025-12-11", "2025-12-12T10:00:00Z", Some("2025-12-11")).await;
    let mut reader = Reader::new(stage.store.clone(), stage.state.clone(), "v1/".into());
    let now = at("2025-12-12T12:00:00Z");
    reader.rows(&project, &BTreeMap::new(), now).await.unwrap();
    // Another state store, which knows no release: what was seen is not asked again.
    reader.state = Stage::empty().state;
    let rows = reader.rows(&project, &BTreeMap::new(), now).await.unwrap();
    assert_eq!(rows[0].data_date, Some("2025-12-11".parse().unwrap()));
    stage.publish("r2", "2025-12-12", "2025-12-12T11:00:00Z", Some("2025-12-01")).await;
    let rows = reader.rows(&project, &BTreeMap::new(), now).await.unwrap();
    assert_eq!(rows[0].run_id.as_deref(), Some("r2"), "the watermark moved, so it looked again");
}
