//! Builds TIFF files with arbitrary tags, valid or not, for tests.

use crate::source::tiff::input::ByteOrder;
use crate::source::tiff::input::Input;
use crate::store;
use crate::store::Blob;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

/// Tag, type code and values; of a rational, the numerator is in the upper 32 bits.
pub type FieldEntry = (u16, u16, Vec<u64>);

/// A temporary file that is removed when this is dropped.
pub struct Temp(PathBuf);

impl Temp {
    pub fn new(bytes: &[u8]) -> Temp {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("iipsrv-tiff-{}-{count}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        Temp(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn open(&self) -> Arc<dyn Blob> {
        store::open(&self.0).unwrap()
    }

    pub fn input(&self) -> Input {
        Input::new(self.open())
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A file under construction.
pub struct Build {
    order: ByteOrder,
    big: bool,
    pub out: Vec<u8>,
}

impl Build {
    pub fn new(order: ByteOrder, big: bool) -> Build {
        Build {
            order,
            big,
            out: vec![0; 16],
        }
    }

    fn put(&self, out: &mut Vec<u8>, value: u64, width: usize) {
        match self.order {
            ByteOrder::Little => out.extend(&value.to_le_bytes()[..width]),
            ByteOrder::Big => out.extend(&value.to_be_bytes()[8 - width..]),
        }
    }

    /// Appends bytes; returns their offset.
    pub fn blob(&mut self, bytes: &[u8]) -> u64 {
        let at = self.out.len() as u64;
        self.out.extend(bytes);
        at
    }

    /// Appends a directory; returns its offset.
    pub fn ifd(&mut self, tags: &[FieldEntry], next: u64) -> u64 {
        let word = if self.big { 8 } else { 4 };
        let mut ifd = Vec::new();
        self.put(&mut ifd, tags.len() as u64, if self.big { 8 } else { 2 });
        for (tag, code, values) in tags {
            let mut bytes = Vec::new();
            for &value in values {
                match code {
                    3 | 8 => self.put(&mut bytes, value, 2),
                    4 | 9 | 11 | 13 => self.put(&mut bytes, value, 4),
                    5 | 10 => {
                        self.put(&mut bytes, value >> 32, 4);
                        self.put(&mut bytes, value, 4);
                    }
                    12 | 16 | 17 | 18 => self.put(&mut bytes, value, 8),
                    _ => self.put(&mut bytes, value, 1),
                }
            }
            self.put(&mut ifd, (*tag).into(), 2);
            self.put(&mut ifd, (*code).into(), 2);
            self.put(&mut ifd, values.len() as u64, word);
            if bytes.len() > word {
                let at = self.blob(&bytes);
                self.put(&mut ifd, at, word);
            } else {
                bytes.resize(word, 0);
                ifd.extend(bytes);
            }
        }
        self.put(&mut ifd, next, word);
        self.blob(&ifd)
    }

    /// The bytes of a file whose first directory is at this offset.
    pub fn finish(mut self, first: u64) -> Vec<u8> {
        let mut head = if self.order == ByteOrder::Little {
            b"II".to_vec()
        } else {
            b"MM".to_vec()
        };
        self.put(&mut head, if self.big { 43 } else { 42 }, 2);
        if self.big {
            self.put(&mut head, 8, 2);
            self.put(&mut head, 0, 2);
        }
        self.put(&mut head, first, if self.big { 8 } else { 4 });
        self.out[..head.len()].copy_from_slice(&head);
        self.out
    }
}

/// Tags of a picture of 8-bit samples, uncompressed, whose tiles (16 by 16) are at these offsets.
pub fn tags(size: (u64, u64), channels: u64, photometric: u64, offsets: Vec<u64>) -> Vec<FieldEntry> {
    let counts = vec![256 * channels; offsets.len()];
    vec![
        (256, 3, vec![size.0]),
        (257, 3, vec![size.1]),
        (258, 3, vec![8; channels as usize]),
        (259, 3, vec![1]),
        (262, 3, vec![photometric]),
        (277, 3, vec![channels]),
        (322, 3, vec![16]),
        (323, 3, vec![16]),
        (324, 4, offsets),
        (325, 4, counts),
    ]
}

/// The tags with some of them replaced or added.
pub fn with(mut tags: Vec<FieldEntry>, more: &[FieldEntry]) -> Vec<FieldEntry> {
    tags.retain(|(tag, ..)| more.iter().all(|(other, ..)| other != tag));
    tags.extend(more.iter().cloned());
    tags
}

/// A little-endian file with one directory and one tile with these bytes.
pub fn single(tile: &[u8], tags: impl FnOnce(u64) -> Vec<FieldEntry>) -> Vec<u8> {
    let mut build = Build::new(ByteOrder::Little, false);
    let at = build.blob(tile);
    let first = build.ifd(&tags(at), 0);
    build.finish(first)
}

/// A block of EXIF: the make is `Abc`, the orientation 6.
pub const EXIF: &[u8] = &[
    b'I', b'I', 42, 0, 8, 0, 0, 0, 2, 0, //
    15, 1, 2, 0, 4, 0, 0, 0, b'A', b'b', b'c', 0, //
    18, 1, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0, //
    0, 0, 0, 0,
];
