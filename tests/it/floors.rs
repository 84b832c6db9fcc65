//! Imports point down, as `src/lib.rs` lists the floors, and have no cycles; modules below the service do not log.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::LazyLock;

/// The floors as `src/lib.rs` lists them: a number, names, and what they are.
fn list_of_floors() -> String {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let list = text.split("//! ```text\n").nth(1).unwrap();
    list.split("//! ```").next().unwrap().replace("//! ", "")
}

/// Top-level modules and their floors. Modules on one floor do not import each other.
static FLOORS: LazyLock<BTreeMap<String, u32>> = LazyLock::new(|| {
    // test support
    let mut floors = BTreeMap::from([("random".to_string(), 0)]);
    for line in list_of_floors().lines() {
        let (number, rest) = line.split_once(' ').unwrap();
        let number = number.parse().unwrap();
        let words = rest.split("  ").filter(|word| !word.is_empty());
        let is_name = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        for name in words.map(str::trim).take_while(is_name) {
            assert_eq!(floors.insert(name.to_string(), number), None, "{name} twice");
        }
    }
    floors
});

fn floor(module: &str) -> u32 {
    let floor = FLOORS.get(module);
    *floor.unwrap_or_else(|| panic!("src/lib.rs gives {module} no floor"))
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

/// Every file of src: its path, its top-level module and its text.
fn sources() -> Vec<(PathBuf, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&root, &mut found);
    assert!(found.len() > 20, "the source tree was found");
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
fn the_list_of_floors_names_every_module_and_is_that_of_the_architecture() {
    let modules: BTreeSet<String> = sources().into_iter().map(|(_, module, _)| module).collect();
    let listed = FLOORS.keys().cloned().chain(["lib".to_string()]);
    assert_eq!(listed.collect::<BTreeSet<_>>(), modules);
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    assert!(text.contains(&format!("```text\n{}```", list_of_floors())));
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

/// The segments of a path in the code, as `["codec", "jp2", "block"]`.
type Segments = Vec<String>;

fn segments(path: &str, separator: &str) -> Segments {
    path.split(separator).map(str::to_string).collect()
}

/// Every path after `crate::` in these lines.
fn crate_paths(line: &str) -> impl Iterator<Item = Segments> {
    line.match_indices("crate::").map(move |(at, marker)| {
        let rest = &line[at + marker.len()..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
        let path = &rest[..end.unwrap_or(rest.len())];
        assert!(!path.ends_with("::"), "one line for each import: {line}");
        segments(path, "::")
    })
}

/// The modules with their lines of code, without comments and tests.
fn modules() -> BTreeMap<Segments, Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeMap::new();
    for (path, _, text) in sources() {
        let path = path.strip_prefix(&root).unwrap().with_extension("");
        let mut name = segments(path.to_str().unwrap(), "/");
        name.pop_if(|last| last == "mod");
        let own = text.split("\nmod tests {").next().unwrap();
        let code = own.lines().filter(|line| !line.trim_start().starts_with("//"));
        found.insert(name, code.map(str::to_string).collect());
    }
    found
}

/// The number of leading segments that name a module.
fn known(path: &[String], modules: &BTreeMap<Segments, Vec<String>>) -> usize {
    let mut lengths = (1..=path.len()).rev();
    lengths
        .find(|len| modules.contains_key(&path[..*len]))
        .unwrap_or(0)
}

/// By folder: the sibling modules that each module, with its submodules, imports. A re-exported name belongs to the module
/// that defines it.
fn neighbours() -> BTreeMap<Segments, BTreeMap<String, BTreeSet<String>>> {
    let modules = modules();
    let mut exports = BTreeMap::new();
    for (module, line) in modules
        .iter()
        .flat_map(|(name, code)| code.iter().map(move |line| (name, line)))
    {
        if line.starts_with("pub use ") {
            let path = crate_paths(line)
                .next()
                .unwrap_or_else(|| panic!("not from crate:: {line}"));
            let name = path.last().unwrap().clone();
            exports.insert([&module[..], &[name]].concat(), path);
        }
    }
    let mut folders: BTreeMap<Segments, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (module, code) in &modules {
        for mut path in code.iter().flat_map(|line| crate_paths(line)) {
            while let Some(origin) = path
                .get(..=known(&path, &modules))
                .and_then(|name| exports.get(name))
            {
                path = origin.clone();
            }
            let target = &path[..known(&path, &modules)];
            let shared = module.iter().zip(target).take_while(|(a, b)| a == b).count();
            if let (Some(from), Some(to)) = (module.get(shared), target.get(shared)) {
                let folder = folders.entry(module[..shared].to_vec()).or_default();
                folder.entry(from.clone()).or_default().insert(to.clone());
            }
        }
    }
    folders
}

/// A module and its submodules may import each other; siblings import in one direction only.
#[test]
fn imports_have_no_cycles() {
    let folders = neighbours();
    assert!(folders.len() > 10, "imports are found");
    for (folder, mut imports) in folders {
        // a module that imports none of the remaining ones is in no cycle
        loop {
            let left: BTreeSet<String> = imports.keys().cloned().collect();
            imports
                .values_mut()
                .for_each(|names| names.retain(|name| left.contains(name)));
            imports.retain(|_, names| !names.is_empty());
            if imports.len() == left.len() {
                break;
            }
        }
        assert!(imports.is_empty(), "{}: {imports:?}", folder.join("::"));
    }
}

#[test]
fn nothing_logs_below_the_service() {
    for (path, module, text) in sources() {
        if module != "lib" && floor(&module) < floor("service") {
            // skip longer names that end like this one
            let before = |at: usize| text[..at].chars().next_back().unwrap_or(' ');
            let is_log = |at: usize| !before(at).is_alphanumeric() && before(at) != '_';
            let logs = text.match_indices("log::").any(|(at, _)| is_log(at));
            assert!(!logs, "{}", path.display());
        }
    }
}

#[test]
fn unsafe_code_is_only_in_the_listed_files() {
    let allowed = [
        "codec/avif.rs",
        "codec/jpeg/turbo.rs",
        "codec/deflate.rs",
        "codec/webp.rs",
        "codec/zstd.rs",
        "uninit.rs",
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

/// `tests/run` skips them by these names if CORPUS is not set.
#[test]
fn tests_that_need_corpus_have_it_in_their_path() {
    let mut found = Vec::new();
    files(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it"),
        &mut found,
    );
    let mut tests = 0;
    for path in found {
        let text = fs::read_to_string(&path).unwrap();
        // concatenated, so that this line does not match itself
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
