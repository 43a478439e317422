//! Time limits and cancellation, with warehouses that are slow on purpose. Only compiled for tests: `#[cfg(test)]`.

use super::export::Engine;
use crate::adapters::memory::MemoryStore;
use crate::model::report::{ExportReport, FailureClass, Status};
use crate::model::request::{Cause, CauseKind, ExportRequest};
use crate::model::{Batch, Column, Data, Field, Statement, Type};
use crate::ports::cancel::Cancel;
use crate::ports::clock::SystemClock;
use crate::ports::warehouse::{RowStream, Warehouse, WarehouseError};
use crate::state::State;
use async_trait::async_trait;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where a warehouse takes its time.
#[derive(Clone, Copy)]
enum Slow {
    /// It never answers; dropping the call is how it is stopped.
    Asked,
    /// Rows come without an end, until the token is cancelled.
    Rows,
}

struct SlowWarehouse(Slow);

struct EndlessRows {
    fields: Arc<[Field]>,
    cancel: Cancel,
}

#[async_trait]
impl Warehouse for SlowWarehouse {
    fn describe(&self) -> String {
        "slow".to_owned()
    }

    async fn columns(&self, _: &Statement) -> Result<Vec<Field>, WarehouseError> {
        Ok(fields().to_vec())
    }

    async fn query(&self, _: &Statement, cancel: &Cancel) -> Result<Box<dyn RowStream>, WarehouseError> {
        match self.0 {
            Slow::Asked => std::future::pending().await,
            Slow::Rows => Ok(Box::new(EndlessRows { fields: fields(), cancel: cancel.clone() })),
        }
    }
}

impl RowStream for EndlessRows {
    fn fields(&self) -> Arc<[Field]> {
        self.fields.clone()
    }

    fn next(&mut self) -> Result<Option<Batch>, WarehouseError> {
        if self.cancel.is_cancelled() {
            return Err(WarehouseError::new(crate::ports::warehouse::WarehouseErrorKind::Cancelled, "stopped"));
        }
        std::thread::sleep(Duration::from_millis(1));
        let columns = vec![Column { data: Data::Int64(vec![1]), nulls: None }];
        Ok(Some(Batch { fields: self.fields.clone(), columns, len: 1 }))
    }
}

fn fields() -> Arc<[Field]> {
    [Field { name: "n".into(), ty: Type::Int64, nullable: false }].into()
}

const EXPORT: &str =
    "export: e\ndescription: Numbers.\nTIMEOUT\nsql: SELECT n FROM t\nshape: SHAPE\nfiles: [{path: e.json}]\n";
const STREAMED: &str = "{n: {$each: rows, $value: =row.n}}";
const COLLECTED: &str = "{sum: \"=rows | sum('n')\"}";

fn engine(dir: &Path, slow: Slow, timeout: &str, shape: &str) -> Engine {
    let publishing = "version: 1\ntargets: {t: {warehouse: {type: duckdb, data: d}, store: {type: directory, path: o}, state: {type: directory, path: s}}}\n";
    std::fs::create_dir_all(dir.join("exports")).unwrap();
    std::fs::write(dir.join("phase6_publishing.yaml"), publishing).unwrap();
    let text = EXPORT.replace("TIMEOUT", timeout).replace("SHAPE", shape);
    std::fs::write(dir.join("exports/e.yaml"), text).unwrap();
    let loaded = crate::config::load(dir, &|_| None);
    assert!(!loaded.has_errors(), "{:?}", loaded.findings);
    Engine {
        project: Arc::new(loaded.project),
        sources: Arc::new(loaded.sources),
        warehouse: Arc::new(SlowWarehouse(slow)),
        store: Arc::new(MemoryStore::new()),
        prefix: String::new(),
        state: State::new(Arc::new(MemoryStore::new())),
        clock: Arc::new(SystemClock),
        cancel: Cancel::default(),
    }
}

fn request() -> ExportRequest {
    ExportRequest {
        run_id: "r".into(),
        cause: Cause { kind: CauseKind::Command, id: "r".into(), time: "2025-12-12T18:00:00Z".parse().unwrap() },
        exports: vec!["e".into()],
        target_date: "2025-12-12".parse().unwrap(),
        today: "2025-12-12".parse().unwrap(),
        params: Default::default(),
        update_latest: true,
        force: false,
    }
}

/// Runs the export; it has to end by itself, soon, with nothing in the store.
async fn stopped(engine: &Engine) -> ExportReport {
    let begun = Instant::now();
    let run = super::run(engine, &request(), "t", 1, &|_| {}).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(engine.store.list("").await.unwrap().is_empty(), "nothing was published");
    run.exports.into_iter().next().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_limit_ends_a_query_wherever_it_is() {
    for (slow, shape) in [(Slow::Asked, STREAMED), (Slow::Rows, STREAMED), (Slow::Rows, COLLECTED)] {
        let dir = tempfile::tempdir().unwrap();
        let report = stopped(&engine(dir.path(), slow, "timeout: 100ms", shape)).await;
        assert_eq!((report.status, report.class), (Status::Failed, Some(FailureClass::Transient)), "{report:?}");
        let reason = report.reason.unwrap();
        assert!(reason.contains("time limit of 100ms (`timeout`)"), "{reason}");
        assert_eq!(report.quarantine, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_can_be_cancelled_from_outside() {
    let dir = tempfile::tempdir().unwrap();
    let cancel = Cancel::default();
    let slow = engine(dir.path(), Slow::Rows, "timeout: 1h", STREAMED).with_cancel(cancel.clone());
    let from_outside = cancel.clone();
    let other = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        from_outside.cancel("the service is shutting down");
    });
    let report = stopped(&slow).await;
    other.join().unwrap();
    assert_eq!((report.status, report.class), (Status::Failed, Some(FailureClass::Transient)));
    assert!(report.reason.unwrap().contains("the service is shutting down"));
    // What was not begun does not begin.
    assert_eq!(stopped(&slow).await.status, Status::NotRun);
}
