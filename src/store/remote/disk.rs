//! A disk cache for blocks of remote masters (feature `disk-cache`), which survives a restart.
//!
//! Every block has a checksum; blocks that a crash left half written are dropped.

use bytes::Bytes;
use foyer::BlockEngineBuilder;
use foyer::DeviceBuilder;
use foyer::FsDeviceBuilder;
use foyer::HybridCache;
use foyer::HybridCacheBuilder;
use foyer::HybridCachePolicy;
use foyer::RecoverMode;
use rustix::fs::FlockOperation;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

/// The file by which a directory is known to be a cache; it is locked by the server that uses it.
const MARK: &str = "iipsrv-cache";

/// Bytes that are written and forgotten together.
const SEGMENT: usize = 16 << 20;

/// Memory for blocks on their way to the disk.
const MEMORY: usize = 16 << 20;

/// Least size of a cache, in bytes.
pub const LEAST: u64 = 8 * SEGMENT as u64;

/// A cache in a directory of its own.
#[derive(Debug)]
pub struct Disk {
    cache: HybridCache<u128, Vec<u8>>,
    /// It failed, and is left alone from then on.
    broken: AtomicBool,
    _lock: fs::File,
}

impl Disk {
    /// Opens or makes the cache in this directory. An error in one line when the directory holds anything else, is used
    /// by another server or cannot be written.
    pub async fn open(directory: &Path, max_bytes: u64) -> Result<Disk, String> {
        let shown = directory.display();
        let lock = claim(directory).map_err(|why| format!("DISK_CACHE={shown}: {why}"))?;
        let failed = |error: &dyn std::fmt::Display| format!("DISK_CACHE={shown}: {error}");
        let capacity = usize::try_from(max_bytes.max(LEAST)).unwrap_or(usize::MAX);
        let device = FsDeviceBuilder::new(directory.join("blocks"))
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
        Ok(Disk {
            cache,
            broken: AtomicBool::new(false),
            _lock: lock,
        })
    }

    /// The block, if it is there and whole.
    pub async fn get(&self, key: u128) -> Option<Bytes> {
        if self.broken.load(Relaxed) {
            return None;
        }
        match self.cache.get(&key).await {
            Ok(found) => found.map(|entry| Bytes::copy_from_slice(entry.value())),
            Err(_) => {
                self.broken.store(true, Relaxed);
                None
            }
        }
    }

    /// Writes a block, in the background.
    pub fn put(&self, key: u128, block: &[u8]) {
        if !self.broken.load(Relaxed) {
            self.cache.insert(key, block.to_vec());
        }
    }

    /// Writes what is on its way.
    pub async fn close(&self) {
        let _ = self.cache.close().await;
    }
}

/// Makes the directory a cache, or finds that it is one, and locks it.
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

    fn run<T>(future: impl Future<Output = T>) -> T {
        crate::store::remote::runtime().unwrap().block_on(future)
    }

    #[test]
    fn blocks_survive_a_restart_and_damage_is_no_block() {
        let folder = folder("restart");
        let block = |key: u128| vec![key as u8; 60_000];
        let disk = run(Disk::open(&folder, LEAST)).unwrap();
        (0..100).for_each(|key| disk.put(key, &block(key)));
        run(disk.close());
        drop(disk);
        let disk = run(Disk::open(&folder, LEAST)).unwrap();
        let found = |disk: &Disk| {
            let found = (0..100).filter_map(|key| Some((key, run(disk.get(key))?)));
            let found: Vec<_> = found.collect();
            assert!(found.iter().all(|(key, bytes)| **bytes == block(*key)));
            found.len()
        };
        assert!(found(&disk) > 90, "{} are there", found(&disk));
        run(disk.close());
        drop(disk);
        // a bit of every 50 000 bytes turns
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
        let disk = run(Disk::open(&folder, LEAST)).unwrap();
        assert!(found(&disk) < 100, "what is found is whole");
        drop(disk);
        let _ = fs::remove_dir_all(folder);
    }

    #[test]
    fn a_foreign_directory_and_one_in_use_are_refused() {
        let folder = folder("foreign");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("thesis.txt"), "mine").unwrap();
        let why = run(Disk::open(&folder, LEAST)).unwrap_err();
        assert!(why.contains("holds something else"), "{why}");
        fs::remove_file(folder.join("thesis.txt")).unwrap();
        let disk = run(Disk::open(&folder, LEAST)).unwrap();
        let why = run(Disk::open(&folder, LEAST)).unwrap_err();
        assert!(why.contains("used by another"), "{why}");
        drop(disk);
        let _ = fs::remove_dir_all(folder);
    }
}
