//! JP2 and JPX files: the boxes around a codestream decide what its components mean.
//!
//! opj_compress writes the codestreams, losslessly; the tests write the boxes.

use iipsrv::http::Http;
use iipsrv::http::Reply;
use iipsrv::service::Service;

use crate::jp2::Folder;
use crate::jp2::compress;
use crate::support::bytes;
use crate::support::config;
use crate::support::pixels;

/// Width and height of every picture, in pixels.
const W: usize = 24;
const H: usize = 10;

fn boxed(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let len = u32::try_from(body.len() + 8).unwrap();
    [&len.to_be_bytes()[..], kind, &body].concat()
}

/// The numbers as big-endian 16-bit values.
fn words(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_be_bytes()).collect()
}

/// The numbers as big-endian 32-bit values.
fn longs(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_be_bytes()).collect()
}

/// A `colr` box with an enumerated colour space and its parameters.
fn space(number: u32, more: &[u32]) -> Vec<u8> {
    boxed(b"colr", &[&[1, 0, 0], &longs(&[number]), &longs(more)])
}

/// A `cdef` box; each row is channel, type, association.
fn definitions(all: &[[u16; 3]]) -> Vec<u8> {
    boxed(b"cdef", &[&words(&[all.len() as u16]), &words(&all.concat())])
}

/// A `cmap` box that maps component 0 through each column of the palette.
fn columns(count: u8) -> Vec<u8> {
    let all: Vec<u8> = (0..count).flat_map(|column| [0, 0, 1, column]).collect();
    boxed(b"cmap", &[&all])
}

/// The signature and file type boxes.
fn start() -> Vec<u8> {
    [
        boxed(b"jP  ", &[b"\r\n\x87\n"]),
        boxed(b"ftyp", &[b"jpx \0\0\0\0jpx jp2 "]),
    ]
    .concat()
}

/// A service over a folder in which the tests write files.
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

    /// A codestream of these components, each in row-major order.
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

    /// The samples of the answer for a file of this header and codestream.
    fn samples(&self, name: &str, header: &[Vec<u8>], stream: &[u8]) -> Vec<u8> {
        let header: Vec<&[u8]> = header.iter().map(Vec::as_slice).collect();
        let file = [start(), boxed(b"jp2h", &header), boxed(b"jp2c", &[stream])].concat();
        bytes(&pixels(&self.reply(name, &file))).to_vec()
    }
}

/// A smooth test component; `number` selects the slope.
fn component(number: usize) -> Vec<u8> {
    let value = |at: usize| (at % W * (4 + number) + at / W * (7 - number) + 20 * number) as u8;
    (0..W * H).map(value).collect()
}

/// The components, interleaved by pixel.
fn interleaved(components: &[&Vec<u8>]) -> Vec<u8> {
    (0..W * H)
        .flat_map(|at| components.iter().map(move |samples| samples[at]))
        .collect()
}

#[test]
#[ignore = "needs opj_compress"]
fn channels_are_ordered_by_the_channel_definition_box() {
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
            "alpha first",
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
            "alpha of the whole image",
            &two,
            vec![[0, 0, 1], [1, 1, 0]],
            vec![a, a, a, b],
        ),
        (
            "alpha of the only colour",
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
        assert_eq!(
            shop.samples(name, &header, stream),
            interleaved(&expected),
            "{name}"
        );
    }
}

#[test]
#[ignore = "needs opj_compress"]
fn palettes_of_every_depth_are_applied() {
    let shop = Shop::new("boxes-palette");
    let index = component(1);
    let stream = shop.stream(std::slice::from_ref(&index));
    let colour = |entry: u8| [entry, 255 - entry, entry / 2];
    let all: Vec<u8> = (0..=255).flat_map(colour).collect();
    let palette = |depth: u8, entries: u16, values: &[u8]| {
        boxed(b"pclr", &[&words(&[entries]), &[3, depth, depth, depth], values])
    };
    let signed: Vec<u8> = all.iter().map(|value| value ^ 0x80).collect();
    // 20 bits, stored in three bytes
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
            "{name}: indices are served as colours"
        );
    }
}

#[test]
#[ignore = "needs opj_compress"]
fn cmy_components_are_inverted() {
    let shop = Shop::new("boxes-ink");
    let all: Vec<Vec<u8>> = (0..3).map(component).collect();
    let inverted = |samples: Vec<u8>| samples.iter().map(|sample| !sample).collect::<Vec<u8>>();
    let expected = interleaved(&all.iter().collect::<Vec<_>>());
    assert_eq!(
        shop.samples("cmy", &[space(11, &[])], &shop.stream(&all)),
        inverted(expected)
    );
}

#[test]
#[ignore = "needs opj_compress"]
fn an_unnamed_colour_space_follows_from_the_number_of_components() {
    let shop = Shop::new("boxes-unknown");
    let all: Vec<Vec<u8>> = (0..3).map(component).collect();
    // 0 is what OpenJPEG writes for an unknown space; the other number is undefined
    for number in [0, 99] {
        let header = [space(number, &[])];
        let served = |count: usize| shop.samples("unknown", &header, &shop.stream(&all[..count]));
        assert_eq!(served(1), all[0], "{number}");
        assert_eq!(served(2), all[0], "{number}");
        assert_eq!(served(3), interleaved(&[&all[0], &all[1], &all[2]]), "{number}");
    }
}

/// L*a*b* to sRGB by CIE 15 and IEC 61966-2-1, with the D50 matrix.
fn lab_to_srgb([l, a, b]: [f64; 3]) -> [f64; 3] {
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
fn lab_ranges_and_offsets_are_applied() {
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
            for (got, want) in pixel.iter().zip(lab_to_srgb(lab)) {
                assert!(
                    (f64::from(*got) - want).abs() < 1.6,
                    "{name} at {at}: {pixel:?}, {lab:?} is {:?}",
                    lab_to_srgb(lab)
                );
            }
        }
    }
}

#[test]
#[ignore = "needs opj_compress"]
fn the_first_of_several_codestreams_is_served() {
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
    let served = |name, parts: &[&[u8]]| {
        let file = [&start(), &parts.concat()[..]].concat();
        bytes(&pixels(&shop.reply(name, &file))).to_vec()
    };
    assert_eq!(
        served("headers of others", &[&headers, &streams]),
        interleaved(&[a, b, c])
    );
    let usual = definitions(&[[0, 0, 1], [1, 0, 2], [2, 0, 3]]);
    let general = boxed(b"jp2h", &[&space(16, &[]), &usual]);
    assert_eq!(
        served("its own header", &[&general, &layer(&backwards), &streams]),
        interleaved(&[c, b, a])
    );
    // a box with a 64-bit length, and one that extends to the end of the file
    let long = [
        &[0, 0, 0, 1][..],
        b"jp2h",
        &[0, 0, 0, 0, 0, 0, 0, 16 + 15],
        &space(16, &[]),
    ]
    .concat();
    let open = [&[0, 0, 0, 0][..], b"jp2c", &three].concat();
    assert_eq!(served("lengths", &[&long, &open]), interleaved(&[a, b, c]));
    // in fragments, stored in reverse order
    let (head, tail) = three.split_at(three.len() / 3);
    let first = u64::try_from(start().len() + 8).unwrap();
    let second = first + tail.len() as u64;
    let piece = |at: u64, len: usize| [&at.to_be_bytes()[..], &longs(&[len as u32]), &[0, 0]].concat();
    let list = [words(&[2]), piece(second, head.len()), piece(first, tail.len())].concat();
    let data = boxed(b"mdat", &[tail, head]);
    let table = boxed(b"ftbl", &[&boxed(b"flst", &[&list])]);
    assert_eq!(served("fragments", &[&data, &table]), interleaved(&[a, b, c]));
}

#[test]
#[ignore = "needs opj_compress"]
fn subsampled_components_are_chroma_unless_the_boxes_say_otherwise() {
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
