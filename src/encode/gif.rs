//! GIF output (GIF89a): one picture of at most 256 colours, without dithering.

mod palette;

use crate::codec::lzw;
use crate::encode::Tags;
use crate::encode::gif::palette::ColourTable;
use crate::encode::upright;
use crate::error::Error;
use crate::error::Result;
use crate::raster::Layout;
use crate::raster::Picture;
use crate::work;

/// Encodes every layout. Up to 256 colours are exact, more are reduced to the 256 that fit best. Alpha below 128 becomes
/// transparent, which uses one of the colours. Rights become a comment, XMP an application extension. Sides over 65535 are
/// `TooLarge`.
pub fn encode(picture: &Picture, tags: &Tags) -> Result<Vec<u8>> {
    let side = |pixels: u32| {
        u16::try_from(pixels)
            .map_err(|_| Error::TooLarge(format!("gif holds 65535 pixels a side, got {pixels}")))
    };
    let (w, h) = (side(picture.size.w)?, side(picture.size.h)?);
    let expected = picture.size.area() * picture.layout.channels() as u64;
    if expected == 0 || picture.data.len() as u64 != expected {
        return Err(Error::Corrupt(format!(
            "{w}x{h} pixels take {expected} bytes, got {}",
            picture.data.len()
        )));
    }
    let pixels = pixels(picture);
    work::lend()?;
    let palette = ColourTable::of(&pixels);
    work::lend()?;
    let indices: Vec<u8> = pixels.iter().map(|&pixel| palette.index(pixel)).collect();

    // bits per colour index, at least one
    let colours = palette.colours.len() + usize::from(palette.transparent.is_some());
    let bits = (1..8u8).find(|&bits| colours <= 1 << bits).unwrap_or(8);
    let mut out = Vec::with_capacity(indices.len() / 2 + 1024);
    out.extend_from_slice(b"GIF89a");
    push_size(&mut out, w, h);
    // a global table of `bits` bits, no background colour, no aspect ratio (§18)
    out.extend_from_slice(&[0xf0 | (bits - 1), 0, 0]);
    let mut table = palette.colours.as_flattened().to_vec();
    table.resize(3 << bits, 0);
    out.extend_from_slice(&table);
    if let Some(transparent) = palette.transparent {
        // graphic control extension (§23)
        out.extend_from_slice(&[0x21, 0xf9, 4, 1, 0, 0, transparent, 0]);
    }
    if let Some(rights) = tags.text("rights") {
        // comment extension (§24)
        out.extend_from_slice(&[0x21, 0xfe]);
        push_blocks(&mut out, rights.as_bytes());
    }
    if let Some(xmp) = tags.xmp {
        // not in sub-blocks, but with a trailer that ends readers of sub-blocks (XMP part 3 §1.1.2)
        out.extend_from_slice(b"\x21\xff\x0bXMP DataXMP");
        out.extend_from_slice(&upright(xmp));
        out.push(1);
        out.extend((0..=255).rev());
        out.push(0);
    }
    // image descriptor (§20), then the data in blocks of at most 255 bytes
    out.extend_from_slice(&[0x2c, 0, 0, 0, 0]);
    push_size(&mut out, w, h);
    let bits = bits.max(2);
    out.extend_from_slice(&[0, bits]);
    push_blocks(&mut out, &lzw::encode_gif(&indices, bits)?);
    out.push(0x3b);
    Ok(out)
}

fn push_size(out: &mut Vec<u8>, w: u16, h: u16) {
    out.extend_from_slice(&w.to_le_bytes());
    out.extend_from_slice(&h.to_le_bytes());
}

/// Appends data in sub-blocks and the terminating empty one (§15).
fn push_blocks(out: &mut Vec<u8>, data: &[u8]) {
    for block in data.chunks(255) {
        out.push(u8::try_from(block.len()).unwrap_or(255));
        out.extend_from_slice(block);
    }
    out.push(0);
}

/// Colours; `None` is transparent.
fn pixels(picture: &Picture) -> Vec<Option<[u8; 3]>> {
    match picture.layout {
        Layout::Grey => picture.data.iter().map(|&v| Some([v, v, v])).collect(),
        Layout::Rgb => picture.data.as_chunks().0.iter().map(|&rgb| Some(rgb)).collect(),
        Layout::Rgba => {
            let pixels = picture.data.as_chunks().0.iter();
            pixels
                .map(|&[r, g, b, alpha]| (alpha >= 128).then_some([r, g, b]))
                .collect()
        }
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test pictures are small")]
mod tests {
    use super::*;
    use crate::geometry::Size;

    /// Decodes the picture, with alpha.
    fn read(file: &[u8]) -> (Size, Vec<[u8; 4]>) {
        assert_eq!(&file[..6], b"GIF89a");
        let number = |at: usize| u32::from(u16::from_le_bytes([file[at], file[at + 1]]));
        let size = Size::new(number(6), number(8));
        let bits = (file[10] & 7) + 1;
        let mut at = 13 + (3 << bits);
        let table = file[13..at].as_chunks::<3>().0;
        let mut transparent = None;
        if file[at] == 0x21 {
            assert_eq!(file[at..at + 4], [0x21, 0xf9, 4, 1]);
            transparent = Some(file[at + 6]);
            at += 8;
        }
        assert_eq!((file[at], number(at + 5), number(at + 7)), (0x2c, size.w, size.h));
        let width = file[at + 10];
        at += 11;
        let mut data = Vec::new();
        while file[at] > 0 {
            let len = usize::from(file[at]);
            data.extend_from_slice(&file[at + 1..at + 1 + len]);
            at += 1 + len;
        }
        assert_eq!(file[at + 1..], [0x3b]);
        let indices = weezl::decode::Decoder::new(weezl::BitOrder::Lsb, width)
            .decode(&data)
            .unwrap();
        let colour = |&index: &u8| {
            let [r, g, b] = table[usize::from(index)];
            if Some(index) == transparent {
                [0; 4]
            } else {
                [r, g, b, 255]
            }
        };
        (size, indices.iter().map(colour).collect())
    }

    fn picture(layout: Layout, w: u32, h: u32, sample: impl Fn(usize) -> u8) -> Picture {
        let size = Size::new(w, h);
        let len = size.area() as usize * layout.channels();
        Picture {
            size,
            layout,
            data: (0..len).map(sample).collect(),
        }
    }

    #[test]
    fn up_to_256_colours_are_exact() {
        for (values, w, h) in [(1, 1, 1), (2, 7, 5), (3, 3, 1), (17, 40, 30), (256, 61, 47)] {
            let grey = picture(Layout::Grey, w, h, |i| (i * 7 % values) as u8);
            let (size, pixels) = read(&encode(&grey, &Tags::default()).unwrap());
            assert_eq!(size, grey.size);
            let wanted: Vec<_> = grey.data.iter().map(|&v| [v, v, v, 255]).collect();
            assert_eq!(pixels, wanted, "{values}");
        }
    }

    #[test]
    fn more_colours_are_approximated() {
        let rgb = picture(Layout::Rgb, 256, 256, |i| {
            let (x, y) = (i / 3 % 256, i / 768);
            [x, y, (x + y) / 2][i % 3] as u8
        });
        let (_, pixels) = read(&encode(&rgb, &Tags::default()).unwrap());
        let squares: u64 = rgb
            .data
            .as_chunks::<3>()
            .0
            .iter()
            .zip(&pixels)
            .flat_map(|(a, b)| a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)))
            .sum();
        let mean = squares as f64 / rgb.data.len() as f64;
        // the plane has 65536 colours; 256 squares of 16 x 16 have a mean squared error of 16² / 12 = 21 along each axis
        assert!(mean < 30.0, "{mean}");
    }

    #[test]
    fn alpha_is_one_bit() {
        let rgba = picture(Layout::Rgba, 64, 64, |i| (i * 31 % 256) as u8);
        let (_, pixels) = read(&encode(&rgba, &Tags::default()).unwrap());
        for (wanted, found) in rgba.data.as_chunks::<4>().0.iter().zip(pixels) {
            assert_eq!(found[3] > 0, wanted[3] >= 128);
        }
        let clear = picture(Layout::Rgba, 3, 3, |_| 0);
        assert_eq!(read(&encode(&clear, &Tags::default()).unwrap()).1, [[0; 4]; 9]);
    }

    #[test]
    fn pictures_beyond_the_limits_of_gif_are_errors() {
        let wide = picture(Layout::Grey, 65_536, 1, |_| 0);
        assert!(matches!(encode(&wide, &Tags::default()), Err(Error::TooLarge(_))));
        let mut short = picture(Layout::Grey, 5, 5, |_| 0);
        short.data.pop();
        assert!(encode(&short, &Tags::default()).is_err());
    }
}
