//! The strict Cloud Storage for several processes: `strict-gcs [--port N] [--write-rate SECONDS] BUCKET[:versions] ...` prints its
//! address on the first line and serves until it is killed.

use phase6_test_servers::storage::Server;
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
    let server = Server::start_on(port).await?;
    for bucket in &buckets {
        match bucket.strip_suffix(":versions") {
            Some(name) => server.bucket(name, true),
            None => server.bucket(bucket, false),
        }
    }
    server.write_rate(rate);
    println!("{}", server.url);
    std::future::pending::<()>().await;
    Ok(())
}
