//! The order of the steps over pixels: one list, in one function.
//!
//! Order as documented for iipsrv: straighten alpha, resize, drop what the format cannot hold, grey, binary, turn.

use crate::plan::Adjust;
use crate::plan::Limits;
use crate::plan::Tone;
use crate::process::Op;
use crate::raster::Alpha;
use crate::raster::Colour;
use crate::raster::Format;
use crate::source::Header;

/// The steps for an answer of `format`; `sizing` is what brings the window to the asked size.
pub fn steps(
    header: &Header,
    sizing: Option<Op>,
    adjust: Adjust,
    format: Format,
    limits: &Limits,
) -> Vec<Op> {
    let mut ops = Vec::new();
    if header.meaning.alpha == Alpha::Premultiplied {
        ops.push(Op::Straighten);
    }
    ops.extend(sizing);
    if header.meaning.alpha != Alpha::None && !holds_alpha(format) {
        ops.push(Op::Flatten(limits.background));
    }
    match adjust.tone {
        Tone::Grey if header.meaning.colour != Colour::Grey => ops.push(Op::Grey),
        Tone::Bitonal => ops.push(Op::Bitonal),
        Tone::Grey | Tone::Native => {}
    }
    if adjust.mirror || !adjust.quarters.is_multiple_of(4) {
        ops.push(Op::Turn {
            mirror: adjust.mirror,
            quarters: adjust.quarters % 4,
        });
    }
    ops
}

const fn holds_alpha(format: Format) -> bool {
    !matches!(format, Format::Jpeg)
}
