//! The limits in force: those of the configuration, with the watermark as its file was when it was last read.

use crate::config::Config;
use crate::error::Result;
use crate::library;
use crate::plan::PlanLimits;
use crate::process::Watermark;
use crate::process::WatermarkSettings;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;

/// What requests are held to.
pub struct InForce {
    limits: RwLock<Arc<PlanLimits>>,
    /// Why the watermark could not be read at first.
    fault: Option<String>,
}

impl InForce {
    /// Those that the configuration says; reads the watermark.
    pub fn new(config: &Config) -> InForce {
        let (watermark, fault) = match read(config.watermark.as_ref()) {
            Ok(watermark) => (watermark, None),
            Err(error) => (None, Some(error.to_string())),
        };
        InForce {
            limits: RwLock::new(Arc::new(PlanLimits {
                watermark,
                ..config.answers.clone()
            })),
            fault,
        }
    }

    /// Why the watermark could not be read when this began.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// For one request.
    pub fn now(&self) -> Arc<PlanLimits> {
        Arc::clone(&self.limits.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the watermark again; the one before stays when that fails.
    pub fn refresh(&self, config: &Config) -> Result<()> {
        let watermark = read(config.watermark.as_ref())?;
        let mut limits = self.limits.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut limits).watermark = watermark;
        Ok(())
    }
}

/// The watermark as its file is here and now, if there is to be one.
fn read(settings: Option<&WatermarkSettings>) -> Result<Option<Arc<Watermark>>> {
    let Some(settings) = settings else {
        return Ok(None);
    };
    let picture = library::picture(&settings.path)?;
    let watermark = Watermark::new(picture, settings.opacity, settings.probability);
    Ok(Some(Arc::new(watermark)))
}
