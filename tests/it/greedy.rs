//! Clients that take more than their share: the resources of each are bounded, and other clients are served meanwhile.

use crate::support;
use crate::wire::Server;
use iipsrv::server::connections::Patience;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

/// The HTTP/2 connection preface and an empty SETTINGS frame (RFC 9113 §3.4, §6.5).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Frame types and flags (§6).
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// Indexed :method GET, :scheme http, :path /, literal :authority a (RFC 7541 §6).
const HEAD: &[u8] = b"\x82\x86\x84\x41\x01a";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length.to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.http).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Sends the pieces until the server closes the connection; the server's frames, and the number of bytes sent.
fn flood(server: &Server, pieces: impl Iterator<Item = Vec<u8>>) -> (Vec<u8>, usize) {
    let mut stream = connect(server);
    let mut reader = stream.try_clone().unwrap();
    let reading = std::thread::spawn(move || {
        let mut seen = Vec::new();
        // a reset ends the loop, too
        let _ = reader.read_to_end(&mut seen);
        seen
    });
    stream.write_all(PREFACE).unwrap();
    let mut sent = 0;
    for piece in pieces {
        match stream.write_all(&piece) {
            Ok(()) => sent += piece.len(),
            Err(error) => {
                assert!(
                    !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                    "{error}"
                );
                break;
            }
        }
    }
    server.lives();
    (reading.join().unwrap(), sent)
}

/// The error code of the GOAWAY frame among these, if any (RFC 9113 §6.8).
fn error(mut frames: &[u8]) -> Option<u32> {
    while let Some(([a, b, c, kind, ..], rest)) = frames.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let payload = rest.get(..length)?;
        if *kind == GOAWAY {
            return Some(u32::from_be_bytes(payload.get(4..8)?.try_into().ok()?));
        }
        frames = &rest[length..];
    }
    None
}

/// ENHANCE_YOUR_CALM (§7).
const CALM: u32 = 11;

/// Asserts that a GOAWAY frame, if there is one, has the code ENHANCE_YOUR_CALM.
fn assert_calm(frames: &[u8]) {
    let error = error(frames);
    assert!(error.is_none_or(|error| error == CALM), "{error:?}");
}

#[test]
fn a_client_that_resets_streams_rapidly_is_disconnected() {
    let server = Server::new();
    // more than all buffers between client and server hold
    let streams = (0..600_000u32).step_by(100).map(|first| {
        let stream = |number: u32| {
            let id = number * 2 + 1;
            let head = frame(HEADERS, END_STREAM | END_HEADERS, id, HEAD);
            [head, frame(RST_STREAM, 0, id, &8u32.to_be_bytes())].concat()
        };
        (first..first + 100).flat_map(stream).collect()
    });
    let (seen, sent) = flood(&server, streams);
    // the socket may accept more than the server reads
    assert_calm(&seen);
    assert!(sent < 8 << 20, "{sent}");
}

#[test]
fn an_endless_head_is_not_buffered() {
    let server = Server::new();
    let first = frame(HEADERS, END_STREAM, 1, HEAD);
    // literals without indexing, names and values of 100 bytes each (RFC 7541 §6.2.2)
    let line = [&[0, 100][..], &[b'n'; 100], &[100], &[b'v'; 100]].concat();
    let next = move || frame(CONTINUATION, 0, 1, &line.repeat(70));
    let (seen, _) = flood(
        &server,
        std::iter::once(first).chain(std::iter::repeat_with(next).take(20_000)),
    );
    assert_calm(&seen);
    // and empty frames
    let first = frame(HEADERS, END_STREAM, 1, HEAD);
    let empty = || frame(CONTINUATION, 0, 1, b"").repeat(100);
    let (seen, _) = flood(
        &server,
        std::iter::once(first).chain(std::iter::repeat_with(empty).take(200_000)),
    );
    assert_calm(&seen);
}

#[test]
fn unread_answers_to_endless_pings_are_not_buffered() {
    let patience = Patience {
        write: 1,
        ..Patience::default()
    };
    let server = Server::start(support::service(&[]), 1, patience);
    let mut stream = connect(&server);
    stream.write_all(PREFACE).unwrap();
    let pings = frame(PING, 0, 0, &[0; 8]).repeat(1000);
    // when the server closes the connection, writing fails
    let failed = (0..20_000).find_map(|_| stream.write_all(&pings).err());
    let failed = failed.expect("the server closes the connection");
    assert!(
        !matches!(failed.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{failed}"
    );
    server.lives();
}

#[test]
fn a_slow_http_1_head_times_out_and_a_long_one_is_too_large() {
    let patience = Patience {
        head: 1,
        ..Patience::default()
    };
    let server = Server::start(support::service(&[]), 1, patience);
    let mut stream = connect(&server);
    let mut sent = 0;
    for byte in b"GET / HTTP/1.1\r\nX: ".iter().chain([b'x'; 200].iter()) {
        if stream.write_all(&[*byte]).is_err() {
            break;
        }
        sent += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(sent < 200, "{sent}");
    let long = format!("GET /?{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(40_000));
    let answer = server.http(&long);
    assert!(
        answer.starts_with("HTTP/1.1 4"),
        "{}",
        &answer[..answer.len().min(80)]
    );
    server.lives();
}

#[test]
fn connections_of_one_address_are_limited() {
    let service = support::service(&[("MAX_CONNECTIONS_PER_ADDRESS", "3")]);
    let server = Server::start(service, 2, Patience::default());
    let ask = |stream: &mut TcpStream| -> String {
        let request = b"GET /fcgi-bin/iipsrv.fcgi?IIIF=rgb/info.json HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut answer = [0; 12];
        let done = stream
            .write_all(request)
            .and_then(|()| stream.read_exact(&mut answer));
        done.map_or(String::new(), |()| String::from_utf8_lossy(&answer).into_owned())
    };
    let mut three: Vec<_> = (0..3).map(|_| connect(&server)).collect();
    for stream in &mut three {
        assert_eq!(ask(stream), "HTTP/1.1 200");
    }
    assert_eq!(ask(&mut connect(&server)), "");
    // FastCGI connections do not count
    server.lives();
    drop(three.pop());
    let again = crate::process::until(|| Some(ask(&mut connect(&server))).filter(|text| !text.is_empty()));
    assert_eq!(again.as_deref(), Some("HTTP/1.1 200"));
}
