//! Bindings to the TurboJPEG C API of libjpeg-turbo 2.1 and 3: the crate's only JPEG `unsafe`.
//!
//! Sizes are checked here, whatever the caller has checked. Each thread keeps a compressor, an output buffer
//! and planes; every stream gets its own decompressor.

#![expect(unsafe_code, reason = "calls of TurboJPEG")]

use crate::codec::check_pixels;
use crate::codec::jpeg::JpegStyle;
use crate::codec::jpeg::Sampling;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::raster::Layout;
use crate::uninit;
use std::cell::RefCell;
use std::ffi::c_int;
use std::ffi::c_uchar;
use std::ffi::c_ulong;
use std::ffi::c_void;
use std::ptr::NonNull;

// turbojpeg.h: enum TJPF, enum TJSAMP, enum TJCS, TJFLAG_*, enum TJERR.
const TJPF_RGB: c_int = 0;
const TJPF_GRAY: c_int = 6;
const TJPF_CMYK: c_int = 11;
const TJSAMP_444: c_int = 0;
const TJSAMP_422: c_int = 1;
const TJSAMP_420: c_int = 2;
const TJSAMP_GRAY: c_int = 3;
const TJCS_YCBCR: c_int = 1;
const TJCS_GRAY: c_int = 2;
const TJFLAG_NOREALLOC: c_int = 1024;
const TJFLAG_STOPONWARNING: c_int = 8192;
const TJFLAG_PROGRESSIVE: c_int = 16384;
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
    fn tjDecompressHeader3(
        handle: *mut c_void,
        stream: *const c_uchar,
        stream_len: c_ulong,
        width: *mut c_int,
        height: *mut c_int,
        subsampling: *mut c_int,
        colourspace: *mut c_int,
    ) -> c_int;
    fn tjDecompressToYUVPlanes(
        handle: *mut c_void,
        stream: *const c_uchar,
        stream_len: c_ulong,
        planes: *const *mut c_uchar,
        width: c_int,
        strides: *const c_int,
        height: c_int,
        flags: c_int,
    ) -> c_int;
    fn tjCompressFromYUVPlanes(
        handle: *mut c_void,
        planes: *const *const c_uchar,
        width: c_int,
        strides: *const c_int,
        height: c_int,
        subsampling: c_int,
        stream: *mut *mut c_uchar,
        stream_len: *mut c_ulong,
        quality: c_int,
        flags: c_int,
    ) -> c_int;
}

/// Output buffers and planes up to this size are kept by their thread.
const KEPT_BYTES: usize = 1 << 20;

thread_local! {
    static COMPRESSOR: RefCell<Option<Handle>> = const { RefCell::new(None) };
    static OUTPUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static PLANES: RefCell<YuvPlanes> = RefCell::default();
}

/// A compressor or a decompressor.
struct Handle(NonNull<c_void>);

impl Handle {
    /// Wraps the result of `tjInit…`; NULL means out of memory.
    fn of(pointer: *mut c_void) -> Result<Handle> {
        NonNull::new(pointer)
            .map(Handle)
            .ok_or_else(|| Error::Io(std::io::ErrorKind::OutOfMemory.into()))
    }

    /// The handle of a thread, created at first use.
    fn get_or_create(kept: &mut Option<Handle>, make: impl FnOnce() -> *mut c_void) -> Result<*mut c_void> {
        let handle = match kept {
            Some(handle) => handle,
            none => none.insert(Handle::of(make())?),
        };
        Ok(handle.0.as_ptr())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle came from tjInit…, is owned by this value only and is not used afterwards.
        unsafe { tjDestroy(self.0.as_ptr()) };
    }
}

/// Creates a decompressor for one stream: a reused one would decode a stream without tables with those of the
/// previous stream, which may belong to another picture.
fn with_decompressor<T>(work: impl FnOnce(*mut c_void) -> Result<T>) -> Result<T> {
    // SAFETY: takes no arguments; the result is checked.
    let handle = Handle::of(unsafe { tjInitDecompress() })?;
    work(handle.0.as_ptr())
}

/// Whether [`decode`] accepts separate tables.
pub const ACCEPTS_TABLES: bool = true;

/// Whether [`decode`] supports arithmetic coding.
pub const SUPPORTS_ARITHMETIC: bool = true;

/// Decodes a stream of this size to 1 (grey), 3 (red, green, blue) or 4 channels (as stored, unless an Adobe marker
/// says YCCK); with `strict`, a warning is an error too. `tables` are those not in the stream: SOI, tables, EOI.
///
/// A stream of another size fails or leaves zeros; it is never written out of bounds. `size` must not be empty: for
/// the library, 0 means the stream's own size.
pub fn decode(
    tables: Option<&[u8]>,
    stream: &[u8],
    size: Size,
    channels: u8,
    strict: bool,
) -> Result<Vec<u8>> {
    if size.area() == 0 || !matches!(channels, 1 | 3 | 4) {
        return Err(undecodable());
    }
    let (width, height) = (side(size.w)?, side(size.h)?);
    let stream_len = c_ulong::try_from(stream.len()).map_err(|_| undecodable())?;
    let row = size.w as usize * usize::from(channels);
    let pitch = c_int::try_from(row).map_err(|_| undecodable())?;
    let flags = TJFLAG_LIMITSCANS | if strict { TJFLAG_STOPONWARNING } else { 0 };
    with_decompressor(|handle| {
        if let Some(tables) = tables
            && !read_headers(handle, tables)?.whole
        {
            return Err(undecodable());
        }
        // SAFETY: the handle is a live decompressor used by this thread only; `stream` is readable for `stream_len`
        // bytes; `place` has `height` rows of `pitch` bytes, and at most `width` x `height` pixels of `channels`
        // bytes are written, scaled down if the stream is larger.
        let decompress = |place: *mut u8| unsafe {
            tjDecompress2(
                handle,
                stream.as_ptr(),
                stream_len,
                place,
                width,
                pitch,
                height,
                pixel_format(channels),
                flags,
            )
        };
        let headers = read_headers(handle, stream)?;
        uninit::filled_unaligned(row * size.h as usize, |buf| {
            if headers.size == (width, height) {
                let write = |place, len| if decompress(place) == 0 { Ok(len) } else { Err(()) };
                // SAFETY: the buffer has space for all rows. For a stream of this size, as measured by the library
                // itself, all of them are written unless there is a warning.
                if unsafe { buf.raw(write) }.is_ok() {
                    return Ok(());
                }
                if strict {
                    return Err(undecodable());
                }
            }
            // after a warning rows may be missing: decodes again into zeros
            buf.by(|data| {
                let status = decompress(data.as_mut_ptr());
                // SAFETY: the handle is live.
                let whole = status == 0 || !strict && unsafe { tjGetErrorCode(handle) } == TJERR_WARNING;
                whole.then_some(data.len()).ok_or_else(undecodable)
            })
        })
    })
}

/// The headers of a stream, as read by the library.
struct Headers {
    /// Whether all of them were read.
    whole: bool,
    /// Width and height, also for unknown subsamplings; 0 for tables alone.
    size: (c_int, c_int),
    subsampling: c_int,
    colourspace: c_int,
}

/// Reads headers; their tables stay with the handle, which is a live decompressor used by this thread only.
fn read_headers(handle: *mut c_void, stream: &[u8]) -> Result<Headers> {
    let stream_len = c_ulong::try_from(stream.len()).map_err(|_| undecodable())?;
    let (mut size, mut subsampling, mut colourspace) = ((0, 0), -1, -1);
    // SAFETY: the handle is live; `stream` is readable for `stream_len` bytes; the results are written to local
    // variables.
    let status = unsafe {
        tjDecompressHeader3(
            handle,
            stream.as_ptr(),
            stream_len,
            &raw mut size.0,
            &raw mut size.1,
            &raw mut subsampling,
            &raw mut colourspace,
        )
    };
    Ok(Headers {
        whole: status == 0,
        size,
        subsampling,
        colourspace,
    })
}

/// Encodes `size` pixels of `layout`, which is not `Rgba`. `Corrupt` if the number of pixels differs.
pub fn encode(pixels: &[u8], size: Size, layout: Layout, quality: u8, style: JpegStyle) -> Result<Vec<u8>> {
    check_pixels(pixels, size, layout)?;
    if layout == Layout::Rgba {
        return Err(Error::Unsupported("jpeg has no alpha".into()));
    }
    let (width, height) = (side(size.w)?, side(size.h)?);
    let subsampling = match style.sampling {
        _ if layout == Layout::Grey => TJSAMP_GRAY,
        Sampling::Yuv420 => TJSAMP_420,
        Sampling::Yuv422 => TJSAMP_422,
        Sampling::Yuv444 => TJSAMP_444,
    };
    let flags = TJFLAG_NOREALLOC | if style.progressive { TJFLAG_PROGRESSIVE } else { 0 };
    let stream = compress((width, height, subsampling), |handle, stream, len| {
        // SAFETY: the arguments are as specified by `compress`; `pixels` holds `height` rows of `width` pixels
        // without padding (pitch 0).
        unsafe {
            tjCompress2(
                handle,
                pixels.as_ptr(),
                width,
                0,
                height,
                pixel_format(if layout == Layout::Grey { 1 } else { 3 }),
                stream,
                len,
                subsampling,
                c_int::from(quality),
                flags,
            )
        }
    });
    if style.progressive {
        // the library would reuse this picture's optimised tables, which lack codes for the next
        COMPRESSOR.take();
    }
    stream
}

/// Re-encodes a complete stream of this size at another quality without colour conversion: the decoded luma and
/// subsampled chroma are encoded directly. `None` for a stream that is neither grey nor YCbCr 4:2:0.
pub fn requantise(stream: &[u8], size: Size, quality: u8) -> Result<Option<Vec<u8>>> {
    let (width, height) = (side(size.w)?, side(size.h)?);
    let stream_len = c_ulong::try_from(stream.len()).map_err(|_| undecodable())?;
    with_planes(|planes| {
        let subsampling = with_decompressor(|handle| {
            let headers = read_headers(handle, stream)?;
            if !headers.whole || headers.size != (width, height) {
                return Err(undecodable());
            }
            match (headers.colourspace, headers.subsampling) {
                (TJCS_GRAY, TJSAMP_GRAY) => planes.shape(size, false),
                (TJCS_YCBCR, TJSAMP_420) => planes.shape(size, true),
                _ => return Ok(None),
            }
            let pointers = planes.data.each_mut().map(Vec::as_mut_ptr);
            // SAFETY: the handle is a live decompressor used by this thread only; `stream` is readable for
            // `stream_len` bytes; each plane has the rows and columns of this subsampling for a frame of this size
            // (`YuvPlanes::shape`), its stride is its width, and the frame was found to have this size. Grey has one
            // plane.
            let status = unsafe {
                tjDecompressToYUVPlanes(
                    handle,
                    stream.as_ptr(),
                    stream_len,
                    pointers.as_ptr(),
                    width,
                    planes.strides.as_ptr(),
                    height,
                    TJFLAG_LIMITSCANS,
                )
            };
            // SAFETY: the handle is live.
            let whole = status == 0 || unsafe { tjGetErrorCode(handle) } == TJERR_WARNING;
            whole.then_some(Some(headers.subsampling)).ok_or_else(undecodable)
        })?;
        let Some(subsampling) = subsampling else {
            return Ok(None);
        };
        let pointers = planes.data.each_ref().map(Vec::as_ptr);
        compress((width, height, subsampling), |handle, stream, len| {
            // SAFETY: the arguments are as specified by `compress`; the planes have the shape that they were decoded
            // in.
            unsafe {
                tjCompressFromYUVPlanes(
                    handle,
                    pointers.as_ptr(),
                    width,
                    planes.strides.as_ptr(),
                    height,
                    subsampling,
                    stream,
                    len,
                    c_int::from(quality),
                    TJFLAG_NOREALLOC,
                )
            }
        })
        .map(Some)
    })
}

/// Luma and chroma of a frame, reused by each thread.
#[derive(Default)]
struct YuvPlanes {
    data: [Vec<u8>; 3],
    strides: [c_int; 3],
}

impl YuvPlanes {
    /// Sets the shape of a frame in 4:2:0, or of its luma alone: the library's planes are as wide and high as the
    /// frame rounded up to whole pairs, and half of that (turbojpeg.h, "YUV Image Format Notes").
    fn shape(&mut self, size: Size, chroma: bool) {
        let even = if chroma {
            Size::new(size.w.next_multiple_of(2), size.h.next_multiple_of(2))
        } else {
            size
        };
        let half = Size::new(even.w / 2, even.h / 2);
        for (number, (data, stride)) in self.data.iter_mut().zip(&mut self.strides).enumerate() {
            let plane = match number {
                0 => even,
                _ if chroma => half,
                _ => Size::new(0, 0),
            };
            data.resize(plane.w as usize * plane.h as usize, 0);
            *stride = c_int::try_from(plane.w).unwrap_or(c_int::MAX);
        }
    }
}

/// Lends the planes of this thread; those too large to be kept are freed afterwards.
fn with_planes<T>(work: impl FnOnce(&mut YuvPlanes) -> T) -> T {
    PLANES.with_borrow_mut(|planes| {
        let result = work(planes);
        let large = |data: &&mut Vec<u8>| data.capacity() > KEPT_BYTES;
        planes
            .data
            .iter_mut()
            .filter(large)
            .for_each(|data| *data = Vec::new());
        result
    })
}

/// Encodes a picture of this width, height and subsampling by `call`, which gets a live compressor used by this
/// thread only, and a buffer that is large enough for any such stream: NOREALLOC keeps the library from reallocating
/// it.
fn compress(
    (width, height, subsampling): (c_int, c_int, c_int),
    call: impl FnOnce(*mut c_void, *mut *mut c_uchar, *mut c_ulong) -> c_int,
) -> Result<Vec<u8>> {
    // SAFETY: pure arithmetic; a result of all ones means that the numbers are too large.
    let mut len = unsafe { tjBufSize(width, height, subsampling) };
    let worst = usize::try_from(len)
        .ok()
        .filter(|worst| *worst < isize::MAX as usize)
        .ok_or_else(undecodable)?;
    OUTPUT.with_borrow_mut(|output| {
        output.clear();
        output.try_reserve(worst)?;
        COMPRESSOR.with_borrow_mut(|kept| {
            // SAFETY: takes no arguments; the result is checked.
            let handle = Handle::get_or_create(kept, || unsafe { tjInitCompress() })?;
            let mut stream = output.as_mut_ptr();
            let status = call(handle, &mut stream, &mut len);
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            if status != 0 || len > output.capacity() {
                return Err(Error::Unsupported("jpeg encoding failed".into()));
            }
            // SAFETY: the library has written `len` bytes at the start of the buffer, which is within its capacity.
            unsafe { output.set_len(len) };
            Ok(())
        })?;
        if output.capacity() <= KEPT_BYTES {
            return Ok(output.clone());
        }
        let mut output = std::mem::take(output);
        output.shrink_to_fit();
        Ok(output)
    })
}

/// A side as a C integer.
fn side(pixels: u32) -> Result<c_int> {
    c_int::try_from(pixels).map_err(|_| undecodable())
}

/// The library's pixel format for `channels` channels.
fn pixel_format(channels: u8) -> c_int {
    match channels {
        1 => TJPF_GRAY,
        4 => TJPF_CMYK,
        _ => TJPF_RGB,
    }
}

/// The error for a stream that cannot be decoded.
fn undecodable() -> Error {
    Error::Corrupt("jpeg stream does not decode".into())
}
