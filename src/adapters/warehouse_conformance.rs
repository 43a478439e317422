//! What every warehouse must do: each sentence of `ports::warehouse` is a function here, and each adapter runs them all. The
//! statements read no tables, so that an empty warehouse will do; a server that runs no SQL is taught their answers.

use crate::model::{Batch, Column, Data, Field, Param, Statement, Type, Value};
use crate::ports::cancel::Cancel;
use crate::ports::warehouse::{RowStream, Warehouse, WarehouseError, WarehouseErrorKind as Kind};
use std::sync::Arc;
use std::time::Duration;

pub const ONE: &str = "SELECT 1 AS one, 'a' AS text, DATE '2025-12-12' AS day";
pub const MANY: &str = "SELECT n FROM UNNEST(GENERATE_ARRAY(1, 5000)) AS n ORDER BY n";
pub const NONE: &str = "SELECT n FROM UNNEST([1]) AS n WHERE n > 1";
pub const PARAMETERS: &str = "SELECT @day AS day, ARRAY_LENGTH(@names) AS names, @none IS NULL AS none";
pub const TYPES: &str = "SELECT 9223372036854775807 AS i, 1.5 AS f, TRUE AS b, 'é' AS s, FROM_HEX('00ff') AS y, \
     DATE '2025-12-12' AS d, TIME '12:34:56.000007' AS t, DATETIME '2025-12-12 12:34:56.5' AS dt, \
     TIMESTAMP '2025-12-12 18:00:00.123456+00' AS ts, NUMERIC '5.25' AS n, BIGNUMERIC '0.5' AS bn, \
     [1, 2] AS l, STRUCT(1 AS x, 'y' AS y) AS st, CAST(NULL AS STRING) AS none";
pub const WRONG: &str = "SELECT FROM WHERE";
pub const UNKNOWN: &str = "SELECT x FROM no_such_dataset.no_such_table";
pub const FAILS: &str = "SELECT DIV(1, n) AS q FROM UNNEST([0]) AS n";

/// Runs the whole suite; on a runtime with several threads.
pub async fn run(warehouse: Arc<dyn Warehouse>) {
    let w = warehouse.as_ref();
    assert!(!w.describe().is_empty());
    columns_are_told_without_rows(w).await;
    a_dry_run_tells_the_columns_and_costs_where_it_bills(w).await;
    rows_come_in_order_and_no_batch_is_empty(w).await;
    after_the_last_row_there_is_none_however_often(w).await;
    columns_are_known_before_the_first_row(w).await;
    parameters_keep_name_and_type(w).await;
    values_arrive_as_they_are(w).await;
    whose_fault_a_failure_is(w).await;
    a_cancelled_token_ends_call_and_stream(w).await;
    a_dropped_stream_harms_nobody(w).await;
    several_statements_run_side_by_side(warehouse.clone()).await;
}

fn statement(sql: &str) -> Statement {
    Statement::new("conformance", sql, Vec::new())
}

async fn query(w: &dyn Warehouse, sql: &str) -> Result<Box<dyn RowStream>, WarehouseError> {
    w.query(&statement(sql), &Cancel::default()).await
}

/// All batches, read where blocking is allowed.
async fn read(mut rows: Box<dyn RowStream>) -> (Result<Vec<Batch>, WarehouseError>, Box<dyn RowStream>) {
    let reading = tokio::task::spawn_blocking(move || {
        let batches = std::iter::from_fn(|| rows.next().transpose()).collect();
        (batches, rows)
    });
    reading.await.expect("reading does not panic")
}

async fn all(w: &dyn Warehouse, sql: &str) -> Result<Vec<Batch>, WarehouseError> {
    read(query(w, sql).await?).await.0
}

fn shown(fields: &[Field]) -> Vec<String> {
    fields.iter().map(|f| format!("{} {}", f.name, f.ty)).collect()
}

fn int64s(batches: &[Batch], column: usize) -> Vec<i64> {
    let values = |batch: &Batch| match &batch.columns[column].data {
        Data::Int64(values) => values.clone(),
        other => panic!("{other:?}"),
    };
    batches.iter().flat_map(values).collect()
}

async fn columns_are_told_without_rows(w: &dyn Warehouse) {
    let told = w.columns(&statement(ONE)).await.unwrap();
    assert_eq!(shown(&told), ["one INT64", "text STRING", "day DATE"]);
}

async fn a_dry_run_tells_the_columns_and_costs_where_it_bills(w: &dyn Warehouse) {
    let told = w.dry_run(&statement(ONE)).await.unwrap();
    assert_eq!(told.fields, w.columns(&statement(ONE)).await.unwrap());
    assert_eq!(told.cost.is_some(), w.bills());
    assert!(told.undeclared.is_empty());
}

async fn rows_come_in_order_and_no_batch_is_empty(w: &dyn Warehouse) {
    let batches = all(w, MANY).await.unwrap();
    assert!(batches.iter().all(|b| b.len > 0 && b.columns.iter().all(|c| c.len() == b.len)));
    assert_eq!(int64s(&batches, 0), (1..=5000).collect::<Vec<_>>());
}

async fn after_the_last_row_there_is_none_however_often(w: &dyn Warehouse) {
    let (batches, mut rows) = read(query(w, ONE).await.unwrap()).await;
    assert_eq!(batches.unwrap().iter().map(|b| b.len).sum::<usize>(), 1);
    let again = tokio::task::spawn_blocking(move || (0..3).all(|_| matches!(rows.next(), Ok(None))));
    assert!(again.await.unwrap());
}

async fn columns_are_known_before_the_first_row(w: &dyn Warehouse) {
    let rows = query(w, NONE).await.unwrap();
    assert_eq!(shown(&rows.fields()), ["n INT64"]);
    assert!(read(rows).await.0.unwrap().is_empty());
}

async fn parameters_keep_name_and_type(w: &dyn Warehouse) {
    let names = ["a", "b", "c"].map(|t| Value::Text(t.into()));
    let given = [
        ("day", Type::Date, Value::Text("2025-12-12".into())),
        ("names", Type::Array(Box::new(Type::String)), Value::Array(names.to_vec())),
        ("none", Type::Int64, Value::Null),
    ];
    let params = given.map(|(name, ty, value)| Param { name: name.into(), ty, value });
    let asked = Statement::new("conformance", PARAMETERS, params.to_vec());
    let rows = w.query(&asked, &Cancel::default()).await.unwrap();
    let batch = read(rows).await.0.unwrap().remove(0);
    assert!(matches!(&batch.columns[0].data, Data::Date(v) if v[0] == 20434), "{batch:?}");
    assert_eq!(int64s(std::slice::from_ref(&batch), 1), [3]);
    assert!(matches!(&batch.columns[2].data, Data::Bool(v) if v[0]));
}

/// A NUMERIC in billionths, whatever the column's scale.
fn billionths(column: &Column) -> Option<i128> {
    match &column.data {
        Data::Decimal { scale, values } => Some(values[0] * 10i128.pow(9 - u32::from(*scale))),
        _ => None,
    }
}

async fn values_arrive_as_they_are(w: &dyn Warehouse) {
    let batch = all(w, TYPES).await.unwrap().remove(0);
    let types = "i INT64, f FLOAT64, b BOOL, s STRING, y BYTES, d DATE, t TIME, dt DATETIME, ts TIMESTAMP, n NUMERIC, \
                 bn BIGNUMERIC, l ARRAY<INT64>, st STRUCT<x INT64, y STRING>, none STRING";
    assert_eq!(shown(&batch.fields).join(", "), types);
    let data = |c: usize| &batch.columns[c].data;
    let text = |c: usize, wanted: &str| assert!(matches!(data(c), Data::Str(v) if v.get(0) == wanted), "{:?}", data(c));
    assert!(matches!(data(0), Data::Int64(v) if v[0] == i64::MAX));
    assert!(matches!(data(1), Data::Float64(v) if v[0] == 1.5));
    assert!(matches!(data(2), Data::Bool(v) if v[0]));
    text(3, "é");
    text(4, "AP8=");
    assert!(matches!(data(5), Data::Date(v) if v[0] == 20434));
    assert!(matches!(data(6), Data::Time(v) if v[0] == 45_296_000_007));
    assert!(matches!(data(7), Data::DateTime(v) if v[0] == 20434 * 86_400_000_000 + 45_296_500_000), "{:?}", data(7));
    assert!(matches!(data(8), Data::Timestamp(v) if v[0] == 1_765_562_400_123_456), "{:?}", data(8));
    assert_eq!(billionths(&batch.columns[9]), Some(5_250_000_000));
    text(10, "0.5");
    assert!(
        matches!(data(11), Data::List { offsets, child } if offsets == &[0, 2] && matches!(&child.data, Data::Int64(v) if v == &[1, 2]))
    );
    let Data::Struct(parts) = data(12) else { panic!("{:?}", data(12)) };
    assert!(matches!(&parts[0].data, Data::Int64(v) if v[0] == 1));
    assert!(matches!(&parts[1].data, Data::Str(v) if v.get(0) == "y"));
    assert!(batch.columns[13].is_null(0) && (0..13).all(|c| !batch.columns[c].is_null(0)));
}

async fn whose_fault_a_failure_is(w: &dyn Warehouse) {
    let kind = async |sql: &str| all(w, sql).await.expect_err(sql).kind;
    assert_eq!(kind(WRONG).await, Kind::Invalid);
    // A name that is unknown, or a table that is missing: it depends on whether the warehouse knows its tables beforehand.
    assert!(matches!(kind(UNKNOWN).await, Kind::Invalid | Kind::Data));
    assert_eq!(kind(FAILS).await, Kind::Runtime);
}

async fn a_cancelled_token_ends_call_and_stream(w: &dyn Warehouse) {
    let cancel = Cancel::default();
    let mut rows = w.query(&statement(MANY), &cancel).await.unwrap();
    cancel.cancel("enough");
    let next = tokio::task::spawn_blocking(move || rows.next()).await.unwrap();
    assert_eq!(next.expect_err("it is cancelled").kind, Kind::Cancelled);
    let late =
        w.query(&statement(MANY), &cancel).await.and_then(|mut rows| tokio::task::block_in_place(|| rows.next()));
    assert_eq!(late.expect_err("it is cancelled").kind, Kind::Cancelled);
}

async fn a_dropped_stream_harms_nobody(w: &dyn Warehouse) {
    drop(query(w, MANY).await.unwrap());
    assert_eq!(int64s(&all(w, ONE).await.unwrap(), 0), [1]);
}

async fn several_statements_run_side_by_side(warehouse: Arc<dyn Warehouse>) {
    let tasks: Vec<_> = (0..4)
        .map(|i| {
            let warehouse = warehouse.clone();
            tokio::spawn(async move {
                let sql = if i % 2 == 0 { MANY } else { ONE };
                let batches = all(warehouse.as_ref(), sql).await.unwrap();
                assert_eq!(batches.iter().map(|b| b.len).sum::<usize>(), if i % 2 == 0 { 5000 } else { 1 });
            })
        })
        .collect();
    for task in tasks {
        tokio::time::timeout(Duration::from_secs(120), task).await.expect("it ends").expect("and well");
    }
}
