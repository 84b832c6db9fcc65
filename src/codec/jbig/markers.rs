//! The header of a JBIG stream and the marker segments between its stripes (ITU-T T.82).
//!
//! What a stripe's bytes mean is the business of the one who asks.

use crate::codec::jbig::Adaptive;
use crate::error::Error;
use crate::error::Result;
use memchr::memchr;

/// Bytes of the header.
const HEADER: usize = 20;

/// Bytes of a table for deterministic prediction, where one follows the header.
const TABLE: usize = 1728;

/// What every marker begins with.
const ESC: u8 = 0xff;
/// Follows where the byte is no marker.
const STUFF: u8 = 0x00;
/// Ends a stripe.
const SDNORM: u8 = 0x02;
/// Ends a stripe, and all that was learnt.
const SDRST: u8 = 0x03;
/// Ends everything too early.
const ABORT: u8 = 0x04;
/// There are fewer rows.
const NEWLEN: u8 = 0x05;
/// The adaptive pixel moves.
const ATMOVE: u8 = 0x06;
/// Bytes that are not used here.
const COMMENT: u8 = 0x07;

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BieHeader {
    /// Pixels of a row.
    pub width: u32,
    /// Rows, if a marker does not say that there are fewer.
    rows: u32,
    /// Rows of a stripe, not 0.
    pub stripe: u32,
    /// The template is of two rows, not of three (LRLTWO).
    pub two: bool,
    /// A marker may say that there are fewer rows (VLENGTH).
    shrinks: bool,
    /// Rows may be said to be as the one above (TPBON).
    pub typical: bool,
}

/// Whether a stream of one plane has the bits of every byte in reverse.
pub fn is_reversed(data: &[u8]) -> bool {
    data.get(2) == Some(&1u8.reverse_bits())
}

impl BieHeader {
    /// From the beginning of a stream; also what follows.
    pub fn parse(data: &[u8]) -> Result<(BieHeader, &[u8])> {
        let Some((head, body)) = data.split_first_chunk::<HEADER>() else {
            return Err(Error::Corrupt(format!(
                "a JBIG header of {} bytes where {HEADER} are needed",
                data.len()
            )));
        };
        let &[first, layers, planes, _, sizes @ .., _, _, _, options] = head;
        let mut sizes = sizes.as_chunks().0.iter().map(|bytes| u32::from_be_bytes(*bytes));
        let mut size = || sizes.next().unwrap_or(0);
        let (width, rows, stripe) = (size(), size(), size());
        if layers < first || planes == 0 || width == 0 || rows == 0 || stripe == 0 {
            return Err(Error::Corrupt(format!(
                "a JBIG header of layers {first}-{layers}, {planes} planes, {width}x{rows} pixels in stripes of {stripe} rows"
            )));
        }
        if layers > 0 || planes > 1 {
            return Err(Error::Unsupported(format!(
                "JBIG in {} resolution layers and {planes} planes is not served",
                u16::from(layers) + 1
            )));
        }
        let is = |bit: u8| options >> bit & 1 == 1;
        let header = BieHeader {
            width,
            rows,
            stripe,
            two: is(6),
            shrinks: is(5),
            typical: is(3),
        };
        // DPON, DPPRIV and not DPLAST
        let table = if options & 0b111 == 0b110 { TABLE } else { 0 };
        Ok((header, body.get(table..).unwrap_or_default()))
    }

    /// How many rows there are, after whichever stripe a marker says so.
    pub fn lines(&self, body: &[u8]) -> Result<u32> {
        if !self.shrinks {
            return Ok(self.rows);
        }
        let mut stripes = Stripes::new(body);
        while stripes.next().is_ok() {}
        match stripes.rows {
            None => Ok(self.rows),
            Some(rows) if rows <= self.rows => Ok(rows),
            Some(rows) => Err(Error::Corrupt(format!(
                "JBIG with {} rows that become {rows}",
                self.rows
            ))),
        }
    }
}

/// From some row of a stripe on the adaptive pixel lies elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveMove {
    /// The row, from 0.
    pub row: u32,
    /// The place.
    pub to: Adaptive,
}

/// The rows of a stripe, coded.
#[derive(Debug, PartialEq, Eq)]
pub struct Stripe<'a> {
    /// A zero follows each 0xff.
    pub coded: &'a [u8],
    /// By their rows.
    pub moves: Vec<AdaptiveMove>,
    /// Behind it everything begins anew.
    pub resets: bool,
}

/// The stripes of a stream one after the other.
pub struct Stripes<'a> {
    rest: &'a [u8],
    /// What a marker has said of the number of rows.
    rows: Option<u32>,
}

impl<'a> Stripes<'a> {
    /// From what follows the header.
    pub fn new(body: &'a [u8]) -> Stripes<'a> {
        Stripes {
            rest: body,
            rows: None,
        }
    }

    /// The next one. `Error::Corrupt` where there is no end of it.
    pub fn next(&mut self) -> Result<Stripe<'a>> {
        let mut moves = Vec::new();
        while let [ESC, marker @ (ABORT | NEWLEN | ATMOVE | COMMENT), rest @ ..] = self.rest {
            self.rest = match *marker {
                ABORT => return Err(Error::Corrupt("JBIG that was given up by its writer".into())),
                NEWLEN => {
                    let (rows, rest) = number(rest)?;
                    self.rows = Some(rows);
                    rest
                }
                ATMOVE => {
                    let (row, rest) = number(rest)?;
                    let (&[left, up], rest) = rest.split_first_chunk().ok_or_else(short)?;
                    let to = place(left.cast_signed(), up)?;
                    moves.push(AdaptiveMove { row, to });
                    rest
                }
                _ => {
                    let (length, rest) = number(rest)?;
                    rest.get(length as usize..).ok_or_else(short)?
                }
            };
        }
        let mut end = 0;
        let marker = loop {
            let rest = self.rest.get(end..).unwrap_or_default();
            end += memchr(ESC, rest).ok_or_else(short)?;
            match self.rest.get(end + 1) {
                Some(&STUFF) => end += 2,
                Some(&marker) => break marker,
                None => return Err(short()),
            }
        };
        if !matches!(marker, SDNORM | SDRST) {
            return Err(Error::Corrupt(format!(
                "marker {marker:#04x} in a stripe of JBIG"
            )));
        }
        let (coded, rest) = self.rest.split_at_checked(end).ok_or_else(short)?;
        self.rest = rest.get(2..).unwrap_or_default();
        moves.sort_by_key(|to| to.row);
        Ok(Stripe {
            coded,
            moves,
            resets: marker == SDRST,
        })
    }
}

/// The next four bytes, and what follows.
fn number(data: &[u8]) -> Result<(u32, &[u8])> {
    let (bytes, rest) = data.split_first_chunk().ok_or_else(short)?;
    Ok((u32::from_be_bytes(*bytes), rest))
}

/// Where the adaptive pixel is moved to: it must have been decoded before the others. 0, 0 is the nominal place.
fn place(left: i8, up: u8) -> Result<Adaptive> {
    match (left, up) {
        (0, 0) => Ok(Adaptive::NOMINAL),
        (..=0, 0) => Err(Error::Corrupt(format!(
            "JBIG of which a pixel depends on one {} to its right",
            left.unsigned_abs()
        ))),
        _ => Ok(Adaptive { left, up }),
    }
}

fn short() -> Error {
    Error::Corrupt("JBIG ends within a stripe".into())
}
