//! Chooses a palette: the colours of a picture, or the 256 that represent them best.
//!
//! Median cut: repeatedly splits the box of colours with the largest spread (P. Heckbert, SIGGRAPH 1982), here at its mean.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Bits per channel of the histogram for pictures with too many colours.
const BITS: u32 = 5;

/// A colour table, and the index of each pixel in it.
pub struct ColourTable {
    /// At most 256 colours, or 255 if a transparent one follows.
    pub colours: Vec<[u8; 3]>,
    /// The index of the transparent colour.
    pub transparent: Option<u8>,
    places: Places,
}

enum Places {
    /// An index for each colour.
    Exact(HashMap<[u8; 3], u8>),
    /// An index for all colours with the same upper bits.
    Near(Vec<u8>),
}

impl ColourTable {
    /// Builds the table for pixels; `None` is transparent.
    pub fn of(pixels: &[Option<[u8; 3]>]) -> ColourTable {
        let clear = pixels.contains(&None);
        let most = if clear { 255 } else { 256 };
        let (colours, places) = exact(pixels, most).unwrap_or_else(|| near(pixels, most));
        ColourTable {
            transparent: clear.then(|| u8::try_from(colours.len()).unwrap_or(255)),
            colours,
            places,
        }
    }

    /// The index of a pixel.
    pub fn index(&self, pixel: Option<[u8; 3]>) -> u8 {
        let found = pixel.map(|colour| match &self.places {
            Places::Exact(places) => places.get(&colour).copied().unwrap_or(0),
            Places::Near(places) => places.get(cell(colour)).copied().unwrap_or(0),
        });
        found.or(self.transparent).unwrap_or(0)
    }
}

/// All colours in the order of their first pixels; `None` if there are more than `most`.
fn exact(pixels: &[Option<[u8; 3]>], most: usize) -> Option<(Vec<[u8; 3]>, Places)> {
    let mut colours = Vec::new();
    let mut places = HashMap::new();
    let mut last = None;
    for &colour in pixels.iter().flatten() {
        // most pixels equal their neighbour
        if last == Some(colour) {
            continue;
        }
        last = Some(colour);
        if let Entry::Vacant(place) = places.entry(colour) {
            if colours.len() == most {
                return None;
            }
            place.insert(u8::try_from(colours.len()).unwrap_or(255));
            colours.push(colour);
        }
    }
    Some((colours, Places::Exact(places)))
}

/// The histogram cell of a colour, of `1 << 3 * BITS`.
fn cell(colour: [u8; 3]) -> usize {
    colour
        .iter()
        .fold(0, |cell, &v| cell << BITS | usize::from(v) >> (8 - BITS))
}

/// The pixels of a histogram cell.
#[derive(Clone, Copy, Default)]
struct Count {
    cell: usize,
    pixels: u64,
    sums: [u64; 3],
}

impl Count {
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of pixels, and a mean is wanted"
    )]
    fn mean(&self) -> [f64; 3] {
        self.sums.map(|sum| sum as f64 / self.pixels.max(1) as f64)
    }
}

fn near(pixels: &[Option<[u8; 3]>], most: usize) -> (Vec<[u8; 3]>, Places) {
    let mut cells = vec![Count::default(); 1 << (3 * BITS)];
    for &colour in pixels.iter().flatten() {
        let place = cell(colour);
        if let Some(count) = cells.get_mut(place) {
            count.cell = place;
            count.pixels += 1;
            for (sum, v) in count.sums.iter_mut().zip(colour) {
                *sum += u64::from(v);
            }
        }
    }
    cells.retain(|count| count.pixels > 0);
    let mut boxes = vec![ColourBox::of(cells)];
    while boxes.len() < most {
        let worst = boxes
            .iter()
            .enumerate()
            .filter(|(_, group)| group.counts.len() > 1)
            .max_by(|(_, a), (_, b)| a.spread.total_cmp(&b.spread));
        let Some((worst, _)) = worst else {
            break;
        };
        let (low, high) = boxes.swap_remove(worst).cut();
        boxes.extend([low, high]);
    }
    let mut places = vec![0; 1 << (3 * BITS)];
    for (index, group) in (0u8..=255).zip(&boxes) {
        for count in &group.counts {
            if let Some(place) = places.get_mut(count.cell) {
                *place = index;
            }
        }
    }
    (
        boxes.iter().map(ColourBox::colour).collect(),
        Places::Near(places),
    )
}

/// A box of cells that share a colour.
struct ColourBox {
    counts: Vec<Count>,
    mean: [f64; 3],
    /// Sum of squared distances from the mean along the axis on which it is largest.
    spread: f64,
    axis: usize,
}

impl ColourBox {
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of pixels, and a mean is wanted"
    )]
    fn of(counts: Vec<Count>) -> ColourBox {
        let mut total = Count::default();
        for count in &counts {
            total.pixels += count.pixels;
            for (sum, more) in total.sums.iter_mut().zip(count.sums) {
                *sum += more;
            }
        }
        let mean = total.mean();
        let mut spreads = [0.0; 3];
        for count in &counts {
            for ((spread, v), mean) in spreads.iter_mut().zip(count.mean()).zip(mean) {
                *spread += (v - mean).powi(2) * count.pixels as f64;
            }
        }
        let (axis, spread) = (0..)
            .zip(spreads)
            .max_by(|(_, a), (_, b)| a.total_cmp(b))
            .unwrap_or_default();
        ColourBox {
            counts,
            mean,
            spread,
            axis,
        }
    }

    /// Splits the box in two; neither is empty if it has at least two cells.
    fn cut(self) -> (ColourBox, ColourBox) {
        let along = |values: [f64; 3]| values.get(self.axis).copied().unwrap_or(0.0);
        let at = along(self.mean);
        let (mut low, mut high): (Vec<_>, Vec<_>) = self
            .counts
            .into_iter()
            .partition(|count| along(count.mean()) <= at);
        // all cells have the same mean
        if high.is_empty() {
            high.extend(low.pop());
        }
        (ColourBox::of(low), ColourBox::of(high))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a mean of bytes is a byte"
    )]
    fn colour(&self) -> [u8; 3] {
        self.mean.map(|v| v.round() as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_colours_are_kept_and_many_become_256() {
        let few: Vec<_> = (0..=255u8).map(|v| Some([v, 0, 255 - v])).collect();
        let palette = ColourTable::of(&few);
        assert_eq!((palette.colours.len(), palette.transparent), (256, None));
        for &pixel in &few {
            let place = usize::from(palette.index(pixel));
            assert_eq!(Some(palette.colours[place]), pixel);
        }
        let clear: Vec<_> = few.into_iter().chain([None]).collect();
        let palette = ColourTable::of(&clear);
        // 32 cells along one axis
        assert!(palette.colours.len() <= 255 && palette.colours.len() >= 32);
        assert_eq!(usize::from(palette.index(None)), palette.colours.len());
        assert_eq!(ColourTable::of(&[None]).colours.len(), 0);
    }

    #[test]
    fn many_colours_use_the_whole_table() {
        let all: Vec<_> = (0..4096u16)
            .map(|i| Some([i % 16, i / 16 % 16, i / 256].map(|v| u8::try_from(v * 16).unwrap())))
            .collect();
        let palette = ColourTable::of(&all);
        assert_eq!(palette.colours.len(), 256);
        let mut used: Vec<u8> = all.iter().map(|&pixel| palette.index(pixel)).collect();
        used.sort_unstable();
        used.dedup();
        assert_eq!(used.len(), 256);
    }
}
