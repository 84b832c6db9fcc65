//! The open file: positioned reads and the order of its bytes.
//!
//! Knows nothing of directories and tags. The file is never read as a whole; what is wanted again is copied out of a map
//! of it, where there can be one. Nothing is locked: any number of threads read at once.

use crate::error::Error;
use crate::error::Result;
use crate::mapped::Mapped;
use crate::room;
use crate::room::Room;
use crate::source::Version;
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

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

/// Two places in their pages are too near each other; see [`is_near`].
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
    map: OnceLock<Option<Mapped>>,
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
            map: OnceLock::new(),
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

    /// The `len` bytes from `at` on, in `kept`, whose memory is used again. `Error::Corrupt` when the file ends before.
    pub fn read<'a>(&self, at: u64, len: u64, kept: &'a mut Vec<u8>) -> Result<&'a mut [u8]> {
        room::remade(kept, self.check(at, len)?, |room| self.put(at, len, room))
    }

    /// The `len` bytes from `at` on, in memory of their own. `Error::Corrupt` when the file ends before; nothing is
    /// allocated then.
    pub fn take(&self, at: u64, len: u64) -> Result<Vec<u8>> {
        room::made(self.check(at, len)?, |room| self.put(at, len, room))
    }

    /// Fills `part` with the bytes from `at` on. `Error::Corrupt` when the file ends before.
    pub fn fill(&self, at: u64, part: &mut [u8]) -> Result<()> {
        let from = self.start.saturating_add(at);
        if part.len() >= SMALL && is_near(from, part.as_ptr()) {
            let mut step = Vec::new();
            for (at, part) in (at..).step_by(STEP).zip(part.chunks_mut(STEP)) {
                part.copy_from_slice(self.read(at, part.len() as u64, &mut step)?);
            }
            return Ok(());
        }
        let len = part.len() as u64;
        self.file
            .read_exact_at(part, from)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => beyond(at, len),
                _ => Error::Io(error),
            })
    }

    /// Adds the `len` bytes from `at` on to what is in the room, as far as it goes. `Error::Corrupt` when the file ends
    /// before.
    pub fn put(&self, at: u64, len: u64, room: &mut Room) -> Result<()> {
        let size = self.check(at, len)?.min(room.left());
        let from = self.start.saturating_add(at);
        self.get(self.map(from, size), from, size, room)
    }

    /// Gives `take` the `len` bytes from `at` on piece by piece, each in `kept`, and whether it is the last. It says how
    /// many bytes it has used, the rest of which come again with more behind them; when it has used none, it is done.
    /// What is used at once does not leave the caches of the processor. `Error::Corrupt` when the file ends before.
    pub fn pieces(
        &self,
        at: u64,
        len: u64,
        kept: &mut Vec<u8>,
        mut take: impl FnMut(&[u8], bool) -> usize,
    ) -> Result<()> {
        let mut size = self.check(at, len)?;
        let mut from = self.start.saturating_add(at);
        let map = self.map(from, size);
        // where nothing is mapped, every piece is a call of the kernel
        let step = if map.is_some() { STEP / 2 } else { STEP * 4 };
        while size > 0 {
            let piece = size.min(step);
            let bytes = room::remade(kept, piece, |room| self.get(map, from, piece, room))?;
            let used = take(bytes, piece == size).min(piece);
            if used == 0 {
                break;
            }
            size -= used;
            from += used as u64;
        }
        Ok(())
    }

    /// Copies `size` bytes from this place in the file, or reads them.
    fn get(&self, map: Option<&Mapped>, from: u64, size: usize, room: &mut Room) -> Result<()> {
        match map {
            Some(map) if map.copy(&self.file, from, size, room) => Ok(()),
            _ => self.pull(from, size, room),
        }
    }

    /// `count` numbers of single precision in the order of this machine from `at` on, and whether all of them are finite.
    /// `Error::Corrupt` when the file ends before.
    pub fn floats(&self, at: u64, count: usize) -> Result<(Vec<f32>, bool)> {
        let size = self.check(at, (count as u64).saturating_mul(4))?;
        let from = self.start.saturating_add(at);
        let mut finite = None;
        let values = room::made(count, |room| {
            let map = self.map(from, size);
            finite = map.and_then(|map| map.copy_floats(&self.file, from, size, room));
            if finite.is_some() {
                return Ok(());
            }
            self.pull(from, size, room)
        })?;
        let finite = finite.unwrap_or_else(|| all_finite(&values));
        Ok((values, finite))
    }

    /// The map, if so many bytes from this place in the file are to be copied out of it.
    fn map(&self, from: u64, size: usize) -> Option<&Mapped> {
        if size < SMALL {
            return None;
        }
        let map = self.map.get_or_init(|| Mapped::of(&self.file, self.version.len));
        map.as_ref().filter(|map| map.has(from, size))
    }

    /// Reads `size` bytes from this place in the file.
    fn pull(&self, from: u64, size: usize, room: &mut Room) -> Result<()> {
        if size >= SMALL && is_near(from, room.place()) {
            let mut step = Vec::new();
            for done in (0..size).step_by(STEP) {
                let part = room::remade(&mut step, STEP.min(size - done), |room| {
                    self.pull_straight(from + done as u64, STEP.min(size - done), room)
                })?;
                room.put(part);
            }
            return Ok(());
        }
        self.pull_straight(from, size, room)
    }

    fn pull_straight(&self, from: u64, size: usize, room: &mut Room) -> Result<()> {
        let before = room.filled();
        loop {
            let done = room.filled() - before;
            if done == size {
                return Ok(());
            }
            let pulled = room.read(|rest| {
                let rest = rest.get_mut(..size - done).unwrap_or_default();
                rustix::io::pread(&self.file, rest, from + done as u64).map(|(got, _)| got)
            });
            match pulled {
                Ok(()) if room.filled() - before == done => {
                    return Err(beyond(from.saturating_sub(self.start), size as u64));
                }
                Ok(()) | Err(Errno::INTR) => {}
                Err(error) => return Err(Error::Io(error.into())),
            }
        }
    }

    fn check(&self, at: u64, len: u64) -> Result<usize> {
        let size = usize::try_from(len).ok().filter(|_| self.holds(at, len));
        size.ok_or_else(|| beyond(at, len))
    }
}

/// Whether `to` begins less than [`NEAR`] bytes behind where the bytes from `from` on do, each counted from the start
/// of its page.
///
/// The kernel copies by one instruction, which some processors (measured: AMD EPYC, Intel Xeon) then do a byte at a
/// time: reading takes six times as long. It is no rare case: plain tiles mostly lie 8 bytes behind a page, large
/// allocations 16.
fn is_near(from: u64, to: *const u8) -> bool {
    let behind = (to.addr() as u64).wrapping_sub(from) % 4096;
    (1..NEAR as u64).contains(&behind)
}

/// Whether no number is infinite or none.
pub fn all_finite(values: &[f32]) -> bool {
    // without a branch: many at once
    values.iter().fold(true, |all, value| all & value.is_finite())
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
            near += usize::from(is_near(at as u64, part.as_ptr()));
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
