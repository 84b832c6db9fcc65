//! Pixels between two steps: samples of any depth, or 8-bit samples in the layout of a picture.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::process::RowBand;
use crate::process::colour;
use crate::process::resize;
use crate::process::resize::Crop;
use crate::process::resize::Filter;
use crate::raster::Alpha;
use crate::raster::Layout;
use crate::raster::Meaning;
use crate::raster::Picture;
use crate::raster::Raster;
use crate::raster::Samples;
use crate::raster::Strip;
use crate::raster::gather;
use crate::raster::strip;

/// Rows in order; they may be in several buffers until a step joins them.
pub struct Pixels<'a> {
    strips: Vec<Strip<'a>>,
    /// Whether the last channel is straight alpha, by which the others are weighted.
    alpha: bool,
    /// The layout, once the samples have 8 bits.
    layout: Option<Layout>,
}

impl<'a> Pixels<'a> {
    /// Samples as stored. They count as converted if the conversion to 8 bits would not change them.
    pub fn stored(strips: Vec<Strip<'a>>, meaning: &Meaning) -> Self {
        let model = strips.first().map(|(raster, _)| raster);
        let channels = meaning.colour.channels() + 1;
        let last = model.is_some_and(|raster| usize::from(raster.channels) == channels);
        Pixels {
            alpha: meaning.alpha != Alpha::None && last,
            layout: model.and_then(|raster| colour::layout(raster, meaning)),
            strips,
        }
    }

    /// The layout, if the samples have 8 bits.
    pub fn layout(&self) -> Option<Layout> {
        self.layout
    }

    /// The samples in one buffer.
    pub fn raster(self) -> Result<Raster> {
        gather(self.strips)
    }

    /// The picture; `Internal` if the samples were not converted to 8 bits.
    pub fn picture(self) -> Result<Picture> {
        let layout = self.layout;
        match (layout, self.raster()?) {
            (
                Some(layout),
                Raster {
                    size,
                    samples: Samples::U8(data),
                    ..
                },
            ) => Ok(Picture { size, layout, data }),
            _ => Err(Error::Internal(
                "samples were not converted to 8 bits before a step that requires it".into(),
            )),
        }
    }

    /// Converts to 8 bits.
    pub(in crate::process) fn eight(self, meaning: &Meaning) -> Result<Self> {
        match self.layout {
            Some(_) => Ok(self),
            None => Ok(colour::picture(self.raster()?, meaning)?.into()),
        }
    }

    /// Resamples a crop to a size, at the current depth.
    pub(in crate::process) fn resize(
        self,
        part: Option<&RowBand>,
        what: (Crop, Size, Filter),
    ) -> Result<Self> {
        let resized = resize::resize(&self.strips, self.alpha, part, what)?;
        Ok(Pixels {
            strips: vec![strip(resized)],
            ..self
        })
    }

    /// Applies a function that moves whole pixels, at any depth.
    pub(in crate::process) fn moved(self, to: impl FnOnce(Raster) -> Raster) -> Result<Self> {
        Ok(Pixels {
            strips: vec![strip(to(gather(self.strips)?))],
            ..self
        })
    }
}

impl From<Picture> for Pixels<'_> {
    fn from(picture: Picture) -> Self {
        let channels = match picture.layout {
            Layout::Grey => 1,
            Layout::Rgb => 3,
            Layout::Rgba => 4,
        };
        let raster = Raster {
            size: picture.size,
            channels,
            samples: Samples::U8(picture.data),
        };
        Pixels {
            strips: vec![strip(raster)],
            alpha: picture.layout == Layout::Rgba,
            layout: Some(picture.layout),
        }
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test pictures are small")]
mod tests {
    use super::*;
    use crate::process::Op;
    use crate::process::keeps_depth;
    use crate::process::run;
    use crate::raster::Colour;
    use crate::raster::SampleFormat;

    /// The result of the steps on 7 by 5 pixels.
    fn after(ops: &[Op], meaning: &Meaning, samples: Samples) -> Result<Pixels<'static>> {
        let raster = Raster {
            size: Size::new(7, 5),
            channels: meaning.ranges.len() as u8,
            samples,
        };
        run(vec![strip(raster)], meaning, ops, None, || {
            Err(Error::Internal("no histogram".into()))
        })
    }

    /// Compares the same steps on 8-bit and on deeper samples of the same values.
    fn both(op: Op, colour: Colour, alpha: Alpha) {
        let meaning = Meaning::bytes(colour, alpha);
        let data: Vec<u8> = (0..35 * meaning.ranges.len())
            .map(|i| (i * 29 % 251) as u8)
            .collect();
        let deep = Samples::U16(data.iter().map(|&v| u16::from(v) * 257).collect());
        let real = Samples::F32(data.iter().map(|&v| f32::from(v)).collect());
        let after = |samples| after(std::slice::from_ref(&op), &meaning, samples).unwrap();
        let wanted = after(Samples::U8(data)).picture().unwrap();
        let (deep, real) = (after(deep).raster().unwrap(), after(real).raster().unwrap());
        assert_eq!((deep.size, real.size), (wanted.size, wanted.size));
        let (Samples::U16(deep), Samples::F32(real)) = (deep.samples, real.samples) else {
            panic!("{op:?} changed the depth")
        };
        for ((deep, real), wanted) in deep.iter().zip(real).zip(wanted.data) {
            let apart = i32::from(*deep) - i32::from(wanted) * 257;
            assert!(apart.abs() <= 129, "{op:?}");
            assert!((real - f32::from(wanted)).abs() <= 0.51, "{op:?}");
        }
    }

    #[test]
    fn deeper_pixels_move_like_eight_bit_ones() {
        let resize = Op::Resize {
            crop: Crop {
                x: 0,
                y: 0,
                w: 7 << 16,
                h: 5 << 16,
            },
            to: Size::new(4, 3),
            filter: Filter::Bilinear,
        };
        for (colour, alpha) in [
            (Colour::Grey, Alpha::None),
            (Colour::Rgb, Alpha::None),
            (Colour::Rgb, Alpha::Straight),
        ] {
            both(resize.clone(), colour, alpha);
            for size in [Size::new(6, 5), Size::new(8, 6), Size::new(7, 4)] {
                both(Op::Fit(size), colour, alpha);
            }
            for quarters in 0..4 {
                for mirror in [false, true] {
                    both(Op::Turn { mirror, quarters }, colour, alpha);
                }
            }
        }
    }

    #[test]
    fn steps_over_colours_need_eight_bits() {
        let grey = Meaning::bytes(Colour::Grey, Alpha::None);
        let deep = || Samples::U16(vec![0x1234; 35]);
        let early = after(&[Op::Flatten([0; 3]), Op::Eight], &grey, deep());
        assert!(matches!(early, Err(Error::Internal(_))));
        let never = after(&[], &grey, deep()).unwrap();
        assert!(matches!(never.picture(), Err(Error::Internal(_))));
        let converted = after(&[Op::Eight, Op::Flatten([0; 3])], &grey, deep()).unwrap();
        assert_eq!(converted.picture().unwrap().data, [0x12; 35]);
    }

    #[test]
    fn a_wrong_sample_count_is_corrupt() {
        let grey = Meaning::bytes(Colour::Grey, Alpha::None);
        let quarter = || Op::Turn {
            mirror: false,
            quarters: 1,
        };
        for ops in [vec![], vec![quarter()], vec![Op::Eight, quarter()]] {
            for samples in [Samples::U8(vec![0; 34]), Samples::U16(vec![0; 36])] {
                let raster = after(&ops, &grey, samples).and_then(Pixels::raster);
                assert!(matches!(raster, Err(Error::Corrupt(_))), "{ops:?}");
            }
        }
    }

    #[test]
    fn steps_that_only_move_pixels_keep_the_depth() {
        let grey = Meaning::bytes(Colour::Grey, Alpha::None);
        assert!(keeps_depth(&[Op::Eight], &grey, 16, SampleFormat::Unsigned, 1));
        assert!(!keeps_depth(&[], &grey, 8, SampleFormat::Unsigned, 1));
        assert!(keeps_depth(&[], &grey, 8, SampleFormat::Signed, 1));
        assert!(!keeps_depth(&[Op::Bitonal], &grey, 16, SampleFormat::Unsigned, 1));
        assert!(keeps_depth(
            &[Op::Fit(Size::new(1, 1))],
            &grey,
            32,
            SampleFormat::Unsigned,
            9
        ));
        let cmyk = Meaning::bytes(Colour::Cmyk, Alpha::None);
        assert!(!keeps_depth(&[], &cmyk, 16, SampleFormat::Unsigned, 4));
    }
}
