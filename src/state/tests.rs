//! Only compiled for tests: `#[cfg(test)]`.

use super::releases::{Committed, Release, ReleasedObject, ReleasedOutcome, Rollback};
use super::runs::{RunRecord, RunStatus};
use super::*;
use crate::adapters::directory::DirectoryStore;
use crate::adapters::memory::MemoryStore;
use jiff::{SignedDuration, Timestamp};

fn state() -> State {
    State::new(Arc::new(MemoryStore::new())).without_pauses()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn release(run: &str, date: &str) -> Release {
    Release {
        run_id: run.into(),
        run_key: None,
        export: "e".into(),
        target_date: date.parse().unwrap(),
        as_of: at("2025-12-12T18:00:00Z"),
        data_date: None,
        config_hash: "c".into(),
        objects: vec![ReleasedObject {
            path: format!("e/{date}.json"),
            document: "e".into(),
            kind: "dated".into(),
            dated: None,
            outcome: ReleasedOutcome::Written,
            generation: 1,
            sha256: "s".into(),
            size: 1,
            schema: None,
            counts: [("games[]".to_owned(), 8)].into(),
        }],
        rollback: None,
    }
}

fn run(id: &str, status: RunStatus) -> RunRecord {
    RunRecord {
        run_id: id.into(),
        export: "e".into(),
        target_date: None,
        run_key: Some("e|2025-12-12|{}|batch 7".into()),
        cause: "command".into(),
        cause_time: at("2025-12-12T18:00:00Z"),
        started_at: at("2025-12-12T18:00:01Z"),
        finished_at: None,
        status,
        reason: None,
        report: serde_json::json!({"rows": 3}),
    }
}

#[tokio::test]
async fn old_runs_and_rejected_documents_go() {
    let dir = tempfile::tempdir().unwrap();
    let state = State::new(Arc::new(DirectoryStore::new(dir.path().join("state")).keep_versions(1)));
    let keep = retention::Keep { runs: 3, quarantined: 2, keys: SignedDuration::from_hours(1) };
    for n in 0..8 {
        let id = format!("r{n}");
        let key = (n % 2 == 0).then(|| format!("key {n}"));
        state.record_run(&RunRecord { run_key: key, ..run(&id, RunStatus::Failed) }).await.unwrap();
        let rejection = quarantine::Rejection {
            export: "e".into(),
            run_id: id,
            path: "e/latest.json".into(),
            at: at("2025-12-12T18:00:00Z"),
            size: 1,
            findings: Vec::new(),
        };
        state.quarantine(&rejection, &Body::from(b"x".to_vec())).await.unwrap();
    }
    let files = || walk(dir.path());
    // The oldest run's key is still within its term, which ends the search.
    state.prune("e", at("2025-12-12T18:30:00Z"), keep).await.unwrap();
    assert_eq!(state.run_ids("e").await.unwrap().len(), 8);
    let set_aside: Vec<String> = state.quarantined("e").await.unwrap().into_iter().map(|(run, _)| run).collect();
    assert_eq!(set_aside, ["r7", "r6"]);
    let before = files();
    state.prune("e", at("2025-12-12T20:00:00Z"), keep).await.unwrap();
    assert_eq!(state.run_ids("e").await.unwrap(), ["r7", "r6", "r5"]);
    assert!(state.run_of_key("key 4").await.unwrap().is_none());
    assert!(state.run_of_key("key 6").await.unwrap().is_some());
    // Nothing of them is left: no record, no old version, no empty folder.
    let left = files();
    assert!(left < before);
    state.prune("e", at("2025-12-12T20:00:00Z"), keep).await.unwrap();
    assert_eq!(files(), left);
    assert!(!dir.path().join("state/quarantine/e/r0").exists());
    assert!(!dir.path().join("state.store/objects/quarantine.d/e.d/r0.d").exists());
}

fn walk(dir: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    entries.map(|p| 1 + if p.is_dir() { walk(&p) } else { 0 }).sum()
}

#[tokio::test]
async fn releases_are_found_by_date_and_document() {
    let state = state();
    for (id, date) in [("r1", "2025-12-10"), ("r2", "2025-12-12"), ("r3", "2025-12-01"), ("r3", "2025-12-01")] {
        state.record_release(&release(id, date)).await.unwrap();
    }
    let history: Vec<_> = state.release_history("e").await.unwrap().into_iter().map(|h| h.run_id).collect();
    assert_eq!(history, ["r3", "r2", "r1"]);
    let last = async |date: &str| state.last_release("e", date.parse().unwrap()).await.unwrap().map(|r| r.run_id);
    assert_eq!(last("2025-12-13").await.as_deref(), Some("r2"));
    assert_eq!(last("2025-12-11").await.as_deref(), Some("r1"));
    assert_eq!(last("2025-11-30").await, None);
    let date = "2025-12-13".parse().unwrap();
    let object = state.last_object("e", date, "e", None).await.unwrap().unwrap();
    assert_eq!((object.path.as_str(), object.counts["games[]"]), ("e/2025-12-12.json", 8));
    let object = state.last_object("e", date, "e", Some("e/2025-12-10.json")).await.unwrap();
    assert!(object.is_some());
    assert_eq!(state.last_object("e", date, "other", None).await.unwrap(), None);
    assert_eq!(state.all_releases("e").await.unwrap().len(), 3);
    // What was rolled back is no longer compared with.
    let rollback = Rollback { rollback_of: "r2".into(), restores: "r1".into(), undoes: vec!["r2".into()] };
    let back = Release { rollback: Some(rollback), objects: Vec::new(), ..release("r4", "2025-12-12") };
    state.record_release(&back).await.unwrap();
    assert_eq!(state.last_object("e", date, "e", None).await.unwrap().unwrap().path, "e/2025-12-10.json");
    assert_eq!(state.release("e", &state.release_history("e").await.unwrap()[0]).await.unwrap(), Some(back));
    assert_eq!(state.release_history("none").await.unwrap(), []);
}

#[tokio::test]
async fn one_run_key_has_one_release() {
    let state = state();
    let keyed = |run: &str| Release { run_key: Some("k".into()), ..release(run, "2025-12-12") };
    assert_eq!(state.record_release(&keyed("r1")).await.unwrap(), Committed::Now);
    assert_eq!(state.record_release(&keyed("r1")).await.unwrap(), Committed::Now);
    assert_eq!(state.record_release(&keyed("r2")).await.unwrap(), Committed::Before { run_id: "r1".into() });
    let history = state.release_history("e").await.unwrap();
    assert_eq!(history.len(), 1);
    assert_eq!(state.release("e", &history[0]).await.unwrap().unwrap().run_id, "r1");
}

/// Two copies of the service may be at one run: the lease of one ran out, and it does not know.
#[tokio::test]
async fn of_two_attempts_of_one_run_the_later_query_counts() {
    let state = state();
    let attempt = |as_of: &str, outcome: ReleasedOutcome| {
        let mut release = Release { run_key: Some("k".into()), as_of: at(as_of), ..release("r1", "2025-12-12") };
        release.objects[0].outcome = outcome;
        release
    };
    let early = attempt("2025-12-12T18:00:00Z", ReleasedOutcome::Superseded);
    let late = attempt("2025-12-12T18:00:05Z", ReleasedOutcome::Written);
    let rollback = Rollback { rollback_of: "r1".into(), restores: "r0".into(), undoes: Vec::new() };
    let back = Release { rollback: Some(rollback), objects: Vec::new(), ..release("r2", "2025-12-12") };
    for other in [&late, &back, &early] {
        assert_eq!(state.record_release(other).await.unwrap(), Committed::Now);
    }
    assert_eq!(state.release_of_run("e", "r1").await.unwrap(), Some(late.clone()));
    let history = state.release_history("e").await.unwrap();
    let heads: Vec<_> = history.iter().map(|h| (h.run_id.as_str(), h.as_of)).collect();
    assert_eq!(heads, [("r2", back.as_of), ("r1", late.as_of)], "nothing came after the rollback");
    // The same run again, when it was cut off, has asked anew.
    let again = attempt("2025-12-12T18:00:09Z", ReleasedOutcome::Unchanged);
    assert_eq!(state.record_release(&again).await.unwrap(), Committed::Now);
    assert_eq!(state.release_of_run("e", "r1").await.unwrap(), Some(again));
}

#[tokio::test]
async fn of_two_ends_of_one_run_the_first_stays_and_a_success_before_all() {
    let state = state();
    let ended = |status, second: i64| RunRecord {
        finished_at: Some(at("2025-12-12T18:00:00Z") + SignedDuration::from_secs(second)),
        ..run("r1", status)
    };
    let failed = ended(RunStatus::Failed, 8);
    assert_eq!(state.record_run(&failed).await.unwrap(), None);
    assert_eq!(state.record_run(&failed).await.unwrap(), None, "twice is as good as once");
    assert_eq!(state.record_run(&ended(RunStatus::Skipped, 9)).await.unwrap(), Some(failed));
    let published = ended(RunStatus::Published, 5);
    assert_eq!(state.record_run(&published).await.unwrap(), None);
    for late in [ended(RunStatus::Failed, 10), ended(RunStatus::Superseded, 11), run("r1", RunStatus::Running)] {
        assert_eq!(state.record_run(&late).await.unwrap(), Some(published.clone()));
    }
    assert_eq!(state.run("e", "r1").await.unwrap(), Some(published.clone()));
    let last = state.last_runs("e").await.unwrap().unwrap();
    assert_eq!((last.failing_since, last.last.map(|l| l.at)), (None, published.finished_at));
}

/// Whoever is cut off after its record leaves the rest to the other copy.
#[tokio::test]
async fn an_end_that_is_found_is_noted_and_answers_its_key() {
    let state = state();
    let published = RunRecord { finished_at: Some(at("2025-12-12T18:00:05Z")), ..run("r1", RunStatus::Published) };
    state.write(&runs::run_path("e", "r1"), &published).await.unwrap();
    let late = RunRecord { status: RunStatus::Failed, ..published.clone() };
    assert_eq!(state.record_run(&late).await.unwrap(), Some(published.clone()));
    assert_eq!(state.run_of_key("e|2025-12-12|{}|batch 7").await.unwrap(), Some(published));
    assert!(state.last_runs("e").await.unwrap().unwrap().newest_success.is_some());
}

#[tokio::test]
async fn a_finished_run_answers_its_key() {
    let state = state();
    let key = "e|2025-12-12|{}|batch 7";
    state.record_run(&run("r1", RunStatus::Running)).await.unwrap();
    assert_eq!(state.run_of_key(key).await.unwrap(), None);
    state.record_run(&run("r1", RunStatus::Published)).await.unwrap();
    state.record_run(&run("r2", RunStatus::Duplicate)).await.unwrap();
    assert_eq!(state.run_of_key(key).await.unwrap().unwrap().run_id, "r1");
    assert_eq!(state.run_ids("e").await.unwrap(), ["r2", "r1"]);
}

#[tokio::test]
async fn rejected_documents_are_set_aside_with_reasons() {
    let dir = tempfile::tempdir().unwrap();
    let state = State::new(Arc::new(DirectoryStore::new(dir.path().join("state"))));
    let rejection = quarantine::Rejection {
        export: "e".into(),
        run_id: "r1".into(),
        path: "e/2025-12-12.json".into(),
        at: at("2025-12-12T12:00:00Z"),
        size: 2,
        findings: vec![serde_json::json!({"rule": "min_items", "place": "games[]"})],
    };
    state.quarantine(&rejection, &Body::from(b"{}".to_vec())).await.unwrap();
    assert_eq!(state.quarantined("e").await.unwrap(), [("r1".to_owned(), "e/2025-12-12.json".to_owned())]);
    assert_eq!(state.rejection("e", "r1", "e/2025-12-12.json").await.unwrap(), Some(rejection));
    assert_eq!(state.rejected_document("e", "r1", "e/2025-12-12.json").await.unwrap(), b"{}");
}

#[tokio::test]
async fn a_backfill_remembers_its_days() {
    let state = state();
    for day in ["2021-10-19", "2021-10-20"] {
        let day = backfill::BackfilledDay {
            export: "a b".into(),
            target_date: day.parse().unwrap(),
            run_id: "r".into(),
            outcome: "published".into(),
        };
        state.backfilled("one", &day).await.unwrap();
    }
    let done = state.backfill_done("one").await.unwrap();
    assert_eq!(done.len(), 2);
    assert!(done.contains(&("a b".to_owned(), "2021-10-19".parse().unwrap())));
    assert!(state.backfill_done("two").await.unwrap().is_empty());
}

#[tokio::test]
async fn broken_and_newer_records_are_errors_not_absence() {
    let store = Arc::new(MemoryStore::new());
    let state = State::new(store.clone());
    for text in ["", "{}", "{\"format\":2,\"record\":{}}", "{\"format\":1,\"record\":{}}"] {
        store
            .put("releases/e/index.json", &Body::from(text.as_bytes().to_vec()), &PutOptions::default())
            .await
            .unwrap();
        let error = state.release_history("e").await.unwrap_err();
        assert!(error.to_string().contains("releases/e/index.json"), "{error}");
    }
}

#[test]
fn names_become_segments_and_come_back() {
    for name in ["plain", "a/b", "..", ".x", "~", "é", "a~b", "e|2025-12-12|{}", "A.b"] {
        let one = segment(name);
        assert_eq!(crate::ports::store::check_path(&one), Ok(()), "{name}");
        assert_eq!(name_of(&one), name);
    }
    let long = |end: &str| segment(&("x".repeat(600) + end));
    assert!(long("a").len() <= 240 && long("a") != long("b"));
}
