//! Parses the main header of a JPEG 2000 codestream and those of its tile-parts (ITU-T T.800 Annex A).
//!
//! The header of a tile is read when it is first needed. `parts` finds the tile-parts.

use crate::codec::jp2::coding::CodingStyle;
use crate::codec::jp2::parts::TilePart;
use crate::codec::jp2::parts::TileParts;
use crate::codec::jp2::segments::CAP;
use crate::codec::jp2::segments::EOC;
use crate::codec::jp2::segments::PLT;
use crate::codec::jp2::segments::POC;
use crate::codec::jp2::segments::PPM;
use crate::codec::jp2::segments::PPT;
use crate::codec::jp2::segments::SIZ;
use crate::codec::jp2::segments::SOC;
use crate::codec::jp2::segments::SOD;
use crate::codec::jp2::segments::SOT;
use crate::codec::jp2::segments::TLM;
use crate::codec::jp2::segments::corrupt;
use crate::codec::jp2::segments::segment;
use crate::codec::jp2::siz::Siz;
use crate::codec::read_at::ReadAt;
use crate::error::Error;
use crate::error::Result;

/// Maximum number of bytes of packed packet headers in one header.
const MAX_PACKED: usize = 64 << 20;

/// A codestream whose main header was read.
#[derive(Debug)]
pub struct Main {
    /// Image and tile sizes.
    pub siz: Siz,
    /// Coding parameters, which a tile may override.
    pub style: CodingStyle,
    /// Wavelet decompositions of every component of every tile.
    pub levels: u8,
    /// All tile-parts; those of a tile are in order.
    pub parts: Vec<TilePart>,
    /// Packed packet headers for each tile-part of the file; empty without PPM.
    pub packed: Vec<Vec<u8>>,
    /// Whether the file ends before its last tile-part.
    pub truncated: bool,
}

/// The headers of a tile's parts.
#[derive(Debug)]
pub struct TileHeader {
    /// Coding parameters of the tile.
    pub style: CodingStyle,
    /// Packed packet headers.
    pub packed: Vec<u8>,
    /// The packets of each part.
    pub parts: Vec<TilePart>,
    /// The packet lengths of each part, if listed.
    pub lengths: Vec<Vec<u32>>,
}

/// The bodies of segments that are numbered pieces.
#[derive(Default)]
struct Pieces(Vec<(u8, Vec<u8>)>);

impl Pieces {
    /// Adds a segment, whose first byte is its number.
    fn push(&mut self, body: &[u8]) {
        if let Some((number, rest)) = body.split_first() {
            self.0.push((*number, rest.to_vec()));
        }
    }

    /// All pieces, joined in the order of their numbers.
    fn join(mut self) -> Vec<u8> {
        self.0.sort_by_key(|(number, _)| *number);
        self.0.into_iter().flat_map(|(_, bytes)| bytes).collect()
    }
}

/// The segments of a main header read so far.
struct MainHeader {
    siz: Option<Siz>,
    style: CodingStyle,
    /// PPM.
    packed: Pieces,
    packed_bytes: usize,
    /// TLM.
    lengths: Pieces,
}

impl MainHeader {
    /// Adds a marker segment.
    fn take(&mut self, marker: u16, body: &[u8]) -> Result<()> {
        match (marker, &self.siz) {
            (SIZ, None) => {
                let siz = Siz::parse(body)?;
                self.style.roi = vec![0; siz.components.len()];
                self.siz = Some(siz);
            }
            (SIZ | SOD | EOC | SOC, _) => {
                return Err(corrupt(format!("marker {marker:#06x} in the main header")));
            }
            (CAP, _) => {}
            (PPM, Some(_)) => {
                self.packed_bytes += body.len();
                if self.packed_bytes > MAX_PACKED {
                    return Err(Error::TooLarge("packed packet headers".into()));
                }
                self.packed.push(body);
            }
            (TLM, Some(_)) => self.lengths.push(body),
            (_, Some(siz)) => self.style.take(marker, body, siz.components.len())?,
            (_, None) => return Err(corrupt("no SIZ at the start")),
        }
        Ok(())
    }
}

impl Main {
    /// Reads the main header and finds the tile-parts. `Missing` if this is not a codestream.
    pub fn read(from: &dyn ReadAt) -> Result<Main> {
        let mut body = Vec::new();
        let (SOC, mut at) = segment(from, 0, &mut body)? else {
            return Err(Error::Missing("not a JPEG 2000 codestream".into()));
        };
        let mut segments = MainHeader {
            siz: None,
            style: CodingStyle::unset(),
            packed: Pieces::default(),
            packed_bytes: 0,
            lengths: Pieces::default(),
        };
        loop {
            let (marker, next) = segment(from, at, &mut body)?;
            if marker == SOT {
                break;
            }
            segments.take(marker, &body)?;
            at = next;
        }
        let MainHeader {
            siz,
            style,
            packed,
            lengths,
            ..
        } = segments;
        let siz = siz.ok_or_else(|| corrupt("no SIZ"))?;
        if style.coding.is_empty() || style.quantisation.is_empty() {
            return Err(corrupt("no COD or no QCD"));
        }
        let parts = match TileParts::listed(lengths.0, at..from.len(), &siz) {
            Some(parts) => parts,
            None => TileParts::follow(from, at, &siz)?,
        };
        let levels = style.coding.iter().map(|coding| coding.levels);
        let levels = levels.chain(parts.levels).min().unwrap_or(0);
        Ok(Main {
            siz,
            style,
            levels,
            parts: parts.all,
            packed: split_packed(&packed.join()),
            truncated: parts.truncated,
        })
    }

    /// The tile-parts of a tile, in order.
    pub fn parts_of(&self, tile: u16) -> &[TilePart] {
        let first = self.parts.partition_point(|part| part.tile < tile);
        let end = self.parts.partition_point(|part| part.tile <= tile);
        self.parts.get(first..end).unwrap_or_default()
    }

    /// The headers of a tile's parts. `Unsupported` if one has fewer decompositions than [`Main::levels`].
    pub fn tile(&self, from: &dyn ReadAt, tile: u16) -> Result<TileHeader> {
        let mut style = self.style.of_a_tile();
        let (mut packed, mut parts, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
        let mut changed = false;
        for part in self.parts_of(tile) {
            let head = self.part(from, *part, &mut style, &mut changed)?;
            if let Some(bytes) = usize::try_from(part.number).ok().and_then(|n| self.packed.get(n)) {
                packed.extend_from_slice(bytes);
            }
            packed.extend(head.packed.join());
            if packed.len() > MAX_PACKED {
                return Err(Error::TooLarge("packed packet headers".into()));
            }
            parts.push(head.body);
            lengths.push(numbers(&head.lengths.join()));
        }
        if style.coding.iter().any(|coding| coding.levels < self.levels) {
            let what = "a tile of fewer decompositions than the main header names";
            return Err(Error::Unsupported(what.into()));
        }
        Ok(TileHeader {
            style,
            packed,
            parts,
            lengths,
        })
    }
}

/// The header of one tile-part.
struct PartHead {
    /// The location of its packets.
    body: TilePart,
    /// PPT.
    packed: Pieces,
    /// PLT.
    lengths: Pieces,
}

impl Main {
    /// Reads the header of a tile-part up to its packets. The first progression order change in a tile replaces those
    /// of the main header; `changed` is whether there was one.
    fn part(
        &self,
        from: &dyn ReadAt,
        part: TilePart,
        style: &mut CodingStyle,
        changed: &mut bool,
    ) -> Result<PartHead> {
        part.check(from)?;
        let (mut packed, mut lengths) = (Pieces::default(), Pieces::default());
        let count = self.siz.components.len();
        let mut body = Vec::new();
        let mut at = part.start;
        loop {
            let (marker, next) = segment(from, at, &mut body)?;
            at = next;
            match marker {
                SOD => break,
                PPT => packed.push(&body),
                PLT => lengths.push(&body),
                SOC | SOT | SIZ | EOC | PPM => {
                    return Err(corrupt(format!("marker {marker:#06x} in a tile-part header")));
                }
                _ => {
                    if marker == POC && !*changed {
                        *changed = true;
                        style.changes.clear();
                    }
                    style.take(marker, &body, count)?;
                }
            }
            if at >= part.end {
                return Err(corrupt("a tile-part header has no end"));
            }
        }
        Ok(PartHead {
            body: TilePart { start: at, ..part },
            packed,
            lengths,
        })
    }
}

/// PLT: numbers of seven bits per byte, whose top bit marks that more follow (T.800 Table A.36).
fn numbers(bytes: &[u8]) -> Vec<u32> {
    let mut all = Vec::new();
    let mut number = 0u32;
    for byte in bytes {
        number = number << 7 | u32::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            all.push(std::mem::take(&mut number));
        }
    }
    all
}

/// PPM: for each tile-part a length in four bytes and that many bytes (T.800 A.7.4).
fn split_packed(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some((len, rest)) = bytes.split_first_chunk::<4>() {
        let len = usize::try_from(u32::from_be_bytes(*len)).unwrap_or(usize::MAX);
        let (headers, rest) = rest.split_at(len.min(rest.len()));
        all.push(headers.to_vec());
        bytes = rest;
    }
    all
}
