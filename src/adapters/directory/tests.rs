use super::*;
use crate::adapters::conformance;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

fn store() -> (tempfile::TempDir, Arc<DirectoryStore>) {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(DirectoryStore::new(dir.path().join("out")));
    (dir, store)
}

fn body(text: &str) -> Body {
    Body::from(text.as_bytes().to_vec())
}

fn any() -> PutOptions {
    PutOptions { metadata: [("w".to_owned(), "1".to_owned())].into(), ..PutOptions::default() }
}

async fn put(store: &DirectoryStore, path: &str, text: &str) -> ObjectInfo {
    store.put(path, &body(text), &any()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms() {
    let (_dir, store) = store();
    conformance::run(store).await;
}

#[tokio::test]
async fn the_public_folder_holds_documents_alone_and_they_are_readable_by_all() {
    let (dir, store) = store();
    for text in ["a", "b"] {
        put(&store, "results/latest.json", text).await;
    }
    let names = |p: &Path| -> Vec<_> { std::fs::read_dir(p).unwrap().map(|e| e.unwrap().file_name()).collect() };
    assert_eq!(names(&dir.path().join("out")), ["results"]);
    assert_eq!(names(&dir.path().join("out/results")), ["latest.json"]);
    let mode = std::fs::metadata(dir.path().join("out/results/latest.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o444, 0o444 & !umask());
}

fn umask() -> u32 {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x");
    std::fs::write(&file, "").unwrap();
    !std::fs::metadata(file).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn nothing_is_made_by_reading() {
    let (dir, store) = store();
    assert_eq!(store.stat("a/b").await.unwrap(), None);
    assert!(store.list("").await.unwrap().is_empty());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_removed_public_folder_is_absent_and_written_again() {
    let (dir, store) = store();
    let first = put(&store, "a/b.json", "one").await;
    std::fs::remove_dir_all(dir.path().join("out")).unwrap();
    assert_eq!(store.stat("a/b.json").await.unwrap(), None);
    assert!(store.list("").await.unwrap().is_empty());
    let options = PutOptions { condition: Condition::Absent, ..any() };
    let second = store.put("a/b.json", &body("one"), &options).await.unwrap();
    assert!(second.generation > first.generation);
    assert_eq!(std::fs::read(dir.path().join("out/a/b.json")).unwrap(), b"one");
    assert_eq!(store.versions("a/b.json").await.unwrap(), vec![second]);
}

#[tokio::test]
async fn a_removed_control_folder_is_made_again() {
    let (dir, store) = store();
    put(&store, "a", "one").await;
    std::fs::remove_dir_all(dir.path().join("out.store")).unwrap();
    assert!(store.stat("a").await.unwrap().unwrap().metadata.is_empty());
    let next = put(&store, "a", "two").await;
    assert_eq!(store.stat("a").await.unwrap(), Some(next));
}

#[tokio::test]
async fn a_file_changed_by_hand_is_another_generation_without_metadata() {
    let (dir, store) = store();
    let first = put(&store, "a", "one").await;
    std::fs::write(dir.path().join("out/a"), "two").unwrap();
    // The same length, and perhaps within one tick of the clock: make the time differ surely.
    let file = File::options().write(true).open(dir.path().join("out/a")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    let seen = store.stat("a").await.unwrap().unwrap();
    assert!(seen.generation > first.generation && seen.metadata.is_empty());
    assert_eq!(store.get("a", None).await.unwrap().bytes, b"two");
    let stale = PutOptions { condition: Condition::Match(first.version()), ..any() };
    assert_eq!(store.put("a", &body("x"), &stale).await.unwrap_err().kind, StoreErrorKind::PreconditionFailed);
    let fresh = PutOptions { condition: Condition::Match(seen.version()), ..any() };
    let third = store.put("a", &body("three"), &fresh).await.unwrap();
    assert!(third.generation > seen.generation);
    assert_eq!(store.get("a", Some(seen.generation)).await.unwrap().bytes, b"two");
}

#[tokio::test]
async fn a_faithful_copy_counts_as_the_original() {
    let (dir, store) = store();
    let first = put(&store, "a", "one").await;
    let path = dir.path().join("out/a");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(store.stat("a").await.unwrap(), Some(first));
}

#[tokio::test]
async fn symbolic_links_are_not_followed() {
    let (dir, store) = store();
    let outside = dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "s").unwrap();
    std::fs::create_dir(dir.path().join("out")).unwrap();
    symlink(&outside, dir.path().join("out/link")).unwrap();
    symlink(outside.join("secret"), dir.path().join("out/file")).unwrap();
    symlink(outside.join("new"), dir.path().join("out/dangling")).unwrap();
    for path in ["link/secret", "link/new", "file", "dangling"] {
        for error in [
            store.stat(path).await.unwrap_err(),
            store.get(path, None).await.unwrap_err(),
            store.put(path, &body("x"), &any()).await.unwrap_err(),
        ] {
            assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
            assert!(error.to_string().contains("symbolic link"), "{error}");
        }
    }
    assert!(store.list("").await.unwrap().is_empty());
    assert!(store.list("link/").await.is_err());
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
}

#[tokio::test]
async fn a_folder_in_the_way_is_said_so() {
    let (_dir, store) = store();
    put(&store, "a/b", "x").await;
    for (path, word) in [("a", "folder"), ("a/b/c", "a file where a folder is needed")] {
        let error = store.put(path, &body("x"), &any()).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::InvalidPath);
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[tokio::test]
async fn names_that_look_like_control_files_do_not_clash() {
    let (_dir, store) = store();
    for path in ["a", "a.d", "a.meta", "a.d.meta", "b.versions", "b", "c/1", "c.versions/1", "c.d/1", "c.meta/1"] {
        put(&store, path, path).await;
        put(&store, path, &format!("{path} again")).await;
    }
    for info in store.list("").await.unwrap() {
        assert_eq!(store.versions(&info.path).await.unwrap().len(), 2, "{}", info.path);
        assert_eq!(store.get(&info.path, Some(1)).await.unwrap().bytes, info.path.as_bytes());
    }
}

#[tokio::test]
async fn only_so_many_versions_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = DirectoryStore::new(dir.path().join("out")).keep_versions(3);
    for n in 1..=10 {
        put(&store, "a", &n.to_string()).await;
    }
    let kept: Vec<u64> = store.versions("a").await.unwrap().iter().map(|i| i.generation).collect();
    assert_eq!(kept, [10, 9, 8, 7]);
    assert_eq!(std::fs::read_dir(dir.path().join("out.store/objects/a.versions")).unwrap().count(), 3);
    assert_eq!(store.get("a", Some(7)).await.unwrap().bytes, b"7");
}

#[tokio::test]
async fn a_spooled_file_is_moved_not_copied() {
    let (dir, store) = store();
    let (spool, mut file) = crate::ports::store::SpoolFile::create(&store.spool_dir().unwrap()).unwrap();
    file.write_all(b"large").unwrap();
    let inode = file.metadata().unwrap().ino();
    let spooled = Body::File(Arc::new(spool));
    store.put("a", &spooled, &any()).await.unwrap();
    store.put("b", &spooled, &any()).await.unwrap();
    for name in ["out/a", "out/b"] {
        assert_eq!(std::fs::metadata(dir.path().join(name)).unwrap().ino(), inode);
    }
    // The same file into the same place again: a rename that does nothing must not leave its other name behind.
    store.put("a", &spooled, &any()).await.unwrap();
    let session = store.spool_dir().unwrap();
    drop(spooled);
    assert_eq!(std::fs::read_dir(session).unwrap().count(), 1, "only the lock");
}

#[tokio::test]
async fn leftovers_of_dead_processes_go_and_those_of_living_ones_stay() {
    let (dir, store) = store();
    let living = store.spool_dir().unwrap();
    let dead = dir.path().join("out.store/staging/99999-0");
    std::fs::create_dir_all(&dead).unwrap();
    std::fs::write(dead.join("lock"), "").unwrap();
    std::fs::write(dead.join("0"), "half a docu").unwrap();
    let other = DirectoryStore::new(dir.path().join("out"));
    put(&other, "a", "x").await;
    assert!(living.exists() && !dead.exists());
    drop(other);
    put(&store, "b", "y").await;
}

#[tokio::test]
async fn a_write_cut_off_before_the_rename_leaves_the_old_object() {
    let (dir, store) = store();
    let first = put(&store, "a", "one").await;
    let record_file = dir.path().join("out.store/objects/a.meta");
    let before = std::fs::read(&record_file).unwrap();
    let second = put(&store, "a", "two").await;
    let after = std::fs::read(&record_file).unwrap();
    // The record of the second write, the content of the first.
    std::fs::rename(dir.path().join("out.store/objects/a.versions/1"), dir.path().join("out/a")).unwrap();
    assert_eq!(store.stat("a").await.unwrap(), Some(first.clone()));
    assert_eq!(store.get("a", None).await.unwrap().bytes, b"one");
    assert_eq!(store.versions("a").await.unwrap(), vec![first.clone()]);
    assert_eq!(store.get("a", Some(second.generation)).await.unwrap_err().kind, StoreErrorKind::NotFound);
    let third = put(&store, "a", "three").await;
    assert!(third.generation > second.generation);
    assert_eq!(store.get("a", Some(first.generation)).await.unwrap().bytes, b"one");
    assert_ne!(before, after);
}

#[tokio::test]
async fn a_broken_record_is_an_error_with_a_way_out() {
    let (dir, store) = store();
    put(&store, "a", "one").await;
    let record = dir.path().join("out.store/objects/a.meta");
    for broken in ["", "{", r#"{"record_version":2,"last_generation":1,"entries":[]}"#] {
        std::fs::write(&record, broken).unwrap();
        let error = store.stat("a").await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Corrupt);
        assert!(error.to_string().contains("remove that file"), "{error}");
    }
}

#[tokio::test]
async fn changed_content_with_the_old_time_is_corrupt_when_read() {
    let (dir, store) = store();
    put(&store, "a", "one").await;
    let path = dir.path().join("out/a");
    let time = std::fs::metadata(&path).unwrap().modified().unwrap();
    std::fs::write(&path, "two").unwrap();
    File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    assert_eq!(store.get("a", None).await.unwrap_err().kind, StoreErrorKind::Corrupt);
}

#[tokio::test]
async fn a_store_that_cannot_be_written_says_so() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("out"), "a file").unwrap();
    let store = DirectoryStore::new(dir.path().join("out"));
    let error = store.put("a", &body("x"), &any()).await.unwrap_err();
    assert!(error.to_string().contains("out"), "{error}");
    std::fs::write(dir.path().join("two.store"), "a file").unwrap();
    let store = DirectoryStore::new(dir.path().join("two"));
    let error = store.put("a", &body("x"), &any()).await.unwrap_err();
    assert!(error.to_string().contains("two.store"), "{error}");
}

/// Needs the right to mount; elsewhere it does nothing.
#[tokio::test]
async fn a_full_disk_and_a_read_only_one_leave_the_object() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap();
    let mount =
        |args: &[&str]| std::process::Command::new("mount").args(args).output().is_ok_and(|o| o.status.success());
    if !mount(&["-t", "tmpfs", "-o", "size=256k", "phase6-test", at]) {
        return;
    }
    let _unmount = Unmount(at.to_owned());
    let store = DirectoryStore::new(dir.path().join("out"));
    put(&store, "a", "one").await;
    let error = store.put("a", &Body::from(vec![7; 400_000]), &any()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Full, "{error}");
    assert_eq!(store.get("a", None).await.unwrap().bytes, b"one");
    put(&store, "a", "two").await;
    drop(store);
    assert!(mount(&["-o", "remount,ro", at]));
    let store = DirectoryStore::new(dir.path().join("out"));
    let error = store.put("a", &body("three"), &any()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
    assert_eq!(store.get("a", None).await.unwrap().bytes, b"two");
}

struct Unmount(String);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").args(["-l", &self.0]).status();
    }
}
