//! Decodes one code-block of JPEG 2000 with the coder that its style selects: the bytes of its coding passes in, its
//! quantised coefficients out.
//!
//! Dequantisation, placement and regions of interest are left to the caller.

use crate::codec::jp2::block::CodeBlock;
use crate::codec::jp2::block::PLANES;
use crate::codec::jp2::block::SAMPLES;
use crate::codec::jp2::block::SIDE;
use crate::codec::jp2::block::style;
use crate::codec::jp2::ebcot;
use crate::codec::jp2::ht;
use crate::error::Error;
use crate::error::Result;

/// Memory that a thread reuses from block to block.
pub struct BlockScratch {
    ebcot: Box<ebcot::EbcotScratch>,
    ht: Box<ht::HtScratch>,
    bytes: Vec<u8>,
}

impl BlockScratch {
    /// About 200 kB.
    pub fn new() -> BlockScratch {
        BlockScratch {
            ebcot: Box::new(ebcot::EbcotScratch::new()),
            ht: Box::new(ht::HtScratch::new()),
            bytes: Vec::new(),
        }
    }
}

impl Default for BlockScratch {
    fn default() -> Self {
        BlockScratch::new()
    }
}

/// Decodes `block` into `out`: `w` times `h` values in contiguous rows, signed, with one fractional bit. A non-zero
/// sample has its decoded bits, plus half of the last decoded bit-plane.
///
/// Missing passes give lower precision; damage gives wrong values, never a failure. `Error::Unsupported` for more
/// than 30 bit-planes; `Error::Corrupt` for an invalid shape, for raw and coded passes in one segment, or if `out` is
/// too short.
pub fn decode(block: &CodeBlock, scratch: &mut BlockScratch, out: &mut [i32]) -> Result<()> {
    let (w, h) = (block.w as usize, block.h as usize);
    if !(1..=SIDE).contains(&block.w) || !(1..=SIDE).contains(&block.h) || w * h > SAMPLES {
        return Err(Error::Corrupt(format!("jpeg 2000 code-block of {w}x{h}")));
    }
    let Some(out) = out.get_mut(..w * h) else {
        return Err(Error::Corrupt(format!(
            "jpeg 2000 code-block of {w}x{h} into {} samples",
            out.len()
        )));
    };
    if block.segments.is_empty() || block.planes == 0 {
        out.fill(0);
        return Ok(());
    }
    if block.planes > PLANES {
        return Err(Error::Unsupported(format!(
            "jpeg 2000 with {} bit-planes",
            block.planes
        )));
    }
    if block.style & style::HT != 0 {
        throughput(block, scratch, out);
        return Ok(());
    }
    ebcot::decode(block, &mut scratch.ebcot, &mut scratch.bytes, out)
}

/// The passes of a high-throughput block: sets of a clean-up pass and a segment that refines it, each a bit-plane
/// lower than the one before. Only the last set with bytes is needed.
fn throughput(block: &CodeBlock, scratch: &mut BlockScratch, out: &mut [i32]) {
    let BlockScratch {
        bytes, ht: memory, ..
    } = scratch;
    let mut passes = 0_u32;
    let mut last = None;
    for (index, segment) in block.segments.iter().enumerate() {
        passes += u32::from(segment.passes);
        let len: usize = segment.pieces.iter().map(|piece| piece.len()).sum();
        if passes % 3 == 1 && len > 1 {
            last = Some((index, passes / 3, len));
        }
    }
    let plane = |set: u32| (u32::from(block.planes) - 1).checked_sub(set);
    let Some((index, plane, len)) = last.and_then(|(index, set, len)| Some((index, plane(set)?, len))) else {
        out.fill(0);
        return;
    };
    bytes.clear();
    let set = block.segments.iter().skip(index).take(2);
    set.flat_map(|segment| segment.pieces)
        .for_each(|piece| bytes.extend_from_slice(piece));
    let (first, second) = bytes.split_at(len);
    let refinement = block
        .segments
        .get(index + 1)
        .map(|segment| u32::from(segment.passes));
    ht::decode(
        block.w as usize,
        plane,
        block.style & style::CAUSAL != 0,
        first,
        refinement
            .filter(|_| !second.is_empty())
            .map(|passes| (passes, second)),
        memory,
        out,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::jp2::block::BandOrientation;
    use crate::codec::jp2::block::Segment;
    use crate::codec::jp2::examples::bytes;
    use crate::codec::jp2::examples::checksum;
    use crate::codec::jp2::examples::picture;
    use crate::random::Random;

    const W: u32 = 9;
    const H: u32 = 7;

    /// Passes and bytes of each segment, such as `22:122b58`, by OpenJPEG 2.5.0.
    fn segments(text: &str) -> Vec<(u8, Vec<u8>)> {
        text.split_whitespace()
            .map(|segment| {
                let (passes, hex) = segment.split_once(':').unwrap();
                (passes.parse().unwrap(), bytes(hex))
            })
            .collect()
    }

    /// Decodes with each segment cut into pieces of at most `piece` bytes.
    fn decoded(
        band: BandOrientation,
        style: u8,
        planes: u8,
        segments: &[(u8, Vec<u8>)],
        piece: usize,
    ) -> Vec<i32> {
        let pieces: Vec<Vec<&[u8]>> = segments
            .iter()
            .map(|(_, bytes)| bytes.chunks(piece).collect())
            .collect();
        let segments: Vec<Segment> = segments
            .iter()
            .zip(&pieces)
            .map(|(&(passes, _), pieces)| Segment { passes, pieces })
            .collect();
        let mut out = vec![i32::MIN; (W * H) as usize];
        let block = CodeBlock {
            w: W,
            h: H,
            band,
            style,
            planes,
            segments: &segments,
        };
        assert!(decode(&block, &mut BlockScratch::new(), &mut out).is_ok());
        out
    }

    const PLAIN: &str = "22:122b584cd6577b9a5903e25d1512fc0b7b854acaab1008cf186a3f7603468f066d44adf7e0ef954a0c0866e51fd1\
        a6acdefc391c4ab2df50968b0ead25e2c741c57f";

    #[test]
    fn decodes_every_style() {
        for (style, text) in [
            (0, PLAIN),
            (
                style::BYPASS,
                "10:122b584cd6577b9a5903e25d1512fc0b7b854acaab1008cf186a3f7603468f1f 2:40d8c0d26d51bd13 1:ff7f \
                2:fb3af3a8615176272a 1:ff7f 2:5222f2900ae03352 1:ff7f 2:68b3de68bddca776 1:ff7f",
            ),
            (
                style::RESET,
                "22:122db52065c2d3d9bd7c3483c35a490413093a0d4d382f07266cfa3ade594c2ccdbf2ab764d0fad0c08fea4bf7fa5166\
                782ca1344532dcfd49ea86411e0a63a0e2bf",
            ),
            (
                style::CAUSAL,
                "22:122b584cd6577b9a5903e25d1512fc0b6f854acaab1008cc186a3f7603468f066d44adf7e0ef954a0c0866e51fd1a6ac\
                defc391c4ab2df50968b0ead25e2c741c57f",
            ),
            (
                style::SYMBOLS,
                "22:122d32cdcd6577b9a5903e25d15125d641ec220acaab1008f703853bf7603468f0921d44adf7e0ef954a24fbfd6e51fd\
                1a6acdf5f7481c4ab2df5096db7d5ad25e2c741c573f",
            ),
            (
                style::BYPASS | style::TERMALL | style::CAUSAL,
                "1:122f 1:33679ac7 1:7f 1:2207b2c81f12e8a88f 1:cef38d527f 1:1de0ac403f 1:3f 1:61fc9f 1:698dd80d1a3c7f \
                1:ff7f 1:41 1:3630349b546f44d5 1:ff7f 1:fb 1:3af3a8615176272a 1:ff7f 1: 1:5222f2900ae03352 1:ff7f 1: \
                1:68b3de68bddca776 1:ff7f",
            ),
            (
                0x3F,
                "1:122d19 1:c082865c 1:00 1:1a0f57ebe1a41e1a24 1:cc77042191 1:199aa69c10 1:35 1:3f4861 \
                1:091e75bcb297ef 1:b6 1:41 1:3630349b546f44d5 1:b6 1:fb 1:3af3a8615176272a 1:b6 1: 1:5222f2900ae03352 \
                1:b6 1: 1:68b3de68bddca776 1:b6",
            ),
        ] {
            for piece in [1, 5, 1000] {
                let out = decoded(BandOrientation::Ll, style, 8, &segments(text), piece);
                let whole: Vec<i32> = out.iter().map(|value| value / 2).collect();
                assert_eq!(whole, picture(), "style {style:#x} in pieces of {piece}");
                assert!(
                    out.iter().all(|value| *value == 0 || value % 2 != 0),
                    "half of the last plane is added"
                );
            }
        }
    }

    /// The sub-bands of 18x14 samples of the same formula; sums of what undoes to the picture.
    #[test]
    fn contexts_follow_the_band() {
        for (band, planes, expected, text) in [
            (
                BandOrientation::Hl,
                8,
                3_066_072_175,
                "22:26b12e834515753a5f56ebae4a7c1761d87813a8185e0724a45347504759be158e7899e2f43ce4ee7b0b746b983e96bf\
                ec95ecb1770caace4fe72ad0ff82c3f4cb65f2",
            ),
            (
                BandOrientation::Lh,
                8,
                2_861_687_169,
                "22:00c12974bb3cecb1506825425ca234462a478090c155f8f87ce4fe91dd4ec8841353f265de96ee657e2bdac9c47579da\
                26fa10f015279aab33614ebc09093241a0a2fa5c",
            ),
            (
                BandOrientation::Hh,
                9,
                3_909_404_589,
                "25:3e632edb4191e540e9982eb20f3a909a20bf89413e9c02b57b139232d77b2b4f04a412abdd69f29040922d2346cdb347\
                5c9bc3de3362e61e5a99d72049b60ab960f52283ee5100",
            ),
        ] {
            assert_eq!(
                checksum(&decoded(band, 0, planes, &segments(text), 1000)),
                expected,
                "{band:?}"
            );
        }
    }

    /// Whatever the number of passes, a sample is off by no more than the missing bit-planes.
    #[test]
    fn fewer_passes_give_a_coarser_picture() {
        for passes in 1..=22_u8 {
            let mut segments = segments(PLAIN);
            segments[0].0 = passes;
            let missing = 7 - (u32::from(passes) - 1) / 3;
            for (value, exact) in decoded(BandOrientation::Ll, 0, 8, &segments, 1000)
                .into_iter()
                .zip(picture())
            {
                assert!(
                    (value - 2 * exact).unsigned_abs() < 4 << missing,
                    "{value} for {exact} after {passes}"
                );
            }
        }
    }

    #[test]
    fn refuses_invalid_blocks() {
        let bytes: &[u8] = &[1, 2, 3];
        let segments = [Segment {
            passes: 12,
            pieces: &[bytes],
        }];
        let block = |w, h, style, planes| CodeBlock {
            w,
            h,
            band: BandOrientation::Ll,
            style,
            planes,
            segments: &segments,
        };
        let mut scratch = BlockScratch::new();
        let mut out = [0; SAMPLES];
        for (w, h) in [(0, 4), (4, 0), (1025, 1), (1, 1025), (64, 65)] {
            assert!(
                matches!(
                    decode(&block(w, h, 0, 8), &mut scratch, &mut out),
                    Err(Error::Corrupt(_))
                ),
                "{w}x{h}"
            );
        }
        assert!(matches!(
            decode(&block(8, 8, 0, 8), &mut scratch, &mut [0; 63]),
            Err(Error::Corrupt(_))
        ));
        assert!(matches!(
            decode(&block(8, 8, 0, 31), &mut scratch, &mut out),
            Err(Error::Unsupported(_))
        ));
        assert!(matches!(
            decode(&block(8, 8, style::BYPASS, 8), &mut scratch, &mut out),
            Err(Error::Corrupt(_))
        ));
        assert!(decode(&block(64, 64, 0, 30), &mut scratch, &mut out).is_ok());
    }

    /// Random bytes in random blocks: no panic, and nothing beyond the bit-planes. The memory is used again and again.
    #[test]
    fn takes_any_bytes() {
        let mut random = Random::new(7);
        let mut scratch = BlockScratch::new();
        let mut out = [0; SAMPLES];
        for _ in 0..1500 {
            let widest = if random.below(4) == 0 { SIDE } else { 70 };
            let w = 1 + random.below(widest);
            let h = 1 + random.below((4096 / w).min(SIDE));
            let style = if random.below(2) == 0 {
                0
            } else {
                random.below(0x80).to_le_bytes()[0]
            };
            let planes = random.below(33).to_le_bytes()[0];
            let band = [
                BandOrientation::Ll,
                BandOrientation::Hl,
                BandOrientation::Lh,
                BandOrientation::Hh,
            ][random.below(4) as usize];
            let count = random.below(8);
            let mut segment = |_| {
                let len = random.below(900);
                random.bytes(len, 9)
            };
            let bytes: Vec<Vec<u8>> = (0..count).map(&mut segment).collect();
            let pieces: Vec<Vec<&[u8]>> = bytes.iter().map(|bytes| bytes.chunks(300).collect()).collect();
            let segments: Vec<Segment> = pieces
                .iter()
                .map(|pieces| Segment {
                    passes: random.below(40).to_le_bytes()[0],
                    pieces,
                })
                .collect();
            let block = CodeBlock {
                w,
                h,
                band,
                style,
                planes,
                segments: &segments,
            };
            if decode(&block, &mut scratch, &mut out).is_ok() {
                let most = if style & style::HT != 0 {
                    1 << 31
                } else {
                    2_u64 << planes
                };
                let samples = &out[..(w * h) as usize];
                assert!(
                    samples.iter().all(|value| u64::from(value.unsigned_abs()) < most),
                    "{style:#x} {planes}"
                );
            }
        }
    }
}
