//! Commands that process samples, compared with formulas at every depth; seams between tiles, syntax, and unusual images.

use crate::process::Folder;
use crate::support;
use crate::support::pixels;
use crate::support::text;
use iipsrv::http::Http;
use iipsrv::raster::Raster;
use iipsrv::service::Service;

/// Stored sample types.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Depth {
    U8,
    U16,
    U32,
    /// With the sample range in the file (minimum, maximum).
    F32(f32, f32),
}

impl Depth {
    /// Scales 0–1 to a stored value.
    pub fn stored(self, share: f64) -> f64 {
        match self {
            Depth::U8 => (share * 255.0).round(),
            Depth::U16 => (share * 65535.0).round(),
            Depth::U32 => (share * 4_294_967_295.0).round(),
            Depth::F32(low, high) => f64::from(low) + share * f64::from(high - low),
        }
    }

    fn bytes(self, share: f64) -> Vec<u8> {
        let value = self.stored(share);
        match self {
            Depth::U8 => vec![value as u8],
            Depth::U16 => (value as u16).to_le_bytes().to_vec(),
            Depth::U32 => (value as u32).to_le_bytes().to_vec(),
            Depth::F32(..) => (value as f32).to_le_bytes().to_vec(),
        }
    }
}

/// A picture by a formula that gives 0–1 for each pixel and channel.
pub struct Drawn<'a> {
    pub depth: Depth,
    pub channels: usize,
    /// 1 grey, 2 RGB, 8 L*a*b*.
    pub photometric: u16,
    /// ExtraSamples of the last channel: 0 unspecified, 2 alpha.
    pub extra: u16,
    pub levels: &'a [(u32, u32)],
    pub value: &'a dyn Fn(u32, u32, usize) -> f64,
}

/// An uncompressed TIFF in tiles of 256 x 256, one directory per level. Levels are subsampled: every second, fourth … pixel.
pub fn tiff(drawn: &Drawn) -> Vec<u8> {
    let mut out = b"II*\0\0\0\0\0".to_vec();
    let mut link = 4;
    let short = |values: &[u16]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
    let long = |values: &[u32]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
    for (level, &(w, h)) in drawn.levels.iter().enumerate() {
        let (mut offsets, mut counts) = (Vec::new(), Vec::new());
        for (row, col) in (0..h.div_ceil(256)).flat_map(|row| (0..w.div_ceil(256)).map(move |col| (row, col)))
        {
            offsets.push(out.len() as u32);
            for (y, x) in (0..256).flat_map(|y| (0..256).map(move |x| (row * 256 + y, col * 256 + x))) {
                for channel in 0..drawn.channels {
                    out.extend(drawn.depth.bytes((drawn.value)(x << level, y << level, channel)));
                }
            }
            counts.push(out.len() as u32 - offsets.last().unwrap());
        }
        let (bits, format) = match drawn.depth {
            Depth::U8 => (8, 1),
            Depth::U16 => (16, 1),
            Depth::U32 => (32, 1),
            Depth::F32(..) => (32, 3),
        };
        let colours = if drawn.photometric == 1 { 1 } else { 3 };
        let mut entries = vec![
            (256u16, 4u16, long(&[w])),
            (257, 4, long(&[h])),
            (258, 3, short(&vec![bits; drawn.channels])),
            (259, 3, short(&[1])),
            (262, 3, short(&[drawn.photometric])),
            (277, 3, short(&[drawn.channels as u16])),
            (322, 3, short(&[256])),
            (323, 3, short(&[256])),
            (324, 4, long(&offsets)),
            (325, 4, long(&counts)),
        ];
        if drawn.channels > colours {
            let mut extra = vec![0; drawn.channels - colours];
            *extra.last_mut().unwrap() = drawn.extra;
            entries.push((338, 3, short(&extra)));
        }
        entries.push((339, 3, short(&vec![format; drawn.channels])));
        if let Depth::F32(low, high) = drawn.depth {
            entries.push((340, 11, low.to_le_bytes().repeat(drawn.channels)));
            entries.push((341, 11, high.to_le_bytes().repeat(drawn.channels)));
        }
        let mut directory = (entries.len() as u16).to_le_bytes().to_vec();
        for (tag, kind, mut value) in entries {
            let count = value.len() as u32 / if kind == 3 { 2 } else { 4 };
            directory.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
            directory.extend(count.to_le_bytes());
            if value.len() > 4 {
                let at = out.len() as u32;
                out.append(&mut value);
                value = at.to_le_bytes().to_vec();
            }
            value.resize(4, 0);
            directory.append(&mut value);
        }
        let at = out.len() as u32;
        out[link..link + 4].copy_from_slice(&at.to_le_bytes());
        out.append(&mut directory);
        link = out.len();
        out.extend([0; 4]);
    }
    out
}

const DEPTHS: [(&str, Depth); 4] = [
    ("u8", Depth::U8),
    ("u16", Depth::U16),
    ("u32", Depth::U32),
    ("f32", Depth::F32(-100.0, 200.0)),
];

/// All 8-bit values in every channel, in a different order in each.
fn mixed(x: u32, y: u32, channel: usize) -> f64 {
    let step = [37, 101, 11, 53, 7, 201][channel];
    f64::from((x * step + y * 7 + channel as u32 * 60) % 256) / 255.0
}

/// Enough pixels (more than 4096) for curves and tables to replace the single steps.
const SIDES: (u32, u32) = (80, 64);

/// Writes the files u8, u16 … with this number of channels; a service over them.
fn drawn(folder: &Folder, channels: usize, vars: &[(&str, &str)]) -> Service {
    for (name, depth) in DEPTHS {
        let file = tiff(&Drawn {
            depth,
            channels,
            photometric: if channels < 3 { 1 } else { 2 },
            extra: 0,
            levels: &[SIDES],
            value: &mixed,
        });
        std::fs::write(folder.join(&format!("{name}.tif")), file).unwrap();
    }
    over(folder, vars)
}

fn over(folder: &Folder, vars: &[(&str, &str)]) -> Service {
    let prefix = format!("{}/", folder.join("").display());
    Service::new(support::config(
        &[vars, &[("FILESYSTEM_PREFIX", &prefix)]].concat(),
    ))
}

fn ask(service: &Service, query: &str) -> Raster {
    pixels(&service.respond(Http::query(query)))
}

/// The effect on a pixel, from 0–1 to 0–1.
type Formula = fn([f64; 6]) -> Vec<f64>;

fn hot(v: f64) -> Vec<f64> {
    let v = v.clamp(0.0, 1.0);
    vec![3.0 * v, 3.0 * v - 1.0, 3.0 * v - 2.0]
}

fn shade(v: [f64; 6], around: f64, above: f64) -> Vec<f64> {
    let (x, y, z) = (
        -around.to_radians().sin(),
        -around.to_radians().cos(),
        above.to_radians().sin(),
    );
    let n = [v[0] * 2.0 - 1.0, v[1] * 2.0 - 1.0, v[2] * 2.0 - 1.0];
    vec![(n[0] * x + n[1] * y + n[2] * z) / (x * x + y * y + z * z).sqrt() / 2.0]
}

#[test]
fn commands_follow_their_formulas_at_every_depth() {
    let rgb: &[(&str, Formula)] = &[
        ("GAM=2", |v| v[..3].iter().map(|v| v * v).collect()),
        ("GAM=0.4545", |v| v[..3].iter().map(|v| v.powf(0.4545)).collect()),
        ("GAM=log", |v| {
            v[..3].iter().map(|v| (1.0 + 255.0 * v).log(256.0)).collect()
        }),
        ("INV=1", |v| v[..3].iter().map(|v| 1.0 - v).collect()),
        ("INV", |v| v[..3].iter().map(|v| 1.0 - v).collect()),
        ("CNT=1.5", |v| v[..3].iter().map(|v| 1.5 * v).collect()),
        ("CNT=0", |_| vec![0.0; 3]),
        ("CNT=0.5&INV=1&GAM=2", |v| {
            v[..3].iter().map(|v| 0.5 * (1.0 - v * v)).collect()
        }),
        ("CTW=[0,1,0;0,0,1;1,0,0]", |v| vec![v[1], v[2], v[0]]),
        ("CTW=0.5,0.5,0;0,0,2;-1,1,0.5", |v| {
            vec![0.5 * v[0] + 0.5 * v[1], 2.0 * v[2], v[1] - v[0] + 0.5 * v[2]]
        }),
        ("CTW=[0.3,0.3,0.4]", |v| {
            vec![0.3 * v[0] + 0.3 * v[1] + 0.4 * v[2]]
        }),
        ("CTW=[0,1;1,0]", |v| vec![v[1]]),
        ("CTW=[0,1]", |v| vec![v[1]]),
        ("CTW=[1;0;1;1;1]", |v| vec![v[0], 0.0, v[0]]),
        // intermediate values may exceed 1
        ("CTW=[2,0,0;0,2,0;0,0,2]&CNT=0.5", |v| v[..3].to_vec()),
        ("CTW=[2,0,0;0,2,0;0,0,2]&GAM=0.5&CNT=0.5", |v| {
            v[..3].iter().map(|v| 0.5 * (2.0 * v).sqrt()).collect()
        }),
        ("CTW=[-1,0,0;0,-1,0;0,0,-1]&INV=1&CNT=0.5", |v| {
            v[..3].iter().map(|v| 0.5 + 0.5 * v).collect()
        }),
        ("CMP=hot", |v| hot(v[0])),
        ("CMP=COLD", |v| hot(v[0]).into_iter().rev().collect()),
        ("CMP=jet", |v| {
            [3.0, 2.0, 1.0].map(|at| 1.5 - (4.0 * v[0] - at).abs()).to_vec()
        }),
        ("CMP=red", |v| vec![v[0], 0.0, 0.0]),
        ("CMP=green", |v| vec![0.0, v[0], 0.0]),
        ("CMP=blue", |v| vec![0.0, 0.0, v[0]]),
        ("CMP=hot&INV=1&GAM=2", |v| hot(1.0 - v[0] * v[0])),
        ("CMP=hot&CTW=[0,1,0]", |v| hot(v[1])),
        ("SHD=45,30", |v| shade(v, 45.0, 30.0)),
        ("SHD=200,-10&INV=1&CMP=hot", |v| {
            hot(1.0 - shade(v, 200.0, -10.0)[0])
        }),
        ("SHD=0,90&CTW=[1;0.5;0.25]", |v| {
            let light = shade(v, 0.0, 90.0)[0];
            vec![light, 0.5 * light, 0.25 * light]
        }),
        // IIP 1.0.5: a third of the chroma; the fourth column adds brightness
        ("CTW=1,0,0,0,0,0.5,0,0,0,0,0.5,0,0,0,0,1", |v| {
            let luma = 0.299 * v[0] + 0.587 * v[1] + 0.114 * v[2];
            v[..3].iter().map(|v| 0.5 * (luma + v)).collect()
        }),
        ("CTW=1,0,0,0.1,0,1,0,0,0,0,1,0,0,0,0,1", |v| {
            v[..3].iter().map(|v| v + 0.1402).collect()
        }),
    ];
    let folder = Folder::new();
    let service = drawn(&folder, 3, &[]);
    for (name, depth) in DEPTHS {
        for (command, formula) in rgb {
            compare(&service, &format!("FIF={name}.tif&{command}&PTL=0,0"), formula);
        }
        // ranges are in units of stored values
        let (low, high) = (depth.stored(0.2), depth.stored(0.8));
        let ranges: Vec<(String, Formula)> = vec![
            (format!("MINMAX=-:{low},{high}"), |v| {
                v[..3].iter().map(|v| (v - 0.2) / 0.6).collect()
            }),
            (format!("MINMAX=2:{low},{high}"), |v| {
                vec![v[0], (v[1] - 0.2) / 0.6, v[2]]
            }),
            (format!("MINMAX=0:{low},{high}&MINMAX=2:{low},{high}"), |v| {
                vec![(v[0] - 0.2) / 0.6, v[1], (v[2] - 0.2) / 0.6]
            }),
            (format!("MINMAX=3:{high},{low}"), |v| {
                vec![v[0], v[1], (0.8 - v[2]) / 0.6]
            }),
            (format!("MINMAX=-:{low},{high}&GAM=2"), |v| {
                v[..3]
                    .iter()
                    .map(|v| ((v - 0.2) / 0.6).max(0.0).powi(2))
                    .collect()
            }),
            (format!("MINMAX=1:{low},{low}"), |v| {
                vec![if v[0] >= 0.2 { 1.0 } else { 0.0 }, v[1], v[2]]
            }),
            (format!("MINMAX=77:{low},{high}&INV"), |v| {
                v[..3].iter().map(|v| 1.0 - v).collect()
            }),
            // the last command wins
            (format!("MINMAX=-:1,2&MINMAX=-:{low},{high}"), |v| {
                v[..3].iter().map(|v| (v - 0.2) / 0.6).collect()
            }),
        ];
        for (command, formula) in ranges {
            compare(&service, &format!("FIF={name}.tif&{command}&PTL=0,0"), &formula);
        }
    }
}

/// Asserts that tiles and regions differ from the formula by at most one level.
fn compare(service: &Service, query: &str, formula: &Formula) {
    let tile = ask(service, query);
    let region = ask(service, &query.replace("PTL=0,0", "CVT=png"));
    assert_eq!(tile.samples, region.samples, "{query}");
    let channels = usize::from(tile.channels);
    for (place, found) in support::bytes(&tile).chunks_exact(channels).enumerate() {
        let (x, y) = (place as u32 % SIDES.0, place as u32 / SIDES.0);
        let v = [0, 1, 2, 3, 4, 5].map(|channel| mixed(x, y, channel));
        let expected = formula(v);
        assert_eq!(expected.len(), channels, "{query}");
        for (found, expected) in found.iter().zip(expected) {
            let expected = expected.clamp(0.0, 1.0) * 255.0;
            assert!(
                (f64::from(*found) - expected).abs() <= 1.0,
                "{query} at {x},{y}: {found}, not {expected}"
            );
        }
    }
}

#[test]
fn a_matrix_uses_the_bands_after_the_colours() {
    let folder = Folder::new();
    let service = drawn(&folder, 6, &[]);
    for (name, _) in DEPTHS {
        let bands: &[(&str, Formula)] = &[
            ("CTW=[0,0,0,0,0,1;0,0,0,1,0,0;0,0.5,0,0,0.5,0]", |v| {
                vec![v[5], v[3], 0.5 * v[1] + 0.5 * v[4]]
            }),
            ("CTW=[0,0,0,1]", |v| vec![v[3]]),
            ("INV=1", |v| v[..3].iter().map(|v| 1.0 - v).collect()),
        ];
        for (command, formula) in bands {
            compare(&service, &format!("FIF={name}.tif&{command}&PTL=0,0"), formula);
        }
        let ranges =
            text(&service.respond(Http::query(&format!("FIF={name}.tif&OBJ=Min-Max-sample-values"))));
        assert_eq!(ranges.split_whitespace().count(), 13, "{ranges}");
    }
}

#[test]
fn alpha_does_not_change() {
    let folder = Folder::new();
    for (name, depth) in DEPTHS {
        let file = tiff(&Drawn {
            depth,
            channels: 4,
            photometric: 2,
            extra: 2,
            levels: &[SIDES],
            value: &mixed,
        });
        std::fs::write(folder.join(&format!("{name}.tif")), file).unwrap();
    }
    let service = over(&folder, &[]);
    for (name, _) in DEPTHS {
        let cases: &[(&str, Formula)] = &[
            ("INV=1", |v| vec![1.0 - v[0], 1.0 - v[1], 1.0 - v[2], v[3]]),
            ("MINMAX=-:0,1&CNT=0", |v| vec![0.0, 0.0, 0.0, v[3]]),
            ("CMP=hot", |v| [hot(v[0]), vec![v[3]]].concat()),
            ("CTW=[0,1,0]&GAM=2", |v| {
                vec![v[1] * v[1], v[1] * v[1], v[1] * v[1], v[3]]
            }),
        ];
        for (command, formula) in cases {
            compare(&service, &format!("FIF={name}.tif&{command}&PTL=0,0"), formula);
        }
    }
}

#[test]
fn convolved_tiles_join_without_seams() {
    let folder = Folder::new();
    let wavy = |x: u32, y: u32, channel: usize| {
        let (x, y) = (f64::from(x), f64::from(y));
        (0.5 + 0.3 * (x / 9.0 + channel as f64).sin() + 0.2 * (y / 5.0).cos()).clamp(0.0, 1.0)
    };
    for (name, depth, channels) in [
        ("a", Depth::U8, 3),
        ("b", Depth::U16, 1),
        ("c", Depth::F32(0.0, 1.0), 3),
    ] {
        let file = tiff(&Drawn {
            depth,
            channels,
            photometric: if channels < 3 { 1 } else { 2 },
            extra: 0,
            levels: &[(600, 300), (300, 150)],
            value: &wavy,
        });
        std::fs::write(folder.join(&format!("{name}.tif")), file).unwrap();
    }
    let service = over(&folder, &[]);
    let ones = format!("[{}]", ["1"; 25].join(","));
    let kernels = [
        "sobel",
        "[gaussian]",
        "sharpen",
        "emboss",
        ones.as_str(),
        "[0,-1,0,-1,5,-1,0,-1,0]",
    ];
    for (name, kernel) in ["a", "b", "c"]
        .iter()
        .flat_map(|name| kernels.map(|kernel| (name, kernel)))
    {
        for more in ["", "&FTR=3&GAM=0.8&CNT=0.7"] {
            let query = format!("FIF={name}.tif&CNV={kernel}{more}");
            let whole = ask(&service, &format!("{query}&CVT=png"));
            let channels = usize::from(whole.channels);
            let whole = support::bytes(&whole);
            for index in 0..6u32 {
                let (left, top) = ((index % 3 * 256) as usize, (index / 3 * 256) as usize);
                let tile = ask(&service, &format!("{query}&PTL=1,{index}"));
                let wide = tile.size.w as usize * channels;
                for (row, found) in support::bytes(&tile).chunks_exact(wide).enumerate() {
                    let start = (top + row) * 600 * channels + left * channels;
                    assert_eq!(
                        found,
                        &whole[start..start + wide],
                        "{query}: tile {index}, row {row}"
                    );
                }
            }
        }
    }
    // away from the edges: the mean of 25 pixels
    let blurred = ask(&service, &format!("FIF=c.tif&CNV={ones}&CVT=png"));
    let at = |x: u32, y: u32| support::bytes(&blurred)[((y * 600 + x) * 3) as usize];
    let mean = |x: u32, y: u32| {
        let around = (y - 2..=y + 2).flat_map(|y| (x - 2..=x + 2).map(move |x| (x, y)));
        around.map(|(x, y)| wavy(x, y, 0)).sum::<f64>() / 25.0
    };
    for (x, y) in [(2, 2), (255, 255), (256, 100), (597, 297)] {
        assert!((f64::from(at(x, y)) - 255.0 * mean(x, y)).abs() <= 1.0);
    }
}

#[test]
fn commands_without_effect_give_the_same_answer() {
    let folder = Folder::new();
    let service = drawn(&folder, 3, &[]);
    let etag = |query: &str| {
        let reply = service.respond(Http::query(query));
        assert_eq!(reply.status, 200, "{query}: {}", text(&reply));
        reply.header("ETag").unwrap().to_string()
    };
    let plain = etag("FIF=u16.tif&JTL=0,0");
    for idle in [
        "CNT=1",
        "GAM=1.0",
        "CTW=[1,0,0;0,1,0;0,0,1]",
        "CTW=1,0,0;0,1,0;0,0,1",
        "CTW=1,0,0,0,0,1,0,0,0,0,1,0,0,0,0,1",
        "MINMAX=-:0,65535",
        "MINMAX=1:0,65535",
        "FTR=0",
        "RFM=0",
        "CIN=1",
        "CNT=1&GAM=1&FTR=0",
    ] {
        assert_eq!(etag(&format!("FIF=u16.tif&{idle}&JTL=0,0")), plain, "{idle}");
    }
    for (one, other) in [
        ("INV=1", "INV"),
        ("INV=1", "INV&INV=1"),
        ("GAM=2&CNT=3", "CNT=3&GAM=2.0"),
        ("CNT=st", "CNT=stretch"),
        ("CNT=st", "CNT=-1"),
        ("CTW=[1,0,0]", "CTW=1"),
        ("ROT=90", "RFM=270"),
        ("ROT=!0", "RFM=0,90"),
    ] {
        let of = |words: &str| etag(&format!("FIF=u16.tif&{words}&JTL=0,0"));
        assert_eq!(of(one), of(other), "{one} and {other}");
        assert_ne!(of(one), plain, "{one}");
    }
}

#[test]
fn bad_values_are_refused_and_the_next_request_is_served() {
    let folder = Folder::new();
    let service = drawn(&folder, 3, &[]);
    for bad in [
        "CNT=x",
        "CNT=-2",
        "CNT=nan",
        "CNT=1e999",
        "GAM=0",
        "GAM=-1",
        "GAM=x",
        "GAM=inf",
        "CTW=[a]",
        "FTR=21",
        "FTR=x",
        "RFM=45",
        "RFM=90,45",
        "CIN=0",
        "CIN=256",
        "CIN=x",
    ] {
        let reply = service.respond(Http::query(&format!("FIF=u8.tif&{bad}&JTL=0,0")));
        let body = text(&reply);
        assert_eq!(reply.status, 400, "{bad}: {body}");
        assert!(
            body.starts_with("Error/") && body.trim_end().lines().count() == 1,
            "{bad}: {body}"
        );
        assert_eq!(service.respond(Http::query("FIF=u8.tif&JTL=0,0")).status, 200);
    }
    // iipsrv shows a picture for these, and so does this server
    for lenient in [
        "CNT=",
        "MINMAX=1",
        "MINMAX=1:2",
        "MINMAX=x:0,1",
        "MINMAX=-1:0,1",
        "MINMAX=1:0,nan",
        "MINMAX=1:0,1,2",
        "CTW=",
        "CTW=[]",
        "CTW=[1,;2]",
        "SHD=1",
        "SHD=1,2,3",
        "SHD=x,y",
        "CMP=",
        "CMP=rainbow",
        "CNV=",
        "CNV=[1]",
        "CNV=[1,2,3,4,5,6,7,8]",
        "CNV=blur",
        "CNV=[a,b,c,d,e,f,g,h,i]",
    ] {
        let query = format!("FIF=u8.tif&{lenient}&JTL=0,0");
        assert_eq!(service.respond(Http::query(&query)).status, 200, "{lenient}");
    }
    let many = vec!["1"; 256].join(",");
    assert_eq!(
        service
            .respond(Http::query(&format!("FIF=u8.tif&CTW=[{many}]&JTL=0,0")))
            .status,
        400
    );
    // normals have three components
    let grey = support::query("FIF=grey&SHD=45,30&JTL=1,0");
    assert_eq!(
        (grey.status, text(&grey).as_str()),
        (
            400,
            "Error/52:2 1 SHD takes an image of three channels, this has 1\r\n"
        )
    );
}

#[test]
fn commands_apply_to_deepzoom_and_zoomify() {
    let map = ("URI_MAP", "dz=>DeepZoom,zm=>Zoomify");
    let service = support::service(&[map]);
    let tile = service.respond(Http::query("FIF=rgb&GAM=2&CTW=[0,0,1;0,1,0;1,0,0]&JTL=2,5"));
    assert_eq!(tile.status, 200);
    let same = |reply: iipsrv::http::Reply, how: &str| {
        assert_eq!(
            (reply.status, reply.body == tile.body),
            (200, true),
            "{how}: {}",
            reply.status
        );
    };
    let words = "GAM=2&CTW=[0,0,1;0,1,0;1,0,0]";
    for path in [
        "DeepZoom=rgb_files/10/1_1.jpg",
        "Zoomify=rgb/TileGroup0/2-1-1.jpg",
    ] {
        same(service.respond(Http::query(&format!("{words}&{path}"))), path);
        same(service.respond(Http::query(&format!("{path}&{words}"))), path);
        same(
            service.respond(Http::query(&format!("{path}&t=123&{words}&v=%ff"))),
            path,
        );
        assert_eq!(
            service.respond(Http::query(&format!("{path}&CNT=abc"))).status,
            400
        );
    }
    for path in ["dz/rgb_files/10/1_1.jpg", "zm/rgb/TileGroup0/2-1-1.jpg"] {
        let asked = |uri: String| service.respond(Http::get(&uri));
        same(asked(format!("/{path}&{words}")), path);
        assert_eq!(asked(format!("/{path}&CNT=abc")).status, 400);
        assert_eq!(asked(format!("/{path}")).status, 200);
    }
    // TIL sends the same tiles
    let labelled = service.respond(Http::query(&format!("FIF=rgb&{words}&TIL=2,5-5")));
    assert!(
        labelled
            .body
            .windows(tile.body.len())
            .any(|part| part == &*tile.body)
    );
}

#[test]
fn channel_numbers_follow_the_iip_version() {
    let folder = Folder::new();
    let of = |compat| drawn(&folder, 3, &[("COMPAT", compat)]);
    let second = |compat, channel: u32| {
        let tile = ask(
            &of(compat),
            &format!("FIF=u8.tif&MINMAX={channel}:500,600&PTL=0,0"),
        );
        let black = |c: usize| {
            support::bytes(&tile)
                .as_chunks::<3>()
                .0
                .iter()
                .all(|pixel| pixel[c] == 0)
        };
        [black(0), black(1), black(2)]
    };
    assert_eq!(second("1.1", 1), [true, false, false]);
    assert_eq!(second("1.3", 1), [false, true, false]);
    assert_eq!(second("auto", 1), [true, false, false]);
    assert_eq!(second("auto", 0), [true, false, false]);
    assert_eq!(second("1.1", 0), [false, false, false]);
}

#[test]
fn histograms_are_stretched_and_equalised() {
    let folder = Folder::new();
    let put = |name: &str, depth, value: &dyn Fn(u32, u32, usize) -> f64| {
        let file = tiff(&Drawn {
            depth,
            channels: 1,
            photometric: 1,
            extra: 0,
            levels: &[(60, 50)],
            value,
        });
        std::fs::write(folder.join(&format!("{name}.tif")), file).unwrap();
    };
    // values from 50 to 109: a tenth of them and the rest
    let slope = |x: u32, _, _| f64::from(50 + x) / 255.0;
    let steps = |x: u32, _, _| if x < 6 { 10.0 / 255.0 } else { 20.0 / 255.0 };
    for (name, depth) in DEPTHS {
        put(&format!("slope-{name}"), depth, &slope);
        put(&format!("steps-{name}"), depth, &steps);
        put(&format!("flat-{name}"), depth, &|_, _, _| 0.4);
    }
    put("nan", Depth::F32(0.0, f32::NAN), &|_, _, _| f64::NAN);
    let service = over(&folder, &[]);
    for (name, _) in DEPTHS {
        let stretched = ask(&service, &format!("FIF=slope-{name}.tif&CNT=stretch&PTL=0,0"));
        for (x, found) in support::bytes(&stretched).iter().take(60).enumerate() {
            assert!(
                (f64::from(*found) - x as f64 * 255.0 / 59.0).abs() <= 3.0,
                "{name} at {x}: {found}"
            );
        }
        let even = ask(&service, &format!("FIF=steps-{name}.tif&CNT=eq&PTL=0,0"));
        assert_eq!(
            support::bytes(&even)[..8],
            [26, 26, 26, 26, 26, 26, 255, 255],
            "{name}"
        );
        // nothing to stretch or to equalise
        for command in ["CNT=stretch", "CNT=eq"] {
            let flat = ask(&service, &format!("FIF=flat-{name}.tif&{command}&PTL=0,0"));
            assert!(
                support::bytes(&flat).iter().all(|v| *v == 102),
                "{name} {command}"
            );
        }
        let split = ask(&service, &format!("FIF=steps-{name}.tif&COL=binary&PTL=0,0"));
        assert_eq!(support::bytes(&split)[4..8], [0, 0, 255, 255], "{name}");
    }
    for command in [
        "GAM=2",
        "CNT=stretch",
        "CNT=eq",
        "MINMAX=-:0,0",
        "CMP=hot",
        "CNV=sobel",
    ] {
        let nothing = ask(&service, &format!("FIF=nan.tif&{command}&PTL=0,0"));
        let first = support::bytes(&nothing)[0];
        assert!(support::bytes(&nothing).iter().all(|v| *v == first), "{command}");
    }
    assert!(
        support::bytes(&ask(&service, "FIF=nan.tif&INV=1&PTL=0,0"))
            .iter()
            .all(|v| *v == 255)
    );
}

#[test]
fn the_sign_of_a_filter_decides_between_sharpening_and_blurring() {
    let folder = Folder::new();
    let edge = |x: u32, _, _| if x < 30 { 0.3 } else { 0.6 };
    let file = tiff(&Drawn {
        depth: Depth::U16,
        channels: 1,
        photometric: 1,
        extra: 0,
        levels: &[(60, 50)],
        value: &edge,
    });
    std::fs::write(folder.join("edge.tif"), file).unwrap();
    let service = over(&folder, &[]);
    let step = |filter: &str| {
        let tile = ask(&service, &format!("FIF=edge.tif&FTR={filter}&PTL=0,0"));
        let row = &support::bytes(&tile)[..60];
        i32::from(row[30]) - i32::from(row[29])
    };
    let steps: Vec<i32> = ["-20", "-5", "-1", "0", "1", "3", "10"].map(step).to_vec();
    assert!(steps.windows(2).all(|pair| pair[0] + 3 < pair[1]), "{steps:?}");
}

#[test]
fn flashpix_viewing_parameters_are_applied() {
    let service = support::service(&[]);
    let plain = ask(&service, "FIF=rgb&CVT=png");
    let turned = ask(&service, "FIF=rgb&ROT=180&CVT=png");
    // lengths are in units of the height: the image is 1000/701 wide
    let wide = 1000.0 / 701.0;
    let round = format!("AFN=-1,0,0,{wide},0,-1,0,1,0,0,1,0,0,0,0,1");
    let placed = ask(&service, &format!("FIF=rgb&{round}&CVT=png"));
    assert_eq!((placed.size, placed.channels), (turned.size, 4));
    let pairs = support::bytes(&placed)
        .as_chunks::<4>()
        .0
        .iter()
        .zip(support::bytes(&turned).as_chunks::<3>().0.iter());
    for (placed, turned) in pairs {
        assert!(placed[..3].iter().zip(turned).all(|(a, b)| a.abs_diff(*b) <= 1));
    }
    assert_eq!(
        ask(&service, &format!("FIF=rgb&{round}&WID=100&CVT=jpeg")).size.w,
        100
    );
    // a window twice as wide as high; the image fills its left part
    let room = ask(&service, "FIF=rgb&RAR=2&CVT=png");
    assert_eq!((room.size.w, room.size.h, room.channels), (1402, 701, 4));
    for (y, line) in support::bytes(&room)
        .as_chunks::<{ 1402 * 4 }>()
        .0
        .iter()
        .enumerate()
    {
        for x in [0, 1, 500, 998] {
            let own = &support::bytes(&plain)[(y * 1000 + x) * 3..][..3];
            assert_eq!(line[x * 4..][..4], [own, &[255]].concat(), "{x},{y}");
        }
        assert!(
            line[1001 * 4..]
                .as_chunks::<4>()
                .0
                .iter()
                .all(|pixel| pixel[3] == 0)
        );
    }
    let jpeg = ask(&service, "FIF=rgb&RAR=2&CVT=jpeg");
    assert!(support::bytes(&jpeg)[1100 * 3..1400 * 3].iter().all(|v| *v > 250));
    // everything outside a rectangle is hidden, in regions and in tiles
    let shown = ask(&service, "FIF=rgb&ROI=0.1,0.2,0.5,0.4&CVT=png");
    let (columns, rows) = (70..421, 140..421);
    for (place, pixel) in support::bytes(&shown).as_chunks::<4>().0.iter().enumerate() {
        let inside = columns.contains(&(place % 1000)) && rows.contains(&(place / 1000));
        assert_eq!(
            pixel[3],
            if inside { 255 } else { 0 },
            "{}, {}",
            place % 1000,
            place / 1000
        );
        if inside {
            assert_eq!(pixel[..3], support::bytes(&plain)[place * 3..][..3]);
        }
    }
    let tile = ask(&service, "FIF=rgb&ROI=0.1,0.2,0.5,0.4&PTL=2,5");
    let whole = support::bytes(&shown);
    for (y, line) in support::bytes(&tile)
        .as_chunks::<{ 256 * 4 }>()
        .0
        .iter()
        .enumerate()
    {
        assert_eq!(line, &whole[((y + 256) * 1000 + 256) * 4..][..256 * 4], "row {y}");
    }
    let far = ask(&service, "FIF=rgb&ROI=0.1,0.2,0.5,0.4&JTL=2,3");
    assert!(support::bytes(&far).iter().all(|v| *v == 255));
    for bad in [
        "AFN=1,0,0",
        "AFN=0,0,0,0,0,0,0,0,0,0,1,0,0,0,0,1",
        "AFN=1,0,0,5,0,1,0,5,0,0,1,0,0,0,0,1",
        "AFN=1e300,0,0,0,0,1e300,0,0,0,0,1,0,0,0,0,1",
        "RAR=0",
        "RAR=x",
        "ROI=0,0,1",
        "ROI=-1,0,1,1",
    ] {
        let reply = service.respond(Http::query(&format!("FIF=rgb&{bad}&CVT=jpeg")));
        assert_eq!(reply.status, 400, "{bad}: {}", text(&reply));
    }
}

#[test]
fn iiif_extensions_are_accepted_as_qualities() {
    let folder = Folder::new();
    let map = ("URI_MAP", "iiif=>IIIF");
    let plain = drawn(&folder, 3, &[map]);
    let extended = drawn(&folder, 3, &[map, ("IIIF_EXTENSIONS", "1")]);
    for (quality, command) in [
        ("negative", "INV=1"),
        ("stretch", "CNT=stretch"),
        ("equalization", "CNT=eq"),
        ("log", "GAM=log"),
    ] {
        let uri = format!("/iiif/u16.tif/full/max/0/{quality}.png");
        assert_eq!(plain.respond(Http::get(&uri)).status, 400, "{quality}");
        let reply = extended.respond(Http::get(&uri));
        let expected = ask(&extended, &format!("FIF=u16.tif&{command}&CVT=png"));
        assert_eq!(pixels(&reply).samples, expected.samples, "{quality}");
        let link = reply.header("Link").unwrap();
        assert!(
            link.contains(&format!("/full/max/0/{quality}.png>;rel=\"canonical\"")),
            "{link}"
        );
    }
    let info = |service: &Service| text(&service.respond(Http::get("/iiif/u16.tif/info.json")));
    let qualities = |info: &str| -> Vec<String> {
        let info: serde_json::Value = serde_json::from_str(info).unwrap();
        let list = info["extraQualities"].as_array().unwrap();
        list.iter()
            .map(|quality| quality.as_str().unwrap().to_string())
            .collect()
    };
    assert_eq!(qualities(&info(&plain)), ["color", "gray", "bitonal"]);
    assert_eq!(
        qualities(&info(&extended)),
        [
            "color",
            "gray",
            "bitonal",
            "negative",
            "stretch",
            "equalization",
            "log"
        ]
    );
}

#[test]
#[ignore = "needs CORPUS"]
fn every_picture_of_the_corpus_can_be_processed() {
    let prefix = format!("{}/tiff/", support::corpus().display());
    let service = Service::new(support::config(&[("FILESYSTEM_PREFIX", &prefix)]));
    let mut served = 0;
    for entry in std::fs::read_dir(&prefix).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let ask = |words: &str| service.respond(Http::query(&format!("FIF={name}&{words}WID=64&CVT=jpeg")));
        let plain = ask("");
        if plain.status != 200 {
            continue;
        }
        served += 1;
        for words in [
            "GAM=2&INV&",
            "CNT=stretch&",
            "CNT=eq&",
            "CMP=jet&",
            "CTW=[0.5,0.5]&",
            "MINMAX=1:10,20&",
            "CNV=sharpen&FTR=-1&",
        ] {
            let reply = ask(words);
            assert_eq!(reply.status, 200, "{name} {words}: {}", text(&reply));
            let (a, b) = (pixels(&plain), pixels(&reply));
            assert_eq!(a.size, b.size, "{name} {words}");
        }
    }
    assert!(served > 100, "{served} served");
}
