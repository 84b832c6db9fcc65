"""Decodes a picture file of any output format with other libraries, for tests/it/outputs.rs.

Prints `WIDTH HEIGHT CHANNELS TYPE`, a line of JSON with the tags of a TIFF by number (byte strings by their length), then the
samples in row-major order, channels interleaved, little endian. No code of the server is used: tifffile and imagecodecs
(libtiff's codecs, libpng, libwebp, giflib, libavif) decode.
"""

import json
import sys

import imagecodecs
import numpy
import tifffile

path = sys.argv[1]
start = open(path, "rb").read()
tags = {}
if start[:4] == b"II\x2a\x00":
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        data = page.asarray()
        if int(page.photometric) == 6:
            data = numpy.asarray(data)
        for tag in page.tags:
            value = tag.value
            if isinstance(value, bytes):
                value = len(value)
            tags[tag.code] = value if isinstance(value, (int, float, str, list, tuple)) else str(value)
elif start[:4] == b"\x89PNG":
    data = imagecodecs.png_decode(start)
elif start[:4] == b"RIFF":
    data = imagecodecs.webp_decode(start)
elif start[:4] == b"GIF8":
    data = imagecodecs.gif_decode(start)
elif start[4:8] == b"ftyp":
    data = imagecodecs.avif_decode(start)
else:
    data = imagecodecs.jpeg8_decode(start)
data = numpy.atleast_3d(data)
kind = data.dtype.newbyteorder("<")
print(data.shape[1], data.shape[0], data.shape[2], data.dtype.name, flush=True)
print(json.dumps(tags), flush=True)
sys.stdout.buffer.write(numpy.ascontiguousarray(data).astype(kind).tobytes())
