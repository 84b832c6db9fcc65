//! PixarLog: a zlib stream of logarithmic codes in, bytes of linear samples out (TIFF compression 32909).
//!
//! A code has 11 bits. Up to 250 light is in proportion to it, from there on each step is a factor of e^(1/250), 1250 is
//! white and the last is 24 times as much; the two parts meet in value and in slope. A row holds differences to the pixel
//! before, in words of 16 bits. The curve was found in what libtiff 4.5 makes of all codes, and equals that.

use crate::codec::BlockShape;
use crate::codec::deflate;
use crate::error::Error;
use crate::error::Result;
use crate::raster::SampleFormat;
use crate::uninit;
use crate::uninit::UninitBuf;
use std::sync::LazyLock;

/// All bits of a code.
const MASK: u16 = 0x7ff;

/// What every code means.
static LIGHT: LazyLock<Vec<f32>> = LazyLock::new(|| (0..=MASK).map(light).collect());

#[expect(
    clippy::cast_possible_truncation,
    reason = "single precision is what is given"
)]
fn light(code: u16) -> f32 {
    let code = f64::from(code);
    let linear = code / 250.0 * (-4f64).exp();
    let light = if code < 250.0 {
        linear
    } else {
        ((code - 1250.0) / 250.0).exp()
    };
    light as f32
}

/// Decodes a block of this shape into what is left of the buffer: whole numbers of 8 and 16 bits, whose maximum is white
/// and all that is lighter, or floating point of 32 bits, where white is 1 and up to 24.24 is there.
///
/// A stream that ends earlier yields what it contains; one that holds more is cut. `Error::Corrupt` when it is damaged,
/// `Error::Unsupported` for other samples.
pub fn decode(data: &[u8], shape: BlockShape, buf: &mut UninitBuf) -> Result<()> {
    let samples = usize::try_from(shape.size.area())
        .unwrap_or(usize::MAX)
        .saturating_mul(shape.channels);
    let words: Vec<u8> = uninit::filled(samples.saturating_mul(2), |words| deflate::decode(data, words))?;
    let words = words.as_chunks().0;
    match (shape.kind, shape.bits) {
        (SampleFormat::Unsigned, 8) => put(words, shape, buf, |light| [whole(light, 255)[3]]),
        (SampleFormat::Unsigned, 16) => put(words, shape, buf, |light| {
            let [.., high, low] = whole(light, 65535);
            shape.ordered([high, low])
        }),
        (SampleFormat::Float, 32) => put(words, shape, buf, |light| shape.ordered(light.to_be_bytes())),
        (kind, bits) => {
            return Err(Error::Unsupported(format!(
                "PixarLog of {kind:?} samples of {bits} bits is not supported"
            )));
        }
    }
    Ok(())
}

/// Light as a share of the maximum, rounded to nearest; most significant byte first.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "light is not negative, and less than 25"
)]
fn whole(light: f32, most: u32) -> [u8; 4] {
    let value = (f64::from(light) * f64::from(most) + 0.5) as u32;
    value.min(most).to_be_bytes()
}

/// Sums the differences up, channel by channel, and puts what the codes mean.
fn put<const N: usize>(
    words: &[[u8; 2]],
    shape: BlockShape,
    buf: &mut UninitBuf,
    bytes: impl Fn(f32) -> [u8; N],
) {
    let channels = shape.channels.max(1);
    let line = (shape.size.w as usize).saturating_mul(channels).max(1);
    let mut codes = vec![0u16; channels];
    let mut out = Vec::new();
    for row in words.chunks(line) {
        codes.fill(0);
        out.clear();
        for pixel in row.chunks(channels) {
            for (code, word) in codes.iter_mut().zip(pixel) {
                *code = code.wrapping_add(u16::from_be_bytes(shape.ordered(*word))) & MASK;
                let light = LIGHT.get(usize::from(*code)).copied().unwrap_or_default();
                out.extend_from_slice(&bytes(light));
            }
        }
        buf.put(&out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Size;
    use miniz_oxide::deflate::compress_to_vec_zlib;
    use proptest::prelude::*;

    /// Two rows of four pixels of three channels of 8 bits, 11 apart, by libtiff 4.5.
    #[rustfmt::skip]
    const COLOUR: [u8; 56] = [
        0x78, 0x9c, 0x63, 0x60, 0xb8, 0xc0, 0x58, 0xcb, 0xf4, 0x98, 0x29, 0x9a, 0xf1, 0x19, 0xc3, 0x5a,
        0x86, 0x1e, 0x86, 0x52, 0x86, 0x54, 0x86, 0x48, 0x86, 0x00, 0x06, 0x5b, 0x96, 0x40, 0x96, 0x14,
        0x16, 0x0b, 0x06, 0x13, 0x06, 0x03, 0x06, 0x3d, 0x06, 0x6d, 0x06, 0x4d, 0x06, 0x35, 0x06, 0x55,
        0x06, 0x65, 0x06, 0x00, 0x0f, 0x15, 0x08, 0xbe,
    ];

    fn shape(size: (u32, u32), channels: usize, bits: u8) -> BlockShape {
        BlockShape {
            size: Size::new(size.0, size.1),
            channels,
            bits,
            kind: if bits == 32 {
                SampleFormat::Float
            } else {
                SampleFormat::Unsigned
            },
            big: false,
        }
    }

    fn decoded(data: &[u8], shape: BlockShape) -> Result<Vec<u8>> {
        let samples = shape.size.area() as usize * shape.channels;
        uninit::filled(samples * usize::from(shape.bits / 8), |buf| {
            decode(data, shape, buf)
        })
    }

    fn coded(words: &[u16], big: bool) -> Vec<u8> {
        let bytes = |word: &u16| {
            if big {
                word.to_be_bytes()
            } else {
                word.to_le_bytes()
            }
        };
        compress_to_vec_zlib(&words.iter().flat_map(bytes).collect::<Vec<u8>>(), 6)
    }

    #[test]
    fn codes_mean_what_they_mean_to_libtiff() {
        // some with what libtiff makes of them in floating point, 16 bits and 8
        let cases = [
            (0, 0.0, 0, 0),
            (1, 7.326_255_6e-5, 5, 0),
            (125, 0.009_157_82, 600, 2),
            (249, 0.018_242_376, 1196, 5),
            (250, 0.018_315_64, 1200, 5),
            (251, 0.018_389_048, 1205, 5),
            (800, 0.165_298_9, 10833, 42),
            // the next float is half a step more
            (1197, 0.808_964_67, 53015, 206),
            (1249, 0.996_008, 65273, 254),
            (1250, 1.0, 65535, 255),
            (1251, 1.004_008, 65535, 255),
            (2047, 24.239_899, 65535, 255),
        ];
        let all = |big| coded(&[&[0][..], &[1; 2047]].concat(), big);
        let decoded = |big, bits| {
            let shape = shape((2048, 1), 1, bits);
            decoded(&all(big), BlockShape { big, ..shape }).unwrap()
        };
        for (code, light, deep, byte) in cases {
            assert_eq!(decoded(false, 8)[code], byte);
            assert_eq!(decoded(true, 8)[code], byte);
            assert_eq!(decoded(false, 16).as_chunks().0[code], u16::to_le_bytes(deep));
            assert_eq!(decoded(true, 16).as_chunks().0[code], u16::to_be_bytes(deep));
            assert_eq!(decoded(false, 32).as_chunks().0[code], f32::to_le_bytes(light));
            assert_eq!(decoded(true, 32).as_chunks().0[code], f32::to_be_bytes(light));
        }
    }

    #[test]
    fn a_block_of_libtiff_comes_back() {
        let wanted: Vec<u8> = (0..24).map(|index| index * 11).collect();
        assert_eq!(decoded(&COLOUR, shape((4, 2), 3, 8)).unwrap(), wanted);
    }

    #[test]
    fn differences_are_of_a_channel_in_its_row_modulo_all_codes() {
        let words = [1250, 0, 2047, 0xfff0 | 1, 0, 1250, 1, 1250];
        let one =
            |channels, width| decoded(&coded(&words, false), shape((width, 8 / width), channels, 8)).unwrap();
        // 1250, 1250, 1249, 1234; 0, 1250, 1251, 453
        assert_eq!(one(1, 4), [255, 255, 254, 239, 0, 255, 255, 11]);
        // 1250, 0, 1249, 2033; 0, 1250, 1, 452
        assert_eq!(one(2, 2), [255, 0, 254, 255, 0, 255, 0, 10]);
        // 1250, 0, 2047, 2033; 1250, 1250, 0, 1235
        assert_eq!(one(4, 2), [255, 0, 255, 255, 255, 255, 0, 240]);
    }

    #[test]
    fn a_stream_that_ends_earlier_gives_what_it_has() {
        let short = coded(&[1250, 0, 0], false);
        assert_eq!(decoded(&short, shape((2, 2), 1, 8)).unwrap(), [255, 255, 0]);
        assert_eq!(decoded(&short, shape((2, 1), 1, 8)).unwrap(), [255, 255]);
        for end in 0..COLOUR.len() - 4 {
            let found = decoded(&COLOUR[..end], shape((4, 2), 3, 8));
            assert!(
                matches!(found, Err(Error::Corrupt(_))) || found.unwrap().len() == 24,
                "{end}"
            );
        }
        assert!(matches!(
            decoded(&short, shape((2, 2), 1, 24)),
            Err(Error::Unsupported(_))
        ));
    }

    proptest! {
        #[test]
        fn damage_ends_in_an_error_or_in_no_more_than_was_asked_for(
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            (width, height) in (1u32..9, 1u32..9),
            channels in 1usize..5,
            bits in prop::sample::select(&[8u8, 16, 32][..]),
        ) {
            let mut data = COLOUR;
            for (at, byte) in damage {
                data[at.index(COLOUR.len())] = byte;
            }
            let shape = shape((width, height), channels, bits);
            if let Ok(found) = decoded(&data, shape) {
                let most = (width * height) as usize * channels * usize::from(bits / 8);
                prop_assert!(found.len() <= most);
            }
        }
    }
}
