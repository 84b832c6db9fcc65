//! Integration tests, one binary. A module answers one question:
//!
//! - `floors`: do imports point down, and who may log?
//! - `iip`, `iiif`, `deepzoom`, `zoomify`: request in, reply out, on an image whose samples are a formula
//! - `lowering`: do all names of a tile lead to one plan, and do tiles put together equal the region?
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod deepzoom;
mod floors;
mod iiif;
mod iip;
mod lowering;
mod support;
mod zoomify;
