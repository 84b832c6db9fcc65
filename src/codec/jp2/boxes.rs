//! The boxes of a JP2 or JPX file (ITU-T T.800 Annex I): the location of the codestream and the meaning of its
//! components.
//!
//! Invalid boxes are ignored, as long as there is a codestream. A raw codestream has no boxes.

use crate::codec::read_at::ReadAt;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Num;
use crate::limits::BOXES;
use crate::limits::Limits;
use crate::limits::METADATA;
use crate::raster::Density;
use std::sync::Arc;

/// The remaining limits for reading a file.
struct BoxBudget {
    /// Number of boxes.
    boxes: usize,
    /// Bytes per box.
    bytes: u64,
}

/// UUID of XMP (ISO 16684-3 §5.1.3).
const XMP: [u8; 16] = *b"\xbe\x7a\xcf\xcb\x97\xa9\x42\xe8\x9c\x71\x99\x94\x91\xe3\xaf\xac";

/// UUIDs of EXIF: that of ExifTool, OpenJPEG and GDAL, and that of Adobe.
const EXIF: [[u8; 16]; 2] = [
    *b"JpgTiffExif->JP2",
    *b"\x05\x37\xcd\xab\x9d\x0c\x44\x31\xa7\x2a\xfa\x56\x1f\x2a\x11\x3e",
];

/// A colour space (T.800 Table I.10, T.801 Table M.25).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Grey.
    Grey,
    /// sRGB or e-sRGB.
    Rgb,
    /// Cyan, magenta, yellow; 0 is no ink.
    Cmy,
    /// sYCC, e-sYCC and the other YCbCr.
    Ycc,
    /// Cyan, magenta, yellow, black.
    Cmyk,
    /// CIE 1976 L*a*b*.
    Lab,
}

impl Space {
    /// The space for a number in a colour specification box; `None` if unknown.
    fn numbered(number: u32) -> Option<Space> {
        match number {
            16 | 20 | 21 => Some(Space::Rgb),
            // 0 is bi-level, but OpenJPEG writes it for an unknown space
            15 | 17 => Some(Space::Grey),
            1 | 3 | 4 | 18 | 24 => Some(Space::Ycc),
            11 => Some(Space::Cmy),
            12 => Some(Space::Cmyk),
            14 => Some(Space::Lab),
            _ => None,
        }
    }
}

/// A palette (T.800 I.5.3.4), not empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Palette {
    /// Bits of each column, 1–32.
    pub bits: Vec<u8>,
    /// Row by row; signed values are offset, so that the minimum is 0.
    pub values: Vec<u32>,
}

/// The source of a channel (T.800 I.5.3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// Component of the codestream.
    pub component: u16,
    /// Column of the palette; `None` for the component itself.
    pub column: Option<u8>,
}

/// The definition of a channel (T.800 I.5.3.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelDefinition {
    /// The channel.
    pub channel: u16,
    /// 0 colour, 1 opacity, 2 premultiplied opacity.
    pub kind: u16,
    /// The colour that it applies to, from 1; 0 for the whole image.
    pub association: u16,
}

/// The content of all boxes.
#[derive(Clone, Debug, Default)]
pub struct Boxes {
    /// Offset and length of each piece of the first codestream, in order.
    pub codestream: Vec<(u64, u64)>,
    /// The colour space, if it is enumerated.
    pub space: Option<Space>,
    /// Range and offset of L*, a* and b* in an enumerated space (T.801 M.11.7.4.1).
    pub lab: Option<[(u32, u32); 3]>,
    /// ICC profile.
    pub icc: Option<Arc<[u8]>>,
    /// Palette.
    pub palette: Option<Palette>,
    /// The sources of channels; empty without such a box.
    pub mapping: Vec<Mapped>,
    /// The definitions of channels; empty without such a box.
    pub definitions: Vec<ChannelDefinition>,
    /// Pixels per metre: the capture resolution, or else the display resolution.
    pub density: Option<Density>,
    /// XMP packet.
    pub xmp: Option<Arc<[u8]>>,
    /// Offset and length of the EXIF block, which begins like a TIFF file.
    pub exif: Option<(u64, u64)>,
    /// Texts of XML boxes, joined.
    pub xml: Option<String>,
    /// The kinds of data that were left out, and the limit that each exceeds.
    pub left_out: Vec<(&'static str, &'static str)>,
    /// The header boxes of the first codestream and of the first layer.
    specific: [Option<Box<Boxes>>; 2],
}

/// Big-endian numbers of a box.
struct BoxFields<'a>(&'a [u8]);

impl BoxFields<'_> {
    fn number(&mut self, bytes: usize) -> Option<u64> {
        let (now, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(now.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn u8(&mut self) -> Option<u8> {
        self.number(1).and_then(|n| n.try_into().ok())
    }

    fn u16(&mut self) -> Option<u16> {
        self.number(2).and_then(|n| n.try_into().ok())
    }

    fn u32(&mut self) -> Option<u32> {
        self.number(4).and_then(|n| n.try_into().ok())
    }
}

impl Boxes {
    /// Reads the boxes, or detects a raw codestream. `Missing` if the file is neither; `Corrupt` without a
    /// codestream, `Limit` if there is none among the boxes that are read.
    pub fn read(from: &dyn ReadAt, limits: &Limits) -> Result<Boxes> {
        let mut start = [0; 12];
        from.read(0, &mut start)
            .map_err(|_| Error::Missing("too short for an image".into()))?;
        let mut boxes = Boxes::default();
        match start {
            [0xff, 0x4f, 0xff, 0x51, ..] => boxes.codestream = vec![(0, from.len())],
            [0, 0, 0, 12, b'j', b'P', b' ', b' ', 0x0d, 0x0a, 0x87, 0x0a] => {
                let mut left = BoxBudget {
                    boxes: limits.boxes,
                    bytes: limits.metadata,
                };
                boxes.walk(from, 12, from.len(), &mut left);
            }
            _ => return Err(Error::Missing("not a JPEG 2000 file".into())),
        }
        if boxes.codestream.is_empty() && boxes.left_out.contains(&("boxes", BOXES)) {
            let max = limits.boxes;
            return Err(Error::Limit(format!(
                "no codestream in the first {max} boxes ({BOXES})"
            )));
        }
        if boxes.codestream.is_empty() {
            return Err(Error::Corrupt("a JPEG 2000 file without a codestream".into()));
        }
        for specific in std::mem::take(&mut boxes.specific).into_iter().flatten() {
            boxes.override_with(*specific);
        }
        Ok(boxes)
    }

    fn walk(&mut self, from: &dyn ReadAt, mut at: u64, end: u64, left: &mut BoxBudget) {
        while at + 8 <= end && left.boxes > 0 {
            left.boxes -= 1;
            let Some((kind, body, past)) = header(from, at, end) else {
                return;
            };
            self.visit(from, kind, (body, past.min(end)), left);
            at = past;
        }
        let cut = at + 8 <= end && self.left_out.last() != Some(&("boxes", BOXES));
        self.left_out.extend(cut.then_some(("boxes", BOXES)));
    }

    /// Reads the box whose body is `body` to `end`, or walks the boxes in it.
    fn visit(&mut self, from: &dyn ReadAt, kind: [u8; 4], (body, end): (u64, u64), left: &mut BoxBudget) {
        let len = end - body;
        match &kind {
            b"jp2c" if self.codestream.is_empty() && len > 0 => self.codestream.push((body, len)),
            b"uuid" | b"Exif" if self.exif.is_none() && is_exif(from, &kind, body) => {
                let skip = if kind == *b"uuid" { 16 } else { 4 };
                self.exif = exif(from, body + skip, end);
            }
            b"jpch" => self.walk_specific(0, from, (body, end), left),
            b"jplh" => self.walk_specific(1, from, (body, end), left),
            b"jp2h" | b"cgrp" | b"res " | b"ftbl" => self.walk(from, body, end, left),
            b"flst" if self.codestream.is_empty() && len <= left.bytes => {
                if let Some(bytes) = read(from, body, len) {
                    self.codestream = fragments(&bytes, from.len()).unwrap_or_default();
                }
            }
            b"xml " if len + self.xml.as_ref().map_or(0, |all| all.len() as u64) > left.bytes => {
                self.left_out.push(("xml", METADATA));
            }
            _ if len <= left.bytes => {
                if let Some(bytes) = read(from, body, len) {
                    let _ = self.take(&kind, &bytes);
                }
            }
            b"colr" => self.left_out.push(("profile", METADATA)),
            b"uuid" => self.left_out.push(("uuid box", METADATA)),
            _ => {}
        }
    }

    /// Reads a header of a codestream or layer; only those of the first count.
    fn walk_specific(
        &mut self,
        which: usize,
        from: &dyn ReadAt,
        (at, end): (u64, u64),
        left: &mut BoxBudget,
    ) {
        let mut specific = Boxes::default();
        specific.walk(from, at, end, left);
        self.left_out.append(&mut specific.left_out);
        if let Some(first) = self.specific.get_mut(which) {
            first.get_or_insert_with(|| Box::new(specific));
        }
    }

    /// Applies the boxes of a specific header, which override those for all (T.801 M.5.1).
    fn override_with(&mut self, specific: Boxes) {
        if specific.space.is_some() || specific.icc.is_some() {
            (self.space, self.lab, self.icc) = (specific.space, specific.lab, specific.icc);
        }
        if specific.palette.is_some() {
            self.palette = specific.palette;
        }
        if !specific.mapping.is_empty() {
            self.mapping = specific.mapping;
        }
        if !specific.definitions.is_empty() {
            self.definitions = specific.definitions;
        }
        if specific.density.is_some() {
            self.density = specific.density;
        }
    }

    /// Parses a box. `None` if it is invalid.
    fn take(&mut self, kind: &[u8; 4], bytes: &[u8]) -> Option<()> {
        let mut fields = BoxFields(bytes);
        match kind {
            b"colr" => self.colour(fields)?,
            b"pclr" if self.palette.is_none() => self.palette = palette(fields),
            b"cmap" if self.mapping.is_empty() => {
                while !fields.0.is_empty() {
                    let component = fields.u16()?;
                    let (kind, column) = (fields.u8()?, fields.u8()?);
                    self.mapping.push(Mapped {
                        component,
                        column: (kind == 1).then_some(column),
                    });
                }
            }
            b"cdef" if self.definitions.is_empty() => {
                for _ in 0..fields.u16()? {
                    self.definitions.push(ChannelDefinition {
                        channel: fields.u16()?,
                        kind: fields.u16()?,
                        association: fields.u16()?,
                    });
                }
            }
            // the capture resolution overrides the display resolution, if it is valid
            b"resc" => self.density = density(&mut fields).or(self.density),
            b"resd" if self.density.is_none() => self.density = density(&mut fields),
            b"uuid" => {
                let (id, packet) = bytes.split_first_chunk::<16>()?;
                if *id == XMP && self.xmp.is_none() {
                    self.xmp = Some(packet.into());
                }
            }
            b"xml " => self.text(bytes),
            _ => {}
        }
        Some(())
    }

    /// A colour specification box (T.800 I.5.3.3): the first colour space and the first profile apply.
    fn colour(&mut self, mut fields: BoxFields) -> Option<()> {
        let method = fields.u8()?;
        fields.u16()?;
        match method {
            1 if self.space.is_none() => {
                self.space = Space::numbered(fields.u32()?);
                if self.space == Some(Space::Lab) {
                    let mut pair = || Some((fields.u32()?, fields.u32()?));
                    self.lab = Some([pair()?, pair()?, pair()?]);
                }
            }
            2 | 3 if self.icc.is_none() => self.icc = Some(fields.0.into()),
            _ => {}
        }
        Some(())
    }

    /// Appends the text of an XML box.
    fn text(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_end_matches('\0').trim();
        let all = self.xml.get_or_insert_default();
        if !all.is_empty() {
            all.push('\n');
        }
        all.push_str(text);
    }
}

/// A palette box (T.800 I.5.3.4); a truncated one keeps its complete rows. `None` if there are none, or it is
/// invalid.
fn palette(mut fields: BoxFields) -> Option<Palette> {
    let rows = fields.u16()?;
    let columns = fields.u8()?;
    let depths = (0..columns).map(|_| fields.u8()).collect::<Option<Vec<_>>>()?;
    let bits: Vec<u8> = depths.iter().map(|depth| (depth & 0x7f) + 1).collect();
    if bits.iter().any(|bits| *bits > 32) {
        return None;
    }
    let mut row = || {
        (depths.iter().zip(&bits))
            .map(|(depth, bits)| {
                let value = fields.number(usize::from(bits.div_ceil(8)))?;
                let lift = u64::from(depth >> 7) << (bits - 1);
                u32::try_from((value ^ lift) & ((1 << bits) - 1)).ok()
            })
            .collect::<Option<Vec<u32>>>()
    };
    let values: Vec<u32> = (0..rows).map_while(|_| row()).flatten().collect();
    (!values.is_empty()).then_some(Palette { bits, values })
}

/// The header of the box at `at`: its type, and the start and end of its body. `None` if the body would begin after
/// `end` or after the end of the box.
fn header(from: &dyn ReadAt, at: u64, end: u64) -> Option<([u8; 4], u64, u64)> {
    let mut head = [0; 16];
    from.read(at, head.get_mut(..8)?).ok()?;
    let [l3, l2, l1, l0, kind @ .., _, _, _, _, _, _, _, _] = head;
    let (body, len) = match u64::from(u32::from_be_bytes([l3, l2, l1, l0])) {
        0 => (at + 8, end - at),
        1 => {
            from.read(at, &mut head).ok()?;
            let [.., a, b, c, d, e, f, g, h] = head;
            (at + 16, u64::from_be_bytes([a, b, c, d, e, f, g, h]))
        }
        len => (at + 8, len),
    };
    // a header of 16 bytes may reach beyond the end
    let past = at.checked_add(len).filter(|past| body <= end.min(*past))?;
    Some((kind, body, past))
}

/// The body of a box; `None` if it cannot be read.
fn read(from: &dyn ReadAt, at: u64, len: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    from.read(at, &mut bytes).ok()?;
    Some(bytes)
}

/// Whether a box contains EXIF: by its type (ISO/IEC 23008-12 A.2.1), or by its UUID.
fn is_exif(from: &dyn ReadAt, kind: &[u8; 4], body: u64) -> bool {
    let mut id = [0; 16];
    kind == b"Exif" || from.read(body, &mut id).is_ok() && EXIF.contains(&id)
}

/// The offset of the TIFF header: some writers put the prefix `Exif\0\0` of JPEG before it.
fn exif(from: &dyn ReadAt, at: u64, end: u64) -> Option<(u64, u64)> {
    let mut head = [0; 6];
    from.read(at, &mut head).ok()?;
    let at = if head == *b"Exif\0\0" { at + 6 } else { at };
    Some((at, end.checked_sub(at)?))
}

/// The pieces of a fragmented codestream (T.801 M.11.5); `None` if one is in another file, or they have more bytes
/// than the file.
fn fragments(bytes: &[u8], len: u64) -> Option<Vec<(u64, u64)>> {
    let mut fields = BoxFields(bytes);
    let mut all = Vec::new();
    let mut left = len;
    for _ in 0..fields.u16()? {
        let piece = (fields.number(8)?, fields.number(4)?);
        left = left.checked_sub(piece.1)?;
        if fields.u16()? != 0 {
            return None;
        }
        all.push(piece);
    }
    Some(all)
}

/// Parses a resolution box in samples per metre: two fractions, then two exponents of ten; vertical first (T.800 I.5.3.7).
fn density(fields: &mut BoxFields) -> Option<Density> {
    let mut fraction = || {
        let (over, under) = (f64::from(fields.u16()?), f64::from(fields.u16()?));
        Some(over / under)
    };
    let (down, across) = (fraction()?, fraction()?);
    let mut scaled = |value: f64| {
        let power = i32::from(i8::from_be_bytes([fields.u8()?]));
        Num::new(value * 10f64.powi(power)).filter(|n| n.value() > 0.0)
    };
    let y = scaled(down)?;
    Some(Density {
        x: scaled(across)?,
        y,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_valid_capture_resolution_overrides_the_display_resolution() {
        let density = |boxes: &Boxes| boxes.density.map(|d| (d.x.value(), d.y.value()));
        let mut boxes = Boxes::default();
        // 3000/1 and 2000/1 samples per metre, then 0/0
        boxes.take(b"resd", &[0x0b, 0xb8, 0, 1, 0x07, 0xd0, 0, 1, 0, 0]);
        boxes.take(b"resc", &[0; 10]);
        assert_eq!(density(&boxes), Some((2000.0, 3000.0)));
        // 1 and 2, by 10³
        boxes.take(b"resc", &[0, 1, 0, 1, 0, 2, 0, 1, 3, 3]);
        assert_eq!(density(&boxes), Some((2000.0, 1000.0)));
    }
}
