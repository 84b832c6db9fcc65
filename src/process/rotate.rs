//! Rotation by any angle into the bounding box, and other affine maps: bilinear.
//!
//! Right angles are exact and done in `turn`.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    reason = "positions are clamped to the picture, and values to 0–255"
)]

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Num;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::raster::Layout;
use crate::raster::Picture;
use crate::work::busy;
use crate::work::parallel::each;

/// Output rows per job of a thread.
const ROWS: usize = 32;

/// How many additional threads a picture of this size justifies.
fn others(size: Size) -> usize {
    let bands = size.h as usize / ROWS;
    if size.area() < 1 << 18 {
        0
    } else {
        bands.min(busy::max_threads())
    }
}

/// Width and height of the bounding box of a rotated picture, rounded to the nearest pixel.
pub fn around(size: Size, degrees: Num) -> Size {
    let (sin, cos) = degrees.value().to_radians().sin_cos();
    let (w, h) = (f64::from(size.w), f64::from(size.h));
    let side = |v: f64| v.round().clamp(1.0, f64::from(u32::MAX)) as u32;
    Size::new(
        side(w * cos.abs() + h * sin.abs()),
        side(w * sin.abs() + h * cos.abs()),
    )
}

/// Maps output to input coordinates, both in pixels from the top left corner: `x' = ax + by + c`, `y' = dx + ey + f`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Affine(pub [Num; 6]);

/// Rotates clockwise about the centre into a picture of size `to`; corners as in [`place`].
pub fn rotate(picture: &Picture, degrees: Num, to: Size, background: Option<[u8; 3]>) -> Result<Picture> {
    let (sin, cos) = degrees.value().to_radians().sin_cos();
    let middle = |size: Size| (f64::from(size.w) / 2.0, f64::from(size.h) / 2.0);
    let ((x, y), (left, top)) = (middle(to), middle(picture.size));
    let map = [
        cos,
        sin,
        left - cos * x - sin * y,
        -sin,
        cos,
        top + sin * x - cos * y,
    ];
    transform(picture, map, to, background)
}

/// Applies the map; the output has size `to`.
pub fn place(picture: &Picture, map: &Affine, to: Size, background: Option<[u8; 3]>) -> Result<Picture> {
    transform(picture, map.0.map(Num::value), to, background)
}

/// Each output pixel is the bilinear interpolation of the four input pixels around its position; outside the picture
/// is `background`, into which edges fade. Without a background it is transparent, and the output has alpha: colours
/// are weighted by it, so that edges do not darken. If the picture has alpha, `background` is ignored.
fn transform(picture: &Picture, map: [f64; 6], to: Size, background: Option<[u8; 3]>) -> Result<Picture> {
    match (picture.layout, background) {
        (Layout::Grey, Some(background)) => transform_channels::<1>(picture, map, to, [luma(background)]),
        (Layout::Rgb, Some(background)) => transform_channels::<3>(picture, map, to, background),
        (Layout::Rgba, _) => transform_channels::<4>(picture, map, to, [0; 4]),
        (Layout::Grey | Layout::Rgb, None) => transform_channels::<4>(&opaque(picture), map, to, [0; 4]),
    }
}

/// Luma of a colour.
fn luma([r, g, b]: [u8; 3]) -> u8 {
    let luma = (u32::from(r) * 299 + u32::from(g) * 587 + u32::from(b) * 114 + 500) / 1000;
    luma.min(255) as u8
}

/// Hides all pixels outside `rect`, which may be empty: they become `background`, or transparent without one or if
/// the picture has alpha.
pub fn keep(picture: Picture, rect: Rect, background: Option<[u8; 3]>) -> Picture {
    let mut picture = match (picture.layout, background) {
        (Layout::Grey | Layout::Rgb, None) => opaque(&picture),
        _ => picture,
    };
    let channels = picture.layout.channels();
    let hidden = match (picture.layout, background.unwrap_or_default()) {
        (Layout::Grey, background) => vec![luma(background)],
        (Layout::Rgb, background) => background.to_vec(),
        (Layout::Rgba, _) => vec![0; 4],
    };
    let (columns, rows) = (u64::from(rect.x)..rect.right(), u64::from(rect.y)..rect.bottom());
    let lines = picture.data.chunks_exact_mut(picture.size.w as usize * channels);
    for (y, line) in (0..).zip(lines) {
        for (x, pixel) in (0..).zip(line.chunks_exact_mut(channels)) {
            if !rows.contains(&y) || !columns.contains(&x) {
                pixel.copy_from_slice(&hidden);
            }
        }
    }
    picture
}

/// Adds an opaque alpha channel.
fn opaque(picture: &Picture) -> Picture {
    let data = match picture.layout {
        Layout::Rgba => picture.data.clone(),
        Layout::Rgb => (picture.data.as_chunks::<3>().0.iter())
            .flat_map(|&[r, g, b]| [r, g, b, 255])
            .collect(),
        Layout::Grey => picture.data.iter().flat_map(|&v| [v, v, v, 255]).collect(),
    };
    Picture {
        size: picture.size,
        layout: Layout::Rgba,
        data,
    }
}

/// Four channels are RGBA; fewer are colours.
fn transform_channels<const N: usize>(
    picture: &Picture,
    map: [f64; 6],
    to: Size,
    background: [u8; N],
) -> Result<Picture> {
    let length = usize::try_from(to.area())
        .ok()
        .and_then(|area| area.checked_mul(N))
        .ok_or_else(|| Error::TooLarge("the turned picture is too large".into()))?;
    let mut data = vec![0; length];
    let from = Surrounded::<N> {
        size: picture.size,
        pixels: picture.data.as_chunks::<N>().0,
        background,
    };
    let [a, b, c, d, e, f] = map;
    let row_bytes = (to.w as usize * N).max(1);
    let bands = data.chunks_mut(row_bytes * ROWS).enumerate();
    each(others(to), bands, |(band, lines)| {
        for (row, line) in lines.chunks_exact_mut(row_bytes).enumerate() {
            let down = (band * ROWS + row) as f64 + 0.5;
            for (column, pixel) in line.as_chunks_mut::<N>().0.iter_mut().enumerate() {
                let right = column as f64 + 0.5;
                // input position of this pixel
                *pixel = from.at(a * right + b * down + c - 0.5, d * right + e * down + f - 0.5);
            }
        }
        Ok(())
    })?;
    Ok(Picture {
        size: to,
        layout: match N {
            1 => Layout::Grey,
            3 => Layout::Rgb,
            _ => Layout::Rgba,
        },
        data,
    })
}

/// A picture extended by its background.
struct Surrounded<'a, const N: usize> {
    size: Size,
    pixels: &'a [[u8; N]],
    background: [u8; N],
}

impl<const N: usize> Surrounded<'_, N> {
    /// The pixel at this column and row, which may be outside the picture.
    fn pixel(&self, x: i64, y: i64) -> [u8; N] {
        let (w, h) = (i64::from(self.size.w), i64::from(self.size.h));
        if (0..w).contains(&x) && (0..h).contains(&y) {
            self.pixels[(y * w + x) as usize]
        } else {
            self.background
        }
    }

    /// Interpolates at a position, where (0, 0) is the centre of the first pixel; rounded to the nearest.
    fn at(&self, x: f64, y: f64) -> [u8; N] {
        let (left, top) = (x.floor(), y.floor());
        let (fx, fy) = (x - left, y - top);
        let (column, row) = (left as i64, top as i64);
        let around = [
            (self.pixel(column, row), (1.0 - fx) * (1.0 - fy)),
            (self.pixel(column + 1, row), fx * (1.0 - fy)),
            (self.pixel(column, row + 1), (1.0 - fx) * fy),
            (self.pixel(column + 1, row + 1), fx * fy),
        ];
        let opacity = |pixel: &[u8; N]| if N == 4 { f64::from(pixel[N - 1]) } else { 255.0 };
        let whole: f64 = around.iter().map(|(pixel, share)| share * opacity(pixel)).sum();
        let mut mean = [0; N];
        if whole <= 0.0 {
            return mean;
        }
        for (channel, value) in mean.iter_mut().enumerate() {
            let sum: f64 = if N == 4 && channel == N - 1 {
                whole
            } else {
                let weighed = around
                    .iter()
                    .map(|(pixel, share)| share * opacity(pixel) * f64::from(pixel[channel]));
                weighed.sum::<f64>() / whole
            };
            *value = (sum + 0.5).clamp(0.0, 255.0) as u8;
        }
        mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Pixels;
    use crate::process::turn;

    fn degrees(value: f64) -> Num {
        Num::new(value).unwrap()
    }

    fn picture(w: u32, h: u32, layout: Layout) -> Picture {
        let len = w as usize * h as usize * layout.channels();
        let alpha = |i: usize| layout == Layout::Rgba && i % 4 == 3;
        Picture {
            size: Size::new(w, h),
            layout,
            data: (0..len)
                .map(|i| if alpha(i) { 255 } else { (i * 7 % 251) as u8 })
                .collect(),
        }
    }

    #[test]
    fn the_bounding_box_holds_the_whole_picture() {
        assert_eq!(around(Size::new(100, 50), degrees(0.0)), Size::new(100, 50));
        assert_eq!(around(Size::new(100, 50), degrees(90.0)), Size::new(50, 100));
        assert_eq!(around(Size::new(100, 100), degrees(45.0)), Size::new(141, 141));
        assert_eq!(around(Size::new(1, 1), degrees(45.0)), Size::new(1, 1));
    }

    #[test]
    fn a_right_angle_equals_the_exact_turn() {
        for layout in [Layout::Grey, Layout::Rgb, Layout::Rgba] {
            let before = picture(7, 4, layout);
            for (angle, quarters) in [(90.0, 1), (180.0, 2), (270.0, 3)] {
                let turn = |raster| turn::turn(raster, false, quarters);
                let exact = Pixels::from(before.clone())
                    .moved(turn)
                    .unwrap()
                    .picture()
                    .unwrap();
                let turned = rotate(&before, degrees(angle), exact.size, Some([9; 3])).unwrap();
                assert_eq!(turned, exact, "{angle}");
            }
        }
    }

    #[test]
    fn corners_are_the_background_and_the_middle_is_the_picture() {
        let before = Picture {
            size: Size::new(40, 40),
            layout: Layout::Rgb,
            data: [10, 200, 30].repeat(1600),
        };
        let to = around(before.size, degrees(45.0));
        let after = rotate(&before, degrees(45.0), to, Some([255, 0, 255])).unwrap();
        assert_eq!(after.size, Size::new(57, 57));
        assert_eq!(after.data[..3], [255, 0, 255]);
        assert_eq!(after.data[(28 * 57 + 28) * 3..][..3], [10, 200, 30]);
    }

    #[test]
    fn without_a_background_the_corners_are_transparent_and_no_edge_darkens() {
        for layout in [Layout::Grey, Layout::Rgb, Layout::Rgba] {
            let before = Picture {
                size: Size::new(30, 20),
                layout,
                data: vec![255; 600 * layout.channels()],
            };
            let to = around(before.size, degrees(30.0));
            let after = rotate(&before, degrees(30.0), to, None).unwrap();
            assert_eq!(after.layout, Layout::Rgba);
            let pixels = after.data.as_chunks::<4>().0;
            assert_eq!(pixels[0], [0; 4]);
            for pixel in pixels.iter().filter(|pixel| pixel[3] > 0) {
                assert_eq!(pixel[..3], [255; 3]);
            }
            let covered: u32 = pixels.iter().map(|pixel| u32::from(pixel[3])).sum();
            assert!((covered / 255).abs_diff(600) < 6, "{}", covered / 255);
        }
    }

    #[test]
    fn clockwise_is_clockwise() {
        let mut before = picture(21, 21, Layout::Grey);
        before.data.fill(0);
        // a mark above the centre moves to the right of it, and down
        for row in 2..5 {
            before.data[row * 21 + 9..row * 21 + 12].fill(255);
        }
        let to = around(before.size, degrees(100.0));
        let after = rotate(&before, degrees(100.0), to, Some([0; 3])).unwrap();
        let brightest = after.data.iter().enumerate().max_by_key(|(_, v)| **v).unwrap().0;
        let (x, y) = (brightest % to.w as usize, brightest / to.w as usize);
        assert!(x > to.w as usize / 2 + 4 && y > to.h as usize / 2, "{x},{y}");
    }
}
