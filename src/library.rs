//! From an identifier to an open source.
