//! Parses values other than numbers and single words: lists, colours, JSON.
//!
//! Invalid parts are ignored and reported, one line each.

use crate::protocol::Members;
use crate::protocol::Mount;
use std::net::Ipv6Addr;

/// Parses `prefix=>PROTOCOL,…`; invalid rows are ignored and reported.
pub fn uri_map(text: &str) -> (Vec<Mount>, Vec<String>) {
    let mut map = Vec::new();
    let mut wrong = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let row = part
            .split_once("=>")
            .and_then(|(prefix, name)| Mount::named(prefix.trim().trim_matches('/'), name.trim()));
        match row {
            Some(mount) => map.push(mount),
            None => wrong.push(format!(
                "URI_MAP: {part} is not PREFIX=>IIP, IIIF, DeepZoom or Zoomify and is left out"
            )),
        }
    }
    // the longest prefix first, so that both `iiif/old` and `iiif` may exist
    map.sort_by_key(|mount| std::cmp::Reverse(mount.prefix.len()));
    (map, wrong)
}

/// Splits a list into hosts with ports and paths of sockets, and invalid entries.
pub fn servers(text: &str) -> (Vec<String>, Vec<String>) {
    let (mut all, mut wrong) = (Vec::new(), Vec::new());
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        if part.starts_with('/') {
            all.push(part.into());
            continue;
        }
        let (host, port) = match part.rsplit_once(':') {
            // an IPv6 address contains colons
            _ if part.parse::<Ipv6Addr>().is_ok() => (format!("[{part}]"), "11211"),
            Some((host, port)) => (host.into(), port),
            None => (part.into(), "11211"),
        };
        let plain = !host.is_empty() && (!host.contains(':') || host.starts_with('['));
        match port.parse::<u16>() {
            Ok(port @ 1..) if plain => all.push(format!("{host}:{port}")),
            _ => wrong.push(format!(
                "MEMCACHED_SERVERS: {part} is neither host:port nor /path.sock and is left out"
            )),
        }
    }
    (all, wrong)
}

/// Parses a colour of six hexadecimal digits, with or without `#`.
pub fn colour(text: &str) -> Option<[u8; 3]> {
    let digits = text.strip_prefix('#').unwrap_or(text);
    let value = u32::from_str_radix(digits, 16).ok()?;
    let [_, r, g, b] = value.to_be_bytes();
    (digits.len() == 6 && !digits.starts_with('+')).then_some([r, g, b])
}

/// Parses one or more `"key": value` members.
pub fn extra_info(text: &str) -> Result<Members, String> {
    if text.trim().is_empty() {
        return Ok(Members::new());
    }
    let text = text.trim().trim_end_matches(',');
    serde_json::from_str(&format!("{{{text}}}")).map_err(|_| {
        format!("IIIF_EXTRA_INFO={text} is not a JSON member such as \"attribution\": \"…\" and is left out")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_ports_and_others_are_reported() {
        let list = "localhost, cache.example:11212,10.0.0.1,::1,[::1]:7,/run/m.sock,";
        let (all, wrong) = servers(list);
        let wanted = [
            "localhost:11211",
            "cache.example:11212",
            "10.0.0.1:11211",
            "[::1]:11211",
            "[::1]:7",
            "/run/m.sock",
        ];
        assert_eq!((all, wrong.len()), (wanted.map(String::from).to_vec(), 0));
        for wrong in ["a:b", ":1", "a:0", "a:70000", "a:b:1"] {
            assert_eq!(
                (servers(wrong).0.len(), servers(wrong).1.len()),
                (0, 1),
                "{wrong}"
            );
        }
    }
}
