//! Runs the fuzz targets on any toolchain, without coverage: all seeds and earlier findings, then mutations of them.
//!
//! ```text
//! cargo run --release --example fuzz -- TARGET|all COUNT [SEED] [FOLDER…]
//! cargo run --release --example fuzz -- seeds OUT [FOLDER…]
//! ```
//!
//! The second form writes the seeds for cargo-fuzz, a folder for each target.
//! Seeds are the files of `fixtures/` and of the folders. A panic, or CPU time or memory beyond the bound for the size of the
//! input, is a finding: the input is written to `target/fuzz/`, and the process exits with an error.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

#[path = "seeds.rs"]
mod seeds;
#[path = "targets.rs"]
mod targets;

use crate::seeds::seeds;
use crate::targets::LONGEST;
use crate::targets::cpu;
use std::alloc::GlobalAlloc;
use std::alloc::Layout;
use std::alloc::System;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The system's allocator with counters.
struct Counted;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "an allocator")]
// SAFETY: all calls are forwarded unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller upholds the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller upholds the contract.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// Factor on the time limit in debug builds: they are about five times slower, and the margin leaves only runaway work to find.
const SLOWER: u32 = if cfg!(debug_assertions) { 40 } else { 1 };

/// Limit of CPU time for opening an input or one read of it: twice the server's guarantee.
fn most_time(len: usize) -> Duration {
    (Duration::from_millis(100) + Duration::from_micros(2) * len as u32) * SLOWER
}

/// The bound of peak memory for an input of `len` bytes, in bytes.
fn most_memory(len: usize) -> usize {
    (64 << 20) + len * 1200
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// Changes, inserts, removes or repeats bytes of the input, or copies bytes of another one.
    fn mutate(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        for _ in 0..=self.below(5) {
            let len = input.len();
            let at = if self.below(2) == 0 {
                self.below(len)
            } else {
                self.below(len.min(400))
            };
            match self.below(10) {
                0 => input.truncate(at),
                1 => input.insert(at.min(len), self.next() as u8),
                2 if len > 0 => drop(input.drain(at..(at + 1 + self.below(16)).min(len))),
                3 => {
                    let from = other.get(self.below(other.len())..).unwrap_or_default();
                    let some = from.get(..self.below(from.len().min(64))).unwrap_or(from);
                    input.splice(at..at, some.iter().copied());
                }
                4 => {
                    let value = [0, 1, 0x7f, 0x80, 0xff][self.below(5)];
                    let end = (at + [1, 2, 4, 8][self.below(4)]).min(len);
                    input
                        .get_mut(at..end)
                        .into_iter()
                        .flatten()
                        .for_each(|byte| *byte = value);
                }
                5 if len > 0 => input[at] ^= 1 << self.below(8),
                6 if len > 0 => input[at] = input[at].wrapping_add(1),
                7 if len > 0 => input[at] = input[at].wrapping_sub(1),
                _ if len > 0 => input[at] = self.next() as u8,
                _ => {}
            }
        }
    }
}

/// Runs one input; a description of the failure, if any.
fn attempt(run: fn(&[u8]), input: &[u8]) -> Option<String> {
    let (before, start) = (NOW.load(Ordering::Relaxed), cpu());
    LONGEST.store(0, Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let panicked = std::panic::catch_unwind(|| run(input)).is_err();
    let memory = PEAK.load(Ordering::Relaxed).saturating_sub(before);
    // for images the slowest read counts, for all other targets the whole run
    let time = match LONGEST.load(Ordering::Relaxed) {
        0 => cpu() - start,
        longest => Duration::from_nanos(longest),
    };
    if panicked {
        Some("a panic".into())
    } else if time > most_time(input.len()) {
        Some(format!("{time:?}"))
    } else if memory > most_memory(input.len()) {
        Some(format!("{} MB", memory >> 20))
    } else {
        None
    }
}

/// Runs all seeds, then mutations, `count` inputs in total; the number of failures.
fn drive((name, run): targets::Target, seeds: &[Vec<u8>], count: u64, seed: u64, out: &Path) -> u32 {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut found = 0;
    for number in 0..count.max(seeds.len() as u64) {
        let input = match seeds.get(number as usize) {
            Some(seed) => seed.clone(),
            None => {
                let mut input = seeds[random.below(seeds.len())].clone();
                let other = random.below(seeds.len());
                random.mutate(&mut input, &seeds[other]);
                input
            }
        };
        if let Some(what) = attempt(run, &input) {
            found += 1;
            let path = out.join(format!("{name}-{seed}-{number}"));
            std::fs::write(&path, &input).unwrap();
            println!("{name}: {what} by {} bytes: {}", input.len(), path.display());
            if found > 20 {
                break;
            }
        }
    }
    println!("{name}: {} seeds, {count} inputs, {found} findings", seeds.len());
    found
}

fn main() {
    let mut args = std::env::args().skip(1);
    let wanted = args.next().expect("a target, all, or seeds");
    let more = args.next().expect("a number of inputs, or a folder for seeds");
    let writes = wanted == "seeds";
    let number = |text: String| text.parse::<u64>().expect("a number");
    let seed = if writes { 1 } else { args.next().map_or(1, number) };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders: Vec<PathBuf> = std::iter::once(root.join("fixtures"))
        .chain(args.map(PathBuf::from))
        .collect();
    let out = root.join("target/fuzz");
    std::fs::create_dir_all(&out).unwrap();
    let mut findings = 0;
    for target in targets::TARGETS {
        let seeds = seeds(target.0, &folders);
        assert!(!seeds.is_empty(), "{} has nothing to begin with", target.0);
        if writes {
            let folder = Path::new(&more).join(target.0);
            std::fs::create_dir_all(&folder).unwrap();
            for (number, bytes) in seeds.iter().enumerate() {
                std::fs::write(folder.join(format!("seed-{number}")), bytes).unwrap();
            }
        } else if wanted == "all" || wanted == target.0 {
            findings += drive(*target, &seeds, number(more.clone()), seed, &out);
        }
    }
    std::process::exit(i32::from(findings > 0));
}
