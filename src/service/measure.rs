//! Returns samples as numbers: profiles (PFL) and spectra (SPECTRA), of one image or of every image of a sequence.
//!
//! The structure is that of iipsrv, whose keys were bare numbers; here it is valid JSON.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use crate::library::Opened;
use crate::protocol::Description;
use crate::protocol::iip::Measure;
use crate::raster::Raster;
use crate::raster::Samples;
use crate::service::Service;
use crate::source::Header;
use crate::source::Tile;
use crate::source::Window;
use crate::source::sequence::FIRST;
use crate::source::sequence::split_view;
use crate::source::sequence::with_view;
use crate::work::Lease;
use crate::work::Scope;
use std::fmt::Write;
use std::sync::Arc;

impl Service {
    /// The answer to PFL or SPECTRA, computed by the executor.
    pub(in crate::service) async fn measured(
        &self,
        opened: &Arc<Opened>,
        measure: Measure,
        scope: &Scope,
    ) -> Result<Description> {
        let cost = self.measure_cost(opened, measure)?;
        let (service, image) = (self.clone(), opened.clone());
        let job = move |_: &mut Lease| service.measure(&image, measure);
        let (answer, _) = self.executor.run(cost, scope, job).await?;
        Ok(answer)
    }

    fn measure(&self, opened: &Arc<Opened>, measure: Measure) -> Result<Description> {
        let images = self.of_set(opened)?;
        let mut rasters = Vec::with_capacity(images.len());
        for (angle, image) in &images {
            let header = image.source.header();
            let window = window(header, measure)?;
            if window.rect.size().area() > self.limits.now().max_area() {
                return Err(Error::TooLarge("the profile is too long".into()));
            }
            rasters.push((*angle, header, self.mosaic.read(image, window, &self.cache)?));
        }
        Ok(match measure {
            Measure::Profile { .. } => profile(&rasters),
            Measure::Spectrum { .. } => spectrum(&rasters),
        })
    }

    /// The image, or all images of its sequence, by their horizontal angles.
    fn of_set(&self, opened: &Arc<Opened>) -> Result<Vec<(u32, Arc<Opened>)>> {
        let (id, view) = split_view(&opened.identity.name);
        let [_, vertical] = view.unwrap_or(FIRST);
        let angles = &opened.source.header().set.horizontal;
        if angles.is_empty() {
            return Ok(vec![(0, opened.clone())]);
        }
        angles
            .iter()
            .map(|&angle| Ok((angle, self.library.open(&with_view(id, [angle, vertical]))?)))
            .collect()
    }
}

/// The requested pixels.
pub fn window(header: &Header, measure: Measure) -> Result<Window> {
    let outside = || Error::Outside("the image has no such pixels".into());
    let (Measure::Profile { resolution, .. } | Measure::Spectrum { resolution, .. }) = measure;
    let level = header.from_smallest(resolution).ok_or_else(outside)?;
    let stored = header.levels.get(level).ok_or_else(outside)?;
    let rect = match measure {
        Measure::Profile { from, to, .. } => {
            let wide = from.0.abs_diff(to.0);
            let high = if wide > 0 { 0 } else { from.1.abs_diff(to.1) };
            let y = if wide > 0 { from.1 } else { from.1.min(to.1) };
            Rect::new(from.0.min(to.0), y, wide.max(1), high.max(1))
        }
        Measure::Spectrum { tile, x, y, .. } => {
            let columns = stored.size.grid(stored.tile).w.max(1);
            let tile = Tile {
                level,
                col: tile % columns,
                row: tile / columns,
            };
            let cell = tile.rect(&header.levels).ok_or_else(outside)?;
            if x >= cell.w || y >= cell.h {
                return Err(outside());
            }
            Rect::new(cell.x + x, cell.y + y, 1, 1)
        }
    };
    let inside = rect.right() <= u64::from(stored.size.w) && rect.bottom() <= u64::from(stored.size.h);
    if inside {
        Ok(Window::new(level, rect))
    } else {
        Err(outside())
    }
}

/// The samples as JSON numbers.
fn numbers(raster: &Raster) -> String {
    let join = |texts: Vec<String>| texts.join(",");
    match &raster.samples {
        Samples::U8(samples) => join(samples.iter().map(u8::to_string).collect()),
        Samples::U16(samples) => join(samples.iter().map(u16::to_string).collect()),
        Samples::U32(samples) => join(samples.iter().map(u32::to_string).collect()),
        Samples::F32(samples) => join(samples.iter().map(f32::to_string).collect()),
    }
}

fn profile(rasters: &[(u32, &Header, Raster)]) -> Description {
    let text = match rasters {
        [(_, header, raster)] if header.set.horizontal.is_empty() => {
            format!("{{\n\t\"profile\": [{}]\n}}", numbers(raster))
        }
        all => {
            let lines: Vec<String> = all
                .iter()
                .map(|(angle, _, raster)| format!("\t\t\"{angle}\": [{}]", numbers(raster)))
                .collect();
            format!("{{\n\t\"profile\": {{\n{}\n\t}}\n}}", lines.join(",\n"))
        }
    };
    Description {
        media_type: "application/json",
        links: None,
        text,
    }
}

/// The first channel of each image, scaled from its nominal range to 0–1.
fn spectrum(rasters: &[(u32, &Header, Raster)]) -> Description {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<spectra>\n");
    for (angle, header, raster) in rasters {
        let value = match &raster.samples {
            Samples::U8(samples) => samples.first().map(|v| f64::from(*v)),
            Samples::U16(samples) => samples.first().map(|v| f64::from(*v)),
            Samples::U32(samples) => samples.first().map(|v| f64::from(*v)),
            Samples::F32(samples) => samples.first().map(|v| f64::from(*v)),
        };
        let (low, high) = header.meaning.ranges.first().copied().unwrap_or((0.0, 255.0));
        let reflectance = ((value.unwrap_or(low) - low) / (high - low)).clamp(0.0, 1.0);
        // writing to a String cannot fail
        let _ = write!(
            text,
            "\t<point>\n\t\t<wavelength>{angle}</wavelength>\n\t\t<reflectance>{reflectance:.6}</reflectance>\n\t</point>\n"
        );
    }
    text.push_str("</spectra>");
    Description {
        media_type: "application/xml",
        links: None,
        text,
    }
}
