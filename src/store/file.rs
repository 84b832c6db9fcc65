//! Local files, read by position.

use crate::error::Error;
use crate::error::Result;
use crate::store::Blob;
use crate::store::STEP;
use crate::store::Version;
use crate::store::beyond;
use crate::uninit;
use crate::uninit::UninitBuf;
use rustix::io::Errno;
use std::io;
use std::os::unix::fs::FileExt;

/// Offsets within their pages that differ by less are slow; see [`is_near`].
const NEAR: usize = 64;

/// Reads of fewer bytes are fast at any offset.
const SMALL: usize = 512;

/// An open regular file.
#[derive(Debug)]
pub struct File {
    file: std::fs::File,
    version: Version,
}

impl File {
    /// Wraps an open file. `Error::Missing` if it is not a regular one.
    pub fn new(file: std::fs::File) -> Result<File> {
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(Error::Missing("not a file".into()));
        }
        let version = Version::of(&found);
        Ok(File { file, version })
    }

    fn append_straight(&self, at: u64, len: usize, buf: &mut UninitBuf) -> Result<()> {
        let before = buf.filled();
        loop {
            let done = buf.filled() - before;
            if done == len {
                return Ok(());
            }
            let read = buf.read(|rest| {
                let rest = rest.get_mut(..len - done).unwrap_or_default();
                rustix::io::pread(&self.file, rest, at + done as u64).map(|(got, _)| got)
            });
            match read {
                Ok(()) if buf.filled() - before == done => return Err(beyond(at, len as u64)),
                Ok(()) | Err(Errno::INTR) => {}
                Err(error) => return Err(Error::Io(error.into())),
            }
        }
    }
}

impl Blob for File {
    fn version(&self) -> Version {
        self.version
    }

    fn read_at(&self, at: u64, to: &mut [u8]) -> Result<()> {
        if to.len() >= SMALL && is_near(at, to.as_ptr()) {
            let mut step = Vec::new();
            for (at, part) in (at..).step_by(STEP).zip(to.chunks_mut(STEP)) {
                let read = |buf: &mut UninitBuf| self.append_straight(at, part.len(), buf);
                let bytes = uninit::refilled(&mut step, part.len(), read)?;
                part.copy_from_slice(bytes);
            }
            return Ok(());
        }
        let len = to.len() as u64;
        self.file
            .read_exact_at(to, at)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => beyond(at, len),
                _ => Error::Io(error),
            })
    }

    fn append_at(&self, at: u64, len: usize, buf: &mut UninitBuf) -> Result<()> {
        if len < SMALL || !is_near(at, buf.place()) {
            return self.append_straight(at, len, buf);
        }
        let mut step = Vec::new();
        for done in (0..len).step_by(STEP) {
            let size = STEP.min(len - done);
            let read = |buf: &mut UninitBuf| self.append_straight(at + done as u64, size, buf);
            buf.put(uninit::refilled(&mut step, size, read)?);
        }
        Ok(())
    }
}

/// Whether the offset of `to` within its page is less than [`NEAR`] bytes after that of `from`.
///
/// The kernel copies by a single instruction, which some processors (measured: AMD EPYC, Intel Xeon) then execute byte by
/// byte, so that reading takes six times as long. The case is common: uncompressed tiles mostly begin 8 bytes after the start
/// of a page, large allocations 16.
fn is_near(from: u64, to: *const u8) -> bool {
    let behind = (to.addr() as u64).wrapping_sub(from) % 4096;
    (1..NEAR as u64).contains(&behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, bytes: &[u8]) -> File {
        let path = std::env::temp_dir().join(format!("iipsrv-file-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        File::new(file).unwrap()
    }

    #[test]
    fn bytes_do_not_depend_on_the_alignment_of_the_buffer() {
        let bytes: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        let file = file("near", &bytes);
        let mut to = vec![0; bytes.len() + 4096];
        let page = 4096 - to.as_ptr().addr() % 4096;
        let (at, len) = (1000usize, 90_000);
        let mut near = 0;
        for behind in [0, 1, 8, 63, 64, 2000] {
            let place = page + (at + behind) % 4096;
            let part = &mut to[place..place + len];
            near += usize::from(is_near(at as u64, part.as_ptr()));
            file.read_at(at as u64, part).unwrap();
            assert_eq!(part, &bytes[at..at + len], "{behind}");
        }
        assert_eq!(near, 3);
        for at in 0..70 {
            let read: Vec<u8> = uninit::filled(5000, |buf| file.append_at(at, 5000, buf)).unwrap();
            assert_eq!(read, &bytes[at as usize..][..5000]);
        }
    }

    #[test]
    fn a_truncated_file_is_an_error() {
        let file = file("end", &[1; 100]);
        assert!(matches!(file.read_at(90, &mut [0; 11]), Err(Error::Corrupt(_))));
        let appended = uninit::filled::<u8, _>(11, |buf| file.append_at(90, 11, buf));
        assert!(matches!(appended, Err(Error::Corrupt(_))));
    }

    #[test]
    fn directories_and_devices_are_missing() {
        for path in ["/", "/dev/null"] {
            let file = std::fs::File::open(path).unwrap();
            assert!(matches!(File::new(file), Err(Error::Missing(_))), "{path}");
        }
    }
}
