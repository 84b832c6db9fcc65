//! The format of a value in memcached: the program that wrote it, its length, and a checksum over key and body.
//!
//! A value that was truncated, overwritten, written by another version or stored under another key is rejected.

use bytes::Bytes;
use twox_hash::XxHash64;

/// The first bytes of every value: the program and its version.
const MAGIC: &[u8] = concat!("iipsrv ", env!("CARGO_PKG_VERSION"), "\n").as_bytes();

/// Bytes in front of a body: magic, length and checksum, the numbers little-endian.
pub const HEAD: usize = MAGIC.len() + 16;

/// The value to store for a body under this key.
pub fn wrap(key: &str, body: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEAD + body.len());
    value.extend_from_slice(MAGIC);
    value.extend_from_slice(&(body.len() as u64).to_le_bytes());
    value.extend_from_slice(&checksum(key, body).to_le_bytes());
    value.extend_from_slice(body);
    value
}

/// The body of a value of this key; `None` unless [`wrap`] of this version wrote the value.
pub fn unwrap(key: &str, value: &Bytes) -> Option<Bytes> {
    let rest = value.strip_prefix(MAGIC)?;
    let (len, rest) = rest.split_first_chunk::<8>()?;
    let (sum, body) = rest.split_first_chunk::<8>()?;
    let sound =
        u64::from_le_bytes(*len) == body.len() as u64 && u64::from_le_bytes(*sum) == checksum(key, body);
    sound.then(|| value.slice(HEAD..))
}

/// XXH64 of the body, seeded with that of the key.
fn checksum(key: &str, body: &[u8]) -> u64 {
    XxHash64::oneshot(XxHash64::oneshot(0, key.as_bytes()), body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_complete_value_of_the_same_key_and_version_is_accepted() {
        let value = wrap("a", b"body");
        let taken = |key, value: Vec<u8>| unwrap(key, &value.into());
        assert_eq!(taken("a", value.clone()).as_deref(), Some(&b"body"[..]));
        assert_eq!(taken("b", value.clone()), None);
        for len in 0..value.len() {
            assert_eq!(taken("a", value[..len].to_vec()), None, "cut to {len}");
        }
        for at in 0..value.len() {
            let mut value = value.clone();
            value[at] ^= 0x20;
            assert_eq!(taken("a", value), None, "byte {at}");
        }
        assert_eq!(taken("a", [value, b"x".to_vec()].concat()), None);
        assert_eq!(taken("a", wrap("a", b"")).as_deref(), Some(&b""[..]));
    }

    #[test]
    fn checksums_do_not_depend_on_the_compiler() {
        // XXH64 of the empty text with seed 0, from the specification of xxHash
        assert_eq!(XxHash64::oneshot(0, b""), 0xEF46_DB37_51D8_E999);
        assert_eq!(checksum("", b""), XxHash64::oneshot(0xEF46_DB37_51D8_E999, b""));
    }
}
