//! The strict Cloud Storage for several processes: `strict-gcs [--port N] [--write-rate SECONDS] BUCKET[:versions] ...` prints its
//! address on the first line and serves until it is killed. Each line on its standard input is answered by the calls since the
//! last one, counted by bucket and kind, as a line of JSON.

use phase6_test_servers::storage::Server;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut port, mut rate, mut buckets) = (0, None, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--port" => port = value()?.parse()?,
            "--write-rate" => rate = Some(Duration::from_secs_f64(value()?.parse()?)),
            _ => buckets.push(argument),
        }
    }
    let server = Arc::new(Server::start_on(port).await?);
    for bucket in &buckets {
        match bucket.strip_suffix(":versions") {
            Some(name) => server.bucket(name, true),
            None => server.bucket(bucket, false),
        }
    }
    server.write_rate(rate);
    println!("{}", server.url);
    std::thread::spawn(move || {
        for _ in std::io::stdin().lines().map_while(Result::ok) {
            println!("{}", counts(&server));
        }
        // Nobody asks any more; it serves on.
        std::mem::forget(server);
    });
    std::future::pending::<()>().await;
    Ok(())
}

fn counts(server: &Server) -> serde_json::Value {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for call in server.take_calls() {
        let bucket = call.uri.split("/b/").nth(1).and_then(|rest| rest.split(['/', '?']).next()).unwrap_or("-");
        *counts.entry(format!("{bucket} {}", call.kind)).or_default() += 1;
    }
    serde_json::json!(counts)
}
