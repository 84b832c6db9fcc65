//! From a window to a raster, tile by tile.
