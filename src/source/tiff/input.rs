//! The open file: positioned reads and the order of its bytes.
//!
//! Knows nothing of directories and tags. The file is never mapped (a file cut short under a map kills the process)
//! and never read as a whole. Nothing is locked: any number of threads read at once.

use crate::error::Error;
use crate::error::Result;
use crate::source::Version;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The order of the bytes in a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `II`: the least significant first.
    Little,
    /// `MM`: the most significant first.
    Big,
}

impl Order {
    /// Of this machine's numbers.
    pub const fn of_machine() -> Order {
        if cfg!(target_endian = "big") {
            Order::Big
        } else {
            Order::Little
        }
    }

    /// The unsigned number in the first `width` bytes of `bytes`, 0–8 of them; missing ones are 0.
    pub fn number(self, bytes: &[u8], width: usize) -> u64 {
        let step = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        let bytes = bytes.get(..width.min(8)).unwrap_or(bytes);
        match self {
            Order::Little => bytes.iter().rev().fold(0, step),
            Order::Big => bytes.iter().fold(0, step),
        }
    }
}

/// Two places in their pages are too near each other; see [`Input::is_near`].
const NEAR: usize = 64;

/// Reading fewer bytes than this is quick in any place.
const SMALL: usize = 512;

/// Bytes that are read at once where they cannot go where they shall be.
const STEP: usize = 32 << 10;

/// An open regular file of a known length, or a part of one.
#[derive(Debug)]
pub struct Input {
    file: File,
    version: Version,
    /// Where the part begins, and how many bytes it has.
    start: u64,
    len: u64,
}

impl Input {
    /// Takes an open file. `Error::Missing` when it is not a regular one.
    pub fn new(file: File) -> Result<Input> {
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(Error::Missing("not a file".into()));
        }
        let version = Version::of(&found);
        Ok(Input {
            file,
            version,
            start: 0,
            len: version.len,
        })
    }

    /// The `len` bytes from `start` on as an input of their own; `None` when the file does not hold them.
    pub fn part(self, start: u64, len: u64) -> Option<Input> {
        let part = self.holds(start, len).then_some(self)?;
        Some(Input { start, len, ..part })
    }

    /// Which state of the file was opened.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Length in bytes when it was opened.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether `len` bytes lie in the file from `at` on.
    pub fn holds(&self, at: u64, len: u64) -> bool {
        at.checked_add(len).is_some_and(|end| end <= self.len())
    }

    /// The `len` bytes from `at` on, in a part of `scratch`, which grows as needed. `Error::Corrupt` when the file
    /// ends before; nothing is allocated then.
    pub fn read<'a>(&self, at: u64, len: u64, scratch: &'a mut Vec<u8>) -> Result<&'a mut [u8]> {
        let size = self.check(at, len)?;
        let room = size.saturating_add(NEAR);
        if scratch.len() < room {
            scratch.resize(room, 0);
        }
        let skip = if self.is_near(at, scratch.as_ptr()) {
            NEAR
        } else {
            0
        };
        let part = scratch.get_mut(skip..skip + size).unwrap_or_default();
        self.exact(at, part)?;
        Ok(part)
    }

    /// Fills `part` with the bytes from `at` on. `Error::Corrupt` when the file ends before.
    pub fn fill(&self, at: u64, part: &mut [u8]) -> Result<()> {
        if part.len() < SMALL || !self.is_near(at, part.as_ptr()) {
            return self.exact(at, part);
        }
        let mut elsewhere = Vec::new();
        for (at, part) in (at..).step_by(STEP).zip(part.chunks_mut(STEP)) {
            part.copy_from_slice(self.read(at, part.len() as u64, &mut elsewhere)?);
        }
        Ok(())
    }

    /// Whether `to` begins less than [`NEAR`] bytes behind where the bytes from `at` on do, each counted from the start
    /// of its page.
    ///
    /// The kernel copies by one instruction, which some processors (measured: AMD EPYC) then do a byte at a time:
    /// reading takes six times as long. It is no rare case: plain tiles mostly lie 8 bytes behind a page, large
    /// allocations 16.
    fn is_near(&self, at: u64, to: *const u8) -> bool {
        let from = self.start.wrapping_add(at);
        let behind = (to.addr() as u64).wrapping_sub(from) % 4096;
        (1..NEAR as u64).contains(&behind)
    }

    fn exact(&self, at: u64, part: &mut [u8]) -> Result<()> {
        let len = part.len() as u64;
        self.file
            .read_exact_at(part, self.start.saturating_add(at))
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => beyond(at, len),
                _ => Error::Io(error),
            })
    }

    /// The `len` bytes from `at` on, in memory of their own that nobody has filled before.
    pub fn take(&self, at: u64, len: u64) -> Result<Vec<u8>> {
        let size = self.check(at, len)?;
        let mut bytes = Vec::with_capacity(size);
        if size >= SMALL && self.is_near(at, bytes.as_ptr()) {
            bytes.resize(size, 0);
            self.fill(at, &mut bytes)?;
            return Ok(bytes);
        }
        let mut from = self.start.saturating_add(at);
        while bytes.len() < size {
            match rustix::io::pread(&self.file, spare_capacity(&mut bytes), from) {
                Ok(0) => return Err(beyond(at, len)),
                Ok(more) => from += more as u64,
                Err(Errno::INTR) => {}
                Err(error) => return Err(Error::Io(error.into())),
            }
        }
        bytes.truncate(size);
        Ok(bytes)
    }

    fn check(&self, at: u64, len: u64) -> Result<usize> {
        let size = usize::try_from(len).ok().filter(|_| self.holds(at, len));
        size.ok_or_else(|| beyond(at, len))
    }
}

fn beyond(at: u64, len: u64) -> Error {
    Error::Corrupt(format!("{len} bytes at {at} reach beyond the end of the file"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tiff::build::Temp;

    #[test]
    fn numbers_have_an_order_and_missing_bytes_are_zero() {
        assert_eq!(Order::Little.number(&[1, 2, 3, 4], 4), 0x0403_0201);
        assert_eq!(Order::Big.number(&[1, 2, 3, 4], 2), 0x0102);
        assert_eq!(Order::Big.number(&[0xff; 8], 8), u64::MAX);
        assert_eq!(Order::Little.number(&[], 4), 0);
    }

    #[test]
    fn reads_are_exact_or_errors() {
        let file = Temp::new(b"0123456789");
        let input = file.input();
        let mut scratch = vec![7; 100];
        assert_eq!(input.read(2, 3, &mut scratch).unwrap(), b"234");
        assert_eq!(input.take(0, 10).unwrap(), b"0123456789");
        assert_eq!(input.take(10, 0).unwrap(), b"");
        assert!(matches!(input.take(5, 6), Err(Error::Corrupt(_))));
        assert!(matches!(
            input.read(u64::MAX, 2, &mut scratch),
            Err(Error::Corrupt(_))
        ));
        assert!(matches!(input.take(0, u64::MAX), Err(Error::Corrupt(_))));
    }

    #[test]
    fn what_is_read_does_not_depend_on_where_it_goes() {
        let bytes: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        let file = Temp::new(&bytes);
        let input = file.input();
        let mut to = vec![0; bytes.len() + 4096];
        let page = 4096 - to.as_ptr().addr() % 4096;
        let (at, len) = (1000usize, 90_000);
        let mut near = 0;
        for behind in [0, 1, 8, 63, 64, 2000] {
            let place = page + (at + behind) % 4096;
            let part = &mut to[place..place + len];
            near += usize::from(input.is_near(at as u64, part.as_ptr()));
            input.fill(at as u64, part).unwrap();
            assert_eq!(part, &bytes[at..at + len], "{behind}");
        }
        assert_eq!(near, 3);
        for at in 0..70 {
            let mut scratch = Vec::new();
            assert_eq!(
                input.read(at, 5000, &mut scratch).unwrap(),
                &bytes[at as usize..][..5000]
            );
            assert_eq!(input.take(at, 5000).unwrap(), &bytes[at as usize..][..5000]);
        }
    }

    #[test]
    fn a_file_cut_short_after_opening_is_an_error() {
        let file = Temp::new(&[1; 100]);
        let input = file.input();
        File::options()
            .write(true)
            .open(file.path())
            .unwrap()
            .set_len(50)
            .unwrap();
        assert!(matches!(input.take(40, 20), Err(Error::Corrupt(_))));
        assert!(matches!(
            input.read(40, 20, &mut Vec::new()),
            Err(Error::Corrupt(_))
        ));
    }

    #[test]
    fn what_is_no_file_is_missing() {
        for path in ["/", "/dev/null"] {
            let file = File::open(path).unwrap();
            assert!(matches!(Input::new(file), Err(Error::Missing(_))), "{path}");
        }
    }
}
