//! A FastCGI client that sends and receives single records.

use std::collections::HashMap;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

pub const BEGIN: u8 = 1;
pub const ABORT: u8 = 2;
pub const END: u8 = 3;
pub const PARAMS: u8 = 4;
pub const STDIN: u8 = 5;
pub const STDOUT: u8 = 6;
pub const GET_VALUES: u8 = 9;
pub const GET_VALUES_RESULT: u8 = 10;
pub const UNKNOWN_TYPE: u8 = 11;

/// One record.
pub fn record(kind: u8, id: u16, content: &[u8], padding: u8) -> Vec<u8> {
    let [id1, id0] = id.to_be_bytes();
    let [len1, len0] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let mut record = vec![1, kind, id1, id0, len1, len0, padding, 0];
    record.extend_from_slice(content);
    record.extend(std::iter::repeat_n(0xaa, padding.into()));
    record
}

/// A BEGIN_REQUEST record for the responder role.
pub fn begin(id: u16, keep: bool) -> Vec<u8> {
    record(BEGIN, id, &[0, 1, u8::from(keep), 0, 0, 0, 0, 0], 0)
}

/// The pairs in the name-value encoding of FastCGI.
pub fn pairs(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let length = |bytes: &mut Vec<u8>, len: usize| match u8::try_from(len) {
        Ok(len) if len < 128 => bytes.push(len),
        _ => bytes.extend((u32::try_from(len).unwrap() | 1 << 31).to_be_bytes()),
    };
    for (name, value) in pairs {
        length(&mut bytes, name.len());
        length(&mut bytes, value.len());
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(value.as_bytes());
    }
    bytes
}

/// The records of a GET with this query string.
pub fn get(id: u16, keep: bool, query: &str) -> Vec<u8> {
    let params = pairs(&[("REQUEST_METHOD", "GET"), ("QUERY_STRING", query)]);
    [
        begin(id, keep),
        record(PARAMS, id, &params, 3),
        record(PARAMS, id, b"", 0),
        record(STDIN, id, b"", 0),
    ]
    .concat()
}

/// The records received for one request.
#[derive(Debug, Default)]
pub struct Answer {
    /// The content of STDOUT.
    pub text: Vec<u8>,
    /// The number of empty STDOUT records.
    pub ends: u32,
    /// The protocol status of END_REQUEST.
    pub ended: Option<u8>,
}

impl Answer {
    /// The number after `Status:`.
    pub fn status(&self) -> u16 {
        let head = String::from_utf8_lossy(&self.text);
        let number = head.strip_prefix("Status: ").and_then(|text| text.get(..3));
        number
            .unwrap_or_else(|| panic!("no status: {head}"))
            .parse()
            .unwrap()
    }

    /// The body; asserts that Content-Length matches.
    pub fn body(&self) -> &[u8] {
        let head = self.text.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        let lines = std::str::from_utf8(&self.text[..head]).unwrap();
        let length = lines
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "));
        let body = &self.text[head..];
        assert_eq!(length.unwrap().parse(), Ok(body.len()));
        body
    }
}

/// A FastCGI connection.
pub struct Client<S> {
    pub stream: S,
    answers: HashMap<u16, Answer>,
}

impl Client<TcpStream> {
    pub fn tcp(address: std::net::SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Client {
            stream,
            answers: HashMap::new(),
        }
    }
}

impl Client<UnixStream> {
    pub fn unix(path: &std::path::Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Client {
            stream,
            answers: HashMap::new(),
        }
    }
}

impl<S: Read + Write> Client<S> {
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Reads the next record: kind, id, content.
    pub fn record(&mut self) -> (u8, u16, Vec<u8>) {
        let mut header = [0; 8];
        self.stream.read_exact(&mut header).unwrap();
        let [version, kind, id1, id0, len1, len0, padding, _] = header;
        assert_eq!(version, 1);
        let mut content = vec![0; usize::from(u16::from_be_bytes([len1, len0]))];
        self.stream.read_exact(&mut content).unwrap();
        self.stream
            .read_exact(&mut vec![0; usize::from(padding)])
            .unwrap();
        (kind, u16::from_be_bytes([id1, id0]), content)
    }

    /// Reads until the request has ended; records of other requests are kept for later calls.
    pub fn answer(&mut self, id: u16) -> Answer {
        loop {
            if self.answers.get(&id).is_some_and(|a| a.ended.is_some()) {
                return self.answers.remove(&id).unwrap();
            }
            let (kind, id, content) = self.record();
            let answer = self.answers.entry(id).or_default();
            assert_eq!(answer.ended, None, "no record follows END_REQUEST");
            match kind {
                STDOUT if content.is_empty() => answer.ends += 1,
                STDOUT => {
                    assert_eq!(answer.ends, 0);
                    answer.text.extend(content);
                }
                END => answer.ended = Some(content[4]),
                other => panic!("record of type {other}"),
            }
        }
    }

    /// Sends a GET with this query string and reads the answer.
    pub fn ask(&mut self, query: &str) -> Answer {
        self.send(&get(1, true, query));
        self.answer(1)
    }

    /// Whether the peer closes within the read timeout without sending more.
    pub fn closed(&mut self) -> bool {
        !matches!(self.stream.read(&mut [0; 64]), Ok(1..))
    }
}
