use super::*;
use crate::adapters::memory::MemoryStore;
use crate::ports::notifier::NotifyError;
use crate::service::freshness::tests::project;
use crate::state::last_runs::Ended;
use async_trait::async_trait;
use std::sync::Mutex;

fn at(minutes: i64) -> Timestamp {
    let start: Timestamp = "2025-12-12T12:00:00Z".parse().unwrap();
    start.checked_add(SignedDuration::from_mins(minutes)).unwrap()
}

const FRESH: &str = "freshness: {within: 26h}\n";

fn alert(text: &str) -> (Project, Alert) {
    let jobs = "scheduler: {jobs: [{name: j, schedule: '0 12 * * *', export_types: [e], target_date: today}]}\n";
    let project = project(&format!("{jobs}alerts: [{text}]\n"), FRESH);
    let alert = project.alerts[0].clone();
    (project, alert)
}

fn row(state: Condition) -> Row {
    Row {
        export: "e".into(),
        path: "v1/e/latest.json".into(),
        state,
        reason: "its data is old".into(),
        promise: "within 26h".into(),
        expected_date: None,
        data_date: None,
        verified_at: None,
        run_id: None,
        broken_since: (state != Condition::Fresh).then(|| at(0)),
    }
}

/// What one alert does over time with these conditions, minute by minute.
fn story(alert: &Alert, conditions: &[Option<Option<Holds>>]) -> Vec<(i64, bool)> {
    let (mut state, mut told) = (AlertState::default(), Vec::new());
    for (minute, condition) in conditions.iter().enumerate() {
        let (next, transition) = judge(alert, &state, condition.clone(), at(minute as i64));
        told.extend(transition.map(|t| (minute as i64, t.firing)));
        state = next;
    }
    told
}

fn since(minute: i64) -> Option<Option<Holds>> {
    Some(Some(Holds { since: at(minute), summary: "x".into(), labels: BTreeMap::new() }))
}

#[test]
fn it_fires_once_after_its_time_and_resolves_once() {
    let (_, alert) = alert("{name: a, when: failure, for: 2m, to: [{type: log}]}");
    let (yes, no) = (since(0), Some(None));
    let told = story(&alert, &[no.clone(), since(1), since(1), since(1), since(1), no.clone(), no.clone()]);
    assert_eq!(told, [(3, true), (5, false)]);
    // A condition that ends too early fires nothing, and its time starts anew.
    assert_eq!(story(&alert, &[yes.clone(), no.clone(), since(2), since(2), no]), []);
}

#[test]
fn what_is_not_known_changes_nothing() {
    let (_, alert) = alert("{name: a, when: failure, to: [{type: log}]}");
    assert_eq!(story(&alert, &[since(0), None, None, Some(None), None]), [(0, true), (3, false)]);
}

#[test]
fn the_time_before_the_monitor_looked_counts() {
    let (_, alert) = alert("{name: a, when: failure, for: 10m, to: [{type: log}]}");
    assert_eq!(story(&alert, &[since(-60)]), [(0, true)]);
}

#[test]
fn i26_a_backlog_is_judged_by_the_age_of_its_oldest_message() {
    let (project, alert) = alert("{name: a, when: backlog, above: 0, for: 10m, to: [{type: log}]}");
    let facts = |messages, oldest: Option<Timestamp>| Facts {
        backlog: Some(vec![Waiting { subscription: "phase6-export".into(), messages, oldest }]),
        ..Facts::default()
    };
    let fires = |facts: &Facts, now| condition(&alert, &project, facts, now).unwrap();
    assert_eq!(fires(&facts(0, None), at(60)), None);
    // A stream that is worked off always has some message, but no old one.
    assert_eq!(fires(&facts(500, Some(at(55))), at(60)), None);
    let found = fires(&facts(1, Some(at(50))), at(60)).unwrap();
    assert_eq!(found.summary, "1 message waits in `phase6-export`, the oldest for 10 min");
    assert!(condition(&alert, &project, &Facts::default(), at(60)).is_none(), "the bus did not answer");
}

fn ended(minute: i64, end: End) -> LastRuns {
    let last = Ended {
        run_id: "r".into(),
        target_date: None,
        at: at(minute),
        end,
        empty: false,
        reason: Some("the query failed".into()),
    };
    LastRuns { failing_since: (end == End::Failed).then(|| at(minute)), last: Some(last), newest_success: None }
}

fn with_runs(runs: Option<LastRuns>, watching_since: Timestamp) -> Facts {
    let runs = runs.into_iter().map(|r| ("e".to_owned(), r)).collect();
    Facts { runs: Some(runs), watching_since: Some(watching_since), ..Facts::default() }
}

#[test]
fn i19_a_slot_after_which_nothing_ran_is_missed_even_if_no_run_ever_started() {
    let (project, alert) = alert("{name: a, when: missed_run, for: 30m, to: [{type: log}]}");
    let missed = |runs, watching, now| condition(&alert, &project, &with_runs(runs, watching), now).unwrap();
    // The slot is at minute 0.
    assert_eq!(missed(None, at(-5), at(29)), None, "it may still come");
    let found = missed(None, at(-5), at(30)).unwrap();
    assert_eq!(found.since, at(0));
    assert!(found.summary.contains("e of j"), "{}", found.summary);
    assert_eq!(missed(None, at(1), at(30)), None, "the first start does not answer for the past");
    assert_eq!(missed(Some(ended(1, End::Succeeded)), at(-5), at(30)), None);
    assert_eq!(missed(Some(ended(1, End::Failed)), at(-5), at(30)), None, "it ran; that it failed is another alert");
    assert!(missed(Some(ended(1, End::Neither)), at(-5), at(30)).is_some(), "not ready is no run");
    assert!(missed(Some(ended(-1, End::Succeeded)), at(-5), at(30)).is_some(), "that was the slot before");
}

#[test]
fn failures_stale_documents_and_dead_letters() {
    let (project, failure) = alert("{name: a, when: failure, exports: [e], to: [{type: log}]}");
    let found = condition(&failure, &project, &with_runs(Some(ended(1, End::Failed)), at(0)), at(5)).unwrap().unwrap();
    assert_eq!(found.summary, "1 export failed (e): the query failed");
    let fine = with_runs(Some(ended(1, End::Succeeded)), at(0));
    assert_eq!(condition(&failure, &project, &fine, at(5)), Some(None));

    let (project, stale) = alert("{name: a, when: stale, above: 1, to: [{type: log}]}");
    let rows = |n| Facts { freshness: Some(vec![row(Condition::Stale); n]), ..Facts::default() };
    assert_eq!(condition(&stale, &project, &rows(1), at(5)), Some(None), "`above` is 1");
    let found = condition(&stale, &project, &rows(5), at(5)).unwrap().unwrap();
    assert!(found.summary.starts_with("5 documents break their promises (v1/e/latest.json, "), "{}", found.summary);
    assert!(found.summary.contains("and 2 more"), "{}", found.summary);
    let fresh = Facts { freshness: Some(vec![row(Condition::Fresh); 9]), ..Facts::default() };
    assert_eq!(condition(&stale, &project, &fresh, at(5)), Some(None));

    let (project, dead) = alert("{name: a, when: dead_letter, to: [{type: log}]}");
    let facts = |n| Facts { dead_letters: Some(n), ..Facts::default() };
    assert_eq!(condition(&dead, &project, &facts(0), at(5)), Some(None));
    assert_eq!(
        condition(&dead, &project, &facts(1), at(5)).unwrap().unwrap().summary,
        "1 dead letter waits for an operator"
    );
}

/// Remembers what it was told; fails as often as it is told to.
#[derive(Default)]
struct Recorder {
    told: Mutex<Vec<(NoticeState, Timestamp)>>,
    failures: Mutex<u32>,
    permanent: bool,
}

#[async_trait]
impl Notifier for Recorder {
    fn describe(&self) -> String {
        "recorder".into()
    }

    async fn notify(&self, notice: &Notice) -> Result<(), NotifyError> {
        let mut failures = self.failures.lock().unwrap();
        if *failures > 0 {
            *failures -= 1;
            return Err(NotifyError { transient: !self.permanent, message: "no".into() });
        }
        self.told.lock().unwrap().push((notice.state, notice.since));
        Ok(())
    }
}

struct Office {
    alert: Alert,
    state: State,
    recorder: Arc<Recorder>,
}

impl Office {
    fn new(recorder: Recorder) -> Self {
        let (_, alert) = alert("{name: a, when: failure, to: [{type: log}]}");
        let state = State::new(Arc::new(MemoryStore::new())).without_pauses();
        Self { alert, state, recorder: Arc::new(recorder) }
    }

    /// A process of the service; each call is another one.
    fn desk(&self, owner: &str) -> Desk {
        let telemetry = Telemetry::in_memory(|| at(0));
        Desk { state: self.state.clone(), telemetry, owner: owner.into() }
    }

    async fn round(&self, desk: &Desk, condition: Option<Option<Holds>>, minute: i64) {
        let receivers: [Arc<dyn Notifier>; 1] = [self.recorder.clone()];
        desk.round(&self.alert, &receivers, condition, at(minute)).await.unwrap();
    }

    fn told(&self) -> Vec<NoticeState> {
        self.recorder.told.lock().unwrap().iter().map(|(state, _)| *state).collect()
    }

    async fn waiting(&self) -> usize {
        self.state.alert("a").await.unwrap().unwrap_or_default().outbox.len()
    }
}

#[tokio::test]
async fn a_restart_neither_repeats_nor_forgets() {
    let office = Office::new(Recorder::default());
    office.round(&office.desk("p1"), since(0), 0).await;
    office.round(&office.desk("p2"), since(0), 1).await;
    office.round(&office.desk("p3"), Some(None), 2).await;
    office.round(&office.desk("p4"), Some(None), 3).await;
    assert_eq!(office.told(), [NoticeState::Firing, NoticeState::Resolved]);
    assert_eq!(office.waiting().await, 0);
}

#[tokio::test]
async fn of_several_copies_one_tells_and_one_writes_the_line() {
    let office = Office::new(Recorder::default());
    let desks: Vec<Desk> = (0..4).map(|n| office.desk(&format!("p{n}"))).collect();
    for (minute, condition) in [since(0), since(0), Some(None), Some(None)].into_iter().enumerate() {
        let rounds = desks.iter().map(|desk| {
            let (receivers, condition): ([Arc<dyn Notifier>; 1], _) = ([office.recorder.clone()], condition.clone());
            let alert = &office.alert;
            async move { desk.round(alert, &receivers, condition, at(minute as i64)).await.unwrap() }
        });
        let mut all: Vec<_> = rounds.map(Box::pin).collect();
        // Interleaved at every pause of theirs.
        while !all.is_empty() {
            let mut left = Vec::new();
            for mut round in all {
                let once = std::future::poll_fn(|cx| std::task::Poll::Ready(round.as_mut().poll(cx))).await;
                if once.is_pending() {
                    left.push(round);
                }
            }
            all = left;
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(office.told(), [NoticeState::Firing, NoticeState::Resolved]);
    let lines: usize =
        desks.iter().map(|d| d.telemetry.lines().iter().filter(|l| l.contains("alert `a` is")).count()).sum();
    assert_eq!(lines, 2);
}

#[tokio::test]
async fn a_copy_that_dies_before_it_told_is_replaced_after_its_time() {
    let office = Office::new(Recorder::default());
    let dead = office.desk("dead");
    office
        .state
        .update_alert("a", |there| Some(dead.next(&office.alert, &there.unwrap_or_default(), since(0), 1, at(0)).0))
        .await
        .unwrap();
    let alive = office.desk("alive");
    office.round(&alive, since(0), 0).await;
    assert_eq!(office.told(), [], "the other may still be telling");
    office.round(&alive, since(0), 2).await;
    office.round(&alive, since(0), 3).await;
    assert_eq!(office.told(), [NoticeState::Firing]);
}

#[tokio::test]
async fn a_receiver_that_fails_is_told_again_for_a_while() {
    let office = Office::new(Recorder { failures: Mutex::new(2), ..Recorder::default() });
    let desk = office.desk("p");
    for minute in 0..20 {
        office.round(&desk, since(0), minute).await;
    }
    assert_eq!(office.told(), [NoticeState::Firing]);
    assert_eq!(office.waiting().await, 0);

    for (failures, permanent, attempts) in [(99, false, ATTEMPTS), (99, true, 1)] {
        let office = Office::new(Recorder { failures: Mutex::new(failures), permanent, ..Recorder::default() });
        let desk = office.desk("p");
        for minute in 0..60 {
            office.round(&desk, since(0), minute).await;
        }
        assert_eq!(office.waiting().await, 0, "given up");
        assert_eq!(*office.recorder.failures.lock().unwrap(), failures - attempts);
        let last = desk.telemetry.lines().pop().unwrap();
        assert!(last.contains("\"ERROR\"") && last.contains("given up"), "{last}");
    }
}
