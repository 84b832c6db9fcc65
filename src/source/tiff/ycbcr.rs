//! YCbCr outside JPEG: blocks of pixels that share a chroma sample, and the conversion to RGB (TIFF 6.0 §21).
//!
//! Chroma is repeated over its block, regardless of YCbCrPositioning.

#![expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "values are clamped before they are cast; tables have a place for every byte"
)]

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::source::tiff::ifd::Ifd;
use crate::source::tiff::input::Input;

/// Fractional bits of the tables.
const PLACES: u32 = 16;

/// Weights of red, green and blue in luma (CCIR 601-1).
const WEIGHTS: [f64; 3] = [0.299, 0.587, 0.114];

/// Full range: the codes of black and white in Y, and of no and full chroma in Cb and Cr.
const FULL: [(f64, f64); 3] = [(0.0, 255.0), (128.0, 255.0), (128.0, 255.0)];

/// Chroma subsampling and the tables of the conversion to RGB.
#[derive(Clone, Debug)]
pub struct Ycbcr {
    /// Width and height of the block that shares a chroma sample: 1, 2 or 4 each.
    pub block: (usize, usize),
    luma: [i32; 256],
    /// Contributions of Cr to red and green, and of Cb to green and blue.
    cr: [(i32, i32); 256],
    cb: [(i32, i32); 256],
}

impl Ycbcr {
    /// From YCbCrSubSampling (default 2, 2), YCbCrCoefficients (default those of CCIR 601-1) and ReferenceBlackWhite
    /// (default: full range).
    pub fn of(ifd: &Ifd, input: &Input) -> Result<Ycbcr> {
        let block = ifd.numbers(input, 530, 2)?.unwrap_or_else(|| vec![2, 2]);
        let (w, h) = match *block {
            [w @ (1 | 2 | 4), h @ (1 | 2 | 4)] => (w as usize, h as usize),
            _ => return Err(Error::Corrupt(format!("YCbCr subsampling {block:?}"))),
        };
        let weights = match ifd.floats(input, 529, 3).as_deref() {
            Some(&[r, g, b]) if [r, g, b].iter().all(|weight| *weight > 0.0 && *weight < 1.0) => [r, g, b],
            _ => WEIGHTS,
        };
        let ends = match ifd.floats(input, 532, 6).as_deref() {
            Some(&[a, b, c, d, e, f])
                if [a, b, c, d, e, f]
                    .iter()
                    .all(|end| end.is_finite() && end.abs() < 65536.0)
                    && (b - a).abs() >= 1.0
                    && (d - c).abs() >= 1.0
                    && (f - e).abs() >= 1.0 =>
            {
                [(a, b), (c, d), (e, f)]
            }
            _ => FULL,
        };
        Ok(Ycbcr::new((w, h), weights, ends))
    }

    /// `weights` of red, green and blue in luma, none zero; `ends` are the codes of black and white (no and full
    /// chroma) in Y, Cb and Cr, and must differ. Full range is 255 for luma, 127 for chroma (TIFF 6.0 p. 93).
    fn new(block: (usize, usize), weights: [f64; 3], ends: [(f64, f64); 3]) -> Ycbcr {
        let [red, green, blue] = weights;
        let fixed = |value: f64| (value * f64::from(1 << PLACES)).round().clamp(-1e9, 1e9) as i32;
        let value = |code: usize, (black, white): (f64, f64), range: f64| {
            (code as f64 - black) * range / (white - black)
        };
        let [y, cb, cr] = ends;
        Ycbcr {
            block,
            luma: std::array::from_fn(|code| fixed(value(code, y, 255.0).clamp(-512.0, 1024.0) + 0.5)),
            cr: std::array::from_fn(|code| {
                let cr = value(code, cr, 127.0).clamp(-512.0, 512.0);
                let to_red = cr * (2.0 - 2.0 * red);
                (
                    fixed(to_red),
                    fixed((-to_red * red / green).clamp(-4096.0, 4096.0)),
                )
            }),
            cb: std::array::from_fn(|code| {
                let cb = value(code, cb, 127.0).clamp(-512.0, 512.0);
                let to_blue = cb * (2.0 - 2.0 * blue);
                (
                    fixed((-to_blue * blue / green).clamp(-4096.0, 4096.0)),
                    fixed(to_blue),
                )
            }),
        }
    }

    /// Whether range or weights differ from those that JPEG decoders assume.
    pub fn is_ranged(&self) -> bool {
        let usual = Ycbcr::new(self.block, WEIGHTS, FULL);
        (self.luma, self.cr, self.cb) != (usual.luma, usual.cr, usual.cb)
    }

    /// The same conversion for data that is not subsampled.
    pub fn whole(self) -> Ycbcr {
        Ycbcr {
            block: (1, 1),
            ..self
        }
    }

    /// Bytes of the upper `rows` rows of pixels in a tile of this width.
    pub fn bytes(&self, width: u32, rows: u32) -> u64 {
        let (w, h) = (self.block.0 as u64, self.block.1 as u64);
        u64::from(width).div_ceil(w) * u64::from(rows).div_ceil(h) * (w * h + 2)
    }

    /// The upper left `size` of a tile of this width as interleaved RGB; `plain` has at least `bytes(width, size.h)`
    /// bytes.
    pub fn rgb(&self, plain: &[u8], width: u32, size: Size) -> Vec<u8> {
        let (bw, bh) = self.block;
        let (w, h) = (size.w as usize, size.h as usize);
        let across = (width as usize).div_ceil(bw).max(1);
        let mut out = vec![0; w * h * 3];
        let bands = plain.chunks_exact(across * (bw * bh + 2));
        for (lines, band) in out.chunks_mut(bh * w * 3).zip(bands) {
            for (col, unit) in band.chunks_exact(bw * bh + 2).enumerate() {
                let (luma, &[cb, cr]) = unit.split_at(bw * bh) else {
                    continue;
                };
                for (line, luma) in lines.chunks_exact_mut(w * 3).zip(luma.chunks_exact(bw)) {
                    let pixels = line.as_chunks_mut::<3>().0.iter_mut().skip(col * bw);
                    for (pixel, &luma) in pixels.zip(luma) {
                        *pixel = self.pixel([luma, cb, cr]);
                    }
                }
            }
        }
        out
    }

    /// Converts a pixel to RGB.
    #[inline(always)]
    pub fn pixel(&self, [luma, cb, cr]: [u8; 3]) -> [u8; 3] {
        let luma = self.luma[usize::from(luma)];
        let (cb, cr) = (self.cb[usize::from(cb)], self.cr[usize::from(cr)]);
        [luma + cr.0, luma + cr.1 + cb.0, luma + cb.1].map(|sum| (sum >> PLACES).clamp(0, 255) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_follow_the_formula_of_ccir_601() {
        let ycbcr = Ycbcr::new((1, 1), WEIGHTS, FULL);
        for grey in 0..=255 {
            assert_eq!(ycbcr.pixel([grey, 128, 128]), [grey; 3]);
        }
        assert_eq!(ycbcr.pixel([76, 85, 255]), [254, 0, 0]);
        assert_eq!(ycbcr.pixel([150, 44, 21]), [0, 255, 1]);
        assert_eq!(ycbcr.pixel([255, 255, 255]), [255, 121, 255]);
        // Y 100, Cb 90, Cr 200: R = 100 + 1.402 * 72, G = 100 - .344136 * -38 - .714136 * 72, B = 100 + 1.772 * -38
        assert_eq!(ycbcr.pixel([100, 90, 200]), [201, 62, 33]);
    }

    #[test]
    fn video_range_is_expanded_to_full_range() {
        let ycbcr = Ycbcr::new((1, 1), WEIGHTS, [(16.0, 235.0), (128.0, 240.0), (128.0, 240.0)]);
        assert_eq!(ycbcr.pixel([16, 128, 128]), [0; 3]);
        assert_eq!(ycbcr.pixel([235, 128, 128]), [255; 3]);
        assert_eq!(ycbcr.pixel([0, 128, 128]), [0; 3]);
    }

    #[test]
    fn blocks_share_chroma_and_are_clipped_at_the_edge() {
        let ycbcr = Ycbcr::new((2, 2), WEIGHTS, FULL);
        assert_eq!(ycbcr.bytes(5, 3), 3 * 2 * 6);
        // Luma counts up in storage order; the second block has another colour.
        let mut plain: Vec<u8> = Vec::new();
        for unit in 0..6u8 {
            plain.extend([unit * 4 + 50, unit * 4 + 51, unit * 4 + 52, unit * 4 + 53]);
            plain.extend(if unit == 1 { [128, 200] } else { [128, 128] });
        }
        let rgb = ycbcr.rgb(&plain, 5, Size::new(3, 3));
        let green = |luma: u8| ycbcr.pixel([luma, 128, 200]);
        let grey = |luma: u8| [luma; 3];
        let rows = [
            [grey(50), grey(51), green(54)],
            [grey(52), grey(53), green(56)],
            [grey(62), grey(63), grey(66)],
        ];
        assert_eq!(rgb, rows.as_flattened().as_flattened());
    }
}
