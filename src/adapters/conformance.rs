//! What every object store must do: each sentence of `ports::store` is a function here, and each adapter runs them all.
//!
//! `run` takes an empty store (or a fresh prefix of one) that several tasks may use at once.

use crate::ports::store::{Body, Condition, ObjectStore, PutOptions, SpoolFile, StoreErrorKind, Version};
use std::collections::BTreeMap;
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;

/// One sentence of the contract.
pub type Check = for<'a> fn(&'a Arc<dyn ObjectStore>) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

macro_rules! suite {
    ($($name:ident),* $(,)?) => {
        /// The suite: each sentence by its name.
        pub const SUITE: &[(&str, Check)] = &[$((stringify!($name), |store| Box::pin($name(store)))),*];
    };
}

suite! {
    paths_are_checked_first,
    put_writes_everything_at_once,
    the_content_type_is_kept,
    generations_grow_also_after_delete,
    conditions_hold_or_fail,
    a_failed_condition_changes_nothing,
    old_generations_stay_readable,
    touch_changes_metadata_alone,
    touch_defeats_writers_who_saw_the_old_metadata,
    delete_defeats_who_saw_the_old_version,
    list_is_sorted_and_by_prefix,
    delete_keeps_the_content,
    forget_leaves_nothing,
    missing_objects_are_not_found,
    a_body_can_be_put_twice,
    the_hash_is_known_or_computed,
    empty_and_binary_content,
    compressed_content_reads_plain,
    large_content_comes_back,
    one_of_many_writers_wins,
    every_increment_counts,
    readers_never_see_a_part,
}

/// Runs the whole suite.
pub async fn run(store: Arc<dyn ObjectStore>) {
    run_without(store, &[]).await;
}

/// Runs the suite without some of it: for servers that do less than they should. Each is named with its reason, which is printed.
pub async fn run_without(store: Arc<dyn ObjectStore>, left_out: &[(&str, &str)]) {
    for (name, _) in left_out {
        assert!(SUITE.iter().any(|(known, _)| known == name), "there is no check `{name}` to leave out");
    }
    for (name, check) in SUITE {
        match left_out.iter().find(|(out, _)| out == name) {
            Some((_, reason)) => eprintln!("LEFT OUT: {name} on {}: {reason}", store.describe()),
            None => check(&store).await,
        }
    }
    store.flush().await.expect("flush");
}

fn body(text: &str) -> Body {
    Body::from(text.as_bytes().to_vec())
}

fn when(condition: Condition) -> PutOptions {
    PutOptions { condition, ..PutOptions::default() }
}

fn pairs(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

async fn text_of(s: &Arc<dyn ObjectStore>, path: &str) -> String {
    String::from_utf8(s.get(path, None).await.unwrap().bytes).unwrap()
}

async fn paths_are_checked_first(s: &Arc<dyn ObjectStore>) {
    for path in ["", "../x", "a/../../x", "/etc/x", "a//b", ".hidden", "a/.b", "a\u{1}", "a/", &"x".repeat(1025)] {
        let errors = [
            s.stat(path).await.unwrap_err(),
            s.get(path, None).await.unwrap_err(),
            s.put(path, &body("x"), &PutOptions::default()).await.unwrap_err(),
            s.delete(path, Condition::Any).await.unwrap_err(),
            s.versions(path).await.unwrap_err(),
            s.touch(path, Version { generation: 1, metageneration: 1 }, &BTreeMap::new()).await.unwrap_err(),
        ];
        assert!(errors.iter().all(|e| e.kind == StoreErrorKind::InvalidPath), "{path:?}");
    }
}

async fn put_writes_everything_at_once(s: &Arc<dyn ObjectStore>) {
    let path = "all/one.json";
    let options = PutOptions {
        cache_control: Some("public, max-age=300".into()),
        metadata: pairs(&[("k", "v"), ("watermark", "2025-12-12 é")]),
        ..when(Condition::Absent)
    };
    let written = s.put(path, &body("{}"), &options).await.unwrap();
    let seen = s.stat(path).await.unwrap().unwrap();
    assert_eq!(seen, written);
    assert_eq!((seen.size, seen.path.as_str(), seen.metageneration), (2, path, 1));
    assert_eq!(seen.cache_control, options.cache_control);
    assert_eq!(seen.metadata, options.metadata);
    let object = s.get(path, None).await.unwrap();
    assert_eq!((object.info, object.bytes.as_slice()), (seen, b"{}".as_slice()));
    // Nothing of the old write shines through the next.
    let second = s.put(path, &body("[]"), &PutOptions::default()).await.unwrap();
    assert_eq!((second.cache_control, second.metadata.len()), (None, 0));
}

async fn the_content_type_is_kept(s: &Arc<dyn ObjectStore>) {
    let options = PutOptions { content_type: Some("application/json".into()), ..PutOptions::default() };
    let written = s.put("type/a", &body("{}"), &options).await.unwrap();
    assert_eq!(written.content_type, options.content_type);
    assert_eq!(s.stat("type/a").await.unwrap(), Some(written));
    let second = s.put("type/a", &body("{}"), &PutOptions::default()).await.unwrap();
    assert_eq!(second.content_type, None);
}

async fn generations_grow_also_after_delete(s: &Arc<dyn ObjectStore>) {
    let path = "generations/a";
    let mut last = 0;
    for round in 0..4 {
        let info = s.put(path, &body(&round.to_string()), &PutOptions::default()).await.unwrap();
        assert!(info.generation > last, "round {round}");
        last = info.generation;
        if round % 2 == 1 {
            s.delete(path, Condition::Any).await.unwrap();
        }
    }
}

async fn conditions_hold_or_fail(s: &Arc<dyn ObjectStore>) {
    let path = "conditions/a";
    let nowhere = Version { generation: 77, metageneration: 1 };
    let kind = |r: Result<_, crate::ports::store::StoreError>| r.map(|_| ()).map_err(|e| e.kind);
    let failed = Err(StoreErrorKind::PreconditionFailed);
    assert_eq!(kind(s.put(path, &body("0"), &when(Condition::Match(nowhere))).await), failed);
    let first = s.put(path, &body("1"), &when(Condition::Absent)).await.unwrap();
    assert_eq!(kind(s.put(path, &body("2"), &when(Condition::Absent)).await), failed);
    let second = s.put(path, &body("2"), &when(Condition::Match(first.version()))).await.unwrap();
    assert_eq!(kind(s.put(path, &body("3"), &when(Condition::Match(first.version()))).await), failed);
    assert_eq!(s.delete(path, Condition::Absent).await.map_err(|e| e.kind), failed);
    assert_eq!(text_of(s, path).await, "2");
    s.delete(path, Condition::Match(second.version())).await.unwrap();
    assert_eq!(kind(s.put(path, &body("3"), &when(Condition::Match(second.version()))).await), failed);
    s.put(path, &body("4"), &when(Condition::Absent)).await.unwrap();
}

async fn delete_defeats_who_saw_the_old_version(s: &Arc<dyn ObjectStore>) {
    let path = "conditions/b";
    let first = s.put(path, &body("1"), &PutOptions::default()).await.unwrap();
    let second = s.put(path, &body("2"), &PutOptions::default()).await.unwrap();
    let late = s.delete(path, Condition::Match(first.version())).await.unwrap_err();
    assert_eq!(late.kind, StoreErrorKind::PreconditionFailed);
    assert_eq!(text_of(s, path).await, "2");
    s.delete(path, Condition::Match(second.version())).await.unwrap();
}

async fn a_failed_condition_changes_nothing(s: &Arc<dyn ObjectStore>) {
    let path = "unchanged/a";
    let before = s.put(path, &body("good"), &PutOptions::default()).await.unwrap();
    let error = s.put(path, &body("bad"), &when(Condition::Absent)).await.unwrap_err();
    assert!(error.to_string().contains("unchanged/a"), "{error}");
    assert_eq!(s.stat(path).await.unwrap(), Some(before));
    assert_eq!(text_of(s, path).await, "good");
    assert_eq!(s.versions(path).await.unwrap().len(), 1);
}

async fn old_generations_stay_readable(s: &Arc<dyn ObjectStore>) {
    let path = "versions/a";
    let mut written = Vec::new();
    for text in ["one", "two", "three"] {
        let options = PutOptions { metadata: pairs(&[("text", text)]), ..PutOptions::default() };
        written.insert(0, s.put(path, &body(text), &options).await.unwrap());
    }
    assert_eq!(s.versions(path).await.unwrap(), written);
    for info in &written {
        let object = s.get(path, Some(info.generation)).await.unwrap();
        assert_eq!(&object.info, info);
        assert_eq!(object.bytes, info.metadata["text"].as_bytes());
    }
    let error = s.get(path, Some(written[0].generation + 1)).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NotFound);
}

async fn touch_changes_metadata_alone(s: &Arc<dyn ObjectStore>) {
    let path = "touch/a";
    let options = PutOptions {
        content_type: Some("text/plain".into()),
        cache_control: Some("no-store".into()),
        metadata: pairs(&[("w", "1"), ("gone", "x")]),
        ..PutOptions::default()
    };
    let first = s.put(path, &body("same"), &options).await.unwrap();
    let touched = s.touch(path, first.version(), &pairs(&[("w", "2")])).await.unwrap();
    assert_eq!(touched.generation, first.generation);
    assert!(touched.metageneration > first.metageneration);
    assert_eq!(touched.metadata, pairs(&[("w", "2")]));
    assert_eq!((&touched.content_type, &touched.cache_control), (&first.content_type, &first.cache_control));
    assert_eq!((touched.size, &touched.sha256), (first.size, &first.sha256));
    assert_eq!(s.stat(path).await.unwrap(), Some(touched.clone()));
    assert_eq!(s.versions(path).await.unwrap(), vec![touched]);
    assert_eq!(text_of(s, path).await, "same");
}

async fn touch_defeats_writers_who_saw_the_old_metadata(s: &Arc<dyn ObjectStore>) {
    let path = "touch/b";
    let first = s.put(path, &body("same"), &PutOptions::default()).await.unwrap();
    s.touch(path, first.version(), &pairs(&[("w", "2")])).await.unwrap();
    let late = s.put(path, &body("late"), &when(Condition::Match(first.version()))).await.unwrap_err();
    assert_eq!(late.kind, StoreErrorKind::PreconditionFailed);
    let late = s.touch(path, first.version(), &pairs(&[("w", "1")])).await.unwrap_err();
    assert_eq!(late.kind, StoreErrorKind::PreconditionFailed);
    let late = s.delete(path, Condition::Match(first.version())).await.unwrap_err();
    assert_eq!(late.kind, StoreErrorKind::PreconditionFailed);
    let gone = s.touch("touch/none", first.version(), &BTreeMap::new()).await.unwrap_err();
    assert_eq!(gone.kind, StoreErrorKind::PreconditionFailed);
}

async fn list_is_sorted_and_by_prefix(s: &Arc<dyn ObjectStore>) {
    for path in ["list/b", "list/a/2", "list/a/10", "list/a-b", "list/ab/x", "lis"] {
        s.put(path, &body(path), &PutOptions::default()).await.unwrap();
    }
    s.put("list/dead", &body("x"), &PutOptions::default()).await.unwrap();
    s.delete("list/dead", Condition::Any).await.unwrap();
    let paths = |infos: Vec<crate::ports::store::ObjectInfo>| infos.into_iter().map(|i| i.path).collect::<Vec<_>>();
    let all = ["list/a-b", "list/a/10", "list/a/2", "list/ab/x", "list/b"];
    assert_eq!(paths(s.list("list/").await.unwrap()), all);
    assert_eq!(paths(s.list("list/a").await.unwrap()), all[..4]);
    assert_eq!(paths(s.list("list/a/").await.unwrap()), all[1..3]);
    assert_eq!(paths(s.list("list/a/1").await.unwrap()), all[1..2]);
    assert!(s.list("list/none/").await.unwrap().is_empty());
    let everything = paths(s.list("").await.unwrap());
    assert!(everything.is_sorted() && everything.contains(&"lis".to_owned()));
    let one = s.list("list/b").await.unwrap();
    assert_eq!(one, vec![s.stat("list/b").await.unwrap().unwrap()]);
}

async fn delete_keeps_the_content(s: &Arc<dyn ObjectStore>) {
    let path = "delete/a";
    let info = s.put(path, &body("kept"), &PutOptions::default()).await.unwrap();
    s.delete(path, Condition::Match(info.version())).await.unwrap();
    assert_eq!(s.stat(path).await.unwrap(), None);
    assert_eq!(s.get(path, None).await.unwrap_err().kind, StoreErrorKind::NotFound);
    assert_eq!(s.get(path, Some(info.generation)).await.unwrap().bytes, b"kept");
    assert_eq!(s.versions(path).await.unwrap(), vec![info]);
    assert_eq!(s.delete(path, Condition::Any).await.unwrap_err().kind, StoreErrorKind::NotFound);
}

async fn forget_leaves_nothing(s: &Arc<dyn ObjectStore>) {
    let path = "forget/deep/a";
    for text in ["one", "two"] {
        s.put(path, &body(text), &PutOptions::default()).await.unwrap();
    }
    s.put("forget/deep/b", &body("other"), &PutOptions::default()).await.unwrap();
    s.forget(path).await.unwrap();
    s.forget(path).await.unwrap();
    assert_eq!(s.stat(path).await.unwrap(), None);
    assert!(s.versions(path).await.unwrap().is_empty());
    assert_eq!(text_of(s, "forget/deep/b").await, "other");
    s.put(path, &body("again"), &when(Condition::Absent)).await.unwrap();
    assert_eq!(text_of(s, path).await, "again");
}

async fn missing_objects_are_not_found(s: &Arc<dyn ObjectStore>) {
    assert_eq!(s.stat("missing/a/b").await.unwrap(), None);
    assert_eq!(s.get("missing/a/b", None).await.unwrap_err().kind, StoreErrorKind::NotFound);
    assert_eq!(s.get("missing/a/b", Some(3)).await.unwrap_err().kind, StoreErrorKind::NotFound);
    assert_eq!(s.delete("missing/a/b", Condition::Any).await.unwrap_err().kind, StoreErrorKind::NotFound);
    assert!(s.versions("missing/a/b").await.unwrap().is_empty());
}

async fn a_body_can_be_put_twice(s: &Arc<dyn ObjectStore>) {
    let (spooled, mut file) = SpoolFile::create(&s.spool_dir().unwrap()).unwrap();
    file.write_all(b"large").unwrap();
    drop(file);
    let spool_path = spooled.path().to_owned();
    let spooled = Body::File(Arc::new(spooled));
    for path in ["spool/dated.json", "spool/latest.json", "spool/latest.json"] {
        let info = s.put(path, &spooled, &PutOptions::default()).await.unwrap();
        assert_eq!(info.size, 5);
        assert_eq!(text_of(s, path).await, "large");
    }
    s.put("spool/latest.json", &body("next"), &PutOptions::default()).await.unwrap();
    assert_eq!(text_of(s, "spool/dated.json").await, "large");
    drop(spooled);
    assert!(!spool_path.exists());
    assert_eq!(text_of(s, "spool/dated.json").await, "large");
}

async fn the_hash_is_known_or_computed(s: &Arc<dyn ObjectStore>) {
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let computed = s.put("hash/a", &body("abc"), &PutOptions::default()).await.unwrap();
    assert_eq!(computed.sha256.as_deref(), Some(ABC));
    let options = PutOptions { sha256: Some(ABC.into()), ..PutOptions::default() };
    assert_eq!(s.put("hash/a", &body("abc"), &options).await.unwrap().sha256.as_deref(), Some(ABC));
}

async fn empty_and_binary_content(s: &Arc<dyn ObjectStore>) {
    let all: Vec<u8> = (0..=255).collect();
    for bytes in [Vec::new(), all] {
        let info = s.put("bytes/a", &Body::from(bytes.clone()), &PutOptions::default()).await.unwrap();
        assert_eq!(info.size, bytes.len() as u64);
        assert_eq!(s.get("bytes/a", None).await.unwrap().bytes, bytes);
    }
}

async fn compressed_content_reads_plain(s: &Arc<dyn ObjectStore>) {
    let text = "{\"name\":\"the same again\"}".repeat(200);
    let options = PutOptions { gzip: true, content_type: Some("application/json".into()), ..PutOptions::default() };
    let first = s.put("gzip/a.json", &body(&text), &options).await.unwrap();
    assert_eq!(first.size, text.len() as u64);
    let object = s.get("gzip/a.json", None).await.unwrap();
    assert_eq!((&object.info, object.bytes.as_slice()), (&first, text.as_bytes()));
    assert_eq!(first.sha256, Some(crate::adapters::hex_sha256(text.as_bytes())));
    assert_eq!(s.list("gzip/").await.unwrap(), vec![first.clone()]);
    let touched = s.touch("gzip/a.json", first.version(), &pairs(&[("w", "2")])).await.unwrap();
    assert_eq!((touched.size, &touched.sha256), (first.size, &first.sha256));
    // The next write is not compressed because the last one was.
    let plain = s.put("gzip/a.json", &body("{}"), &PutOptions::default()).await.unwrap();
    assert_eq!((plain.size, text_of(s, "gzip/a.json").await.as_str()), (2, "{}"));
    assert_eq!(s.get("gzip/a.json", Some(first.generation)).await.unwrap().bytes, text.as_bytes());
}

async fn large_content_comes_back(s: &Arc<dyn ObjectStore>) {
    let content: Vec<u8> = (0..20_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (spooled, mut file) = SpoolFile::create(&s.spool_dir().unwrap()).unwrap();
    file.write_all(&content).unwrap();
    drop(file);
    let spooled = Body::File(Arc::new(spooled));
    let options = PutOptions { sha256: Some(crate::adapters::hex_sha256(&content)), ..when(Condition::Absent) };
    for (path, body) in [("large/file", spooled), ("large/bytes", Body::from(content.clone()))] {
        let written = s.put(path, &body, &options).await.unwrap();
        assert_eq!((written.size, &written.sha256), (content.len() as u64, &options.sha256));
        assert!(s.get(path, None).await.unwrap().bytes == content);
        let error = s.put(path, &body, &options).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::PreconditionFailed);
    }
}

async fn one_of_many_writers_wins(store: &Arc<dyn ObjectStore>) {
    for round in 0..8 {
        let condition = match store.stat("race/a").await.unwrap() {
            None => Condition::Absent,
            Some(info) => Condition::Match(info.version()),
        };
        let mut writers = tokio::task::JoinSet::new();
        for n in 0..8 {
            let store = store.clone();
            writers.spawn(async move { store.put("race/a", &body(&format!("{round} {n}")), &when(condition)).await });
        }
        let results = writers.join_all().await;
        assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1, "round {round}");
        let lost = |r: &Result<_, crate::ports::store::StoreError>| {
            r.as_ref().err().is_none_or(|e| e.kind == StoreErrorKind::PreconditionFailed)
        };
        assert!(results.iter().all(lost), "round {round}: {results:?}");
    }
}

async fn every_increment_counts(store: &Arc<dyn ObjectStore>) {
    store.put("counter/a", &body("0"), &PutOptions::default()).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = store.clone();
        writers.spawn(async move {
            for _ in 0..25 {
                loop {
                    let object = store.get("counter/a", None).await.unwrap();
                    let next = String::from_utf8(object.bytes).unwrap().parse::<u32>().unwrap() + 1;
                    let condition = Condition::Match(object.info.version());
                    match store.put("counter/a", &body(&next.to_string()), &when(condition)).await {
                        Ok(_) => break,
                        Err(e) => assert_eq!(e.kind, StoreErrorKind::PreconditionFailed),
                    }
                }
            }
        });
    }
    writers.join_all().await;
    assert_eq!(text_of(store, "counter/a").await, "100");
}

async fn readers_never_see_a_part(store: &Arc<dyn ObjectStore>) {
    let content = |n: u8| Body::from(vec![b'a' + n % 26; 20_000 + usize::from(n) * 100]);
    store.put("torn/a", &content(0), &PutOptions::default()).await.unwrap();
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..60 {
                let options = PutOptions { metadata: pairs(&[("n", &n.to_string())]), ..PutOptions::default() };
                store.put("torn/a", &content(n), &options).await.unwrap();
                tokio::task::yield_now().await;
            }
        })
    };
    while !writer.is_finished() {
        let object = store.get("torn/a", None).await.unwrap();
        assert_eq!(object.bytes.len() as u64, object.info.size);
        assert!(object.bytes.iter().all(|b| *b == object.bytes[0]));
        if let Some(n) = object.info.metadata.get("n") {
            assert_eq!(object.bytes[0], b'a' + n.parse::<u8>().unwrap() % 26, "metadata of another content");
        }
        let seen = store.stat("torn/a").await.unwrap().unwrap();
        assert!(seen.generation >= object.info.generation);
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}
