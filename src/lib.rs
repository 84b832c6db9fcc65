//! An image server for gigapixel pyramids: IIP, IIIF, DeepZoom and Zoomify over FastCGI and HTTP.
//!
//! The house has floors, and a module imports only from floors below its own (`tests/it/floors.rs` checks it):
//!
//! ```text
//! 9 main
//! 8 server  config
//! 7 service
//! 6 library  mosaic
//! 5 protocol
//! 4 plan
//! 3 source  process  encode  cache
//! 2 raster  http  codec
//! 1 geometry
//! 0 error
//! ```

pub mod cache;
pub mod codec;
pub mod config;
pub mod encode;
pub mod error;
pub mod geometry;
pub mod http;
pub mod library;
pub mod mosaic;
pub mod plan;
pub mod process;
pub mod protocol;
pub mod raster;
pub mod server;
pub mod service;
pub mod source;
