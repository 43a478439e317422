//! The worker's loop: a trigger message becomes a request, its exports run side by side, what fails for a while is tried again,
//! the end is recorded and told. The message is acknowledged after that, never before.

use super::consumer::{Answer, Handler};
use super::retry::{Step, message_pause, next_step};
use super::settings::{COMPLETE_TOPIC, WORKER};
use super::{Service, Setup, Trouble, outside_ticks, plan, undertaker};
use crate::engine::export::empty_report;
use crate::engine::request::status as run_status;
use crate::model::completion::{CompletedExport, CompletionCause, CompletionMessage, RunOutcome};
use crate::model::message::{TriggerMessage, attributes};
use crate::model::report::{ExportReport, FailureClass, Status, Totals};
use crate::model::request::ExportRequest;
use crate::ports::bus::{Delivery, NewMessage};
use crate::ports::cancel::Cancel;
use crate::state::requests::{CauseRecord, RequestRecord, RequestStatus, TaskRecord};
use crate::state::runs::RunRecord;
use crate::telemetry::{ExportFinished, RequestFinished, RequestOutcome, TraceContext};
use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// The reason of a cancelled run.
const CANCELLED: &str = "an operator cancelled it";

/// Works trigger messages.
pub struct Worker {
    pub service: Service,
    /// Exports at once, over all requests.
    pub permits: Arc<Semaphore>,
}

#[async_trait]
impl Handler for Worker {
    async fn handle(&self, delivery: &Delivery, cancel: &Cancel) -> Answer {
        match self.work(delivery, cancel).await {
            Ok(answer) => answer,
            Err(Trouble(reason)) => {
                self.service.comes_again(WORKER, delivery, message_pause(delivery.attempt), &reason)
            }
        }
    }
}

impl Worker {
    async fn work(&self, delivery: &Delivery, cancel: &Cancel) -> Result<Answer, Trouble> {
        let setup = self.service.live.now();
        let message = &delivery.message;
        match outside_ticks::job(&setup.project, message) {
            Ok(None) => {}
            Ok(Some(job)) => return outside_ticks::settle(&self.service, job, message).await,
            Err(reason) => return self.refuse(delivery, &reason).await,
        }
        let asked = TriggerMessage::read(&message.body)
            .and_then(|body| plan::request(&setup.project, &setup.rule, &body, message).map(|request| (body, request)));
        let (body, request) = match asked {
            Ok(asked) => asked,
            Err(reason) => {
                return self.refuse(delivery, &reason).await;
            }
        };
        let now = self.service.clock.now();
        let record = match self.service.state.request(&request.run_id).await? {
            Some(done) if done.status.is_final() => {
                // Recorded, but not acknowledged: the completion message may not have been published.
                complete(&self.service, &setup, &done).await?;
                return Ok(Answer::Ack);
            }
            Some(begun) => match begun.next_attempt {
                Some(due) if due > now => return Ok(Answer::Later(until(now, due))),
                _ => begun,
            },
            None => new_record(&setup, &body, &request, delivery, now),
        };
        Attempt { worker: self, setup: &setup, request: &request, delivery, cancel }.run(record).await
    }

    /// Sets a bad message aside. A request that was begun under an older configuration ends with it.
    async fn refuse(&self, delivery: &Delivery, reason: &str) -> Result<Answer, Trouble> {
        let begun = self.service.state.request(&plan::request_id(&delivery.message)).await?;
        undertaker::bury(&self.service, delivery, WORKER, reason, begun.as_ref().map(|r| r.run_id.as_str())).await?;
        match begun {
            Some(record) if !record.status.is_final() => give_up(&self.service, record, reason).await?,
            _ => {}
        }
        Ok(Answer::Ack)
    }
}

fn until(now: Timestamp, due: Timestamp) -> Duration {
    Duration::try_from(due.duration_since(now)).unwrap_or(Duration::ZERO)
}

fn new_record(
    setup: &Setup,
    body: &TriggerMessage,
    request: &ExportRequest,
    delivery: &Delivery,
    now: Timestamp,
) -> RequestRecord {
    let message = &delivery.message;
    let attribute = |name: &str| message.attributes.get(name).cloned();
    RequestRecord {
        run_id: request.run_id.clone(),
        cause: CauseRecord {
            kind: request.cause.kind,
            id: request.cause.id.clone(),
            time: request.cause.time,
            topic: Some(message.topic.clone()),
            message_id: Some(message.id.clone()),
            published_at: Some(message.published_at),
            message: serde_json::to_value(body).unwrap_or_default(),
            attributes: message.attributes.clone(),
            correlation_id: body.correlation_id.clone(),
            upstream_batch_id: body.upstream_batch_id.clone(),
            decision: attribute(attributes::DECISION),
            upstream_at: attribute(attributes::UPSTREAM_TIME).and_then(|t| t.parse().ok()),
        },
        target: setup.target.clone(),
        target_date: request.target_date,
        exports: request.exports.clone(),
        params: request.params.iter().map(|(name, value)| (name.clone(), value.to_json())).collect(),
        update_latest: request.update_latest,
        status: RequestStatus::Running,
        attempts: 0,
        next_attempt: None,
        started_at: now,
        finished_at: None,
        tasks: Vec::new(),
        totals: Totals::default(),
        reason: None,
        duplicate_of: None,
        retry_of: attribute(attributes::RETRY_OF),
    }
}

/// One attempt at a request.
struct Attempt<'a> {
    worker: &'a Worker,
    setup: &'a Setup,
    request: &'a ExportRequest,
    delivery: &'a Delivery,
    cancel: &'a Cancel,
}

impl Attempt<'_> {
    fn service(&self) -> &Service {
        &self.worker.service
    }

    async fn run(&self, mut record: RequestRecord) -> Result<Answer, Trouble> {
        let state = &self.service().state;
        record.status = RequestStatus::Running;
        record.attempts += 1;
        record.next_attempt = None;
        // The record comes before the turn, so that whoever waits for the turn can see it end.
        if let Some(ended) = state.record_request(&record).await? {
            complete(self.service(), self.setup, &ended).await?;
            return Ok(Answer::Ack);
        }
        if let Some(other) = state.take_turn(&self.request.cause.id, &record.run_id).await? {
            return self.wait_for(record, &other).await;
        }
        if self.answered_before(&mut record).await? {
            state.record_request(&record).await?;
            state.flush().await?;
            finished(self.service(), &record);
            return Ok(Answer::Ack);
        }
        // Cancelled while it waited: another attempt must not begin.
        if state.is_cancelled(&record.run_id).await? {
            return self.finish(record, Some(CANCELLED)).await;
        }
        let (stop, _with_ours) = self.cancel.child();
        let watch = self.watch(&record.run_id, &stop);
        let reports = tokio::select! {
            reports = self.exports(&record, &stop) => reports,
            never = watch => match never {},
        };
        if self.cancel.is_cancelled() {
            return self.handed_back(record, reports).await;
        }
        for (report, ended) in reports {
            self.settle(&mut record, report, ended).await?;
        }
        if state.is_cancelled(&record.run_id).await? {
            return self.finish(record, Some(CANCELLED)).await;
        }
        match record.tasks.iter().filter(|t| !t.done).map(|t| self.due(&record, t)).min() {
            None => self.finish(record, None).await,
            Some(due) => {
                record.status = RequestStatus::Waiting;
                record.next_attempt = Some(due);
                record.totals = totals(&record);
                state.record_request(&record).await?;
                Ok(Answer::Later(until(self.service().clock.now(), due)))
            }
        }
    }

    /// Another request of the same cause is under way: what it does will answer this one too, and not before its next attempt.
    async fn wait_for(&self, mut record: RequestRecord, other: &str) -> Result<Answer, Trouble> {
        record.status = RequestStatus::Waiting;
        record.attempts -= 1;
        record.reason = Some(format!("run {other} works on the same cause"));
        let state = &self.service().state;
        state.record_request(&record).await?;
        let due = state.request(other).await?.and_then(|other| other.next_attempt);
        let until_due = due.map_or(Duration::ZERO, |due| until(self.service().clock.now(), due));
        Ok(Answer::Later(message_pause(self.delivery.attempt).max(until_due)))
    }

    /// Whether other runs have answered every export of the request; those that answered some of them fill in their tasks.
    async fn answered_before(&self, record: &mut RequestRecord) -> Result<bool, Trouble> {
        for export in &self.request.exports {
            if record.tasks.iter().any(|t| t.report.export == *export) {
                continue;
            }
            let run_key = self.request.run_key(export);
            let Some(before) = self.service().state.run_of_key(&run_key).await? else { continue };
            let report = serde_json::from_value(before.report).unwrap_or_else(|_| empty_report(export));
            record.tasks.push(TaskRecord { attempts: 0, run_key, done: true, report });
            if before.run_id != record.run_id {
                record.duplicate_of = Some(before.run_id);
            }
        }
        let all = record.tasks.len() == self.request.exports.len() && record.tasks.iter().all(|t| t.attempts == 0);
        if all && record.duplicate_of.is_some() {
            record.status = RequestStatus::Duplicate;
            record.finished_at = Some(self.service().clock.now());
            record.totals = totals(record);
            record.reason = Some(format!("the cause `{}` was answered before", self.request.cause.id));
        }
        Ok(record.status == RequestStatus::Duplicate)
    }

    /// Runs what is not done, side by side; each report with the instant at which it came.
    async fn exports(&self, record: &RequestRecord, stop: &Cancel) -> Vec<(ExportReport, Timestamp)> {
        let done = |name: &String| record.tasks.iter().any(|t| t.report.export == *name && t.done);
        let mut running = JoinSet::new();
        for (place, name) in self.request.exports.iter().enumerate().filter(|(_, name)| !done(name)) {
            let (request, name, stop) = (self.request.clone(), name.clone(), stop.clone());
            let (permits, exporter) = (self.worker.permits.clone(), self.setup.exporter.clone());
            running.spawn(async move {
                let _permit = permits.acquire_owned().await;
                if let Some(reason) = stop.reason() {
                    return (place, ExportReport { reason: Some(reason), ..empty_report(&name) });
                }
                (place, exporter.export(&request, &name, &stop).await)
            });
        }
        let mut reports = BTreeMap::new();
        while let Some(joined) = running.join_next().await {
            // A panic of an export's task is caught where it runs; a task is never aborted.
            if let Ok((place, report)) = joined {
                reports.insert(place, (report, self.service().clock.now()));
            }
        }
        reports.into_values().collect()
    }

    /// Hears an operator's cancel, and stops the run when its time is over.
    async fn watch(&self, run_id: &str, stop: &Cancel) -> std::convert::Infallible {
        let limit = self.setup.settings.run_timeout;
        let begun = tokio::time::Instant::now();
        loop {
            tokio::time::sleep(Duration::from_secs(2)).await;
            if begun.elapsed() >= limit {
                stop.cancel(format!("the run took longer than {} s", limit.as_secs()));
            }
            if self.service().state.is_cancelled(run_id).await.unwrap_or(false) {
                stop.cancel(CANCELLED);
            }
        }
    }

    /// The service goes away or the lease is lost: what is done stays done, the rest comes again at once.
    async fn handed_back(
        &self,
        mut record: RequestRecord,
        reports: Vec<(ExportReport, Timestamp)>,
    ) -> Result<Answer, Trouble> {
        for (report, ended) in reports.into_iter().filter(|(r, _)| r.status.is_success()) {
            self.settle(&mut record, report, ended).await?;
        }
        record.status = RequestStatus::Waiting;
        record.totals = totals(&record);
        record.reason = self.cancel.reason();
        self.service().state.record_request(&record).await?;
        Ok(Answer::Later(Duration::ZERO))
    }

    /// Takes an attempt's report into the record; what has come to its end gets a run record, by whose key it is found again.
    async fn settle(
        &self,
        record: &mut RequestRecord,
        mut report: ExportReport,
        ended: Timestamp,
    ) -> Result<(), Trouble> {
        let service = self.service();
        let place = record.tasks.iter().position(|t| t.report.export == report.export);
        let attempts = place.map_or(0, |i| record.tasks[i].attempts) + 1;
        let now = service.clock.now();
        let salt = format!("{} {}", record.run_id, report.export);
        let step = next_step(&report, attempts, record.started_at, now, &self.setup.settings, &salt);
        if let Step::GiveUp(why) = &step {
            let reason = report.reason.take().unwrap_or_else(|| "it did not come to an end".to_owned());
            report.reason = Some(format!("{reason} ({why})"));
            report.status = if report.status == Status::NotReady { Status::NotReady } else { Status::Failed };
        }
        let run_key = self.request.run_key(&report.export);
        let done = !matches!(step, Step::Again(_));
        if done {
            let run = run_record(record, &report, &run_key, now);
            // Another copy has come to an end with it, and that one is what history shows.
            if let Some(ended) = service.state.record_run(&run).await? {
                report = serde_json::from_value(ended.report).unwrap_or(report);
            }
        }
        service.telemetry.emit(&ExportFinished {
            run_id: &record.run_id,
            target_date: record.target_date,
            attempt: attempts,
            retried: !done,
            ended,
            report: &report,
            trace: TraceContext::of(&record.cause.attributes).as_ref(),
        });
        let task = TaskRecord { attempts, run_key, done, report };
        match place {
            Some(i) => record.tasks[i] = task,
            None => record.tasks.push(task),
        }
        Ok(())
    }

    /// When an export is tried again: its deadline at the latest.
    fn due(&self, record: &RequestRecord, task: &TaskRecord) -> Timestamp {
        let now = self.service().clock.now();
        let salt = format!("{} {}", record.run_id, task.report.export);
        match next_step(&task.report, task.attempts, record.started_at, now, &self.setup.settings, &salt) {
            Step::Again(due) => due,
            Step::Done | Step::GiveUp(_) => now,
        }
    }

    /// Records the end, tells it, and gives the message its last answer.
    async fn finish(&self, mut record: RequestRecord, cancelled: Option<&str>) -> Result<Answer, Trouble> {
        order(&mut record);
        record.totals = totals(&record);
        record.finished_at = Some(self.service().clock.now());
        record.status = match cancelled {
            Some(_) => RequestStatus::Cancelled,
            None => outcome(&record),
        };
        record.reason = cancelled.map(str::to_owned).or_else(|| reason(&record));
        let lost = |t: &TaskRecord| !t.report.status.is_success() && t.report.class != Some(FailureClass::Permanent);
        if cancelled.is_none() && record.tasks.iter().any(lost) {
            let why = record.reason.clone().unwrap_or_default();
            undertaker::bury(self.service(), self.delivery, WORKER, &why, Some(&record.run_id)).await?;
        }
        let record = self.service().state.record_request(&record).await?.unwrap_or(record);
        // The acknowledgement must not outlive the record in a power cut.
        self.service().state.flush().await?;
        complete(self.service(), self.setup, &record).await?;
        finished(self.service(), &record);
        Ok(Answer::Ack)
    }
}

/// Ends a request that no worker came to an end with.
pub async fn give_up(service: &Service, mut record: RequestRecord, reason: &str) -> Result<(), Trouble> {
    let setup = service.live.now();
    for export in record.exports.clone() {
        if !record.tasks.iter().any(|t| t.report.export == export && t.done) {
            record.tasks.retain(|t| t.report.export != export);
            let report =
                ExportReport { status: Status::Failed, reason: Some(reason.to_owned()), ..empty_report(&export) };
            record.tasks.push(TaskRecord { attempts: record.attempts, run_key: String::new(), done: true, report });
        }
    }
    order(&mut record);
    record.totals = totals(&record);
    record.finished_at = Some(service.clock.now());
    record.status = outcome(&record);
    record.reason = Some(reason.to_owned());
    let record = service.state.record_request(&record).await?.unwrap_or(record);
    complete(service, &setup, &record).await?;
    finished(service, &record);
    Ok(())
}

/// Tells operators of a request's end.
fn finished(service: &Service, record: &RequestRecord) {
    let end = record.finished_at.unwrap_or(record.started_at);
    let since = |start: Timestamp| Duration::try_from(end.duration_since(start)).unwrap_or_default();
    let outcome = match record.status {
        RequestStatus::Duplicate => RequestOutcome::Duplicate,
        _ => RequestOutcome::Ran(completion(record).status),
    };
    service.telemetry.emit(&RequestFinished {
        run_id: &record.run_id,
        cause_id: &record.cause.id,
        target_date: record.target_date,
        outcome,
        attempts: record.attempts,
        totals: record.totals,
        took: since(record.started_at),
        publish_latency: record.cause.upstream_at.map(since),
        reason: record.reason.as_deref(),
        trace: TraceContext::of(&record.cause.attributes).as_ref(),
    });
}

/// Tasks in the order of the request's exports.
fn order(record: &mut RequestRecord) {
    let place = |t: &TaskRecord| record.exports.iter().position(|e| *e == t.report.export);
    let mut tasks = record.tasks.clone();
    tasks.sort_by_key(place);
    record.tasks = tasks;
}

fn totals(record: &RequestRecord) -> Totals {
    let reports: Vec<ExportReport> = record.tasks.iter().map(|t| t.report.clone()).collect();
    Totals::of(&reports)
}

fn outcome(record: &RequestRecord) -> RequestStatus {
    match (record.totals.succeeded, record.totals.failed) {
        (_, 0) => RequestStatus::Success,
        (0, _) => RequestStatus::Failed,
        _ => RequestStatus::Partial,
    }
}

/// Which exports failed, in one sentence.
fn reason(record: &RequestRecord) -> Option<String> {
    let failed = record.tasks.iter().filter(|t| !t.report.status.is_success());
    let parts: Vec<String> = failed
        .map(|t| format!("{}: {}", t.report.export, t.report.reason.as_deref().unwrap_or("it did not run")))
        .collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn run_record(record: &RequestRecord, report: &ExportReport, run_key: &str, now: Timestamp) -> RunRecord {
    RunRecord {
        run_id: record.run_id.clone(),
        export: report.export.clone(),
        target_date: Some(record.target_date),
        run_key: Some(run_key.to_owned()),
        cause: format!("{:?} {}", record.cause.kind, record.cause.id).to_lowercase(),
        cause_time: record.cause.time,
        started_at: record.started_at,
        finished_at: Some(now),
        status: run_status(report.status),
        reason: report.reason.clone(),
        report: serde_json::to_value(report).unwrap_or_default(),
    }
}

/// Publishes the completion message, which says nothing but what the record says. Twice is harmless: the run id tells.
async fn complete(service: &Service, setup: &Setup, record: &RequestRecord) -> Result<(), Trouble> {
    if record.status == RequestStatus::Duplicate {
        return Ok(());
    }
    let Some(topic) = setup.project.topic(COMPLETE_TOPIC) else { return Ok(()) };
    let body = serde_json::to_vec(&completion(record)).map_err(|e| Trouble(e.to_string()))?;
    let attributes = BTreeMap::from([
        (attributes::RUN_ID.to_owned(), record.run_id.clone()),
        ("status".to_owned(), format!("{:?}", record.status).to_lowercase()),
    ]);
    service.bus.publish(topic, &NewMessage { body, attributes }).await?;
    Ok(())
}

/// The completion message of a finished request.
pub fn completion(record: &RequestRecord) -> CompletionMessage {
    let finished = record.finished_at.unwrap_or(record.started_at);
    CompletionMessage {
        run_id: record.run_id.clone(),
        status: match record.status {
            RequestStatus::Success | RequestStatus::Duplicate => RunOutcome::Success,
            RequestStatus::Partial => RunOutcome::Partial,
            RequestStatus::Cancelled => RunOutcome::Cancelled,
            RequestStatus::Failed | RequestStatus::Running | RequestStatus::Waiting => RunOutcome::Failed,
        },
        cause: CompletionCause {
            kind: record.cause.kind,
            id: record.cause.id.clone(),
            time: record.cause.time.to_string(),
        },
        correlation_id: record.cause.correlation_id.clone(),
        upstream_batch_id: record.cause.upstream_batch_id.clone(),
        target: record.target.clone(),
        target_date: record.target_date.to_string(),
        update_latest: record.update_latest,
        exports: record.tasks.iter().map(|t| CompletedExport::of(&t.report, t.attempts)).collect(),
        totals: record.totals,
        started_at: record.started_at.to_string(),
        finished_at: finished.to_string(),
        duration_ms: finished.duration_since(record.started_at).as_secs_f64() * 1e3,
    }
}
