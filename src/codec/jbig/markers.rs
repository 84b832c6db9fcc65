//! The header of a JBIG stream and the marker segments between its stripes (ITU-T T.82).
//!
//! The caller decodes the coded bytes of stripes.

use crate::codec::jbig::Adaptive;
use crate::error::Error;
use crate::error::Result;
use memchr::memchr;

/// Bytes of the header.
const HEADER: usize = 20;

/// Bytes of a table for deterministic prediction, which may follow the header.
const TABLE: usize = 1728;

/// The first byte of every marker.
const ESC: u8 = 0xff;
/// The second byte if it is not a marker.
const STUFF: u8 = 0x00;
/// Ends a stripe.
const SDNORM: u8 = 0x02;
/// Ends a stripe and resets the decoder.
const SDRST: u8 = 0x03;
/// Aborts the stream.
const ABORT: u8 = 0x04;
/// Reduces the number of rows.
const NEWLEN: u8 = 0x05;
/// Moves the adaptive pixel.
const ATMOVE: u8 = 0x06;
/// A comment, which is ignored.
const COMMENT: u8 = 0x07;

/// The header of a bi-level image entity (BIE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BieHeader {
    /// Pixels per row.
    pub width: u32,
    /// Number of rows, which a marker may reduce.
    rows: u32,
    /// Rows per stripe, not 0.
    pub stripe: u32,
    /// The template has two rows instead of three (LRLTWO).
    pub two_row_template: bool,
    /// A marker may reduce the number of rows (VLENGTH).
    shrinks: bool,
    /// Typical prediction: a row may be marked as equal to the one above (TPBON).
    pub typical: bool,
}

/// Whether a stream of one plane has reversed bits in every byte.
pub fn is_reversed(data: &[u8]) -> bool {
    data.get(2) == Some(&1u8.reverse_bits())
}

impl BieHeader {
    /// Parses the start of a stream; returns the header and the rest.
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
                "JBIG in {} resolution layers and {planes} planes is not supported",
                u16::from(layers) + 1
            )));
        }
        let is = |bit: u8| options >> bit & 1 == 1;
        let header = BieHeader {
            width,
            rows,
            stripe,
            two_row_template: is(6),
            shrinks: is(5),
            typical: is(3),
        };
        // DPON, DPPRIV and not DPLAST
        let table = if options & 0b111 == 0b110 { TABLE } else { 0 };
        Ok((header, body.get(table..).unwrap_or_default()))
    }

    /// The number of rows; a marker that reduces it may follow any stripe.
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

/// Moves the adaptive pixel from a row of a stripe on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveMove {
    /// The row, from 0.
    pub row: u32,
    /// The new position.
    pub position: Adaptive,
}

/// The coded rows of a stripe.
#[derive(Debug, PartialEq, Eq)]
pub struct Stripe<'a> {
    /// Coded bytes; a zero follows each 0xff.
    pub coded: &'a [u8],
    /// Moves, by row.
    pub moves: Vec<AdaptiveMove>,
    /// Whether the decoder is reset afterwards.
    pub resets: bool,
}

/// Iterates over the stripes of a stream.
pub struct Stripes<'a> {
    rest: &'a [u8],
    /// The number of rows given by a marker.
    rows: Option<u32>,
}

impl<'a> Stripes<'a> {
    /// Starts after the header.
    pub fn new(body: &'a [u8]) -> Stripes<'a> {
        Stripes {
            rest: body,
            rows: None,
        }
    }

    /// The next stripe. `Error::Corrupt` if it does not end.
    pub fn next(&mut self) -> Result<Stripe<'a>> {
        let mut moves = Vec::new();
        while let [ESC, marker @ (ABORT | NEWLEN | ATMOVE | COMMENT), rest @ ..] = self.rest {
            self.rest = match *marker {
                ABORT => return Err(Error::Corrupt("JBIG that was aborted by its encoder".into())),
                NEWLEN => {
                    let (rows, rest) = number(rest)?;
                    self.rows = Some(rows);
                    rest
                }
                ATMOVE => {
                    let (row, rest) = number(rest)?;
                    let (&[left, up], rest) = rest.split_first_chunk().ok_or_else(short)?;
                    let position = place(left.cast_signed(), up)?;
                    moves.push(AdaptiveMove { row, position });
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
        moves.sort_by_key(|change| change.row);
        Ok(Stripe {
            coded,
            moves,
            resets: marker == SDRST,
        })
    }
}

/// The next four bytes as a number, and the rest.
fn number(data: &[u8]) -> Result<(u32, &[u8])> {
    let (bytes, rest) = data.split_first_chunk().ok_or_else(short)?;
    Ok((u32::from_be_bytes(*bytes), rest))
}

/// The new position of the adaptive pixel, which must have been decoded before the current one. 0, 0 is the nominal
/// position.
fn place(left: i8, up: u8) -> Result<Adaptive> {
    match (left, up) {
        (0, 0) => Ok(Adaptive::NOMINAL),
        (..=0, 0) => Err(Error::Corrupt(format!(
            "unsupported JBIG: a pixel depends on one {} to its right",
            left.unsigned_abs()
        ))),
        _ => Ok(Adaptive { left, up }),
    }
}

fn short() -> Error {
    Error::Corrupt("JBIG ends within a stripe".into())
}
