//! Marker segments of a JPEG 2000 codestream (ITU-T T.800 A.1): their codes, and reading one at a time.

use crate::codec::read_at::ReadAt;
use crate::error::Error;
use crate::error::Result;

pub const CAP: u16 = 0xff50;
pub const COD: u16 = 0xff52;
pub const COC: u16 = 0xff53;
pub const SIZ: u16 = 0xff51;
pub const QCD: u16 = 0xff5c;
pub const QCC: u16 = 0xff5d;
pub const RGN: u16 = 0xff5e;
pub const POC: u16 = 0xff5f;
pub const PPM: u16 = 0xff60;
pub const PPT: u16 = 0xff61;
pub const TLM: u16 = 0xff55;
pub const PLT: u16 = 0xff58;
pub const SOC: u16 = 0xff4f;
pub const DCO: u16 = 0xff70;
pub const NLT: u16 = 0xff76;
pub const SOT: u16 = 0xff90;
pub const SOD: u16 = 0xff93;
pub const EOC: u16 = 0xffd9;

/// Reads the bytes of a marker segment sequentially.
pub struct SegmentFields<'a>(pub &'a [u8]);

impl SegmentFields<'_> {
    pub fn u8(&mut self) -> Result<u8> {
        let (first, rest) = self.0.split_first().ok_or_else(short)?;
        self.0 = rest;
        Ok(*first)
    }

    pub fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from(self.u16()?) << 16 | u32::from(self.u16()?))
    }

    /// A component's number: one byte if there are fewer than 257.
    pub fn component(&mut self, count: usize) -> Result<u16> {
        if count < 257 {
            self.u8().map(u16::from)
        } else {
            self.u16()
        }
    }
}

/// The error for a truncated segment.
pub fn short() -> Error {
    Error::Corrupt("a marker segment ends early".into())
}

/// The error for an invalid segment.
pub fn corrupt(what: impl Into<String>) -> Error {
    Error::Corrupt(what.into())
}

/// Reads a marker, and its segment if it has one; returns the position after it.
pub fn segment(from: &dyn ReadAt, at: u64, body: &mut Vec<u8>) -> Result<(u16, u64)> {
    let mut head = [0; 4];
    from.read(at, head.get_mut(..2).unwrap_or_default())?;
    let marker = u16::from_be_bytes([head[0], head[1]]);
    body.clear();
    if matches!(marker, SOC | SOD | EOC | 0xff30..=0xff3f) {
        return Ok((marker, at + 2));
    }
    if marker < 0xff00 {
        return Err(corrupt(format!("no marker at {at}")));
    }
    from.read(at, &mut head)?;
    let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let len = len.checked_sub(2).ok_or_else(short)?;
    body.resize(len, 0);
    from.read(at + 4, body)?;
    Ok((marker, at + 4 + len as u64))
}
