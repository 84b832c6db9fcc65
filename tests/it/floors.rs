//! Imports point down; below the service nobody logs.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// Top-level modules and their floors. Neighbours do not know each other.
const FLOORS: &[(&str, u32)] = &[
    ("error", 0),
    ("geometry", 1),
    ("metrics", 1),
    ("work", 1),
    ("fingerprint", 1),
    ("recent", 1),
    ("room", 1),
    ("limits", 1),
    ("failures", 1),
    ("store", 2),
    ("raster", 2),
    ("looks", 2),
    ("http", 3),
    ("codec", 3),
    ("source", 4),
    ("process", 4),
    ("encode", 4),
    ("cache", 4),
    ("plan", 5),
    ("protocol", 6),
    ("library", 6),
    ("mosaic", 7),
    ("config", 7),
    ("service", 8),
    ("server", 9),
    ("tools", 9),
    ("main", 10),
];

fn floor(module: &str) -> u32 {
    FLOORS
        .iter()
        .find(|(name, _)| *name == module)
        .unwrap_or_else(|| panic!("{module} has no floor"))
        .1
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Every file of src with its top-level module.
fn sources() -> Vec<(PathBuf, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&root, &mut found);
    assert!(found.len() > 20, "the source tree is there");
    let module = |path: &Path| {
        let first = path.strip_prefix(&root).unwrap().components().next().unwrap();
        first
            .as_os_str()
            .to_string_lossy()
            .trim_end_matches(".rs")
            .to_string()
    };
    found
        .iter()
        .map(|path| (path.clone(), module(path), fs::read_to_string(path).unwrap()))
        .collect()
}

#[test]
fn imports_point_down() {
    for (path, module, text) in sources() {
        if module == "lib" {
            continue;
        }
        let own = text.split("\nmod tests {").next().unwrap();
        for line in own.lines() {
            assert!(
                !line.trim_start().starts_with("use super::"),
                "{}: {line}",
                path.display()
            );
            for marker in ["crate::", "iipsrv::"] {
                for (at, _) in line.match_indices(marker) {
                    let name: String = line[at + marker.len()..]
                        .chars()
                        .take_while(|c| c.is_ascii_lowercase() || *c == '_')
                        .collect();
                    if line.trim_start().starts_with("//") || name.is_empty() || name == module {
                        continue;
                    }
                    assert!(
                        floor(&name) < floor(&module),
                        "{}: {module} (floor {}) uses {name} (floor {})",
                        path.display(),
                        floor(&module),
                        floor(&name)
                    );
                }
            }
        }
    }
}

#[test]
fn nobody_logs_below_the_service() {
    for (path, module, text) in sources() {
        if module != "lib" && floor(&module) < floor("service") {
            // of another name that ends so it is the end only
            let before = |at: usize| text[..at].chars().next_back().unwrap_or(' ');
            let is_log = |at: usize| !before(at).is_alphanumeric() && before(at) != '_';
            let logs = text.match_indices("log::").any(|(at, _)| is_log(at));
            assert!(!logs, "{}", path.display());
        }
    }
}

#[test]
fn unsafe_is_only_where_c_is() {
    let allowed = [
        "codec/avif.rs",
        "codec/jpeg/turbo.rs",
        "codec/deflate.rs",
        "codec/webp.rs",
        "codec/zstd.rs",
        "room.rs",
        "server/syslog.rs",
        "server/inherited.rs",
        "server/socket.rs",
        "server/memory.rs",
    ];
    for (path, _, text) in sources() {
        if text.contains("unsafe ") {
            assert!(
                allowed.iter().any(|name| path.ends_with(name)),
                "{}",
                path.display()
            );
        }
    }
}

/// `tests/run` leaves them out by these names where there is no such folder.
#[test]
fn tests_over_foreign_files_are_named_so() {
    let mut found = Vec::new();
    files(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it"),
        &mut found,
    );
    let mut tests = 0;
    for path in found {
        let text = fs::read_to_string(&path).unwrap();
        // in two words, or this line would be one of them
        for part in text.split(concat!("#[ignore = \"needs ", "CORPUS")).skip(1) {
            let name = part.split("fn ").nth(1).and_then(|rest| rest.split('(').next());
            let name = name.unwrap_or_default();
            assert!(
                name.contains("corpus") || path.ends_with("writers.rs"),
                "{}: {name}",
                path.display()
            );
            tests += 1;
        }
    }
    assert!(tests > 10);
}
