//! A code-block of JPEG 2000 as described by its packets, and the limits of its size.

/// The style bits of a code-block (T.800 Table A.19, T.814 Table A.4).
pub mod style {
    /// Significance and refinement passes below the fourth bit-plane are raw bits.
    pub const BYPASS: u8 = 1;
    /// Contexts are reset with each pass.
    pub const RESET: u8 = 2;
    /// Each pass ends its codeword segment.
    pub const TERMALL: u8 = 4;
    /// Contexts ignore the stripe below.
    pub const CAUSAL: u8 = 8;
    /// Segments end with predictable bits that reveal errors; a decoder may ignore this.
    pub const PREDICTABLE: u8 = 0x10;
    /// Four known bits follow each clean-up pass.
    pub const SYMBOLS: u8 = 0x20;
    /// The block is coded by the high-throughput coder.
    pub const HT: u8 = 0x40;
    /// Each block is coded by the coder that its first bytes select.
    pub const MIXED: u8 = 0x80;
    /// The bits that apply to blocks of part 1.
    pub const PART1: u8 = 0x3f;
}

/// Maximum number of samples of a block (T.800 Table A.18).
pub const SAMPLES: usize = 4096;

/// The longest side of a block.
pub const SIDE: u32 = 1024;

/// Maximum number of bit-planes: more do not fit the output with its fractional bit.
pub const PLANES: u8 = 30;

/// Sub-band orientation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BandOrientation {
    /// Low-pass in both directions.
    Ll,
    /// High-pass horizontally, low-pass vertically.
    Hl,
    /// Low-pass horizontally, high-pass vertically.
    Lh,
    /// High-pass in both directions.
    Hh,
}

/// Coding passes that share a terminated codeword segment.
pub struct Segment<'a> {
    /// Number of passes.
    pub passes: u8,
    /// Its bytes, in order; several pieces if it continues in later layers.
    pub pieces: &'a [&'a [u8]],
}

/// A code-block as its packets describe it.
pub struct CodeBlock<'a> {
    /// Width in samples, 1 to `SIDE`.
    pub w: u32,
    /// Height in samples, 1 to `SIDE`; at most `SAMPLES` in all.
    pub h: u32,
    /// Its sub-band.
    pub band: BandOrientation,
    /// Bits of `style`.
    pub style: u8,
    /// Coded magnitude bit-planes: those of the sub-band minus the missing ones.
    pub planes: u8,
    /// Segments in order, from the first pass.
    pub segments: &'a [Segment<'a>],
}
