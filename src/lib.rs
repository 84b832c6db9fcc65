//! An image server for gigapixel pyramids: IIP, IIIF, DeepZoom and Zoomify over FastCGI and HTTP.
//!
//! Modules are arranged in floors; each imports only from floors below its own (checked by `tests/it/floors.rs`):
//!
//! ```text
//! 10 main                          args, bind, serve
//! 9  server  tools                 sockets, workers, signals, the viewer page; check, export, prewarm, get
//! 8  service                       Http -> Reply
//! 7  config  mosaic                environment -> settings; window -> raster
//! 6  protocol  library             words -> request; identifier -> open source
//! 5  plan                          view x header -> plan
//! 4  source  process               pyramids; pixel steps
//! 4  encode  cache                 formats; answers in memory and in memcached
//! 3  http  codec                   a request and its reply; compression schemes
//! 2  raster  store  file_calls     samples; access to masters; file operations that may hang
//! 1  geometry  work  metrics       rectangles; executor, leases, deadlines; counters
//! 1  recent  failures              what was used last; what failed before
//! 1  uninit  fingerprint  limits   uninitialised buffers; hashes; limits of files
//! 0  error
//! ```
//!
//! # Glossary
//!
//! What these words mean in this crate. Codecs also use the terms of their standards: in `codec::jp2` a tile is a tile of the
//! codestream, and a band is a sub-band of the wavelet transform.
//!
//! | word | meaning |
//! |---|---|
//! | master | a file or object that holds an image |
//! | blob | the bytes of a master in one version ([`store::Blob`]) |
//! | source | an opened image that gives stored samples ([`source::Source`]) |
//! | header | what is known about an image without reading a tile |
//! | level | one size of the pyramid; 0 is full size |
//! | tile | a cell of a level's grid, by column and row |
//! | derived level | a level that is missing in the master and is computed (module `source::derived`) |
//! | window | a rectangle of one level |
//! | region | the requested part of the image, before a level is chosen |
//! | view | what a request asks for, independent of its protocol ([`plan::View`]) |
//! | plan | what will be done: level, window, steps, output ([`plan::Plan`]) |
//! | cost | the work and memory of a plan, known before it runs |
//! | raster | stored samples of any depth ([`raster::Raster`]) |
//! | picture | 8-bit pixels, ready to be encoded ([`raster::Picture`]); in a file, an image with its smaller versions, such as a page |
//! | chain | the steps over samples before they become 8 bits ([`process::Chain`]) |
//! | coded | as the file stores it, compressed |
//! | output | a format with its settings ([`encode::Output`]) |
//! | band | rows of a large answer or master that are computed together, from top to bottom |
//! | strip | rows of a raster ([`raster::Strip`]); in a TIFF file, a tile as wide as its picture |
//! | block | a tile or strip as a TIFF file stores it; in codecs, the unit of their standard |
//! | part | what is decoded and cached as a whole: a tile, a strip, a level ([`source::cache::Part`]) |
//! | piece | the content of a window or of some of its rows: samples, or nothing ([`source::Piece`]) |
//! | effort | the pixels to decode for a window, and to hold meanwhile ([`source::Effort`]) |
//! | preparation | computing a part that a plan needs and that other requests need too, before its pixels |
//! | answer | the bytes of a plan, which are cached ([`service`]) |
//! | reply | status, header lines and body for one request ([`http::Reply`]) |
//! | scope | the context of a request: deadline, cancellation, timings ([`work::Scope`]) |
//! | lane | the queue of small or of big jobs ([`work::Executor`]) |
//! | lease | memory reserved for a job until its answer is sent ([`work::Lease`]) |
//! | mount | a request path that a protocol is mapped to by `URI_MAP` |

// tests compute the bytes that they expect
#![cfg_attr(test, allow(clippy::cast_possible_truncation))]

pub mod cache;
pub mod codec;
pub mod config;
pub mod encode;
pub mod error;
pub mod failures;
pub mod file_calls;
pub mod fingerprint;
pub mod geometry;
pub mod http;
pub mod library;
pub mod limits;
pub mod metrics;
pub mod mosaic;
pub mod plan;
pub mod process;
pub mod protocol;
#[cfg(test)]
mod random;
pub mod raster;
pub mod recent;
pub mod server;
pub mod service;
pub mod source;
pub mod store;
pub mod tools;
pub mod uninit;
pub mod work;
