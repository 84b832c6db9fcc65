//! The limits in force: those of the configuration, with the watermark as its file was when it was last read.

use crate::config::Config;
use crate::error::Result;
use crate::plan::Finish;
use crate::plan::Limits;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;

/// What requests are held to.
pub struct InForce(RwLock<Arc<Limits>>);

impl InForce {
    /// Those that the configuration says.
    pub fn new(config: &Config) -> InForce {
        InForce(RwLock::new(Arc::new(Limits {
            max_width: config.max_width,
            max_height: config.max_height,
            max_pixels: config.max_area,
            upscaling: config.allow_upscaling,
            interpolation: config.interpolation,
            defaults: config.output,
            recode: config.recode,
            background: config.background,
            watermark: config.watermark.clone(),
            finish: Arc::new(Finish {
                srgb: config.srgb,
                max_icc: config.max_icc,
                passthrough: config.passthrough,
                rights: config.copyright.trim().into(),
            }),
        })))
    }

    /// For one request.
    pub fn now(&self) -> Arc<Limits> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the watermark again; the one before stays when that fails.
    pub fn refresh(&self, config: &Config) -> Result<()> {
        let watermark = config.watermark_now()?;
        let mut limits = self.0.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut limits).watermark = watermark;
        Ok(())
    }
}
