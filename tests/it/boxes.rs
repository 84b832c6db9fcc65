//! JP2 and JPX files: do the boxes around a codestream say what its components mean?
//!
//! Codestreams are written by opj_compress without loss, boxes by hand.

use iipsrv::http::Http;
use iipsrv::http::Reply;
use iipsrv::service::Service;

use crate::jp2::Folder;
use crate::jp2::compress;
use crate::support::bytes;
use crate::support::config;
use crate::support::pixels;

/// The sides of every picture.
const W: usize = 24;
const H: usize = 10;

fn boxed(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let len = u32::try_from(body.len() + 8).unwrap();
    [&len.to_be_bytes()[..], kind, &body].concat()
}

/// Big-endian numbers of two bytes.
fn words(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_be_bytes()).collect()
}

/// Big-endian numbers of four bytes.
fn longs(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_be_bytes()).collect()
}

/// An enumerated colour space, and what it takes.
fn space(number: u32, more: &[u32]) -> Vec<u8> {
    boxed(b"colr", &[&[1, 0, 0], &longs(&[number]), &longs(more)])
}

/// Channel, kind, colour.
fn definitions(all: &[[u16; 3]]) -> Vec<u8> {
    boxed(b"cdef", &[&words(&[all.len() as u16]), &words(&all.concat())])
}

/// Every channel a column of the palette, through component 0.
fn columns(count: u8) -> Vec<u8> {
    let all: Vec<u8> = (0..count).flat_map(|column| [0, 0, 1, column]).collect();
    boxed(b"cmap", &[&all])
}

/// Signature and type.
fn start() -> Vec<u8> {
    [
        boxed(b"jP  ", &[b"\r\n\x87\n"]),
        boxed(b"ftyp", &[b"jpx \0\0\0\0jpx jp2 "]),
    ]
    .concat()
}

/// What is served of files.
struct Shop {
    folder: Folder,
    service: Service,
}

impl Shop {
    fn new(name: &str) -> Shop {
        let folder = Folder::new(name);
        let prefix = format!("{}/", folder.0.display());
        let service = Service::new(config(&[("FILESYSTEM_PREFIX", &prefix)]));
        Shop { folder, service }
    }

    /// A codestream of these components, row by row.
    fn stream(&self, components: &[Vec<u8>]) -> Vec<u8> {
        let (raw, stream) = (self.folder.0.join("made.raw"), self.folder.0.join("made.j2k"));
        std::fs::write(&raw, components.concat()).unwrap();
        let count = components.len();
        compress(&raw, &stream, &format!("-n 3 -mct 0 -F {W},{H},{count},8,u"));
        std::fs::read(&stream).unwrap()
    }

    fn reply(&self, name: &str, file: &[u8]) -> Reply {
        let name = format!("{name}.jp2");
        std::fs::write(self.folder.0.join(&name), file).unwrap();
        self.service
            .respond(Http::query(&format!("IIIF={name}/full/max/0/default.png")))
    }

    /// The samples of the answer, as the file has its header and a codestream.
    fn samples(&self, name: &str, header: &[Vec<u8>], stream: &[u8]) -> Vec<u8> {
        let header: Vec<&[u8]> = header.iter().map(Vec::as_slice).collect();
        let file = [start(), boxed(b"jp2h", &header), boxed(b"jp2c", &[stream])].concat();
        bytes(&pixels(&self.reply(name, &file))).to_vec()
    }
}

/// Some smooth component.
fn component(number: usize) -> Vec<u8> {
    let value = |at: usize| (at % W * (4 + number) + at / W * (7 - number) + 20 * number) as u8;
    (0..W * H).map(value).collect()
}

/// Components side by side.
fn together(components: &[&Vec<u8>]) -> Vec<u8> {
    (0..W * H)
        .flat_map(|at| components.iter().map(move |samples| samples[at]))
        .collect()
}

#[test]
#[ignore = "needs opj_compress"]
fn channels_are_what_they_are_defined_as() {
    let shop = Shop::new("boxes-channels");
    let all: Vec<Vec<u8>> = (0..4).map(component).collect();
    let [a, b, c, d] = &all[..] else { unreachable!() };
    let (two, four) = (shop.stream(&all[..2]), shop.stream(&all));
    let cases = [
        ("plain", &four, vec![], vec![a, b, c]),
        (
            "backwards",
            &four,
            vec![[0, 0, 3], [1, 0, 2], [2, 0, 1]],
            vec![c, b, a],
        ),
        (
            "opacity first",
            &four,
            vec![[0, 1, 0], [1, 0, 1], [2, 0, 2], [3, 0, 3]],
            vec![b, c, d, a],
        ),
        (
            "nothing",
            &four,
            vec![[0, 0, 1], [1, 0, 2], [2, 0, 3], [3, 65535, 65535]],
            vec![a, b, c],
        ),
        ("grey", &two, vec![], vec![a]),
        (
            "opacity of all",
            &two,
            vec![[0, 0, 1], [1, 1, 0]],
            vec![a, a, a, b],
        ),
        (
            "opacity of the only colour",
            &two,
            vec![[0, 0, 1], [1, 1, 1]],
            vec![a, a, a, b],
        ),
    ];
    for (name, stream, defined, expected) in cases {
        let mut header = vec![space(if stream == &two { 17 } else { 16 }, &[])];
        if !defined.is_empty() {
            header.push(definitions(&defined));
        }
        assert_eq!(shop.samples(name, &header, stream), together(&expected), "{name}");
    }
}

#[test]
#[ignore = "needs opj_compress"]
fn palettes_of_every_depth_are_looked_up() {
    let shop = Shop::new("boxes-palette");
    let index = component(1);
    let stream = shop.stream(std::slice::from_ref(&index));
    let colour = |entry: u8| [entry, 255 - entry, entry / 2];
    let all: Vec<u8> = (0..=255).flat_map(colour).collect();
    let palette = |depth: u8, entries: u16, values: &[u8]| {
        boxed(b"pclr", &[&words(&[entries]), &[3, depth, depth, depth], values])
    };
    let signed: Vec<u8> = all.iter().map(|value| value ^ 0x80).collect();
    // 20 bits in three bytes
    let wide: Vec<u8> = all.iter().flat_map(|value| [value >> 4, value << 4, 0]).collect();
    let expected: Vec<u8> = index.iter().flat_map(|entry| colour(*entry)).collect();
    let cut: Vec<u8> = index.iter().flat_map(|entry| colour(*entry.min(&99))).collect();
    for (name, palette, expected) in [
        ("plain", palette(7, 256, &all), &expected),
        ("signed", palette(0x87, 256, &signed), &expected),
        ("wide", palette(19, 256, &wide), &expected),
        ("cut", palette(7, 256, &all[..301]), &cut),
    ] {
        let header = [space(16, &[]), palette, columns(3)];
        assert_eq!(shop.samples(name, &header, &stream), *expected, "{name}");
    }
    for (name, header) in [
        ("none", boxed(b"jp2h", &[&columns(3)])),
        ("empty", boxed(b"jp2h", &[&palette(7, 0, &[]), &columns(3)])),
    ] {
        let file = [start(), header, boxed(b"jp2c", &[&stream])].concat();
        assert_eq!(
            shop.reply(name, &file).status,
            500,
            "{name}: indices are no colours"
        );
    }
}

#[test]
#[ignore = "needs opj_compress"]
fn inks_are_the_absence_of_light() {
    let shop = Shop::new("boxes-ink");
    let all: Vec<Vec<u8>> = (0..3).map(component).collect();
    let inverted = |samples: Vec<u8>| samples.iter().map(|sample| !sample).collect::<Vec<u8>>();
    let expected = together(&all.iter().collect::<Vec<_>>());
    assert_eq!(
        shop.samples("cmy", &[space(11, &[])], &shop.stream(&all)),
        inverted(expected)
    );
}

#[test]
#[ignore = "needs opj_compress"]
fn a_space_that_is_not_named_is_that_of_the_count() {
    let shop = Shop::new("boxes-unknown");
    let all: Vec<Vec<u8>> = (0..3).map(component).collect();
    // what OpenJPEG writes then, and a number that is not defined
    for number in [0, 99] {
        let header = [space(number, &[])];
        let of = |count: usize| shop.samples("unknown", &header, &shop.stream(&all[..count]));
        assert_eq!(of(1), all[0], "{number}");
        assert_eq!(of(2), all[0], "{number}");
        assert_eq!(of(3), together(&[&all[0], &all[1], &all[2]]), "{number}");
    }
}

/// The formulas of CIE 15 and IEC 61966-2-1, with the matrix of D50.
fn of_lab([l, a, b]: [f64; 3]) -> [f64; 3] {
    let root = |t: f64| {
        if t > 6.0 / 29.0 {
            t.powi(3)
        } else {
            3.0 * (6.0f64 / 29.0).powi(2) * (t - 4.0 / 29.0)
        }
    };
    let y = (l + 16.0) / 116.0;
    let xyz = [
        0.9642 * root(y + a / 500.0),
        root(y),
        0.8249 * root(y - b / 200.0),
    ];
    [
        [3.133_856, -1.616_867, -0.490_615],
        [-0.978_768, 1.916_142, 0.033_454],
        [0.071_945, -0.228_991, 1.405_243],
    ]
    .map(|row| {
        let linear: f64 = row.iter().zip(xyz).map(|(m, v)| m * v).sum();
        let linear = linear.clamp(0.0, 1.0);
        let code = if linear <= 0.003_130_8 {
            12.92 * linear
        } else {
            1.055 * linear.powf(1.0 / 2.4) - 0.055
        };
        code * 255.0
    })
}

#[test]
#[ignore = "needs opj_compress"]
fn lab_has_ranges_and_offsets() {
    let shop = Shop::new("boxes-lab");
    let all: Vec<Vec<u8>> = (0..3).map(component).collect();
    let stream = shop.stream(&all);
    let d50 = 0x0044_3530;
    for (name, said, ways) in [
        ("usual", vec![], [(100.0, 0.0), (170.0, 128.0), (200.0, 96.0)]),
        (
            "as in TIFF",
            vec![100, 0, 255, 128, 255, 128, d50],
            [(100.0, 0.0), (255.0, 128.0), (255.0, 128.0)],
        ),
        (
            "other",
            vec![80, 0, 60, 100, 90, 150, d50],
            [(80.0, 0.0), (60.0, 100.0), (90.0, 150.0)],
        ),
    ] {
        let found = shop.samples(name, &[space(14, &said)], &stream);
        for (at, pixel) in found.chunks(3).enumerate() {
            let lab = [0, 1, 2].map(|i| {
                let (range, offset) = ways[i];
                (f64::from(all[i][at]) - offset) * range / 255.0
            });
            for (got, want) in pixel.iter().zip(of_lab(lab)) {
                assert!(
                    (f64::from(*got) - want).abs() < 1.6,
                    "{name} at {at}: {pixel:?}, {lab:?} is {:?}",
                    of_lab(lab)
                );
            }
        }
    }
}

#[test]
#[ignore = "needs opj_compress"]
fn the_first_of_several_pictures_is_served() {
    let shop = Shop::new("boxes-jpx");
    let all: Vec<Vec<u8>> = (0..3).map(component).collect();
    let [a, b, c] = &all[..] else { unreachable!() };
    let (three, one) = (shop.stream(&all), shop.stream(&all[..1]));
    let backwards = definitions(&[[0, 0, 3], [1, 0, 2], [2, 0, 1]]);
    let inks: Vec<u8> = (0..=255).flat_map(|entry: u8| [entry, 0, 0]).collect();
    let palette = boxed(b"pclr", &[&words(&[256]), &[3, 7, 7, 7], &inks]);
    let layer = |more: &[u8]| boxed(b"jplh", &[&boxed(b"cgrp", &[&space(16, &[])]), more]);
    let streams = [boxed(b"jp2c", &[&three]), boxed(b"jp2c", &[&one])].concat();
    let headers = [
        boxed(b"jpch", &[]),
        boxed(b"jpch", &[&palette, &columns(3)]),
        layer(&[]),
        layer(&backwards),
    ]
    .concat();
    let of = |name, parts: &[&[u8]]| {
        let file = [&start(), &parts.concat()[..]].concat();
        bytes(&pixels(&shop.reply(name, &file))).to_vec()
    };
    assert_eq!(
        of("headers of others", &[&headers, &streams]),
        together(&[a, b, c])
    );
    let usual = definitions(&[[0, 0, 1], [1, 0, 2], [2, 0, 3]]);
    let general = boxed(b"jp2h", &[&space(16, &[]), &usual]);
    assert_eq!(
        of("its own header", &[&general, &layer(&backwards), &streams]),
        together(&[c, b, a])
    );
    // a long box, and one that goes on to the end
    let long = [
        &[0, 0, 0, 1][..],
        b"jp2h",
        &[0, 0, 0, 0, 0, 0, 0, 16 + 15],
        &space(16, &[]),
    ]
    .concat();
    let open = [&[0, 0, 0, 0][..], b"jp2c", &three].concat();
    assert_eq!(of("lengths", &[&long, &open]), together(&[a, b, c]));
    // in fragments, the last of which come first
    let (head, tail) = three.split_at(three.len() / 3);
    let first = u64::try_from(start().len() + 8).unwrap();
    let second = first + tail.len() as u64;
    let piece = |at: u64, len: usize| [&at.to_be_bytes()[..], &longs(&[len as u32]), &[0, 0]].concat();
    let list = [words(&[2]), piece(second, head.len()), piece(first, tail.len())].concat();
    let data = boxed(b"mdat", &[tail, head]);
    let table = boxed(b"ftbl", &[&boxed(b"flst", &[&list])]);
    assert_eq!(of("fragments", &[&data, &table]), together(&[a, b, c]));
}

#[test]
#[ignore = "needs opj_compress"]
fn subsampled_components_are_chroma_where_nothing_is_said() {
    let shop = Shop::new("boxes-subsampled");
    let luma = component(0);
    let quarter = |value: u8| vec![value; W * H / 4];
    let (raw, path) = (shop.folder.0.join("made.raw"), shop.folder.0.join("made.j2k"));
    std::fs::write(&raw, [luma.clone(), quarter(100), quarter(180)].concat()).unwrap();
    compress(&raw, &path, &format!("-n 3 -mct 0 -F {W},{H},3,8,u@1x1:2x2:2x2"));
    let stream = std::fs::read(&path).unwrap();
    // T.800 G.3
    let chroma = [1.402 * 52.0, 0.344_136 * 28.0 - 0.714_136 * 52.0, -1.772 * 28.0];
    let expected: Vec<u8> = (luma.iter())
        .flat_map(|y| chroma.map(|more| (f64::from(*y) + more).round().clamp(0.0, 255.0) as u8))
        .collect();
    let found = |header: &[Vec<u8>]| shop.samples("subsampled", header, &stream);
    assert_eq!(bytes(&pixels(&shop.reply("raw", &stream))), expected);
    assert_eq!(found(&[space(18, &[])]), expected);
    let plain: Vec<u8> = luma.iter().flat_map(|y| [*y, 100, 180]).collect();
    assert_eq!(found(&[space(16, &[])]), plain);
}
