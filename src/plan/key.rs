//! What identifies bytes: the image, its version, and the plan or the tile.
//!
//! Nothing is ever invalidated: a changed file has another version, and so other keys.

use crate::plan::Plan;
use crate::source::Version;
use crate::source::window::Part;
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

/// The key of everything that is cached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// An encoded answer.
    Answer(Identity, Plan),
    /// Decoded samples.
    Part(Identity, Part),
}

impl Key {
    /// A strong ETag (RFC 9110 §8.8.3): equal keys give equal tags, in every process of this version.
    pub fn etag(&self) -> String {
        let mut hasher = DefaultHasher::new();
        env!("CARGO_PKG_VERSION").hash(&mut hasher);
        self.hash(&mut hasher);
        format!("\"{:016x}\"", hasher.finish())
    }
}
