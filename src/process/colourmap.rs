//! Colour maps: one value from 0 to 1 to red, green and blue. The maps are those of iipsrv, by what it draws.

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
    /// The map with this name, in any case.
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

    /// Red, green and blue of many values, each 0–1. Values outside 0–1 have the colour of the nearer end.
    pub fn paint(self, values: &[f32]) -> [Vec<f32>; 3] {
        let of = |curve: fn(f32) -> f32| -> Vec<f32> {
            values
                .iter()
                .map(|v| curve(v.clamp(0.0, 1.0)).clamp(0.0, 1.0))
                .collect()
        };
        let none = || vec![0.0; values.len()];
        match self {
            ColourMap::Hot => [of(|v| 3.0 * v), of(|v| 3.0 * v - 1.0), of(|v| 3.0 * v - 2.0)],
            ColourMap::Cold => [of(|v| 3.0 * v - 2.0), of(|v| 3.0 * v - 1.0), of(|v| 3.0 * v)],
            ColourMap::Jet => [
                of(|v| 1.5 - (4.0 * v - 3.0).abs()),
                of(|v| 1.5 - (4.0 * v - 2.0).abs()),
                of(|v| 1.5 - (4.0 * v - 1.0).abs()),
            ],
            ColourMap::Red => [of(|v| v), none(), none()],
            ColourMap::Green => [none(), of(|v| v), none()],
            ColourMap::Blue => [none(), none(), of(|v| v)],
        }
    }
}
