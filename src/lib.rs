//! An image server for gigapixel pyramids: IIP, IIIF, DeepZoom and Zoomify over FastCGI and HTTP.
//!
//! The house has floors, and a module imports only from floors below its own (`tests/it/floors.rs` checks it):
//!
//! ```text
//! 10 main                          args, bind, serve
//! 9  server  tools                 sockets, workers, signals, the viewer page; check, export, prewarm, get
//! 8  service                       Http -> Reply
//! 7  config  mosaic                environment -> settings; window -> raster
//! 6  protocol  library             words -> request; identifier -> open source
//! 5  plan                          view x header -> plan
//! 4  source  process  encode  cache
//! 3  http  codec                   a request and its reply; compression schemes
//! 2  raster  store  looks          samples; where masters lie; looks at files that may hang
//! 1  geometry  work  recent  room  metrics  rectangles; scope, executor, leases; what was used last; counters
//! 0  error
//! ```

// tests compute the bytes that they expect
#![cfg_attr(test, allow(clippy::cast_possible_truncation))]

pub mod cache;
pub mod codec;
pub mod config;
pub mod encode;
pub mod error;
pub mod geometry;
pub mod http;
pub mod library;
pub mod looks;
pub mod metrics;
pub mod mosaic;
pub mod plan;
pub mod process;
pub mod protocol;
pub mod raster;
pub mod recent;
pub mod room;
pub mod server;
pub mod service;
pub mod source;
pub mod store;
pub mod tools;
pub mod work;
