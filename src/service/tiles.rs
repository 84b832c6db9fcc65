//! Several tiles in one answer (TIL, IIP 1.0.5 §3.5).

use crate::error::Error;
use crate::error::Result;
use crate::fingerprint;
use crate::library::Opened;
use crate::plan::Key;
use crate::plan::TileName;
use crate::plan::View;
use crate::protocol::iip::TileRange;
use crate::raster::Format;
use crate::service::Service;
use crate::work::Scope;
use futures_util::future::try_join_all;
use std::sync::Arc;

/// The tiles of one answer.
pub(in crate::service) struct Tiles {
    /// 0 is the smallest level.
    resolution: u32,
    /// Index of the tile, and what makes it.
    pub tiles: Vec<(u32, Key)>,
    pub etag: String,
}

impl Service {
    /// The tiles of a range, in column-major order.
    pub(in crate::service) fn tiles(&self, opened: &Opened, range: &TileRange) -> Result<Tiles> {
        let header = opened.source.header();
        let outside = || Error::Outside(format!("the image has no tiles {}-{}", range.first, range.last));
        let index = header.from_smallest(range.resolution).ok_or_else(outside)?;
        let level = header.levels.get(index).ok_or_else(outside)?;
        let columns = level.size.grid(level.tile).w.max(1);
        let (first_col, last_col) = (range.first % columns, range.last % columns);
        let (first_row, last_row) = (range.first / columns, range.last / columns);
        if last_col < first_col || last_row < first_row {
            return Err(outside());
        }
        let count = u64::from(last_col - first_col + 1) * u64::from(last_row - first_row + 1);
        let limits = self.limits.now();
        if count.saturating_mul(level.tile.area()) > limits.max_area() {
            return Err(Error::TooLarge(format!(
                "{count} tiles are too many for one answer"
            )));
        }
        let mut tiles = Vec::new();
        for col in first_col..=last_col {
            for row in first_row..=last_row {
                let index = row * columns + col;
                let name = TileName::Iip {
                    level: range.resolution,
                    index,
                };
                let view = View {
                    quality: range.quality,
                    adjust: range.adjust.clone(),
                    ..View::tile(name, Format::Jpeg)
                };
                let plan = view.resolve(header, &limits)?;
                tiles.push((index, Key::answer(opened.identity.clone(), plan)));
            }
        }
        let prints: Vec<u64> = tiles.iter().map(|(_, key)| key.fingerprint()).collect();
        Ok(Tiles {
            resolution: range.resolution,
            tiles,
            etag: self.etag(fingerprint::of(&prints)),
        })
    }

    /// Concatenates the tiles with their labels.
    pub(in crate::service) async fn labelled(
        &self,
        opened: &Arc<Opened>,
        tiles: &Tiles,
        scope: &Scope,
    ) -> Result<Vec<u8>> {
        let answers = tiles.tiles.iter().map(|(_, key)| self.answer(opened, key, scope));
        let answers = try_join_all(answers).await?;
        let mut body = Vec::new();
        for ((index, _), answer) in tiles.tiles.iter().zip(answers) {
            let tile = answer.bytes;
            body.extend_from_slice(
                format!("Tile,{},{index},0/{}:", tiles.resolution, tile.len() + 8).as_bytes(),
            );
            // compression type 2 (JPEG), subtype: 4:2:0, tables in the stream
            body.extend_from_slice(&[2, 0, 0, 0, 0, 0x11, 0, 0]);
            body.extend_from_slice(&tile);
            body.extend_from_slice(b"\r\n");
        }
        Ok(body)
    }
}
