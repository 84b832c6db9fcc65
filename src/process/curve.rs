//! Lookup tables by the leading bits of a number, for the steps that follow a mix of channels.
//!
//! The steps themselves compute the tables, so the result is the same either way.

use crate::process::step::Reach;
use crate::process::step::Step;
use crate::process::table_cache::TableCache;
use crate::process::table_cache::WORTH;
use crate::process::tone;
use std::sync::Arc;

/// Numbers that are looked up in one batch.
const RUN: usize = 512;

/// Maximum number of cells of a table.
const CELLS: usize = 1 << 14;

/// Mantissa bits of an `f32`.
const MANTISSA: u32 = 23;

static CURVES: TableCache<Option<Arc<ByteCells>>> = TableCache::new();

/// Maps numbers to bytes: a curve and the steps after it, as a table.
#[derive(Clone)]
pub struct ByteCurve {
    cells: Arc<ByteCells>,
    steps: usize,
}

/// Cells by the leading bits of a number. Within a cell, numbers below its edge map to one byte and the others to the
/// next.
struct ByteCells {
    /// The bits of the first number of the first cell; smaller numbers count as this one.
    first: u32,
    /// The bits of the first number of the last cell; greater numbers count as this one.
    last: u32,
    /// The number of bits below those that select the cell.
    shift: u32,
    /// A byte and, in 24 bits, the distance of the edge from the cell's end, in units of 2^-24 of the cell.
    cells: Box<[u32; CELLS]>,
    /// 255 if the bytes fall as the numbers rise: the cells then hold the complement.
    flip: u8,
}

impl ByteCurve {
    /// The table for the trailing steps that work on single numbers, for `pixels` pixels; `None` if there are none,
    /// or if the table would cost more than it saves.
    pub fn of(steps: &[Step], pixels: usize) -> Option<ByteCurve> {
        let tail = steps
            .iter()
            .rposition(|step| step.reach() != Reach::Number)
            .map_or(steps, |last| steps.get(last + 1..).unwrap_or_default());
        // these steps map everything that is not above 0 to 0
        if !matches!(tail.first(), Some(Step::Power(_) | Step::Logarithm)) {
            return None;
        }
        let worth = WORTH * pixels as u64 >= CELLS as u64;
        let cells = CURVES.get(tail, None, worth, || ByteCells::of(tail).map(Arc::new))??;
        Some(ByteCurve {
            cells,
            steps: tail.len(),
        })
    }

    /// The number of steps that the table replaces.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Maps numbers to bytes.
    pub fn bytes(&self, values: &[f32], out: &mut [u8]) {
        let ByteCells {
            first,
            last,
            shift,
            ref cells,
            flip,
        } = *self.cells;
        let (low, high) = (f32::from_bits(first), f32::from_bits(last));
        let (mut places, mut insides) = ([0; RUN], [0; RUN]);
        // separate loops, so that all but the lookup is vectorised
        for (out, values) in out.chunks_mut(RUN).zip(values.chunks(RUN)) {
            for ((v, place), inside) in values.iter().zip(&mut places).zip(&mut insides) {
                // NaN becomes `low`
                let v = if *v > low { *v } else { low };
                // positive numbers are ordered like their bits
                let bits = if v < high { v } else { high }.to_bits().wrapping_sub(first);
                *place = bits >> (shift & 31);
                *inside = (bits << ((32 - shift) & 31)) >> 8;
            }
            for place in places.iter_mut().take(values.len()) {
                // never out of range; the modulus removes the bounds check
                *place = cells.get(*place as usize % CELLS).copied().unwrap_or(0);
            }
            for ((out, cell), inside) in out.iter_mut().zip(&places).zip(&insides) {
                let [byte, ..] = cell.wrapping_add(*inside).to_be_bytes();
                *out = byte ^ flip;
            }
        }
    }
}

impl ByteCells {
    /// Cells with at most one edge each; `None` if that takes too many.
    fn of(steps: &[Step]) -> Option<ByteCells> {
        let rising = Rising::of(steps);
        let range = rising.range()?;
        (5..=12).find_map(|fine| ByteCells::with_resolution(&rising, range, fine))
    }

    /// Cells between these two numbers, 2^`fine` per octave; `None` if there are too many, or one has more than one
    /// edge.
    fn with_resolution(rising: &Rising, (first, last): (u32, u32), fine: u32) -> Option<ByteCells> {
        let shift = MANTISSA - fine;
        if (last - first) as usize >> shift >= CELLS {
            return None;
        }
        let starts: Vec<u32> = (first..=last).step_by(1 << shift).collect();
        let ends: Vec<u32> = starts.iter().map(|start| start + (1 << shift) - 1).collect();
        let (below, above) = (rising.bytes(&starts), rising.bytes(&ends));
        let steps = |(below, above): (&u8, &u8)| above.checked_sub(*below).is_some_and(|step| step <= 1);
        if !below.iter().zip(&above).all(steps) {
            return None;
        }
        let edges = rising.edges(&starts, &below, shift);
        let cell = |((start, edge), below): ((&u32, &u32), &u8)| {
            (u32::from(*below) << 24) + (((1 << shift) - (edge - start)) << (24 - shift))
        };
        let known = starts.iter().zip(&edges).zip(&below).map(cell);
        let mut cells = Box::new([0; CELLS]);
        for (place, known) in cells.iter_mut().zip(known) {
            *place = known;
        }
        Some(ByteCells {
            first,
            last,
            shift,
            cells,
            flip: rising.flip,
        })
    }
}

/// Evaluates the steps at numbers given by their bits. Steps over single numbers are monotonic; if the bytes fall,
/// they are complemented, so that they rise.
struct Rising<'a> {
    steps: &'a [Step],
    flip: u8,
}

impl<'a> Rising<'a> {
    fn of(steps: &'a [Step]) -> Rising<'a> {
        let plain = Rising { steps, flip: 0 };
        let falls = matches!(plain.bytes(&[0, 254 << MANTISSA])[..], [dark, bright] if dark > bright);
        let flip = if falls { u8::MAX } else { 0 };
        Rising { steps, flip }
    }

    fn bytes(&self, bits: &[u32]) -> Vec<u8> {
        let mut values: Vec<f32> = bits.iter().copied().map(f32::from_bits).collect();
        for step in self.steps {
            step.apply(&mut values);
        }
        let mut out = vec![0; values.len()];
        tone::bytes(&values, &mut out);
        out.iter_mut().for_each(|byte| *byte ^= self.flip);
        out
    }

    /// The powers of two below and above which the byte is constant.
    fn range(&self) -> Option<(u32, u32)> {
        let octaves: Vec<u32> = (1..=254).map(|exponent| exponent << MANTISSA).collect();
        let by_octave = self.bytes(&octaves);
        let (dark, bright) = (*self.bytes(&[0]).first()?, *by_octave.last()?);
        let low = by_octave
            .iter()
            .position(|byte| *byte != dark)
            .unwrap_or(by_octave.len())
            .checked_sub(1)?;
        let high = by_octave
            .iter()
            .rposition(|byte| *byte != bright)
            .map_or(0, |last| last + 1)
            .max(low);
        Some((*octaves.get(low)?, *octaves.get(high)?))
    }

    /// For each cell of 2^`shift` numbers, the first number whose byte differs from that of the cell's start; found
    /// by bisection.
    fn edges(&self, starts: &[u32], below: &[u8], shift: u32) -> Vec<u32> {
        let mut under = starts.to_vec();
        let mut over: Vec<u32> = starts.iter().map(|start| start + (1 << shift)).collect();
        for _ in 0..=shift {
            let middle: Vec<u32> = under.iter().zip(&over).map(|(a, b)| a + (b - a) / 2).collect();
            let found = self.bytes(&middle);
            let sides = under.iter_mut().zip(&mut over).zip(below);
            for ((middle, found), ((under, over), below)) in middle.iter().zip(found).zip(sides) {
                *(if found == *below { under } else { over }) = *middle;
            }
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Num;

    fn num(value: f64) -> Num {
        Num::new(value).unwrap()
    }

    /// The bytes of numbers, computed by the steps and by the cells.
    fn both(steps: &[Step], values: &[f32]) -> Option<(Vec<u8>, Vec<u8>)> {
        let curve = ByteCurve {
            cells: Arc::new(ByteCells::of(steps)?),
            steps: steps.len(),
        };
        let (mut wanted, mut found) = (vec![0; values.len()], vec![0; values.len()]);
        curve.bytes(values, &mut found);
        let mut values = values.to_vec();
        steps.iter().for_each(|step| step.apply(&mut values));
        tone::bytes(&values, &mut wanted);
        Some((wanted, found))
    }

    #[test]
    fn cells_give_the_same_bytes_as_the_steps() {
        let mut values: Vec<f32> = (0..200_000u32).map(|n| n as f32 / 131_070.0 - 0.25).collect();
        values.extend((0..4_000u32).map(|n| 2f32.powf(n as f32 / 20.0 - 120.0)));
        values.extend([
            0.0,
            -0.0,
            -1e9,
            1e9,
            1e-30,
            f32::NAN,
            f32::INFINITY,
            f32::MIN,
            f32::MAX,
        ]);
        let powers = [0.3, 0.4545, 0.9, 1.0, 2.2, 5.0, 10.0].map(|g| Step::Power(num(g)));
        for curve in powers.into_iter().chain([Step::Logarithm]) {
            for rest in [
                vec![],
                vec![Step::Invert],
                vec![Step::Invert, Step::Scale(num(1.2))],
                vec![Step::Scale(num(0.1))],
                vec![Step::Scale(num(0.0))],
                vec![Step::Scale(num(-3.0)), Step::Invert],
            ] {
                let steps = [vec![curve.clone()], rest].concat();
                let (wanted, found) = both(&steps, &values).unwrap_or_else(|| panic!("{steps:?}"));
                assert!(wanted == found, "{steps:?}");
            }
        }
    }

    #[test]
    fn steep_curves_have_no_cells() {
        for steps in [[Step::Power(num(0.001))], [Step::Power(num(1000.0))]] {
            assert!(ByteCells::of(&steps).is_none(), "{steps:?}");
        }
        let steep = [Step::Logarithm, Step::Scale(num(1e6))];
        assert!(both(&steep, &[0.0, 1e-3]).is_none_or(|(wanted, found)| wanted == found));
    }
}
