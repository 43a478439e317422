//! What `ensure` asks for, and what it is content with when it may not ask: against stand-ins for the crate's own clients.

use super::{Google, SystemClock, subscription};
use crate::adapters::gcp::Api;
use crate::adapters::gcp::pubsub::resources::{self, Names};
use crate::adapters::gcp::pubsub::{Clients, PubSub};
use crate::ports::bus::{Bus, BusErrorKind, NewMessage, Subscription};
use google_cloud_gax::error::Error;
use google_cloud_gax::error::rpc::{Code, Status};
use google_cloud_gax::options::RequestOptions;
use google_cloud_gax::response::Response;
use google_cloud_pubsub::client::{BasePublisher, SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::{Result, model, stub};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A Pub/Sub that has one subscription, or none, and refuses what it is told to refuse.
#[derive(Debug, Default)]
struct Server {
    has: Mutex<Option<model::Subscription>>,
    refuses: Vec<&'static str>,
    calls: Mutex<Vec<String>>,
}

impl Server {
    fn called(&self, method: &'static str, what: &str) -> Result<()> {
        self.calls.lock().unwrap().push(format!("{method} {what}"));
        if self.refuses.contains(&method) { Err(refusal(Code::PermissionDenied)) } else { Ok(()) }
    }
}

fn refusal(code: Code) -> Error {
    Error::service(Status::default().set_code(code).set_message("as told"))
}

#[derive(Debug)]
struct Subscriptions(Arc<Server>);

impl stub::SubscriptionAdmin for Subscriptions {
    async fn get_subscription(
        &self,
        request: model::GetSubscriptionRequest,
        _: RequestOptions,
    ) -> Result<Response<model::Subscription>> {
        self.0.called("get", &request.subscription)?;
        let has = self.0.has.lock().unwrap().clone();
        has.map(Response::from).ok_or_else(|| refusal(Code::NotFound))
    }

    async fn create_subscription(
        &self,
        request: model::Subscription,
        _: RequestOptions,
    ) -> Result<Response<model::Subscription>> {
        self.0.called("create", &request.name)?;
        *self.0.has.lock().unwrap() = Some(request.clone());
        Ok(Response::from(request))
    }

    async fn update_subscription(
        &self,
        request: model::UpdateSubscriptionRequest,
        _: RequestOptions,
    ) -> Result<Response<model::Subscription>> {
        let mask = request.update_mask.unwrap_or_default().paths.join(",");
        self.0.called("update", &mask)?;
        *self.0.has.lock().unwrap() = request.subscription.clone();
        Ok(Response::from(request.subscription.unwrap_or_default()))
    }

    async fn seek(&self, request: model::SeekRequest, _: RequestOptions) -> Result<Response<model::SeekResponse>> {
        self.0.called("seek", &format!("{:?}", request.time().map(|t| t.seconds())))?;
        Ok(Response::from(model::SeekResponse::default()))
    }
}

#[derive(Debug)]
struct Topics(Arc<Server>);

impl stub::TopicAdmin for Topics {
    async fn create_topic(&self, request: model::Topic, _: RequestOptions) -> Result<Response<model::Topic>> {
        self.0.called("topic", &request.name)?;
        Ok(Response::from(request))
    }
}

fn emulated() -> Arc<Google> {
    Google::at(Api::PubSub, "127.0.0.1:9")
}

#[tokio::test]
async fn an_emulator_gets_no_retry_policy() {
    let (on_google, _) = bus(None, &[]).await;
    assert!(on_google.wanted(&subscription()).retry_policy.is_some());
    let on_emulator = PubSub::new(emulated(), "p", Arc::new(SystemClock));
    assert_eq!(on_emulator.wanted(&subscription()).retry_policy, None);
}

/// The stubs stand for the service itself, which an emulator is not in everything.
async fn bus(has: Option<model::Subscription>, refuses: &[&'static str]) -> (PubSub, Arc<Server>) {
    bus_of(Arc::new(Google::new(&|_| None).unwrap()), has, refuses).await
}

async fn bus_of(
    google: Arc<Google>,
    has: Option<model::Subscription>,
    refuses: &[&'static str],
) -> (PubSub, Arc<Server>) {
    let server = Arc::new(Server { has: Mutex::new(has), refuses: refuses.to_vec(), calls: Mutex::default() });
    let me = emulated().credentials(Api::PubSub);
    let bus = PubSub::new(google, "p", Arc::new(SystemClock));
    let publisher = BasePublisher::builder().with_endpoint("http://127.0.0.1:9").with_credentials(me).build();
    let clients = Clients {
        publisher: publisher.await.unwrap(),
        topics: TopicAdmin::from_stub(Topics(server.clone())),
        subscriptions: SubscriptionAdmin::from_stub(Subscriptions(server.clone())),
    };
    assert!(bus.clients.set(clients).is_ok());
    (bus, server)
}

fn right() -> model::Subscription {
    resources::subscription(&Names { project: "p".into() }, &subscription())
}

const GET: &str = "get projects/p/subscriptions/sub";

#[tokio::test]
async fn what_is_absent_is_made_with_its_topics() {
    let (bus, server) = bus(None, &[]).await;
    bus.ensure(&subscription()).await.unwrap();
    let calls = server.calls.lock().unwrap().clone();
    let made = ["topic projects/p/topics/topic", "topic projects/p/topics/dead", "create projects/p/subscriptions/sub"];
    assert_eq!(calls, [&[GET], &made[..]].concat());
    let has = server.has.lock().unwrap().clone().unwrap();
    assert_eq!(has, right());
    assert_eq!(has.expiration_policy, Some(model::ExpirationPolicy::new()), "it never expires");
    let retry = has.retry_policy.unwrap();
    assert_eq!(retry.minimum_backoff.map(resources::duration), Some(Duration::from_secs(1)));
    let dead = has.dead_letter_policy.unwrap();
    assert_eq!((dead.dead_letter_topic.as_str(), dead.max_delivery_attempts), ("projects/p/topics/dead", 100));
}

#[tokio::test]
async fn one_that_begins_at_the_earliest_is_rewound_once() {
    let (bus, server) = bus(None, &[]).await;
    let earliest = Subscription { from_earliest: true, ..subscription() };
    bus.ensure(&earliest).await.unwrap();
    bus.ensure(&earliest).await.unwrap();
    let calls = server.calls.lock().unwrap().clone();
    assert_eq!(calls.iter().filter(|c| c.starts_with("seek")).count(), 1, "{calls:?}");
}

#[tokio::test]
async fn what_is_right_is_enough_without_any_right_to_change() {
    let (bus, server) = bus(Some(right()), &["create", "update", "topic"]).await;
    bus.ensure(&subscription()).await.unwrap();
    assert_eq!(*server.calls.lock().unwrap(), [GET], "nothing else is tried");
}

#[tokio::test]
async fn what_differs_is_changed_field_by_field() {
    let (bus, server) = bus(Some(right().set_ack_deadline_seconds(10)), &[]).await;
    let wanted = Subscription { lease: Duration::from_secs(60), ..subscription() };
    bus.ensure(&wanted).await.unwrap();
    assert_eq!(server.calls.lock().unwrap().last().unwrap(), "update ack_deadline_seconds");
    assert_eq!(server.has.lock().unwrap().as_ref().unwrap().ack_deadline_seconds, 60);
    server.calls.lock().unwrap().clear();
    bus.ensure(&wanted).await.unwrap();
    assert_eq!(*server.calls.lock().unwrap(), [GET]);
}

#[tokio::test]
async fn who_may_not_mend_it_goes_on_and_says_what_differs_and_who_can() {
    let wrong = right().set_retry_policy(model::RetryPolicy::new());
    let (bus, _) = bus(Some(wrong), &["update", "topic"]).await;
    bus.ensure(&subscription()).await.unwrap();
    let [said] = &bus.shortfalls()[..] else { panic!("{:?}", bus.shortfalls()) };
    assert!(said.contains("`sub` is not as it has to be in retry_policy: `phase6 deploy`"), "{said}");
}

/// `deploy` makes leases of a minute, and the service's account may change nothing.
#[tokio::test]
async fn who_may_not_change_the_lease_sets_it_on_each_message() {
    let longer = Subscription { lease: Duration::from_secs(120), ..subscription() };
    let (deployed, server) = bus(Some(right()), &["update", "topic"]).await;
    deployed.ensure(&longer).await.unwrap();
    assert_eq!(deployed.known("sub").await.unwrap().own_term, Some(Duration::from_secs(120)));
    assert_eq!(*server.has.lock().unwrap(), Some(right()));
    // What differs in more is said besides.
    let (wrong, _) = bus(Some(right().set_retry_policy(model::RetryPolicy::new())), &["update", "topic"]).await;
    wrong.ensure(&longer).await.unwrap();
    assert_eq!(wrong.known("sub").await.unwrap().own_term, Some(Duration::from_secs(120)));
    assert!(wrong.shortfalls()[0].contains("has to be in retry_policy:"), "{:?}", wrong.shortfalls());
    assert!(deployed.shortfalls().is_empty());
}

#[tokio::test]
async fn who_comes_by_makes_what_is_absent_and_changes_nothing() {
    let wanted = Subscription { lease: Duration::from_secs(60), ..subscription() };
    let of_the_service = right().set_ack_deadline_seconds(300).set_retry_policy(model::RetryPolicy::new());
    let (there, server) = bus(Some(of_the_service.clone()), &["update", "topic"]).await;
    there.make(&wanted).await.unwrap();
    assert_eq!(*server.calls.lock().unwrap(), [GET], "nothing else is tried");
    assert_eq!(*server.has.lock().unwrap(), Some(of_the_service));
    let (absent, server) = bus(None, &[]).await;
    absent.make(&wanted).await.unwrap();
    assert_eq!(server.has.lock().unwrap().as_ref().unwrap().ack_deadline_seconds, 60);
}

#[tokio::test]
async fn who_may_not_look_trusts_the_deployment_and_sets_its_own_leases() {
    let (bus, server) = bus(None, &["get", "create", "update", "topic"]).await;
    bus.ensure(&subscription()).await.unwrap();
    assert_eq!(*server.calls.lock().unwrap(), [GET]);
    let known = bus.known("sub").await.unwrap();
    assert_eq!((known.topic.as_str(), known.own_term), ("topic", Some(Duration::from_secs(10))));
}

#[tokio::test]
async fn it_is_never_moved_and_never_turned_from_push_to_pull() {
    let push = model::PushConfig::new().set_push_endpoint("https://example.com");
    for existing in [right().set_topic("projects/p/topics/elsewhere"), right().set_push_config(push)] {
        let (bus, server) = bus(Some(existing), &[]).await;
        assert_eq!(bus.ensure(&subscription()).await.unwrap_err().kind, BusErrorKind::Invalid);
        assert_eq!(*server.calls.lock().unwrap(), [GET]);
    }
}

#[tokio::test]
async fn a_bus_that_is_not_there_is_transient() {
    let (bus, _) = bus_of(emulated(), Some(right()), &[]).await;
    bus.ensure(&subscription()).await.unwrap();
    let error = bus.pull("sub", 1, Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(error.kind, BusErrorKind::Transient, "{error}");
    assert!(error.message.contains("`sub`") && error.message.contains("Pub/Sub project `p`"), "{error}");
    let message = NewMessage { body: b"x".to_vec(), ..NewMessage::default() };
    let published = tokio::time::timeout(Duration::from_secs(30), bus.publish("topic", &message)).await;
    assert_eq!(published.expect("it gives up").unwrap_err().kind, BusErrorKind::Transient);
}
