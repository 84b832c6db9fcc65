//! A cache of transforms to sRGB, shared by images with the same profile.

use crate::fingerprint;
use crate::library::Opened;
use crate::process::profile::Transform;
use crate::raster::Colour;
use quick_cache::sync::Cache;
use std::sync::Arc;

/// Maximum number of cached transforms: one for CMYK takes up to some megabytes.
const KEPT: usize = 32;

/// Transforms by profile.
pub struct Profiles {
    srgb: bool,
    /// `None` for a profile that is an identity or unusable.
    transforms: Cache<u64, Option<Arc<Transform>>>,
}

impl Profiles {
    /// For all images with a profile, or only for CMYK, whose profile no answer can contain.
    pub fn new(srgb: bool) -> Profiles {
        Profiles {
            srgb,
            transforms: Cache::new(KEPT),
        }
    }

    /// The transform from samples of this image, of 8 bits or deeper, to sRGB; `None` if they are used unchanged.
    pub fn transform(&self, opened: &Opened, deep: bool) -> Option<Arc<Transform>> {
        let header = opened.source.header();
        let colour = header.meaning.colour;
        if !self.srgb && colour != Colour::Cmyk {
            return None;
        }
        let profile = header.metadata.icc.as_deref()?;
        // the profile may have megabytes
        let profile_key = opened.profile.get_or_init(|| fingerprint::of(&profile));
        let key = fingerprint::of(&(profile_key, colour.channels(), deep));
        let make = || Ok::<_, std::convert::Infallible>(Transform::new(profile, colour, deep).map(Arc::new));
        match self.transforms.get_or_insert_with(&key, make) {
            Ok(transform) => transform,
        }
    }
}
