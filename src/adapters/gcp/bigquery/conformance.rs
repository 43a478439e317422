//! The warehouse suite on the strict server, which is taught the answers, and on local-bigquery, which computes them.

use super::*;
use crate::adapters::warehouse_conformance as suite;
use phase6_test_servers::bigquery::{Script, Server};
use phase6_test_servers::emulators;
use serde_json::{Value, json};

fn warehouse(host: &str, location: &str) -> Arc<BigQuery> {
    let google = Google::at(Api::BigQuery, host);
    Arc::new(BigQuery::new(google, emulators::bigquery::PROJECT.into(), Some(location.into()), 1 << 30))
}

fn taught(schema: &[(&str, &str, &str)], rows: Vec<Vec<Value>>) -> Script {
    let field = |(name, ty, mode): &(&str, &str, &str)| json!({ "name": name, "type": ty, "mode": mode });
    Script { schema: schema.iter().map(field).collect(), rows, ..Script::default() }
}

fn teach(server: &Server) {
    let nullable = |name, ty| (name, ty, "NULLABLE");
    let numbers = [nullable("n", "INTEGER")];
    let day = json!("2025-12-12");
    let one = [nullable("one", "INTEGER"), nullable("text", "STRING"), nullable("day", "DATE")];
    server.script(suite::ONE, taught(&one, vec![vec![json!("1"), json!("a"), day.clone()]]));
    server.script(suite::MANY, taught(&numbers, (1..=5000).map(|n| vec![json!(n.to_string())]).collect()));
    server.script(suite::NONE, taught(&numbers, Vec::new()));
    let given = [nullable("day", "DATE"), nullable("names", "INTEGER"), nullable("none", "BOOLEAN")];
    server.script(suite::PARAMETERS, taught(&given, vec![vec![day.clone(), json!("3"), json!("true")]]));
    let mut types = taught(
        &[
            nullable("i", "INTEGER"),
            nullable("f", "FLOAT"),
            nullable("b", "BOOLEAN"),
            nullable("s", "STRING"),
            nullable("y", "BYTES"),
            nullable("d", "DATE"),
            nullable("t", "TIME"),
            nullable("dt", "DATETIME"),
            nullable("ts", "TIMESTAMP"),
            nullable("n", "NUMERIC"),
            nullable("bn", "BIGNUMERIC"),
            ("l", "INTEGER", "REPEATED"),
            nullable("st", "RECORD"),
            nullable("none", "STRING"),
        ],
        Vec::new(),
    );
    types.schema[12]["fields"] = json!([{ "name": "x", "type": "INTEGER" }, { "name": "y", "type": "STRING" }]);
    types.rows = vec![vec![
        json!("9223372036854775807"),
        json!("1.5"),
        json!("true"),
        json!("é"),
        json!("AP8="),
        day,
        json!("12:34:56.000007"),
        json!("2025-12-12T12:34:56.500000"),
        json!("1765562400123456"),
        json!("5.25"),
        json!("0.5"),
        json!([{ "v": "1" }, { "v": "2" }]),
        json!({ "f": [{ "v": "1" }, { "v": "y" }] }),
        json!(null),
    ]];
    server.script(suite::TYPES, types);
    let refused = |reason: &str, message: &str| Some((reason.to_owned(), message.to_owned()));
    let wrong = "Syntax error: Unexpected keyword FROM at [1:8]";
    server.script(suite::WRONG, Script { refused: refused("invalidQuery", wrong), ..Script::default() });
    let unknown = "Not found: Dataset p1:no_such_dataset was not found in location us-west2";
    server.script(suite::UNKNOWN, Script { refused: refused("notFound", unknown), ..Script::default() });
    server.script(
        suite::FAILS,
        Script { fails: refused("invalidQuery", "division by zero: 1 / 0"), ..Script::default() },
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_strict_server_conforms() {
    let server = Server::start().await;
    teach(&server);
    suite::run(warehouse(&server.url, "us-west2")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn local_bigquery_conforms() {
    let started = tokio::task::spawn_blocking(emulators::bigquery::start).await.unwrap();
    match started {
        Ok(emulator) => suite::run(warehouse(&emulator.host(), "US")).await,
        Err(reason) => emulators::skip("adapters::gcp::bigquery::conformance::local_bigquery_conforms", &reason),
    }
}
