//! The coding parameters of a codestream: the marker segments of coding styles, quantisation, regions of interest and
//! progression order changes (ITU-T T.800 Annex A.6).

use crate::codec::jp2::block::style;
use crate::codec::jp2::segments::COC;
use crate::codec::jp2::segments::COD;
use crate::codec::jp2::segments::DCO;
use crate::codec::jp2::segments::NLT;
use crate::codec::jp2::segments::POC;
use crate::codec::jp2::segments::QCC;
use crate::codec::jp2::segments::QCD;
use crate::codec::jp2::segments::RGN;
use crate::codec::jp2::segments::SegmentFields;
use crate::codec::jp2::segments::corrupt;
use crate::codec::jp2::segments::short;
use crate::error::Error;
use crate::error::Result;

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
    /// One step for all bands, from which the others are derived (E-5).
    pub derived: bool,
    /// Guard bits.
    pub guard: u8,
    /// Exponent and mantissa, from the smallest band.
    pub steps: Vec<(u8, u16)>,
    own: bool,
}

/// A progression order change, or the default progression (T.800 A.6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progression {
    /// First resolution and component.
    pub start: (u8, u16),
    /// End of layers, resolutions and components, exclusive.
    pub end: (u16, u8, u16),
    /// 0 LRCP, 1 RLCP, 2 RPCL, 3 PCRL, 4 CPRL.
    pub order: u8,
}

/// The coding parameters of a main or tile-part header.
#[derive(Clone, Debug)]
pub struct CodingStyle {
    /// Progression order.
    pub order: u8,
    /// Quality layers, not 0.
    pub layers: u16,
    /// Whether components 0–2 are transformed together.
    pub mct: bool,
    /// For each component.
    pub coding: Vec<Coding>,
    /// For each component.
    pub quantisation: Vec<Quantisation>,
    /// Region of interest: the up-shift in bits, for each component.
    pub roi: Vec<u8>,
    /// Progression order changes; may be empty.
    pub changes: Vec<Progression>,
}

impl Coding {
    /// SPcod or SPcoc.
    fn parse(fields: &mut SegmentFields, own_precincts: bool) -> Result<Coding> {
        let levels = fields.u8()?;
        if levels > 32 {
            return Err(Error::Unsupported(format!(
                "{levels} wavelet levels are not supported"
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
                "mixed code-blocks of several codeword segments are not supported".into(),
            ));
        }
        let reversible = match fields.u8()? {
            0 => false,
            1 => true,
            other => {
                return Err(Error::Unsupported(format!(
                    "wavelet transform {other} is not supported"
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
    /// The body of QCC after the component, or of QCD.
    fn parse(fields: &mut SegmentFields) -> Result<Quantisation> {
        let style = fields.u8()?;
        let mut steps = Vec::new();
        while !fields.0.is_empty() {
            steps.push(match style & 0x1f {
                0 => (fields.u8()? >> 3, 0),
                1 | 2 => {
                    let step = fields.u16()?;
                    (u8::try_from(step >> 11).unwrap_or(0), step & 0x7ff)
                }
                other => {
                    return Err(Error::Unsupported(format!(
                        "quantisation {other} is not supported"
                    )));
                }
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

impl CodingStyle {
    /// The state before the first marker segment.
    pub(super) fn unset() -> CodingStyle {
        CodingStyle {
            order: 0,
            layers: 1,
            mct: false,
            coding: Vec::new(),
            quantisation: Vec::new(),
            roi: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// The part that the header of a tile may override: everything, including segments of the main header for one
    /// component.
    pub(super) fn of_a_tile(&self) -> CodingStyle {
        let mut style = self.clone();
        for coding in &mut style.coding {
            coding.own = false;
        }
        for quantisation in &mut style.quantisation {
            quantisation.own = false;
        }
        style
    }

    /// Parses a marker segment of a main or tile-part header, if it concerns coding.
    pub(super) fn take(&mut self, marker: u16, body: &[u8], count: usize) -> Result<()> {
        let mut fields = SegmentFields(body);
        match marker {
            COD => self.coding_default(&mut fields, count),
            COC => self.coding_of_component(&mut fields, count),
            QCD => self.quantisation_default(&mut fields, count),
            QCC => self.quantisation_of_component(&mut fields, count),
            RGN => self.region_of_interest(&mut fields, count),
            POC => self.order_changes(&mut fields, count),
            // an offset and a curve (T.801 Annex A), without which samples would be wrong
            DCO | NLT => Err(Error::Unsupported(format!(
                "marker {marker:#06x} is not supported"
            ))),
            _ => Ok(()),
        }
    }

    /// COD (T.800 A.6.1).
    fn coding_default(&mut self, fields: &mut SegmentFields, count: usize) -> Result<()> {
        let flags = fields.u8()?;
        self.order = fields.u8()?;
        self.layers = fields.u16()?;
        self.mct = match fields.u8()? {
            0 => false,
            1 => true,
            other => {
                return Err(Error::Unsupported(format!(
                    "component transform {other} is not supported"
                )));
            }
        };
        if self.layers == 0 || self.order > 4 {
            return Err(corrupt(format!("{} layers in order {}", self.layers, self.order)));
        }
        let coding = Coding::parse(fields, flags & 1 != 0)?;
        set_default(&mut self.coding, &coding, count, |known| known.own);
        Ok(())
    }

    /// COC (A.6.2).
    fn coding_of_component(&mut self, fields: &mut SegmentFields, count: usize) -> Result<()> {
        let number = usize::from(fields.component(count)?);
        let flags = fields.u8()?;
        let coding = Coding::parse(fields, flags & 1 != 0)?;
        let known = self.coding.get_mut(number);
        *known.ok_or_else(|| corrupt("COC before COD"))? = Coding { own: true, ..coding };
        Ok(())
    }

    /// QCD (A.6.4).
    fn quantisation_default(&mut self, fields: &mut SegmentFields, count: usize) -> Result<()> {
        let quantisation = Quantisation::parse(fields)?;
        set_default(&mut self.quantisation, &quantisation, count, |known| known.own);
        Ok(())
    }

    /// QCC (A.6.5).
    fn quantisation_of_component(&mut self, fields: &mut SegmentFields, count: usize) -> Result<()> {
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
    fn region_of_interest(&mut self, fields: &mut SegmentFields, count: usize) -> Result<()> {
        let number = usize::from(fields.component(count)?);
        if fields.u8()? != 0 {
            return Err(Error::Unsupported(
                "this region of interest is not supported".into(),
            ));
        }
        let shift = fields.u8()?;
        *self.roi.get_mut(number).ok_or_else(short)? = shift;
        Ok(())
    }

    /// POC (A.6.6).
    fn order_changes(&mut self, fields: &mut SegmentFields, count: usize) -> Result<()> {
        while !fields.0.is_empty() {
            let start = (fields.u8()?, fields.component(count)?);
            let layers = fields.u16()?;
            let resolutions = fields.u8()?;
            let components = fields.component(count)?;
            let order = fields.u8()?;
            // 0 means 256 if a component takes one byte (Table A.32)
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

/// Sets the value of all of `count` components without one of their own (COD, QCD).
fn set_default<T: Clone>(all: &mut Vec<T>, value: &T, count: usize, is_own: impl Fn(&T) -> bool) {
    if all.is_empty() {
        *all = vec![value.clone(); count];
    }
    for known in all.iter_mut().filter(|known| !is_own(known)) {
        known.clone_from(value);
    }
}
