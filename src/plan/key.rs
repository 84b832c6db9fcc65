//! What identifies bytes: the image, its version, and the plan or the tile.
//!
//! Nothing is ever invalidated: a changed file has another version, and so other keys.

use crate::plan::Plan;
use crate::source::Tile;
use crate::source::Version;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;
use std::sync::Arc;

/// An image in one version.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The identifier that the library opened.
    pub name: Arc<str>,
    /// Which state of the file.
    pub version: Version,
}

/// What is made of an image.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Part {
    /// An encoded answer.
    Answer(Plan),
    /// Decoded samples of a stored tile.
    Tile(Tile),
}

/// The key of everything that is cached. It is hashed once, when it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    hash: u64,
    identity: Identity,
    part: Part,
}

impl Key {
    /// The key of an encoded answer.
    pub fn answer(identity: Identity, plan: Plan) -> Key {
        Key::new(identity, Part::Answer(plan))
    }

    /// The key of a tile's decoded samples.
    pub fn tile(identity: Identity, tile: Tile) -> Key {
        Key::new(identity, Part::Tile(tile))
    }

    fn new(identity: Identity, part: Part) -> Key {
        let hash = fingerprint(&(env!("CARGO_PKG_VERSION"), &identity, &part));
        Key { hash, identity, part }
    }

    /// The plan of an answer; `None` for a tile.
    pub fn plan(&self) -> Option<&Plan> {
        match &self.part {
            Part::Answer(plan) => Some(plan),
            Part::Tile(_) => None,
        }
    }

    /// Equal keys have equal fingerprints, in every process of this version.
    pub fn fingerprint(&self) -> u64 {
        self.hash
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// 64 bits that tell this value from others: equal values have equal ones, in every process of this version.
pub fn fingerprint(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
