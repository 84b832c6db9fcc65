//! Integration tests in one binary. `cargo test` needs only what the build needs: tests that need another program or CORPUS
//! (a folder of files of other writers) are ignored with that reason; `tests/run` runs them. Each module answers one question:
//!
//! - `floors`: do imports point down, and do only the allowed modules log?
//! - `iip`, `iiif`, `deepzoom`, `zoomify`: are requests over a synthetic image answered correctly?
//! - `info`: does everything that info.json lists work, and do sidecar files extend it?
//! - `identifiers`: does every encoding find the image, and is its address the one that the client used?
//! - `semantics`: are validators, conditions, HEAD, OPTIONS, CORS and errors right in every protocol?
//! - `fixtures`: do the files of `fixtures/` equal the output of the generator?
//! - `wire`: do FastCGI and HTTP over sockets cope with split records, aborts, slow, silent and broken peers?
//! - `daemon`: does the real binary start in every way, and handle signals and sockets?
//! - `log`: do requests continue when the log hangs, is full or is missing, and is every request logged?
//! - `machine`: do failures of the machine stop only the affected requests?
//! - `forms`: is the syntax of requests parsed as iipsrv parses it?
//! - `upgrade`: is every difference documented when the program replaces Debian's iipsrv?
//! - `front`: do real web servers, configured by the package, deliver the service's answers?
//! - `browser`: does Chromium show the right pixels in the viewer and in OpenSeadragon behind nginx?
//! - `clients`: do popular viewers from their npm packages show the right pixels behind nginx?
//! - `validator`: does the IIIF validator pass behind nginx and over HTTP?
//! - `tools`: do check, export, prewarm and get work as documented?
//! - `manifests`: do manifests of images, pages, sequences and folders list existing resources?
//! - `golden`: do requests over `fixtures/` have their golden pixels, and do tiles fit together?
//! - `docs`: do man pages, `--help` and README match the tables, and do the examples work?
//! - `oracle`: does the original, iipsrv 1.1, give the same answers?
//! - `filters`: do resizing filters and rotation equal vips?
//! - `layouts`: do strips, planes, missing levels, pages, sequences and orientation give the same pixels?
//! - `tiff`: do TIFF files read back in every layout and compression?
//! - `outputs`: do other libraries decode the right pixels from every output format?
//! - `tones`: do commands on samples follow their formulas at every depth, without seams?
//! - `jp2`: is JPEG 2000 decoded as by OpenJPEG?
//! - `boxes`: do the boxes around a JPEG 2000 codestream decide what its components mean?
//! - `jpeg`: is JPEG decoded as by libjpeg, in windows, too?
//! - `corpus`: is every TIFF of the corpus served as another reader decodes it, or refused for a reason?
//! - `corrupt`: do malformed files give an error within limits of time and memory?
//! - `hostile`: do requests for malformed files cost CPU time and memory in proportion to the file?
//! - `limits`: is data beyond a limit refused or left out, and does the log name the setting?
//! - `replays`: are the verbatim requests of viewers without a package answered in the form that they parse?
//! - `seams`: do tiles have the size that each client expects, and do they fit together?
//! - `profiles`: does colour conversion equal Little CMS, and is the embedded profile right?
//! - `memcached`: do servers that share a memcached share answers?
//! - `scale_out`: does the example configuration of several servers behind nginx work (feature `remote`)?
//! - `stores`: are masters in remote stores served like those on disk, in few requests (feature `remote`)?
//! - `watermark`: does every answer have exactly the marks that it should?
//! - `writers`: are files of particular programs shown as those programs intended?
//! - `soak`: does a server under load and misuse stay right, without leaks?
//! - `lowering`: do all names of a tile resolve to one plan?
//! - `greedy`: are clients limited that take too much time or memory, or too many connections?
//!
//! Support modules: `fcgi` is a FastCGI client, `process` starts programs, `sight` compares screenshots, `site` starts web
//! servers as documented, `support` makes services; `chart`, `font`, `list`, `pyramid` and `scenes` draw `fixtures/`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod boxes;
mod browser;
mod clients;
mod corpus;
mod corrupt;
mod daemon;
mod deepzoom;
mod docs;
mod fcgi;
mod filters;
mod fixtures;
mod floors;
mod forms;
mod front;
mod golden;
mod greedy;
mod hostile;
mod identifiers;
mod iiif;
mod iip;
mod info;
mod jp2;
mod jpeg;
mod layouts;
mod limits;
mod log;
mod lowering;
mod machine;
mod manifests;
mod memcached;
mod oracle;
mod outputs;
mod process;
mod profiles;
mod replays;
#[cfg(feature = "remote")]
mod scale_out;
mod seams;
mod semantics;
mod sight;
mod site;
mod soak;
#[cfg(feature = "remote")]
mod stores;
mod support;
mod tiff;
mod tones;
mod tools;
mod upgrade;
mod validator;
mod watermark;
mod wire;
mod writers;
mod zoomify;

// The generator of fixtures.
#[path = "../../fixtures/chart.rs"]
mod chart;
#[path = "../../fixtures/font.rs"]
mod font;
#[path = "../../fixtures/list.rs"]
mod list;
#[path = "../../fixtures/pyramid.rs"]
mod pyramid;
#[path = "../../fixtures/scenes.rs"]
mod scenes;
