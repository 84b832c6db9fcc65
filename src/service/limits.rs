//! The limits in force: those of the configuration, with the watermark as last read from its file.

use crate::config::Config;
use crate::error::Result;
use crate::library;
use crate::plan::PlanLimits;
use crate::process::Watermark;
use crate::process::WatermarkSettings;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;

/// The limits that apply to requests.
pub struct InForce {
    limits: RwLock<Arc<PlanLimits>>,
    /// Why the watermark could not be read initially.
    fault: Option<String>,
}

impl InForce {
    /// The limits of the configuration; reads the watermark.
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

    /// Why the watermark could not be read initially.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// The limits for a request.
    pub fn now(&self) -> Arc<PlanLimits> {
        Arc::clone(&self.limits.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the watermark again; the previous one stays if that fails.
    pub fn refresh(&self, config: &Config) -> Result<()> {
        let watermark = read(config.watermark.as_ref())?;
        let mut limits = self.limits.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut limits).watermark = watermark;
        Ok(())
    }
}

/// Reads the watermark, if one is configured.
fn read(settings: Option<&WatermarkSettings>) -> Result<Option<Arc<Watermark>>> {
    let Some(settings) = settings else {
        return Ok(None);
    };
    let picture = library::picture(&settings.path)?;
    let watermark = Watermark::new(picture, settings.opacity, settings.probability);
    Ok(Some(Arc::new(watermark)))
}
