//! A code-block of JPEG 2000 as its packets describe it, and the limits of its size.

/// The style bits of a code-block (T.800 Table A.19, T.814 Table A.4).
pub mod style {
    /// Significance and refinement passes below the fourth bit-plane are raw bits.
    pub const BYPASS: u8 = 1;
    /// Contexts start afresh with each pass.
    pub const RESET: u8 = 2;
    /// Each pass ends its codeword segment.
    pub const TERMALL: u8 = 4;
    /// Contexts do not look into the stripe below.
    pub const CAUSAL: u8 = 8;
    /// Segments end in a way that betrays errors; nothing changes for a decoder.
    pub const PREDICTABLE: u8 = 0x10;
    /// Four known bits follow each clean-up pass.
    pub const SYMBOLS: u8 = 0x20;
    /// The block is coded by the high-throughput coder.
    pub const HT: u8 = 0x40;
    /// Or each block by the coder that its first bytes name.
    pub const MIXED: u8 = 0x80;
    /// What concerns blocks of part 1.
    pub const PART1: u8 = 0x3f;
}

/// The most samples a block holds (T.800 Table A.18).
pub const SAMPLES: usize = 4096;

/// The longest side of a block.
pub const SIDE: u32 = 1024;

/// More bit-planes than this do not fit the output with its fractional bit.
pub const PLANES: u8 = 30;

/// Sub-band orientation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BandOrientation {
    /// Low-pass both ways.
    Ll,
    /// High-pass across, low-pass down.
    Hl,
    /// Low-pass across, high-pass down.
    Lh,
    /// High-pass both ways.
    Hh,
}

/// A run of coding passes that ends in a terminated codeword segment.
pub struct Segment<'a> {
    /// How many passes.
    pub passes: u8,
    /// Its bytes, in order; several where it goes on from layer to layer.
    pub pieces: &'a [&'a [u8]],
}

/// A code-block as its packets describe it.
pub struct CodeBlock<'a> {
    /// Width in samples, 1 to `SIDE`.
    pub w: u32,
    /// Height in samples, 1 to `SIDE`; at most `SAMPLES` in all.
    pub h: u32,
    /// Which sub-band it is of.
    pub band: BandOrientation,
    /// Bits of `style`.
    pub style: u8,
    /// Magnitude bit-planes coded: those of the sub-band less the missing ones.
    pub planes: u8,
    /// From the first pass on.
    pub segments: &'a [Segment<'a>],
}
