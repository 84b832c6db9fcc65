//! Cache keys: the image, its version, and the plan or the tile.
//!
//! Entries are never invalidated: a changed file has another version and therefore other keys.

use crate::fingerprint;
use crate::plan::Plan;
use crate::source::cache::Part;
use crate::store::Version;
use std::hash::Hash;
use std::hash::Hasher;
use std::sync::Arc;

/// A version of an image.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The identifier that the library opened.
    pub name: Arc<str>,
    /// Version of the file.
    pub version: Version,
    /// Settings of the reader.
    pub reading: Reading,
}

/// Settings of the readers that change the pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reading {
    /// JPEG 2000 quality layers: 0 half of those present, -1 all, n at most n.
    pub layers: i32,
    /// Whether damaged JPEG 2000 files are refused.
    pub strict: bool,
    /// Whether pictures are turned by their Orientation tag.
    pub upright: bool,
}

/// The cached object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Content {
    /// An encoded answer.
    Answer(Plan),
    /// Decoded samples.
    Decoded(Part),
}

/// A cache key. The hash is computed once, at construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    hash: u64,
    identity: Identity,
    content: Content,
}

impl Key {
    /// The key of an encoded answer.
    pub fn answer(identity: Identity, plan: Plan) -> Key {
        Key::new(identity, Content::Answer(plan))
    }

    /// The key of decoded samples.
    pub fn decoded(identity: Identity, part: Part) -> Key {
        Key::new(identity, Content::Decoded(part))
    }

    fn new(identity: Identity, content: Content) -> Key {
        let hash = fingerprint::of(&(env!("CARGO_PKG_VERSION"), &identity, &content));
        Key {
            hash,
            identity,
            content,
        }
    }

    /// The identifier of the image.
    pub fn image(&self) -> &str {
        &self.identity.name
    }

    /// The plan of an answer; `None` for samples.
    pub fn plan(&self) -> Option<&Plan> {
        match &self.content {
            Content::Answer(plan) => Some(plan),
            Content::Decoded(_) => None,
        }
    }

    /// The key in a cache shared with other processes, whose files may be at another `place`: the program, its
    /// version, and a 128-bit digest.
    pub fn name(&self, place: &impl Hash) -> String {
        format!("iipsrv-{}:{:032x}", env!("CARGO_PKG_VERSION"), self.digest(place))
    }

    /// A 128-bit digest, equal in every process of this version with the same `place`.
    pub fn digest(&self, place: &impl Hash) -> u128 {
        let half = |number: u8| {
            let version = env!("CARGO_PKG_VERSION");
            u128::from(fingerprint::of(&(
                number,
                version,
                place,
                &self.identity,
                &self.content,
            )))
        };
        half(0) << 64 | half(1)
    }

    /// A fingerprint, equal for equal keys in every process of this version.
    pub fn fingerprint(&self) -> u64 {
        self.hash
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}
