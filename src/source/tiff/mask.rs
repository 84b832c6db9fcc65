//! Transparency masks: another picture of the file gives the opacity of pixels (TIFF 6.0 p. 36).

use crate::error::Error;
use crate::error::Result;
use crate::raster::Raster;
use crate::raster::Samples;
use crate::source::tiff::layout::BlockLayout;
use crate::source::tiff::layout::SampleType;

/// The alpha value of full opacity for samples of a layout.
pub fn opaque(layout: &BlockLayout) -> f64 {
    match layout.depth() {
        SampleType::U8 => 255.0,
        SampleType::U16 => 65535.0,
        SampleType::U32 => f64::from(u32::MAX),
        SampleType::F32 => 1.0,
    }
}

/// Adds the mask as alpha after the colours. `Error::Corrupt` if the sizes differ.
pub fn put(raster: Raster, mask: &Raster, layout: &BlockLayout) -> Result<Raster> {
    let colours = layout.meaning.colour.channels();
    let alpha: Vec<u8> = match &mask.samples {
        Samples::U8(values) => values.clone(),
        Samples::U16(values) => values.iter().map(|value| value.to_be_bytes()[0]).collect(),
        Samples::U32(values) => values
            .iter()
            .map(|value| if *value == 0 { 0 } else { 255 })
            .collect(),
        Samples::F32(values) => values
            .iter()
            .map(|value| if *value == 0.0 { 0 } else { 255 })
            .collect(),
    };
    let channels = usize::from(raster.channels);
    if mask.size != raster.size || channels < colours || raster.samples.len() != alpha.len() * channels {
        return Err(Error::Corrupt("a mask of another size than its picture".into()));
    }
    let samples = match &raster.samples {
        Samples::U8(values) => Samples::U8(woven(values, channels, colours, &alpha, |alpha| alpha)),
        Samples::U16(values) => {
            let full = |alpha: u8| u16::from(alpha) * 257;
            Samples::U16(woven(values, channels, colours, &alpha, full))
        }
        Samples::U32(values) => {
            let full = |alpha: u8| u32::from(alpha) * 0x0101_0101;
            Samples::U32(woven(values, channels, colours, &alpha, full))
        }
        Samples::F32(values) => {
            let full = |alpha: u8| f32::from(alpha) / 255.0;
            Samples::F32(woven(values, channels, colours, &alpha, full))
        }
    };
    Ok(Raster {
        channels: raster.channels.saturating_add(1),
        samples,
        ..raster
    })
}

/// Inserts a channel after the first `channels` ones.
fn woven<T: Copy>(
    samples: &[T],
    channels: usize,
    after: usize,
    alpha: &[u8],
    full: impl Fn(u8) -> T,
) -> Vec<T> {
    let mut out = Vec::with_capacity(samples.len() + alpha.len());
    for (pixel, alpha) in samples.chunks_exact(channels.max(1)).zip(alpha) {
        let (colours, others) = pixel.split_at(after.min(pixel.len()));
        out.extend_from_slice(colours);
        out.push(full(*alpha));
        out.extend_from_slice(others);
    }
    out
}
