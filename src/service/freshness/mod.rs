//! Whether the public documents keep their promises, judged by the clock and the data's date, even if no run ever started
//! (incidents I-11, I-12, I-19).
//!
//! What is promised, for each export with `freshness:` and each of its fixed paths (aliases and undated files; the dated
//! file of the expected date where there is none):
//!
//! (An export that has neither, a fan-out alone, is judged by its newest release.)
//!
//! - `by: T zone` — from the last T on, the data is at least of the *expected date*: what a job that runs the export asked
//!   for in its last slot up to that T (`yesterday` at 10:00 UTC on the 12th is the 11th; of several jobs the latest).
//!   Without such a job, the calendar's day at that T. So a weekly job promises its week, and a morning job yesterday.
//! - `within: D` — the document was confirmed at most D ago. Unchanged content counts: its watermark moves up.
//!
//! A day on which there was nothing to say keeps its promise: a run looked and found so (`on_empty`).

use super::previous_slot::previous_slot;
use crate::config::path::PathTemplate;
use crate::config::{Export, Freshness, Job, Project};
use crate::engine::publish::watermark_of;
use crate::model::Value;
use crate::ports::store::{ObjectStore, StoreError, Version};
use crate::state::last_runs::LastRuns;
use crate::state::{State, StateError};
use jiff::civil::{Date, time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Whether a promise is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    Fresh,
    Stale,
    Missing,
}

/// One document and its promise.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    pub export: String,
    /// In the store, prefix included.
    pub path: String,
    pub state: Condition,
    /// In one sentence.
    pub reason: String,
    pub promise: String,
    pub expected_date: Option<Date>,
    pub data_date: Option<Date>,
    /// When the content was last known to be right: the start of the query that confirmed it.
    pub verified_at: Option<Timestamp>,
    /// The run that confirmed it.
    pub run_id: Option<String>,
    /// From when the promise counts as broken.
    pub broken_since: Option<Timestamp>,
}

/// What is known of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub data_date: Option<Date>,
    pub verified_at: Timestamp,
    pub run_id: String,
}

/// What the clock asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    pub date: Date,
    /// The last time at which it fell due.
    pub due: Timestamp,
}

/// The data's date that is expected now; `None` without `by`.
pub fn expected(project: &Project, export: &Export, now: Timestamp) -> Option<Expected> {
    let by = export.freshness.as_ref()?.by.as_ref()?;
    let zone = TimeZone::get(&by.zone).ok()?;
    let at = time((by.minutes / 60) as i8, (by.minutes % 60) as i8, 0, 0);
    let today = zone.to_datetime(now).date();
    let due_on = |date: Date| zone.to_timestamp(date.to_datetime(at)).ok();
    let due = due_on(today).filter(|due| *due <= now).or_else(|| due_on(today.yesterday().ok()?))?;
    let rule = project.calendar.day_rule().ok()?;
    let asked = project.jobs.iter().filter(|job| runs(job, export)).filter_map(|job| {
        let slot = previous_slot(job, due)?;
        let word = job.target_date.as_ref().map_or("today", |word| word.value.as_str());
        rule.resolve(word, slot).ok()
    });
    Some(Expected { date: asked.max().unwrap_or_else(|| rule.day_of(due)), due })
}

/// Whether the job runs the export.
pub fn runs(job: &Job, export: &Export) -> bool {
    job.export_types.iter().any(|name| name.value == export.name.value) || (job.players && export.selected_by.is_some())
}

/// Judges one document. Pure.
pub fn judge(
    promise: &Freshness,
    expected: Option<Expected>,
    seen: Option<&Seen>,
    runs: Option<&LastRuns>,
    now: Timestamp,
) -> (Condition, String, Option<Timestamp>) {
    // A run that looked and found nothing to say has kept the promise for its date.
    let empty = runs.and_then(|r| r.newest_success.as_ref()).filter(|run| run.empty);
    let empty_day = empty.filter(|run| expected.is_none_or(|e| run.target_date.is_some_and(|date| date >= e.date)));
    let within = promise.within.and_then(|d| SignedDuration::try_from(d).ok());
    let Some(seen) = seen else {
        let since = expected.map(|e| e.due);
        return match empty_day.filter(|run| within.is_none_or(|d| now.duration_since(run.at) <= d)) {
            Some(run) => (Condition::Fresh, nothing_to_say(run.target_date), None),
            None => (Condition::Missing, "there is no such document".to_owned(), since),
        };
    };
    let verified_at = empty_day.map_or(seen.verified_at, |run| seen.verified_at.max(run.at));
    if let Some(longest) = within
        && now.duration_since(verified_at) > longest
    {
        let reason = format!("it was confirmed {} ago", words(now.duration_since(verified_at)));
        return (Condition::Stale, reason, verified_at.checked_add(longest).ok());
    }
    let Some(expected) = expected else { return (Condition::Fresh, "confirmed in time".to_owned(), None) };
    match seen.data_date {
        Some(date) if date >= expected.date => (Condition::Fresh, format!("its data is of {date}"), None),
        _ if empty_day.is_some() => (Condition::Fresh, nothing_to_say(empty_day.and_then(|r| r.target_date)), None),
        Some(date) => {
            let reason = format!("its data is of {date}, {} was due {}", expected.date, when(expected.due, promise));
            (Condition::Stale, reason, Some(expected.due))
        }
        None => (Condition::Stale, "its rows had no date".to_owned(), Some(expected.due)),
    }
}

fn nothing_to_say(date: Option<Date>) -> String {
    date.map_or_else(
        || "there was nothing to say; the last document stays".to_owned(),
        |d| format!("there was nothing to say for {d}; the last document stays"),
    )
}

fn when(due: Timestamp, promise: &Freshness) -> String {
    let zone = promise.by.as_ref().and_then(|by| TimeZone::get(&by.zone).ok()).unwrap_or(TimeZone::UTC);
    let abbreviation = zone.to_offset_info(due).abbreviation().to_owned();
    format!("{} {abbreviation}", zone.to_datetime(due).strftime("%Y-%m-%d %H:%M"))
}

/// A span in its two largest units: `3 d 4 h`.
pub fn words(span: SignedDuration) -> String {
    let seconds = span.as_secs().max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, m) => format!("{m} min"),
        (0, h, m) => format!("{h} h {m} min"),
        (d, h, _) => format!("{d} d {h} h"),
    }
}

/// The promise as it is declared.
pub fn promise_text(promise: &Freshness) -> String {
    let by = promise.by.as_ref().map(|by| format!("by {:02}:{:02} {}", by.minutes / 60, by.minutes % 60, by.zone));
    let within = promise.within.and_then(|d| SignedDuration::try_from(d).ok()).map(|d| format!("within {}", words(d)));
    [by, within].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The paths whose freshness is promised, without the store's prefix.
pub fn watched_paths(project: &Project, export: &Export, expected: Option<Date>) -> Vec<String> {
    let all = export.documents.iter().flat_map(|d| &d.files);
    let all = all.filter(|f| !f.once).flat_map(|f| std::iter::once(&f.path).chain(f.aliases.iter().map(|a| &a.path)));
    let templates: Vec<PathTemplate> = all.filter_map(|path| PathTemplate::compile(path).ok()).collect();
    let render = |template: &PathTemplate, date: Option<Date>| {
        template.render(&|name| match (name, date) {
            ("target_date", Some(date)) => Some(date.to_string()),
            _ => match project.vars.get(name.strip_prefix("vars.")?)? {
                Value::Text(text) => Some(text.clone()),
                Value::Int64(number) => Some(number.to_string()),
                _ => None,
            },
        })
    };
    let fixed: Vec<String> = templates.iter().filter_map(|t| render(t, None).ok()).collect();
    if fixed.is_empty() { templates.iter().filter_map(|t| render(t, expected).ok()).collect() } else { fixed }
}

/// What stands for all documents of a fan-out: `players/{key}.json`.
fn pattern(export: &Export) -> String {
    let mut files = export.documents.iter().flat_map(|d| &d.files);
    files.find_map(|file| PathTemplate::compile(&file.path).ok()).map(|t| t.pattern()).unwrap_or_default()
}

/// Why the documents could not be looked at.
#[derive(Debug)]
pub enum ReadError {
    Store(StoreError),
    State(StateError),
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::State(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {}

/// Looks at the documents; remembers what it has seen by the objects' versions, so that an idle service reads one
/// description a document and nothing else.
pub struct Reader {
    store: Arc<dyn ObjectStore>,
    state: State,
    prefix: String,
    seen: BTreeMap<String, (Version, Seen)>,
    /// By path, with the run that had succeeded last.
    newest: BTreeMap<String, (String, Seen)>,
}

impl Reader {
    pub fn new(store: Arc<dyn ObjectStore>, state: State, prefix: String) -> Self {
        Self { store, state, prefix, seen: BTreeMap::new(), newest: BTreeMap::new() }
    }

    /// The table: every promise of the project, in the order of its exports. `runs` tells how each export's runs ended last.
    pub async fn rows(
        &mut self,
        project: &Project,
        runs: &BTreeMap<String, LastRuns>,
        now: Timestamp,
    ) -> Result<Vec<Row>, ReadError> {
        let mut rows = Vec::new();
        for export in &project.exports {
            let Some(promise) = &export.freshness else { continue };
            let name = &export.name.value;
            let expected = expected(project, export, now);
            let mut documents = Vec::new();
            for path in watched_paths(project, export, expected.map(|e| e.date)) {
                let path = format!("{}{path}", self.prefix);
                let seen = self.see(name, &path).await?;
                documents.push((path, seen));
            }
            if documents.is_empty() {
                let path = format!("{}{}", self.prefix, pattern(export));
                let seen = self.newest(name, &path, runs.get(name)).await?;
                documents.push((path, seen));
            }
            for (path, seen) in documents {
                let (state, reason, broken_since) = judge(promise, expected, seen.as_ref(), runs.get(name), now);
                rows.push(Row {
                    export: name.clone(),
                    path,
                    state,
                    reason,
                    promise: promise_text(promise),
                    expected_date: expected.map(|e| e.date),
                    data_date: seen.as_ref().and_then(|s| s.data_date),
                    verified_at: seen.as_ref().map(|s| s.verified_at),
                    run_id: seen.map(|s| s.run_id),
                    broken_since,
                });
            }
        }
        Ok(rows)
    }

    async fn see(&mut self, export: &str, path: &str) -> Result<Option<Seen>, ReadError> {
        let Some(info) = self.store.stat(path).await.map_err(ReadError::Store)? else {
            self.seen.remove(path);
            return Ok(None);
        };
        if let Some((version, seen)) = self.seen.get(path)
            && *version == info.version()
        {
            return Ok(Some(seen.clone()));
        }
        // What phase6 did not write says nothing about its data: the promise is about documents that it knows.
        let Some(mark) = watermark_of(&info).ok().flatten() else { return Ok(None) };
        let release = self.release_of(export, &mark.run_id).await?;
        let committed = release.is_some();
        let data_date = match release {
            Some(release) => release.data_date,
            None => mark.target_date,
        };
        let seen = Seen { data_date, verified_at: mark.as_of, run_id: mark.run_id };
        // The release is written after its objects: until it is there, look again.
        if committed {
            self.seen.insert(path.to_owned(), (info.version(), seen.clone()));
        }
        Ok(Some(seen))
    }

    /// The newest release, for exports whose documents are all per key. Read again when another run has succeeded.
    async fn newest(&mut self, export: &str, path: &str, runs: Option<&LastRuns>) -> Result<Option<Seen>, ReadError> {
        let last = runs.and_then(|r| r.newest_success.as_ref()).map(|run| &run.run_id);
        if let (Some(last), Some((run_id, seen))) = (last, self.newest.get(path))
            && last == run_id
        {
            return Ok(Some(seen.clone()));
        }
        let history = self.state.release_history(export).await.map_err(ReadError::State)?;
        let Some(head) = history.iter().max_by_key(|head| (head.target_date, head.as_of)) else { return Ok(None) };
        let Some(release) = self.state.release(export, head).await.map_err(ReadError::State)? else { return Ok(None) };
        let seen = Seen { data_date: release.data_date, verified_at: release.as_of, run_id: release.run_id };
        if let Some(last) = last {
            self.newest.insert(path.to_owned(), (last.clone(), seen.clone()));
        }
        Ok(Some(seen))
    }

    async fn release_of(
        &self,
        export: &str,
        run_id: &str,
    ) -> Result<Option<crate::state::releases::Release>, ReadError> {
        let history = self.state.release_history(export).await.map_err(ReadError::State)?;
        match history.iter().find(|head| head.run_id == run_id) {
            Some(head) => self.state.release(export, head).await.map_err(ReadError::State),
            None => Ok(None),
        }
    }
}

/// How the runs of all exports ended last.
pub async fn last_runs(state: &State, project: &Project) -> Result<BTreeMap<String, LastRuns>, StateError> {
    let mut all = BTreeMap::new();
    for export in &project.exports {
        if let Some(runs) = state.last_runs(&export.name.value).await? {
            all.insert(export.name.value.clone(), runs);
        }
    }
    Ok(all)
}

#[cfg(test)]
pub mod tests;
