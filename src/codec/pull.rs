//! Adapts incremental decoders to `Read`, for data that does not fit into memory.

use crate::error::Result;
use std::io;
use std::io::BufRead;
use std::io::ErrorKind;
use std::io::Read;

/// The result of a step.
pub struct Pulled {
    /// Coded bytes consumed.
    pub used: usize,
    /// Output bytes written.
    pub made: usize,
    /// Whether the stream has ended.
    pub ended: bool,
}

/// Reads the output of `step` for the bytes of `from`. `step` gets the available input (empty at its end) and a
/// non-empty output buffer; if it makes no progress, the stream has ended.
pub struct Pull<R, S> {
    from: R,
    step: S,
    ended: bool,
}

impl<R: BufRead, S: FnMut(&[u8], &mut [u8]) -> Result<Pulled>> Pull<R, S> {
    /// A stream at its start.
    pub fn new(from: R, step: S) -> Self {
        Pull {
            from,
            step,
            ended: false,
        }
    }
}

impl<R: BufRead, S: FnMut(&[u8], &mut [u8]) -> Result<Pulled>> Read for Pull<R, S> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while !self.ended && !out.is_empty() {
            let coded = self.from.fill_buf()?;
            let step = (self.step)(coded, out).map_err(|error| io::Error::other(error.to_string()))?;
            self.from.consume(step.used);
            self.ended = step.ended || step.used == 0 && step.made == 0;
            if step.made > 0 {
                return Ok(step.made);
            }
        }
        Ok(0)
    }
}

/// Reads until `out` is full or the stream ends; returns the number of bytes.
pub fn fill(stream: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while let Some(rest) = out.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match stream.read(rest) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}
