//! Files in the process's memory: bytes that are wanted again and again are copied without a call of the kernel.
//!
//! Knows no format. A file may be cut short under a map, and who touches what is no longer there is killed by SIGBUS:
//! so bytes only leave a map by [`Mapped::copy`], which a handler of that signal watches over. No slice of a map is ever
//! made, since other processes write into the file as they like.
//!
//! A map never has to be used: [`Mapped::copy`] may be declined, and then the file is read. [`Mapped::has`] does so for what was not
//! wanted before, because bringing pages into a map costs more than reading them once, and when there is too much in
//! maps: pages count as memory of the process, although they are the kernel's.

use crate::room::Room;
use std::cell::Cell;
use std::ffi::c_int;
use std::ffi::c_void;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::compiler_fence;

/// Whether files are mapped at all: addresses are no scarce good, and the signal works as is written here.
const CAN: bool = cfg!(all(target_os = "linux", target_pointer_width = "64"));

/// A file is known in pieces of at least so many bytes; the kernel brings as many into a map at once.
const PIECE: usize = 64 << 10;

/// And in no more pieces than this.
const PIECES: usize = 1 << 16;

/// Bytes of pieces that are in maps at one time.
const MOST: usize = 64 << 20;

/// When it was declined to bring so many more into maps, those that are there make room: they cost no more than a
/// sixteenth of the time that this took.
const PATIENCE: usize = 16 * MOST;

/// Linux: bring pages into a map (`MADV_POPULATE_READ`, since 5.14).
const POPULATE: c_int = 22;

/// A piece that nobody has wanted.
const NEW: u8 = 0;
/// One that was wanted, and read.
const SEEN: u8 = 1;
/// One that may be in the map.
const HERE: u8 = 2;

/// What is in all maps, and what was declined.
static BYTES: AtomicUsize = AtomicUsize::new(0);
static DECLINED: AtomicUsize = AtomicUsize::new(0);
static ALL: Mutex<Vec<Weak<Map>>> = Mutex::new(Vec::new());

/// An open file of a known length.
#[derive(Debug)]
pub struct Mapped(Arc<Map>);

#[derive(Debug)]
struct Map {
    start: *const u8,
    len: usize,
    /// The file was cut, or cannot be read.
    broken: AtomicBool,
    /// Bytes of a page.
    page: usize,
    /// Bytes of a piece are 2 to this power.
    piece: u32,
    pieces: Box<[AtomicU8]>,
}

// SAFETY: the pointer is an address that is valid as long as the value lives, and what is there is only read.
#[expect(unsafe_code, reason = "a map is where it is for every thread")]
unsafe impl Send for Map {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "a map is where it is for every thread")]
unsafe impl Sync for Map {}

impl Mapped {
    /// `None` where it cannot be.
    pub fn of(file: &File, len: u64) -> Option<Mapped> {
        let len = usize::try_from(len).ok().filter(|len| CAN && *len > 0)?;
        watch()?;
        // SAFETY: asks for new addresses; the result is checked.
        #[expect(unsafe_code, reason = "mmap of the C library")]
        let start = unsafe {
            libc::mmap(
                null_mut(),
                len,
                libc::PROT_READ,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return None;
        }
        let piece = len
            .div_ceil(PIECES)
            .next_power_of_two()
            .max(PIECE)
            .trailing_zeros();
        let map = Arc::new(Map {
            start: start.cast(),
            len,
            broken: AtomicBool::new(false),
            page: page(),
            piece,
            pieces: (0..=(len - 1) >> piece).map(|_| AtomicU8::new(NEW)).collect(),
        });
        if let Ok(mut all) = ALL.lock() {
            all.retain(|map| map.strong_count() > 0);
            all.push(Arc::downgrade(&map));
        }
        Some(Mapped(map))
    }

    /// Whether the `len` bytes from `at` on are to be copied, and not read.
    pub fn has(&self, at: u64, len: usize) -> bool {
        let map = &*self.0;
        let place = usize::try_from(at).ok().and_then(|start| map.place(start, len));
        place.is_some_and(|end| map.has(end - len, end)) && !map.broken.load(SeqCst)
    }

    /// Adds the `len` bytes from `at` on. `false`, and nothing is added, when they have to be read after all from `file`,
    /// which is the one that was mapped.
    pub fn copy(&self, file: &File, at: u64, len: usize, room: &mut Room) -> bool {
        let copied = self.guarded(file, at, len, room, |from, to| {
            let mut done = 0;
            while done < len {
                // Processors see what comes next, but not beyond a page.
                let page = (AHEAD - (from.addr() + done) % AHEAD).min(len - done);
                soon(from.wrapping_add(done + page));
                // SAFETY: `guarded` gives places of `len` bytes. That bytes change meanwhile is no business of a copy.
                #[expect(unsafe_code, reason = "copies bytes of a map")]
                unsafe {
                    std::ptr::copy_nonoverlapping(from.add(done), to.add(done), page);
                }
                done += page;
            }
        });
        copied.is_some()
    }

    /// The same for floating point in the order of this machine: whether all of it is finite; `None` when it has to be
    /// read. To look at it on the way costs nothing, as the memory is slower.
    pub fn copy_floats(&self, file: &File, at: u64, len: usize, room: &mut Room) -> Option<bool> {
        // SAFETY: `guarded` gives places of `len` bytes. That bytes change meanwhile is no business of a copy.
        #[expect(unsafe_code, reason = "copies bytes of a map")]
        self.guarded(file, at, len, room, |from, to| unsafe { floats(from, to, len) })
    }

    /// Has `copy` copy from the first place to the second, both of `len` bytes.
    fn guarded<R>(
        &self,
        file: &File,
        at: u64,
        len: usize,
        room: &mut Room,
        copy: impl FnOnce(*const u8, *mut u8) -> R,
    ) -> Option<R> {
        let map = &*self.0;
        let start = usize::try_from(at).ok()?;
        let end = map.place(start, len)?;
        if len == 0 || room.left() < len || map.broken.load(SeqCst) {
            return None;
        }
        let from = map.start.wrapping_add(start);
        let mut result = None;
        let copy = |to: *mut u8, _| {
            let watched = Copying {
                start: from.addr(),
                end: from.addr() + len,
                broken: &raw const map.broken,
                page: map.page,
            };
            COPYING.with(|copying| {
                copying.set(watched);
                compiler_fence(SeqCst);
                result = Some(copy(from, to));
                compiler_fence(SeqCst);
                copying.set(NOTHING);
            });
            // Another thread may have found it broken first, and zeros been read here.
            if map.broken.load(SeqCst) {
                return Err(());
            }
            // SAFETY: it was just written.
            #[expect(unsafe_code, reason = "the last byte of a copy")]
            let last = unsafe { *to.add(len - 1) };
            // Behind the end of a file its last page is zero, without a signal.
            if last == 0 && !file.metadata().is_ok_and(|found| found.len() >= end as u64) {
                return Err(());
            }
            Ok(len)
        };
        // SAFETY: `copy` writes `len` bytes, for which there is room, as was checked.
        #[expect(unsafe_code, reason = "copies bytes of a map")]
        let done = unsafe { room.raw(copy) };
        done.is_ok().then_some(result).flatten()
    }
}

impl Map {
    /// The end of a place of so many bytes.
    fn place(&self, start: usize, len: usize) -> Option<usize> {
        start.checked_add(len).filter(|end| *end <= self.len)
    }

    /// Whether what is between these places is in the map, where it is brought if it was wanted before and there is
    /// room.
    fn has(&self, start: usize, end: usize) -> bool {
        let pieces = start >> self.piece..=end.saturating_sub(1) >> self.piece;
        let pieces = self.pieces.get(pieces).unwrap_or_default();
        let least = pieces.iter().map(|piece| piece.load(Relaxed)).min();
        match least {
            Some(HERE) => {
                soon(self.start.wrapping_add(start));
                return true;
            }
            Some(SEEN) if BYTES.load(Relaxed) < MOST => {}
            Some(SEEN) => {
                if DECLINED.fetch_add(end - start, Relaxed) >= PATIENCE {
                    make_room();
                }
                return false;
            }
            _ => {
                for piece in pieces {
                    let _ = piece.compare_exchange(NEW, SEEN, Relaxed, Relaxed);
                }
                return false;
            }
        }
        for piece in pieces {
            if piece.compare_exchange(SEEN, HERE, Relaxed, Relaxed).is_ok() {
                BYTES.fetch_add(1 << self.piece, Relaxed);
            }
        }
        let start = start - start % self.page;
        // SAFETY: the addresses are those of the map; where the kernel does not know this or the file is shorter
        // nothing happens, and the copy brings the pages.
        #[expect(unsafe_code, reason = "madvise of the C library")]
        unsafe {
            libc::madvise(
                self.start.wrapping_add(start).cast_mut().cast(),
                end - start,
                POPULATE,
            );
        }
        true
    }

    /// Forgets what is in the map; how many bytes that were.
    fn forget(&self) {
        let here = |piece: &&AtomicU8| piece.swap(NEW, Relaxed) == HERE;
        let here = self.pieces.iter().filter(here).count();
        if here > 0 {
            BYTES.fetch_sub(here << self.piece, Relaxed);
        }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        self.forget();
        // SAFETY: the addresses are those of the map, and nobody has them any more.
        #[expect(unsafe_code, reason = "munmap of the C library")]
        unsafe {
            libc::munmap(self.start.cast_mut().cast(), self.len);
        }
    }
}

/// Takes the pages out of all maps, unless another thread is about it.
fn make_room() {
    let Ok(all) = ALL.try_lock() else { return };
    DECLINED.store(0, Relaxed);
    for map in all.iter().filter_map(Weak::upgrade) {
        map.forget();
        // SAFETY: the addresses are those of the map; pages of a file come back when they are touched.
        #[expect(unsafe_code, reason = "madvise of the C library")]
        unsafe {
            libc::madvise(map.start.cast_mut().cast(), map.len, libc::MADV_DONTNEED);
        }
    }
}

/// Copies floating point in the order of this machine; whether all of it is finite.
///
/// # Safety
/// `from` is readable and `to` writable for `len` bytes.
#[expect(unsafe_code, reason = "copies bytes of a map")]
unsafe fn floats(from: *const u8, to: *mut u8, len: usize) -> bool {
    let whole = len - len % 32;
    // SAFETY: the two parts make the whole.
    unsafe { steps::<8>(from, to, whole) & steps::<1>(from.add(whole), to.add(whole), len - whole) }
}

/// The same, `N` numbers at once; what is less than that is left out.
///
/// # Safety
/// As above.
#[expect(unsafe_code, reason = "copies bytes of a map")]
#[inline(always)]
unsafe fn steps<const N: usize>(from: *const u8, to: *mut u8, len: usize) -> bool {
    let mut found = [0u32; N];
    for step in 0..len / size_of::<[u32; N]>() {
        // SAFETY: the step lies within both; numbers need not be where numbers are.
        let step = unsafe {
            let numbers = from.cast::<[u32; N]>().add(step).read_unaligned();
            to.cast::<[u32; N]>().add(step).write_unaligned(numbers);
            numbers
        };
        for (found, bits) in found.iter_mut().zip(step) {
            // an exponent of all ones carries into the sign
            *found |= (bits & 0x7fff_ffff) + 0x0080_0000;
        }
    }
    found.iter().all(|found| found >> 31 == 0)
}

/// Bytes of the smallest pages that there are.
const AHEAD: usize = 4096;

/// The bytes from here on will be copied soon, if there are any.
#[inline(always)]
fn soon(place: *const u8) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..4 {
        use std::arch::x86_64::_MM_HINT_T0;
        use std::arch::x86_64::_mm_prefetch;
        // SAFETY: a hint, of any address.
        #[expect(unsafe_code, reason = "an instruction")]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(place.wrapping_add(line * 64).cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

fn page() -> usize {
    // SAFETY: asks for a number.
    #[expect(unsafe_code, reason = "sysconf of the C library")]
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(page)
        .ok()
        .filter(|page| *page > 0)
        .unwrap_or(4096)
}

/// What a thread is copying out of a map.
#[derive(Clone, Copy)]
struct Copying {
    start: usize,
    end: usize,
    /// Of the map.
    broken: *const AtomicBool,
    /// Bytes of a page.
    page: usize,
}

const NOTHING: Copying = Copying {
    start: 0,
    end: 0,
    broken: std::ptr::null(),
    page: 1,
};

thread_local! {
    // made by the compiler and never dropped, so that a signal's handler can look at it
    static COPYING: Cell<Copying> = const { Cell::new(NOTHING) };
}

/// What was to be done about the signal before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// Installs the handler, once; `None` when that failed.
fn watch() -> Option<()> {
    static WATCHING: OnceLock<bool> = OnceLock::new();
    let watching = WATCHING.get_or_init(|| {
        // SAFETY: all numbers; zero is a value of each.
        #[expect(unsafe_code, reason = "a structure of C")]
        let (mut before, mut ours) = unsafe { std::mem::zeroed::<(libc::sigaction, libc::sigaction)>() };
        ours.sa_sigaction = on_bus_error as *const () as usize;
        ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: both structures live here. The handler does nothing that may not be done in one, and finds what was
        // before, which is kept before it can be called.
        #[expect(unsafe_code, reason = "sigaction of the C library")]
        unsafe {
            libc::sigaction(libc::SIGBUS, std::ptr::null(), &raw mut before) == 0
                && BEFORE.set(before).is_ok()
                && libc::sigaction(libc::SIGBUS, &raw const ours, null_mut()) == 0
        }
    });
    watching.then_some(())
}

/// A page that a thread was copying from is not in the file, or cannot be read: puts zeros there, so that the copy comes
/// to its end, and marks the map as broken before. Any other error is for whom it was before.
#[expect(unsafe_code, reason = "a signal's handler")]
extern "C" fn on_bus_error(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel gives a live structure; only errors that it found itself have an address.
    let (at, real) = unsafe { ((*info).si_addr().addr(), (*info).si_code > 0) };
    let copying = COPYING.get();
    if real && (copying.start..copying.end).contains(&at) {
        let start = at - at % copying.page;
        let len = (copying.end - start).next_multiple_of(copying.page);
        // SAFETY: the map lives as long as it is copied from, and these pages are of it. Whoever else copies from them
        // finds it broken afterwards.
        let place = unsafe {
            (*copying.broken).store(true, SeqCst);
            libc::mmap(
                std::ptr::without_provenance_mut(start),
                len,
                libc::PROT_READ,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                -1,
                0,
            )
        };
        if place != libc::MAP_FAILED {
            return;
        }
    }
    // SAFETY: a handler with this flag is a function of this type; without one the action is set again, and the signal
    // comes once more when this returns.
    unsafe {
        match BEFORE.get() {
            Some(before) if before.sa_flags & libc::SA_SIGINFO != 0 => {
                type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
                let handler = std::mem::transmute::<usize, Handler>(before.sa_sigaction);
                handler(signal, info, context);
            }
            before => {
                let before = before.map_or(std::ptr::null(), std::ptr::from_ref);
                libc::sigaction(signal, before, null_mut());
                libc::raise(signal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room;
    use std::io::Write;
    use std::os::unix::process::ExitStatusExt;
    use std::path::PathBuf;
    use std::process::Command;

    /// A file of its own that is removed with it.
    struct Temp(PathBuf, File);

    impl Temp {
        fn new(name: &str, bytes: &[u8]) -> Temp {
            let path = std::env::temp_dir().join(format!("iipsrv-mapped-{}-{name}", std::process::id()));
            File::create(&path).unwrap().write_all(bytes).unwrap();
            let file = File::options().read(true).write(true).open(&path).unwrap();
            Temp(path, file)
        }

        fn map(&self) -> Mapped {
            Mapped::of(&self.1, self.1.metadata().unwrap().len()).unwrap()
        }
    }

    impl Drop for Temp {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn noise(len: usize) -> Vec<u8> {
        (0..len as u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect()
    }

    fn copied(map: &Mapped, file: &File, at: usize, len: usize) -> Option<Vec<u8>> {
        let has = map.has(at as u64, len);
        let copy = |room: &mut Room| has && map.copy(file, at as u64, len, room);
        room::made(len, |room| copy(room).then_some(()).ok_or(())).ok()
    }

    #[test]
    fn what_was_wanted_before_is_copied() {
        let bytes = noise(300_000);
        let temp = Temp::new("again", &bytes);
        let map = temp.map();
        assert_eq!(copied(&map, &temp.1, 5, 100_000), None);
        for (at, len) in [(5, 100_000), (70_000, 61_000), (131_071, 1)] {
            assert_eq!(copied(&map, &temp.1, at, len).unwrap(), &bytes[at..at + len]);
        }
        assert_eq!(copied(&map, &temp.1, 131_071, 2), None, "a piece that is new");
        assert_eq!(copied(&map, &temp.1, 299_999, 2), None, "beyond the end");
        let full = room::made::<u8, ()>(10, |room| {
            assert!(!map.copy(&temp.1, 5, 11, room), "no room");
            Ok(())
        });
        assert!(full.unwrap().is_empty());
    }

    #[test]
    fn floating_point_is_copied_and_judged() {
        for len in [1, 7, 8, 9, 1000] {
            let mut values: Vec<f32> = (0..len).map(|i| i as f32 - 3.5).collect();
            values[0] = f32::MAX;
            let read = |values: &[f32]| {
                // not where numbers are
                let bytes: Vec<u8> = [9]
                    .into_iter()
                    .chain(values.iter().flat_map(|v| v.to_ne_bytes()))
                    .collect();
                let temp = Temp::new("floats", &bytes);
                let map = temp.map();
                let mut finite = None;
                for _ in 0..2 {
                    let copied: Vec<f32> = room::made(len, |room| {
                        let has = map.has(1, len * 4);
                        finite = has.then(|| map.copy_floats(&temp.1, 1, len * 4, room)).flatten();
                        Ok::<(), ()>(())
                    })
                    .unwrap();
                    let bits = |v: &f32| v.to_bits();
                    assert!(finite.is_none() || copied.iter().map(bits).eq(values.iter().map(bits)));
                }
                finite.unwrap()
            };
            assert!(read(&values));
            for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -f32::NAN] {
                for at in [0, len / 2, len - 1] {
                    let mut values = values.clone();
                    values[at] = wrong;
                    assert!(!read(&values), "{wrong} at {at} of {len}");
                }
            }
        }
    }

    #[test]
    fn a_file_that_is_cut_is_declined_for_good_by_every_thread() {
        let bytes = noise(1 << 20);
        let temp = Temp::new("cut", &bytes);
        let map = temp.map();
        assert_eq!(copied(&map, &temp.1, 0, 1 << 20), None);
        assert!(copied(&map, &temp.1, 0, 1 << 20).is_some());
        std::thread::scope(|scope| {
            let read = || {
                let mut cut = false;
                while !cut {
                    match copied(&map, &temp.1, 400_000, 300_000) {
                        Some(found) => assert!(found == bytes[400_000..700_000]),
                        None => cut = true,
                    }
                }
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(read)).collect();
            std::thread::sleep(std::time::Duration::from_millis(20));
            temp.1.set_len(500_000).unwrap();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
        assert_eq!(copied(&map, &temp.1, 0, 1000), None);
        temp.1.set_len(1 << 20).unwrap();
        assert_eq!(copied(&map, &temp.1, 0, 1000), None);
    }

    #[test]
    fn the_zeros_behind_an_end_are_not_the_file() {
        let temp = Temp::new("tail", &[1; 10_000]);
        let map = temp.map();
        assert_eq!(copied(&map, &temp.1, 0, 10_000), None);
        assert_eq!(copied(&map, &temp.1, 0, 10_000).unwrap(), [1; 10_000]);
        temp.1.set_len(9_000).unwrap();
        assert_eq!(copied(&map, &temp.1, 0, 9_500), None);
        assert_eq!(copied(&map, &temp.1, 0, 9_000).unwrap(), [1; 9_000]);
        temp.1.set_len(9_500).unwrap();
        assert_eq!(copied(&map, &temp.1, 8_999, 2).unwrap(), [1, 0]);
    }

    #[test]
    fn what_is_in_maps_is_bounded_and_changes_with_what_is_wanted() {
        let temp = Temp::new("much", &[]);
        // without blocks on the disk
        temp.1.set_len((MOST * 2) as u64).unwrap();
        let map = temp.map();
        let walk = |map: &Mapped| {
            let step = PIECE * 4;
            (0..MOST * 2 / step)
                .filter(|at| copied(map, &temp.1, at * step, step).is_some())
                .count()
                * step
        };
        assert_eq!(walk(&map), 0);
        let most = walk(&map);
        assert!((MOST / 2..=MOST + PIECE * 8).contains(&most), "{most}");
        // other tests have maps, too
        let before = BYTES.load(Relaxed);
        assert!(before <= MOST + PIECE * 8);
        for _ in 0..2 * PATIENCE / MOST {
            walk(&map);
        }
        assert!(BYTES.load(Relaxed) <= MOST + PIECE * 8);
        drop(map);
        assert!(BYTES.load(Relaxed) <= MOST / 2);
    }

    /// Run by the test below in a process of its own.
    #[test]
    #[ignore = "ends its process"]
    fn somebody_elses_map() {
        let temp = Temp::new("other", &[1; 10_000]);
        let map = temp.map();
        temp.1.set_len(0).unwrap();
        std::fs::remove_file(&temp.0).unwrap();
        // SAFETY: it is the page of a map, which is not there.
        #[expect(unsafe_code, reason = "what the handler is not for")]
        let byte = unsafe { map.0.start.read_volatile() };
        assert_eq!(byte, 2, "not reached");
    }

    #[test]
    fn any_other_error_of_the_bus_ends_the_process_as_before() {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "mapped::tests::somebody_elses_map"]);
        let ended = command.output().unwrap().status;
        assert_eq!(ended.signal(), Some(libc::SIGBUS), "{ended:?}");
    }
}
