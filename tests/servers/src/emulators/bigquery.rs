//! local-bigquery: BigQuery's REST interface over DuckDB. It parses GoogleSQL, keeps job ids, parameters and pages; it counts no
//! bytes (always 0), knows one location (US), and computes NUMERIC in FLOAT64 where DuckDB's functions do (AVG, division).

use super::{LOCAL_BIGQUERY, Running, answers, find};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

/// The project that it is started with.
pub const PROJECT: &str = "p1";

/// A server with a folder of its own.
pub struct LocalBigQuery {
    running: Running,
    _data: Folder,
}

/// Starts a server of its own and waits until it answers. Blocks. The error is the reason for a skip.
pub fn start() -> Result<LocalBigQuery, String> {
    let program = find(LOCAL_BIGQUERY)?;
    let data = Folder::new().map_err(|e| format!("there is no folder for its data: {e}"))?;
    let command = |port: u16| {
        let mut command = Command::new(&program);
        let grpc = super::free_port();
        command.args(["--host", "127.0.0.1", "--port", &port.to_string(), "--grpc-port", &grpc.to_string()]);
        // After a failed start its folder cannot be used again.
        command.args(["--project", PROJECT, "--dataset", "d1"]).arg("--data-dir").arg(data.0.join(port.to_string()));
        command
    };
    let path = format!("/bigquery/v2/projects/{PROJECT}/datasets");
    let running = Running::start("local-bigquery", command, |port| answers(port, &path), Duration::from_secs(120))?;
    Ok(LocalBigQuery { running, _data: data })
}

impl LocalBigQuery {
    /// `127.0.0.1:PORT`, for BIGQUERY_EMULATOR_HOST.
    pub fn host(&self) -> String {
        self.running.host()
    }

    /// Makes a dataset.
    pub fn dataset(&self, name: &str) {
        let body = json!({ "datasetReference": { "projectId": PROJECT, "datasetId": name } });
        self.post("/datasets", &body);
    }

    /// Runs a statement, such as the DDL of a table.
    pub fn statement(&self, sql: &str) -> Value {
        self.post("/queries", &json!({ "query": sql, "useLegacySql": false }))
    }

    /// Inserts rows (`tabledata.insertAll`), each an object of its columns.
    pub fn insert(&self, dataset: &str, table: &str, rows: &[Value]) {
        for some in rows.chunks(500) {
            let rows: Vec<Value> = some.iter().map(|row| json!({ "json": row })).collect();
            let told = self.post(&format!("/datasets/{dataset}/tables/{table}/insertAll"), &json!({ "rows": rows }));
            assert!(told.get("insertErrors").is_none(), "{dataset}.{table}: {told}");
        }
    }

    /// A POST below the project.
    ///
    /// # Panics
    /// When the answer is no success.
    fn post(&self, path: &str, body: &Value) -> Value {
        let (status, told) = self.try_post(path, body).unwrap_or_else(|e| panic!("local-bigquery: POST {path}: {e}"));
        assert!((200..300).contains(&status), "local-bigquery: POST {path}: {status} {told}");
        told
    }

    fn try_post(&self, path: &str, body: &Value) -> std::io::Result<(u16, Value)> {
        let body = body.to_string();
        let host = self.running.host();
        let mut stream = TcpStream::connect(&host)?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        // HTTP/1.0: the answer is whole when the connection ends, never in chunks.
        write!(
            stream,
            "POST /bigquery/v2/projects/{PROJECT}{path} HTTP/1.0\r\nhost: {host}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let text = String::from_utf8_lossy(&answer);
        let (head, content) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        Ok((status, serde_json::from_str(content).unwrap_or_default()))
    }
}

/// A folder that goes with its owner.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new() -> std::io::Result<Self> {
        let path =
            std::env::temp_dir().join(format!("phase6-local-bigquery-{}-{}", std::process::id(), super::free_port()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
