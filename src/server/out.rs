//! Pending output to a peer: shared byte strings, never copied, written with vectored writes.

use bytes::Buf;
use bytes::Bytes;
use rustix::fd::AsFd;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io::IoSlice;

/// Maximum number of slices in one write.
const SLICES: usize = 32;

/// How a connection ends once everything is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// At once: all input has been read.
    Close,
    /// After the peer has had time to read: its input is still arriving, and closing with unread input makes the
    /// kernel discard the answer (RFC 9112 §9.6).
    Linger,
}

/// The queue of one connection.
#[derive(Debug, Default)]
pub struct Out {
    queue: VecDeque<Bytes>,
    bytes: usize,
    /// Set when nothing will follow.
    pub last: Option<Last>,
}

impl Out {
    /// Appends a byte string.
    pub fn push(&mut self, piece: impl Into<Bytes>) {
        let piece = piece.into();
        if !piece.is_empty() {
            self.bytes += piece.len();
            self.queue.push_back(piece);
        }
    }

    /// The number of pending bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Writes once, from the front of the queue; returns how many bytes the socket accepted.
    pub fn write(&self, socket: impl AsFd) -> Result<usize, Errno> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.queue) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        let (slices, _) = slices.split_at(count);
        loop {
            match rustix::io::writev(&socket, slices) {
                Err(Errno::INTR) => {}
                done => return done,
            }
        }
    }

    /// Removes written bytes from the front.
    pub fn advance(&mut self, mut written: usize) {
        self.bytes = self.bytes.saturating_sub(written);
        while let Some(piece) = self.queue.front_mut() {
            if written < piece.len() {
                piece.advance(written);
                return;
            }
            written -= piece.len();
            self.queue.pop_front();
        }
    }
}

#[cfg(test)]
impl Out {
    /// All pending bytes.
    pub fn text(&self) -> Vec<u8> {
        self.queue.iter().flatten().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn bytes_that_the_socket_does_not_accept_stay_in_order() {
        let (near, mut far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let mut out = Out::default();
        let mut expected = Vec::new();
        for n in 0..100u8 {
            let piece = vec![n; 10_000];
            expected.extend_from_slice(&piece);
            out.push(piece);
        }
        let mut got = Vec::new();
        let mut buffer = [0; 7777];
        let mut refused = 0;
        while !out.is_empty() {
            match out.write(&near) {
                Ok(written) => out.advance(written),
                Err(Errno::AGAIN) => {
                    refused += 1;
                    let n = far.read(&mut buffer).unwrap();
                    got.extend_from_slice(&buffer[..n]);
                }
                Err(error) => panic!("{error}"),
            }
        }
        drop(near);
        far.read_to_end(&mut got).unwrap();
        assert!(refused > 0);
        assert_eq!((got == expected, out.bytes()), (true, 0));
    }
}
