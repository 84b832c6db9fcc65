//! lzw
