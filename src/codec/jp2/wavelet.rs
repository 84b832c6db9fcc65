//! The inverse wavelet transforms over a window (ITU-T T.800 Annex F): 5/3 in integers, 9/7 in floating point.
//!
//! One step computes a resolution from the smaller one and its three bands. A window that ends inside the image must
//! be wider by [`Number::REACH`] samples than the part that is used: at its edges, the signal is extended as at the
//! image's.

use crate::codec::jp2::coefficients::Coefficients;
use crate::codec::jp2::grid::Area;
use crate::codec::jp2::grid::halved;
use crate::codec::jp2::plane::Number;
use crate::codec::jp2::plane::Plane;

/// Lifts samples of one parity by their neighbours of the other one; beyond the ends, the signal is mirrored. `own`
/// begins before `other` if `first`, else after it.
#[inline(always)]
fn lift<T: Copy>(own: &mut [T], other: &[T], first: bool, lift: impl Fn(T, T, T) -> T) {
    let (Some(&start), Some(&end)) = (other.first(), other.last()) else {
        return;
    };
    let own = match own.split_first_mut() {
        Some((own, rest)) if first => {
            *own = lift(*own, start, start);
            rest
        }
        Some(_) => own,
        None => return,
    };
    let following = other.get(1..).unwrap_or_default();
    for ((own, before), after) in own.iter_mut().zip(other).zip(following) {
        *own = lift(*own, *before, *after);
    }
    if let Some(own) = own.get_mut(following.len()) {
        *own = lift(*own, end, end);
    }
}

/// Applies the column steps that are possible once row `newest` of `data` is there; rows have `width` samples, and
/// the first is a high one if `odd`. Each step is one row behind the one before, so rows are still in the cache.
/// Beyond the ends the signal is mirrored; the last rows are finished when `newest` is [`Number::STEPS`] beyond them.
#[inline(always)]
fn settle<T: Number>(data: &mut [T], width: usize, newest: usize, odd: bool) {
    for step in 0..T::STEPS {
        let Some(y) = newest.checked_sub(1 + step) else {
            return;
        };
        if (y + step + usize::from(odd)) % 2 == 1 || (y + 1) * width > data.len() {
            continue;
        }
        let (above, rest) = data.split_at_mut(y * width);
        let (own, below) = rest.split_at_mut(width);
        let before = above.len().checked_sub(width).and_then(|at| above.get(at..));
        let after = below.get(..width);
        if let (Some(before), Some(after)) = (before.or(after), after.or(before)) {
            T::lift(step, own, before, after);
        }
    }
}

/// Changes every sample of a row by those above and below.
#[inline(always)]
fn each<T: Copy>(own: &mut [T], before: &[T], after: &[T], lift: impl Fn(T, T, T) -> T) {
    for ((own, before), after) in own.iter_mut().zip(before).zip(after) {
        *own = lift(*own, *before, *after);
    }
}

impl Number for i32 {
    const REACH: u32 = 2;

    #[inline(always)]
    fn line(low: &mut [i32], high: &mut [i32], odd: bool) {
        if let ([], [only]) = (&low, &mut *high) {
            *only >>= 1;
            return;
        }
        lift(low, high, !odd, reversible_even);
        lift(high, low, odd, reversible_odd);
    }

    const STEPS: usize = 2;

    fn scale(_: &mut [i32], _: bool) {}

    #[inline(always)]
    fn lift(step: usize, own: &mut [i32], before: &[i32], after: &[i32]) {
        match step {
            0 => each(own, before, after, reversible_even),
            _ => each(own, before, after, reversible_odd),
        }
    }

    fn alone(row: &mut [i32], odd: bool) {
        row.iter_mut().for_each(|only| *only >>= u32::from(odd));
    }

    #[inline(always)]
    fn coefficient(value: i32, _: f32) -> i32 {
        // towards zero
        value / 2
    }
}

fn reversible_even(own: i32, before: i32, after: i32) -> i32 {
    own.wrapping_sub(before.wrapping_add(after).wrapping_add(2) >> 2)
}

fn reversible_odd(own: i32, before: i32, after: i32) -> i32 {
    own.wrapping_add(before.wrapping_add(after) >> 1)
}

/// Table F.4.
const ALPHA: f32 = -1.586_134_3;
const BETA: f32 = -0.052_980_12;
const GAMMA: f32 = 0.882_911_1;
const DELTA: f32 = 0.443_506_85;
const K: f32 = 1.230_174_1;

impl Number for f32 {
    const REACH: u32 = 4;

    #[inline(always)]
    fn line(low: &mut [f32], high: &mut [f32], odd: bool) {
        match (&mut *low, &mut *high) {
            ([], [only]) => *only *= 0.5,
            ([_], []) => {}
            _ => {
                low.iter_mut().for_each(|value| *value *= K);
                high.iter_mut().for_each(|value| *value *= 1.0 / K);
                let by = |factor: f32| move |own, before, after| own - factor * (before + after);
                lift(low, high, !odd, by(DELTA));
                lift(high, low, odd, by(GAMMA));
                lift(low, high, !odd, by(BETA));
                lift(high, low, odd, by(ALPHA));
            }
        }
    }

    const STEPS: usize = 4;

    #[inline(always)]
    fn scale(row: &mut [f32], low: bool) {
        let factor = if low { K } else { 1.0 / K };
        row.iter_mut().for_each(|value| *value *= factor);
    }

    #[inline(always)]
    fn lift(step: usize, own: &mut [f32], before: &[f32], after: &[f32]) {
        let factor = [DELTA, GAMMA, BETA, ALPHA].get(step).copied().unwrap_or(0.0);
        each(own, before, after, |own, before, after| {
            own - factor * (before + after)
        });
    }

    fn alone(row: &mut [f32], odd: bool) {
        let factor = if odd { 0.5 } else { 1.0 };
        row.iter_mut().for_each(|only| *only *= factor);
    }

    #[inline(always)]
    #[expect(
        clippy::cast_precision_loss,
        reason = "24 bits are enough for what was quantised"
    )]
    fn coefficient(value: i32, step: f32) -> f32 {
        value as f32 * (0.5 * step)
    }
}

/// The area that each band must cover to compute `area` of the next resolution: low and high, horizontally and
/// vertically.
pub fn bands(area: Area) -> [Area; 4] {
    let low = |v: u32| halved(v, 1);
    let high = |v: u32| v / 2;
    [
        area.map(low, low),
        area.map(high, low),
        area.map(low, high),
        area.map(high, high),
    ]
}

/// Computes a resolution from the smaller one and its three bands (HL, LH, HH), which cover at least the result of
/// [`bands`] for `area`.
#[multiversion::multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+lzcnt+popcnt"))]
pub fn combine<T: Number>(area: Area, ll: &Plane<T>, [hl, lh, hh]: [&Coefficients; 3]) -> Plane<T> {
    let width = area.w() as usize;
    if width == 0 {
        return Plane::new(area);
    }
    let mut data = Vec::with_capacity(area.len());
    let mut row = vec![T::default(); width];
    let (across, down) = (area.x0 % 2 == 1, area.y0 % 2 == 1);
    let mut lows = vec![T::default(); (halved(area.x1, 1) - halved(area.x0, 1)) as usize];
    let mut highs = vec![T::default(); (area.x1 / 2 - area.x0 / 2) as usize];
    for (newest, y) in (area.y0..area.y1).enumerate() {
        // odd rows come from the high bands, whose rows are numbered y / 2 as well
        let low = y % 2 == 0;
        if low {
            let from = ll.row(y / 2, halved(area.x0, 1));
            lows.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        } else {
            lh.row(y / 2, halved(area.x0, 1), &mut lows);
        }
        let high = if low { hl } else { hh };
        high.row(y / 2, area.x0 / 2, &mut highs);
        T::line(&mut lows, &mut highs, across);
        let (first, second) = if across { (&highs, &lows) } else { (&lows, &highs) };
        let pairs = row.as_chunks_mut().0.iter_mut();
        for ([a, b], (first, second)) in pairs.zip(first.iter().zip(second)) {
            (*a, *b) = (*first, *second);
        }
        if let (true, Some(to), Some(from)) = (width % 2 == 1, row.last_mut(), first.last()) {
            *to = *from;
        }
        if area.h() == 1 {
            T::alone(&mut row, down);
        } else {
            T::scale(&mut row, low);
        }
        data.extend_from_slice(&row);
        settle(&mut data, width, newest, down);
    }
    let height = area.h() as usize;
    for newest in height..height + T::STEPS {
        settle(&mut data, width, newest, down);
    }
    Plane { area, data }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The forward 5/3 transform of a line (F.4.8), written from its formula.
    fn forward(line: &[i32], odd: bool) -> Vec<i32> {
        if line.len() == 1 {
            return line.iter().map(|v| if odd { v * 2 } else { *v }).collect();
        }
        let len = line.len() as i64;
        let at = |i: i64| {
            let mut i = i.abs();
            if i >= len {
                i = 2 * (len - 1) - i;
            }
            usize::try_from(i).unwrap()
        };
        let mut out = line.to_vec();
        let parity = i64::from(odd);
        for i in (0..len).filter(|i| (i + parity) % 2 == 1) {
            out[at(i)] = line[at(i)] - ((line[at(i - 1)] + line[at(i + 1)]) >> 1);
        }
        for i in (0..len).filter(|i| (i + parity) % 2 == 0) {
            out[at(i)] = line[at(i)] + ((out[at(i - 1)] + out[at(i + 1)] + 2) >> 2);
        }
        out
    }

    /// A line with interleaved samples.
    fn inverse<T: Number>(line: &mut [T], odd: bool) {
        let (low, high) = (usize::from(odd), usize::from(!odd));
        let mut lows: Vec<T> = line.iter().skip(low).step_by(2).copied().collect();
        let mut highs: Vec<T> = line.iter().skip(high).step_by(2).copied().collect();
        T::line(&mut lows, &mut highs, odd);
        (line.iter_mut().skip(low).step_by(2).zip(lows)).for_each(|(to, from)| *to = from);
        (line.iter_mut().skip(high).step_by(2).zip(highs)).for_each(|(to, from)| *to = from);
    }

    #[test]
    fn the_inverse_undoes_the_transform_at_every_length_and_parity() {
        for len in 1..40usize {
            for odd in [false, true] {
                let line: Vec<i32> = (0..len).map(|i| (i * i * 7 % 301) as i32 - 90).collect();
                let mut back = forward(&line, odd);
                inverse(&mut back, odd);
                assert_eq!(back, line, "{len} {odd}");
                let mut column = forward(&line, odd);
                if len == 1 {
                    i32::alone(&mut column, odd);
                }
                (0..len + i32::STEPS).for_each(|newest| settle(&mut column, 1, newest, odd));
                assert_eq!(column, line, "{len} {odd}");
            }
        }
    }

    #[test]
    fn a_constant_survives_the_irreversible_transform() {
        for len in 2..40 {
            for odd in [false, true] {
                // low samples are constant, high ones zero: K is the low-pass filter's gain at zero
                let mut line: Vec<f32> = (0..len)
                    .map(|i| {
                        if (i + usize::from(odd)) % 2 == 0 {
                            100.0
                        } else {
                            0.0
                        }
                    })
                    .collect();
                inverse(&mut line, odd);
                for value in &line {
                    assert!((value - 100.0).abs() < 0.01, "{len} {odd} {line:?}");
                }
            }
        }
    }

    #[test]
    fn a_window_with_its_reach_gives_what_the_whole_gives() {
        fn check<T: Number + PartialEq + std::fmt::Debug>() {
            let whole = Area {
                x0: 3,
                y0: 6,
                x1: 61,
                y1: 50,
            };
            let made = |area: Area| {
                let mut steps = [1.0, 1.0, 0.5, 0.25].into_iter();
                let [ll, hl, lh, hh] = bands(area).map(|band| {
                    let coefficients = Coefficients::new(band, (10, 10), steps.next().unwrap());
                    let mut plane = Plane::<i32>::new(band);
                    let spots = (band.y0..band.y1).flat_map(|y| (band.x0..band.x1).map(move |x| (x, y)));
                    for (to, (x, y)) in plane.data.iter_mut().zip(spots) {
                        *to = ((x * 31 + y * 17) % 97) as i32 * 2 - 80;
                    }
                    coefficients.put(plane);
                    coefficients
                });
                combine::<T>(area, &ll.plane(ll.area), [&hl, &lh, &hh])
            };
            let full = made(whole);
            let part = Area {
                x0: 20,
                y0: 21,
                x1: 33,
                y1: 30,
            };
            let wide = part.grown(T::REACH, whole);
            let window = made(wide);
            for y in part.y0..part.y1 {
                let cut = |plane: &Plane<T>| plane.row(y, part.x0)[..part.w() as usize].to_vec();
                assert_eq!(cut(&full), cut(&window), "{y}");
            }
        }
        check::<i32>();
        check::<f32>();
    }
}
