//! Levels that do not fit in memory: samples in a temporary file, read by position.
//!
//! The file is unlinked as soon as it is created, so that the space is freed when the process ends.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::raster::Raster;
use crate::raster::Samples;
use crate::source::window;
use crate::uninit;
use std::fs;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// A directory for temporary files, and the bound on their total size.
#[derive(Debug)]
pub struct SpoolDir {
    directory: PathBuf,
    max_bytes: u64,
    used_bytes: AtomicU64,
    /// Why the directory is out of use, if it is.
    failure: Mutex<Option<SpoolFailure>>,
}

#[derive(Debug)]
struct SpoolFailure {
    text: String,
    reported: bool,
}

impl SpoolDir {
    /// Uses at most `max_bytes` bytes of this directory.
    pub fn new(directory: PathBuf, max_bytes: u64) -> SpoolDir {
        SpoolDir {
            directory,
            max_bytes,
            used_bytes: AtomicU64::new(0),
            failure: Mutex::default(),
        }
    }

    /// The bound in bytes.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Checks that a file can be created in the directory.
    pub fn trial(&self) -> Result<()> {
        Ok(self.file().map(drop)?)
    }

    /// Whether the directory is out of use because a file could not be created or written.
    pub fn is_broken(&self) -> bool {
        self.failure().is_some()
    }

    /// The failure, unless an earlier call has returned it.
    pub fn unreported_failure(&self) -> Option<String> {
        let mut failure = self.failure();
        let failure = failure.as_mut().filter(|failure| !failure.reported)?;
        failure.reported = true;
        Some(failure.text.clone())
    }

    /// Puts the directory back into use.
    pub fn mend(&self) {
        *self.failure() = None;
    }

    fn failure(&self) -> MutexGuard<'_, Option<SpoolFailure>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the directory out of use if `result` is an error.
    fn done<T>(&self, result: io::Result<T>) -> Result<T> {
        if let Err(error) = &result {
            self.failure().get_or_insert_with(|| SpoolFailure {
                text: format!("{}: {error}", self.directory.display()),
                reported: false,
            });
        }
        Ok(result?)
    }

    /// Creates a file and unlinks it.
    fn file(&self) -> io::Result<File> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = self
            .directory
            .join(format!("iipsrv-{}-{count}.level", std::process::id()));
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        fs::remove_file(&path)?;
        Ok(file)
    }
}

/// Reserved bytes of a spool directory.
#[derive(Debug)]
struct Share {
    spool_dir: Arc<SpoolDir>,
    bytes: u64,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.spool_dir.used_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A level in a temporary file.
#[derive(Debug)]
pub struct Spool {
    file: File,
    size: Size,
    /// One pixel, which defines depth and channels.
    model: Raster,
    share: Share,
}

impl Spool {
    /// Creates a level of this size with the depth and channels of `model`. `Error::TooLarge` when the directory
    /// lacks the space.
    pub fn new(spool_dir: &Arc<SpoolDir>, size: Size, model: &Raster) -> Result<Spool> {
        let model = window::blank(Size::new(1, 1), model)?;
        let bytes = size.area().saturating_mul(model.samples.bytes() as u64);
        let before = spool_dir.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        let share = Share {
            spool_dir: spool_dir.clone(),
            bytes,
        };
        if before.saturating_add(bytes) > spool_dir.max_bytes {
            return Err(Error::TooLarge(
                "the directory for derived levels (CACHE_DIR) is full".into(),
            ));
        }
        Ok(Spool {
            file: spool_dir.done(spool_dir.file())?,
            size,
            model,
            share,
        })
    }

    /// Size of `pixels` pixels in bytes.
    fn bytes(&self, pixels: u64) -> u64 {
        pixels.saturating_mul(self.model.samples.bytes() as u64)
    }

    fn place(&self, x: u32, y: u32) -> u64 {
        self.bytes(u64::from(y) * u64::from(self.size.w) + u64::from(x))
    }

    /// Writes a part, which must be inside the level.
    pub fn write(&self, raster: &Raster, at: Rect) -> Result<()> {
        self.share.spool_dir.done(self.put(raster, at))
    }

    fn put(&self, raster: &Raster, at: Rect) -> io::Result<()> {
        let bytes = match &raster.samples {
            Samples::U8(samples) => samples.clone(),
            Samples::U16(samples) => samples.iter().flat_map(|s| s.to_ne_bytes()).collect(),
            Samples::U32(samples) => samples.iter().flat_map(|s| s.to_ne_bytes()).collect(),
            Samples::F32(samples) => samples.iter().flat_map(|s| s.to_ne_bytes()).collect(),
        };
        let line = usize::try_from(self.bytes(at.w.into()))
            .unwrap_or(usize::MAX)
            .max(1);
        if at.w == self.size.w {
            return self.file.write_all_at(&bytes, self.place(0, at.y));
        }
        for (y, row) in (at.y..).zip(bytes.chunks(line)) {
            self.file.write_all_at(row, self.place(at.x, y))?;
        }
        Ok(())
    }

    /// Reads a part, which must be inside the level.
    pub fn read(&self, rect: Rect) -> Result<Raster> {
        let line = usize::try_from(self.bytes(rect.w.into())).unwrap_or(0);
        let mut bytes = uninit::zeros(line.saturating_mul(rect.h as usize))?;
        for (y, row) in (rect.y..).zip(bytes.chunks_mut(line.max(1))) {
            self.file.read_exact_at(row, self.place(rect.x, y))?;
        }
        let samples = match &self.model.samples {
            Samples::U8(_) => Samples::U8(bytes),
            Samples::U16(_) => Samples::U16(each(&bytes, u16::from_ne_bytes)),
            Samples::U32(_) => Samples::U32(each(&bytes, u32::from_ne_bytes)),
            Samples::F32(_) => Samples::F32(each(&bytes, f32::from_ne_bytes)),
        };
        Ok(Raster {
            size: rect.size(),
            channels: self.model.channels,
            samples,
        })
    }
}

fn each<const N: usize, T>(bytes: &[u8], number: fn([u8; N]) -> T) -> Vec<T> {
    bytes
        .as_chunks::<N>()
        .0
        .iter()
        .map(|bytes| number(*bytes))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raster(size: Size, samples: Samples) -> Raster {
        Raster {
            size,
            channels: 1,
            samples,
        }
    }

    #[test]
    fn samples_of_every_depth_round_trip() {
        let spool_dir = Arc::new(SpoolDir::new(std::env::temp_dir(), 1000));
        let size = Size::new(3, 2);
        for samples in [
            Samples::U8(vec![1, 2, 3, 4, 5, 6]),
            Samples::U16(vec![1, 2, 300, 4, 5, 65535]),
            Samples::U32(vec![1, 2, 3, 4, 5, u32::MAX]),
            Samples::F32(vec![1.5, -2.0, 3.0, 4.0, 5.0, 6.25]),
        ] {
            let all = raster(size, samples);
            let spool = Spool::new(&spool_dir, size, &all).unwrap();
            spool.write(&all, Rect::of(size)).unwrap();
            assert_eq!(spool.read(Rect::of(size)).unwrap(), all);
        }
    }

    #[test]
    fn parts_keep_their_places_and_the_size_is_bounded() {
        let spool_dir = Arc::new(SpoolDir::new(std::env::temp_dir(), 6));
        let size = Size::new(3, 2);
        let part = raster(Size::new(2, 2), Samples::U8(vec![1, 2, 3, 4]));
        let spool = Spool::new(&spool_dir, size, &part).unwrap();
        spool.write(&part, Rect::new(1, 0, 2, 2)).unwrap();
        let read = spool.read(Rect::new(0, 0, 3, 2)).unwrap();
        assert_eq!(read.samples, Samples::U8(vec![0, 1, 2, 0, 3, 4]));
        assert!(matches!(
            Spool::new(&spool_dir, size, &part),
            Err(Error::TooLarge(_))
        ));
        drop(spool);
        assert!(Spool::new(&spool_dir, size, &part).is_ok());
        assert!(spool_dir.trial().is_ok());
        assert!(SpoolDir::new("/nowhere/at/all".into(), 6).trial().is_err());
    }

    #[test]
    fn an_unwritable_directory_is_not_used_and_reported_once() {
        let spool_dir = Arc::new(SpoolDir::new("/nowhere/at/all".into(), 1000));
        let model = raster(Size::new(1, 1), Samples::U8(vec![1]));
        for _ in 0..2 {
            assert!(matches!(
                Spool::new(&spool_dir, Size::new(3, 2), &model),
                Err(Error::Io(_))
            ));
        }
        assert!(spool_dir.is_broken());
        let reported = spool_dir.unreported_failure().unwrap();
        assert!(
            reported.starts_with("/nowhere/at/all: No such file"),
            "{reported}"
        );
        assert_eq!(spool_dir.unreported_failure(), None);
        spool_dir.mend();
        assert!(!spool_dir.is_broken());
    }
}
