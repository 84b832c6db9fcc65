//! Blocks of DCT coefficients (T.81 F.1.2, F.2.2), read and written without a transform.

use crate::codec::jpeg::bits::BitReader;
use crate::codec::jpeg::bits::BitWriter;
use crate::codec::jpeg::bits::extend;
use crate::codec::jpeg::huffman::HuffmanTable;
use crate::codec::jpeg::huffman::WriteTables;
use crate::codec::jpeg::stream;
use std::sync::Arc;

/// A block of an MCU.
#[derive(Clone, Debug)]
pub struct McuBlock {
    /// Component of the frame, 0–3.
    pub component: usize,
    /// Table of the DC coefficient.
    pub dc: Arc<HuffmanTable>,
    /// Table of the AC coefficients.
    pub ac: Arc<HuffmanTable>,
    /// Whether its component is not subsampled: at a scale of 1/8, only its DC coefficient is visible.
    pub is_full_size: bool,
}

/// Receives the coefficients of a block.
pub trait CoefficientSink {
    /// The DC coefficient.
    fn dc(&mut self, block: &McuBlock, value: i16);
    /// `run` zeros, then a coefficient as its `size` raw bits (T.81 F.1.2.1).
    fn ac(&mut self, run: u32, size: u32, value: u32);
    /// All remaining coefficients are zero.
    fn end(&mut self);
}

/// Discards coefficients.
pub struct Skip;

impl CoefficientSink for Skip {
    #[inline]
    fn dc(&mut self, _: &McuBlock, _: i16) {}
    #[inline]
    fn ac(&mut self, _: u32, _: u32, _: u32) {}
    #[inline]
    fn end(&mut self) {}
}

/// Writes coefficients to a stream.
pub struct CoefficientWriter<'a> {
    tables: &'a WriteTables,
    out: BitWriter,
    /// The last DC coefficient of each component.
    predictions: [i16; 4],
    /// Only the DC coefficient of full-size components is written.
    eighth: bool,
    /// The current block is such a block: its AC coefficients are dropped.
    flat: bool,
}

impl<'a> CoefficientWriter<'a> {
    /// Appends to the head of a stream with these tables; `eighth` if it will be decoded at a scale of 1/8.
    pub fn after(head: Vec<u8>, tables: &'a WriteTables, eighth: bool) -> CoefficientWriter<'a> {
        CoefficientWriter {
            tables,
            out: BitWriter::after(head),
            predictions: [0; 4],
            eighth,
            flat: false,
        }
    }

    /// Writes an empty block: mid-grey.
    pub fn grey(&mut self, block: &McuBlock) {
        self.dc(block, 0);
        self.end();
    }

    /// Finishes the stream.
    pub fn finish(self) -> Vec<u8> {
        let mut out = self.out.finish();
        out.extend_from_slice(&[0xff, stream::EOI]);
        out
    }
}

impl CoefficientSink for CoefficientWriter<'_> {
    #[inline]
    fn dc(&mut self, block: &McuBlock, value: i16) {
        let Some(last) = self.predictions.get_mut(block.component) else {
            return;
        };
        // decoders wrap values at 16 bits, so a difference of 15 bits and a sign always suffices; -32768 becomes -32767
        let difference = value.wrapping_sub(*last).max(-i16::MAX);
        *last = value;
        let size = 16 - difference.unsigned_abs().leading_zeros();
        let code = self.tables.dc.get(size as usize).copied().unwrap_or_default();
        // negative values as value − 1 (T.81 F.1.2.1)
        let bits = difference.wrapping_add(difference >> 15).cast_unsigned();
        let bits = u32::from(bits) & ((1 << size) - 1);
        self.out
            .put(u32::from(code.bits) << size | bits, u32::from(code.len) + size);
        self.flat = false;
        if self.eighth && block.is_full_size {
            self.end();
            self.flat = true;
        }
    }

    #[inline]
    fn ac(&mut self, run: u32, size: u32, value: u32) {
        if !self.flat {
            let code = self.tables.ac.get((run << 4 | size) as usize & 255);
            let code = code.copied().unwrap_or_default();
            self.out
                .put(u32::from(code.bits) << size | value, u32::from(code.len) + size);
        }
    }

    #[inline]
    fn end(&mut self) {
        if !self.flat {
            let code = self.tables.ac.first().copied().unwrap_or_default();
            self.out.put(code.bits.into(), code.len.into());
        }
    }
}

/// Reads a block (T.81 F.2.2); invalid codes are interpreted as by libjpeg.
#[inline]
pub fn read(bits: &mut BitReader, block: &McuBlock, last: &mut [i16; 4], sink: &mut impl CoefficientSink) {
    let next = bits.peek();
    let (len, symbol) = block.dc.look(next);
    let size = u32::from(symbol);
    let difference = if size > 0 { extend(next << len, size) } else { 0 };
    bits.skip(len + size);
    if let Some(last) = last.get_mut(block.component) {
        #[expect(clippy::cast_possible_truncation, reason = "at most 15 bits and a sign")]
        let value = last.wrapping_add(difference as i16);
        *last = value;
        sink.dc(block, value);
    }
    let mut k = 1;
    while k < 64 {
        let next = bits.peek();
        let (len, symbol) = block.ac.look(next);
        let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        bits.skip(len + size);
        if size > 0 {
            let value = u32::try_from((next << len) >> (64 - size)).unwrap_or(0);
            // coefficients beyond the last one overwrite it
            sink.ac(run.min(63 - k), size, value);
            k += run + 1;
        } else if run == 15 {
            if k + 16 < 64 {
                sink.ac(15, 0, 0);
            }
            k += 16;
            if k >= 64 {
                return sink.end();
            }
        } else {
            return sink.end();
        }
    }
}
