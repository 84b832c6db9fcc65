//! Colour maps from a value of 0–1 to red, green and blue, measured on iipsrv's output.

/// A colour map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColourMap {
    /// Black, red, yellow, white.
    Hot,
    /// Black, blue, cyan, white.
    Cold,
    /// Dark blue, blue, cyan, yellow, red, dark red.
    Jet,
    /// Black to red.
    Red,
    /// Black to green.
    Green,
    /// Black to blue.
    Blue,
}

impl ColourMap {
    /// The map with this name, case-insensitive.
    pub fn named(name: &str) -> Option<ColourMap> {
        let all = [
            ("hot", ColourMap::Hot),
            ("cold", ColourMap::Cold),
            ("jet", ColourMap::Jet),
            ("red", ColourMap::Red),
            ("green", ColourMap::Green),
            ("blue", ColourMap::Blue),
        ];
        all.iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, map)| *map)
    }

    /// Maps each value, 0–1, to red, green and blue. Values outside 0–1 are clamped; NaN counts as 0.
    pub fn paint(self, values: &[f32], [red, green, blue]: [&mut [f32]; 3]) {
        match self {
            ColourMap::Hot => {
                curve(values, red, |v| 3.0 * v);
                curve(values, green, |v| 3.0 * v - 1.0);
                curve(values, blue, |v| 3.0 * v - 2.0);
            }
            ColourMap::Cold => {
                curve(values, red, |v| 3.0 * v - 2.0);
                curve(values, green, |v| 3.0 * v - 1.0);
                curve(values, blue, |v| 3.0 * v);
            }
            ColourMap::Jet => {
                curve(values, red, |v| 1.5 - (4.0 * v - 3.0).abs());
                curve(values, green, |v| 1.5 - (4.0 * v - 2.0).abs());
                curve(values, blue, |v| 1.5 - (4.0 * v - 1.0).abs());
            }
            ColourMap::Red => only(values, red, [green, blue]),
            ColourMap::Green => only(values, green, [red, blue]),
            ColourMap::Blue => only(values, blue, [red, green]),
        }
    }
}

/// One output channel for many values.
#[expect(clippy::manual_clamp, reason = "of NaN, clamp makes NaN")]
#[inline]
fn curve(values: &[f32], out: &mut [f32], function: impl Fn(f32) -> f32) {
    for (out, v) in out.iter_mut().zip(values) {
        *out = function(v.max(0.0).min(1.0)).max(0.0).min(1.0);
    }
}

/// Fills one channel and clears the others.
fn only(values: &[f32], colour: &mut [f32], others: [&mut [f32]; 2]) {
    curve(values, colour, |v| v);
    others.into_iter().for_each(|other| other.fill(0.0));
}
