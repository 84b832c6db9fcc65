//! Integration tests, one binary. `cargo test` needs cargo and a C compiler alone: tests that need a program, or CORPUS (a
//! folder of files that other people made), are ignored with that reason, and `tests/run` runs them. A module answers one
//! question:
//!
//! - `floors`: do imports point down, and who may log?
//! - `iip`, `iiif`, `deepzoom`, `zoomify`: request in, reply out, on an image whose samples are a formula
//! - `info`: is what info.json lists answered, and who may add to it?
//! - `identifiers`: does every spelling lead to the image, and does the client get the address that it used?
//! - `semantics`: validators, conditions, HEAD, OPTIONS, CORS and errors over every protocol
//! - `fixtures`: are the files of `fixtures/` what the generator makes?
//! - `wire`: FastCGI and HTTP over sockets in this process: cut records, aborts, slow, absent and broken peers
//! - `daemon`: the real binary: every way to start it, signals, sockets, its log
//! - `log`: does a log that hangs, is full or is missing stop no request, and does it report what it should?
//! - `machine`: does a machine that fails stop no more than it must?
//! - `forms`: are requests read as iipsrv reads them, however they are written?
//! - `upgrade`: what does a site notice that exchanges the program behind Debian's own configuration?
//! - `front`: do the real web servers, configured as the package does it, deliver what the service answers?
//! - `browser`: does a real browser show the right pixels, in the viewer and in OpenSeadragon behind nginx?
//! - `clients`: do the viewers that people use show the right pixels, out of their packages, behind nginx?
//! - `validator`: does the validator of the IIIF find nothing, behind nginx and over HTTP?
//! - `tools`: do check, export, prewarm and get do what they say?
//! - `manifests`: do manifests of images, pages, sequences and folders name what is there?
//! - `golden`: do requests over `fixtures/` draw what they drew, and do tiles fit together?
//! - `docs`: do man pages, `--help` and README match the tables, and do their examples work?
//! - `oracle`: does the original, iipsrv 1.1, say and draw the same?
//! - `filters`: do filters and turning draw what vips draws?
//! - `layouts`: strips, planes, missing levels, pages, sequences, orientation: the same pixels?
//! - `tiff`: is what was written, in every layout and compression, what is read?
//! - `outputs`: is every format of answers what other libraries read as the right pixels?
//! - `tones`: do the commands over samples follow their formulas at every depth, without seams?
//! - `jp2`: is JPEG 2000 decoded as OpenJPEG does it?
//! - `boxes`: do the boxes around a JPEG 2000 codestream say what its components mean?
//! - `jpeg`: is JPEG decoded as libjpeg does it, in windows, too?
//! - `corpus`: is every TIFF of the corpus served as another reader sees it, or refused for a reason?
//! - `corrupt`: does every malformed file end in an error within its limits?
//! - `hostile`: does what any client can send cost no more than its bytes are worth?
//! - `limits`: is what lies beyond a limit refused or left out, and does the log name the setting?
//! - `replays`: do viewers that cannot be installed read what they ask, letter by letter?
//! - `seams`: is every tile of every client as large as it expects, and do they fit together?
//! - `profiles`: are colours those that another CMM makes of the profile, and is what is embedded right?
//! - `memcached`: do servers that share a memcached share answers?
//! - `scale`: do several servers behind nginx work as the example configuration has them (feature `remote`)?
//! - `stores`: are masters in stores served as those on disk, in few requests (feature `remote`)?
//! - `watermark`: does every answer get the mark that it should, and no other?
//! - `writers`: are files of certain programs shown as these meant them?
//! - `soak`: does a server that is used and misused for a while stay right, and leave nothing behind?
//! - `lowering`: do all names of a tile lead to one plan, and do tiles put together equal the region?
//! - `greedy`: do clients that take too much time, memory or too many connections get no more than their share?
//!
//! The others help: `fcgi` speaks FastCGI, `process` starts programs, `sight` looks at pictures, `site` starts web servers as
//! documents have them, `support` makes masters and services; `chart`, `font`, `list`, `pyramid` and `scenes` draw `fixtures/`.
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
mod scale;
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

// The generator of fixtures, drawing included.
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
