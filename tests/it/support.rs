//! Shared by the tests: a service over synthetic images, an HTTP client, and pixels of replies.

use iipsrv::config::Config;
use iipsrv::geometry::Size;
use iipsrv::http::Http;
use iipsrv::http::Reply;
use iipsrv::raster::Raster;
use iipsrv::raster::Samples;
use iipsrv::service::Service;
use iipsrv::source::synthetic::Synthetic;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

/// A configuration from these variables alone.
pub fn config(vars: &[(&str, &str)]) -> Config {
    Config::read(|name| {
        vars.iter()
            .find(|(n, _)| *n == name)
            .map(|(_, value)| value.to_string())
    })
}

/// A service with these variables and the images `rgb` (1000×701, tiles of 256), `grey` and `rgba` (500×300).
pub fn service(vars: &[(&str, &str)]) -> Service {
    let tile = Size::new(256, 256);
    Service::new(config(vars))
        .with_image("rgb", Synthetic::halving(Size::new(1000, 701), tile, 3))
        .with_image("grey", Synthetic::halving(Size::new(500, 300), tile, 1))
        .with_image("rgba", Synthetic::halving(Size::new(500, 300), tile, 4))
}

/// A service over the pictures of `fixtures/` with these variables.
pub fn fixtures(vars: &[(&str, &str)]) -> Service {
    let prefix = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/");
    Service::new(config(&[vars, &[("FILESYSTEM_PREFIX", prefix)]].concat()))
}

/// The reply to a query string.
pub fn query(query: &str) -> Reply {
    service(&[]).respond(Http::query(query))
}

/// The body as text.
pub fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body).into_owned()
}

/// The picture in a reply, which must be 200 and JPEG or PNG.
pub fn pixels(reply: &Reply) -> Raster {
    assert_eq!(reply.status, 200, "{}", text(reply));
    match reply.header("Content-Type") {
        Some("image/jpeg") => iipsrv::codec::jpeg::decode(&reply.body, Size::new(65_535, 65_535)).unwrap(),
        Some("image/png") => png(&reply.body),
        other => panic!("no picture but {other:?}"),
    }
}

/// Width and height of the picture in a reply.
pub fn size(reply: &Reply) -> (u32, u32) {
    let raster = pixels(reply);
    (raster.size.w, raster.size.h)
}

/// The 8-bit samples of a raster.
pub fn bytes(raster: &Raster) -> &[u8] {
    match &raster.samples {
        Samples::U8(bytes) => bytes,
        _ => panic!("8 bits expected"),
    }
}

/// The 8-bit samples of the first picture in a TIFF file, as the crate `tiff` reads them.
pub fn tiff(data: &[u8]) -> Vec<u8> {
    let mut decoder = tiff::decoder::Decoder::new(std::io::Cursor::new(data)).unwrap();
    match decoder.read_image().unwrap() {
        tiff::decoder::DecodingResult::U8(samples) => samples,
        _ => panic!("8 bits expected"),
    }
}

/// The picture in a PNG file of 8 bits.
pub fn png(data: &[u8]) -> Raster {
    let mut reader = png::Decoder::new(std::io::Cursor::new(data)).read_info().unwrap();
    let mut samples = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut samples).unwrap();
    samples.truncate(info.buffer_size());
    Raster {
        size: Size::new(info.width, info.height),
        channels: info.color_type.samples() as u8,
        samples: Samples::U8(samples),
    }
}

/// An answer received over HTTP.
pub struct HttpAnswer {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

impl HttpAnswer {
    /// The value of a header line (name in any case).
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

/// Sends a request to this loopback port over a new connection.
pub fn http(port: u16, method: &str, uri: &str, lines: &[(&str, &str)], body: &str) -> HttpAnswer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let lines: String = lines
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let length = if body.is_empty() {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    write!(
        stream,
        "{method} {uri} HTTP/1.1\r\n{lines}{length}Connection: close\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let split = answer
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .expect("a whole head")
        + 4;
    let body = answer.split_off(split);
    let head = String::from_utf8(answer).unwrap();
    let mut answer = HttpAnswer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head,
        body,
    };
    if answer.header("Transfer-Encoding") == Some("chunked") && method != "HEAD" {
        answer.body = joined(&answer.body);
    }
    answer
}

/// Joins the chunks of a chunked body (RFC 9112 §7.1).
fn joined(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let line = chunks
            .windows(2)
            .position(|w| w == b"\r\n")
            .expect("a whole chunk");
        let length = usize::from_str_radix(std::str::from_utf8(&chunks[..line]).unwrap(), 16).unwrap();
        if length == 0 {
            return body;
        }
        let start = line + 2;
        body.extend_from_slice(&chunks[start..start + length]);
        chunks = &chunks[start + length + 2..];
    }
}

/// CORPUS, a folder of files of other writers. Tests that use it are `#[ignore]`d with the reason CORPUS, and have `corpus`
/// in their path or are in `writers`.
pub fn corpus() -> std::path::PathBuf {
    let folder = std::env::var_os("CORPUS").expect("CORPUS is a folder of files that other people made");
    folder.into()
}
