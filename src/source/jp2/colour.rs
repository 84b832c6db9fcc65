//! Determines the colour channels of a JPEG 2000 file, and converts them to those of a raster.

use crate::codec::jp2::Component;
use crate::codec::jp2::boxes::Boxes;
use crate::codec::jp2::boxes::ChannelDefinition;
use crate::codec::jp2::boxes::Mapped;
use crate::codec::jp2::boxes::Space;
use crate::codec::jp2::rgb;
use crate::raster::Alpha;
use crate::raster::Colour;

/// The conversion from the colours of the file to those of a raster.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ColourConversion {
    Not,
    /// The first three channels are luma and chroma.
    Ycc,
    /// The first three channels are ink.
    Inverted,
    /// 16-bit L*, a* and b*: factor and offset of each.
    Lab([(f32, f32); 3]),
}

impl ColourConversion {
    /// For L*, a* and b* of `bits` bits, with their ranges and offsets or the default ones (T.801 M.11.7.4.1).
    #[expect(
        clippy::cast_possible_truncation,
        reason = "24 bits are enough for samples of 16"
    )]
    pub fn lab(said: Option<[(u32, u32); 3]>, bits: &[u8]) -> ColourConversion {
        let bits = |channel: usize| bits.get(channel).copied().unwrap_or(8).min(32);
        let half = |channel: usize, less: u8| 1_u32 << bits(channel).saturating_sub(less);
        let usual = [(100, 0), (170, half(1, 1)), (200, half(2, 2) | half(2, 3))];
        let mut channel = 0;
        ColourConversion::Lab(said.unwrap_or(usual).map(|(range, offset)| {
            let most = ((1_u64 << bits(channel)) - 1) as f64;
            let range = f64::from(range);
            let least = -f64::from(offset) * range / most;
            // the raster's values for 0 and for 1
            let (zero, unit) = if channel == 0 {
                (0.0, 655.35)
            } else {
                (32768.0, 256.0)
            };
            channel += 1;
            ((range * unit / 65535.0) as f32, (least * unit + zero) as f32)
        }))
    }

    /// Converts pixels of `channels` channels with values from 0 to `full`.
    pub fn apply<T: Copy>(
        self,
        pixels: &mut [T],
        channels: usize,
        full: f32,
        from: impl Fn(T) -> f32,
        to: impl Fn(f32) -> T,
    ) {
        let each = pixels.chunks_exact_mut(channels.max(1));
        match self {
            ColourConversion::Not => {}
            ColourConversion::Ycc => rgb(pixels, channels, full, from, to),
            ColourConversion::Inverted => {
                for value in each.flat_map(|pixel| pixel.iter_mut().take(3)) {
                    *value = to(full - from(*value));
                }
            }
            ColourConversion::Lab(scales) => {
                for pixel in each {
                    for (value, (factor, more)) in pixel.iter_mut().zip(scales) {
                        *value = to((from(*value) * factor + more + 0.5).clamp(0.0, full));
                    }
                }
            }
        }
    }
}

/// The colour of the channels, their number, and the conversion. If the file is silent, one or two components are
/// grey, and more are colour: luma and chroma if all but the first are subsampled.
pub(super) fn colour(boxes: &Boxes, components: &[Component]) -> (Colour, usize, ColourConversion) {
    let sampled = |own: &Component, step: (u32, u32)| own.step.0 * own.step.1 > step.0 * step.1;
    let coarser = match components {
        [luma, blue, red] => sampled(blue, luma.step) && sampled(red, luma.step),
        _ => false,
    };
    let channels = if boxes.mapping.is_empty() {
        components.len()
    } else {
        boxes.mapping.len()
    };
    // a profile states the colour space of its pixels (ICC.1:2022 §7.2.6)
    let profile = boxes.icc.as_deref().and_then(|icc| match icc.get(16..20)? {
        b"GRAY" => Some(Space::Grey),
        b"RGB " => Some(Space::Rgb),
        b"CMYK" => Some(Space::Cmyk),
        b"Lab " => Some(Space::Lab),
        b"YCbr" => Some(Space::Ycc),
        _ => None,
    });
    match boxes.space.or(profile) {
        Some(Space::Cmyk) if channels >= 4 => (Colour::Cmyk, 4, ColourConversion::Not),
        Some(Space::Lab) if channels >= 3 => (Colour::Lab, 3, ColourConversion::Not),
        Some(Space::Ycc) if channels >= 3 => (Colour::Rgb, 3, ColourConversion::Ycc),
        Some(Space::Cmy) if channels >= 3 => (Colour::Rgb, 3, ColourConversion::Inverted),
        Some(Space::Grey) => (Colour::Grey, 1, ColourConversion::Not),
        None if channels == 3 && coarser => (Colour::Rgb, 3, ColourConversion::Ycc),
        _ if channels >= 3 => (Colour::Rgb, 3, ColourConversion::Not),
        _ => (Colour::Grey, 1, ColourConversion::Not),
    }
}

/// The colour channels in order, and the opacity channel of the whole image.
pub(super) fn choose(
    mapping: &[Mapped],
    definitions: &[ChannelDefinition],
    colours: usize,
) -> (Vec<Mapped>, Alpha) {
    let channel = |number: u16| mapping.get(usize::from(number)).copied();
    let colour = |number: usize| {
        let defined = (definitions.iter())
            .find(|d| d.kind == 0 && usize::from(d.association) == number + 1)
            .and_then(|d| channel(d.channel));
        defined.or_else(|| mapping.get(number).copied())
    };
    let mut channels: Vec<Mapped> = (0..colours).filter_map(colour).collect();
    // an opacity of the only colour applies to the image
    let whole = |association: u16| association == 0 || association == 1 && colours == 1;
    let opacity = (definitions.iter()).find(|d| matches!(d.kind, 1 | 2) && whole(d.association));
    let alpha = match opacity.and_then(|d| Some((d.kind, channel(d.channel)?))) {
        Some((kind, channel)) => {
            channels.push(channel);
            if kind == 1 {
                Alpha::Straight
            } else {
                Alpha::Premultiplied
            }
        }
        None => Alpha::None,
    };
    (channels, alpha)
}
