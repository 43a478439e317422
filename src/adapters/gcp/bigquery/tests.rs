//! The adapter against the strict server: what is asked for, what comes of errors, what is read.

use super::*;
use crate::model::{Batch, Data, Param, Purpose, Value};
use phase6_test_servers::bigquery::{Script, Server, Trouble};
use phase6_test_servers::http::Manner;
use serde_json::json;

const CAP: u64 = 20_000_000_000;

fn warehouse(server: &Server) -> BigQuery {
    warehouse_in(server, Some("us-west2"))
}

fn warehouse_in(server: &Server, location: Option<&str>) -> BigQuery {
    let backoff = Backoff { attempts: 4, first: Duration::from_millis(2), most: Duration::from_millis(20) };
    let google = Google::at(Api::BigQuery, &server.url);
    BigQuery::new(google, "p1".into(), location.map(str::to_owned), CAP).with_backoff(backoff)
}

fn statement(sql: &str) -> Statement {
    let purpose = Purpose {
        export: "Tonight".into(),
        run_id: "20251212T180000.123456-4f2a".into(),
        max_bytes_billed: None,
        time_limit: Some(Duration::from_secs(90)),
    };
    Statement { purpose, ..Statement::new("Tonight.games", sql, Vec::new()) }
}

fn numbers(rows: std::ops::Range<i64>) -> Script {
    Script { rows: rows.map(|n| vec![json!(n.to_string())]).collect(), ..Script::default() }
}

async fn all(warehouse: &BigQuery, statement: &Statement) -> Result<Vec<Batch>, WarehouseError> {
    let mut rows = warehouse.query(statement, &Cancel::default()).await?;
    tokio::task::spawn_blocking(move || std::iter::from_fn(|| rows.next().transpose()).collect()).await.unwrap()
}

fn int64s(batches: &[Batch]) -> Vec<i64> {
    let column = |batch: &Batch| match &batch.columns[0].data {
        Data::Int64(values) => values.clone(),
        other => panic!("{other:?}"),
    };
    batches.iter().flat_map(column).collect()
}

async fn failure(script: Script) -> (WarehouseError, Server) {
    let server = Server::start().await;
    server.script("SELECT", script);
    let error = all(&warehouse(&server), &statement("SELECT n\n  FROM t")).await.unwrap_err();
    (error, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_come_in_order_and_each_call_says_what_it_has_to() {
    let server = Server::start().await;
    server.script("SELECT", Script { polls: 2, bytes: 5 << 20, slot_ms: 7, ..numbers(0..2500) });
    let warehouse = warehouse(&server);
    let mut rows = warehouse.query(&statement("SELECT n FROM t"), &Cancel::default()).await.unwrap();
    let job = rows.job().unwrap();
    let batches: Vec<Batch> =
        tokio::task::spawn_blocking(move || std::iter::from_fn(|| rows.next().unwrap()).collect()).await.unwrap();
    assert_eq!(batches.iter().map(|b| b.len).collect::<Vec<_>>(), [1000, 1000, 500]);
    assert_eq!(int64s(&batches), (0..2500).collect::<Vec<_>>());
    assert_eq!((job.bytes_processed, job.bytes_billed, job.slot_ms), (Some(5 << 20), Some(5 << 20), Some(7)));
    assert_eq!((job.location.as_deref(), job.cache_hit), (Some("us-west2"), Some(false)));
    assert_eq!(server.careless_jobs(), Vec::<String>::new());
    let body = &server.jobs()[0];
    let id = body["jobReference"]["jobId"].as_str().unwrap();
    assert!(id.starts_with("phase6_20251212T180000-123456-4f2a_Tonight_games_1-"), "{id}");
    assert_eq!(job.job_id, id);
    assert_eq!(body["configuration"]["labels"]["export"], "tonight");
    assert_eq!(body["configuration"]["labels"]["run"], "20251212t180000-123456-4f2a");
    assert_eq!(body["configuration"]["query"]["maximumBytesBilled"], CAP.to_string());
    assert_eq!(body["configuration"]["jobTimeoutMs"], "90000");
    let asked = server.calls("jobs.getQueryResults");
    assert_eq!(asked.len(), 3 + 2);
    for call in &asked {
        assert_eq!(call.param("location"), Some("us-west2"));
        assert_eq!(call.param("formatOptions.useInt64Timestamp"), Some("true"));
        assert_eq!(call.param("prettyPrint"), Some("false"));
    }
    assert!(server.cancelled().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cap_is_the_lowest_that_somebody_gave() {
    let server = Server::start().await;
    server.script("SELECT", Script { bytes: 3_000_000_000, tables: 2, ..numbers(0..1) });
    let warehouse = warehouse(&server);
    let mut low = statement("SELECT n");
    low.purpose.max_bytes_billed = Some(2_000_000_000);
    let asked = warehouse.dry_run(&low).await.unwrap();
    let billed = 3_000_000_000u64.next_multiple_of(1 << 20);
    assert_eq!(asked.cost, Some(Cost { bytes: 3_000_000_000, billed, cap: 2_000_000_000 }));
    let error = all(&warehouse, &low).await.unwrap_err();
    assert_eq!(error.kind, Kind::Refused, "{error}");
    assert!(
        error.message.contains("2000000000. 3000000000 or higher required (bytesBilledLimitExceeded, job phase6_"),
        "{error}"
    );
    assert!(error.message.contains("`max_bytes_billed`"), "{error}");
    assert_eq!(server.jobs().len(), 1, "a refusal is not tried again");
    low.purpose.max_bytes_billed = Some(CAP * 2);
    all(&warehouse, &low).await.unwrap();
    assert_eq!(server.jobs()[1]["configuration"]["query"]["maximumBytesBilled"], CAP.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_travel_with_their_types() {
    let server = Server::start().await;
    server.script("SELECT", numbers(0..1));
    let array = |item: Type, values: Vec<Value>| (Type::Array(Box::new(item)), Value::Array(values));
    let given = [
        ("day", (Type::Date, Value::Text("2025-12-12".into()))),
        ("n", (Type::Int64, Value::Int64(i64::MIN))),
        ("x", (Type::Float64, Value::Float64(f64::INFINITY))),
        ("yes", (Type::Bool, Value::Bool(true))),
        ("none", (Type::Numeric, Value::Null)),
        ("names", array(Type::String, vec![Value::Text("a".into()), Value::Text("b".into())])),
        ("empty", array(Type::Int64, vec![])),
    ];
    let params = given.map(|(name, (ty, value))| Param { name: name.into(), ty, value });
    let sql = "SELECT @day, @n, @x, @yes, @none, @names, @empty";
    let asked = Statement { params: params.to_vec(), ..statement(sql) };
    all(&warehouse(&server), &asked).await.unwrap();
    let query = server.jobs()[0]["configuration"]["query"].clone();
    assert_eq!(query["parameterMode"], "NAMED");
    let sent = &query["queryParameters"];
    assert_eq!(
        sent[0],
        json!({"name": "day", "parameterType": {"type": "DATE"}, "parameterValue": {"value": "2025-12-12"}})
    );
    assert_eq!(sent[1]["parameterValue"]["value"], "-9223372036854775808");
    assert_eq!(sent[2]["parameterValue"]["value"], "inf");
    assert_eq!(
        sent[4],
        json!({"name": "none", "parameterType": {"type": "NUMERIC"}, "parameterValue": {"value": null}})
    );
    let names = json!({"name": "names", "parameterType": {"type": "ARRAY", "arrayType": {"type": "STRING"}},
        "parameterValue": {"arrayValues": [{"value": "a"}, {"value": "b"}]}});
    assert_eq!(sent[5], names);
    assert_eq!(sent[6]["parameterValue"], json!({"arrayValues": []}));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_whose_answer_was_lost_finds_its_own_job() {
    for manner in [Manner::Nothing, Manner::Half] {
        let server = Server::start().await;
        server.script("SELECT", numbers(0..3));
        server.trouble("jobs.insert", [Trouble::Answered(manner)]);
        let batches = all(&warehouse(&server), &statement("SELECT n")).await.unwrap();
        assert_eq!(int64s(&batches), [0, 1, 2]);
        assert_eq!((server.calls("jobs.insert").len(), server.jobs().len()), (2, 1));
    }
}

/// A server that takes a job and loses the answer to its insert.
async fn with_lost_insert(script: Script) -> Server {
    let server = Server::start().await;
    server.script("SELECT", script);
    server.trouble("jobs.insert", [Trouble::Answered(Manner::Nothing)]);
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adopted_job_that_is_not_found_for_a_moment_is_asked_for_again() {
    // Two rounds in vain, each asking for the result and for the job.
    let server = with_lost_insert(Script { unseen: 4, ..numbers(0..3) }).await;
    let batches = all(&warehouse(&server), &statement("SELECT n")).await.unwrap();
    assert_eq!((int64s(&batches), server.jobs().len()), (vec![0, 1, 2], 1));
    assert_eq!(server.calls("jobs.getQueryResults").len(), 3);
    // It is never found: an outage, and nobody's mistake.
    let server = with_lost_insert(Script { unseen: usize::MAX, ..numbers(0..3) }).await;
    let error = all(&warehouse(&server), &statement("SELECT n")).await.unwrap_err();
    assert_eq!((error.kind, server.calls("jobs.getQueryResults").len()), (Kind::Transient, 4), "{error}");
    assert!(
        error.message.contains("Not found: Job p1:phase6_") && error.message.contains("insert was lost"),
        "{error}"
    );
    assert!(!error.message.contains("`location`"), "{error}");
    // What the job itself does not find stays.
    let fails = Some(("notFound".to_owned(), "Not found: Table p1:d.t".to_owned()));
    let server = with_lost_insert(Script { unseen: 2, fails, ..numbers(0..3) }).await;
    let error = all(&warehouse(&server), &statement("SELECT n")).await.unwrap_err();
    assert_eq!((error.kind, server.calls("jobs.getQueryResults").len()), (Kind::Data, 2), "{error}");
    // So does whatever is said of a job whose insert was answered.
    let server = Server::start().await;
    server.script("SELECT", numbers(0..3));
    server.trouble("jobs.getQueryResults", [Trouble::Error(404, "notFound")]);
    let error = all(&warehouse(&server), &statement("SELECT n")).await.unwrap_err();
    assert_eq!((error.kind, server.calls("jobs.getQueryResults").len()), (Kind::Data, 1), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_job_runs_is_learned_unless_its_insert_was_lost_outside_us_and_eu() {
    let asked = statement("SELECT n");
    let located = async |server: &Server| {
        let rows = warehouse_in(server, None).query(&asked, &Cancel::default()).await?;
        Ok::<_, WarehouseError>(rows.job().unwrap().location)
    };
    for location in ["US", "us-west2"] {
        let server = Server::start().await;
        server.script("SELECT", Script { location, ..numbers(0..3) });
        assert_eq!(located(&server).await.unwrap().as_deref(), Some(location));
    }
    let server = with_lost_insert(Script { unseen: 2, location: "EU", ..numbers(0..3) }).await;
    assert_eq!(located(&server).await.unwrap().as_deref(), Some("EU"));
    let server = with_lost_insert(Script { location: "us-west2", ..numbers(0..3) }).await;
    let error = located(&server).await.unwrap_err();
    assert_eq!((error.kind, server.jobs().len()), (Kind::Transient, 1), "{error}");
    assert!(error.message.contains("name the target's `location`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_tried_again_and_by_its_reason() {
    for (status, reason) in
        [(403, "rateLimitExceeded"), (400, "jobRateLimitExceeded"), (500, "backendError"), (500, "internalError")]
    {
        let server = Server::start().await;
        server.script("SELECT", numbers(0..1500));
        for method in ["jobs.insert", "jobs.getQueryResults", "jobs.get"] {
            server.trouble(method, [Trouble::Error(status, reason), Trouble::Plain(503), Trouble::Dropped]);
        }
        let batches = all(&warehouse(&server), &statement("SELECT n")).await.unwrap();
        assert_eq!(int64s(&batches).len(), 1500, "{reason}");
        assert_eq!(server.jobs().len(), 1, "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_is_not() {
    let told = [
        (403, "quotaExceeded", Kind::Transient),
        (403, "accessDenied", Kind::Refused),
        (403, "billingNotEnabled", Kind::Refused),
        (404, "notFound", Kind::Data),
        (400, "invalidQuery", Kind::Invalid),
        (400, "invalid", Kind::Invalid),
        (403, "responseTooLarge", Kind::Runtime),
        (400, "resourcesExceeded", Kind::Runtime),
        (401, "authError", Kind::Refused),
    ];
    for (status, reason, kind) in told {
        let server = Server::start().await;
        server.script("SELECT", numbers(0..1));
        server.trouble("jobs.insert", [Trouble::Error(status, reason)]);
        let error = all(&warehouse(&server), &statement("SELECT n")).await.unwrap_err();
        assert_eq!(error.kind, kind, "{reason}: {error}");
        assert_eq!(server.calls("jobs.insert").len(), 1, "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trying_again_has_an_end() {
    let server = Server::start().await;
    server.script("SELECT", numbers(0..1));
    server.trouble("jobs.insert", vec![Trouble::Plain(502); 9]);
    let error = all(&warehouse(&server), &statement("SELECT n")).await.unwrap_err();
    assert_eq!(error.kind, Kind::Transient);
    assert_eq!(server.calls("jobs.insert").len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_broke_is_begun_anew_under_another_id() {
    let server = Server::start().await;
    let fails = Some(("backendError".to_owned(), "Backend error".to_owned()));
    server.script("SELECT", Script { fails, failures: 1, ..numbers(0..3) });
    let batches = all(&warehouse(&server), &statement("SELECT n")).await.unwrap();
    assert_eq!(int64s(&batches), [0, 1, 2]);
    let ids: Vec<_> = server.jobs().iter().map(|j| j["jobReference"]["jobId"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 2);
    assert_ne!(ids[0], ids[1]);
    let (error, server) =
        failure(Script { fails: Some(("jobInternalError".into(), "no".into())), ..numbers(0..1) }).await;
    assert_eq!((error.kind, server.jobs().len()), (Kind::Transient, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_fault_it_is_and_where() {
    let refused =
        |reason: &str, message: &str| Script { refused: Some((reason.into(), message.into())), ..Script::default() };
    let (error, _) = failure(refused("invalidQuery", "Unrecognized name: t at [2:8]")).await;
    assert_eq!((error.kind, error.at), (Kind::Invalid, Some(16..17)));
    let (error, _) = failure(refused("invalidQuery", "Syntax error: Unexpected end of script")).await;
    assert_eq!((error.kind, error.at), (Kind::Invalid, None));
    let fails =
        |reason: &str, message: &str| Script { fails: Some((reason.into(), message.into())), ..Script::default() };
    let (error, server) = failure(fails("invalidQuery", "division by zero: 1 / 0")).await;
    assert_eq!(error.kind, Kind::Runtime, "{error}");
    assert_eq!(server.jobs().len(), 1);
    let (error, _) = failure(fails("stopped", "Job execution was cancelled")).await;
    assert_eq!(error.kind, Kind::Cancelled);
    let (error, _) = failure(fails("accessDenied", "Access Denied: Table p:d.t")).await;
    assert_eq!(error.kind, Kind::Refused);
    assert!(error.message.contains("roles/bigquery.dataViewer"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn warnings_beside_a_result_are_no_failure() {
    let server = Server::start().await;
    server.script(
        "SELECT",
        Script { warnings: vec![("invalid".into(), "a hint".into())], rows_first: true, ..numbers(0..3) },
    );
    let batches = all(&warehouse(&server), &statement("SELECT n")).await.unwrap();
    assert_eq!(int64s(&batches), [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_and_slow_pages_are_asked_for_again_or_waited_for() {
    let server = Server::start().await;
    server.script("SELECT", numbers(0..3500));
    let slow = Trouble::Answered(Manner::Slow(Duration::from_millis(200)));
    server.trouble(
        "jobs.getQueryResults",
        [Trouble::Answered(Manner::Half), slow, Trouble::Dropped, Trouble::Answered(Manner::Half)],
    );
    let batches = all(&warehouse(&server), &statement("SELECT n")).await.unwrap();
    assert_eq!(int64s(&batches), (0..3500).collect::<Vec<_>>());
}

/// Waits until the server has seen a job cancelled.
async fn is_cancelled(server: &Server) -> bool {
    for _ in 0..200 {
        if !server.cancelled().is_empty() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_want_a_job_any_more_cancels_it() {
    let server = Server::start().await;
    server.script("SELECT", Script { endless: true, ..numbers(0..1) });
    let warehouse = warehouse(&server);
    // By the token.
    let cancel = Cancel::default();
    let asked = statement("SELECT n");
    let asking = warehouse.query(&asked, &cancel);
    let stop = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        cancel.cancel("enough");
    };
    let (answer, ()) = tokio::join!(asking, stop);
    let error = answer.err().unwrap();
    assert_eq!(error.kind, Kind::Cancelled);
    assert!(error.message.contains("enough"), "{error}");
    assert!(is_cancelled(&server).await);
    // By dropping the call.
    let server = Server::start().await;
    server.script("SELECT", Script { endless: true, ..numbers(0..1) });
    let (other, never) = (super::tests::warehouse(&server), Cancel::default());
    let dropped = tokio::time::timeout(Duration::from_millis(100), other.query(&asked, &never));
    assert!(dropped.await.is_err());
    assert!(is_cancelled(&server).await);
    // Before anything: nothing is asked for.
    let before = server.methods().len();
    assert_eq!(warehouse.query(&asked, &cancel).await.err().unwrap().kind, Kind::Cancelled);
    assert_eq!(server.methods().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_columns_bytes_and_what_was_not_declared() {
    let server = Server::start().await;
    let schema = json!([
        {"name": "id", "type": "STRING", "mode": "REQUIRED"},
        {"name": "tags", "type": "STRING", "mode": "REPEATED"},
        {"name": "at", "type": "RECORD", "fields": [{"name": "x", "type": "FLOAT"}, {"name": "y", "type": "BIGNUMERIC"}]},
    ]);
    server.script("SELECT", Script { schema, bytes: 42, tables: 3, ..Script::default() });
    let asked = warehouse(&server).dry_run(&statement("SELECT * FROM t WHERE d = @day")).await.unwrap();
    let shown: Vec<String> = asked.fields.iter().map(|f| format!("{} {} {}", f.name, f.ty, f.nullable)).collect();
    assert_eq!(shown, ["id STRING false", "tags ARRAY<STRING> false", "at STRUCT<x FLOAT64, y BIGNUMERIC> true"]);
    assert_eq!(asked.undeclared, [("day".to_owned(), Type::Int64)]);
    // Ten MiB for each table are billed at the least.
    assert_eq!(asked.cost, Some(Cost { bytes: 42, billed: 30 << 20, cap: CAP }));
    assert!(server.jobs().is_empty());
    assert_eq!(server.dry_runs()[0]["jobReference"]["location"], "us-west2");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_arrives_as_it_is() {
    let types = [
        ("INTEGER", json!("-9223372036854775808")),
        ("FLOAT", json!("NaN")),
        ("FLOAT", json!("-Infinity")),
        ("FLOAT", json!("1.5E-7")),
        ("BOOLEAN", json!("true")),
        ("STRING", json!("a \"quoted\" \u{1F3C0} text")),
        ("BYTES", json!("AP8=")),
        ("DATE", json!("2025-12-12")),
        ("TIME", json!("12:34:56.000007")),
        ("DATETIME", json!("2025-12-12T12:34:56.5")),
        ("TIMESTAMP", json!("1765562400123456")),
        ("NUMERIC", json!("-12345678901234567890.123456789")),
        ("NUMERIC", json!("5.25")),
        ("BIGNUMERIC", json!("0.00000000000000000000000000000000000001")),
        ("JSON", json!("{\"a\":[1,null]}")),
        ("INTERVAL", json!("1-2 3 4:5:6.5")),
        ("GEOGRAPHY", json!("POINT(1 2)")),
    ];
    let field = |(i, (ty, _)): (usize, &(&str, serde_json::Value))| json!({"name": format!("c{i}"), "type": ty, "mode": "NULLABLE"});
    let mut schema: Vec<_> = types.iter().enumerate().map(field).collect();
    schema.push(json!({"name": "r", "type": "RANGE", "rangeElementType": {"type": "DATE"}}));
    schema.push(json!({"name": "l", "type": "INTEGER", "mode": "REPEATED"}));
    schema.push(json!({"name": "s", "type": "RECORD", "mode": "REPEATED", "fields": [
        {"name": "x", "type": "NUMERIC"}, {"name": "y", "type": "RECORD", "fields": [{"name": "z", "type": "STRING", "mode": "REPEATED"}]}]}));
    let mut row: Vec<_> = types.iter().map(|(_, value)| value.clone()).collect();
    row.push(json!("[2025-01-01, UNBOUNDED)"));
    row.push(json!([{"v": "1"}, {"v": "2"}]));
    row.push(json!([
        {"v": {"f": [{"v": "0.5"}, {"v": {"f": [{"v": [{"v": "a"}, {"v": "b"}]}]}}]}},
        {"v": {"f": [{"v": null}, {"v": null}]}},
    ]));
    let mut nulls = vec![json!(null); types.len() + 1];
    nulls.extend([json!([]), json!([])]);
    let server = Server::start().await;
    server.script("SELECT", Script { schema: schema.into(), rows: vec![row, nulls], ..Script::default() });
    let batch = &all(&warehouse(&server), &statement("SELECT 1")).await.unwrap()[0];
    assert!((0..types.len() + 1).all(|c| !batch.columns[c].is_null(0) && batch.columns[c].is_null(1)));
    let data = |c: usize| &batch.columns[c].data;
    let text = |c: usize, wanted: &str| assert!(matches!(data(c), Data::Str(v) if v.get(0) == wanted), "{:?}", data(c));
    assert!(matches!(data(0), Data::Int64(v) if v[0] == i64::MIN));
    assert!(matches!(data(1), Data::Float64(v) if v[0].is_nan()));
    assert!(matches!(data(2), Data::Float64(v) if v[0] == f64::NEG_INFINITY));
    assert!(matches!(data(3), Data::Float64(v) if v[0] == 1.5e-7));
    assert!(matches!(data(4), Data::Bool(v) if v[0]));
    text(5, "a \"quoted\" \u{1F3C0} text");
    text(6, "AP8=");
    assert!(matches!(data(7), Data::Date(v) if v[0] == 20434));
    assert!(matches!(data(8), Data::Time(v) if v[0] == 45_296_000_007));
    assert!(matches!(data(9), Data::DateTime(v) if v[0] == 20434 * 86_400_000_000 + 45_296_500_000));
    assert!(matches!(data(10), Data::Timestamp(v) if v[0] == 1_765_562_400_123_456));
    assert!(
        matches!(data(11), Data::Decimal { scale: 9, values } if values[0] == -12_345_678_901_234_567_890_123_456_789)
    );
    assert!(matches!(data(12), Data::Decimal { scale: 9, values } if values[0] == 5_250_000_000));
    text(13, "0.00000000000000000000000000000000000001");
    text(14, "{\"a\":[1,null]}");
    text(15, "1-2 3 4:5:6.5");
    text(16, "POINT(1 2)");
    text(17, "[2025-01-01, UNBOUNDED)");
    assert!(
        matches!(data(18), Data::List { offsets, child } if offsets == &[0, 2, 2] && matches!(&child.data, Data::Int64(v) if v == &[1, 2]))
    );
    let Data::List { offsets, child } = data(19) else { panic!() };
    let Data::Struct(parts) = &child.data else { panic!() };
    assert_eq!(offsets, &[0, 2, 2]);
    assert!(parts[0].is_null(1) && parts[1].is_null(1) && !parts[1].is_null(0));
    let Data::Struct(inner) = &parts[1].data else { panic!() };
    assert!(matches!(&inner[0].data, Data::List { offsets, .. } if offsets == &[0, 2, 2]));
}

#[test]
fn a_page_that_is_none_is_an_error_and_no_panic() {
    let schema = r#""schema":{"fields":[{"name":"n","type":"INTEGER"},{"name":"l","type":"DATE","mode":"REPEATED"}]}"#;
    let read = |rest: &str| Page::read(format!("{{{schema},{rest}}}").as_bytes(), None, &mut |_| {});
    assert!(read(r#""rows":[{"f":[{"v":"1"},{"v":[{"v":"2025-12-12"}]}]}]"#).is_ok());
    for bad in [
        r#""rows":[{"f":[{"v":"1"}]}]"#,
        r#""rows":[{"f":[{"v":"1"},{"v":[]},{"v":"2"}]}]"#,
        r#""rows":[{"f":[{"v":"x"},{"v":[]}]}]"#,
        r#""rows":[{"f":[{"v":[]},{"v":[]}]}]"#,
        r#""rows":[{"f":[{"v":{"f":[]}},{"v":[]}]}]"#,
        r#""rows":[{"f":[{"v":"1"},{"v":[{"v":"2025-13-12"}]}]}]"#,
        r#""rows":[{"g":1}]"#,
        r#""rows":[{"f":[{},{"v":[]}]}]"#,
        r#""rows":[{"f":[{"v":1},{"v":[]}]}]"#,
        r#""rows":7"#,
        r#""rows":[{"f":"#,
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
    assert!(Page::read(b"<html>", None, &mut |_| {}).is_err());
    assert!(Page::read(br#"{"schema":{"fields":[{"name":"n","type":"NEW"}]}}"#, None, &mut |_| {}).is_err());
    assert!(Page::read(br#"{"rows":[{"f":[]}]}"#, None, &mut |_| {}).unwrap_err().contains("no schema"));
}

#[test]
fn names_keep_to_what_bigquery_allows() {
    assert_eq!(wire::label("Tonight Players/É"), "tonight-players--");
    assert_eq!(wire::label(&"x".repeat(80)).len(), 63);
    let mut long = statement("SELECT 1");
    long.purpose.run_id = "é/".repeat(400);
    let id = wire::job_id(&long, "1-ab");
    assert!(id.len() <= 256 && id.ends_with("_1-ab"), "{id}");
    assert!(id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')));
    assert!(wire::job_id(&Statement::new("query", "", vec![]), "1-ab").starts_with("phase6_query_"));
}

#[test]
fn places_in_messages_are_bytes_of_the_statement() {
    let at = |message: &str, sql: &str| errors::place(message, sql).map(|range| sql[range].to_owned());
    assert_eq!(at("Unrecognized name: x at [2:9]", "SELECT\n  'é' + x"), Some("x".into()));
    assert_eq!(at("no [1:13]", "SELECT 'é', `a b` FROM t"), Some("`a b`".into()));
    assert_eq!(at("Unexpected [x] at [1:9]", "\tfoo"), Some("foo".into()));
    assert_eq!(at("nothing here", "SELECT"), None);
    assert_eq!(at("[9:9]", "SELECT"), None);
    assert_eq!(at("[1:99]", "SELECT"), Some(String::new()));
    assert_eq!(at("[0:0]", "SELECT"), None);
}
