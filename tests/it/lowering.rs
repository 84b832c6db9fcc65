//! The four names of a stored tile resolve to one plan, and tiles have the sizes that clients expect.

use iipsrv::geometry::Rect;
use iipsrv::geometry::Size;
use iipsrv::plan::Plan;
use iipsrv::plan::PlanLimits;
use iipsrv::plan::Region;
use iipsrv::plan::Scale;
use iipsrv::plan::TileName;
use iipsrv::plan::View;
use iipsrv::plan::deepzoom_top;
use iipsrv::plan::zoomify_sizes;
use iipsrv::raster::Format;
use iipsrv::source::Header;
use iipsrv::source::Level;
use iipsrv::source::Source;
use iipsrv::source::synthetic::Synthetic;
use iipsrv::source::synthetic::sample;
use proptest::prelude::*;

/// A pyramid whose levels are rounded up or down, down to one tile.
fn pyramid(full: Size, tile: u32, up: bool) -> Synthetic {
    let tile = Size::new(tile, tile);
    let mut levels = vec![Level::tiled(full, tile)];
    for shift in 1..32 {
        let last = levels.last().unwrap().size;
        if last.w <= tile.w && last.h <= tile.h {
            break;
        }
        let down = Size::new((full.w >> shift).max(1), (full.h >> shift).max(1));
        levels.push(Level::tiled(if up { full.halved_up(shift) } else { down }, tile));
    }
    Synthetic::new(levels, 3, sample)
}

fn resolve(view: View, header: &Header) -> Plan {
    view.resolve(header, &PlanLimits::default()).unwrap()
}

fn region(rect: Rect, size: Size) -> View {
    View {
        region: Region::from(rect),
        scale: Scale::Exact(size),
        ..View::full(Format::Jpeg)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_stored_tile_has_one_plan_under_every_name(w in 1u32..5000, h in 1u32..5000, tile in prop::sample::select(vec![64u32, 128, 256, 500]), up: bool) {
        let image = pyramid(Size::new(w, h), tile, up);
        let header = image.header();
        let count = header.levels.len() as u32;
        for (index, level) in header.levels.iter().enumerate() {
            let s = index as u32;
            let grid = level.size.grid(level.tile);
            // three corners of the grid and an inner cell
            for (col, row) in [(0, 0), (grid.w - 1, grid.h - 1), (grid.w / 2, grid.h / 2), (0, grid.h - 1)] {
                let iip = TileName::Iip { level: count - 1 - s, index: row * grid.w + col };
                let plan = resolve(View::tile(iip, Format::Jpeg), header);
                prop_assert_eq!(&plan.ops, &[iipsrv::process::Op::Eight]);
                prop_assert!(plan.window.tile(&header.levels).is_some());
                let deep = TileName::DeepZoom { level: deepzoom_top(header.size()) - s, col, row };
                prop_assert_eq!(&resolve(View::tile(deep, Format::Jpeg), header), &plan);
                // levels that round up may be one more than a Zoomify client counts
                if let Some(level) = (zoomify_sizes(header).len() as u32).checked_sub(1 + s) {
                    let zoomify = TileName::Zoomify { level, col, row };
                    prop_assert_eq!(&resolve(View::tile(zoomify, Format::Jpeg), header), &plan);
                }
                let span = |at: u32, side: u32| ((at * tile) << s, (tile << s).min(side - ((at * tile) << s)));
                let ((x, wide), (y, high)) = (span(col, w), span(row, h));
                let cell = plan.window.rect.size();
                let by_region = resolve(region(Rect::new(x, y, wide, high), cell), header);
                // a strip of one or two pixels is the same in two levels: the request is ambiguous
                if cell.w > 2 || cell.h > 2 {
                    prop_assert_eq!(&by_region, &plan);
                }
            }
        }
    }

    #[test]
    fn every_tile_that_a_client_counts_is_planned_at_the_size_it_expects(w in 1u32..3000, h in 1u32..3000, tile in prop::sample::select(vec![64u32, 256]), up: bool) {
        let image = pyramid(Size::new(w, h), tile, up);
        let header = image.header();
        for s in 0..header.levels.len() as u32 {
            let level = header.size().halved_up(s);
            let grid = level.grid(Size::new(tile, tile));
            for (col, row) in [(grid.w - 1, grid.h - 1), (0, grid.h - 1), (grid.w - 1, 0)] {
                let cell = Rect::cell(level, Size::new(tile, tile), col, row).unwrap();
                let span = |at: u32, side: u32| (at << s, (tile << s).min(side - (at << s)));
                let ((x, wide), (y, high)) = (span(cell.x, w), span(cell.y, h));
                let plan = resolve(region(Rect::new(x, y, wide, high), cell.size()), header);
                let planned = plan.ops.iter().fold(plan.window.rect.size(), |size, op| match op {
                    iipsrv::process::Op::Resize { to, .. } | iipsrv::process::Op::Fit(to) => *to,
                    _ => size,
                });
                prop_assert_eq!(planned, cell.size());
            }
        }
    }

    #[test]
    fn every_window_is_inside_its_level(w in 1u32..3000, h in 1u32..3000, x in 0u32..3000, y in 0u32..3000, rw in 1u32..4000, rh in 1u32..4000, ow in 1u32..2000, oh in 1u32..2000) {
        let image = pyramid(Size::new(w, h), 256, false);
        let header = image.header();
        let view = region(Rect::new(x, y, rw, rh), Size::new(ow, oh));
        match view.resolve(header, &PlanLimits::default()) {
            Ok(plan) => {
                let level = header.levels[plan.window.level].size;
                prop_assert!(plan.window.rect.right() <= u64::from(level.w));
                prop_assert!(plan.window.rect.bottom() <= u64::from(level.h));
                prop_assert!(plan.window.rect.w > 0 && plan.window.rect.h > 0);
            }
            Err(_) => prop_assert!(x >= w || y >= h),
        }
    }
}
