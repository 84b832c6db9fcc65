//! Lookup tables by sample value, for chains without steps that mix channels.
//!
//! The steps themselves compute the tables, so the result is the same either way. Tables for 16 bits are cached.

use crate::process::flow::Ends;
use crate::process::flow::Flow;
use crate::process::flow::layout;
use crate::process::step::Reach;
use crate::process::step::Step;
use crate::process::table_cache::TableCache;
use crate::process::table_cache::WORTH;
use crate::raster::Picture;
use crate::raster::Raster;
use crate::raster::Samples;
use std::sync::Arc;

static BY_SAMPLE: TableCache<ByteTables> = TableCache::new();

/// For each output channel of the steps, the byte of every sample value.
type ByteTables = Vec<Arc<[u8]>>;

/// A byte for every sample value.
pub struct Tables {
    /// For each output channel, the input channel and its table; alpha is the last.
    channels: Vec<(usize, Arc<[u8]>)>,
}

impl Tables {
    /// Tables for all outputs, if the sample type is small enough for tables and the samples are many enough to
    /// justify them.
    pub fn of(flow: &Flow, samples: u64) -> Option<Tables> {
        let by_channel = |step: &Step| matches!(step.reach(), Reach::Number | Reach::Channel);
        if flow.divide || !flow.steps.iter().all(by_channel) {
            return None;
        }
        let found = |steps: &[Step], ends: Ends| -> Option<ByteTables> {
            let made = |ramp: Samples| -> ByteTables {
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
        let mut channels = Vec::new();
        let mut last: Option<(Ends, ByteTables)> = None;
        for (channel, ends) in &flow.wanted {
            let planes = match &last {
                Some((same, planes)) if same == ends => planes.clone(),
                _ => found(flow.steps, *ends)?,
            };
            channels.extend(planes.iter().map(|table| (*channel, table.clone())));
            last = Some((*ends, planes));
        }
        channels.truncate(if channels.len() < 3 { 1 } else { 3 });
        if let Some((channel, ends)) = flow.alpha {
            if let [grey] = &channels[..] {
                channels = vec![grey.clone(); 3];
            }
            let table = found(&[], ends)?.into_iter().next()?;
            channels.push((channel, table));
        }
        Some(Tables { channels })
    }

    /// Applies the tables to the samples that they were built for.
    pub fn picture(&self, raster: &Raster) -> Picture {
        let channels = usize::from(raster.channels);
        let data = match &raster.samples {
            Samples::U8(v) => self.look_up::<u8, 256>(v, channels),
            Samples::U16(v) => self.look_up::<u16, 65536>(v, channels),
            Samples::U32(_) | Samples::F32(_) => Vec::new(),
        };
        Picture {
            size: raster.size,
            layout: layout(self.channels.len()),
            data,
        }
    }

    /// `N` is the number of values of a sample.
    fn look_up<T: Copy + Into<usize>, const N: usize>(&self, samples: &[T], channels: usize) -> Vec<u8> {
        let mut tables = [(0, &[0; N]); 4];
        for (slot, (channel, table)) in tables.iter_mut().zip(&self.channels) {
            if let Ok(table) = (&**table).try_into() {
                *slot = (*channel, table);
            }
        }
        let [first, second, third, alpha] = tables;
        // the same table for every sample
        let own = |(place, (channel, table)): (usize, &(usize, Arc<[u8]>))| {
            place == *channel && std::ptr::eq(&raw const **table, first.1)
        };
        if self.channels.len() == channels && self.channels.iter().enumerate().all(own) {
            let byte = |v: &T| first.1.get((*v).into()).copied().unwrap_or(0);
            return samples.iter().map(byte).collect();
        }
        match self.channels.len() {
            1 => gather(samples, channels, [first]),
            3 => gather(samples, channels, [first, second, third]),
            _ => gather(samples, channels, [first, second, third, alpha]),
        }
    }
}

/// Builds byte pixels from pixels of `channels` samples; each output byte comes from the given channel and table.
fn gather<T: Copy + Into<usize>, const N: usize, const C: usize>(
    samples: &[T],
    channels: usize,
    tables: [(usize, &[u8; N]); C],
) -> Vec<u8> {
    let pixels = samples.chunks_exact(channels);
    let byte = |pixel: &[T], (channel, table): (usize, &[u8; N])| {
        let v = pixel.get(channel).and_then(|v| table.get((*v).into()));
        v.copied().unwrap_or(0)
    };
    pixels
        .map(|pixel| tables.map(|table| byte(pixel, table)))
        .collect::<Vec<[u8; C]>>()
        .into_flattened()
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

    #[test]
    fn tables_give_the_same_bytes_as_the_steps() {
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
}
