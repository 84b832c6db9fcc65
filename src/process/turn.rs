//! Exact mirroring and quarter turns: every pixel moves once.

#![expect(
    clippy::indexing_slicing,
    reason = "indices are below the sides of the picture"
)]

use crate::geometry::Size;
use crate::raster::Raster;
use crate::raster::Samples;
use crate::raster::any_depth;

/// Side of the square blocks in which a picture is transposed: their rows fit the L1 cache.
const BLOCK: usize = 32;

/// Mirrors left to right, if asked, then turns clockwise by `quarters` (modulo 4) right angles. An odd number of
/// quarters swaps width and height.
pub fn turn(raster: Raster, mirror: bool, quarters: u8) -> Raster {
    let Raster {
        size,
        channels,
        samples,
    } = raster;
    let n = usize::from(channels).max(1);
    Raster {
        size: if quarters % 2 == 1 { size.turned() } else { size },
        channels,
        // fixed-size pixels are moved faster
        samples: any_depth!(samples, samples => match n {
            1 => rotate_samples(samples, size, 1, mirror, quarters),
            3 => rotate_samples(samples, size, 3, mirror, quarters),
            4 => rotate_samples(samples, size, 4, mirror, quarters),
            n => rotate_samples(samples, size, n, mirror, quarters),
        }),
    }
}

/// Rotates samples of `n` channels.
#[inline(always)]
fn rotate_samples<S: Copy + Default>(
    mut samples: Vec<S>,
    size: Size,
    n: usize,
    mirror: bool,
    quarters: u8,
) -> Vec<S> {
    let row = (size.w as usize * n).max(1);
    match (quarters % 4, mirror) {
        (0, false) => {}
        (0, true) => samples.chunks_exact_mut(row).for_each(|row| reverse(row, n)),
        (2, false) => reverse(&mut samples, n),
        // mirroring and a half turn flip top to bottom
        (2, true) => reverse(&mut samples, row),
        (quarters, mirror) => {
            let up = quarters == 1;
            return on_its_side(&samples, size, n, up, mirror == up);
        }
    }
    samples
}

/// Reverses the order of groups of `n` samples.
#[inline(always)]
fn reverse<S>(samples: &mut [S], n: usize) {
    let (top, bottom) = samples.split_at_mut(samples.len() / n / 2 * n);
    for (a, b) in top.chunks_exact_mut(n).zip(bottom.rchunks_exact_mut(n)) {
        a.swap_with_slice(b);
    }
}

/// Transposes: output (x, y) is input (y, x), counted from the bottom with `up`, from the right with `left`.
#[inline(always)]
fn on_its_side<S: Copy + Default>(from: &[S], size: Size, n: usize, up: bool, left: bool) -> Vec<S> {
    let (w, h) = (size.h as usize, size.w as usize);
    let mut out = vec![S::default(); from.len()];
    for top in (0..h).step_by(BLOCK) {
        for start in (0..w).step_by(BLOCK) {
            let end = w.min(start + BLOCK);
            for y in top..h.min(top + BLOCK) {
                let column = if left { h - 1 - y } else { y };
                let to = &mut out[(y * w + start) * n..(y * w + end) * n];
                for (x, to) in (start..end).zip(to.chunks_exact_mut(n)) {
                    let row = if up { w - 1 - x } else { x };
                    to.copy_from_slice(&from[(row * h + column) * n..][..n]);
                }
            }
        }
    }
    out
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test pictures are small")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbered(size: Size, channels: u8) -> Raster {
        let len = size.area() as usize * usize::from(channels);
        Raster {
            size,
            channels,
            samples: Samples::U16((0..len).map(|i| i as u16).collect()),
        }
    }

    fn pixel(raster: &Raster, x: u32, y: u32) -> &[u16] {
        let Samples::U16(samples) = &raster.samples else {
            panic!("the depth changed")
        };
        let n = usize::from(raster.channels);
        let at = (y * raster.size.w + x) as usize * n;
        &samples[at..at + n]
    }

    #[test]
    fn a_quarter_takes_the_left_column_to_the_top_row_backwards() {
        let raster = Raster {
            size: Size::new(2, 3),
            channels: 1,
            samples: Samples::U8(vec![1, 2, 3, 4, 5, 6]),
        };
        for (mirror, quarters, wanted) in [
            (false, 1, [5, 3, 1, 6, 4, 2]),
            (true, 1, [6, 4, 2, 5, 3, 1]),
            (false, 3, [2, 4, 6, 1, 3, 5]),
            (true, 2, [5, 6, 3, 4, 1, 2]),
        ] {
            let turned = turn(raster.clone(), mirror, quarters);
            assert_eq!(turned.samples, Samples::U8(wanted.to_vec()));
        }
    }

    proptest! {
        #[test]
        fn every_pixel_lands_where_one_step_after_the_other_takes_it(
            w in 1u32..80, h in 1u32..80, mirror: bool, quarters in 0u8..8,
            channels in 1u8..6,
        ) {
            let before = numbered(Size::new(w, h), channels);
            let after = turn(before.clone(), mirror, quarters);
            prop_assert_eq!(after.samples.len(), before.samples.len());
            for y in 0..h {
                for x in 0..w {
                    // The destination of (x, y), one step at a time.
                    let (mut at, mut size) = ((if mirror { w - 1 - x } else { x }, y), Size::new(w, h));
                    for _ in 0..quarters {
                        at = (size.h - 1 - at.1, at.0);
                        size = size.turned();
                    }
                    prop_assert_eq!(size, after.size);
                    prop_assert_eq!(pixel(&after, at.0, at.1), pixel(&before, x, y));
                }
            }
        }
    }
}
