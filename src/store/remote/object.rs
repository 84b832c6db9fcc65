//! One version of an object: the first reader that needs a block fetches it, together with adjacent ones.

use crate::error::Error;
use crate::error::Result;
use crate::fingerprint;
use crate::store::Blob;
use crate::store::Freshness;
use crate::store::Version;
use crate::store::beyond;
use crate::store::remote::RangeReply;
use crate::store::remote::Store;
use crate::store::remote::pages::BLOCK;
use crate::store::remote::pages::PageKey;
use crate::store::runtime::broken;
use crate::store::runtime::runtime;
use crate::store::runtime::wait;
use crate::uninit::UninitBuf;
use crate::work::Scope;
use crate::work::scope::current;
use bytes::Bytes;
use object_store::GetOptions;
use object_store::ObjectMeta;
use object_store::path::Path;
use std::collections::BTreeMap;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// Maximum number of blocks per request.
const RUN: u64 = 128;

/// Maximum read-ahead in blocks for sequential reading.
const READ_AHEAD: u64 = 64;

/// Gaps up to this number of blocks are fetched, too, because another request would cost more.
const GAP: u64 = 2;

/// An open object.
#[derive(Debug)]
pub struct RemoteObject {
    store: Arc<Store>,
    path: Path,
    name: Arc<str>,
    etag: Option<String>,
    modified: chrono::DateTime<chrono::Utc>,
    version: Version,
    coming: Mutex<InFlight>,
    arrived: Condvar,
    since: Instant,
    /// Time at which this version was last confirmed, in ms from `since`.
    seen: AtomicU64,
    changed: AtomicBool,
    checking: AtomicBool,
    me: Weak<RemoteObject>,
}

/// The version of an object: a 64-bit digest of its ETag or of other metadata.
fn version(meta: &ObjectMeta) -> Version {
    let half = |number: u8| {
        let time = meta
            .last_modified
            .timestamp_nanos_opt()
            .filter(|_| meta.e_tag.is_none());
        fingerprint::of(&(number, &meta.e_tag, time, meta.size))
    };
    Version::Remote {
        tag: [half(0), half(1)],
        mtime_ns: meta.last_modified.timestamp_nanos_opt().map_or(0, i128::from),
        len: meta.size,
    }
}

/// Blocks that are being fetched.
#[derive(Debug, Default)]
struct InFlight {
    blocks: HashSet<u64>,
    /// The block after the last fetched ones, and the number of consecutive sequential fetches.
    next: u64,
    streak: u32,
}

impl InFlight {
    /// Adds to the blocks to fetch, in ascending order, those in small gaps and, for sequential reading, read-ahead.
    fn extend(&mut self, free: &mut Vec<u64>, end: u64, ahead: u64, held: impl Fn(u64) -> bool) {
        let (Some(first), Some(last)) = (free.first().copied(), free.last().copied()) else {
            return;
        };
        let is_free = |number: &u64| !self.blocks.contains(number) && !held(*number);
        let gaps = free.windows(2).filter_map(|pair| match pair {
            [from, to] if *to - *from - 1 <= GAP => Some(*from + 1..*to),
            _ => None,
        });
        let gaps = gaps.filter(|gap| gap.clone().all(|number| is_free(&number)));
        let more: Vec<u64> = gaps.flatten().collect();
        free.extend(more);
        free.sort_unstable();
        self.streak = if first == self.next { self.streak + 1 } else { 0 };
        if self.streak >= 2 {
            let ahead = (1_u64 << self.streak.min(8)).min(ahead);
            let more = (last + 1..end.min(last + 1 + ahead)).filter(|number| !self.blocks.contains(number));
            free.extend(more.take_while(|number| !held(*number)));
        }
        self.next = free.last().map_or(0, |last| last + 1);
        self.blocks.extend(&*free);
    }
}

/// Removes blocks from those in flight when dropped, even after a failure.
struct InFlightGuard<'a>(&'a RemoteObject, Vec<u64>);

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        let mut coming = self.0.coming();
        self.1.iter().for_each(|number| {
            coming.blocks.remove(number);
        });
        drop(coming);
        self.0.arrived.notify_all();
    }
}

impl RemoteObject {
    /// From the answer to the request for its beginning.
    pub(super) fn new(store: Arc<Store>, path: Path, answer: RangeReply) -> Arc<RemoteObject> {
        let RangeReply { meta, bytes } = answer;
        let object = Arc::new_cyclic(|me| RemoteObject {
            name: format!("{}|{path}", store.name).into(),
            store,
            path,
            version: version(&meta),
            etag: meta.e_tag,
            modified: meta.last_modified,
            coming: Mutex::default(),
            arrived: Condvar::new(),
            since: Instant::now(),
            seen: AtomicU64::new(0),
            changed: AtomicBool::new(false),
            checking: AtomicBool::new(false),
            me: me.clone(),
        });
        object.hold(0, &bytes);
        object
    }

    fn coming(&self) -> MutexGuard<'_, InFlight> {
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn block(&self, number: u64) -> PageKey {
        PageKey {
            object: self.name.clone(),
            version: self.version,
            number,
        }
    }

    /// Caches the complete blocks of `bytes`, which begin at block `first`.
    fn hold(&self, first: u64, bytes: &Bytes) -> BTreeMap<u64, Bytes> {
        let size = usize::try_from(BLOCK).unwrap_or(usize::MAX);
        let mut blocks = BTreeMap::new();
        for (number, at) in (first..).zip((0..bytes.len()).step_by(size)) {
            let end = bytes.len().min(at + size);
            if end - at == size || number * BLOCK + (end - at) as u64 == self.version.bytes() {
                // copied, so that a block does not keep a large answer alive
                let block = Bytes::copy_from_slice(bytes.get(at..end).unwrap_or_default());
                self.store.pages.put(self.block(number), block.clone());
                blocks.insert(number, block);
            }
        }
        blocks
    }

    /// These blocks, from memory or the store.
    fn blocks(&self, numbers: &[u64]) -> Result<BTreeMap<u64, Bytes>> {
        let mut found = BTreeMap::new();
        loop {
            let mut coming = self.coming();
            for number in numbers {
                if !found.contains_key(number)
                    && let Some(block) = self.store.pages.get(&self.block(*number))
                {
                    found.insert(*number, block);
                }
            }
            let missing: Vec<u64> = numbers
                .iter()
                .copied()
                .filter(|number| !found.contains_key(number))
                .collect();
            if missing.is_empty() {
                return Ok(found);
            }
            let mut free: Vec<u64> = missing
                .iter()
                .copied()
                .filter(|number| !coming.blocks.contains(number))
                .collect();
            if free.is_empty() {
                // another reader fetches them; if that fails, or they are evicted at once, they are fetched here
                drop(self.arrived.wait(coming));
                continue;
            }
            let end = self.version.bytes().div_ceil(BLOCK);
            let ahead = READ_AHEAD.min(self.store.pages.ahead as u64);
            coming.extend(&mut free, end, ahead, |number| {
                self.store.pages.get(&self.block(number)).is_some()
            });
            drop(coming);
            let taken = InFlightGuard(self, free);
            found.append(&mut self.fetch(&taken.1)?);
        }
    }

    /// Fetches blocks, given in ascending order, by one concurrent request for each run.
    fn fetch(&self, numbers: &[u64]) -> Result<BTreeMap<u64, Bytes>> {
        let me = self.me.upgrade().ok_or(Error::Busy)?;
        let (numbers, scope) = (numbers.to_vec(), current());
        let found = wait(self.store.settings.timeout, async move {
            me.collect(&numbers, scope).await
        });
        found.inspect_err(|error| self.judge(error))
    }

    async fn collect(self: Arc<Self>, numbers: &[u64], scope: Option<Scope>) -> Result<BTreeMap<u64, Bytes>> {
        let (mut blocks, mut runs) = (BTreeMap::new(), Vec::<Range<u64>>::new());
        for number in numbers {
            if let Some(block) = self.store.pages.on_disk(&self.block(*number)).await {
                blocks.insert(*number, block);
                continue;
            }
            match runs.last_mut() {
                Some(run) if run.end == *number && run.end - run.start < RUN => run.end += 1,
                _ => runs.push(*number..number + 1),
            }
        }
        if runs.is_empty() {
            return Ok(blocks);
        }
        let fetch = |run: Range<u64>| {
            let (me, scope) = (self.clone(), scope.clone());
            tokio::spawn(async move { Ok::<_, Error>((run.start, me.run(run, scope.as_ref()).await?)) })
        };
        let tasks: Vec<_> = runs.into_iter().map(fetch).collect();
        for task in tasks {
            let piece = task.await;
            let (first, bytes) = piece.map_err(|_| broken(false, "a request to a store was given up"))??;
            blocks.append(&mut self.hold(first, &bytes));
        }
        self.seen_now();
        Ok(blocks)
    }

    async fn run(&self, blocks: Range<u64>, scope: Option<&Scope>) -> Result<Bytes> {
        let end = (blocks.end * BLOCK).min(self.version.bytes());
        let options = self.conditions(GetOptions::new().with_range(Some(blocks.start * BLOCK..end)));
        let answer = self.store.fetch(&self.path, options, scope).await?;
        // not every server supports conditions
        if version(&answer.meta) == self.version {
            Ok(answer.bytes)
        } else {
            Err(Error::Changed)
        }
    }

    /// Adds the condition that the version is unchanged: by ETag, or by time if the ETag is weak.
    fn conditions(&self, options: GetOptions) -> GetOptions {
        match &self.etag {
            Some(etag) if !etag.starts_with("W/") => options.with_if_match(Some(etag.clone())),
            _ => options.with_if_unmodified_since(Some(self.modified)),
        }
    }

    fn judge(&self, error: &Error) {
        if matches!(error, Error::Changed | Error::Missing(_)) {
            self.changed.store(true, Relaxed);
        }
    }

    fn seen_now(&self) {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.seen.fetch_max(now, Relaxed);
    }

    async fn look(&self) -> Result<bool> {
        let started = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let answer = self
            .store
            .fetch(&self.path, GetOptions::new().with_head(true), None)
            .await;
        let same = answer.map(|answer| version(&answer.meta) == self.version);
        match &same {
            Ok(true) => {
                self.seen.fetch_max(started, Relaxed);
            }
            Ok(false) => self.changed.store(true, Relaxed),
            Err(error) => self.judge(error),
        }
        same
    }

    /// The numbers of the blocks that contain these bytes.
    fn numbers(range: &Range<u64>) -> Range<u64> {
        range.start / BLOCK..range.end.div_ceil(BLOCK)
    }

    /// Passes these bytes to `take` piece by piece.
    fn read(&self, at: u64, len: u64, mut take: impl FnMut(&[u8])) -> Result<()> {
        let end = at.checked_add(len).filter(|end| *end <= self.version.bytes());
        let range = at..end.ok_or_else(|| beyond(at, len))?;
        if range.is_empty() {
            return Ok(());
        }
        let numbers: Vec<u64> = RemoteObject::numbers(&range).collect();
        // only as much at once as keeps the connections busy
        for numbers in numbers.chunks(self.store.pages.ahead) {
            for (number, block) in self.blocks(numbers)? {
                let start = number * BLOCK;
                let place = |at: u64| usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX);
                let part = place(range.start)..place(range.end.min(start + BLOCK));
                let part = block.get(part);
                take(part.ok_or_else(|| Error::Internal(format!("block {number} is incomplete")))?);
            }
        }
        Ok(())
    }
}

impl Blob for RemoteObject {
    fn version(&self) -> Version {
        self.version
    }

    fn read_at(&self, at: u64, to: &mut [u8]) -> Result<()> {
        let len = to.len() as u64;
        let mut rest = to;
        self.read(at, len, |bytes| {
            let (part, more) = std::mem::take(&mut rest).split_at_mut(bytes.len());
            part.copy_from_slice(bytes);
            rest = more;
        })
    }

    fn append_at(&self, at: u64, len: usize, buf: &mut UninitBuf) -> Result<()> {
        self.read(at, len as u64, |bytes| buf.put(bytes))
    }

    fn prefetch(&self, ranges: &mut dyn Iterator<Item = Range<u64>>) -> Result<()> {
        let end = self.version.bytes();
        let inside = ranges.filter(|range| range.start < range.end && range.end <= end);
        let mut numbers: Vec<u64> = inside
            .flat_map(|range| RemoteObject::numbers(&range))
            .take(self.store.pages.ahead)
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        self.blocks(&numbers).map(|_| ())
    }

    fn state(&self) -> Freshness {
        if self.changed.load(Relaxed) {
            return Freshness::Changed;
        }
        let ttl = self.store.settings.ttl.as_millis();
        let age = (self.since.elapsed().as_millis()).saturating_sub(u128::from(self.seen.load(Relaxed)));
        if age >= ttl {
            return Freshness::Unknown;
        }
        if age * 2 >= ttl
            && !self.checking.swap(true, Relaxed)
            && let (Ok(runtime), Some(me)) = (runtime(), self.me.upgrade())
        {
            runtime.spawn(async move {
                let _ = me.look().await;
                me.checking.store(false, Relaxed);
            });
        }
        Freshness::Current
    }

    fn verify(&self) -> Result<bool> {
        let me = self.me.upgrade().ok_or(Error::Busy)?;
        wait(self.store.settings.timeout, async move { me.look().await })
    }
}
