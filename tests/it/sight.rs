//! The expected position and pixels of a picture in a browser window.
//!
//! Independent of the browser: the caller supplies the screenshot and the view.

use crate::support;
use iipsrv::geometry::Size;
use iipsrv::http::Http;
use iipsrv::raster::Raster;
use iipsrv::raster::Samples;

/// A picture of `fixtures/`.
pub struct Picture {
    pub id: &'static str,
    pub size: Size,
    /// The side of its tiles in pixels.
    pub tile: u32,
    pub levels: u32,
}

/// A common size, sides that round down at every level, and sides that round up.
pub const PICTURES: [Picture; 3] = [
    Picture {
        id: "tessera.tif",
        size: Size { w: 3072, h: 2304 },
        tile: 256,
        levels: 5,
    },
    Picture {
        id: "metadata.tif",
        size: Size { w: 1101, h: 701 },
        tile: 256,
        levels: 4,
    },
    Picture {
        id: "jpeg-rgb.tif",
        size: Size { w: 401, h: 281 },
        tile: 64,
        levels: 4,
    },
];
/// Pixels of the page beyond the right and bottom edge in the view of a picture's corner.
const MARGIN: f64 = 90.0;

/// A view of a picture: the pixel of the picture at the centre of the stage (x, y), and stage pixels per picture pixel (z).
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    pub x: f64,
    pub y: f64,
    pub z: f64,
}

/// Sides of a picture on the stage in pixels: left, top, right, bottom.
pub type Sides = [i64; 4];

impl Sight {
    /// The whole picture in the given share of the stage.
    pub fn whole(picture: &Picture, stage: Size, share: f64) -> Sight {
        let (w, h) = (f64::from(picture.size.w), f64::from(picture.size.h));
        let z = (f64::from(stage.w) / w).min(f64::from(stage.h) / h) * share;
        Sight {
            x: w / 2.0,
            y: h / 2.0,
            z,
        }
    }

    /// Scale 1, with this pixel of the picture at the top left corner of the stage.
    fn deep(stage: Size, left: f64, top: f64) -> Sight {
        Sight {
            x: left + f64::from(stage.w) / 2.0,
            y: top + f64::from(stage.h) / 2.0,
            z: 1.0,
        }
    }

    /// Names and views that tests compare. A viewer opens the picture with the first.
    pub fn all(picture: &Picture, stage: Size) -> [(&'static str, Sight); 4] {
        let Size { w, h } = picture.size;
        // the centre of the stage stays on the picture
        let corner =
            |side: u32, stage: u32| (f64::from(side) + MARGIN - f64::from(stage)).max(-f64::from(stage / 2));
        let inside = |side: u32, stage: u32| ((f64::from(side) - f64::from(stage)) / 3.0).round();
        [
            ("whole", Sight::whole(picture, stage, 0.96)),
            ("small", Sight::whole(picture, stage, 0.5)),
            (
                "corner",
                Sight::deep(stage, corner(w, stage.w), corner(h, stage.h)),
            ),
            (
                "middle",
                Sight::deep(stage, inside(w, stage.w), inside(h, stage.h)),
            ),
        ]
    }

    /// Sides of the whole picture, also beyond the stage, rounded to pixels like `Math.round`.
    pub fn sides(self, picture: &Picture, stage: Size) -> Sides {
        let side = |at: f64, middle: f64, stage: u32| {
            ((at - middle) * self.z + f64::from(stage) / 2.0 + 0.5).floor() as i64
        };
        let (w, h) = (f64::from(picture.size.w), f64::from(picture.size.h));
        let (x, y) = (self.x, self.y);
        [
            side(0.0, x, stage.w),
            side(0.0, y, stage.h),
            side(w, x, stage.w),
            side(h, y, stage.h),
        ]
    }
}

/// Clips the sides to the stage.
pub fn seen([left, top, right, bottom]: Sides, stage: Size) -> Sides {
    [
        left.max(0),
        top.max(0),
        right.min(i64::from(stage.w)),
        bottom.min(i64::from(stage.h)),
    ]
}

/// Minimum PSNR in dB: of the whole picture, and of the worst row or column, which detects seams between tiles.
struct Least(f64, f64);

/// At scale 1. Exact only for tiles that are sent as stored and have no colour profile.
const DEEP: Least = Least(36.0, 20.0);
/// Scaled. Browser and server use different filters: compared at half the size, which mainly detects displacement.
const SCALED: Least = Least(31.0, 17.0);

/// Checks that the screenshot shows the service's picture between these sides and the plain page around it. `soft` pixels on
/// either side of an edge are ignored.
pub fn shows(shot: &Raster, picture: &Picture, all: Sides, soft: i64) -> Result<(), String> {
    let (w, h) = (all[2] - all[0], all[3] - all[1]);
    let [left, top, right, bottom] = seen(all, shot.size);
    let deep = (w, h) == (i64::from(picture.size.w), i64::from(picture.size.h));
    let asked = match deep {
        true => format!(
            "{},{},{},{}/max",
            left - all[0],
            top - all[1],
            right - left,
            bottom - top
        ),
        false => format!("full/^{w},{h}"),
    };
    let reply =
        support::fixtures(&[]).respond(Http::query(&format!("IIIF={}/{asked}/0/default.png", picture.id)));
    let mut meant = crop(
        &support::pixels(&reply),
        [soft, soft, right - left - soft, bottom - top - soft],
    );
    let mut here = crop(shot, [left + soft, top + soft, right - soft, bottom - soft]);
    let least = if deep { DEEP } else { SCALED };
    if !deep {
        (here, meant) = (halved(&here), halved(&meant));
    }
    let (found, worst) = (psnr(&here, &meant), worst_line(&here, &meant));
    if found < least.0 || worst < least.1 {
        return Err(format!("{found:.1} dB, in the worst line {worst:.1} dB"));
    }
    let beside = |&(x, y): &(i64, i64)| {
        !(left - soft..right + soft).contains(&x) || !(top - soft..bottom + soft).contains(&y)
    };
    let (w, h) = (i64::from(shot.size.w), i64::from(shot.size.h));
    let mut page = (0..h).flat_map(|y| (0..w).map(move |x| (x, y))).filter(beside);
    let plain = page.next().map(|(x, y)| crop(shot, [x, y, x + 1, y + 1]));
    match page.find(|&(x, y)| Some(bytes(shot, x, x + 1, y)) != plain.as_ref().map(support::bytes)) {
        Some(at) => Err(format!("something beside the picture at {at:?}")),
        None => Ok(()),
    }
}

/// The samples of row `y` between two columns.
fn bytes(raster: &Raster, left: i64, right: i64, y: i64) -> &[u8] {
    let at = |x: i64| (y * i64::from(raster.size.w) + x) as usize * 3;
    &support::bytes(raster)[at(left)..at(right)]
}

fn crop(raster: &Raster, [left, top, right, bottom]: Sides) -> Raster {
    let rows = (top..bottom).flat_map(|y| bytes(raster, left, right, y));
    Raster {
        samples: Samples::U8(rows.copied().collect()),
        channels: 3,
        size: Size::new((right - left) as u32, (bottom - top) as u32),
    }
}

/// Halves a raster: means of 2 x 2 pixels.
fn halved(raster: &Raster) -> Raster {
    let size = Size::new(raster.size.w / 2, raster.size.h / 2);
    let mean = |x: i64, y: i64, channel: usize| {
        let [above, below] = [0, 1].map(|row| bytes(raster, 2 * x, 2 * x + 2, 2 * y + row));
        let four = [
            above[channel],
            above[channel + 3],
            below[channel],
            below[channel + 3],
        ];
        (four.into_iter().map(u32::from).sum::<u32>() / 4) as u8
    };
    let places = (0..i64::from(size.h)).flat_map(|y| (0..i64::from(size.w)).map(move |x| (x, y)));
    let samples = places.flat_map(|(x, y)| [0, 1, 2].map(|channel| mean(x, y, channel)));
    Raster {
        samples: Samples::U8(samples.collect()),
        channels: 3,
        size,
    }
}

/// Peak signal-to-noise ratio in dB; infinite for equal rasters.
fn psnr(a: &Raster, b: &Raster) -> f64 {
    assert_eq!((a.size, a.channels), (b.size, b.channels));
    let (a, b) = (support::bytes(a), support::bytes(b));
    let errors = a.iter().zip(b).map(|(&a, &b)| f64::from(a.abs_diff(b)).powi(2));
    10.0 * (255.0 * 255.0 * a.len() as f64 / errors.sum::<f64>()).log10()
}

/// The smallest PSNR of all rows and columns.
fn worst_line(a: &Raster, b: &Raster) -> f64 {
    let (w, h) = (i64::from(a.size.w), i64::from(a.size.h));
    let lines = (0..h)
        .map(|y| [0, y, w, y + 1])
        .chain((0..w).map(|x| [x, 0, x + 1, h]));
    lines
        .map(|line| psnr(&crop(a, line), &crop(b, line)))
        .fold(f64::INFINITY, f64::min)
}
