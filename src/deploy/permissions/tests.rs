//! The table against itself, and against the calls that the adapters make of strict servers.

use super::*;

#[test]
fn a_call_finds_its_line() {
    let of = |api, method, path| needed(By::Service, api, method, path).map(|u| u.permission);
    let publish = of(Api::PubSub, "POST", "/v1/projects/p/topics/t:publish");
    assert_eq!(publish, Some("pubsub.topics.publish"));
    assert_eq!(of(Api::PubSub, "POST", "/v1/projects/p/topics/t:delete"), None);
    assert_eq!(of(Api::PubSub, "GET", "/v1/projects/p/subscriptions/s:x"), None, "a verb is no name");
    let get = of(Api::Storage, "GET", "/storage/v1/b/bucket/o/v1%2Ftonight%2Fall.json?alt=media");
    assert_eq!(get, Some("storage.objects.get"));
    assert_eq!(of(Api::Storage, "GET", "/storage/v1/b/bucket/o?prefix=v1"), Some("storage.objects.list"));
    assert_eq!(of(Api::Storage, "GET", "/storage/v1/b/bucket"), None, "the service has no right to buckets");
}

#[test]
fn every_line_of_the_service_has_a_role_that_holds_it() {
    for used in USES.iter().filter(|u| u.by == By::Service) {
        let role = ROLES.iter().find(|(name, _)| *name == used.role);
        assert!(role.is_some_and(|(_, has)| has.contains(&used.permission)), "{used:?}");
    }
}

#[test]
fn a_refusal_names_the_right() {
    let text = "POST pubsub.googleapis.com/v1/projects/p/topics/t:setIamPolicy: 403: no";
    assert_eq!(for_error(text).unwrap().permission, "pubsub.topics.setIamPolicy");
    assert!(for_error("something else").is_none());
}

#[cfg(feature = "gcp")]
mod least_privilege {
    use super::*;
    use crate::adapters::gcp::Google;
    use crate::adapters::gcp::bigquery::BigQuery;
    use crate::adapters::gcp::storage::BucketStore;
    use crate::model::Statement;
    use crate::ports::cancel::Cancel;
    use crate::ports::warehouse::Warehouse;
    use std::sync::Arc;

    fn google(url: &str) -> Arc<Google> {
        let url = url.to_owned();
        Arc::new(Google::new(&|name| name.ends_with("_EMULATOR_HOST").then(|| url.clone())).unwrap())
    }

    /// The whole conformance suite of stores: every call that the adapter can make.
    #[tokio::test(flavor = "multi_thread")]
    async fn the_buckets_rights_suffice_for_every_call() {
        let server = phase6_test_servers::storage::Server::start().await;
        server.bucket("nba-props-platform-phase6", true);
        server.write_rate(None);
        let store = BucketStore::new(google(&server.url), "nba-props-platform-phase6");
        crate::adapters::conformance::run(Arc::new(store)).await;
        let calls = server.calls();
        assert!(calls.len() > 100);
        let made = calls.iter().map(|c| (c.method.as_str(), c.uri.as_str()));
        assert_eq!(missing(&crate::deploy::plan::tests::shipped(), Api::Storage, made), Vec::<String>::new());
        // Another bucket is none of ours.
        let other = [("GET", "/storage/v1/b/others/o/x")];
        assert_eq!(missing(&crate::deploy::plan::tests::shipped(), Api::Storage, other).len(), 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_warehouses_rights_suffice_for_every_call() {
        let server = phase6_test_servers::bigquery::Server::start().await;
        server.script("SELECT", phase6_test_servers::bigquery::Script::default());
        let warehouse =
            BigQuery::new(google(&server.url), "nba-props-platform".into(), Some("us-west2".into()), 1 << 30);
        let statement = Statement::new("x", "SELECT n FROM t", Vec::new());
        warehouse.columns(&statement).await.unwrap();
        warehouse.dry_run(&statement).await.unwrap();
        let mut rows = warehouse.query(&statement, &Cancel::default()).await.unwrap();
        tokio::task::spawn_blocking(move || while rows.next().unwrap().is_some() {}).await.unwrap();
        let methods = server.methods();
        let calls: Vec<_> = methods.iter().flat_map(|method| server.calls(method)).collect();
        assert!(calls.len() >= 3, "{methods:?}");
        let made = calls.iter().map(|c| (c.method.as_str(), c.path.as_str()));
        assert_eq!(missing(&crate::deploy::plan::tests::shipped(), Api::BigQuery, made), Vec::<String>::new());
    }
}
