//! The transforms to sRGB in use, one for all images with the same profile.

use crate::fingerprint;
use crate::library::Opened;
use crate::process::profile::Transform;
use crate::raster::Colour;
use quick_cache::sync::Cache;
use std::sync::Arc;

/// Transforms that are kept: one of CMYK holds up to some megabytes.
const KEPT: usize = 32;

/// Transforms by the profiles that they were made of.
pub struct Profiles {
    srgb: bool,
    /// `None` for a profile that changes nothing or says nothing.
    transforms: Cache<u64, Option<Arc<Transform>>>,
}

impl Profiles {
    /// For everything that has a profile, or for CMYK only, whose profile no answer can hold.
    pub fn new(srgb: bool) -> Profiles {
        Profiles {
            srgb,
            transforms: Cache::new(KEPT),
        }
    }

    /// What brings samples of this image, of 8 bits or deeper, to sRGB; `None` where they are taken as they are.
    pub fn transform(&self, opened: &Opened, deep: bool) -> Option<Arc<Transform>> {
        let header = opened.source.header();
        let colour = header.meaning.colour;
        if !self.srgb && colour != Colour::Cmyk {
            return None;
        }
        let profile = header.metadata.icc.as_deref()?;
        // it may have megabytes
        let profile_key = opened.profile.get_or_init(|| fingerprint::of(&profile));
        let key = fingerprint::of(&(profile_key, colour.channels(), deep));
        let make = || Ok::<_, std::convert::Infallible>(Transform::new(profile, colour, deep).map(Arc::new));
        match self.transforms.get_or_insert_with(&key, make) {
            Ok(transform) => transform,
        }
    }
}
