"""Decodes the first page of a TIFF with another reader, for tests/it/corpus.rs.

Prints `WIDTH HEIGHT CHANNELS TYPE lossless|lossy|coarse`, then the samples in row-major order, channels interleaved, little
endian, converted like the server's sources: unsigned samples of 1-8 and 9-16 bits are scaled to 8 and 16 bits, 17-32 bits
stay unchanged, all others become single precision; black is the minimum; palettes are applied; colours come first, then
alpha, if any. Files that tifffile cannot read are decoded by libtiff's tiff2rgba. No code of the server is used: tifffile
and imagecodecs decode, numpy converts.
"""

import subprocess
import sys
import tempfile

import numpy
import tifffile


def read(path):
    page = tifffile.TiffFile(path).pages[0]
    page = page if isinstance(page, tifffile.TiffPage) else page.aspage()
    photometric = int(page.photometric)
    compression = int(page.compression)
    lossy = compression in (6, 7, 33003, 33005, 34712, 34887, 50001, 50002, 52546)
    data = page.asarray()
    # length and width are the last two axes, or come before the last axis if channels are interleaved
    shape = (page.imagelength, page.imagewidth)
    channels = page.samplesperpixel
    if page.planarconfig == 2 and channels > 1:
        data = data.reshape((channels,) + shape).transpose(1, 2, 0)
    else:
        data = data.reshape(shape + (channels,))
    if data.dtype == bool:
        data = data.astype(numpy.uint8)
    bits = page.bitspersample
    bits = bits if isinstance(bits, int) else bits[0]
    if photometric == 5 and data.dtype.kind == "i":
        # ink is never negative: writers declare the samples signed but store unsigned bytes
        data = data.view(data.dtype.str.replace("i", "u"))
    integer = data.dtype.kind == "u" and page.sampleformat in (1, 2, 4)
    extra = tuple(int(kind) for kind in page.extrasamples)

    if photometric == 3:
        colours = 1
    elif photometric in (0, 1) and channels >= 3 and not any(extra[:2]):
        # unspecified bands: the first are red, green and blue
        colours = 3
    elif photometric in (0, 1, 4):
        colours = 1
    elif photometric == 5:
        colours = 4
    else:
        colours = 3
    colours = min(colours, channels)
    keep = list(range(colours))
    for index, kind in enumerate(extra):
        if kind in (1, 2):
            keep.append(channels - len(extra) + index)
            break

    if photometric == 3:
        table = page.colormap
        if table.max() > 255:
            table = table >> 8
        index = data[..., 0].astype(numpy.int64)
        rgb = table.astype(numpy.uint8)[:, index].transpose(1, 2, 0)
        return rgb, lossy
    data = data[..., keep]
    if photometric == 8:
        # a* and b* are signed
        half = data.dtype.type(1 << (bits - 1))
        data = data.copy()
        data[..., 1:3] ^= half
    if integer and bits <= 16:
        full = 8 if bits <= 8 else 16
        if bits != full:
            most = (1 << bits) - 1
            data = (data.astype(numpy.uint64) * ((1 << full) - 1) * 2 + most) // (2 * most)
        data = data.astype(numpy.uint8 if full == 8 else numpy.uint16)
    elif integer and bits <= 32:
        data = data.astype(numpy.uint32)
    else:
        with numpy.errstate(over="ignore"):
            data = data.astype(numpy.float32)
    if photometric == 0 and data.dtype.kind == "u":
        data[..., :colours] = numpy.iinfo(data.dtype).max - data[..., :colours]
    return data, lossy


def read_rgba(path):
    """Decodes with libtiff's conversion to RGBA, which does not interpolate subsampled chroma."""
    with tempfile.TemporaryDirectory() as folder:
        made = folder + "/rgba.tif"
        subprocess.run(["tiff2rgba", "-c", "none", "-n", path, made], check=True, capture_output=True)
        data = tifffile.imread(made)
    channels = tifffile.TiffFile(path).pages[0].samplesperpixel
    return data[..., : min(channels, 3)], None


def with_mask(path, data):
    """Adds the transparency mask of the same size, if the file has one, as alpha."""
    with tifffile.TiffFile(path) as file:
        try:
            masks = [page.aspage() if not isinstance(page, tifffile.TiffPage) else page for page in file.pages[1:]]
        except Exception:
            # a cyclic chain of directories has no further pages
            return data
    masks = [page for page in masks if page.subfiletype & 4 and page.shape[:2] == data.shape[:2]]
    if not masks or data.shape[2] not in (1, 3) or data.dtype.kind != "u":
        return data
    mask = tifffile.imread(path, key=masks[0].index)
    full = numpy.iinfo(data.dtype).max
    alpha = numpy.where(mask.reshape(data.shape[:2]) != 0, full, 0).astype(data.dtype)
    return numpy.concatenate([data, alpha[..., None]], axis=2)


def main():
    try:
        data, lossy = read(sys.argv[1])
        data = with_mask(sys.argv[1], data)
    except Exception:
        data, lossy = read_rgba(sys.argv[1])
    height, width, channels = data.shape
    names = {"u1": "u8", "u2": "u16", "u4": "u32", "f4": "f32"}
    name = names[data.dtype.kind + str(data.dtype.itemsize)]
    kind = {None: "coarse", True: "lossy", False: "lossless"}[lossy]
    sys.stdout.buffer.write(f"{width} {height} {channels} {name} {kind}\n".encode())
    little = numpy.ascontiguousarray(data).astype(data.dtype.newbyteorder("<"), copy=False)
    sys.stdout.buffer.write(little.data)


main()
