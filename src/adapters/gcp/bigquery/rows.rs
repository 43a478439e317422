//! A result's rows: the next page is on its way while one is worked, and no more than that is held.

use super::errors::{Fault, Phase};
use super::job::Job;
use super::page::Page;
use crate::model::report::JobReport;
use crate::model::{Batch, Field};
use crate::ports::cancel::Cancel;
use crate::ports::warehouse::{RowStream, WarehouseError, WarehouseErrorKind as Kind};
use std::sync::Arc;
use tokio::sync::mpsc;

/// The rows of an ended job.
pub struct Rows {
    fields: Arc<[Field]>,
    /// The page that was read to learn the columns.
    first: Option<Batch>,
    /// The bytes of the pages asked for; at most one waits here.
    pages: mpsc::Receiver<Result<Vec<u8>, WarehouseError>>,
    /// Asks for the page with this token.
    tokens: mpsc::Sender<String>,
    /// Whether a page was asked for and has not been taken.
    expected: bool,
    report: JobReport,
    cancel: Cancel,
}

impl Rows {
    /// The rows that begin with this page. Call it on the runtime that shall fetch the others.
    pub fn new(job: Job, sql: &str, page: Page, fields: Arc<[Field]>, report: JobReport, cancel: &Cancel) -> Self {
        let (tokens, asked) = mpsc::channel(2);
        let (answers, pages) = mpsc::channel(1);
        tokio::spawn(fetch(job, sql.to_owned(), asked, answers, cancel.clone()));
        let mut rows =
            Self { fields, first: page.rows, pages, tokens, expected: false, report, cancel: cancel.clone() };
        if let Some(token) = page.token {
            rows.expected = rows.tokens.try_send(token).is_ok();
        }
        rows
    }
}

/// Gets the pages that are asked for, one after another, until nobody asks any more.
async fn fetch(
    job: Job,
    sql: String,
    mut asked: mpsc::Receiver<String>,
    answers: mpsc::Sender<Result<Vec<u8>, WarehouseError>>,
    cancel: Cancel,
) {
    while let Some(token) = asked.recv().await {
        let page = tokio::select! {
            page = job.page(&token) => page.map_err(|fault: Fault| fault.error(&sql, Phase::Job, Some(&job.id))),
            () = cancel.cancelled() => Err(cancelled(&cancel)),
            () = answers.closed() => return,
        };
        let failed = page.is_err();
        if answers.send(page).await.is_err() || failed {
            return;
        }
    }
}

/// It was stopped by us.
pub fn cancelled(cancel: &Cancel) -> WarehouseError {
    let reason = cancel.reason().filter(|reason| !reason.is_empty());
    let why = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    WarehouseError::new(Kind::Cancelled, format!("the statement was stopped{why}"))
}

impl RowStream for Rows {
    fn fields(&self) -> Arc<[Field]> {
        self.fields.clone()
    }

    fn next(&mut self) -> Result<Option<Batch>, WarehouseError> {
        loop {
            if self.cancel.is_cancelled() {
                return Err(cancelled(&self.cancel));
            }
            if let Some(batch) = self.first.take() {
                return Ok(Some(batch));
            }
            if !std::mem::take(&mut self.expected) {
                return Ok(None);
            }
            let broken = |what: &str| WarehouseError::new(Kind::Transient, format!("BigQuery: {what}"));
            let bytes = self.pages.blocking_recv().unwrap_or_else(|| Err(broken("the next page was not fetched")))?;
            let (tokens, expected) = (&self.tokens, &mut self.expected);
            let page = Page::read(&bytes, Some(&self.fields), &mut |token| {
                *expected = tokens.try_send(token.to_owned()).is_ok();
            });
            // A page without rows may still name a next one.
            self.first = page.map_err(|reason| broken(&format!("a page of the result cannot be read: {reason}")))?.rows;
        }
    }

    fn job(&self) -> Option<JobReport> {
        Some(self.report.clone())
    }
}
