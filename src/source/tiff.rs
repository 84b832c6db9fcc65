//! TIFF and BigTIFF.
