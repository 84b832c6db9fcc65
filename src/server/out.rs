//! Pending output to one peer: shared byte strings, never copied, written in vectored writes.

use bytes::Buf;
use bytes::Bytes;
use rustix::fd::AsFd;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io::IoSlice;

/// Pieces of one write.
const SLICES: usize = 32;

/// How a connection ends once everything is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// At once: the peer's words have all been read.
    Close,
    /// After the peer has had time to read: words of it are still on the way, and closing over unread bytes makes
    /// the kernel throw the answer away (RFC 9112 §9.6).
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
    /// Adds a piece.
    pub fn push(&mut self, piece: impl Into<Bytes>) {
        let piece = piece.into();
        if !piece.is_empty() {
            self.bytes += piece.len();
            self.queue.push_back(piece);
        }
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// One write of what waits first; how much the socket took.
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

    /// So many bytes are written.
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
    /// Everything that waits, as one string.
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
    fn what_the_socket_does_not_take_stays_in_order() {
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
