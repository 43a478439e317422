use super::*;
use phase6_test_servers::monitoring::Server;
use std::sync::Arc;

const NOW: &str = "2025-12-12T18:00:00Z";

fn google(server: &Server) -> Arc<Google> {
    Google::at(Api::Monitoring, &server.url)
}

async fn asked(server: &Server, subscription: &str) -> Result<Backlog, BusError> {
    ask(&google(server), "Pub/Sub project `p`", "p", subscription, NOW.parse().unwrap()).await
}

#[tokio::test]
async fn the_newest_samples_are_the_backlog() {
    let server = Server::start().await.unwrap();
    for (at, messages, age) in [("2025-12-12T17:56:00Z", 9, 5), ("2025-12-12T17:57:00Z", 7, 120)] {
        server.sample("work", MESSAGES, at, messages);
        server.sample("work", OLDEST, at, age);
    }
    server.sample("other", MESSAGES, "2025-12-12T17:57:00Z", 99);
    let found = asked(&server, "work").await.unwrap();
    let oldest = "2025-12-12T17:58:00Z".parse().unwrap();
    assert_eq!(found, Backlog { messages: 7, leased: None, oldest: Some(oldest) });
}

#[tokio::test]
async fn an_empty_subscription_has_no_oldest_message() {
    let server = Server::start().await.unwrap();
    server.sample("work", MESSAGES, "2025-12-12T17:57:00Z", 0);
    server.sample("work", OLDEST, "2025-12-12T17:57:00Z", 0);
    assert_eq!(asked(&server, "work").await.unwrap(), Backlog { messages: 0, leased: None, oldest: None });
}

#[tokio::test]
async fn without_a_fresh_sample_it_is_not_known() {
    let server = Server::start().await.unwrap();
    server.sample("work", MESSAGES, "2025-12-12T17:30:00Z", 7);
    let error = asked(&server, "work").await.unwrap_err();
    assert_eq!(error.kind, BusErrorKind::Unknown, "{error}");
}

#[tokio::test]
async fn a_refusal_is_the_operators_and_an_outage_passes() {
    let server = Server::start().await.unwrap();
    server.refuse(403, "PERMISSION_DENIED");
    let error = asked(&server, "work").await.unwrap_err();
    assert_eq!(error.kind, BusErrorKind::Fatal);
    assert!(error.message.contains("roles/monitoring.viewer") && error.message.contains("`work`"), "{error}");
    assert!(error.message.contains("403: as told"), "the server's own words: {error}");
    for status in [429, 500, 503] {
        server.refuse(status, "UNAVAILABLE");
        assert_eq!(asked(&server, "work").await.unwrap_err().kind, BusErrorKind::Transient);
    }
}
