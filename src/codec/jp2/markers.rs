//! The marker segments of a JPEG 2000 codestream (ITU-T T.800 Annex A): sizes, coding styles, quantisation.
//!
//! The header of a tile is read when it is first needed. `parts` finds the tile-parts.

use crate::codec::jp2::block::style;
use crate::codec::jp2::bytes::Bytes;
use crate::codec::jp2::parts::Part;
use crate::codec::jp2::parts::Parts;
use crate::codec::jp2::segments::CAP;
use crate::codec::jp2::segments::COC;
use crate::codec::jp2::segments::COD;
use crate::codec::jp2::segments::DCO;
use crate::codec::jp2::segments::EOC;
use crate::codec::jp2::segments::Fields;
use crate::codec::jp2::segments::NLT;
use crate::codec::jp2::segments::PLT;
use crate::codec::jp2::segments::POC;
use crate::codec::jp2::segments::PPM;
use crate::codec::jp2::segments::PPT;
use crate::codec::jp2::segments::QCC;
use crate::codec::jp2::segments::QCD;
use crate::codec::jp2::segments::RGN;
use crate::codec::jp2::segments::SIZ;
use crate::codec::jp2::segments::SOC;
use crate::codec::jp2::segments::SOD;
use crate::codec::jp2::segments::SOT;
use crate::codec::jp2::segments::TLM;
use crate::codec::jp2::segments::corrupt;
use crate::codec::jp2::segments::segment;
use crate::codec::jp2::segments::short;
use crate::codec::jp2::siz::Siz;
use crate::error::Error;
use crate::error::Result;

/// Bytes of packed packet headers in one place.
const MAX_PACKED: usize = 64 << 20;

/// How one component is coded (T.800 A.6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coding {
    /// Wavelet decompositions, 0–32.
    pub levels: u8,
    /// log2 of the code-block's width and height.
    pub block: (u8, u8),
    /// Bits of Table A.19.
    pub style: u8,
    /// 5/3 reversible; else 9/7.
    pub reversible: bool,
    /// log2 of precinct width and height at each resolution, from the smallest.
    pub precincts: Vec<(u8, u8)>,
    own: bool,
}

/// How one component is quantised (T.800 A.6.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantisation {
    /// No quantisation: exponents only.
    pub none: bool,
    /// One step for all bands, the others follow (E-5).
    pub derived: bool,
    /// Guard bits.
    pub guard: u8,
    /// Exponent and mantissa, from the smallest band.
    pub steps: Vec<(u8, u16)>,
    own: bool,
}

/// One entry of a progression order change, or the order as a whole (T.800 A.6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progression {
    /// First resolution and component.
    pub start: (u8, u16),
    /// Past the last layer, resolution and component.
    pub end: (u16, u8, u16),
    /// 0 LRCP, 1 RLCP, 2 RPCL, 3 PCRL, 4 CPRL.
    pub order: u8,
}

/// Everything that a main or tile-part header says about coding.
#[derive(Clone, Debug)]
pub struct Style {
    /// Order of packets.
    pub order: u8,
    /// Quality layers, not 0.
    pub layers: u16,
    /// Components 0–2 are transformed together.
    pub mct: bool,
    /// For each component.
    pub coding: Vec<Coding>,
    /// For each component.
    pub quantisation: Vec<Quantisation>,
    /// Region of interest: bits by which it was shifted up, for each component.
    pub roi: Vec<u8>,
    /// Changes of the order; empty without any.
    pub changes: Vec<Progression>,
}

/// A codestream whose main header was read.
#[derive(Debug)]
pub struct Main {
    /// Sizes.
    pub siz: Siz,
    /// Coding, until a tile says otherwise.
    pub style: Style,
    /// Wavelet decompositions that every component of every tile has.
    pub levels: u8,
    /// Every tile-part, those of a tile in order.
    pub parts: Vec<Part>,
    /// Packed packet headers, for each tile-part of the file; empty without PPM.
    pub packed: Vec<Vec<u8>>,
    /// Whether the file ends before its last tile-part does.
    pub truncated: bool,
}

/// What the headers of a tile's parts say.
#[derive(Debug)]
pub struct Head {
    /// Coding of the tile.
    pub style: Style,
    /// Packed packet headers.
    pub packed: Vec<u8>,
    /// Where packets lie in each part.
    pub parts: Vec<Part>,
    /// The lengths of the packets of each part, where it names them.
    pub lengths: Vec<Vec<u32>>,
}

impl Coding {
    /// SPcod or SPcoc.
    fn parse(fields: &mut Fields, own_precincts: bool) -> Result<Coding> {
        let levels = fields.u8()?;
        if levels > 32 {
            return Err(Error::Unsupported(format!(
                "{levels} wavelet levels are not served"
            )));
        }
        let block = (fields.u8()? & 0xf, fields.u8()? & 0xf);
        let block = (block.0 + 2, block.1 + 2);
        if block.0 > 10 || block.1 > 10 || block.0 + block.1 > 12 {
            return Err(corrupt(format!("code-blocks of 2^{}x2^{}", block.0, block.1)));
        }
        let style = fields.u8()?;
        if style & style::MIXED != 0 && style & (style::BYPASS | style::TERMALL) != 0 {
            return Err(Error::Unsupported(
                "mixed code-blocks of several codeword segments are not served".into(),
            ));
        }
        let reversible = match fields.u8()? {
            0 => false,
            1 => true,
            other => {
                return Err(Error::Unsupported(format!(
                    "wavelet transform {other} is not served"
                )));
            }
        };
        let precincts = (0..=levels)
            .map(|level| {
                if !own_precincts {
                    return Ok((15, 15));
                }
                let byte = fields.u8()?;
                let sides = (byte & 0xf, byte >> 4);
                if level > 0 && (sides.0 == 0 || sides.1 == 0) {
                    return Err(corrupt("a precinct of less than a sample"));
                }
                Ok(sides)
            })
            .collect::<Result<_>>()?;
        Ok(Coding {
            levels,
            block,
            style,
            reversible,
            precincts,
            own: false,
        })
    }
}

impl Quantisation {
    /// What follows the component in QCC, or all of QCD.
    fn parse(fields: &mut Fields) -> Result<Quantisation> {
        let style = fields.u8()?;
        let mut steps = Vec::new();
        while !fields.0.is_empty() {
            steps.push(match style & 0x1f {
                0 => (fields.u8()? >> 3, 0),
                1 | 2 => {
                    let step = fields.u16()?;
                    (u8::try_from(step >> 11).unwrap_or(0), step & 0x7ff)
                }
                other => return Err(Error::Unsupported(format!("quantisation {other} is not served"))),
            });
        }
        if steps.is_empty() {
            return Err(short());
        }
        Ok(Quantisation {
            none: style & 0x1f == 0,
            derived: style & 0x1f == 1,
            guard: style >> 5,
            steps,
            own: false,
        })
    }
}

impl Style {
    /// Before anything is said about it.
    fn unset() -> Style {
        Style {
            order: 0,
            layers: 1,
            mct: false,
            coding: Vec::new(),
            quantisation: Vec::new(),
            roi: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// What the header of a tile may replace: all of the main header, its segments for one component included.
    fn of_a_tile(&self) -> Style {
        let mut style = self.clone();
        for coding in &mut style.coding {
            coding.own = false;
        }
        for quantisation in &mut style.quantisation {
            quantisation.own = false;
        }
        style
    }

    /// Takes in a marker segment of a main or tile-part header, if it is about coding.
    fn take(&mut self, marker: u16, body: &[u8], count: usize) -> Result<()> {
        let mut fields = Fields(body);
        match marker {
            COD => self.coding_default(&mut fields, count),
            COC => self.coding_of_component(&mut fields, count),
            QCD => self.quantisation_default(&mut fields, count),
            QCC => self.quantisation_of_component(&mut fields, count),
            RGN => self.region_of_interest(&mut fields, count),
            POC => self.order_changes(&mut fields, count),
            // an offset and a curve (T.801 Annex A): without them the samples are others
            DCO | NLT => Err(Error::Unsupported(format!("marker {marker:#06x} is not served"))),
            _ => Ok(()),
        }
    }

    /// COD (T.800 A.6.1).
    fn coding_default(&mut self, fields: &mut Fields, count: usize) -> Result<()> {
        let flags = fields.u8()?;
        self.order = fields.u8()?;
        self.layers = fields.u16()?;
        self.mct = match fields.u8()? {
            0 => false,
            1 => true,
            other => {
                return Err(Error::Unsupported(format!(
                    "component transform {other} is not served"
                )));
            }
        };
        if self.layers == 0 || self.order > 4 {
            return Err(corrupt(format!("{} layers in order {}", self.layers, self.order)));
        }
        let coding = Coding::parse(fields, flags & 1 != 0)?;
        if self.coding.is_empty() {
            self.coding = vec![coding.clone(); count];
        }
        for known in self.coding.iter_mut().filter(|known| !known.own) {
            known.clone_from(&coding);
        }
        Ok(())
    }

    /// COC (A.6.2).
    fn coding_of_component(&mut self, fields: &mut Fields, count: usize) -> Result<()> {
        let number = usize::from(fields.component(count)?);
        let flags = fields.u8()?;
        let coding = Coding::parse(fields, flags & 1 != 0)?;
        let known = self.coding.get_mut(number);
        *known.ok_or_else(|| corrupt("COC before COD"))? = Coding { own: true, ..coding };
        Ok(())
    }

    /// QCD (A.6.4).
    fn quantisation_default(&mut self, fields: &mut Fields, count: usize) -> Result<()> {
        let quantisation = Quantisation::parse(fields)?;
        if self.quantisation.is_empty() {
            self.quantisation = vec![quantisation.clone(); count];
        }
        for known in self.quantisation.iter_mut().filter(|known| !known.own) {
            known.clone_from(&quantisation);
        }
        Ok(())
    }

    /// QCC (A.6.5).
    fn quantisation_of_component(&mut self, fields: &mut Fields, count: usize) -> Result<()> {
        let number = usize::from(fields.component(count)?);
        let quantisation = Quantisation::parse(fields)?;
        let known = self.quantisation.get_mut(number);
        *known.ok_or_else(|| corrupt("QCC before QCD"))? = Quantisation {
            own: true,
            ..quantisation
        };
        Ok(())
    }

    /// RGN (A.6.3).
    fn region_of_interest(&mut self, fields: &mut Fields, count: usize) -> Result<()> {
        let number = usize::from(fields.component(count)?);
        if fields.u8()? != 0 {
            return Err(Error::Unsupported("this region of interest is not served".into()));
        }
        let shift = fields.u8()?;
        *self.roi.get_mut(number).ok_or_else(short)? = shift;
        Ok(())
    }

    /// POC (A.6.6).
    fn order_changes(&mut self, fields: &mut Fields, count: usize) -> Result<()> {
        while !fields.0.is_empty() {
            let start = (fields.u8()?, fields.component(count)?);
            let layers = fields.u16()?;
            let resolutions = fields.u8()?;
            let components = fields.component(count)?;
            let order = fields.u8()?;
            // 0 means 256 where a component takes one byte (Table A.32)
            let components = if components == 0 { u16::MAX } else { components };
            if order > 4 || self.changes.len() > 1024 {
                return Err(corrupt("a progression order change"));
            }
            self.changes.push(Progression {
                start,
                end: (layers, resolutions, components),
                order,
            });
        }
        Ok(())
    }
}

/// The bodies of segments that come in numbered pieces.
#[derive(Default)]
struct Pieces(Vec<(u8, Vec<u8>)>);

impl Pieces {
    /// Takes in a segment, whose first byte is its number.
    fn push(&mut self, body: &[u8]) {
        if let Some((number, rest)) = body.split_first() {
            self.0.push((*number, rest.to_vec()));
        }
    }

    /// All of them in the order of their numbers.
    fn join(mut self) -> Vec<u8> {
        self.0.sort_by_key(|(number, _)| *number);
        self.0.into_iter().flat_map(|(_, bytes)| bytes).collect()
    }
}

/// The segments of a main header, as far as they are read.
struct Segments {
    siz: Option<Siz>,
    style: Style,
    /// PPM.
    packed: Pieces,
    packed_bytes: usize,
    /// TLM.
    lengths: Pieces,
}

impl Segments {
    /// Takes in one marker segment.
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
    /// Reads the main header and finds the tile-parts. `Missing` when this is no codestream.
    pub fn read(from: &dyn Bytes) -> Result<Main> {
        let mut body = Vec::new();
        let (SOC, mut at) = segment(from, 0, &mut body)? else {
            return Err(Error::Missing("not a JPEG 2000 codestream".into()));
        };
        let mut segments = Segments {
            siz: None,
            style: Style::unset(),
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
        let Segments {
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
        let parts = match Parts::listed(lengths.0, at..from.len(), &siz) {
            Some(parts) => parts,
            None => Parts::follow(from, at, &siz)?,
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
    pub fn parts_of(&self, tile: u16) -> &[Part] {
        let first = self.parts.partition_point(|part| part.tile < tile);
        let end = self.parts.partition_point(|part| part.tile <= tile);
        self.parts.get(first..end).unwrap_or_default()
    }

    /// The headers of a tile's parts. `Unsupported` when one names fewer decompositions than [`Main::levels`].
    pub fn tile(&self, from: &dyn Bytes, tile: u16) -> Result<Head> {
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
        Ok(Head {
            style,
            packed,
            parts,
            lengths,
        })
    }
}

/// The header of one tile-part.
struct PartHead {
    /// Where its packets lie.
    body: Part,
    /// PPT.
    packed: Pieces,
    /// PLT.
    lengths: Pieces,
}

impl Main {
    /// Reads the header of a tile-part up to its packets. The first change of the order of packets in a tile replaces those
    /// of the main header; `changed` says whether there was one.
    fn part(&self, from: &dyn Bytes, part: Part, style: &mut Style, changed: &mut bool) -> Result<PartHead> {
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
            body: Part { start: at, ..part },
            packed,
            lengths,
        })
    }
}

/// PLT: numbers of seven bits a byte, the first bit of which says that more follow (T.800 Table A.36).
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

/// PPM: for each tile-part a length of four bytes and so many bytes (T.800 A.7.4).
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
