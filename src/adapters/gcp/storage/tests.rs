//! The bucket against two servers: a strict one of our own that goes by the public reference, and fake-gcs-server, as far as it goes.

use super::*;
use crate::adapters::conformance;
use crate::ports::store::PutOptions;
use phase6_test_servers::emulators;
use phase6_test_servers::storage::{Fault, Server};

/// A strict server with a bucket that keeps versions, and a store on it.
async fn strict() -> (Server, BucketStore) {
    let server = Server::start().await;
    server.bucket("docs", true);
    let store = BucketStore::new(Google::at(Api::Storage, &server.url), "docs");
    (server, store)
}

fn body(text: &str) -> Body {
    Body::from(text.as_bytes().to_vec())
}

fn absent() -> PutOptions {
    PutOptions { condition: Condition::Absent, ..PutOptions::default() }
}

fn any() -> PutOptions {
    PutOptions::default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_on_a_strict_server() {
    let (server, store) = strict().await;
    conformance::run(Arc::new(store)).await;
    let refused: Vec<_> = server.calls().into_iter().filter(|call| matches!(call.status, 400 | 405)).collect();
    assert!(refused.is_empty(), "the reference does not know {refused:?}");
}

/// What fake-gcs-server 1.54 does otherwise than the reference says; design/stack.md has the probes.
const FAKE_GCS_CANNOT: &[(&str, &str)] = &[
    (
        "the_content_type_is_kept",
        "it takes the type of the media part, which the crate leaves at application/octet-stream",
    ),
    ("forget_leaves_nothing", "it ignores `generation` of deletes, so that a replaced generation cannot be deleted"),
    ("touch_changes_metadata_alone", "it has no metageneration: a patch leaves it as it was"),
    (
        "touch_defeats_writers_who_saw_the_old_metadata",
        "it has no metageneration, and ignores preconditions of patches",
    ),
    ("delete_defeats_who_saw_the_old_version", "it ignores preconditions of deletes"),
    ("large_content_comes_back", "it ignores preconditions of resumable uploads"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_on_fake_gcs_server_as_far_as_that_goes() {
    let server = match emulators::storage::start() {
        Ok(server) => server,
        Err(reason) => return emulators::skip("conforms_on_fake_gcs_server_as_far_as_that_goes", &reason),
    };
    let google = Google::at(Api::Storage, &server.url());
    let made = google
        .http()
        .post(format!("{}/storage/v1/b?project=p", server.url()))
        .header("content-type", "application/json")
        .body(r#"{"name":"docs","versioning":{"enabled":true}}"#)
        .send()
        .await
        .unwrap();
    assert!(made.status().is_success());
    conformance::run_without(Arc::new(BucketStore::new(google, "docs")), FAKE_GCS_CANNOT).await;
}

#[tokio::test]
async fn a_lost_reply_is_transient_and_the_write_is_there() {
    for fault in [Fault::LoseReply, Fault::HalfReply] {
        let (server, store) = strict().await;
        server.fail(1, "POST", "name=a", fault);
        let error = store.put("a", &body("x"), &absent()).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Transient, "{fault:?}: {error}");
        assert_eq!(store.get("a", None).await.unwrap().bytes, b"x");
        assert_eq!(server.take_counts()["objects.insert"], 1, "not tried again without a look");
    }
}

#[tokio::test]
async fn a_failed_precondition_after_an_unclear_answer_is_transient() {
    let (server, store) = strict().await;
    server.fail(1, "POST", "name=a", Fault::Answer(503, "backendError"));
    store.put("a", &body("x"), &absent()).await.unwrap();
    // Somebody else's write comes in between the two attempts, or our own first attempt did: nobody can tell.
    server.fail(1, "POST", "name=a", Fault::Answer(500, "internalError"));
    let error = store.put("a", &body("y"), &absent()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Transient, "{error}");
    let error = store.put("a", &body("y"), &absent()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::PreconditionFailed, "{error}");
}

#[tokio::test]
async fn only_writes_with_a_condition_are_tried_again() {
    let (server, store) = strict().await;
    server.fail(3, "POST", "name=a", Fault::Answer(503, "backendError"));
    let error = store.put("a", &body("x"), &any()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Transient);
    assert_eq!(server.take_counts()["objects.insert"], 1);
    store.put("a", &body("x"), &absent()).await.unwrap();
    assert_eq!(server.take_counts()["objects.insert"], 3);
    // Too many requests: nothing was done, and the next attempt waits for its turn.
    server.fail(1, "PATCH", "/a", Fault::Answer(429, "rateLimitExceeded"));
    let info = store.stat("a").await.unwrap().unwrap();
    store.touch("a", info.version(), &BTreeMap::new()).await.unwrap();
    assert_eq!(server.take_counts()["objects.patch"], 2);
    // For ever is not tried.
    server.fail(99, "GET", "/o/a", Fault::Answer(503, "backendError"));
    assert_eq!(store.stat("a").await.unwrap_err().kind, StoreErrorKind::Transient);
    assert_eq!(server.take_counts()["objects.get"], 5);
}

#[tokio::test]
async fn errors_are_told_by_status_and_reason() {
    use StoreErrorKind as Kind;
    let (server, store) = strict().await;
    store.put("a", &body("x"), &any()).await.unwrap();
    let expected = [
        (401, "authError", Kind::Denied, "auth application-default login"),
        (403, "forbidden", Kind::Denied, "roles/storage.objectUser"),
        (403, "quotaExceeded", Kind::Full, "quota"),
        (404, "notFound", Kind::NotFound, "does the bucket exist"),
        (412, "conditionNotMet", Kind::PreconditionFailed, "conditionNotMet"),
        (429, "rateLimitExceeded", Kind::Transient, "429 rateLimitExceeded"),
        (403, "rateLimitExceeded", Kind::Transient, "403 rateLimitExceeded"),
        (502, "backendError", Kind::Transient, "502 backendError"),
        (413, "uploadTooLarge", Kind::Failed, "413 uploadTooLarge"),
    ];
    for (status, reason, kind, words) in expected {
        server.fail(1, "POST", "name=a", Fault::Answer(status, reason));
        let error = store.put("a", &body("x"), &any()).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.to_string().contains("could not put `a` in bucket `docs`"), "{error}");
    }
    server.fail(1, "DELETE", "/o/a", Fault::Answer(403, "forbidden"));
    assert_eq!(store.delete("a", Condition::Any).await.unwrap_err().kind, Kind::Denied);
    let nowhere = BucketStore::new(Google::at(Api::Storage, &server.url), "nowhere");
    let error = nowhere.put("a", &body("x"), &any()).await.unwrap_err();
    assert!(error.to_string().contains("phase6 deploy"), "{error}");
    assert_eq!(nowhere.list("").await.unwrap_err().kind, Kind::NotFound);
}

#[tokio::test]
async fn what_lies_there_otherwise_than_written_is_corrupt() {
    let (server, store) = strict().await;
    store.put("a", &body("plain"), &any()).await.unwrap();
    server.corrupt("docs", "a");
    assert_eq!(store.get("a", None).await.unwrap_err().kind, StoreErrorKind::Corrupt);
    store.put("b", &body(&"text ".repeat(100)), &PutOptions { gzip: true, ..any() }).await.unwrap();
    server.corrupt("docs", "b");
    assert_eq!(store.get("b", None).await.unwrap_err().kind, StoreErrorKind::Corrupt);
}

#[tokio::test]
async fn a_line_that_breaks_in_the_middle_is_read_to_the_end() {
    let (server, store) = strict().await;
    let text = "0123456789".repeat(10_000);
    store.put("a", &body(&text), &any()).await.unwrap();
    server.fail(2, "GET", "alt=media", Fault::HalfReply);
    assert_eq!(store.get("a", None).await.unwrap().bytes, text.as_bytes());
    server.fail(1, "GET", "alt=media", Fault::SlowBody(Duration::from_millis(300)));
    assert_eq!(store.get("a", None).await.unwrap().bytes, text.as_bytes());
}

#[tokio::test]
async fn a_large_upload_goes_on_where_it_broke() {
    let (server, store) = strict().await;
    let content: Vec<u8> = (0..40_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    server.fail(1, "PUT", "upload_id", Fault::Answer(503, "backendError"));
    let written = store.put("a", &Body::from(content.clone()), &absent()).await.unwrap();
    assert_eq!(written.size, 40_000_000);
    assert!(store.get("a", None).await.unwrap().bytes == content);
    // A connection that breaks ends the session; what became of it, a look tells.
    server.fail(1, "PUT", "upload_id", Fault::LoseReply);
    let options = PutOptions { condition: Condition::Match(written.version()), ..any() };
    let content = Body::from(content);
    let error = store.put("a", &content, &options).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Transient, "{error}");
    assert_eq!(store.stat("a").await.unwrap(), Some(written));
    assert_eq!(store.put("a", &content, &options).await.unwrap().size, 40_000_000);
}

#[tokio::test]
async fn a_page_follows_the_other() {
    let (server, store) = strict().await;
    let store = Arc::new(store);
    let mut writers = tokio::task::JoinSet::new();
    for worker in 0..8 {
        let store = store.clone();
        writers.spawn(async move {
            for n in (worker..2100).step_by(8) {
                store.put(&format!("many/{n:04}"), &body("x"), &any()).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    server.take_counts();
    let all = store.list("many/").await.unwrap();
    assert_eq!(all.len(), 2100);
    assert!(all.is_sorted_by(|a, b| a.path < b.path));
    assert_eq!(server.take_counts()["objects.list"], 3);
    // Neighbours whose names begin alike do not make the list of one object's versions longer.
    store.put("many", &body("x"), &any()).await.unwrap();
    assert_eq!(store.versions("many").await.unwrap().len(), 1);
    assert_eq!(server.take_counts()["objects.list"], 1);
}

#[tokio::test]
async fn a_name_is_written_once_a_second_also_where_the_server_insists() {
    let (server, store) = strict().await;
    let store = store.with_limits(Limits { per_name: Duration::from_millis(200), per_second: None });
    server.write_rate(Some(Duration::from_millis(200)));
    let start = std::time::Instant::now();
    for n in 0..4 {
        store.put("a", &body(&n.to_string()), &any()).await.unwrap();
        store.put(&format!("b/{n}"), &body("x"), &any()).await.unwrap();
    }
    assert!(start.elapsed() >= Duration::from_millis(600), "{:?}", start.elapsed());
    let calls = server.calls();
    assert!(calls.iter().all(|call| call.status == 200), "{calls:?}");
    // A second process does not know of the first, and is told by 429.
    let other = BucketStore::new(Google::at(Api::Storage, &server.url), "docs").with_limits(Limits::NONE);
    let info = store.put("a", &body("mine"), &any()).await.unwrap();
    let options = PutOptions { condition: Condition::Match(info.version()), ..any() };
    other.put("a", &body("other"), &options).await.unwrap();
    assert!(server.calls().iter().any(|call| call.status == 429));
}

#[tokio::test]
async fn a_compressed_document_is_the_same_each_time_and_says_so() {
    let (server, store) = strict().await;
    let text = "{\"a\":1}".repeat(50);
    store.put("a", &body(&text), &PutOptions { gzip: true, ..any() }).await.unwrap();
    store.put("b", &body(&text), &PutOptions { gzip: true, ..any() }).await.unwrap();
    let get = |name: &str, accept: &'static str| {
        let url = format!("{}/storage/v1/b/docs/o/{name}?alt=media", server.url);
        let request = store.api.google.http().get(url).header("accept-encoding", accept);
        async move {
            let response = request.send().await.unwrap();
            (response.headers().get("content-encoding").cloned(), response.bytes().await.unwrap())
        }
    };
    let (encoding, packed) = get("a", "gzip").await;
    assert_eq!(encoding.unwrap(), "gzip");
    assert!(packed.len() < text.len() / 2);
    assert_eq!(get("b", "gzip").await.1, packed);
    let (encoding, plain) = get("a", "identity").await;
    assert_eq!((encoding, plain.as_ref()), (None, text.as_bytes()));
}
