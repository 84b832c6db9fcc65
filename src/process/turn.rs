//! Mirroring and quarter turns: exact, every pixel moves once.

#![expect(
    clippy::indexing_slicing,
    reason = "indices are below the sides of the picture"
)]

use crate::geometry::Size;
use crate::raster::Layout;
use crate::raster::Picture;

/// Side of the square blocks in which a picture is turned on its side: their rows stay in the nearest cache.
const BLOCK: usize = 32;

/// Mirrors left to right, if asked, then turns clockwise by `quarters` (modulo 4) right angles. An odd number of
/// quarters swaps width and height.
pub fn turn(picture: Picture, mirror: bool, quarters: u8) -> Picture {
    match picture.layout {
        Layout::Grey => turn_pixels::<1>(picture, mirror, quarters),
        Layout::Rgb => turn_pixels::<3>(picture, mirror, quarters),
        Layout::Rgba => turn_pixels::<4>(picture, mirror, quarters),
    }
}

/// Turns a picture whose pixels have `N` bytes.
fn turn_pixels<const N: usize>(mut picture: Picture, mirror: bool, quarters: u8) -> Picture {
    let (w, h) = (picture.size.w as usize, picture.size.h as usize);
    let pixels = picture.data.as_chunks_mut::<N>().0;
    match (quarters % 4, mirror) {
        (0, false) => {}
        (0, true) => pixels.chunks_exact_mut(w.max(1)).for_each(<[_]>::reverse),
        (2, false) => pixels.reverse(),
        (2, true) => {
            // Mirrored and turned by half is upside down.
            let (top, bottom) = pixels.split_at_mut(h / 2 * w);
            let bottom = bottom.rchunks_exact_mut(w.max(1));
            for (a, b) in top.chunks_exact_mut(w.max(1)).zip(bottom) {
                a.swap_with_slice(b);
            }
        }
        (1, mirror) => return on_its_side::<N>(&picture, true, mirror),
        (_, mirror) => return on_its_side::<N>(&picture, false, !mirror),
    }
    picture
}

/// Rows become columns: output (x, y) is input (y, x), counted from the bottom with `up`, from the right with `left`.
fn on_its_side<const N: usize>(picture: &Picture, up: bool, left: bool) -> Picture {
    let size = Size::new(picture.size.h, picture.size.w);
    let (w, h) = (size.w as usize, size.h as usize);
    let from = picture.data.as_chunks::<N>().0;
    let mut data = vec![0; picture.data.len()];
    let to = data.as_chunks_mut::<N>().0;
    for top in (0..h).step_by(BLOCK) {
        for start in (0..w).step_by(BLOCK) {
            for y in top..h.min(top + BLOCK) {
                let column = if left { h - 1 - y } else { y };
                let end = w.min(start + BLOCK);
                for (x, pixel) in (start..end).zip(&mut to[y * w + start..y * w + end]) {
                    let row = if up { w - 1 - x } else { x };
                    *pixel = from[row * h + column];
                }
            }
        }
    }
    Picture {
        size,
        layout: picture.layout,
        data,
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test pictures are small")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbered(size: Size, layout: Layout) -> Picture {
        let len = size.area() as usize * layout.channels();
        Picture {
            size,
            layout,
            data: (0..len).map(|i| (i * 7 + i / 251) as u8).collect(),
        }
    }

    fn pixel(picture: &Picture, x: u32, y: u32) -> &[u8] {
        let n = picture.layout.channels();
        let at = (y * picture.size.w + x) as usize * n;
        &picture.data[at..at + n]
    }

    #[test]
    fn a_quarter_takes_the_left_column_to_the_top_row_backwards() {
        let picture = Picture {
            size: Size::new(2, 3),
            layout: Layout::Grey,
            data: vec![1, 2, 3, 4, 5, 6],
        };
        assert_eq!(turn(picture.clone(), false, 1).data, [5, 3, 1, 6, 4, 2]);
        assert_eq!(turn(picture.clone(), true, 1).data, [6, 4, 2, 5, 3, 1]);
        assert_eq!(turn(picture.clone(), false, 3).data, [2, 4, 6, 1, 3, 5]);
        assert_eq!(turn(picture, true, 2).data, [5, 6, 3, 4, 1, 2]);
    }

    proptest! {
        #[test]
        fn every_pixel_lands_where_one_step_after_the_other_takes_it(
            w in 1u32..80, h in 1u32..80, mirror: bool, quarters in 0u8..8,
            layout in prop::sample::select(vec![Layout::Grey, Layout::Rgb, Layout::Rgba]),
        ) {
            let before = numbered(Size::new(w, h), layout);
            let after = turn(before.clone(), mirror, quarters);
            prop_assert_eq!(after.data.len(), before.data.len());
            for y in 0..h {
                for x in 0..w {
                    // Where (x, y) goes, one step at a time.
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
