//! The four protocols.
