//! The TurboJPEG C API of libjpeg-turbo 2.1 and 3, as far as it is used here: the crate's only JPEG `unsafe`.
//!
//! Knows calls, not streams: the caller has read the frame and checked sizes. A handle and an output buffer are kept
//! by each thread.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::raster::Layout;
use std::cell::RefCell;
use std::ffi::c_int;
use std::ffi::c_uchar;
use std::ffi::c_ulong;
use std::ffi::c_void;
use std::ptr::NonNull;

// turbojpeg.h: enum TJPF, enum TJSAMP, TJFLAG_*, enum TJERR.
const TJPF_RGB: c_int = 0;
const TJPF_GRAY: c_int = 6;
const TJPF_CMYK: c_int = 11;
const TJSAMP_420: c_int = 2;
const TJSAMP_GRAY: c_int = 3;
const TJFLAG_NOREALLOC: c_int = 1024;
const TJFLAG_STOPONWARNING: c_int = 8192;
const TJFLAG_LIMITSCANS: c_int = 32768;
const TJERR_WARNING: c_int = 0;

unsafe extern "C" {
    fn tjInitCompress() -> *mut c_void;
    fn tjInitDecompress() -> *mut c_void;
    fn tjDestroy(handle: *mut c_void) -> c_int;
    fn tjGetErrorCode(handle: *mut c_void) -> c_int;
    fn tjBufSize(width: c_int, height: c_int, subsampling: c_int) -> c_ulong;
    fn tjCompress2(
        handle: *mut c_void,
        source: *const c_uchar,
        width: c_int,
        pitch: c_int,
        height: c_int,
        pixel_format: c_int,
        stream: *mut *mut c_uchar,
        stream_len: *mut c_ulong,
        subsampling: c_int,
        quality: c_int,
        flags: c_int,
    ) -> c_int;
    fn tjDecompress2(
        handle: *mut c_void,
        stream: *const c_uchar,
        stream_len: c_ulong,
        destination: *mut c_uchar,
        width: c_int,
        pitch: c_int,
        height: c_int,
        pixel_format: c_int,
        flags: c_int,
    ) -> c_int;
}

/// Output buffers up to this size are kept by their thread.
const KEPT_BYTES: usize = 1 << 20;

thread_local! {
    static COMPRESSOR: RefCell<Option<Handle>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Handle>> = const { RefCell::new(None) };
    static OUTPUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A compressor or a decompressor.
struct Handle(NonNull<c_void>);

impl Handle {
    /// From what `tjInit…` returned; NULL means that there is no memory.
    fn of(pointer: *mut c_void) -> Result<Handle> {
        NonNull::new(pointer)
            .map(Handle)
            .ok_or_else(|| Error::Io(std::io::ErrorKind::OutOfMemory.into()))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle came from tjInit…, is owned by this value alone and is not used afterwards.
        unsafe { tjDestroy(self.0.as_ptr()) };
    }
}

/// Decodes a complete stream of this size to 1 (grey), 3 (red, green, blue) or 4 channels (as stored, unless an Adobe
/// marker says YCCK); with `strict` a warning is an error too.
///
/// A stream of another size than the caller says fails or leaves zeros; it is never written past.
pub fn decode(stream: &[u8], size: Size, channels: u8, strict: bool) -> Result<Vec<u8>> {
    let (width, height) = (side(size.w)?, side(size.h)?);
    let stream_len = c_ulong::try_from(stream.len()).map_err(|_| broken())?;
    let row = size.w as usize * usize::from(channels);
    let pitch = c_int::try_from(row).map_err(|_| broken())?;
    let mut data = vec![0; row * size.h as usize];
    let flags = TJFLAG_LIMITSCANS | if strict { TJFLAG_STOPONWARNING } else { 0 };
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let handle = match kept {
            Some(handle) => handle,
            // SAFETY: takes no arguments; the result is checked.
            none => none.insert(Handle::of(unsafe { tjInitDecompress() })?),
        };
        let handle = handle.0.as_ptr();
        // SAFETY: the handle is a live decompressor used by this thread only; `stream` is readable for `stream_len`
        // bytes; `data` has `height` rows of `pitch` bytes, and no more than `width` x `height` pixels of
        // `channels` bytes are written, scaled down if the stream is larger.
        let status = unsafe {
            tjDecompress2(
                handle,
                stream.as_ptr(),
                stream_len,
                data.as_mut_ptr(),
                width,
                pitch,
                height,
                pixel_format(channels),
                flags,
            )
        };
        // SAFETY: the handle is live.
        let whole = status == 0 || !strict && unsafe { tjGetErrorCode(handle) } == TJERR_WARNING;
        whole.then_some(data).ok_or_else(broken)
    })
}

/// Encodes `pixels`, which the caller has checked to be `size` pixels of `layout` (not `Rgba`).
pub fn encode(pixels: &[u8], size: Size, layout: Layout, quality: u8) -> Result<Vec<u8>> {
    OUTPUT.with_borrow_mut(|output| {
        compress(pixels, size, layout, quality, output)?;
        if output.capacity() <= KEPT_BYTES {
            return Ok(output.clone());
        }
        let mut output = std::mem::take(output);
        output.shrink_to_fit();
        Ok(output)
    })
}

/// Encodes into `output`, whatever it held.
fn compress(pixels: &[u8], size: Size, layout: Layout, quality: u8, output: &mut Vec<u8>) -> Result<()> {
    let (width, height) = (side(size.w)?, side(size.h)?);
    let subsampling = if layout == Layout::Grey {
        TJSAMP_GRAY
    } else {
        TJSAMP_420
    };
    // SAFETY: plain arithmetic on numbers; all ones means that they are too large.
    let mut len = unsafe { tjBufSize(width, height, subsampling) };
    let worst = usize::try_from(len)
        .ok()
        .filter(|worst| *worst < isize::MAX as usize);
    output.clear();
    output.reserve(worst.ok_or_else(broken)?);
    COMPRESSOR.with_borrow_mut(|kept| {
        let handle = match kept {
            Some(handle) => handle,
            // SAFETY: takes no arguments; the result is checked.
            none => none.insert(Handle::of(unsafe { tjInitCompress() })?),
        };
        let mut stream = output.as_mut_ptr();
        // SAFETY: the handle is a live compressor used by this thread only; `pixels` holds `height` rows of `width`
        // pixels without padding (pitch 0); `stream` is writable for `len` bytes, which is enough for any stream of
        // this size, and NOREALLOC keeps the library from moving it.
        let status = unsafe {
            tjCompress2(
                handle.0.as_ptr(),
                pixels.as_ptr(),
                width,
                0,
                height,
                pixel_format(if layout == Layout::Grey { 1 } else { 3 }),
                &mut stream,
                &mut len,
                subsampling,
                c_int::from(quality),
                TJFLAG_NOREALLOC,
            )
        };
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if status != 0 || len > output.capacity() {
            return Err(Error::Unsupported("jpeg encoding failed".into()));
        }
        // SAFETY: the library has written `len` bytes at the start of the buffer, and they fit its capacity.
        unsafe { output.set_len(len) };
        Ok(())
    })
}

/// A side as C takes it.
fn side(pixels: u32) -> Result<c_int> {
    c_int::try_from(pixels).map_err(|_| broken())
}

/// The library's name of pixels of so many channels.
fn pixel_format(channels: u8) -> c_int {
    match channels {
        1 => TJPF_GRAY,
        4 => TJPF_CMYK,
        _ => TJPF_RGB,
    }
}

/// The one thing that is said of a stream that does not decode.
fn broken() -> Error {
    Error::Corrupt("jpeg stream does not decode".into())
}
