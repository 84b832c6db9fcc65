//! Access to masters. A [`Blob`] is the bytes of one version of a master, readable at any position by any thread.
//!
//! All reads of masters go through this trait; no file is memory-mapped.

mod beneath;
#[cfg(feature = "disk-cache")]
mod disk;
#[cfg(not(feature = "disk-cache"))]
#[path = "no_disk.rs"]
mod disk;
mod file;
#[cfg(feature = "remote")]
pub mod remote;
#[cfg(feature = "remote")]
mod runtime;
pub mod settings;
pub mod stores;

use crate::error::Error;
use crate::error::Result;
pub use crate::store::disk::DiskCache;
pub use crate::store::file::File;
use crate::uninit;
use crate::uninit::UninitBuf;
use std::fmt::Debug;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// Identifies the state of a master. Versions are equal only if the master has not changed between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// A local file.
    File {
        /// Modification time in ns since 1970.
        mtime_ns: i128,
        /// Time of the last change of contents or inode in ns since 1970, which cannot be set back.
        ctime_ns: i128,
        /// Length in bytes.
        len: u64,
        /// Inode number.
        inode: u64,
    },
    /// An object in a store.
    Remote {
        /// A digest of its ETag.
        tag: [u64; 2],
        /// Modification time in ns since 1970; 0 if the store does not report it.
        mtime_ns: i128,
        /// Length in bytes.
        len: u64,
    },
}

impl Version {
    /// The version of a local file.
    pub fn of(found: &std::fs::Metadata) -> Version {
        let ns = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Version::File {
            mtime_ns: ns(found.mtime(), found.mtime_nsec()),
            ctime_ns: ns(found.ctime(), found.ctime_nsec()),
            len: found.len(),
            inode: found.ino(),
        }
    }

    /// Length in bytes.
    pub fn bytes(self) -> u64 {
        match self {
            Version::File { len, .. } | Version::Remote { len, .. } => len,
        }
    }

    /// Modification time in ns since 1970.
    pub fn mtime_ns(self) -> i128 {
        match self {
            Version::File { mtime_ns, .. } | Version::Remote { mtime_ns, .. } => mtime_ns,
        }
    }
}

/// The bytes of a master. Reading blocks: only for compute threads.
pub trait Blob: Debug + Send + Sync {
    /// The version of the master. All reads return bytes of this version.
    fn version(&self) -> Version;

    /// Fills `to` with the bytes from offset `at`. `Error::Corrupt` if the master is too short.
    fn read_at(&self, at: u64, to: &mut [u8]) -> Result<()>;

    /// Appends `len` bytes from offset `at` to an uninitialised buffer of sufficient capacity. `Error::Corrupt` if the master
    /// is too short.
    fn append_at(&self, at: u64, len: usize, buf: &mut UninitBuf) -> Result<()> {
        let mut step = Vec::new();
        for done in (0..len).step_by(STEP) {
            step.resize(STEP.min(len - done), 0);
            self.read_at(at.saturating_add(done as u64), &mut step)?;
            buf.put(&step);
        }
        Ok(())
    }

    /// Announces ranges that will be read soon, so that a remote store can fetch them in few requests. Local files ignore
    /// them.
    fn prefetch(&self, ranges: &mut dyn Iterator<Item = Range<u64>>) -> Result<()> {
        let _ = ranges;
        Ok(())
    }

    /// Reports without blocking whether the master is known to be of this version. Remote masters are checked in the
    /// background.
    fn state(&self) -> Freshness {
        Freshness::Current
    }

    /// Checks whether the master is still of this version. Blocks.
    fn verify(&self) -> Result<bool> {
        Ok(true)
    }
}

/// Whether a master still has the version that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Confirmed recently.
    Current,
    /// The last check is too long ago.
    Unknown,
    /// It has another version, or is gone.
    Changed,
}

/// Bytes per copy, which fit the first-level cache.
const STEP: usize = 32 << 10;

impl dyn Blob {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.version().bytes()
    }

    /// The `len` bytes from offset `at`. `Error::Corrupt`, before allocating, if the master is too short.
    pub fn take(&self, at: u64, len: u64) -> Result<Vec<u8>> {
        let fits = at.checked_add(len).is_some_and(|end| end <= self.len());
        let size = usize::try_from(len).ok().filter(|_| fits);
        let size = size.ok_or_else(|| beyond(at, len))?;
        uninit::filled(size, |buf| self.append_at(at, size, buf))
    }
}

/// Opens a local file. `Error::Missing` if it is not a regular one.
pub fn open(path: &Path) -> Result<Arc<dyn Blob>> {
    Ok(Arc::new(beneath::open(path)?))
}

/// Opens a local file below a directory. `Error::Missing` if a symbolic link leads outside, or if it is not a regular file.
pub fn open_beneath(directory: &Path, path: &Path) -> Result<Arc<dyn Blob>> {
    Ok(Arc::new(beneath::open_beneath(directory, path)?))
}

/// The error for a range beyond the end of a master.
pub fn beyond(at: u64, len: u64) -> Error {
    Error::Corrupt(format!("{len} bytes at {at} reach beyond the end of the file"))
}

/// Adapts a blob to `std::io`.
pub struct BlobReader {
    blob: Arc<dyn Blob>,
    at: u64,
}

impl BlobReader {
    /// A reader at the start of the blob.
    pub fn new(blob: Arc<dyn Blob>) -> BlobReader {
        BlobReader { blob, at: 0 }
    }
}

impl std::io::Read for BlobReader {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let left = self.blob.len().saturating_sub(self.at);
        let len = to.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let part = to.get_mut(..len).unwrap_or_default();
        match self.blob.read_at(self.at, part) {
            Ok(()) => {
                self.at += len as u64;
                Ok(len)
            }
            Err(Error::Corrupt(_)) => Ok(0),
            Err(Error::Io(error)) => Err(error),
            Err(error) => Err(std::io::Error::other(error)),
        }
    }
}

impl std::io::Seek for BlobReader {
    fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
        let at = match to {
            std::io::SeekFrom::Start(at) => Some(at),
            std::io::SeekFrom::End(by) => self.blob.len().checked_add_signed(by),
            std::io::SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::io::Seek;
    use std::io::SeekFrom;

    #[test]
    fn a_reader_stops_at_the_end_and_does_not_go_before_the_start() {
        let path = std::env::temp_dir().join(format!("iipsrv-reader-{}", std::process::id()));
        std::fs::write(&path, b"0123456789").unwrap();
        let blob = open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(blob.take(3, 4).unwrap(), b"3456");
        assert!(matches!(blob.take(3, 8), Err(Error::Corrupt(_))));
        assert!(matches!(blob.take(3, u64::MAX), Err(Error::Corrupt(_))));
        let mut reader = BlobReader::new(blob);
        let mut text = String::new();
        reader.seek(SeekFrom::End(-3)).unwrap();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "789");
        assert!(reader.seek(SeekFrom::Current(-11)).is_err());
        assert_eq!(reader.seek(SeekFrom::Start(100)).unwrap(), 100);
        assert_eq!(reader.read(&mut [0; 5]).unwrap(), 0);
    }
}
