//! Watermarks: a picture blended over answers, repeated if small and cropped if large.
//!
//! Positions are a function of the plan: equal plans have equal watermarks.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "means of bytes and sums cut to 0–255; the share of a number below 2^32"
)]

use crate::fingerprint;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::process::colour;
use crate::raster::Layout;
use crate::raster::Picture;
use std::fmt;
use std::hash::Hash;
use std::hash::Hasher;
use std::path::PathBuf;
use std::sync::Arc;

/// The watermark's file, and how it is applied.
#[derive(Clone, Debug)]
pub struct WatermarkSettings {
    /// A TIFF file.
    pub path: PathBuf,
    /// 0–1.
    pub opacity: f64,
    /// Fraction of the cells that get a mark, 0–1.
    pub probability: f64,
}

/// A configured watermark. Two are equal if their pixels, opacity and probability are.
pub struct Watermark {
    /// Laid over a picture where it has alpha; else its light is added.
    picture: Picture,
    /// What all of its pixels weigh, 0–1.
    weight: f32,
    /// How many of 2^32 cells get a mark.
    share: u64,
    identity: u64,
}

impl Watermark {
    /// A mark from a picture with straight alpha or none. `opacity` and `probability` are clamped to 0–1.
    pub fn new(picture: Picture, opacity: f64, probability: f64) -> Watermark {
        let opacity = opacity.clamp(0.0, 1.0);
        let share = (probability.clamp(0.0, 1.0) * 4_294_967_296.0) as u64;
        let drawn = (picture.size, picture.layout, &picture.data);
        let identity = fingerprint::of(&(drawn, opacity.to_bits(), share));
        Watermark {
            picture,
            weight: opacity as f32,
            share,
            identity,
        }
    }

    /// Red, green and blue of one of its pixels, and what they weigh, 0–1.
    fn colour_and_weight(&self, pixel: &[u8]) -> ([f32; 3], f32) {
        match *pixel {
            [r, g, b, alpha] => ([r, g, b].map(f32::from), f32::from(alpha) / 255.0 * self.weight),
            [r, g, b] => ([r, g, b].map(f32::from), self.weight),
            _ => ([f32::from(pixel.first().copied().unwrap_or(0)); 3], self.weight),
        }
    }

    /// The marks of an answer of this size, if any: at most one per cell. `cell` is the largest tile size; `seed`
    /// determines all random choices.
    pub fn marks(self: &Arc<Self>, size: Size, cell: Size, seed: u64) -> Option<Marks> {
        let marks = Marks {
            mark: self.clone(),
            size,
            cell,
            seed,
        };
        let any = marks.places().next().is_some();
        any.then_some(marks)
    }
}

impl PartialEq for Watermark {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl Eq for Watermark {}

impl Hash for Watermark {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity.hash(state);
    }
}

impl fmt::Debug for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Watermark({}x{}, {:016x})",
            self.picture.size.w, self.picture.size.h, self.identity
        )
    }
}

/// The positions of marks in an answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Marks {
    mark: Arc<Watermark>,
    /// The size of the answer.
    size: Size,
    cell: Size,
    seed: u64,
}

impl Marks {
    /// Applies the marks to the rows of the answer from `first` on.
    ///
    /// A mark with alpha is blended by its alpha times the opacity; a mark without alpha is added, times the opacity,
    /// and clamped, so that black leaves a picture unchanged (as in iipsrv). Grey pictures get its luma. A mark with
    /// alpha increases the picture's alpha; one without leaves it. Values are rounded to the nearest.
    pub fn lay(&self, mut picture: Picture, first: u32) -> Picture {
        let channels = picture.layout.channels();
        let stride = picture.size.w as usize * channels;
        for place in self.places() {
            let above = first.saturating_sub(place.y).min(place.h);
            let top = place.y.saturating_sub(first);
            let rows = picture.data.chunks_exact_mut(stride).skip(top as usize);
            let mark = &self.mark.picture;
            let wide = mark.layout.channels();
            let marks = mark.data.chunks_exact((mark.size.w as usize * wide).max(1));
            let marks = marks.take(place.h as usize).skip(above as usize);
            for (row, mark) in rows.zip(marks) {
                let pixels = row.chunks_exact_mut(channels).skip(place.x as usize);
                for (pixel, mark) in pixels.zip(mark.chunks_exact(wide)).take(place.w as usize) {
                    self.mix(pixel, self.mark.colour_and_weight(mark));
                }
            }
        }
        picture
    }

    fn mix(&self, pixel: &mut [u8], (colour, weight): ([f32; 3], f32)) {
        let byte = |v: f32| (v + 0.5).clamp(0.0, 255.0) as u8;
        let over = self.mark.picture.layout == Layout::Rgba;
        let mixed = |below: u8, mark: f32| {
            let below = f32::from(below);
            byte(below * if over { 1.0 - weight } else { 1.0 } + mark * weight)
        };
        match pixel {
            [v] => {
                let [r, g, b] = colour.map(byte);
                *v = mixed(*v, f32::from(colour::luma([r, g, b])));
            }
            [r, g, b, alpha] if over => {
                let below = f32::from(*alpha) / 255.0 * (1.0 - weight);
                let whole = below + weight;
                if whole > 0.0 {
                    for (v, mark) in [r, g, b].into_iter().zip(colour) {
                        *v = byte((f32::from(*v) * below + mark * weight) / whole);
                    }
                }
                *alpha = byte(whole * 255.0);
            }
            pixel => {
                for (v, mark) in pixel.iter_mut().zip(colour) {
                    *v = mixed(*v, mark);
                }
            }
        }
    }

    /// The rectangles of the marks, clipped to the answer. The answer is divided evenly into cells of about a tile;
    /// each cell gets at most one mark, at a random position inside; a mark larger than the cell starts at the cell's
    /// corner.
    fn places(&self) -> impl Iterator<Item = Rect> {
        let size = self.size;
        let count = |side: u32, cell: u32| {
            let cell = cell.max(1);
            (side + cell / 2).checked_div(cell).unwrap_or(1).max(1)
        };
        let (columns, rows) = (count(size.w, self.cell.w), count(size.h, self.cell.h));
        let edge = |i: u32, count: u32, side: u32| (u64::from(i) * u64::from(side) / u64::from(count)) as u32;
        let mark = self.mark.picture.size;
        (0..rows)
            .flat_map(move |row| (0..columns).map(move |column| (column, row)))
            .filter_map(move |(column, row)| {
                let drawn = scramble(self.seed ^ scramble(u64::from(row) << 32 | u64::from(column)));
                let [chance, across, down] = [0, 1, 2].map(|i| scramble(drawn.wrapping_add(i)) >> 32);
                let (left, top) = (edge(column, columns, size.w), edge(row, rows, size.h));
                let (right, bottom) = (edge(column + 1, columns, size.w), edge(row + 1, rows, size.h));
                // a random position from 0 to the remaining space
                let place = |room: u32, mark: u32, random: u64| {
                    (((u64::from(room.saturating_sub(mark)) + 1) * random) >> 32) as u32
                };
                let (w, h) = (right - left, bottom - top);
                let (x, y) = (place(w, mark.w, across), place(h, mark.h, down));
                let lies = Rect::new(left + x, top + y, mark.w.min(w - x), mark.h.min(h - y));
                (chance < self.mark.share).then_some(lies)
            })
    }
}

/// Mixes all bits (S. Vigna's SplitMix64).
fn scramble(v: u64) -> u64 {
    let v = v.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let v = (v ^ v >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let v = (v ^ v >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    v ^ v >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(size: Size, pixel: &[u8]) -> Picture {
        Picture {
            size,
            layout: match pixel.len() {
                1 => Layout::Grey,
                3 => Layout::Rgb,
                _ => Layout::Rgba,
            },
            data: pixel.repeat(size.area() as usize),
        }
    }

    fn marked(mark: &[u8], opacity: f64, below: &[u8]) -> Vec<u8> {
        let mark = Arc::new(Watermark::new(plain(Size::new(9, 9), mark), opacity, 1.0));
        let size = Size::new(4, 4);
        let laid = mark
            .marks(size, Size::new(256, 256), 1)
            .unwrap()
            .lay(plain(size, below), 0);
        let (first, rest) = laid.data.split_at(below.len());
        assert!(rest.chunks(below.len()).all(|pixel| pixel == first));
        first.to_vec()
    }

    #[test]
    fn light_is_added() {
        assert_eq!(marked(&[200, 40, 10], 1.0, &[60, 80, 100]), [255, 120, 110]);
        assert_eq!(marked(&[200, 40, 10], 0.5, &[60, 80, 100]), [160, 100, 105]);
        assert_eq!(marked(&[90], 1.0, &[60, 80, 100]), [150, 170, 190]);
        assert_eq!(marked(&[90], 1.0, &[100]), [190]);
        assert_eq!(marked(&[0, 255, 0], 1.0, &[10]), [10 + 182]);
        assert_eq!(marked(&[90], 0.0, &[1, 2, 3]), [1, 2, 3]);
        assert_eq!(marked(&[90], 1.0, &[1, 2, 3, 77]), [91, 92, 93, 77]);
    }

    #[test]
    fn alpha_hides() {
        assert_eq!(marked(&[200, 40, 10, 255], 1.0, &[60, 80, 100]), [200, 40, 10]);
        assert_eq!(marked(&[200, 40, 10, 0], 1.0, &[60, 80, 100]), [60, 80, 100]);
        assert_eq!(marked(&[200, 40, 10, 255], 0.5, &[60, 80, 100]), [130, 60, 55]);
        assert_eq!(marked(&[0, 0, 0, 51], 1.0, &[100]), [80]);
        assert_eq!(
            marked(&[200, 40, 10, 255], 1.0, &[1, 2, 3, 0]),
            [200, 40, 10, 255]
        );
        assert_eq!(marked(&[200, 40, 10, 0], 1.0, &[1, 2, 3, 9]), [1, 2, 3, 9]);
        assert_eq!(marked(&[0, 0, 0, 0], 1.0, &[1, 2, 3, 0]), [1, 2, 3, 0]);
    }

    #[test]
    fn marks_differ_by_pixels_opacity_and_share() {
        let mark = |v: u8, opacity, share| Watermark::new(plain(Size::new(2, 2), &[v]), opacity, share);
        assert_eq!(mark(1, 1.0, 1.0), mark(1, 1.0, 1.0));
        assert_ne!(mark(1, 1.0, 1.0), mark(2, 1.0, 1.0));
        assert_ne!(mark(1, 1.0, 1.0), mark(1, 0.5, 1.0));
        assert_ne!(mark(1, 1.0, 1.0), mark(1, 1.0, 0.5));
    }

    #[test]
    fn the_probability_is_the_fraction_of_marked_cells() {
        let size = Size::new(256, 256);
        for probability in [0.0, 0.1, 0.5, 0.9, 1.0] {
            let mark = Arc::new(Watermark::new(plain(Size::new(8, 8), &[9]), 1.0, probability));
            let hit = (0..10_000)
                .filter(|&seed| mark.marks(size, size, seed).is_some())
                .count();
            // four standard deviations
            let bound = 4.0 * (10_000.0 * probability * (1.0 - probability)).sqrt();
            assert!(
                (hit as f64 - 10_000.0 * probability).abs() <= bound,
                "{probability}: {hit}"
            );
        }
    }

    #[test]
    fn a_large_answer_has_a_mark_in_every_cell() {
        let mark = Arc::new(Watermark::new(plain(Size::new(8, 8), &[9]), 1.0, 1.0));
        let cell = Size::new(256, 256);
        let places = |w, h| mark.marks(Size::new(w, h), cell, 7).unwrap().places().count();
        assert_eq!(places(256, 256), 1);
        assert_eq!(places(1, 1), 1);
        assert_eq!(places(300, 20), 1);
        assert_eq!(places(512, 256), 2);
        assert_eq!(places(2560, 1000), 40);
    }

    proptest! {
        #[test]
        fn marks_lie_inside_and_in_full_where_there_is_room(
            w in 1u32..2000, h in 1u32..2000, mw in 1u32..700, mh in 1u32..700, seed: u64, tile in 1u32..600,
        ) {
            let mark = Arc::new(Watermark::new(plain(Size::new(mw, mh), &[9]), 1.0, 1.0));
            let (size, cell) = (Size::new(w, h), Size::new(tile, tile));
            let marks = mark.marks(size, cell, seed).unwrap();
            let again = mark.marks(size, cell, seed).unwrap();
            prop_assert!(marks.places().eq(again.places()));
            for place in marks.places() {
                prop_assert!(place.w > 0 && place.h > 0);
                prop_assert!(place.right() <= u64::from(w) && place.bottom() <= u64::from(h));
                prop_assert!(place.w == mw || mw > tile / 2 || place.w == w);
            }
        }

        #[test]
        fn places_are_spread_evenly(seed: u64) {
            let mark = Arc::new(Watermark::new(plain(Size::new(57, 57), &[9]), 1.0, 1.0));
            let size = Size::new(256, 256);
            let mut quarters = [0; 4];
            for i in 0..400 {
                let marks = mark.marks(size, size, scramble(seed) ^ i).unwrap();
                let place = marks.places().next().unwrap();
                quarters[usize::from(place.x >= 100) + 2 * usize::from(place.y >= 100)] += 1;
            }
            prop_assert!(quarters.iter().all(|n| (50..150).contains(n)), "{quarters:?}");
        }
    }
}
