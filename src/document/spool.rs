//! Where a document's bytes go while it is made: memory while it is small, a file once it is not.
//!
//! A big document is hashed and written by a second thread, so that shaping goes on meanwhile. The file is removed
//! when nobody holds it any more, also when the document was given up half-way.

use crate::model::hex::hex;
use crate::ports::store::{Body, SpoolFile};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

/// Documents up to this size stay in memory.
pub const MEMORY_LIMIT: usize = 8 << 20;

/// Bytes handed to the second thread at a time: small enough to stay in the cache while it is filled.
pub const CHUNK: usize = 64 << 10;

/// Chunks that may wait for the second thread before the first has to.
const WAITING: usize = 16;

/// Takes a document in chunks.
#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
    limit: usize,
    /// Bytes that were handed over so far.
    len: u64,
    worker: Option<Worker>,
}

/// A finished document.
#[derive(Debug, Clone)]
pub struct Spooled {
    pub content: Body,
    /// Hex.
    pub sha256: String,
    pub len: u64,
}

impl Spooled {
    /// The whole document in memory.
    pub fn read(&self) -> io::Result<Arc<Vec<u8>>> {
        self.content.read()
    }
}

impl From<Spooled> for Body {
    fn from(spooled: Spooled) -> Self {
        spooled.content
    }
}

impl Spool {
    /// A spool that makes its file, should it need one, in `dir` (best the store's `spool_dir`).
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self::with_limit(dir, MEMORY_LIMIT)
    }

    pub fn with_limit(dir: impl Into<PathBuf>, limit: usize) -> Self {
        Self { dir: dir.into(), limit, len: 0, worker: None }
    }

    /// How long a buffer may get before it is to be handed over.
    pub fn flush_at(&self) -> usize {
        if self.worker.is_some() { CHUNK } else { self.limit }
    }

    /// Bytes handed over so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes a full buffer and gives back an empty one.
    pub fn push(&mut self, buffer: Vec<u8>) -> io::Result<Vec<u8>> {
        self.len += buffer.len() as u64;
        if self.worker.is_none() {
            self.worker = Some(Worker::start(&self.dir)?);
        }
        let worker = self.worker.as_mut().expect("started above");
        if worker.send(buffer) {
            return Ok(worker.buffer());
        }
        let worker = self.worker.take().expect("started above");
        Err(worker.finish().err().unwrap_or_else(|| io::Error::other("the spooling thread ended early")))
    }

    /// Takes the last buffer and makes the document complete.
    pub fn finish(mut self, last: Vec<u8>) -> io::Result<Spooled> {
        if self.worker.is_none() {
            let (len, sha256) = (last.len() as u64, hex(&Sha256::digest(&last)));
            return Ok(Spooled { content: Body::from(last), sha256, len });
        }
        self.push(last)?;
        let worker = self.worker.take().expect("checked above");
        let (file, sha256) = worker.finish()?;
        Ok(Spooled { content: Body::File(Arc::new(file)), sha256, len: self.len })
    }
}

/// The second thread and the ways to it and back.
#[derive(Debug)]
struct Worker {
    chunks: Option<SyncSender<Vec<u8>>>,
    empty: Receiver<Vec<u8>>,
    thread: Option<JoinHandle<io::Result<(SpoolFile, String)>>>,
}

impl Worker {
    fn start(dir: &std::path::Path) -> io::Result<Self> {
        let (spool, file) = SpoolFile::create(dir)?;
        let (chunks, receive) = sync_channel(WAITING);
        let (give_back, empty) = channel();
        let thread =
            std::thread::Builder::new().name("spool".into()).spawn(move || drain(spool, file, &receive, &give_back))?;
        Ok(Self { chunks: Some(chunks), empty, thread: Some(thread) })
    }

    fn send(&mut self, buffer: Vec<u8>) -> bool {
        self.chunks.as_ref().is_some_and(|c| c.send(buffer).is_ok())
    }

    fn buffer(&self) -> Vec<u8> {
        self.empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(CHUNK + CHUNK / 16))
    }

    fn finish(mut self) -> io::Result<(SpoolFile, String)> {
        self.chunks = None;
        let thread = self.thread.take().expect("only `finish` and `drop` take it");
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the spooling thread failed")))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.chunks = None;
        if let Some(thread) = self.thread.take() {
            // The thread's result holds the file; joining removes it before anybody looks.
            drop(thread.join());
        }
    }
}

fn drain(
    spool: SpoolFile,
    mut file: File,
    chunks: &Receiver<Vec<u8>>,
    give_back: &Sender<Vec<u8>>,
) -> io::Result<(SpoolFile, String)> {
    let mut hash = Sha256::new();
    while let Ok(mut chunk) = chunks.recv() {
        hash.update(&chunk);
        file.write_all(&chunk)?;
        // The first chunk is the whole memory part: it is not kept for the rest of the document.
        if chunk.capacity() <= 2 * CHUNK {
            chunk.clear();
            let _ = give_back.send(chunk);
        }
    }
    Ok((spool, hex(&hash.finalize())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool(limit: usize, chunks: usize, dir: &std::path::Path) -> (Spooled, Vec<u8>) {
        let mut spool = Spool::with_limit(dir, limit);
        let (mut all, mut buffer) = (Vec::new(), Vec::new());
        for i in 0..chunks {
            buffer.extend((0..1000).map(|k| (i * 7 + k) as u8));
            if buffer.len() >= spool.flush_at() {
                all.extend_from_slice(&buffer);
                buffer = spool.push(buffer).unwrap();
                assert!(buffer.is_empty());
            }
        }
        all.extend_from_slice(&buffer);
        (spool.finish(buffer).unwrap(), all)
    }

    #[test]
    fn small_documents_stay_in_memory_and_big_ones_do_not() {
        let dir = tempfile::tempdir().unwrap();
        for (limit, in_memory) in [(1 << 20, true), (10_000, false)] {
            let (spooled, all) = spool(limit, 500, dir.path());
            assert_eq!(matches!(spooled.content, Body::Bytes(_)), in_memory);
            assert_eq!(*spooled.read().unwrap(), all);
            assert_eq!(spooled.len, all.len() as u64);
            assert_eq!(spooled.sha256, hex(&Sha256::digest(&all)));
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the file goes with its owner");
    }

    #[test]
    fn a_document_given_up_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::with_limit(dir.path(), 10);
        spool.push(vec![1; 100]).unwrap();
        drop(spool);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let mut spool = Spool::with_limit("/nowhere/at/all", 10);
        assert!(spool.push(vec![1; 100]).is_err());
    }

    #[test]
    fn hex_of_the_empty_text_is_the_known_one() {
        let spooled = Spool::new("/tmp").finish(Vec::new()).unwrap();
        assert_eq!(spooled.sha256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
