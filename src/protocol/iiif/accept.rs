//! The parts of the Accept header (RFC 9110 §12.5.1) that IIIF uses.

use crate::protocol::iiif::CONTEXT_1;
use crate::protocol::iiif::CONTEXT_2;
use crate::protocol::iiif::CONTEXT_3;

/// The media ranges that a client accepts.
pub struct Accept<'a> {
    ranges: Vec<MediaRange<'a>>,
}

/// One media range.
struct MediaRange<'a> {
    name: &'a str,
    profile: &'a str,
    /// Quality value, 0–1; 0 is not acceptable.
    q: f32,
}

impl<'a> Accept<'a> {
    /// Parses the header; malformed parts are ignored.
    pub fn parse(text: &'a str) -> Accept<'a> {
        let ranges = split(text, ',')
            .map(|range| {
                let mut parts = split(range, ';').map(str::trim);
                let name = parts.next().unwrap_or_default();
                let mut range = MediaRange {
                    name,
                    profile: "",
                    q: 1.0,
                };
                for (key, value) in parts.filter_map(|part| part.split_once('=')) {
                    let value = value.trim().trim_matches('"');
                    match key.trim().to_ascii_lowercase().as_str() {
                        "profile" => range.profile = value,
                        "q" => range.q = value.parse().unwrap_or(1.0),
                        _ => {}
                    }
                }
                range
            })
            .filter(|range| !range.name.is_empty())
            .collect();
        Accept { ranges }
    }

    /// The version of the Presentation API, 2 or 3, whose context is given as a profile.
    pub fn presentation(&self) -> Option<u8> {
        let mut profiles = self.ranges.iter().filter(|range| range.q > 0.0);
        profiles.find_map(|range| {
            let version = range.profile.strip_prefix("http://iiif.io/api/presentation/")?;
            let version = version.strip_suffix("/context.json")?.parse().ok()?;
            (2..=3).contains(&version).then_some(version)
        })
    }

    /// The version whose context is given as a profile; the one with the highest quality value if there are several.
    pub fn version(&self) -> Option<u8> {
        let contexts = [
            (CONTEXT_3, 3),
            (CONTEXT_2, 2),
            (CONTEXT_1, 1),
            ("http://iiif.io/api/image/1/context.json", 1),
        ];
        let named = |range: &MediaRange| {
            let mut profiles = range.profile.split_whitespace();
            profiles.find_map(|profile| {
                let found = contexts.iter().find(|(context, _)| *context == profile);
                found.map(|(_, version)| *version)
            })
        };
        let mut best = (0.0, None);
        for range in &self.ranges {
            if let Some(version) = named(range).filter(|_| range.q > best.0) {
                best = (range.q, Some(version));
            }
        }
        best.1
    }

    /// Whether JSON-LD is accepted with at least the quality value of JSON.
    pub fn linked(&self) -> bool {
        self.prefers("application/ld+json", "application/json")
    }

    /// Whether `one` is accepted, with at least the quality value of `other` if that is accepted, too.
    pub fn prefers(&self, one: &str, other: &str) -> bool {
        let q = |name: &str| {
            let named = self
                .ranges
                .iter()
                .filter(|range| range.name.eq_ignore_ascii_case(name));
            named.map(|range| range.q).fold(0.0, f32::max)
        };
        q(one) > 0.0 && q(one) >= q(other)
    }
}

/// Splits at a character outside quotes.
fn split(text: &str, sign: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == sign && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_ld_is_sent_on_request() {
        for (text, linked) in [
            ("", false),
            ("*/*", false),
            ("application/json", false),
            ("application/ld+json", true),
            ("application/json, application/ld+json;q=0.9", false),
            ("Application/LD+JSON;q=0.5, */*;q=0.1", true),
            ("application/ld+json;q=0", false),
            ("application/ld+json;profile=\"a,b;c\", text/html", true),
        ] {
            assert_eq!(Accept::parse(text).linked(), linked, "{text}");
        }
    }

    #[test]
    fn the_version_is_that_of_the_preferred_profile() {
        let two = format!("application/ld+json;profile=\"{CONTEXT_2}\"");
        let three = format!("application/ld+json;q=0.9;profile=\"{CONTEXT_3}\"");
        assert_eq!(Accept::parse(&two).version(), Some(2));
        assert_eq!(Accept::parse(&format!("{three}, {two}")).version(), Some(2));
        assert_eq!(Accept::parse(&format!("{three}, text/html")).version(), Some(3));
        assert_eq!(Accept::parse(&format!("{three};q=0")).version(), None);
        assert_eq!(Accept::parse("application/ld+json").version(), None);
        let first = format!("application/json;profile={CONTEXT_1}");
        assert_eq!(Accept::parse(&first).version(), Some(1));
    }
}
