//! The strict server of the services that `phase6 deploy` calls, for `benches/deploy/bench.py`: it prints its address, and takes on
//! standard input `table NAME` (a table that is there) and `delay MS` (before each answer), and answers each with `ok`.

use phase6_test_servers::cloud::Server;
use std::io::BufRead;
use std::time::Duration;

#[tokio::main]
async fn main() {
    let server = Server::start().await;
    println!("{}", server.url);
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let mut world = server.world();
        match line.split_once(' ') {
            Some(("table", name)) => {
                let policy = serde_json::json!({"version": 1, "etag": "t", "bindings": []});
                world.policies.insert(name.to_owned(), policy);
            }
            Some(("delay", ms)) => world.delay = Duration::from_millis(ms.parse().unwrap_or(0)),
            _ => {
                println!("what is `{line}`?");
                continue;
            }
        }
        println!("ok {} calls so far", world.calls.len());
    }
}
