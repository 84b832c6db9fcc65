//! Metadata chunks of a PNG file: profile, texts, and the position of EXIF (PNG third edition §11.3).
//!
//! One limit bounds the total of their inflated bytes. Chunks that are damaged or exceed the limit are left out.

use crate::limits::BOXES;
use crate::limits::Limits;
use crate::limits::METADATA;
use miniz_oxide::inflate;
use std::sync::Arc;

/// Bytes before the first chunk.
const SIGNATURE: u64 = 8;

/// Maximum length of a keyword (§11.3.3.1) with the zero after it.
const KEYWORD: usize = 80;

/// Metadata found in the chunks.
#[derive(Debug, Default, PartialEq)]
pub struct PngChunks {
    /// ICC profile.
    pub icc: Option<Arc<[u8]>>,
    /// Offset and length of the EXIF block in the file.
    pub exif: Option<(u64, u64)>,
    /// Keywords and texts in file order; the first of each keyword.
    pub texts: Vec<(String, String)>,
    /// Kinds of metadata left out, and the limit that each exceeds.
    pub left_out: Vec<(&'static str, &'static str)>,
}

impl PngChunks {
    /// Walks the chunks of a file. `read` fills a buffer from a position on and returns whether there were enough
    /// bytes. Only texts with `wanted` keywords are read.
    pub fn read(
        read: impl Fn(u64, &mut [u8]) -> bool,
        wanted: impl Fn(&str) -> bool,
        limits: &Limits,
    ) -> PngChunks {
        let mut found = PngChunks::default();
        let mut left = MetadataBudget {
            bytes: limits.metadata,
            exceeded: false,
        };
        let mut at = SIGNATURE;
        for number in 0.. {
            let mut start = [0; 8];
            if !read(at, &mut start) {
                break;
            }
            let [l0, l1, l2, l3, name @ ..] = start;
            if number >= limits.boxes {
                found.left_out.push(("chunks", BOXES));
                break;
            }
            let len = u64::from(u32::from_be_bytes([l0, l1, l2, l3]));
            let body = |left: &mut MetadataBudget| -> Option<Vec<u8>> {
                left.exceeded = len > limits.metadata;
                let mut bytes = vec![0; usize::try_from(len).ok().filter(|_| !left.exceeded)?];
                read(at + 8, &mut bytes).then_some(bytes)
            };
            match &name {
                b"IEND" => break,
                b"eXIf" => found.exif = found.exif.or(Some((at + 8, len))),
                b"iCCP" if found.icc.is_none() => {
                    let profile = body(&mut left).and_then(|body| profile(&body, &mut left));
                    found.icc = profile.map(Into::into);
                }
                b"tEXt" | b"zTXt" | b"iTXt" => {
                    let is_new = |keyword: &str| {
                        wanted(keyword) && found.texts.iter().all(|(known, _)| known != keyword)
                    };
                    let text = body(&mut left).and_then(|body| text(&name, &body, is_new, &mut left));
                    found.texts.extend(text);
                }
                _ => {}
            }
            if std::mem::take(&mut left.exceeded) {
                let what = if name == *b"iCCP" { "profile" } else { "text" };
                found.left_out.push((what, METADATA));
            }
            // header, content and checksum
            at += 8 + len + 4;
        }
        found
    }
}

/// Bytes that metadata may still take.
struct MetadataBudget {
    bytes: u64,
    /// Whether an item exceeded the budget.
    exceeded: bool,
}

impl MetadataBudget {
    fn take(&mut self, len: usize) -> Option<()> {
        match self.bytes.checked_sub(len as u64) {
            Some(left) => self.bytes = left,
            None => self.exceeded = true,
        }
        (!self.exceeded).then_some(())
    }
}

/// Splits at the first zero.
fn cut(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(0, bytes)?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

/// A keyword, and the bytes after it.
fn keyword(body: &[u8]) -> Option<(String, &[u8])> {
    let (keyword, rest) = cut(body).filter(|(keyword, _)| (1..KEYWORD).contains(&keyword.len()))?;
    Some((latin(keyword), rest))
}

fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Inflates the profile in the body of a chunk (§11.3.2.3).
fn profile(body: &[u8], left: &mut MetadataBudget) -> Option<Vec<u8>> {
    match keyword(body)? {
        (_, [0, packed @ ..]) => inflated(packed, left),
        _ => None,
    }
}

/// Keyword and text in the body of the chunk `name` (§11.3.3.2 to 4), if the keyword `is_new`.
fn text(
    name: &[u8],
    body: &[u8],
    is_new: impl Fn(&str) -> bool,
    left: &mut MetadataBudget,
) -> Option<(String, String)> {
    let (keyword, rest) = keyword(body).filter(|(keyword, _)| is_new(keyword))?;
    let text = match (name, rest) {
        (b"tEXt", rest) => latin(&plain(rest, left)?),
        (b"zTXt", [0, packed @ ..]) => latin(&inflated(packed, left)?),
        (b"iTXt", [packed, method, rest @ ..]) => {
            let (_, rest) = cut(rest)?;
            let (_, rest) = cut(rest)?;
            let bytes = match (packed, method) {
                (0, _) => plain(rest, left)?,
                (1, 0) => inflated(rest, left)?,
                _ => return None,
            };
            String::from_utf8(bytes).ok()?
        }
        _ => return None,
    };
    Some((keyword, text))
}

fn plain(bytes: &[u8], left: &mut MetadataBudget) -> Option<Vec<u8>> {
    left.take(bytes.len())?;
    Some(bytes.into())
}

/// Inflates within the budget. Failed attempts count towards it.
fn inflated(packed: &[u8], left: &mut MetadataBudget) -> Option<Vec<u8>> {
    let most = usize::try_from(left.bytes).unwrap_or(usize::MAX);
    match inflate::decompress_to_vec_zlib_with_limit(packed, most) {
        Ok(bytes) => left.take(bytes.len()).map(|()| bytes),
        Err(error) => {
            left.bytes = left.bytes.saturating_sub(error.output.len() as u64);
            left.exceeded = error.status == inflate::TINFLStatus::HasMoreOutput;
            None
        }
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test chunks are small")]
mod tests {
    use super::*;
    use miniz_oxide::deflate::compress_to_vec_zlib;

    fn chunk(name: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        let body = parts.concat();
        [&(body.len() as u32).to_be_bytes(), name, &body, &[0; 4]].concat()
    }

    fn read_all(chunks: &[Vec<u8>], limits: &Limits) -> PngChunks {
        let file = [&[0; 8], &*chunks.concat(), &*chunk(b"IEND", &[])].concat();
        let read = |at: u64, to: &mut [u8]| {
            let at = usize::try_from(at).unwrap();
            let from = file.get(at..at + to.len());
            from.map(|from| to.copy_from_slice(from)).is_some()
        };
        PngChunks::read(read, |keyword| keyword != "Other", limits)
    }

    #[test]
    fn profile_texts_and_exif_are_read() {
        let packed = compress_to_vec_zlib("gr\u{fc}n".as_bytes(), 6);
        let found = read_all(
            &[
                chunk(b"iCCP", &[b"name\0\0", &compress_to_vec_zlib(b"icc", 6)]),
                chunk(b"tEXt", &[b"Title\0", &[0xe9]]),
                chunk(b"tEXt", &[b"Title\0again"]),
                chunk(b"tEXt", &[b"Other\0no"]),
                chunk(b"zTXt", &[b"Author\0\0", &compress_to_vec_zlib(b"me", 6)]),
                chunk(b"iTXt", &[b"Comment\0\x01\0en\0\0", &packed]),
                chunk(b"eXIf", &[b"12345"]),
            ],
            &Limits::default(),
        );
        assert_eq!(found.icc.as_deref(), Some(&b"icc"[..]));
        let texts: Vec<(&str, &str)> = found.texts.iter().map(|(k, t)| (&**k, &**t)).collect();
        assert_eq!(
            texts,
            [("Title", "\u{e9}"), ("Author", "me"), ("Comment", "gr\u{fc}n")]
        );
        assert_eq!(found.exif.map(|(_, len)| len), Some(5));
    }

    #[test]
    fn chunks_that_inflate_beyond_the_limit_are_left_out_and_counted() {
        let limits = Limits {
            metadata: 10_000,
            ..Limits::default()
        };
        let packed = |len| compress_to_vec_zlib(&vec![b'a'; len], 6);
        let found = read_all(
            &[
                chunk(b"iCCP", &[b"name\0\0", &packed(6000)]),
                chunk(b"zTXt", &[b"Title\0\0", &packed(5000)]),
                chunk(b"tEXt", &[b"Author\0me"]),
            ],
            &limits,
        );
        assert_eq!(found.icc.map(|icc| icc.len()), Some(6000));
        assert!(found.texts.is_empty(), "{:?}", found.texts);
        assert_eq!(found.left_out, [("text", METADATA), ("text", METADATA)]);
        let text = chunk(b"tEXt", &[b"Author\0me"]);
        assert_eq!(read_all(&[text.clone(), text], &limits).texts.len(), 1);
    }
}
