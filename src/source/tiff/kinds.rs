//! Tests of files as particular writers produce them: each is shown as its writer intended.

use crate::codec::jpeg;
use crate::codec::jpeg::JpegStyle;
use crate::codec::jpeg::join::Join;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::raster::Alpha;
use crate::raster::Colour;
use crate::raster::Layout;
use crate::raster::SampleFormat;
use crate::raster::Samples;
use crate::source::Grid;
use crate::source::Source;
use crate::source::Tile;
use crate::source::Window;
use crate::source::cache::NoCache;
use crate::source::tiff::Limits;
use crate::source::tiff::Tiff;
use crate::source::tiff::build::Build;
use crate::source::tiff::build::FieldEntry;
use crate::source::tiff::build::Temp;
use crate::source::tiff::build::tags;
use crate::source::tiff::build::with;
use crate::source::tiff::input::ByteOrder;
use crate::source::window;

fn open_page(bytes: &[u8], page: usize) -> Result<Tiff> {
    Tiff::open_page(Temp::new(bytes).open(), page, &Limits::default())
}

fn open(bytes: &[u8]) -> Result<Tiff> {
    open_page(bytes, 0)
}

fn sizes(tiff: &Tiff) -> Vec<(u32, u32)> {
    let levels = tiff.header().levels.iter();
    levels.map(|level| (level.size.w, level.size.h)).collect()
}

fn names(tiff: &Tiff) -> Vec<Option<&str>> {
    let pages = tiff.header().set.stack.iter();
    pages.map(|page| page.name.as_deref()).collect()
}

fn whole(tiff: &Tiff, level: usize) -> Result<Samples> {
    let size = tiff.header().levels[level].size;
    let raster = window::raster(tiff, Window::new(level, Rect::of(size)), &NoCache)?;
    assert_eq!((raster.size, raster.channels), (size, tiff.header().channels));
    Ok(raster.samples)
}

fn bytes(tiff: &Tiff, level: usize) -> Vec<u8> {
    match whole(tiff, level).unwrap() {
        Samples::U8(samples) => samples,
        other => panic!("{other:?}"),
    }
}

fn text(tag: u16, text: &str) -> FieldEntry {
    (tag, 2, text.bytes().chain([0]).map(u64::from).collect())
}

/// Grey tiles of this value, and their tags.
fn grey(build: &mut Build, size: (u64, u64), value: u8) -> Vec<FieldEntry> {
    let at = build.blob(&[value; 256]);
    let count = size.0.div_ceil(16) * size.1.div_ceil(16);
    tags(size, 1, 1, vec![at; count as usize])
}

/// A picture in one strip with these bytes.
fn strip(
    build: &mut Build,
    size: (u64, u64),
    scheme: u64,
    photometric: u64,
    channels: u64,
    data: &[u8],
) -> Vec<FieldEntry> {
    let at = build.blob(data);
    vec![
        (256, 3, vec![size.0]),
        (257, 3, vec![size.1]),
        (258, 3, vec![8; channels as usize]),
        (259, 3, vec![scheme]),
        (262, 3, vec![photometric]),
        (273, 4, vec![at]),
        (277, 3, vec![channels]),
        (278, 3, vec![size.1]),
        (279, 4, vec![data.len() as u64]),
    ]
}

/// A file with these directories, in order.
fn file(mut build: Build, directories: &[Vec<FieldEntry>]) -> Vec<u8> {
    let first = directories
        .iter()
        .rev()
        .fold(0, |next, tags| build.ifd(tags, next));
    build.finish(first)
}

#[test]
fn a_mask_becomes_alpha_at_every_level_that_has_one() {
    let mut build = Build::new(ByteOrder::Little, false);
    let full = grey(&mut build, (40, 20), 200);
    let half = with(grey(&mut build, (20, 10), 100), &[(254, 4, vec![1])]);
    let quarter = with(grey(&mut build, (10, 5), 50), &[(254, 4, vec![1])]);
    // bits: the left half of the picture is opaque, in one strip; the smaller mask is in bytes
    let row = [0xff, 0xff, 0xf0, 0, 0];
    let mask = strip(&mut build, (40, 20), 1, 4, 1, &row.repeat(20));
    let mask = with(mask, &[(254, 4, vec![4]), (258, 3, vec![1])]);
    let row = [[255; 10], [0; 10]].concat();
    let small = strip(&mut build, (20, 10), 1, 4, 1, &row.repeat(10));
    let small = with(small, &[(254, 4, vec![5])]);
    let tiff = open(&file(build, &[full, mask, half, quarter, small])).unwrap();
    let header = tiff.header();
    assert_eq!(sizes(&tiff), [(40, 20), (20, 10)]);
    assert_eq!(
        (header.channels, header.meaning.alpha, header.stored),
        (2, Alpha::Straight, None)
    );
    assert_eq!(header.meaning.ranges, [(0.0, 255.0); 2]);
    assert!(header.set.stack.is_empty());
    for (level, w, value) in [(0, 40, 200), (1, 20, 100)] {
        for (at, pixel) in bytes(&tiff, level).chunks(2).enumerate() {
            let there = if at % w < w / 2 { 255 } else { 0 };
            assert_eq!(pixel, [value, there], "{level} {at}");
        }
        let tile = Tile {
            level,
            col: 1,
            row: 0,
        };
        let tile = window::tile(&tiff, tile, &NoCache).unwrap();
        assert_eq!(tile.channels, 2);
    }
}

#[test]
fn padded_levels_are_cropped_and_areas_that_were_not_scanned_are_white() {
    let mut build = Build::new(ByteOrder::Little, false);
    let by = [
        text(305, "Philips DP v1.0"),
        text(270, "<DataObject ObjectType=\"DPUfsImport\"/>"),
    ];
    let full = with(grey(&mut build, (96, 80), 7), &by);
    let half = grey(&mut build, (48, 48), 8);
    let mut quarter = grey(&mut build, (32, 32), 9);
    // never written
    quarter
        .iter_mut()
        .filter(|(tag, ..)| *tag == 324)
        .for_each(|(.., at)| at[3] = 0);
    let eighth = grey(&mut build, (16, 16), 10);
    let sixteenth = grey(&mut build, (16, 16), 11);
    let tiff = open(&file(build, &[full, half, quarter, eighth, sixteenth])).unwrap();
    assert_eq!(sizes(&tiff), [(96, 80), (48, 40), (24, 20), (12, 10), (6, 5)]);
    assert!(tiff.header().set.stack.is_empty());
    let levels = [(1, 8), (3, 10), (4, 11)];
    levels
        .iter()
        .for_each(|(level, value)| assert!(bytes(&tiff, *level).iter().all(|v| v == value)));
    let white = bytes(&tiff, 2)
        .chunks(24)
        .skip(16)
        .flat_map(|row| &row[16..])
        .all(|v| *v == 255);
    assert!(white);
    // GDAL states the value, others mean 0
    for (more, wanted) in [(vec![text(42113, "13")], 13), (vec![], 0)] {
        let mut build = Build::new(ByteOrder::Little, false);
        let mut tags = with(grey(&mut build, (16, 16), 7), &more);
        tags.iter_mut()
            .filter(|(tag, ..)| *tag == 324)
            .for_each(|(.., at)| at[0] = 0);
        let tiff = open(&file(build, &[tags])).unwrap();
        assert!(bytes(&tiff, 0).iter().all(|v| *v == wanted));
    }
}

#[test]
fn tiled_pages_of_one_size_are_not_padded_levels() {
    let mut build = Build::new(ByteOrder::Little, false);
    let pages = [1, 2, 3].map(|value| grey(&mut build, (16, 16), value));
    let tiff = open(&file(build, &pages)).unwrap();
    assert_eq!((sizes(&tiff).len(), tiff.header().set.stack.len()), (1, 3));
}

#[test]
fn the_slide_is_the_image_and_its_label_and_macro_are_named_pages() {
    let reduced = |flags| (254, 4, vec![flags]);
    // Leica: the whole slide first, with its own levels
    let mut build = Build::new(ByteOrder::Little, true);
    let scn = "<scn xmlns=\"http://www.leica-microsystems.com/scn/2010/10/01\"><collection sizeX=\"900\" sizeY=\"300\">\
        <image name=\"a\"><pixels><dimension sizeX=\"48\" ifd=\"0\" r=\"0\"/><dimension r=\"1\" ifd=\"1\"/></pixels>\
        <view sizeX=\"900\" sizeY=\"300\" offsetX=\"0\"/></image>\
        <image name=\"b\"><pixels><dimension ifd=\"2\"/><dimension ifd=\"3\"/></pixels>\
        <view sizeX=\"90\" sizeY=\"70\"/></image></collection></scn>";
    let glass = with(grey(&mut build, (48, 16), 1), &[text(270, scn)]);
    let chain = [
        glass,
        grey(&mut build, (24, 8), 2),
        grey(&mut build, (160, 128), 3),
        grey(&mut build, (40, 32), 4),
    ];
    let scn = file(build, &chain);
    let tiff = open(&scn).unwrap();
    assert_eq!(sizes(&tiff), [(160, 128), (40, 32)]);
    assert_eq!(names(&tiff), [None, Some("macro")]);
    assert_eq!(sizes(&open_page(&scn, 1).unwrap()), [(48, 16), (24, 8)]);
    // Aperio: a thumbnail in strips after the slide, label and macro at the end, marked as reduced
    let mut build = Build::new(ByteOrder::Little, false);
    let says = |second: &str| text(270, &format!("Aperio Image Library v12.0.15\r\n{second}"));
    let thumbnail = strip(&mut build, (40, 32), 1, 1, 1, &[9; 40 * 32]);
    let label = strip(&mut build, (20, 30), 1, 1, 1, &[8; 600]);
    let glass = strip(&mut build, (50, 20), 1, 1, 1, &[7; 1000]);
    let chain = [
        with(
            grey(&mut build, (160, 128), 3),
            &[says("160x128 [0,0 160x128] (16x16) Q=70")],
        ),
        with(thumbnail, &[says("160x128 -> 40x32 - ")]),
        with(
            grey(&mut build, (40, 32), 4),
            &[says("160x128 [0,0 160x128] (16x16) -> 40x32")],
        ),
        with(label, &[says("label 20x30"), reduced(1)]),
        with(glass, &[says("macro 50x20"), reduced(9)]),
    ];
    let svs = file(build, &chain);
    let tiff = open(&svs).unwrap();
    assert_eq!(sizes(&tiff), [(160, 128), (40, 32)]);
    assert_eq!(names(&tiff), [None, Some("label"), Some("macro")]);
    assert!(bytes(&open_page(&svs, 1).unwrap(), 0).iter().all(|v| *v == 8));
    // Ventana: the label comes first, and sizes are whole tiles
    let mut build = Build::new(ByteOrder::Little, true);
    let label = strip(&mut build, (300, 400), 1, 1, 1, &[8; 120_000]);
    let xmp = (
        700,
        1,
        b"<Metadata><iScan Magnification=\"20\"/></Metadata>"
            .iter()
            .map(|v| u64::from(*v))
            .collect(),
    );
    let chain = [
        with(
            label,
            &[text(270, "Label Image"), text(305, "ScanOutputManager 1.1"), xmp],
        ),
        with(
            grey(&mut build, (160, 112), 3),
            &[text(270, "level=0 mag=20 quality=95")],
        ),
        with(
            grey(&mut build, (80, 64), 4),
            &[text(270, "level=1 mag=10 quality=95")],
        ),
    ];
    let tiff = open(&file(build, &chain)).unwrap();
    assert_eq!(sizes(&tiff), [(160, 112), (80, 56)]);
    assert_eq!(names(&tiff), [None, Some("label")]);
    // Trestle: levels in order
    let mut build = Build::new(ByteOrder::Little, false);
    let chain = [
        with(
            grey(&mut build, (160, 112), 3),
            &[
                text(305, "MedScan"),
                text(270, "Background Color=ffffff;OverlapsXY=0 0"),
            ],
        ),
        grey(&mut build, (80, 56), 4),
    ];
    assert_eq!(
        sizes(&open(&file(build, &chain)).unwrap()),
        [(160, 112), (80, 56)]
    );
}

#[test]
fn a_file_that_begins_with_a_smaller_version_shows_the_full_one() {
    let reduced = [(254, 4, vec![1])];
    let mut build = Build::new(ByteOrder::Little, false);
    let chain = [
        with(grey(&mut build, (20, 10), 1), &reduced),
        with(grey(&mut build, (40, 20), 2), &reduced),
        grey(&mut build, (80, 40), 3),
        grey(&mut build, (30, 30), 4),
    ];
    let bytes_of = file(build, &chain);
    let tiff = open(&bytes_of).unwrap();
    assert_eq!(sizes(&tiff), [(80, 40), (40, 20), (20, 10)]);
    assert!(bytes(&tiff, 2).iter().all(|v| *v == 1));
    assert_eq!(sizes(&open_page(&bytes_of, 1).unwrap()), [(30, 30)]);
    assert!(matches!(open_page(&bytes_of, 2), Err(Error::Missing(_))));
    // the full one may be below the small one
    let mut build = Build::new(ByteOrder::Little, false);
    let full = grey(&mut build, (80, 40), 3);
    let full = build.ifd(&full, 0);
    let small = with(
        grey(&mut build, (20, 10), 1),
        &[reduced[0].clone(), (330, 4, vec![full])],
    );
    assert_eq!(sizes(&open(&file(build, &[small])).unwrap())[0], (80, 40));
    // without any full one, the largest is shown
    let mut build = Build::new(ByteOrder::Little, false);
    let chain = [(20, 10, 1), (80, 40, 2)].map(|(w, h, v)| with(grey(&mut build, (w, h), v), &reduced));
    assert_eq!(sizes(&open(&file(build, &chain)).unwrap())[0], (80, 40));
}

/// 16x16 signed 16-bit samples of this many channels.
fn signed(
    channels: u64,
    photometric: u64,
    value: impl Fn(usize) -> i16,
    more: &[FieldEntry],
) -> Result<Tiff> {
    let mut build = Build::new(ByteOrder::Little, false);
    let data: Vec<u8> = (0..256 * channels as usize)
        .flat_map(|at| value(at).to_le_bytes())
        .collect();
    let at = build.blob(&data);
    let shape = [
        (258, 3, vec![16; channels as usize]),
        (339, 3, vec![2; channels as usize]),
        (325, 4, vec![data.len() as u64]),
    ];
    let tags = with(
        with(tags((16, 16), channels, photometric, vec![at]), &shape),
        more,
    );
    open(&file(build, &[tags]))
}

#[test]
fn signed_samples_have_the_range_of_the_file_or_of_its_samples() {
    let value = |at: usize| at as i16 - 100;
    for (channels, photometric, highest) in [(1, 1, 155.0), (3, 2, 667.0)] {
        let tiff = signed(channels, photometric, value, &[]).unwrap();
        let header = tiff.header();
        assert_eq!((header.kind, header.bits), (SampleFormat::Signed, 16));
        assert_eq!(header.meaning.ranges, vec![(-100.0, highest); channels as usize]);
        match whole(&tiff, 0).unwrap() {
            Samples::F32(values) => assert_eq!(values[..3], [-100.0, -99.0, -98.0]),
            other => panic!("{other:?}"),
        }
    }
    // a channel without a meaning does not share the colours' range
    let two = signed(2, 1, |at| if at % 2 == 0 { 5 + (at as i16) / 2 } else { -3 }, &[]).unwrap();
    assert_eq!(two.header().meaning.ranges, [(5.0, 260.0), (-3.0, -2.0)]);
    let range = |more: &[FieldEntry]| signed(1, 1, value, more).unwrap().header().meaning.ranges[0];
    // nodata does not count
    assert_eq!(range(&[text(42113, "-100")]), (-99.0, 155.0));
    let item =
        |name: &str, value: &str| format!("<Item name=\"{name}\" sample=\"0\" role=\"\">{value}</Item>");
    let statistics = format!(
        "<GDALMetadata>{}{}</GDALMetadata>",
        item("STATISTICS_MINIMUM", "-20"),
        item("STATISTICS_MAXIMUM", "90.5")
    );
    assert_eq!(range(&[text(42112, &statistics)]), (-20.0, 90.5));
    let ends = [(340, 8, vec![10]), (341, 8, vec![50])];
    assert_eq!(
        range(&[&ends[..], &[text(42112, &statistics)]].concat()),
        (10.0, 50.0)
    );
    let flat = signed(1, 1, |_| 7, &[]).unwrap();
    assert_eq!(flat.header().meaning.ranges, [(7.0, 8.0)]);
}

/// A smooth picture of 8 bits.
fn picture(size: Size, channels: usize) -> Vec<u8> {
    let pixels = (0..size.h).flat_map(|y| (0..size.w).map(move |x| (x, y)));
    pixels
        .flat_map(|(x, y)| {
            [x * 200 / size.w + 20, y * 200 / size.h + 20, 100]
                .into_iter()
                .take(channels)
        })
        .map(|v| v as u8)
        .collect()
}

fn coded(size: Size, channels: usize) -> Vec<u8> {
    let layout = if channels == 1 { Layout::Grey } else { Layout::Rgb };
    jpeg::encode(&picture(size, channels), size, layout, 95, JpegStyle::default()).unwrap()
}

/// The mean difference.
fn off(found: &[u8], wanted: &[u8]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    let sum: u64 = found
        .iter()
        .zip(wanted)
        .map(|(a, b)| u64::from(a.abs_diff(*b)))
        .sum();
    sum as f64 / wanted.len() as f64
}

#[test]
fn a_jpeg_with_more_rows_than_its_strip_is_cropped() {
    let mut build = Build::new(ByteOrder::Little, false);
    let (first, last) = (coded(Size::new(32, 16), 1), coded(Size::new(32, 16), 1));
    let places = [build.blob(&first), build.blob(&last)];
    let tags = with(
        strip(&mut build, (32, 20), 7, 1, 1, &[]),
        &[
            (273, 4, places.to_vec()),
            (278, 3, vec![16]),
            (279, 4, vec![first.len() as u64, last.len() as u64]),
        ],
    );
    let tiff = open(&file(build, &[tags])).unwrap();
    let band = picture(Size::new(32, 16), 1);
    assert!(off(&bytes(&tiff, 0), &[&band[..], &band[..128]].concat()) < 2.0);
    // but not with more than a strip could ever have
    let mut build = Build::new(ByteOrder::Little, false);
    let tall = strip(&mut build, (32, 16), 7, 1, 1, &coded(Size::new(32, 4000), 1));
    let tiff = open(&file(build, &[tall])).unwrap();
    assert!(matches!(whole(&tiff, 0), Err(Error::Corrupt(_))));
}

#[test]
fn planar_jpeg_called_ycbcr_is_rgb_unless_subsampling_is_given() {
    let size = Size::new(32, 16);
    let planes = |more: &[FieldEntry]| {
        let mut build = Build::new(ByteOrder::Little, false);
        let data: Vec<Vec<u8>> = [60, 120, 180]
            .map(|value| jpeg::encode(&[value; 512], size, Layout::Grey, 95, JpegStyle::default()).unwrap())
            .to_vec();
        let at = data.iter().map(|data| build.blob(data)).collect();
        let counts = data.iter().map(|data| data.len() as u64).collect();
        let tags = strip(&mut build, (32, 16), 7, 6, 3, &[]);
        let planar = [(273, 4, at), (279, 4, counts), (284, 3, vec![2])];
        let tiff = open(&file(build, &[with(with(tags, &planar), more)])).unwrap();
        bytes(&tiff, 0)[..3].to_vec()
    };
    let near = |found: &[u8], wanted: [u8; 3]| off(found, &wanted) < 2.0;
    assert!(near(&planes(&[]), [60, 120, 180]));
    assert!(near(
        &planes(&[text(305, "OME Bio-Formats 7.3.1"), (530, 3, vec![1, 1])]),
        [60, 120, 180]
    ));
    // libtiff: Y 60, Cb 120, Cr 180
    assert!(near(&planes(&[(530, 3, vec![1, 1])]), [133, 26, 46]));
}

#[test]
fn planes_of_chroma_may_be_subsampled() {
    let ask = |chroma: usize, scheme: u64| {
        let mut build = Build::new(ByteOrder::Little, false);
        let plane = |value: u8, len: usize| match scheme {
            8 => miniz_oxide::deflate::compress_to_vec_zlib(&vec![value; len], 6),
            _ => vec![value; len],
        };
        let data = [plane(60, 30 * 14), plane(120, chroma), plane(180, chroma)];
        let at = data.iter().map(|data| build.blob(data)).collect();
        let counts = data.iter().map(|data| data.len() as u64).collect();
        let tags = strip(&mut build, (30, 14), scheme, 6, 3, &[]);
        let planar = [
            (273, 4, at),
            (279, 4, counts),
            (284, 3, vec![2]),
            (530, 3, vec![2, 2]),
        ];
        whole(&open(&file(build, &[with(tags, &planar)])).unwrap(), 0)
    };
    for scheme in [1, 8] {
        for chroma in [30 * 14, 15 * 7] {
            let wanted = Samples::U8([133, 26, 46].repeat(30 * 14));
            assert_eq!(ask(chroma, scheme).unwrap(), wanted, "{scheme} {chroma}");
        }
        assert!(matches!(ask(15 * 7 - 1, scheme), Err(Error::Corrupt(_))));
    }
}

#[test]
fn an_old_jpeg_is_read_from_its_stream_whatever_its_strip_offset() {
    let size = Size::new(32, 16);
    let stream = coded(size, 3);
    let tiff_with = |more: &[FieldEntry]| {
        let mut build = Build::new(ByteOrder::Little, false);
        let at = build.blob(&stream);
        let tags = strip(&mut build, (32, 16), 6, 6, 3, &[]);
        // in the middle of the stream, and too short
        let lost = [
            (273, 4, vec![at + 200]),
            (279, 4, vec![100]),
            (513, 4, vec![at]),
            (514, 4, vec![stream.len() as u64]),
        ];
        bytes(&open(&file(build, &[with(with(tags, &lost), more)])).unwrap(), 0)
    };
    let wanted = picture(size, 3);
    assert!(
        off(&tiff_with(&[]), &wanted) < 4.0,
        "{}",
        off(&tiff_with(&[]), &wanted)
    );
    // video range: 16 is black, 235 white
    let ends = [16, 235, 128, 240, 128, 240].map(|end| end << 32 | 1).to_vec();
    let found = tiff_with(&[(532, 5, ends)]);
    let grey = |v: u8| ((f64::from(v) - 16.0) * 255.0 / 219.0).clamp(0.0, 255.0);
    let luma = |pixel: &[u8]| {
        0.299 * f64::from(pixel[0]) + 0.587 * f64::from(pixel[1]) + 0.114 * f64::from(pixel[2])
    };
    let (a, b) = (luma(&found[300..303]), luma(&wanted[300..303]));
    assert!((a - grey(b as u8)).abs() < 6.0, "{a} {b}");
}

#[test]
fn slide_levels_in_one_stream_are_read_by_restart_intervals() {
    let size = Size::new(64, 48);
    let rows = |from: usize| picture(size, 3)[from * 64 * 3..(from + 16) * 64 * 3].to_vec();
    let mut join = Join::new(48);
    let mut stream = Vec::new();
    for from in [0, 16, 32] {
        let band = jpeg::encode(
            &rows(from),
            Size::new(64, 16),
            Layout::Rgb,
            95,
            JpegStyle::default(),
        )
        .unwrap();
        join.push(&band, &mut stream).unwrap();
    }
    join.finish(&mut stream);
    let marks: Vec<usize> = (0..stream.len() - 1)
        .filter(|at| matches!(stream[*at..*at + 2], [0xff, 0xd0..=0xd7]))
        .collect();
    let scan = stream.windows(2).position(|two| two == [0xff, 0xda]).unwrap();
    let start = scan + 2 + usize::from(u16::from_be_bytes([stream[scan + 2], stream[scan + 3]]));
    let starts: Vec<u64> = [start, marks[0] + 2, marks[1] + 2].map(|at| at as u64).to_vec();
    // sides that no frame can have are 0
    let frame = stream.windows(2).position(|two| two == [0xff, 0xc0]).unwrap();
    stream[frame + 5..frame + 9].fill(0);
    let lens = |lens: f32| (65421, 11, vec![u64::from(lens.to_bits())]);
    let tiff_with = |starts: &[u64]| {
        let mut build = Build::new(ByteOrder::Little, false);
        let own = [(65420, 4, vec![1]), (65426, 4, starts.to_vec()), lens(20.0)];
        let glass = strip(&mut build, (30, 20), 1, 1, 1, &[9; 600]);
        let slide = strip(&mut build, (64, 48), 7, 6, 3, &stream);
        let small = strip(&mut build, (32, 24), 7, 6, 3, &coded(Size::new(32, 24), 3));
        let chain = [
            with(glass, &[lens(-1.0), (65420, 4, vec![1])]),
            with(slide, &own),
            with(small, &[lens(10.0), (65420, 4, vec![1])]),
        ];
        open(&file(build, &chain))
    };
    let tiff = tiff_with(&starts).unwrap();
    assert_eq!(sizes(&tiff), [(64, 48), (32, 24)]);
    assert_eq!(names(&tiff), [None, Some("macro")]);
    assert_eq!(tiff.header().levels[0].grid, Grid::Strips);
    assert_eq!(
        (tiff.header().meaning.colour, tiff.header().stored),
        (Colour::Rgb, None)
    );
    assert!(off(&bytes(&tiff, 0), &picture(size, 3)) < 4.0);
    let part = Window::new(0, Rect::new(10, 20, 30, 20));
    let part = window::raster(&tiff, part, &NoCache).unwrap();
    assert_eq!(part.size, Size::new(30, 20));
    // an index that goes back is corrupt
    let back = tiff_with(&[starts[0], starts[2], starts[1]]).unwrap();
    assert!(matches!(whole(&back, 0), Err(Error::Corrupt(_))));
}
