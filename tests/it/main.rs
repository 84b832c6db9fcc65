//! Integration tests, one binary: each module says what it is about.
