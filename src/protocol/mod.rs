//! The four protocols: each parses a name and describes an image.
//!
//! Knows words and formats of descriptions. Opens nothing, decodes nothing.

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Internet Imaging Protocol 1.0.5.
    Iip,
    /// IIIF Image API 2.1 and 3.0.
    Iiif,
    /// Microsoft DeepZoom.
    DeepZoom,
    /// Zoomify.
    Zoomify,
}

impl Protocol {
    /// The protocol with this name, in any case.
    pub fn named(name: &str) -> Option<Protocol> {
        let all = [
            ("IIP", Protocol::Iip),
            ("IIIF", Protocol::Iiif),
            ("DeepZoom", Protocol::DeepZoom),
            ("Zoomify", Protocol::Zoomify),
        ];
        all.iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, protocol)| *protocol)
    }
}
