//! The disk cache (`DISK_CACHE`) of blocks of remote masters, answers and derived levels, which survives a restart.
//!
//! Values are stored under 128-bit names, long ones in several pieces. Every piece has a checksum, which detects incomplete
//! writes after a crash. The first disk error disables the cache.

use crate::metrics;
use crate::store::runtime::runtime;
use crate::store::runtime::wait;
use crate::store::settings::StoreSettings;
use bytes::Bytes;
use foyer::BlockEngineBuilder;
use foyer::DeviceBuilder;
use foyer::FsDeviceBuilder;
use foyer::HybridCache;
use foyer::HybridCacheBuilder;
use foyer::HybridCachePolicy;
use foyer::RecoverMode;
use rustix::fs::FlockOperation;
use std::fmt::Display;
use std::fs;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::task::JoinSet;

/// The file that marks a directory as a cache; the server that uses it holds a lock on it.
const MARK: &str = "iipsrv-cache";

/// Unit of writing and eviction in bytes.
const SEGMENT: usize = 16 << 20;

/// Memory for values that wait to be written, in bytes.
const MEMORY: usize = 16 << 20;

/// Minimum size of a cache in bytes.
const MIN_BYTES: u64 = 8 * SEGMENT as u64;

/// Bytes of a piece.
const PIECE: usize = 1 << 20;

/// Maximum number of pieces written concurrently.
const MAX_WRITES: usize = 8;

/// Bytes that must be free while the cache is still growing: the amount that may be written between two checks.
const MIN_FREE: u64 = 4 * SEGMENT as u64;

/// Interval between checks that the disk is writable.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Time limit for the disk.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// The disk cache, if configured.
#[derive(Clone, Debug, Default)]
pub struct DiskCache(Option<Arc<Disk>>);

/// Counts a lookup.
fn counted(found: Option<Bytes>) -> Option<Bytes> {
    metrics::lookup("disk", if found.is_some() { "hit" } else { "miss" });
    found
}

impl DiskCache {
    /// Opens or creates the cache in the configured directory, if any. Error, one line: the directory contains other files, is
    /// used by another server or is not writable.
    pub fn open(settings: &StoreSettings) -> Result<DiskCache, String> {
        let Some((directory, bytes)) = &settings.disk else {
            return Ok(DiskCache(None));
        };
        let runtime = runtime().map_err(|error| error.to_string())?;
        let disk = Arc::new(runtime.block_on(Disk::open(directory, *bytes))?);
        runtime.spawn(watch(Arc::downgrade(&disk)));
        Ok(DiskCache(Some(disk)))
    }

    /// Whether a cache is configured and works.
    pub fn is_on(&self) -> bool {
        self.0.as_ref().is_some_and(|disk| !disk.faults.is_broken())
    }

    /// A block of a master, if it is cached and valid.
    pub async fn block(&self, name: u128) -> Option<Bytes> {
        let disk = self.0.clone().filter(|_| self.is_on())?;
        let task = runtime().ok()?.spawn(async move { disk.get(name).await });
        task.await.ok().flatten()
    }

    /// A value derived from a master, if it is cached and valid; counts the lookup.
    pub async fn get(&self, name: u128) -> Option<Bytes> {
        counted(self.block(name).await)
    }

    /// [`DiskCache::get`] for compute threads.
    pub fn read(&self, name: u128) -> Option<Bytes> {
        let disk = self.0.clone().filter(|_| self.is_on())?;
        let found = wait(TIME_LIMIT, async move { Ok(disk.get(name).await) });
        counted(found.ok().flatten())
    }

    /// Writes a value in the background; values larger than an eighth of the cache are ignored.
    pub fn put(&self, name: u128, value: Bytes) {
        let Some(disk) = self.0.clone().filter(|_| self.is_on()) else {
            return;
        };
        disk.written.store(true, Relaxed);
        if value.len() <= PIECE {
            disk.put(name, &value);
        } else if let (Ok(runtime), true) = (runtime(), value.len() <= disk.capacity / 8) {
            let own = disk.clone();
            let mut writing = disk.writing();
            while writing.try_join_next().is_some() {}
            writing.spawn_on(async move { own.put_long(name, &value).await }, runtime.handle());
        }
    }

    /// Completes pending writes.
    pub fn close(&self) {
        if let (Some(disk), Ok(runtime)) = (&self.0, runtime()) {
            // a failed one may never complete
            let _ = runtime.block_on(async { tokio::time::timeout(TIME_LIMIT, disk.close()).await });
        }
    }

    /// The reason why the cache was disabled; returned only once.
    pub fn unreported_failure(&self) -> Option<String> {
        self.0.as_ref()?.faults.unreported().take()
    }
}

#[derive(Debug)]
struct Disk {
    /// The directory of the blocks.
    blocks: PathBuf,
    cache: HybridCache<u128, Vec<u8>>,
    capacity: usize,
    faults: Faults,
    /// Long values that are being written.
    writing: Mutex<JoinSet<()>>,
    /// Whether anything was written since the last check.
    written: AtomicBool,
    lock: fs::File,
}

impl Disk {
    async fn open(directory: &Path, max_bytes: u64) -> Result<Disk, String> {
        let shown = directory.display();
        let lock = claim(directory).map_err(|why| format!("DISK_CACHE={shown}: {why}"))?;
        let failed = |error: &dyn Display| format!("DISK_CACHE={shown}: {error}");
        let capacity = usize::try_from(max_bytes.max(MIN_BYTES)).unwrap_or(usize::MAX);
        let blocks = directory.join("blocks");
        let device = FsDeviceBuilder::new(&blocks)
            .with_capacity(capacity)
            .build()
            .map_err(|error| failed(&error))?;
        let cache = HybridCacheBuilder::new()
            .with_name("blocks")
            .with_policy(HybridCachePolicy::WriteOnInsertion)
            .memory(MEMORY)
            .with_weighter(|_: &u128, block: &Vec<u8>| block.len() + 64)
            .storage()
            .with_engine_config(
                BlockEngineBuilder::new(device)
                    .with_block_size(SEGMENT)
                    .with_buffer_pool_size(MEMORY),
            )
            .with_recover_mode(RecoverMode::Quiet)
            .build()
            .await
            .map_err(|error| failed(&error))?;
        let disk = Disk {
            blocks,
            cache,
            capacity,
            faults: Faults::default(),
            writing: Mutex::default(),
            written: AtomicBool::new(false),
            lock,
        };
        let _ = probe(&disk).inspect_err(|error| disk.faults.note(error));
        Ok(disk)
    }

    fn writing(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn close(&self) {
        let writing = std::mem::take(&mut *self.writing());
        writing.join_all().await;
        let _ = self.cache.close().await;
    }

    /// The first piece begins with the total length.
    async fn get(&self, name: u128) -> Option<Bytes> {
        let first = self.piece(name).await?;
        let (len, start) = first.split_first_chunk()?;
        let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
        let mut value = start.to_vec();
        for number in 1.. {
            if value.len() >= len {
                break;
            }
            let piece = self.piece(name.wrapping_add(number)).await?;
            value.extend_from_slice(&piece);
        }
        (value.len() == len).then(|| value.into())
    }

    async fn piece(&self, name: u128) -> Option<Vec<u8>> {
        match self.cache.get(&name).await {
            Ok(found) => found
                .map(|entry| entry.value().clone())
                .filter(|piece| !piece.is_empty()),
            Err(error) => {
                self.faults.note(&error);
                None
            }
        }
    }

    fn put(&self, name: u128, value: &[u8]) {
        let start = value.get(..PIECE).unwrap_or(value);
        let first = [&(value.len() as u64).to_le_bytes(), start].concat();
        self.cache.insert(name, first);
    }

    /// Writes the first piece last: if it exists, so do the others.
    async fn put_long(&self, name: u128, value: &[u8]) {
        for (number, piece) in (1..).zip(value.chunks(PIECE).skip(1)) {
            self.cache
                .insert(name.wrapping_add(number as u128), piece.to_vec());
            if number % MAX_WRITES == 0 {
                self.cache.storage().wait().await;
            }
            if self.faults.is_broken() {
                return;
            }
        }
        self.put(name, value);
    }
}

/// The failure of the disk.
#[derive(Debug, Default)]
struct Faults {
    broken: AtomicBool,
    unreported: Mutex<Option<String>>,
}

impl Faults {
    fn is_broken(&self) -> bool {
        self.broken.load(Relaxed)
    }

    fn unreported(&self) -> MutexGuard<'_, Option<String>> {
        self.unreported.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, error: &dyn Display) {
        if !self.broken.swap(true, Relaxed) {
            let text = error.to_string();
            *self.unreported() = Some(text.lines().next().unwrap_or_default().into());
        }
    }
}

/// Checks that the disk is writable and has enough free space.
fn probe(disk: &Disk) -> std::io::Result<()> {
    write(&disk.lock)?;
    let mut taken = 0;
    for entry in fs::read_dir(&disk.blocks)? {
        taken += entry?.metadata()?.blocks() * 512;
    }
    let missing = (disk.capacity as u64).saturating_sub(taken);
    let of = rustix::fs::statvfs(&disk.blocks)?;
    if of.f_bavail.saturating_mul(of.f_frsize) < missing.min(MIN_FREE) {
        return Err(std::io::ErrorKind::StorageFull.into());
    }
    Ok(())
}

fn write(mark: &fs::File) -> std::io::Result<()> {
    mark.write_all_at(b"a cache of iipsrv\n", 0)?;
    mark.sync_data()
}

/// Checks the disk periodically while values are written: the cache library silently drops failed writes.
async fn watch(disk: Weak<Disk>) {
    loop {
        tokio::time::sleep(CHECK_INTERVAL).await;
        let Some(disk) = disk.upgrade() else { return };
        if disk.written.swap(false, Relaxed) && !disk.faults.is_broken() {
            let looked = tokio::task::spawn_blocking(move || {
                let _ = probe(&disk).inspect_err(|error| disk.faults.note(error));
            });
            let _ = looked.await;
        }
    }
}

/// Marks the directory as a cache, or checks its mark, and locks it.
fn claim(directory: &Path) -> Result<fs::File, String> {
    let text = |error: std::io::Error| error.to_string();
    fs::create_dir_all(directory).map_err(text)?;
    let mark = directory.join(MARK);
    if !mark.exists() && fs::read_dir(directory).map_err(text)?.next().is_some() {
        return Err("holds something else: it must be empty, or a cache of this server".into());
    }
    let lock = fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(mark)
        .map_err(text)?;
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| "is used by another server".to_string())?;
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("iipsrv-disk-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    fn open(folder: &Path) -> Result<DiskCache, String> {
        DiskCache::open(&StoreSettings {
            ttl: TIME_LIMIT,
            timeout: TIME_LIMIT,
            connections: 1,
            cache_bytes: 1 << 20,
            disk: Some((folder.into(), MIN_BYTES)),
        })
    }

    #[test]
    fn blocks_survive_a_restart_and_damaged_ones_are_missing() {
        let folder = folder("restart");
        let block = |key: u128| vec![key as u8; 60_000];
        let disk = open(&folder).unwrap();
        (0..100).for_each(|key| disk.put(key, block(key).into()));
        disk.close();
        drop(disk);
        let disk = open(&folder).unwrap();
        let found = |disk: &DiskCache| {
            let found = (0..100).filter_map(|key| Some((key, disk.read(key)?)));
            let found: Vec<_> = found.collect();
            assert!(found.iter().all(|(key, bytes)| **bytes == block(*key)));
            found.len()
        };
        assert!(found(&disk) > 90, "{} are there", found(&disk));
        disk.close();
        drop(disk);
        // flips a bit in every 50,000 bytes
        let mut files = vec![folder.join("blocks")];
        while let Some(path) = files.pop() {
            if path.is_dir() {
                files.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
                continue;
            }
            let mut bytes = fs::read(&path).unwrap();
            bytes.iter_mut().step_by(50_000).for_each(|byte| *byte ^= 4);
            fs::write(path, bytes).unwrap();
        }
        let disk = open(&folder).unwrap();
        assert!(found(&disk) < 100, "what is found is whole");
        drop(disk);
        let _ = fs::remove_dir_all(folder);
    }

    #[test]
    fn a_foreign_directory_and_one_in_use_are_refused() {
        let folder = folder("foreign");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("thesis.txt"), "mine").unwrap();
        let why = open(&folder).unwrap_err();
        assert!(why.contains("holds something else"), "{why}");
        fs::remove_file(folder.join("thesis.txt")).unwrap();
        let disk = open(&folder).unwrap();
        let why = open(&folder).unwrap_err();
        assert!(why.contains("used by another"), "{why}");
        drop(disk);
        let _ = fs::remove_dir_all(folder);
    }

    #[test]
    fn a_disk_that_fails_is_logged_once() {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let error = write(&full).unwrap_err();
        let faults = Faults::default();
        assert!(!faults.is_broken());
        faults.note(&error);
        faults.note(&"and again");
        assert!(faults.is_broken());
        let message = faults.unreported().take().unwrap();
        assert!(message.contains("No space left on device"), "{message}");
        assert!(faults.unreported().take().is_none());
    }

    #[test]
    fn long_values_are_returned_complete_or_not_at_all() {
        let folder = folder("long");
        let value: Vec<u8> = (0..5 * PIECE + 17).map(|at| (at * 7 / 5) as u8).collect();
        let disk = open(&folder).unwrap();
        disk.put(1 << 64, value.clone().into());
        disk.put(2 << 64, vec![0; PIECE].into());
        disk.put(3 << 64, vec![0; usize::try_from(MIN_BYTES / 4).unwrap()].into());
        disk.close();
        drop(disk);
        let disk = open(&folder).unwrap();
        assert!(disk.read(1 << 64).unwrap() == value);
        assert_eq!(disk.read(2 << 64).unwrap().len(), PIECE);
        assert!(
            disk.read(3 << 64).is_none(),
            "it would push out most of the others"
        );
        assert!(disk.read(1).is_none() && disk.unreported_failure().is_none());
        drop(disk);
        let _ = fs::remove_dir_all(folder);
    }
}
