//! The order of all steps over pixels, in one function.
//!
//! The order is that of iipsrv-requests(7): changes to samples ([`Treatment::chain`](crate::plan::Treatment::chain)),
//! unpremultiply alpha, hide, resize or place, drop channels that the format cannot hold, grey, binary, rotate.
//! `resolve` appends the watermark when the size of the answer is known.

use crate::encode::Output;
use crate::geometry::Num;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::plan::Adjust;
use crate::plan::PlanLimits;
use crate::plan::Tone;
use crate::process::Chain;
use crate::process::Op;
use crate::process::rotate;
use crate::raster::Alpha;
use crate::raster::Colour;
use crate::source::Header;

/// The steps for an answer in the format `output`; `sizing` resizes the window to `size`.
pub fn steps(
    header: &Header,
    (sizing, size): (Option<Op>, Size),
    adjust: &Adjust,
    (chain, kept): (Option<Chain>, Option<Rect>),
    output: Output,
    limits: &PlanLimits,
) -> Vec<Op> {
    let grey = match chain.as_ref().and_then(Chain::colours) {
        Some(colours) => colours == 1,
        None => header.meaning.colour == Colour::Grey,
    };
    // a chain divides by alpha as its first step
    let straighten = header.meaning.alpha == Alpha::Premultiplied && chain.is_none();
    let mut ops = vec![chain.map_or(Op::Eight, Op::Chain)];
    ops.extend(straighten.then_some(Op::Straighten));
    let beyond = (!output.coder().alpha).then_some(limits.background);
    ops.extend(kept.map(|rect| Op::Keep {
        rect,
        background: beyond,
    }));
    ops.extend(sizing);
    if header.meaning.alpha != Alpha::None && !output.coder().alpha {
        ops.push(Op::Flatten(limits.background));
    }
    match adjust.tone {
        Tone::Grey if !grey => ops.push(Op::Grey),
        Tone::Bitonal => ops.push(Op::Bitonal),
        Tone::Grey | Tone::Native => {}
    }
    if adjust.equalise {
        ops.push(Op::Equalise);
    }
    let quarters = quarters(adjust.degrees);
    if adjust.mirror || quarters.is_some_and(|n| n > 0) {
        ops.push(Op::Turn {
            mirror: adjust.mirror,
            quarters: quarters.unwrap_or(0),
        });
    }
    if quarters.is_none() {
        ops.push(Op::Rotate {
            degrees: adjust.degrees,
            to: rotate::around(size, adjust.degrees),
            background: beyond,
        });
    }
    ops
}

/// Number of clockwise quarter turns, 0–3; `None` for other angles.
pub fn quarters(degrees: Num) -> Option<u8> {
    [0.0, 90.0, 180.0, 270.0]
        .iter()
        .position(|&right| right == degrees.value())
        .and_then(|n| u8::try_from(n).ok())
}
