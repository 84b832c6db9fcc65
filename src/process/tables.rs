//! Lookup tables for steps over single samples: by the sample, or by the number where earlier steps mix channels.
//!
//! Tables are computed by the steps themselves, so the result is the same either way. The last ones are kept and
//! shared.

use crate::process::chain::Step;
use crate::process::flow::BLOCK;
use crate::process::flow::Ends;
use crate::process::flow::Flow;
use crate::process::flow::layout;
use crate::process::flow::single;
use crate::process::tone;
use crate::raster::Picture;
use crate::raster::Raster;
use crate::raster::Samples;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

/// So many tables of a kind are kept, of 64 KiB each, or three times that for colour maps: at most 6 MiB.
const KEPT: usize = 32;
/// A table is worth making for so many samples, by its entries: the next tile finds it made.
const WORTH: u64 = 4;

/// What tables were made of.
#[derive(Clone, Debug, PartialEq)]
struct Key {
    steps: Vec<Step>,
    /// What becomes 0 and 1 of samples of 16 bits; `None` where numbers are looked up.
    ends: Option<[u64; 2]>,
}

/// What was made last, the latest at the end.
struct Known<T>(Mutex<VecDeque<(Key, T)>>);

static BY_SAMPLE: Known<Planes> = Known(Mutex::new(VecDeque::new()));
static BY_NUMBER: Known<Option<Arc<Cells>>> = Known(Mutex::new(VecDeque::new()));

impl<T: Clone> Known<T> {
    /// What is known; else it is made if that is `worth` it, and whoever comes at the same time does the same.
    fn get(
        &self,
        steps: &[Step],
        ends: Option<[u64; 2]>,
        worth: bool,
        make: impl FnOnce() -> T,
    ) -> Option<T> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = lock();
        let found = known
            .iter()
            .rposition(|(key, _)| key.ends == ends && key.steps == steps);
        if let Some(entry) = found.and_then(|place| known.remove(place)) {
            let made = entry.1.clone();
            known.push_back(entry);
            return Some(made);
        }
        drop(known);
        if !worth {
            return None;
        }
        let made = make();
        let mut known = lock();
        while known.len() >= KEPT {
            known.pop_front();
        }
        let key = Key {
            steps: steps.to_vec(),
            ends,
        };
        known.push_back((key, made.clone()));
        Some(made)
    }
}

/// The bytes of every value that a sample can have, for each channel that steps make of one.
type Planes = Vec<Arc<[u8]>>;

/// A byte for every value that a sample can have.
pub struct Tables {
    /// The channel that is looked up, and where, for every channel of the answer; alpha is the last.
    of: Vec<(usize, Arc<[u8]>)>,
}

impl Tables {
    /// Tables for all outputs, where samples are few enough to be looked up and many enough to be worth it.
    pub fn of(flow: &Flow, samples: u64) -> Option<Tables> {
        let mixes = |step: &Step| matches!(step, Step::Mix(_) | Step::Convolve(_));
        if flow.divide || flow.steps.iter().any(mixes) {
            return None;
        }
        let found = |steps: &[Step], ends: Ends| -> Option<Planes> {
            let made = |ramp: Samples| -> Planes {
                let flow = Flow {
                    steps,
                    samples: &ramp,
                    channels: 1,
                    wanted: vec![(0, ends)],
                    alpha: None,
                    divide: false,
                };
                flow.planes().into_iter().map(Arc::from).collect()
            };
            match flow.samples {
                Samples::U8(_) => Some(made(Samples::U8((0..=u8::MAX).collect()))),
                Samples::U16(_) => {
                    let worth = WORTH * samples >= 1 << 16;
                    BY_SAMPLE.get(steps, Some(ends.bits()), worth, || {
                        made(Samples::U16((0..=u16::MAX).collect()))
                    })
                }
                Samples::U32(_) | Samples::F32(_) => None,
            }
        };
        let mut of = Vec::new();
        let mut last: Option<(Ends, Planes)> = None;
        for (channel, ends) in &flow.wanted {
            let planes = match &last {
                Some((same, planes)) if same == ends => planes.clone(),
                _ => found(flow.steps, *ends)?,
            };
            of.extend(planes.iter().map(|table| (*channel, table.clone())));
            last = Some((*ends, planes));
        }
        of.truncate(if of.len() < 3 { 1 } else { 3 });
        if let Some((channel, ends)) = flow.alpha {
            if let [grey] = &of[..] {
                of = vec![grey.clone(); 3];
            }
            let table = found(&[], ends)?.into_iter().next()?;
            of.push((channel, table));
        }
        Some(Tables { of })
    }

    /// The picture of the samples that the tables are for.
    pub fn picture(&self, raster: &Raster) -> Picture {
        let channels = usize::from(raster.channels);
        let data = match &raster.samples {
            Samples::U8(v) => self.look_up::<u8, 256>(v, channels),
            Samples::U16(v) => self.look_up::<u16, 65536>(v, channels),
            Samples::U32(_) | Samples::F32(_) => Vec::new(),
        };
        Picture {
            size: raster.size,
            layout: layout(self.of.len()),
            data,
        }
    }

    /// `N` is how many values a sample has.
    fn look_up<T: Copy + Into<usize>, const N: usize>(&self, samples: &[T], channels: usize) -> Vec<u8> {
        let mut of = [(0, &[0; N]); 4];
        for (of, (channel, table)) in of.iter_mut().zip(&self.of) {
            if let Ok(table) = (&**table).try_into() {
                *of = (*channel, table);
            }
        }
        let [first, second, third, alpha] = of;
        // every sample alike
        let own = |(place, (channel, table)): (usize, &(usize, Arc<[u8]>))| {
            place == *channel && std::ptr::eq(&raw const **table, first.1)
        };
        if self.of.len() == channels && self.of.iter().enumerate().all(own) {
            let byte = |v: &T| first.1.get((*v).into()).copied().unwrap_or(0);
            return samples.iter().map(byte).collect();
        }
        match self.of.len() {
            1 => gather(samples, channels, [first]),
            3 => gather(samples, channels, [first, second, third]),
            _ => gather(samples, channels, [first, second, third, alpha]),
        }
    }
}

/// Pixels of bytes out of pixels of `channels` samples, each from the channel and the table that it says.
fn gather<T: Copy + Into<usize>, const N: usize, const C: usize>(
    samples: &[T],
    channels: usize,
    of: [(usize, &[u8; N]); C],
) -> Vec<u8> {
    let pixels = samples.chunks_exact(channels);
    let byte = |pixel: &[T], (channel, table): (usize, &[u8; N])| {
        let v = pixel.get(channel).and_then(|v| table.get((*v).into()));
        v.copied().unwrap_or(0)
    };
    pixels
        .map(|pixel| of.map(|of| byte(pixel, of)))
        .collect::<Vec<[u8; C]>>()
        .into_flattened()
}

/// A byte for every number, by a curve and what follows it.
#[derive(Clone)]
pub struct Curve {
    cells: Arc<Cells>,
    steps: usize,
}

/// Cells of a curve at most.
const CELLS: usize = 1 << 14;

/// Numbers by their leading bits: up to its edge a cell is one byte, from there on the next.
struct Cells {
    /// The bits of the first number of the first cell, which is what all below it are taken for.
    first: u32,
    /// The bits of the first number of the last cell, which is what all above it are taken for.
    last: u32,
    /// How many bits of a number are behind those that tell the cell.
    shift: u32,
    /// A byte and, in 24 bits, how far the edge is from the cell's end, of 2^24 for the whole cell.
    cells: Box<[u32; CELLS]>,
    /// 255 where greater numbers have smaller bytes: cells are as if it were otherwise.
    flip: u8,
}

impl Curve {
    /// The curve that steps end in and what follows it, for so many pixels; `None` when they do not, or when that is not
    /// worth it.
    pub fn of(steps: &[Step], pixels: usize) -> Option<Curve> {
        let tail = steps
            .iter()
            .rposition(|step| matches!(step, Step::Mix(_) | Step::Paint(_) | Step::Convolve(_)))
            .map_or(steps, |last| steps.get(last + 1..).unwrap_or_default());
        // what is not above 0 is 0 to these
        if !matches!(tail.first(), Some(Step::Power(_) | Step::Logarithm)) {
            return None;
        }
        let worth = WORTH * pixels as u64 >= CELLS as u64;
        let cells = BY_NUMBER.get(tail, None, worth, || Cells::of(tail).map(Arc::new))??;
        Some(Curve {
            cells,
            steps: tail.len(),
        })
    }

    /// How many steps it stands for.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// The bytes of numbers.
    pub fn bytes(&self, values: &[f32], out: &mut [u8]) {
        let Cells {
            first,
            last,
            shift,
            ref cells,
            flip,
        } = *self.cells;
        let (low, high) = (f32::from_bits(first), f32::from_bits(last));
        let (mut places, mut insides) = ([0; BLOCK], [0; BLOCK]);
        // apart, so that all but the looking up is done to several numbers at a time
        for (out, values) in out.chunks_mut(BLOCK).zip(values.chunks(BLOCK)) {
            for ((v, place), inside) in values.iter().zip(&mut places).zip(&mut insides) {
                // NaN is below all
                let v = if *v > low { *v } else { low };
                // numbers above 0 are in the order of their bits
                let bits = if v < high { v } else { high }.to_bits().wrapping_sub(first);
                *place = bits >> (shift & 31);
                *inside = (bits << ((32 - shift) & 31)) >> 8;
            }
            for place in places.iter_mut().take(values.len()) {
                // there are more cells than that; this way it need not be checked
                *place = cells.get(*place as usize % CELLS).copied().unwrap_or(0);
            }
            for ((out, cell), inside) in out.iter_mut().zip(&places).zip(&insides) {
                let [byte, ..] = cell.wrapping_add(*inside).to_be_bytes();
                *out = byte ^ flip;
            }
        }
    }
}

impl Cells {
    /// Cells of one edge at most each; `None` where that takes too many. Bytes rise or fall with the numbers, as they do
    /// by every step that looks at single ones.
    fn of(steps: &[Step]) -> Option<Cells> {
        /// Bits of a number behind its exponent.
        const MANTISSA: u32 = 23;
        let flip = Cell::new(0);
        let bytes = |bits: &[u32]| -> Vec<u8> {
            let mut values: Vec<f32> = bits.iter().copied().map(f32::from_bits).collect();
            for step in steps {
                single(step, &mut values);
            }
            let mut out = vec![0; values.len()];
            tone::bytes(&values, &mut out);
            out.iter_mut().for_each(|byte| *byte ^= flip.get());
            out
        };
        // powers of two, up to the last number there is, and what all others are
        let octaves: Vec<u32> = (1..=254).map(|exponent| exponent << MANTISSA).collect();
        let whole = bytes(&[0, *octaves.last()?]);
        if let [dark, bright] = whole[..]
            && dark > bright
        {
            flip.set(u8::MAX);
        }
        let of = bytes(&octaves);
        let (dark, bright) = (*bytes(&[0]).first()?, *of.last()?);
        let low = of
            .iter()
            .position(|byte| *byte != dark)
            .unwrap_or(of.len())
            .checked_sub(1)?;
        let high = of
            .iter()
            .rposition(|byte| *byte != bright)
            .map_or(0, |last| last + 1)
            .max(low);
        let (first, last) = (*octaves.get(low)?, *octaves.get(high)?);
        let made = |fine: u32| -> Option<Cells> {
            let shift = MANTISSA - fine;
            if (last - first) as usize >> shift >= CELLS {
                return None;
            }
            let starts: Vec<u32> = (first..=last).step_by(1 << shift).collect();
            let ends: Vec<u32> = starts.iter().map(|start| start + (1 << shift) - 1).collect();
            let (below, above) = (bytes(&starts), bytes(&ends));
            let steps = |(below, above): (&u8, &u8)| above.checked_sub(*below).is_some_and(|step| step <= 1);
            if !below.iter().zip(&above).all(steps) {
                return None;
            }
            // the last number that is as the first of its cell, and the one after it
            let (mut under, mut over) = (starts.clone(), ends);
            over.iter_mut().for_each(|over| *over += 1);
            for _ in 0..=shift {
                let middle: Vec<u32> = under.iter().zip(&over).map(|(a, b)| a + (b - a) / 2).collect();
                let found = bytes(&middle);
                let sides = under.iter_mut().zip(&mut over).zip(&below);
                for ((middle, found), ((under, over), below)) in middle.iter().zip(found).zip(sides) {
                    *(if found == *below { under } else { over }) = *middle;
                }
            }
            let cell = |((start, edge), below): ((&u32, &u32), &u8)| {
                (u32::from(*below) << 24) + (((1 << shift) - (edge - start)) << (24 - shift))
            };
            let mut cells = Box::new([0; CELLS]);
            for (place, known) in cells
                .iter_mut()
                .zip(starts.iter().zip(&over).zip(&below).map(cell))
            {
                *place = known;
            }
            Some(Cells {
                first,
                last,
                shift,
                cells,
                flip: flip.get(),
            })
        };
        (5..=12).find_map(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Num;
    use crate::geometry::Size;
    use crate::process::colourmap::ColourMap;

    fn num(value: f64) -> Num {
        Num::new(value).unwrap()
    }

    /// The bytes of numbers by the steps, and by their cells.
    fn both(steps: &[Step], values: &[f32]) -> Option<(Vec<u8>, Vec<u8>)> {
        let curve = Curve {
            cells: Arc::new(Cells::of(steps)?),
            steps: steps.len(),
        };
        let (mut wanted, mut found) = (vec![0; values.len()], vec![0; values.len()]);
        curve.bytes(values, &mut found);
        let mut values = values.to_vec();
        steps.iter().for_each(|step| single(step, &mut values));
        tone::bytes(&values, &mut wanted);
        Some((wanted, found))
    }

    #[test]
    fn cells_say_what_the_steps_say() {
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
    fn what_is_too_steep_has_no_cells() {
        for steps in [[Step::Power(num(0.001))], [Step::Power(num(1000.0))]] {
            assert!(Cells::of(&steps).is_none(), "{steps:?}");
        }
        let steep = [Step::Logarithm, Step::Scale(num(1e6))];
        assert!(both(&steep, &[0.0, 1e-3]).is_none_or(|(wanted, found)| wanted == found));
    }

    #[test]
    fn tables_say_what_the_steps_say() {
        let all: Vec<u16> = (0..=u16::MAX).flat_map(|v| [v, !v, v / 2, v ^ 0x5555]).collect();
        let size = Size::new(256, 256);
        let bytes: Vec<u8> = all.iter().map(|v| v.to_be_bytes()[0]).collect();
        for samples in [Samples::U16(all), Samples::U8(bytes)] {
            let raster = Raster {
                size,
                channels: 4,
                samples,
            };
            for steps in [
                vec![Step::Power(num(2.2)), Step::Invert],
                vec![Step::Scale(num(1.5))],
                vec![Step::Logarithm, Step::Paint(ColourMap::Jet)],
                vec![],
            ] {
                let top = if matches!(raster.samples, Samples::U8(_)) {
                    255.0
                } else {
                    65535.0
                };
                for (channels, alpha) in [
                    (vec![0], false),
                    (vec![0], true),
                    (vec![0, 1, 2], false),
                    (vec![0, 1, 2], true),
                ] {
                    let painted = steps.iter().any(|step| matches!(step, Step::Paint(_)));
                    if painted && channels.len() > 1 {
                        continue;
                    }
                    let ends =
                        |channel: usize| Ends::of([10.0, 10.0, 200.0, 0.0][channel], top - channel as f64);
                    let flow = Flow {
                        steps: &steps,
                        samples: &raster.samples,
                        channels: 4,
                        wanted: channels
                            .iter()
                            .map(|channel| (*channel, ends(*channel)))
                            .collect(),
                        alpha: alpha.then(|| (3, ends(3))),
                        divide: false,
                    };
                    let tables = Tables::of(&flow, 4 << 16).unwrap();
                    assert!(
                        tables.picture(&raster) == flow.picture(size),
                        "{steps:?} {channels:?} {alpha}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_last_tables_are_kept_and_the_others_go() {
        let known: Known<usize> = Known(Mutex::new(VecDeque::new()));
        let steps = |n: usize| vec![Step::Scale(num(n as f64))];
        assert_eq!(known.get(&steps(0), None, false, || 0), None);
        for n in 0..2 * KEPT {
            assert_eq!(known.get(&steps(n), None, true, || n), Some(n));
            // used all the time, it stays
            assert_eq!(known.get(&steps(0), None, false, || 9), Some(0));
        }
        assert_eq!(known.0.lock().unwrap().len(), KEPT);
        assert_eq!(known.get(&steps(1), None, false, || 9), None);
        assert_eq!(known.get(&steps(0), Some([1, 2]), false, || 9), None);
    }
}
